//! Keeps one client's connection going until it ends: because either side says so, because nothing
//! is asked on it for a while, or because the client is a nuisance.

use super::bell::Bell;
use super::outbox::Outbox;
use super::socket::Socket;
use super::stream::{self, Conversation};
use super::watch::{OF_A_BAD_REQUEST, Watch, Watched};
use crate::access_log::{Record, Sent};
use crate::config::Limits;
use crate::edge::door::{Door, Visitor};
use crate::edge::own::{Own, Recipient};
use crate::edge::seats::{RESTS_AFTER, Seat};
use crate::edge::vigil::{Vigil, Woken};
use crate::metrics::{Closed, Flood};
use crate::wire::Version;
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};
use tokio::sync::{Semaphore, watch};
use tokio::task::coop;
use tokio::time::{Instant, timeout};

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

/// Where nothing else is due before.
const LOOKS_AGAIN_AFTER: Duration = Duration::from_secs(3600);

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
    let socket = Arc::new(Mutex::new(Socket::new(stream, watch.clone(), outbox.clone())));
    let watched = Watched::new(socket.clone(), read_before, watch.clone());
    let greeting = builder(&limits).handshake(watched);
    let connection = match timeout(limits.header_timeout, greeting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return,
        Err(_) => return door.metrics.connection_closed(Closed::HeaderTimeout),
    };
    let tasks = limits.streams * TASKS_PER_STREAM;
    let driver = Driver {
        conversation: Arc::new(Conversation {
            door: door.clone(),
            visitor,
            watch,
            outbox,
            shutdown: shutdown.clone(),
        }),
        limits,
        socket,
        tasks: Arc::new(Semaphore::new(tasks)),
        tasks_max: tasks,
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

struct Driver {
    conversation: Arc<Conversation>,
    /// Those in force when the connection began: the client was told of some.
    limits: Limits,
    socket: Arc<Mutex<Socket>>,
    tasks: Arc<Semaphore>,
    tasks_max: usize,
}

/// A request and where its answer goes.
type Asking = (Request<RecvStream>, SendResponse<Bytes>);

/// An answer on its way. What goes wrong with it is no matter for the others.
type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is to happen at a time.
#[derive(Clone, Copy)]
enum Due {
    SlowHead,
    Stalled,
    Idle,
    /// Its place goes to whoever needs it.
    Rest,
}

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

/// Tells the driver when a task has ended, also where that was a panic: there may be nothing left to do.
struct Ended(Arc<Conversation>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.watch.news.notify_one();
    }
}

impl Driver {
    async fn run(self, mut connection: Http2, shutdown: &mut ShutdownWatch) {
        let (unused_max, vigil) = (self.limits.idle_timeout, Vigil::new(shutdown.clone()));
        let mut enough = self.converse(&mut connection, vigil, unused_max, None).await;
        if let Enough::Unused(why) = enough {
            if why == Closed::Crowded {
                self.watch().hurries();
            }
            self.door().metrics.connection_closed(why);
        }
        if let Enough::Farewell | Enough::Unused(_) = enough {
            // What was asked before the client knew that it is to go is answered.
            connection.graceful_shutdown();
            let farewell = self.watch().farewell();
            let until = Instant::now() + farewell;
            // It knows that everything ends.
            let (_never, ends) = watch::channel(false);
            enough = self.converse(&mut connection, Vigil::new(ends), farewell, Some(until)).await;
        }
        self.end(connection, enough).await;
    }

    fn door(&self) -> &Arc<Door> {
        &self.conversation.door
    }

    fn watch(&self) -> &Watch {
        &self.conversation.watch
    }

    fn socket(&self) -> MutexGuard<'_, Socket> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers what is asked, until that is enough. What comes after `until` is declined.
    async fn converse(
        &self,
        connection: &mut Http2,
        mut vigil: Vigil,
        unused_max: Duration,
        until: Option<Instant>,
    ) -> Enough {
        // Where others need the place.
        let (mut seat, mut unused_since, bell) = (None, None, Bell::new());
        loop {
            let (now, news) = (Instant::now(), self.watch().news.notified());
            let is_unused = self.tasks.available_permits() == self.tasks_max;
            unused_since = is_unused.then(|| unused_since.unwrap_or(now));
            if let Some(flood) = self.watch().flood() {
                return Enough::Flood(flood);
            }
            if vigil.is_leaving() {
                return Enough::Farewell;
            }
            if !is_unused {
                seat = None;
            }
            let (head_since, stalled_since) = self.watch().waits();
            let rests_since = unused_since.filter(|_| seat.is_none());
            let next = [
                (head_since, self.limits.header_timeout, Due::SlowHead),
                (stalled_since, self.limits.write_timeout, Due::Stalled),
                (unused_since, unused_max, Due::Idle),
                (rests_since, RESTS_AFTER, Due::Rest),
            ];
            let next = next.into_iter().filter_map(|(since, time, due)| {
                since.and_then(|since| since.checked_add(time)).map(|at| (at, due))
            });
            let next = next.min_by_key(|(at, _)| *at);
            match next.filter(|(at, _)| *at <= now) {
                Some((_, Due::SlowHead)) => return Enough::SlowHead,
                Some((_, Due::Stalled)) => return Enough::Stalled,
                Some((_, Due::Idle)) => return Enough::Unused(Closed::Idle),
                Some((_, Due::Rest)) => {
                    seat = Some(self.door().seats.take());
                    continue;
                }
                None => {}
            }
            let looks_again_at = next.map_or(now + LOOKS_AGAIN_AFTER, |(at, _)| at);
            let turn = async {
                tokio::select! {
                    biased;
                    turn = poll_fn(|context| self.turn(connection, &bell, until, context)) => Some(turn),
                    () = news => None,
                    () = is_needed(&mut seat) => Some(Err(Enough::Unused(Closed::Crowded))),
                }
            };
            match vigil.unless_over(looks_again_at, turn).await {
                Ok(Some(Ok(()))) => (seat, unused_since) = (None, None),
                Ok(Some(Err(enough))) => return enough,
                // Something is otherwise than it was.
                Ok(None) | Err(Woken::Late) => {}
                Err(Woken::Leaving) => return Enough::Farewell,
            }
        }
    }

