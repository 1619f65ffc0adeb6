//! Keeps one client's connection going until it ends: because either side says so, because nothing
//! is asked on it for a while, or because the client is a nuisance.

use super::outbox::Outbox;
use super::stream::{self, Conversation};
use super::watch::{OF_A_BAD_REQUEST, Watch, Watched};
use crate::access_log::{Record, Sent};
use crate::config::Limits;
use crate::edge::door::{Door, Visitor};
use crate::edge::own::{Own, Recipient};
use crate::edge::seats::{RESTS_AFTER, Seat};
use crate::metrics::{Closed, Flood};
use crate::wire::Version;
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What a client may send of one body before somebody takes it, and of all: bodies that nobody takes
/// stop the others only when there are eight of them.
const STREAM_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is kept of one answer that the client has not taken from the socket.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams that were refused or reset because of what the client sent on them (CVE-2025-8671), over
/// the life of a connection. Those in a short time are the patience's: this is for whoever shares
/// its connection between many, of whom some are malicious.
const RESET_BY_US_MAX: usize = 2000;
/// How much larger than it may be a head is for which there is an answer like any other.
const HEADS_TAKEN: usize = 2;
/// Those who break streams off ask for others meanwhile: so many times as many tasks as streams.
const TASKS_PER_STREAM: usize = 2;

type Http2 = Connection<Watched, Bytes>;

/// Serves requests until one of the two sides has enough. `read_before` are the first bytes.
pub(in crate::edge) async fn serve(
    door: &Arc<Door>,
    stream: Stream,
    read_before: BytesMut,
    visitor: Visitor,
    shutdown: &mut ShutdownWatch,
) {
    let limits = door.limits();
    let watch = Watch::new();
    let outbox = Outbox::new();
    let watched = Watched::new(stream, read_before, watch.clone(), outbox.clone());
    let greeting = builder(&limits).handshake(watched);
    let connection = match timeout(limits.header_timeout, greeting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return,
        Err(_) => return door.metrics.connection_closed(Closed::HeaderTimeout),
    };
    let tasks = limits.streams * TASKS_PER_STREAM;
    let driver = Driver {
        door,
        visitor,
        limits,
        watch,
        outbox,
        tasks: Arc::new(Semaphore::new(tasks)),
        tasks_max: tasks,
        shutdown: shutdown.clone(),
    };
    driver.run(connection, shutdown).await;
}

fn builder(limits: &Limits) -> Builder {
    let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(bytes(limits.streams))
        .max_header_list_size(bytes(list_bytes_max(limits)))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        // A page may be left as soon as its images are asked for.
        .max_pending_accept_reset_streams(limits.streams * TASKS_PER_STREAM)
        .max_local_error_reset_streams(Some(RESET_BY_US_MAX));
    builder
}

/// What the library takes of a head. It answers what is beyond with a bare 431 that nobody hears of,
/// so this is more than there may be: a list of fields counts 32 bytes for each (RFC 9113, section
/// 6.5.2).
fn list_bytes_max(limits: &Limits) -> usize {
    let of_fields = limits.head.fields_max.saturating_mul(32);
    limits.head.head_bytes_max.saturating_mul(HEADS_TAKEN).saturating_add(of_fields)
}

struct Driver<'a> {
    door: &'a Arc<Door>,
    visitor: Visitor,
    /// Those in force when the connection began: the client was told of some.
    limits: Limits,
    watch: Arc<Watch>,
    outbox: Arc<Outbox>,
    tasks: Arc<Semaphore>,
    tasks_max: usize,
    shutdown: ShutdownWatch,
}

/// A request and where its answer goes.
type Asking = (Request<RecvStream>, SendResponse<Bytes>);

/// Why a connection is brought to its end.
enum Enough {
    /// The edge stops: its requests are answered, and no more are taken.
    Farewell,
    /// The same: nothing has been asked for a while.
    Unused(Closed),
    Flood(Flood),
    /// A head did not arrive in time.
    SlowHead,
    /// The client took nothing for too long.
    Stalled,
    /// It has ended, or the library has said why it ends.
    Over(Option<h2::Error>),
}

/// One of the requests at one time. Whether there are none any more is for the driver to see, also
/// where the last of them ended in a panic.
struct Asked {
    place: Option<OwnedSemaphorePermit>,
    watch: Arc<Watch>,
    _running: TaskTrackerToken,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.place = None;
        self.watch.news.notify_one();
    }
}

