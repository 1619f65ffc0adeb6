//! Pass: one request to the origin and its answer back, both bodies streamed, nothing kept.
//!
//! Both directions move at once: an origin may answer before it has read the whole request, and a
//! client may send while it receives. Memory is bounded by one buffer a direction, because neither
//! side is read faster than the other takes.

use super::again::{Again, Kept};
use super::own::{Own, Recipient};
use super::shape::Story;
use super::tunnel;
use super::upload::{Interruption, PumpError, Upload, UploadState, pump};
use crate::access_log::Record;
use crate::config::{HostHeader, Limits, Site};
use crate::engine::{Engine, Passed, Posted, is_safe};
use crate::outcome::{Forward, Outcome};
use crate::rules::cache_status;
use crate::rules::forwarding::{self, Hop, Onward};
use crate::rules::key::Key;
use crate::transport::{
    self, BodyReader, Incoming, Outgoing, ReadError, Reader, WriteError, Writer,
};
use crate::upstream::{Answer, Asking, Connection, Destination, Fault, Upstream, Way};
use crate::wire::body::{Decoder, Encoding, Sender};
use crate::wire::request::RequestHead;
use crate::wire::response::ResponseHead;
use crate::wire::{Framing, Version};
use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Mutex;

/// How long the first byte of a chunked body is awaited before the origin hears of the request.
const FIRST_CHUNK_PATIENCE: Duration = Duration::from_secs(1);

/// One request to carry.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) limits: &'a Limits,
    pub(super) engine: &'a Arc<Engine>,
    pub(super) head: &'a RequestHead,
    pub(super) site: &'a Arc<Site>,
    /// What it asks for, as the cache calls it.
    pub(super) key: &'a Key,
    pub(super) bypass: Bypass,
    pub(super) peer: IpAddr,
    pub(super) peer_is_trusted: bool,
    pub(super) scheme: &'static str,
    pub(super) shutdown: &'a ShutdownWatch,
}

/// Why the cache has no say in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bypass {
    Method,
    Upgrade,
    RequestBody,
    Rule,
}

impl Bypass {
    fn story(self) -> Story {
        let (forward, detail) = match self {
            Self::Method => (Forward::Method, None),
            Self::Upgrade => (Forward::Bypass, Some("upgrade")),
            Self::RequestBody => (Forward::Bypass, Some("request-body")),
            Self::Rule => (Forward::Bypass, Some("rule")),
        };
        Story { detail, ..Story::new(Outcome::Pass(forward)) }
    }

    fn forward(self) -> Forward {
        if self == Self::Method { Forward::Method } else { Forward::Bypass }
    }
}

