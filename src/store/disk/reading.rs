//! Reading records and parts of them. What the device's cache in memory has is read at once, the
//! rest by threads that may wait; nothing is given out that was not compared with its checksums.

use super::buffers::Buffers;
use super::format::{
    Bad, Kind, Meta, RECORD_HEAD_BYTES, RecordHead, WholeRecord, chunk_key, is_entry,
};
use super::index::Location;
use super::mounting::entries_of;
use super::segment::Segment;
use super::tier::{State, Tier, now};
use super::{BLOCK_BYTES, Content, Entry, Place};
use bytes::Bytes;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// Larger reads are never made by the thread of a request.
const INLINE_BYTES_MAX: u64 = 64 * 1024;
/// A device that takes longer counts as broken.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// A look-up waits so long for recovery.
const RECOVERY_WITHIN: Duration = Duration::from_millis(500);
/// Whoever reads what is being written waits so long for it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// Whole blocks of a chunk that are read at one time.
pub(super) const READ_BYTES_MAX: u64 = 2 * BLOCK_BYTES;
/// Enough for a chunk's head, key and block checksums.
const CHUNK_HEAD_BYTES: usize = 192;

/// How to read: at once or not at all, or however long it takes.
type ReadAt<'r> = &'r dyn Fn(&Segment, &mut [u8], u64) -> io::Result<()>;

impl Tier {
    /// See `Disk::get`, and `Disk::look` for what is no use.
    pub(super) async fn get(&self, key: &[u8], is_use: bool) -> Option<Entry> {
        self.recovered().await;
        let hash = self.hash(Kind::Entry, key);
        self.written(hash).await;
        let read = self.read(hash, is_use, move |read, segment, location| {
            let bytes = whole(read, segment, location)?;
            let record = WholeRecord::parse(&bytes).map_err(Unread::Bad)?;
            check(&record.head, segment.id, hash)?;
            Ok(record)
        });
        let (record, location, is_wanted) = read.await?;
        if record.meta.key != key {
            // Of another key with the same hash.
            return None;
        }
        let WholeRecord { head, meta, body } = record;
        Some(Entry {
            content: Content { tags: meta.tags, head: meta.head, body, asked: head.asked },
            place: Place(location),
            is_wanted,
        })
    }

    /// See `Disk::read_chunk`.
    pub(super) async fn read_chunk(
        &self,
        generation: u64,
        number: u32,
        part: Range<u64>,
    ) -> Option<Bytes> {
        let key = chunk_key(generation, number);
        let hash = self.hash(Kind::Chunk, &key);
        self.written(hash).await;
        let buffers = self.buffers.clone();
        let read = self.read(hash, true, move |read, segment, location| {
            let mut front = vec![0; CHUNK_HEAD_BYTES.min(location.length() as usize)];
            read(segment, &mut front, location.offset())?;
            let head = RecordHead::parse(&front).map_err(Unread::Bad)?;
            let meta = Meta::parse(&head, &Bytes::from(front).slice(RECORD_HEAD_BYTES..))
                .map_err(Unread::Bad)?;
            check(&head, segment.id, hash)?;
            if meta.key != key[..] {
                return Ok(None);
            }
            if head.record_bytes() != location.length() {
                return Err(Unread::Bad(Bad::Value));
            }
            let chunk = Chunk { segment, location, head: &head, meta: &meta };
            chunk.blocks(read, &part, &buffers)
        });
        let (bytes, ..) = read.await?;
        bytes
    }

    /// Waits for what is on its way.
    async fn written(&self, hash: u64) {
        let is_under_way = self.index.shard(hash).ticket(hash).is_some();
        if is_under_way {
            let _ = timeout(WRITTEN_WITHIN, self.queue.settled()).await;
        }
    }

    async fn recovered(&self) {
        let mut state = self.state.subscribe();
        if *state.borrow() == State::Recovering {
            let is_over = |state: &State| *state != State::Recovering;
            let _ = timeout(RECOVERY_WITHIN, state.wait_for(is_over)).await;
        }
    }

