//! The beginning of a fill: what it asks the servers on its way for, up to the head of an answer.

use super::{Rest, Task, said_part};
use crate::config::HostHeader;
use crate::engine::in_flight::Wanted;
use crate::engine::object::Object;
use crate::rules::conditional;
use crate::rules::forwarding::{self, FillRequest, Hop};
use crate::rules::storing::{self, Received};
use crate::upstream::{Asking, Connection, Destination, Fault, Way};
use crate::wire::Framing;
use crate::wire::response::ResponseHead;
use http::Method;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::time::timeout_at;

/// What came of asking one server.
pub(super) enum ToldOrNot {
    Told(Box<Told>),
    /// An answer, but somebody else may have a better one.
    Declined(Box<Told>),
    /// No good answer, but somebody else to ask.
    Nothing,
}

/// The head of an answer, and where the rest comes.
pub(super) struct Told {
    pub(super) response: ResponseHead,
    pub(super) received: Received,
    pub(super) connection: Connection,
}

impl Task {
    pub(super) fn asking(&self) -> Asking<'_> {
        Asking {
            origin: self.site.origin,
            key: self.key.placing(),
            through_parent: true,
            is_repeatable: true,
            needs_http1: false,
            takes_place: true,
            method: if self.wanted == Wanted::Head { "HEAD" } else { "GET" },
            target: self.key.target(),
        }
    }

    /// Asks the next server.
    pub(super) async fn ask(
        &self,
        way: &mut Way<'_>,
        stored: Option<&Arc<Object>>,
        rest: Option<&Rest>,
    ) -> Result<ToldOrNot, Fault> {
        let mut connection = way.next().await?;
        let asked_at = Instant::now();
        let method = self.method();
        let (lines, mut fetch) = self.errand.fetch();
        fetch.asks(method.as_str(), self.key.target(), connection.to.place());
        let head = self.request_head(stored, rest, (&connection.to, &lines));
        connection.ask(&head, Framing::Empty).await;
        let until = asked_at + connection.to.response_timeout();
        let read = loop {
            match timeout_at(until.into(), connection.answer.read_head(&method)).await {
                Ok(Ok(head)) if head.is_interim() => self.fill.tell_interim(head),
                Ok(Ok(head)) if head.status == 101 => {
                    break Err(Fault::Garbage("it switches protocols without being asked to"));
                }
                Ok(read) => break read,
                Err(_) => break Err(Fault::Silent),
            }
        };
        let mut response = match read {
            Ok(response) => response,
            Err(fault) => {
                fetch.failed(fault.label());
                way.failed(&connection.to, fault)?;
                return Ok(ToldOrNot::Nothing);
            }
        };
        fetch.answered(response.status);
        let delay = asked_at.elapsed();
        let is_declined = way.declines(&connection.to, response.status, delay);
        connection.to.heed(&response);
        connection.to.keep_redirect(&mut response);
        connection.answer.begin_body(&response);
        let age = storing::age_said(&response.fields);
        let received = Received { now: SystemTime::now(), delay, age };
        let told = Box::new(Told { response, received, connection });
        Ok(if is_declined { ToldOrNot::Declined(told) } else { ToldOrNot::Told(told) })
    }

    /// A connection on which a content goes on where another broke off.
    pub(super) async fn go_on(&self, mut way: Way<'_>, rest: &Rest) -> Result<Connection, Fault> {
        let told = loop {
            if let ToldOrNot::Told(told) = self.ask(&mut way, None, Some(rest)).await? {
                break told;
            }
        };
        let part = said_part(&told.response);
        let goes_on =
            part.is_some_and(|part| rest.is_gone_on_with(&part, &told.response, told.received.now));
        let fault = Fault::Garbage("it does not go on where it broke off");
        if goes_on { Ok(told.connection) } else { Err(fault) }
    }

    fn method(&self) -> Method {
        if self.wanted == Wanted::Head { Method::HEAD } else { Method::GET }
    }

    fn request_head(
        &self,
        stored: Option<&Arc<Object>>,
        rest: Option<&Rest>,
        (to, about_request): (&Destination, &[u8]),
    ) -> Vec<u8> {
        let (target, asked_host) = self.asked_url();
        // A parent finds its site by it.
        let keeps_host = self.site.host_header == HostHeader::Client || to.is_parent();
        let host = if keeps_host && !asked_host.is_empty() { asked_host } else { to.authority() };
        let hop = Hop {
            peer: self.peer,
            peer_is_trusted: self.peer_is_trusted,
            scheme: self.scheme,
            host,
            client_certificate: None,
            allowed: &self.site.forward,
            identity: self.engine.identity(),
            about_request,
        };
        let now = SystemTime::now();
        let mut own: Vec<(&str, &[u8])> = Vec::new();
        if let Some(stored) = stored {
            let fields = &stored.head.fields;
            own.extend(fields.first("etag").map(|etag| ("If-None-Match", etag)));
            own.extend(fields.first("last-modified").map(|date| ("If-Modified-Since", date)));
        }
        let range;
        if let Some(rest) = rest {
            let Range { start, end } = rest.part;
            range = if end == u64::MAX {
                format!("bytes={start}-")
            } else {
                format!("bytes={start}-{}", end - 1)
            };
            own.push(("Range", range.as_bytes()));
            let validator = conditional::strong_validator(&rest.head.fields, now);
            own.extend(validator.map(|validator| ("If-Range", validator)));
        } else if let Wanted::Part { lines, is_widened: true } = &self.wanted {
            let range_end = memchr::memchr(b'\n', lines).unwrap_or(lines.len());
            own.push(("Range", &lines[..range_end]));
            own.extend(self.request.fields.first("if-range").map(|told| ("If-Range", told)));
        }
        forwarding::fill_request_head(
            &self.request,
            &hop,
            &FillRequest {
                method: &self.method(),
                target,
                host: asked_host,
                keeps_conditions: self.is_private,
                keeps_range: match self.wanted {
                    Wanted::Part { is_widened, .. } => !is_widened,
                    Wanted::Chunks(..) => rest.is_none(),
                    Wanted::Whole | Wanted::Head => false,
                },
                keeps_codings: self.is_signed,
                own: &own,
            },
        )
    }

    /// The target and the host that the origin is asked for: the key's, unless every byte counts.
    pub(super) fn asked_url(&self) -> (&str, &str) {
        if self.is_signed {
            (self.request.target(), self.request.authority_text().unwrap_or_default())
        } else {
            (self.key.target(), self.key.host())
        }
    }
}
