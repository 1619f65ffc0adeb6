//! The content of a file in memory: sparse, and cheap to copy as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What a device writes as a whole or not at all.
pub(crate) const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

/// Bytes of a file. What was never written is zeros.
#[derive(Clone, Default)]
pub(crate) struct Content {
    bytes: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE as usize]>>,
}

impl Content {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn read(&self, buf: &mut [u8], at: u64) -> usize {
        let wanted = self.bytes.saturating_sub(at).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < wanted {
            let (page, from) = place(at + done as u64);
            let piece = (wanted - done).min(PAGE as usize - from);
            match self.pages.get(&page) {
                Some(page) => {
                    buf[done..done + piece].copy_from_slice(&page[from..from + piece]);
                }
                None => buf[done..done + piece].fill(0),
            }
            done += piece;
        }
        wanted
    }

    /// Everything.
    pub(crate) fn all(&self) -> Vec<u8> {
        let mut all = vec![0; self.bytes as usize];
        self.read(&mut all, 0);
        all
    }

    pub(crate) fn write(&mut self, bytes: &[u8], at: u64) {
        self.put(bytes, at);
        self.bytes = self.bytes.max(at + bytes.len() as u64);
    }

    pub(crate) fn set_bytes(&mut self, bytes: u64) {
        if bytes < self.bytes {
            let (last, from) = place(bytes);
            self.pages.split_off(&(last + 1));
            if let Some(page) = self.pages.get_mut(&last) {
                Arc::make_mut(page)[from..].fill(0);
            }
        }
        self.bytes = bytes;
    }

    /// A length that reached the device without the sectors below and above it.
    pub(crate) fn set_length_only(&mut self, bytes: u64) {
        self.bytes = bytes;
    }

    /// Takes a sector over as another copy of the file has it.
    pub(crate) fn copy_sector(&mut self, from: &Self, sector: u64) {
        let (page, at) = place(sector * SECTOR);
        let end = at + SECTOR as usize;
        let there = from.pages.get(&page);
        if there.is_none() && !self.pages.contains_key(&page) {
            return;
        }
        let own = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE as usize]));
        match there {
            Some(there) if Arc::ptr_eq(there, own) => {}
            Some(there) => Arc::make_mut(own)[at..end].copy_from_slice(&there[at..end]),
            None => Arc::make_mut(own)[at..end].fill(0),
        }
    }

    fn put(&mut self, bytes: &[u8], at: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, from) = place(at + done as u64);
            let piece = (bytes.len() - done).min(PAGE as usize - from);
            let page = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[from..from + piece].copy_from_slice(&bytes[done..done + piece]);
            done += piece;
        }
    }
}

fn place(at: u64) -> (u64, usize) {
    (at / PAGE, (at % PAGE) as usize)
}
