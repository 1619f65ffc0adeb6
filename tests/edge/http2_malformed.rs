//! Requests over HTTP/2 that have no meaning, or would have another one in HTTP/1.1: the stream ends,
//! and no origin hears of it.

use crate::kit::frames::*;
use crate::kit::{Brim, Origin, RawClient};

const AT: u32 = 1;

/// An edge, its origin, and what is sent to it.
struct Bench {
    origin: Origin,
    brim: Brim,
}

impl Bench {
    fn new() -> Self {
        let origin = Origin::ok();
        let brim = Brim::http2(origin.address(), "", "");
        Self { origin, brim }
    }

    /// How the stream of these frames ends; the connection lives on if the stream alone does, and
    /// the edge does in any case.
    #[track_caller]
    fn end_of(&self, frames: &[u8]) -> End {
        let mut client = RawClient::connect(self.brim.address());
        client.send(frames);
        let end = client.end_of(AT);
        match end {
            End::GoAway(_) | End::Closed => {
                assert!(RawClient::connect(self.brim.address()).is_alive(1));
            }
            End::Answer(..) | End::Reset(_) => assert!(client.is_alive(3), "the connection"),
        }
        let heads = self.origin.heads();
        let are_others = heads.iter().all(|head| head.starts_with("GET /alive "));
        assert!(are_others, "the origin heard of it: {heads:#?}");
        end
    }

    /// The same of a request without a body that has this block.
    #[track_caller]
    fn end_of_block(&self, block: &[u8]) -> End {
        self.end_of(&frame(HEADERS, WHOLE, AT, block))
    }
}

/// A GET with more behind its head.
fn get_with(more: &[u8]) -> Vec<u8> {
    [&get_block("/bad")[..], more].concat()
}

#[test]
fn fields_about_the_connection_end_the_stream() {
    let bench = Bench::new();
    for (name, value) in [
        ("connection", "close"),
        ("connection", ""),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("keep-alive", "timeout=5"),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("te", "Trailers "),
    ] {
        let end = bench.end_of_block(&get_with(&field(name, value)));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{name}: {value}");
    }
}

#[test]
fn te_may_say_trailers() {
    let origin = Origin::ok();
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.send(&frame(HEADERS, WHOLE, AT, &get_with(&field("te", "trailers"))));
    assert_eq!(client.end_of(AT), End::Answer(200, 2));
}

/// The library decodes names and values at once, and what it cannot represent leaves it without a
/// state of its tables: RFC 9113, section 5.4.2, lets a stream error be one of the connection.
#[test]
fn names_and_values_of_impossible_bytes_end_the_connection_and_nothing_goes_upstream() {
    let bench = Bench::new();
    let names: [&[u8]; 12] = [
        b"X-Upper",
        b"x-uppeR",
        b"x space",
        b" x",
        b"x ",
        b"x\t",
        b"x\r\nhost: b.test",
        b"x\n",
        b"x\0y",
        b"x:y",
        b"x\x7f",
        b"x\xe9",
    ];
    for name in names {
        let name = String::from_utf8_lossy(name).into_owned();
        let end = bench.end_of_block(&get_with(&field(&name, "1")));
        assert_eq!(end, End::GoAway(PROTOCOL_ERROR), "{name:?}");
    }
    let values: [&[u8]; 8] = [
        b"a\r\nx: y",
        b"a\rb",
        b"a\nb",
        b"a\r\n\r\nGET / HTTP/1.1\r\nhost: b.test\r\n\r\n",
        b"\0",
        b"a\x01",
        b"a\x7f",
        b"\n",
    ];
    for value in values {
        let end = bench.end_of_block(&get_with(&field("x-a", value)));
        assert_eq!(end, End::GoAway(PROTOCOL_ERROR), "{:?}", String::from_utf8_lossy(value));
    }
    assert_eq!(bench.end_of_block(&get_with(&field("", "a"))), End::GoAway(PROTOCOL_ERROR));
}

#[test]
fn space_around_a_value_ends_the_stream() {
    let bench = Bench::new();
    for name in ["x-a", "cookie", "content-length", "host", "authorization", "accept-encoding"] {
        for value in [" a", "a ", "\ta", "a\t", " ", "\t", " 5"] {
            let end = bench.end_of_block(&get_with(&field(name, value)));
            assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{name}: {value:?}");
        }
    }
}

