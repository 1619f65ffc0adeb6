//! Clients over HTTP/2 get what those over HTTP/1.1 get.

use crate::kit::frames::*;
use crate::kit::http2_client::{request, request_with};
use crate::kit::{Brim, Client, Gate, Http2Client, Http2Origin, Origin, PATIENCE, RawClient};
use crate::kit::{get, ok_with};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use rustix::process::Signal;
use std::time::Instant;

const HOUR: &str = "Cache-Control: max-age=3600\r\n";
const MIB: usize = 1024 * 1024;

fn edge_of(origin: &Origin) -> (Brim, Http2Client) {
    let brim = Brim::http2(origin.address(), "", "");
    let client = Http2Client::connect(brim.address());
    (brim, client)
}

/// An origin whose answers say how often it was asked.
fn numbering(fields: &'static str) -> Origin {
    Origin::serving(move |_, number| ok_with(fields, &number.to_string()))
}

/// Content in which every eight bytes tell where they stand.
fn content(len: usize) -> Vec<u8> {
    (0..len / 8).flat_map(|at| (at as u64 * 8).to_be_bytes()).collect()
}

#[test]
fn a_miss_a_hit_and_a_pass_are_what_they_are_over_http1() {
    let origin = numbering(HOUR);
    let (brim, client) = edge_of(&origin);
    let miss = client.get("/a");
    assert_eq!((miss.status, miss.text().as_str()), (200, "0"));
    assert_eq!(miss.told(), "brim; fwd=uri-miss; stored");
    let hit = client.get("/a");
    assert_eq!((hit.text().as_str(), hit.told().as_str()), ("0", "brim; hit"));
    assert_eq!(hit.field("content-length"), Some("1"));
    assert!(hit.field("age").is_some() && hit.field("via").is_some());
    let post = client.ask(request("POST", "/b"), b"");
    assert_eq!(post.told(), "brim; fwd=method");
    let mut old = Client::connect(brim.address());
    assert_eq!(old.ask(get("/a")).told(), "brim; hit");
}

#[test]
fn a_stale_answer_is_served_and_refreshed_behind() {
    let old = "Cache-Control: max-age=1, stale-while-revalidate=600\r\nAge: 100\r\n";
    let origin = Origin::serving(move |_, number| match number {
        0 => ok_with(old, "old"),
        _ => ok_with(HOUR, "new"),
    });
    let (_brim, client) = edge_of(&origin);
    client.get("/");
    let stale = client.get("/");
    assert_eq!(stale.told(), "brim; hit; detail=stale-while-revalidate");
    let deadline = Instant::now() + PATIENCE;
    while client.get("/").text() != "new" {
        assert!(Instant::now() < deadline, "it stays old");
    }
    assert_eq!(origin.requests(), 2);
}

#[test]
fn however_many_ask_over_whatever_version_one_fetch_answers_them() {
    const STREAMS: usize = 50;
    let may_answer = Gate::default();
    let gate = may_answer.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            gate.wait_for(1);
            peer.send(ok_with(HOUR, "once"));
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    let (one, two) = (Http2Client::connect(brim.address()), Http2Client::connect(brim.address()));
    let mut old = Client::connect(brim.address());
    old.send(get("/cold"));
    let asked: Vec<_> = (0..STREAMS)
        .map(|at| if at % 2 == 0 { &one } else { &two })
        .map(|client| (client, client.begin(request("GET", "/cold"), true)))
        .collect();
    may_answer.add_one();
    for (client, asked) in asked {
        assert_eq!(client.answer(asked).text(), "once");
    }
    assert_eq!(old.answer().text(), "once");
    assert_eq!(origin.requests(), 1);
}

