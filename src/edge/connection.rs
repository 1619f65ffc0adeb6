//! One accepted connection: requests are read off it one after the other and answered in order.

use super::door::{Edge, Visitor};
use super::own::{Own, Recipient};
use super::pass::{self, Bypass, Job};
use super::purging::{self, Asked};
use super::serve::Exchange;
use crate::access_log::Record;
use crate::config::Site;
use crate::engine::Request;
use crate::rules::cache_control::Demands;
use crate::rules::key::{self, Key};
use crate::rules::storing::Policy;
use crate::rules::{forwarding, loops, policy};
use crate::transport;
use crate::wire::Version;
use crate::wire::body::{Decoder, Sender};
use crate::wire::request::{Parser, RequestHead};
use bytes::BytesMut;
use http::Method;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::net::IpAddr;
use std::time::SystemTime;
use tokio::io::AsyncReadExt;
use tokio::time::timeout_at;

/// Room for the head that most clients send; more is made as it comes.
const HEAD_BYTES_USUAL: usize = 4096;
/// The way that a request takes.
enum Way {
    Cache(Policy),
    Around(Bypass),
}

/// The next thing that a client did.
enum Next {
    Request(Box<RequestHead>),
    /// `wants_body` is false for HEAD.
    Refused {
        own: Own,
        wants_body: bool,
    },
    /// It left, or waited too long for nothing.
    Gone,
}

impl Edge {
    /// Serves requests until one of the two sides has enough.
    pub(super) async fn serve(
        &self,
        mut stream: Stream,
        visitor: Visitor,
        shutdown: &mut ShutdownWatch,
    ) {
        let mut buf = BytesMut::new();
        let mut key = Key::default();
        loop {
            let head = match self.next(&mut stream, &mut buf, shutdown).await {
                Next::Request(head) => head,
                Next::Refused { own, wants_body } => {
                    return self.refuse(stream, buf, visitor.peer, own, wants_body).await;
                }
                Next::Gone => return,
            };
            match self.answer(stream, buf, &head, &mut key, visitor, shutdown).await {
                Some(again) => (stream, buf) = again,
                None => return,
            }
        }
    }

    /// Reads one head. Its deadline is absolute: a client cannot buy time byte by byte.
    async fn next(
        &self,
        stream: &mut Stream,
        buf: &mut BytesMut,
        shutdown: &mut ShutdownWatch,
    ) -> Next {
        let limits = &self.settings.server.limits;
        let mut deadline = None;
        let mut parser = Parser::default();
        loop {
            let wants_body = !buf.starts_with(b"HEAD ");
            match parser.next(buf, &limits.head) {
                Ok(Some(head)) => return Next::Request(Box::new(head)),
                Ok(None) => {}
                Err(bad) => return Next::Refused { own: Own::BadRequest(bad), wants_body },
            }
            // The empty line that old clients send after a body is not the beginning of a head.
            let is_idle = buf.is_empty() || &buf[..] == b"\r\n";
            let now = tokio::time::Instant::now();
            let until = if is_idle {
                now + limits.idle_timeout
            } else {
                *deadline.get_or_insert(now + limits.header_timeout)
            };
            buf.reserve(HEAD_BYTES_USUAL);
            let read = tokio::select! {
                biased;
                read = timeout_at(until, stream.read_buf(buf)) => read,
                _ = shutdown.wait_for(|down| *down), if is_idle => return Next::Gone,
            };
            match read {
                Ok(Ok(bytes)) if bytes > 0 => {}
                Err(_) if !is_idle => return Next::Refused { own: Own::HeadTimeout, wants_body },
                Ok(_) | Err(_) => return Next::Gone,
            }
        }
    }

