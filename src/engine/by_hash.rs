//! Maps whose keys are hashes already: what is asked under several locks is hashed once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// By a hash that nobody can foresee.
pub(super) type ByHash<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;

/// Takes a hash for what it is.
#[derive(Default)]
pub(super) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Which of so many locks. The map behind it goes by other bits of the hash.
pub(super) fn shard(hash: u64, shards: usize) -> usize {
    (hash >> 32) as usize % shards
}
