//! `brim store stat`: what is in it, in all and for each segment.

use super::{Out, age, counted};
use crate::store::disk::inspect::{Inspected, SegmentView};
use bytesize::ByteSize;
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

#[derive(Serialize)]
struct Stat<'a> {
    path: &'a Path,
    file_bytes: u64,
    live_bytes: u64,
    entries: u64,
    chunks: u64,
    hits: u64,
    rules: usize,
    problems: usize,
    segments: Vec<Segment>,
}

#[derive(Serialize)]
struct Segment {
    id: u32,
    state: &'static str,
    file_bytes: u64,
    live_bytes: u64,
    records: u64,
    entries: u64,
    chunks: u64,
    created: u64,
    sealed: Option<u64>,
    written: u64,
    hits: u64,
}

pub(super) fn print(
    path: &Path,
    store: &Inspected,
    is_json: bool,
    now: u64,
    out: &mut Out<'_>,
) -> io::Result<ExitCode> {
    let segments: Vec<Segment> = store.segments().iter().map(Segment::from).collect();
    let sum = |figure: fn(&Segment) -> u64| segments.iter().map(figure).sum();
    let stat = Stat {
        path,
        file_bytes: sum(|segment| segment.file_bytes),
        live_bytes: sum(|segment| segment.live_bytes),
        entries: sum(|segment| segment.entries),
        chunks: sum(|segment| segment.chunks),
        hits: sum(|segment| segment.hits),
        rules: store.purges().len(),
        problems: store.problems().len(),
        segments,
    };
    if is_json {
        serde_json::to_writer(&mut *out, &stat)?;
        writeln!(out)?;
    } else {
        print_for_people(&stat, now, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_for_people(stat: &Stat<'_>, now: u64, out: &mut Out<'_>) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} and {} in {}; {} of {} live ({}); {}",
        stat.path.display(),
        counted(stat.entries, "entry", "entries"),
        counted(stat.chunks, "chunk", "chunks"),
        counted(stat.segments.len() as u64, "segment", "segments"),
        ByteSize(stat.live_bytes),
        ByteSize(stat.file_bytes),
        share(stat.live_bytes, stat.file_bytes),
        counted(stat.hits, "hit", "hits"),
    )?;
    if stat.rules > 0 {
        let rules = counted(stat.rules as u64, "rule", "rules");
        writeln!(
            out,
            "{rules} of what was purged: entries that are gone by these are still counted"
        )?;
    }
    if stat.problems > 0 {
        let problems = counted(stat.problems as u64, "problem", "problems");
        writeln!(out, "{problems}: `brim store verify` names them")?;
    }
    if stat.segments.is_empty() {
        return Ok(());
    }
    let names = ["segment", "state", "bytes", "live", "share", "entries", "chunks", "age", "hits"];
    let mut rows = vec![names.map(str::to_owned)];
    rows.extend(stat.segments.iter().map(|segment| {
        [
            format!("{:08}", segment.id),
            segment.state.to_owned(),
            ByteSize(segment.file_bytes).to_string(),
            ByteSize(segment.live_bytes).to_string(),
            share(segment.live_bytes, segment.file_bytes),
            segment.entries.to_string(),
            segment.chunks.to_string(),
            age(segment.created, now),
            segment.hits.to_string(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    writeln!(out)?;
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            match column {
                0 => write!(out, "{cell:width$}")?,
                1 => write!(out, "  {cell:width$}")?,
                _ => write!(out, "  {cell:>width$}")?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn share(part: u64, whole: u64) -> String {
    match whole {
        0 => "-".to_owned(),
        _ => format!("{}%", u128::from(part) * 100 / u128::from(whole)),
    }
}

impl From<&SegmentView> for Segment {
    fn from(view: &SegmentView) -> Self {
        Self {
            id: view.id,
            state: if view.is_sealed { "sealed" } else { "open" },
            file_bytes: view.file_bytes,
            live_bytes: view.live_bytes,
            records: view.records,
            entries: view.entries,
            chunks: view.chunks,
            created: view.created,
            sealed: view.sealed,
            written: view.written,
            hits: view.hits,
        }
    }
}
