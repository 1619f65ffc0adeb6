//! A content while it arrives: one writer, any number of readers, each at its own pace.
//!
//! While everything that came is kept, readers disturb nobody: in memory, or on the disk where it
//! does not fit. When it cannot be kept, only a window behind the newest byte is: the fastest reader
//! sets the pace then, and whoever falls out of the window has to go on without this arrival.

use super::body::{self, Body, Chunks, Pieces};
use super::ledger::Claim;
use crate::upstream::Fault;
use crate::wire::fields::Fields;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How far ahead of what has arrived a part may begin for a client to wait for it.
pub(super) const AHEAD_BYTES_MAX: u64 = 1024 * 1024;

/// What is held for the readers of a content that is not kept, and for the only one.
const WINDOW_BYTES: u64 = 1024 * 1024;
const WINDOW_BYTES_ALONE: u64 = 128 * 1024;
/// What is held at most of a content that goes to the disk while it has not got there: as much as
/// the disk's queue takes, and a bit.
const SPILLING_BYTES_MAX: u64 = 18 * 1024 * 1024;
/// Bytes are copied together into blocks of this size, so that a small piece does not hold on to
/// the large buffer that it was read into.
const BLOCK_BYTES: usize = 64 * 1024;

/// The content.
pub struct Arrival {
    state: Mutex<State>,
    /// Something came, or it is over.
    grown: Notify,
    /// A reader went on, or left.
    read: Notify,
}