/// Why the client did not get a whole answer from the origin.
enum End {
    /// No head went out: the edge answers itself.
    Own(Own),
    /// A head went out but not the whole answer, or there is nobody to answer.
    Broken(&'static str),
    /// The same, of an answer whose end would be the connection's.
    Reset(&'static str),
}

/// Why an exchange with the origin gave no answer.
enum Failed {
    /// Nothing was lost, and there is somebody else to ask.
    TryAgain,
    For(End),
}

impl From<End> for Failed {
    fn from(end: End) -> Self {
        Self::For(end)
    }
}

/// Why there was no final head.
enum Headless {
    Fault(Fault),
    End(End),
}

impl From<End> for Headless {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// An answer that went out whole.
struct Answered {
    client_can_ask_again: bool,
    connection_can_be_reused: bool,
}

/// What a conversation with the origin led to.
enum Conversed {
    Answered(Answered),
    /// 101: from here on the bytes are not HTTP.
    Switched,
}

/// Carries one request. The connection comes back if it can be used again.
pub(super) async fn pass(
    job: Job<'_>,
    stream: Stream,
    buf: BytesMut,
    record: &mut Record,
) -> Option<(Stream, BytesMut)> {
    let limits = job.limits;
    let (reader, mut writer) = transport::split(stream, buf, limits.write_timeout);
    let reader = Mutex::new(reader);
    let decoder = Decoder::new(job.head.framing, Sender::Client, limits.head);
    let mut body = BodyReader::new(decoder, limits.body_timeout);
    let kept = Kept::default();
    let mut client = Client { reader: &reader, writer: &mut writer, body: &mut body, kept };

    let ended = match job.carry(&mut client, record).await {
        Err(End::Own(own)) => job.answer_ourselves(own, &mut client, record).await,
        Ok(can_ask_again) => {
            record.outcome = Outcome::Pass(job.bypass.forward());
            Ok(can_ask_again)
        }
        Err(end) => Err(end),
    };
    record.is_answered(writer.sent_bytes);
    let reader = reader.into_inner();
    match ended {
        Ok(true) => return Some(transport::join(reader, writer)),
        Ok(false) => transport::close(reader, writer).await,
        Err(End::Reset(reason)) => {
            record.outcome = Outcome::Error(reason);
            transport::reset(reader, writer);
        }
        Err(End::Broken(reason)) => record.outcome = Outcome::Error(reason),
        // The edge's own answer could not be sent; what it would have said is noted.
        Err(End::Own(_)) => {}
    }
    None
}

/// The client's side of a request.
struct Client<'a> {
    /// Locked by the upload, and after it by whoever watches for the client's end.
    reader: &'a Mutex<Reader>,
    writer: &'a mut Writer,
    body: &'a mut BodyReader,
    kept: Kept,
}

impl Job<'_> {
    /// Whether the client can ask again on its connection.
    async fn carry(&self, client: &mut Client<'_>, record: &mut Record) -> Result<bool, End> {
        // A malformed beginning of a body is refused before the origin is asked.
        if self.head.framing == Framing::Chunked {
            let is_asked_first = self.head.expects_continue;
            let patience = if is_asked_first { Duration::ZERO } else { FIRST_CHUNK_PATIENCE };
            let mut reader = client.reader.lock().await;
            let looked = client.body.look_ahead(&mut reader, patience).await;
            looked.map_err(|error| End::of_client(&error))?;
        }
        let mut way = self.upstream().way(self.asking());
        loop {
            let next = tokio::select! {
                biased;
                next = way.next() => next,
                // Whoever has gone waits for nothing.
                () = transport::broken(client.reader) => return Err(End::Broken("client_gone")),
            };
            let mut connection = next.map_err(|fault| self.end_of(fault))?;
            match self.exchange(&mut way, &mut connection, client, record).await {
                Ok(answered) => {
                    if answered.connection_can_be_reused {
                        self.upstream().release(connection);
                    }
                    return Ok(answered.client_can_ask_again);
                }
                Err(Failed::TryAgain) => {}
                Err(Failed::For(end)) => {
                    if matches!(end, End::Broken(_) | End::Reset(_)) {
                        self.changed_unseen(connection);
                    }
                    return Err(end);
                }
            }
        }
    }

    fn asking(&self) -> Asking<'_> {
        let head = self.head;
        Asking {
            origin: self.site.origin,
            key: self.key.placing(),
            // What changes something is to be known where the old is stored.
            through_parent: !(is_safe(&head.method) || head.upgrade),
            // Nothing of such a request is used up by sending it.
            is_repeatable: head.is_idempotent() && !head.framing.has_body() && !head.upgrade,
            needs_http1: head.upgrade,
            takes_place: !(head.framing.has_body() || head.upgrade),
            method: head.method.as_str(),
            target: head.target(),
        }
    }

    fn end_of(&self, fault: Fault) -> End {
        End::Own(Own::Origin(fault, Some(self.bypass.forward())))
    }

    /// The origin may do what the client did not wait to hear of: whatever it changes is out of date
    /// then, and not before.
    fn changed_unseen(&self, mut connection: Connection) {
        if is_safe(&self.head.method) {
            return;
        }
        let (engine, key, method) =
            (self.engine.clone(), self.key.clone(), self.head.method.clone());
        let response_timeout = connection.to.response_timeout();
        engine.invalidate(&key);
        tokio::spawn(async move {
            let answered = async {
                let answer = &mut connection.answer;
                while answer.read_head(&method).await.is_ok_and(|head| head.is_interim()) {}
            };
            let _ = tokio::time::timeout(response_timeout, answered).await;
            engine.invalidate(&key);
        });
    }

    /// One request and its answer over one connection to the origin.
    async fn exchange(
        &self,
        way: &mut Way<'_>,
        connection: &mut Connection,
        client: &mut Client<'_>,
        record: &mut Record,
    ) -> Result<Answered, Failed> {
        match self.converse(way, connection, client, record).await? {
            Conversed::Answered(answered) => Ok(answered),
            Conversed::Switched => {
                let mut reader = client.reader.lock().await;
                let idle_timeout = self.limits.upgrade_idle_timeout;
                if let Some(origin) = connection.raw() {
                    tunnel::run((&mut reader, client.writer), origin, idle_timeout).await;
                }
                Ok(Answered { client_can_ask_again: false, connection_can_be_reused: false })
            }
        }
    }

