//! Byte ranges (RFC 9110, section 14).

use crate::wire::digits;
use std::ops::Range;

/// Parts that one request may ask for; of more, the whole is sent.
const PARTS_MAX: usize = 16;
/// Parts closer together than their own heads are sent as one.
const GAP_BYTES: u64 = 128;

/// One range as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// From here, and up to and with there.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

/// What a Range comes to when the length is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// One part.
    One(Range<u64>),
    /// Several, apart from each other, in the order asked for.
    Several(Vec<Range<u64>>),
    /// There is no such part: 416.
    None,
}

/// Reads a Range. `None` for what is ignored: another unit, a malformed set, or one of so many
/// or so overlapping parts that only an attacker would ask (section 14.2).
pub fn parse(value: &[u8]) -> Option<Vec<Asked>> {
    let (unit, set) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let members = set.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let parts: Vec<Asked> = members
        .filter(|member| !member.is_empty())
        .take(PARTS_MAX + 1)
        .map(part)
        .collect::<Option<_>>()?;
    (!parts.is_empty() && parts.len() <= PARTS_MAX).then_some(parts)
}

fn part(text: &[u8]) -> Option<Asked> {
    let dash = memchr::memchr(b'-', text)?;
    let (first, last) = (&text[..dash], &text[dash + 1..]);
    if first.is_empty() {
        return digits(last).map(Asked::Last);
    }
    let first = digits(first)?;
    if last.is_empty() {
        return Some(Asked::From(first, None));
    }
    let last = digits(last)?;
    (last >= first).then_some(Asked::From(first, Some(last)))
}

/// The parts of something of this length; those that are not there are left out.
pub fn resolve(asked: &[Asked], total: u64) -> Resolved {
    let mut parts: Vec<Range<u64>> = Vec::with_capacity(asked.len());
    for asked in asked {
        let part = match *asked {
            Asked::From(first, last) => {
                first..last.map_or(total, |last| total.min(last.saturating_add(1)))
            }
            Asked::Last(bytes) => total.saturating_sub(bytes)..total,
        };
        if part.start < part.end {
            add(&mut parts, part);
        }
    }
    match parts.len() {
        0 => Resolved::None,
        1 => Resolved::One(parts.swap_remove(0)),
        _ => Resolved::Several(parts),
    }
}

/// Adds a part, put together with those that it touches or nearly touches (section 15.3.7.2).
fn add(parts: &mut Vec<Range<u64>>, mut new: Range<u64>) {
    let touches = |a: &Range<u64>, b: &Range<u64>| {
        a.start <= b.end.saturating_add(GAP_BYTES) && b.start <= a.end.saturating_add(GAP_BYTES)
    };
    let mut place = parts.len();
    while let Some(at) = parts.iter().position(|part| touches(part, &new)) {
        let old = parts.remove(at);
        new = old.start.min(new.start)..old.end.max(new.end);
        place = place.min(at);
    }
    parts.insert(place.min(parts.len()), new);
}

/// A part and the length of the whole, where it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// Where the part lies.
    pub part: Range<u64>,
    /// How long the whole is.
    pub total: Option<u64>,
}

/// Reads a Content-Range of bytes (section 14.4).
pub fn content_range(value: &[u8]) -> Option<ContentRange> {
    let (unit, rest) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes ") {
        return None;
    }
    let slash = memchr::memchr(b'/', rest)?;
    let (part, total) = (&rest[..slash], &rest[slash + 1..]);
    let dash = memchr::memchr(b'-', part)?;
    let (first, last) = (digits(&part[..dash])?, digits(&part[dash + 1..])?);
    let total = if total == b"*" { None } else { Some(digits(total)?) };
    // A number that does not fit has become the largest.
    let is_good =
        first <= last && last < total.unwrap_or(u64::MAX) && total.is_none_or(|t| t < u64::MAX);
    is_good.then(|| ContentRange { part: first..last + 1, total })
}
