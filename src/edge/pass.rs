//! Pass: one request to the origin and its answer back, both bodies streamed, nothing kept.
//!
//! Both directions move at once: an origin may answer before it has read the whole request, and a
//! client may send while it receives. Memory is bounded by one buffer a direction, because neither
//! side is read faster than the other takes.

use super::again::{Again, Kept};
use super::client::{Ended, Reply, RequestBody};
use super::own::{Own, Recipient};
use super::shape::{self, Story};
use super::upload::{Interruption, PumpError, Upload, UploadState, pump};
use crate::access_log::Record;
use crate::config::{HostHeader, Limits, Site};
use crate::engine::{Configured, Engine, Passed, Posted, is_safe};
use crate::outcome::Outcome;
use crate::rules::bypass::Bypass;
use crate::rules::cache_status;
use crate::rules::forwarding::{self, Hop, Onward};
use crate::rules::key::Key;
use crate::trace::Trail;
use crate::transport::{ReadError, WriteError};
use crate::upstream::{Answer, Asking, Connection, Destination, Fault, Upstream, Way};
use crate::wire::request::RequestHead;
use crate::wire::response::ResponseHead;
use crate::wire::{Framing, Version};
use pingora::server::ShutdownWatch;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// How long the first byte of a chunked body is awaited before the origin hears of the request.
const FIRST_CHUNK_PATIENCE: Duration = Duration::from_secs(1);

/// One request to carry.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) limits: &'a Limits,
    pub(super) engine: &'a Arc<Engine>,
    pub(super) configured: &'a Arc<Configured>,
    pub(super) head: &'a RequestHead,
    pub(super) site: &'a Arc<Site>,
    /// What it asks for, as the cache calls it.
    pub(super) key: &'a Key,
    pub(super) bypass: Bypass,
    pub(super) peer: IpAddr,
    pub(super) peer_is_trusted: bool,
    pub(super) scheme: &'static str,
    pub(super) client_certificate: Option<&'a str>,
    pub(super) shutdown: &'a ShutdownWatch,
    pub(super) trail: &'a Trail<'a>,
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
    /// Its answer had begun, so that there is nothing more to learn of it.
    Midway(End),
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

/// What an exchange with the origin led to.
enum Exchanged {
    Answered(Answered),
    /// 101: from here on the bytes are not HTTP.
    Switched,
}

/// The client's side of a request.
struct Client<'a, R, B> {
    reply: &'a mut R,
    body: &'a mut B,
    kept: Kept,
}