impl Driver<'_> {
    async fn run(self, mut connection: Http2, shutdown: &mut ShutdownWatch) {
        let (mut unused_since, unused_max) = (None, self.limits.idle_timeout);
        let mut enough = loop {
            tokio::select! {
                next = self.next(&mut connection, &mut unused_since, unused_max) => match next {
                    Ok((request, respond)) => self.start(request, respond),
                    Err(enough) => break enough,
                },
                _ = shutdown.wait_for(|down| *down) => break Enough::Farewell,
            }
        };
        if let Enough::Unused(why) = enough {
            if why == Closed::Crowded {
                self.watch.hurries();
            }
            self.door.metrics.connection_closed(why);
        }
        if let Enough::Farewell | Enough::Unused(_) = enough {
            enough = self.finish(&mut connection).await;
        }
        self.end(connection, enough).await;
    }

    /// The next request, or why there is no other.
    async fn next(
        &self,
        connection: &mut Http2,
        unused_since: &mut Option<Instant>,
        unused_max: Duration,
    ) -> Result<Asking, Enough> {
        // Where others need the place.
        let mut seat = None;
        loop {
            let news = self.watch.news.notified();
            let is_unused = self.tasks.available_permits() == self.tasks_max;
            *unused_since = is_unused.then(|| unused_since.unwrap_or_else(Instant::now));
            if let Some(flood) = self.watch.flood() {
                return Err(Enough::Flood(flood));
            }
            if !is_unused {
                seat = None;
            }
            let (head_since, stalled_since) = self.watch.waits();
            tokio::select! {
                accepted = connection.accept() => {
                    return accepted.transpose().map_err(|error| Enough::Over(Some(error)))?
                        .ok_or(Enough::Over(None));
                }
                () = news => {}
                () = after(head_since, self.limits.header_timeout) => return Err(Enough::SlowHead),
                () = after(stalled_since, self.limits.write_timeout) => return Err(Enough::Stalled),
                () = after(*unused_since, unused_max) => {
                    return Err(Enough::Unused(Closed::Idle));
                }
                () = after(*unused_since, RESTS_AFTER), if seat.is_none() => {
                    seat = Some(self.door.seats.take());
                }
                () = is_needed(&mut seat) => return Err(Enough::Unused(Closed::Crowded)),
            }
        }
    }

    fn start(&self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let Ok(place) = self.tasks.clone().try_acquire_owned() else {
            return self.decline(respond);
        };
        let asked = Asked {
            place: Some(place),
            watch: self.watch.clone(),
            _running: self.door.running.token(),
        };
        let conversation = Conversation {
            door: self.door.clone(),
            visitor: self.visitor.clone(),
            watch: self.watch.clone(),
            outbox: self.outbox.clone(),
            shutdown: self.shutdown.clone(),
        };
        tokio::spawn(async move {
            let _asked = asked;
            stream::answer(&conversation, request, respond).await;
        });
    }

    /// Nobody has looked at the request: it can be sent again elsewhere.
    fn decline(&self, mut respond: SendResponse<Bytes>) {
        self.watch.costs(OF_A_BAD_REQUEST, Flood::Headers);
        respond.send_reset(Reason::REFUSED_STREAM);
    }

    /// Answers what was asked before the client knew that it is to go.
    async fn finish(&self, connection: &mut Http2) -> Enough {
        connection.graceful_shutdown();
        let (told_at, mut unused_since) = (Instant::now(), None);
        let farewell = self.watch.farewell();
        loop {
            match self.next(connection, &mut unused_since, farewell).await {
                Ok((request, respond)) if told_at.elapsed() < farewell => {
                    self.start(request, respond);
                }
                Ok((_, respond)) => self.decline(respond),
                Err(enough) => return enough,
            }
        }
    }

    async fn end(&self, mut connection: Http2, enough: Enough) {
        let metrics = &self.door.metrics;
        match enough {
            Enough::Flood(flood) => {
                metrics.http2_flood(flood);
                tracing::debug!(frames = flood.label(), peer = %self.visitor.peer, "a flood");
            }
            Enough::Over(Some(error)) if is_for_a_flood(&error) => {
                metrics.http2_flood(self.watch.suspect());
                return tracing::debug!(%error, peer = %self.visitor.peer, "a flood");
            }
            Enough::SlowHead => self.note(Own::HeadTimeout),
            Enough::Stalled => return metrics.connection_closed(Closed::WriteTimeout),
            Enough::Farewell | Enough::Unused(_) | Enough::Over(_) => return,
        }
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        // Where the library has come to an end by itself, it says so again and again.
        let rest = async { while let Some(Ok(_)) = connection.accept().await {} };
        let _ = timeout(self.watch.farewell(), rest).await;
    }

    /// A request that was not read to its end has its place in the log all the same.
    fn note(&self, own: Own) {
        let edge = self.door.edge();
        let mut recording = edge.log.begin(Record::new(SystemTime::now(), self.visitor.peer, None));
        let version = Version::Http2;
        let to = Recipient {
            version,
            persistent: false,
            wants_body: false,
            hsts: b"",
            story: None,
            trouble_page: None,
        };
        own.note(to, &mut recording.record);
        recording.record.status = 0;
        recording.record.is_answered(Sent::default());
    }
}

async fn is_needed(seat: &mut Option<Seat<'_>>) {
    match seat {
        Some(seat) => seat.is_needed().await,
        None => std::future::pending().await,
    }
}

/// Whether the library has counted too much of something by itself.
fn is_for_a_flood(error: &h2::Error) -> bool {
    error.is_library() && error.is_go_away() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
}

async fn after(since: Option<Instant>, time: Duration) {
    match since.and_then(|since| since.checked_add(time)) {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
