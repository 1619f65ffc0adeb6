//! Where values are kept: memory in front, the disk behind it, one face. What is kept is opaque
//! here.
//!
//! What memory can hold waits there for its second request before it is written to the disk, so
//! that what is asked for once does not wear it. Changes of one key have to come one after the
//! other; the caller sees to that.

pub mod disk;
pub mod memory;
pub mod purges;

use disk::{Content, Disk, NOT_WRITTEN, Place, Receipt, UNDER_WAY};
use memory::{Memory, Weighed};
use purges::{Purges, Scope};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A value that both tiers can keep.
pub trait Value: Weighed + Sized {
    /// Where it was written. Another value, another receipt.
    fn receipt(&self) -> &Receipt;

    /// For nothing in it was the origin asked before this.
    fn asked(&self) -> u64;

    /// As the disk keeps it; `None`: not at all.
    fn to_disk(&self) -> Option<Content>;

    /// As it was kept; `None` if it is not understood.
    fn of_disk(content: &Content, disk: &Arc<Disk>) -> Option<Self>;
}

/// Both tiers.
pub struct Store<V> {
    memory: Memory<V>,
    disk: Option<Arc<Disk>>,
    purges: Arc<Purges>,
    /// What is on its way from memory to the disk, by key; a change of the key ends it.
    moving: Mutex<Moving<V>>,
    moves: AtomicU64,
}

/// Values on their way, by key.
type Moving<V> = HashMap<Box<[u8]>, (Move, Arc<V>)>;

/// A value on its way to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move(u64);

/// A value as it was found.
#[derive(Debug)]
pub struct Found<V> {
    /// The value.
    pub value: Arc<V>,
    /// Where it lies if memory does not have it.
    pub place: Option<Place>,
    /// It was read from the disk, and not for the first time.
    pub is_wanted_in_memory: bool,
}

impl<V> Clone for Found<V> {
    fn clone(&self) -> Self {
        let Self { value, place, is_wanted_in_memory } = self;
        Self { value: value.clone(), place: *place, is_wanted_in_memory: *is_wanted_in_memory }
    }
}

impl<V: Value> Store<V> {
    /// The tiers; memory alone without a disk.
    pub fn new(memory: Memory<V>, disk: Option<Arc<Disk>>) -> Self {
        let purges = disk.as_ref().map(|disk| disk.purges().clone()).unwrap_or_default();
        Self { memory, disk, purges, moving: Mutex::default(), moves: AtomicU64::new(0) }
    }

    /// The tier in front.
    pub fn memory(&self) -> &Memory<V> {
        &self.memory
    }

    /// The tier behind it.
    pub fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    /// What was purged by rule, to be compared with what is found.
    pub fn purges(&self) -> &Arc<Purges> {
        &self.purges
    }

    /// Makes rules; `Disk::purge`.
    pub fn purge(&self, scopes: &[Scope], stale_since: Option<SystemTime>) -> u64 {
        match &self.disk {
            Some(disk) => disk.purge(scopes, stale_since),
            None => self.purges.make(scopes, stale_since, |_| {}),
        }
    }

    /// The value of a key, if it is in memory: also if that is only so until it is written.
    pub fn get(&self, key: &[u8]) -> Option<Found<V>> {
        let is_moving = || Some(self.moving().get(key)?.1.clone());
        let moving = || self.disk.as_ref().and_then(|_| is_moving());
        let value = self.memory.get(key).or_else(moving)?;
        Some(Found { value, place: None, is_wanted_in_memory: false })
    }

    /// The value of a key from the disk.
    pub async fn read(&self, key: &[u8]) -> Option<Found<V>> {
        let disk = self.disk.as_ref()?;
        let entry = disk.get(key).await?;
        let Some(value) = V::of_disk(&entry.content, disk).map(Arc::new) else {
            disk.remove(key);
            return None;
        };
        value.receipt().store(entry.place.segment(), Ordering::Relaxed);
        Some(Found { value, place: Some(entry.place), is_wanted_in_memory: entry.is_wanted })
    }

    /// The same for whoever only looks: it is no use of it, and changes nothing.
    pub async fn look(&self, key: &[u8]) -> Option<Found<V>> {
        let disk = self.disk.as_ref()?;
        let entry = disk.look(key).await?;
        let value = V::of_disk(&entry.content, disk).map(Arc::new)?;
        Some(Found { value, place: Some(entry.place), is_wanted_in_memory: false })
    }

    /// What is there now of what was found before, if that was not changed meanwhile.
    pub fn current(&self, key: &[u8], seen: Option<&Found<V>>) -> Option<Arc<V>> {
        self.memory.get(key).or_else(|| {
            let seen = seen.filter(|seen| self.lies_there(key, seen))?;
            Some(seen.value.clone())
        })
    }

