//! The memory tier: values by key, bounded by the bytes that they really cost. What has to go for
//! others is, of some that are drawn by lot, the one that is least worth its place; a new value that would
//! itself be that does not come in. What somebody is reading does not go for others, for a time: its bytes
//! would not become free.
//!
//! A hit reads one table under a lock that hits share, and notes that the value was asked for;
//! nothing is put in order, and of what is asked for all the time nothing is written.

mod ghost;
mod heat;
#[cfg(test)]
mod tests;

use ghost::Ghost;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use heat::{Clock, Heat};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

/// Something that knows what it costs.
pub trait Weighed: Send + Sync + 'static {
    /// Bytes on the heap, all in.
    fn weight(&self) -> usize;

    /// Somebody is reading it: its bytes would stay after it has left.
    fn is_being_read(&self) -> bool {
        false
    }
}

/// Why a value is here no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It was taken away.
    Removed,
    /// It had to go for others.
    Evicted,
    /// It was not let in: others are wanted more.
    Refused,
}

/// What the tier itself needs for a value: a row of a table that may be half full, the counters of an `Arc`,
/// and what allocations are larger than what they are for.
const ENTRY_BYTES: usize = size_of::<Row<()>>() * 2 + 48;
/// A table with fewer rows than this share of its places becomes smaller, so that drawing one is quick.
const SPARSE: usize = 16;
/// Weights are told in so many bytes. Up to 64 GiB, that is; nobody lets a value take as much.
const WEIGHT_UNIT: u64 = 16;
const SHARDS: usize = 64;
/// Entries that are drawn when one has to go.
const DRAWN: usize = 16;
/// At most so many of them from one shard.
const DRAWN_OF_SHARD: usize = 2;
/// Places of a shard that are tried for one of them, before the next one that is taken is.
const TRIES: usize = 8;
/// More than are needed to draw one that has to go.
const LOTS: u64 = 2048;
/// What is being read does not go for others for so long; whoever reads on purpose as slowly as
/// possible does not keep everything else out.
const SPARED_FOR: Duration = Duration::from_secs(30);

/// The tier.
pub struct Memory<V> {
    shards: Box<[Shard<V>]>,
    hasher: RandomState,
    /// What may be kept, and what is, or is about to be.
    bytes_max: u64,
    bytes: AtomicU64,
    entries: AtomicU64,
    clock: Clock,
    ghost: Ghost,
    /// For drawing lots.
    lots: AtomicU64,
    begun: Instant,
    gone: Tell<V>,
}

/// Is called for what is here no more.
type Tell<V> = Box<dyn Fn(&V, Gone) + Send + Sync>;

/// Aligned so that no two share what processors exchange.
#[repr(align(128))]
struct Shard<V>(RwLock<Table<V>>);

type Table<V> = HashTable<Row<V>>;

struct Row<V> {
    hash: u64,
    key: Box<[u8]>,
    value: Arc<V>,
    heat: AtomicU64,
    /// In units.
    weight: u32,
    /// When it did not have to go because it was being read: seconds from 1 on; 0: never.
    spared: AtomicU32,
}

/// Somebody looks for it.
struct Sought<'k> {
    hash: u64,
    key: &'k [u8],
}

/// What may have to go.
struct Candidate<V> {
    shard: usize,
    /// Its place in the shard when it was drawn.
    at: usize,
    value: Arc<V>,
    worth: u64,
}

impl<V: Weighed> Memory<V> {
    /// Room for this many bytes. `gone` is called for each value that is here no more and has no
    /// other in its place.
    pub fn new(bytes_max: u64, gone: impl Fn(&V, Gone) + Send + Sync + 'static) -> Self {
        let (hasher, ghost) = (RandomState::new(), Ghost::new(bytes_max));
        Self {
            shards: (0..SHARDS).map(|_| Shard(RwLock::default())).collect(),
            bytes_max: bytes_max.saturating_sub(ghost.weight()),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            clock: Clock::new(),
            ghost,
            lots: AtomicU64::new(hasher.hash_one(0)),
            begun: Instant::now(),
            gone: Box::new(gone),
            hasher,
        }
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &[u8]) -> Option<Arc<V>> {
        let sought = self.sought(key);
        let table = self.shard(sought.hash).read();
        let row = sought.find(&table)?;
        let before = row.heat();
        let heat = before.warmed(self.clock.now());
        // What is very hot gets no hotter. A request that is lost here to another one is no loss.
        if heat != before {
            row.heat.store(heat.0, Ordering::Relaxed);
        }
        Some(row.value.clone())
    }

