//! The content of a stored object: all of it, or the parts of it that have come so far, in memory,
//! on the disk, or both.
//!
//! Whoever sends it takes a few pieces at a time, so that an object that is stored no more can let
//! go of its content although a slow client is still at it, and so that nobody holds more than that
//! of what lies on the disk.

use crate::store::disk::{CHUNK_BYTES, Disk};
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

/// Content smaller than this is kept in one piece.
const ONE_PIECE_BYTES: u64 = 64 * 1024;
/// Whole content of at most so many bytes is kept without all that parts, and letting go of them, take. It
/// never lies in chunks: the entry on the disk has it.
const SMALL_BYTES_MAX: u64 = 4 * 1024;
/// What a piece costs besides its bytes.
const PIECE_BYTES: usize = size_of::<(u64, Bytes)>() + 48;
/// What the list of parts does.
const PARTS_BYTES: usize = size_of::<Parts>() + 48;
/// Parts of one content that are kept apart from each other.
const PARTS_MAX: usize = 64;
/// Pieces taken at a time.
pub const PIECES_MAX: usize = 8;

/// Missing chunks that are fetched at one time: 4 GiB.
const GAP_CHUNKS_MAX: u32 = 4096;

/// A few consecutive pieces of content.
pub type Pieces = [Option<Bytes>; PIECES_MAX];

/// Parts of a content of known length, apart from each other, in order. Clones share them.
#[derive(Clone, Debug)]
pub struct Body(Here);

/// What is here of a content.
#[derive(Clone, Debug)]
enum Here {
    /// All of it, and little. Most objects are small: this is what they take.
    Small(Bytes),
    Parts(Arc<Parts>),
}

#[derive(Debug)]
struct Parts {
    /// Length of the whole.
    total: u64,
    /// Nothing is missing in memory.
    is_whole: bool,
    weight: usize,
    parts: RwLock<Vec<Part>>,
    chunks: OnceLock<Chunks>,
}

/// Where a content lies on the disk, as far as it does: each chunk is there or is not.
#[derive(Clone)]
pub(super) struct Chunks {
    disk: Arc<Disk>,
    generation: u64,
}

/// The parts, for whoever may have to take them away.
pub(super) struct Hold {
    parts: Weak<Parts>,
    bytes: u64,
}

/// Consecutive bytes in pieces, each with the place where it ends.
#[derive(Clone, Debug)]
struct Part {
    start: u64,
    pieces: Vec<(u64, Bytes)>,
}

impl Body {
    /// A content of `total` bytes of which those from `start` on are here.
    pub(super) fn new(total: u64, start: u64, pieces: Vec<Bytes>) -> Self {
        // Small content is copied even from one piece, which may lie in a larger block.
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let is_small = bytes as u64 <= ONE_PIECE_BYTES;
        let pieces = if is_small { vec![Bytes::from(pieces.concat())] } else { pieces };
        Self::of_blocks(total, start, pieces)
    }

    /// The same of one piece, or several large ones, that do not lie in larger blocks.
    pub(super) fn of_blocks(total: u64, start: u64, pieces: Vec<Bytes>) -> Self {
        let part = Part::new(start, pieces);
        Self::of(total, if part.pieces.is_empty() { Vec::new() } else { vec![part] })
    }

    fn of(total: u64, parts: Vec<Part>) -> Self {
        let is_whole = part_with(&parts, &(0..total)).is_some() || total == 0;
        if is_whole && total <= SMALL_BYTES_MAX {
            let mut pieces = parts.into_iter().flat_map(|part| part.pieces).map(|(_, piece)| piece);
            let first = pieces.next().unwrap_or_default();
            let others: Vec<Bytes> = pieces.collect();
            let all = if others.is_empty() {
                first
            } else {
                [first, others.concat().into()].concat().into()
            };
            return Self(Here::Small(all));
        }
        let piece = |(_, piece): &(u64, Bytes)| PIECE_BYTES + piece.len();
        let part = |part: &Part| size_of::<Part>() + part.pieces.iter().map(piece).sum::<usize>();
        let weight = PARTS_BYTES + parts.iter().map(part).sum::<usize>();
        let parts = RwLock::new(parts);
        let parts = Parts { total, is_whole, weight, parts, chunks: OnceLock::new() };
        Self(Here::Parts(Arc::new(parts)))
    }

    /// A content that lies on the disk.
    pub(super) fn on_disk(total: u64, chunks: Chunks) -> Self {
        let body = Self::of(total, Vec::new());
        body.lies_in(chunks);
        body
    }

