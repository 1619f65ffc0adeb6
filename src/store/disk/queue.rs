//! What waits for the writer: bounded in bytes, from the put until it is written or dropped.

use super::format::is_entry;
use super::{NOT_WRITTEN, Receipt};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Of everything that waits.
const BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What a job costs besides what it carries.
const JOB_BYTES: u64 = 512;

/// A record to be written.
pub(super) struct Job {
    pub(super) hash: u64,
    /// Its sequence: as long as it is the index's ticket for the hash, it is wanted.
    pub(super) ticket: u64,
    pub(super) asked: u64,
    pub(super) key: Box<[u8]>,
    pub(super) tags: Bytes,
    pub(super) head: Bytes,
    pub(super) body: Vec<Bytes>,
    pub(super) receipt: Owed,
    /// What was claimed for it.
    pub(super) claimed: u64,
}

/// A receipt that says what became of a job, also where nobody came to say it.
pub(super) struct Owed(Option<Receipt>);

impl Owed {
    pub(super) fn new(receipt: Option<&Receipt>) -> Self {
        Self(receipt.cloned())
    }

    pub(super) fn settle(mut self, written: u32) {
        if let Some(receipt) = self.0.take() {
            receipt.store(written, Ordering::Release);
        }
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(receipt) = &self.0 {
            receipt.store(NOT_WRITTEN, Ordering::Release);
        }
    }
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    claimed: u64,
    pushed: u64,
    /// The smallest `asked` of the jobs that were taken last, if there is one.
    taken_asked: Option<u64>,
    is_closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// The last job found no room, and none was done since.
    is_full: AtomicBool,
    /// Jobs that are done, one way or the other.
    done: watch::Sender<u64>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            is_full: AtomicBool::new(false),
            done: watch::Sender::new(0),
        }
    }

    /// Sets bytes aside for a job that carries so many. What it has to give back.
    pub(super) fn claim(&self, bytes: usize) -> Option<u64> {
        let bytes = bytes as u64 + JOB_BYTES;
        let mut state = self.lock();
        let has_room = !state.is_closed && state.claimed + bytes <= BYTES_MAX;
        self.is_full.store(!has_room, Ordering::Relaxed);
        has_room.then(|| {
            state.claimed += bytes;
            bytes
        })
    }

    /// Whether it is not worth trying.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn push(&self, job: Job) {
        let mut state = self.lock();
        state.pushed += 1;
        state.jobs.push_back(job);
        drop(state);
        self.wake.notify_one();
    }

    /// Everything that waits; if nothing does, waits for it until then. Also, whether there will be
    /// no more.
    pub(super) fn take(&self, until: Instant) -> (VecDeque<Job>, bool) {
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !state.jobs.is_empty() || state.is_closed || left == Duration::ZERO {
                // Whoever has claimed is going to push.
                let is_last = state.is_closed && state.claimed == claimed_by(&state.jobs);
                // Whoever comes for more has a place for what it has taken before.
                state.taken_asked = asked_min(&state.jobs);
                return (std::mem::take(&mut state.jobs), is_last);
            }
            state = match self.wake.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// For nothing that waits was the origin asked before this; chunks do not count.
    pub(super) fn asked_min(&self) -> u64 {
        let state = self.lock();
        let waiting = asked_min(&state.jobs);
        waiting.into_iter().chain(state.taken_asked).min().unwrap_or(u64::MAX)
    }

    /// Gives back what done jobs had claimed.
    pub(super) fn finish(&self, jobs: u64, claimed: u64) {
        self.lock().claimed -= claimed;
        self.is_full.store(false, Ordering::Relaxed);
        self.done.send_modify(|done| *done += jobs);
    }

    /// Gives back what jobs had claimed that were taken and are not going to be done. Nobody may
    /// stand between its claim and its push.
    pub(super) fn forget_taken(&self) {
        let mut state = self.lock();
        state.claimed = claimed_by(&state.jobs);
        state.taken_asked = None;
        let done = state.pushed - state.jobs.len() as u64;
        drop(state);
        self.is_full.store(false, Ordering::Relaxed);
        self.done.send_replace(done);
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_one();
        // Whoever waits for room learns that there is never going to be any.
        self.done.send_modify(|_| {});
    }

    pub(super) fn reopen(&self) {
        self.lock().is_closed = false;
    }

    pub(super) async fn settled(&self) {
        let pushed = self.lock().pushed;
        // The sender lives as long as `self`.
        let _ = self.done.subscribe().wait_for(|done| *done >= pushed).await;
    }

    /// Waits until there is room for so many bytes; `false` when there is never going to be.
    pub(super) async fn has_room(&self, bytes: u64) -> bool {
        let has = |_: &u64| {
            let state = self.lock();
            state.is_closed || state.claimed + bytes + JOB_BYTES <= BYTES_MAX
        };
        let _ = self.done.subscribe().wait_for(has).await;
        !self.lock().is_closed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn asked_min(jobs: &VecDeque<Job>) -> Option<u64> {
    let entries = jobs.iter().filter(|job| is_entry(job.hash));
    entries.map(|job| job.asked).min()
}

fn claimed_by(jobs: &VecDeque<Job>) -> u64 {
    jobs.iter().map(|job| job.claimed).sum()
}
