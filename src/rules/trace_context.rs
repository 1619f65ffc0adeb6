//! W3C Trace Context, level 1: which trace a request belongs to. What is not spelled as the
//! recommendation says is as good as not there, and is not passed on.

use crate::wire::fields::Fields;
use std::io::Write;

/// Members of a tracestate.
const MEMBERS_MAX: usize = 32;
/// Bytes of a tracestate that everybody passes on; longer ones are dropped as a whole.
const STATE_BYTES_MAX: usize = 512;
/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const PARENT_BYTES: usize = 55;

const SAMPLED: u8 = 1;

/// The place of a request in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Never 0.
    pub trace_id: u128,
    /// The span that it comes from. Never 0.
    pub span_id: u64,
    /// Whoever began the trace, or is in between, may record it.
    pub is_sampled: bool,
    /// What tracing systems have to tell each other, in their own words.
    pub state: Box<[u8]>,
}

impl TraceContext {
    /// That of a request; `None` if it tells of none, or not so that it has one meaning.
    pub fn of(fields: &Fields) -> Option<Self> {
        let mut told = fields.all("traceparent");
        let (trace_id, span_id, is_sampled) = match (told.next(), told.next()) {
            (Some(value), None) => parent(value)?,
            _ => return None,
        };
        Some(Self { trace_id, span_id, is_sampled, state: state(fields).unwrap_or_default() })
    }

    /// Adds the field lines that tell of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { trace_id, span_id, is_sampled, state } = self;
        let flags = u8::from(*is_sampled) * SAMPLED;
        // Nothing that is written into memory fails.
        let _ = write!(out, "traceparent: 00-{trace_id:032x}-{span_id:016x}-{flags:02x}\r\n");
        if !state.is_empty() {
            out.extend_from_slice(b"tracestate: ");
            out.extend_from_slice(state);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Trace, span, and whether it is sampled. Of versions to come only what this one knows is read.
fn parent(value: &[u8]) -> Option<(u128, u64, bool)> {
    let text = std::str::from_utf8(value).ok()?;
    let (known, more) = text.split_at_checked(PARENT_BYTES)?;
    let mut parts = known.split('-');
    let mut part = |digits| parts.next().and_then(|part| hexadecimal(part, digits));
    let version = part(2)?;
    let (trace_id, span_id, flags) = (part(32)?, part(16)?, part(2)?);
    let is_good = match version {
        0 => more.is_empty(),
        0xff => false,
        _ => more.is_empty() || more.starts_with('-'),
    };
    let is_there = trace_id != 0 && span_id != 0 && parts.next().is_none();
    let span_id = u64::try_from(span_id).ok()?;
    (is_good && is_there).then_some((trace_id, span_id, flags & u128::from(SAMPLED) != 0))
}

/// Digits in lower case, exactly so many.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_good = text.len() == digits && text.bytes().all(is_digit);
    is_good.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// The members of all lines as one list; `None` if any of them is malformed or named twice.
fn state(fields: &Fields) -> Option<Box<[u8]>> {
    let mut members: Vec<&[u8]> = Vec::new();
    for line in fields.all("tracestate") {
        for member in line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if member.is_empty() {
                continue;
            }
            let key = member_key(member)?;
            let is_known = members.iter().any(|known| member_key(known) == Some(key));
            if is_known || members.len() == MEMBERS_MAX {
                return None;
            }
            members.push(member);
        }
    }
    let state = members.join(&b","[..]);
    (state.len() <= STATE_BYTES_MAX).then(|| state.into())
}

/// The key of a member whose key and value are good.
fn member_key(member: &[u8]) -> Option<&[u8]> {
    let at = member.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&member[..at], &member[at + 1..]);
    let is_of_key =
        |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let mut halves = key.split(|byte| *byte == b'@');
    let (first, second, third) = (halves.next()?, halves.next(), halves.next());
    let is_good_key = match (second, third) {
        (None, _) => key.len() <= 256 && first.first().is_some_and(u8::is_ascii_lowercase),
        (Some(system), None) => {
            (1..=241).contains(&first.len())
                && !first.first().is_some_and(|byte| b"_-*/".contains(byte))
                && (1..=14).contains(&system.len())
                && system.first().is_some_and(u8::is_ascii_lowercase)
        }
        (Some(_), Some(_)) => false,
    };
    let all = first.iter().chain(second.unwrap_or_default());
    let is_of_value = |byte: &u8| (b' '..=b'~').contains(byte) && !b",=".contains(byte);
    let is_good_value = (1..=256).contains(&value.len())
        && value.iter().all(is_of_value)
        && value.last() != Some(&b' ');
    (is_good_key && is_good_value && all.into_iter().all(is_of_key)).then_some(key)
}
