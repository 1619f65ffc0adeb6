//! What of a response a client gets: the whole, parts, or only the news that it has it already.
//! Bytes of heads, no I/O.

use crate::access_log::Record;
use crate::engine::{Head, Request};
use crate::rules::conditional::{self, Condition};
use crate::rules::range::{self, Resolved};
use crate::rules::tags;
use bytes::Bytes;
use std::io::Write;
use std::ops::Range;

pub(super) use crate::rules::cache_status::Story;

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// All of it.
    Whole,
    /// 206 with one part.
    Part(Range<u64>),
    /// 206 with the part that the origin sends, in its words.
    PartAsTold(Bytes),
    /// 206 with several parts.
    Parts(Vec<Range<u64>>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    NoSuchPart,
}

/// The shape of a response with this head and, where it is known, this length.
pub(super) fn shape(request: &Request<'_>, head: &Head, total: Option<u64>) -> Shape {
    let fields = &request.head.fields;
    match conditional::evaluate(fields, head.status, &head.fields, request.now) {
        Condition::Failed => return Shape::PreconditionFailed,
        Condition::NotModified => return Shape::NotModified,
        Condition::Met => {}
    }
    let Some(total) = total.filter(|_| head.status == 200) else { return Shape::Whole };
    let asked = request.ranges();
    let asked = asked.filter(|_| conditional::range_applies(fields, &head.fields, request.now));
    match asked.map(|asked| range::resolve(&asked, total)) {
        None => Shape::Whole,
        Some(Resolved::One(part)) => Shape::Part(part),
        Some(Resolved::Several(parts)) => Shape::Parts(parts),
        Some(Resolved::None) => Shape::NoSuchPart,
    }
}

/// A 304 tells what a 200 would have told about freshness and identity, and nothing about content
/// that is not there (RFC 9110, section 15.4.5).
pub(super) fn not_modified(out: &mut Vec<u8>, head: &Head) {
    out.extend_from_slice(b"HTTP/1.1 304 Not Modified\r\n");
    let mut rest = head.field_lines();
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line;
        (line, rest) = rest.split_at(end + 1);
        let begins = |with: &[u8]| {
            line.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        let is_about_content = begins(b"content-");
        if !is_about_content || begins(b"content-location:") || begins(b"content-security-policy:")
        {
            out.extend_from_slice(line);
        }
    }
}

/// What another cache has to know to keep a response as it is kept here.
pub(super) fn for_caches(out: &mut Vec<u8>, head: &Head) {
    tags::write(&head.extras().tags, out);
    out.extend_from_slice(&head.extras().for_caches);
}

/// The head of a 206, without its Content-Type where the parts have their own.
pub(super) fn partial(out: &mut Vec<u8>, head: &Head, has_several: bool) {
    out.extend_from_slice(b"HTTP/1.1 206 Partial Content\r\n");
    if !has_several {
        return out.extend_from_slice(head.field_lines());
    }
    for (name, value) in head.fields.iter() {
        if !name.eq_ignore_ascii_case("content-type") {
            field(out, name, value);
        }
    }
}

/// What stands between the parts of a multipart/byteranges body: a head before each part, and the
/// end after the last (RFC 9110, section 14.6).
pub(super) fn part_heads(
    parts: &[Range<u64>],
    head: &Head,
    total: u64,
    boundary: &str,
) -> Vec<Vec<u8>> {
    let content_type = head.fields.first("content-type");
    let mut heads: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| {
            let mut out = format!("\r\n--{boundary}\r\n").into_bytes();
            if let Some(content_type) = content_type {
                field(&mut out, "Content-Type", content_type);
            }
            content_range(&mut out, part, total);
            out.extend_from_slice(b"\r\n");
            out
        })
        .collect();
    heads.push(format!("\r\n--{boundary}--\r\n").into_bytes());
    heads
}

pub(super) fn content_range(out: &mut Vec<u8>, part: &Range<u64>, total: u64) {
    put(out, format_args!("Content-Range: bytes {}-{}/{total}\r\n", part.start, part.end - 1));
}

/// Puts the site's word about TLS into a whole head, instead of the origin's (RFC 6797, section 6.1).
pub(super) fn secure(head: &mut Vec<u8>, hsts_line: &[u8]) {
    if !hsts_line.is_empty() {
        replace(head, b"strict-transport-security:", hsts_line);
    }
}

/// Puts what the request is called into a whole head, if that is told, instead of the origin's word.
pub(super) fn identify(head: &mut Vec<u8>, record: &Record<'_>) {
    if let Some(line) = record.id_line() {
        replace(head, b"x-request-id:", &line);
    }
}

/// `known` is a name in lower case and ends with its colon.
fn replace(head: &mut Vec<u8>, known: &[u8], line: &[u8]) {
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &head[at..]).map(|end| at + end + 1) {
        let name = head[at..end].get(..known.len());
        if name.is_some_and(|name| name.eq_ignore_ascii_case(known)) {
            head.drain(at..end);
        } else {
            at = end;
        }
    }
    let fields_end = head.len().saturating_sub(2);
    head.splice(fields_end..fields_end, line.iter().copied());
}

/// A field line with a number.
pub(super) fn number(out: &mut Vec<u8>, name: &str, value: u64) {
    field(out, name, itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

pub(super) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = out.write_fmt(text);
}
