//! What an entry of the store says to whoever reads it: the one place that knows how it is kept.

use super::key_text::escape;
use crate::engine::{self, Kept, KeptBody};
use crate::store::disk::Content;
use crate::store::disk::inspect::{EntryView, Inspected};
use crate::store::purges::Purges;
use bytes::Bytes;
use std::fmt::Write;
use std::time::SystemTime;

/// One of the answers that are kept for a key.
pub(super) struct Stored {
    /// What is known about it and not sent: lines that begin with `#`.
    pub(super) facts: String,
    /// Lines, each with its line feed.
    pub(super) head: Vec<u8>,
    /// Where the body is.
    pub(super) body: Body,
}

/// Where a body is.
pub(super) enum Body {
    /// In the entry.
    Whole(Bytes),
    /// In chunks, as far as it has been fetched.
    InChunks {
        /// Whose chunks.
        generation: u64,
        /// Bytes of the body.
        total: u64,
    },
}

/// Whether an entry was purged as a whole.
pub(super) fn is_gone(store: &Inspected, entry: &EntryView) -> bool {
    let EntryView { tags, head, asked, .. } = entry;
    let (tags, head, asked) = (tags.clone(), head.clone(), *asked);
    let content = Content { tags, head, body: Bytes::new(), asked };
    engine::is_gone(&entry.key, &content, store.purges())
}

/// What is kept and not purged, newest first. What cannot be understood is shown as it is.
pub(super) fn read(key: &[u8], content: &Content, purges: &Purges, now: SystemTime) -> Vec<Stored> {
    let Some(all) = engine::read_left(key, content, purges) else { return vec![raw(content)] };
    let count = all.len();
    let numbered = (1..).zip(all);
    numbered.map(|(number, kept)| of_engine(kept, content, number, count, now)).collect()
}

fn of_engine(kept: Kept, content: &Content, number: usize, of: usize, now: SystemTime) -> Stored {
    let mut facts = tags(content, "# ");
    if of > 1 {
        fact(&mut facts, format_args!("variant: {number} of {of}"));
    }
    for (name, value) in kept.head.variant.selectors() {
        let mut escaped = String::new();
        escape_text(&mut escaped, &value);
        fact(&mut facts, format_args!("for {name}: {escaped}"));
    }
    if !kept.head.additions.is_empty() {
        let mut escaped = String::new();
        escape(&mut escaped, &kept.head.additions);
        fact(&mut facts, format_args!("added to the key: {escaped}"));
    }
    if let Some(terms) = kept.head.kept_terms() {
        let (age, lifetime) = (terms.age(now).as_secs(), terms.lifetime.as_secs());
        let left = terms.seconds_left(now);
        let state = match left {
            _ if terms.must_validate => "to be validated each time".to_owned(),
            1.. => format!("fresh for {left} more"),
            _ => format!("stale for {}", left.unsigned_abs()),
        };
        fact(&mut facts, format_args!("age: {age} of {lifetime} seconds, {state}"));
    }
    let place = match kept.body {
        KeptBody::Inline(_) => "with the head".to_owned(),
        KeptBody::InChunks(generation) => format!("in chunks of generation {generation}"),
    };
    fact(&mut facts, format_args!("body: {} bytes, {place}", kept.total));
    let mut head = Vec::new();
    for line in kept.head.bytes().split_inclusive(|byte| *byte == b'\n') {
        head.extend_from_slice(line.trim_ascii_end());
        head.push(b'\n');
    }
    let body = match kept.body {
        KeptBody::Inline(bytes) => Body::Whole(bytes),
        KeptBody::InChunks(generation) => Body::InChunks { generation, total: kept.total },
    };
    Stored { facts, head, body }
}

fn raw(content: &Content) -> Stored {
    let mut head = tags(content, "");
    head += &format!("head: {} bytes: ", content.head.len());
    escape(&mut head, &content.head);
    head += &format!("\nbody: {} bytes\n", content.body.len());
    let (facts, head) = (String::new(), head.into_bytes());
    Stored { facts, head, body: Body::Whole(content.body.clone()) }
}

fn tags(content: &Content, mark: &str) -> String {
    let mut lines = String::new();
    for tag in content.tags.split(|byte| *byte == b'\n').filter(|tag| !tag.is_empty()) {
        lines += mark;
        lines += "tag: ";
        escape(&mut lines, tag);
        lines.push('\n');
    }
    lines
}

fn fact(facts: &mut String, fact: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = writeln!(facts, "# {fact}");
}

/// Leaves spaces as they are: the line ends with it.
fn escape_text(out: &mut String, text: &[u8]) {
    for (number, word) in text.split(|byte| *byte == b' ').enumerate() {
        if number > 0 {
            out.push(' ');
        }
        escape(out, word);
    }
}

#[cfg(test)]
mod tests;
