//! Origins that speak HTTP/2: many requests on one connection, and what can go wrong with it.

use crate::kit::http2::send_all;
use crate::kit::{Brim, Call, Client, Gate, Http2Origin, Origin, get, get_with, head};
use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue};
use pingora::tls::TlsAcceptor;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const KEPT: [(&str, &str); 1] = [("cache-control", "max-age=60")];

/// An edge in front of an origin that is known to speak HTTP/2, with more lines about it.
fn brim_with(origin: SocketAddr, lines: &str) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         http2 = 'always'\n{lines}\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    ))
}

fn brim(origin: &Http2Origin) -> Brim {
    brim_with(origin.address(), "")
}

/// Whoever signs, and an acceptor for `localhost` that offers these protocols.
fn tls(protocols: &[&[u8]]) -> (CertifiedIssuer<'static, KeyPair>, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a configuration");
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (issuer, TlsAcceptor::from(Arc::new(config)))
}

fn brim_over_tls(
    origin: &Http2Origin,
    issuer: &CertifiedIssuer<'static, KeyPair>,
    lines: &str,
) -> Brim {
    let port = origin.address().port();
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\n\
         servers = ['https://localhost:{port}']\n{lines}\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    Brim::trusting(&issuer.pem(), &text)
}

#[test]
fn misses_are_fetched_over_http2_and_hits_are_not() {
    let origin = Http2Origin::start(|call| async move { call.reply(200, &KEPT, "two") });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    let secret = "Cookie: a=b\r\nTE: trailers\r\nConnection: TE\r\n";
    let answer = client.ask(get_with("/a?b=<c>", secret));
    assert_eq!((answer.status, answer.text().as_str()), (200, "two"));
    assert_eq!(answer.field("via"), Some("2 brim"));
    let asked = origin.last_head();
    assert_eq!(asked.method, "GET");
    assert_eq!(asked.uri.to_string(), "http://a.test/a?b=%3Cc%3E");
    assert_eq!(asked.headers["te"], "trailers");
    assert_eq!(asked.headers["cookie"], "a=b");
    assert!(!asked.headers.contains_key("host") && !asked.headers.contains_key("connection"));
    let again = client.ask(get_with("/a?b=<c>", secret));
    assert_eq!((again.text().as_str(), again.field("via")), ("two", Some("2 brim")));
    assert_eq!((origin.requests(), origin.connections()), (1, 1));
}

#[test]
fn http2_is_spoken_where_tls_offers_it_and_http1_where_it_does_not() {
    for (protocols, connections, text) in [
        (&[&b"h2"[..], b"http/1.1"][..], (1, 0), "two"),
        (&[&b"http/1.1"[..]][..], (0, 1), "http/1.1"),
        (&[][..], (0, 1), "http/1.1"),
    ] {
        let (issuer, acceptor) = tls(protocols);
        let origin = Http2Origin::with(Some(acceptor), None, |call| async move { call.ok("two") });
        let brim = brim_over_tls(&origin, &issuer, "");
        let mut client = Client::connect(brim.address());
        for path in ["/1", "/2", "/3"] {
            assert_eq!(client.ask(get(path)).text(), text);
        }
        assert_eq!((origin.connections(), origin.connections_http1()), connections);
        if text == "two" {
            assert_eq!(origin.last_head().uri.scheme_str(), Some("https"));
        }
    }
}

#[test]
fn an_origin_that_is_not_to_be_asked_over_http2_is_not_offered_it() {
    let (issuer, acceptor) = tls(&[b"h2", b"http/1.1"]);
    let origin = Http2Origin::with(Some(acceptor), None, |call| async move { call.ok("two") });
    let brim = brim_over_tls(&origin, &issuer, "http2 = 'never'");
    assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "http/1.1");
    assert_eq!((origin.connections(), origin.connections_http1()), (0, 1));
}

#[test]
fn upgrades_go_over_http1_to_an_origin_that_offers_http2() {
    let (issuer, acceptor) = tls(&[b"h2", b"http/1.1"]);
    let origin = Http2Origin::with(Some(acceptor), None, |call| async move { call.ok("two") });
    let brim = brim_over_tls(&origin, &issuer, "");
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).text(), "two");
    client.send(get_with("/chat", "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    assert_eq!(client.answer_without_body().status, 101);
    client.send("ping");
    assert_eq!(client.read_exactly(4), b"ping");
    assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "two");
    assert_eq!((origin.connections(), origin.connections_http1()), (1, 1));
}

