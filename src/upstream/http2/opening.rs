//! Streams for requests: on a connection that is there, or on one that is opened for all who wait.

use super::driver::Driver;
use super::watched::Watched;
use super::{
    BROKEN_OFF_MAX, CONNECTION_WINDOW_BYTES, Connection, FRAME_BYTES_MAX, Live, Opened, Opening,
    Protocol, REQUESTS_MAX, ROUNDS_MAX, SEND_BUFFER_BYTES_MAX, SMALL_FRAMES_BUDGET,
    STREAM_WINDOW_BYTES, Taken, UNTOLD, Usage,
};
use crate::upstream::Fault;
use crate::upstream::dial::{Dialled, NotConnected};
use crate::upstream::pool::Pool;
use crate::wire::HeadLimits;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// What there is for a request to a server that may speak HTTP/2.
pub(in crate::upstream) enum Found {
    Two(Taken),
    /// It speaks HTTP/1.1; the connection that showed it, for the first who asks.
    One(Option<Dialled>),
}

/// A stream on a connection to this server, a newer one than that.
pub(in crate::upstream) async fn find(
    pool: &Arc<Pool>,
    position: usize,
    newer_than: u64,
    is_repeatable: bool,
) -> Result<Found, NotConnected> {
    let server = &pool.servers[position];
    let connect_timeout = pool.settings.connect_timeout;
    let room_by = Instant::now() + pool.settings.queue_timeout;
    let mut rounds = 0;
    while rounds <= ROUNDS_MAX {
        let addresses = server.addresses(connect_timeout).await;
        let mut opened = match take_or_wait(pool, position, newer_than, &addresses) {
            Chance::Taken(taken) => {
                // What can only be asked once is not asked on a connection that may be dead.
                if is_repeatable || taken.1.lives().await {
                    return Ok(Found::Two(taken));
                }
                rounds += 1;
                continue;
            }
            Chance::Room(usage, until) => {
                let _ = timeout_at(until.min(room_by), usage.room.notified()).await;
                if Instant::now() >= room_by {
                    let reason = "it refuses more streams".to_owned();
                    return Err(NotConnected::blameless(Fault::Busy, reason));
                }
                continue;
            }
            Chance::Opening(opened) => opened,
        };
        rounds += 1;
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

/// What may become a stream for a request.
enum Chance {
    Taken(Taken),
    /// A connection is being opened.
    Opening(watch::Receiver<Option<Opened>>),
    /// The server has as much to do as it wants, until then at the latest. More connections would
    /// only bring it more.
    Room(Arc<Usage>, Instant),
}

/// A stream, or something to wait for: an opening of its own if need be.
fn take_or_wait(
    pool: &Arc<Pool>,
    position: usize,
    newer_than: u64,
    addresses: &[SocketAddr],
) -> Chance {
    let mut shelf = pool.servers[position].http2.lock();
    if let Some(taken) = shelf.take(newer_than, addresses) {
        return Chance::Taken(taken);
    }
    if let Some((usage, until)) = shelf.held_back(newer_than) {
        return Chance::Room(usage, until);
    }
    if let Some(opened) = shelf.join() {
        return Chance::Opening(opened);
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
    Chance::Opening(opened)
}

async fn open(pool: &Arc<Pool>, position: usize, id: u64) -> Opened {
    let server = &pool.servers[position];
    let dialled = server.dial(&pool.settings, pool.tls.as_ref(), false).await?;
    server.http2.is_refused.store(!dialled.is_http2, Ordering::Relaxed);
    if !dialled.is_http2 {
        return Ok(Protocol::One(Arc::new(Mutex::new(Some(dialled)))));
    }
    let live = begin(pool, position, id, dialled).await?;
    server.http2.put(id, live);
    Ok(Protocol::Two)
}

/// A stream on a connection that turned out to speak HTTP/2; others may use it, too.
pub(in crate::upstream) async fn begin_shared(
    pool: &Arc<Pool>,
    position: usize,
    dialled: Dialled,
) -> Result<Taken, NotConnected> {
    let (live, taken) = first(pool, position, dialled).await?;
    pool.servers[position].http2.put(live.id, live);
    Ok(taken)
}

/// The only stream on a connection that turned out to speak HTTP/2; it ends with it.
pub(in crate::upstream) async fn begin_apart(
    pool: &Arc<Pool>,
    position: usize,
    dialled: Dialled,
) -> Result<Taken, NotConnected> {
    Ok(first(pool, position, dialled).await?.1)
}

async fn first(
    pool: &Arc<Pool>,
    position: usize,
    dialled: Dialled,
) -> Result<(Live, Taken), NotConnected> {
    let connections = &pool.servers[position].http2;
    connections.is_refused.store(false, Ordering::Relaxed);
    let id = connections.lock().next_id();
    let live = begin(pool, position, id, dialled).await?;
    let taken = live.take().ok_or_else(|| no_http2("it allows no streams".to_owned()))?;
    Ok((live, taken))
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
    let usage = Arc::new(Usage::new());
    let stream = Watched::new(stream, usage.clone());
    let (requests, connection) = match timeout(within, shake_hands(stream)).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(error)) => return Err(no_http2(format!("HTTP/2: {error}"))),
        Err(_) => {
            let reason = format!("no HTTP/2 within {within:?}");
            return Err(NotConnected::new(Fault::ConnectTimeout, reason));
        }
    };
    if requests.current_max_send_streams() == 0 {
        return Err(no_http2("it allows no streams".to_owned()));
    }
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

async fn shake_hands(stream: Watched) -> Result<(SendRequest<Bytes>, Connection), h2::Error> {
    let (requests, mut connection) = Builder::new()
        .enable_push(false)
        .initial_max_send_streams(UNTOLD)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HeadLimits::OF_ANSWERS.head_bytes_max as u32)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_concurrent_reset_streams(BROKEN_OFF_MAX)
        .max_local_error_reset_streams(Some(REQUESTS_MAX))
        .data_frame_budget(SMALL_FRAMES_BUDGET)
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
    NotConnected::new(Fault::Unreachable, reason)
}
