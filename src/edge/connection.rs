//! One accepted connection: requests are read off it one after the other and answered in order.

use super::client::{Ended, Reply};
use super::current::Edge;
use super::door::{Door, Visitor};
use super::http1::{self, Http1Reply};
use super::own::{Own, Recipient};
use super::route::{Arrival, Route, Said};
use super::seats::RESTS_AFTER;
use super::vigil::{Vigil, Woken};
use crate::access_log::Record;
use crate::metrics::Closed;
use crate::rules::key::Key;
use crate::transport;
use crate::wire::Version;
use crate::wire::body::{Decoder, Sender};
use crate::wire::request::{Parser, RequestHead};
use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use std::io;
use std::net::IpAddr;
use std::time::SystemTime;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

/// Room for the head that most clients send; more is made as it comes.
const HEAD_BYTES_USUAL: usize = 4096;

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

impl Door {
    /// Serves requests until one of the two sides has enough. `buf` was read before.
    pub(super) async fn serve(
        &self,
        mut stream: Stream,
        mut buf: BytesMut,
        visitor: Visitor,
        shutdown: &mut ShutdownWatch,
    ) {
        let (mut key, mut vigil) = (Key::default(), Vigil::new(self.leave(shutdown)));
        loop {
            let head = match self.next(&mut stream, &mut buf, &mut vigil).await {
                Next::Request(head) => head,
                Next::Refused { own, wants_body } => {
                    let edge = self.edge();
                    return edge.refuse(stream, buf, visitor.peer, own, wants_body).await;
                }
                Next::Gone => return,
            };
            // Whatever came into force while it was waited for.
            let edge = self.edge();
            match edge.answer(stream, buf, &head, &mut key, &visitor, shutdown).await {
                Some(again) => (stream, buf) = again,
                None => return,
            }
        }
    }

    /// Reads one head. Its deadline is absolute: a client cannot buy time byte by byte.
    async fn next(&self, stream: &mut Stream, buf: &mut BytesMut, vigil: &mut Vigil) -> Next {
        let mut deadline = None;
        let mut parser = Parser::default();
        loop {
            let wants_body = !buf.starts_with(b"HEAD ");
            if !buf.is_empty() {
                let limits = self.edge().settings.server.limits.head;
                match parser.next(buf, &limits) {
                    Ok(Some(head)) => return Next::Request(Box::new(head)),
                    Ok(None) => {}
                    Err(bad) => return Next::Refused { own: Own::BadRequest(bad), wants_body },
                }
            }
            // The empty line that old clients send after a body is not the beginning of a head.
            let is_idle = buf.is_empty() || &buf[..] == b"\r\n";
            let read = if is_idle {
                match self.idle(stream, buf, vigil).await {
                    Some(read) => read,
                    None => return Next::Gone,
                }
            } else {
                let header_timeout = self.limits().header_timeout;
                let from_now = || Instant::now() + header_timeout;
                let until = *deadline.get_or_insert_with(from_now);
                buf.reserve(HEAD_BYTES_USUAL);
                timeout_at(until, stream.read_buf(buf)).await.map_err(|_| Closed::HeaderTimeout)
            };
            match read {
                Ok(Ok(bytes)) if bytes > 0 => {}
                Err(Closed::HeaderTimeout) => {
                    return Next::Refused { own: Own::HeadTimeout, wants_body };
                }
                Ok(_) => return Next::Gone,
                Err(why) => {
                    self.metrics.connection_closed(why);
                    return Next::Gone;
                }
            }
        }
    }

    /// Waits for the first bytes of a head, for as long as there is room for who waits. `None`: everything
    /// ends.
    pub(super) async fn idle(
        &self,
        stream: &mut Stream,
        buf: &mut BytesMut,
        vigil: &mut Vigil,
    ) -> Option<Result<io::Result<usize>, Closed>> {
        let idle_timeout = self.edge().settings.server.limits.idle_timeout;
        let soon = idle_timeout.min(RESTS_AFTER);
        let began = Instant::now();
        match vigil.unless_over(began + soon, transport::read_when_it_comes(stream, buf)).await {
            Ok(read) => return Some(Ok(read)),
            Err(Woken::Leaving) => return None,
            Err(Woken::Late) if idle_timeout <= soon => return Some(Err(Closed::Idle)),
            Err(Woken::Late) => {}
        }
        self.rest(stream, buf, vigil, began + idle_timeout).await
    }

    /// The same on a connection on which nothing has happened for a while.
    async fn rest(
        &self,
        stream: &mut Stream,
        buf: &mut BytesMut,
        vigil: &mut Vigil,
        until: Instant,
    ) -> Option<Result<io::Result<usize>, Closed>> {
        let mut seat = self.seats.take();
        // Many wait for long: none of them with the room that its last head took.
        *buf = BytesMut::from(&buf[..]);
        let read = async {
            tokio::select! {
                biased;
                read = transport::read_when_it_comes(stream, buf) => Ok(read),
                () = seat.is_needed() => Err(Closed::Crowded),
            }
        };
        match vigil.unless_over(until, read).await {
            Ok(read) => Some(read),
            Err(Woken::Late) => Some(Err(Closed::Idle)),
            Err(Woken::Leaving) => None,
        }
    }
}

impl Edge {
    async fn answer(
        &self,
        stream: Stream,
        buf: BytesMut,
        head: &RequestHead,
        key: &mut Key,
        visitor: &Visitor,
        shutdown: &ShutdownWatch,
    ) -> Option<(Stream, BytesMut)> {
        let now = SystemTime::now();
        let client = self.client_of(head, visitor);
        let trail = self.trail(head, visitor, now);
        let mut recording = self.log.begin(Record::new(now, client, Some((head, &trail))));
        let record = &mut recording.record;
        let arrival = Arrival { head, visitor, client, now, trail: &trail, shutdown };
        let (route, _place) = self.route(arrival, key, record).await;
        match route {
            Route::Ourselves(said, hsts) => {
                let mut buf = buf;
                // A body that is not all there would be taken for the next request.
                let limits = self.settings.server.limits.head;
                let was_read = Decoder::new(head.framing, Sender::Client, limits).skip(&mut buf);
                let persistent = head.persistent && was_read && !*shutdown.borrow();
                let to = Recipient::of(head, persistent, hsts);
                self.say(stream, buf, &said, to, record).await
            }
            Route::Cache(exchange) => http1::serve(exchange, stream, buf, record).await,
            // What few requests need is no part of what every idle connection takes.
            Route::Around(job) => Box::pin(http1::pass(job, stream, buf, &mut recording)).await,
        }
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
        let to = Recipient {
            version,
            persistent: false,
            wants_body,
            hsts: b"",
            story: None,
            trouble_page: None,
        };
        self.say(stream, buf, &Said::Own(own), to, &mut recording.record).await;
    }

    async fn say(
        &self,
        stream: Stream,
        buf: BytesMut,
        said: &Said,
        to: Recipient<'_>,
        record: &mut Record<'_>,
    ) -> Option<(Stream, BytesMut)> {
        let patience = http1::patience(&self.settings.server.limits);
        let (reader, writer) = transport::split(stream, buf, patience);
        let mut reply = Http1Reply::new(writer, None);
        let sent = said.send(&mut reply, to, record).await;
        record.is_answered(reply.sent());
        let writer = reply.writer;
        let ended = sent.map_or_else(Ended::of_own, |()| Ended::Sent(to.persistent));
        http1::close(ended, reader, writer, record).await
    }
}