    /// Finds a record and has it read. What was written again elsewhere meanwhile is looked for once
    /// more.
    async fn read<T: Send + 'static>(
        &self,
        hash: u64,
        is_use: bool,
        read: impl Fn(ReadAt<'_>, &Segment, Location) -> Result<T, Unread> + Clone + Send + 'static,
    ) -> Option<(T, Location, bool)> {
        if self.mount().state != State::Known {
            return None;
        }
        for _ in 0..2 {
            let (location, is_wanted) = if is_use {
                self.index.shard(hash).touch(hash)?
            } else {
                (self.index.shard(hash).location(hash)?, false)
            };
            let Some(segment) = self.segments.get(location.segment()) else {
                // It has just gone, and its slots with it, or are about to.
                self.remove_unread(hash, location);
                continue;
            };
            segment.hits.fetch_add(u64::from(is_use), Ordering::Relaxed);
            let done = match read(&at_once, &segment, location) {
                Err(Unread::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    let (segment, read) = (segment.clone(), read.clone());
                    self.in_the_background(move || read(&patiently, &segment, location)).await
                }
                done => done,
            };
            match done {
                Ok(read) => return Some((read, location, is_wanted)),
                Err(Unread::Busy) => return None,
                Err(Unread::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.is_unreadable(hash, location, &segment, &Unread::Bad(Bad::Short));
                }
                Err(unread) => self.is_unreadable(hash, location, &segment, &unread),
            }
        }
        None
    }

    async fn in_the_background<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Unread> + Send + 'static,
    ) -> Result<T, Unread> {
        let place = timeout(READ_WITHIN, self.reads.clone().acquire_owned()).await;
        // That others wait, too, says nothing about this record.
        let Ok(Ok(place)) = place else { return Err(Unread::Busy) };
        let read = tokio::task::spawn_blocking(move || {
            // Given back when the device has answered, however late.
            let _place = place;
            read()
        });
        let late = || Err(Unread::Io(ErrorKind::TimedOut.into()));
        match timeout(READ_WITHIN, read).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) | Err(_) => late(),
        }
    }

    fn is_unreadable(&self, hash: u64, location: Location, segment: &Segment, why: &Unread) {
        let name = segment.name();
        let at = location.offset();
        match why {
            Unread::Bad(bad) => {
                let reason = bad.to_string();
                tracing::warn!(name, at, reason, "a record of the disk tier is bad");
                self.remove_corrupt(hash, location);
            }
            Unread::Io(error) => {
                let logged = self.counters.failure_logged.swap(now(), Ordering::Relaxed);
                if logged < now() {
                    tracing::warn!(name, at, %error, "a record of the disk tier cannot be read");
                }
                self.remove_unread(hash, location);
            }
            Unread::Busy => {}
        }
    }

    /// A record for the writer, to be written again; `None` if it cannot be.
    pub(super) fn read_again(
        &self,
        segment: &Segment,
        hash: u64,
        location: Location,
    ) -> Option<WholeRecord> {
        read_checked(segment, hash, location)
            .inspect_err(|unread| self.is_unreadable(hash, location, segment, unread))
            .ok()
    }
}

