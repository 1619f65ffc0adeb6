//! What became of a URL in its key, and what a site has added to it, for people. `super` makes keys;
//! here is told what it did.

use super::{Key, is_kept, naming};
use crate::config::{Query, Site};
use crate::wire::authority::Authority;

/// A part of the query that is in no key, and no origin gets to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// As it came.
    pub parameter: String,
    /// The setting that says so.
    pub by: String,
}

/// Something of a request that a site has in its keys besides the URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// `scheme`, `host`, `field`, `forward` or `cookie`.
    pub kind: String,
    /// Its name, where there may be several.
    pub name: String,
    /// What the request says; `None`: nothing.
    pub value: Option<Vec<u8>>,
}

/// What was left out of the query of a target.
pub fn left_out(site: &Site, target: &str) -> Vec<LeftOut> {
    let Some((_, query)) = target.split_once('?') else { return Vec::new() };
    let rules = &site.key.query;
    let out = query.split('&').filter(|parameter| !is_kept(parameter, rules));
    let by = |parameter: &str| match rules {
        Query::All => "all".to_owned(),
        Query::None => "\"none\"".to_owned(),
        Query::Allow(_) => "allow does not name it".to_owned(),
        Query::Deny(list) => {
            let pattern = naming(list, parameter).map(String::as_str).unwrap_or_default();
            format!("deny \"{pattern}\"")
        }
    };
    out.map(|parameter| LeftOut {
        parameter: parameter.to_owned(),
        by: format!("site.key.query: {}", by(parameter)),
    })
    .collect()
}

/// What is spelled otherwise in the key than in the request, in a few words each.
pub fn changes(
    site: &Site,
    authority: Option<(Authority<'_>, &str)>,
    target: &str,
    port: u16,
    key: &Key,
) -> Vec<String> {
    let mut changes = Vec::new();
    if let Some((authority, text)) = authority {
        if authority.host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            changes.push("the host is in lower case (RFC 3986, section 6.2.2.1)".to_owned());
        }
        if text.split(':').next().is_some_and(|host| host.ends_with('.')) {
            changes.push("the dot at the end of the host is left out".to_owned());
        }
        if authority.port == Some(port) {
            changes.push(format!("the default port {port} is left out"));
        }
    }
    let path = target.split('?').next().unwrap_or_default();
    if path != key.path() {
        changes.push("escapes in the path are spelled in one way (RFC 3986, section 6.2.2)".into());
    }
    let query = target.split_once('?').map(|(_, query)| query);
    let kept: Option<Vec<&str>> =
        query.map(|query| query.split('&').filter(|name| is_kept(name, &site.key.query)).collect());
    let kept = kept.map(|kept| kept.join("&")).unwrap_or_default();
    let keyed = key.target().split_once('?').map_or("", |(_, query)| query);
    if kept != keyed {
        changes.push("query parameters are sorted by name (site.key.sort_query)".to_owned());
    }
    changes
}

/// What `additions` has written.
pub fn added(additions: &[u8]) -> Vec<Addition> {
    let lines = additions.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    lines
        .map(|line| {
            let (what, value) = match memchr::memchr(b'=', line) {
                Some(at) => (&line[..at], Some(line[at + 1..].to_vec())),
                None => (line, None),
            };
            let (kind, name) = match memchr::memchr(b' ', what) {
                Some(at) => (&what[..at], &what[at + 1..]),
                None => (what, &b""[..]),
            };
            Addition { kind: text(kind), name: text(name), value }
        })
        .collect()
}
