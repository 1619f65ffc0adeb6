//! The thread that writes the purge log: what is pending, as one write and, where it has to be durable,
//! one sync; and the whole log anew when much of it is out of use.

use super::file::{create, read};
use super::{Log, PENDING_MAX, PurgeLog, SYNC_EVERY};
use crate::store::disk::format::LogEntry;
use crate::store::disk::tier::{Part, State as TierState, Tier};
use crate::store::purges::Rule;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A log is not written anew before it has this size.
const COMPACT_BYTES: u64 = 1024 * 1024;
/// Nor does it get larger than this, or an eighth of the tier: rather is everything forgotten.
const LOG_BYTES_MAX: u64 = 128 * 1024 * 1024;
const RETRY: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

impl PurgeLog {
    /// The log's thread.
    pub(in crate::store::disk) fn run(&self, tier: &Tier) {
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
        let batch = self.lock().take_pending();
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
            state.count_pending();
            return Err(ErrorKind::NotFound.into());
        };
        if let Err(error) = done {
            let later = std::mem::replace(&mut state.pending, std::mem::take(&mut state.unsynced));
            state.pending.extend(later);
            now.end = now.durable_end;
            state.count_pending();
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
        let mut read = read(&*log.file, log.end)?;
        if read.is_damaged || read.end != log.end {
            // What is behind the damage is not known any more.
            tracing::warn!("the purge log is damaged: all that is on the disk is forgotten");
            read.all = Some(tier.remove_all());
        }
        let all = read.all.filter(|all| *all > floor.min(tier.oldest_asked()));
        let oldest = floor.max(all.unwrap_or(0));
        let keys = read.keys.into_iter().filter(|(_, sequence)| *sequence > oldest);
        let keys = keys.map(|(hash, sequence)| LogEntry::Key { hash, sequence });
        // What was retired concerns nothing any more.
        let is_newer = |rule: &Rule| Some(rule.sequence) > all;
        let rules = tier.purges.rules().into_iter().filter(is_newer).map(LogEntry::Rule);
        let notes = read.notes.into_iter();
        let notes = notes.map(|text| LogEntry::Note { sequence: oldest, text });
        let all = all.map(|sequence| LogEntry::All { sequence }).into_iter();
        let left: Vec<_> = all.chain(rules).chain(notes).chain(keys).collect();
        let mut new = create(&*tier.folder, &left)?;
        let is_too_large = new.end > LOG_BYTES_MAX.min(tier.capacity / 8);
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
}
