//! The disk tier, used as the engine uses it: small bodies in the entry, large ones in a chunk that
//! the entry's head names.

use crate::store::{self, Size, Store};
use brim::store::disk::{self, Content, Disk, Health, NOT_WRITTEN, Receipt};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

#[derive(Clone)]
pub(crate) struct SegmentLog {
    disk: Arc<Disk>,
}

/// The tier on a folder, without waiting for anything.
pub(crate) fn open(folder: &Path, bytes: u64) -> Arc<Disk> {
    let folder = Arc::new(disk::local::LocalFolder::new(folder));
    Disk::open(folder, &disk::Options { bytes }).expect("a folder of our own")
}

/// Waits until the tier knows what it has.
pub(crate) async fn recovered(disk: &Disk) {
    loop {
        match disk.health() {
            Health::Good => return,
            Health::Recovering => tokio::time::sleep(Duration::from_millis(1)).await,
            Health::Degraded(why) => panic!("the disk tier does not work: {why}"),
        }
    }
}

/// Nobody waits for these.
pub(crate) fn receipt() -> Receipt {
    Arc::new(AtomicU32::new(NOT_WRITTEN))
}

impl SegmentLog {
    pub(crate) async fn open(folder: &Path, bytes: u64) -> Self {
        let disk = open(folder, bytes);
        recovered(&disk).await;
        Self { disk }
    }

    pub(crate) fn disk(&self) -> &Disk {
        &self.disk
    }

    async fn put(&self, key: &[u8], head: Bytes, body: Bytes) {
        let asked = self.disk.next_sequence();
        let content = Content { head, body, asked, ..Content::default() };
        while !(self.disk.has_room().await && self.disk.put(key, content.clone(), &receipt())) {
            tokio::task::yield_now().await;
        }
    }
}

impl Store for SegmentLog {
    async fn read(&self, size: Size, number: u64) -> bool {
        let Some(entry) = self.disk.get(&size.key(number)).await else { return false };
        let content = entry.content;
        if size == Size::Small {
            return content.body.len() == size.bytes() && store::is_of(&content.body, number);
        }
        let Some(generation) = content.head.first_chunk() else { return false };
        let generation = u64::from_le_bytes(*generation);
        let (mut read, end) = (0, size.bytes() as u64);
        let mut is_right = false;
        while read < end {
            let Some(piece) = self.disk.read_chunk(generation, 0, read..end).await else {
                return false;
            };
            is_right |= read == 0 && store::is_of(&piece, number);
            read += piece.len() as u64;
        }
        is_right && read == end
    }

    async fn write(&self, size: Size, number: u64) {
        let key = size.key(number);
        let body = Bytes::from(size.body(number));
        if size == Size::Small {
            return self.put(&key, store::head(), body).await;
        }
        let generation = self.disk.new_generation();
        while !(self.disk.has_room().await
            && self.disk.put_chunk(generation, 0, vec![body.clone()]))
        {
            tokio::task::yield_now().await;
        }
        let mut head = store::head().to_vec();
        head[..8].copy_from_slice(&generation.to_le_bytes());
        self.put(&key, head.into(), Bytes::new()).await;
    }

    async fn settled(&self) {
        self.disk.settled().await;
    }
}
