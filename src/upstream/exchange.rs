//! One request and its answer, over a connection of its own or one of many streams of another.

use super::Fault;
use super::http2::{self, INTERIM_HEADS_MAX};
use super::idle::Halves;
use super::pool::Pool;
use super::server::{Load, Peer, Server};
use crate::config::{Origin, OriginServer};
use crate::rules::redirects;
use crate::transport::{BodyReader, ReadError, Reader, Sink, Source, WriteError, Writer};
use crate::wire::body::{Decoder, Encoding, Frame, Sender as Speaker};
use crate::wire::response::{self, ResponseHead};
use crate::wire::{Framing, HeadLimits};
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

/// An origin's promise to keep a connection is not trusted to its last moment.
const CLOSE_TAKES: Duration = Duration::from_secs(1);

/// A connection on which one request may be sent.
pub struct Connection {
    /// What the origin sends.
    pub answer: Answer,
    /// What the origin receives.
    pub sender: Sender,
    /// Where it leads.
    pub to: Destination,
}

/// Where a connection leads, and what becomes of it.
pub struct Destination {
    /// It carried requests before, so that the origin may have closed it meanwhile.
    pub is_reused: bool,
    pub(super) pool: Arc<Pool>,
    pub(super) server: usize,
    peer: Peer,
    idle_timeout: Duration,
    is_persistent: bool,
    /// Its place among the streams of an HTTP/2 connection.
    shared: Option<http2::Place>,
    /// When the whole answer must have come.
    deadline: Option<Instant>,
    /// Its place among the requests of the origin.
    place: Option<(Option<OwnedSemaphorePermit>, Load)>,
}

/// The sending half of an exchange.
pub struct Sender {
    kind: SenderKind,
}

enum SenderKind {
    /// HTTP/1.1
    One { writer: Writer, encoding: Encoding },
    /// HTTP/2
    Two(http2::Outgoing),
}

/// What an origin sends in answer to one request.
pub struct Answer {
    kind: AnswerKind,
    interim_heads: usize,
    read_timeout: Duration,
    /// When all of it must have come.
    deadline: Option<Instant>,
}

enum AnswerKind {
    /// HTTP/1.1; the body as soon as it is read.
    One { reader: Reader, body: BodyReader },
    /// HTTP/2
    Two(http2::Incoming),
}

impl Connection {
    pub(super) fn http1(
        (reader, mut writer): Halves,
        is_reused: bool,
        pool: Arc<Pool>,
        server: usize,
        peer: Peer,
    ) -> Self {
        let settings = &pool.settings;
        writer.patience = settings.read_timeout.into();
        let body = body_reader(Framing::Empty, settings.read_timeout);
        let encoding = Encoding::Plain;
        let sender = SenderKind::One { writer, encoding };
        let to = Destination::new(is_reused, pool, server, peer);
        Self::new(AnswerKind::One { reader, body }, sender, to)
    }

    /// A stream on a connection that others use, too.
    pub(super) fn http2((requests, place): http2::Taken, pool: Arc<Pool>, server: usize) -> Self {
        let (outgoing, incoming) = http2::halves(requests, pool.settings.read_timeout);
        let peer = Peer { server: (pool.number, server), address: place.address };
        let mut to = Destination::new(place.is_reused, pool, server, peer);
        to.shared = Some(place);
        Self::new(AnswerKind::Two(incoming), SenderKind::Two(outgoing), to)
    }

    fn new(answer: AnswerKind, sender: SenderKind, to: Destination) -> Self {
        let read_timeout = to.pool.settings.read_timeout;
        let answer = Answer { kind: answer, interim_heads: 0, read_timeout, deadline: None };
        Self { answer, sender: Sender { kind: sender }, to }
    }

    /// Counts as one of the origin's requests until it is done with.
    pub(super) fn takes(&mut self, place: Option<OwnedSemaphorePermit>, deadline: Option<Instant>) {
        let load = self.to.pool.servers[self.to.server].load();
        self.to.place = Some((place, load));
        self.to.deadline = deadline;
        self.answer.deadline = deadline;
    }

