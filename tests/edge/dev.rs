//! `brim dev`: what whoever writes a front end sees and gets.

use crate::kit::{Brim, Client, Command, Gate, NOBODY, OK, Origin, get, get_with, ok_with};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::Signal;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

const UPGRADE: &str = "GET /hmr?token=x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: vite-hmr\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Protocol: vite-hmr\r\n\r\n";

fn url(origin: &Origin) -> String {
    format!("http://{}", origin.address())
}

/// Says of `/<line>` what the line says.
fn telling() -> Origin {
    Origin::serving(|head, _| match head.split(' ').nth(1) {
        Some("/kept") => ok_with("Cache-Control: max-age=60\r\n", "kept"),
        Some("/confirmed") => ok_with("Cache-Control: no-cache\r\nETag: \"1\"\r\n", "confirmed"),
        Some("/secret") => ok_with("Cache-Control: no-store\r\n", "secret"),
        _ => OK.to_owned(),
    })
}

#[test]
fn each_request_is_a_line_with_its_verdict_and_the_reason() {
    let origin = telling();
    let brim = Brim::dev(&url(&origin), &[]);
    let mut client = Client::connect(brim.address());
    for path in ["/kept", "/kept", "/secret", "/confirmed"] {
        assert_eq!(client.ask(get(path)).status, 200, "{path}");
    }
    client.ask("POST /form HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    let line = |of: &str| brim.access_log(of);
    assert!(
        line("MISS         200 GET /kept  ")
            .contains("nothing is stored for this URL, kept for 60 s")
    );
    assert!(line("HIT          200 GET /kept  ").contains("out of the cache, "));
    assert!(line("GET /secret").ends_with("not kept: no-store (the answer says `no-store`)"));
    assert!(
        line("GET /confirmed")
            .ends_with("nothing is stored for this URL, kept, and confirmed each time")
    );
    assert!(
        line("PASS         200 POST /form")
            .contains("only GET and HEAD are answered from the cache")
    );
    // Nothing of it is meant for a terminal, because there is none.
    assert!(brim.printed_so_far("\x1b").is_none());
    assert_eq!(line("in front of").trim(), format!("in front of {}", url(&origin)));
}

#[test]
fn a_command_that_can_be_pasted_asks_why_a_page_is_not_cached() {
    let brim = Brim::dev(&format!("{}/?a&b", url(&telling())), &[]);
    let line = brim.access_log("why is it (not) cached? ");
    let (_, command) = line.split_once("cached? ").expect("a command");
    let told = std::process::Command::new("sh").args(["-c", command]).output().expect("a shell");
    let said = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success() && said.contains("/?a&b\n"), "{told:?}");
}

#[test]
fn machines_get_the_lines_of_the_access_log_and_nothing_else() {
    let brim = Brim::dev(&url(&telling()), &["--json"]);
    Client::connect(brim.address()).ask(get("/secret"));
    let line = brim.access_log("/secret");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&line["outcome"], &line["detail"]), (&"miss".into(), &"no-store".into()));
    assert!(brim.printed_so_far("Brim is at").is_none());
}

