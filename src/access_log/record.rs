//! What is known of a request.

use crate::config::Site;
use crate::outcome::{Outcome, Tier};
use crate::trace::Trail;
use crate::wire::request::RequestHead;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

/// Everything the log says about one request.
pub struct Record<'a> {
    /// When its head had arrived.
    pub(super) time: SystemTime,
    /// Who asked; behind trusted proxies, who asked them.
    pub(super) client: IpAddr,
    /// `None` for a head that could not be read.
    pub(super) head: Option<&'a RequestHead>,
    /// What it is called; as `head`.
    pub(super) trail: Option<&'a Trail<'a>>,
    /// The site that it belongs to.
    pub site: Option<&'a Site>,
    /// What the client was told; 0 when it was told nothing.
    pub status: u16,
    /// Where what it was answered with was found, if that was stored.
    pub tier: Option<Tier>,
    /// What went to the client.
    pub(super) sent: Sent,
    /// When work on it began.
    started: Instant,
    /// From then to the answer's last byte.
    pub(super) duration: Option<Duration>,
    /// From the request's departure to the head of the origin's answer.
    pub origin_duration: Option<Duration>,
    /// What became of it.
    pub outcome: Outcome,
    /// More about an error.
    pub detail: Option<&'static str>,
    /// Seconds that what was answered may still be used, where it is kept.
    pub ttl: Option<i64>,
    /// It was fetched, and is kept.
    pub is_stored: bool,
}

/// What went to a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// All of it.
    pub bytes: u64,
    /// Of these, heads.
    pub head_bytes: u64,
    /// When the first of the answer did.
    pub first: Option<Instant>,
}

impl<'a> Record<'a> {
    /// A request that has just arrived; without a head and a trail if that could not be read.
    pub fn new(
        time: SystemTime,
        client: IpAddr,
        known: Option<(&'a RequestHead, &'a Trail<'a>)>,
    ) -> Self {
        let (head, trail) = known.unzip();
        Self {
            time,
            client,
            head,
            trail,
            site: None,
            status: 0,
            tier: None,
            sent: Sent::default(),
            started: Instant::now(),
            duration: None,
            origin_duration: None,
            // What it is if nobody says anything else before it is dropped.
            outcome: Outcome::Error("cut_off"),
            detail: None,
            ttl: None,
            is_stored: false,
        }
    }

    /// The line of an answer that tells what the request is called, where that is told.
    pub fn id_line(&self) -> Option<Vec<u8>> {
        let id = self.trail?.told_id()?;
        let mut line = b"X-Request-Id: ".to_vec();
        id.write(&mut line);
        line.extend_from_slice(b"\r\n");
        Some(line)
    }

    /// The answer is out. What the connection does after it is not the request's time.
    pub fn is_answered(&mut self, sent: Sent) {
        self.sent = sent;
        self.duration = Some(self.started.elapsed());
    }

    /// `host[:port]` as the client named it.
    pub fn host(&self) -> Option<&str> {
        self.head?.authority_text().filter(|host| !host.is_empty())
    }

    /// How long it has taken so far, or took.
    pub(super) fn took(&self) -> Duration {
        self.duration.unwrap_or_else(|| self.started.elapsed())
    }

    /// How long it took, now that it is over.
    pub(super) fn ends(&mut self) -> Duration {
        *self.duration.get_or_insert_with(|| self.started.elapsed())
    }

    /// From its arrival to the first byte of the answer.
    pub(super) fn first_byte(&self) -> Option<Duration> {
        self.sent.first.map(|first| first.saturating_duration_since(self.started))
    }

    /// A field of the request.
    pub(super) fn field(&self, name: &'a str) -> Option<&'a [u8]> {
        self.head?.fields.first(name)
    }
}
