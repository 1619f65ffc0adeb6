//! What could be read in two ways is refused, and nobody upstream hears of it.

use crate::kit::{Brim, Client, Origin, get};

/// Sends the bytes on a new connection; asserts the status, the close, and the origin's silence.
#[track_caller]
fn refused(brim: &Brim, bytes: impl AsRef<[u8]>, status: u16) {
    let shown =
        String::from_utf8_lossy(&bytes.as_ref()[..bytes.as_ref().len().min(200)]).into_owned();
    let mut client = Client::connect(brim.address());
    // The edge may answer before it has taken everything.
    let _ = client.try_send(&bytes);
    let answer = client.answer();
    assert_eq!(answer.status, status, "{shown:?}: {}", answer.text());
    assert_eq!(answer.field("connection"), Some("close"), "{shown:?}");
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{shown:?}");
    client.is_closed();
}

/// An edge in front of an origin that nothing may reach.
struct Untouched {
    origin: Origin,
    brim: Brim,
}

impl Untouched {
    fn new(limits: &str) -> Self {
        let origin = Origin::ok();
        let brim = Brim::with(origin.address(), limits, "");
        Self { origin, brim }
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.origin.connections(), 0, "the origin was asked");
        }
    }
}

#[test]
fn framing_that_two_parsers_could_read_in_two_ways() {
    let edge = Untouched::new("");
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: -3",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 3a",
        "Content-Length:",
        "Content-Length: 9223372036854775808",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999999",
        "Transfer-Encoding:",
        "Transfer-Encoding: ,",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding\x20: chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Content-Length : 3",
        "X: y\rContent-Length: 3",
        "X: y\nContent-Length: 3",
    ] {
        let body = "0\r\n\r\n";
        refused(
            &edge.brim,
            format!("POST / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n\r\n{body}"),
            400,
        );
    }
    refused(
        &edge.brim,
        "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    );
    for coding in ["gzip, chunked", "foo, chunked", "xchunked", "chunked, foo", "\"chunked\""] {
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: ";
        refused(&edge.brim, format!("{head}{coding}\r\n\r\n0\r\n\r\n"), 501);
    }
}

#[test]
fn lines_and_fields_that_are_malformed() {
    let edge = Untouched::new("");
    for head in [
        "GET / HTTP/1.1\nHost: a.test\n\n",
        "GET / HTTP/1.1\r\nHost: a.test\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n\tfolded\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n: no name\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX@: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX(a): a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX\u{e9}: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\x08b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\x7fb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX\0: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        refused(&edge.brim, head, 400);
    }
}

#[test]
fn request_lines_that_are_malformed() {
    let edge = Untouched::new("");
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / a HTTP/1.1",
        "GET / HTTP/1",
        "GET / http/1.1",
        "GET / HTTP/1.1.1",
        "GET / HTTPS/1.1",
        "G@T / HTTP/1.1",
        "G\u{e9}T / HTTP/1.1",
        " / HTTP/1.1",
        "GET a HTTP/1.1",
        "GET a/b HTTP/1.1",
        "GET /#fragment HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /a\x01b HTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a\x7fb HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ftp://a.test/ HTTP/1.1",
        "GET http:/a.test/ HTTP/1.1",
        "GET http:///a HTTP/1.1",
    ] {
        refused(&edge.brim, format!("{line}\r\nHost: a.test\r\n\r\n"), 400);
    }
    refused(&edge.brim, "GET / HTTP/2.0\r\nHost: a.test\r\n\r\n", 505);
    refused(&edge.brim, "GET / HTTP/1.2\r\nHost: a.test\r\n\r\n", 505);
    refused(&edge.brim, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    for method in ["CONNECT a.test:80", "CONNECT /", "TRACE /"] {
        refused(&edge.brim, format!("{method} HTTP/1.1\r\nHost: a.test\r\n\r\n"), 405);
    }
    // What a browser says to a TLS port.
    refused(&edge.brim, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
}

#[test]
fn hosts_that_are_missing_repeated_malformed_or_contradicted() {
    let edge = Untouched::new("");
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nhost: b.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test b.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test:port\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test:80:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a%2etest\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: http://a.test\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
        "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET http://a.test:8080/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET http://user@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET http://a.test/ HTTP/1.1\r\n\r\n",
    ] {
        refused(&edge.brim, head, 400);
    }
}

