//! Every byte that the tier writes, as pure functions. Numbers are little-endian, offsets in bytes,
//! checksums crc32c. Parsing never panics, and believes no length that it has not compared with a
//! limit; callers compare it with the file before they make room for it.
//!
//! `brim.store`, the superblock, made before anything else and replaced as a whole at each start:
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | `BrimStor` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | checksum of bytes 16..64 |
//! | 16 | 16 | key of the hash (SipHash-1-3) |
//! | 32 | 8 | when it was made, seconds since 1970 |
//! | 40 | 8 | run: how often the folder has been opened; sequences start at run << 44 |
//! | 48 | 16 | 0 |
//!
//! `seg-<id>`, a segment: its head, records one after the other, each at a multiple of 64, and, once
//! it is sealed, a footer at the very end of the file. Until then the rest of the file is zeros.
//!
//! | at | bytes | head |
//! |---|---|---|
//! | 0 | 8 | `BrimSegm` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | checksum of bytes 16..64 |
//! | 16 | 4 | id |
//! | 20 | 4 | 0 |
//! | 24 | 8 | when it was made, seconds since 1970 |
//! | 32 | 32 | 0 |
//!
//! | at | bytes | record |
//! |---|---|---|
//! | 0 | 4 | `BRc1` |
//! | 4 | 4 | checksum of bytes 8..64 |
//! | 8 | 8 | hash of the key; its lowest bit says chunk |
//! | 16 | 8 | sequence |
//! | 24 | 8 | asked |
//! | 32 | 4 | bytes of the key, at most 64 KiB; a chunk's are generation (8) and number (4) |
//! | 36 | 4 | bytes of the tags, at most 64 KiB |
//! | 40 | 4 | bytes of the head, at most 1 MiB |
//! | 44 | 4 | bytes of the body, at most 1 MiB |
//! | 48 | 4 | checksum of key, tags, head and block checksums |
//! | 52 | 4 | id of the segment: a block that the device put in the wrong place is noticed |
//! | 56 | 4 | when it was written, seconds since 1970 |
//! | 60 | 1 | kind: 1 entry, 2 chunk |
//! | 61 | 3 | 0 |
//! | 64 | | key, tags, head, a checksum (4) of each 64 KiB block of the body, body, zeros up to a multiple of 64 |
//!
//! The footer is one entry for each record, in their order, and a trailer:
//!
//! | at | bytes | footer entry |
//! |---|---|---|
//! | 0 | 8 | hash |
//! | 8 | 8 | sequence |
//! | 16 | 4 | offset / 64 |
//! | 20 | 4 | length / 64 |
//!
//! | at | bytes | trailer |
//! |---|---|---|
//! | 0 | 4 | checksum of bytes 8..64 |
//! | 4 | 4 | checksum of the entries |
//! | 8 | 4 | number of entries |
//! | 12 | 4 | id |
//! | 16 | 8 | smallest sequence |
//! | 24 | 8 | largest sequence |
//! | 32 | 8 | when it was sealed, seconds since 1970 |
//! | 40 | 8 | smallest `asked` of all entries; 0 if it is not known |
//! | 48 | 8 | 0 |
//! | 56 | 8 | `BrimFoot` |
//!
//! `purge.log`: a head of 16 bytes (`BrimPurg`, version 1, checksum of bytes 0..12), then entries:
//!
//! | at | bytes | entry of the purge log |
//! |---|---|---|
//! | 0 | 4 | checksum of everything after it, the payload with its padding included |
//! | 4 | 4 | bytes of the payload, at most 64 KiB |
//! | 8 | 8 | sequence: what is larger stays |
//! | 16 | 1 | kind: 1 key (payload: its hash), 2 everything; rules (payload: the name): 3 prefix of keys, 4 tag, 5 whole key; 6 note |
//! | 17 | 6 | of a rule that makes stale, when, milliseconds since 1970; else 0 |
//! | 23 | 1 | from kind 3 on, the parity of bytes 4..23; else 0 |
//! | 24 | | payload, zeros up to a multiple of 8 |

