//! What each client network is doing and how much it owes: exact, and in a bounded amount of memory.
//!
//! pingora-limits was looked at and not taken. Its `Rate` and `Inflight` are count-min sketches: who
//! shares all of its slots with the busy is limited for what others do, and the lower the limit, the
//! likelier (each of their 8192 slots holds eight strangers when 65536 requests run: of clients that
//! may do ten things at a time, one in 150 is then refused for nothing). There is no burst in them and
//! no telling when the next request would be taken; and `Rate` panics where one thread falls a second
//! behind the others.
//!
//! Here a client has an entry of its own, in the set of eight that a keyed hash names: nobody can
//! choose a neighbour. An entry in use never moves. A new one takes the place of whoever does nothing
//! and owes least: with more clients than there are entries, one that had used up its burst may
//! get a new one, which a client with a few addresses gets anyway. Where all eight are in use, whoever
//! comes is let in uncounted: refusing would let a flood from everywhere lock everybody out, and the
//! limits of everything together hold all the same.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Sets that share a lock, and locks. With those of `WAYS` there are 262144 entries.
const SETS: usize = 128;
const SHARDS: usize = 256;
/// Entries of a set.
const WAYS: usize = 8;

/// An IPv4 address, or the 64 bits that an IPv6 client has at least the other half of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Network {
    bits: u64,
    is_v6: bool,
}

impl Network {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self { bits: u64::from(address.to_bits()), is_v6: false },
            IpAddr::V6(address) => Self { bits: (address.to_bits() >> 64) as u64, is_v6: true },
        }
    }
}

/// What is limited for whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub(super) network: Network,
    /// 0: its connections; each site has another number.
    pub(super) door: u32,
}

/// How much of it there may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// At one time; 0: any.
    pub(super) at_once: usize,
    /// A second; 0: any.
    pub(super) rate: u32,
    /// How many may come at once at that rate.
    pub(super) burst: u32,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// As many are at it as may be.
    AtOnce,
    /// There were too many of late; when the next may come.
    Rate(Duration),
}

/// Vacant where all is 0, which is how memory comes.
#[derive(Clone, Copy, Default)]
struct Entry {
    subject: Subject,
    in_use: u32,
    /// When everything that it was given is paid back, in nanoseconds since the start (the "theoretical
    /// arrival time" of the generic cell rate algorithm, which is a bucket of tokens in one number).
    paid_at: u64,
}

/// Everybody's entries.
pub(in crate::edge) struct Tally {
    hasher: RandomState,
    /// Each has its memory from the first client on that needs it.
    shards: Box<[Mutex<Vec<Entry>>]>,
}

/// A place that is held until it is dropped.
pub(in crate::edge) struct Place<'t> {
    /// `None`: not counted.
    held: Option<(&'t Mutex<Vec<Entry>>, usize)>,
}

impl Place<'_> {
    /// One that nobody counts.
    pub(in crate::edge) fn uncounted() -> Self {
        Self { held: None }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some((shard, position)) = self.held else { return };
        if let Some(entry) = locked(shard).get_mut(position) {
            entry.in_use = entry.in_use.saturating_sub(1);
        }
    }
}

impl Tally {
    pub(in crate::edge) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards }
    }

    /// A place for one more. `now` is the time since the start; it matters to a rate only.
    pub(super) fn admit(
        &self,
        subject: Subject,
        allowance: Allowance,
        now: Duration,
    ) -> Result<Place<'_>, Excess> {
        let hash = self.hasher.hash_one(subject) as usize;
        let shard = &self.shards[hash % SHARDS];
        let first = hash / SHARDS % SETS * WAYS;
        let mut entries = locked(shard);
        if entries.is_empty() {
            entries.resize(SETS * WAYS, Entry::default());
        }
        let Some(way) = way_of(&entries[first..first + WAYS], subject) else {
            return Ok(Place::uncounted());
        };
        let position = first + way;
        let entry = &mut entries[position];
        if entry.subject != subject {
            *entry = Entry { subject, ..Entry::default() };
        }
        entry.take(allowance, now)?;
        Ok(Place { held: Some((shard, position)) })
    }
}

/// The subject's entry among these, or the one that it may have.
fn way_of(set: &[Entry], subject: Subject) -> Option<usize> {
    if let Some(own) = set.iter().position(|entry| entry.subject == subject) {
        return Some(own);
    }
    let idle = set.iter().enumerate().filter(|(_, entry)| entry.in_use == 0);
    idle.min_by_key(|(_, entry)| entry.paid_at).map(|(way, _)| way)
}

impl Entry {
    fn take(&mut self, allowance: Allowance, now: Duration) -> Result<(), Excess> {
        let Allowance { at_once, rate, burst } = allowance;
        if at_once > 0 && self.in_use as usize >= at_once {
            return Err(Excess::AtOnce);
        }
        if rate > 0 {
            let each = 1_000_000_000 / u64::from(rate);
            let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            let (paid_at, ahead) = (self.paid_at.max(now), each * u64::from(burst.max(1) - 1));
            let too_early = (paid_at - now).saturating_sub(ahead);
            if too_early > 0 {
                return Err(Excess::Rate(Duration::from_nanos(too_early)));
            }
            self.paid_at = paid_at.saturating_add(each);
        }
        self.in_use = self.in_use.saturating_add(1);
        Ok(())
    }
}

/// Nothing under these locks panics halfway.
fn locked(shard: &Mutex<Vec<Entry>>) -> MutexGuard<'_, Vec<Entry>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
