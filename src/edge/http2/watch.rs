//! An eye on what comes over a connection: frames that cost more than they bring, heads that take
//! too long, and a client that takes nothing.
//!
//! Each frame that carries neither a request nor content uses up some of the patience with its
//! client, which grows again with time, with answers and with what the client takes. The library
//! below counts a few things of its own over the life of a connection, and says so itself.

use super::socket::Socket;
use crate::metrics::Flood;
use crate::wire::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, Piece,
};
use bytes::{Buf, BytesMut};
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep};

/// The patience with a new client, and with one that has behaved well for long: enough for a page
/// that is left when its 200 images have just been asked for.
const PATIENCE_MAX: u64 = 2000;
/// How much of it grows in a second: twice what a client uses up that asks every 10 ms whether the
/// connection is alive, and answers are few.
const PATIENCE_PER_SECOND: u64 = 200;
/// What a request costs until it is answered. What the library resets for its malformed frames or
/// refuses, and what a client makes it reset, never is (CVE-2025-8671).
const OF_A_REQUEST: u64 = 3;
/// What a stream costs besides that the client breaks off (CVE-2023-44487).
const OF_A_RESET: u64 = 4;
/// How much an answer brings that went out whole: so that of many requests half can be broken off.
pub(super) const OF_AN_ANSWER: u64 = 10;
/// What a request costs besides that has no meaning.
pub(super) const OF_A_BAD_REQUEST: u64 = 10;
/// Bytes taken by the client for each unit of it: those who take small pieces say so often.
const BYTES_TAKEN: u64 = 128;
/// Payload that is of no use, for each unit of its cost.
const BYTES_WASTED: usize = 64;

/// How long a client that is told to go may take to read so.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same where somebody else waits for its place: well below the time for which they wait.
const HURRIED_FAREWELL: Duration = Duration::from_millis(200);
/// How much of what it sends meanwhile is looked for the end.
const DRAINED_BYTES_MAX: usize = 4 << 20;

const ACK: u8 = 1;
/// Content in pieces below this brings hardly more than it costs, which is some microseconds: so many
/// of them are one unit of cost, so that messages of a few bytes may come by the thousand, and all the
/// while, but not as fast as somebody can send them.
const SMALL_DATA_BYTES: usize = 16;
const SMALL_DATA_FRAMES: u8 = 32;

/// What those who move a connection and those who watch it tell each other.
pub(super) struct Watch {
    state: Mutex<State>,
    /// For whoever keeps the connection going.
    pub(super) news: Notify,
}

struct State {
    farewell: Duration,
    patience: u64,
    grown_at: Instant,
    /// What it ended with.
    flood: Option<Flood>,
    /// Since when a head has been coming.
    head_since: Option<Instant>,
    /// Since when the client has taken nothing that there was for it.
    stalled_since: Option<Instant>,
    taken_bytes: u64,
    /// What each kind has used up since the patience was last whole.
    spent: [u64; Flood::COUNT],
    /// The kind that has used up most.
    dearest: Flood,
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            farewell: FAREWELL,
            patience: PATIENCE_MAX,
            grown_at: Instant::now(),
            flood: None,
            head_since: None,
            stalled_since: None,
            taken_bytes: 0,
            spent: [0; Flood::COUNT],
            dearest: Flood::Data,
        };
        Arc::new(Self { state: Mutex::new(state), news: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the patience with the client ended with, if it has.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.lock().flood
    }

    /// Since when a head has been coming, and since when the client has taken nothing.
    pub(super) fn waits(&self) -> (Option<Instant>, Option<Instant>) {
        let state = self.lock();
        (state.head_since, state.stalled_since)
    }

    /// How long the client may take to read that it is told to go.
    pub(super) fn farewell(&self) -> Duration {
        self.lock().farewell
    }

    /// Somebody else needs the place.
    pub(super) fn hurries(&self) {
        self.lock().farewell = HURRIED_FAREWELL;
    }

    /// What there was most of, if there was too much of something.
    pub(super) fn suspect(&self) -> Flood {
        self.lock().dearest
    }

    /// The client has got something that it asked for.
    pub(super) fn earns(&self, patience: u64) {
        self.lock().earns(patience);
    }

    /// It did something that costs so much patience.
    pub(super) fn costs(&self, patience: u64, flood: Flood) {
        if self.lock().costs(patience, flood) {
            self.news.notify_one();
        }
    }

    /// The client took so much, or nothing for now.
    pub(super) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.lock();
        match written {
            Poll::Ready(Ok(bytes)) => {
                state.stalled_since = None;
                state.taken_bytes += *bytes as u64;
                let earned = state.taken_bytes / BYTES_TAKEN;
                state.taken_bytes %= BYTES_TAKEN;
                state.earns(earned);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending if state.stalled_since.is_none() => {
                state.stalled_since = Some(Instant::now());
                drop(state);
                self.news.notify_one();
            }
            Poll::Pending => {}
        }
    }
}

impl State {
    fn earns(&mut self, patience: u64) {
        self.patience = (self.patience + patience).min(PATIENCE_MAX);
        if self.patience == PATIENCE_MAX {
            (self.spent, self.dearest) = ([0; Flood::COUNT], Flood::Data);
        }
    }

