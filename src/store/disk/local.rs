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
/// How Linux calls the file system that is in memory.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

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

struct LocalFile {
    file: fs::File,
    /// In a file system that has nothing but memory: no read waits for a device.
    is_in_memory: bool,
}

impl LocalFile {
    fn opened(file: fs::File) -> Arc<dyn File> {
        let is_in_memory = rustix::fs::fstatfs(&file).is_ok_and(|about| about.f_type == TMPFS);
        Arc::new(Self { file, is_in_memory })
    }
}

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
    Ok(LocalFile::opened(fs::File::options().read(true).custom_flags(flags).open(path)?))
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
            return Ok(LocalFile::opened(file));
        }
        let made = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can; there, a full device is noticed when it is written to.
            Err(Errno::OPNOTSUPP) => file.set_len(bytes),
            made => made.map_err(io::Error::from),
        };
        match made {
            Ok(()) => Ok(LocalFile::opened(file)),
            Err(error) => {
                // What could be set aside is given back; the name must be free for another try.
                fs::remove_file(&path)?;
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = fs::File::options().read(true).write(true).open(self.path.join(name))?;
        Ok(LocalFile::opened(file))
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
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], at + done as u64) {
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
        match rustix::io::preadv2(&self.file, &mut parts, at, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP) if self.is_in_memory => self.read(buf, at),
            // The file system cannot tell.
            Err(Errno::OPNOTSUPP) => Err(ErrorKind::WouldBlock.into()),
            read => Ok(read?),
        }
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_memory_is_read_at_once() {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let folder = LocalFolder::new(folder.path());
        folder.claim().expect("claimed");
        let file = folder.create("file", 8).expect("made");
        file.write(b"contents", 0).expect("written");
        let mut seen = [0; 4];
        assert_eq!(file.read_now(&mut seen, 3).expect("read"), 4);
        assert_eq!(&seen, b"tent");
    }
}