/// Asks so many different things at one time.
fn ask_at_once(brim: &Brim, count: usize) -> Vec<u16> {
    let clients: Vec<_> = (0..count)
        .map(|number| {
            let address = brim.address();
            std::thread::spawn(move || {
                Client::connect(address).ask(get(&format!("/{number}"))).status
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().expect("an answer")).collect()
}

#[test]
fn many_requests_at_one_time_share_one_connection_from_the_first_moment_on() {
    let (issuer, acceptor) = tls(&[b"h2"]);
    let gate = Gate::default();
    let all = Arc::new(tokio::sync::Barrier::new(40));
    let arrived = gate.clone();
    let origin = Http2Origin::with(Some(acceptor), None, move |call| {
        let (all, arrived) = (all.clone(), arrived.clone());
        async move {
            // Nobody is answered before all are there.
            arrived.add_one();
            all.wait().await;
            call.ok("two");
        }
    });
    let brim = brim_over_tls(&origin, &issuer, "");
    assert_eq!(ask_at_once(&brim, 40), vec![200; 40]);
    assert_eq!((gate.count(), origin.connections()), (40, 1));
}

#[test]
fn no_connection_gets_more_requests_than_the_origin_allows() {
    let running = Arc::new([const { AtomicUsize::new(0) }; 64]);
    let most = Arc::new(AtomicUsize::new(0));
    let all = Arc::new(tokio::sync::Barrier::new(6));
    let (seen, highest) = (running.clone(), most.clone());
    let origin = Http2Origin::with(None, Some(2), move |call| {
        let (seen, highest, all) = (seen.clone(), highest.clone(), all.clone());
        async move {
            let now = seen[call.connection].fetch_add(1, Ordering::SeqCst) + 1;
            highest.fetch_max(now, Ordering::SeqCst);
            all.wait().await;
            seen[call.connection].fetch_sub(1, Ordering::SeqCst);
            call.ok("two");
        }
    });
    let brim = brim(&origin);
    assert_eq!(ask_at_once(&brim, 6), vec![200; 6]);
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert!(origin.connections() >= 3);
}

#[test]
fn a_failed_opening_fails_all_who_wait_for_it_at_once() {
    // It accepts, and never says a word of HTTP/2.
    let origin = Origin::start(|peer| drop(peer.rest()));
    let brim =
        brim_with(origin.address(), "connect_timeout = '300ms'\n[origin.ejection]\nfailures = 0");
    assert_eq!(ask_at_once(&brim, 20), vec![504; 20]);
    assert!(origin.connections() <= 3, "{}", origin.connections());
}

#[test]
fn an_origin_that_is_said_to_speak_http2_and_does_not_is_a_bad_gateway() {
    let origin = Origin::ok();
    let brim = brim_with(origin.address(), "");
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 502);
}

#[test]
fn bodies_and_trailers_pass_in_both_directions() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        let (body, trailers) = call.body().await;
        let told = trailers.expect("trailers")["x-sum"].clone();
        let mut answer = call.begin(200, &[("trailer", "x-back")]);
        answer.send_data(Bytes::from(body), false).expect("sent");
        let mut back = HeaderMap::new();
        back.insert("x-back", told);
        back.insert("content-length", HeaderValue::from_static("1"));
        answer.send_trailers(back).expect("sent");
    });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        let answer = client.ask(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 42\r\n\r\n",
        );
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello world"));
        assert_eq!(answer.trailers, "x-back: 42\r\n");
    }
    assert!(!origin.last_head().headers.contains_key("transfer-encoding"));
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_large_upload_arrives_whole() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        let (body, _) = call.body().await;
        let is_whole = body.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8);
        let told = format!("{} {is_whole} {:?}", body.len(), call.head.headers["content-length"]);
        call.ok(&told);
    });
    let brim = brim(&origin);
    let body: Vec<u8> = (0..8 << 20).map(|at| (at % 251) as u8).collect();
    let mut client = Client::connect(brim.address());
    client
        .send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", body.len()));
    let answer = client.ask(&body);
    assert_eq!(answer.text(), format!("{0} true \"{0}\"", body.len()));
}

