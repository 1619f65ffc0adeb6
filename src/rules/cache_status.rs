//! Cache-Status (RFC 9211): what the caches on the way have done, the one next to the origin first.

use crate::outcome::{Forward, Outcome};
use crate::wire::fields::{Fields, put_number};
use bytes::Bytes;
use sfv::{FieldType, List};

/// The name of the field.
pub const CACHE_STATUS: &str = "Cache-Status";

/// What caches behind this one tell, as the beginning of one list; empty where there is nothing. It
/// stays with what is stored (section 3: a second cache that uses what it stored shows the first
/// one's member before its own). A line that is no list would take ours with it, because what
/// cannot be parsed as a whole is ignored as a whole (RFC 9651, section 4.2).
pub fn told_before(response: &Fields) -> Bytes {
    let lines: Vec<&[u8]> = response.all(CACHE_STATUS).filter(|line| is_list(line)).collect();
    lines.join(&b", "[..]).into()
}

fn is_list(line: &[u8]) -> bool {
    List::parse(sfv::Parser::new(line)).is_ok_and(|list| !list.is_empty())
}

/// What the edge knows about an answer that its origin does not.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// What became of it.
    pub outcome: Outcome,
    /// Why the origin was asked, where what is stored stands in for its answer.
    pub forward: Option<Forward>,
    /// Seconds that it may still be used.
    pub ttl: Option<i64>,
    /// What the origin answered, where the client gets something else.
    pub origin_status: Option<u16>,
    /// It is being stored.
    pub is_stored: bool,
    /// Somebody else had asked for it.
    pub is_collapsed: bool,
    /// Why, in one word.
    pub detail: Option<&'static str>,
}

impl Story {
    /// With nothing to it but this.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            forward: None,
            ttl: None,
            origin_status: None,
            is_stored: false,
            is_collapsed: false,
            detail: None,
        }
    }

    /// The Cache-Status of the answer (RFC 9211), behind what caches closer to the origin have told.
    pub fn write(&self, out: &mut Vec<u8>, told_before: &[u8]) {
        out.extend_from_slice(b"Cache-Status: ");
        out.extend_from_slice(told_before);
        out.extend_from_slice(if told_before.is_empty() { b"brim" } else { b", brim" });
        match self.outcome {
            Outcome::Hit => out.extend_from_slice(b"; hit"),
            Outcome::Stale(_) => match self.forward {
                None => out.extend_from_slice(b"; hit"),
                Some(forward) => put(out, "; fwd=", forward.label()),
            },
            Outcome::Miss(forward) | Outcome::Revalidated(forward) | Outcome::Pass(forward) => {
                put(out, "; fwd=", forward.label());
            }
            Outcome::Edge | Outcome::Error(_) => {}
        }
        if let Some(status) = self.origin_status {
            out.extend_from_slice(b"; fwd-status=");
            put_number(out, status);
        }
        if let Some(ttl) = self.ttl {
            out.extend_from_slice(b"; ttl=");
            put_number(out, ttl);
        }
        if self.is_stored {
            out.extend_from_slice(b"; stored");
        }
        if self.is_collapsed {
            out.extend_from_slice(b"; collapsed");
        }
        let staleness = match self.outcome {
            Outcome::Stale(staleness) => Some(staleness.label()),
            Outcome::Error(reason) => Some(reason),
            _ => None,
        };
        if let Some(detail) = self.detail.or(staleness) {
            put(out, "; detail=", detail);
        }
        out.extend_from_slice(b"\r\n");
    }
}

fn put(out: &mut Vec<u8>, parameter: &str, value: &str) {
    out.extend_from_slice(parameter.as_bytes());
    out.extend_from_slice(value.as_bytes());
}
