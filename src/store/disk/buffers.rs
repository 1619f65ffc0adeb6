//! Buffers for blocks on their way from the device to clients, used again and again. One of this
//! size that is new comes from the system page by page, each of them zeroed first, and none is in
//! the processor's cache, where the one that was given back last still is.

use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Those that are kept when nobody uses them.
const FREE_MAX: usize = 32;

/// Buffers of one size that nobody uses at the moment, the last one used at the end.
pub(super) struct Buffers {
    bytes: usize,
    free: Mutex<Vec<Box<[u8]>>>,
}

/// Given back when nobody uses it any more.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    home: Arc<Buffers>,
}

impl Buffers {
    pub(super) fn of(bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes, free: Mutex::default() })
    }

    /// One that has what it had before in it.
    pub(super) fn take(self: &Arc<Self>) -> Buffer {
        let free = self.free().pop();
        let bytes = free.unwrap_or_else(|| vec![0; self.bytes].into_boxed_slice());
        Buffer { bytes, home: self.clone() }
    }

    /// Of each.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn free(&self) -> MutexGuard<'_, Vec<Box<[u8]>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// A part of it, and all of it stays away from home as long as that lives.
    pub(super) fn part(self, part: Range<usize>) -> Bytes {
        Bytes::from_owner(self).slice(part)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.home.free();
        if free.len() < FREE_MAX {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_used_again_and_no_more_than_so_many_are_kept() {
        let buffers = Buffers::of(8);
        let mut buffer = buffers.take();
        buffer.bytes_mut().copy_from_slice(b"whatever");
        let part = buffer.part(2..5);
        assert_eq!(&part[..], b"ate");
        assert_eq!(buffers.free().len(), 0);
        drop(part);
        assert_eq!(buffers.take().as_ref(), b"whatever");
        let many: Vec<_> = (0..2 * FREE_MAX).map(|_| buffers.take()).collect();
        assert_eq!(buffers.free().len(), 0);
        drop(many);
        assert_eq!(buffers.free().len(), FREE_MAX);
    }
}
