//! What is left in the folder after the process died, or the machine lost power, between any two of
//! the recorded changes or within one.
//!
//! - Process death keeps every byte that was written, and of the write that was under way the
//!   beginning, up to any byte.
//! - Power loss keeps what a successful sync covers: contents by the file's sync, names by the
//!   folder's, each from when it began. Of everything else, each sector of 512 bytes, each length
//!   and each change of names may have reached the device or not, in any order; a sync that failed
//!   has lost what it was to write, and later ones do not make up for that.

use crate::content::{Content, SECTOR};
use crate::faulty_folder::{Event, FaultyFolder, Inode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ProcessDeath,
    PowerLoss,
}

/// The folder as it was after some of the changes.
pub(crate) struct Replay {
    events: Arc<[Event]>,
    at: usize,
    now: BTreeMap<String, Inode>,
    files: BTreeMap<Inode, Node>,
    durable_names: BTreeMap<String, Inode>,
    /// Names that changed and may not have reached the device, those of one change together.
    loose: Vec<Group>,
    syncing_names: Vec<(Vec<Group>, BTreeMap<String, Inode>)>,
    random: fastrand::Rng,
    /// Of 256, how many unsynced changes reach the device by themselves at once.
    writeback: u8,
}

/// Names that one change changed.
type Group = Vec<String>;

#[derive(Default)]
struct Node {
    now: Content,
    durable: Content,
    dirty: BTreeSet<u64>,
    is_length_loose: bool,
    syncing: Vec<Syncing>,
}

struct Syncing {
    then: Content,
    dirty: BTreeSet<u64>,
    is_length_loose: bool,
}

impl Replay {
    /// From an empty folder, or from what was in it when recording began.
    pub(crate) fn new(events: &Arc<[Event]>, before: &[(String, Content)], seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let writeback = random.choice([0, 16, 128, 240]).unwrap_or(0);
        let mut replay = Self {
            events: Arc::clone(events),
            at: 0,
            now: BTreeMap::new(),
            files: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            loose: Vec::new(),
            syncing_names: Vec::new(),
            random,
            writeback,
        };
        for (inode, (name, content)) in before.iter().enumerate() {
            replay.now.insert(name.clone(), inode);
            let node = Node { now: content.clone(), durable: content.clone(), ..Node::default() };
            replay.files.insert(inode, node);
        }
        replay.durable_names = replay.now.clone();
        replay
    }

    /// Goes on until so many changes were made.
    pub(crate) fn advance_to(&mut self, cut: usize) {
        assert!(cut >= self.at && cut <= self.events.len());
        let events = Arc::clone(&self.events);
        for event in &events[self.at..cut] {
            self.apply(event);
        }
        self.at = cut;
    }

    /// What a crash leaves now. With `is_torn`, the next change is under way.
    pub(crate) fn image(&mut self, kind: Kind, is_torn: bool) -> FaultyFolder {
        match kind {
            Kind::ProcessDeath => self.after_process_death(is_torn),
            Kind::PowerLoss => self.after_power_loss(),
        }
    }

    fn after_process_death(&mut self, is_torn: bool) -> FaultyFolder {
        let torn = match self.events.get(self.at) {
            Some(Event::Write { inode, at, bytes }) if is_torn => {
                let kept = self.random.usize(..=bytes.len());
                Some((*inode, *at, bytes.slice(..kept)))
            }
            _ => None,
        };
        FaultyFolder::with(self.now.iter().map(|(name, inode)| {
            let mut content = self.files[inode].now.clone();
            if let Some((_, at, bytes)) = torn.as_ref().filter(|torn| torn.0 == *inode) {
                content.write(bytes, *at);
            }
            (name.clone(), content)
        }))
    }