    /// Its chunks are going to be found there, if no other place is known; `None`: small content needs
    /// no other place than it has.
    pub(super) fn lies_in(&self, chunks: Chunks) -> Option<&Chunks> {
        match &self.0 {
            Here::Small(_) => None,
            Here::Parts(parts) => Some(parts.chunks.get_or_init(|| chunks)),
        }
    }

    /// Where it lies on the disk.
    pub(super) fn chunks(&self) -> Option<&Chunks> {
        match &self.0 {
            Here::Small(_) => None,
            Here::Parts(parts) => parts.chunks.get(),
        }
    }

    /// Whole, and kept with the head wherever that is.
    pub(super) fn is_small(&self) -> bool {
        matches!(self.0, Here::Small(_))
    }

    /// Shows what is here at the moment.
    fn with_parts<T>(&self, see: impl FnOnce(&[Part]) -> T) -> T {
        match &self.0 {
            Here::Small(all) => {
                let part = Part { start: 0, pieces: vec![(self.total(), all.clone())] };
                see(if all.is_empty() { &[] } else { std::slice::from_ref(&part) })
            }
            Here::Parts(parts) => see(&parts.parts.read().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// Length of the whole.
    pub fn total(&self) -> u64 {
        match &self.0 {
            Here::Small(all) => all.len() as u64,
            Here::Parts(parts) => parts.total,
        }
    }

    /// Nothing is missing in memory.
    pub(super) fn is_in_memory(&self) -> bool {
        match &self.0 {
            Here::Small(_) => true,
            Here::Parts(parts) => parts.is_whole && self.with_parts(|parts| !parts.is_empty()),
        }
    }

    /// Whether these bytes are here.
    pub fn has(&self, wanted: &Range<u64>) -> bool {
        self.gap(wanted).is_none()
    }

    /// Up to where bytes are here from this one on; `None` if it is not here itself.
    fn here_until(&self, at: u64) -> Option<u64> {
        if self.is_small() {
            return (at < self.total()).then_some(self.total());
        }
        let end = |parts: &[Part]| part_with(parts, &(at..at + 1)).map(Part::end);
        if let Some(end) = self.with_parts(end) {
            return Some(end);
        }
        self.chunks().filter(|chunks| chunks.has(at)).map(|_| chunk_end(at).min(self.total()))
    }

    /// The first of these bytes that are not here, and the missing ones behind it. What lies on the
    /// disk lacks whole chunks.
    pub(super) fn gap(&self, wanted: &Range<u64>) -> Option<Range<u64>> {
        let mut at = wanted.start;
        while at < wanted.end {
            match self.here_until(at) {
                Some(until) => at = until,
                None => return Some(self.gap_at(at, wanted.end)),
            }
        }
        None
    }

    /// How many bytes are here, where at most so many chunks are looked for; `false`: at least.
    pub(super) fn here(&self, chunks_max: u32) -> (u64, bool) {
        let Some(chunks) = self.chunks() else {
            let bytes = |parts: &[Part]| parts.iter().map(|part| part.end() - part.start).sum();
            return (self.with_parts(bytes), true);
        };
        let (mut here, mut at) = (0, 0);
        for _ in 0..chunks_max {
            if at >= self.total() {
                break;
            }
            let end = chunk_end(at).min(self.total());
            let is_there = |parts: &[Part]| part_with(parts, &(at..end)).is_some();
            let in_memory = || self.with_parts(is_there);
            here += if chunks.has(at) || in_memory() { end - at } else { 0 };
            at = end;
        }
        (here, at >= self.total())
    }

    fn gap_at(&self, at: u64, end: u64) -> Range<u64> {
        let next = |parts: &[Part]| parts.iter().map(|part| part.start).find(|start| *start > at);
        let next_part = self.with_parts(next);
        let Some(chunks) = self.chunks() else {
            return at..next_part.map_or(end, |start| start.min(end));
        };
        let mut until = chunk_end(at);
        // An origin can say of anything that it is endless.
        for _ in 1..GAP_CHUNKS_MAX {
            if until >= end || chunks.has(until) {
                break;
            }
            until = chunk_end(until);
        }
        at - at % CHUNK_BYTES..until.min(self.total())
    }

    /// Takes a few pieces off the front of a range; `None` if they are not here.
    pub fn take(&self, wanted: &mut Range<u64>) -> Option<Pieces> {
        if let Here::Small(all) = &self.0 {
            let mut pieces = Pieces::default();
            let end = wanted.end.min(self.total());
            // A range of what is not there is no range of a whole content.
            let part = all.get(usize::try_from(wanted.start).ok()?..usize::try_from(end).ok()?)?;
            pieces[0] = Some(all.slice_ref(part)).filter(|part| !part.is_empty());
            wanted.start = end;
            return pieces[0].is_some().then_some(pieces);
        }
        self.with_parts(|parts| {
            let part = parts.iter().find(|p| p.start <= wanted.start && wanted.start < p.end())?;
            let first = part.pieces.partition_point(|(end, _)| *end <= wanted.start);
            Some(take(part.pieces[first..].iter(), wanted))
        })
    }

    /// The same, from the disk if it has to be.
    pub async fn read(&self, wanted: &mut Range<u64>) -> Option<Pieces> {
        if let Some(taken) = self.take(wanted) {
            return Some(taken);
        }
        self.chunks()?.read(wanted).await
    }

    /// Its chunks as they lie in memory, each with its number.
    pub(super) fn chunks_in_memory(&self) -> Vec<(u32, Vec<Bytes>)> {
        self.with_parts(|parts| self.chunks_of(parts))
    }

    fn chunks_of(&self, parts: &[Part]) -> Vec<(u32, Vec<Bytes>)> {
        let chunks_of = |part: &'_ Part| {
            let first = part.start.next_multiple_of(CHUNK_BYTES);
            (first..part.end()).step_by(CHUNK_BYTES as usize)
        };
        let starts = parts.iter().flat_map(|part| chunks_of(part).map(move |start| (part, start)));
        let chunk = |(part, start): (&Part, u64)| {
            let mut wanted = start..chunk_end(start).min(self.total());
            if wanted.end > part.end() {
                return None;
            }
            let mut pieces = Vec::new();
            while wanted.start < wanted.end {
                let first = part.pieces.partition_point(|(end, _)| *end <= wanted.start);
                pieces.extend(take(part.pieces[first..].iter(), &mut wanted).into_iter().flatten());
            }
            Some((chunk_number(start), pieces))
        };
        starts.filter_map(chunk).collect()
    }

    /// This content with the parts of another that is the same bytes; that one alone when they
    /// would be too many.
    #[must_use]
    pub(super) fn joined(&self, other: &Self) -> Self {
        let [own, others] = [self, other].map(|body| body.with_parts(<[Part]>::to_vec));
        let mut parts = [own, others].concat();
        parts.sort_by_key(|part| part.start);
        let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            match joined.last_mut() {
                Some(last) if part.start <= last.end() => last.extend(&part),
                _ => joined.push(part),
            }
        }
        let (own, others) = (self.chunks(), other.chunks());
        let have_places = own.zip(others).is_some_and(|(a, b)| a.generation != b.generation);
        if joined.len() > PARTS_MAX || have_places {
            return other.clone();
        }
        let body = Self::of(self.total(), joined);
        own.or(others).into_iter().for_each(|chunks| {
            body.lies_in(chunks.clone());
        });
        body
    }

    /// Bytes that it costs to keep.
    pub(super) fn weight(&self) -> usize {
        match &self.0 {
            Here::Small(all) => all.len(),
            Here::Parts(parts) => parts.weight,
        }
    }

    /// A hold on content that others are still at; `None` if nobody is, or if there is little to
    /// gain.
    pub(super) fn hold(&self, is_object_held: bool) -> Option<Hold> {
        let Here::Parts(parts) = &self.0 else { return None };
        let is_shared = is_object_held || Arc::strong_count(parts) > 1;
        let bytes = parts.weight as u64;
        let is_worth_it = is_shared && bytes > ONE_PIECE_BYTES;
        is_worth_it.then(|| Hold { parts: Arc::downgrade(parts), bytes })
    }
}

impl Chunks {
    /// A place for a content that has none yet.
    pub(super) fn new(disk: &Arc<Disk>) -> Self {
        Self::of(disk, disk.new_generation())
    }

