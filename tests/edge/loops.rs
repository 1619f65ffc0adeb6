//! Requests that come round again end at once.

use crate::kit::{Brim, Client, Origin, get, get_with, ok_with};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

/// A door whose address is known before it is known where it leads.
struct Door {
    address: SocketAddr,
    leads_to: Arc<OnceLock<SocketAddr>>,
}

impl Door {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let leads_to = Arc::<OnceLock<SocketAddr>>::default();
        let to = leads_to.clone();
        std::thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let Some(to) = to.get().and_then(|to| TcpStream::connect(to).ok()) else {
                    continue;
                };
                let (from_too, to_too) = (from.try_clone(), to.try_clone());
                std::thread::spawn(move || copy(from, to));
                std::thread::spawn(move || {
                    copy(to_too.expect("cloned"), from_too.expect("cloned"))
                });
            }
        });
        Self { address, leads_to }
    }

    fn leads_to(&self, brim: &Brim) {
        self.leads_to.set(brim.address()).expect("once");
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

#[track_caller]
fn is_ended(address: SocketAddr) {
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || Client::connect(address).ask(get("/round"));
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|client| client.join().expect("answered")).collect()
    });
    for answer in answers {
        assert_eq!(answer.status, 508, "{}", answer.head);
        assert!(answer.text().contains("508 Loop Detected: the request was here before"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert!(answer.field("cache-status").is_some_and(|told| told.contains("; detail=loop, ")));
    }
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(Client::connect(address).ask(post).status, 508);
}

#[test]
fn a_server_that_is_its_own_origin_says_so() {
    let door = Door::new();
    let brim = Brim::in_front_of(door.address);
    door.leads_to(&brim);
    is_ended(brim.address());
    let line = brim.access_log("\"reason\":\"loop\"");
    assert!(line.contains("\"status\":508") && line.contains("leads back"), "{line}");
}

#[test]
fn two_servers_that_ask_each_other_say_so() {
    let door = Door::new();
    let far = Brim::in_front_of(door.address);
    let near = Brim::in_front_of(far.address());
    door.leads_to(&near);
    is_ended(near.address());
    is_ended(far.address());
}

#[test]
fn what_a_request_tells_of_its_way_goes_on_with_this_server_behind_it() {
    let origin = Origin::serving(|_, _| ok_with(HOUR, ""));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let way = "CDN-Loop: other;a=\"b, c\"\r\nConnection: CDN-Loop\r\ncdn-loop: brim;id=1\r\n";
    for line in ["GET / HTTP/1.1", "POST / HTTP/1.1"] {
        client.ask(format!("{line}\r\nHost: a.test\r\n{way}\r\n"));
        let head = origin.last_head();
        let told: Vec<_> =
            head.lines().filter(|line| line.to_ascii_lowercase().starts_with("cdn-loop")).collect();
        let [told] = told[..] else { panic!("{head}") };
        let id = told.strip_prefix("CDN-Loop: other;a=\"b, c\", brim;id=1, brim;id=").expect(told);
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{told}");
        assert!(head.contains(&format!("\r\nVia: 1.1 brim ({id})\r\n")), "{head}");
    }
    let answer = client.ask(get("/"));
    assert_eq!((answer.field("via"), answer.field("cdn-loop")), (Some("1.1 brim"), None));
}

#[test]
fn the_way_of_a_request_makes_no_other_answer() {
    let origin = Origin::answering(ok_with(HOUR, ""));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for way in ["a", "b, c;d=e", "\"", "brim;id=1"] {
        assert_eq!(client.ask(get_with("/", &format!("CDN-Loop: {way}\r\n"))).status, 200);
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn too_long_a_way_is_not_gone_on_and_nobody_else_pays_for_it() {
    let origin = Origin::answering(ok_with(HOUR, "it"));
    let parent = Brim::in_front_of(origin.address());
    let edge = Brim::in_front_of(parent.address());
    let mut client = Client::connect(edge.address());
    let servers = |count: usize| format!("CDN-Loop: {}\r\n", vec!["brim"; count].join(","));
    for (way, sentence) in [
        (servers(9), "too many servers"),
        (format!("CDN-Loop: {}\r\n", "x".repeat(1025)), "too long"),
        // Too many only when the edge has added itself.
        (servers(8), "too many servers"),
    ] {
        let answer = client.ask(get_with("/", &way));
        assert_eq!(answer.status, 508, "{way}");
        assert!(answer.text().contains(sentence), "{}", answer.text());
    }
    assert_eq!(origin.requests(), 0);
    let told = client.ask(get("/")).told();
    assert_eq!(told, "brim; fwd=uri-miss; stored, brim; fwd=uri-miss; stored");
    let hit = client.ask(get_with("/", &servers(8)));
    assert_eq!((hit.status, hit.text().as_str()), (200, "it"));
    assert_eq!(origin.requests(), 1);
}
