//! Everything against its checksums. Each bad thing is said once, when it is found, so that nothing
//! is kept however much is bad.
//!
//! What is at the end of a segment that is not sealed may still be on its way, or may have been at a
//! crash. Something in front of a good record is not: records are written one after the other.

use super::survey::{Surveyed, survey};
use super::{Files, Problem, Progress, Seen, front, segment_ids};
use crate::store::disk::files::File;
use crate::store::disk::format::{
    self, ALIGNMENT, Bad, FooterEntry, Kind, RECORD_HEAD_BYTES, RecordHead, SEGMENT_BYTES_MAX,
    SEGMENT_HEAD_BYTES, segment_name,
};
use crate::store::disk::segment::Window;
use bytes::Bytes;
use std::io;

/// Records between two signs of life.
const PROGRESS_RECORDS: u64 = 256;

type See<'s> = &'s mut dyn FnMut(Seen) -> io::Result<()>;

pub(super) fn verify(files: &Files, see: See<'_>) -> io::Result<Progress> {
    let names = files.names()?;
    let ids = segment_ids(&names);
    let (seed, bad_superblock) = files.seed(&names, !ids.is_empty())?;
    let progress = Progress { segments_all: ids.len() as u64, ..Progress::default() };
    let mut verifier = Verifier { files, seed, progress, see };
    let (_, bad_log) = files.log(!ids.is_empty())?;
    for problem in bad_superblock.into_iter().chain(bad_log) {
        verifier.report(problem)?;
    }
    for id in ids {
        if let Err(stopped) = verifier.segment(id) {
            match stopped {
                Stopped::Unreadable(error) => {
                    verifier.report(Problem::unreadable(segment_name(id), &error))?;
                }
                Stopped::Unwanted(error) => return Err(error),
            }
        }
        verifier.progress.segments += 1;
        (verifier.see)(Seen::Progress(verifier.progress))?;
    }
    Ok(verifier.progress)
}

struct Verifier<'a> {
    files: &'a Files,
    seed: Option<[u8; 16]>,
    progress: Progress,
    see: See<'a>,
}

/// Why not all of a segment was read.
enum Stopped {
    Unreadable(io::Error),
    /// Nobody wants to know any more.
    Unwanted(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Why a record is bad.
struct Fault {
    /// Where the next one begins, if that is known.
    length: Option<u64>,
    key: Option<Bytes>,
    reason: String,
}

impl Fault {
    fn new(reason: impl Into<String>) -> Self {
        Self { length: None, key: None, reason: reason.into() }
    }
}

/// The segment that is being read.
struct Source<'a> {
    file: &'a dyn File,
    id: u32,
    all: u64,
    seed: Option<&'a [u8; 16]>,
}

impl Verifier<'_> {
    fn report(&mut self, problem: Problem) -> io::Result<()> {
        self.progress.problems += 1;
        (self.see)(Seen::Problem(problem))
    }

    fn report_at(&mut self, id: u32, at: u64, fault: Fault) -> Result<(), Stopped> {
        let Fault { key, reason, .. } = fault;
        let problem = Problem { file: segment_name(id), offset: at, key, reason };
        self.report(problem).map_err(Stopped::Unwanted)
    }

    fn count(&mut self, bytes: u64) -> Result<(), Stopped> {
        self.progress.records += 1;
        self.progress.bytes += bytes;
        if self.progress.records.is_multiple_of(PROGRESS_RECORDS) {
            (self.see)(Seen::Progress(self.progress)).map_err(Stopped::Unwanted)?;
        }
        Ok(())
    }

    fn segment(&mut self, id: u32) -> Result<(), Stopped> {
        // One that is gone was dropped.
        let Some(file) = self.files.open(&segment_name(id))? else { return Ok(()) };
        let mut surveyed = survey(&*file, id)?;
        for (at, reason) in std::mem::take(&mut surveyed.problems) {
            self.report_at(id, at, Fault::new(reason))?;
        }
        let all = file.bytes()?.min(SEGMENT_BYTES_MAX);
        let seed = self.seed;
        let source = Source { file: &*file, id, all, seed: seed.as_ref() };
        if surveyed.trailer.is_some() {
            self.sealed(&source, &surveyed)
        } else if surveyed.is_usable {
            self.unsealed(&source, surveyed.has_lost_footer)
        } else {
            Ok(())
        }
    }

