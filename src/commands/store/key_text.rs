//! Keys as people read and type them. Bytes that a terminal would take for more than text are
//! escaped, and what is shown leads back to the key.

use crate::config::{self, Site};
use crate::rules::key::Key;
use crate::wire::authority;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

/// `site host/path?query`. A key that is made otherwise is shown whole, with its line feeds as
/// `\n`.
pub(super) fn shown(key: &[u8]) -> String {
    let mut out = String::with_capacity(key.len());
    match parts(key) {
        Some((site, rest)) => {
            escape(&mut out, site);
            out.push(' ');
            let host_end = memchr::memchr(b'\n', rest).unwrap_or(0);
            escape(&mut out, &rest[..host_end]);
            escape(&mut out, &rest[host_end + 1..]);
        }
        None => escape(&mut out, key),
    }
    out
}

/// The key that is shown like this; `None` if none is.
pub(super) fn read(text: &str) -> Option<Vec<u8>> {
    let Some((site, rest)) = text.split_once(' ') else {
        return unescape(text);
    };
    let (host, target) = rest.split_at(rest.find('/')?);
    Some([&unescape(site)?[..], b"\n", &unescape(host)?, b"\n", &unescape(target)?].concat())
}

/// Site, and the rest: host and target. `None` unless the key can be put together again from how it
/// is shown.
fn parts(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let site_end = memchr::memchr(b'\n', key)?;
    let rest = &key[site_end + 1..];
    let host_end = memchr::memchr(b'\n', rest)?;
    let (host, target) = (&rest[..host_end], &rest[host_end + 1..]);
    (target.first() == Some(&b'/') && !host.contains(&b'/')).then_some((&key[..site_end], rest))
}

/// Shows what is no printable ASCII, and what separates parts, as `\xNN`.
pub(super) fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\\' => out.push_str("\\\\"),
            b'!'..=b'~' => out.push(char::from(*byte)),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let (escaped, tail) = rest.split_first()?;
        rest = tail;
        match escaped {
            b'n' => out.push(b'\n'),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                out.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            _ => return None,
        }
    }
    Some(out)
}

/// What a URL asks for, whichever site answers it.
pub(super) struct Wanted {
    /// Ends of keys: with the port, where the URL names one, and without it, for the port that the
    /// edge listens on is in no key.
    ends: Vec<Vec<u8>>,
}

impl Wanted {
    /// `http://host/path`, `https://host/path` or `host/path`.
    pub(super) fn by(url: &str) -> Option<Self> {
        let (default_port, rest) = match url.split_once("://") {
            Some(("http", rest)) => (80, rest),
            Some(("https", rest)) => (443, rest),
            Some(_) => return None,
            None => (80, url),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let host_end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, target) = rest.split_at(host_end);
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        let host = authority::parse(host.as_bytes())?;
        let site = any_site()?;
        let mut key = Key::default();
        let mut ends: Vec<Vec<u8>> = Vec::new();
        for port in [default_port, host.port.unwrap_or(default_port)] {
            key.write(&site, Some(host), &target, port);
            let bytes = key.as_bytes();
            let end = memchr::memchr(b'\n', bytes).map_or(bytes, |at| &bytes[at..]);
            if !ends.iter().any(|known| known == end) {
                ends.push(end.to_owned());
            }
        }
        Some(Self { ends })
    }

    /// Whether this is a key of it.
    pub(super) fn is(&self, key: &[u8]) -> bool {
        memchr::memchr(b'\n', key).is_some_and(|at| self.ends.iter().any(|end| *end == key[at..]))
    }
}

/// A site that keeps whole queries. What other sites leave out of theirs is not known here.
fn any_site() -> Option<Arc<Site>> {
    let text = "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n\
                [[site]]\nhosts = ['*']\norigin = 'o'\n";
    config::check(text, "", Path::new("")).settings?.sites.first().cloned()
}

#[cfg(test)]
mod tests;