    async fn converse(
        &self,
        way: &mut Way<'_>,
        connection: &mut Connection,
        client: &mut Client<'_>,
        record: &mut Record,
    ) -> Result<Conversed, Failed> {
        let head = forwarding::request_head(self.head, &self.hop(&connection.to));
        let (sent_at, asked) = (Instant::now(), self.engine.moment());
        let was_taken = connection.ask(&head, self.head.framing).await;
        let Connection { answer, sender: to_origin, to } = connection;
        let (reader, body, kept) = (client.reader, &mut *client.body, &mut client.kept);
        let (has_begun, is_lost) = (body.has_begun(), kept.is_lost());
        let may_refuse = to.may_refuse();
        let future = pin!(async {
            let mut reader = reader.lock().await;
            let rest = Incoming { body, reader: &mut reader };
            let mut from = Again::new(kept, rest, may_refuse);
            pump(&mut from, to_origin, &self.head.fields, None).await
        });
        let mut upload = Upload::new(future, reader, to.response_timeout());
        if self.head.expects_continue {
            upload.waits_for_continue(has_begun);
        }
        match (was_taken, self.head.framing.has_body()) {
            // An origin that takes no more may have answered before it closed.
            (false, _) => upload.ends_as(UploadState::GivenUp),
            (true, false) => upload.ends_as(UploadState::Done),
            (true, true) => {}
        }
        let told = to.in_time(self.final_head(answer, client.writer, &mut upload)).await;
        let head = match told.unwrap_or(Err(Headless::Fault(Fault::Overtime))) {
            Ok(head) => head,
            Err(Headless::End(end)) => return Err(end.into()),
            Err(Headless::Fault(fault)) => {
                if is_lost.load(Ordering::Relaxed) {
                    way.is_used_up();
                }
                return Err(self.failed(way, to, fault));
            }
        };
        // A protocol that begins in the middle of a body would be read as the rest of the body
        // (RFC 9110, section 7.8).
        if head.status == 101 && !(self.head.upgrade && upload.state == UploadState::Done) {
            let fault = Fault::Garbage("it switches protocols without being asked to");
            return Err(self.failed(way, to, fault));
        }
        let delay = sent_at.elapsed();
        record.origin_duration = Some(delay);
        if way.declines(to, head.status, delay) {
            return Err(Failed::TryAgain);
        }
        to.heed(&head);
        answer.begin_body(&head);
        let mut keeping = self.heed(&head, sent_at, asked);
        if !is_safe(&self.head.method) {
            // A client that knows of a change does not see the old again, come what may.
            self.engine.invalidations_written().await;
        }
        let onward = self.onward(&head, upload.state);
        record.status = head.status;
        let mut told = Vec::new();
        let told_before = cache_status::told_before(&head.fields);
        Story { is_stored: keeping.is_some(), ..self.bypass.story() }
            .write(&mut told, &told_before);
        let bytes = forwarding::response_head(&head, &onward, SystemTime::now(), &told);
        client.writer.write(&[&bytes]).await.map_err(|error| End::of_write(&error))?;
        if head.status == 101 {
            return Ok(Conversed::Switched);
        }
        let encoding = Encoding::from(onward.framing);
        let mut to_client = Outgoing { writer: client.writer, encoding };
        let download = pump(answer, &mut to_client, &head.fields, keeping.as_mut());
        match upload.beside(download).await {
            Ok(()) => {
                way.is_over(to);
                keeping.into_iter().for_each(Posted::finish);
            }
            Err(PumpError::Write(error)) => return Err(End::of_write(&error).into()),
            Err(PumpError::Read(error)) => {
                let fault = Fault::of_body(&error);
                record.detail = Some(fault.detail());
                way.broke_off(to, fault);
                let ends_with_connection = onward.framing == Framing::UntilClose;
                let end = if ends_with_connection { End::Reset } else { End::Broken };
                return Err(end(fault.label()).into());
            }
        }
        if head.persistent && !self.head.expects_continue {
            // The origin has answered early and not closed: it may still want the request.
            upload.finish().await;
        }
        Ok(Conversed::Answered(Answered {
            client_can_ask_again: onward.persistent,
            connection_can_be_reused: upload.state == UploadState::Done,
        }))
    }

