//! HTTP/2 connections to one server, each shared by many requests at one time.
//!
//! A request takes a stream on the oldest connection that has room, so that connections which are
//! too many empty and end. Where none has room it waits for one that is being opened, or opens it:
//! no more are opened at one time than those who wait will fill. What the server breaks off gets no
//! more requests, nor does what has carried its share; where it refuses a stream, the others wait
//! for room instead of opening more. What has been silent gets requests on probation: a PING has to
//! be answered in time. `driver` keeps one connection going, `stream` is one request and its answer,
//! `opening` finds streams for requests.

mod driver;
pub(super) mod opening;
mod stream;
mod watched;

pub(super) use stream::{Incoming, Outgoing, halves};

use super::dial::{Dialled, NotConnected};
use bytes::Bytes;
use h2::client::SendRequest;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use watched::Watched;

/// Streams on one connection, also where the server would have more. What all of them may have on
/// its way at one time, unread, fits into the window of the connection: a client that does not read
/// its answer keeps nobody else from theirs.
const STREAMS_MAX: usize = 64;
/// Interim heads (1xx) before the final one of an answer, over HTTP/1.1 as well.
pub(super) const INTERIM_HEADS_MAX: usize = 32;
/// What an origin may send of one body before somebody takes it.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Of all bodies.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX as u32 * STREAM_WINDOW_BYTES;
/// What is kept of a request body that the origin has not taken from the socket.
const SEND_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// The larger, the fewer pieces a body comes in.
const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// Streams that we broke off and about which something may still be on its way. A client that
/// leaves is no reason to end a connection that others use.
const BROKEN_OFF_MAX: usize = 1024;
/// What small frames may cost that nobody has taken: each as many bytes as it is shorter than 256.
/// One stream alone cannot have so many on its way that the library ends the connection.
const SMALL_FRAMES_BUDGET: usize = STREAM_WINDOW_BYTES as usize * 256;
/// Requests on one connection; later ones go to another. The library counts what breaks the rules,
/// and ends the connection where that is too much: each of these may without harm for the others.
const REQUESTS_MAX: usize = 10_000;
/// Frames of bodies without a byte before a connection gets no more requests. The library ends it
/// after 100, whatever else is on it; what is left is for those who have a stream.
const EMPTY_FRAMES_MAX: usize = 32;
/// How long a connection on which the server refused a request gets no more at one time than the
/// server has taken then.
const REFUSED_FOR: Duration = Duration::from_secs(5);
/// The server has not told yet how many streams it allows.
const UNTOLD: usize = usize::MAX - 1;
/// How often a request that found no room on a connection that was opened for it waits for another
/// one. A server that takes nothing on any of them is not to be asked for ever.
const ROUNDS_MAX: usize = 4;
/// A connection on which nothing was heard for so long is asked whether it lives when it is used.
const QUIET_FOR: Duration = Duration::from_secs(5);

/// The connections to one server.
#[derive(Default)]
pub(super) struct Connections {
    shelf: Mutex<Shelf>,
    /// The last connection that could choose chose HTTP/1.1.
    is_refused: AtomicBool,
}

#[derive(Default)]
struct Shelf {
    live: Vec<Live>,
    openings: Vec<Opening>,
    last_id: u64,
    /// Streams that the last connection had room for.
    room: Option<usize>,
}

/// A connection that takes requests. It ends when it is not on the shelf any more and none of its
/// streams is left.
#[derive(Clone)]
struct Live {
    id: u64,
    /// `None` for a socket in the file system.
    address: Option<SocketAddr>,
    requests: SendRequest<Bytes>,
    usage: Arc<Usage>,
}

/// A connection that is being opened, and those who wait for it.
struct Opening {
    waiting: usize,
    opened: watch::Receiver<Option<Opened>>,
}

type Opened = Result<Protocol, NotConnected>;

type Connection = h2::client::Connection<Watched, Bytes>;

/// What a new connection turned out to speak.
#[derive(Clone)]
enum Protocol {
    Two,
    /// For one of those who wait.
    One(Arc<Mutex<Option<Dialled>>>),
}

/// What those who use a connection and whoever drives it tell each other.
struct Usage {
    state: Mutex<UsageState>,
    /// For the driver.
    news: Notify,
    /// For who waits for a sign of life.
    signs: Notify,
    /// For who waits until the server takes more.
    room: Notify,
}

struct UsageState {
    streams: usize,
    /// How many there were.
    requests: usize,
    empty_frames: usize,
    /// So many streams are enough for the server, until then.
    enough: Option<(usize, Instant)>,
    unused_since: Instant,
    heard_at: Instant,
    /// A PING is due.
    is_probed: bool,
    /// Nobody else is to use it before it has shown that it lives.
    is_doubted: bool,
    has_ended: bool,
}