#[test]
fn a_hot_reload_socket_passes_with_what_comes_at_once_and_is_told_when_it_opens() {
    let origin = Origin::start(|peer| {
        let head = peer.head().expect("a head");
        assert!(head.contains("\r\nSec-WebSocket-Protocol: vite-hmr\r\n"), "{head}");
        // In one packet with the head.
        peer.send(format!("{SWITCHED}connected"));
        peer.echo();
    });
    let mut brim = Brim::dev(&url(&origin), &[]);
    let mut client = Client::connect(brim.address());
    client.send(format!("{UPGRADE}early"));
    let answer = client.answer_without_body();
    assert_eq!((answer.status, answer.field("sec-websocket-protocol")), (101, Some("vite-hmr")));
    assert_eq!(client.read_exactly(14), b"connectedearly");
    // While it is open.
    assert!(brim.access_log("101 GET /hmr?token=x").contains("upgraded (WebSocket)"));
    client.send("ping");
    assert_eq!(client.read_exactly(4), b"ping");
    // It does not hold up the end.
    let began = Instant::now();
    brim.signal(Signal::INT);
    assert_eq!(brim.wait().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    client.is_closed();
}

#[test]
fn events_arrive_as_they_are_sent_and_each_page_has_a_stream_of_its_own() {
    let may_end = Gate::default();
    let (ending, listeners) = (may_end.clone(), Gate::default());
    let counted = listeners.clone();
    let origin = Origin::start(move |peer| {
        if peer.head().is_some() {
            counted.add_one();
            peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            );
            peer.send("d\r\ndata: first\n\n\r\n");
            ending.wait_for(1);
            peer.send("c\r\ndata: last\n\n\r\n0\r\n\r\n");
        }
    });
    let brim = Brim::dev(&url(&origin), &[]);
    let mut pages = [Client::connect(brim.address()), Client::connect(brim.address())];
    let mut heads = Vec::new();
    for page in &mut pages {
        page.send(get_with("/events", "Accept: text/event-stream\r\n"));
        let mut seen = Vec::new();
        while !seen.ends_with(b"data: first\n\n\r\n") {
            seen.extend(page.read_exactly(1));
        }
        heads.push(String::from_utf8_lossy(&seen).into_owned());
    }
    listeners.wait_for(2);
    assert!(heads.iter().all(|head| head.contains("detail=event-stream")), "{heads:#?}");
    may_end.add_one();
    for page in &mut pages {
        assert!(String::from_utf8_lossy(&page.read_exactly(17)).contains("data: last"));
    }
    brim.access_log("not kept: event-stream (it has no end");
}

#[test]
fn a_page_is_waiting_until_the_development_server_is_there() {
    // Kept, but nobody listens yet.
    let flags = SocketFlags::CLOEXEC;
    let socket =
        socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a socket");
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("bound");
    let late = TcpListener::from(socket);
    let address = late.local_addr().expect("an address");
    let brim = Brim::dev(&format!("http://{address}"), &[]);
    brim.access_log(&format!("nobody answers at http://{address} yet"));
    let mut client = Client::connect(brim.address());
    let page = client.ask(get_with("/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"));
    assert_eq!((page.status, page.field("cache-control")), (502, Some("no-store")));
    assert!(page.field("content-type").expect("a type").starts_with("text/html"));
    assert!(page.text().contains("http-equiv=\"refresh\""), "{}", page.text());
    assert!(page.text().contains(&address.to_string()), "{}", page.text());
    // Scripts and forms get what they can read.
    for request in [
        get_with("/main.js", "Accept: */*\r\n"),
        "POST / HTTP/1.1\r\nHost: a.test\r\nAccept: text/html\r\nContent-Length: 0\r\n\r\n".into(),
    ] {
        let answer = client.ask(request);
        assert_eq!((answer.status, answer.text().lines().count()), (502, 1));
    }
    brim.access_log("ERROR        502 GET /  ");
    listen(&late, 16).expect("listening");
    let _origin = Origin::start_on(late, |peer| {
        while peer.head().is_some() {
            peer.send(OK);
        }
    });
    brim.access_log("answers now");
    // What failed is left in peace for a moment.
    let until = Instant::now() + crate::kit::PATIENCE;
    while Client::connect(brim.address()).ask(get("/")).status != 200 {
        assert!(Instant::now() < until, "the edge does not see that the origin is there");
    }
}

#[test]
fn a_page_that_asks_again_and_again_fills_no_terminal() {
    let brim = Brim::dev(&format!("http://{NOBODY}"), &[]);
    let mut client = Client::connect(brim.address());
    for path in ["/", "/", "/", "/other", "/"] {
        assert_eq!(client.ask(get(path)).status, 502);
    }
    client.ask(get("/end"));
    brim.access_log("GET /end");
    assert_eq!(brim.printed_count("502 GET /  "), 2);
}