mod footer;
mod log;

pub use footer::{
    FOOTER_ENTRY_BYTES, FooterEntry, TRAILER_BYTES, Trailer, encode_footer, footer_bytes,
    parse_footer_entries,
};
pub use log::{LOG_HEAD_BYTES, LOG_KEY_BYTES, LogEntry, encode_log_head, parse_log_head};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi as crc32c};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::ops::Range;

/// The format that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// Records begin at multiples of it.
pub const ALIGNMENT: u64 = 64;
/// Of the superblock.
pub const SUPERBLOCK_BYTES: usize = 64;
/// Of a segment's head.
pub const SEGMENT_HEAD_BYTES: usize = 64;
/// Of a record before its key.
pub const RECORD_HEAD_BYTES: usize = 64;
/// Of a segment's file, footer included.
pub const SEGMENT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Records of a segment: this bounds what its footer takes in memory.
pub const SEGMENT_RECORDS_MAX: usize = 1 << 20;
/// Of a key, and of tags.
pub const NAME_BYTES_MAX: usize = 64 * 1024;
/// Of a head, and of a body.
pub const PART_BYTES_MAX: usize = 1024 * 1024;
/// Run numbers are above these bits of a sequence: a run that took a number each microsecond could
/// go on for half a year before it reached those of the next one.
pub const RUN_SHIFT: u32 = 44;

const BLOCK: usize = super::BLOCK_BYTES as usize;
const SUPERBLOCK_MAGIC: &[u8; 8] = b"BrimStor";
const SEGMENT_MAGIC: &[u8; 8] = b"BrimSegm";
const RECORD_MAGIC: &[u8; 4] = b"BRc1";

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// There are fewer than it takes.
    Short,
    /// They are something else.
    Foreign,
    /// They are of another version.
    Version(u32),
    /// A checksum does not match.
    Checksum,
    /// A value that is never written.
    Value,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("cut short"),
            Self::Foreign => f.write_str("not what belongs here"),
            Self::Version(version) => write!(f, "of version {version}, not {VERSION}"),
            Self::Checksum => f.write_str("its checksum does not match"),
            Self::Value => f.write_str("a value that is never written"),
        }
    }
}

/// What holds for the whole folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Key of the hash.
    pub seed: [u8; 16],
    /// Seconds since 1970.
    pub created: u64,
    /// How often it has been opened.
    pub run: u64,
}

