//! What was done to a tier and what it promised, by the position of the folder's changes, so that
//! any state of the folder can be compared with it.
//!
//! The promises: a value is never a wrong or torn one; what was removed, and acknowledged as such,
//! does not come back; nor does what was replaced, once the later one was written; a process death
//! loses only what was under way, and what made room.

use crate::crash::Kind;
use crate::faulty_folder::FaultyFolder;
use crate::kit::{self, Version, get, key, read_chunk};
use brim::store::disk::{Disk, NOT_WRITTEN, Receipt, UNDER_WAY};
use std::sync::atomic::Ordering;

/// A change to a key, from the position where it began.
struct Change {
    begun: usize,
    put: Option<Put>,
    /// Everything before it is to be gone: a removal, or a put that was dropped.
    is_removal: bool,
    /// The positions where that was acknowledged.
    written: Option<usize>,
    durable: Option<usize>,
}

struct Put {
    version: Version,
    receipt: Receipt,
    /// The position where it was known to be written, and the segment.
    written: Option<(usize, u32)>,
}

struct Chunk {
    begun: usize,
    generation: u64,
    number: u32,
    bytes: u64,
    was_taken: bool,
    /// It cannot be known where it was written: this is the floor when it was known to be.
    settled: Option<usize>,
}

/// The tier under test, with everything that was done to it.
pub(crate) struct History {
    folder: FaultyFolder,
    keys: Vec<Vec<Change>>,
    chunks: Vec<Chunk>,
    sequences: Vec<(usize, u64)>,
    next_version: u32,
}

impl History {
    pub(crate) fn new(folder: &FaultyFolder, keys: usize) -> Self {
        Self {
            folder: folder.clone(),
            keys: (0..keys).map(|_| Vec::new()).collect(),
            chunks: Vec::new(),
            sequences: Vec::new(),
            next_version: 0,
        }
    }

    pub(crate) fn put(&mut self, disk: &Disk, key: usize, body_bytes: usize) {
        self.next_version += 1;
        let version = Version { key, number: self.next_version, body_bytes };
        let begun = self.folder.position();
        let receipt = Receipt::default();
        let is_taken = disk.put(&kit::key(key), version.content(), &receipt);
        let put = Some(Put { version, receipt, written: None });
        self.note(key, begun, put, !is_taken);
    }

    pub(crate) fn remove(&mut self, disk: &Disk, key: usize) {
        let begun = self.folder.position();
        disk.remove(&kit::key(key));
        self.note(key, begun, None, true);
    }

    fn note(&mut self, key: usize, begun: usize, put: Option<Put>, is_removal: bool) {
        let change = Change { begun, put, is_removal, written: None, durable: None };
        self.keys[key].push(change);
    }

    pub(crate) fn put_chunk(&mut self, disk: &Disk, generation: u64, number: u32, bytes: u64) {
        let begun = self.folder.position();
        let was_taken = kit::put_chunk(disk, generation, number, bytes);
        let chunk = Chunk { begun, generation, number, bytes, was_taken, settled: None };
        self.chunks.push(chunk);
    }

    /// Waits, and notes what was written and what was dropped.
    pub(crate) async fn settle(&mut self, disk: &Disk) {
        disk.settled().await;
        let position = self.folder.position();
        for changes in &mut self.keys {
            let mut is_last = true;
            for change in changes.iter_mut().rev() {
                if let Some(put) = change.put.as_mut().filter(|put| put.written.is_none()) {
                    match put.receipt.load(Ordering::Acquire) {
                        UNDER_WAY => panic!("settled, but still under way"),
                        // Given up for a later change, it promises nothing.
                        NOT_WRITTEN => change.is_removal |= is_last,
                        segment => put.written = Some((position, segment)),
                    }
                }
                is_last = false;
            }
        }
        for chunk in &mut self.chunks {
            chunk.settled = chunk.settled.or(Some(position));
        }
        self.sequences.push((position, disk.next_sequence()));
    }

