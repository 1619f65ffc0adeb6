//! WebSocket and other upgrades.

use crate::kit::{Brim, Client, Origin, get};
use std::time::Duration;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Switches and sends everything back.
fn echo() -> Origin {
    Origin::start(|peer| {
        let head = peer.head().expect("a head");
        assert!(head.contains("\r\nConnection: upgrade\r\n"), "{head}");
        assert!(head.contains("\r\nUpgrade: websocket\r\n"), "{head}");
        peer.send(SWITCHED);
        peer.echo();
    })
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_until_both_close() {
    let origin = echo();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    // The first frames may be in one packet with the request.
    client.send(format!("{UPGRADE}early"));
    let answer = client.answer_without_body();
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some("websocket")));
    assert_eq!(answer.field("connection"), Some("upgrade"));
    assert_eq!(client.read_exactly(5), b"early");
    for _ in 0..100 {
        client.send("ping");
        assert_eq!(client.read_exactly(4), b"ping");
    }
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.read_exactly(18), b"GET / HTTP/1.1\r\n\r\n");
    client.finish();
    client.is_closed();
    assert!(brim.access_log("/chat").contains("\"status\":101"));
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn large_streams_in_both_directions_do_not_block_each_other() {
    let origin = echo();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send(UPGRADE);
    assert_eq!(client.answer_without_body().status, 101);
    const TOTAL: usize = 32 << 20;
    let mut sender = client.stream().get_ref().try_clone().expect("cloned");
    let sending = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, &vec![b'x'; TOTAL]).expect("sent");
    });
    assert_eq!(client.read_exactly(TOTAL).len(), TOTAL);
    sending.join().expect("sent all");
}

#[test]
fn an_origin_that_declines_leaves_an_ordinary_connection() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(UPGRADE).status, 200);
    assert_eq!(client.ask(get("/")).status, 200);
}

#[test]
fn what_follows_an_upgrade_request_reaches_nobody_before_the_origin_agrees() {
    let (seen, seeing) = std::sync::mpsc::channel();
    let seen = std::sync::Mutex::new(seen);
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
        seen.lock().expect("lock").send(()).expect("the test listens");
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send(format!("{UPGRADE}\x01\x02 not a request\r\n\r\n"));
    assert_eq!(client.answer().status, 403);
    assert_eq!(client.answer().status, 400);
    client.is_closed();
    drop(brim);
    seeing.recv().expect("the origin's connection ended");
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn a_change_to_another_http_is_not_passed_on() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for protocol in [
        "h2c",
        "websocket, h2c",
        "websocket\r\nUpgrade: h2c",
        "h2c\r\nUpgrade: websocket",
        "HTTP/2.0",
        "TLS/1.2",
    ] {
        let request = UPGRADE.replace("Upgrade: websocket", &format!("Upgrade: {protocol}"));
        assert_eq!(client.ask(request).status, 200);
        let head = origin.heads().pop().expect("a head");
        assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head}");
    }
}

#[test]
fn an_upgraded_connection_that_is_silent_for_too_long_is_closed() {
    let origin = echo();
    let brim = Brim::with(origin.address(), "upgrade_idle_timeout = '500ms'", "");
    let mut client = Client::connect(brim.address());
    client.send(UPGRADE);
    assert_eq!(client.answer_without_body().status, 101);
    // Activity keeps it: longer together than the limit, which is what this test is about.
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(200));
        client.send("ping");
        assert_eq!(client.read_exactly(4), b"ping");
    }
    client.is_closed();
}

#[test]
fn an_answer_that_demands_an_upgrade_says_to_what() {
    let origin = Origin::answering(
        "HTTP/1.1 426 Upgrade Required\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    );
    let brim = Brim::in_front_of(origin.address());
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert_eq!((answer.status, answer.field("upgrade")), (426, Some("websocket")));
    assert_eq!(answer.field("connection"), Some("upgrade"));
}

#[test]
fn a_switch_in_the_middle_of_a_body_is_refused() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send(SWITCHED);
        peer.rest();
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let head =
        UPGRADE.replace("GET", "POST").replace("\r\n\r\n", "\r\nContent-Length: 9\r\n\r\nhalf");
    let answer = client.ask(head);
    assert_eq!((answer.status, answer.field("connection")), (502, Some("close")));
}

#[test]
fn a_side_that_takes_nothing_for_a_while_does_not_end_a_tunnel_that_moves() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::start(move |peer| {
        peer.head();
        peer.send(SWITCHED);
        // Reads nothing while it sends: longer than `read_timeout`, which is what this test is about.
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            peer.send("tick");
        }
        let _ = released.lock().expect("lock").recv();
        peer.echo();
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         read_timeout = '300ms'\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    client.send(UPGRADE);
    assert_eq!(client.answer_without_body().status, 101);
    const TOTAL: usize = 32 << 20;
    let mut sender = client.stream().get_ref().try_clone().expect("cloned");
    let sending = std::thread::spawn(move || {
        std::io::Write::write_all(&mut sender, &vec![b'x'; TOTAL]).expect("sent");
    });
    assert_eq!(client.read_exactly(40), b"tick".repeat(10));
    release.send(()).expect("the origin waits");
    assert_eq!(client.read_exactly(TOTAL).len(), TOTAL);
    sending.join().expect("sent all");
}