#[test]
fn head_ranges_and_conditions() {
    let fields = "Cache-Control: max-age=3600\r\nETag: \"1\"\r\n";
    let origin = Origin::serving(move |_, _| ok_with(fields, "0123456789"));
    let (_brim, client) = edge_of(&origin);
    client.get("/a");
    let head = client.ask(request("HEAD", "/a"), b"");
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, Some("10"), 0));
    let part = client.ask(request_with("GET", "/a", &[("range", "bytes=2-4")]), b"");
    assert_eq!((part.status, part.text().as_str()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    let none = client.ask(request_with("GET", "/a", &[("range", "bytes=20-")]), b"");
    assert_eq!((none.status, none.field("content-range")), (416, Some("bytes */10")));
    let same = client.ask(request_with("GET", "/a", &[("if-none-match", "\"1\"")]), b"");
    assert_eq!((same.status, same.body.len(), same.field("etag")), (304, 0, Some("\"1\"")));
    let other = client.ask(request_with("GET", "/a", &[("if-match", "\"2\"")]), b"");
    assert_eq!(other.status, 412);
    let miss = client.ask(request("HEAD", "/b"), b"");
    assert_eq!((miss.status, miss.body.len()), (200, 0));
    assert_eq!(client.get("/a").text(), "0123456789");
}

/// Sends back how a body was framed, and the body.
fn echoing() -> Origin {
    Origin::start(|peer| {
        while let Some(head) = peer.head() {
            let body = String::from_utf8(peer.body_of(&head)).expect("text");
            let lower = head.to_ascii_lowercase();
            let framing = lower.lines().filter(|line| {
                line.starts_with("content-length:") || line.starts_with("transfer-encoding:")
            });
            let framing: Vec<&str> = framing.collect();
            peer.send(ok_with("", &format!("{} {body}", framing.join(","))));
        }
    })
}

#[test]
fn a_body_goes_to_the_origin_with_its_length_or_in_chunks() {
    let origin = echoing();
    let (_brim, client) = edge_of(&origin);
    let known = client.ask(request_with("POST", "/", &[("content-length", "3")]), b"abc");
    assert_eq!(known.text(), "content-length: 3 abc");
    let unknown = client.ask(request("POST", "/"), b"abc");
    assert_eq!(unknown.text(), "transfer-encoding: chunked abc");
    let none = client.ask(request("POST", "/"), b"");
    assert!(none.text().trim() == "" || none.text() == "content-length: 0 ", "{}", none.text());
    let empty = client.ask(request_with("PUT", "/", &[("content-length", "0")]), b"");
    assert_eq!(empty.text(), "content-length: 0 ");
    for method in ["GET", "HEAD"] {
        let answer = client.ask(request(method, "/"), b"odd");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.told(), "brim; fwd=bypass; detail=request-body");
    }
}

#[test]
fn trailers_go_both_ways() {
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            let (body, trailers) = peer.chunks();
            assert_eq!((&body[..], &trailers[..]), (&b"abc"[..], "x-sum: 1\r\n"));
            peer.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Back\r\n\r\n\
                 2\r\nok\r\n0\r\nX-Back: 2\r\n\r\n",
            );
        }
    });
    let (_brim, client) = edge_of(&origin);
    let mut asked = client.begin(request("POST", "/"), false);
    asked.body.send_data(Bytes::from_static(b"abc"), false).expect("sent");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    asked.body.send_trailers(trailers).expect("sent");
    let answer = client.answer(asked);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.trailers.expect("trailers")["x-back"], "2");
}

#[test]
fn trailers_go_both_ways_between_http2_and_http2() {
    let origin = Http2Origin::start(|mut call| async move {
        let (body, trailers) = call.body().await;
        assert_eq!((&body[..], trailers.is_some()), (&b"abc"[..], true));
        let mut sent = call.begin(200, &[("cache-control", "no-store")]);
        sent.send_data(Bytes::from_static(b"ok"), false).expect("sent");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        sent.send_trailers(trailers).expect("sent");
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = true }}]\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\nhttp2 = 'always'\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let client = Http2Client::connect(brim.address());
    let mut asked = client.begin(request_with("POST", "/", &[("te", "trailers")]), false);
    asked.body.send_data(Bytes::from_static(b"abc"), false).expect("sent");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("1"));
    asked.body.send_trailers(trailers).expect("sent");
    let answer = client.answer(asked);
    assert_eq!(answer.trailers.expect("trailers")["grpc-status"], "0");
}

