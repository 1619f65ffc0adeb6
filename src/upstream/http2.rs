//! HTTP/2 connections to one server, each shared by many requests at one time.
//!
//! A request takes a stream on the oldest connection that has room, so that connections which are
//! too many empty and end. Where none has room it waits for one that is being opened, or opens it:
//! no more are opened at one time than those who wait will fill. What the server breaks off, or
//! refuses a stream on, gets no more requests; what has been silent gets them on probation: a PING
//! has to be answered in time. `driver` keeps one connection going, `message` says heads in either
//! language, `stream` is one request and its answer.

mod driver;
mod message;
mod stream;

pub(super) use stream::{Incoming, Outgoing, halves};

use super::Fault;
use super::dial::{Dialled, NotConnected, dial};
use super::pool::Pool;
use crate::wire::HeadLimits;
use bytes::Bytes;
use driver::Driver;
use h2::client::{Builder, SendRequest};
use pingora::protocols::Stream;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// Streams on one connection, also where the server would have more. What all of them may have on
/// its way at one time, unread, fits into the window of the connection: a client that does not read
/// its answer keeps nobody else from theirs.
const STREAMS_MAX: usize = 64;
/// What an origin may send of one body before somebody takes it.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Of all bodies.
const CONNECTION_WINDOW_BYTES: u32 = STREAMS_MAX as u32 * STREAM_WINDOW_BYTES;
/// What is kept of a request body that the origin has not taken from the socket.
const SEND_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// The larger, the fewer pieces a body comes in.
const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// Streams that we broke off and about which something may still be on its way. A client that
/// leaves is no reason to end a connection that others use.
const BROKEN_OFF_MAX: usize = 1024;
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
}

struct UsageState {
    streams: usize,
    was_used: bool,
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
            was_used: false,
            unused_since: now,
            heard_at: now,
            is_probed: false,
            is_doubted: false,
            has_ended: false,
        };
        Self { state: Mutex::new(state), news: Notify::new(), signs: Notify::new() }
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
    }

    /// One more stream, if there is room; whether there were others before.
    fn take(&self, streams_max: usize) -> Option<bool> {
        let mut state = self.lock();
        if state.is_doubted || state.streams >= streams_max {
            return None;
        }
        state.streams += 1;
        if state.heard_at.elapsed() > QUIET_FOR && !state.is_probed {
            state.is_probed = true;
            self.news.notify_one();
        }
        Some(std::mem::replace(&mut state.was_used, true))
    }
}

/// A stream on a connection, counted for as long as this lives.
pub(super) struct Place {
    /// The connection carried requests before.
    pub(super) is_reused: bool,
    pub(super) address: Option<SocketAddr>,
    connection: u64,
    usage: Arc<Usage>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.usage.lock();
        state.streams -= 1;
        if state.streams == 0 {
            state.unused_since = Instant::now();
            self.usage.news.notify_one();
        }
    }
}

