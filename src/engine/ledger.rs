//! Room for what arrives: how many bytes may be kept that are not in a tier yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room that is handed out and comes back.
pub(super) struct Ledger {
    bytes_max: u64,
    used: AtomicU64,
}

/// A part of the room; given back when dropped.
pub struct Claim {
    ledger: Arc<Ledger>,
    /// Taken from the ledger.
    taken: u64,
    /// In use.
    used: u64,
    bytes_max: u64,
}

impl Ledger {
    /// Room for this many bytes.
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, used: AtomicU64::new(0) })
    }

    /// A claim that may grow up to `bytes_max`, with room for as much as is expected, if there is
    /// so much.
    pub(super) fn claim(self: &Arc<Self>, bytes_max: u64, expected: u64) -> Option<Claim> {
        let mut claim = Claim { ledger: self.clone(), taken: 0, used: 0, bytes_max };
        claim.take(expected).then_some(claim)
    }
}

impl Claim {
    /// Uses more, or nothing if that is too much.
    pub(super) fn grow(&mut self, more: u64) -> bool {
        let used = self.used.saturating_add(more);
        let has_room = used <= self.taken || self.take(used - self.taken);
        if has_room {
            self.used = used;
        }
        has_room
    }

    fn take(&mut self, more: u64) -> bool {
        if self.taken.saturating_add(more) > self.bytes_max {
            return false;
        }
        let used = self.ledger.used.fetch_add(more, Ordering::Relaxed) + more;
        if used > self.ledger.bytes_max {
            self.ledger.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.taken += more;
        true
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.ledger.used.fetch_sub(self.taken, Ordering::Relaxed);
    }
}
