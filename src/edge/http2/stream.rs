//! One request and its answer over HTTP/2.

use super::outbox::{Outbox, PIECE_BYTES_MAX, Share};
use super::watch::{OF_A_BAD_REQUEST, OF_AN_ANSWER, Watch};
use crate::access_log::{Record, Sent};
use crate::edge::client::{Ended, Reply, RequestBody};
use crate::edge::current::Edge;
use crate::edge::door::{Door, Visitor};
use crate::edge::own::{Own, Recipient};
use crate::edge::route::{Arrival, Route};
use crate::engine::Pieces;
use crate::metrics::Flood;
use crate::outcome::Outcome;
use crate::rules::key::Key;
use crate::transport::http2::{gone, not_sent, room_for};
use crate::transport::{Patience, ReadError, Sink, Source, WriteError};
use crate::wire::body::{Frame, Sender};
use crate::wire::request::{BadRequest, RequestHead};
use crate::wire::{Framing, HeadLimits, Version, http2};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Request;
use pingora::server::ShutdownWatch;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::yield_now;

/// What becomes of requests that the client breaks off.
const CLIENT_GONE: &str = "client_gone";

/// What requests on one connection have in common.
pub(super) struct Conversation {
    pub(super) door: Arc<Door>,
    pub(super) visitor: Visitor,
    pub(super) watch: Arc<Watch>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) shutdown: ShutdownWatch,
}

/// Answers one request.
pub(super) async fn answer(
    conversation: &Conversation,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let Conversation { door, outbox, .. } = conversation;
    let edge = door.edge();
    let limits = &edge.settings.server.limits;
    let (parts, stream) = request.into_parts();
    let request = Request::from_parts(parts, ());
    let share = outbox.share(respond.stream_id().into());
    let patience = Patience::new(limits.write_timeout, limits.rate_min);
    let mut reply = Http2Reply::new(respond, share, patience);
    let head = match http2::read_request(&request, stream.is_end_stream(), &limits.head) {
        Ok(head) => head,
        Err(bad) => {
            return refuse(&edge, conversation, bad, request.method() != http::Method::HEAD, reply)
                .await;
        }
    };
    // What the library knows of it is not needed any more.
    drop(request);
    let body =
        Http2Body::new(stream, Patience::new(limits.body_timeout, limits.rate_min), limits.head);
    if !converse(&edge, conversation, &head, &mut reply, body).await {
        reply.reset(Reason::INTERNAL_ERROR);
    }
}

/// Whether the client got a whole answer.
async fn converse(
    edge: &Edge,
    conversation: &Conversation,
    head: &RequestHead,
    reply: &mut Http2Reply,
    mut body: Http2Body,
) -> bool {
    let Conversation { visitor, watch, shutdown, .. } = conversation;
    let now = SystemTime::now();
    let client = edge.client_of(head, visitor);
    let (mut key, trail) = (Key::default(), edge.trail(head, visitor, now));
    let mut recording = edge.log.begin(Record::new(now, client, Some((head, &trail))));
    let record = &mut recording.record;
    let arrival = Arrival { head, visitor, client, now, trail: &trail, shutdown };
    let _place;
    let mut ended = if reply.is_gone().await {
        // Broken off as soon as it was begun, by the client or because of what followed the head:
        // nobody upstream hears of it.
        Ended::Broken(CLIENT_GONE)
    } else {
        let route;
        (route, _place) = edge.route(arrival, &mut key, record).await;
        match route {
            Route::Ourselves(said, hsts) => {
                let sent = said.send(reply, Recipient::of(head, true, hsts), record).await;
                sent.map_or_else(Ended::of_own, |()| Ended::Sent(true))
            }
            Route::Cache(exchange) => match exchange.at_once(reply, record).await {
                Ok(ended) => ended,
                // What few requests need is no part of what every answer takes.
                Err(found) => Box::pin(exchange.fetched(found, reply, record)).await,
            },
            Route::Around(job) => Box::pin(job.answer(reply, &mut body, record)).await,
        }
    };
    if let (Err(error), Ended::Sent(_)) = (reply.leaves().await, &ended) {
        ended = error.into();
    }
    record.is_answered(reply.sent());
    match ended {
        Ended::Sent(_) => {
            watch.earns(OF_AN_ANSWER);
            true
        }
        Ended::Broken(reason) | Ended::Reset(reason) => {
            record.outcome = Outcome::Error(reason);
            if !matches!(reason, CLIENT_GONE | "client_stalled") {
                // It is not this client's fault.
                watch.earns(OF_AN_ANSWER);
            }
            false
        }
        // Nobody can ask for another protocol here.
        Ended::Switched(_) | Ended::Cut => false,
    }
}