    /// The place of this name.
    pub(super) fn of(disk: &Arc<Disk>, generation: u64) -> Self {
        Self { disk: disk.clone(), generation }
    }

    pub(super) fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the chunk with this byte is there, or on its way.
    pub(super) fn has(&self, at: u64) -> bool {
        has_number(at) && self.disk.has_chunk(self.generation, chunk_number(at))
    }

    /// Whether it can be read without waiting for it to be written.
    pub(super) fn has_written(&self, at: u64) -> bool {
        has_number(at) && self.disk.has_written_chunk(self.generation, chunk_number(at))
    }

    /// Takes some bytes off the front of a range.
    pub(super) async fn read(&self, wanted: &mut Range<u64>) -> Option<Pieces> {
        let chunk_start = wanted.start - wanted.start % CHUNK_BYTES;
        let end = wanted.end.min(chunk_start + CHUNK_BYTES);
        let part = wanted.start - chunk_start..end - chunk_start;
        let number = chunk_number(wanted.start);
        let bytes = self.disk.read_chunk(self.generation, number, part).await?;
        wanted.start += bytes.len() as u64;
        let mut pieces = Pieces::default();
        pieces[0] = Some(bytes);
        Some(pieces)
    }
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Chunks").field(&self.generation).finish()
    }
}