    /// Whether that was the last of it.
    fn costs(&mut self, patience: u64, flood: Flood) -> bool {
        let grown = self.grown_at.elapsed().as_millis() as u64 * PATIENCE_PER_SECOND / 1000;
        if grown > 0 {
            self.earns(grown);
            self.grown_at = Instant::now();
        }
        let is_over = self.patience < patience && self.flood.is_none();
        self.patience = self.patience.saturating_sub(patience);
        self.spent[flood as usize] += patience;
        if self.spent[flood as usize] >= self.spent[self.dearest as usize] {
            self.dearest = flood;
        }
        if is_over {
            self.flood = Some(self.dearest);
        }
        is_over
    }
}

/// A connection that is watched. What was read of it before comes first.
pub(super) struct Watched {
    socket: Arc<Mutex<Socket>>,
    read_before: BytesMut,
    watch: Arc<Watch>,
    frames: Coming,
    /// The end of the time for reading what it was told last.
    farewell: Option<Pin<Box<Sleep>>>,
    drained_bytes: usize,
}

impl Watched {
    pub(super) fn new(
        socket: Arc<Mutex<Socket>>,
        read_before: BytesMut,
        watch: Arc<Watch>,
    ) -> Self {
        let (frames, farewell, drained_bytes) = (Coming::new(), None, 0);
        Self { socket, read_before, watch, frames, farewell, drained_bytes }
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heed(&mut self, bytes: &[u8]) {
        let heads_before = self.frames.heads;
        let mut state = self.watch.lock();
        let mut is_news = false;
        self.frames.read(bytes, |cost, flood| {
            is_news |= cost > 0 && state.costs(cost, flood);
        });
        if !self.frames.head_is_coming {
            state.head_since = None;
        } else if self.frames.heads > heads_before {
            state.head_since = Some(Instant::now());
            is_news = true;
        }
        drop(state);
        if is_news {
            self.watch.news.notify_one();
        }
    }

    /// Forgets what still comes, for as long as the client may take to read what it was told last:
    /// closed with something unread, the connection would be reset, and that would be lost.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let time = self.watch.farewell();
        let farewell = self.farewell.get_or_insert_with(|| Box::pin(sleep(time)));
        if farewell.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut room = [0; 4096];
        while self.drained_bytes < DRAINED_BYTES_MAX {
            let mut buf = ReadBuf::new(&mut room);
            let read = self.socket().poll_read(context, &mut buf);
            match ready!(read) {
                Ok(()) if !buf.filled().is_empty() => self.drained_bytes += buf.filled().len(),
                _ => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.watch.flood().is_some() {
            // Whoever keeps the connection going knows, and ends it.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if self.read_before.is_empty() {
            ready!(self.socket().poll_read(context, buf))?;
        } else {
            let count = self.read_before.len().min(buf.remaining());
            buf.put_slice(&self.read_before[..count]);
            self.read_before.advance(count);
        }
        let this = &mut *self;
        this.heed(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.socket().poll_shutdown(context))?;
        self.poll_drain(context).map(Ok)
    }
}

/// The frames that come, and what they cost.
struct Coming {
    preface_left: usize,
    frames: frames::Frames,
    /// What the payload is, where it is of no use.
    wasted: Option<Flood>,
    /// Bytes of such payload that have not cost anything yet.
    wasted_bytes: usize,
    /// Small pieces of content since the last that cost something.
    small_data: u8,
    /// The first SETTINGS came, as they have to.
    has_begun: bool,
    /// Blocks of fields that have begun.
    heads: u64,
    /// The last of them has not ended.
    head_is_coming: bool,
    /// It ends with the frame that is being read.
    head_ends: bool,
}

impl Coming {
    fn new() -> Self {
        Self {
            preface_left: super::PREFACE.len(),
            frames: frames::Frames::default(),
            wasted: None,
            wasted_bytes: 0,
            small_data: 0,
            has_begun: false,
            heads: 0,
            head_is_coming: false,
            head_ends: false,
        }
    }

    /// Reads on, and tells of what costs patience.
    fn read(&mut self, mut bytes: &[u8], mut costs: impl FnMut(u64, Flood)) {
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        while let Some(Piece { frame, begins, bytes, ends }) = self.frames.next(&mut bytes) {
            if begins {
                let (cost, flood) = self.begin(frame);
                costs(cost, flood);
            } else if let Some(flood) = self.wasted {
                // Only what came: what was announced costs nothing.
                self.wasted_bytes += bytes;
                costs((self.wasted_bytes / BYTES_WASTED) as u64, flood);
                self.wasted_bytes %= BYTES_WASTED;
            }
            if ends && self.head_ends {
                (self.head_is_coming, self.head_ends) = (false, false);
            }
        }
    }

    /// A frame's head is there; what the frame costs.
    fn begin(&mut self, Frame { len, kind, flags, .. }: Frame) -> (u64, Flood) {
        if matches!(kind, HEADERS | CONTINUATION) {
            self.heads += u64::from(kind == HEADERS);
            self.head_is_coming = true;
            self.head_ends = flags & END_HEADERS != 0;
        }
        self.wasted = match kind {
            4 => Some(Flood::Settings),
            0..=6 | 8 | 9 => None,
            _ => Some(Flood::Other),
        };
        match kind {
            DATA if flags & END_STREAM == 0 && len == 0 => (4, Flood::Data),
            DATA if flags & END_STREAM == 0 && len < SMALL_DATA_BYTES => {
                self.small_data = (self.small_data + 1) % SMALL_DATA_FRAMES;
                (u64::from(self.small_data == 0), Flood::Data)
            }
            DATA => (0, Flood::Data),
            HEADERS if len > 0 => (OF_A_REQUEST, Flood::Headers),
            HEADERS => (OF_A_REQUEST + 4, Flood::Headers),
            2 => (1, Flood::Priority),
            3 => (OF_A_RESET, Flood::Reset),
            // Whoever acknowledges what was not sent is sent away by the library.
            4 if flags & ACK != 0 => (0, Flood::Settings),
            4 if !std::mem::replace(&mut self.has_begun, true) => (0, Flood::Settings),
            4 => (4, Flood::Settings),
            6 => (1, Flood::Ping),
            8 => (1, Flood::WindowUpdate),
            CONTINUATION => (4, Flood::Continuation),
            _ => (1, Flood::Other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
        [&[high, middle, low, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// What they cost, neighbours of one kind together.
    fn costs_of(pieces: &[&[u8]]) -> (Vec<(u64, Flood)>, u64, bool) {
        let (mut frames, mut costs) = (Coming::new(), Vec::<(u64, Flood)>::new());
        for piece in pieces {
            frames.read(piece, |cost, flood| match costs.last_mut() {
                _ if cost == 0 => {}
                Some((all, last)) if *last == flood => *all += cost,
                _ => costs.push((cost, flood)),
            });
        }
        (costs, frames.heads, frames.head_is_coming)
    }

    #[test]
    fn frames_cost_the_same_however_they_are_cut() {
        let all = [
            super::super::PREFACE,
            &frame(4, 0, &[0; 12]),
            &frame(4, ACK, b""),
            &frame(1, END_HEADERS, &[9; 300]),
            &frame(0, 0, b""),
            &frame(3, 0, &[0; 4]),
            &frame(0x42, 0xff, &[0; 640]),
            &frame(1, 0, b"x"),
            &frame(9, 0, b""),
        ]
        .concat();
        let expected = vec![
            (OF_A_REQUEST, Flood::Headers),
            (4, Flood::Data),
            (OF_A_RESET, Flood::Reset),
            (11, Flood::Other),
            (OF_A_REQUEST, Flood::Headers),
            (4, Flood::Continuation),
        ];
        for len in [1, 2, 7, 24, 100, all.len()] {
            let pieces: Vec<&[u8]> = all.chunks(len).collect();
            assert_eq!(costs_of(&pieces), (expected.clone(), 2, true), "in pieces of {len}");
        }
        let whole = [&all[..], &frame(9, END_HEADERS, b"y")].concat();
        assert!(!costs_of(&[&whole]).2, "the head has ended");
        assert!(costs_of(&[&whole[..whole.len() - 1]]).2, "but not before its last byte");
    }

    #[test]
    fn messages_of_a_few_bytes_may_come_by_the_thousand() {
        let costs = |len, count| {
            let all = [super::super::PREFACE, &frame(0, 0, &vec![0; len]).repeat(count)].concat();
            costs_of(&[&all]).0.iter().map(|(cost, _)| cost).sum::<u64>()
        };
        assert!(costs(12, 5000) < PATIENCE_PER_SECOND, "each second");
        assert!(costs(12, 50_000) < PATIENCE_MAX, "in a rush");
        assert!(costs(1, 100_000) > PATIENCE_MAX);
        assert!(costs(0, 1000) > PATIENCE_MAX);
    }

    #[test]
    fn what_is_announced_costs_nothing_until_it_comes() {
        let mut announced = frame(0x42, 0, &[0; 640]);
        announced[..3].copy_from_slice(&[0xff; 3]);
        let (costs, ..) = costs_of(&[super::super::PREFACE, &announced]);
        assert_eq!(costs, [(11, Flood::Other)]);
    }

    #[test]
    fn patience_ends_with_what_used_up_most_and_grows_with_answers() {
        let watch = Watch::new();
        watch.costs(500, Flood::Ping);
        for _ in 0..200 {
            watch.costs(OF_A_REQUEST + OF_A_RESET, Flood::Reset);
            assert_eq!(watch.flood(), None);
        }
        watch.costs(PATIENCE_MAX, Flood::Other);
        assert_eq!(watch.flood(), Some(Flood::Other));
        let patient = Watch::new();
        for _ in 0..10_000 {
            patient.costs(OF_A_REQUEST, Flood::Headers);
            patient.earns(OF_AN_ANSWER);
            patient.costs(OF_A_REQUEST + OF_A_RESET, Flood::Reset);
        }
        assert_eq!(patient.flood(), None);
    }
}