#[test]
fn interim_answers_and_those_without_a_body_are_passed_on() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        match call.head.uri.path() {
            "/103" => {
                call.inform(103, &[("link", "</a.css>")]);
                call.ok("two");
            }
            "/204" => call.reply(204, &[], ""),
            "/304" => call.reply(304, &[("etag", "\"a\""), ("cache-control", "no-store")], ""),
            "/empty" => call.reply(200, &[("cache-control", "no-store")], ""),
            _ => call.reply(200, &[("content-length", "1234"), ("cache-control", "no-store")], ""),
        }
    });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    let interim = client.ask(get("/103"));
    assert_eq!((interim.status, interim.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.answer().text(), "two");
    assert_eq!(client.ask(get("/204")).status, 204);
    let confirmed = client.ask(get_with("/304", "If-None-Match: \"a\"\r\n"));
    assert_eq!((confirmed.status, confirmed.field("etag")), (304, Some("\"a\"")));
    let empty = client.ask(get("/empty"));
    assert_eq!((empty.status, empty.field("content-length")), (200, Some("0")));
    let head = client.ask_head(head("/head"));
    assert_eq!((head.status, head.field("content-length")), (200, Some("1234")));
    let removed = client.ask("DELETE /204 HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(removed.status, 204);
    assert_eq!((origin.requests(), origin.connections()), (6, 1));
}

#[test]
fn an_origin_is_not_read_faster_than_the_client_and_keeps_nobody_else_waiting() {
    const TOTAL: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let origin = Http2Origin::start(move |mut call: Call| {
        let sent = counted.clone();
        async move {
            if call.head.uri.path() == "/small" {
                return call.ok("two");
            }
            let fields = [("cache-control", "no-store"), ("content-length", &*TOTAL.to_string())];
            let mut answer = call.begin(200, &fields);
            send_all(&mut answer, &vec![b'x'; TOTAL], &sent).await;
        }
    });
    let brim = brim(&origin);
    let mut slow = Client::connect(brim.address());
    slow.send("POST /large HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    slow.read_exactly(16);
    let mut other = Client::connect(brim.address());
    for _ in 0..20 {
        assert_eq!(other.ask(get("/small")).text(), "two");
    }
    // What the sockets and the window hold, and far from all of it.
    assert!(sent.load(Ordering::SeqCst) < TOTAL / 2, "{}", sent.load(Ordering::SeqCst));
    let answer = slow.answer_behind(b"HTTP/1.1 200 OK\r".to_vec());
    assert!(answer.is_whole && answer.body.len() == TOTAL);
    assert_eq!(origin.connections(), 1);
    assert!(brim.peak_rss_bytes() < 128 << 20, "{}", brim.peak_rss_bytes());
}

#[test]
fn a_connection_that_is_going_away_ends_without_an_error_for_anybody() {
    let origin = Http2Origin::start(|call| async move {
        call.go_away();
        call.ok("two");
    });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    for number in 1..=5 {
        assert_eq!(client.ask(get("/")).text(), "two");
        assert_eq!(origin.requests(), number);
    }
    assert!(origin.connections() > 1);
}

/// A frame, as it is on the wire (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).expect("short");
    [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
}

#[test]
fn what_a_goaway_says_was_not_looked_at_is_asked_on_a_new_connection() {
    for request in
        [get("/"), "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nab".to_owned()]
    {
        let connections = AtomicUsize::new(0);
        let origin = Origin::start(move |peer| {
            let is_first = connections.fetch_add(1, Ordering::SeqCst) == 0;
            peer.read_until(b"\r\n\r\nSM\r\n\r\n");
            peer.send(frame(4, 0, 0, b""));
            // Until the head of the request.
            loop {
                let head = peer.read_exactly(9);
                let len = usize::from(head[1]) << 8 | usize::from(head[2]);
                peer.read_exactly(len);
                if head[3] == 1 {
                    break;
                }
            }
            if is_first {
                // Stream 0 was the last one it looked at.
                peer.send(frame(7, 0, 0, &[0; 8]));
            } else {
                // `:status: 200`, and the end.
                peer.send(frame(1, 5, 1, &[0x88]));
            }
            peer.rest();
        });
        let brim = brim_with(origin.address(), "");
        let answer = Client::connect(brim.address()).ask(&request);
        assert_eq!((answer.status, answer.field("content-length")), (200, Some("0")), "{request}");
        assert_eq!(origin.connections(), 2);
    }
}

#[test]
fn a_refused_request_is_sent_once_more_and_so_is_its_body() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        if call.number.is_multiple_of(2) {
            // When some of the body is on its way.
            let _ = call.body.data().await;
            return call.reset(Reason::REFUSED_STREAM);
        }
        let (body, _) = call.body().await;
        let body = String::from_utf8(body).expect("text");
        call.ok(&format!("two {body}"));
    });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    let length = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    for request in [length, chunked] {
        assert_eq!(client.ask(request).text(), "two hello");
    }
    assert_eq!(client.ask(get("/")).text(), "two ");
    assert_eq!(origin.requests(), 6);
}

