//! A content on its way to the disk tier while it arrives, because memory cannot hold it. It is cut
//! into chunks; one that the disk is too slow for is left out, and is fetched again by whoever asks
//! for it.

use super::body::{Chunks, chunk_number};
use super::ledger::Claim;
use crate::store::disk::CHUNK_BYTES;
use bytes::Bytes;

/// Room that a spill needs in memory: the chunk that it collects, and the one behind it that
/// readers are at.
pub(super) const SPILL_BYTES: u64 = 2 * CHUNK_BYTES;

/// How often a chunk is tried.
const TRIES_MAX: usize = 8;

pub(super) struct Spill {
    chunks: Chunks,
    /// Where the next byte lies.
    at: u64,
    /// The chunk so far, if its beginning came.
    pieces: Option<Vec<Bytes>>,
    /// The last chunk found no room: the next ones do not wait for it.
    is_late: bool,
    _room: Claim,
}

impl Spill {
    /// Of a content that begins to come at `start`.
    pub(super) fn new(chunks: Chunks, start: u64, room: Claim) -> Self {
        Self { chunks, at: start, pieces: None, is_late: false, _room: room }
    }

    /// Takes what came next. Whether all of it has been or can be written.
    pub(super) async fn push(&mut self, mut data: Bytes) -> bool {
        let mut is_good = true;
        while !data.is_empty() {
            if self.at.is_multiple_of(CHUNK_BYTES) {
                self.pieces = Some(Vec::new());
            }
            let room = CHUNK_BYTES - self.at % CHUNK_BYTES;
            let now = data.split_to(data.len().min(room as usize));
            self.at += now.len() as u64;
            if let Some(pieces) = &mut self.pieces {
                pieces.push(now);
            }
            if self.at.is_multiple_of(CHUNK_BYTES) {
                is_good &= self.write().await;
            }
        }
        is_good
    }

    /// That was all of the content: the last chunk is a shorter one.
    pub(super) async fn finish(&mut self) {
        if !self.at.is_multiple_of(CHUNK_BYTES) {
            self.write().await;
        }
    }

    async fn write(&mut self) -> bool {
        let Some(pieces) = self.pieces.take() else { return false };
        let (disk, generation) = (self.chunks.disk(), self.chunks.generation());
        let number = chunk_number(self.at - 1);
        // Others may be faster to take the room that there was.
        for _ in 0..TRIES_MAX {
            self.is_late = self.is_late || !disk.has_room().await;
            if disk.put_chunk(generation, number, pieces.clone()) {
                self.is_late = false;
                return true;
            }
            if self.is_late {
                break;
            }
        }
        self.is_late = true;
        false
    }

    /// Up to where it has come.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn chunks(&self) -> &Chunks {
        &self.chunks
    }
}