impl Superblock {
    /// As it is written.
    pub fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut out = [0; SUPERBLOCK_BYTES];
        put(&mut out, 0, SUPERBLOCK_MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        put(&mut out, 16, &self.seed);
        put(&mut out, 32, &self.created.to_le_bytes());
        put(&mut out, 40, &self.run.to_le_bytes());
        seal(&mut out, 12, 16);
        out
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Bad> {
        versioned(bytes, SUPERBLOCK_MAGIC, SUPERBLOCK_BYTES)?;
        check(bytes, 12, 16..SUPERBLOCK_BYTES)?;
        let mut seed = [0; 16];
        seed.copy_from_slice(&bytes[16..32]);
        Ok(Self { seed, created: u64_at(bytes, 32), run: u64_at(bytes, 40) })
    }
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Its number.
    pub id: u32,
    /// Seconds since 1970.
    pub created: u64,
}

impl SegmentHead {
    /// As it is written.
    pub fn encode(&self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut out = [0; SEGMENT_HEAD_BYTES];
        put(&mut out, 0, SEGMENT_MAGIC);
        put(&mut out, 8, &VERSION.to_le_bytes());
        put(&mut out, 16, &self.id.to_le_bytes());
        put(&mut out, 24, &self.created.to_le_bytes());
        seal(&mut out, 12, 16);
        out
    }

    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<Self, Bad> {
        versioned(bytes, SEGMENT_MAGIC, SEGMENT_HEAD_BYTES)?;
        check(bytes, 12, 16..SEGMENT_HEAD_BYTES)?;
        Ok(Self { id: u32_at(bytes, 16), created: u64_at(bytes, 24) })
    }
}

/// The name of a segment's file.
pub fn segment_name(id: u32) -> String {
    format!("seg-{id:08}")
}

/// The number of a segment, if this is the name of one.
pub fn segment_id(name: &str) -> Option<u32> {
    let id = name.strip_prefix("seg-")?.parse().ok()?;
    (id != super::NOT_WRITTEN && segment_name(id) == name).then_some(id)
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What is kept for a key.
    Entry,
    /// A part of a large body.
    Chunk,
}

/// The key of a chunk.
pub fn chunk_key(generation: u64, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    put(&mut key, 0, &generation.to_le_bytes());
    put(&mut key, 8, &number.to_le_bytes());
    key
}

/// The hash of a key. Its lowest bit says what kind of record is meant.
pub fn hash(seed: &[u8; 16], kind: Kind, key: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(seed);
    hasher.write(key);
    hasher.finish() & !1 | u64::from(kind == Kind::Chunk)
}

/// Whether a record counts as an object of its own.
pub fn is_entry(hash: u64) -> bool {
    kind_of(hash) == Kind::Entry
}

/// What kind of record a hash is of.
pub fn kind_of(hash: u64) -> Kind {
    if hash & 1 == 1 { Kind::Chunk } else { Kind::Entry }
}

/// The first 64 bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// Of the key.
    pub hash: u64,
    /// Larger for what was put later.
    pub sequence: u64,
    /// The caller's.
    pub asked: u64,
    /// Of the key.
    pub key_bytes: u32,
    /// Of the tags.
    pub tags_bytes: u32,
    /// Of the head.
    pub head_bytes: u32,
    /// Of the body.
    pub body_bytes: u32,
    /// Of everything between these 64 bytes and the body.
    pub meta_checksum: u32,
    /// The segment that it was written to.
    pub segment: u32,
    /// Seconds since 1970.
    pub written_at: u32,
}

impl RecordHead {
    /// What kind of record it is.
    pub fn kind(&self) -> Kind {
        kind_of(self.hash)
    }

    /// As it is written.
    pub fn encode(&self) -> [u8; RECORD_HEAD_BYTES] {
        let mut out = [0; RECORD_HEAD_BYTES];
        put(&mut out, 0, RECORD_MAGIC);
        put(&mut out, 8, &self.hash.to_le_bytes());
        put(&mut out, 16, &self.sequence.to_le_bytes());
        put(&mut out, 24, &self.asked.to_le_bytes());
        put(&mut out, 32, &self.key_bytes.to_le_bytes());
        put(&mut out, 36, &self.tags_bytes.to_le_bytes());
        put(&mut out, 40, &self.head_bytes.to_le_bytes());
        put(&mut out, 44, &self.body_bytes.to_le_bytes());
        put(&mut out, 48, &self.meta_checksum.to_le_bytes());
        put(&mut out, 52, &self.segment.to_le_bytes());
        put(&mut out, 56, &self.written_at.to_le_bytes());
        out[60] = if self.kind() == Kind::Chunk { 2 } else { 1 };
        seal(&mut out, 4, 8);
        out
    }

