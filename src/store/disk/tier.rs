//! What the threads of the tier and its callers share, and every change of the index that has to
//! be in step with the purge log.
//!
//! The invariant that makes removals final: a record on the disk that could be taken for live (its
//! sequence is larger than that of every removal of its hash, in the log or on its way to it) has
//! the slot of its hash, or is on its way to one, or lies before a later record of the same hash.
//! Then a hash with neither slot nor ticket needs no entry in the log when it is removed. Where this
//! is not known to hold (the folder is not there, or not yet read as a whole), everything is logged.

use super::admission::Ghost;
use super::buffers::Buffers;
use super::files::Folder;
use super::format::{self, Kind, LogEntry, NAME_BYTES_MAX, Record, SEGMENT_BYTES_MAX};
use super::index::{Index, Location};
use super::purge_log::PurgeLog;
use super::queue::{Job, Owed, Queue};
use super::reading::READ_BYTES_MAX;
use super::segment::Segments;
use super::{Health, NOT_WRITTEN, Receipt, UNDER_WAY};
use crate::store::purges::{Purges, Rule, Scope};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;
use tokio::sync::{Semaphore, watch};

/// The smallest capacity.
const CAPACITY_MIN: u64 = 16 * 1024 * 1024;
const SEGMENT_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// At this capacity and above, segments have at least `LARGE_SEGMENT_BYTES_MIN`.
const LARGE_CAPACITY: u64 = 4 * 1024 * 1024 * 1024;
const LARGE_SEGMENT_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Superblock, lock and hits, with what the file system adds.
const SMALL_FILES_BYTES: u64 = 64 * 1024;
/// Reads that wait for the device at the same time.
const READS_MAX: usize = 64;

/// How much of the folder is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing of it.
    Absent,
    /// What was there is being found out; new records can be written.
    Recovering,
    /// It is known.
    Known,
}

/// The folder, as far as it is in use. Whoever puts or removes holds it for reading meanwhile, so
/// that hashes are of the folder that they are meant for.
pub(super) struct Mount {
    pub(super) state: State,
    pub(super) seed: [u8; 16],
    /// There may be live records without slots: segments that could not be read.
    pub(super) is_partial: bool,
    /// What has a sequence up to this is gone.
    pub(super) all_before: u64,
}

/// Who has a reason to be degraded.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Writer,
    Log,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) evicted: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) corrupt: AtomicU64,
    /// When a failed read was last logged, in seconds since 1970.
    pub(super) failure_logged: AtomicU64,
}

pub(super) struct Tier {
    pub(super) folder: Arc<dyn Folder>,
    pub(super) capacity: u64,
    pub(super) segment_bytes: u64,
    /// What was purged by rule; it also numbers everything that happens here.
    pub(super) purges: Arc<Purges>,
    /// What was noted down in the folder before it was taken in use.
    notes: Mutex<Vec<Bytes>>,
    pub(super) index: Index,
    pub(super) segments: Segments,
    /// The number of the next segment: they increase as long as the process lives, whatever folder
    /// is there, so that no receipt can mean another segment.
    pub(super) next_segment: AtomicU32,
    /// What was written to a segment with a smaller number is gone.
    floor: AtomicU32,
    /// Of segments of other versions, which are left alone.
    pub(super) foreign_bytes: AtomicU64,
    pub(super) queue: Queue,
    pub(super) log: PurgeLog,
    pub(super) ghost: Ghost,
    pub(super) counters: Counters,
    pub(super) reads: Arc<Semaphore>,
    /// For blocks of chunks on their way to clients.
    pub(super) buffers: Arc<Buffers>,
    mount: RwLock<Mount>,
    pub(super) state: watch::Sender<State>,
    faults: Mutex<[Option<String>; 2]>,
    has_fault: AtomicBool,
    /// Recovery is to end early.
    pub(super) is_stopping: AtomicBool,
    /// Another process writes to the folder.
    pub(super) is_lent: AtomicBool,
}

impl Tier {
    pub(super) fn new(folder: Arc<dyn Folder>, bytes: u64) -> Self {
        let capacity = bytes.max(CAPACITY_MIN);
        let min =
            if capacity >= LARGE_CAPACITY { LARGE_SEGMENT_BYTES_MIN } else { SEGMENT_BYTES_MIN };
        let segment_bytes = (capacity / 16).clamp(min, SEGMENT_BYTES_MAX);
        let mount = Mount { state: State::Absent, seed: [0; 16], is_partial: false, all_before: 0 };
        Self {
            folder,
            capacity,
            segment_bytes: segment_bytes / format::ALIGNMENT * format::ALIGNMENT,
            purges: Arc::new(Purges::of_disk(capacity)),
            notes: Mutex::default(),
            index: Index::new(),
            segments: Segments::default(),
            next_segment: AtomicU32::new(1),
            floor: AtomicU32::new(1),
            foreign_bytes: AtomicU64::new(0),
            queue: Queue::new(),
            log: PurgeLog::new(),
            ghost: Ghost::new(capacity),
            counters: Counters::default(),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            buffers: Buffers::of(READ_BYTES_MAX as usize),
            mount: RwLock::new(mount),
            state: watch::Sender::new(State::Absent),
            faults: Mutex::default(),
            has_fault: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_lent: AtomicBool::new(false),
        }
    }