#[test]
fn interim_answers_are_passed_on() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            if head.contains("100-continue") {
                peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            peer.body_of(&head);
            peer.send(ok_with("", "done"));
        }
    });
    let (_brim, client) = edge_of(&origin);
    let fields = [("expect", "100-continue"), ("content-length", "3")];
    let mut asked = client.begin(request_with("POST", "/", &fields), false);
    asked.body.send_data(Bytes::from_static(b"abc"), true).expect("sent");
    let answer = client.answer(asked);
    assert_eq!(answer.text(), "done");
    let statuses: Vec<u16> = answer.interim.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [103, 100]);
    assert_eq!(answer.interim[0].1["link"], "</a.css>; rel=preload");
}

#[test]
fn a_client_that_waits_for_100_gets_it_before_it_sends() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(peer.body_of(&head), b"abc");
            peer.send(ok_with("", "done"));
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    let head =
        [request_block("POST", "/"), block(&[("expect", "100-continue"), ("content-length", "3")])];
    client.send(&frame(HEADERS, END_HEADERS, 1, &head.concat()));
    let interim = client.next_of(HEADERS);
    assert_eq!((interim.stream, interim.flags & END_STREAM), (1, 0));
    client.send(&frame(DATA, END_STREAM, 1, b"abc"));
    assert_eq!(client.end_of(1), End::Answer(200, 4));
}

#[test]
fn an_upload_larger_than_the_windows_arrives_whole() {
    let body = content(20 * MIB);
    let expected = body.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            assert!(peer.body_of(&head) == expected, "another body");
            peer.send(ok_with("", "whole"));
        }
    });
    let (brim, client) = edge_of(&origin);
    let before = brim.peak_rss_bytes();
    for piece in [MIB, 5000] {
        let mut asked = client.begin(request("POST", "/"), false);
        client.send_all(&mut asked.body, &body, piece);
        asked.body.send_data(Bytes::new(), true).expect("sent");
        assert_eq!(client.answer(asked).text(), "whole");
    }
    let more = brim.peak_rss_bytes() - before;
    assert!(more < 8 * MIB as u64, "{} KiB more", more / 1024);
}

#[test]
fn an_upload_byte_by_byte_arrives_whole() {
    let origin = echoing();
    let (_brim, client) = edge_of(&origin);
    let body: String = ('a'..='z').cycle().take(1000).collect();
    let mut asked = client.begin(request("POST", "/"), false);
    client.send_all(&mut asked.body, body.as_bytes(), 1);
    asked.body.send_data(Bytes::new(), true).expect("sent");
    assert_eq!(client.answer(asked).text(), format!("transfer-encoding: chunked {body}"));
}

#[test]
fn an_origin_that_does_not_read_stops_the_client_and_nobody_else() {
    let may_read = Gate::default();
    let gate = may_read.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("POST") {
                gate.wait_for(1);
            }
            peer.body_of(&head);
            peer.send(ok_with("Cache-Control: no-store\r\n", "ok"));
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.send(&frame(HEADERS, END_HEADERS, 1, &request_block("POST", "/")));
    // As much as the stream may send at first; the edge gives it back as the origin takes it.
    for _ in 0..15 {
        client.send(&frame(DATA, 0, 1, &[b'x'; 4096]));
    }
    assert!(client.is_alive(3));
    may_read.add_one();
    client.send(&frame(DATA, END_STREAM, 1, b""));
    assert_eq!(client.end_of(1), End::Answer(200, 2));
}