    fn after_power_loss(&mut self) -> FaultyFolder {
        let kept = self.random.choice([0_u8, 32, 128, 224, 255]).unwrap_or(0);
        let mut names = self.durable_names.clone();
        for group in &self.loose {
            if self.random.u8(..) < kept {
                take_names(&mut names, &self.now, group);
            }
        }
        for (groups, then) in &self.syncing_names {
            for group in groups {
                if self.random.u8(..) < kept {
                    take_names(&mut names, then, group);
                }
            }
        }
        let random = &mut self.random;
        let files = &self.files;
        let image = |(name, inode): (String, Inode)| {
            let node = &files[&inode];
            let mut content = node.durable.clone();
            let syncing = node.syncing.iter().map(|s| (&s.then, &s.dirty, s.is_length_loose));
            let all = syncing.chain([(&node.now, &node.dirty, node.is_length_loose)]);
            for (then, dirty, is_length_loose) in all {
                for sector in dirty {
                    if random.u8(..) < kept {
                        content.copy_sector(then, *sector);
                    }
                }
                if is_length_loose && random.u8(..) < kept {
                    content.set_length_only(then.bytes());
                }
            }
            // What lies above the length is not in the file, and is zeros when it grows again.
            let bytes = content.bytes();
            content.set_length_only(u64::MAX);
            content.set_bytes(bytes);
            (name, content)
        };
        FaultyFolder::with(names.into_iter().map(image).collect::<Vec<_>>())
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Create { inode, name, bytes } => {
                let mut node = Node { is_length_loose: true, ..Node::default() };
                node.now.set_bytes(*bytes);
                self.files.insert(*inode, node);
                self.now.insert(name.clone(), *inode);
                self.loosen_names(vec![name.clone()]);
            }
            Event::Write { inode, at, bytes } => {
                let node = self.files.get_mut(inode).expect("created");
                node.is_length_loose |= at + bytes.len() as u64 > node.durable.bytes();
                node.now.write(bytes, *at);
                let end = (at + bytes.len() as u64).div_ceil(SECTOR);
                node.dirty.extend(at / SECTOR..end);
                write_back(node, at / SECTOR..end, &mut self.random, self.writeback);
            }
            Event::SetBytes { inode, bytes } => {
                let node = self.files.get_mut(inode).expect("created");
                node.is_length_loose = true;
                let (from, to) = (node.now.bytes().min(*bytes), node.now.bytes());
                node.now.set_bytes(*bytes);
                // Cut off and made longer again, it must not show what it had.
                node.dirty.extend(from / SECTOR..to.div_ceil(SECTOR).max(from / SECTOR));
                write_back(node, 0..0, &mut self.random, self.writeback);
            }
            Event::Rename { from, to } => {
                let inode = self.now.remove(from).expect("there");
                self.now.insert(to.clone(), inode);
                self.loosen_names(vec![from.clone(), to.clone()]);
            }
            Event::Remove { name } => {
                self.now.remove(name);
                self.loosen_names(vec![name.clone()]);
            }
            Event::SyncFileBegins { inode } => {
                let node = self.files.get_mut(inode).expect("created");
                let syncing = Syncing {
                    then: node.now.clone(),
                    dirty: std::mem::take(&mut node.dirty),
                    is_length_loose: std::mem::take(&mut node.is_length_loose),
                };
                node.syncing.push(syncing);
            }
            Event::SyncFileEnds { inode, is_good } => {
                let node = self.files.get_mut(inode).expect("created");
                let syncing = node.syncing.remove(0);
                if *is_good {
                    for sector in &syncing.dirty {
                        node.durable.copy_sector(&syncing.then, *sector);
                    }
                    if syncing.is_length_loose {
                        node.durable.set_length_only(syncing.then.bytes());
                    }
                }
            }
            Event::SyncFolderBegins => {
                let groups = std::mem::take(&mut self.loose);
                self.syncing_names.push((groups, self.now.clone()));
            }
            Event::SyncFolderEnds { is_good } => {
                let (groups, then) = self.syncing_names.remove(0);
                for group in groups.iter().filter(|_| *is_good) {
                    take_names(&mut self.durable_names, &then, group);
                }
            }
        }
    }

    fn loosen_names(&mut self, group: Group) {
        if self.random.u8(..) < self.writeback {
            take_names(&mut self.durable_names, &self.now, &group);
        } else {
            self.loose.push(group);
        }
    }
}

fn take_names(
    into: &mut BTreeMap<String, Inode>,
    from: &BTreeMap<String, Inode>,
    group: &[String],
) {
    for name in group {
        match from.get(name) {
            Some(inode) => into.insert(name.clone(), *inode),
            None => into.remove(name),
        };
    }
}

/// Not while a sync runs: it would write an older state over what was written back.
fn write_back(
    node: &mut Node,
    sectors: std::ops::Range<u64>,
    random: &mut fastrand::Rng,
    writeback: u8,
) {
    if !node.syncing.is_empty() {
        return;
    }
    for sector in sectors {
        if random.u8(..) < writeback {
            node.durable.copy_sector(&node.now, sector);
            node.dirty.remove(&sector);
        }
    }
    if node.is_length_loose && random.u8(..) < writeback {
        node.durable.set_length_only(node.now.bytes());
        node.is_length_loose = false;
    }
}
