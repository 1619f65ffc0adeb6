//! A read-only view of a folder, for operators. It claims and changes nothing, and the folder may be
//! in use: what it shows is what the files said when they were read. A segment that goes away
//! meanwhile is no fault, and neither is the end of one that is still written.

mod survey;
mod verify;

use super::files::{File, Folder};
use super::format::{
    self, Bad, FooterEntry, Kind, Meta, RECORD_HEAD_BYTES, RecordHead, WholeRecord, chunk_key,
    is_entry, kind_of, segment_id, segment_name,
};
use super::index::{Index, Location, SEGMENT_ID_END};
use super::local::{LocalFolder, open_for_reading};
use super::mounting::{SUPERBLOCK, read_superblock};
use super::purge_log::{self, Removed};
use super::segment::{Oldest, Segment, Window, next_record};
use super::writer::{HITS, read_hits};
use super::{Content, reading};
use crate::store::purges::Purges;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use survey::survey;

/// Looks at the list of files: what is written again while segments are read lies in new ones.
const LISTINGS_MAX: usize = 4;
/// Looks at a log that seems damaged: it may just have been written to.
const LOG_LOOKS_MAX: usize = 3;

/// What was found in a folder.
pub struct Inspected {
    files: Files,
    /// Not known if the superblock is damaged.
    seed: Option<[u8; 16]>,
    index: Index,
    purges: Purges,
    segments: Vec<SegmentView>,
    problems: Vec<Problem>,
}

/// A segment. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// Its number.
    pub id: u32,
    /// Nothing is added to it any more; `false` for the one that is written, or was at a crash.
    pub is_sealed: bool,
    /// What it takes on the device.
    pub file_bytes: u64,
    /// Of these, what can still be asked for.
    pub live_bytes: u64,
    /// Entries and chunks, also those that have been replaced or removed since.
    pub records: u64,
    /// Entries that can still be asked for.
    pub entries: u64,
    /// Chunks that can.
    pub chunks: u64,
    /// When it was begun; 0 if that cannot be read.
    pub created: u64,
    /// When it was sealed.
    pub sealed: Option<u64>,
    /// When its file was last written to.
    pub written: u64,
    /// How often something was read from it.
    pub hits: u64,
}

/// Something bad in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file's name in the folder.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// The key of the entry, if it could be read. Chunks have none.
    pub key: Option<Bytes>,
    /// What is wrong.
    pub reason: String,
}

/// A live entry without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    /// Its key.
    pub key: Bytes,
    /// Names that it can be purged by, each ended by a line feed.
    pub tags: Bytes,
    /// What was put as its head.
    pub head: Bytes,
    /// Of its body; a body that lies in chunks is not counted.
    pub body_bytes: u64,
    /// What it takes on the device.
    pub record_bytes: u64,
    /// When it was written, in seconds since 1970; also counts what eviction wrote again.
    pub written_at: u64,
    /// Larger for what was written later.
    pub sequence: u64,
    /// The sequence from when the origin was asked for it.
    pub asked: u64,
    /// The segment that it lies in.
    pub segment: u32,
    /// Where in the segment.
    pub offset: u64,
}

/// How far `verify` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Segments that are done.
    pub segments: u64,
    /// Of so many.
    pub segments_all: u64,
    /// Records that were read, live or not.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What was bad.
    pub problems: u64,
}

/// What `verify` has to say.
pub enum Seen {
    /// How far it is.
    Progress(Progress),
    /// Something is bad.
    Problem(Problem),
}

impl Inspected {
    /// Reads what there is to know without reading everything. An error if the folder cannot be
    /// read, holds no store (`NotFound`), or one of another version (`Unsupported`).
    pub fn open(path: &Path) -> io::Result<Self> {
        let files = Files(path.to_owned());
        let names = files.names()?;
        let mut ids = segment_ids(&names);
        let (seed, bad_superblock) = files.seed(&names, !ids.is_empty())?;
        // Before the segments: the log forgets the removals that only segments needed that are gone.
        let (removed, bad_log) = files.log(!ids.is_empty())?;
        let mut problems = Vec::from_iter(bad_superblock.into_iter().chain(bad_log));
        let hits = files.open(HITS).ok().flatten().map(|file| read_hits(&*file));
        let hits = hits.unwrap_or_default();

        let index = Index::new();
        for (hash, sequence) in &removed.keys {
            index.shard(*hash).note_removed(*hash, *sequence);
        }
        let purges = Purges::default();
        purges.raise(removed.sequence_max());
        purges.load(&removed.rules());
        // What is damaged has lost removals: `purge_log::open` forgets everything then.
        let all_before = if removed.is_damaged { u64::MAX } else { removed.all.unwrap_or(0) };
        let mut views = BTreeMap::new();
        for _ in 0..LISTINGS_MAX {
            for id in ids {
                match files.look(id, &index, all_before) {
                    Ok(Some((view, bad))) => {
                        views
                            .insert(id, SegmentView { hits: *hits.get(&id).unwrap_or(&0), ..view });
                        problems.extend(bad);
                    }
                    Ok(None) => {}
                    Err(error) => problems.push(Problem::unreadable(segment_name(id), &error)),
                }
            }
            let newest = views.keys().next_back().copied();
            ids = segment_ids(&files.names()?);
            ids.retain(|id| Some(*id) > newest);
            if ids.is_empty() {
                break;
            }
        }
        index.forget_removed();
        index.each(|hash, location| {
            let Some(view) = views.get_mut(&location.segment()) else { return };
            view.live_bytes += location.length();
            match kind_of(hash) {
                Kind::Entry => view.entries += 1,
                Kind::Chunk => view.chunks += 1,
            }
        });
        let segments = views.into_values().collect();
        Ok(Self { files, seed, index, purges, segments, problems })
    }