    /// Sends the head of the request, whose body comes behind it in this framing. Whether it was
    /// taken; an origin may have answered before it closed: reading shows.
    pub async fn ask(&mut self, head: &[u8], framing: Framing) -> bool {
        match (&mut self.sender.kind, &mut self.answer.kind) {
            (SenderKind::One { writer, encoding }, _) => {
                *encoding = Encoding::from(framing);
                writer.write(&[head]).await.is_ok()
            }
            (SenderKind::Two(outgoing), AnswerKind::Two(incoming)) => {
                let is_tls = self.to.server().settings.tls;
                outgoing.ask(incoming, head, framing, is_tls)
            }
            (SenderKind::Two(_), AnswerKind::One { .. }) => false,
        }
    }

    /// The bytes themselves, after an upgrade; they are no request any more.
    pub fn raw(&mut self) -> Option<(&mut Reader, &mut Writer)> {
        let AnswerKind::One { reader, .. } = &mut self.answer.kind else { return None };
        let SenderKind::One { writer, .. } = &mut self.sender.kind else { return None };
        self.to.leaves_its_place();
        Some((reader, writer))
    }

    /// The connection, if it can be used again and is not shared.
    pub(super) fn into_idle(self) -> Option<(Halves, Peer, Duration)> {
        let AnswerKind::One { mut reader, .. } = self.answer.kind else { return None };
        let SenderKind::One { writer, .. } = self.sender.kind else { return None };
        // Bytes behind the answer belong to no request: whose would they be?
        let can_be_used = self.to.is_persistent && reader.buf.is_empty();
        reader.rests();
        can_be_used.then_some(((reader, writer), self.to.peer, self.to.idle_timeout))
    }
}

impl Destination {
    fn new(is_reused: bool, pool: Arc<Pool>, server: usize, peer: Peer) -> Self {
        Self {
            is_reused,
            server,
            peer,
            idle_timeout: pool.settings.idle_timeout,
            is_persistent: false,
            shared: None,
            deadline: None,
            place: None,
            pool,
        }
    }

    /// The number of the HTTP/2 connection; those that are opened later have greater ones.
    pub(super) fn connection(&self) -> u64 {
        self.shared.as_ref().map_or(0, http2::Place::connection)
    }

    /// It may say that it has not looked at a request, which can be sent again then.
    pub fn may_refuse(&self) -> bool {
        self.shared.is_some()
    }

    /// What went wrong may say something about a connection that others use, too.
    pub(super) fn went_wrong(&self, fault: Fault) {
        let Some(shared) = &self.shared else { return };
        match fault {
            Fault::NotTaken => shared.is_refused(),
            Fault::Silent | Fault::Stalled => shared.is_doubtful(),
            _ => {}
        }
    }

    /// The origin that the server belongs to.
    pub fn settings(&self) -> &Arc<Origin> {
        &self.pool.settings
    }

    fn server(&self) -> &Server {
        &self.pool.servers[self.server]
    }

    /// The server's own `host[:port]`.
    pub fn authority(&self) -> &str {
        &self.server().settings.authority
    }

    /// As logs and metrics call the server.
    pub(super) fn name(&self) -> &str {
        &self.server().name
    }

    /// It is none of the origin's requests any more.
    pub fn leaves_its_place(&mut self) {
        self.place = None;
    }

    /// The server is a Brim that is asked in the place of the origin.
    pub fn is_parent(&self) -> bool {
        self.pool.settings.is_parent
    }

    /// How long the head of the answer may take.
    pub fn response_timeout(&self) -> Duration {
        let timeout = self.pool.settings.response_timeout;
        let left = self.deadline.map(|deadline| deadline - Instant::now());
        left.map_or(timeout, |left| left.min(timeout))
    }

