//! The memory tier: values by key, bounded by the bytes that they really cost, the less useful
//! ones evicted first.

use moka::notification::RemovalCause;
use moka::sync::Cache;
use std::hash::RandomState;
use std::sync::Arc;

/// Something that knows what it costs.
pub trait Weighed: Send + Sync + 'static {
    /// Bytes on the heap, all in.
    fn weight(&self) -> usize;
}

/// What the tier itself needs for an entry: nodes, hash table slot, frequency sketch.
const ENTRY_BYTES: usize = 320;

/// The tier.
pub struct Memory<V> {
    cache: Cache<Arc<[u8]>, Arc<V>, RandomState>,
}

impl<V: Weighed> Memory<V> {
    /// Room for this many bytes. `gone` is called for each value that is here no more and has no
    /// other in its place, with whether it had to go for others.
    pub fn new(bytes_max: u64, gone: impl Fn(&V, bool) + Send + Sync + 'static) -> Self {
        let weigh = |key: &Arc<[u8]>, value: &Arc<V>| {
            u32::try_from(ENTRY_BYTES + key.len() + value.weight()).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(weigh)
            .eviction_listener(move |_, value, cause| {
                if cause != RemovalCause::Replaced {
                    gone(&value, cause == RemovalCause::Size);
                }
            })
            .build_with_hasher(RandomState::new());
        Self { cache }
    }

    /// The value of a key, if it is there.
    pub fn get(&self, key: &[u8]) -> Option<Arc<V>> {
        self.cache.get(key)
    }

    /// Puts a value in the place of the one before.
    pub fn insert(&self, key: &[u8], value: Arc<V>) {
        self.cache.insert(key.into(), value);
        // Left to itself the cache takes in hundreds of values before it evicts any.
        self.cache.run_pending_tasks();
    }

    /// Forgets a key. Whether there was a value.
    pub fn remove(&self, key: &[u8]) -> bool {
        self.cache.remove(key).is_some()
    }

    /// Shows every entry that is there at this moment, as long as `see` wants more.
    pub fn each(&self, mut see: impl FnMut(&[u8], Arc<V>) -> bool) {
        for (key, value) in &self.cache {
            if !see(&key, value) {
                return;
            }
        }
    }

    /// Whether there is a value; this is no use of it.
    pub fn has(&self, key: &[u8]) -> bool {
        self.cache.contains_key(key)
    }

    /// What is kept at the moment.
    pub fn bytes(&self) -> u64 {
        self.cache.weighted_size()
    }

    /// How many keys are.
    pub fn entries(&self) -> u64 {
        self.cache.entry_count()
    }
}
