//! An eye on what comes over a connection: frames that cost more than they bring, heads that take
//! too long, and a client that takes nothing.
//!
//! Each frame that carries neither a request nor content uses up some of the patience with its
//! client, which grows again with time, with answers and with what the client takes. The library
//! below counts a few things of its own over the life of a connection, and says so itself.

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The patience with a new client, and with one that has behaved well for long.
const PATIENCE_MAX: u64 = 2000;
/// How much of it grows in a second.
const PATIENCE_PER_SECOND: u64 = 100;
/// How much of it an answer brings that went out whole: more than a reset costs, so that of many
/// requests half can be broken off.
pub(super) const OF_AN_ANSWER: u64 = 6;
/// What a stream costs that the client breaks off.
const OF_A_RESET: u64 = 5;
/// What a request costs that cannot be answered.
pub(super) const OF_A_BAD_REQUEST: u64 = 10;
/// Bytes taken by the client for each unit of it: those who take small pieces say so often.
const BYTES_TAKEN: u64 = 512;

/// Of a frame's head (RFC 9113, section 4.1).
const HEAD_BYTES: usize = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Content in pieces below this brings hardly more than it costs.
const SMALL_DATA_BYTES: usize = 16;

/// What a client used up the patience with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nuisance {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Ping,
    WindowUpdate,
    Continuation,
    Other,
    BadRequest,
}

impl Nuisance {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Headers => "headers",
            Self::Priority => "priority",
            Self::Reset => "rst_stream",
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::WindowUpdate => "window_update",
            Self::Continuation => "continuation",
            Self::Other => "other",
            Self::BadRequest => "bad_request",
        }
    }
}

/// What those who move a connection and those who watch it tell each other.
pub(super) struct Watch {
    state: Mutex<State>,
    /// For whoever keeps the connection going.
    pub(super) news: Notify,
}

struct State {
    patience: u64,
    grown_at: Instant,
    /// What it ended with.
    nuisance: Option<Nuisance>,
    /// Since when a head has been coming.
    head_since: Option<Instant>,
    /// Since when the client has taken nothing that there was for it.
    stalled_since: Option<Instant>,
    taken_bytes: u64,
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        let state = State {
            patience: PATIENCE_MAX,
            grown_at: Instant::now(),
            nuisance: None,
            head_since: None,
            stalled_since: None,
            taken_bytes: 0,
        };
        Arc::new(Self { state: Mutex::new(state), news: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the patience with the client ended with, if it has.
    pub(super) fn nuisance(&self) -> Option<Nuisance> {
        self.lock().nuisance
    }

    /// Since when a head has been coming, and since when the client has taken nothing.
    pub(super) fn waits(&self) -> (Option<Instant>, Option<Instant>) {
        let state = self.lock();
        (state.head_since, state.stalled_since)
    }

    /// The client has got something that it asked for.
    pub(super) fn earns(&self, patience: u64) {
        self.lock().earns(patience);
    }

    /// It did something that costs so much patience.
    pub(super) fn costs(&self, patience: u64, nuisance: Nuisance) {
        if self.lock().costs(patience, nuisance) {
            self.news.notify_one();
        }
    }
}

impl State {
    fn earns(&mut self, patience: u64) {
        self.patience = (self.patience + patience).min(PATIENCE_MAX);
    }

    /// Whether that was the last of it.
    fn costs(&mut self, patience: u64, nuisance: Nuisance) -> bool {
        let grown = self.grown_at.elapsed().as_millis() as u64 * PATIENCE_PER_SECOND / 1000;
        if grown > 0 {
            self.earns(grown);
            self.grown_at = Instant::now();
        }
        let is_over = self.patience < patience && self.nuisance.is_none();
        self.patience = self.patience.saturating_sub(patience);
        if is_over {
            self.nuisance = Some(nuisance);
        }
        is_over
    }
}

/// A connection that is watched. What was read of it before comes first.
pub(super) struct Watched {
    stream: Stream,
    read_before: BytesMut,
    watch: Arc<Watch>,
    frames: Frames,
}

impl Watched {
    pub(super) fn new(stream: Stream, read_before: BytesMut, watch: Arc<Watch>) -> Self {
        Self { stream, read_before, watch, frames: Frames::new() }
    }

    fn heed(&mut self, bytes: &[u8]) {
        let had_head = self.frames.head_is_coming;
        let mut state = self.watch.lock();
        let mut is_news = false;
        self.frames.read(bytes, |cost, nuisance| is_news |= state.costs(cost, nuisance));
        match (had_head, self.frames.head_is_coming) {
            (_, false) => state.head_since = None,
            (false, true) => {
                state.head_since = Some(Instant::now());
                is_news = true;
            }
            (true, true) => {}
        }
        drop(state);
        if is_news {
            self.watch.news.notify_one();
        }
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.watch.lock();
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
                self.watch.news.notify_one();
            }
            Poll::Pending => {}
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.read_before.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, buf))?;
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
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Where in a connection's frames the reading is.
struct Frames {
    preface_left: usize,
    head: [u8; HEAD_BYTES],
    head_len: usize,
    payload_left: usize,
    /// A block of fields has begun and not ended.
    head_is_coming: bool,
    /// It ends with the frame that is being read.
    head_ends: bool,
}

impl Frames {
    fn new() -> Self {
        Self {
            preface_left: super::PREFACE.len(),
            head: [0; HEAD_BYTES],
            head_len: 0,
            payload_left: 0,
            head_is_coming: false,
            head_ends: false,
        }
    }

    /// Reads on, and tells of what costs patience.
    fn read(&mut self, mut bytes: &[u8], mut costs: impl FnMut(u64, Nuisance)) {
        let preface = self.preface_left.min(bytes.len());
        self.preface_left -= preface;
        bytes = &bytes[preface..];
        loop {
            let payload = self.payload_left.min(bytes.len());
            self.payload_left -= payload;
            bytes = &bytes[payload..];
            if self.payload_left == 0 && self.head_ends {
                (self.head_is_coming, self.head_ends) = (false, false);
            }
            let missing = (HEAD_BYTES - self.head_len).min(bytes.len());
            self.head[self.head_len..][..missing].copy_from_slice(&bytes[..missing]);
            self.head_len += missing;
            bytes = &bytes[missing..];
            if self.head_len < HEAD_BYTES {
                return;
            }
            self.head_len = 0;
            if let Some((cost, nuisance)) = self.begin_frame() {
                costs(cost, nuisance);
            }
        }
    }

    /// A frame's head is there; what the frame costs.
    fn begin_frame(&mut self) -> Option<(u64, Nuisance)> {
        let [high, middle, low, kind, flags, ..] = self.head;
        let len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.payload_left = len;
        let is_of_a_head = matches!(kind, 1 | 9);
        if is_of_a_head {
            self.head_is_coming = true;
            self.head_ends = flags & END_HEADERS != 0;
        }
        match kind {
            0 if flags & END_STREAM == 0 && len == 0 => Some((4, Nuisance::Data)),
            0 if flags & END_STREAM == 0 && len < SMALL_DATA_BYTES => Some((1, Nuisance::Data)),
            0 => None,
            // Requests have limits of their own.
            1 if len > 0 => None,
            1 => Some((4, Nuisance::Headers)),
            2 => Some((1, Nuisance::Priority)),
            3 => Some((OF_A_RESET, Nuisance::Reset)),
            4 => Some((4, Nuisance::Settings)),
            6 => Some((1, Nuisance::Ping)),
            8 => Some((1, Nuisance::WindowUpdate)),
            9 => Some((4, Nuisance::Continuation)),
            _ => Some((1, Nuisance::Other)),
        }
    }
}
