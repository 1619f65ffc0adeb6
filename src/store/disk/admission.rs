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

/// Of what the tier holds, so many times as many keys are remembered, if there is room for them: fewer
/// cost hits, more cost writes of what is gone again before it is read.
const KEYS_FOR_ONE: usize = 2;
/// But not fewer.
const WINDOW_MIN: usize = 1024;

pub(super) struct Ghost {
    filters: [Box<[AtomicU64]>; 2],
    /// What there is room for in one of them, and how much of it is used before they change places.
    keys_max: usize,
    window: AtomicUsize,
    young: AtomicUsize,
    /// Keys in the younger one.
    noted: AtomicUsize,
    /// Held by the one who turns the filters over.
    turning: Mutex<()>,
}

impl Ghost {
    pub(super) fn new(bytes: u64) -> Self {
        let keys_max = (bytes / OBJECT_BYTES).clamp(KEYS_MIN, KEYS_MAX) as usize;
        let words = (keys_max * BITS_PER_KEY).div_ceil(64);
        let filter = || (0..words).map(|_| AtomicU64::new(0)).collect();
        let (young, noted, turning) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(()));
        let window = AtomicUsize::new(keys_max);
        Self { filters: [filter(), filter()], keys_max, window, young, noted, turning }
    }

    /// The tier is full, and holds so many entries.
    pub(super) fn heed_full(&self, entries: u64) {
        let window = (entries as usize).saturating_mul(KEYS_FOR_ONE);
        let window = window.clamp(WINDOW_MIN, self.keys_max);
        self.window.store(window, Ordering::Relaxed);
    }

    /// Whether the key was noted not long ago. If not, it is now.
    pub(super) fn admits(&self, hash: u64) -> bool {
        if self.filters.iter().any(|filter| has(filter, hash)) {
            return true;
        }
        let young = &self.filters[self.young.load(Ordering::Relaxed)];
        for (word, bit) in probes(young, hash) {
            young[word].fetch_or(bit, Ordering::Relaxed);
        }
        let noted = self.noted.fetch_add(1, Ordering::Relaxed) + 1;
        if noted >= self.window.load(Ordering::Relaxed) {
            self.turn();
        }
        false
    }

    /// Empties the older filter, which is the younger from now on.
    fn turn(&self) {
        let Ok(_turning) = self.turning.try_lock() else { return };
        if self.noted.load(Ordering::Relaxed) < self.window.load(Ordering::Relaxed) {
            return;
        }
        let older = 1 - self.young.load(Ordering::Relaxed);
        for word in &self.filters[older] {
            word.store(0, Ordering::Relaxed);
        }
        self.young.store(older, Ordering::Relaxed);
        self.noted.store(0, Ordering::Relaxed);
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
