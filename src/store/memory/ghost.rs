//! How much values are wanted that are not there: for a while after they went, or were not let in.
//! Nothing waits here, and two that change the same place at one time do no harm.

use super::heat::Heat;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of the tier for which there is one place.
const BYTES_FOR_ONE: u64 = 2048;
/// Of a large one: 32 MiB, which are written at the start.
const PLACES_MAX: u64 = 4 * 1024 * 1024;
/// Places that a hash can be in.
const WAYS: usize = 4;
/// Of a heat, what is noted: 32 bits from here.
const HEAT_SHIFT: u32 = 8;
const LOW: u64 = 0xffff_ffff;

pub(super) struct Ghost {
    /// The upper half of a hash and a heat; 0 is empty.
    places: Box<[[AtomicU64; WAYS]]>,
}

impl Ghost {
    /// For a tier of so many bytes.
    pub(super) fn new(bytes: u64) -> Self {
        let places = (bytes / BYTES_FOR_ONE).min(PLACES_MAX);
        let sets = (places / WAYS as u64).max(1);
        Self { places: (0..sets).map(|_| Default::default()).collect() }
    }

    /// What it takes.
    pub(super) fn weight(&self) -> u64 {
        size_of_val(&*self.places) as u64
    }

    pub(super) fn heat(&self, hash: u64) -> Option<Heat> {
        let places = self.set(hash).iter().map(|place| place.load(Ordering::Relaxed));
        let mut found = places.filter(|place| *place != 0 && tag(*place) == tag(hash));
        found.next().map(|place| Heat((place & LOW) << HEAT_SHIFT))
    }

    /// In the place of what was noted before, or else of what is wanted least.
    pub(super) fn note(&self, hash: u64, heat: Heat) {
        let noted = (hash & !LOW) | (heat.0 >> HEAT_SHIFT).min(LOW);
        let order = |place: &&AtomicU64| match place.load(Ordering::Relaxed) {
            there if there != 0 && tag(there) == tag(hash) => (0, 0),
            0 => (1, 0),
            other => (2, other & LOW),
        };
        if let Some(place) = self.set(hash).iter().min_by_key(order) {
            place.store(noted, Ordering::Relaxed);
        }
    }

    fn set(&self, hash: u64) -> &[AtomicU64; WAYS] {
        &self.places[(hash & LOW) as usize % self.places.len()]
    }
}

fn tag(hash: u64) -> u64 {
    hash >> 32
}