    /// Does something before the whole answer must have come; `None` if that takes longer.
    pub async fn in_time<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        match self.deadline {
            None => Some(work.await),
            Some(deadline) => timeout_at(deadline, work).await.ok(),
        }
    }

    /// The name of the origin, and which of its servers it is.
    pub fn place(&self) -> (&str, &OriginServer) {
        (&self.pool.settings.name, &self.server().settings)
    }

    /// Leads a redirect to the server itself to where the client came in, where that is wanted.
    pub fn keep_redirect(&self, head: &mut ResponseHead) {
        if self.pool.settings.redirects_stay {
            redirects::stay(&mut head.fields, &self.server().settings);
        }
    }

    /// An answer has come. Keeps the connection no longer than the origin says that it will.
    pub fn heed(&mut self, head: &ResponseHead) {
        if let Some(kept) = head.kept_for() {
            self.idle_timeout = self.idle_timeout.min(kept.saturating_sub(CLOSE_TAKES));
        }
        self.is_persistent = head.persistent && !self.idle_timeout.is_zero();
        if let Some(shared) = &self.shared {
            shared.is_heard();
        }
    }
}

fn body_reader(framing: Framing, read_timeout: Duration) -> BodyReader {
    let decoder = Decoder::new(framing, Speaker::Origin, HeadLimits::OF_ANSWERS);
    BodyReader::new(decoder, read_timeout)
}

impl Answer {
    /// The next head, interim ones included. Takes as long as it takes: the caller knows when the
    /// clock begins to run.
    pub async fn read_head(&mut self, method: &Method) -> Result<ResponseHead, Fault> {
        loop {
            let has_begun = self.interim_heads > 0;
            let reader = match &mut self.kind {
                AnswerKind::One { reader, .. } => reader,
                AnswerKind::Two(incoming) => {
                    let head = incoming.head(method, has_begun).await?;
                    return self.counted(head);
                }
            };
            let parsed = response::parse(&mut reader.buf, &HeadLimits::OF_ANSWERS, method);
            if let Some(head) = parsed.map_err(Fault::Garbage)? {
                return self.counted(head);
            }
            let has_begun = has_begun || !reader.buf.is_empty();
            match reader.fill(Duration::MAX).await {
                Ok(read) if read > 0 => {}
                _ if has_begun => return Err(Fault::Truncated),
                _ => return Err(Fault::Closed),
            }
        }
    }

    fn counted(&mut self, head: ResponseHead) -> Result<ResponseHead, Fault> {
        self.interim_heads += usize::from(head.is_interim());
        if self.interim_heads > INTERIM_HEADS_MAX {
            return Err(Fault::Garbage("there is no end of interim answers"));
        }
        Ok(head)
    }

    /// The body behind this head comes next.
    pub fn begin_body(&mut self, head: &ResponseHead) {
        let read_timeout = self.read_timeout;
        match &mut self.kind {
            AnswerKind::One { reader, body } => {
                if let Framing::Length(length) = head.framing {
                    reader.expects(length.saturating_sub(reader.buf.len() as u64));
                }
                *body = body_reader(head.framing, read_timeout);
            }
            AnswerKind::Two(incoming) => incoming.begin_body(head.framing),
        }
    }

    /// Whether all of the body was handed out.
    pub fn is_done(&self) -> bool {
        match &self.kind {
            AnswerKind::One { body, .. } => body.is_done(),
            AnswerKind::Two(incoming) => incoming.is_done(),
        }
    }
}

impl Source for Answer {
    async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        let deadline = self.deadline;
        let next = async {
            match &mut self.kind {
                AnswerKind::One { reader, body } => body.next(reader).await,
                AnswerKind::Two(incoming) => incoming.next().await,
            }
        };
        match deadline {
            None => next.await,
            Some(deadline) => timeout_at(deadline, next).await.unwrap_or(Err(ReadError::Overtime)),
        }
    }
}

impl Sink for Sender {
    async fn frame(&mut self, frame: &Frame) -> Result<(), WriteError> {
        match &mut self.kind {
            SenderKind::One { writer, encoding } => writer.write_frame(frame, *encoding).await,
            SenderKind::Two(outgoing) => outgoing.frame(frame).await,
        }
    }

    async fn end(&mut self) -> Result<(), WriteError> {
        match &mut self.kind {
            SenderKind::One { writer, encoding } => writer.write(&[&encoding.end(None)]).await,
            SenderKind::Two(outgoing) => outgoing.end(),
        }
    }
}
