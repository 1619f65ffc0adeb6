//! The edge's own answers: every refusal and failure becomes a status here, in one table.

use super::client::Reply;
use super::shape::{self, Story, put};
use crate::access_log::Record;
use crate::config::Site;
use crate::metrics::Limit;
use crate::outcome::{Forward, Outcome};
use crate::rules::loops::Looped;
use crate::transport::WriteError;
use crate::upstream::Fault;
use crate::wire::body::BadBody;
use crate::wire::request::{BadRequest, RequestHead};
use crate::wire::{Framing, Version};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// Why the edge answers itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Own {
    /// The head has more than one meaning or none.
    BadRequest(BadRequest),
    /// The body has more than one meaning or none.
    BadBody(BadBody),
    /// The head did not arrive in time.
    HeadTimeout,
    /// The body did not arrive in time.
    BodyTimeout,
    /// No site answers for the host.
    NoSite,
    /// There are as many connections as there may be.
    TooManyConnections,
    /// The client speaks without TLS where there is nothing else.
    NoTls,
    /// There are as many of its network as there may be.
    TooManyOfClient,
    /// Its network has asked for too much, at one time or of late; when it may ask again.
    TooManyRequests(Limit, Duration),
    /// It has come round.
    Looped(Looped),
    /// OPTIONS that may be forwarded no further (RFC 9110, section 7.6.2).
    LastStop,
    /// The origin gave no answer; why it was asked, if it was.
    Origin(Fault, Option<Forward>),
    /// Nothing is stored, and the client wanted nothing else.
    OnlyIfCached,
    /// There are as many fetches for the cache as there may be.
    TooManyFills,
    /// What there is, is not what the client wanted to see.
    PreconditionFailed,
    /// It ends before the part that the client wants; its length.
    NoSuchPart(u64),
    /// The site takes no purges on the front door.
    NoPurges,
    /// Purges are not for this client.
    PurgeDenied,
    /// They are for whoever has the operator's token, and this is not it.
    TokenNeeded,
    /// Nor were many before; how long no other is looked at.
    TooManyTokens(Duration),
}

/// Methods that any origin may serve; those that are never passed are not among them.
const ALLOW: &str = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";

/// What did not work now may work then.
pub(super) const SOON: &str = "Retry-After: 5\r\n";

impl Own {
    /// Status, the sentence in the body, what the log calls it.
    fn table(self) -> (u16, &'static str, Outcome) {
        match self {
            Self::BadRequest(bad) => {
                let (status, sentence) = bad.explain();
                (status, sentence, Outcome::Error("bad_request"))
            }
            Self::BadBody(sentence) => (400, sentence, Outcome::Error("bad_body")),
            Self::HeadTimeout => {
                (408, "the head did not arrive in time", Outcome::Error("head_timeout"))
            }
            Self::BodyTimeout => {
                (408, "the body did not arrive in time", Outcome::Error("body_timeout"))
            }
            Self::NoSite => (421, "no site here answers for this host", Outcome::Error("no_site")),
            Self::TooManyConnections => {
                (503, "there are too many connections", Outcome::Error("too_many_connections"))
            }
            Self::NoTls => (400, "this port speaks TLS: use https", Outcome::Error("no_tls")),
            Self::TooManyOfClient => {
                let sentence = "there are too many connections from this network";
                (429, sentence, Outcome::Error("too_many_connections"))
            }
            Self::TooManyRequests(_, _) => {
                let sentence = "there are too many requests from this network";
                (429, sentence, Outcome::Error("too_many_requests"))
            }
            Self::Looped(looped) => (508, looped.explain(), Outcome::Error("loop")),
            Self::LastStop => (200, "", Outcome::Edge),
            Self::Origin(fault, _) => {
                (fault.status(), fault.sentence(), Outcome::Error(fault.label()))
            }
            Self::OnlyIfCached => {
                (504, "nothing is stored, and nothing else was wanted", Outcome::Edge)
            }
            Self::TooManyFills => {
                (503, "too many answers are being fetched", Outcome::Error("too_many_fills"))
            }
            Self::PreconditionFailed => (412, "it is not what was expected", Outcome::Edge),
            Self::NoSuchPart(_) => (416, "it ends before that part", Outcome::Edge),
            Self::NoPurges => (405, "purges are not taken here", Outcome::Error("purge_off")),
            Self::PurgeDenied => {
                (403, "purges are not taken from this client", Outcome::Error("purge_denied"))
            }
            Self::TokenNeeded => {
                (401, "a purge needs the operator's token", Outcome::Error("purge_denied"))
            }
            Self::TooManyTokens(_) => {
                (429, "there were too many wrong tokens", Outcome::Error("too_many_tokens"))
            }
        }
    }

    /// Whether the client's message could be read, so that its end is known.
    pub(super) fn leaves_framing(self) -> bool {
        !matches!(
            self,
            Self::BadRequest(_) | Self::BadBody(_) | Self::HeadTimeout | Self::BodyTimeout
        )
    }

    /// Sends the answer and notes what it was.
    pub(super) async fn send(
        self,
        reply: &mut impl Reply,
        to: Recipient<'_>,
        record: &mut Record<'_>,
    ) -> Result<(), WriteError> {
        self.note(to, record);
        self.page(to).send(reply, to, record).await
    }

    /// Notes what the answer is.
    pub(super) fn note(self, to: Recipient<'_>, record: &mut Record<'_>) {
        let (status, sentence, outcome) = self.table();
        record.outcome = to.story.map_or(outcome, |(story, _)| story.outcome);
        record.detail = match self {
            Self::Origin(fault, _) => Some(fault.detail()),
            _ => Some(sentence).filter(|sentence| !sentence.is_empty()),
        };
        record.status = status;
    }