impl Usage {
    fn new() -> Self {
        let now = Instant::now();
        let state = UsageState {
            streams: 0,
            requests: 0,
            empty_frames: 0,
            enough: None,
            unused_since: now,
            heard_at: now,
            is_probed: false,
            is_doubted: false,
            has_ended: false,
        };
        Self {
            state: Mutex::new(state),
            news: Notify::new(),
            signs: Notify::new(),
            room: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, UsageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) {
        self.lock().heard_at = Instant::now();
    }

    /// The PING was answered.
    fn lives(&self) {
        let mut state = self.lock();
        state.heard_at = Instant::now();
        (state.is_probed, state.is_doubted) = (false, false);
        self.signs.notify_waiters();
    }

    fn ends(&self) {
        self.lock().has_ended = true;
        self.signs.notify_waiters();
        self.room.notify_waiters();
    }

    /// Until when the server has enough to do, if it lives.
    fn held_back_until(&self) -> Option<Instant> {
        let state = self.lock();
        let until = state.enough.map(|(_, until)| until);
        until.filter(|until| !(state.is_doubted || state.has_ended) && *until > Instant::now())
    }

    /// It has carried as much as it may.
    fn is_worn_out(&self) -> bool {
        let state = self.lock();
        state.requests >= REQUESTS_MAX || state.empty_frames >= EMPTY_FRAMES_MAX
    }

    /// So many frames came that brought nothing.
    fn got_nothing(&self, frames: usize) {
        self.lock().empty_frames += frames;
    }

    /// One more stream, if there is room; whether there were others before.
    fn take(&self, streams_max: usize) -> Option<bool> {
        let mut state = self.lock();
        state.enough = state.enough.filter(|(_, until)| *until > Instant::now());
        let enough = state.enough.map_or(streams_max, |(enough, _)| enough.min(streams_max));
        if state.is_doubted || state.streams >= enough {
            return None;
        }
        state.streams += 1;
        state.requests += 1;
        if state.streams < enough {
            // Several may have ended before anybody looked.
            self.has_room(&state);
        }
        if state.heard_at.elapsed() > QUIET_FOR && !state.is_probed {
            state.is_probed = true;
            self.news.notify_one();
        }
        Some(state.requests > 1)
    }

    /// Tells one of those who wait for it.
    fn has_room(&self, state: &UsageState) {
        if state.enough.is_some() {
            self.room.notify_one();
        }
    }
}

/// A stream on a connection, counted for as long as this lives.
pub(super) struct Place {
    /// The connection carried requests before.
    pub(super) is_reused: bool,
    pub(super) address: Option<SocketAddr>,
    connection: u64,
    usage: Arc<Usage>,
    /// It was given up already.
    is_left: AtomicBool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl Place {
    /// Once only. Where the server did not take the request, the others are enough for it, for a
    /// while.
    fn leave(&self, was_refused: bool) {
        if self.is_left.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut state = self.usage.lock();
        state.streams -= 1;
        if was_refused {
            let until = Instant::now().checked_add(REFUSED_FOR);
            state.enough = until.map(|until| (state.streams.max(1), until));
        } else {
            self.usage.has_room(&state);
        }
        if state.streams == 0 {
            state.unused_since = Instant::now();
            self.usage.news.notify_one();
        }
    }

    /// The server did not take the request.
    pub(super) fn is_refused(&self) {
        self.leave(true);
    }

    /// The connection's number: later ones have greater ones.
    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    /// Whether the connection has shown that it lives, where it was asked to.
    async fn lives(&self) -> bool {
        loop {
            let sign = self.usage.signs.notified();
            {
                let state = self.usage.lock();
                if state.has_ended || !state.is_probed {
                    return !state.has_ended;
                }
            }
            sign.await;
        }
    }

    /// Nothing came, for too long.
    pub(super) fn is_doubtful(&self) {
        let mut state = self.usage.lock();
        (state.is_doubted, state.is_probed) = (true, true);
        self.usage.news.notify_one();
    }

    /// Something came.
    pub(super) fn is_heard(&self) {
        self.usage.heard();
    }
}

/// Where one request may be sent.
pub(super) type Taken = (SendRequest<Bytes>, Place);

impl Live {
    fn take(&self) -> Option<Taken> {
        let is_reused = self.usage.take(self.room())?;
        let usage = self.usage.clone();
        let (address, connection) = (self.address, self.id);
        let place =
            Place { is_reused, address, connection, usage, is_left: AtomicBool::new(false) };
        Some((self.requests.clone(), place))
    }

    fn room(&self) -> usize {
        self.requests.current_max_send_streams().min(STREAMS_MAX)
    }

