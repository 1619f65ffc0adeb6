//! Content of objects that are stored no more, held by clients that are still at it. When it comes
//! to too much, the oldest is taken away from them; they go on with a fetch of their own.

use super::body::Hold;
use super::object::Object;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

pub(super) struct Pinned {
    bytes_max: u64,
    holds: Mutex<VecDeque<Hold>>,
}

impl Pinned {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, holds: Mutex::default() }
    }

    /// An object has left the store.
    pub(super) fn forgotten(&self, object: &Arc<Object>) {
        let Some(hold) = object.hold() else { return };
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.retain(|held| held.bytes() > 0 && !held.is(&hold));
        holds.push_back(hold);
        let mut bytes: u64 = holds.iter().map(Hold::bytes).sum();
        // The newest is most likely to be read at this moment.
        while bytes > self.bytes_max
            && holds.len() > 1
            && let Some(oldest) = holds.pop_front()
        {
            bytes -= oldest.bytes();
            oldest.let_go();
        }
    }
}
