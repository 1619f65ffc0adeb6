//! One request and its answer over HTTP/1.1.

use super::client::{Ended, Reply, RequestBody};
use super::pass::Job;
use super::room;
use super::serve::Exchange;
use super::tunnel;
use crate::access_log::{Record, Recording, Sent};
use crate::config::Limits;
use crate::engine::{PIECES_MAX, Pieces};
use crate::outcome::Outcome;
use crate::transport::{
    self, BodyReader, Patience, ReadError, Reader, Sink, Source, WriteError, Writer,
};
use crate::wire::Framing;
use crate::wire::body::{Decoder, Encoding, Frame, Sender};
use bytes::BytesMut;
use pingora::protocols::Stream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::io::{AsyncWrite, WriteHalf};
use tokio::sync::Mutex;

/// An answer on its way into a connection, or into its sending half.
pub(super) struct Http1Reply<'a, W = WriteHalf<Stream>> {
    pub(super) writer: Writer<W>,
    /// The receiving half, where it is not a part of `writer`.
    reader: Option<&'a Mutex<Reader>>,
    /// What goes out before anything else.
    pending: Vec<u8>,
    encoding: Encoding,
    head_bytes: u64,
}

impl<'a, W> Http1Reply<'a, W> {
    pub(super) fn new(writer: Writer<W>, reader: Option<&'a Mutex<Reader>>) -> Self {
        Self { writer, reader, pending: Vec::new(), encoding: Encoding::Plain, head_bytes: 0 }
    }
}

impl<W: AsyncWrite + Unpin + Send> Http1Reply<'_, W> {
    /// Sends what waits and these parts behind it, in one system call where that is possible.
    async fn send(&mut self, parts: &[&[u8]], bytes: usize) -> Result<(), WriteError> {
        let (before, after) = self.encoding.around(bytes);
        self.pending.extend_from_slice(&before);
        if self.pending.capacity() - self.pending.len() >= bytes + after.len() {
            // What is small is cheaper to copy than to hand over in several pieces.
            parts.iter().for_each(|part| self.pending.extend_from_slice(part));
            self.pending.extend_from_slice(after);
            return self.flush().await;
        }
        let mut slices = [&b""[..]; PIECES_MAX + 2];
        slices[0] = &self.pending;
        slices[1..=parts.len()].copy_from_slice(parts);
        slices[parts.len() + 1] = after;
        self.writer.write(&slices[..parts.len() + 2]).await?;
        self.pending.clear();
        Ok(())
    }
}

impl<W: AsyncWrite + Unpin + Send> Sink for Http1Reply<'_, W> {
    async fn frame(&mut self, frame: &Frame) -> Result<(), WriteError> {
        match frame {
            Frame::Data(data) => self.send(&[data], data.len()).await,
            Frame::Trailers(fields) => {
                self.pending.extend_from_slice(&self.encoding.end(Some(fields)));
                self.flush().await
            }
        }
    }

    async fn end(&mut self) -> Result<(), WriteError> {
        self.pending.extend_from_slice(&self.encoding.end(None));
        self.flush().await
    }
}

impl<W: AsyncWrite + Unpin + Send> Reply for Http1Reply<'_, W> {
    async fn interim(&mut self, head: &[u8]) -> Result<(), WriteError> {
        self.writer.write(&[head]).await
    }

    fn begin(&mut self, head: Vec<u8>, framing: Framing) {
        // Whatever went out before it was a head, too.
        self.head_bytes = self.writer.sent_bytes + head.len() as u64;
        self.pending = head;
        self.encoding = Encoding::from(framing);
    }

    fn add(&mut self, content: &[u8]) {
        self.pending.extend_from_slice(content);
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        if !self.pending.is_empty() {
            self.writer.write(&[&self.pending]).await?;
            self.pending.clear();
        }
        Ok(())
    }

    async fn pieces(&mut self, pieces: &Pieces) -> Result<(), WriteError> {
        let mut parts = [&b""[..]; PIECES_MAX];
        let (mut count, mut bytes) = (0, 0);
        for piece in pieces.iter().flatten() {
            parts[count] = piece;
            count += 1;
            bytes += piece.len();
        }
        self.send(&parts[..count], bytes).await
    }

    async fn gone(&mut self) {
        match self.reader {
            Some(reader) => transport::broken(reader).await,
            None => std::future::pending().await,
        }
    }

    fn sent_bytes(&self) -> u64 {
        self.writer.sent_bytes
    }

    fn sent(&self) -> Sent {
        let (bytes, first) = (self.writer.sent_bytes, self.writer.first_sent);
        Sent { bytes, head_bytes: self.head_bytes, first }
    }
}