#[test]
fn a_server_on_either_loopback_address_is_localhost() {
    let on = |address: SocketAddr| TcpListener::bind(address).ok();
    let four = on((Ipv4Addr::LOCALHOST, 0).into()).expect("IPv4");
    // Where there is no IPv6 there is no such server.
    for listener in [Some(four), on((Ipv6Addr::LOCALHOST, 0).into())].into_iter().flatten() {
        let port = listener.local_addr().expect("an address").port();
        let origin = Origin::start_on(listener, |peer| {
            while peer.head().is_some() {
                peer.send(OK);
            }
        });
        let brim = Brim::dev(&port.to_string(), &[]);
        assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200, "{port}");
        assert!(origin.only_head().contains("\r\nHost: a.test\r\n"));
    }
}

#[test]
fn redirects_of_the_server_to_itself_stay_at_the_edge() {
    let origin = Origin::start(|peer| {
        let port = peer.socket().local_addr().expect("an address").port();
        while let Some(head) = peer.head() {
            peer.body_of(&head);
            let to = match head.split(' ').nth(1) {
                Some("/own") => format!("http://localhost:{port}/next?a=1"),
                _ => "http://elsewhere.test/".to_owned(),
            };
            peer.send(format!(
                "HTTP/1.1 302 Found\r\nLocation: {to}\r\nX-Kept: yes\r\nContent-Length: 0\r\n\r\n"
            ));
        }
    });
    let brim = Brim::dev(&url(&origin), &["--host-header", "origin"]);
    let mut client = Client::connect(brim.address());
    for request in
        [get("/own"), "POST /own HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n".to_owned()]
    {
        let answer = client.ask(request);
        assert_eq!(answer.field("location"), Some("/next?a=1"));
        assert_eq!((answer.status, answer.field("x-kept")), (302, Some("yes")));
    }
    assert_eq!(client.ask(get("/")).field("location"), Some("http://elsewhere.test/"));
    let host = format!("\r\nHost: {}\r\n", origin.address());
    assert!(origin.last_head().contains(&host), "{}", origin.last_head());
}

#[test]
fn old_servers_and_uploads_pass() {
    let origin = Origin::start(|peer| {
        let head = peer.head().expect("a head");
        let body = peer.body_of(&head);
        peer.send("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n");
        peer.send(if body.is_empty() { b"old".to_vec() } else { body });
    });
    let brim = Brim::dev(&url(&origin), &[]);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "old");
    let upload = "x".repeat(100_000);
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n";
    assert_eq!(Client::connect(brim.address()).ask(format!("{head}{upload}")).text(), upload);
}

#[test]
fn answers_that_say_nothing_are_kept_for_as_long_as_the_developer_says() {
    let origin = Origin::ok();
    let brim = Brim::dev(&url(&origin), &["--ttl", "1m"]);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).told(), "brim; fwd=uri-miss; stored");
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
    assert_eq!(origin.requests(), 1);
}

#[test]
fn the_next_free_port_is_taken_and_never_the_servers_own() {
    let origin = Origin::ok();
    let taken = TcpListener::bind("127.0.0.1:8080");
    let data = tempfile::tempdir().expect("a folder");
    let brim = Brim::dev_anywhere(data, &url(&origin));
    let port = brim.address().port();
    assert!((8080..8180).contains(&port), "{port}");
    // Whoever has the usual port: it is not this edge.
    assert!(port != 8080 || taken.is_err());
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200);
    let (url, own) = (url(&origin), origin.address().to_string());
    let refused = Command::run(&["dev", &url, "--listen", &own]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("the port is that of http://127.0.0.1:"), "{}", refused.stderr);
}

#[test]
fn what_is_no_server_is_wrong_usage() {
    for (arguments, told) in [
        (&["dev", "ftp://localhost"][..], "expected an origin, such as"),
        (&["dev", "99999"], "or a port of this machine alone, such as 5173"),
        (&["dev"], "<URL>"),
        (&["dev", "1", "--simulate", "rain"], "expected latency=80ms"),
        (&["dev", "1", "--watch", "/nowhere/at/all"], "No such file"),
        (&["dev", "1", "--https", "--https-name", "example.com"], "the local authority signs only"),
    ] {
        let finished = Command::run(arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}: {}", finished.stderr);
        let words = finished.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(told) || words.contains(&told[9..]), "{arguments:?}: {words}");
    }
}
