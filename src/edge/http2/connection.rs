//! Keeps one client's connection going until it ends: because either side says so, because nothing
//! is asked on it for a while, or because the client is a nuisance.

use super::stream::{self, Conversation};
use super::watch::{Nuisance, OF_A_BAD_REQUEST, Watch, Watched};
use crate::config::Limits;
use crate::edge::door::{Edge, Visitor};
use bytes::{Bytes, BytesMut};
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

/// What a client may send of one body before somebody takes it, and of all.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 512 * 1024;
/// What is kept of one answer that the client has not taken from the socket.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Streams that were reset because of what the client sent on them (CVE-2025-8671).
const RESET_BY_US_MAX: usize = 100;
/// Those who break streams off ask for others meanwhile: so many times as many tasks as streams.
const TASKS_PER_STREAM: usize = 2;
/// How long a client that is told to go may take to read so.
const FAREWELL: Duration = Duration::from_secs(1);

type Http2 = Connection<Watched, Bytes>;

/// Serves requests until one of the two sides has enough. `read_before` are the first bytes.
pub(in crate::edge) async fn serve(
    edge: &Arc<Edge>,
    stream: Stream,
    read_before: BytesMut,
    visitor: Visitor,
    shutdown: &mut ShutdownWatch,
) {
    let limits = edge.settings.server.limits;
    let watch = Watch::new();
    let watched = Watched::new(stream, read_before, watch.clone());
    let greeting = builder(&limits).handshake(watched);
    let Ok(Ok(connection)) = timeout(limits.header_timeout, greeting).await else { return };
    let tasks = limits.streams * TASKS_PER_STREAM;
    let driver = Driver {
        edge,
        visitor,
        limits,
        watch,
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
        .max_header_list_size(bytes(limits.head.head_bytes_max))
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX)
        .max_local_error_reset_streams(Some(RESET_BY_US_MAX));
    builder
}

struct Driver<'a> {
    edge: &'a Arc<Edge>,
    visitor: Visitor,
    limits: Limits,
    watch: Arc<Watch>,
    tasks: Arc<Semaphore>,
    tasks_max: usize,
    shutdown: ShutdownWatch,
}

/// Why a connection is brought to its end.
enum Enough {
    /// Its requests are answered, and no more are taken.
    Farewell,
    Nuisance(Nuisance),
    /// A head did not arrive in time.
    SlowHead,
    /// The client took nothing for too long.
    Stalled,
}

impl Driver<'_> {
    async fn run(self, mut connection: Http2, shutdown: &mut ShutdownWatch) {
        let mut unused_since = Some(Instant::now());
        let enough = loop {
            let is_unused = self.tasks.available_permits() == self.tasks_max;
            unused_since = is_unused.then(|| unused_since.unwrap_or_else(Instant::now));
            let news = self.watch.news.notified();
            if let Some(nuisance) = self.watch.nuisance() {
                break Enough::Nuisance(nuisance);
            }
            let (head_since, stalled_since) = self.watch.waits();
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.start(request, respond),
                    // It has ended, or the library has said why it ends.
                    Some(Err(_)) | None => return,
                },
                () = news => {}
                () = after(head_since, self.limits.header_timeout) => break Enough::SlowHead,
                () = after(stalled_since, self.limits.write_timeout) => break Enough::Stalled,
                () = after(unused_since, self.limits.idle_timeout) => break Enough::Farewell,
                _ = shutdown.wait_for(|down| *down) => break Enough::Farewell,
            }
        };
        self.end(connection, enough).await;
    }

    fn start(&self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let Ok(place) = self.tasks.clone().try_acquire_owned() else {
            self.watch.costs(OF_A_BAD_REQUEST, Nuisance::Reset);
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let conversation = Conversation {
            edge: self.edge.clone(),
            visitor: self.visitor.clone(),
            watch: self.watch.clone(),
            shutdown: self.shutdown.clone(),
        };
        let running = self.edge.running.token();
        tokio::spawn(async move {
            stream::answer(&conversation, request, respond).await;
            drop((place, running));
            // Whether nothing is asked any more is for the driver to see.
            conversation.watch.news.notify_one();
        });
    }

    async fn end(&self, mut connection: Http2, enough: Enough) {
        match enough {
            Enough::Farewell => {
                connection.graceful_shutdown();
                return self.finish(connection).await;
            }
            Enough::Nuisance(nuisance) => {
                tracing::debug!(frames = nuisance.label(), peer = %self.visitor.peer, "a flood");
                connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            }
            Enough::SlowHead => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
            Enough::Stalled => return,
        }
        let _ = timeout(FAREWELL, async { while connection.accept().await.is_some() {} }).await;
    }

    /// Answers what was asked before the client knew that it is to go.
    async fn finish(&self, mut connection: Http2) {
        loop {
            let news = self.watch.news.notified();
            if self.watch.nuisance().is_some() {
                return;
            }
            let (head_since, stalled_since) = self.watch.waits();
            let is_unused = self.tasks.available_permits() == self.tasks_max;
            let unused_since = is_unused.then(Instant::now);
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => self.start(request, respond),
                    Some(Err(_)) | None => return,
                },
                () = news => {}
                () = after(head_since, self.limits.header_timeout) => return,
                () = after(stalled_since, self.limits.write_timeout) => return,
                () = after(unused_since, FAREWELL) => return,
            }
        }
    }
}

async fn after(since: Option<Instant>, time: Duration) {
    match since.and_then(|since| since.checked_add(time)) {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
