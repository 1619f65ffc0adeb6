//! The parsers, as pure functions: properties, and the fuzz entries on mutated seeds.

#[path = "../fuzz/bounded.rs"]
mod bounded;
#[path = "../fuzz/entries.rs"]
#[allow(dead_code, reason = "tests/rules runs the others")]
mod entries;

use brim::wire::fields::{Composer, Fields};
use brim::wire::proxy::{self, BadHeader, Step};
use brim::wire::request::{BadRequest, Parser};
use brim::wire::{Framing, HeadLimits, authority, response};
use bytes::BytesMut;
use http::Method;
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Duration;

fn fuzz(name: &str, entry: fn(&[u8])) {
    const WORDS: &[&str] = &[
        "\r\n",
        "\r\n\r\n",
        "Host: b",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        " HTTP/1.1",
        "HTTP/1.0",
        "http://",
        "chunked",
        "0\r\n",
        "Connection: ",
        "Upgrade: ",
    ];
    bounded::fuzz(name, WORDS, Duration::from_secs(5), entry);
}

#[test]
fn a_request_head_has_one_meaning_whatever_the_bytes() {
    fuzz("request_head", entries::request_head);
}

#[test]
fn a_request_over_http2_has_one_meaning_whatever_the_bytes() {
    fuzz("http2_request", entries::http2_request);
}

#[test]
fn an_answer_over_http2_says_what_it_was_whatever_the_bytes() {
    fuzz("http2_response", entries::http2_response);
}

#[test]
fn a_response_head_has_one_meaning_whatever_the_bytes() {
    fuzz("response_head", entries::response_head);
}

#[test]
fn a_chunked_body_has_one_meaning_whatever_the_bytes() {
    fuzz("chunked_body", entries::chunked_body);
}

#[test]
fn a_proxy_header_has_one_meaning_and_one_end_whatever_the_bytes() {
    const WORDS: &[&str] =
        &["PROXY ", "TCP4 ", "TCP6 ", "UNKNOWN", "192.0.2.1 ", "::1 ", " 0", "\r\n", "QUIT\n"];
    bounded::fuzz("proxy_header", WORDS, Duration::from_secs(5), entries::proxy_header);
}

/// What is said of the client, and what is left of the bytes.
fn read_proxy_header(bytes: &[u8]) -> Result<(Option<IpAddr>, &[u8]), BadHeader> {
    let mut have = 0;
    loop {
        match proxy::read(&bytes[..have])? {
            Step::Done(client) => return Ok((client, &bytes[have..])),
            Step::More(missing) => have += missing,
        }
        assert!(have <= bytes.len(), "more is asked for than there is");
    }
}

fn binary_proxy_header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(addresses.len()).expect("a length").to_be_bytes());
    header.extend(addresses);
    header
}

#[test]
fn what_no_proxy_header_says_is_refused() {
    let line = |text: &str| read_proxy_header(text.as_bytes()).map(|(client, _)| client);
    for text in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n..",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.001 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n..........",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n..",
        "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n..",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r..",
        "PROXY TCP4\r\n....................",
        "PROXY UNKNOWNS\r\n..",
        "PROXY UNKNOWN\n..",
    ] {
        assert_eq!(line(text), Err(BadHeader::Malformed), "{text:?}");
    }
    for text in
        ["GET / HTTP/1.1\r\n", "proxy TCP4 ....", "PROXYTCP4 1.2.3.4 5", "\x16\x03\x01............"]
    {
        assert_eq!(line(text), Err(BadHeader::Missing), "{text:?}");
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(line(&longest), Ok(None));
    let longer = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    assert_eq!(line(&longer), Err(BadHeader::TooLong));
    assert_eq!(line("PROXY UNKNOWN\r\n"), Ok(None));
    let binary = |command, family, length: usize| {
        let header = binary_proxy_header(command, family, &vec![1; length]);
        read_proxy_header(&header).map(|(client, _)| client)
    };
    for (command, family, length) in [
        (0x11, 0x11, 12),
        (0x22, 0x11, 12),
        (0x21, 0x41, 12),
        (0x21, 0x13, 12),
        (0x21, 0x11, 11),
        (0x21, 0x21, 35),
        (0x21, 0x31, 215),
    ] {
        let read = binary(command, family, length);
        assert_eq!(read, Err(BadHeader::Malformed), "{command:#x} {family:#x} {length}");
    }
    assert_eq!(binary(0x21, 0x11, 4081), Err(BadHeader::TooLong));
    assert_eq!(binary(0x21, 0x11, 4080), Ok(Some([1, 1, 1, 1].into())));
    // Whoever speaks for itself or has no address of this kind.
    for (command, family, length) in
        [(0x20, 0x11, 12), (0x20, 0xff, 0), (0x21, 0x00, 0), (0x21, 0x31, 216), (0x21, 0x12, 12)]
    {
        assert_eq!(binary(command, family, length), Ok(None), "{command:#x} {family:#x}");
    }
}

