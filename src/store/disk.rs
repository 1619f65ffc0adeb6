//! The disk tier: entries by key and chunks of large bodies in a log of segments, found through an
//! index in memory.

mod admission;
mod buffers;
mod eviction;
pub mod files;
pub mod format;
mod handing_over;
mod index;
pub mod inspect;
pub mod local;
mod mounting;
mod purge_log;
mod queue;
mod reading;
mod segment;
mod tier;
mod writer;

use super::purges::{Purges, Scope};
use bytes::Bytes;
use files::Folder;
use format::{Kind, chunk_key};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tier::{Part, Put, State, Tier};
use tokio::time::timeout;
use writer::Writer;

/// Bytes of a large body in one chunk; the last one has fewer.
pub const CHUNK_BYTES: u64 = 1024 * 1024;
/// Body bytes that share a checksum.
pub const BLOCK_BYTES: u64 = 64 * 1024;

/// How long a fill that has no other place for what it brings waits for the writer.
const ROOM_WITHIN: Duration = Duration::from_secs(1);

/// What the tier may use.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of the device, all files together.
    pub bytes: u64,
}

/// Why a folder cannot be used at all. Everything else (read-only, gone, full, of an unknown
/// version) opens a tier that is degraded and comes back by itself.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses it.
    InUse,
    /// There are no threads to be had.
    NoThreads,
}

/// The tier.
pub struct Disk {
    tier: Arc<Tier>,
    /// Random for each process.
    generations: RandomState,
    threads: Mutex<Option<Threads>>,
}

/// What is kept for a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Names that it can be purged by, each ended by a line feed.
    pub tags: Bytes,
    /// Opaque here.
    pub head: Bytes,
    /// Opaque here, too: small bodies. Larger ones are chunks.
    pub body: Bytes,
    /// `Disk::next_sequence` from when the origin was asked for it.
    pub asked: u64,
}

/// An entry as it was read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What was put.
    pub content: Content,
    /// Where it lies; another one after each change.
    pub place: Place,
    /// It was read before, not long ago.
    pub is_wanted: bool,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(index::Location);

impl Place {
    /// The number of the segment.
    pub fn segment(self) -> u32 {
        self.0.segment()
    }
}

/// Where an entry was written, for whoever put it: a segment's number, or one of these.
pub type Receipt = Arc<AtomicU32>;
/// It was not written, or not yet put.
pub const NOT_WRITTEN: u32 = 0;
/// It is on its way.
pub const UNDER_WAY: u32 = u32::MAX;

/// How the tier is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// What was there before the start is being found out.
    Recovering,
    /// It does all it should.
    Good,
    /// It does not store, and may not have what it had: in one line, why.
    Degraded(String),
}

/// What is in it, and what happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries.
    pub entries: u64,
    /// Chunks.
    pub chunks: u64,
    /// What they weigh.
    pub live_bytes: u64,
    /// Of all files.
    pub file_bytes: u64,
    /// What the index takes in memory.
    pub index_bytes: u64,
    /// Entries that made room for others.
    pub evicted: u64,
    /// Records written, those again that were still wanted included.
    pub written: u64,
    /// Entries and chunks that were not written because the device was too slow or failed.
    pub dropped: u64,
    /// Records that were not what had been written.
    pub corrupt: u64,
}

/// The threads, as long as they run.
struct Threads {
    writer: JoinHandle<()>,
    log: JoinHandle<()>,
}

impl Threads {
    /// `None` if there are none to be had.
    fn start(tier: &Arc<Tier>, writer: Writer) -> Option<Self> {
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let (logging, writing) = (tier.clone(), tier.clone());
        let log = thread("disk-purge-log").spawn(move || {
            let _watch = Watch(&logging, Part::Log);
            logging.log.run(&logging);
        });
        let writer = thread("disk-writer").spawn(move || {
            let _watch = Watch(&writing, Part::Writer);
            writer.run_on();
        });
        let (Ok(writer), Ok(log)) = (writer, log) else {
            tier.queue.close();
            tier.log.close();
            return None;
        };
        Some(Self { writer, log })
    }
}

