//! What a stored answer is an answer to: site, host, path and query, brought to one spelling only
//! where RFC 3986 knows two spellings of one resource; and the request fields that a site adds.

mod told;

pub use told::{Addition, LeftOut, added, changes, left_out};

use super::https;
use crate::config::{Query, Site};
use crate::wire::authority::Authority;
use crate::wire::fields::Fields;
use std::borrow::Cow;
use std::ops::Range;

/// The key of an object. It holds what an origin is asked for it: nothing that the key does not
/// know may make a difference to what is stored under it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    text: String,
    host: Range<usize>,
}

impl Key {
    /// Writes the key of a target, and uses the room of the key that was there before.
    pub fn write(&mut self, site: &Site, host: Option<Authority<'_>>, target: &str, port: u16) {
        let out = &mut self.text;
        out.clear();
        // None of the parts can hold the byte that separates them.
        out.push_str(&site.name);
        out.push('\n');
        let host_start = out.len();
        if let Some(authority) = host {
            out.push_str(authority.host);
            out[host_start..].make_ascii_lowercase();
            if let Some(other) = authority.port.filter(|named| *named != port) {
                out.push(':');
                out.push_str(itoa::Buffer::new().format(other));
            }
        }
        self.host = host_start..out.len();
        out.push('\n');
        let query_at = memchr::memchr(b'?', target.as_bytes());
        let (path, query) = target.split_at(query_at.unwrap_or(target.len()));
        write_path(out, path);
        if let Some(query) = query.strip_prefix('?') {
            write_query(out, query, &site.key.query, site.key.sort_query);
        }
    }

    /// The whole key.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The key without the site's name, which another edge may call otherwise: who chooses among
    /// servers by it chooses the same.
    pub fn placing(&self) -> &[u8] {
        &self.as_bytes()[self.host.start..]
    }

    /// `host[:port]` as the origin shall see it; empty where the client named none.
    pub fn host(&self) -> &str {
        &self.text[self.host.clone()]
    }

    /// Path and query as the origin shall see them.
    pub fn target(&self) -> &str {
        self.text.get(self.host.end + 1..).unwrap_or("/")
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        let target = self.target();
        &target[..memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len())]
    }
}

/// Escapes of unreserved characters mean the characters (RFC 3986, section 6.2.2.2), and their
/// digits have no case. `%2F` stays what it is, and so does `%2E`: decoded, it could become a
/// segment that leads elsewhere. Dot segments stay too, for the origin to judge. A path with a
/// broken escape stays as it is: `%%341`, decoded in part, would become an escape.
fn write_path(out: &mut String, path: &str) {
    let (start, mut rest) = (out.len(), path);
    while let Some(at) = memchr::memchr(b'%', rest.as_bytes()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let escape = rest.get(..3);
        let escaped = escape.and_then(|escape| escaped(escape.as_bytes()[1..].try_into().ok()?));
        let Some((escape, byte)) = escape.zip(escaped) else {
            out.truncate(start);
            rest = path;
            break;
        };
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(escape);
            let escape_start = out.len() - escape.len();
            out[escape_start..].make_ascii_uppercase();
        }
        rest = &rest[3..];
    }
    out.push_str(rest);
}

/// What these two digits stand for.
fn escaped([high, low]: [u8; 2]) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Parameters as they came, less those that the site does not want to know, sorted by name if it
/// wants that. Equal names keep their order: it can mean something.
fn write_query(out: &mut String, query: &str, policy: &Query, is_sorted: bool) {
    if *policy == Query::All && !is_sorted {
        out.push('?');
        out.push_str(query);
        return;
    }
    let mut kept: Vec<&str> =
        query.split('&').filter(|parameter| is_kept(parameter, policy)).collect();
    if is_sorted {
        // Two spellings of a name are equal names.
        kept.sort_by_cached_key(|parameter| decoded(parameter_name(parameter)));
    }
    for (position, parameter) in kept.iter().enumerate() {
        out.push(if position == 0 { '?' } else { '&' });
        out.push_str(parameter);
    }
}

fn is_kept(parameter: &str, policy: &Query) -> bool {
    match policy {
        Query::All => true,
        Query::None => false,
        Query::Allow(list) => naming(list, parameter).is_some(),
        Query::Deny(list) => naming(list, parameter).is_none(),
    }
}

/// The pattern of a list that a parameter matches.
fn naming<'a>(list: &'a [String], parameter: &str) -> Option<&'a String> {
    let name = decoded(parameter_name(parameter));
    list.iter().find(|pattern| matches_name(pattern, &name))
}

fn parameter_name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

/// `utm_*` or a whole name.
fn matches_name(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

fn decoded(name: &str) -> Cow<'_, [u8]> {
    if !name.contains('%') {
        return name.as_bytes().into();
    }
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        match (first, tail.get(..2).and_then(|digits| hex(digits[0]).zip(hex(digits[1])))) {
            (b'%', Some((high, low))) => {
                out.push(high << 4 | low);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out.into()
}

/// What a site adds to its keys from elsewhere in the request. Empty where it adds nothing, which
/// costs nothing. What a trusted proxy says that its client asked for is heard by the origin, and so
/// it counts here. `host` is the key's.
pub fn additions(
    site: &Site,
    request: &Fields,
    scheme: &'static str,
    host: &str,
    peer_is_trusted: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let told = |name| {
        let lines: Vec<&[u8]> = request.all(name).filter(|_| peer_is_trusted).collect();
        (!lines.is_empty()).then(|| lines.join(&b", "[..]))
    };
    let told_host = told("x-forwarded-host");
    let told_host = told_host.filter(|told| !told.eq_ignore_ascii_case(host.as_bytes()));
    let mut put = |kind: &str, name: &str, value: Option<&[u8]>| {
        // An absent value is not an empty one.
        let value = value.map(|value| [b"=", value].concat()).unwrap_or_default();
        out.extend_from_slice(&[kind.as_bytes(), name.as_bytes(), &value, b"\n"].concat());
    };
    if site.key.scheme {
        put("scheme", "", Some(https::scheme(request, peer_is_trusted, scheme).as_bytes()));
    }
    if told_host.is_some() {
        put("host", "", told_host.as_deref());
    }
    for name in &site.key.headers {
        let lines: Vec<&[u8]> = request.all(name).collect();
        put("field ", name, (!lines.is_empty()).then(|| lines.join(&b", "[..])).as_deref());
    }
    // Fields that make origins believe things, where a site passes them on.
    for name in &site.forward {
        for value in request.all(name) {
            put("forward ", name, Some(value));
        }
    }
    for name in &site.key.cookies {
        let cookies = request.all("cookie").flat_map(|line| line.split(|byte| *byte == b';'));
        let values = cookies.map(<[u8]>::trim_ascii).filter_map(|cookie| {
            cookie.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        });
        // Of several equal names, some origins take the first and others the last
        // (RFC 6265, section 4.2.2).
        let values: Vec<&[u8]> = values.collect();
        put("cookie ", name, (!values.is_empty()).then(|| values.join(&b';')).as_deref());
    }
    out
}