    /// All segments, oldest first.
    pub fn segments(&self) -> &[SegmentView] {
        &self.segments
    }

    /// What was purged by rule. Entries that this is about are counted and shown as live here: who
    /// knows how they are kept can tell what is left of them.
    pub fn purges(&self) -> &Purges {
        &self.purges
    }

    /// What was bad about what had to be read so far. `verify` looks at everything.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Live entries in the order in which they lie in the segments, each read when it is its turn.
    /// What cannot be read is left out.
    pub fn entries(&self) -> impl Iterator<Item = EntryView> + '_ {
        let with_entries = self.segments.iter().filter(|segment| segment.entries > 0);
        with_entries.flat_map(|segment| self.entries_of(segment.id).into_iter().flatten())
    }

    /// A live entry with what was put; `None` if there is none, or it is not what was written.
    pub fn entry(&self, key: &[u8]) -> io::Result<Option<(EntryView, Content)>> {
        let found = self.find(Kind::Entry, key)?;
        Ok(found.map(|(WholeRecord { head, meta, body }, location)| {
            let view = EntryView::new(&head, &meta, location.offset());
            let content = Content { tags: meta.tags, head: meta.head, body, asked: head.asked };
            (view, content)
        }))
    }

    /// A live chunk; `None` if there is none, or it is not what was written.
    pub fn read_chunk(&self, generation: u64, number: u32) -> io::Result<Option<Bytes>> {
        let found = self.find(Kind::Chunk, &chunk_key(generation, number))?;
        Ok(found.map(|(record, _)| record.body))
    }

    /// Reads everything that is there now, live or not, and compares it with its checksums. An error
    /// if the folder cannot be read, or `see` has one. Problems come in the order of the files.
    pub fn verify(&self, see: &mut dyn FnMut(Seen) -> io::Result<()>) -> io::Result<Progress> {
        verify::verify(&self.files, see)
    }

    fn entries_of(&self, id: u32) -> Option<impl Iterator<Item = EntryView> + '_> {
        let file = self.files.open(&segment_name(id)).ok()??;
        let entries = survey(&*file, id).ok()?.entries;
        let is_live = move |entry: &FooterEntry| {
            let location = Location::of(id, entry);
            self.index.shard(entry.hash).location(entry.hash) == Some(location)
        };
        let all = file.bytes().ok()?;
        let mut window = Window::default();
        let live = entries.into_iter().filter(|entry| is_entry(entry.hash));
        Some(live.filter(is_live).filter_map(move |entry| {
            let read = front(&*file, &mut window, entry.offset, all, id);
            let (head, meta) = read.ok()?.ok()??;
            let is_it = head.hash == entry.hash && head.sequence == entry.sequence;
            is_it.then(|| EntryView::new(&head, &meta, entry.offset))
        }))
    }

    /// Reads a live record. What has gone away since the folder was opened may be elsewhere now.
    fn find(&self, kind: Kind, key: &[u8]) -> io::Result<Option<(WholeRecord, Location)>> {
        match self.find_here(kind, key) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let again = Self::open(&self.files.0)?;
                match again.find_here(kind, key) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    found => found,
                }
            }
            found => found,
        }
    }

    /// `NotFound`: its segment is gone.
    fn find_here(&self, kind: Kind, key: &[u8]) -> io::Result<Option<(WholeRecord, Location)>> {
        let Some(seed) = &self.seed else {
            let why = format!("{SUPERBLOCK} is damaged: without it nothing is found by its key");
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        };
        let hash = format::hash(seed, kind, key);
        let Some(location) = self.index.shard(hash).location(hash) else { return Ok(None) };
        let id = location.segment();
        let file = self.files.open(&segment_name(id))?.ok_or(ErrorKind::NotFound)?;
        let record =
            reading::read_whole(&Segment::new(id, file, 0, Oldest::NOT_KNOWN), hash, location);
        let record = record.filter(|record| record.meta.key == key);
        Ok(record.map(|record| (record, location)))
    }
}

