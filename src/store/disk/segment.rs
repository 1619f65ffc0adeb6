//! One segment's file: what it holds, by its footer or by reading it from the front, and reading
//! records from it.

use super::files::File;
use super::format::{
    Bad, FooterEntry, RECORD_HEAD_BYTES, RecordHead, SEGMENT_BYTES_MAX, SEGMENT_HEAD_BYTES,
    SEGMENT_RECORDS_MAX, SegmentHead, TRAILER_BYTES, Trailer, WholeRecord, encode_footer, is_entry,
    parse_footer_entries, segment_name,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Read at once when a segment is read from the front.
const WINDOW_BYTES: usize = 256 * 1024;

pub(super) struct Segment {
    pub(super) id: u32,
    pub(super) file: Arc<dyn File>,
    /// What it takes on the device.
    pub(super) file_bytes: AtomicU64,
    /// No record in it has a smaller sequence, nor will one that is on its way to it. 0 as long as
    /// this is not known.
    pub(super) sequence_min: AtomicU64,
    /// For no entry in it was the origin asked before this, or it was compared with all rules up to
    /// then. 0 as long as this is not known.
    pub(super) asked_min: AtomicU64,
    pub(super) hits: AtomicU64,
}

impl Segment {
    pub(super) fn new(id: u32, file: Arc<dyn File>, file_bytes: u64, oldest: Oldest) -> Self {
        Self {
            id,
            file,
            file_bytes: AtomicU64::new(file_bytes),
            sequence_min: AtomicU64::new(oldest.sequence),
            asked_min: AtomicU64::new(oldest.asked),
            hits: AtomicU64::new(0),
        }
    }

    pub(super) fn name(&self) -> String {
        segment_name(self.id)
    }
}

/// The smallest numbers of a segment.
#[derive(Clone, Copy)]
pub(super) struct Oldest {
    pub(super) sequence: u64,
    pub(super) asked: u64,
}

impl Oldest {
    pub(super) const OF_NOTHING: Self = Self { sequence: u64::MAX, asked: u64::MAX };
    pub(super) const NOT_KNOWN: Self = Self { sequence: 0, asked: 0 };

    pub(super) fn heed(&mut self, hash: u64, sequence: u64, asked: u64) {
        self.sequence = self.sequence.min(sequence);
        if is_entry(hash) {
            self.asked = self.asked.min(asked);
        }
    }
}

/// All segments, by number.
#[derive(Default)]
pub(super) struct Segments(RwLock<BTreeMap<u32, Arc<Segment>>>);

impl Segments {
    pub(super) fn get(&self, id: u32) -> Option<Arc<Segment>> {
        self.read(|segments| segments.get(&id).cloned())
    }

    pub(super) fn insert(&self, segment: Arc<Segment>) {
        self.write(|segments| segments.insert(segment.id, segment));
    }

    pub(super) fn remove(&self, id: u32) {
        self.write(|segments| segments.remove(&id));
    }

    pub(super) fn replace(&self, with: Vec<Arc<Segment>>) {
        self.write(|segments| {
            *segments = with.into_iter().map(|segment| (segment.id, segment)).collect();
        });
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.read(|segments| segments.values().cloned().collect())
    }

    pub(super) fn oldest(&self) -> Option<Arc<Segment>> {
        self.read(|segments| segments.values().next().cloned())
    }

    pub(super) fn file_bytes(&self) -> u64 {
        let bytes = |segment: &Arc<Segment>| segment.file_bytes.load(Ordering::Relaxed);
        self.read(|segments| segments.values().map(bytes).sum())
    }

    /// No record in any segment has a smaller sequence.
    pub(super) fn sequence_min(&self) -> u64 {
        self.min(|segment| segment.sequence_min.load(Ordering::SeqCst))
    }

    /// The same of when origins were asked.
    pub(super) fn asked_min(&self) -> u64 {
        self.min(|segment| segment.asked_min.load(Ordering::SeqCst))
    }

    fn min(&self, of: impl Fn(&Arc<Segment>) -> u64) -> u64 {
        self.read(|segments| segments.values().map(of).min().unwrap_or(u64::MAX))
    }

    fn read<R>(&self, look: impl FnOnce(&BTreeMap<u32, Arc<Segment>>) -> R) -> R {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, change: impl FnOnce(&mut BTreeMap<u32, Arc<Segment>>) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads the head of a segment's file.
pub(super) fn read_head(file: &dyn File) -> io::Result<Result<SegmentHead, Bad>> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    let read = file.read(&mut head, 0)?;
    Ok(SegmentHead::parse(&head[..read]))
}

/// What a sealed segment says about itself at its end.
pub(super) struct Footer {
    pub(super) trailer: Trailer,
    pub(super) entries: Vec<FooterEntry>,
    /// Where it begins, and the records end.
    pub(super) at: u64,
}

/// Reads the footer; nothing if the file ends in zeros, as one does that is not sealed.
pub(super) fn read_footer(file: &dyn File, id: u32) -> io::Result<Result<Option<Footer>, Bad>> {
    let (trailer, at) = match read_trailer(file, id)? {
        Ok(Some(there)) => there,
        Ok(None) => return Ok(Ok(None)),
        Err(bad) => return Ok(Err(bad)),
    };
    let mut bytes = vec![0; trailer.entries_bytes()];
    let read = file.read(&mut bytes, at)?;
    let entries = parse_footer_entries(&trailer, &bytes[..read], at);
    Ok(entries.map(|entries| Some(Footer { trailer, entries, at })))
}

/// Reads the trailer, if there is one; also, where the entries before it begin.
pub(super) fn read_trailer(
    file: &dyn File,
    id: u32,
) -> io::Result<Result<Option<(Trailer, u64)>, Bad>> {
    let all = file.bytes()?;
    let Some(at) = all.checked_sub(TRAILER_BYTES as u64) else { return Ok(Ok(None)) };
    let mut bytes = [0; TRAILER_BYTES];
    let read = file.read(&mut bytes, at)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Ok(None));
    }
    Ok(Trailer::parse(&bytes[..read]).and_then(|trailer| {
        let begin = at.checked_sub(trailer.entries_bytes() as u64).ok_or(Bad::Short)?;
        let is_possible = trailer.id == id && all <= SEGMENT_BYTES_MAX;
        if is_possible { Ok(Some((trailer, begin))) } else { Err(Bad::Value) }
    }))
}