    /// Reads one; every length is within its limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, Bad> {
        if bytes.len() < RECORD_HEAD_BYTES {
            return Err(Bad::Short);
        }
        if &bytes[..4] != RECORD_MAGIC {
            return Err(Bad::Foreign);
        }
        check(bytes, 4, 8..RECORD_HEAD_BYTES)?;
        let head = Self {
            hash: u64_at(bytes, 8),
            sequence: u64_at(bytes, 16),
            asked: u64_at(bytes, 24),
            key_bytes: u32_at(bytes, 32),
            tags_bytes: u32_at(bytes, 36),
            head_bytes: u32_at(bytes, 40),
            body_bytes: u32_at(bytes, 44),
            meta_checksum: u32_at(bytes, 48),
            segment: u32_at(bytes, 52),
            written_at: u32_at(bytes, 56),
        };
        let is_in_bounds = [head.key_bytes, head.tags_bytes, head.head_bytes, head.body_bytes]
            .iter()
            .zip([NAME_BYTES_MAX, NAME_BYTES_MAX, PART_BYTES_MAX, PART_BYTES_MAX])
            .all(|(bytes, max)| *bytes as usize <= max);
        let kind = if head.kind() == Kind::Chunk { 2 } else { 1 };
        if !is_in_bounds || bytes[60..64] != [kind, 0, 0, 0] {
            return Err(Bad::Value);
        }
        Ok(head)
    }

    /// Bytes of what lies between these 64 and the body.
    pub fn meta_bytes(&self) -> usize {
        let blocks = (self.body_bytes as usize).div_ceil(BLOCK);
        (self.key_bytes + self.tags_bytes + self.head_bytes) as usize + 4 * blocks
    }

    /// Compares what lies between these 64 and the body; there may be more after it.
    pub fn check_meta(&self, bytes: &[u8]) -> Result<(), Bad> {
        let meta = bytes.get(..self.meta_bytes()).ok_or(Bad::Short)?;
        if crc32c(meta) == self.meta_checksum { Ok(()) } else { Err(Bad::Checksum) }
    }

    /// Where the body begins, from the start of the record.
    pub fn body_at(&self) -> usize {
        RECORD_HEAD_BYTES + self.meta_bytes()
    }

    /// Of the whole record, with its padding.
    pub fn record_bytes(&self) -> u64 {
        ((self.body_at() + self.body_bytes as usize) as u64).next_multiple_of(ALIGNMENT)
    }
}

/// What lies between a record's first 64 bytes and its body: verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Of an entry: the caller's.
    pub key: Bytes,
    /// The caller's.
    pub tags: Bytes,
    /// The caller's.
    pub head: Bytes,
    checksums: Bytes,
}

impl Meta {
    /// Reads it from the bytes after the first 64, which may be more than it takes.
    pub fn parse(head: &RecordHead, bytes: &Bytes) -> Result<Self, Bad> {
        let all = head.meta_bytes();
        head.check_meta(bytes)?;
        let tags_at = head.key_bytes as usize;
        let head_at = tags_at + head.tags_bytes as usize;
        let checksums_at = head_at + head.head_bytes as usize;
        Ok(Self {
            key: bytes.slice(..tags_at),
            tags: bytes.slice(tags_at..head_at),
            head: bytes.slice(head_at..checksums_at),
            checksums: bytes.slice(checksums_at..all),
        })
    }

    /// Compares body bytes that begin at a block's start, and end at one or with the body.
    pub fn check_blocks(&self, first: usize, body: &[u8]) -> Result<(), Bad> {
        let mut checksums = self.checksums.chunks_exact(4).skip(first);
        for block in body.chunks(BLOCK) {
            let checksum = checksums.next().ok_or(Bad::Short)?;
            if crc32c(block).to_le_bytes() != checksum {
                return Err(Bad::Checksum);
            }
        }
        Ok(())
    }
}

/// A record to be written.
pub struct Record<'a> {
    /// Of the key.
    pub hash: u64,
    /// Larger for what is put later.
    pub sequence: u64,
    /// The caller's.
    pub asked: u64,
    /// The caller's, or a chunk's.
    pub key: &'a [u8],
    /// The caller's.
    pub tags: &'a [u8],
    /// The caller's.
    pub head: &'a [u8],
    /// In pieces.
    pub body: &'a [Bytes],
    /// The segment that it is written to.
    pub segment: u32,
    /// Seconds since 1970.
    pub written_at: u32,
}

