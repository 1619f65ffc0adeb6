//! What goes wrong with one request over HTTP/2 is nothing to the others, to the server or to memory.

use crate::kit::{Brim, Call, Client, Gate, Http2Origin, Origin, get};
use bytes::Bytes;
use h2::Reason;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{JoinHandle, spawn};
use tokio::sync::Semaphore;

/// An edge in front of an origin that is known to speak HTTP/2, with more lines about it.
fn brim_with(origin: SocketAddr, lines: &str) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         http2 = 'always'\n{lines}\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    ))
}

/// Asks so many different things at one time.
fn ask_at_once(brim: &Brim, count: usize) -> Vec<JoinHandle<u16>> {
    let address = brim.address();
    let ask = move |number| Client::connect(address).ask(get(&format!("/{number}"))).status;
    (0..count).map(|number| spawn(move || ask(number))).collect()
}

fn statuses(asked: Vec<JoinHandle<u16>>) -> Vec<u16> {
    asked.into_iter().map(|client| client.join().expect("an answer")).collect()
}

/// Many answers like this one, and one on the same connection that lasts as long as all of them. How
/// many of the many came whole.
fn an_innocent_answer_stays_whole(
    count: usize,
    answer: impl Fn(Call) + Send + Sync + 'static,
) -> (Http2Origin, usize) {
    let ends = Arc::new(Semaphore::new(0));
    let (ended, answer) = (ends.clone(), Arc::new(answer));
    let origin = Http2Origin::start(move |mut call: Call| {
        let (ended, answer) = (ended.clone(), answer.clone());
        async move {
            if call.head.uri.path() != "/innocent" {
                return answer(call);
            }
            let mut body = call.begin(200, &[("cache-control", "no-store")]);
            body.send_data(Bytes::from_static(b"begun "), false).expect("sent");
            let _ = ended.acquire().await.expect("the end");
            let _ = body.send_data(Bytes::from_static(b"ended"), true);
        }
    });
    let brim = brim_with(origin.address(), "[origin.ejection]\nfailures = 0");
    let mut innocent = Client::connect(brim.address());
    innocent.send(get("/innocent"));
    origin.wait_for_requests(1);
    let is_whole = |number: &usize| {
        let mut client = Client::connect(brim.address());
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"));
        let answer = client.rest();
        answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"two\r\n0\r\n\r\n")
    };
    let whole = (0..count).filter(is_whole).count();
    ends.add_permits(1);
    let answer = innocent.answer();
    assert!(answer.is_whole, "{answer:?}");
    assert_eq!(answer.text(), "begun ended");
    (origin, whole)
}

#[test]
fn many_answers_that_break_the_rules_do_not_end_the_connection_of_others() {
    let (_, whole) = an_innocent_answer_stays_whole(1100, |call| {
        call.reply(200, &[("cache-control", "no-store"), ("content-length", "1")], "longer");
    });
    assert_eq!(whole, 0);
}

#[test]
fn many_empty_frames_do_not_end_the_connection_of_others() {
    let (origin, whole) = an_innocent_answer_stays_whole(130, |mut call| {
        let mut body = call.begin(200, &[("cache-control", "no-store")]);
        body.send_data(Bytes::new(), false).expect("sent");
        body.send_data(Bytes::from_static(b"two"), true).expect("sent");
    });
    assert_eq!(whole, 130);
    assert!(origin.connections() > 1);
}