/// What has no meaning or more than one is a stream error, and no answer (RFC 9113, section 8.1.1).
async fn refuse(
    edge: &Edge,
    conversation: &Conversation,
    bad: BadRequest,
    wants_body: bool,
    mut reply: Http2Reply,
) {
    let Conversation { visitor, watch, .. } = conversation;
    let mut recording = edge.log.begin(Record::new(SystemTime::now(), visitor.peer, None));
    let record = &mut recording.record;
    let to = Recipient {
        version: Version::Http2,
        persistent: true,
        wants_body,
        hsts: b"",
        story: None,
        trouble_page: None,
    };
    let own = Own::BadRequest(bad);
    if bad.explain().0 == 400 {
        own.note(to, record);
        record.status = 0;
        watch.costs(OF_A_BAD_REQUEST, Flood::BadRequest);
        reply.reset(Reason::PROTOCOL_ERROR);
    } else {
        if matches!(bad.explain().0, 414 | 431) {
            // It has been read to its end all the same.
            watch.costs(OF_A_BAD_REQUEST, Flood::Headers);
        }
        // What could not be sent is noted.
        let _ = own.send(&mut reply, to, record).await;
        let _ = reply.leaves().await;
    }
    record.is_answered(reply.sent());
}

/// An answer on its way.
struct Http2Reply {
    state: State,
    /// What of it has not left.
    share: Share,
    /// Content that waits with the head.
    pending: Vec<u8>,
    /// What is left of the content, where its length was told.
    left: Option<u64>,
    patience: Patience,
    sent_bytes: u64,
    head_bytes: u64,
    first_sent: Option<Instant>,
}

enum State {
    Nothing(SendResponse<Bytes>),
    /// A head that waits.
    Begun(SendResponse<Bytes>, Vec<u8>),
    Content(SendStream<Bytes>),
    /// Everything has been handed over.
    Leaving(SendStream<Bytes>),
    Over,
}

impl Http2Reply {
    fn new(respond: SendResponse<Bytes>, share: Share, patience: Patience) -> Self {
        let (state, pending) = (State::Nothing(respond), Vec::new());
        let (sent_bytes, head_bytes, first_sent) = (0, 0, None);
        Self { state, share, pending, left: None, patience, sent_bytes, head_bytes, first_sent }
    }

    fn reset(&mut self, reason: Reason) {
        match &mut self.state {
            State::Nothing(respond) | State::Begun(respond, _) => respond.send_reset(reason),
            State::Content(content) => content.send_reset(reason),
            State::Leaving(_) | State::Over => {}
        }
    }

    /// Waits until the client has taken all of it, if all of it was handed over. Until then it is
    /// not sent: the connection stays, and so does its place among its client's requests.
    async fn leaves(&mut self) -> Result<(), WriteError> {
        let State::Leaving(content) = &mut self.state else { return Ok(()) };
        if !self.share.has_left() {
            // Most answers leave when their connection gets its turn: then no clock is set.
            yield_now().await;
        }
        let leaves = async {
            tokio::select! {
                biased;
                is_out = self.share.is_out() => is_out,
                _ = poll_fn(|context| content.poll_reset(context)) => false,
            }
        };
        let has_left = self.share.wait(&mut self.patience, leaves).await;
        if has_left.is_none() {
            content.send_reset(Reason::CANCEL);
        }
        match has_left {
            Some(true) => Ok(()),
            Some(false) => Err(gone()),
            None => Err(WriteError::Stalled),
        }
    }

    /// Whether the stream has been broken off already.
    async fn is_gone(&mut self) -> bool {
        let mut gone = pin!(self.gone());
        poll_fn(|context| Poll::Ready(gone.as_mut().poll(context).is_ready())).await
    }

    /// The head goes out, and with it the end of the stream if nothing more comes.
    fn send_head(&mut self, ends: bool) -> Result<(), WriteError> {
        let (mut respond, head) = match std::mem::replace(&mut self.state, State::Over) {
            State::Begun(respond, head) => (respond, head),
            other => {
                self.state = other;
                return Ok(());
            }
        };
        let bytes = head.len() as u64;
        let response = http2::say_response(head).ok_or_else(gone)?;
        let content = respond.send_response(response, ends).map_err(not_sent)?;
        self.head_goes_out(bytes);
        self.state = if ends { State::Leaving(content) } else { State::Content(content) };
        Ok(())
    }

    /// Sends content; the last of it with the end of the stream, where that is known.
    async fn send(&mut self, mut data: Bytes) -> Result<(), WriteError> {
        let State::Content(content) = &mut self.state else { return Err(gone()) };
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        let ends = self.left == Some(0);
        while !data.is_empty() {
            let bytes = data.len().min(PIECE_BYTES_MAX);
            let room = self.patience.wait(room_for(content, bytes)).await;
            let room = room.ok_or(WriteError::Stalled)??;
            // Only now: a stream that the client keeps waiting takes no room from the others.
            let piece = data.split_to(room.min(bytes));
            let bytes = piece.len();
            let grown = self.share.grow(bytes, &mut self.patience).await;
            grown.ok_or(WriteError::Stalled)?;
            self.patience.moved(bytes);
            content.send_data(piece, ends && data.is_empty()).map_err(not_sent)?;
            self.sent_bytes += bytes as u64;
        }
        if ends {
            self.is_handed_over();
        }
        Ok(())
    }

