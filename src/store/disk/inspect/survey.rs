//! What a segment's file says about itself, as recovery would take it, and what is bad about that.
//!
//! A file that is not sealed has its whole length from the start, and room for its footer; its end
//! is zeros. So whatever else is at the end was cut, or was a footer.

use super::SEGMENT_ID_END;
use crate::store::disk::files::File;
use crate::store::disk::format::{
    Bad, FooterEntry, SEGMENT_BYTES_MAX, SEGMENT_HEAD_BYTES, TRAILER_BYTES, Trailer, footer_bytes,
};
use crate::store::disk::segment::{Scanned, read_footer, read_head, scan};
use std::io;

/// What a segment holds.
pub(super) struct Surveyed {
    /// 0 if the head cannot be read.
    pub(super) created: u64,
    /// Of one that is sealed.
    pub(super) trailer: Option<Trailer>,
    /// By the footer, or those that are found from the front without it.
    pub(super) entries: Vec<FooterEntry>,
    /// Where they end; by the footer, where it begins.
    pub(super) end: u64,
    /// Recovery takes its records for records.
    pub(super) is_usable: bool,
    /// It was sealed, but it cannot be told any more how.
    pub(super) has_lost_footer: bool,
    /// Bad things, and where.
    pub(super) problems: Vec<(u64, String)>,
}

pub(super) fn survey(file: &dyn File, id: u32) -> io::Result<Surveyed> {
    let mut surveyed = Surveyed {
        created: 0,
        trailer: None,
        entries: Vec::new(),
        end: SEGMENT_HEAD_BYTES as u64,
        is_usable: false,
        has_lost_footer: false,
        problems: Vec::new(),
    };
    if id >= SEGMENT_ID_END {
        surveyed.problems.push((0, "its number is larger than any that is written".to_owned()));
        return Ok(surveyed);
    }
    let (mut bad_head, mut is_blank) = (None, false);
    match read_head(file)? {
        Ok(head) if head.id == id => {
            (surveyed.created, surveyed.is_usable) = (head.created, true);
        }
        Ok(head) => {
            surveyed.problems.push((0, format!("it has the number of segment {}", head.id)));
            return Ok(surveyed);
        }
        Err(bad @ (Bad::Version(_) | Bad::Foreign)) => {
            surveyed.problems.push((0, format!("the segment's head: {bad}")));
            return Ok(surveyed);
        }
        // Recovery takes the records without it: each says itself where it belongs.
        Err(bad) => {
            surveyed.is_usable = true;
            bad_head = Some((0, format!("the segment's head: {bad}")));
            is_blank = bad == Bad::Short && is_zero_at_front(file)?;
        }
    }
    let mut lost = None;
    // Twice: it may be sealed between two looks at it.
    for _ in 0..2 {
        let footer = match read_footer(file, id)? {
            Ok(Some(footer)) => {
                surveyed.trailer = Some(footer.trailer);
                (surveyed.entries, surveyed.end) = (footer.entries, footer.at);
                lost = None;
                break;
            }
            Ok(None) => None,
            Err(bad) => Some(bad),
        };
        let scanned = scan(file, id)?;
        if is_blank && scanned.entries.is_empty() && footer.is_none() {
            // It was made, and nothing is written to it yet.
            return Ok(surveyed);
        }
        lost = lost_footer(&scanned, footer, file.bytes()?);
        (surveyed.entries, surveyed.end) = (scanned.entries, scanned.end);
        if lost.is_none() {
            break;
        }
    }
    // It may have been made, and filled, between two looks at it.
    if is_blank && read_head(file)?.is_ok_and(|head| head.id == id) {
        bad_head = None;
    }
    surveyed.has_lost_footer = lost.is_some();
    surveyed.problems = bad_head.into_iter().chain(lost).collect();
    Ok(surveyed)
}

/// What became of the footer of a segment that has one no more.
fn lost_footer(scanned: &Scanned, footer: Option<Bad>, all: u64) -> Option<(u64, String)> {
    let needs = scanned.end + footer_bytes(scanned.entries.len());
    let is_cut = scanned.stopped == Some(Bad::Short) || all <= SEGMENT_BYTES_MAX && needs > all;
    if is_cut {
        return Some((scanned.end, "the file is cut short".to_owned()));
    }
    let at = all.saturating_sub(TRAILER_BYTES as u64);
    footer.map(|bad| (at, format!("the segment's footer: {bad}")))
}

fn is_zero_at_front(file: &dyn File) -> io::Result<bool> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    file.read(&mut head, 0)?;
    Ok(head.iter().all(|byte| *byte == 0))
}
