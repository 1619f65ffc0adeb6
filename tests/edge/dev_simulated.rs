//! `brim dev --simulate`: what users of the edge would see.

use crate::kit::{Brim, Client, Origin, get, ok_with};
use std::time::{Duration, Instant};

fn dev(origin: &Origin, simulated: &[&str]) -> Brim {
    let arguments: Vec<&str> = simulated.iter().flat_map(|what| ["--simulate", what]).collect();
    Brim::dev(&format!("http://{}", origin.address()), &arguments)
}

fn kept() -> Origin {
    Origin::answering(ok_with("Cache-Control: max-age=60\r\n", "kept"))
}

fn time_of(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

#[test]
fn users_are_as_far_away_as_it_is_said() {
    let origin = kept();
    let brim = dev(&origin, &["latency=150ms"]);
    let rtt = Duration::from_millis(150);
    let mut client = Client::connect(brim.address());
    // The connection, and the first answer.
    let first = time_of(|| assert_eq!(client.ask(get("/")).text(), "kept"));
    assert!(first >= 2 * rtt, "{first:?}");
    let second = time_of(|| assert_eq!(client.ask(get("/")).told(), "brim; hit"));
    assert!(second >= rtt, "{second:?}");
    // The edge itself is as fast as it is.
    assert!(brim.access_log("HIT ").contains(" ms  "));
}

#[test]
fn what_users_send_and_get_passes_the_distance_whole() {
    let origin = Origin::start(|peer| {
        let head = peer.head().expect("a head");
        let body = peer.body_of(&head);
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
        peer.send(body);
    });
    let brim = dev(&origin, &["latency=1ms", "slow-origin=1ms"]);
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let mut client = Client::connect(brim.address());
    let mut sender = client.stream().get_ref().try_clone().expect("cloned");
    let sent = body.clone();
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3000000\r\n\r\n";
        sender.write_all(&[head.as_bytes(), &sent].concat()).expect("sent");
    });
    let answer = client.answer();
    assert!(answer.is_whole && answer.body == body, "{}", answer.body.len());
    sending.join().expect("sent");
}

#[test]
fn a_slow_origin_delays_what_it_is_asked_and_nothing_else() {
    let origin = kept();
    let brim = dev(&origin, &["slow-origin=300ms"]);
    let mut client = Client::connect(brim.address());
    for path in ["/a", "/b"] {
        let taken = time_of(|| assert_eq!(client.ask(get(path)).text(), "kept"));
        assert!(taken >= Duration::from_millis(300), "{path}: {taken:?}");
    }
    assert_eq!(client.ask(get("/a")).told(), "brim; hit");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn an_origin_with_little_bandwidth_takes_its_time() {
    let origin = Origin::answering(ok_with("", &"x".repeat(30_000)));
    let brim = dev(&origin, &["bandwidth=100KB"]);
    let taken = time_of(|| {
        assert_eq!(Client::connect(brim.address()).ask(get("/")).body.len(), 30_000);
    });
    assert!(taken >= Duration::from_millis(290), "{taken:?}");
}

#[test]
fn a_share_of_the_requests_is_answered_with_an_error() {
    let origin = Origin::answering(ok_with("Cache-Control: no-store\r\n", "good"));
    let brim = dev(&origin, &["error=50%"]);
    let mut client = Client::connect(brim.address());
    let statuses: Vec<u16> = (0..6).map(|_| client.ask(get("/")).status).collect();
    assert_eq!(statuses, [200, 503, 200, 503, 200, 503]);
    assert_eq!(origin.requests(), 3);
}

#[test]
fn what_the_cache_has_stands_in_for_an_origin_that_is_broken() {
    let lines = "Cache-Control: max-age=0, stale-if-error=60\r\nETag: \"1\"\r\n";
    let origin = Origin::answering(ok_with(lines, "old"));
    let brim = dev(&origin, &["error=50%"]);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).text(), "old");
    let answer = client.ask(get("/"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "old"));
    assert!(brim.access_log("STALE ").contains("past its time, and the origin is in trouble"));
}

#[test]
fn an_origin_is_down_from_the_beginning_or_from_then_on() {
    let origin = Origin::answering(ok_with("Cache-Control: max-age=0\r\nETag: \"1\"\r\n", "old"));
    let brim = dev(&origin, &["origin-down"]);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 502);
    brim.access_log("origin_refused");
    assert_eq!(origin.connections(), 0);

    let brim = dev(&origin, &["origin-down=4s"]);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).text(), "old");
    brim.access_log("the origin is down from here on");
    let answer = client.ask(get("/"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "old"));
    assert_eq!(answer.number("ttl").map(|ttl| ttl <= 0), Some(true));
    assert_eq!(client.ask(get("/other")).status, 502);
}
