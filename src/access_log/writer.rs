//! Lines on their way to their target. Whoever puts one there holds the lock for as long as it takes
//! to copy it; the thread that writes takes all that are there at once. Lines stay whole: what could
//! not be written is tried again, from the byte where it stopped, or from the line's beginning where
//! the file is another one.

use super::AccessLog;
use super::target::Target;
use crate::metrics::Metrics;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of lines waiting for the writer.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// So long lines are gathered to be written together, or until there are so many bytes of them.
const GATHERS_FOR: Duration = Duration::from_millis(20);
const BATCH_BYTES: usize = 64 * 1024;
/// Until writing is tried again after it has failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The same after a target that is not waited for was full.
const ROOM_AFTER: Duration = Duration::from_millis(10);
/// Lost lines are told of no more often.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// What is left at the end has this long to be written.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// Lines that wait, and what their writer is told.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// The thread that writes has nothing to do: to wake it takes a system call.
    is_awaited: bool,
    /// It waits for more of them.
    is_gathering: bool,
    is_to_reopen: bool,
    /// No more come.
    is_ending: bool,
    has_ended: bool,
    lost_lines: u64,
    lost_untold: u64,
    told_at: Option<Instant>,
}

/// Everything that writes. When dropped it writes what is queued, but does not wait for ever.
pub struct LogWriter(AccessLog);

impl LogWriter {
    pub(super) fn new(log: AccessLog) -> Self {
        Self(log)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let deadline = Instant::now() + ENDS_WITHIN;
        let writers = std::mem::take(&mut *self.0.writers());
        writers.iter().for_each(|writer| writer.finish());
        let lost: u64 = writers.iter().map(|writer| writer.wait_for_end(deadline)).sum();
        if lost > 0 {
            tracing::warn!(lines = lost, "the access log was too slow and lost lines");
        }
    }
}

/// Begins to write to a target.
pub(super) fn start(target: Target, metrics: Arc<Metrics>) -> io::Result<Arc<Queue>> {
    let queue = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new(), metrics });
    let taken = queue.clone();
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        let mut writer = Writer { queue: taken, target, is_failing: false };
        writer.run();
    })?;
    Ok(queue)
}

impl Queue {
    /// Queues a line, or counts it as dropped. `false`: none are taken any more.
    pub(super) fn put(&self, line: &[u8]) -> bool {
        let mut state = self.lock();
        if state.is_ending {
            return false;
        }
        if state.lines.len() + line.len() > QUEUE_BYTES {
            let told = state.loses_line();
            drop(state);
            self.metrics.access_log_dropped(1);
            if let Some(lines) = told {
                tracing::warn!(lines, "the access log is written too slowly: lines are dropped");
            }
            return true;
        }
        state.lines.extend_from_slice(line);
        let is_enough = state.is_gathering && state.lines.len() >= BATCH_BYTES;
        let is_awaited = std::mem::take(&mut state.is_awaited) || is_enough;
        drop(state);
        if is_awaited {
            self.changed.notify_all();
        }
        true
    }

    /// Goes on in a new file.
    pub(super) fn reopen(&self) {
        self.lock().is_to_reopen = true;
        self.changed.notify_all();
    }

    /// Takes no more lines, and ends when those that are there are written.
    pub(super) fn finish(&self) {
        self.lock().is_ending = true;
        self.changed.notify_all();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().has_ended
    }

