//! What clients get when an origin fails, and what stays usable.

use crate::kit::{Brim, Client, NOBODY, OK, Origin, get};
use rustix::net::sockopt::set_socket_linger;
use std::time::Duration;

const QUICK: &str = "connect_timeout = '1s'\nresponse_timeout = '300ms'\nread_timeout = '300ms'";

fn brim_for(server: impl std::fmt::Display) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{server}']\n\
         {QUICK}\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    ))
}

/// Asks twice on one connection: the fault must not cost the client its connection.
#[track_caller]
fn fails_with(brim: &Brim, status: u16, reason: &str) {
    let mut client = Client::connect(brim.address());
    for turn in 0..2 {
        let answer = client.ask(get("/fails"));
        assert_eq!(answer.status, status, "turn {turn}: {}", answer.text());
        assert_eq!(answer.field("connection"), None);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert!(answer.text().len() < 200, "a short body");
        assert!(!answer.text().contains("127.0.0."), "no address for the client");
    }
    let line = brim.access_log("/fails");
    assert!(line.contains(&format!("\"reason\":\"{reason}\"")), "{line}");
    assert!(brim.error_log("origin").contains(reason));
}

#[test]
fn an_origin_that_refuses_connections() {
    fails_with(&brim_for(NOBODY), 502, "origin_refused");
}

#[test]
fn a_body_that_has_arrived_does_not_cost_the_client_its_connection() {
    let brim = brim_for(NOBODY);
    let mut client = Client::connect(brim.address());
    for body in
        ["Content-Length: 3\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
    {
        let answer = client.ask(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
        assert_eq!((answer.status, answer.field("connection")), (502, None));
    }
}

#[test]
fn an_origin_whose_name_does_not_exist() {
    let brim = brim_for("name.invalid");
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert_eq!(answer.status, 502);
    assert!(brim.access_log("origin_unreachable").contains("502"));
}

#[test]
fn an_origin_that_never_accepts() {
    // A listener whose queue is full takes no more connections and does not refuse them either.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .expect("a socket");
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    rustix::net::bind(&socket, &any).expect("bound");
    rustix::net::listen(&socket, 0).expect("listening");
    let address = std::net::TcpListener::from(socket.try_clone().expect("cloned"));
    let address = address.local_addr().expect("an address");
    let mut waiting = Vec::new();
    while let Ok(stream) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        waiting.push(stream);
    }
    fails_with(&brim_for(address), 504, "origin_connect_timeout");
}

#[test]
fn an_origin_that_says_nothing() {
    let origin = Origin::start(|peer| drop(peer.rest()));
    fails_with(&brim_for(origin.address()), 504, "origin_silent");
}

#[test]
fn an_origin_that_closes_without_an_answer() {
    let origin = Origin::start(|peer| drop(peer.head()));
    fails_with(&brim_for(origin.address()), 502, "origin_closed");
}

#[test]
fn an_origin_that_resets_the_connection() {
    let origin = Origin::start(|peer| {
        peer.head();
        set_socket_linger(peer.socket(), Some(Duration::ZERO)).expect("set");
    });
    fails_with(&brim_for(origin.address()), 502, "origin_closed");
}

#[test]
fn an_origin_that_talks_garbage() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ] {
        let origin = Origin::answering(garbage);
        let brim = brim_for(origin.address());
        let answer = Client::connect(brim.address()).ask(get("/"));
        assert_eq!(answer.status, 502, "{garbage:?}");
        assert!(brim.access_log("origin_garbage").contains("502"), "{garbage:?}");
    }
}

#[test]
fn a_head_that_breaks_off_or_never_ends() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-");
    });
    let brim = brim_for(origin.address());
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 502);
    assert!(brim.access_log("origin_truncated").contains("502"));

    let origin = Origin::start(|peer| {
        peer.head();
        while peer.try_send("X-More: and more\r\n") {}
    });
    let brim = brim_for(origin.address());
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 502);

    let origin = Origin::start(|peer| {
        peer.head();
        while peer.try_send("HTTP/1.1 103 Early Hints\r\n\r\n") {}
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    client.send(get("/"));
    let status = std::iter::repeat_with(|| client.answer().status).find(|status| *status != 103);
    assert_eq!(status, Some(502));
}

#[test]
fn a_body_that_breaks_off_breaks_the_client_off_too() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\nzz\r\n",
    ] {
        let origin = Origin::start(move |peer| {
            peer.head();
            peer.send(answer);
        });
        let brim = brim_for(origin.address());
        let mut client = Client::connect(brim.address());
        let answer = client.ask(get("/broken"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "partial"));
        assert!(!answer.is_whole);
        client.is_closed();
        assert!(brim.access_log("/broken").contains("\"outcome\":\"error\""));
    }
}