    /// A server gave no answer: perhaps another one does.
    fn failed(&self, way: &mut Way<'_>, to: &Destination, fault: Fault) -> Failed {
        match way.failed(to, fault) {
            Ok(()) => Failed::TryAgain,
            Err(fault) => Failed::For(self.end_of(fault)),
        }
    }

    /// What an answer means for what is stored: an unsafe request that succeeds makes it out of
    /// date (RFC 9111, section 4.4), and may bring something to store itself.
    fn heed(&self, head: &ResponseHead, sent_at: Instant, asked: u64) -> Option<Posted> {
        let passed = Passed {
            head: self.head,
            site: self.site,
            key: self.key,
            scheme: self.scheme,
            peer_is_trusted: self.peer_is_trusted,
            answer: head,
            delay: sent_at.elapsed(),
            asked,
        };
        self.engine.passed(&passed)
    }

    /// Forwards interim heads while the request goes out, until the final one comes.
    async fn final_head<F: Future<Output = Result<(), PumpError>>>(
        &self,
        answer: &mut Answer,
        to_client: &mut Writer,
        upload: &mut Upload<'_, F>,
    ) -> Result<ResponseHead, Headless> {
        loop {
            let head = match upload.until_answered(answer.read_head(&self.head.method)).await {
                Ok(read) => read.map_err(Headless::Fault)?,
                Err(Interruption::Silence) => return Err(Headless::Fault(Fault::Silent)),
                Err(Interruption::Gone) => return Err(End::Broken("client_gone").into()),
                Err(Interruption::Client(error)) => return Err(End::of_client(&error).into()),
            };
            if !head.is_interim() {
                return Ok(head);
            }
            upload.was_continued();
            // A 1.0 client knows no interim answers (RFC 9110, section 15.2).
            if self.head.version == Version::Http11 {
                let onward = self.onward(&head, upload.state);
                let bytes = forwarding::response_head(&head, &onward, SystemTime::now(), b"");
                to_client.write(&[&bytes]).await.map_err(|error| End::of_write(&error))?;
            }
        }
    }

    fn upstream(&self) -> &Upstream {
        self.engine.upstream()
    }

    fn hop<'h>(&'h self, to: &'h Destination) -> Hop<'h> {
        // A parent finds its site by it.
        let keeps_host = self.site.host_header == HostHeader::Client || to.is_parent();
        Hop {
            peer: self.peer,
            peer_is_trusted: self.peer_is_trusted,
            scheme: self.scheme,
            host: self.head.authority_text().filter(|_| keeps_host).unwrap_or(to.authority()),
            allowed: &self.site.forward,
            identity: self.engine.identity(),
        }
    }

    fn onward(&self, head: &ResponseHead, upload: UploadState) -> Onward {
        let framing = match (head.framing, self.head.version) {
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (Framing::Chunked, Version::Http10) => Framing::UntilClose,
            (framing, _) => framing,
        };
        Onward {
            version: self.head.version,
            framing,
            // What is left of a request body would be read as the next request.
            persistent: upload == UploadState::Done
                && framing != Framing::UntilClose
                && self.client_may_stay(),
            is_child: forwarding::is_child(&self.head.fields, self.peer_is_trusted),
        }
    }

    fn client_may_stay(&self) -> bool {
        self.head.persistent && !*self.shutdown.borrow()
    }

    /// Whether the client can ask again.
    async fn answer_ourselves(
        &self,
        own: Own,
        client: &mut Client<'_>,
        record: &mut Record,
    ) -> Result<bool, End> {
        // A body that has arrived whole is no danger to the next request.
        let was_read = client.body.skip(&mut *client.reader.lock().await);
        let persistent = self.client_may_stay() && was_read && own.leaves_framing();
        let to = Recipient::of(self.head, persistent);
        own.send(client.writer, to, record).await.map_err(|_| End::Own(own))?;
        Ok(persistent)
    }
}

impl End {
    /// The client's body could not be read, and no head went out.
    fn of_client(error: &ReadError) -> Self {
        match error {
            ReadError::Bad(sentence) => Self::Own(Own::BadBody(sentence)),
            ReadError::Stalled | ReadError::Overtime => Self::Own(Own::BodyTimeout),
            ReadError::Closed | ReadError::Io(_) => Self::Broken("client_gone"),
        }
    }

    /// The client takes no more.
    fn of_write(error: &WriteError) -> Self {
        match error {
            WriteError::Stalled => Self::Broken("client_stalled"),
            WriteError::Io(_) => Self::Broken("client_gone"),
        }
    }
}