impl Job<'_> {
    /// Carries the request, and its answer back.
    pub(super) async fn answer<R: Reply, B: RequestBody>(
        &self,
        reply: &mut R,
        body: &mut B,
        record: &mut Record<'_>,
    ) -> Ended {
        let mut client = Client { reply, body, kept: Kept::default() };
        let ended = match self.carry(&mut client, record).await {
            Err(End::Own(own)) => return self.answer_ourselves(own, &mut client, record).await,
            Ok(ended) => ended,
            Err(End::Broken(reason)) => return Ended::Broken(reason),
            Err(End::Reset(reason)) => return Ended::Reset(reason),
        };
        record.outcome = Outcome::Pass(self.bypass.forward());
        ended
    }

    async fn carry<R: Reply, B: RequestBody>(
        &self,
        client: &mut Client<'_, R, B>,
        record: &mut Record<'_>,
    ) -> Result<Ended, End> {
        // A malformed beginning of a body is refused before the origin is asked.
        if self.head.framing == Framing::Chunked {
            let is_asked_first = self.head.expects_continue;
            let patience = if is_asked_first { Duration::ZERO } else { FIRST_CHUNK_PATIENCE };
            let looked = client.body.look_ahead(patience).await;
            looked.map_err(|error| End::of_client(&error))?;
        }
        let mut way = self.upstream().way(self.asking());
        loop {
            let next = tokio::select! {
                biased;
                next = way.next() => next,
                // Whoever has gone waits for nothing.
                () = client.reply.gone() => return Err(End::Broken("client_gone")),
            };
            let mut connection = next.map_err(|fault| self.end_of(fault))?;
            match self.exchange(&mut way, &mut connection, client, record).await {
                Ok(Exchanged::Answered(answered)) => {
                    if answered.connection_can_be_reused {
                        self.upstream().release(connection);
                    }
                    return Ok(Ended::Sent(answered.client_can_ask_again));
                }
                Ok(Exchanged::Switched) => return Ok(Ended::Switched(Box::new(connection))),
                Err(Failed::TryAgain) => {}
                Err(Failed::Midway(end)) => {
                    drop(connection);
                    if !is_safe(&self.head.method) {
                        self.engine.invalidate(self.key);
                    }
                    return Err(end);
                }
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
    async fn exchange<R: Reply, B: RequestBody>(
        &self,
        way: &mut Way<'_>,
        connection: &mut Connection,
        client: &mut Client<'_, R, B>,
        record: &mut Record<'_>,
    ) -> Result<Exchanged, Failed> {
        let (lines, mut fetch) = self.trail.errand().fetch();
        fetch.asks(self.head.method.as_str(), self.head.target(), connection.to.place());
        let head = forwarding::request_head(self.head, &self.hop(&connection.to, &lines));
        let (sent_at, asked) = (Instant::now(), self.engine.moment());
        let was_taken = connection.ask(&head, self.head.framing).await;
        let Connection { answer, sender: to_origin, to } = connection;
        let Client { reply, body, kept } = client;
        let (has_begun, is_lost) = (body.has_begun(), kept.is_lost());
        let may_refuse = to.may_refuse();
        let future = pin!(async {
            let mut from = Again::new(kept, *body, may_refuse);
            pump(&mut from, to_origin, &self.head.fields).await
        });
        let mut upload = Upload::new(future, to.response_timeout());
        if self.head.expects_continue {
            upload.waits_for_continue(has_begun);
        }
        match (was_taken, self.head.framing.has_body()) {
            // An origin that takes no more may have answered before it closed.
            (false, _) => upload.ends_as(UploadState::GivenUp),
            (true, false) => upload.ends_as(UploadState::Done),
            (true, true) => {}
        }
        let told = to.in_time(self.final_head(answer, *reply, &mut upload)).await;
        let mut head = match told.unwrap_or(Err(Headless::Fault(Fault::Overtime))) {
            Ok(head) => head,
            Err(Headless::End(end)) => return Err(end.into()),
            Err(Headless::Fault(fault)) => {
                fetch.failed(fault.label());
                if is_lost.load(Ordering::Relaxed) {
                    way.is_used_up();
                }
                return Err(self.failed(way, to, fault));
            }
        };
        fetch.answered(head.status);
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
        to.keep_redirect(&mut head);
        answer.begin_body(&head);
        let mut keeping = self.heed(&head, sent_at, asked);
        if !is_safe(&self.head.method) {
            // A client that knows of a change does not see the old again, come what may.
            self.engine.invalidations_written(self.configured).await;
        }
        let onward = self.onward(&head, upload.state);
        record.status = head.status;
        record.detail = self.bypass.detail();
        let mut told = Vec::new();
        let told_before = cache_status::told_before(&head.fields);
        let (outcome, detail) = (Outcome::Pass(self.bypass.forward()), self.bypass.detail());
        Story { is_stored: keeping.is_some(), detail, ..Story::new(outcome) }
            .write(&mut told, &told_before);
        let mut bytes = forwarding::response_head(&head, &onward, SystemTime::now(), &told);
        shape::secure(&mut bytes, self.site.hsts_line(self.scheme));
        shape::identify(&mut bytes, record);
        let sent_before = reply.sent_bytes();
        reply.begin(bytes, onward.framing);
        reply.flush().await.map_err(|error| {
            if reply.sent_bytes() == sent_before {
                record.status = 0;
            }
            Failed::Midway(End::of_write(&error))
        })?;
        if head.status == 101 {
            return Ok(Exchanged::Switched);
        }
        let kept = keeping.as_mut();
        match upload.beside_answer(answer, *reply, &head.fields, kept).await {
            Ok(()) => {
                way.is_over(to);
                keeping.into_iter().for_each(Posted::finish);
            }
            Err(PumpError::Write(error)) => {
                return Err(Failed::Midway(End::of_write(&error)));
            }
            Err(PumpError::Read(error)) => {
                let fault = Fault::of_body(&error);
                record.detail = Some(fault.detail());
                way.broke_off(to, fault);
                let ends_with_connection = onward.framing == Framing::UntilClose;
                let end = if ends_with_connection { End::Reset } else { End::Broken };
                return Err(Failed::Midway(end(fault.label())));
            }
        }
        if head.persistent && !self.head.expects_continue {
            // The origin has answered early and not closed: it may still want the request.
            upload.finish().await;
        }
        Ok(Exchanged::Answered(Answered {
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
            configured: self.configured,
            site: self.site,
            key: self.key,
            scheme: self.scheme,
            peer_is_trusted: self.peer_is_trusted,
            tells_more: forwarding::tells_more(
                &self.head.fields,
                self.client_certificate,
                self.peer_is_trusted,
            ),
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
        reply: &mut impl Reply,
        upload: &mut Upload<'_, F>,
    ) -> Result<ResponseHead, Headless> {
        loop {
            let head = match upload
                .until_answered(answer.read_head(&self.head.method), reply.gone())
                .await
            {
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
            if self.head.version != Version::Http10 {
                let onward = self.onward(&head, upload.state);
                let bytes = forwarding::response_head(&head, &onward, SystemTime::now(), b"");
                reply.interim(&bytes).await.map_err(|error| End::of_write(&error))?;
            }
        }
    }

    fn upstream(&self) -> &Upstream {
        self.configured.upstream()
    }

    fn hop<'h>(&'h self, to: &'h Destination, about_request: &'h [u8]) -> Hop<'h> {
        // A parent finds its site by it.
        let keeps_host = self.site.host_header == HostHeader::Client || to.is_parent();
        Hop {
            peer: self.peer,
            peer_is_trusted: self.peer_is_trusted,
            scheme: self.scheme,
            client_certificate: self.client_certificate,
            host: self.head.authority_text().filter(|_| keeps_host).unwrap_or(to.authority()),
            allowed: &self.site.forward,
            identity: self.engine.identity(),
            about_request,
        }
    }

    fn onward(&self, head: &ResponseHead, upload: UploadState) -> Onward {
        let framing = match (head.framing, self.head.version) {
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (Framing::Chunked, _) => Framing::UntilClose,
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

    async fn answer_ourselves<R: Reply, B: RequestBody>(
        &self,
        own: Own,
        client: &mut Client<'_, R, B>,
        record: &mut Record<'_>,
    ) -> Ended {
        // A body that has arrived whole is no danger to the next request.
        let was_read = client.body.skip().await;
        let persistent = self.client_may_stay() && was_read && own.leaves_framing();
        let to = Recipient::of_site(self.head, persistent, self.site, self.scheme);
        let sent = own.send(client.reply, to, record).await;
        sent.map_or_else(Ended::of_own, |()| Ended::Sent(persistent))
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