    /// Puts a value in the place of the one before. If others are wanted more, there is none
    /// afterwards.
    pub fn insert(&self, key: &[u8], value: Arc<V>) {
        let sought = self.sought(key);
        let bytes = (ENTRY_BYTES + key.len() + value.weight()) as u64;
        let weight = u32::try_from(bytes.div_ceil(WEIGHT_UNIT)).unwrap_or(u32::MAX);
        self.clock.tick(self.entries());
        let now = self.clock.now();
        let replaced = sought.find(&self.shard(sought.hash).read()).map(Row::heat);
        let before = replaced.or_else(|| self.ghost.heat(sought.hash));
        let heat = before.map_or(now, |before| before.warmed(now));
        // What it replaces was let in.
        let worth = if replaced.is_some() { u64::MAX } else { heat.worth(bytes) };
        let mut old = None;
        if !self.make_room(&sought, weight, worth, &mut old) {
            self.ghost.note(sought.hash, heat);
            let old = old.or_else(|| self.take(&sought));
            old.iter().for_each(|old| (self.gone)(&old.value, Gone::Evicted));
            (self.gone)(&value, Gone::Refused);
            return;
        }
        let (heat, spared) = (AtomicU64::new(heat.0), AtomicU32::new(0));
        let row = Row { hash: sought.hash, key: key.into(), value, heat, weight, spared };
        let mut table = self.shard(sought.hash).write();
        // What was there is given back when nobody waits for the lock.
        let _old = match table.entry(sought.hash, |row| sought.is(row), |row| row.hash) {
            Entry::Occupied(mut there) => {
                self.bytes.fetch_sub(there.get().bytes(), Ordering::Relaxed);
                Some(std::mem::replace(there.get_mut(), row))
            }
            Entry::Vacant(place) => {
                self.entries.fetch_add(1, Ordering::Relaxed);
                place.insert(row);
                None
            }
        };
        drop(table);
    }

    /// Forgets a key. Whether there was a value.
    pub fn remove(&self, key: &[u8]) -> bool {
        let taken = self.take(&self.sought(key));
        taken.iter().for_each(|entry| (self.gone)(&entry.value, Gone::Removed));
        taken.is_some()
    }

    /// Shows every entry that is there at this moment, as long as `see` wants more.
    pub fn each(&self, mut see: impl FnMut(&[u8], Arc<V>) -> bool) {
        for shard in &self.shards {
            // Whoever sees them may ask for others.
            let rows: Vec<(Box<[u8]>, Arc<V>)> =
                shard.read().iter().map(|row| (row.key.clone(), row.value.clone())).collect();
            for (key, value) in rows {
                if !see(&key, value) {
                    return;
                }
            }
        }
    }

    /// Whether there is a value; this is no use of it.
    pub fn has(&self, key: &[u8]) -> bool {
        let sought = self.sought(key);
        sought.find(&self.shard(sought.hash).read()).is_some()
    }

