//! The peer: a file for each object, in folders of folders by the hash of the key, written under
//! another name and renamed, read by opening it. The file holds key and head, too, and the key is
//! compared. Files are opened and read in place, on the runtime's own threads, which is the fastest
//! way while everything is in the page cache. No checksums, no limit, nothing is evicted.

use crate::store::{self, PIECE_BYTES, Size, Store};
use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone)]
pub(crate) struct FilePerObject {
    root: Arc<Path>,
    written: Arc<AtomicU64>,
}

/// Length of the key and of the head, before both.
const LENGTHS_BYTES: usize = 8;

impl FilePerObject {
    /// All folders are made before anything is measured.
    pub(crate) fn new(root: &Path) -> Self {
        for first in 0..256 {
            for second in 0..256 {
                let folder = root.join(format!("{first:02x}/{second:02x}"));
                fs::create_dir_all(folder).expect("a folder");
            }
        }
        fs::create_dir_all(root.join("new")).expect("a folder");
        Self { root: root.into(), written: Arc::default() }
    }

    fn path(&self, key: &[u8]) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        let name = format!("{:016x}", hasher.finish());
        self.root.join(format!("{}/{}/{name}", &name[..2], &name[2..4]))
    }

    fn put(&self, key: &[u8], body: &[u8]) -> io::Result<()> {
        let head = store::head();
        let mut front = Vec::with_capacity(LENGTHS_BYTES + key.len() + head.len() + body.len());
        for length in [key.len(), head.len()] {
            front.extend_from_slice(&u32::try_from(length).expect("short").to_le_bytes());
        }
        front.extend_from_slice(key);
        front.extend_from_slice(&head);
        front.extend_from_slice(body);
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let new = self.root.join(format!("new/{number}"));
        File::create_new(&new)?.write_all(&front)?;
        fs::rename(new, self.path(key))
    }

    fn open(&self, key: &[u8]) -> io::Result<(File, usize)> {
        let file = File::open(self.path(key))?;
        let bytes = file.metadata()?.len();
        Ok((file, usize::try_from(bytes).expect("fits")))
    }
}

/// What follows key and head, if the key is this one.
fn body_of<'a>(file: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let length = |at| -> Option<usize> {
        let bytes: [u8; 4] = file.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (key_bytes, head_bytes) = (length(0)?, length(4)?);
    let rest = file.get(LENGTHS_BYTES..)?;
    (rest.get(..key_bytes)? == key).then_some(rest.get(key_bytes + head_bytes..)?)
}

impl Store for FilePerObject {
    async fn read(&self, size: Size, number: u64) -> bool {
        let key = size.key(number);
        let Ok((mut file, mut left)) = self.open(&key) else { return false };
        let mut read = 0;
        let mut is_right = false;
        while left > 0 {
            let mut piece = vec![0; left.min(PIECE_BYTES)];
            if file.read_exact(&mut piece).is_err() {
                return false;
            }
            left -= piece.len();
            let body = if read == 0 { body_of(&piece, &key) } else { Some(&piece[..]) };
            let Some(body) = body else { return false };
            is_right |= read == 0 && store::is_of(body, number);
            read += body.len();
        }
        is_right && read == size.bytes()
    }

    async fn write(&self, size: Size, number: u64) {
        self.put(&size.key(number), &size.body(number)).expect("written");
    }

    async fn settled(&self) {}
}

/// What such a store has to do at its start to know what it has: names, and lengths for a limit in
/// bytes.
pub(crate) fn walk(root: &Path) -> io::Result<HashMap<u64, u32>> {
    let mut found = HashMap::new();
    for first in fs::read_dir(root)? {
        for second in fs::read_dir(first?.path())? {
            let second = second?;
            if !second.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(second.path())? {
                let file = file?;
                let name = file.file_name();
                let Ok(hash) = u64::from_str_radix(&name.to_string_lossy(), 16) else { continue };
                let bytes = u32::try_from(file.metadata()?.len()).unwrap_or(u32::MAX);
                found.insert(hash, bytes);
            }
        }
    }
    Ok(found)
}