#[test]
fn an_opening_that_fails_is_one_failure_however_many_wait_for_it() {
    let (gate, tried) = (Gate::default(), AtomicUsize::new(0));
    let opened = gate.clone();
    let origin = Origin::start(move |peer| {
        if tried.fetch_add(1, Ordering::SeqCst) == 0 {
            opened.wait_for(1);
            return;
        }
        peer.rest();
    });
    let brim = brim_with(origin.address(), "[origin.ejection]\nfailures = 2");
    let asked = ask_at_once(&brim, 12);
    brim.wait_for_metric("brim_origin_requests_in_flight{origin=\"o\"}", 12);
    gate.add_one();
    assert_eq!(statuses(asked), vec![502; 12]);
    let server = format!("origin=\"o\",server=\"{}\"", origin.address());
    assert_eq!(brim.metric(&format!("brim_origin_ejections_total{{{server}}}")), 0);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_server_that_refuses_streams_gets_as_many_as_it_takes_and_no_more_connections() {
    const TAKEN: usize = 4;
    const ASKED: usize = 16;
    let (busy, refused) = (Arc::new(AtomicUsize::new(0)), Gate::default());
    let (ends, is_refused) = (Arc::new(Semaphore::new(0)), refused.clone());
    let ended = ends.clone();
    let origin = Http2Origin::start(move |call: Call| {
        let (busy, ended, refused) = (busy.clone(), ended.clone(), is_refused.clone());
        async move {
            if busy.fetch_add(1, Ordering::SeqCst) >= TAKEN {
                busy.fetch_sub(1, Ordering::SeqCst);
                call.reset(Reason::REFUSED_STREAM);
                return refused.add_one();
            }
            let _ = ended.acquire().await.expect("the end");
            busy.fetch_sub(1, Ordering::SeqCst);
            call.ok("two");
        }
    });
    let brim = brim_with(origin.address(), "");
    let asked = ask_at_once(&brim, ASKED);
    refused.wait_for(1);
    brim.wait_for_metric("brim_origin_requests_in_flight{origin=\"o\"}", ASKED as u64);
    ends.add_permits(1);
    assert_eq!(statuses(asked), vec![200; ASKED]);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn checks_leave_no_connections_behind() {
    let origin = Http2Origin::start(|call| async move { call.ok("well") });
    let _brim = brim_with(
        origin.address(),
        "idle_timeout = '10m'\n[origin.health]\npath = '/health'\ninterval = '100ms'",
    );
    origin.wait_for_requests(4);
    let deadline = std::time::Instant::now() + crate::kit::PATIENCE;
    while origin.closed() < 3 {
        assert!(std::time::Instant::now() < deadline, "{} were closed", origin.closed());
        std::thread::yield_now();
    }
}

/// A frame, as it is on the wire (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("short").to_be_bytes();
    [&[0, len[0], len[1], kind, flags, 0, 0, 0, stream], payload].concat()
}

#[test]
fn interim_heads_without_an_end_do_not_fill_the_memory_while_the_client_does_not_read() {
    const HEADS: usize = 200_000;
    const VALUE_BYTES: usize = 3900;
    let sent = Gate::default();
    let told = sent.clone();
    let origin = Origin::start(move |peer| {
        peer.read_until(b"\r\n\r\nSM\r\n\r\n");
        peer.send(frame(4, 0, 0, b""));
        // Until the head of the request.
        loop {
            let head = peer.read_exactly(9);
            peer.read_exactly(usize::from(head[1]) << 8 | usize::from(head[2]));
            if head[3] == 1 {
                break;
            }
        }
        // `:status: 103` each time, with a long field that is in the table after the first time
        // (RFC 7541, sections 6.1 and 6.2).
        let status = b"\x08\x03103";
        let long = [&b"\x40\x03x-a\x7f\xbd\x1d"[..], &[b'v'; VALUE_BYTES]].concat();
        peer.send(frame(1, 4, 1, &[status, &long[..]].concat()));
        let again = frame(1, 4, 1, &[&status[..], &[0xbe; 30]].concat());
        for _ in 0..HEADS / 1000 {
            peer.send(again.repeat(1000));
        }
        told.add_one();
        peer.rest();
    });
    let brim = brim_with(origin.address(), "");
    let mut client = Client::connect(brim.address());
    // Fewer heads than are allowed fill it.
    set_socket_recv_buffer_size(client.stream().get_ref(), 4 * 1024).expect("set");
    client.send("OPTIONS / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    sent.wait_for(1);
    assert!(brim.peak_rss_bytes() < 192 << 20, "{}", brim.peak_rss_bytes());
}
