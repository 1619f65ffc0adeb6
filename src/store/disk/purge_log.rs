//! What was removed, on the disk: the log that makes a removal survive a crash, and the thread that
//! writes it.
//!
//! An entry is in `pending` until it was written, and in `unsynced` until it was made durable. When
//! the device fails to do so, nobody knows what it has of it: everything since the last success is
//! pending again, and is written anew to where it belongs.

use super::files::{File, Folder};
use super::format::{self, Bad, LOG_HEAD_BYTES, LOG_KEY_BYTES, LogEntry};
use super::tier::{Part, State as TierState, Tier};
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The log's name.
pub(super) const NAME: &str = "purge.log";
const NEW_NAME: &str = "purge.log.new";
/// More than these collapse into one for everything.
const PENDING_MAX: usize = 64 * 1024;
/// A log is not written anew before it has this size.
const COMPACT_BYTES: u64 = 1024 * 1024;
/// Nor does it get larger than this, or an eighth of the tier: rather is everything forgotten.
const LOG_BYTES_MAX: u64 = 128 * 1024 * 1024;
const SYNC_EVERY: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(5);
const RETRY: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

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
    unsynced: Vec<LogEntry>,
    pushed: u64,
    log: Option<Log>,
    wants_durable: bool,
    is_closed: bool,
}

