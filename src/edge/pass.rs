//! Pass: one request to the origin and its answer back, both bodies streamed, nothing kept.
//!
//! Both directions move at once: an origin may answer before it has read the whole request, and a
//! client may send while it receives. Memory is bounded by one buffer a direction, because neither
//! side is read faster than the other takes.

use super::connection::{self, Edge};
use super::respond::{Own, Recipient};
use super::tunnel;
use crate::access_log::Record;
use crate::config::{HostHeader, Site};
use crate::outcome::Outcome;
use crate::rules::forwarding::{self, Hop, Onward};
use crate::transport::{self, BodyReader, ReadError, Reader, WriteError, Writer};
use crate::upstream::{Answer, Connection, Fault};
use crate::wire::body::{Decoder, Encoding, ForbiddenTrailers, Frame};
use crate::wire::request::RequestHead;
use crate::wire::response::ResponseHead;
use crate::wire::{Framing, Version};
use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant, SystemTime};

/// How long the first byte of a chunked body is awaited before the origin hears of the request.
const FIRST_CHUNK_PATIENCE: Duration = Duration::from_secs(1);

/// One request to carry.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) edge: &'a Edge,
    pub(super) head: &'a RequestHead,
    pub(super) site: &'a Site,
    pub(super) peer: IpAddr,
    pub(super) peer_is_trusted: bool,
    pub(super) scheme: &'static str,
    pub(super) shutdown: &'a ShutdownWatch,
}

/// Why the client did not get a whole answer from the origin.
enum End {
    /// No head went out: the edge answers itself.
    Own(Own),
    /// A head went out but not the whole answer, or there is nobody to answer.
    Broken(&'static str),
    /// A pooled connection was dead; nothing was lost.
    TryAgain,
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
    let limits = &job.edge.settings.server.limits;
    let (mut reader, mut writer) = transport::split(stream, buf, limits.write_timeout);
    let decoder = Decoder::new(job.head.framing, ForbiddenTrailers::Refuse, limits.head);
    let mut body = BodyReader::new(decoder, limits.body_timeout);
    let mut client = Client { reader: &mut reader, writer: &mut writer, body: &mut body };

    let client_can_ask_again = match job.carry(&mut client, record).await {
        Ok(can) => Some(can),
        Err(End::Own(own)) => job.answer_ourselves(own, &mut client, record).await,
        Err(End::Broken(reason)) => {
            record.outcome = Outcome::Error(reason);
            None
        }
        Err(End::TryAgain) => None,
    };
    record.sent_bytes = writer.sent_bytes;
    match client_can_ask_again {
        Some(true) => Some(transport::join(reader, writer)),
        Some(false) => {
            connection::close(reader, writer).await;
            None
        }
        // Dropped as it is, so that the client cannot take half an answer for a whole one.
        None => None,
    }
}

/// The client's side of a request.
struct Client<'a> {
    reader: &'a mut Reader,
    writer: &'a mut Writer,
    body: &'a mut BodyReader,
}

