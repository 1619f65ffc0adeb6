//! Conditional requests against a response at hand (RFC 9110, section 13).

use super::date;
use crate::wire::fields::Fields;
use std::time::{Duration, SystemTime};

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is none, or it holds.
    Met,
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not what the client wants to see.
    Failed,
}

/// Fields of a request that make it conditional, in lower case.
pub const CONDITIONS: &[&str] =
    &["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];

/// Evaluates the conditions of a GET or HEAD in the order of section 13.2.2. They are about what a
/// request without them would get as a success (section 13.2.1).
pub fn evaluate(request: &Fields, status: u16, response: &Fields, now: SystemTime) -> Condition {
    if !(200..300).contains(&status) {
        return Condition::Met;
    }
    if CONDITIONS.iter().all(|name| request.first(name).is_none()) {
        return Condition::Met;
    }
    let etag = response.first("etag");
    let modified = || date::of_field(response, "last-modified", now);
    let matches = |name: &'static str, compare: fn(&[u8], &[u8]) -> bool| {
        let mut known = request.all(name).flat_map(tags);
        known.any(|tag| tag == b"*" || etag.is_some_and(|etag| compare(tag, etag)))
    };
    if request.first("if-match").is_some() {
        if !matches("if-match", same_strongly) {
            return Condition::Failed;
        }
    } else if let Some(limit) = date::of_field(request, "if-unmodified-since", now)
        && modified().is_some_and(|modified| modified > limit)
    {
        return Condition::Failed;
    }
    if request.first("if-none-match").is_some() {
        return if matches("if-none-match", same_weakly) {
            Condition::NotModified
        } else {
            Condition::Met
        };
    }
    let Some(since) = date::of_field(request, "if-modified-since", now) else {
        return Condition::Met;
    };
    // RFC 9111, section 4.3.2: without a Last-Modified the Date stands in for it.
    let modified = modified().or_else(|| date::of_field(response, "date", now));
    if modified.is_some_and(|modified| modified <= since) {
        Condition::NotModified
    } else {
        Condition::Met
    }
}

/// The members of a list of entity tags. A backslash in one escapes nothing (section 8.8.3).
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    let members = list.split(move |byte| {
        is_quoted ^= *byte == b'"';
        *byte == b',' && !is_quoted
    });
    members.map(<[u8]>::trim_ascii)
}

/// Whether a Range may be honoured (section 13.1.5): without If-Range, or when it names exactly
/// this response.
pub fn range_applies(request: &Fields, response: &Fields, now: SystemTime) -> bool {
    let mut lines = request.all("if-range");
    let Some(validator) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    if validator.starts_with(b"\"") || validator.starts_with(b"W/") {
        return response.first("etag").is_some_and(|etag| same_strongly(validator, etag));
    }
    let known = date::parse(validator, now);
    known.is_some()
        && known == date::of_field(response, "last-modified", now)
        && is_strong_date(response, now)
}

/// Whether two responses are the same bytes for certain, so that parts of them go together
/// (section 15.3.7.3).
pub fn are_the_same_bytes(a: &Fields, b: &Fields, now: SystemTime) -> bool {
    match (a.first("etag"), b.first("etag")) {
        (Some(a), Some(b)) => same_strongly(a, b),
        (None, None) => {
            let modified = |fields| date::of_field(fields, "last-modified", now);
            modified(a).is_some()
                && modified(a) == modified(b)
                && is_strong_date(a, now)
                && is_strong_date(b, now)
        }
        _ => false,
    }
}

/// The strongest validator of a response as If-Range takes it.
pub fn strong_validator(response: &Fields, now: SystemTime) -> Option<&[u8]> {
    let etag = response.first("etag");
    match etag {
        Some(etag) => Some(etag).filter(|etag| !is_weak(etag)),
        None => response.first("last-modified").filter(|_| is_strong_date(response, now)),
    }
}

/// A second is enough to change a file twice; a date that was long past when the response was
/// made cannot have been (section 8.8.2.2).
fn is_strong_date(response: &Fields, now: SystemTime) -> bool {
    let modified = date::of_field(response, "last-modified", now);
    let made = date::of_field(response, "date", now);
    modified.zip(made).is_some_and(|(modified, made)| {
        made.duration_since(modified).is_ok_and(|age| age >= Duration::from_secs(1))
    })
}

fn is_weak(tag: &[u8]) -> bool {
    tag.starts_with(b"W/")
}

/// Section 8.8.3.2.
fn same_strongly(a: &[u8], b: &[u8]) -> bool {
    !is_weak(a) && a == b
}

fn same_weakly(a: &[u8], b: &[u8]) -> bool {
    a.strip_prefix(b"W/").unwrap_or(a) == b.strip_prefix(b"W/").unwrap_or(b)
}

/// Whether a 304 is about this stored response (RFC 9111, section 4.3.4): a strong validator in it
/// must be the stored one; a weak one, or none, says nothing else.
pub fn confirms(not_modified: &Fields, stored: &Fields) -> bool {
    match (not_modified.first("etag"), stored.first("etag")) {
        (Some(new), Some(old)) => same_weakly(new, old),
        (Some(_), None) => false,
        (None, _) => match (not_modified.first("last-modified"), stored.first("last-modified")) {
            (Some(new), Some(old)) => new == old,
            _ => true,
        },
    }
}
