//! What a client is told, and how: head and framing of an answer out of the cache, and which bytes of the
//! content go where in it. Bytes in `room` that is used again, no I/O.

use crate::access_log::Record;
use crate::edge::own::Own;
use crate::edge::room;
use crate::edge::shape::{self, Shape, Story, put};
use crate::engine::{Head, Request};
use crate::outcome::Outcome;
use crate::rules::forwarding::Onward;
use crate::rules::storing::Terms;
use crate::wire::{Framing, Version};
use http::Method;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::SystemTime;

/// Room for what is said anew in each head.
const HEAD_BYTES_MORE: usize = 256;

/// What is to be told to a client.
pub(super) struct Told<'a> {
    pub(super) shape: Shape,
    pub(super) head: &'a Head,
    /// Length of the whole, where it is known.
    pub(super) total: Option<u64>,
    /// Where what the origin sends of it lies.
    pub(super) part: Range<u64>,
    /// How long that is, where it is known.
    pub(super) length: Option<u64>,
    pub(super) story: Story,
    /// Lines for this client only.
    pub(super) once: &'a [u8],
    /// When it is told.
    pub(super) now: SystemTime,
}

impl Told<'_> {
    /// Head and framing of an answer, and which bytes of the content go where in it.
    pub(super) fn plan(
        self,
        request: &Request<'_>,
        may_stay: bool,
        record: &mut Record<'_>,
    ) -> Result<Plan, Own> {
        let Told { shape, head, total, part: Range { start, end }, length, story, once, now } =
            self;
        let is_head = request.head.method == Method::HEAD;
        // Over HTTP/2 it is taken apart, and its bytes stay where they are for as long as that takes.
        let is_sent_as_it_is = request.head.version != Version::Http2;
        let mut out = if is_sent_as_it_is { room::take() } else { Vec::new() };
        out.reserve(head.bytes().len() + HEAD_BYTES_MORE);
        let mut segments = Vec::new();
        let (status, mut length) = match &shape {
            Shape::PreconditionFailed => return Err(Own::PreconditionFailed),
            Shape::NoSuchPart => return Err(Own::NoSuchPart(total.unwrap_or(0))),
            Shape::NotModified => {
                shape::not_modified(&mut out, head);
                (304, None)
            }
            Shape::Whole => {
                out.extend_from_slice(head.bytes());
                segments.push(Segment::of(0..total.unwrap_or(u64::MAX)));
                (head.status, length)
            }
            Shape::PartAsTold(content_range) => {
                shape::partial(&mut out, head, false);
                shape::field(&mut out, "Content-Range", content_range);
                segments.push(Segment::of(start..end));
                (206, length)
            }
            Shape::Part(part) => {
                shape::partial(&mut out, head, false);
                shape::content_range(&mut out, part, total.unwrap_or(part.end));
                segments.push(Segment::of(part.clone()));
                (206, Some(part.end - part.start))
            }
            Shape::Parts(parts) => {
                shape::partial(&mut out, head, true);
                segments = several(request, &mut out, parts, head, total.unwrap_or(0));
                let bytes = |s: &Segment| s.before.len() as u64 + (s.part.end - s.part.start);
                (206, Some(segments.iter().map(bytes).sum()))
            }
        };
        let has_body = !is_head && !matches!(status, 204 | 304);
        if matches!(status, 204 | 304) {
            length = None;
        }
        let framing = match (length, request.head.version) {
            (Some(length), _) => Framing::Length(length),
            (None, _) if !has_body => Framing::Empty,
            (None, Version::Http11) => Framing::Chunked,
            (None, Version::Http10 | Version::Http2) => Framing::UntilClose,
        };
        let onward = onward(request, framing, may_stay);
        match framing {
            Framing::Length(length) => shape::number(&mut out, "Content-Length", length),
            Framing::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::Empty | Framing::UntilClose => {}
        }
        out.extend_from_slice(once);
        if onward.is_child {
            shape::for_caches(&mut out, head);
        }
        let is_fetched = matches!(story.outcome, Outcome::Miss(_));
        let is_asked_for = is_fetched || matches!(story.outcome, Outcome::Revalidated(_));
        // A child counts the time for which it has waited itself.
        let is_rounded_up = onward.is_child && (story.is_collapsed || !is_asked_for);
        let age_of = |terms: Terms| {
            if is_rounded_up { terms.age_rounded_up(now) } else { terms.age(now).as_secs() }
        };
        let age = head.kept_terms().map(age_of);
        if let Some(age) = age.filter(|age| *age > 0 || !is_fetched) {
            shape::number(&mut out, "Age", age);
        }
        let origin_status = story.origin_status.filter(|told| *told != status);
        Story { origin_status, ..story }.write(&mut out, &head.extras().told_before);
        if let Some(option) = onward.connection_option(status) {
            shape::field(&mut out, "Connection", option.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        shape::secure(&mut out, request.site.hsts_line(request.scheme));
        if !has_body {
            segments.clear();
        }
        record.status = status;
        record.outcome = story.outcome;
        record.detail = story.detail;
        (record.ttl, record.is_stored) = (story.ttl, story.is_stored);
        let framing = if has_body { framing } else { Framing::Empty };
        Ok(Plan { head: out, segments, framing, persistent: onward.persistent })
    }
}

/// What the head says of several parts, and the parts with a head before each.
fn several(
    request: &Request<'_>,
    out: &mut Vec<u8>,
    parts: &[Range<u64>],
    head: &Head,
    total: u64,
) -> Vec<Segment> {
    // Nobody can foresee it, so that no content can hold it on purpose.
    let random = RandomState::new().hash_one(request.now);
    let boundary = format!("brim-{random:016x}");
    put(out, format_args!("Content-Type: multipart/byteranges; boundary={boundary}\r\n"));
    let heads = shape::part_heads(parts, head, total, &boundary);
    let parts = parts.iter().cloned().chain(std::iter::once(0..0));
    heads.into_iter().zip(parts).map(|(before, part)| Segment { before, part }).collect()
}

/// What an answer to this request says about the connection, which `may_stay` as far as the server is
/// concerned.
pub(super) fn onward(request: &Request<'_>, framing: Framing, may_stay: bool) -> Onward {
    let head = request.head;
    let persistent = head.persistent && may_stay && framing != Framing::UntilClose;
    Onward { version: head.version, framing, persistent, is_child: request.is_child() }
}

/// How it is told.
pub(super) struct Plan {
    pub(super) head: Vec<u8>,
    pub(super) segments: Vec<Segment>,
    pub(super) framing: Framing,
    pub(super) persistent: bool,
}

/// Bytes of ours, and then a part of the content. One that ends at `u64::MAX` ends with it.
pub(super) struct Segment {
    pub(super) before: Vec<u8>,
    pub(super) part: Range<u64>,
}

impl Segment {
    fn of(part: Range<u64>) -> Self {
        Self { before: Vec::new(), part }
    }
}