    /// Goes on with all that the client or an answer has made possible.
    fn turn(
        &self,
        connection: &mut Http2,
        bell: &Bell,
        until: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Enough>> {
        if !bell.begins_turn(context.waker()) {
            return Poll::Pending;
        }
        let mut is_asked = false;
        loop {
            let over = self.round(connection, until, &mut bell.context(), &mut is_asked);
            if let Some(enough) = over {
                return Poll::Ready(Err(enough));
            }
            // Other connections want their turn, too.
            if !coop::has_budget_remaining() {
                bell.puts_off_turn();
                break;
            }
            if bell.ends_turn() {
                break;
            }
        }
        if is_asked { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Takes all requests that are there. Most answers are there at once: they leave together, and
    /// only what has to wait for something becomes a task.
    fn round(
        &self,
        connection: &mut Http2,
        until: Option<Instant>,
        context: &mut Context<'_>,
        is_asked: &mut bool,
    ) -> Option<Enough> {
        let mut answers = Vec::new();
        self.socket().begin_turn();
        let over = loop {
            match coop::poll_proceed(context) {
                Poll::Ready(progress) => progress.made_progress(),
                Poll::Pending => break None,
            }
            match pin!(connection.accept()).poll(context) {
                Poll::Ready(Some(Ok(asking))) => answers.extend(self.start(asking, until)),
                Poll::Ready(Some(Err(error))) => break Some(Enough::Over(Some(error))),
                Poll::Ready(None) => break Some(Enough::Over(None)),
                Poll::Pending => break None,
            }
            *is_asked = true;
            if let Some(flood) = self.watch().flood() {
                break Some(Enough::Flood(flood));
            }
        };
        self.socket().end_turn(context);
        for answer in answers.into_iter().filter_map(unfinished) {
            let ended = Ended(self.conversation.clone());
            tokio::spawn(async move {
                let _ended = ended;
                answer.await;
            });
        }
        over
    }

    /// Begins an answer. It comes back if there is anything left to do.
    fn start(&self, asking: Asking, until: Option<Instant>) -> Option<Answering> {
        let (request, respond) = asking;
        if until.is_some_and(|until| Instant::now() >= until) {
            self.decline(respond);
            return None;
        }
        let Ok(place) = self.tasks.clone().try_acquire_owned() else {
            self.decline(respond);
            return None;
        };
        let (conversation, running) = (self.conversation.clone(), self.door().running.token());
        let answer = async move {
            let _held = (place, running);
            stream::answer(&conversation, request, respond).await;
        };
        unfinished(Box::pin(answer))
    }

    /// Nobody has looked at the request: it can be sent again elsewhere.
    fn decline(&self, mut respond: SendResponse<Bytes>) {
        self.watch().costs(OF_A_BAD_REQUEST, Flood::Headers);
        respond.send_reset(Reason::REFUSED_STREAM);
    }

    async fn end(&self, mut connection: Http2, enough: Enough) {
        let (metrics, peer) = (&self.door().metrics, self.conversation.visitor.peer);
        match enough {
            Enough::Flood(flood) => {
                metrics.http2_flood(flood);
                tracing::debug!(frames = flood.label(), %peer, "a flood");
            }
            Enough::Over(Some(error)) if is_for_a_flood(&error) => {
                metrics.http2_flood(self.watch().suspect());
                return tracing::debug!(%error, %peer, "a flood");
            }
            Enough::SlowHead => self.note(Own::HeadTimeout),
            Enough::Stalled => return metrics.connection_closed(Closed::WriteTimeout),
            Enough::Farewell | Enough::Unused(_) | Enough::Over(_) => return,
        }
        connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        // Where the library has come to an end by itself, it says so again and again.
        let rest = async { while let Some(Ok(_)) = connection.accept().await {} };
        let _ = timeout(self.watch().farewell(), rest).await;
    }

    /// A request that was not read to its end has its place in the log all the same.
    fn note(&self, own: Own) {
        let edge = self.door().edge();
        let mut recording =
            edge.log.begin(Record::new(SystemTime::now(), self.conversation.visitor.peer, None));
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

/// Goes on with an answer as far as that is possible now. What is left of it has to be polled once more
/// by whoever keeps it: nobody has been told of what it waits for.
fn unfinished(mut answer: Answering) -> Option<Answering> {
    let mut context = Context::from_waker(Waker::noop());
    // What it held is dropped with it. Tasks survive their panics by themselves.
    let poll = AssertUnwindSafe(|| answer.as_mut().poll(&mut context));
    matches!(catch_unwind(poll), Ok(Poll::Pending)).then_some(answer)
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