#[test]
fn pseudo_fields_are_all_there_once_known_and_before_the_others() {
    let bench = Bench::new();
    let all =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/bad")];
    for missing in [0, 1, 3] {
        let mut some = all.to_vec();
        let (name, _) = some.remove(missing);
        assert_eq!(bench.end_of_block(&block(&some)), End::Reset(PROTOCOL_ERROR), "no {name}");
    }
    let neither = block(&[all[0], all[1], all[3]]);
    assert_eq!(bench.end_of_block(&neither), End::Reset(PROTOCOL_ERROR), "neither host");
    for (name, value) in all {
        let twice = get_with(&field(name, value));
        assert_eq!(bench.end_of_block(&twice), End::Reset(PROTOCOL_ERROR), "{name} twice");
        let mut some: Vec<_> = all.into_iter().filter(|(other, _)| *other != name).collect();
        some.extend([("x-a", "1"), (name, value)]);
        assert_eq!(bench.end_of_block(&block(&some)), End::Reset(PROTOCOL_ERROR), "late {name}");
    }
    for (name, value) in [(":status", "200"), (":protocol", "websocket")] {
        let end = bench.end_of_block(&[&field(name, value)[..], &get_block("/bad")].concat());
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{name}");
    }
    for index in [0, 1, 2, 3] {
        let mut some = all.to_vec();
        some[index].1 = "";
        let end = bench.end_of_block(&block(&some));
        // A method is decoded by what it may be.
        let expected =
            if index == 0 { End::GoAway(PROTOCOL_ERROR) } else { End::Reset(PROTOCOL_ERROR) };
        assert_eq!(end, expected, "empty {}", some[index].0);
    }
}

#[test]
fn pseudo_fields_that_nobody_knows_end_the_connection_and_nothing_goes_upstream() {
    let bench = Bench::new();
    for name in [":host", ":unknown", ":", ":Method", ":path "] {
        let block = [&field(name, "/")[..], &get_block("/bad")].concat();
        assert_eq!(bench.end_of_block(&block), End::GoAway(PROTOCOL_ERROR), "{name:?}");
    }
}

/// With this pseudo-field of a GET instead of the ordinary one.
fn block_with(name: &str, value: &str) -> Vec<u8> {
    let all =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/bad")];
    block(&all.map(|(key, other)| if key == name { (key, value) } else { (key, other) }))
}

#[test]
fn a_path_is_one_or_the_stream_ends() {
    let bench = Bench::new();
    for path in [
        "bad",
        "?bad",
        "/b ad",
        " /bad",
        "/bad ",
        "/bad HTTP/1.1\r\nhost: b.test",
        "/b\tad",
        "/b\0ad",
        "/b\x7fad",
        "/bäd",
        "http://a.test/bad",
        "*",
        "**",
        "/b<a>d",
    ] {
        let end = bench.end_of_block(&block_with(":path", path));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{path:?}");
    }
}

/// The library cuts fragments off before anybody sees them.
#[test]
fn of_a_fragment_nothing_goes_upstream() {
    let origin = Origin::ok();
    let brim = Brim::http2(origin.address(), "", "");
    for (path, line) in [
        ("/a#b", "GET /a HTTP/1.1\r\n"),
        ("/c?d#e", "GET /c?d HTTP/1.1\r\n"),
        ("#f", "GET / HTTP/1.1\r\n"),
    ] {
        let mut client = RawClient::connect(brim.address());
        client.send(&frame(HEADERS, WHOLE, AT, &block_with(":path", path)));
        assert_eq!(client.end_of(AT), End::Answer(200, 2));
        assert!(origin.last_head().starts_with(line), "{path}: {}", origin.last_head());
    }
}

#[test]
fn a_scheme_is_http_or_https() {
    let bench = Bench::new();
    for scheme in ["ftp", "ws", "h2c", "http:", "ht tp", "http\r\n", "://", "1", "http/1.1"] {
        let end = bench.end_of_block(&block_with(":scheme", scheme));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{scheme:?}");
    }
}