/// A name or an address, as Host fields have them.
fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z_][a-zA-Z0-9_-]{0,20}(\\.[a-zA-Z][a-zA-Z0-9-]{0,10}){0,3}",
        any::<std::net::Ipv4Addr>().prop_map(|address| address.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|address| format!("[{address}]")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_good_head_is_read_back_as_it_was_written(
        method in "[A-Z]{3,10}",
        path in "/[!$-~&&[^#?]]{0,40}",
        query in proptest::option::of("[!$-~&&[^#]]{0,40}"),
        host in host(),
        port in proptest::option::of(any::<u16>()),
        fields in proptest::collection::vec(("X-[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}", "[!-~]([ -~\t]{0,30}[!-~])?"), 0..20),
        length in proptest::option::of(0..=i64::MAX as u64),
        rest in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        prop_assume!(method != "CONNECT" && method != "TRACE");
        let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        let authority = port.map_or(host.clone(), |port| format!("{host}:{port}"));
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n");
        for (name, value) in &fields {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = length {
            text += &format!("Content-Length: {length}\r\n");
        }
        text += "\r\n";
        let mut buf = BytesMut::from(text.as_bytes());
        buf.extend_from_slice(&rest);
        let head = Parser::default().next(&mut buf, &HeadLimits::default()).expect("good").expect("whole");
        prop_assert_eq!(&buf[..], &rest[..]);
        prop_assert_eq!(head.method.as_str(), method);
        prop_assert_eq!(head.target(), target);
        prop_assert_eq!(head.authority().expect("a host").host, host);
        prop_assert_eq!(head.authority().expect("a host").port, port);
        prop_assert_eq!(head.framing, length.map_or(Framing::Empty, Framing::Length));
        let read: Vec<_> = head.fields.iter().skip(1).take(fields.len()).collect();
        let written: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn a_proxy_header_is_read_back_as_it_was_written_and_nothing_behind_it(
        client in any::<IpAddr>(),
        is_binary in any::<bool>(),
        ports in any::<(u16, u16)>(),
        additions in proptest::collection::vec(any::<u8>(), 0..100),
        rest in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = match (is_binary, client) {
            (true, IpAddr::V4(address)) => {
                let addresses = [&address.octets()[..], &[0; 8], &additions].concat();
                binary_proxy_header(0x21, 0x11, &addresses)
            }
            (true, IpAddr::V6(address)) => {
                let addresses = [&address.octets()[..], &[0; 20], &additions].concat();
                binary_proxy_header(0x21, 0x21, &addresses)
            }
            (false, _) => {
                let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
                format!("PROXY {family} {client} {client} {} {}\r\n", ports.0, ports.1).into_bytes()
            }
        };
        bytes.extend_from_slice(&rest);
        let (read, left) = read_proxy_header(&bytes).expect("good");
        prop_assert_eq!(read, Some(client.to_canonical()));
        prop_assert_eq!(left, &rest[..]);
    }

    #[test]
    fn any_byte_that_is_not_of_the_protocol_refuses_the_head(
        byte in prop_oneof![0_u8..=8, 10_u8..=31, Just(127_u8)],
        at in any::<prop::sample::Index>(),
    ) {
        let text = b"GET /path?query HTTP/1.1\r\nHost: a.test\r\nX-Field: some value\r\n\r\n";
        let at = at.index(text.len() - 4);
        // A byte put inside a line end is another story, told by the table of bad requests.
        prop_assume!(text[at] != b'\n');
        let mut bytes = text.to_vec();
        bytes.insert(at, byte);
        let read = Parser::default().next(&mut BytesMut::from(&bytes[..]), &HeadLimits::default());
        let first_line_is_empty = at == 0 && byte == b'\r';
        prop_assert!(read.is_err() || first_line_is_empty, "{:?}", read);
    }

    #[test]
    fn a_host_is_read_as_it_is_written_and_nothing_else_is_a_host(text in "\\PC{0,30}") {
        if let Some(read) = authority::parse(text.as_bytes()) {
            let again = read.port.map_or(read.host.to_owned(), |port| format!("{}:{port}", read.host));
            prop_assert_eq!(
                authority::parse(again.as_bytes()).map(|a| (a.host.to_owned(), a.port)),
                Some((read.host.to_owned(), read.port))
            );
            prop_assert!(!text.contains(['@', '/', '\\', ' ', ',', '%', '?', '#']));
        }
    }
}

/// A name of few kinds of letters in either case, so that many are alike: the same, of the same length, or
/// with the same ends.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[aAbB_^~-]{1,4}", 1 => "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}"]
}

/// Asserts that the fields are these, and that each name finds what reading them one by one does.
fn finds_what_is_there(
    fields: &Fields,
    lines: &[(String, String)],
    asked: &[String],
) -> Result<(), TestCaseError> {
    let there: Vec<_> = lines.iter().map(|(name, value)| (&name[..], value.as_bytes())).collect();
    prop_assert_eq!(&fields.iter().collect::<Vec<_>>(), &there);
    let turned = |name: &String| {
        let turn = |letter: char| match letter.is_ascii_lowercase() {
            true => letter.to_ascii_uppercase(),
            false => letter.to_ascii_lowercase(),
        };
        name.chars().map(turn).collect::<String>()
    };
    let own = lines.iter().flat_map(|(name, _)| [name.clone(), turned(name)]);
    for name in own.chain(asked.iter().cloned()).chain([String::new()]) {
        let has_it = |(known, _): &&(&str, &[u8])| known.eq_ignore_ascii_case(&name);
        let values: Vec<_> = there.iter().filter(has_it).map(|(_, value)| *value).collect();
        prop_assert_eq!(fields.first(&name), values.first().copied(), "first {}", name);
        prop_assert_eq!(fields.all(&name).collect::<Vec<_>>(), values, "all {}", name);
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_field_is_found_by_its_name_in_any_spelling_and_by_no_other(
        lines in prop::collection::vec((name(), prop_oneof![9 => "[a-z]{0,3}", 1 => "[a-z]{100,400}"]), 0..12),
        asked in prop::collection::vec(name(), 12),
    ) {
        let mut composer = Composer::new(b"HTTP/1.1 200 OK");
        lines.iter().for_each(|(name, value)| composer.add(name, value.as_bytes()));
        let composed = composer.finish();
        finds_what_is_there(&composed, &lines, &asked)?;
        finds_what_is_there(&composed.clone(), &lines, &asked)?;
        let again = Fields::of_lines(composed.bytes()).expect("lines");
        finds_what_is_there(&again, &lines, &asked)?;
        let mut bytes = BytesMut::from(&composed.bytes()[..]);
        bytes.extend_from_slice(b"\r\n");
        let head = response::parse(&mut bytes, &HeadLimits::default(), &Method::GET);
        finds_what_is_there(&head.expect("a head").expect("whole").fields, &lines, &asked)?;
        let mut bytes = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\n");
        bytes.extend(lines.iter().flat_map(|(name, value)| format!("{name}: {value}\r\n").into_bytes()));
        bytes.extend_from_slice(b"\r\n");
        let head = Parser::default().next(&mut bytes, &HeadLimits::default());
        let mut with_host = vec![("Host".to_owned(), "a".to_owned())];
        with_host.extend(lines);
        finds_what_is_there(&head.expect("a head").expect("whole").fields, &with_host, &asked)?;
    }
}

#[test]
fn limits_hold_exactly() {
    let limits = HeadLimits { head_bytes_max: 2000, target_bytes_max: 1000, fields_max: 3 };
    let read = |text: String| {
        Parser::default()
            .next(&mut BytesMut::from(text.as_bytes()), &limits)
            .map(|head| head.is_some())
    };
    let with_target =
        |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 1));
    assert_eq!(read(with_target(1000)), Ok(true));
    assert_eq!(read(with_target(1001)), Err(BadRequest::TargetTooLong));
    let with_fields =
        |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(read(with_fields(2)), Ok(true));
    assert_eq!(read(with_fields(3)), Err(BadRequest::TooManyFields));
    let fixed = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let with_head =
        |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(len - fixed));
    assert_eq!(read(with_head(2000)), Ok(true));
    assert_eq!(read(with_head(2001)), Err(BadRequest::HeadTooLarge));
}
