//! Bodies of any size, in both directions, never held whole.

use crate::kit::{Brim, Client, OK, Origin, get};
use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc;

const MIB: u64 = 1024 * 1024;

/// Reads and forgets everything the peer sends, `total` bytes of it.
fn swallow(stream: &mut impl Read, total: u64) -> u64 {
    std::io::copy(&mut stream.take(total), &mut std::io::sink()).expect("bytes")
}

#[test]
fn an_upload_of_a_gibibyte_does_not_grow_memory() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            let mut left: u64 = 1024 * MIB;
            assert!(head.contains("Content-Length: 1073741824\r\n"));
            while left > 0 {
                left -= peer.read_exactly(MIB as usize).len() as u64;
            }
            peer.send(OK);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    let before = brim.peak_rss_bytes();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1073741824\r\n\r\n");
    let piece = vec![b'x'; MIB as usize];
    for _ in 0..1024 {
        client.send(&piece);
    }
    assert_eq!(client.answer().status, 200);
    let grown = brim.peak_rss_bytes() - before;
    assert!(grown < 16 * MIB, "grew by {grown} bytes");
}

#[test]
fn a_download_is_read_from_the_origin_no_faster_than_the_client_takes_it() {
    const TOTAL: u64 = 512 * MIB;
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"));
            let piece = vec![b'x'; MIB as usize];
            for _ in 0..TOTAL / MIB {
                if !peer.try_send(&piece) {
                    return;
                }
            }
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let before = brim.peak_rss_bytes();
    let mut client = Client::connect(brim.address());
    client.send(get("/"));
    let head = client.answer_without_body();
    assert_eq!(head.status, 200);
    assert_eq!(swallow(client.stream(), TOTAL), TOTAL);
    let grown = brim.peak_rss_bytes() - before;
    assert!(grown < 16 * MIB, "grew by {grown} bytes");
}

#[test]
fn chunks_and_trailers_pass_both_ways() {
    let (told, telling) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            told.lock().expect("lock").send(peer.chunks()).expect("the test listens");
            peer.send(
                "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5;ext=\"a;b\"\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: abc\r\nContent-Length: 5\r\nxkey: a\r\n\r\n",
            );
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        let answer = client.ask(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTrailer: X-Check\r\n\
             Connection: X-Hop\r\nTransfer-Encoding: Chunked\r\n\r\n\
             3;name;other=value\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-Check: 42\r\nX-Hop: 1\r\nX-More: a b\r\n\r\n",
        );
        assert_eq!((answer.text().as_str(), answer.is_whole), ("hello world", true));
        // A field that frames messages must not come after one, and names are for caches only.
        assert_eq!(answer.trailers, "X-Sum: abc\r\n");
        let (body, trailers) = telling.recv().expect("the origin told");
        assert_eq!(body, b"abc0123456789");
        assert_eq!(trailers, "X-Check: 42\r\nX-More: a b\r\n");
    }
    let head = &origin.heads()[0];
    assert!(
        head.contains("\r\nTE: trailers\r\n") && head.contains("\r\nTrailer: X-Check\r\n"),
        "{head}"
    );
}

#[test]
fn each_chunk_reaches_the_other_side_before_the_next_is_there() {
    let (relay, relayed) = mpsc::channel();
    let relay = Mutex::new(relay);
    let origin = Origin::start(move |peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..3 {
            // "1\r\nX\r\n"
            let chunk = peer.read_exactly(6);
            relay.lock().expect("lock").send(chunk.clone()).expect("the test listens");
            peer.send(chunk);
        }
        peer.send("0\r\n\r\n");
        peer.rest();
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for letter in ["a", "b", "c"] {
        client.send(format!("1\r\n{letter}\r\n"));
        assert_eq!(relayed.recv().expect("relayed"), format!("1\r\n{letter}\r\n").as_bytes());
        if letter == "a" {
            assert_eq!(client.answer_without_body().status, 200);
        }
        assert_eq!(client.read_exactly(6), format!("1\r\n{letter}\r\n").as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.read_exactly(5), b"0\r\n\r\n");
}

#[test]
fn a_client_that_expects_100_gets_it_from_the_origin_and_sends_then() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            assert!(head.contains("\r\nExpect: 100-continue\r\n"));
            peer.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(peer.body_of(&head), b"hello");
            peer.send(OK);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for framing in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 100);
        client.send(if framing.starts_with('C') { "hello" } else { "5\r\nhello\r\n0\r\n\r\n" });
        assert_eq!(client.answer().text(), "ok");
    }
}

#[test]
fn an_origin_may_answer_instead_of_asking_for_the_body() {
    let origin = Origin::answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client
        .ask("PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (401, "no"));
    // Whether the body comes is unknown, so the next request could be read out of it.
    assert_eq!(answer.field("connection"), Some("close"));
    client.finish();
    client.is_closed();
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send(
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge",
        );
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n");
    client.send(vec![b'x'; 1000]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "large"));
    assert_eq!(answer.field("connection"), Some("close"));
}

#[test]
fn a_get_with_a_body_is_passed_with_it() {
    let (told, telling) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            let body = peer.body_of(&head);
            told.lock().expect("lock").send(body).expect("the test listens");
            peer.send(OK);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(answer.status, 200);
    assert_eq!(telling.recv().expect("told"), b"abc");
}

#[test]
fn a_client_that_stops_sending_gets_the_rest_of_an_early_answer() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let origin = Origin::start(move |peer| {
        peer.head();
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 100000\r\n\r\n");
        let _ = released.lock().expect("lock").recv();
        peer.send(vec![b'x'; 100_000]);
        peer.rest();
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nhalf");
    let head = client.answer_without_body();
    assert_eq!((head.status, head.field("connection")), (413, Some("close")));
    client.finish();
    release.send(()).expect("the origin waits");
    assert_eq!(client.rest().len(), 100_000);
}

#[test]
fn a_body_in_tiny_chunks_is_passed_in_larger_ones() {
    let (told, telling) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |peer| {
        peer.head();
        let raw = peer.read_until(b"0\r\n\r\n");
        told.lock().expect("lock").send(raw).expect("the test listens");
        peer.send(OK);
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let mut request =
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    request += &"1\r\nx\r\n".repeat(10_000);
    request += "0\r\n\r\n";
    assert_eq!(client.ask(request).status, 200);
    let raw = telling.recv().expect("told");
    assert_eq!(raw.iter().filter(|byte| **byte == b'x').count(), 10_000);
    assert!(raw.len() < 11_000, "{} bytes for 10,000", raw.len());
}

#[test]
fn an_origin_that_answers_early_and_reads_on_gets_the_whole_body() {
    let (told, telling) = mpsc::channel();
    let told = Mutex::new(told);
    let origin = Origin::start(move |peer| {
        peer.head();
        peer.send("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        told.lock().expect("lock").send(peer.read_exactly(200_000).len()).expect("heard");
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 200000\r\n\r\n");
    assert_eq!(client.answer().status, 202);
    client.send(vec![b'x'; 200_000]);
    assert_eq!(telling.recv().expect("told"), 200_000);
    client.is_closed();
}