    /// How many lines were lost, when it has ended or was waited for long enough.
    fn wait_for_end(&self, deadline: Instant) -> u64 {
        let left = deadline.saturating_duration_since(Instant::now());
        let is_busy = |state: &mut State| !state.has_ended;
        let waited = self.changed.wait_timeout_while(self.lock(), left, is_busy);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let unwritten = state.lines.iter().filter(|byte| **byte == b'\n').count();
        state.lost_lines + unwritten as u64
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many were lost since that was last told, if it is to be told now.
    fn loses_line(&mut self) -> Option<u64> {
        self.lost_lines += 1;
        self.lost_untold += 1;
        let now = Instant::now();
        let is_due = self.told_at.is_none_or(|told_at| now.duration_since(told_at) >= TOLD_EVERY);
        is_due.then(|| {
            self.told_at = Some(now);
            std::mem::take(&mut self.lost_untold)
        })
    }
}

struct Writer {
    queue: Arc<Queue>,
    target: Target,
    /// It could not be written, and that was told.
    is_failing: bool,
}

impl Writer {
    fn run(&mut self) {
        let mut batch = Vec::new();
        while let Some(is_to_reopen) = self.next(&mut batch) {
            if !self.write(&batch) {
                let lines = batch.iter().filter(|byte| **byte == b'\n').count() as u64;
                self.queue.metrics.access_log_dropped(lines);
                self.queue.lock().lost_lines += lines;
                break;
            }
            batch.clear();
            // What came before that was said is written by now.
            if is_to_reopen {
                self.reopen();
            }
        }
        self.queue.lock().has_ended = true;
        self.queue.changed.notify_all();
    }

    /// Waits for lines and takes them, and whether a new file is to follow; `None`: there is nothing
    /// more.
    fn next(&mut self, batch: &mut Vec<u8>) -> Option<bool> {
        let is_idle = |state: &mut State| {
            state.is_awaited = state.lines.is_empty() && !state.is_to_reopen && !state.is_ending;
            state.is_awaited
        };
        let waited = self.queue.changed.wait_while(self.queue.lock(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        // Where there is one line, more come soon: to write each alone costs a request more than all
        // else that is done for the log.
        state.is_gathering = true;
        let is_little = |state: &mut State| {
            state.lines.len() < BATCH_BYTES && !state.is_to_reopen && !state.is_ending
        };
        let waited = self.queue.changed.wait_timeout_while(state, GATHERS_FOR, is_little);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_gathering = false;
        std::mem::swap(&mut state.lines, batch);
        let is_to_reopen = std::mem::take(&mut state.is_to_reopen);
        (is_to_reopen || !batch.is_empty()).then_some(is_to_reopen)
    }

    fn reopen(&mut self) -> bool {
        match self.target.reopen() {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the access log cannot be reopened, and goes on where it was");
                false
            }
        }
    }

    /// Writes all of it. `false`: it could not, and is to end.
    fn write(&mut self, batch: &[u8]) -> bool {
        let mut at = 0;
        while at < batch.len() {
            let pause = match self.target.write(&batch[at..]) {
                Ok(bytes) if bytes > 0 => {
                    at += bytes;
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(to = self.target.name(), "the access log is written again");
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ROOM_AFTER,
                failed => {
                    self.tell_of(failed.err());
                    AGAIN_AFTER
                }
            };
            match self.pause(pause) {
                Paused::Over => {}
                Paused::Reopened => {
                    // Another file begins with a whole line.
                    at = memchr::memrchr(b'\n', &batch[..at]).map_or(0, |end| end + 1);
                }
                Paused::Ending if self.is_failing => return false,
                Paused::Ending => std::thread::sleep(pause),
            }
        }
        true
    }

    fn tell_of(&mut self, error: Option<io::Error>) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let to = self.target.name();
            let error = error.unwrap_or_else(|| io::ErrorKind::WriteZero.into());
            tracing::error!(to, %error, "the access log cannot be written");
        }
    }

    fn pause(&mut self, pause: Duration) -> Paused {
        let is_calm = |state: &mut State| !state.is_to_reopen && !state.is_ending;
        let waited = self.queue.changed.wait_timeout_while(self.queue.lock(), pause, is_calm);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut state.is_to_reopen) {
            drop(state);
            return if self.reopen() { Paused::Reopened } else { Paused::Over };
        }
        if state.is_ending { Paused::Ending } else { Paused::Over }
    }
}

/// What happened while nothing could be written.
enum Paused {
    Over,
    /// The file is another one.
    Reopened,
    /// There is no time left.
    Ending,
}