    /// What is kept at the moment.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many keys are.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    fn sought<'k>(&self, key: &'k [u8]) -> Sought<'k> {
        Sought { hash: self.hasher.hash_one(key), key }
    }

    /// Not by the bits that tables and the ghost look at first.
    fn shard(&self, hash: u64) -> &Shard<V> {
        &self.shards[(hash >> 48) as usize % SHARDS]
    }

    fn take(&self, sought: &Sought<'_>) -> Option<Row<V>> {
        let mut table = self.shard(sought.hash).write();
        let there = table.find_entry(sought.hash, |row| sought.is(row)).ok()?;
        let taken = there.remove().0;
        self.is_taken(&mut table, &taken);
        Some(taken)
    }

    fn is_taken(&self, table: &mut Table<V>, row: &Row<V>) {
        self.bytes.fetch_sub(row.bytes(), Ordering::Relaxed);
        self.entries.fetch_sub(1, Ordering::Relaxed);
        if table.len() < table.num_buckets() / SPARSE {
            table.shrink_to(2 * table.len(), |row| row.hash);
        }
    }

    /// Takes so many bytes for a key, which others have to go for that are not wanted more: never
    /// more than there is room for, not even for a moment. Whether it was possible; what it is to
    /// replace may be taken away for it.
    fn make_room(
        &self,
        sought: &Sought<'_>,
        weight: u32,
        worth: u64,
        old: &mut Option<Row<V>>,
    ) -> bool {
        let needed = u64::from(weight) * WEIGHT_UNIT;
        let with_it = |bytes: u64| bytes.checked_add(needed).filter(|sum| *sum <= self.bytes_max);
        while self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_it).is_err() {
            if needed > self.bytes_max {
                return false;
            }
            match self.draw(sought) {
                Some(candidate) if candidate.worth <= worth => self.evict(&candidate),
                Some(_) => return false,
                // There is nothing but what is being read, what it is to replace, and what comes at the
                // same time.
                None => match self.take(sought) {
                    Some(taken) => *old = Some(taken),
                    None => return false,
                },
            }
        }
        true
    }

    /// Of some entries, the one that is least worth its place.
    fn draw(&self, but: &Sought<'_>) -> Option<Candidate<V>> {
        let mut lots = self.lots.fetch_add(LOTS, Ordering::Relaxed);
        let mut lot = |of: usize| {
            lots = lots.wrapping_add(1);
            scattered(lots) as usize % of
        };
        let now = self.begun.elapsed();
        let (first, mut drawn, mut least) = (lot(SHARDS), 0, None::<Candidate<V>>);
        for shard in (0..SHARDS).map(|number| (first + number) % SHARDS) {
            let table = self.shards[shard].read();
            for _ in 0..DRAWN_OF_SHARD.min(table.len()) {
                let Some((at, row)) = drawn_of(&table, &mut lot).filter(|(_, row)| !but.is(row))
                else {
                    continue;
                };
                if row.is_spared(now) {
                    continue;
                }
                drawn += 1;
                let worth = row.heat().worth(row.bytes());
                if least.as_ref().is_none_or(|least| worth < least.worth) {
                    least = Some(Candidate { shard, at, value: row.value.clone(), worth });
                }
            }
            if drawn >= DRAWN {
                break;
            }
        }
        least
    }

    /// Takes it away, unless somebody has, or has changed its place: then others are drawn.
    fn evict(&self, candidate: &Candidate<V>) {
        let Candidate { shard, at, value, .. } = candidate;
        let taken = {
            let mut table = self.shards[*shard].write();
            let there = table.get_bucket_entry(*at).ok();
            let there = there.filter(|row| Arc::ptr_eq(&row.get().value, value));
            let taken = there.map(|row| row.remove().0);
            taken.iter().for_each(|row| self.is_taken(&mut table, row));
            taken
        };
        let Some(row) = taken else { return };
        self.ghost.note(row.hash, row.heat());
        (self.gone)(&row.value, Gone::Evicted);
    }
}

impl<V> Shard<V> {
    fn read(&self) -> RwLockReadGuard<'_, Table<V>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table<V>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Row<V> {
    fn heat(&self) -> Heat {
        Heat(self.heat.load(Ordering::Relaxed))
    }

    fn bytes(&self) -> u64 {
        u64::from(self.weight) * WEIGHT_UNIT
    }
}

impl<V: Weighed> Row<V> {
    /// Whether it does not have to go at this moment, for a while.
    fn is_spared(&self, now: Duration) -> bool {
        let now = u32::try_from(now.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        let before = self.spared.load(Ordering::Relaxed);
        if !self.value.is_being_read() {
            if before != 0 {
                self.spared.store(0, Ordering::Relaxed);
            }
            return false;
        }
        if before == 0 {
            self.spared.store(now, Ordering::Relaxed);
        }
        before == 0 || u64::from(now - before.min(now)) < SPARED_FOR.as_secs()
    }
}

impl Sought<'_> {
    fn is<V>(&self, row: &Row<V>) -> bool {
        row.hash == self.hash && *row.key == *self.key
    }

    fn find<'t, V>(&self, table: &'t Table<V>) -> Option<&'t Row<V>> {
        table.find(self.hash, |row| self.is(row))
    }
}

/// Any row of a table, with its place.
fn drawn_of<'t, V>(
    table: &'t Table<V>,
    lot: &mut impl FnMut(usize) -> usize,
) -> Option<(usize, &'t Row<V>)> {
    let places = table.num_buckets();
    let row_at = |at: usize| Some((at, table.get_bucket(at)?));
    // One is taken soon, unless nearly all has left.
    (0..TRIES).find_map(|_| row_at(lot(places))).or_else(|| {
        let first = lot(places);
        (0..places).find_map(|step| row_at((first + step) % places))
    })
}

/// Numbers that follow each other, far apart (the finish of splitmix64).
fn scattered(number: u64) -> u64 {
    let number = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
