//! The purge log as a file: read, opened for more, written anew as a whole.

use super::NOTES_MAX;
use crate::store::disk::files::{File, Folder};
use crate::store::disk::format::{self, Bad, LOG_HEAD_BYTES, LogEntry};
use crate::store::purges::{Rule, Scope};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Its name.
pub(in crate::store::disk) const NAME: &str = "purge.log";
const NEW_NAME: &str = "purge.log.new";

/// The file that is written to.
#[derive(Clone)]
pub(in crate::store::disk) struct Log {
    pub(super) file: Arc<dyn File>,
    pub(super) end: u64,
    /// Up to here it is durable.
    pub(super) durable_end: u64,
    /// What was left of it the last time that it was written anew.
    pub(super) compacted: u64,
    /// Its name is durable.
    pub(super) is_named: bool,
}

/// What a log says.
#[derive(Default)]
pub(in crate::store::disk) struct Removed {
    /// By hash, the newest.
    pub(in crate::store::disk) keys: HashMap<u64, u64>,
    /// The newest for everything.
    pub(in crate::store::disk) all: Option<u64>,
    /// The newest for each scope, those that make stale by themselves.
    rules: HashMap<(Scope, bool), Rule>,
    /// The last ones.
    pub(in crate::store::disk) notes: VecDeque<Bytes>,
    /// Where the good entries end.
    pub(in crate::store::disk) end: u64,
    /// It is not what was written: some of what was removed is not known any more.
    pub(in crate::store::disk) is_damaged: bool,
}

impl Removed {
    /// The largest sequence in it.
    pub(in crate::store::disk) fn sequence_max(&self) -> u64 {
        let rules = self.rules.values().map(|rule| rule.sequence);
        self.keys.values().copied().chain(rules).chain(self.all).max().unwrap_or(0)
    }

    /// What was purged by rule since the newest for everything, and that: what was asked for before
    /// may have been written after it.
    pub(in crate::store::disk) fn rules(&self) -> Vec<Rule> {
        let all = self.all.map(|sequence| Rule {
            scope: Scope::Prefix(Box::default()),
            sequence,
            stale_since: None,
        });
        let newer = self.rules.values().filter(|rule| Some(rule.sequence) > self.all);
        newer.cloned().chain(all).collect()
    }

    fn note_rule(&mut self, rule: Rule) {
        let name = (rule.scope.clone(), rule.stale_since.is_some());
        let newest = self.rules.entry(name).or_insert_with(|| rule.clone());
        if rule.sequence > newest.sequence {
            *newest = rule;
        }
    }
}

/// Reads a log, its head first.
pub(in crate::store::disk) fn read_with_head(file: &dyn File) -> io::Result<Result<Removed, Bad>> {
    let bytes = file.bytes()?;
    let mut head = [0; LOG_HEAD_BYTES];
    let had = file.read(&mut head, 0)?;
    match format::parse_log_head(&head[..had]) {
        Ok(()) => read(file, bytes).map(Ok),
        Err(bad) => Ok(Err(bad)),
    }
}

/// Reads a log whose head is good, in pieces.
pub(super) fn read(file: &dyn File, bytes: u64) -> io::Result<Removed> {
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
            LogEntry::Rule(rule) => removed.note_rule(rule),
            LogEntry::Note { text, .. } => {
                if removed.notes.len() == NOTES_MAX {
                    removed.notes.pop_front();
                }
                removed.notes.push_back(text);
            }
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
pub(in crate::store::disk) fn open(
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
pub(super) fn create(folder: &dyn Folder, entries: &[LogEntry]) -> io::Result<Log> {
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
pub(in crate::store::disk) fn replace(
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