impl Disk {
    /// Starts the tier on a folder. What is there is found out in the background.
    pub fn open(folder: Arc<dyn Folder>, options: &Options) -> Result<Arc<Self>, OpenError> {
        let claimed = folder.claim();
        if matches!(&claimed, Err(error) if error.kind() == io::ErrorKind::ResourceBusy) {
            return Err(OpenError::InUse);
        }
        let tier = Arc::new(Tier::new(folder, options.bytes));
        let mut writer = Writer::new(tier.clone());
        writer.begin(claimed);
        let threads = Threads::start(&tier, writer).ok_or(OpenError::NoThreads)?;
        let threads = Mutex::new(Some(threads));
        Ok(Arc::new(Self { tier, generations: RandomState::new(), threads }))
    }

    /// Writes what is under way, seals, stops the threads and gives the folder back.
    pub fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, log }) = threads else { return };
        self.tier.is_stopping.store(true, Ordering::Relaxed);
        self.tier.queue.close();
        // A thread that panicked has said so.
        let _ = writer.join();
        self.tier.log.close();
        let _ = log.join();
        self.tier.mount_mut().state = State::Absent;
        self.tier.folder.release();
    }

    /// A number that is larger than all before, also those before the start.
    pub fn next_sequence(&self) -> u64 {
        self.tier.draw()
    }

    /// The number of the oldest segment: what was written before it is gone.
    pub fn floor(&self) -> u32 {
        self.tier.floor()
    }

    /// Whether there is an entry, or is going to be one when it is written.
    pub fn has(&self, key: &[u8]) -> bool {
        self.tier.has(self.tier.hash(Kind::Entry, key))
    }

    /// Whether there may be an entry: there is, or not everything is known that is there.
    pub fn may_have(&self, key: &[u8]) -> bool {
        self.has(key) || !self.tier.knows_all()
    }

    /// Where the entry lies now.
    pub fn place(&self, key: &[u8]) -> Option<Place> {
        self.tier.location(self.tier.hash(Kind::Entry, key)).map(Place)
    }

    /// Whether an entry for this key was refused not long ago. If not, this is remembered, and the
    /// next one is admitted.
    pub fn admits(&self, key: &[u8]) -> bool {
        self.tier.ghost.admits(self.tier.hash(Kind::Entry, key))
    }

    /// Reads an entry. While recovery runs, it waits for a moment.
    pub async fn get(&self, key: &[u8]) -> Option<Entry> {
        self.tier.get(key, true).await
    }

    /// The same, but it is no use of the entry: whoever is going to need room goes by the others.
    pub async fn look(&self, key: &[u8]) -> Option<Entry> {
        self.tier.get(key, false).await
    }

    /// Has an entry written in the place of the one before, which is gone at once. If the writer has
    /// too much to do, there is none afterwards, and this is false.
    pub fn put(&self, key: &[u8], content: Content, receipt: &Receipt) -> bool {
        let Content { tags, head, body, asked } = content;
        let (body, receipt) = (vec![body], Some(receipt));
        self.tier.put(Kind::Entry, Put { key, tags, head, body, asked, receipt })
    }

    /// Forgets an entry, also one that is on its way to the disk. It does not come back after a
    /// crash. Whether there was one.
    pub fn remove(&self, key: &[u8]) -> bool {
        self.tier.remove(Kind::Entry, key)
    }

    /// Makes everything that a scope is about, and that was asked for before, gone or stale. In force
    /// afterwards, for whoever compares with `purges`; its number.
    pub fn purge(&self, scopes: &[Scope], stale_since: Option<SystemTime>) -> u64 {
        self.tier.purge(scopes, stale_since)
    }

    /// What was purged, to be compared with what is read.
    pub fn purges(&self) -> &Arc<Purges> {
        &self.tier.purges
    }

    /// Removes everything.
    pub fn remove_all(&self) {
        self.tier.remove_all();
    }

    /// Forgets an entry that lies there and that a purge is about: the purge sees to it that it does
    /// not come back.
    pub fn forget(&self, key: &[u8], place: Place) {
        self.tier.forget(self.tier.hash(Kind::Entry, key), place.0);
    }

    /// For no entry was the origin asked before this, as far as purges go.
    pub fn oldest_asked(&self) -> u64 {
        self.tier.oldest_asked()
    }

    /// Writes something down that is found again after a restart, one of the last few; as durable as
    /// a removal.
    pub fn note_down(&self, text: Bytes) {
        self.tier.note_down(text);
    }

    /// What was noted down before the start, the oldest first; once.
    pub fn take_notes(&self) -> Vec<Bytes> {
        self.tier.take_notes()
    }

    /// Shows every entry that can be read at this moment, one after the other, with what it takes on
    /// the device, as long as `see` wants more. Whether it has seen all. It waits for the device.
    pub fn each_entry(&self, see: impl FnMut(Content, &[u8], u64) -> bool) -> bool {
        self.tier.each_entry(see)
    }

    /// Waits until everything that was removed before is written down so that the end of this
    /// process cannot undo it; `false` if that takes too long or the device fails.
    pub async fn removals_written(&self) -> bool {
        self.tier.log.written().await
    }

    /// The same for the end of the machine.
    pub async fn removals_durable(&self) -> bool {
        self.tier.log.durable().await
    }

    /// A name for the chunks of one body that no other body has or had.
    pub fn new_generation(&self) -> u64 {
        // Not a sequence: that of one run without its folder may be that of another.
        self.generations.hash_one(self.next_sequence())
    }

    /// Whether there is a chunk, or is going to be one when it is written.
    pub fn has_chunk(&self, generation: u64, number: u32) -> bool {
        self.tier.has(self.tier.hash(Kind::Chunk, &chunk_key(generation, number)))
    }

    /// Whether a chunk is written.
    pub fn has_written_chunk(&self, generation: u64, number: u32) -> bool {
        let hash = self.tier.hash(Kind::Chunk, &chunk_key(generation, number));
        self.tier.location(hash).is_some()
    }

    /// Has a chunk written. If the writer has too much to do it is dropped, and this is false.
    pub fn put_chunk(&self, generation: u64, number: u32, pieces: Vec<Bytes>) -> bool {
        let (key, body) = (&chunk_key(generation, number)[..], pieces);
        let (tags, head) = (Bytes::new(), Bytes::new());
        self.tier.put(Kind::Chunk, Put { key, tags, head, body, asked: 0, receipt: None })
    }

    /// Waits for a moment until the writer can take a chunk; `false` if it still cannot.
    pub async fn has_room(&self) -> bool {
        let has_room = self.tier.queue.has_room(CHUNK_BYTES);
        self.is_storing() && timeout(ROOM_WITHIN, has_room).await.unwrap_or(false)
    }

    /// Waits until what was put before is written or dropped.
    pub async fn settled(&self) {
        self.tier.queue.settled().await;
    }

    /// Bytes of a chunk from the front of `part` on (offsets inside the chunk): at least one and as
    /// many as one read takes; `None` if they are not there, or not what was written. A chunk that is
    /// on its way is waited for.
    pub async fn read_chunk(
        &self,
        generation: u64,
        number: u32,
        part: Range<u64>,
    ) -> Option<Bytes> {
        self.tier.read_chunk(generation, number, part).await
    }

    /// Whether a put now has a chance: the tier is not degraded.
    pub fn is_storing(&self) -> bool {
        !self.tier.has_fault() && !self.tier.is_stopping.load(Ordering::Relaxed)
    }

    /// What all files together may take.
    pub fn capacity(&self) -> u64 {
        self.tier.capacity
    }

    /// Whether its writer had no room for what was put last.
    pub fn is_overwhelmed(&self) -> bool {
        self.tier.queue.is_full()
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.tier.health()
    }

    /// What is in it.
    pub fn stats(&self) -> Stats {
        let held = self.tier.index.held();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.tier.counters;
        Stats {
            entries: held.entries,
            chunks: held.chunks,
            live_bytes: held.live_bytes,
            file_bytes: self.tier.file_bytes(),
            index_bytes: held.index_bytes,
            evicted: count(&counters.evicted),
            written: count(&counters.written),
            dropped: count(&counters.dropped),
            corrupt: count(&counters.corrupt),
        }
    }
}

/// Tells if a thread breaks off: without it the tier does not keep what it promises.
struct Watch<'t>(&'t Tier, Part);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set_fault(self.1, Some("one of its threads broke off".to_owned()));
            // Nobody waits for what is not going to be done.
            self.0.queue.close();
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InUse => f.write_str("another process uses the folder"),
            Self::NoThreads => f.write_str("no thread could be started"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        Self::other(error.to_string())
    }
}