    /// Whether a key has what was found, or not found, before. What has only left memory counts as
    /// unchanged.
    pub fn is_unchanged(&self, key: &[u8], seen: Option<&Found<V>>) -> bool {
        match (self.memory.get(key), seen) {
            (Some(now), Some(seen)) => Arc::ptr_eq(&now, &seen.value),
            (Some(_), None) => false,
            (None, Some(seen)) => seen.place.is_none() || self.lies_there(key, seen),
            (None, None) => self.disk.as_ref().is_none_or(|disk| disk.place(key).is_none()),
        }
    }

    fn lies_there(&self, key: &[u8], seen: &Found<V>) -> bool {
        let disk = self.disk.as_ref().filter(|_| seen.place.is_some());
        disk.is_some_and(|disk| disk.place(key) == seen.place)
    }

    fn moving(&self) -> MutexGuard<'_, Moving<V>> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a value in memory, in the place of the one before.
    pub fn insert(&self, key: &[u8], value: Arc<V>) {
        self.moving().remove(key);
        self.memory.insert(key, value);
    }

    /// Whether a value that is asked for again has to be written to the disk.
    pub fn is_to_be_written(&self, value: &V) -> bool {
        let receipt = value.receipt().load(Ordering::Relaxed);
        // What was written to a segment that is gone has to be written again.
        self.disk.as_ref().is_some_and(|disk| {
            receipt < disk.floor() && disk.is_storing() && !disk.is_overwhelmed()
        })
    }

    /// Takes it upon the caller to have a value written; `false` if somebody else has.
    pub fn claim_writing(&self, value: &V) -> bool {
        let receipt = value.receipt();
        let seen = receipt.load(Ordering::Relaxed);
        let exchange =
            || receipt.compare_exchange(seen, UNDER_WAY, Ordering::Relaxed, Ordering::Relaxed);
        seen != UNDER_WAY && exchange().is_ok()
    }

    /// Gives it up for now.
    pub fn give_up_writing(&self, value: &V) {
        value.receipt().store(NOT_WRITTEN, Ordering::Relaxed);
    }

    /// Begins to move a value that is the key's at this moment.
    pub fn begin_move(&self, key: &[u8], value: &Arc<V>) -> Move {
        let begun = Move(self.moves.fetch_add(1, Ordering::Relaxed));
        self.moving().insert(key.into(), (begun, value.clone()));
        begun
    }

    /// Whether it goes on: nothing has changed the key.
    pub fn is_moving(&self, key: &[u8], begun: Move) -> bool {
        self.moving().get(key).is_some_and(|(there, _)| *there == begun)
    }

    /// Ends it, if it goes on.
    pub fn end_move(&self, key: &[u8], begun: Move) {
        let mut moving = self.moving();
        if moving.get(key).is_some_and(|(there, _)| *there == begun) {
            moving.remove(key);
        }
    }

    /// Has a value written. One that the disk cannot keep is not tried again.
    pub fn write(&self, key: &[u8], value: &V) {
        let Some(disk) = &self.disk else { return };
        match value.to_disk() {
            Some(content) => {
                disk.put(key, content, value.receipt());
            }
            None => {
                disk.remove(key);
                value.receipt().store(UNDER_WAY, Ordering::Relaxed);
            }
        }
    }

    /// Whether the disk has, or is about to have, something for a key, or would take it.
    pub fn is_for_disk(&self, key: &[u8]) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.has(key) || disk.admits(key))
    }

    /// Forgets a value that was found and that a purge is about, if it is still the key's. Whether it
    /// was.
    pub fn forget(&self, key: &[u8], found: &Found<V>) -> bool {
        if let Some(place) = found.place {
            let is_there = self.lies_there(key, found);
            self.disk.iter().for_each(|disk| disk.forget(key, place));
            return is_there;
        }
        let is_there = self.get(key).is_some_and(|now| Arc::ptr_eq(&now.value, &found.value));
        if is_there {
            self.moving().remove(key);
            self.memory.remove(key);
            // What is in memory was written there, or is about to be, or nothing is.
            if let Some(disk) = &self.disk {
                match disk.place(key) {
                    Some(place) => disk.forget(key, place),
                    None if found.value.receipt().load(Ordering::Acquire) == UNDER_WAY => {
                        disk.remove(key);
                    }
                    None => {}
                }
            }
        }
        is_there
    }

    /// Whether the disk is known to have something for a key.
    pub fn has_on_disk(&self, key: &[u8]) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.place(key).is_some())
    }

    /// For nothing on the disk, or on its way there, was the origin asked before this.
    pub fn oldest_asked_on_disk(&self) -> u64 {
        let moving = self.moving().values().map(|(_, value)| value.asked()).min();
        let on_disk = self.disk.as_ref().map(|disk| disk.oldest_asked());
        moving.into_iter().chain(on_disk).min().unwrap_or(u64::MAX)
    }

    /// Forgets a key.
    pub fn remove(&self, key: &[u8]) {
        self.moving().remove(key);
        self.memory.remove(key);
        if let Some(disk) = &self.disk {
            disk.remove(key);
        }
    }
}