#[test]
fn a_client_that_opens_its_window_in_odd_steps_gets_it_all_and_no_more_than_it_may() {
    let body: String = ('a'..='z').cycle().take(40_000).collect();
    let origin = Origin::serving(move |_, _| ok_with(HOUR, &body));
    let brim = Brim::http2(origin.address(), "", "");
    for turn in 0..2 {
        let mut client = RawClient::connect_with(brim.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
        client.get(1, "/a");
        client.next_of(HEADERS);
        let (mut got, mut given) = (0_usize, 0_usize);
        let steps = [1, 1, 1, 2, 3, 7, 1, 100, 1, 16_385, 5, 1000];
        let mut steps = steps.iter().copied().chain(std::iter::repeat(4096));
        let mut ends = false;
        while !ends {
            let step = steps.next().expect("steps");
            given += step;
            client.send(&window_frame(1, u32::try_from(step).expect("a step")));
            while got < given.min(40_000) || (given >= 40_000 && !ends) {
                let frame = client.next_of(DATA);
                got += frame.payload.len();
                ends |= frame.flags & END_STREAM != 0;
                assert!(got <= given, "{got} of {given}");
            }
        }
        assert_eq!(got, 40_000, "{turn}");
    }
}

#[test]
fn a_window_that_changes_in_the_middle_counts_for_streams_that_are_under_way() {
    let body: String = "x".repeat(30_000);
    let origin = Origin::serving(move |_, _| ok_with(HOUR, &body));
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect_with(brim.address(), &[(INITIAL_WINDOW_SIZE, 1000)]);
    client.get(1, "/a");
    assert_eq!(client.next_of(DATA).payload.len(), 1000);
    // Less than was sent already: the window is negative, and 500 more do not open it.
    client.send(&settings_frame(&[(INITIAL_WINDOW_SIZE, 100)]));
    client.send(&window_frame(1, 500));
    client.send(&frame(PING, 0, 0, &[7; 8]));
    let next = std::iter::from_fn(|| client.next()).find(|frame| matches!(frame.kind, PING | DATA));
    assert_eq!(next.expect("a frame").kind, PING);
    client.send(&window_frame(1, 500));
    assert_eq!(client.next_of(DATA).payload.len(), 100);
    client.send(&settings_frame(&[(INITIAL_WINDOW_SIZE, 65_535)]));
    assert_eq!(client.end_of(1), End::Answer(0, 30_000 - 1100));
}

#[test]
fn a_download_is_as_large_as_it_is_through_small_windows() {
    let body = content(8 * MIB);
    let sent = body.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\n{HOUR}Content-Length: {}\r\n\r\n", sent.len()));
            peer.send(&sent);
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    for window in [1 << 10, 1 << 16, 1 << 24] {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        let client = Http2Client::connect_with(brim.address(), &builder);
        assert!(client.get("/a").body == body, "window {window}");
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_client_that_breaks_its_stream_off_leaves_the_fetch_to_the_others() {
    let may_go_on = Gate::default();
    let gate = may_go_on.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\n{HOUR}Content-Length: 4\r\n\r\nab"));
            gate.wait_for(1);
            peer.send("cd");
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.get(1, "/a");
    assert_eq!(client.next_of(DATA).payload, b"ab");
    client.get(3, "/a");
    assert_eq!(client.next_of(DATA).payload, b"ab");
    client.send(&reset_frame(1));
    brim.access_log("client_gone");
    may_go_on.add_one();
    assert_eq!(client.end_of(3), End::Answer(0, 2));
    let mut old = Client::connect(brim.address());
    assert_eq!(old.ask(get("/a")).told(), "brim; hit");
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_post_that_is_broken_off_makes_its_url_out_of_date_all_the_same() {
    let (was_asked, may_answer) = (Gate::default(), Gate::default());
    let gates = (was_asked.clone(), may_answer.clone());
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("POST") {
                gates.0.add_one();
                gates.1.wait_for(1);
            }
            peer.send(ok_with(HOUR, "ok"));
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.get(1, "/a");
    client.end_of(1);
    let mut old = Client::connect(brim.address());
    assert_eq!(old.ask(get("/a")).told(), "brim; hit");
    client.send(&frame(HEADERS, WHOLE, 3, &request_block("POST", "/a")));
    was_asked.wait_for(1);
    client.send(&reset_frame(3));
    brim.access_log("client_gone");
    assert_ne!(old.ask(get("/a")).told(), "brim; hit");
    may_answer.add_one();
}

#[test]
fn crumbs_of_cookies_are_one_field_to_the_origin() {
    let origin = Origin::ok();
    let (_brim, client) = edge_of(&origin);
    let crumbs = [("cookie", "a=1"), ("x-a", "b"), ("cookie", "c=2"), ("cookie", "d=3; e=4")];
    client.ask(request_with("POST", "/", &crumbs), b"");
    let head = origin.last_head();
    let lower = head.to_ascii_lowercase();
    assert_eq!(lower.matches("\r\ncookie:").count(), 1, "{head}");
    assert!(lower.contains("\r\ncookie: a=1; c=2; d=3; e=4\r\n"), "{head}");
}

#[test]
fn the_host_is_the_authority_or_what_host_says_where_there_is_none() {
    let origin = Origin::ok();
    let brim = Brim::http2(origin.address(), "", "");
    let without = [(":method", "POST"), (":scheme", "http"), (":path", "/")];
    for (fields, host) in [
        (vec![(":authority", "a.test")], "a.test"),
        (vec![(":authority", "A.Test:8080")], "A.Test:8080"),
        (vec![(":authority", "[::1]:80")], "[::1]:80"),
        (vec![("host", "b.test")], "b.test"),
        (vec![(":authority", "a.test"), ("host", "a.test")], "a.test"),
        (vec![(":authority", "a.test"), ("host", "A.TEST:80")], "a.test"),
    ] {
        let mut client = RawClient::connect(brim.address());
        let all: Vec<_> = without.into_iter().chain(fields.iter().copied()).collect();
        client.send(&frame(HEADERS, WHOLE, 1, &block(&all)));
        assert_eq!(client.end_of(1), End::Answer(200, 2), "{fields:?}");
        let head = origin.last_head();
        assert_eq!(head.matches("\r\nHost: ").count(), 1, "{head}");
        assert!(head.contains(&format!("\r\nHost: {host}\r\n")), "{fields:?}: {head}");
    }
}

#[test]
fn options_may_be_about_the_server() {
    let origin = Origin::ok();
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.send(&frame(HEADERS, WHOLE, 1, &request_block("OPTIONS", "*")));
    assert_eq!(client.end_of(1), End::Answer(200, 2));
    assert!(origin.last_head().starts_with("OPTIONS * HTTP/1.1\r\n"));
}

#[test]
fn fields_about_the_origins_connection_stay_there() {
    let about = "Connection: keep-alive, X-Private\r\nKeep-Alive: timeout=5\r\nX-Private: 1\r\n\
                 Proxy-Connection: close\r\nUpgrade: h2c\r\nX-Public: 2\r\n";
    for caching in ["Cache-Control: max-age=60\r\n", "Cache-Control: no-store\r\n"] {
        let fields = format!("{about}{caching}");
        let origin = Origin::serving(move |_, _| ok_with(&fields, "ok"));
        let (_brim, client) = edge_of(&origin);
        for _ in 0..2 {
            let answer = client.get("/a");
            assert_eq!((answer.text().as_str(), answer.field("x-public")), ("ok", Some("2")));
            for name in [
                "connection",
                "keep-alive",
                "proxy-connection",
                "upgrade",
                "x-private",
                "transfer-encoding",
            ] {
                assert_eq!(answer.field(name), None, "{name}");
            }
        }
    }
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let origin = Origin::answering(chunked);
    let (_brim, client) = edge_of(&origin);
    let answer = client.get("/");
    assert_eq!((answer.text().as_str(), answer.field("transfer-encoding")), ("ok", None));
}

#[test]
fn an_answer_that_breaks_off_is_no_whole_one() {
    let origin = Origin::start(|peer| {
        let head = peer.head().expect("a head");
        peer.send(match head.contains("/length") {
            true => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
            false => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        });
    });
    let (_brim, client) = edge_of(&origin);
    for path in ["/length", "/chunked"] {
        for method in ["GET", "POST"] {
            let broken = client.try_ask(request(method, path), b"").expect_err("no whole answer");
            assert!(broken.is_reset() && broken.is_remote(), "{broken}");
        }
    }
}

#[test]
fn shutdown_says_goaway_and_waits_for_what_is_under_way() {
    let (was_asked, may_answer) = (Gate::default(), Gate::default());
    let gates = (was_asked.clone(), may_answer.clone());
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            gates.0.add_one();
            gates.1.wait_for(1);
            peer.send(ok_with("", "ok"));
        }
    });
    let mut brim = Brim::http2(origin.address(), "", "");
    let mut idle = Http2Client::connect(brim.address());
    let mut busy = Http2Client::connect(brim.address());
    let mut raw = RawClient::connect(brim.address());
    raw.get(1, "/raw");
    let asked = busy.begin(request("GET", "/busy"), true);
    was_asked.wait_for(2);
    brim.signal(Signal::TERM);
    idle.ended().expect("no error");
    assert_eq!(raw.next_of(GOAWAY).error(), NO_ERROR);
    assert!(brim.is_running());
    may_answer.add_one();
    assert_eq!(busy.answer(asked).text(), "ok");
    busy.ended().expect("no error");
    assert_eq!(raw.end_of(1), End::Answer(200, 2));
    drop(raw);
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn a_client_that_asks_on_after_goaway_is_declined() {
    let (origin, answer, was_asked) = Origin::waiting();
    let mut brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.get(1, "/slow");
    was_asked.recv().expect("asked");
    brim.signal(Signal::TERM);
    client.next_of(GOAWAY);
    // It does not acknowledge the edge's PING, so that the edge cannot know whether it has heard.
    let mut number = 1;
    loop {
        client.send(&frame(HEADERS, WHOLE, 2 * number + 1, &request_block("TRACE", "/")));
        match client.end_of(2 * number + 1) {
            End::Answer(405, _) => number += 1,
            other => break assert_eq!(other, End::Reset(REFUSED_STREAM)),
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    answer.send(()).expect("the origin waits");
    assert!(matches!(client.end_of(1), End::Answer(200, 2)));
    drop(client);
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn a_purge_is_a_purge() {
    let origin = numbering(HOUR);
    let brim = Brim::http2(origin.address(), "", "[site.purge]\nnetworks = ['127.0.0.0/8']");
    let client = Http2Client::connect(brim.address());
    client.get("/a");
    assert_eq!(client.get("/a").told(), "brim; hit");
    let receipt = client.ask(request("PURGE", "/a"), b"");
    assert_eq!((receipt.status, receipt.field("content-type")), (200, Some("application/json")));
    assert_eq!(client.get("/a").text(), "1");
}

#[test]
fn the_log_and_the_metrics_tell_of_it() {
    let origin = numbering(HOUR);
    let (brim, client) = edge_of(&origin);
    client.ask(request_with("GET", "/told?a=b", &[("user-agent", "tester/1")]), b"");
    let line = brim.access_log("/told?a=b");
    for part in [
        "\"client\":\"127.0.0.1\"",
        "\"method\":\"GET\"",
        "\"host\":\"a.test\"",
        "\"status\":200",
        "\"outcome\":\"miss\"",
        "\"user_agent\":\"tester/1\"",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    client.get("/told?a=b");
    brim.wait_for_metric("brim_requests_total{outcome=\"hit\",site=\"*\"}", 1);
    brim.wait_for_metric("brim_requests_total{outcome=\"miss\",site=\"*\"}", 1);
    for frame in ["data", "headers", "rst_stream", "bad_request"] {
        assert_eq!(brim.metric(&format!("brim_http2_floods_total{{frame=\"{frame}\"}}")), 0);
    }
}

#[test]
fn a_hundred_streams_at_one_time_are_all_answered() {
    let all_asked = Gate::default();
    let gate = all_asked.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            gate.add_one();
            gate.wait_for(100);
            let path = head.split(' ').nth(1).expect("a path").to_owned();
            peer.send(ok_with("Cache-Control: no-store\r\n", &path));
        }
    });
    let (_brim, client) = edge_of(&origin);
    let paths: Vec<String> = (0..100).map(|number| format!("/{number}")).collect();
    let answers = client.get_all(&paths);
    for (path, answer) in paths.iter().zip(answers) {
        assert_eq!(&answer.text(), path);
    }
}

#[test]
fn http1_is_spoken_on_the_same_port_by_whoever_speaks_it() {
    let origin = Origin::ok();
    let (brim, client) = edge_of(&origin);
    let mut old = Client::connect(brim.address());
    assert_eq!(old.ask(get("/")).status, 200);
    assert_eq!(client.get("/").status, 200);
    // Not yet whole when it is looked at.
    let mut slow = RawClient::connect_silently(brim.address());
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        slow.send(&[*byte]);
    }
    slow.send(&settings_frame(&[]));
    assert!(slow.is_alive(1));
}

#[test]
fn uploads_do_not_wait_for_one_that_stands_still() {
    let origin = echoing();
    let (_brim, client) = edge_of(&origin);
    let still = client.begin(request("POST", "/still"), false);
    for _ in 0..20 {
        assert_eq!(client.ask(request("POST", "/"), &[b'x'; 10_000]).status, 200);
    }
    drop(still);
}
