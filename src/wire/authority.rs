//! `host[:port]` of a Host field or an absolute request target (RFC 3986, section 3.2).

use std::net::{Ipv4Addr, Ipv6Addr};

/// A host and, where one was given, a port. The host is spelled as received, less the dot at the end of
/// an absolute name (RFC 1034, section 3.1): with it and without, it is the same host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    pub host: &'a str,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// Reads `host[:port]`; `None` for whatever is not clearly one host.
///
/// The grammar of RFC 3986 would also allow user information, percent-encoding and sub-delims.
/// No host on the web has them, and components disagree about what they mean, so they are refused.
pub fn parse(bytes: &[u8]) -> Option<Authority<'_>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (host, port) = if text.starts_with('[') {
        let end = text.find(']')? + 1;
        text[1..end - 1].parse::<Ipv6Addr>().ok()?;
        (&text[..end], text[end..].strip_prefix(':').or((end == text.len()).then_some(""))?)
    } else {
        let colon = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
        let (host, port) = (&text[..colon], text.get(colon + 1..).unwrap_or_default());
        let name = host.strip_suffix('.').unwrap_or(host);
        if !is_name(name) && host.parse::<Ipv4Addr>().is_err() {
            return None;
        }
        (name, port)
    };
    let port = match port {
        "" if text.ends_with(':') => return None,
        "" => None,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    Some(Authority { host, port })
}

/// The port that a scheme leaves out.
pub fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// Whether both name the same place, where `default_port` stands for a missing port.
pub fn same(a: Authority<'_>, b: Authority<'_>, default_port: u16) -> bool {
    a.host.eq_ignore_ascii_case(b.host)
        && a.port.unwrap_or(default_port) == b.port.unwrap_or(default_port)
}

fn is_name(name: &str) -> bool {
    let name = name.as_bytes();
    let last_label = memchr::memrchr(b'.', name).map_or(name, |at| &name[at + 1..]);
    // "127.1", "0177.0.0.1" and "0x7f.1" are addresses to some parsers and names to others.
    let is_like_address = match last_label {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().all(u8::is_ascii_hexdigit),
        digits => digits.iter().all(u8::is_ascii_digit),
    };
    !is_like_address
        && name.len() <= 253
        && name.split(|byte| *byte == b'.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_with_its_port() {
        let read = |text: &'static str| parse(text.as_bytes()).map(|a| (a.host, a.port));
        assert_eq!(read("Example.COM"), Some(("Example.COM", None)));
        assert_eq!(read("example.com."), Some(("example.com", None)));
        assert_eq!(read("Example.com.:80"), Some(("Example.com", Some(80))));
        assert_eq!(read("localhost."), Some(("localhost", None)));
        assert_eq!(read("a_b.example:8080"), Some(("a_b.example", Some(8080))));
        assert_eq!(read("3f2a1b0c"), Some(("3f2a1b0c", None)));
        assert_eq!(read("127.0.0.1:1"), Some(("127.0.0.1", Some(1))));
        assert_eq!(read("[::1]"), Some(("[::1]", None)));
        assert_eq!(read("[2001:db8::1]:443"), Some(("[2001:db8::1]", Some(443))));
    }

    #[test]
    fn what_is_not_clearly_one_host_is_refused() {
        for bad in [
            "",
            ":80",
            "a:",
            "a:b",
            "a:80:80",
            "a:65536",
            "a:+80",
            "a b",
            "a,b",
            "user@a",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a%2eb",
            "a..b",
            "a..",
            ".",
            ".:80",
            ".a",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:",
            "[zz]",
            "[::1%25lo]",
            "127.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "0x7f.0x1",
            "1.2.3.4.5",
            "a\0b",
            "a;b",
            "a'b",
            "é",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
