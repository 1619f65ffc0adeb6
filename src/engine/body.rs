//! The content of a stored object: all of it, or the parts of it that have come so far.
//!
//! Whoever sends it takes a few pieces at a time, so that an object that is stored no more can let
//! go of its content although a slow client is still at it.

use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};

/// Content smaller than this is kept in one piece.
const ONE_PIECE_BYTES: u64 = 64 * 1024;
/// What a piece costs besides its bytes.
const PIECE_BYTES: usize = size_of::<(u64, Bytes)>() + 48;
/// Parts of one content that are kept apart from each other.
const PARTS_MAX: usize = 64;
/// Pieces taken at a time.
pub const PIECES_MAX: usize = 8;

/// A few consecutive pieces of content.
pub type Pieces = [Option<Bytes>; PIECES_MAX];

/// Parts of a content of known length, apart from each other, in order. Clones share them.
#[derive(Clone, Debug)]
pub struct Body {
    total: u64,
    is_whole: bool,
    weight: usize,
    parts: Arc<RwLock<Vec<Part>>>,
}

/// The parts, for whoever may have to take them away.
pub(super) struct Hold {
    parts: Weak<RwLock<Vec<Part>>>,
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
        let part = Part::new(start, pieces);
        Self::of(total, if part.pieces.is_empty() { Vec::new() } else { vec![part] })
    }

    fn of(total: u64, parts: Vec<Part>) -> Self {
        let piece = |(_, piece): &(u64, Bytes)| PIECE_BYTES + piece.len();
        let part = |part: &Part| size_of::<Part>() + part.pieces.iter().map(piece).sum::<usize>();
        let weight = parts.iter().map(part).sum();
        let is_whole = part_with(&parts, &(0..total)).is_some() || total == 0;
        Self { total, is_whole, weight, parts: Arc::new(RwLock::new(parts)) }
    }

    fn parts(&self) -> RwLockReadGuard<'_, Vec<Part>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Length of the whole.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Nothing is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole && (self.total == 0 || !self.parts().is_empty())
    }

    /// Whether these bytes are here.
    pub(super) fn has(&self, wanted: &Range<u64>) -> bool {
        wanted.is_empty() || part_with(&self.parts(), wanted).is_some()
    }

    /// How many bytes from the beginning on are here.
    pub(super) fn prefix(&self) -> u64 {
        self.parts().first().filter(|part| part.start == 0).map_or(0, Part::end)
    }

    /// Takes a few pieces off the front of a range; `None` if they are not here.
    pub fn take(&self, wanted: &mut Range<u64>) -> Option<Pieces> {
        let parts = self.parts();
        let part = parts.iter().find(|p| p.start <= wanted.start && wanted.start < p.end())?;
        let first = part.pieces.partition_point(|(end, _)| *end <= wanted.start);
        Some(take(part.pieces[first..].iter(), wanted))
    }

    /// This content with the parts of another that is the same bytes; that one alone when they
    /// would be too many.
    #[must_use]
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut parts: Vec<Part> = self.parts().iter().chain(&*other.parts()).cloned().collect();
        parts.sort_by_key(|part| part.start);
        let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            match joined.last_mut() {
                Some(last) if part.start <= last.end() => last.extend(&part),
                _ => joined.push(part),
            }
        }
        if joined.len() > PARTS_MAX { other.clone() } else { Self::of(self.total, joined) }
    }

    /// Bytes that it costs to keep.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// A hold on content that others are still at; `None` if nobody is, or if there is little to
    /// gain.
    pub(super) fn hold(&self, is_object_held: bool) -> Option<Hold> {
        let is_shared = is_object_held || Arc::strong_count(&self.parts) > 1;
        let bytes = self.weight as u64;
        let is_worth_it = is_shared && bytes > ONE_PIECE_BYTES;
        is_worth_it.then(|| Hold { parts: Arc::downgrade(&self.parts), bytes })
    }
}

impl Hold {
    /// Bytes that somebody is still at.
    pub(super) fn bytes(&self) -> u64 {
        if self.parts.strong_count() > 0 { self.bytes } else { 0 }
    }

    /// Takes the content away.
    pub(super) fn let_go(&self) {
        if let Some(parts) = self.parts.upgrade() {
            // Freed after the lock.
            let _parts =
                std::mem::take(&mut *parts.write().unwrap_or_else(PoisonError::into_inner));
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
        let bytes: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        // Small content is copied even from one piece, which may lie in a larger block.
        let pieces =
            if bytes <= ONE_PIECE_BYTES { vec![Bytes::from(pieces.concat())] } else { pieces };
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
