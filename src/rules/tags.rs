//! Names that origins give to their answers, so that they can be purged by them.

use crate::wire::fields::Fields;
use bytes::Bytes;
use std::collections::HashSet;

/// The longest name.
pub const TAG_BYTES_MAX: usize = 1024;
/// Names of one answer.
const TAGS_MAX: usize = 1000;
/// All of them, with one byte behind each.
const ALL_BYTES_MAX: usize = 16 * 1024;

/// Fields that name answers, and what stands between two names there.
const IN_ANSWERS: &[(&str, &[u8])] =
    &[("surrogate-key", b" \t"), ("xkey", b" \t,"), ("cache-tag", b","), ("edge-cache-tag", b",")];

/// Those that requests for a purge name tags with besides.
const IN_PURGES: &[(&str, &[u8])] = &[("xkey-purge", b" \t,"), (SOFT, b" \t,")];

/// The one of them that asks for a soft purge.
const SOFT: &str = "xkey-softpurge";

/// There is more to name than can be remembered: whoever kept the rest could not purge it by all
/// its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The names of an answer, each once, with one LF behind each. Case matters.
pub fn of(answer: &Fields) -> Result<Bytes, TooMany> {
    if IN_ANSWERS.iter().all(|(name, _)| answer.first(name).is_none()) {
        return Ok(Bytes::new());
    }
    collect(answer, separators_in_answers)
}

/// Names in a request for a purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// As `of` writes them; may be empty.
    pub tags: Bytes,
    /// Only a field that asks for a soft purge names some.
    pub is_soft: bool,
}

/// The names that a request for a purge names; `None` if no field of it is there to.
pub fn of_purge(request: &Fields) -> Result<Option<Named>, TooMany> {
    let separators = |name: &str| separators_in_answers(name).or_else(|| known(IN_PURGES, name));
    let mut fields = request.iter().map(|(name, _)| name).filter(|name| separators(name).is_some());
    let Some(first) = fields.next() else { return Ok(None) };
    let is_soft = [first].into_iter().chain(fields).all(|name| name.eq_ignore_ascii_case(SOFT));
    Ok(Some(Named { tags: collect(request, separators)?, is_soft }))
}

/// The names of both, each once: what is brought up to date by another answer goes by either.
pub fn united(one: &Bytes, other: &Bytes) -> Result<Bytes, TooMany> {
    if one.is_empty() || one == other {
        return Ok(other.clone());
    }
    let is_end = |byte: &u8| *byte == b'\n';
    unite(one.split(is_end).chain(other.split(is_end)))
}

/// Adds the lines in which `of` finds the same names. None has both a comma and white space in it:
/// each field has at least one of them between two.
pub fn write(tags: &[u8], out: &mut Vec<u8>) {
    let has_space = |tag: &&[u8]| tag.iter().any(|byte| matches!(byte, b' ' | b'\t'));
    let all = || tags.split(|byte| *byte == b'\n').filter(|tag| !tag.is_empty());
    let mut line = |name: &str, between: &[u8], tags: Vec<&[u8]>| {
        if !tags.is_empty() {
            let value = tags.join(between);
            [name.as_bytes(), b": ", &value, b"\r\n"].iter().for_each(|s| out.extend_from_slice(s));
        }
    };
    line("Surrogate-Key", b" ", all().filter(|tag| !has_space(tag)).collect());
    line("Cache-Tag", b",", all().filter(has_space).collect());
}

fn separators_in_answers(name: &str) -> Option<&'static [u8]> {
    known(IN_ANSWERS, name)
}

fn known(fields: &[(&str, &'static [u8])], name: &str) -> Option<&'static [u8]> {
    fields.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, between)| *between)
}

/// Allocates nothing where there are no names.
fn collect(
    fields: &Fields,
    separators: impl Fn(&str) -> Option<&'static [u8]>,
) -> Result<Bytes, TooMany> {
    let lines = fields.iter().filter_map(|(name, value)| Some((separators(name)?, value)));
    unite(lines.flat_map(|(between, value)| {
        value.split(|byte| between.contains(byte)).map(<[u8]>::trim_ascii)
    }))
}

fn unite<'t>(tags: impl Iterator<Item = &'t [u8]>) -> Result<Bytes, TooMany> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for tag in tags.filter(|tag| !tag.is_empty()) {
        if !seen.insert(tag) {
            continue;
        }
        let bytes = out.len() + tag.len() + 1;
        if tag.len() > TAG_BYTES_MAX || seen.len() > TAGS_MAX || bytes > ALL_BYTES_MAX {
            return Err(TooMany);
        }
        out.extend_from_slice(tag);
        out.push(b'\n');
    }
    Ok(out.into())
}
