//! A folder in memory that fails as devices do, and remembers every change, so that `crash` can tell
//! what a crash after any of them leaves.
//!
//! Faults that it injects, one by one or together:
//!
//! | fault | by |
//! |---|---|
//! | an error number (EIO, ENOSPC, EROFS, EACCES, ...) of any operation on files of a prefix | `fail` |
//! | no room: allocated lengths together are more than the device has | `set_device_bytes` |
//! | read-only: everything that changes something | `make_read_only` |
//! | another process has the folder | `claim`, by the test |
//! | the folder was removed | `vanish` |
//! | the folder was moved away: what is open works on, but nobody finds it | `move_away` |
//! | an operation that does not come back until it is let go | `hold` |
//! | a bug on the way: an operation that panics | `panic_at` |
//! | short reads, in the middle of a file | `cut_reads_short` |
//! | reads that would have to wait for the device (`read_now`) | `make_reads_wait` |
//! | bits that changed, other bytes than were written, foreign files | `flip`, `overwrite`, `put_file` |
//!
//! Not injected: a device that reorders a write after a sync that had succeeded, or that writes half
//! a sector (process death cuts at any byte; power loss at sectors of 512 bytes).

mod tests;

use crate::content::Content;
use brim::store::disk::files::{File, Folder};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) const EIO: i32 = 5;
/// Without waiting it cannot be done.
pub(crate) const EAGAIN: i32 = 11;
pub(crate) const EACCES: i32 = 13;
pub(crate) const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// An operation of the traits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Claim,
    Names,
    Create,
    Open,
    Read,
    ReadNow,
    Write,
    SetBytes,
    Rename,
    Remove,
    SyncFile,
    SyncFolder,
}

impl Op {
    /// Those that a read-only file system refuses.
    const CHANGING: &[Self] = &[
        Self::Claim,
        Self::Create,
        Self::Write,
        Self::SetBytes,
        Self::Rename,
        Self::Remove,
        Self::SyncFile,
        Self::SyncFolder,
    ];
}

pub(crate) type Inode = usize;

/// A change, in the order in which they came to pass. Failed operations changed nothing, but a sync
/// that failed may have lost what it was to make durable.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Create { inode: Inode, name: String, bytes: u64 },
    Write { inode: Inode, at: u64, bytes: Bytes },
    SetBytes { inode: Inode, bytes: u64 },
    Rename { from: String, to: String },
    Remove { name: String },
    SyncFileBegins { inode: Inode },
    SyncFileEnds { inode: Inode, is_good: bool },
    SyncFolderBegins,
    SyncFolderEnds { is_good: bool },
}

/// The folder. Clones are the same folder.
#[derive(Clone, Default)]
pub(crate) struct FaultyFolder(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Operations that were made to fail.
    failed: AtomicUsize,
}

#[derive(Default)]
struct State {
    names: BTreeMap<String, Inode>,
    inodes: Vec<Node>,
    is_claimed: bool,
    is_gone: bool,
    is_away: bool,
    events: Option<Vec<Event>>,
    rules: Vec<Rule>,
    device_bytes: Option<u64>,
    bytes_max: u64,
    reads_short: Option<fastrand::Rng>,
    reads_wait: Option<fastrand::Rng>,
}

#[derive(Default)]
struct Node {
    content: Content,
    /// Names and handles: without any, nobody can see the content any more.
    users: usize,
}

struct Rule {
    ops: &'static [Op],
    prefix: String,
    what: What,
}

#[derive(Clone)]
enum What {
    Error(i32),
    Hold(Arc<Gate>),
    Panic,
}

/// Operations that wait until they are let go.
#[derive(Default)]
pub(crate) struct Gate {
    /// How many wait, and whether they may go.
    state: Mutex<(usize, bool)>,
    changed: Condvar,
    /// While one waits, the others pass.
    is_for_one: bool,
}

impl Gate {
    /// Waits until so many operations wait here.
    pub(crate) fn wait_for(&self, waiting: usize) {
        let deadline = Instant::now() + crate::kit::PATIENCE;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 < waiting {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO, "{waiting} operations should have come here");
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether an operation waits here.
    pub(crate) fn is_waited_at(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 > 0
    }

    /// Lets all go, also those that come later.
    pub(crate) fn let_go(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_for_one && state.0 > 0 {
            return;
        }
        state.0 += 1;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.0 -= 1;
    }
}

/// A test that fails must not leave threads behind that wait for ever.
pub(crate) struct Held(Arc<Gate>);

impl std::ops::Deref for Held {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl FaultyFolder {
    /// A folder with these files, none of which was changed since it was made durable.
    pub(crate) fn with(files: impl IntoIterator<Item = (String, Content)>) -> Self {
        let folder = Self::default();
        {
            let mut state = folder.lock();
            for (name, content) in files {
                let inode = state.inodes.len();
                state.inodes.push(Node { content, users: 1 });
                state.names.insert(name, inode);
            }
            state.bytes_max = state.file_bytes();
        }
        folder
    }