#[test]
fn chunked_bodies_that_are_malformed() {
    let edge = Untouched::new("");
    let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1000));
    let long_trailer = format!("0\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    for body in [
        "Z\r\nabc\r\n0\r\n\r\n",
        "-1\r\na\r\n0\r\n\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1\na\r\n0\r\n\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1\r\na0\r\n\r\n",
        "1\r\na\r\n0\n\r\n",
        "10000000000000000\r\na\r\n0\r\n\r\n",
        "fffffffffffffffff\r\na\r\n0\r\n\r\n",
        "1;\r\na\r\n0\r\n\r\n",
        "1;=a\r\na\r\n0\r\n\r\n",
        "1;a=\r\na\r\n0\r\n\r\n",
        "1;a=\"b\r\na\r\n0\r\n\r\n",
        "1;a\x01\r\na\r\n0\r\n\r\n",
        "1;a\rb\r\na\r\n0\r\n\r\n",
        "1;a\nb\r\na\r\n0\r\n\r\n",
        "1,a\r\na\r\n0\r\n\r\n",
        &long_extension,
        "0\r\nContent-Length: 3\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nHost: b.test\r\n\r\n",
        "0\r\nAuthorization: x\r\n\r\n",
        "0\r\nX_Forwarded_For: x\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\nX: y\r\n folded\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: a\0b\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        &long_trailer,
    ] {
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        refused(&edge.brim, format!("{head}{body}"), 400);
    }
}

#[test]
fn a_body_that_turns_bad_on_its_way_never_becomes_a_whole_request() {
    let origin = Origin::start(|peer| {
        peer.head();
        let rest = peer.rest();
        assert_eq!(rest, b"3\r\nabc\r\n", "what came before the bad chunk, and no end");
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client
        .send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    while origin.heads().is_empty() {
        std::thread::yield_now();
    }
    client.send("zz\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection")), (400, Some("close")));
    client.is_closed();
}

#[test]
fn heads_that_are_too_large_in_any_way() {
    let edge = Untouched::new("head_size = '8KiB'\ntarget_size = '4KiB'\nhead_fields = 50");
    let long = "x".repeat(9000);
    refused(&edge.brim, format!("GET /{long} HTTP/1.1\r\nHost: a.test\r\n\r\n"), 414);
    // Without an end in sight.
    refused(&edge.brim, format!("GET /{long}"), 414);
    refused(&edge.brim, format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {long}\r\n\r\n"), 431);
    refused(&edge.brim, format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {long}"), 431);
    let many = "X: y\r\n".repeat(50);
    refused(&edge.brim, format!("GET / HTTP/1.1\r\nHost: a.test\r\n{many}\r\n"), 431);
}

#[test]
fn five_thousand_fields_harm_nobody_else() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let many = "X: y\r\n".repeat(5000);
    refused(&brim, format!("GET / HTTP/1.1\r\nHost: a.test\r\n{many}\r\n"), 431);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200);
}

#[test]
fn a_refusal_ends_a_pipeline_and_what_came_before_is_answered() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let bad = "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: x\r\n\r\n";
    client.send(format!("{}{bad}{}", get("/1"), get("/2")));
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 400);
    client.is_closed();
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn connection_options_without_end_are_refused() {
    let edge = Untouched::new("");
    let options = "a,".repeat(33);
    refused(
        &edge.brim,
        format!("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: {options}\r\n\r\n"),
        400,
    );
}

#[test]
fn a_bad_chunk_is_found_wherever_it_is_in_what_has_arrived() {
    let edge = Untouched::new("");
    for expect in ["", "Expect: 100-continue\r\n"] {
        let good = format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(20);
        refused(
            &edge.brim,
            format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\n{expect}Transfer-Encoding: chunked\r\n\r\n{good}zz\r\n"
            ),
            400,
        );
    }
}

#[test]
fn an_expectation_that_nobody_knows_is_refused() {
    let edge = Untouched::new("");
    refused(&edge.brim, "GET / HTTP/1.1\r\nHost: a.test\r\nExpect: tea\r\n\r\n", 417);
}

#[test]
fn a_refused_client_reads_the_reason_even_if_it_keeps_sending() {
    let edge = Untouched::new("");
    let mut client = Client::connect(edge.brim.address());
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: x\r\n\r\n");
    client.send(vec![b'x'; 500_000]);
    let answer = client.answer();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.text(), "400 Bad Request: the Content-Length is malformed\n");
    client.finish();
    client.is_closed();
}

#[test]
fn a_refused_head_request_gets_no_body() {
    let edge = Untouched::new("");
    let mut client = Client::connect(edge.brim.address());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.answer_without_body().status, 400);
    client.is_closed();
}
