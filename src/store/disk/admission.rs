//! Which keys were refused not long ago: two Bloom filters of which the older one is emptied and
//! becomes the younger when that is full. A key that was asked for once does not wear the device;
//! the second time, within the window, it is let in. Nothing waits here.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const BITS_PER_KEY: usize = 10;
const PROBES: u64 = 7;
/// How large an object is taken to be.
const OBJECT_BYTES: u64 = 16 * 1024;
const KEYS_MIN: u64 = 64 * 1024;
const KEYS_MAX: u64 = 8 * 1024 * 1024;

pub(super) struct Ghost {
    filters: [Box<[AtomicU64]>; 2],
    keys_max: usize,
    /// Keys noted so far; which filter is the younger follows from it.
    noted: AtomicUsize,
    /// Held by the one who turns the filters over.
    turning: Mutex<()>,
}

impl Ghost {
    pub(super) fn new(bytes: u64) -> Self {
        let keys_max = (bytes / OBJECT_BYTES).clamp(KEYS_MIN, KEYS_MAX) as usize;
        let words = (keys_max * BITS_PER_KEY).div_ceil(64);
        let filter = || (0..words).map(|_| AtomicU64::new(0)).collect();
        let (noted, turning) = (AtomicUsize::new(0), Mutex::new(()));
        Self { filters: [filter(), filter()], keys_max, noted, turning }
    }

    /// Whether the key was noted not long ago. If not, it is now.
    pub(super) fn admits(&self, hash: u64) -> bool {
        let young = self.noted.load(Ordering::Relaxed) / self.keys_max % 2;
        if self.filters.iter().any(|filter| has(filter, hash)) {
            return true;
        }
        for (word, bit) in probes(&self.filters[young], hash) {
            self.filters[young][word].fetch_or(bit, Ordering::Relaxed);
        }
        let noted = self.noted.fetch_add(1, Ordering::Relaxed) + 1;
        if noted.is_multiple_of(self.keys_max) {
            self.turn(noted / self.keys_max % 2);
        }
        false
    }

    /// Empties the filter that is the younger from now on. Whoever notes a key meanwhile may lose
    /// it, and is let in one request later.
    fn turn(&self, young: usize) {
        let Ok(_turning) = self.turning.try_lock() else { return };
        for word in &self.filters[young] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

fn has(filter: &[AtomicU64], hash: u64) -> bool {
    probes(filter, hash).all(|(word, bit)| filter[word].load(Ordering::Relaxed) & bit != 0)
}

/// Double hashing: the halves of the hash are independent enough of each other.
fn probes(filter: &[AtomicU64], hash: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
    let bits = filter.len() as u64 * 64;
    let step = hash.rotate_left(32) | 1;
    (0..PROBES).map(move |probe| {
        let bit = hash.wrapping_add(step.wrapping_mul(probe)) % bits;
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}
