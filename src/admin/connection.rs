//! One connection of an operator: requests are read as strictly as at the front door, one after the
//! other, and each is answered before the next is looked at.

use super::answer::Answer;
use super::places::Place;
use super::{Admin, REQUEST_WITHIN};
use crate::transport::{self, BodyReader, Incoming, Reader, Source, Writer};
use crate::wire::body::{Decoder, Frame, Sender};
use crate::wire::request::{Parser, RequestHead};
use crate::wire::{Framing, HeadLimits, Version};
use bytes::BytesMut;
use pingora::protocols::Stream;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// What a head may cost. A prefix that is asked for can be long.
const LIMITS: HeadLimits =
    HeadLimits { head_bytes_max: 128 * 1024, target_bytes_max: 96 * 1024, fields_max: 100 };
/// From the first byte of a head to its last.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A body that is wanted, from the head to its last byte.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Of a body that nobody wants, so much is taken: a client that is still sending would lose the
/// answer with the connection.
const UNWANTED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same in time.
const UNWANTED_WITHIN: Duration = Duration::from_secs(1);

/// A request, with what is needed to have the rest of it.
pub(super) struct Asked<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) peer: IpAddr,
    pub(super) place: &'a Place<'a>,
    body: BodyReader,
    reader: &'a mut Reader,
    writer: &'a mut Writer,
    /// Shutdown waits for whoever has brought the token.
    pub(super) running: Option<TaskTrackerToken>,
}

impl Admin {
    /// Serves requests until one of the two sides has enough, or somebody else needs the place.
    pub(super) async fn serve(&self, stream: Stream) {
        let Some(place) = self.places.enter() else { return };
        tokio::select! {
            biased;
            () = place.lost() => {}
            () = self.converse(stream, &place) => {}
        }
    }

    async fn converse(&self, stream: Stream, place: &Place<'_>) {
        let peer = peer_of(&stream);
        let (mut reader, mut writer) = transport::split(stream, BytesMut::new(), REQUEST_WITHIN);
        loop {
            place.give_way();
            let came = tokio::select! {
                biased;
                came = next(&mut reader) => came,
                () = self.is_left() => return,
            };
            let head = match came {
                Some(Ok(head)) => head,
                Some(Err(refusal)) => {
                    let bytes = refusal.bytes(true, false, SystemTime::now());
                    let _ = timeout(refusal.within, writer.write(&[&bytes])).await;
                    break;
                }
                None => return,
            };
            let decoder = Decoder::new(head.framing, Sender::Client, LIMITS);
            let mut asked = Asked {
                head: &head,
                peer,
                place,
                // There is a time for all of it, not for each piece.
                body: BodyReader::new(decoder, Duration::MAX),
                reader: &mut reader,
                writer: &mut writer,
                running: None,
            };
            let answer = self.answer(&mut asked).await;
            if !asked.send(&answer, !self.is_over()).await {
                break;
            }
        }
        transport::close(reader, writer).await;
    }
}

fn peer_of(stream: &Stream) -> IpAddr {
    let digest = stream.get_socket_digest();
    let address = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
    address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip())
}

/// The next head, or the answer to what is none; `None`: there is nothing to answer.
async fn next(reader: &mut Reader) -> Option<Result<RequestHead, Answer>> {
    let mut parser = Parser::default();
    let mut deadline = None;
    loop {
        match parser.next(&mut reader.buf, &LIMITS) {
            Ok(Some(head)) => return Some(Ok(head)),
            Ok(None) => {}
            Err(bad) => {
                let (status, sentence) = bad.explain();
                return Some(Err(Answer::plain(status, &format!("{sentence}\n"))));
            }
        }
        let now = Instant::now();
        let is_idle = reader.buf.is_empty() || &reader.buf[..] == b"\r\n";
        let until =
            if is_idle { now + REQUEST_WITHIN } else { *deadline.get_or_insert(now + HEAD_WITHIN) };
        match reader.fill(until.saturating_duration_since(now)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

impl Asked<'_> {
    pub(super) fn path(&self) -> &str {
        self.head.target().split('?').next().unwrap_or_default()
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.head.target().split_once('?').map(|(_, query)| query)
    }

    /// All of the body, or the answer that says why not.
    pub(super) async fn content(&mut self, bytes_max: usize) -> Result<Vec<u8>, Answer> {
        let too_large =
            || Answer::error(413, &format!("the body is larger than {} MiB", bytes_max >> 20));
        if matches!(self.head.framing, Framing::Length(bytes) if bytes > bytes_max as u64) {
            return Err(too_large());
        }
        match timeout(BODY_WITHIN, self.read(bytes_max)).await {
            Ok(Some(Ok(content))) => Ok(content),
            Ok(Some(Err(()))) => Err(too_large()),
            Ok(None) => Err(Answer::error(400, "the body could not be read")),
            Err(_) => {
                let seconds = BODY_WITHIN.as_secs();
                Err(Answer::error(408, &format!("the body did not come within {seconds} s")))
            }
        }
    }

    /// `None`: it broke off; an error: there is too much of it.
    async fn read(&mut self, bytes_max: usize) -> Option<Result<Vec<u8>, ()>> {
        // RFC 9110, section 10.1.1: who has sent the body needs no asking.
        if self.head.expects_continue && self.head.framing.has_body() && self.reader.buf.is_empty()
        {
            self.writer.write(&[b"HTTP/1.1 100 Continue\r\n\r\n"]).await.ok()?;
        }
        let mut content = Vec::new();
        let mut incoming = Incoming { body: &mut self.body, reader: self.reader };
        while let Some(frame) = incoming.next().await.ok()? {
            let Frame::Data(data) = frame else { continue };
            if content.len() + data.len() > bytes_max {
                return Some(Err(()));
            }
            content.extend_from_slice(&data);
        }
        Some(Ok(content))
    }

    /// Whether there can be another request after it.
    async fn send(mut self, answer: &Answer, may_stay: bool) -> bool {
        if self.running.is_none() {
            self.place.give_way();
        }
        let was_read = self.body.skip(self.reader);
        let is_usual = self.head.persistent && self.head.version == Version::Http11;
        let persistent = is_usual && was_read && may_stay;
        let wants_body = self.head.method != http::Method::HEAD;
        let bytes = answer.bytes(wants_body, persistent, SystemTime::now());
        match timeout(answer.within, self.writer.write(&[&bytes])).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
        if !was_read {
            let _ = timeout(UNWANTED_WITHIN, self.forget_body()).await;
        }
        persistent
    }

    async fn forget_body(&mut self) {
        let mut bytes = 0;
        let mut incoming = Incoming { body: &mut self.body, reader: self.reader };
        while let Ok(Some(frame)) = incoming.next().await {
            let Frame::Data(data) = frame else { continue };
            bytes += data.len();
            if bytes > UNWANTED_BYTES_MAX {
                return;
            }
        }
    }
}