    async fn answer(
        &self,
        stream: Stream,
        buf: BytesMut,
        head: &RequestHead,
        key: &mut Key,
        visitor: Visitor,
        shutdown: &ShutdownWatch,
    ) -> Option<(Stream, BytesMut)> {
        let Visitor { peer, scheme } = visitor;
        let now = SystemTime::now();
        let trusted = &self.settings.server.trusted_proxies;
        let client = forwarding::client_address(&head.fields, peer, trusted);
        let mut recording = self.log.begin(Record::new(now, client, Some(head)));
        let record = &mut recording.record;
        let authority = head.authority();
        let Some(site) = self.sites.find(authority.map(|authority| authority.host)) else {
            return self.answer_ourselves(stream, buf, head, Own::NoSite, shutdown, record).await;
        };
        record.site = Some(site.clone());
        if let Err(looped) = loops::check(&head.fields, self.engine.identity()) {
            let own = Own::Looped(looped);
            return self.answer_ourselves(stream, buf, head, own, shutdown, record).await;
        }
        if forwarding::forwards_left(head) == Some(0) {
            return self.answer_ourselves(stream, buf, head, Own::LastStop, shutdown, record).await;
        }
        if purging::is_meant(&head.method) {
            let client_is_certain = forwarding::client_is_certain(&head.fields, peer, trusted);
            let (engine, gatekeeper) = (&self.engine, &*self.gatekeeper);
            let asked = Asked { engine, gatekeeper, head, site, client, client_is_certain };
            return match asked.answer(record).await {
                Ok(page) => {
                    let mut buf = buf;
                    let to = self.recipient(&mut buf, head, shutdown);
                    let bytes = page.bytes(to, SystemTime::now());
                    self.write(stream, buf, &bytes, to, record).await
                }
                Err(own) => self.answer_ourselves(stream, buf, head, own, shutdown, record).await,
            };
        }
        let peer_is_trusted = trusted.iter().any(|network| network.contains(&peer));
        let limits = &self.settings.server.limits;
        let metrics = self.log.metrics();
        key.write(site, authority, head.target(), 80);
        let (engine, key) = (&self.engine, &*key);
        let bypass = match self.way_of(head, site, key) {
            Way::Cache(policy) => {
                let request = &Request {
                    head,
                    site,
                    key,
                    additions: key::additions(
                        site,
                        &head.fields,
                        scheme,
                        key.host(),
                        peer_is_trusted,
                    ),
                    policy,
                    demands: Demands::of_request(&head.fields),
                    peer,
                    peer_is_trusted,
                    scheme,
                    now,
                };
                let exchange = Exchange { engine, request, limits, metrics, shutdown };
                return exchange.answer(stream, buf, record).await;
            }
            Way::Around(bypass) => bypass,
        };
        let job = Job {
            limits,
            engine,
            head,
            site,
            key,
            bypass,
            peer,
            peer_is_trusted,
            scheme,
            shutdown,
        };
        pass::pass(job, stream, buf, record).await
    }

    /// Whether the cache may have a say in a request.
    fn way_of(&self, head: &RequestHead, site: &Site, key: &Key) -> Way {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Way::Around(Bypass::Method);
        }
        // What an upgrade or a request's content leads to is nobody else's (RFC 9110, section 9.3.1).
        if head.upgrade {
            return Way::Around(Bypass::Upgrade);
        }
        if head.framing.has_body() {
            return Way::Around(Bypass::RequestBody);
        }
        let path = key.target().split('?').next().unwrap_or_default();
        policy::of_path(site, path).map_or(Way::Around(Bypass::Rule), Way::Cache)
    }

    /// Answers a request that was read, without asking anybody.
    async fn answer_ourselves(
        &self,
        stream: Stream,
        mut buf: BytesMut,
        head: &RequestHead,
        own: Own,
        shutdown: &ShutdownWatch,
        record: &mut Record,
    ) -> Option<(Stream, BytesMut)> {
        let to = self.recipient(&mut buf, head, shutdown);
        self.write_own(stream, buf, own, to, record).await
    }

    /// Whoever sent a request, without its body.
    fn recipient(
        &self,
        buf: &mut BytesMut,
        head: &RequestHead,
        shutdown: &ShutdownWatch,
    ) -> Recipient<'static> {
        // A body that is not all there would be taken for the next request.
        let limits = self.settings.server.limits.head;
        let was_read = Decoder::new(head.framing, Sender::Client, limits).skip(buf);
        Recipient::of(head, head.persistent && was_read && !*shutdown.borrow())
    }

    /// Answers what could not be read, and closes: nobody knows where the next request begins.
    pub(super) async fn refuse(
        &self,
        stream: Stream,
        buf: BytesMut,
        peer: IpAddr,
        own: Own,
        wants_body: bool,
    ) {
        let mut recording = self.log.begin(Record::new(SystemTime::now(), peer, None));
        let version = Version::Http11;
        let to = Recipient { version, persistent: false, wants_body, story: None };
        self.write_own(stream, buf, own, to, &mut recording.record).await;
    }

    async fn write_own(
        &self,
        stream: Stream,
        buf: BytesMut,
        own: Own,
        to: Recipient<'_>,
        record: &mut Record,
    ) -> Option<(Stream, BytesMut)> {
        own.note(to, record);
        self.write(stream, buf, &own.bytes(to, SystemTime::now()), to, record).await
    }

    async fn write(
        &self,
        stream: Stream,
        buf: BytesMut,
        answer: &[u8],
        to: Recipient<'_>,
        record: &mut Record,
    ) -> Option<(Stream, BytesMut)> {
        let limit = self.settings.server.limits.write_timeout;
        let (reader, mut writer) = transport::split(stream, buf, limit);
        let written = writer.write(&[answer]).await;
        record.is_answered(writer.sent_bytes);
        written.ok()?;
        if to.persistent {
            return Some(transport::join(reader, writer));
        }
        transport::close(reader, writer).await;
        None
    }
}