    fn head_goes_out(&mut self, bytes: u64) {
        self.sent_bytes += bytes;
        self.head_bytes += bytes;
        self.first_sent.get_or_insert_with(Instant::now);
    }

    fn is_handed_over(&mut self) {
        if let State::Content(content) = std::mem::replace(&mut self.state, State::Over) {
            self.state = State::Leaving(content);
        }
    }
}

impl Sink for Http2Reply {
    async fn frame(&mut self, frame: &Frame) -> Result<(), WriteError> {
        self.flush().await?;
        match frame {
            Frame::Data(data) => self.send(data.clone()).await,
            Frame::Trailers(fields) => {
                // Otherwise the length told where it ends.
                if let State::Content(content) = &mut self.state {
                    content.send_trailers(http2::say_trailers(fields)).map_err(not_sent)?;
                    self.is_handed_over();
                }
                Ok(())
            }
        }
    }

    async fn end(&mut self) -> Result<(), WriteError> {
        self.flush().await?;
        if let State::Content(content) = &mut self.state {
            content.send_data(Bytes::new(), true).map_err(not_sent)?;
            self.is_handed_over();
        }
        Ok(())
    }
}

impl Reply for Http2Reply {
    async fn interim(&mut self, head: &[u8]) -> Result<(), WriteError> {
        let State::Nothing(respond) = &mut self.state else { return Ok(()) };
        let response = http2::say_response(head.to_vec()).ok_or_else(gone)?;
        respond.send_informational(response).map_err(not_sent)?;
        self.head_goes_out(head.len() as u64);
        Ok(())
    }

    fn begin(&mut self, head: Vec<u8>, framing: Framing) {
        self.left = match framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        };
        self.pending.clear();
        let state = std::mem::replace(&mut self.state, State::Over);
        if let State::Nothing(respond) | State::Begun(respond, _) = state {
            self.state = State::Begun(respond, head);
        }
    }

    fn add(&mut self, content: &[u8]) {
        self.pending.extend_from_slice(content);
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.send_head(self.left == Some(0))?;
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            self.send(Bytes::from(pending)).await?;
        }
        Ok(())
    }

    async fn pieces(&mut self, pieces: &Pieces) -> Result<(), WriteError> {
        self.flush().await?;
        for piece in pieces.iter().flatten() {
            self.send(piece.clone()).await?;
        }
        Ok(())
    }

    async fn gone(&mut self) {
        // Whatever it is that ends it.
        let _ = match &mut self.state {
            State::Nothing(respond) | State::Begun(respond, _) => {
                poll_fn(|context| respond.poll_reset(context)).await
            }
            State::Content(content) => poll_fn(|context| content.poll_reset(context)).await,
            State::Leaving(_) | State::Over => std::future::pending().await,
        };
    }

    fn sent_bytes(&self) -> u64 {
        self.sent_bytes.saturating_sub(self.share.unsent_bytes() as u64)
    }

    fn sent(&self) -> Sent {
        Sent { bytes: self.sent_bytes(), head_bytes: self.head_bytes, first: self.first_sent }
    }
}

/// The body of a request. The client may send as much again as was taken, and no more.
struct Http2Body {
    stream: RecvStream,
    handed_out: usize,
    has_begun: Arc<AtomicBool>,
    patience: Patience,
    limits: HeadLimits,
}

impl Http2Body {
    fn new(stream: RecvStream, patience: Patience, limits: HeadLimits) -> Self {
        Self { stream, handed_out: 0, has_begun: Arc::default(), patience, limits }
    }
}

impl Source for Http2Body {
    async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        loop {
            // Of a stream that has ended there is nothing to release.
            let handed_out = std::mem::take(&mut self.handed_out);
            let _ = self.stream.flow_control().release_capacity(handed_out);
            let came = self.patience.wait(self.stream.data()).await;
            let Some(data) = came.ok_or(ReadError::Stalled)? else { break };
            let data = data.map_err(read_error)?;
            self.patience.moved(data.len());
            self.handed_out = data.len();
            if !data.is_empty() {
                self.has_begun.store(true, Ordering::Relaxed);
                return Ok(Some(Frame::Data(data)));
            }
        }
        let came = self.patience.wait(self.stream.trailers()).await;
        let trailers = came.ok_or(ReadError::Stalled)?.map_err(read_error)?;
        let read = |fields| http2::read_trailers(fields, Sender::Client, &self.limits);
        let trailers = trailers.as_ref().map(read).transpose().map_err(ReadError::Bad)?;
        Ok(trailers.filter(|fields| !fields.is_empty()).map(Frame::Trailers))
    }
}

fn read_error(error: h2::Error) -> ReadError {
    ReadError::Io(io::Error::other(error))
}

impl RequestBody for Http2Body {
    // The library has looked at the frames, and there is nothing else to read.
    async fn look_ahead(&mut self, _patience: Duration) -> Result<(), ReadError> {
        Ok(())
    }

    fn has_begun(&self) -> Arc<AtomicBool> {
        self.has_begun.clone()
    }

    // The rest is no danger to other requests.
    async fn skip(&mut self) -> bool {
        true
    }
}
