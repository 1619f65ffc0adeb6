//! Objects on their way between memory and disk: down when they are asked for a second time, up
//! when they are read again and again. Neither keeps a client waiting.

use super::body::Body;
use super::object::{Object, Variants};
use super::stored_form::Unwritten;
use super::{Engine, InStore};
use crate::metrics::{CacheReport, DiskReport, TierReport};
use crate::rules::key::Key;
use crate::store::Move;
use crate::store::disk::{Disk, Health};
use crate::survive;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Objects whose content is larger than this share of what one object may take in memory stay on the
/// disk: the device's own cache in memory is as good for them.
const PROMOTED_SHARE: u64 = 8;
/// With this share of it free, others need not go from memory for what comes.
const FREE_SHARE: u64 = 8;

/// Where others have to go for it, one of so many reads that were not the first of their object takes
/// it into memory. What is asked for most comes there soon all the same; what is not would be gone
/// again before it is asked for the next time, and its coming costs more than reading it did.
const PROMOTED_ONE_IN: u64 = 8;

/// Which reads from the disk take their object into memory.
pub(super) struct Promotions {
    /// Memory counts as full with so many bytes.
    full_at: u64,
    wanted: AtomicU64,
}

impl Promotions {
    /// Of a memory of so many bytes.
    pub(super) fn for_memory_of(bytes_max: u64) -> Self {
        Self { full_at: bytes_max - bytes_max / FREE_SHARE, wanted: AtomicU64::new(0) }
    }

    fn has_next(&self, bytes: u64) -> bool {
        bytes < self.full_at
            || self.wanted.fetch_add(1, Ordering::Relaxed).is_multiple_of(PROMOTED_ONE_IN)
    }
}

impl Engine {
    /// How both tiers are.
    pub(super) fn report(&self) -> CacheReport {
        let memory = self.store.memory();
        let memory = TierReport { bytes: memory.bytes(), objects: memory.entries() };
        let disk = self.store.disk().map(|disk| {
            let stats = disk.stats();
            DiskReport {
                tier: TierReport { bytes: stats.live_bytes, objects: stats.entries },
                file_bytes: stats.file_bytes,
                evicted: stats.evicted,
                written: stats.written,
                dropped: stats.dropped,
                corrupt: stats.corrupt,
                is_degraded: matches!(disk.health(), Health::Degraded(_)),
            }
        });
        CacheReport { memory, disk, purge_rules: self.store.purges().len() as u64 }
    }

    /// What is stored for a key.
    pub(super) async fn stored(self: &Arc<Self>, key: &Key) -> Option<InStore<Variants>> {
        let in_memory = self.store.get(key.as_bytes());
        if let Some(found) = in_memory.and_then(|found| self.left(key.as_bytes(), found)) {
            if self.store.is_to_be_written(&found.value) {
                self.demote(key, &found.value);
            }
            return Some(found);
        }
        let found = self.store.read(key.as_bytes()).await?;
        let found = self.left(key.as_bytes(), found)?;
        if found.is_wanted_in_memory && self.promotions.has_next(self.store.memory().bytes()) {
            self.promote(key, &found);
        }
        Some(found)
    }

    /// A key has a new value. Called while nobody else can change it.
    pub(super) fn changed(self: &Arc<Self>, key: &Key, variants: Arc<Variants>) {
        self.store.insert(key.as_bytes(), variants.clone());
        let Some(disk) = self.store.disk() else { return };
        let lies_on_disk = |object: &Arc<Object>| object.is_in_chunks();
        let is_wanted =
            self.store.is_for_disk(key.as_bytes()) || variants.objects.iter().any(lies_on_disk);
        // Or else a hit has it written.
        let is_ours = is_wanted && self.store.claim_writing(&variants);
        if is_ours && variants.unwritten(disk).is_empty() {
            return self.store.write(key.as_bytes(), &variants);
        }
        // What it replaces may not be found, neither instead of it nor until it is written.
        if disk.may_have(key.as_bytes()) {
            disk.remove(key.as_bytes());
        }
        if is_ours {
            let begun = self.store.begin_move(key.as_bytes(), &variants);
            self.write(disk, key, &variants, begun);
        }
    }

    /// Has a value written to the disk that was found in memory.
    fn demote(self: &Arc<Self>, key: &Key, variants: &Arc<Variants>) {
        let Some(disk) = self.store.disk().filter(|_| self.store.claim_writing(variants)) else {
            return;
        };
        let mut begun = None;
        self.in_flight.locked(key.as_bytes(), || {
            let now = self.store.get(key.as_bytes());
            if now.is_some_and(|now| Arc::ptr_eq(&now.value, variants)) {
                begun = Some(self.store.begin_move(key.as_bytes(), variants));
            }
        });
        match begun {
            Some(begun) => self.write(disk, key, variants, begun),
            None => self.store.give_up_writing(variants),
        }
    }