    pub(super) fn draw(&self) -> u64 {
        self.purges.draw()
    }

    /// Sequences are larger than this from now on.
    pub(super) fn raise_sequence(&self, to: u64) {
        self.purges.raise(to);
    }

    pub(super) fn floor(&self) -> u32 {
        self.floor.load(Ordering::Relaxed)
    }

    /// Segments have come or gone.
    pub(super) fn note_floor(&self) {
        let oldest = self.segments.oldest().map(|oldest| oldest.id);
        let floor = oldest.unwrap_or_else(|| self.next_segment.load(Ordering::SeqCst));
        self.floor.store(floor.max(1), Ordering::Relaxed);
    }

    pub(super) fn mount(&self) -> RwLockReadGuard<'_, Mount> {
        self.mount.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn mount_mut(&self) -> RwLockWriteGuard<'_, Mount> {
        self.mount.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hash(&self, kind: Kind, key: &[u8]) -> u64 {
        format::hash(&self.mount().seed, kind, key)
    }

    /// Where a record lies, once that is certain.
    pub(super) fn location(&self, hash: u64) -> Option<Location> {
        let is_known = self.mount().state == State::Known;
        self.index.shard(hash).location(hash).filter(|_| is_known)
    }

    /// The same, or on its way.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.location(hash).is_some() || self.index.shard(hash).ticket(hash).is_some()
    }

    /// Every live record on the disk has its slot.
    pub(super) fn knows_all(&self) -> bool {
        self.mount().knows_all()
    }

    /// What all files take.
    pub(super) fn file_bytes(&self) -> u64 {
        let foreign = self.foreign_bytes.load(Ordering::Relaxed);
        self.segments.file_bytes() + foreign + self.log.bytes() + SMALL_FILES_BYTES
    }

    /// What is missing for another file of so many bytes.
    pub(super) fn missing(&self, bytes: u64) -> u64 {
        (self.file_bytes() + bytes).saturating_sub(self.capacity)
    }

    pub(super) fn set_fault(&self, part: Part, fault: Option<String>) {
        let mut faults = self.faults();
        let there = &mut faults[part as usize];
        if *there == fault {
            return;
        }
        match &fault {
            Some(reason) => tracing::warn!(reason, "the disk tier is degraded"),
            None => tracing::info!("the disk tier is no longer degraded"),
        }
        *there = fault;
        self.has_fault.store(faults.iter().any(Option::is_some), Ordering::Relaxed);
    }

    pub(super) fn has_fault(&self) -> bool {
        self.has_fault.load(Ordering::Relaxed)
    }

    pub(super) fn health(&self) -> Health {
        let fault = self.faults().iter().flatten().next().cloned();
        match (fault, self.mount().state) {
            (Some(reason), _) => Health::Degraded(reason),
            (None, State::Absent) => Health::Degraded("it is closed".into()),
            (None, State::Recovering) => Health::Recovering,
            (None, State::Known) => Health::Good,
        }
    }

    /// Has a record written. See `Disk::put`.
    pub(super) fn put(&self, kind: Kind, record: Put<'_>) -> bool {
        let mount = self.mount();
        let hash = format::hash(&mount.seed, kind, record.key);
        let carried = record.is_in_bounds().then(|| record.carried_bytes());
        let can_write = mount.state != State::Absent && !self.has_fault();
        let claimed = carried.filter(|_| can_write).and_then(|bytes| self.queue.claim(bytes));
        let Some(claimed) = claimed else {
            self.set_receipt(record.receipt, NOT_WRITTEN);
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            // Without a folder, this does not make everything go that may come back with it: what
            // was not removed is only older than it could be.
            if self.is_lent.load(Ordering::SeqCst) {
                // The same: what the other process has of it is only older.
                self.index.shard(hash).take(hash);
            } else if mount.state != State::Absent {
                self.remove_from(&mount, hash);
            }
            return false;
        };
        self.set_receipt(record.receipt, UNDER_WAY);
        let ticket = {
            let mut shard = self.index.shard(hash);
            let ticket = self.draw();
            shard.take(hash);
            shard.set_ticket(hash, ticket);
            ticket
        };
        self.queue.push(Job {
            hash,
            ticket,
            asked: record.asked,
            key: record.key.into(),
            tags: record.tags,
            head: record.head,
            body: record.body,
            receipt: Owed::new(record.receipt),
            claimed,
        });
        true
    }

    /// A job that is not going to be written.
    pub(super) fn drop_job(&self, hash: u64, ticket: u64, receipt: Owed) {
        let mount = self.mount();
        receipt.settle(NOT_WRITTEN);
        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        let shard = self.index.shard(hash);
        if shard.ticket(hash) == Some(ticket) {
            // Of what it was to replace there is still a record, and perhaps of itself.
            self.log_removal(&mount, shard, hash);
        }
    }

    /// See `Disk::remove`.
    pub(super) fn remove(&self, kind: Kind, key: &[u8]) -> bool {
        let mount = self.mount();
        self.remove_from(&mount, format::hash(&mount.seed, kind, key))
    }

    fn remove_from(&self, mount: &Mount, hash: u64) -> bool {
        let shard = self.index.shard(hash);
        let is_there = shard.location(hash).is_some() || shard.ticket(hash).is_some();
        if is_there || !mount.knows_all() {
            self.log_removal(mount, shard, hash);
        }
        is_there
    }

    /// What lies there is not what was written.
    pub(super) fn remove_corrupt(&self, hash: u64, location: Location) {
        self.counters.corrupt.fetch_add(1, Ordering::Relaxed);
        self.remove_unread(hash, location);
    }

    /// What lies there cannot be read.
    pub(super) fn remove_unread(&self, hash: u64, location: Location) {
        let mount = self.mount();
        let shard = self.index.shard(hash);
        if shard.touched_at(hash, location).is_some() {
            // Another read, later, may find it good: then it must not be there again.
            self.log_removal(&mount, shard, hash);
        }
    }

    fn log_removal(
        &self,
        mount: &Mount,
        mut shard: MutexGuard<'_, super::index::Shard>,
        hash: u64,
    ) {
        let sequence = self.draw();
        shard.take(hash);
        shard.take_ticket(hash);
        if mount.state == State::Recovering {
            shard.note_removed(hash, sequence);
        }
        drop(shard);
        if !self.log.push(LogEntry::Key { hash, sequence }) {
            warn_of_too_much();
            self.remove_everything(mount);
        }
    }

    /// See `Disk::purge`.
    pub(super) fn purge(&self, scopes: &[Scope], stale_since: Option<SystemTime>) -> u64 {
        let mut has_room = scopes.iter().all(|scope| scope.name().len() <= NAME_BYTES_MAX);
        let sequence = self.purges.make(scopes, stale_since, |sequence| {
            for scope in scopes {
                let rule = Rule { scope: scope.clone(), sequence, stale_since };
                has_room = has_room && self.log.push(LogEntry::Rule(rule));
            }
        });
        if !has_room {
            warn_of_too_much();
            self.remove_all();
        }
        sequence
    }

    /// See `Disk::note_down`. What there is no room for is not noted.
    pub(super) fn note_down(&self, text: Bytes) {
        if text.len() <= NAME_BYTES_MAX {
            let note = LogEntry::Note { sequence: self.draw(), text };
            let _ = self.log.push(note);
        }
    }

    pub(super) fn keep_notes(&self, notes: Vec<Bytes>) {
        *self.notes.lock().unwrap_or_else(PoisonError::into_inner) = notes;
    }

    pub(super) fn take_notes(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.notes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// See `Disk::oldest_asked`.
    pub(super) fn oldest_asked(&self) -> u64 {
        let mount = self.mount();
        let is_all_known = mount.knows_all() || mount.state == State::Absent;
        if !is_all_known {
            return 0;
        }
        // In this order: what is written meanwhile is in a segment by then.
        let waiting = self.queue.asked_min();
        waiting.min(self.segments.asked_min())
    }

    /// See `Disk::forget`.
    pub(super) fn forget(&self, hash: u64, location: Location) {
        let mut shard = self.index.shard(hash);
        if shard.location(hash) == Some(location) {
            shard.take(hash);
        }
    }

    /// Removes everything that was written before; the number of that.
    pub(super) fn remove_all(&self) -> u64 {
        self.remove_everything(&self.mount())
    }

    /// While recovery runs, it is too early to say what everything is: later records of the log, and
    /// of this, decide when they are read.
    fn remove_everything(&self, mount: &Mount) -> u64 {
        let sequence = self.index.clear(mount.state == State::Recovering, || self.draw());
        self.log.push_all(sequence);
        sequence
    }

    fn set_receipt(&self, receipt: Option<&Receipt>, value: u32) {
        if let Some(receipt) = receipt {
            receipt.store(value, Ordering::Release);
        }
    }

    fn faults(&self) -> MutexGuard<'_, [Option<String>; 2]> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mount {
    pub(super) fn knows_all(&self) -> bool {
        self.state == State::Known && !self.is_partial
    }
}

/// What is put.
pub(super) struct Put<'a> {
    pub(super) key: &'a [u8],
    pub(super) tags: Bytes,
    pub(super) head: Bytes,
    pub(super) body: Vec<Bytes>,
    pub(super) asked: u64,
    pub(super) receipt: Option<&'a Receipt>,
}

impl Put<'_> {
    fn is_in_bounds(&self) -> bool {
        let record = Record {
            hash: 0,
            sequence: 0,
            asked: self.asked,
            key: self.key,
            tags: &self.tags,
            head: &self.head,
            body: &self.body,
            segment: 0,
            written_at: 0,
        };
        record.is_in_bounds()
    }

    fn carried_bytes(&self) -> usize {
        let body: usize = self.body.iter().map(Bytes::len).sum();
        self.key.len() + self.tags.len() + self.head.len() + body
    }
}

fn warn_of_too_much() {
    tracing::warn!("too much was removed at once: all that is on the disk is forgotten");
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