    /// A folder with the same content, that nobody has claimed: what a process leaves that ends now.
    pub(crate) fn copy(&self) -> Self {
        Self::with(self.files())
    }

    /// All files as they are now.
    pub(crate) fn files(&self) -> Vec<(String, Content)> {
        let state = self.lock();
        let file =
            |(name, inode): (&String, &Inode)| (name.clone(), state.inodes[*inode].content.clone());
        state.names.iter().map(file).collect()
    }

    /// Remembers all changes from now on.
    pub(crate) fn record(&self) {
        self.lock().events = Some(Vec::new());
    }

    /// How many changes there were. A change that is made after this call has at least this number.
    pub(crate) fn position(&self) -> usize {
        self.lock().events.as_ref().map_or(0, Vec::len)
    }

    /// The changes.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.lock().events.clone().unwrap_or_default()
    }

    /// Has operations on files whose names begin so fail, until `heal`.
    pub(crate) fn fail(&self, ops: &'static [Op], prefix: &str, errno: i32) {
        let what = What::Error(errno);
        self.lock().rules.push(Rule { ops, prefix: prefix.into(), what });
    }

    /// Has operations on files whose names begin so panic, as a bug would, until `heal`.
    pub(crate) fn panic_at(&self, ops: &'static [Op], prefix: &str) {
        self.lock().rules.push(Rule { ops, prefix: prefix.into(), what: What::Panic });
    }

    pub(crate) fn make_read_only(&self) {
        self.fail(Op::CHANGING, "", EROFS);
    }

    /// Has operations on files whose names begin so wait, until they are let go.
    pub(crate) fn hold(&self, ops: &'static [Op], prefix: &str) -> Held {
        self.hold_at(Gate::default(), ops, prefix)
    }

    /// The same for one of them, while the others go on.
    pub(crate) fn hold_one(&self, ops: &'static [Op], prefix: &str) -> Held {
        self.hold_at(Gate { is_for_one: true, ..Gate::default() }, ops, prefix)
    }

    fn hold_at(&self, gate: Gate, ops: &'static [Op], prefix: &str) -> Held {
        let gate = Arc::new(gate);
        let what = What::Hold(Arc::clone(&gate));
        self.lock().rules.push(Rule { ops, prefix: prefix.into(), what });
        Held(gate)
    }

    /// No more faults.
    pub(crate) fn heal(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.device_bytes = None;
        state.reads_short = None;
        state.reads_wait = None;
    }

    /// How many operations were made to fail.
    pub(crate) fn failed(&self) -> usize {
        self.0.failed.load(Ordering::SeqCst)
    }

    /// The room that all files together have.
    pub(crate) fn set_device_bytes(&self, bytes: u64) {
        self.lock().device_bytes = Some(bytes);
    }

    /// Has reads end early, by a seeded choice.
    pub(crate) fn cut_reads_short(&self, seed: u64) {
        self.lock().reads_short = Some(fastrand::Rng::with_seed(seed));
    }

    /// Has `read_now` give nothing, or less than was asked for, by a seeded choice.
    pub(crate) fn make_reads_wait(&self, seed: u64) {
        self.lock().reads_wait = Some(fastrand::Rng::with_seed(seed));
    }

    /// The folder is removed with all that is in it.
    pub(crate) fn vanish(&self) {
        let mut state = self.lock();
        state.forget_names();
        state.is_gone = true;
        state.is_claimed = false;
    }

    /// The folder gets another name: what is open and claimed stays usable.
    pub(crate) fn move_away(&self) {
        let mut state = self.lock();
        state.is_away = true;
        state.is_claimed = false;
    }

    /// Of all files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.lock().file_bytes()
    }

    /// The most that all files together ever had.
    pub(crate) fn file_bytes_max(&self) -> u64 {
        self.lock().bytes_max
    }

    /// The most from now on.
    pub(crate) fn measure_anew(&self) {
        let mut state = self.lock();
        state.bytes_max = state.file_bytes();
    }

