//! What was removed, on the disk: the log that makes a removal survive a crash. `file` is what it
//! looks like there, `writing` the thread that writes it.
//!
//! An entry is in `pending` until it was written, and in `unsynced` until it was made durable. When
//! the device fails to do so, nobody knows what it has of it: everything since the last success is
//! pending again, and is written anew to where it belongs.

mod file;
mod writing;

use super::format::LogEntry;
pub(super) use file::{Log, NAME, Removed, open, read_with_head, replace};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// More than these collapse into one for everything.
const PENDING_MAX: usize = 64 * 1024;
/// Of names and notes among them.
const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Notes that are kept.
const NOTES_MAX: usize = 256;
const SYNC_EVERY: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What has come to pass, in entries pushed.
#[derive(Clone, Copy, Default)]
struct Progress {
    written: u64,
    durable: u64,
    failures: u64,
}

#[derive(Default)]
struct State {
    pending: Vec<LogEntry>,
    /// Of names and notes in it.
    pending_bytes: usize,
    unsynced: Vec<LogEntry>,
    pushed: u64,
    log: Option<Log>,
    wants_durable: bool,
    is_closed: bool,
}

pub(super) struct PurgeLog {
    state: Mutex<State>,
    wake: Condvar,
    progress: watch::Sender<Progress>,
    bytes: AtomicU64,
    /// The last try failed, or took too long: nobody waits until one works again.
    is_stuck: AtomicBool,
}

impl PurgeLog {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            progress: watch::Sender::default(),
            bytes: AtomicU64::new(0),
            is_stuck: AtomicBool::new(false),
        }
    }

    /// What the file takes on the device.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Has an entry written. `false`: there are too many, and the caller has to remove everything.
    #[must_use]
    pub(super) fn push(&self, entry: LogEntry) -> bool {
        let mut state = self.lock();
        let bytes = state.pending_bytes + entry.text_bytes();
        if state.pending.len() >= PENDING_MAX || bytes > PENDING_BYTES_MAX {
            return false;
        }
        state.pending_bytes = bytes;
        state.pushed += 1;
        state.pending.push(entry);
        drop(state);
        self.wake.notify_all();
        true
    }

    /// Everything with a smaller sequence was removed: stands for all such entries but notes, of which
    /// no more wait than are kept.
    pub(super) fn push_all(&self, sequence: u64) {
        let mut state = self.lock();
        state.pushed += 1;
        let notes = state.pending.iter().filter(|entry| is_note(entry)).count();
        let mut unwanted = notes.saturating_sub(NOTES_MAX);
        state.pending.retain(|entry| match is_note(entry) {
            true if unwanted > 0 => {
                unwanted -= 1;
                false
            }
            true => true,
            false => entry.sequence() > sequence,
        });
        state.pending.push(LogEntry::All { sequence });
        state.count_pending();
        drop(state);
        self.wake.notify_all();
    }

    /// Takes a file in use. What could not be written until then may mean another folder's keys:
    /// whether there is such, so that everything has to be removed.
    #[must_use]
    pub(super) fn attach(&self, log: Log) -> bool {
        let mut state = self.lock();
        self.bytes.store(log.end, Ordering::Relaxed);
        state.log = Some(log);
        state.unsynced.clear();
        !state.pending.iter().all(is_note)
    }

    pub(super) fn detach(&self) {
        self.lock().log = None;
        self.bytes.store(0, Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.failures += 1);
    }

    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_all();
    }

    /// After its thread has ended: nothing is written from now on. Whether everything was durable that
    /// had been pushed when it ended.
    pub(super) fn give_up(&self) -> bool {
        let is_sound = self.lock().log.take().is_some() && !self.is_stuck.load(Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.failures += 1);
        is_sound
    }

    /// For a new thread.
    pub(super) fn reopen(&self) {
        self.lock().is_closed = false;
        self.is_stuck.store(false, Ordering::Relaxed);
    }

    /// The same for a thread that may wait, for a moment: before a folder counts as good again, it
    /// says what must not come back from it.
    pub(super) fn wait_until_written(&self) {
        let until = Instant::now() + SYNC_EVERY;
        let mut state = self.lock();
        let pushed = state.pushed;
        while self.progress.borrow().written < pushed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.sleep(state, left);
        }
    }

    /// Waits until what was pushed before is written; `false` if it cannot be.
    pub(super) async fn written(&self) -> bool {
        self.wait(false).await
    }

    /// Waits until what was pushed before is durable; `false` if it cannot be.
    pub(super) async fn durable(&self) -> bool {
        self.wait(true).await
    }

    async fn wait(&self, for_durable: bool) -> bool {
        let mut progress = self.progress.subscribe();
        let (failures, pushed) = {
            let mut state = self.lock();
            let now = *progress.borrow();
            let done = if for_durable { now.durable } else { now.written };
            if done >= state.pushed {
                return true;
            }
            if state.log.is_none() || self.is_stuck.load(Ordering::Relaxed) {
                return false;
            }
            state.wants_durable |= for_durable;
            (now.failures, state.pushed)
        };
        self.wake.notify_all();
        let is_done = |now: &Progress| {
            if for_durable { now.durable >= pushed } else { now.written >= pushed }
        };
        let is_over = |now: &Progress| is_done(now) || now.failures > failures;
        let waited = tokio::time::timeout(WAIT_MAX, progress.wait_for(is_over)).await;
        if waited.is_err() {
            self.is_stuck.store(true, Ordering::Relaxed);
        }
        waited.is_ok_and(|now| now.is_ok_and(|now| is_done(&now)))
    }

    fn sleep<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.wake.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an entry removes nothing.
fn is_note(entry: &LogEntry) -> bool {
    matches!(entry, LogEntry::Note { .. })
}

impl State {
    fn take_pending(&mut self) -> Vec<LogEntry> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    fn count_pending(&mut self) {
        self.pending_bytes = self.pending.iter().map(LogEntry::text_bytes).sum();
    }
}