    /// What it says.
    pub(super) fn page(self, to: Recipient<'_>) -> Page<'_> {
        let (status, sentence, outcome) = self.table();
        let lines: Cow<'static, str> = match self {
            Self::NoSuchPart(total) => format!("Content-Range: bytes */{total}\r\n").into(),
            Self::TokenNeeded => "WWW-Authenticate: Bearer\r\n".into(),
            Self::TooManyTokens(wait) | Self::TooManyRequests(_, wait) => {
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                format!("Retry-After: {}\r\n", seconds.max(1)).into()
            }
            _ if matches!(status, 200 | 405) => ALLOW.into(),
            _ if matches!(status, 429 | 503) => SOON.into(),
            _ => "".into(),
        };
        let story = to.story.map_or_else(|| self.story(outcome), |(story, _)| story);
        let page = Page { lines, ..Page::of_sentence(status, sentence, story) };
        match to.trouble_page.filter(|_| matches!(self, Self::Origin(..))) {
            Some(body) => {
                Page { content_type: "text/html; charset=utf-8", body: body.into(), ..page }
            }
            None => page,
        }
    }

    fn story(self, outcome: Outcome) -> Story {
        match self {
            Self::Origin(fault, Some(forward)) => {
                let detail = Some(fault.label());
                Story { detail, ..Story::new(Outcome::Miss(forward)) }
            }
            Self::TooManyRequests(limit, _) => {
                let detail = match limit {
                    Limit::Requests => "client-requests",
                    Limit::Rate => "client-rate",
                };
                Story { detail: Some(detail), ..Story::new(outcome) }
            }
            Self::OnlyIfCached => Story { detail: Some("only-if-cached"), ..Story::new(outcome) },
            _ => Story::new(outcome),
        }
    }
}

/// What an answer of the edge's own says.
pub(super) struct Page<'a> {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// More field lines, each with its end.
    pub(super) lines: Cow<'a, str>,
    pub(super) body: Cow<'a, str>,
    pub(super) story: Story,
}

impl Page<'_> {
    /// A sentence for people; an empty one says nothing.
    pub(super) fn of_sentence(status: u16, sentence: &str, story: Story) -> Self {
        let body = if sentence.is_empty() {
            String::new()
        } else {
            format!("{status} {}: {sentence}\n", name_of(status))
        };
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, lines: "".into(), body: body.into(), story }
    }

    /// Sends it.
    pub(super) async fn send(
        &self,
        reply: &mut impl Reply,
        to: Recipient<'_>,
        record: &Record<'_>,
    ) -> Result<(), WriteError> {
        let length = if to.wants_body { self.body.len() } else { 0 };
        let framing = if length > 0 { Framing::Length(length as u64) } else { Framing::Empty };
        let mut head = self.head(to, SystemTime::now());
        shape::identify(&mut head, record);
        reply.begin(head, framing);
        if length > 0 {
            reply.add(self.body.as_bytes());
        }
        reply.end().await
    }

    /// Nobody downstream may store it: who provoked it may not be who gets it.
    fn head(&self, to: Recipient<'_>, now: SystemTime) -> Vec<u8> {
        let Self { status, content_type, lines, body, story } = self;
        let connection = match (to.persistent, to.version) {
            (_, Version::Http2) | (true, Version::Http11) => "",
            (false, _) => "Connection: close\r\n",
            (true, Version::Http10) => "Connection: keep-alive\r\n",
        };
        let mut head = Vec::with_capacity(512);
        put(
            &mut head,
            format_args!(
                "HTTP/1.1 {status} {}\r\nDate: {}\r\n\
                 Content-Type: {content_type}\r\nContent-Length: {}\r\n\
                 Cache-Control: no-store\r\nVia: {}\r\n{lines}{connection}",
                name_of(*status),
                httpdate::fmt_http_date(now),
                body.len(),
                Version::Http11.via(),
            ),
        );
        story.write(&mut head, to.story.map_or(b"", |(_, told_before)| told_before));
        head.extend_from_slice(to.hsts);
        head.extend_from_slice(b"\r\n");
        head
    }
}

fn name_of(status: u16) -> &'static str {
    let code = http::StatusCode::from_u16(status).ok();
    code.and_then(|code| code.canonical_reason()).unwrap_or_default()
}

/// What has to be known about the client to answer it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipient<'a> {
    pub(super) version: Version,
    pub(super) persistent: bool,
    /// `false` for HEAD.
    pub(super) wants_body: bool,
    /// `Site::hsts_line` of its site.
    pub(super) hsts: &'a [u8],
    /// What went before, where the edge answers about something that it has, and what caches behind
    /// it have told of that.
    pub(super) story: Option<(Story, &'a [u8])>,
    /// Instead of a sentence, where the origin gives no answer.
    pub(super) trouble_page: Option<&'a str>,
}

impl<'a> Recipient<'a> {
    pub(super) fn of(head: &RequestHead, persistent: bool, hsts: &'a [u8]) -> Self {
        let wants_body = head.method != http::Method::HEAD;
        let version = head.version;
        Self { version, persistent, wants_body, hsts, story: None, trouble_page: None }
    }

    /// The same for a request to a site, which may have a page for those who navigate.
    pub(super) fn of_site(
        head: &RequestHead,
        persistent: bool,
        site: &'a Site,
        scheme: &str,
    ) -> Self {
        let to = Self::of(head, persistent, site.hsts_line(scheme));
        let navigates =
            || head.method == http::Method::GET && head.fields.tokens("accept").any(is_html);
        Self { trouble_page: site.trouble_page.as_deref().filter(|_| navigates()), ..to }
    }
}

fn is_html(media: &[u8]) -> bool {
    let name = media.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"text/html")
}