    pub(crate) fn file_names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// What is in a file.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        self.content_if_any(name).unwrap_or_else(|| panic!("no {name}"))
    }

    fn content_if_any(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        state.names.get(name).map(|inode| state.inodes[*inode].content.all())
    }

    /// Changes bytes in a file, unseen.
    pub(crate) fn overwrite(&self, name: &str, at: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let inode = *state.names.get(name).unwrap_or_else(|| panic!("no {name}"));
        state.inodes[inode].content.write(bytes, at);
    }

    /// Changes a bit in a file, unseen.
    pub(crate) fn flip(&self, name: &str, at: u64) {
        let mut state = self.lock();
        let inode = *state.names.get(name).unwrap_or_else(|| panic!("no {name}"));
        let mut byte = [0];
        assert_eq!(state.inodes[inode].content.read(&mut byte, at), 1, "{name} is shorter");
        state.inodes[inode].content.write(&[byte[0] ^ 0x10], at);
    }

    /// Cuts a file, unseen.
    pub(crate) fn cut(&self, name: &str, bytes: u64) {
        let mut state = self.lock();
        let inode = *state.names.get(name).unwrap_or_else(|| panic!("no {name}"));
        state.inodes[inode].content.set_bytes(bytes);
    }

    /// Puts a file there, unseen.
    pub(crate) fn put_file(&self, name: &str, bytes: &[u8]) {
        let mut content = Content::default();
        content.write(bytes, 0);
        let mut state = self.lock();
        let inode = state.inodes.len();
        state.inodes.push(Node { content, users: 1 });
        state.forget_name(name);
        state.names.insert(name.into(), inode);
    }

    /// Takes a file away, unseen.
    pub(crate) fn lose(&self, name: &str) {
        self.lock().forget_name(name);
    }

    /// Where these bytes lie: the name of the file and the offset in it.
    pub(crate) fn find(&self, wanted: &[u8]) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        for name in self.file_names() {
            let content = self.content_if_any(&name).unwrap_or_default();
            let places = memchr::memmem::find_iter(&content, wanted);
            found.extend(places.map(|at| (name.clone(), at as u64)));
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails or waits where a rule says so.
    fn enter(&self, op: Op, name: &str) -> io::Result<()> {
        let what = {
            let state = self.lock();
            let meets = |rule: &&Rule| rule.ops.contains(&op) && name.starts_with(&rule.prefix);
            state.rules.iter().find(meets).map(|rule| rule.what.clone())
        };
        match what {
            None => Ok(()),
            Some(What::Error(errno)) => {
                self.failed.fetch_add(1, Ordering::SeqCst);
                Err(io::Error::from_raw_os_error(errno))
            }
            Some(What::Hold(gate)) => {
                gate.pass();
                Ok(())
            }
            Some(What::Panic) => panic!("a bug, on purpose"),
        }
    }

    fn with_folder<R>(&self, act: impl FnOnce(&mut State) -> io::Result<R>) -> io::Result<R> {
        let mut state = self.lock();
        if state.is_gone {
            return Err(ErrorKind::NotFound.into());
        }
        act(&mut state)
    }
}

impl State {
    fn note(&mut self, event: impl FnOnce() -> Event) {
        if let Some(events) = &mut self.events {
            events.push(event());
        }
    }