    /// Compares a footer with the records, and these with their checksums.
    fn sealed(&mut self, source: &Source<'_>, surveyed: &Surveyed) -> Result<(), Stopped> {
        let Some(trailer) = surveyed.trailer else { return Ok(()) };
        let mut window = Window::default();
        let mut end = SEGMENT_HEAD_BYTES as u64;
        let unnamed = || Fault::new("something that the footer does not name");
        for entry in &surveyed.entries {
            if entry.offset > end {
                self.report_at(source.id, end, unnamed())?;
            }
            end = entry.offset + entry.length;
            if let Err(fault) = source.named(&mut window, entry)? {
                self.report_at(source.id, entry.offset, fault)?;
            }
            self.count(entry.length)?;
        }
        if surveyed.end > end {
            self.report_at(source.id, end, unnamed())?;
        }
        let sequences = || surveyed.entries.iter().map(|entry| entry.sequence);
        let min = sequences().min().unwrap_or(u64::MAX);
        if (min, sequences().max().unwrap_or(0)) != (trailer.sequence_min, trailer.sequence_max) {
            let fault = Fault::new("the segment's footer: its sequences are not those of records");
            self.report_at(source.id, surveyed.end, fault)?;
        }
        self.progress.bytes += format::footer_bytes(surveyed.entries.len());
        Ok(())
    }

    /// Reads one without a footer from the front.
    fn unsealed(&mut self, source: &Source<'_>, was_sealed: bool) -> Result<(), Stopped> {
        let mut window = Window::default();
        let mut at = SEGMENT_HEAD_BYTES as u64;
        loop {
            let fault = match source.record(&mut window, at)? {
                Ok(Some(head)) => {
                    at += head.record_bytes();
                    self.count(head.record_bytes())?;
                    continue;
                }
                Ok(None) => None,
                Err(fault) => Some(fault),
            };
            let length = fault.as_ref().and_then(|fault| fault.length);
            let next = source.next_good(at + length.unwrap_or(ALIGNMENT))?;
            if next.is_none() && !(was_sealed && length.is_some()) {
                return Ok(());
            }
            // The writer may have come here since.
            window = Window::default();
            let fault = match source.record(&mut window, at)? {
                Ok(Some(_)) => continue,
                Ok(None) => Fault::new("zeros where a record was"),
                Err(fault) => fault,
            };
            let length = fault.length;
            self.report_at(source.id, at, fault)?;
            match (length, next) {
                (Some(length), _) => {
                    self.count(length)?;
                    at += length;
                }
                (None, Some(next)) => at = next,
                (None, None) => return Ok(()),
            }
        }
    }
}

impl Source<'_> {
    /// Reads a record that a footer names.
    fn named(&self, window: &mut Window, entry: &FooterEntry) -> io::Result<Result<(), Fault>> {
        let head = match self.record(window, entry.offset)? {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(Err(Fault::new("zeros where a record was"))),
            Err(fault) => return Ok(Err(fault)),
        };
        let is_it = (head.hash, head.sequence, head.record_bytes())
            == (entry.hash, entry.sequence, entry.length);
        Ok(if is_it { Ok(()) } else { Err(Fault::new("a record that the footer names otherwise")) })
    }

    /// Reads a record with everything in it; nothing where there are zeros.
    fn record(
        &self,
        window: &mut Window,
        at: u64,
    ) -> io::Result<Result<Option<RecordHead>, Fault>> {
        let (head, meta) = match front(self.file, window, at, self.all, self.id)? {
            Ok(Some(front)) => front,
            Ok(None) => return Ok(Ok(None)),
            Err(bad) => return Ok(Err(Fault::new(format!("a record: {bad}")))),
        };
        let length = Some(head.record_bytes());
        let key = (head.kind() == Kind::Entry).then(|| meta.key.clone());
        let fault = |reason: String| Ok(Err(Fault { length, key: key.clone(), reason }));
        let hash = self.seed.map(|seed| format::hash(seed, head.kind(), &meta.key));
        if hash.is_some_and(|hash| hash != head.hash) {
            return fault("a record with the hash of another key".to_owned());
        }
        let body_at = head.body_at() as u64;
        let rest = (head.record_bytes() - body_at) as usize;
        let bytes = window.get(self.file, at + body_at, rest)?;
        if bytes.len() < rest {
            return fault(format!("a record's body: {}", Bad::Short));
        }
        let (body, padding) = bytes.split_at(head.body_bytes as usize);
        if let Err(bad) = meta.check_blocks(0, body) {
            return fault(format!("a record's body: {bad}"));
        }
        if padding.iter().any(|byte| *byte != 0) {
            return fault(format!("after a record's body: {}", Bad::Value));
        }
        Ok(Ok(Some(head)))
    }

    /// Where the first good record from a place on is.
    fn next_good(&self, from: u64) -> io::Result<Option<u64>> {
        let (mut search, mut read) = (Window::default(), Window::default());
        let mut at = from;
        while at + RECORD_HEAD_BYTES as u64 <= self.all {
            let head = RecordHead::parse(search.get(self.file, at, RECORD_HEAD_BYTES)?);
            let is_ours = head.is_ok_and(|head| head.segment == self.id);
            if is_ours && matches!(self.record(&mut read, at)?, Ok(Some(_))) {
                return Ok(Some(at));
            }
            at += ALIGNMENT;
        }
        Ok(None)
    }
}