/// The file that is written to.
#[derive(Clone)]
pub(super) struct Log {
    file: Arc<dyn File>,
    end: u64,
    /// Up to here it is durable.
    durable_end: u64,
    /// What was left of it the last time that it was written anew.
    compacted: u64,
    /// Its name is durable.
    is_named: bool,
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
        if state.pending.len() >= PENDING_MAX {
            return false;
        }
        state.pushed += 1;
        state.pending.push(entry);
        drop(state);
        self.wake.notify_all();
        true
    }

    /// Everything with a smaller sequence was removed: stands for all such entries.
    pub(super) fn push_all(&self, sequence: u64) {
        let mut state = self.lock();
        state.pushed += 1;
        state.pending.retain(|entry| entry.sequence() > sequence);
        state.pending.push(LogEntry::All { sequence });
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
        !state.pending.is_empty()
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

    /// The log's thread.
    pub(super) fn run(&self, tier: &Tier) {
        let (mut failed, mut synced) = (0, Instant::now());
        while let Some((log, upto, has_to_sync)) = self.next(synced) {
            let done = self.round(tier, log, upto, has_to_sync);
            match done {
                Ok(has_synced) => {
                    failed = 0;
                    self.is_stuck.store(false, Ordering::Relaxed);
                    tier.set_fault(Part::Log, None);
                    if has_synced {
                        synced = Instant::now();
                    }
                }
                Err(error) => {
                    self.is_stuck.store(true, Ordering::Relaxed);
                    tier.set_fault(Part::Log, Some(format!("removals cannot be written: {error}")));
                    self.progress.send_modify(|progress| progress.failures += 1);
                    self.pause(RETRY[failed.min(RETRY.len() - 1)]);
                    failed += 1;
                }
            }
            if let Err(error) = self.compact(tier) {
                // The old one is still good; it is tried again when there is more to write.
                tracing::warn!(%error, "the purge log could not be written anew");
            }
        }
    }

    /// Waits for work: a copy of the file to write to, how many entries will be done, whether to
    /// make them durable. `None`: it is over.
    fn next(&self, synced: Instant) -> Option<(Log, u64, bool)> {
        let mut state = self.lock();
        loop {
            let has_unsynced = !state.unsynced.is_empty();
            let has_to_sync = state.wants_durable
                || state.is_closed
                || state.unsynced.len() >= PENDING_MAX
                || has_unsynced && synced.elapsed() >= SYNC_EVERY;
            let has_work = !state.pending.is_empty() || has_unsynced && has_to_sync;
            if let Some(log) = state.log.clone()
                && (has_work || state.wants_durable)
            {
                state.wants_durable = false;
                return Some((log, state.pushed, has_to_sync));
            }
            if state.is_closed {
                return None;
            }
            state = self.sleep(state, SYNC_EVERY);
        }
    }

    /// Writes what is pending, and makes it durable if it has to. Whether it did.
    fn round(&self, tier: &Tier, log: Log, upto: u64, has_to_sync: bool) -> io::Result<bool> {
        let mut bytes = Vec::new();
        let batch = std::mem::take(&mut self.lock().pending);
        for entry in &batch {
            entry.encode(&mut bytes);
        }
        let done = log.file.write(&bytes, log.end).and_then(|()| {
            if !has_to_sync {
                return Ok(());
            }
            log.file.sync()?;
            if !log.is_named {
                tier.folder.sync()?;
            }
            // A file that nobody finds again protects nobody.
            if tier.folder.is_in_place() { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
        });
        let mut state = self.lock();
        state.unsynced.extend(batch);
        let state = &mut *state;
        let Some(now) = state.log.as_mut().filter(|now| Arc::ptr_eq(&now.file, &log.file)) else {
            // The folder went away meanwhile, and perhaps another one is there.
            state.pending.append(&mut state.unsynced);
            return Err(ErrorKind::NotFound.into());
        };
        if let Err(error) = done {
            let later = std::mem::replace(&mut state.pending, std::mem::take(&mut state.unsynced));
            state.pending.extend(later);
            now.end = now.durable_end;
            return Err(error);
        }
        now.end = log.end + bytes.len() as u64;
        self.bytes.store(now.end, Ordering::Relaxed);
        if has_to_sync {
            now.durable_end = now.end;
            now.is_named = true;
            state.unsynced.clear();
        }
        self.progress.send_modify(|progress| {
            progress.written = upto;
            if has_to_sync {
                progress.durable = upto;
            }
        });
        self.wake.notify_all();
        Ok(has_to_sync)
    }

    /// Writes the log anew when much of it may be out of use: what is older than every record, and
    /// all but the newest for a hash.
    ///
    /// A record that is not yet in its segment counts, too: the writer lowers the segment's minimum
    /// before it asks the index whether the record is still wanted. A segment counts until the
    /// removal of its file is durable.
    fn compact(&self, tier: &Tier) -> io::Result<()> {
        let Some(log) = self.lock().log.clone() else { return Ok(()) };
        let is_known = tier.mount().state == TierState::Known;
        if log.end < COMPACT_BYTES || log.end < 2 * log.compacted || !is_known {
            return Ok(());
        }
        // Of segments that could not be read nobody knows how old their records are.
        let floor = if tier.knows_all() { tier.segments.sequence_min() } else { 0 };
        let read = read(&*log.file, log.end)?;
        let all = read.all.filter(|all| *all > floor);
        let oldest = floor.max(all.unwrap_or(0));
        let keys = read.keys.into_iter().filter(|(_, sequence)| *sequence > oldest);
        let keys = keys.map(|(hash, sequence)| LogEntry::Key { hash, sequence });
        let left: Vec<_> =
            all.map(|sequence| LogEntry::All { sequence }).into_iter().chain(keys).collect();
        let too_many = LOG_BYTES_MAX.min(tier.capacity / 8) / LOG_KEY_BYTES as u64;
        let is_too_large = left.len() as u64 > too_many;
        let mut new = create(&*tier.folder, &left)?;
        let mut state = self.lock();
        let Some(now) = state.log.as_mut().filter(|now| Arc::ptr_eq(&now.file, &log.file)) else {
            return Err(ErrorKind::NotFound.into());
        };
        if is_too_large {
            // The next time there will be nothing left but that everything went.
            new.compacted = 0;
        }
        self.bytes.store(new.end, Ordering::Relaxed);
        *now = new;
        state.unsynced.clear();
        drop(state);
        if is_too_large {
            tracing::warn!("too much was removed: all that is on the disk is forgotten");
            tier.remove_all();
        }
        Ok(())
    }

    /// Waits, but not when it is to end.
    fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.is_closed {
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return;
            }
            state = self.sleep(state, left);
        }
        // What could not be written by now is given up.
        state.log = None;
    }

    fn sleep<'a>(&'a self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.wake.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a log says.
#[derive(Default)]
pub(super) struct Removed {
    /// By hash, the newest.
    pub(super) keys: HashMap<u64, u64>,
    /// The newest for everything.
    pub(super) all: Option<u64>,
    /// Where the good entries end.
    pub(super) end: u64,
    /// It is not what was written: some of what was removed is not known any more.
    pub(super) is_damaged: bool,
}

impl Removed {
    /// The largest sequence in it.
    pub(super) fn sequence_max(&self) -> u64 {
        self.keys.values().copied().max().unwrap_or(0).max(self.all.unwrap_or(0))
    }
}

/// Reads a log, its head first.
pub(super) fn read_with_head(file: &dyn File) -> io::Result<Result<Removed, Bad>> {
    let bytes = file.bytes()?;
    let mut head = [0; LOG_HEAD_BYTES];
    let had = file.read(&mut head, 0)?;
    match format::parse_log_head(&head[..had]) {
        Ok(()) => read(file, bytes).map(Ok),
        Err(bad) => Ok(Err(bad)),
    }
}