impl Place {
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
        let place = Place { is_reused, address: self.address, connection: self.id, usage };
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
        self.live.retain_mut(|live| is_there(live) && live.is_open());
        self.live.iter().filter(|live| live.id > newer_than).find_map(Live::take)
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

/// What there is for a request to a server that may speak HTTP/2.
pub(super) enum Found {
    Two(Taken),
    /// It speaks HTTP/1.1; the connection that showed it, for the first who asks.
    One(Option<Dialled>),
}

/// A stream on a connection to this server, a newer one than that.
pub(super) async fn find(
    pool: &Arc<Pool>,
    position: usize,
    newer_than: u64,
    is_repeatable: bool,
) -> Result<Found, NotConnected> {
    let server = &pool.servers[position];
    for _ in 0..=ROUNDS_MAX {
        let addresses = server.addresses(pool.settings.connect_timeout).await;
        let mut opened = match take_or_wait(pool, position, newer_than, &addresses) {
            Ok(taken) => {
                // What can only be asked once is not asked on a connection that may be dead.
                if is_repeatable || taken.1.lives().await {
                    return Ok(Found::Two(taken));
                }
                continue;
            }
            Err(opened) => opened,
        };
        let opened = match opened.wait_for(Option::is_some).await {
            Ok(opened) => opened.clone(),
            Err(_) => None,
        };
        match opened {
            Some(Ok(Protocol::Two)) => {}
            Some(Ok(Protocol::One(dialled))) => {
                let mut dialled = dialled.lock().unwrap_or_else(PoisonError::into_inner);
                return Ok(Found::One(dialled.take()));
            }
            Some(Err(not_connected)) => return Err(not_connected),
            None => return Err(no_http2("nobody opens a connection any more".to_owned())),
        }
    }
    Err(no_http2("there is no room on its connections".to_owned()))
}

/// A stream, or an opening to wait for, this one's own if need be.
fn take_or_wait(
    pool: &Arc<Pool>,
    position: usize,
    newer_than: u64,
    addresses: &[SocketAddr],
) -> Result<Taken, watch::Receiver<Option<Opened>>> {
    let mut shelf = pool.servers[position].http2.lock();
    if let Some(taken) = shelf.take(newer_than, addresses) {
        return Ok(taken);
    }
    if let Some(opened) = shelf.join() {
        return Err(opened);
    }
    let (tell, opened) = watch::channel(None);
    let id = shelf.next_id();
    shelf.openings.push(Opening { waiting: 1, opened: opened.clone() });
    // Others wait for it, too, if this one does not any more.
    let pool = pool.clone();
    tokio::spawn(async move {
        let opened = open(&pool, position, id).await;
        tell.send_replace(Some(opened));
    });
    Err(opened)
}

async fn open(pool: &Arc<Pool>, position: usize, id: u64) -> Opened {
    let server = &pool.servers[position];
    let dialled = dial(server, &pool.settings, pool.tls.as_ref(), false).await?;
    server.http2.is_refused.store(!dialled.is_http2, Ordering::Relaxed);
    if !dialled.is_http2 {
        return Ok(Protocol::One(Arc::new(Mutex::new(Some(dialled)))));
    }
    let live = begin(pool, position, id, dialled).await?;
    server.http2.put(id, live);
    Ok(Protocol::Two)
}

/// Makes use of a connection that turned out to speak HTTP/2.
pub(super) async fn adopt(
    pool: &Arc<Pool>,
    position: usize,
    dialled: Dialled,
) -> Result<Taken, NotConnected> {
    let connections = &pool.servers[position].http2;
    connections.is_refused.store(false, Ordering::Relaxed);
    let id = connections.lock().next_id();
    let live = begin(pool, position, id, dialled).await?;
    let taken = live.take().ok_or_else(|| no_http2("it allows no streams".to_owned()))?;
    connections.put(id, live);
    Ok(taken)
}

/// Says hello, and waits for the server's: before it nobody knows how many streams it allows, or
/// whether it speaks HTTP/2 at all.
async fn begin(
    pool: &Arc<Pool>,
    position: usize,
    id: u64,
    dialled: Dialled,
) -> Result<Live, NotConnected> {
    let Dialled { stream, address, .. } = dialled;
    let within = pool.settings.connect_timeout;
    let (requests, connection) = match timeout(within, shake_hands(stream)).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => return Err(no_http2(format!("HTTP/2: {error}"))),
        Err(_) => {
            let reason = format!("no HTTP/2 within {within:?}");
            return Err(NotConnected { fault: Fault::ConnectTimeout, reason });
        }
    };
    if requests.current_max_send_streams() == 0 {
        return Err(no_http2("it allows no streams".to_owned()));
    }
    let usage = Arc::new(Usage::new());
    let driver = Driver {
        id,
        usage: usage.clone(),
        connections: Arc::downgrade(&pool.servers[position].http2),
        idle_timeout: pool.settings.idle_timeout,
        pong_within: within,
    };
    tokio::spawn(driver.run(connection));
    Ok(Live { id, address, requests, usage })
}

type Connection = h2::client::Connection<Stream, Bytes>;

async fn shake_hands(stream: Stream) -> Result<(SendRequest<Bytes>, Connection), h2::Error> {
    let (requests, mut connection) = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(UNTOLD)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HeadLimits::OF_ANSWERS.head_bytes_max as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_reset_streams(BROKEN_OFF_MAX)
        .handshake(stream)
        .await?;
    poll_fn(|context| match Pin::new(&mut connection).poll(context) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending if requests.current_max_send_streams() != UNTOLD => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((requests, connection))
}

fn no_http2(reason: String) -> NotConnected {
    NotConnected { fault: Fault::Unreachable, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> (Arc<Usage>, Place) {
        let usage = Arc::new(Usage::new());
        let long_ago = Instant::now().checked_sub(QUIET_FOR * 2).expect("a time");
        usage.lock().heard_at = long_ago;
        let is_reused = usage.take(1).expect("room");
        let place = Place { is_reused, address: None, connection: 1, usage: usage.clone() };
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
    fn a_doubtful_connection_gets_no_more_streams_until_it_shows_that_it_lives() {
        let usage = Usage::new();
        assert_eq!(usage.take(2), Some(false));
        usage.lock().is_doubted = true;
        assert_eq!(usage.take(2), None);
        usage.lives();
        assert_eq!((usage.take(2), usage.take(2)), (Some(true), None));
    }
}