/// A body that is read off a connection.
struct Http1Body<'a> {
    body: BodyReader,
    /// Locked while something is read, and else by whoever watches for the client's end.
    reader: &'a Mutex<Reader>,
}

impl Source for Http1Body<'_> {
    async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        self.body.next(&mut *self.reader.lock().await).await
    }
}

impl RequestBody for Http1Body<'_> {
    async fn look_ahead(&mut self, patience: Duration) -> Result<(), ReadError> {
        self.body.look_ahead(&mut *self.reader.lock().await, patience).await
    }

    fn has_begun(&self) -> Arc<AtomicBool> {
        self.body.has_begun()
    }

    async fn skip(&mut self) -> bool {
        self.body.skip(&mut *self.reader.lock().await)
    }
}

/// Answers out of the cache. The connection comes back if it can be used again.
pub(super) async fn serve(
    exchange: Exchange<'_>,
    mut stream: Stream,
    buf: BytesMut,
    record: &mut Record<'_>,
) -> Option<(Stream, BytesMut)> {
    let patience = patience(exchange.limits);
    // The way of most requests: nothing is waited for but the client's own socket.
    let mut reply = Http1Reply::new(Writer::new(&mut stream, patience), None);
    let ended = match exchange.at_once(&mut reply, record).await {
        Ok(ended) => {
            record.is_answered(reply.sent());
            room::give_back(reply.pending);
            if matches!(ended, Ended::Sent(true)) {
                return Some((stream, buf));
            }
            let (reader, writer) = transport::split(stream, buf, patience);
            return close(ended, reader, writer, record).await;
        }
        Err(found) => {
            let (reader, writer) = transport::split(stream, buf, patience);
            let reader = Mutex::new(reader);
            let mut reply = Http1Reply::new(writer, Some(&reader));
            let ended = Box::pin(exchange.fetched(found, &mut reply, record)).await;
            record.is_answered(reply.sent());
            let writer = reply.writer;
            (ended, reader.into_inner(), writer)
        }
    };
    let (ended, reader, writer) = ended;
    close(ended, reader, writer, record).await
}

/// Carries a request to its origin. The connection comes back if it can be used again.
pub(super) async fn pass(
    job: Job<'_>,
    stream: Stream,
    buf: BytesMut,
    recording: &mut Recording<'_>,
) -> Option<(Stream, BytesMut)> {
    let limits = job.limits;
    let (reader, writer) = transport::split(stream, buf, patience(limits));
    let reader = Mutex::new(reader);
    let decoder = Decoder::new(job.head.framing, Sender::Client, limits.head);
    let mut body = Http1Body {
        body: BodyReader::new(decoder, Patience::new(limits.body_timeout, limits.rate_min)),
        reader: &reader,
    };
    let mut reply = Http1Reply::new(writer, Some(&reader));
    let ended = job.answer(&mut reply, &mut body, &mut recording.record).await;
    let sent = reply.sent();
    let mut writer = reply.writer;
    let mut reader = reader.into_inner();
    let ended = match ended {
        Ended::Switched(mut connection) => {
            recording.is_upgraded();
            if let Some(origin) = connection.raw() {
                let idle_timeout = limits.upgrade_idle_timeout;
                tunnel::run((&mut reader, &mut writer), origin, idle_timeout).await;
            }
            Ended::Sent(false)
        }
        ended => ended,
    };
    let record = &mut recording.record;
    record.is_answered(Sent { bytes: writer.sent_bytes, ..sent });
    close(ended, reader, writer, record).await
}

/// With a client that takes its answer.
pub(super) fn patience(limits: &Limits) -> Patience {
    Patience::new(limits.write_timeout, limits.rate_min)
}

/// What becomes of the connection.
pub(super) async fn close(
    ended: Ended,
    reader: Reader,
    writer: Writer,
    record: &mut Record<'_>,
) -> Option<(Stream, BytesMut)> {
    match ended {
        Ended::Sent(true) => return Some(transport::join(reader, writer)),
        Ended::Sent(false) | Ended::Switched(_) => transport::close(reader, writer).await,
        Ended::Broken(reason) => record.outcome = Outcome::Error(reason),
        Ended::Reset(reason) => {
            record.outcome = Outcome::Error(reason);
            transport::reset(reader, writer);
        }
        Ended::Cut => {}
    }
    None
}