    /// Neither has it ended nor did the server say that it will.
    fn is_open(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !matches!(self.requests.poll_ready(&mut context), Poll::Ready(Err(_)))
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server may speak HTTP/2, as far as is known.
    pub(super) fn are_likely(&self) -> bool {
        !self.is_refused.load(Ordering::Relaxed)
    }

    /// This one takes no more requests.
    pub(super) fn retire(&self, id: u64) {
        self.lock().live.retain(|live| live.id != id);
    }

    /// The same, if nobody uses it. Whether that is so.
    fn retire_unused(&self, id: u64, usage: &Usage) -> bool {
        let mut shelf = self.lock();
        let is_unused = usage.lock().streams == 0;
        if is_unused {
            shelf.live.retain(|live| live.id != id);
        }
        is_unused
    }

    fn put(&self, id: u64, live: Live) {
        let mut shelf = self.lock();
        shelf.room = Some(live.room());
        shelf.live.push(live);
        shelf.last_id = shelf.last_id.max(id);
    }
}

impl Shelf {
    /// A stream on one of the connections that are newer than this.
    fn take(&mut self, newer_than: u64, addresses: &[SocketAddr]) -> Option<Taken> {
        // A server that has moved keeps what it has, and gets no more.
        let is_there = |live: &Live| {
            addresses.is_empty() || live.address.is_none_or(|address| addresses.contains(&address))
        };
        self.live.retain_mut(|live| is_there(live) && live.is_open() && !live.usage.is_worn_out());
        self.live.iter().filter(|live| live.id > newer_than).find_map(Live::take)
    }

    /// One of the connections that are newer than this, on which the server has enough to do, and
    /// until when.
    fn held_back(&self, newer_than: u64) -> Option<(Arc<Usage>, Instant)> {
        let until = |live: &Live| Some((live.usage.clone(), live.usage.held_back_until()?));
        self.live.iter().filter(|live| live.id > newer_than).find_map(until)
    }

    /// An opening for one more to wait for.
    fn join(&mut self) -> Option<watch::Receiver<Option<Opened>>> {
        // Whoever opened it has told, and is gone.
        self.openings.retain(|opening| opening.opened.has_changed().is_ok());
        let room = self.room.unwrap_or(STREAMS_MAX);
        let opening = self.openings.iter_mut().find(|opening| opening.waiting < room)?;
        opening.waiting += 1;
        Some(opening.opened.clone())
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> (Arc<Usage>, Place) {
        let usage = Arc::new(Usage::new());
        let long_ago = Instant::now().checked_sub(QUIET_FOR * 2).expect("a time");
        usage.lock().heard_at = long_ago;
        let is_reused = usage.take(1).expect("room");
        let is_left = AtomicBool::new(false);
        let place =
            Place { is_reused, address: None, connection: 1, usage: usage.clone(), is_left };
        (usage, place)
    }

    #[tokio::test]
    async fn a_connection_that_was_quiet_is_asked_whether_it_lives() {
        let (usage, place) = quiet();
        let asked = usage.clone();
        let driver = tokio::spawn(async move {
            asked.news.notified().await;
            assert!(asked.lock().is_probed);
            asked.lives();
        });
        assert!(place.lives().await);
        driver.await.expect("asked");
        drop(place);
        // It was heard just now: nobody waits for another sign.
        assert_eq!(usage.take(1), Some(true));
        assert!(!usage.lock().is_probed);
    }

    #[tokio::test]
    async fn who_waits_for_a_dead_connection_is_told() {
        let (usage, place) = quiet();
        tokio::spawn(async move { usage.ends() });
        assert!(!place.lives().await);
    }

    #[test]
    fn a_connection_that_has_carried_its_share_is_worn_out() {
        let usage = Usage::new();
        usage.lock().requests = REQUESTS_MAX - 1;
        assert!(!usage.is_worn_out());
        assert_eq!(usage.take(1), Some(true));
        assert!(usage.is_worn_out());
        let usage = Usage::new();
        usage.got_nothing(EMPTY_FRAMES_MAX - 1);
        assert!(!usage.is_worn_out());
        usage.got_nothing(1);
        assert!(usage.is_worn_out());
    }

    #[test]
    fn where_a_stream_was_refused_there_are_no_more_at_one_time_than_were_taken() {
        let (usage, refused) = quiet();
        assert_eq!((usage.take(64), usage.take(64)), (Some(true), Some(true)));
        refused.is_refused();
        assert!(usage.held_back_until().is_some());
        assert_eq!(usage.take(64), None);
        assert_eq!(usage.lock().streams, 2);
        // It has left already.
        drop(refused);
        assert_eq!(usage.lock().streams, 2);
        usage.lock().streams -= 1;
        assert_eq!((usage.take(64), usage.take(64)), (Some(true), None));
        let past = Instant::now().checked_sub(REFUSED_FOR);
        usage.lock().enough = past.map(|past| (1, past));
        assert_eq!((usage.held_back_until(), usage.take(64)), (None, Some(true)));
    }

    #[test]
    fn a_doubtful_connection_gets_no_more_streams_until_it_shows_that_it_lives() {
        let usage = Usage::new();
        assert_eq!(usage.take(2), Some(false));
        usage.lock().is_doubted = true;
        assert_eq!(usage.take(2), None);
        usage.lives();
        assert_eq!((usage.take(2), usage.take(2)), (Some(true), None));
    }
}