#[test]
fn a_refused_body_that_is_too_long_to_be_kept_is_not_sent_cut() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        let mut came = 0;
        while came < 1 << 20 {
            let Some(Ok(data)) = call.body.data().await else { break };
            came += data.len();
            let _ = call.body.flow_control().release_capacity(data.len());
        }
        call.reset(Reason::REFUSED_STREAM);
    });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4194304\r\n\r\n");
    let _ = client.try_send(vec![b'x'; 4 << 20]);
    assert_eq!(client.answer().status, 502);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn an_origin_that_refuses_everything_is_asked_a_few_times_only() {
    let origin = Http2Origin::start(|call| async move { call.reset(Reason::REFUSED_STREAM) });
    let brim = brim_with(origin.address(), "[origin.ejection]\nfailures = 0");
    let mut client = Client::connect(brim.address());
    for number in 1..=3 {
        assert_eq!(client.ask(get(&format!("/{number}"))).status, 502);
        assert_eq!(origin.requests(), number * 2);
    }
    assert!(brim.access_log("/1").contains("origin_not_taken"));
}

#[test]
fn a_server_that_refuses_is_left_for_another_one() {
    let refusing = Http2Origin::start(|call| async move { call.reset(Reason::REFUSED_STREAM) });
    let origin = Http2Origin::start(|call| async move { call.ok("two") });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}', 'http://{}']\nhttp2 = 'always'\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n",
        refusing.address(),
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    for path in ["/1", "/2", "/3", "/4"] {
        assert_eq!(client.ask(get(path)).text(), "two");
    }
    let refused = refusing.requests();
    assert!(refused > 0 && refused.is_multiple_of(2), "twice, whenever it was its turn: {refused}");
}

/// A broken answer never looks whole, and is not stored.
fn is_broken_off(
    break_off: impl Fn(&mut Call, h2::SendStream<Bytes>) + Send + Sync + 'static,
    fields: &'static [(&str, &str)],
) {
    let break_off = Arc::new(break_off);
    let origin = Http2Origin::start(move |mut call: Call| {
        let break_off = break_off.clone();
        async move {
            if call.number > 0 {
                return call.reply(200, &KEPT, "whole");
            }
            let mut answer = call.begin(200, fields);
            answer.send_data(Bytes::from_static(b"half"), false).expect("sent");
            break_off(&mut call, answer);
        }
    });
    let brim = brim(&origin);
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert!(answer.status == 502 || !answer.is_whole, "{answer:?}");
    // Who asks while it is being broken off gets the same.
    brim.wait_until("brim_fills_in_flight", |fills| fills == 0);
    let again = Client::connect(brim.address()).ask(get("/"));
    assert_eq!((again.status, again.text().as_str()), (200, "whole"));
}

const LONG: [(&str, &str); 2] = [("cache-control", "max-age=60"), ("content-length", "8")];

#[test]
fn an_answer_whose_stream_is_reset_is_broken_off() {
    for reason in [Reason::INTERNAL_ERROR, Reason::NO_ERROR, Reason::CANCEL] {
        is_broken_off(move |_, mut answer| answer.send_reset(reason), &KEPT);
    }
    is_broken_off(|_, mut answer| answer.send_reset(Reason::INTERNAL_ERROR), &LONG);
}

