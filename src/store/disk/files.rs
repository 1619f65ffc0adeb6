//! The files below the disk tier, as little of a file system as it needs, so that tests can put
//! one in its place that loses what was not made durable, or fails.

use std::io;
use std::sync::Arc;

/// The folder that the tier keeps its files in. There are no folders in it.
pub trait Folder: Send + Sync + 'static {
    /// Makes the folder if it is not there and claims it for this process, until `release` or the
    /// end of the process. `ErrorKind::ResourceBusy`: another process has it.
    fn claim(&self) -> io::Result<()>;

    /// Gives the claim back.
    fn release(&self);

    /// Whether what was claimed is still what is found at the folder's path.
    fn is_in_place(&self) -> bool;

    /// Names of all files.
    fn names(&self) -> io::Result<Vec<String>>;

    /// A new file with room for so many bytes set aside on the device. There must be none of this
    /// name.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn File>>;

    /// A file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name; a file that has it is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a name away. Who has the file open can go on to read it.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable: what was created, renamed and removed before.
    fn sync(&self) -> io::Result<()>;
}

/// A file.
pub trait File: Send + Sync + 'static {
    /// Its length.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads, and waits for the device if it has to. Less than asked for only at the end.
    fn read(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Reads what needs no waiting; less than asked for, or `ErrorKind::WouldBlock`, where the rest
    /// would.
    fn read_now(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all of it.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Cuts it, or makes it longer.
    fn set_bytes(&self, bytes: u64) -> io::Result<()>;

    /// Makes its content durable.
    fn sync(&self) -> io::Result<()>;
}
