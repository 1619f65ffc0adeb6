//! Something to count and to wait for.

use super::PATIENCE;
use std::sync::{Arc, Condvar, Mutex};

/// A counter that threads wait at.
#[derive(Clone, Default)]
pub(crate) struct Gate {
    state: Arc<(Mutex<usize>, Condvar)>,
}

impl Gate {
    pub(crate) fn add_one(&self) {
        *self.state.0.lock().expect("a count") += 1;
        self.state.1.notify_all();
    }

    pub(crate) fn count(&self) -> usize {
        *self.state.0.lock().expect("a count")
    }

    /// Waits until the count has come to this.
    pub(crate) fn wait_for(&self, count: usize) {
        let counted = self.state.0.lock().expect("a count");
        let is_less = |counted: &mut usize| *counted < count;
        let (counted, waited) =
            self.state.1.wait_timeout_while(counted, PATIENCE, is_less).expect("a count");
        assert!(!waited.timed_out(), "{} of {count} came", *counted);
    }
}