impl EntryView {
    fn new(head: &RecordHead, meta: &Meta, offset: u64) -> Self {
        Self {
            key: meta.key.clone(),
            tags: meta.tags.clone(),
            head: meta.head.clone(),
            body_bytes: u64::from(head.body_bytes),
            record_bytes: head.record_bytes(),
            written_at: u64::from(head.written_at),
            sequence: head.sequence,
            asked: head.asked,
            segment: head.segment,
            offset,
        }
    }
}

impl Problem {
    fn new(file: impl Into<String>, offset: u64, reason: impl Into<String>) -> Self {
        Self { file: file.into(), offset, key: None, reason: reason.into() }
    }

    fn unreadable(file: String, error: &io::Error) -> Self {
        Self::new(file, 0, format!("it cannot be read: {error}"))
    }
}

/// The files of a folder, never opened for anything but reading.
struct Files(PathBuf);

impl Files {
    fn names(&self) -> io::Result<Vec<String>> {
        LocalFolder::new(&self.0).names()
    }

    /// `None` if it is not there.
    fn open(&self, name: &str) -> io::Result<Option<Arc<dyn File>>> {
        match open_for_reading(&self.0.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The superblock's, and what is bad about it; errors as `open` has them.
    fn seed(
        &self,
        names: &[String],
        has_segments: bool,
    ) -> io::Result<(Option<[u8; 16]>, Option<Problem>)> {
        if !has_segments && !names.iter().any(|name| name == SUPERBLOCK) {
            return Err(ErrorKind::NotFound.into());
        }
        let problem = |reason: String| Ok((None, Some(Problem::new(SUPERBLOCK, 0, reason))));
        let Some(file) = self.open(SUPERBLOCK)? else {
            return problem("there are segments, but this is not there".to_owned());
        };
        match read_superblock(&*file)? {
            Ok(superblock) => Ok((Some(superblock.seed), None)),
            Err(bad @ (Bad::Version(_) | Bad::Foreign)) => {
                Err(io::Error::new(ErrorKind::Unsupported, format!("{SUPERBLOCK} is {bad}")))
            }
            Err(bad) => problem(bad.to_string()),
        }
    }

    /// The purge log, and what is bad about it.
    fn log(&self, has_segments: bool) -> io::Result<(Removed, Option<Problem>)> {
        let mut removed = Removed::default();
        let mut problem = None;
        for _ in 0..LOG_LOOKS_MAX {
            let reason = match self.open(purge_log::NAME)? {
                None if !has_segments => return Ok((removed, None)),
                None => "there are segments, but this is not there".to_owned(),
                Some(file) => match purge_log::read_with_head(&*file)? {
                    Ok(read) if !read.is_damaged => return Ok((read, None)),
                    Ok(read) => {
                        removed = read;
                        "not what was written: some removals are lost".to_owned()
                    }
                    Err(bad) => bad.to_string(),
                },
            };
            removed.is_damaged = true;
            problem = Some(Problem::new(purge_log::NAME, removed.end, reason));
        }
        Ok((removed, problem))
    }

    /// Notes what a segment holds; `None` if it is not there any more.
    fn look(
        &self,
        id: u32,
        index: &Index,
        all_before: u64,
    ) -> io::Result<Option<(SegmentView, Vec<Problem>)>> {
        let name = segment_name(id);
        let Some(file) = self.open(&name)? else { return Ok(None) };
        let surveyed = survey(&*file, id)?;
        if surveyed.is_usable {
            index.recover(id, &surveyed.entries, all_before);
        }
        let written = fs::metadata(self.0.join(&name)).and_then(|data| data.modified());
        let written = written.ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let view = SegmentView {
            id,
            is_sealed: surveyed.trailer.is_some(),
            file_bytes: file.bytes()?,
            live_bytes: 0,
            records: surveyed.entries.len() as u64,
            entries: 0,
            chunks: 0,
            created: surveyed.created,
            sealed: surveyed.trailer.map(|trailer| trailer.sealed),
            written: written.map_or(0, |since| since.as_secs()),
            hits: 0,
        };
        let problem = |(offset, why)| Problem::new(&name, offset, why);
        Ok(Some((view, surveyed.problems.into_iter().map(problem).collect())))
    }
}

/// Numbers of segments, smallest first.
fn segment_ids(names: &[String]) -> Vec<u32> {
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    ids
}

/// A record before its body; nothing at the end of what was written.
fn front(
    file: &dyn File,
    window: &mut Window,
    at: u64,
    all: u64,
    id: u32,
) -> io::Result<Result<Option<(RecordHead, Meta)>, Bad>> {
    let head = match next_record(file, window, at, all, id)? {
        Ok(Some(head)) => head,
        Ok(None) => return Ok(Ok(None)),
        Err(bad) => return Ok(Err(bad)),
    };
    let meta = window.get(file, at + RECORD_HEAD_BYTES as u64, head.meta_bytes())?;
    let meta = Meta::parse(&head, &Bytes::copy_from_slice(meta));
    Ok(meta.map(|meta| Some((head, meta))))
}

#[cfg(test)]
mod tests;
