//! Every limit of `[server.limits]` holds.

use crate::kit::{Brim, Client, Gate, OK, Origin, get};
use std::time::{Duration, Instant};

#[test]
fn a_head_has_a_deadline_however_steadily_it_drips() {
    let origin = Origin::ok();
    let brim = Brim::with(origin.address(), "header_timeout = '2s'", "");
    let mut client = Client::connect(brim.address());
    let started = Instant::now();
    // One byte each half second, as a slow attacker sends them: time is what this test is about.
    client.stream().get_ref().set_read_timeout(Some(Duration::from_millis(500))).expect("set");
    let mut answer = Vec::new();
    for byte in get("/a-path-that-takes-a-while-byte-by-byte").bytes() {
        if client.try_send([byte]).is_err() {
            break;
        }
        let mut seen = [0; 1024];
        if let Ok(read) = std::io::Read::read(client.stream(), &mut seen) {
            answer.extend_from_slice(&seen[..read]);
            break;
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    assert!(started.elapsed() < Duration::from_secs(10), "cut off long before the head's end");
    assert_eq!(origin.connections(), 0);
    assert!(brim.access_log("head_timeout").contains("408"));
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let origin = Origin::ok();
    let brim = Brim::with(origin.address(), "idle_timeout = '300ms'", "");
    let mut unused = Client::connect(brim.address());
    unused.is_closed();
    let mut used = Client::connect(brim.address());
    assert_eq!(used.ask(get("/")).status, 200);
    used.is_closed();
    // The empty line of old clients is not the beginning of a head.
    let mut old = Client::connect(brim.address());
    old.send("\r\n");
    old.is_closed();
}

#[test]
fn a_body_that_stops_is_given_up() {
    let origin = Origin::start(|peer| {
        peer.head();
        assert_eq!(peer.rest(), b"half", "no more than what came");
    });
    let brim = Brim::with(origin.address(), "body_timeout = '300ms'", "");
    let mut client = Client::connect(brim.address());
    let answer = client.ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!((answer.status, answer.field("connection")), (408, Some("close")));
    client.is_closed();
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_leaves_no_whole_request() {
    let origin = Origin::start(|peer| {
        peer.head();
        assert_eq!(peer.rest(), b"half");
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("POST /left HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nhalf");
    client.finish();
    client.is_closed();
    assert!(brim.access_log("/left").contains("client_gone"));
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let piece = vec![b'x'; 1 << 20];
        while peer.try_send(&piece) {}
    });
    let brim = Brim::with(origin.address(), "write_timeout = '500ms'", "");
    let mut client = Client::connect(brim.address());
    client.send(get("/stuck"));
    let line = brim.access_log("/stuck");
    assert!(line.contains("client_stalled"), "{line}");
}

#[test]
fn connections_beyond_the_limit_are_told_so_and_a_free_place_is_used() {
    let (asked, may_answer) = (Gate::default(), Gate::default());
    let (ask, wait) = (asked.clone(), may_answer.clone());
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            ask.add_one();
            wait.wait_for(1);
            peer.send(OK);
        }
    });
    let brim = Brim::with(origin.address(), "connections = 2", "");
    let mut first = Client::connect(brim.address());
    first.send(get("/first"));
    let mut second = Client::connect(brim.address());
    second.send(get("/second"));
    asked.wait_for(2);
    let mut third = Client::connect(brim.address());
    let answer = third.answer();
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("5")));
    third.is_closed();
    assert_eq!(brim.metric("brim_connections_refused_total{reason=\"full\"}"), 1);
    second.reset();
    brim.access_log("/second");
    brim.wait_until("brim_connections", |open| open == 1);
    may_answer.add_one();
    assert_eq!(Client::connect(brim.address()).ask(get("/fourth")).status, 200);
    assert_eq!(first.answer().status, 200);
}

#[test]
fn a_slow_upload_is_not_taken_for_a_silent_origin() {
    let origin = Origin::start(|peer| {
        let head = peer.head().expect("a head");
        peer.body_of(&head);
        peer.send(OK);
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         response_timeout = '200ms'\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n");
    for letter in ["a", "b", "c", "d", "e"] {
        // Longer together than the origin has for its answer: time is what this test is about.
        std::thread::sleep(Duration::from_millis(100));
        client.send(letter);
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_client_that_breaks_its_connection_gives_its_place_back_before_the_origin_answers() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.rest();
    });
    let brim = Brim::with(origin.address(), "connections = 1", "");
    let mut client = Client::connect(brim.address());
    client.send(get("/abandoned"));
    while origin.heads().is_empty() {
        std::thread::yield_now();
    }
    rustix::net::sockopt::set_socket_linger(client.stream().get_ref(), Some(Duration::ZERO))
        .expect("set");
    drop(client);
    assert!(brim.access_log("/abandoned").contains("client_gone"));
}