/// Reads a log whose head is good, in pieces.
fn read(file: &dyn File, bytes: u64) -> io::Result<Removed> {
    const PIECE_BYTES: usize = 1024 * 1024;
    let mut removed = Removed { end: LOG_HEAD_BYTES as u64, ..Removed::default() };
    let mut piece = Vec::new();
    loop {
        let left = bytes.saturating_sub(removed.end).min(PIECE_BYTES as u64) as usize;
        piece.resize(left, 0);
        let read = file.read(&mut piece, removed.end)?;
        piece.truncate(read);
        let is_last = removed.end + read as u64 >= bytes || read < left;
        let taken = take_entries(&piece, &mut removed);
        removed.end += taken as u64;
        if is_last || taken == 0 {
            removed.is_damaged = !is_torn(&piece[taken..]) || !is_last;
            return Ok(removed);
        }
    }
}

/// Notes the good entries at the front. How many bytes they take.
fn take_entries(bytes: &[u8], removed: &mut Removed) -> usize {
    let mut taken = 0;
    while let Ok((entry, length)) = LogEntry::parse(&bytes[taken..]) {
        taken += length;
        match entry {
            LogEntry::Key { hash, sequence } => {
                let newest = removed.keys.entry(hash).or_insert(0);
                *newest = sequence.max(*newest);
            }
            LogEntry::All { sequence } => removed.all = removed.all.max(Some(sequence)),
        }
    }
    taken
}

/// Whether what follows the good entries is what a crash leaves of a write: nothing, its beginning,
/// or zeros. Otherwise entries that had been acknowledged may have become unreadable.
fn is_torn(rest: &[u8]) -> bool {
    matches!(LogEntry::parse(rest), Err(Bad::Short)) || rest.iter().all(|byte| *byte == 0)
}

/// Opens the log of a folder whose files are this tier's. What is damaged, or missing though there
/// are segments, means that everything has to go: it is written anew with `draw` of that.
pub(super) fn open(
    folder: &dyn Folder,
    names: &[String],
    draw: impl Fn(&Removed) -> u64,
) -> io::Result<(Log, Removed)> {
    let has_segments = names.iter().any(|name| format::segment_id(name).is_some());
    let mut removed = Removed { is_damaged: has_segments, ..Removed::default() };
    if names.iter().any(|name| name == NAME) {
        let file = folder.open(NAME)?;
        match read_with_head(&*file)? {
            Ok(read) => removed = read,
            Err(error @ (Bad::Version(_) | Bad::Foreign)) => {
                return Err(io::Error::new(ErrorKind::Unsupported, format!("{NAME} is {error}")));
            }
            Err(Bad::Short | Bad::Checksum | Bad::Value) => removed.is_damaged = true,
        }
        if !removed.is_damaged && removed.end >= LOG_HEAD_BYTES as u64 {
            file.set_bytes(removed.end)?;
            // A log that was found has been written; nobody has said that it is durable.
            file.sync()?;
            let end = removed.end;
            let log = Log { file, end, durable_end: end, compacted: 0, is_named: true };
            return Ok((log, removed));
        }
    }
    let mut entries = Vec::new();
    if removed.is_damaged {
        let sequence = draw(&removed);
        tracing::warn!("the purge log is damaged: all that is on the disk is forgotten");
        removed = Removed { all: Some(sequence), ..Removed::default() };
        entries.push(LogEntry::All { sequence });
    }
    Ok((create(folder, &entries)?, removed))
}

/// Puts a log with these entries in place; what is in it is durable.
fn create(folder: &dyn Folder, entries: &[LogEntry]) -> io::Result<Log> {
    let mut bytes = format::encode_log_head().to_vec();
    for entry in entries {
        entry.encode(&mut bytes);
    }
    let file = replace(folder, NAME, NEW_NAME, &bytes, true)?;
    let end = bytes.len() as u64;
    // From here on it is the one that is found, whatever becomes of its name in a power loss.
    let is_named = folder.sync().is_ok();
    Ok(Log { file, end, durable_end: end, compacted: end, is_named })
}

/// Puts a file with this content in the place of another: whole or not at all. Its name is durable
/// with the folder's next sync.
pub(super) fn replace(
    folder: &dyn Folder,
    name: &str,
    new_name: &str,
    bytes: &[u8],
    is_durable: bool,
) -> io::Result<Arc<dyn File>> {
    // Left by a crash, or by a try that failed.
    match folder.remove(new_name) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = folder.create(new_name, 0)?;
    file.write(bytes, 0)?;
    if is_durable {
        file.sync()?;
    }
    folder.rename(new_name, name)?;
    Ok(file)
}