#[test]
fn an_answer_whose_connection_ends_is_broken_off() {
    is_broken_off(
        |call, answer| {
            call.cut_connection();
            std::mem::forget(answer)
        },
        &KEPT,
    );
    is_broken_off(
        |call, answer| {
            call.cut_connection();
            std::mem::forget(answer)
        },
        &LONG,
    );
    is_broken_off(
        |call, answer| {
            call.end_connection(Reason::INTERNAL_ERROR);
            std::mem::forget(answer)
        },
        &KEPT,
    );
}

#[test]
fn an_answer_of_another_length_than_it_said_is_broken_off() {
    let send = |mut answer: h2::SendStream<Bytes>, data: &'static [u8]| {
        answer.send_data(Bytes::from_static(data), true).expect("sent");
    };
    is_broken_off(move |_, answer| send(answer, b"123"), &LONG);
    is_broken_off(move |_, answer| send(answer, b"12345"), &LONG);
    is_broken_off(
        move |_, mut answer| answer.send_trailers(HeaderMap::new()).expect("sent"),
        &LONG,
    );
}

#[test]
fn an_early_answer_counts_though_the_rest_of_the_request_is_not_wanted() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        let _ = call.body.data().await;
        let fields = [("content-length", "5")];
        let mut answer = call.begin(413, &fields);
        // It is left with the request unread: a reset without an error follows.
        answer.send_data(Bytes::from_static(b"large"), true).expect("sent");
    });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4194304\r\n\r\n");
    let _ = client.try_send(vec![b'x'; 1 << 20]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "large"));
}

#[test]
fn a_silent_request_times_out_and_the_others_on_its_connection_do_not_notice() {
    let origin = Http2Origin::start(|call| async move {
        match call.head.uri.path() {
            "/silent" => std::future::pending().await,
            _ => call.ok("two"),
        }
    });
    let brim =
        brim_with(origin.address(), "response_timeout = '300ms'\n[origin.ejection]\nfailures = 0");
    let mut silent = Client::connect(brim.address());
    silent.send("POST /silent HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    origin.wait_for_requests(1);
    let mut other = Client::connect(brim.address());
    assert_eq!(other.ask(get("/1")).text(), "two");
    assert_eq!(origin.connections(), 1);
    assert_eq!(silent.answer().status, 504);
    assert_eq!(other.ask(get("/2")).text(), "two");
}

#[test]
fn a_connection_that_is_dead_without_a_word_gets_no_more_requests() {
    let origin = Http2Origin::start(|call| async move {
        if call.connection == 0 {
            call.freeze_connection();
            return std::future::pending().await;
        }
        call.ok("two");
    });
    let lines = "response_timeout = '300ms'\n[origin.ejection]\nfailures = 0";
    let brim = brim_with(origin.address(), lines);
    let mut client = Client::connect(brim.address());
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(post).status, 504);
    for _ in 0..3 {
        assert_eq!(client.ask(post).text(), "two");
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_unused_connection_is_closed_after_its_time() {
    let origin = Http2Origin::start(|call| async move { call.ok("two") });
    let brim = brim_with(origin.address(), "idle_timeout = '100ms'");
    assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "two");
    let deadline = std::time::Instant::now() + crate::kit::PATIENCE;
    while origin.closed() < 1 {
        assert!(std::time::Instant::now() < deadline, "it stays open");
        std::thread::yield_now();
    }
    assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "two");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_connection_that_closed_meanwhile_costs_nobody_an_answer() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        if call.number == 1 {
            // Asked on a connection that was used before, and gone without an answer.
            call.cut_connection();
            return std::mem::forget(call);
        }
        let _ = call.body().await;
        call.ok("two");
    });
    let brim = brim(&origin);
    let mut client = Client::connect(brim.address());
    for path in ["/1", "/2", "/3"] {
        assert_eq!(client.ask(get(path)).text(), "two");
    }
    assert_eq!((origin.requests(), origin.connections()), (4, 2));
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let origin = Http2Origin::start(|mut call: Call| async move {
        let value = "x".repeat(10_000);
        let names: Vec<String> = (0..20).map(|number| format!("x-{number}")).collect();
        let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &*value)).collect();
        let _ = call.begin(200, &fields);
        std::future::pending::<()>().await;
    });
    let brim = brim(&origin);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 502);
    assert!(brim.access_log("\"/\"").contains("origin_garbage"));
}
