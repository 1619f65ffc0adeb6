//! The purge log: its head and its entries.

use super::{Bad, NAME_BYTES_MAX, VERSION, check, put, u32_at, u64_at, versioned};
use crate::store::purges::{Rule, Scope};
use bytes::Bytes;
use crc_fast::crc32_iscsi as crc32c;
use std::time::{Duration, SystemTime};

/// Of the purge log's head.
pub const LOG_HEAD_BYTES: usize = 16;
/// Of an entry of the purge log that names a key.
pub const LOG_KEY_BYTES: usize = LOG_ENTRY_HEAD_BYTES + 8;

const LOG_ENTRY_HEAD_BYTES: usize = 24;
const LOG_MAGIC: &[u8; 8] = b"BrimPurg";
const LOG_KIND_KEY: u8 = 1;
const LOG_KIND_ALL: u8 = 2;
const LOG_KIND_PREFIX: u8 = 3;
const LOG_KIND_TAG: u8 = 4;
const LOG_KIND_NAME: u8 = 5;
const LOG_KIND_NOTE: u8 = 6;
/// Where in an entry the byte is that makes the parity of its head, from the length on, 0.
const HEAD_CHECK_AT: usize = 23;
/// What there is room for before it.
const MILLIS_MAX: u64 = (1 << 48) - 1;

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// Of what it is about, if it was asked for before.
    Rule(Rule),
    /// Of nothing: something to be found again after a restart.
    Note {
        /// When it was written down.
        sequence: u64,
        /// Opaque here.
        text: Bytes,
    },
}

impl LogEntry {
    /// When it was removed.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Key { sequence, .. }
            | Self::All { sequence }
            | Self::Rule(Rule { sequence, .. })
            | Self::Note { sequence, .. } => *sequence,
        }
    }

    /// Bytes of its name or note.
    pub fn text_bytes(&self) -> usize {
        match self {
            Self::Key { .. } | Self::All { .. } => 0,
            Self::Note { text, .. } => text.len(),
            Self::Rule(rule) => rule.scope.name().len(),
        }
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut since = 0_u64;
        let (kind, payload) = match self {
            Self::Key { hash, .. } => (LOG_KIND_KEY, &hash.to_le_bytes()[..]),
            Self::All { .. } => (LOG_KIND_ALL, &[][..]),
            Self::Note { text, .. } => (LOG_KIND_NOTE, &text[..]),
            Self::Rule(rule) => {
                since = rule.stale_since.map_or(0, millis);
                let kind = match rule.scope {
                    Scope::Prefix(_) => LOG_KIND_PREFIX,
                    Scope::Tag(_) => LOG_KIND_TAG,
                    Scope::Key(_) => LOG_KIND_NAME,
                };
                (kind, rule.scope.name())
            }
        };
        debug_assert!(payload.len() <= NAME_BYTES_MAX, "{} bytes", payload.len());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.sequence().to_le_bytes());
        out.extend_from_slice(&(since << 8 | u64::from(kind)).to_le_bytes());
        if has_head_check(kind) {
            out[start + HEAD_CHECK_AT] = parity(&out[start + 4..]);
        }
        out.extend_from_slice(payload);
        out.resize(start + (out.len() - start).next_multiple_of(8), 0);
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
        let is_head = !has_head_check(kind) || parity(&bytes[4..LOG_ENTRY_HEAD_BYTES]) == 0;
        if kind == 0 || !is_length || !is_head {
            return Err(Bad::Value);
        }
        let all = LOG_ENTRY_HEAD_BYTES + payload_bytes.next_multiple_of(8);
        if bytes.len() < all {
            return Err(Bad::Short);
        }
        check(bytes, 0, 4..all)?;
        let sequence = u64_at(bytes, 8);
        let payload = &bytes[LOG_ENTRY_HEAD_BYTES..LOG_ENTRY_HEAD_BYTES + payload_bytes];
        let rule = |scope: fn(Box<[u8]>) -> Scope| {
            let since = Some(u64_at(bytes, 16) >> 8 & MILLIS_MAX).filter(|millis| *millis > 0);
            let stale_since = since.map(|m| SystemTime::UNIX_EPOCH + Duration::from_millis(m));
            Self::Rule(Rule { scope: scope(payload.into()), sequence, stale_since })
        };
        let entry = match kind {
            LOG_KIND_KEY => Self::Key { hash: u64_at(payload, 0), sequence },
            LOG_KIND_PREFIX => rule(Scope::Prefix),
            LOG_KIND_TAG => rule(Scope::Tag),
            LOG_KIND_NAME => rule(Scope::Key),
            LOG_KIND_NOTE => Self::Note { sequence, text: Bytes::copy_from_slice(payload) },
            _ => Self::All { sequence },
        };
        Ok((entry, all))
    }
}

/// Since 1970; never 0, which says that a rule makes gone.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_millis() as u64).clamp(1, MILLIS_MAX)
}

/// A length that is not what was written would make what follows seem cut short, as a crash leaves
/// it: then it must be noticed before there is the whole entry. Other kinds have one length only.
fn has_head_check(kind: u8) -> bool {
    !matches!(kind, LOG_KIND_KEY | LOG_KIND_ALL)
}

fn parity(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |parity, byte| parity ^ byte)
}