    pub(crate) async fn acknowledge(&mut self, disk: &Disk, kind: Kind) {
        // Only what was removed before the call is acknowledged: all of it, as one task does all.
        let is_good = match kind {
            Kind::ProcessDeath => disk.removals_written().await,
            Kind::PowerLoss => disk.removals_durable().await,
        };
        assert!(is_good, "nothing failed");
        let position = self.folder.position();
        for change in self.keys.iter_mut().flatten() {
            if change.is_removal {
                change.written = change.written.or(Some(position));
                if kind == Kind::PowerLoss {
                    change.durable = change.durable.or(Some(position));
                }
            }
        }
    }

    /// Compares a tier on the folder as it was after `cut` changes with what was promised by then.
    pub(crate) async fn compare(&self, disk: &Disk, cut: usize, kind: Kind) {
        for (number, changes) in self.keys.iter().enumerate() {
            let has = disk.has(&key(number));
            let got = get(disk, number).await;
            let shown = || describe(changes);
            let Some(version) = got else {
                assert!(!disk.has(&key(number)), "key {number}: it was not found");
                if let Some(segment) = must_be_there(changes, cut, kind) {
                    assert!(
                        disk.floor() > segment,
                        "key {number} is lost, of segment {segment}: {}",
                        shown()
                    );
                }
                continue;
            };
            assert!(has, "key {number} is found, but has() says no");
            assert!(
                may_be_there(changes, version, cut, kind),
                "key {number} has {version:?}: {}",
                shown()
            );
        }
        self.compare_chunks(disk, cut, kind).await;
        let next = disk.next_sequence();
        assert!(next > self.sequence_max_at(cut), "{next} was given before");
    }

    async fn compare_chunks(&self, disk: &Disk, cut: usize, kind: Kind) {
        for chunk in &self.chunks {
            let Chunk { begun, generation, number, bytes, was_taken, settled } = *chunk;
            let got = read_chunk(disk, generation, number, 0..bytes).await;
            let is_known = settled.is_some_and(|settled| settled <= cut);
            match got {
                Some(()) => assert!(begun <= cut, "before it was put"),
                None if kind == Kind::PowerLoss || !is_known || !was_taken => {}
                // Nobody says which segment a chunk is in: strict only where nothing made room.
                None => assert!(disk.floor() > 1, "chunk {number} of {generation} is lost"),
            }
        }
    }

    /// Sequences drawn after the cut may be drawn again only if nothing was written with them, which
    /// is not known here.
    fn sequence_max_at(&self, cut: usize) -> u64 {
        let before = self.sequences.iter().filter(|(position, _)| *position <= cut);
        before.map(|(_, sequence)| *sequence).max().unwrap_or(0)
    }
}

/// Whether this value may be found after a crash.
fn may_be_there(changes: &[Change], version: Version, cut: usize, kind: Kind) -> bool {
    let is_it = |change: &Change| change.put.as_ref().is_some_and(|put| put.version == version);
    let Some(at) = changes.iter().position(is_it) else { return false };
    let is_removed = |change: &Change| {
        let acknowledged = match kind {
            Kind::ProcessDeath => change.written,
            Kind::PowerLoss => change.durable,
        };
        acknowledged.is_some_and(|position| position <= cut)
    };
    let is_replaced = |change: &Change| {
        let written = change.put.as_ref().and_then(|put| put.written);
        kind == Kind::ProcessDeath && written.is_some_and(|(position, _)| position <= cut)
    };
    changes[at].begun <= cut
        && !is_removed(&changes[at])
        && !changes[at + 1..].iter().any(|later| is_removed(later) || is_replaced(later))
}

/// The segment of a value that must be found after a crash, as long as there is the segment.
fn must_be_there(changes: &[Change], cut: usize, kind: Kind) -> Option<u32> {
    let last = changes.iter().rfind(|change| change.begun <= cut)?;
    let (position, segment) = last.put.as_ref()?.written?;
    (kind == Kind::ProcessDeath && position <= cut).then_some(segment)
}

fn describe(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let Change { begun, put, is_removal, written, durable } = change;
        if let Some(Put { version, written, .. }) = put {
            text += &format!("\n  put {} at {begun}, written {written:?}", version.number);
        }
        if *is_removal {
            text += &format!("\n  removed at {begun}: {written:?}, durable {durable:?}");
        }
    }
    text
}