#[test]
fn an_authority_is_one_host_and_perhaps_a_port() {
    let bench = Bench::new();
    for authority in [
        "user@a.test",
        "user:password@a.test",
        "@a.test",
        "a.test@",
        "a.test,b.test",
        "a.test, b.test",
        "a.test b.test",
        " a.test",
        "a.test ",
        "a.test/",
        "a.test/path",
        "a.test?",
        "a.test#",
        "a.test\\",
        "a.test:",
        "a.test:80x",
        "a.test:x",
        "a.test:-1",
        "a.test:+80",
        "a.test:99999",
        "a.test:80:80",
        "a..test\r\nx: y",
        "http://a.test",
        "[::1",
        "::1",
        "[::1]x",
        "a.test%00",
        "ä.test",
        ":80",
    ] {
        let end = bench.end_of_block(&block_with(":authority", authority));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{authority:?}");
    }
}

#[test]
fn a_host_says_what_the_authority_says() {
    let bench = Bench::new();
    for host in ["b.test", "a.test:81", "a.test,a.test", "", "user@a.test", "a.test/"] {
        let end = bench.end_of_block(&get_with(&field("host", host)));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{host:?}");
    }
    let twice = [field("host", "a.test"), field("host", "a.test")].concat();
    assert_eq!(bench.end_of_block(&get_with(&twice)), End::Reset(PROTOCOL_ERROR), "two");
    let alone = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/bad")]);
    let end = bench.end_of_block(&[&alone[..], &twice].concat());
    assert_eq!(end, End::Reset(PROTOCOL_ERROR), "two and no authority");
}

fn post(fields: &[(&str, &str)], data: &[&[u8]], ends: bool) -> Vec<u8> {
    let head = [request_block("POST", "/bad"), block(fields)].concat();
    let mut frames = frame(HEADERS, END_HEADERS, AT, &head);
    for (at, data_of_frame) in data.iter().enumerate() {
        let flags = if ends && at + 1 == data.len() { END_STREAM } else { 0 };
        frames.extend(frame(DATA, flags, AT, data_of_frame));
    }
    frames
}

#[test]
fn a_content_length_that_its_data_belies_ends_the_stream() {
    let bench = Bench::new();
    for (length, data, ends) in [
        ("5", &[&b"four"[..]][..], true),
        ("5", &[b""], true),
        ("5", &[b"fo", b"ur"], true),
        ("5", &[b"sixsix"], true),
        ("5", &[b"sixsix"], false),
        ("5", &[b"five5", b"more"], false),
        ("0", &[b"x"], true),
        ("0", &[b"x"], false),
    ] {
        let end = bench.end_of(&post(&[("content-length", length)], data, ends));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{length} {data:?} {ends}");
    }
    let head = [request_block("POST", "/bad"), field("content-length", "5")].concat();
    assert_eq!(bench.end_of_block(&head), End::Reset(PROTOCOL_ERROR), "and nothing comes");
    let trailers = frame(HEADERS, WHOLE, AT, &field("x-sum", "1"));
    let short = [post(&[("content-length", "5")], &[b"four"], false), trailers].concat();
    assert_eq!(bench.end_of(&short), End::Reset(PROTOCOL_ERROR), "and trailers");
}

#[test]
fn a_content_length_is_one_number() {
    let bench = Bench::new();
    for length in
        ["+5", "-5", "5,5", "5, 5", "0x5", "5.0", "five", "5 5", "", "99999999999999999999"]
    {
        let end = bench.end_of(&post(&[("content-length", length)], &[b"five5"], true));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{length:?}");
    }
    for two in [["5", "5"], ["5", "6"], ["6", "5"]] {
        let fields = two.map(|length| ("content-length", length));
        let end = bench.end_of(&post(&fields, &[b"five5"], true));
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{two:?}");
    }
}