/// The chunk that a byte belongs to. The last number is for all that are too far behind to have one.
pub(super) fn chunk_number(at: u64) -> u32 {
    u32::try_from(at / CHUNK_BYTES).unwrap_or(u32::MAX)
}

fn has_number(at: u64) -> bool {
    chunk_number(at) < u32::MAX
}

/// Where it ends, if the content does not end before.
fn chunk_end(at: u64) -> u64 {
    (at - at % CHUNK_BYTES).saturating_add(CHUNK_BYTES)
}

impl Hold {
    /// Bytes that somebody is still at.
    pub(super) fn bytes(&self) -> u64 {
        if self.parts.strong_count() > 0 { self.bytes } else { 0 }
    }

    /// Whether both are of the same content.
    pub(super) fn is(&self, other: &Self) -> bool {
        Weak::ptr_eq(&self.parts, &other.parts)
    }

    /// Takes the content away.
    pub(super) fn let_go(&self) {
        if let Some(parts) = self.parts.upgrade() {
            // Freed after the lock.
            let _parts =
                std::mem::take(&mut *parts.parts.write().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Takes a few pieces, each with the place where it ends, off the front of a range that begins in
/// the first of them.
pub(super) fn take<'p>(
    pieces: impl Iterator<Item = &'p (u64, Bytes)>,
    wanted: &mut Range<u64>,
) -> Pieces {
    let mut taken = Pieces::default();
    for (slot, (end, piece)) in taken.iter_mut().zip(pieces) {
        let from = *end - piece.len() as u64;
        if from >= wanted.end {
            break;
        }
        let skip = wanted.start.saturating_sub(from) as usize;
        let drop = end.saturating_sub(wanted.end) as usize;
        *slot = Some(piece.slice(skip..piece.len() - drop));
        wanted.start = (*end).min(wanted.end);
    }
    taken
}

fn part_with<'p>(parts: &'p [Part], wanted: &Range<u64>) -> Option<&'p Part> {
    parts.iter().find(|part| part.start <= wanted.start && wanted.end <= part.end())
}

impl Part {
    fn new(start: u64, pieces: Vec<Bytes>) -> Self {
        let mut end = start;
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).map(|piece| {
            end += piece.len() as u64;
            (end, piece)
        });
        Self { start, pieces: pieces.collect() }
    }

    fn end(&self) -> u64 {
        self.pieces.last().map_or(self.start, |(end, _)| *end)
    }

    /// Adds what `next`, which begins inside or right behind this part, has beyond it.
    fn extend(&mut self, next: &Self) {
        let known = self.end();
        for (end, piece) in &next.pieces {
            let from = end - piece.len() as u64;
            if *end > known {
                let skip = known.saturating_sub(from) as usize;
                self.pieces.push((*end, piece.slice(skip..)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_is_gone_through_however_long_the_whole_is_said_to_be() {
        let piece = || Bytes::from(vec![7; CHUNK_BYTES as usize]);
        let pieces = || vec![piece(), piece(), piece()];
        let numbers = |body: &Body| -> Vec<(u32, usize)> {
            let bytes = |pieces: &[Bytes]| pieces.iter().map(Bytes::len).sum();
            body.chunks_in_memory().iter().map(|(at, pieces)| (*at, bytes(pieces))).collect()
        };
        let whole = CHUNK_BYTES as usize;
        let endless = Body::new(u64::MAX - 1, 5, pieces());
        assert_eq!(numbers(&endless), [(1, whole), (2, whole)]);
        assert_eq!(endless.gap(&(0..u64::MAX - 1)), Some(0..5));
        assert_eq!(endless.gap(&(10..u64::MAX - 1)), Some(3 * CHUNK_BYTES + 5..u64::MAX - 1));
        let last = u64::MAX - 1 - 3 * CHUNK_BYTES;
        let end = Body::new(u64::MAX - 1, last, pieces());
        assert_eq!(numbers(&end).len(), 3);
        assert!(numbers(&end).iter().all(|(number, _)| *number == u32::MAX));
        // The last chunk of a content may be a short one, and the first of it begins it.
        let short = Body::new(3 * CHUNK_BYTES - 1, CHUNK_BYTES, vec![piece(), piece().slice(1..)]);
        assert_eq!(numbers(&short), [(1, whole), (2, whole - 1)]);
        assert_eq!(numbers(&Body::new(3, 0, vec![Bytes::from_static(b"abc")])), [(0, 3)]);
        assert_eq!(numbers(&Body::new(3, 1, vec![Bytes::from_static(b"bc")])), []);
    }
}
