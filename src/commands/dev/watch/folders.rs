//! Folders that are looked at, and what changes in them.
//!
//! Each folder is looked at by itself, so that those that nobody serves, and that hold thousands of
//! others, cost nothing.

use notify::event::{EventKind, ModifyKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

/// Of more, nobody could tell what is going on.
const FOLDERS_MAX: usize = 4096;
/// Files that change at one time; of more, all are taken to have changed.
const CHANGES_MAX: usize = 500;
const EVENTS_MAX: usize = 4096;
/// Between two looks whether a folder that was removed has been made again.
const LOOKS_EVERY: Duration = Duration::from_millis(200);

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Each with whether it may have been a folder.
    pub(super) paths: BTreeMap<PathBuf, bool>,
    /// More than that.
    pub(super) is_everything: bool,
}

pub(super) struct Folders {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    /// Those that were named, each with whether it is looked at: many a build removes the folder that it
    /// makes, and nobody would tell of the next one of this name.
    roots: BTreeMap<PathBuf, bool>,
    events: Receiver<notify::Result<Event>>,
    /// There were more events than there is room for.
    is_lost: Arc<AtomicBool>,
}

impl Folders {
    /// Looks at these and all in them.
    pub(super) fn watch<'p>(named: impl Iterator<Item = &'p Path>) -> io::Result<Self> {
        let (sender, events) = sync_channel(EVENTS_MAX);
        let is_lost = Arc::new(AtomicBool::new(false));
        let watcher = notify::recommended_watcher(taken_by(sender, is_lost.clone()));
        let watcher = watcher.map_err(|error| io::Error::other(format!("--watch: {error}")))?;
        let (watched, mut roots) = (BTreeSet::new(), BTreeMap::new());
        for root in named {
            roots.insert(root.to_owned(), true);
        }
        let mut folders = Self { watcher, watched, roots, events, is_lost };
        for root in folders.roots.clone().keys() {
            let mut none = Changed::default();
            folders
                .add(root, &mut none)
                .map_err(|why| io::Error::other(format!("--watch {}: {why}", root.display())))?;
        }
        Ok(folders)
    }

    /// What has changed, once nothing has for `quiet`, or after `patience`; `None`: never anything.
    pub(super) fn next(&mut self, quiet: Duration, patience: Duration) -> Option<Changed> {
        let mut changed = self.first()?;
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now()).min(quiet);
            match self.events.recv_timeout(left) {
                Ok(event) => self.heed(event, &mut changed),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
            if left.is_zero() {
                break;
            }
        }
        changed.is_everything |= self.is_lost.swap(false, Ordering::AcqRel);
        Some(changed)
    }

    /// Waits for something to change; `None`: nothing ever will.
    fn first(&mut self) -> Option<Changed> {
        let mut changed = Changed::default();
        loop {
            let event = if self.roots.values().all(|is_watched| *is_watched) {
                self.events.recv().ok()?
            } else {
                match self.events.recv_timeout(LOOKS_EVERY) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Disconnected) => return None,
                    Err(RecvTimeoutError::Timeout) => match self.find_again(&mut changed) {
                        true => return Some(changed),
                        false => continue,
                    },
                }
            };
            self.heed(event, &mut changed);
            return Some(changed);
        }
    }

    /// Looks at the roots that were removed and are there again; false: there are none.
    fn find_again(&mut self, changed: &mut Changed) -> bool {
        let gone = self.roots.iter().filter(|(_, is_watched)| !**is_watched);
        let back: Vec<PathBuf> =
            gone.map(|(root, _)| root.clone()).filter(|root| root.is_dir()).collect();
        for root in &back {
            changed.note(root.clone(), true);
            let is_all = self.add(root, changed).is_ok();
            changed.is_everything |= !is_all;
            // It may be gone again.
            self.roots.insert(root.clone(), is_all || root.is_dir());
        }
        !back.is_empty()
    }

    /// Somewhere else, or nowhere, is what was a root and everything in it.
    fn lose(&mut self, root: &Path) {
        self.roots.insert(root.to_owned(), false);
        let inside = self.watched.iter().filter(|folder| folder.starts_with(root));
        for folder in inside.cloned().collect::<Vec<_>>() {
            self.watched.remove(&folder);
            // It may be gone, and with it the look at it.
            let _ = self.watcher.unwatch(&folder);
        }
    }

    fn heed(&mut self, event: notify::Result<Event>, changed: &mut Changed) {
        let Ok(event) = event else {
            changed.is_everything = true;
            return;
        };
        changed.is_everything |= event.need_rescan();
        // Who has gone is neither a file nor a folder any more.
        let may_be_gone = match event.kind {
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => return,
            EventKind::Remove(_) => true,
            EventKind::Modify(ModifyKind::Name(mode)) => mode != RenameMode::To,
            _ => false,
        };
        for path in event.paths {
            if is_ignored(&path) {
                continue;
            }
            if may_be_gone && self.roots.contains_key(&path) {
                self.lose(&path);
            }
            // A link to a folder is not followed: what it leads to may be looked at already.
            if path.is_symlink() {
                changed.note(path, true);
            } else if path.is_dir() {
                // What is in a folder that is new here has changed with it.
                let is_new = matches!(
                    event.kind,
                    EventKind::Create(_) | EventKind::Modify(ModifyKind::Name(_))
                );
                if is_new && self.add(&path, changed).is_err() {
                    changed.is_everything = true;
                }
            } else {
                changed.note(path, may_be_gone);
            }
        }
    }

    /// Looks at a folder and those in it, and notes the files that are there.
    fn add(&mut self, folder: &Path, changed: &mut Changed) -> Result<(), String> {
        let mut left = vec![folder.to_owned()];
        while let Some(folder) = left.pop() {
            if self.watched.len() >= FOLDERS_MAX {
                self.watched.retain(|known| known.is_dir());
            }
            self.watched.insert(folder.clone());
            if self.watched.len() > FOLDERS_MAX {
                return Err(format!("there are more than {FOLDERS_MAX} folders in it"));
            }
            let watched = self.watcher.watch(&folder, RecursiveMode::NonRecursive);
            watched.map_err(|error| error.to_string())?;
            // It may be gone again.
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                // Links may lead round in circles.
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_ignored(&path) {
                    continue;
                }
                match is_folder {
                    true => left.push(path),
                    false => changed.note(path, false),
                }
            }
        }
        Ok(())
    }
}

impl Changed {
    fn note(&mut self, path: PathBuf, may_be_folder: bool) {
        if self.paths.len() >= CHANGES_MAX {
            self.is_everything = true;
        } else {
            *self.paths.entry(path).or_default() |= may_be_folder;
        }
    }
}

fn taken_by(
    sender: SyncSender<notify::Result<Event>>,
    is_lost: Arc<AtomicBool>,
) -> impl FnMut(notify::Result<Event>) {
    move |event| {
        // Reading a file changes nothing, and there is a lot of that.
        if event.as_ref().is_ok_and(|event| event.kind.is_access()) {
            return;
        }
        if let Err(TrySendError::Full(_)) = sender.try_send(event) {
            is_lost.store(true, Ordering::Release);
        }
    }
}

/// What no server serves, or only while an editor saves.
fn is_ignored(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    matches!(name, "node_modules" | ".git" | ".hg" | ".svn")
        || name.ends_with('~')
        || [".swp", ".swx", ".tmp"].iter().any(|end| name.ends_with(end))
}
