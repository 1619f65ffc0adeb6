//! Where each record lies, in memory: 16 bytes for each, in tables that each have a lock of their
//! own.
//!
//! A hash has a slot (what is written), or a ticket (what is on its way to the writer), or neither,
//! never both. Whoever puts or removes draws its sequence under the lock of the hash's shard, so
//! that the order of sequences is the order of what happened.

use super::format::{ALIGNMENT, FooterEntry, Kind, is_entry, kind_of};
use hashbrown::HashTable;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 256;
/// Reads that a slot counts.
const TOUCHED_MAX: u64 = 3;
const TOUCHED_BITS: u32 = 2;
const LENGTH_BITS: u32 = 16;
const OFFSET_BITS: u32 = 22;
/// Segments are numbered below this.
pub(super) const SEGMENT_ID_END: u32 = 1 << 24;

/// Where a record lies: segment 24 bits, offset / 64 22 bits, length / 64 16 bits. Of two locations
/// the larger one was written later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Location(u64);

impl Location {
    /// Offset and length are multiples of 64, within the limits of the format.
    pub(super) fn new(segment: u32, offset: u64, length: u64) -> Self {
        let segment = u64::from(segment) << (OFFSET_BITS + LENGTH_BITS);
        Self(segment | ((offset / ALIGNMENT) << LENGTH_BITS) | (length / ALIGNMENT))
    }

    pub(super) fn of(segment: u32, entry: &FooterEntry) -> Self {
        Self::new(segment, entry.offset, entry.length)
    }

    pub(super) fn segment(self) -> u32 {
        (self.0 >> (OFFSET_BITS + LENGTH_BITS)) as u32
    }

    pub(super) fn offset(self) -> u64 {
        (self.0 >> LENGTH_BITS & ((1 << OFFSET_BITS) - 1)) * ALIGNMENT
    }

    pub(super) fn length(self) -> u64 {
        (self.0 & ((1 << LENGTH_BITS) - 1)) * ALIGNMENT
    }
}

#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    /// The location, and how often it was read (2 bits).
    packed: u64,
}

impl Slot {
    fn new(hash: u64, location: Location, touched: u64) -> Self {
        Self { hash, packed: location.0 << TOUCHED_BITS | touched }
    }

    fn location(&self) -> Location {
        Location(self.packed >> TOUCHED_BITS)
    }

    fn touched(&self) -> u64 {
        self.packed & TOUCHED_MAX
    }
}

/// What there is of a kind of record, or of both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) entries: u64,
    pub(super) chunks: u64,
    pub(super) live_bytes: u64,
    pub(super) index_bytes: u64,
}

#[derive(Default)]
pub(super) struct Shard {
    slots: HashTable<Slot>,
    tickets: HashMap<u64, u64>,
    /// While recovery runs: what was removed, and when. Empty otherwise.
    removed: HashMap<u64, u64>,
    /// The same for everything up to a sequence.
    all_removed: u64,
    entries: u64,
    chunks: u64,
    live_bytes: u64,
}

impl Shard {
    pub(super) fn location(&self, hash: u64) -> Option<Location> {
        Some(self.slots.find(spread(hash), |slot| slot.hash == hash)?.location())
    }

    /// Also counts the read; whether it is not the first one.
    pub(super) fn touch(&mut self, hash: u64) -> Option<(Location, bool)> {
        let slot = self.slots.find_mut(spread(hash), |slot| slot.hash == hash)?;
        let touched = slot.touched();
        *slot = Slot::new(hash, slot.location(), TOUCHED_MAX.min(touched + 1));
        Some((slot.location(), touched > 0))
    }

    /// How often it was read, if it still lies there.
    pub(super) fn touched_at(&self, hash: u64, location: Location) -> Option<u64> {
        let is_it = |slot: &Slot| slot.hash == hash && slot.location() == location;
        Some(self.slots.find(spread(hash), is_it)?.touched())
    }

    pub(super) fn insert(&mut self, hash: u64, location: Location, touched: u64) {
        self.take(hash);
        self.count(hash, location);
        let slot = Slot::new(hash, location, touched);
        self.slots.insert_unique(spread(hash), slot, |slot| spread(slot.hash));
    }

    /// Takes the slot away.
    pub(super) fn take(&mut self, hash: u64) -> Option<Location> {
        let found = self.slots.find_entry(spread(hash), |slot| slot.hash == hash).ok()?;
        let location = found.remove().0.location();
        match kind_of(hash) {
            Kind::Entry => self.entries -= 1,
            Kind::Chunk => self.chunks -= 1,
        }
        self.live_bytes -= location.length();
        Some(location)
    }

    /// What `recover` does for a record that was found on the disk: it gets a slot if nothing later
    /// is known about its hash.
    pub(super) fn recover(&mut self, segment: u32, entry: &FooterEntry) {
        let hash = entry.hash;
        let newest = self.removed.get(&hash).copied().unwrap_or(0).max(self.all_removed);
        let is_removed = newest >= entry.sequence;
        let location = Location::of(segment, entry);
        let is_late = self.location(hash).is_some_and(|there| there > location);
        if !is_removed && !is_late && !self.tickets.contains_key(&hash) {
            self.insert(hash, location, 0);
        }
    }