impl Job<'_> {
    /// Whether the client can ask again on its connection.
    async fn carry(&self, client: &mut Client<'_>, record: &mut Record) -> Result<bool, End> {
        // A malformed beginning of a body is refused before the origin is asked.
        if self.head.framing == Framing::Chunked && !self.head.expects_continue {
            let looked = client.body.look_ahead(client.reader, FIRST_CHUNK_PATIENCE).await;
            looked.map_err(|error| End::of_client(error, true))?;
        }
        let upstream = &self.edge.upstream;
        let mut fresh = false;
        loop {
            let connected = upstream.connect(self.site.origin, fresh).await;
            let mut connection = connected.map_err(|fault| End::Own(Own::Origin(fault)))?;
            match self.exchange(&mut connection, client, record).await {
                Ok(answered) => {
                    if answered.connection_can_be_reused {
                        upstream.release(connection);
                    }
                    return Ok(answered.client_can_ask_again);
                }
                Err(End::TryAgain) => fresh = true,
                Err(end) => return Err(end),
            }
        }
    }

    /// One request and its answer over one connection to the origin.
    async fn exchange(
        &self,
        connection: &mut Connection,
        client: &mut Client<'_>,
        record: &mut Record,
    ) -> Result<Answered, End> {
        match self.converse(connection, client, record).await? {
            Conversed::Answered(answered) => Ok(answered),
            Conversed::Switched => {
                let idle_timeout = self.edge.settings.server.limits.upgrade_idle_timeout;
                let origin = (&mut connection.answer.reader, &mut connection.writer);
                tunnel::run((client.reader, client.writer), origin, idle_timeout).await;
                Ok(Answered { client_can_ask_again: false, connection_can_be_reused: false })
            }
        }
    }

    async fn converse(
        &self,
        connection: &mut Connection,
        client: &mut Client<'_>,
        record: &mut Record,
    ) -> Result<Conversed, End> {
        let Connection { answer, writer: to_origin, authority, is_reused, .. } = connection;
        // Nothing of such a request is used up by sending it, so that it can be sent again.
        let can_be_repeated = self.head.is_idempotent() && self.head.framing == Framing::Empty;
        let fail = |fault: Fault| match fault {
            Fault::Closed if *is_reused && can_be_repeated => End::TryAgain,
            fault => {
                self.log(fault, authority);
                End::Own(Own::Origin(fault))
            }
        };
        let head = forwarding::request_head(self.head, &self.hop(authority));
        let sent_at = Instant::now();
        let was_taken = to_origin.write(&[&head]).await.is_ok();
        let encoding = match self.head.framing {
            Framing::Chunked => Encoding::Chunked,
            _ => Encoding::Plain,
        };
        let mut upload = Upload {
            future: pin!(pump(client.body, client.reader, to_origin, encoding)),
            // An origin that takes no more may have answered before it closed.
            state: if was_taken { UploadState::Running } else { UploadState::Refused },
        };
        let head = self.final_head(answer, client.writer, &mut upload, &fail).await?;
        record.origin_duration = Some(sent_at.elapsed());
        if head.status == 101 && !self.head.upgrade {
            return Err(fail(Fault::Garbage("it switches protocols without being asked to")));
        }

        let onward = self.onward(&head, upload.state);
        record.status = head.status;
        let bytes = forwarding::response_head(&head, &onward, SystemTime::now());
        client.writer.write(&[&bytes]).await.map_err(|error| End::of_write(&error))?;
        if head.status == 101 {
            return Ok(Conversed::Switched);
        }
        let limits = &self.edge.settings.server.limits;
        let decoder = Decoder::new(head.framing, ForbiddenTrailers::Drop, limits.head);
        let mut body =
            BodyReader::new(decoder, self.edge.upstream.settings(self.site.origin).read_timeout);
        let encoding = match onward.framing {
            Framing::Chunked => Encoding::Chunked,
            _ => Encoding::Plain,
        };
        let download = pump(&mut body, &mut answer.reader, client.writer, encoding);
        match upload.alongside(download, Duration::MAX).await {
            Ok(Ok(())) => {}
            Ok(Err(PumpError::Write(error))) => return Err(End::of_write(&error)),
            Ok(Err(PumpError::Read(error))) => {
                let fault = Fault::of_body(&error);
                self.log(fault, authority);
                return Err(End::Broken(fault.label()));
            }
            Err(Interruption::Client(error)) => return Err(End::of_client(error, false)),
            Err(Interruption::Silence) => return Err(End::Broken(Fault::Silent.label())),
        }
        Ok(Conversed::Answered(Answered {
            client_can_ask_again: onward.persistent,
            connection_can_be_reused: head.persistent && upload.state == UploadState::Done,
        }))
    }

    /// Forwards interim heads while the request goes out, until the final one comes.
    async fn final_head<F: Future<Output = Result<(), PumpError>>>(
        &self,
        answer: &mut Answer,
        to_client: &mut Writer,
        upload: &mut Upload<'_, F>,
        fail: &impl Fn(Fault) -> End,
    ) -> Result<ResponseHead, End> {
        let limits = &self.edge.settings.server.limits.head;
        let response_timeout = self.edge.upstream.settings(self.site.origin).response_timeout;
        loop {
            let read = answer.read_head(&self.head.method, limits);
            let head = match upload.alongside(read, response_timeout).await {
                Ok(read) => read.map_err(fail)?,
                Err(Interruption::Silence) => return Err(fail(Fault::Silent)),
                Err(Interruption::Client(error)) => return Err(End::of_client(error, true)),
            };
            if !head.is_interim() {
                return Ok(head);
            }
            // A 1.0 client knows no interim answers (RFC 9110, section 15.2).
            if self.head.version == Version::Http11 {
                let onward = self.onward(&head, upload.state);
                let bytes = forwarding::response_head(&head, &onward, SystemTime::now());
                to_client.write(&[&bytes]).await.map_err(|error| End::of_write(&error))?;
            }
        }
    }

    fn hop<'h>(&'h self, origin_authority: &'h str) -> Hop<'h> {
        Hop {
            peer: self.peer,
            peer_is_trusted: self.peer_is_trusted,
            scheme: self.scheme,
            host: match (self.site.host_header, self.head.authority_text()) {
                (HostHeader::Client, Some(authority)) => authority,
                _ => origin_authority,
            },
            allowed: &self.site.forward,
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
        }
    }

    fn client_may_stay(&self) -> bool {
        self.head.persistent && !*self.shutdown.borrow()
    }

    /// Whether the client can ask again, or `None` if it could not be told.
    async fn answer_ourselves(
        &self,
        own: Own,
        client: &mut Client<'_>,
        record: &mut Record,
    ) -> Option<bool> {
        let persistent = self.client_may_stay() && client.body.is_done();
        let to = Recipient::of(self.head, persistent);
        own.send(client.writer, to, record).await.ok()?;
        Some(persistent)
    }

    fn log(&self, fault: Fault, authority: &str) {
        tracing::warn!(
            origin = self.edge.upstream.settings(self.site.origin).name,
            server = authority,
            method = %self.head.method,
            target = self.head.target(),
            reason = fault.label(),
            detail = fault.detail(),
            "no good answer from the origin"
        );
    }
}

