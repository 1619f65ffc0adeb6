//! Response heads from an origin, read as strictly as requests: what an origin sends is input too.

use super::fields::{FIELDS_CEILING, Fields, line_ends_are_crlf, place};
use super::{Framing, HeadLimits, Version};
use bytes::{Bytes, BytesMut};
use http::Method;
use std::mem::MaybeUninit;
use std::time::Duration;

/// A response head that can be read in one way only.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: u16,
    /// The version of the origin's message.
    pub version: Version,
    /// How the body is framed, the request's method taken into account.
    pub framing: Framing,
    /// The connection may carry another request afterwards.
    pub persistent: bool,
    /// The field lines.
    pub fields: Fields,
    bytes: Bytes,
    reason: (u32, u32),
}

impl ResponseHead {
    /// It came over HTTP/2, where the end of a body is told by itself and other requests have the
    /// same connection.
    pub fn over_http2(self) -> Self {
        Self { version: Version::Http2, persistent: true, ..self }
    }

    /// How it is marked on its way onwards (RFC 9110, section 7.6.3).
    pub fn via(&self) -> &'static str {
        self.version.via()
    }

    /// The reason phrase as the origin wrote it, possibly empty.
    pub fn reason(&self) -> &[u8] {
        &self.bytes[self.reason.0 as usize..self.reason.1 as usize]
    }

    /// How long the origin says that it keeps an unused connection: `Keep-Alive: timeout=5`.
    pub fn kept_for(&self) -> Option<Duration> {
        let mut options = self.fields.tokens("keep-alive");
        let seconds = options.find_map(|option| option.strip_prefix(b"timeout="))?;
        std::str::from_utf8(seconds).ok()?.parse().ok().map(Duration::from_secs)
    }

    /// 1xx other than 101: another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// What is wrong with an origin's answer, in words for the log.
pub type Garbage = &'static str;

/// Takes one head off the front of `buf`; `None` when more bytes are needed.
pub fn parse(
    buf: &mut BytesMut,
    limits: &HeadLimits,
    method: &Method,
) -> Result<Option<ResponseHead>, Garbage> {
    let expected = b"HTTP/1.";
    let compared = buf.len().min(expected.len());
    if buf[..compared] != expected[..compared] {
        return Err("it does not begin with HTTP/1.");
    }
    let Some(end) = memchr::memmem::find(buf, b"\r\n\r\n") else {
        if buf.len() > limits.head_bytes_max {
            return Err("the head is too large");
        }
        return if line_ends_are_crlf(buf) {
            Ok(None)
        } else {
            Err("a line does not end with CRLF")
        };
    };
    if end + 4 > limits.head_bytes_max {
        return Err("the head is too large");
    }
    if !line_ends_are_crlf(&buf[..end + 4]) {
        return Err("a line does not end with CRLF");
    }
    let bytes = buf.split_to(end + 4).freeze();
    let mut lines = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut parsed = httparse::Response::new(&mut []);
    httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut parsed, &bytes, &mut lines)
        .map_err(|_| "the head is malformed")?;
    let status = parsed.code.filter(|code| (100..600).contains(code)).ok_or("unknown status")?;
    let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    let reason = parsed.reason.unwrap_or("").as_bytes();
    // httparse answers a static "" where there is no phrase, or one that is not ASCII.
    let reason = if reason.is_empty() { (0, 0) } else { place(&bytes, reason) };
    let fields = Fields::from_parsed(&bytes, parsed.headers);
    let framing = read_framing(&fields, status, version, method)?;
    if fields.tokens("connection").count() > super::CONNECTION_OPTIONS_MAX {
        return Err("there are too many connection options");
    }
    // An origin that frames a body where there is none may send one all the same, late enough to
    // be taken for the next answer.
    let is_head = method == Method::HEAD;
    let announces_body = fields.first("transfer-encoding").is_some()
        || (status == 204 || is_head)
            && fields.tokens("content-length").any(|length| length != b"0");
    let is_bodiless = is_head || matches!(status, 204 | 304);
    let persistent = persistent(&fields, version)
        && framing != Framing::UntilClose
        && !(is_bodiless && announces_body);
    Ok(Some(ResponseHead { status, version, framing, persistent, fields, bytes, reason }))
}

fn read_framing(
    fields: &Fields,
    status: u16,
    version: Version,
    method: &Method,
) -> Result<Framing, Garbage> {
    let mut codings = fields.tokens("transfer-encoding");
    let (chunked, has_other) = match (codings.next(), codings.next()) {
        (None, _) if fields.first("transfer-encoding").is_some() => {
            return Err("the transfer coding is empty");
        }
        (None, _) => (false, false),
        (Some(only), None) if only.eq_ignore_ascii_case(b"chunked") => (true, false),
        // Nobody was offered a coding of this name and nobody could take it off, so it is none; what
        // is not chunked ends with the connection (RFC 9112, section 6.3).
        (Some(only), None) if !is_registered(only) => (false, true),
        _ => return Err("the transfer coding is not known"),
    };
    let mut length = None;
    for value in fields.all("content-length").flat_map(split_list_strictly) {
        let number = super::length(value).ok_or("the Content-Length is malformed")?;
        if length.replace(number).is_some_and(|before| before != number) {
            return Err("there are different Content-Lengths");
        }
    }
    if (chunked || has_other) && length.is_some() {
        return Err("there are both Content-Length and Transfer-Encoding");
    }
    if chunked && version == Version::Http10 {
        return Err("HTTP/1.0 has no Transfer-Encoding");
    }
    // RFC 9112, section 6.3, in its order.
    if method == Method::HEAD || status < 200 || status == 204 || status == 304 {
        return Ok(Framing::Empty);
    }
    Ok(match (chunked, length) {
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

/// Transfer codings that change the bytes (RFC 9112, section 7.2).
fn is_registered(coding: &[u8]) -> bool {
    let name = coding.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    [&b"chunked"[..], b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Unlike `split_list`, empty members stay: `5,` is not a length.
fn split_list_strictly(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn persistent(fields: &Fields, version: Version) -> bool {
    let has = |option: &[u8]| fields.tokens("connection").any(|o| o.eq_ignore_ascii_case(option));
    !has(b"close") && (version == Version::Http11 || has(b"keep-alive"))
}
