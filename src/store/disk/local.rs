//! A real folder.

use super::files::{File, Folder};
use rustix::fs::{FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::fs;
use std::io::{self, ErrorKind, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Who has a lock on this file has the folder.
const LOCK: &str = "lock";

/// A folder of the file system.
pub struct LocalFolder {
    path: PathBuf,
    claimed: Mutex<Option<Claim>>,
}

/// Both are kept open: their numbers cannot be given to other files, and closing gives back the
/// lock.
struct Claim {
    folder: fs::File,
    lock: fs::File,
}

struct LocalFile(fs::File);

impl LocalFolder {
    /// Touches nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), claimed: Mutex::new(None) }
    }

    fn claimed(&self) -> std::sync::MutexGuard<'_, Option<Claim>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a file that is only going to be read.
pub(super) fn open_for_reading(path: &Path) -> io::Result<Arc<dyn File>> {
    // A pipe of this name does not make anybody wait.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    Ok(Arc::new(LocalFile(fs::File::options().read(true).custom_flags(flags).open(path)?)))
}

impl Folder for LocalFolder {
    fn claim(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        let folder = fs::File::open(&self.path)?;
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
        let lock = fs::File::from(rustix::fs::openat(&folder, LOCK, flags, mode)?);
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            if error == Errno::WOULDBLOCK {
                io::Error::from(ErrorKind::ResourceBusy)
            } else {
                error.into()
            }
        })?;
        *self.claimed() = Some(Claim { folder, lock });
        Ok(())
    }

    fn release(&self) {
        *self.claimed() = None;
    }

    fn is_in_place(&self) -> bool {
        let is_same = |file: &fs::File, path: &Path| match (file.metadata(), fs::metadata(path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        };
        self.claimed().as_ref().is_some_and(|claim| {
            is_same(&claim.folder, &self.path) && is_same(&claim.lock, &self.path.join(LOCK))
        })
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let names =
            fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>> {
        let path = self.path.join(name);
        let file = fs::File::options().read(true).write(true).create_new(true).open(&path)?;
        if bytes == 0 {
            return Ok(Arc::new(LocalFile(file)));
        }
        let made = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can; there, a full device is noticed when it is written to.
            Err(Errno::OPNOTSUPP) => file.set_len(bytes),
            made => made.map_err(io::Error::from),
        };
        match made {
            Ok(()) => Ok(Arc::new(LocalFile(file))),
            Err(error) => {
                // What could be set aside is given back; the name must be free for another try.
                fs::remove_file(&path)?;
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::File::options().read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(LocalFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        match self.claimed().as_ref() {
            Some(claim) => claim.folder.sync_all(),
            None => Err(ErrorKind::NotFound.into()),
        }
    }
}

impl File for LocalFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_now(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut parts = [IoSliceMut::new(buf)];
        match rustix::io::preadv2(&self.0, &mut parts, at, ReadWriteFlags::NOWAIT) {
            // The file system cannot tell.
            Err(Errno::OPNOTSUPP) => Err(ErrorKind::WouldBlock.into()),
            read => Ok(read?),
        }
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