/// Why a record was not read.
enum Unread {
    Io(io::Error),
    Bad(Bad),
    /// Too many reads wait for the device.
    Busy,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn at_once(segment: &Segment, buf: &mut [u8], at: u64) -> io::Result<()> {
    if buf.len() as u64 > INLINE_BYTES_MAX || segment.file.read_now(buf, at)? < buf.len() {
        return Err(ErrorKind::WouldBlock.into());
    }
    Ok(())
}

fn patiently(segment: &Segment, buf: &mut [u8], at: u64) -> io::Result<()> {
    if segment.file.read(buf, at)? < buf.len() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn whole(read: ReadAt<'_>, segment: &Segment, location: Location) -> Result<Bytes, Unread> {
    let mut bytes = vec![0; location.length() as usize];
    read(segment, &mut bytes, location.offset())?;
    Ok(bytes.into())
}

fn check(head: &RecordHead, segment: u32, hash: u64) -> Result<(), Unread> {
    let is_it = head.segment == segment && head.hash == hash;
    if is_it { Ok(()) } else { Err(Unread::Bad(Bad::Value)) }
}

/// A chunk whose checksums are known.
struct Chunk<'c> {
    segment: &'c Segment,
    location: Location,
    head: &'c RecordHead,
    meta: &'c Meta,
}

impl Chunk<'_> {
    /// The blocks at the front of a part, cut to it; nothing behind the end of the chunk.
    fn blocks(
        &self,
        read: ReadAt<'_>,
        part: &Range<u64>,
        buffers: &Arc<Buffers>,
    ) -> Result<Option<Bytes>, Unread> {
        let body_bytes = u64::from(self.head.body_bytes);
        let end = part.end.min(body_bytes);
        if part.start >= end {
            return Ok(None);
        }
        let first = part.start / BLOCK_BYTES;
        let from = first * BLOCK_BYTES;
        let to =
            end.next_multiple_of(BLOCK_BYTES).min(from + buffers.bytes() as u64).min(body_bytes);
        let cut = (part.start - from) as usize..(end.min(to) - from) as usize;
        // What is little takes little.
        if to - from <= BLOCK_BYTES / 2 {
            let mut bytes = vec![0; (to - from) as usize];
            self.fill(read, first, &mut bytes)?;
            return Ok(Some(Bytes::from(bytes).slice(cut)));
        }
        let mut buffer = buffers.take();
        self.fill(read, first, &mut buffer.bytes_mut()[..(to - from) as usize])?;
        Ok(Some(buffer.part(cut)))
    }

    /// Reads blocks and compares each while it is in the processor's cache.
    fn fill(&self, read: ReadAt<'_>, first: u64, bytes: &mut [u8]) -> Result<(), Unread> {
        let body_at = self.location.offset() + self.head.body_at() as u64;
        for (number, block) in (first..).zip(bytes.chunks_mut(BLOCK_BYTES as usize)) {
            read(self.segment, block, body_at + number * BLOCK_BYTES)?;
            self.meta.check_blocks(number as usize, block).map_err(Unread::Bad)?;
        }
        Ok(())
    }
}

impl Tier {
    /// See `Disk::each_entry`.
    pub(super) fn each_entry(&self, mut see: impl FnMut(Content, &[u8], u64) -> bool) -> bool {
        let mut has_seen_all = self.mount().knows_all();
        for segment in self.segments.all() {
            let Ok(entries) = entries_of(&segment) else {
                has_seen_all = false;
                continue;
            };
            for entry in entries.iter().filter(|entry| is_entry(entry.hash)) {
                let location = Location::of(segment.id, entry);
                let is_live = self.index.shard(entry.hash).location(entry.hash) == Some(location);
                let record = Some(()).filter(|()| is_live);
                let record = record.and_then(|()| read_whole(&segment, entry.hash, location));
                let Some(WholeRecord { head, meta, body }) = record else { continue };
                let Meta { key, tags, head: front, .. } = meta;
                let content = Content { tags, head: front, body, asked: head.asked };
                if !see(content, &key, entry.length) {
                    return false;
                }
            }
        }
        has_seen_all
    }
}

/// A record for whoever looks into a folder; `None` if it cannot be read, or is not what was written.
pub(super) fn read_whole(segment: &Segment, hash: u64, location: Location) -> Option<WholeRecord> {
    read_checked(segment, hash, location).ok()
}

fn read_checked(segment: &Segment, hash: u64, location: Location) -> Result<WholeRecord, Unread> {
    let bytes = whole(&patiently, segment, location)?;
    let record = WholeRecord::parse(&bytes).map_err(Unread::Bad)?;
    check(&record.head, segment.id, hash)?;
    Ok(record)
}
