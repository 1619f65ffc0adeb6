//! `brim store ls`: one line an entry, printed as it is read.

use super::{Out, age, key_text, stored};
use crate::store::disk::inspect::{EntryView, Inspected};
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;

#[derive(Serialize)]
struct Entry {
    key: String,
    tags: Vec<String>,
    head_bytes: usize,
    body_bytes: u64,
    record_bytes: u64,
    written_at: u64,
    sequence: u64,
    asked: u64,
    segment: u32,
    offset: u64,
}

pub(super) fn print(
    store: &Inspected,
    is_json: bool,
    now: u64,
    out: &mut Out<'_>,
) -> io::Result<ExitCode> {
    for entry in store.entries().filter(|entry| !stored::is_gone(store, entry)) {
        if is_json {
            serde_json::to_writer(&mut *out, &Entry::from(&entry))?;
            writeln!(out)?;
        } else {
            let age = age(entry.written_at, now);
            writeln!(out, "{:>9} {age:>5}  {}", entry.record_bytes, key_text::shown(&entry.key))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl From<&EntryView> for Entry {
    fn from(view: &EntryView) -> Self {
        let tags = view.tags.split(|byte| *byte == b'\n').filter(|tag| !tag.is_empty());
        let escaped = |tag| {
            let mut text = String::new();
            key_text::escape(&mut text, tag);
            text
        };
        Self {
            key: key_text::shown(&view.key),
            tags: tags.map(escaped).collect(),
            head_bytes: view.head.len(),
            body_bytes: view.body_bytes,
            record_bytes: view.record_bytes,
            written_at: view.written_at,
            sequence: view.sequence,
            asked: view.asked,
            segment: view.segment,
            offset: view.offset,
        }
    }
}