    pub(super) fn note_removed(&mut self, hash: u64, sequence: u64) {
        let newest = self.removed.entry(hash).or_insert(0);
        *newest = sequence.max(*newest);
    }

    pub(super) fn ticket(&self, hash: u64) -> Option<u64> {
        self.tickets.get(&hash).copied()
    }

    pub(super) fn set_ticket(&mut self, hash: u64, ticket: u64) {
        self.tickets.insert(hash, ticket);
    }

    pub(super) fn take_ticket(&mut self, hash: u64) -> Option<u64> {
        self.tickets.remove(&hash)
    }

    fn count(&mut self, hash: u64, location: Location) {
        match kind_of(hash) {
            Kind::Entry => self.entries += 1,
            Kind::Chunk => self.chunks += 1,
        }
        self.live_bytes += location.length();
    }
}

pub(super) struct Index {
    shards: Box<[Mutex<Shard>]>,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    pub(super) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[shard_of(hash)])
    }

    /// What is written, over all.
    pub(super) fn held(&self) -> Held {
        let mut held = Held::default();
        for shard in &self.shards {
            let shard = lock(shard);
            held.entries += shard.entries;
            held.chunks += shard.chunks;
            held.live_bytes += shard.live_bytes;
            held.index_bytes += shard.slots.allocation_size() as u64;
        }
        held
    }

    /// Every hash that has a slot, and where its record lies.
    pub(super) fn each(&self, mut see: impl FnMut(u64, Location)) {
        for shard in &self.shards {
            lock(shard).slots.iter().for_each(|slot| see(slot.hash, slot.location()));
        }
    }

    /// Makes room for so many more, over all, so that tables need not grow step by step.
    pub(super) fn reserve(&self, records: usize) {
        // Hashes do not fall evenly: four standard deviations more than the mean.
        let mean = records / SHARDS;
        let each = mean + 4 * mean.isqrt();
        for shard in &self.shards {
            lock(shard).slots.reserve(each, |slot| spread(slot.hash));
        }
    }

    /// `Shard::recover` for records of a segment, each shard locked once.
    pub(super) fn recover(&self, segment: u32, entries: &[FooterEntry], all_before: u64) {
        let mut starts = [0_usize; SHARDS + 1];
        for entry in entries {
            starts[shard_of(entry.hash) + 1] += 1;
        }
        for shard in 0..SHARDS {
            starts[shard + 1] += starts[shard];
        }
        let mut next = starts;
        let mut order = vec![0_u32; entries.len()];
        for (number, entry) in entries.iter().enumerate() {
            let shard = shard_of(entry.hash);
            order[next[shard]] = number as u32;
            next[shard] += 1;
        }
        for (number, shard) in self.shards.iter().enumerate() {
            let run = &order[starts[number]..starts[number + 1]];
            if run.is_empty() {
                continue;
            }
            let mut shard = lock(shard);
            for entry in run.iter().map(|entry| &entries[*entry as usize]) {
                if entry.sequence > all_before {
                    shard.recover(segment, entry);
                }
            }
        }
    }

    /// Recovery is over.
    pub(super) fn forget_removed(&self) {
        for shard in &self.shards {
            let shard = &mut *lock(shard);
            (shard.removed, shard.all_removed) = (HashMap::new(), 0);
        }
    }

    /// Takes away all slots that point into a segment, where nobody can tell which they are. How many
    /// entries there were.
    pub(super) fn drop_segment(&self, id: u32) -> u64 {
        let mut dropped = 0;
        for shard in &self.shards {
            let mut shard = lock(shard);
            let is_there = |slot: &&Slot| slot.location().segment() == id;
            let hashes: Vec<u64> =
                shard.slots.iter().filter(is_there).map(|slot| slot.hash).collect();
            for hash in hashes {
                shard.take(hash);
                dropped += u64::from(is_entry(hash));
            }
        }
        dropped
    }

    /// Empties everything at one moment, with all shards locked. What `at_that_moment` draws is
    /// larger than the sequence of everything that went, and smaller than what comes; while recovery
    /// runs, it is remembered for what is still to be found.
    pub(super) fn clear(&self, is_recovering: bool, at_that_moment: impl FnOnce() -> u64) -> u64 {
        let mut shards: Vec<_> = self.shards.iter().map(lock).collect();
        let drawn = at_that_moment();
        for shard in &mut shards {
            let all_removed = if is_recovering { drawn } else { 0 };
            **shard = Shard { all_removed, ..Shard::default() };
        }
        drawn
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Not of the bits that the tables look at.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

/// The lowest bit says the kind; tables begin with the low bits, and want them to differ.
fn spread(hash: u64) -> u64 {
    hash.rotate_right(1)
}
