//! Clients that are slow on purpose cost a bounded time each, and are counted.

use crate::kit::tls::Authority;
use crate::kit::{Brim, Client, Origin, PATIENCE, get};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn closed(reason: &str) -> String {
    format!("brim_connections_closed_total{{reason=\"{reason}\"}}")
}

#[test]
fn a_body_that_only_drips_is_given_up_however_steadily() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.rest();
    });
    let brim = Brim::with(origin.address(), "body_timeout = '500ms'\nrate_min = '1KiB'", "");
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000\r\n\r\n");
    client.stream().get_ref().set_read_timeout(Some(Duration::from_millis(50))).expect("set");
    let started = Instant::now();
    let mut answer = Vec::new();
    // A byte each twentieth of a second, ten times faster than what `body_timeout` alone wants.
    while answer.is_empty() && client.try_send("x").is_ok() {
        assert!(started.elapsed() < PATIENCE, "it goes on for ever");
        let mut seen = [0; 1024];
        if let Ok(read) = client.stream().read(&mut seen) {
            answer.extend_from_slice(&seen[..read]);
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    brim.wait_until(&closed("body_timeout"), |count| count == 1);
}

#[test]
fn a_body_may_drip_where_no_rate_is_asked_for() {
    let origin = Origin::ok();
    let brim = Brim::with(origin.address(), "body_timeout = '1s'\nrate_min = '0B'", "");
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 30\r\n\r\n");
    // Longer together than what there is for none: time is what this test is about.
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(50));
        client.send("x");
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn an_answer_that_is_only_sipped_is_given_up_and_others_are_served_meanwhile() {
    let origin = Origin::start(|peer| {
        let piece = vec![b'x'; 1 << 20];
        while let Some(head) = peer.head() {
            if head.contains("/large") {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
                while peer.try_send(&piece) {}
                return;
            }
            peer.send(crate::kit::OK);
        }
    });
    let brim = Brim::with(origin.address(), "write_timeout = '500ms'\nrate_min = '100MiB'", "");
    let mut client = Client::connect(brim.address());
    client.send(get("/large"));
    let mut other = Client::connect(brim.address());
    let started = Instant::now();
    let mut sip = vec![0; 64 << 10];
    // Something is taken at any time, and far less than the least rate.
    while brim.metric(&closed("write_timeout")) == 0 {
        assert!(started.elapsed() < PATIENCE, "it goes on for ever");
        let _ = client.stream().get_mut().read(&mut sip);
        assert_eq!(other.ask(get("/small")).status, 200);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(brim.access_log("/large").contains("client_stalled"));
}

#[test]
fn everybody_who_was_waited_for_long_enough_is_counted() {
    let origin = Origin::ok();
    let limits = "header_timeout = '200ms'\nidle_timeout = '200ms'\nbody_timeout = '200ms'";
    let brim = Brim::with(origin.address(), limits, "");
    let mut idle = Client::connect(brim.address());
    idle.is_closed();
    brim.wait_until(&closed("idle"), |count| count == 1);
    let mut head = Client::connect(brim.address());
    head.send("GET /half");
    assert_eq!(head.answer().status, 408);
    brim.wait_until(&closed("header_timeout"), |count| count == 1);
    let mut body = Client::connect(brim.address());
    let half = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nhalf";
    assert_eq!(body.ask(half).status, 408);
    brim.wait_until(&closed("body_timeout"), |count| count == 1);
    // Whoever leaves by itself is not.
    let mut polite = Client::connect(brim.address());
    assert_eq!(polite.ask(get("/")).status, 200);
    drop(polite);
    drop((head, body));
    brim.wait_until("brim_connections", |open| open == 0);
    assert_eq!(brim.metric(&closed("idle")), 1);
    assert_eq!(brim.metric(&closed("crowded")), 0);
}

#[test]
fn an_idle_connection_gives_its_place_to_one_that_has_something_to_ask() {
    let origin = Origin::ok();
    let brim = Brim::with(origin.address(), "connections = 3", "");
    let mut never_asked = Client::connect(brim.address());
    brim.wait_until("brim_connections", |open| open == 1);
    let mut asked = Client::connect(brim.address());
    assert_eq!(asked.ask(get("/")).status, 200);
    let mut half = Client::connect(brim.address());
    half.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n");
    brim.wait_until("brim_connections", |open| open == 3);
    // It takes a moment until somebody counts as idle.
    let deadline = Instant::now() + PATIENCE;
    let mut newcomer = loop {
        assert!(Instant::now() < deadline, "nobody gives way");
        let mut newcomer = Client::connect(brim.address());
        let _ = newcomer.try_send(get("/new"));
        if newcomer.try_answer().is_some_and(|answer| answer.status == 200) {
            break newcomer;
        }
    };
    never_asked.is_closed();
    assert_eq!(brim.metric(&closed("crowded")), 1);
    // Whoever is in the middle of a request stays.
    half.send("\r\n");
    assert_eq!(half.answer().status, 200);
    assert_eq!(newcomer.ask(get("/again")).status, 200);
}

#[test]
fn a_flood_of_idle_connections_keeps_nobody_out() {
    const PLACES: usize = 50;
    let origin = Origin::ok();
    let brim = Brim::with(origin.address(), &format!("connections = {PLACES}"), "");
    let mut flood: Vec<_> = (0..PLACES).map(|_| Client::connect(brim.address())).collect();
    brim.wait_until("brim_connections", |open| open == PLACES as u64);
    let deadline = Instant::now() + PATIENCE;
    let mut served = 0;
    while served < 20 {
        assert!(Instant::now() < deadline, "{served} were served");
        let mut client = Client::connect(brim.address());
        let _ = client.try_send(get("/"));
        served += usize::from(client.try_answer().is_some_and(|answer| answer.status == 200));
        flood.push(Client::connect(brim.address()));
    }
}

#[test]
fn a_network_that_has_enough_makes_nobody_give_way() {
    let origin = Origin::ok();
    // Everybody here is one network: it may have as many as there are places.
    let brim = Brim::with(origin.address(), "connections = 2\nconnections_per_client = 2", "");
    let mut idle = Client::connect(brim.address());
    assert_eq!(idle.ask(get("/")).status, 200);
    let mut other = Client::connect(brim.address());
    assert_eq!(other.ask(get("/")).status, 200);
    // Longer than it takes to count as idle: time is what this test is about.
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        let mut beyond = Client::connect(brim.address());
        assert_eq!(beyond.answer().status, 429);
    }
    assert_eq!(idle.ask(get("/")).status, 200);
    assert_eq!(other.ask(get("/")).status, 200);
    assert_eq!(brim.metric(&closed("crowded")), 0);
}

/// Takes all three places, says nothing on any of them, and has others come until one is served.
fn silence_keeps_nobody_out(brim: &Brim, silent_at: SocketAddr, serves: impl Fn() -> bool) {
    let silent: Vec<_> =
        (0..3).map(|_| TcpStream::connect(silent_at).expect("connected")).collect();
    brim.wait_until("brim_connections", |open| open == 3);
    let deadline = Instant::now() + PATIENCE;
    while !serves() {
        assert!(Instant::now() < deadline, "nobody gives way");
    }
    assert!(brim.metric(&closed("crowded")) > 0);
    drop(silent);
}

#[test]
fn handshakes_that_do_not_begin_keep_nobody_out() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let origin = Origin::ok();
    let certificate = authority.issue(&["a.test"]).write(folder.path(), "a");
    let limits = "[server.limits]\nconnections = 3\ntls_timeout = '1h'";
    let brim = Brim::over_tls(origin.address(), &certificate, limits, "");
    let clients = authority.trusting_client();
    let answer = || clients.ask(brim.https(), "a.test", &get("/"));
    silence_keeps_nobody_out(&brim, brim.https(), || {
        answer().is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn connections_that_may_become_http2_and_say_nothing_keep_nobody_out() {
    let origin = Origin::ok();
    let brim = Brim::http2(origin.address(), "connections = 3\nidle_timeout = '1h'", "");
    silence_keeps_nobody_out(&brim, brim.address(), || {
        let mut client = Client::connect(brim.address());
        let _ = client.try_send(get("/"));
        client.try_answer().is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn a_preface_of_http2_that_drips_in_has_the_time_of_a_head() {
    let origin = Origin::ok();
    let brim = Brim::http2(origin.address(), "header_timeout = '300ms'", "");
    let mut client = Client::connect(brim.address());
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut drips = preface.iter().take_while(|byte| {
        // It drips: each byte comes well within the time for all of them.
        std::thread::sleep(Duration::from_millis(100));
        client.try_send([**byte]).is_ok() && brim.metric(&closed("header_timeout")) == 0
    });
    assert!(drips.by_ref().count() < preface.len(), "each byte has bought time");
    brim.wait_until(&closed("header_timeout"), |count| count == 1);
}

#[test]
fn what_is_being_read_does_not_go_for_others_where_the_origin_could_not_send_the_rest() {
    const LEN: usize = 8 << 20;
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            let name = head.as_bytes()[5];
            peer.send(format!(
                "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {LEN}\r\n\r\n"
            ));
            peer.send(vec![name; LEN]);
        }
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[cache.memory]\nsize = '64MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut other = Client::connect(brim.address());
    let mut slow: Vec<(char, Client)> = Vec::new();
    for name in ['A', 'B', 'C'] {
        assert_eq!(other.ask(get(&format!("/{name}"))).body.len(), LEN);
        let mut client = Client::connect(brim.address());
        set_socket_recv_buffer_size(client.stream().get_ref(), 256 << 10).expect("set");
        client.send(get(&format!("/{name}")));
        slow.push((name, client));
    }
    brim.wait_until("brim_connections", |open| open == 4);
    let mut begun: Vec<_> = slow.iter_mut().map(|(_, client)| client.read_exactly(1)).collect();
    // More than memory holds, and wanted more.
    for name in ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'] {
        for _ in 0..3 {
            assert_eq!(other.ask(get(&format!("/{name}"))).body.len(), LEN);
        }
    }
    for (name, mut client) in slow {
        let answer = client.answer_behind(begun.remove(0));
        assert!(answer.is_whole, "{name} ended after {} bytes", answer.body.len());
        assert!(answer.body.iter().all(|byte| *byte == name as u8), "the same bytes");
    }
    // Some of those that came later had to be fetched again.
    assert!(origin.requests() >= 3 + 8);
}
