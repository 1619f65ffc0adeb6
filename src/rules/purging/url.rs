//! Whole URLs: the keys of what a request for one could have been answered with.

use super::{Targets, place};
use crate::rules::site::SiteMap;
use crate::wire::authority;

/// A URL taken apart.
pub(super) struct Parts<'a> {
    /// The port that its scheme leaves out.
    pub(super) scheme_port: u16,
    /// `host[:port]`
    pub(super) authority: &'a str,
    /// Path and query as they are written.
    pub(super) rest: &'a str,
}

/// What a client sends that asks for a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedFor {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `host[:port]`, in the letters that are sent.
    pub authority: String,
    /// Path and query; the fragment stays with the client.
    pub target: String,
}

/// Reads a URL as a person writes it; without a scheme it is taken for a plain one.
pub fn asked_for(text: &str) -> Result<AskedFor, String> {
    let about = |why: String| format!("the URL: {why}");
    super::is_sound(text).map_err(about)?;
    let url = split(text.split('#').next().unwrap_or_default()).map_err(about)?;
    if url.authority.contains('@') {
        return Err("a URL with a user is not understood".to_owned());
    }
    let is_host = authority::parse(url.authority.as_bytes()).is_some();
    let read = || ::url::Url::parse(&format!("http://{}", url.authority)).ok();
    // Letters that DNS does not know are sent as browsers send them.
    let authority = match is_host.then(|| url.authority.to_owned()) {
        Some(authority) => authority,
        None => {
            let read = read().ok_or_else(|| format!("\"{}\" is not a host", url.authority))?;
            let host = read.host_str().unwrap_or_default();
            read.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
        }
    };
    let scheme = if url.scheme_port == 443 { "https" } else { "http" };
    let target = as_sent(url.rest).ok_or("a backslash behind the host is not understood")?;
    Ok(AskedFor { scheme, authority, target })
}

/// Adds the keys of a URL: as it is written, and as a browser would ask for it.
pub(super) fn add(
    text: &str,
    sites: &SiteMap,
    all_queries: bool,
    all: &mut Targets,
) -> Result<(), String> {
    // Clients keep the fragment to themselves.
    let url = split(text.split('#').next().unwrap_or_default())?;
    let targets = [as_sent(url.rest), as_browsers_send(url.rest)];
    for place in place::of_url(url.authority, url.scheme_port, sites)? {
        for target in targets.iter().flatten() {
            if !all_queries {
                all.keys.push(place.key(target));
                continue;
            }
            let key = place.key(target.split('?').next().unwrap_or_default());
            all.prefixes.push([&key, &b"?"[..]].concat().into());
            all.keys.push(key);
        }
    }
    Ok(())
}

/// The scheme may be left out.
pub(super) fn split(text: &str) -> Result<Parts<'_>, String> {
    let (scheme_port, rest) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (80, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (443, rest),
        Some((scheme, _)) if !scheme.contains(['/', '?', '\\']) => {
            return Err(format!("\"{scheme}\" is not a scheme that is served: http or https"));
        }
        _ => (80, text),
    };
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '\\']).unwrap_or(rest.len()));
    if authority.is_empty() {
        return Err("names no host".to_owned());
    }
    Ok(Parts { scheme_port, authority, rest })
}

/// The request target as it is written; bytes that cannot be in one are escaped, as all clients do.
pub(super) fn as_sent(rest: &str) -> Option<String> {
    let mut target = String::with_capacity(rest.len() + 1);
    if !rest.starts_with('/') {
        target.push('/');
    }
    for byte in rest.bytes() {
        if byte.is_ascii_graphic() {
            target.push(char::from(byte));
        } else {
            target += &format!("%{byte:02X}");
        }
    }
    // A backslash behind the host is a slash to browsers, and nothing to anybody else.
    Some(target).filter(|_| !rest.starts_with('\\'))
}

/// The same without dot segments, and with more escapes.
fn as_browsers_send(rest: &str) -> Option<String> {
    let url = ::url::Url::parse(&format!("http://host{rest}")).ok()?;
    Some(url[::url::Position::BeforePath..::url::Position::AfterQuery].to_owned())
}
