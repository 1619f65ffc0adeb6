//! Everything is passed through.

use crate::kit::{Brim, Client, OK, Origin, get};
use std::sync::mpsc;

#[test]
fn every_method_reaches_the_origin_with_its_target_byte_for_byte() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let target = "/a%2Fb/./../c;p=1//d?x=%zz&y=a+b&y=[2]&sig=%2B%3d|{}^`\\\"<>'";
    let methods =
        ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "purge", "M-SEARCH"];
    for method in methods {
        let answer = client.ask(format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{method}");
    }
    let lines: Vec<String> =
        origin.heads().iter().map(|head| head.lines().next().expect("a line").to_owned()).collect();
    assert_eq!(lines, methods.map(|method| format!("{method} {target} HTTP/1.1")));
}

#[test]
fn one_client_connection_and_one_origin_connection_carry_many_requests() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for turn in 0..20 {
        assert_eq!(client.ask(get(&format!("/{turn}"))).status, 200);
    }
    assert_eq!(origin.heads().len(), 20);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order_with_bodies_between_them() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            let body = peer.body_of(&head);
            let told = format!("{} {}", head.lines().next().unwrap_or(""), body.len());
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{told}", told.len()));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let mut sent = String::new();
    sent += &get("/1");
    sent += "POST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    sent += "POST /3 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    // The empty line that old clients leave behind a body.
    sent += "\r\n";
    sent += &get("/4");
    sent += &get("/5");
    client.send(sent);
    let expected = [
        "GET /1 HTTP/1.1 0",
        "POST /2 HTTP/1.1 5",
        "POST /3 HTTP/1.1 7",
        "GET /4 HTTP/1.1 0",
        "GET /5 HTTP/1.1 0",
    ];
    for told in expected {
        assert_eq!(client.answer().text(), told);
    }
}

#[test]
fn a_head_that_arrives_byte_by_byte_is_the_same_head() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for byte in get("/slowly").bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().status, 200);
}

#[test]
fn head_has_no_body_and_keeps_the_length() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let answer = client.answer_without_body();
        assert_eq!((answer.status, answer.field("content-length")), (200, Some("1000")));
    }
}

#[test]
fn answers_without_a_body_leave_the_connection_usable() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            let status = head.split(' ').nth(1).unwrap_or("").trim_start_matches('/').to_owned();
            peer.send(format!("HTTP/1.1 {status} X\r\nETag: \"1\"\r\n\r\n"));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for status in [204, 304, 204] {
        let answer = client.ask(get(&format!("/{status}")));
        assert_eq!(answer.status, status);
        assert_eq!(answer.field("transfer-encoding"), None);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_range_and_its_answer_pass_through() {
    let origin = Origin::answering(
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-3/10\r\nContent-Length: 2\r\n\r\ncd",
    );
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a.test\r\nRange: bytes=2-3\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (206, "cd"));
    assert_eq!(answer.field("content-range"), Some("bytes 2-3/10"));
    assert!(origin.only_head().contains("\r\nRange: bytes=2-3\r\n"));
}

#[test]
fn interim_answers_are_forwarded_while_the_final_one_is_on_its_way() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            let _ = released.lock().expect("lock").recv();
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </b.css>; rel=preload\r\n\r\n");
            peer.send(OK);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send(get("/"));
    let first = client.answer();
    assert_eq!((first.status, first.field("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(first.field("content-length"), None);
    assert_eq!(first.field("connection"), None);
    release.send(()).expect("the origin waits");
    assert_eq!(client.answer().field("link"), Some("</b.css>; rel=preload"));
    assert_eq!(client.answer().text(), "ok");

    // A 1.0 client would take an interim answer for the answer.
    let mut old = Client::connect(brim.address());
    release.send(()).expect("the origin waits");
    assert_eq!(old.ask("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").status, 200);
}

#[test]
fn old_clients_get_what_they_can_read() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("GET /chunked") {
                peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: 1\r\n\r\n");
            } else {
                peer.send(OK);
            }
        }
    });
    let brim = Brim::in_front_of(origin.address());

    let mut client = Client::connect(brim.address());
    let answer = client.ask("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("close")));
    client.is_closed();

    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        let answer = client.ask("GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(
            (answer.text().as_str(), answer.field("connection")),
            ("ok", Some("keep-alive"))
        );
    }

    let answer =
        client.ask("GET /chunked HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("ab", Some("close")));
    client.is_closed();

    // Without a Host there is still the site for any host.
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").status, 200);
    let head = origin.heads().pop().expect("a head");
    assert!(head.contains(&format!("\r\nHost: {}\r\n", origin.address())), "{head}");
}

#[test]
fn an_answer_that_ends_with_the_connection_is_chunked_for_a_new_client() {
    let origin = Origin::start(|peer| {
        peer.head();
        peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        let answer = client.ask(get("/"));
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
        assert_eq!((answer.text().as_str(), answer.is_whole), ("until the end", true));
    }
}

#[test]
fn a_client_that_asks_to_close_is_closed() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    client.is_closed();
}

#[test]
fn a_client_that_has_finished_sending_still_gets_its_answer() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send(get("/"));
    client.finish();
    assert_eq!(client.answer().status, 200);
    client.is_closed();
}

#[test]
fn an_answer_keeps_its_own_date_reason_and_fields() {
    let origin = Origin::answering(
        "HTTP/1.1 200 Fine by me\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nX-A: 1\r\nx-a: 2\r\n\
         Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nServer: origin\r\nContent-Length: 0\r\n\r\n",
    );
    let brim = Brim::in_front_of(origin.address());
    let answer = Client::connect(brim.address()).ask(get("/"));
    assert!(answer.head.starts_with("HTTP/1.1 200 Fine by me\r\n"), "{}", answer.head);
    assert_eq!(answer.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(answer.fields("x-a"), ["1", "2"]);
    assert_eq!(answer.fields("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.field("server"), Some("origin"));
    assert_eq!(answer.field("via"), Some("1.1 brim"));
}

#[test]
fn each_request_leaves_one_line_in_the_access_log() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let request = "GET /logged?a=\"b\" HTTP/1.1\r\nHost: a.test\r\nUser-Agent: t/1\r\n\r\n";
    Client::connect(brim.address()).ask(request);
    let line = brim.access_log("/logged");
    for part in [
        r#""method":"GET""#,
        r#""host":"a.test""#,
        r#""target":"/logged?a=\"b\"""#,
        r#""site":"*""#,
        r#""status":200"#,
        r#""outcome":"miss""#,
        r#""client":"127.0.0.1""#,
        r#""user_agent":"t/1""#,
        r#""origin_ms":"#,
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
}
