//! Going through memory after a purge: what it is about is taken out, and what is left need not be
//! compared again. Rules that nothing is old enough for are retired. Nobody waits for this who does
//! not want to: a purge is in force before.

use super::notes::REMEMBERED_FOR;
use super::{Engine, InStore};
use crate::survive;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How often it is looked whether rules can be retired.
const RETIRE_EVERY: Duration = Duration::from_secs(10);
/// However much is purged, sweeping takes at most one of so many parts of a core's time.
const SWEEP_SHARE: u32 = 5;

/// How far the sweeper is.
#[derive(Default)]
pub(super) struct Sweep {
    is_running: AtomicBool,
    wake: Arc<Notify>,
    /// Memory was gone through for all purges up to this number.
    done: watch::Sender<u64>,
}

/// What the sweeper remembers.
struct Past {
    /// The newest rule at moments of the last while.
    newest: VecDeque<(Instant, u64)>,
    /// The same of a moment when nothing was noted that is remembered now.
    long_ago: u64,
    retired: Instant,
}

impl Engine {
    /// Has memory gone through for a purge that is in force.
    pub(super) fn sweep_soon(self: &Arc<Self>) {
        self.start_sweeper();
        self.sweep.wake.notify_one();
    }

    /// Runs as long as there are rules.
    pub(super) fn start_sweeper(self: &Arc<Self>) {
        let is_running = &self.sweep.is_running;
        if !is_running.load(Ordering::Relaxed) && !is_running.swap(true, Ordering::SeqCst) {
            tokio::spawn(run(Arc::downgrade(self)));
        }
    }

    /// Waits for that, but no longer than so.
    pub(super) async fn swept(&self, number: u64, patience: Duration) {
        let mut done = self.sweep.done.subscribe();
        let _ = timeout(patience, done.wait_for(|done| *done >= number)).await;
    }

    fn sweep(self: &Arc<Self>) {
        let newest = self.store.purges().newest();
        // Whoever compared before that, and is about to store, has stored now.
        self.in_flight.pass_through();
        self.store.memory().each(|key, value| {
            if !self.is_compared(&value) {
                self.left(key, InStore { value, place: None, is_wanted_in_memory: false });
            }
            true
        });
        let done = self.receipts.done_up_to(newest);
        self.sweep.done.send_replace(newest);
        // In the place of what was noted before it was counted.
        done.iter().for_each(|receipt| self.note_down(receipt));
    }

    /// What is under way now is compared when it is stored; what is in memory was compared; the disk
    /// knows how old its oldest is.
    fn retire(&self, past: &Past) {
        let loads = self.store.purges().loads();
        let swept = *self.sweep.done.borrow();
        let under_way = self.in_flight.oldest_asked().min(self.store.oldest_asked_on_disk());
        let oldest = past.long_ago.min(swept).min(under_way);
        self.store.purges().retire(oldest, loads);
        self.receipts.change_up_to(oldest, |receipt| receipt.at_most_more = 0);
    }
}

impl Past {
    fn note(&mut self, newest: u64) {
        let now = Instant::now();
        self.newest.push_back((now, newest));
        while let Some((then, newest)) = self.newest.front()
            && now - *then > REMEMBERED_FOR
        {
            self.long_ago = *newest;
            self.newest.pop_front();
        }
    }
}

async fn run(engine: Weak<Engine>) {
    let mut past = Past { newest: VecDeque::new(), long_ago: 0, retired: Instant::now() };
    while let Some(engine) = engine.upgrade() {
        let newest = engine.store.purges().newest();
        let began = Instant::now();
        if newest > *engine.sweep.done.borrow() {
            let sweeping = engine.clone();
            // One that panicked has said so; the next purge tries again.
            let _ = tokio::task::spawn_blocking(move || sweeping.sweep()).await;
        }
        let took = began.elapsed();
        if past.retired.elapsed() >= RETIRE_EVERY {
            past.note(newest);
            survive::caught(async { engine.retire(&past) }).await;
            past.retired = Instant::now();
        }
        if engine.store.purges().is_empty() {
            engine.sweep.is_running.store(false, Ordering::SeqCst);
            let is_needed = engine.store.purges().newest() > newest;
            if !is_needed || engine.sweep.is_running.swap(true, Ordering::SeqCst) {
                return;
            }
        }
        let wake = engine.sweep.wake.clone();
        // The engine may end meanwhile.
        drop(engine);
        let again_at = tokio::time::Instant::now() + took * (SWEEP_SHARE - 1);
        let _ = timeout(RETIRE_EVERY, wake.notified()).await;
        tokio::time::sleep_until(again_at).await;
    }
}