impl End {
    /// The client's body could not be read.
    fn of_client(error: ReadError, can_answer: bool) -> Self {
        match error {
            ReadError::Bad(sentence) if can_answer => Self::Own(Own::BadBody(sentence)),
            ReadError::Stalled if can_answer => Self::Own(Own::BodyTimeout),
            ReadError::Bad(_) => Self::Broken("bad_body"),
            ReadError::Stalled => Self::Broken("body_timeout"),
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

enum PumpError {
    Read(ReadError),
    Write(WriteError),
}

/// Carries one body from one side to the other.
async fn pump(
    body: &mut BodyReader,
    from: &mut Reader,
    to: &mut Writer,
    encoding: Encoding,
) -> Result<(), PumpError> {
    while let Some(frame) = body.next(from).await.map_err(PumpError::Read)? {
        to.write_frame(&frame, encoding).await.map_err(PumpError::Write)?;
        if let Frame::Trailers(_) = frame {
            return Ok(());
        }
    }
    to.write(&[&encoding.end(None)]).await.map_err(PumpError::Write)
}

/// The request body on its way, while other things happen.
struct Upload<'p, F> {
    future: Pin<&'p mut F>,
    state: UploadState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum UploadState {
    Running,
    Done,
    /// The origin takes no more.
    Refused,
}

/// Why something did not come to its end beside an upload.
enum Interruption {
    /// The client's body could not be read.
    Client(ReadError),
    /// The request was out and nothing came for too long.
    Silence,
}

impl<F: Future<Output = Result<(), PumpError>>> Upload<'_, F> {
    /// Does `work` while the upload goes on. The clock of `silence_max` runs only when the origin
    /// has the whole request: nobody has to answer a question that is still being asked.
    async fn alongside<T>(
        &mut self,
        work: impl Future<Output = T>,
        silence_max: Duration,
    ) -> Result<T, Interruption> {
        let mut work = pin!(work);
        let silence_ends = || tokio::time::Instant::now().checked_add(silence_max);
        let mut deadline = if self.state == UploadState::Running { None } else { silence_ends() };
        loop {
            tokio::select! {
                biased;
                uploaded = self.future.as_mut(), if self.state == UploadState::Running => {
                    self.state = match uploaded {
                        Ok(()) => UploadState::Done,
                        Err(PumpError::Write(_)) => UploadState::Refused,
                        Err(PumpError::Read(error)) => return Err(Interruption::Client(error)),
                    };
                    deadline = silence_ends();
                }
                result = work.as_mut() => return Ok(result),
                () = until(deadline) => return Err(Interruption::Silence),
            }
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