struct State {
    /// Where this part of the content begins.
    start: u64,
    /// Where what is still here begins.
    base: u64,
    end: u64,
    pieces: VecDeque<(u64, Bytes)>,
    /// Where the pieces are when all came and were stored.
    stored: Option<Body>,
    block: BytesMut,
    /// How many of the last pieces lie in the block.
    block_pieces: usize,
    /// Room for what is kept in memory; `None` when only a window is.
    claim: Option<Claim>,
    /// Where all of it goes on the disk.
    spilled: Option<Chunks>,
    /// What is before this and is not on the disk is not going to be.
    lost_up_to: u64,
    /// All of it came and was kept.
    is_taken: bool,
    /// The room of what is kept here alone.
    held: Option<Claim>,
    /// Where the fastest reader is.
    front: u64,
    readers: usize,
    /// There was one.
    was_read: bool,
    /// What came last, which nobody sees before it is over.
    last: Vec<Bytes>,
    over: Option<Over>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Over {
    /// It is whole.
    Whole(Option<Fields>),
    /// The origin broke off.
    Broken(Fault),
}

/// What a reader gets instead of bytes.
#[derive(Clone, Debug)]
pub enum ReadEnd {
    /// That was all, with the trailers behind it.
    Whole(Option<Fields>),
    /// There will be no more.
    Broken(Fault),
    /// What comes next is not here any more.
    Lagged,
}

/// The writer has nobody to write for.
pub struct Unwanted;

impl Arrival {
    /// The part of a content that begins at `start`. With a claim all of it is kept as long as the
    /// claim can grow; `spilled` is where it is kept on the disk instead.
    pub(super) fn new(start: u64, claim: Option<Claim>, spilled: Option<Chunks>) -> Arc<Self> {
        let state = State {
            start,
            base: start,
            end: start,
            pieces: VecDeque::new(),
            stored: None,
            block: BytesMut::new(),
            block_pieces: 0,
            claim,
            spilled,
            lost_up_to: start,
            is_taken: false,
            held: None,
            front: start,
            readers: 0,
            was_read: false,
            last: Vec::new(),
            over: None,
        };
        Arc::new(Self { state: Mutex::new(state), grown: Notify::new(), read: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what came. `room` is what may still be expected, where that is known. The pieces as they
    /// are kept.
    pub(super) fn push(&self, data: Bytes, room: Option<u64>) -> Vec<Bytes> {
        let mut state = self.lock();
        let pieces = state.taken_in(data, room);
        for piece in &pieces {
            state.show(piece.clone());
        }
        if state.claim.is_none() {
            state.forget_behind_window();
        }
        drop(state);
        self.grown.notify_waiters();
        pieces
    }

    /// What came last. Readers get it with the end: whoever has everything finds it stored.
    pub(super) fn hold_last(&self, data: Bytes) -> Vec<Bytes> {
        let mut state = self.lock();
        state.last = state.taken_in(data, Some(0));
        state.last.clone()
    }

    /// Whether there is room for so much more in memory. If there is not, nothing more is kept there.
    pub(super) fn has_claimed(&self, more: usize) -> bool {
        let mut state = self.lock();
        let has_room = state.claim.as_mut().is_some_and(|claim| claim.grow(more as u64));
        if !has_room {
            state.claim = None;
        }
        has_room
    }

    /// From now on it is kept on the disk. What came so far is for the caller to take there.
    pub(super) fn spill(&self, chunks: Chunks) -> Vec<Bytes> {
        let mut state = self.lock();
        state.spilled = Some(chunks);
        state.pieces.iter().map(|(_, piece)| piece.clone()).collect()
    }

    /// What came before this and is not on the disk is not going to be.
    pub(super) fn is_lost_up_to(&self, at: u64) {
        self.lock().lost_up_to = at;
    }

    /// Whether it was read, and is not any more.
    pub(super) fn is_abandoned(&self) -> bool {
        let state = self.lock();
        state.was_read && state.readers == 0
    }

    /// Bytes that are here no more, from the disk if they have got there.
    pub async fn read_behind(&self, part: &mut Range<u64>) -> Option<Pieces> {
        let chunks = self.lock().spilled.clone()?;
        chunks.read(part).await
    }

    /// Waits until more may come: always, unless it is not kept and no reader keeps up.
    pub async fn has_room(&self) -> Result<(), Unwanted> {
        loop {
            let read = self.read.notified();
            {
                let state = self.lock();
                let is_on_disk = state.spilled.is_some() && state.lost_up_to <= state.start;
                if state.claim.is_some() || is_on_disk {
                    return Ok(());
                }
                if state.readers == 0 {
                    return Err(Unwanted);
                }
                if state.end.saturating_sub(state.front) < state.window() {
                    return Ok(());
                }
            }
            read.await;
        }
    }

    /// Nothing more comes.
    pub fn finish(&self, over: Over) {
        let mut state = self.lock();
        for last in std::mem::take(&mut state.last) {
            state.show(last);
        }
        state.over.get_or_insert(over);
        drop(state);
        self.grown.notify_waiters();
    }

    /// Everything that came, if all of it is here, and the claim on its room. For the writer, when
    /// nothing more comes. A single piece is a block of its own.
    pub fn take_all(&self) -> Option<(Vec<Bytes>, Claim)> {
        let mut state = self.lock();
        let claim = state.claim.take()?;
        state.is_taken = true;
        let pieces = state.pieces.iter().map(|(_, piece)| piece).chain(&state.last);
        let mut pieces: Vec<Bytes> = pieces.cloned().collect();
        // The last block may be mostly empty.
        if state.block.capacity() > 0 {
            let in_block = pieces.split_off(pieces.len() - state.block_pieces.min(pieces.len()));
            pieces.push(Bytes::from(in_block.concat()));
        }
        Some((pieces, claim))
    }

    /// All of it came, and nothing else holds it: its room is used as long as this is read.
    pub(super) fn is_held_by(&self, claim: Claim) {
        self.lock().held = Some(claim);
    }

    /// All of it is in an object now, which may be made to let go of it.
    pub(super) fn is_stored_in(&self, body: Body) {
        let mut state = self.lock();
        if state.spilled.is_some() {
            return;
        }
        state.pieces.clear();
        state.end += state.last.drain(..).map(|last| last.len() as u64).sum::<u64>();
        state.stored = Some(body);
    }

    /// How many bytes came, with those that nobody sees yet.
    pub(super) fn len_with_last(&self) -> u64 {
        let state = self.lock();
        let last: usize = state.last.iter().map(Bytes::len).sum();
        state.end - state.start + last as u64
    }

    /// How many bytes came.
    pub fn len(&self) -> u64 {
        let state = self.lock();
        state.end - state.start
    }

    /// Whether all of it is kept so far.
    pub fn is_kept(&self) -> bool {
        let state = self.lock();
        state.claim.is_some()
            || state.is_taken
            || state.spilled.is_some()
            || state.over.is_some() && state.base == state.start
    }

    /// A reader from this place on; `None` if that is not here any more.
    pub fn reader(self: &Arc<Self>, at: u64) -> Option<ArrivalReader> {
        let mut state = self.lock();
        (at >= state.base || state.spilled.is_some()).then(|| {
            state.readers += 1;
            state.was_read = true;
            ArrivalReader { arrival: self.clone() }
        })
    }

    /// Whether a byte is still here, or can be read from the disk, or comes soon.
    pub(super) fn can_give(&self, at: u64) -> bool {
        let state = self.lock();
        let is_behind = at < state.base;
        let has_written = || state.spilled.as_ref().is_some_and(|chunks| chunks.has_written(at));
        at <= state.end + AHEAD_BYTES_MAX && (!is_behind || has_written())
    }

    /// Where the newest byte is.
    pub fn end(&self) -> u64 {
        self.lock().end
    }
}

impl State {
    /// The pieces at the front of a part that begins in what is here.
    fn take(&self, part: &mut Range<u64>) -> Option<Pieces> {
        if let Some(body) = &self.stored {
            // The object may have more than came here.
            let mut here = part.start..part.end.min(self.end);
            let taken = body.take(&mut here);
            part.start = here.start;
            return taken;
        }
        let first = self.pieces.partition_point(|(end, _)| *end <= part.start);
        Some(body::take(self.pieces.range(first..), part))
    }

    /// The data as it is kept. Room for it was claimed.
    fn taken_in(&mut self, data: Bytes, room: Option<u64>) -> Vec<Bytes> {
        if self.claim.is_some() || self.spilled.is_some() {
            self.packed(&data, room)
        } else {
            vec![data]
        }
    }

    fn show(&mut self, piece: Bytes) {
        self.end += piece.len() as u64;
        self.pieces.push_back((self.end, piece));
    }

    fn packed(&mut self, data: &[u8], room: Option<u64>) -> Vec<Bytes> {
        let mut packed = Vec::with_capacity(1);
        let (mut rest, mut expected) = (data, room);
        while !rest.is_empty() {
            if self.block.capacity() == 0 {
                let room = expected.map_or(BLOCK_BYTES, |room| {
                    usize::try_from(room).unwrap_or(BLOCK_BYTES).max(rest.len()).min(BLOCK_BYTES)
                });
                self.block = BytesMut::with_capacity(room);
                self.block_pieces = 0;
            }
            let (now, later) = rest.split_at(rest.len().min(self.block.capacity()));
            self.block.extend_from_slice(now);
            packed.push(self.block.split().freeze());
            self.block_pieces += 1;
            expected = expected.map(|room| room.saturating_sub(now.len() as u64));
            rest = later;
        }
        packed
    }

    fn window(&self) -> u64 {
        if self.readers > 1 { WINDOW_BYTES } else { WINDOW_BYTES_ALONE }
    }

    fn forget_behind_window(&mut self) {
        if self.spilled.is_none() {
            self.block = BytesMut::new();
        }
        while let Some((end, _)) = self.pieces.front()
            && *end + self.window() < self.end
            && self.may_go(*end)
        {
            self.base = *end;
            self.pieces.pop_front();
        }
    }

    /// Whether a piece behind the window that ends here is of no use.
    fn may_go(&self, end: u64) -> bool {
        match &self.spilled {
            // What the fastest reader has yet to read stays: it alone sets the pace.
            None => end <= self.front,
            Some(chunks) => {
                end <= self.lost_up_to.min(self.front)
                    || self.end - end > SPILLING_BYTES_MAX
                    || chunks.has_written(end - 1)
            }
        }
    }
}

/// One reader of an arrival.
pub struct ArrivalReader {
    arrival: Arc<Arrival>,
}

impl ArrivalReader {
    /// Takes what is there of a part off its front; waits for the first of it.
    pub async fn next(&mut self, part: &mut Range<u64>) -> Result<Pieces, ReadEnd> {
        let arrival = self.arrival.clone();
        loop {
            let grown = arrival.grown.notified();
            if let Some(result) = self.ready(part) {
                return result;
            }
            grown.await;
        }
    }

    /// The same without waiting. In an arrival that is not kept, parts only lie ahead.
    pub fn ready(&mut self, part: &mut Range<u64>) -> Option<Result<Pieces, ReadEnd>> {
        let mut state = self.arrival.lock();
        if part.start < state.base {
            return Some(Err(ReadEnd::Lagged));
        }
        let result = if part.start < state.end {
            Some(state.take(part).ok_or(ReadEnd::Lagged))
        } else {
            state.over.clone().map(|over| match over {
                Over::Whole(trailers) => Err(ReadEnd::Whole(trailers)),
                Over::Broken(fault) => Err(ReadEnd::Broken(fault)),
            })
        };
        if part.start > state.front {
            state.front = part.start;
            drop(state);
            self.arrival.read.notify_waiters();
        }
        result
    }
}

impl Drop for ArrivalReader {
    fn drop(&mut self) {
        self.arrival.lock().readers -= 1;
        self.arrival.read.notify_waiters();
    }
}