    /// The chunks come first, at the pace of the disk.
    fn write(self: &Arc<Self>, disk: &Arc<Disk>, key: &Key, variants: &Arc<Variants>, begun: Move) {
        let (engine, disk) = (self.clone(), disk.clone());
        let (key, variants) = (key.clone(), variants.clone());
        tokio::spawn(async move {
            let chunks = async { engine.write_chunks(&disk, variants.unwritten(&disk)).await };
            // A move that never ends would be found for ever.
            let is_ready = survive::caught(chunks).await == Some(true);
            engine.in_flight.locked(key.as_bytes(), || {
                // Found on its way to the disk until it is there. What is written was compared with
                // all purges: an older purge of everything stands for the others.
                let is_ready = is_ready && engine.is_compared(&variants);
                if is_ready && engine.store.is_moving(key.as_bytes(), begun) {
                    engine.store.write(key.as_bytes(), &variants);
                    engine.store.end_move(key.as_bytes(), begun);
                } else {
                    engine.store.end_move(key.as_bytes(), begun);
                    engine.store.give_up_writing(&variants);
                }
            });
        });
    }

    async fn write_chunks(&self, disk: &Arc<Disk>, chunks: Vec<Unwritten>) -> bool {
        if chunks.is_empty() {
            return true;
        }
        let Ok(_place) = self.moves.try_acquire() else { return false };
        for Unwritten { generation, number, pieces } in chunks {
            if !(disk.has_room().await && disk.put_chunk(generation, number, pieces)) {
                return false;
            }
        }
        true
    }

    /// Takes a value into memory that was read from the disk.
    fn promote(self: &Arc<Self>, key: &Key, found: &InStore<Variants>) {
        let (engine, key, found) = (self.clone(), key.clone(), found.clone());
        tokio::spawn(async move {
            let value = engine.loaded(&found.value).await;
            engine.in_flight.locked(key.as_bytes(), || {
                let is_unchanged = engine.store.is_unchanged(key.as_bytes(), Some(&found));
                let is_wanted = is_unchanged && engine.is_compared(&value);
                if is_wanted && engine.store.get(key.as_bytes()).is_none() {
                    engine.store.insert(key.as_bytes(), value);
                }
            });
        });
    }

    /// The same value with the smaller ones of its contents in memory.
    async fn loaded(&self, variants: &Arc<Variants>) -> Arc<Variants> {
        let bytes_max = self.object_bytes_max / PROMOTED_SHARE;
        let Ok(_place) = self.moves.try_acquire() else { return variants.clone() };
        let mut objects = Vec::with_capacity(variants.objects.len());
        for object in &variants.objects {
            let (body, total) = (&object.body, object.body.total());
            let claim = self.arriving.claim(bytes_max, total).filter(|_| !body.is_in_memory());
            let loaded = match claim {
                Some(_room) => load(body).await,
                None => None,
            };
            objects.push(match loaded {
                Some(body) => Arc::new(Object { body, ..Object::clone(object) }),
                None => object.clone(),
            });
        }
        let compared = variants.compared.load(Ordering::Relaxed);
        let loaded = Variants::of(objects).compared_up_to(compared);
        Arc::new(Variants { receipt: variants.receipt.clone(), ..loaded })
    }
}

/// A content that lies on the disk, in memory; `None` if some of it is missing.
async fn load(body: &Body) -> Option<Body> {
    let mut part = 0..body.total();
    let mut pieces = Vec::new();
    while part.start < part.end {
        // What was read lies in a larger buffer, which others need again.
        let read = body.read(&mut part).await?;
        pieces.extend(read.iter().flatten().map(|piece| Bytes::copy_from_slice(piece)));
    }
    let loaded = Body::new(body.total(), 0, pieces);
    if let Some(chunks) = body.chunks() {
        loaded.lies_in(chunks.clone());
    }
    Some(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn into_a_full_memory_comes_one_read_of_a_few_and_into_one_with_room_every_one() {
        let promotions = Promotions::for_memory_of(800);
        assert!((0..99).all(|_| promotions.has_next(699)));
        let came = (0..10 * PROMOTED_ONE_IN).filter(|_| promotions.has_next(700)).count();
        assert_eq!(came, 10);
    }
}
