//! What a sealed segment ends with: a place for each record, and a trailer.

use super::{
    ALIGNMENT, Bad, RECORD_BYTES_MAX, RECORD_HEAD_BYTES, SEGMENT_BYTES_MAX, SEGMENT_HEAD_BYTES,
    SEGMENT_RECORDS_MAX, check, put, seal, u32_at, u64_at,
};
use crc_fast::crc32_iscsi as crc32c;

/// Of a record's place in the footer.
pub const FOOTER_ENTRY_BYTES: usize = 24;
/// Of the footer's end.
pub const TRAILER_BYTES: usize = 64;

const TRAILER_MAGIC: &[u8; 8] = b"BrimFoot";

/// A record's place, as the footer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterEntry {
    /// Of the key.
    pub hash: u64,
    /// The record's.
    pub sequence: u64,
    /// From the start of the segment.
    pub offset: u64,
    /// Of the whole record.
    pub length: u64,
}

/// The very end of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// How many entries the footer has.
    pub entries: u32,
    /// The segment's.
    pub id: u32,
    /// Smallest of all records; `u64::MAX` without any.
    pub sequence_min: u64,
    /// Largest of all records.
    pub sequence_max: u64,
    /// Seconds since 1970.
    pub sealed: u64,
    /// For no entry was the origin asked before this; chunks do not count.
    pub asked_min: u64,
    /// Of the entries before it.
    pub entries_checksum: u32,
}

impl Trailer {
    /// Reads one from the last 64 bytes of a file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Bad> {
        if bytes.len() < TRAILER_BYTES {
            return Err(Bad::Short);
        }
        if &bytes[56..64] != TRAILER_MAGIC {
            return Err(Bad::Foreign);
        }
        check(bytes, 0, 8..TRAILER_BYTES)?;
        let trailer = Self {
            entries_checksum: u32_at(bytes, 4),
            entries: u32_at(bytes, 8),
            id: u32_at(bytes, 12),
            sequence_min: u64_at(bytes, 16),
            sequence_max: u64_at(bytes, 24),
            sealed: u64_at(bytes, 32),
            asked_min: u64_at(bytes, 40),
        };
        if trailer.entries as usize > SEGMENT_RECORDS_MAX {
            return Err(Bad::Value);
        }
        Ok(trailer)
    }

    /// Bytes of the entries before it.
    pub fn entries_bytes(&self) -> usize {
        self.entries as usize * FOOTER_ENTRY_BYTES
    }
}

/// A footer as it is written after the last record.
pub fn encode_footer(id: u32, sealed: u64, asked_min: u64, entries: &[FooterEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(footer_bytes(entries.len()) as usize);
    for entry in entries {
        out.extend_from_slice(&entry.hash.to_le_bytes());
        out.extend_from_slice(&entry.sequence.to_le_bytes());
        out.extend_from_slice(&((entry.offset / ALIGNMENT) as u32).to_le_bytes());
        out.extend_from_slice(&((entry.length / ALIGNMENT) as u32).to_le_bytes());
    }
    let sequences = || entries.iter().map(|entry| entry.sequence);
    let mut trailer = [0; TRAILER_BYTES];
    put(&mut trailer, 4, &crc32c(&out).to_le_bytes());
    put(&mut trailer, 8, &(entries.len() as u32).to_le_bytes());
    put(&mut trailer, 12, &id.to_le_bytes());
    put(&mut trailer, 16, &sequences().min().unwrap_or(u64::MAX).to_le_bytes());
    put(&mut trailer, 24, &sequences().max().unwrap_or(0).to_le_bytes());
    put(&mut trailer, 32, &sealed.to_le_bytes());
    put(&mut trailer, 40, &asked_min.to_le_bytes());
    put(&mut trailer, 56, TRAILER_MAGIC);
    seal(&mut trailer, 0, 8);
    out.extend_from_slice(&trailer);
    out
}

/// What a footer with so many entries takes.
pub fn footer_bytes(entries: usize) -> u64 {
    (entries * FOOTER_ENTRY_BYTES + TRAILER_BYTES) as u64
}

/// Reads the entries of a footer. Each lies before `records_end`, after the one before it, and is
/// of a length that a record can have.
pub fn parse_footer_entries(
    trailer: &Trailer,
    bytes: &[u8],
    records_end: u64,
) -> Result<Vec<FooterEntry>, Bad> {
    if bytes.len() != trailer.entries_bytes() {
        return Err(Bad::Short);
    }
    if crc32c(bytes) != trailer.entries_checksum {
        return Err(Bad::Checksum);
    }
    let mut entries = Vec::with_capacity(trailer.entries as usize);
    let mut free_from = SEGMENT_HEAD_BYTES as u64;
    for entry in bytes.chunks_exact(FOOTER_ENTRY_BYTES) {
        let entry = FooterEntry {
            hash: u64_at(entry, 0),
            sequence: u64_at(entry, 8),
            offset: u64::from(u32_at(entry, 16)) * ALIGNMENT,
            length: u64::from(u32_at(entry, 20)) * ALIGNMENT,
        };
        let end = entry.offset + entry.length;
        let is_length = (RECORD_HEAD_BYTES as u64..=RECORD_BYTES_MAX).contains(&entry.length);
        if entry.offset < free_from || !is_length || end > records_end.min(SEGMENT_BYTES_MAX) {
            return Err(Bad::Value);
        }
        free_from = end;
        entries.push(entry);
    }
    Ok(entries)
}
