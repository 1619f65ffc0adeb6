//! Cache-Status (RFC 9211): what the caches on the way have done, the one next to the origin first.

use crate::wire::fields::Fields;
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