#[test]
fn methods_that_open_tunnels_or_mirrors_are_not_served() {
    let bench = Bench::new();
    let tunnel = block(&[(":method", "CONNECT"), (":authority", "a.test:443")]);
    assert!(matches!(bench.end_of_block(&tunnel), End::Answer(405, _)));
    assert!(matches!(bench.end_of(&frame(HEADERS, END_HEADERS, AT, &tunnel)), End::Answer(405, _)));
    assert!(matches!(bench.end_of_block(&request_block("TRACE", "/bad")), End::Answer(405, _)));
    // With a path it is malformed (RFC 9113, section 8.5).
    let end = bench.end_of_block(&request_block("CONNECT", "/bad"));
    assert_eq!(end, End::Reset(PROTOCOL_ERROR));
    // Nor was the other kind offered (RFC 8441, section 3).
    let extended = [field(":protocol", "websocket"), request_block("CONNECT", "/bad")].concat();
    assert_eq!(bench.end_of_block(&extended), End::Reset(PROTOCOL_ERROR));
}

#[test]
fn methods_of_impossible_bytes_end_the_connection_and_nothing_goes_upstream() {
    let bench = Bench::new();
    for method in
        ["GET ", " GET", "G ET", "GET\r\n", "GET / HTTP/1.1\r\nx: y", "G\0", "GÉT", "G,T", "(GET)"]
    {
        let end = bench.end_of_block(&request_block(method, "/bad"));
        assert_eq!(end, End::GoAway(PROTOCOL_ERROR), "{method:?}");
    }
}

#[test]
fn trailers_about_the_connection_or_with_the_end_elsewhere_end_the_stream() {
    let bench = Bench::new();
    let begun = frame(HEADERS, END_HEADERS, AT, &request_block("POST", "/bad"));
    for (name, value) in [("connection", "close"), ("transfer-encoding", "chunked"), ("te", "x")] {
        let trailers = frame(HEADERS, WHOLE, AT, &field(name, value));
        let end = bench.end_of(&[&begun[..], &trailers].concat());
        assert_eq!(end, End::Reset(PROTOCOL_ERROR), "{name}");
    }
    let unending = frame(HEADERS, END_HEADERS, AT, &field("x-sum", "1"));
    let end = bench.end_of(&[&begun[..], &unending].concat());
    assert_eq!(end, End::Reset(PROTOCOL_ERROR), "trailers that do not end it");
}

#[test]
fn trailers_that_mean_something_to_the_message_break_the_request_off() {
    for (name, value) in [("content-length", "3"), ("host", "b.test"), ("x-sum", " 1")] {
        let origin = Origin::start(|peer| {
            peer.head();
            let rest = String::from_utf8_lossy(&peer.rest()).into_owned();
            assert!(!rest.contains("\r\n0\r\n"), "a whole body: {rest}");
        });
        let brim = Brim::http2(origin.address(), "", "");
        let mut client = RawClient::connect(brim.address());
        client.send(&post(&[], &[b"abc"], false));
        client.send(&frame(HEADERS, WHOLE, AT, &field(name, value)));
        assert!(
            matches!(client.end_of(AT), End::Reset(_) | End::Answer(400, _)),
            "{name}: {value}"
        );
        assert!(client.try_send(&frame(PING, 0, 0, &[0; 8])), "the connection lives");
    }
}

/// The library takes them out before anybody sees them.
#[test]
fn of_pseudo_fields_in_trailers_nothing_goes_upstream() {
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            let (body, trailers) = peer.chunks();
            assert_eq!((&body[..], &trailers[..]), (&b"abc"[..], "x-sum: 1\r\n"));
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    let trailers = block(&[(":path", "/other"), (":authority", "b.test"), ("x-sum", "1")]);
    client.send(&post(&[], &[b"abc"], false));
    client.send(&frame(HEADERS, WHOLE, AT, &trailers));
    assert!(matches!(client.end_of(AT), End::Answer(200, 2) | End::Reset(PROTOCOL_ERROR)));
}

#[test]
fn a_malformed_request_is_in_the_log_and_costs_the_others_nothing() {
    let (origin, answer, was_asked) = Origin::waiting();
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.get(1, "/good");
    was_asked.recv().expect("asked");
    client.send(&frame(HEADERS, WHOLE, 3, &block_with(":authority", "user@a.test")));
    assert_eq!(client.end_of(3), End::Reset(PROTOCOL_ERROR));
    let line = brim.access_log("bad_request");
    assert!(line.contains("\"status\":0") && line.contains("Host is malformed"), "{line}");
    answer.send(()).expect("the origin waits");
    assert_eq!(client.end_of(1), End::Answer(200, 2));
}