/// What reading a segment from the front came to.
pub(super) struct Scanned {
    pub(super) entries: Vec<FooterEntry>,
    /// Of what was scanned, and perhaps of more than `entries` has.
    pub(super) oldest: Oldest,
    /// Where the last good record ends.
    pub(super) end: u64,
    /// Why what follows is none; `None` if there is nothing but zeros, or a footer was reached.
    pub(super) stopped: Option<Bad>,
}

/// What the end of this process can have cut short: a write, and the record that it ended in.
const LAST_BYTES: u64 = 4 * 1024 * 1024;

/// The same as `scan` of a segment that was not sealed. What was cut short at its end would stand
/// before an older record of the same that is whole: it is left out.
pub(super) fn scan_unsealed(file: &dyn File, id: u32) -> io::Result<Scanned> {
    let mut scanned = scan(file, id)?;
    let from = scanned.end.saturating_sub(LAST_BYTES);
    let first = scanned.entries.partition_point(|entry| entry.offset < from);
    for number in first..scanned.entries.len() {
        let FooterEntry { offset, length, .. } = scanned.entries[number];
        let mut bytes = vec![0; length as usize];
        let read = file.read(&mut bytes, offset)?;
        bytes.truncate(read);
        if let Err(bad) = WholeRecord::parse(&Bytes::from(bytes)) {
            scanned.entries.truncate(number);
            (scanned.end, scanned.stopped) = (offset, Some(bad));
            break;
        }
    }
    Ok(scanned)
}

/// Reads a segment from the front, up to the first thing that is no record of it. Bodies are not
/// looked at: whoever reads one verifies it.
pub(super) fn scan(file: &dyn File, id: u32) -> io::Result<Scanned> {
    let all = file.bytes()?.min(SEGMENT_BYTES_MAX);
    let mut window = Window::default();
    let (end, oldest) = (SEGMENT_HEAD_BYTES as u64, Oldest::OF_NOTHING);
    let mut scanned = Scanned { entries: Vec::new(), oldest, end, stopped: None };
    while scanned.entries.len() < SEGMENT_RECORDS_MAX {
        match next_record(file, &mut window, scanned.end, all, id)? {
            Ok(Some(head)) => {
                let (hash, sequence, length) = (head.hash, head.sequence, head.record_bytes());
                let offset = scanned.end;
                scanned.oldest.heed(hash, sequence, head.asked);
                scanned.entries.push(FooterEntry { hash, sequence, offset, length });
                scanned.end += length;
            }
            Ok(None) => break,
            Err(bad) => {
                scanned.stopped = Some(bad);
                break;
            }
        }
    }
    Ok(scanned)
}

/// Reads head and meta of the record at `at`; nothing at the end of what was written.
pub(super) fn next_record(
    file: &dyn File,
    window: &mut Window,
    at: u64,
    all: u64,
    id: u32,
) -> io::Result<Result<Option<RecordHead>, Bad>> {
    let bytes = window.get(file, at, RECORD_HEAD_BYTES)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Ok(None));
    }
    let head = match RecordHead::parse(bytes) {
        Ok(head) if head.segment == id => head,
        Ok(_) => return Ok(Err(Bad::Foreign)),
        Err(bad) => return Ok(Err(bad)),
    };
    if at + head.record_bytes() > all {
        return Ok(Err(Bad::Short));
    }
    let bytes = window.get(file, at, RECORD_HEAD_BYTES + head.meta_bytes())?;
    if let Err(bad) = head.check_meta(bytes.get(RECORD_HEAD_BYTES..).unwrap_or_default()) {
        return Ok(Err(bad));
    }
    Ok(Ok(Some(head)))
}

/// Writes the footer after the last record, and cuts the file after it. The file's length.
pub(super) fn seal(
    file: &dyn File,
    id: u32,
    end: u64,
    entries: &[FooterEntry],
    asked_min: u64,
    now: u64,
) -> io::Result<u64> {
    let footer = encode_footer(id, now, asked_min, entries);
    let all = end + footer.len() as u64;
    // Not cut before: on a full device the footer might not fit any more.
    file.write(&footer, end)?;
    file.set_bytes(all)?;
    Ok(all)
}

/// Reads a file forward in large pieces.
#[derive(Default)]
pub(super) struct Window {
    bytes: Vec<u8>,
    at: u64,
}

impl Window {
    /// Fewer only at the end of the file.
    pub(super) fn get(&mut self, file: &dyn File, at: u64, bytes: usize) -> io::Result<&[u8]> {
        let has = self.at + self.bytes.len() as u64;
        if at < self.at || at + bytes as u64 > has {
            self.bytes.resize(bytes.max(WINDOW_BYTES), 0);
            let read = file.read(&mut self.bytes, at)?;
            self.bytes.truncate(read);
            self.at = at;
        }
        let from = (at - self.at) as usize;
        Ok(&self.bytes[from..(from + bytes).min(self.bytes.len())])
    }
}