    fn file_bytes(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].content.bytes()).sum()
    }

    /// Whether the files may have so many bytes more.
    fn has_room(&mut self, more: u64) -> io::Result<()> {
        match self.device_bytes {
            Some(bytes) if self.file_bytes() + more > bytes => {
                Err(io::Error::from_raw_os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }

    fn measure(&mut self) {
        self.bytes_max = self.bytes_max.max(self.file_bytes());
    }

    fn inode(&self, name: &str) -> io::Result<Inode> {
        self.names.get(name).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn release(&mut self, inode: Inode) {
        let node = &mut self.inodes[inode];
        node.users -= 1;
        if node.users == 0 {
            node.content = Content::default();
        }
    }

    fn forget_name(&mut self, name: &str) {
        if let Some(inode) = self.names.remove(name) {
            self.release(inode);
        }
    }

    fn forget_names(&mut self) {
        let names: Vec<_> = self.names.keys().cloned().collect();
        names.iter().for_each(|name| self.forget_name(name));
    }
}

impl Folder for FaultyFolder {
    fn claim(&self) -> io::Result<()> {
        self.0.enter(Op::Claim, "")?;
        let mut state = self.lock();
        if state.is_claimed {
            return Err(ErrorKind::ResourceBusy.into());
        }
        if state.is_away {
            state.forget_names();
        }
        state.is_away = false;
        state.is_gone = false;
        state.is_claimed = true;
        Ok(())
    }

    fn release(&self) {
        self.lock().is_claimed = false;
    }

    fn is_in_place(&self) -> bool {
        let state = self.lock();
        state.is_claimed && !state.is_gone && !state.is_away
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.0.enter(Op::Names, "")?;
        self.0.with_folder(|state| Ok(state.names.keys().cloned().collect()))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        self.0.enter(Op::Create, name)?;
        self.0.with_folder(|state| {
            if state.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            state.has_room(bytes)?;
            let inode = state.inodes.len();
            let mut node = Node { content: Content::default(), users: 2 };
            node.content.set_bytes(bytes);
            state.inodes.push(node);
            state.names.insert(name.into(), inode);
            state.note(|| Event::Create { inode, name: name.into(), bytes });
            state.measure();
            Ok(Arc::new(Handle { shared: Arc::clone(&self.0), inode, name: name.into() }) as _)
        })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.enter(Op::Open, name)?;
        self.0.with_folder(|state| {
            let inode = state.inode(name)?;
            state.inodes[inode].users += 1;
            Ok(Arc::new(Handle { shared: Arc::clone(&self.0), inode, name: name.into() }) as _)
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.enter(Op::Rename, from)?;
        self.0.with_folder(|state| {
            let inode = state.inode(from)?;
            state.names.remove(from);
            state.forget_name(to);
            state.names.insert(to.into(), inode);
            state.note(|| Event::Rename { from: from.into(), to: to.into() });
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.enter(Op::Remove, name)?;
        self.0.with_folder(|state| {
            state.inode(name)?;
            state.forget_name(name);
            state.note(|| Event::Remove { name: name.into() });
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.0.lock().note(|| Event::SyncFolderBegins);
        let entered = self.0.enter(Op::SyncFolder, "");
        let entered = entered.and_then(|()| self.0.with_folder(|_| Ok(())));
        self.0.lock().note(|| Event::SyncFolderEnds { is_good: entered.is_ok() });
        entered
    }
}

/// An open file.
struct Handle {
    shared: Arc<Shared>,
    inode: Inode,
    /// When it was opened, for the rules.
    name: String,
}

impl Handle {
    fn read_some(&self, buf: &mut [u8], at: u64) -> usize {
        let mut state = self.shared.lock();
        let mut bytes = buf.len();
        if let Some(random) = &mut state.reads_short
            && random.bool()
        {
            bytes = random.usize(..=bytes);
        }
        state.inodes[self.inode].content.read(&mut buf[..bytes], at)
    }
}

impl File for Handle {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.shared.lock().inodes[self.inode].content.bytes())
    }

    fn read(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.shared.enter(Op::Read, &self.name)?;
        Ok(self.read_some(buf, at))
    }

    fn read_now(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.shared.enter(Op::ReadNow, &self.name)?;
        let bytes = match &mut self.shared.lock().reads_wait {
            Some(random) => match random.bool() {
                true => return Err(ErrorKind::WouldBlock.into()),
                false => random.usize(..=buf.len()),
            },
            None => buf.len(),
        };
        Ok(self.read_some(&mut buf[..bytes], at))
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.shared.enter(Op::Write, &self.name)?;
        let mut state = self.shared.lock();
        let end = at + bytes.len() as u64;
        let more = end.saturating_sub(state.inodes[self.inode].content.bytes());
        state.has_room(more)?;
        let inode = self.inode;
        state.inodes[inode].content.write(bytes, at);
        state.note(|| Event::Write { inode, at, bytes: Bytes::copy_from_slice(bytes) });
        state.measure();
        Ok(())
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.shared.enter(Op::SetBytes, &self.name)?;
        let mut state = self.shared.lock();
        let more = bytes.saturating_sub(state.inodes[self.inode].content.bytes());
        state.has_room(more)?;
        let inode = self.inode;
        state.inodes[inode].content.set_bytes(bytes);
        state.note(|| Event::SetBytes { inode, bytes });
        state.measure();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let inode = self.inode;
        self.shared.lock().note(|| Event::SyncFileBegins { inode });
        let entered = self.shared.enter(Op::SyncFile, &self.name);
        let is_good = entered.is_ok();
        self.shared.lock().note(|| Event::SyncFileEnds { inode, is_good });
        entered
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.lock().release(self.inode);
    }
}