impl Record<'_> {
    /// Whether every part is within its limit.
    pub fn is_in_bounds(&self) -> bool {
        self.key.len() <= NAME_BYTES_MAX
            && self.tags.len() <= NAME_BYTES_MAX
            && self.head.len() <= PART_BYTES_MAX
            && self.body_bytes() <= PART_BYTES_MAX
    }

    /// What it takes, with its padding, if it is in bounds.
    pub fn record_bytes(&self) -> u64 {
        self.layout().record_bytes()
    }

    /// Appends it. It must be in bounds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut head = self.layout();
        out.extend_from_slice(&[0; RECORD_HEAD_BYTES]);
        for part in [self.key, self.tags, self.head] {
            out.extend_from_slice(part);
        }
        for checksum in self.block_checksums() {
            out.extend_from_slice(&checksum.to_le_bytes());
        }
        head.meta_checksum = crc32c(&out[start + RECORD_HEAD_BYTES..]);
        out[start..start + RECORD_HEAD_BYTES].copy_from_slice(&head.encode());
        for piece in self.body {
            out.extend_from_slice(piece);
        }
        out.resize(start + head.record_bytes() as usize, 0);
    }

    fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    fn layout(&self) -> RecordHead {
        RecordHead {
            hash: self.hash,
            sequence: self.sequence,
            asked: self.asked,
            key_bytes: self.key.len() as u32,
            tags_bytes: self.tags.len() as u32,
            head_bytes: self.head.len() as u32,
            body_bytes: self.body_bytes() as u32,
            meta_checksum: 0,
            segment: self.segment,
            written_at: self.written_at,
        }
    }

    fn block_checksums(&self) -> Vec<u32> {
        let mut checksums = Vec::with_capacity(self.body_bytes().div_ceil(BLOCK));
        let (mut checksum, mut filled) = (Digest::new(CrcAlgorithm::Crc32Iscsi), 0);
        for piece in self.body {
            let mut rest = &piece[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(BLOCK - filled));
                checksum.update(now);
                filled += now.len();
                rest = later;
                if filled == BLOCK {
                    checksums.push(checksum.finalize_reset() as u32);
                    filled = 0;
                }
            }
        }
        if filled > 0 {
            checksums.push(checksum.finalize() as u32);
        }
        checksums
    }
}

/// A record that was read as a whole: verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeRecord {
    /// Its first 64 bytes.
    pub head: RecordHead,
    /// What follows them.
    pub meta: Meta,
    /// Its body.
    pub body: Bytes,
}

impl WholeRecord {
    /// Reads one from its bytes, of which there may be more.
    pub fn parse(bytes: &Bytes) -> Result<Self, Bad> {
        let head = RecordHead::parse(bytes)?;
        if (bytes.len() as u64) < head.record_bytes() {
            return Err(Bad::Short);
        }
        let meta = Meta::parse(&head, &bytes.slice(RECORD_HEAD_BYTES..))?;
        let body = bytes.slice(head.body_at()..head.body_at() + head.body_bytes as usize);
        meta.check_blocks(0, &body)?;
        Ok(Self { head, meta, body })
    }
}

/// The largest record that there can be.
pub const RECORD_BYTES_MAX: u64 =
    ((RECORD_HEAD_BYTES + 2 * NAME_BYTES_MAX + 2 * PART_BYTES_MAX + 4 * PART_BYTES_MAX / BLOCK)
        as u64)
        .next_multiple_of(ALIGNMENT);

/// Reads magic and version, the first 12 bytes of every file.
fn versioned(bytes: &[u8], magic: &[u8; 8], all: usize) -> Result<(), Bad> {
    if bytes.len() >= 12 && &bytes[..8] != magic {
        return Err(if bytes.iter().all(|byte| *byte == 0) { Bad::Short } else { Bad::Foreign });
    }
    if bytes.len() >= 12 && u32_at(bytes, 8) != VERSION {
        return Err(Bad::Version(u32_at(bytes, 8)));
    }
    if bytes.len() < all { Err(Bad::Short) } else { Ok(()) }
}

fn check(bytes: &[u8], checksum_at: usize, part: Range<usize>) -> Result<(), Bad> {
    if u32_at(bytes, checksum_at) == crc32c(&bytes[part]) { Ok(()) } else { Err(Bad::Checksum) }
}

fn seal(bytes: &mut [u8], checksum_at: usize, from: usize) {
    let checksum = crc32c(&bytes[from..]);
    put(bytes, checksum_at, &checksum.to_le_bytes());
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    bytes[at..at + part.len()].copy_from_slice(part);
}

/// Callers have compared the length.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

/// Callers have compared the length.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
