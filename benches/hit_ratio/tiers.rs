//! Brim's tiers, asked as the engine asks them: memory alone, and with the disk behind it.

use crate::trace::{Request, Trace};
use brim::store::disk::local::LocalFolder;
use brim::store::disk::{self, Content, Disk, Health, Receipt};
use brim::store::memory::{Memory, Weighed};
use brim::store::{Store, Value};
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One object takes at most this share of the memory.
const OBJECT_SHARE: u64 = 4;
/// What is on its way to the disk is waited for when it is so much: nothing is for long.
const UNDER_WAY_BYTES: u64 = 1024 * 1024;
/// Contents, none of which is looked at.
static CONTENT: [u8; 1024 * 1024] = [0; 1024 * 1024];
/// What a record of the disk tier has beside the content: of all sizes, this is no part.
const KEY: &str = "a\na.test\n/";

/// What was hit of what counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    requests: u64,
    bytes: u64,
    hits: u64,
    bytes_hit: u64,
    /// Records written to the disk.
    pub(crate) writes: u64,
}

impl Score {
    pub(crate) fn of_requests(&self) -> f64 {
        self.hits as f64 / self.requests as f64
    }

    pub(crate) fn of_bytes(&self) -> f64 {
        self.bytes_hit as f64 / self.bytes as f64
    }

    pub(crate) fn writes_of_requests(&self) -> f64 {
        self.writes as f64 / self.requests as f64
    }

    fn note(&mut self, request: Request, is_hit: bool) {
        let bytes = u64::from(request.bytes);
        self.requests += 1;
        self.bytes += bytes;
        self.hits += u64::from(is_hit);
        self.bytes_hit += if is_hit { bytes } else { 0 };
    }
}

/// An object as large as the trace says, without its bytes.
struct Sized {
    bytes: u32,
    receipt: Receipt,
}

impl Sized {
    fn new(bytes: u32) -> Arc<Self> {
        Arc::new(Self { bytes, receipt: Receipt::default() })
    }
}

impl Weighed for Sized {
    fn weight(&self) -> usize {
        self.bytes as usize
    }
}

impl Value for Sized {
    fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    fn asked(&self) -> u64 {
        1
    }

    fn to_disk(&self) -> Option<Content> {
        let body = Bytes::from_static(&CONTENT[..self.bytes as usize]);
        Some(Content { body, asked: 1, ..Content::default() })
    }

    fn of_disk(content: &Content, _disk: &Arc<Disk>) -> Option<Self> {
        Some(Self { bytes: content.body.len() as u32, receipt: Receipt::default() })
    }
}

fn key(object: u64) -> Vec<u8> {
    format!("{KEY}{object:x}").into_bytes()
}

/// Memory of so many bytes, all that it needs for itself included.
pub(crate) fn memory(trace: &Trace, filling: usize, bytes: u64) -> Score {
    let memory = Memory::<Sized>::new(bytes, |_, _| {});
    let mut score = Score::default();
    for (number, request) in trace.requests.iter().enumerate() {
        let key = key(request.object);
        let is_hit = memory.get(&key).is_some();
        if !is_hit && u64::from(request.bytes) <= bytes / OBJECT_SHARE {
            memory.insert(&key, Sized::new(request.bytes));
        }
        assert!(memory.bytes() <= bytes, "more than there is room for");
        if number >= filling {
            score.note(*request, is_hit);
        }
    }
    score
}

/// Both tiers of so many bytes, in a folder of their own.
pub(crate) async fn both(
    trace: &Trace,
    filling: usize,
    (memory, disk): (u64, u64),
    folder: &Path,
) -> Score {
    let folder = Arc::new(LocalFolder::new(folder));
    let disk = Disk::open(folder, &disk::Options { bytes: disk }).expect("a folder of our own");
    while disk.health() != Health::Good {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let store = Store::new(Memory::new(memory, |_, _| {}), Some(disk.clone()));
    let mut both = Both { store, disk, object_bytes_max: memory / OBJECT_SHARE, under_way: 0 };
    let (mut score, mut written_before) = (Score::default(), 0);
    for (number, request) in trace.requests.iter().enumerate() {
        if number == filling {
            both.disk.settled().await;
            written_before = both.disk.stats().written;
        }
        let is_hit = both.ask(*request).await;
        if number >= filling {
            score.note(*request, is_hit);
        }
    }
    both.disk.settled().await;
    score.writes = both.disk.stats().written - written_before;
    both.disk.close();
    score
}

struct Both {
    store: Store<Sized>,
    disk: Arc<Disk>,
    object_bytes_max: u64,
    under_way: u64,
}

impl Both {
    /// What the engine does for a request.
    async fn ask(&mut self, request: Request) -> bool {
        let key = key(request.object);
        if let Some(found) = self.store.get(&key) {
            if self.store.is_to_be_written(&found.value) {
                self.write(&key, &found.value).await;
            }
            return true;
        }
        if let Some(found) = self.store.read(&key).await {
            if found.is_wanted_in_memory && u64::from(request.bytes) <= self.object_bytes_max {
                self.store.insert(&key, found.value);
            }
            return true;
        }
        let value = Sized::new(request.bytes);
        if u64::from(request.bytes) <= self.object_bytes_max {
            self.store.insert(&key, value.clone());
        }
        if self.store.is_for_disk(&key) {
            self.write(&key, &value).await;
        }
        false
    }

    async fn write(&mut self, key: &[u8], value: &Sized) {
        if !self.store.claim_writing(value) {
            return;
        }
        self.store.write(key, value);
        self.under_way += u64::from(value.bytes);
        if self.under_way >= UNDER_WAY_BYTES {
            self.disk.settled().await;
            self.under_way = 0;
        }
    }
}
