//! The purge log: its head and its entries.

use super::{Bad, NAME_BYTES_MAX, VERSION, check, put, u32_at, u64_at, versioned};
use crc32c::crc32c;

/// Of the purge log's head.
pub const LOG_HEAD_BYTES: usize = 16;
/// Of an entry of the purge log that names a key.
pub const LOG_KEY_BYTES: usize = LOG_ENTRY_HEAD_BYTES + 8;

const LOG_ENTRY_HEAD_BYTES: usize = 24;
const LOG_MAGIC: &[u8; 8] = b"BrimPurg";
const LOG_KIND_KEY: u8 = 1;
const LOG_KIND_ALL: u8 = 2;

/// The purge log's head.
pub fn encode_log_head() -> [u8; LOG_HEAD_BYTES] {
    let mut out = [0; LOG_HEAD_BYTES];
    put(&mut out, 0, LOG_MAGIC);
    put(&mut out, 8, &VERSION.to_le_bytes());
    let checksum = crc32c(&out[..12]);
    put(&mut out, 12, &checksum.to_le_bytes());
    out
}

/// Compares the purge log's head.
pub fn parse_log_head(bytes: &[u8]) -> Result<(), Bad> {
    versioned(bytes, LOG_MAGIC, LOG_HEAD_BYTES)?;
    check(bytes, 12, 0..12)
}

/// An entry of the purge log: what has a smaller sequence is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// Of what has this hash.
    Key {
        /// Of a key, or of a chunk's.
        hash: u64,
        /// When it was removed.
        sequence: u64,
    },
    /// Of everything. An entry of a kind that this version does not know is read as this, too: it
    /// may mean anything.
    All {
        /// When it was removed.
        sequence: u64,
    },
}

impl LogEntry {
    /// When it was removed.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Key { sequence, .. } | Self::All { sequence } => *sequence,
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, payload) = match self {
            Self::Key { hash, .. } => (LOG_KIND_KEY, &hash.to_le_bytes()[..]),
            Self::All { .. } => (LOG_KIND_ALL, &[][..]),
        };
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.sequence().to_le_bytes());
        out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(payload);
        let checksum = crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// Reads one from the front; also, how many bytes it took.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), Bad> {
        if bytes.len() < LOG_ENTRY_HEAD_BYTES {
            return Err(Bad::Short);
        }
        let payload_bytes = u32_at(bytes, 4) as usize;
        let kind = bytes[16];
        let is_length = match kind {
            LOG_KIND_KEY => payload_bytes == 8,
            LOG_KIND_ALL => payload_bytes == 0,
            _ => payload_bytes <= NAME_BYTES_MAX,
        };
        if kind == 0 || !is_length {
            return Err(Bad::Value);
        }
        let all = LOG_ENTRY_HEAD_BYTES + payload_bytes.next_multiple_of(8);
        if bytes.len() < all {
            return Err(Bad::Short);
        }
        check(bytes, 0, 4..all)?;
        let sequence = u64_at(bytes, 8);
        let entry = match kind {
            LOG_KIND_KEY => Self::Key { hash: u64_at(bytes, LOG_ENTRY_HEAD_BYTES), sequence },
            _ => Self::All { sequence },
        };
        Ok((entry, all))
    }
}