#[test]
fn a_body_that_stops_breaks_the_client_off_in_time() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial");
        peer.rest();
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client.ask(get("/stalled"));
    assert!(!answer.is_whole);
    assert!(brim.access_log("/stalled").contains("origin_stalled"));
}

#[test]
fn a_pooled_connection_that_is_dead_costs_the_client_nothing() {
    // Answers once on a connection; what comes second is met with a close.
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send(OK);
        peer.head();
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..5 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn a_request_that_may_have_been_acted_on_is_not_sent_twice() {
    let origin = Origin::start(|peer| {
        peer.head();
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask("POST /once HTTP/1.1\r\nHost: a.test\r\n\r\n").status, 502);
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn a_request_that_can_be_sent_only_once_is_not_sent_where_the_origin_may_be_closing() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send(OK);
        peer.head();
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).status, 200);
    for body in ["\r\n", "Content-Length: 3\r\n\r\nabc"] {
        let answer = client.ask(format!("POST /once HTTP/1.1\r\nHost: a.test\r\n{body}"));
        assert_eq!(answer.status, 200);
    }
    let posts = origin.heads().iter().filter(|head| head.starts_with("POST")).count();
    assert_eq!((posts, origin.connections()), (2, 3));
}

#[test]
fn bytes_behind_an_answer_are_nobodys_answer() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 EVIL\r\n\r\n",
    );
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..3 {
        let answer = client.ask(get("/"));
        assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", answer.head);
    }
    assert_eq!(origin.connections(), 3);
    // The same where the protocol says that there is no body.
    let origin = Origin::answering("HTTP/1.1 204 No Content\r\n\r\nbody that must not be");
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).status, 204);
    }
}

#[test]
fn a_connection_whose_origin_frames_a_body_that_must_not_be_is_not_used_again() {
    for answer in [
        "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
    ] {
        let origin = Origin::answering(answer);
        let brim = brim_for(origin.address());
        let mut client = Client::connect(brim.address());
        for _ in 0..3 {
            client.ask(get("/"));
        }
        assert_eq!(origin.connections(), 3, "{answer:?}");
    }
}

#[test]
fn what_comes_behind_an_answer_to_head_is_nobodys_answer() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            let body = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()));
            if head.starts_with("HEAD ") {
                peer.send(body);
            } else {
                peer.send(body.replace("EVIL", "good"));
            }
        }
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..3 {
        client.ask_head("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert!(client.ask(get("/")).text().ends_with("good"));
    }
    assert_eq!(origin.connections(), 4);
}

#[test]
fn an_origin_that_fails_during_an_upload_is_reported_to_the_client() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.read_exactly(10);
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\n0123456789");
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection")), (502, Some("close")));
}

#[test]
fn half_an_answer_does_not_look_whole_to_an_old_client() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n");
    });
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let mut seen = Vec::new();
    let error = std::io::Read::read_to_end(client.stream(), &mut seen).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_origin_that_keeps_connections_for_a_moment_only_is_not_asked_on_old_ones() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
    );
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).status, 200);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn the_limit_for_heads_of_requests_is_not_one_for_answers() {
    let large = "x".repeat(5000);
    let origin =
        Origin::answering(format!("HTTP/1.1 200 OK\r\nX: {large}\r\nContent-Length: 0\r\n\r\n"));
    let brim = Brim::with(origin.address(), "head_size = '1KiB'", "");
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert_eq!((answer.status, answer.field("x").map(str::len)), (200, Some(5000)));
}

#[test]
fn an_origin_that_is_silent_about_an_expectation_is_the_one_to_blame() {
    let origin = Origin::start(|peer| drop(peer.rest()));
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client
        .ask("PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(answer.status, 504);
    assert!(brim.access_log("/e").contains("origin_silent"));
}

#[test]
fn a_client_that_does_not_wait_for_100_is_not_cut_off_by_an_origin_that_ignores_it() {
    let origin = Origin::ok();
    let brim = brim_for(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n");
    for _ in 0..8 {
        // Longer together than `response_timeout`: time is what this test is about.
        client.send("x");
        std::thread::sleep(Duration::from_millis(80));
    }
    assert_eq!(client.answer().status, 200);
}
