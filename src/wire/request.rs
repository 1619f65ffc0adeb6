//! Request heads: bytes in, one meaning or a refusal out. Pure, so that it can be fuzzed.

use super::authority::{self, Authority};
use super::fields::{FIELDS_CEILING, Fields};
use super::{Framing, HeadLimits, Version};
use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use std::mem::MaybeUninit;

/// A request head that can be read in one way only.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method, any token.
    pub method: Method,
    /// The version of the client's message.
    pub version: Version,
    /// How the body is framed. Never `UntilClose`.
    pub framing: Framing,
    /// The client will send another request on this connection.
    pub persistent: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The client asks for another protocol with this request.
    pub upgrade: bool,
    /// The field lines, Host and framing included.
    pub fields: Fields,
    target: Bytes,
    authority: Option<Place>,
}

/// The host and port that a request names.
#[derive(Clone, Debug)]
struct Place {
    text: Bytes,
    /// The bytes at the beginning of `text` that are the host.
    host_bytes: usize,
    port: Option<u16>,
}

impl RequestHead {
    /// Path and query byte for byte as the client sent them, or `*`.
    pub fn target(&self) -> &str {
        // It was checked to be printable ASCII.
        std::str::from_utf8(&self.target).unwrap_or("/")
    }

    /// Host and port as the client named them; `None` only for HTTP/1.0 without a Host.
    pub fn authority(&self) -> Option<Authority<'_>> {
        let Place { host_bytes, port, .. } = *self.authority.as_ref()?;
        Some(Authority { host: self.authority_text()?.get(..host_bytes)?, port })
    }

    /// The same, spelled as received.
    pub fn authority_text(&self) -> Option<&str> {
        self.authority.as_ref().and_then(|place| std::str::from_utf8(&place.text).ok())
    }

    /// It came over HTTP/2, with this framing.
    pub(super) fn over_http2(self, framing: Framing) -> Self {
        Self { version: Version::Http2, persistent: true, framing, ..self }
    }

    /// Sending it twice does what sending it once does (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
    }
}

/// Why a request is refused before anybody upstream sees a byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`explain` says what each one means")]
pub enum BadRequest {
    ControlByte,
    LineEnd,
    EmptyLines,
    RequestLine,
    Version,
    Target,
    TargetTooLong,
    HeadTooLarge,
    TooManyFields,
    FieldLine,
    HostMissing,
    HostRepeated,
    HostMalformed,
    HostDisagrees,
    AsteriskForm,
    MethodNotServed,
    LengthAndTransferCoding,
    LengthRepeated,
    LengthMalformed,
    TransferCodingInHttp10,
    TransferCodingNotChunked,
    TransferCodingUnknown,
    ConnectionOptions,
    Expectation,
}

impl BadRequest {
    /// The status that answers it and the sentence that the client gets.
    pub fn explain(self) -> (u16, &'static str) {
        match self {
            Self::ControlByte => (400, "the head holds a control byte"),
            Self::LineEnd => (400, "a line of the head does not end with CRLF"),
            Self::EmptyLines => (400, "more than one empty line before the request"),
            Self::RequestLine => (400, "the request line is malformed"),
            Self::Version => (505, "only HTTP/1.0 and HTTP/1.1 are spoken here"),
            Self::Target => {
                (400, "the request target is malformed; other bytes must be percent-encoded")
            }
            Self::TargetTooLong => (414, "the request target is too long"),
            Self::HeadTooLarge => (431, "the head is too large"),
            Self::TooManyFields => (431, "the head has too many fields"),
            Self::FieldLine => (400, "a field line is malformed"),
            Self::HostMissing => (400, "there is no Host"),
            Self::HostRepeated => (400, "there is more than one Host"),
            Self::HostMalformed => (400, "the Host is malformed"),
            Self::HostDisagrees => (400, "the request target and Host name different hosts"),
            Self::AsteriskForm => (400, "only OPTIONS can be sent to *"),
            Self::MethodNotServed => (405, "this method is not served here"),
            Self::LengthAndTransferCoding => {
                (400, "there are both Content-Length and Transfer-Encoding")
            }
            Self::LengthRepeated => (400, "there is more than one Content-Length"),
            Self::LengthMalformed => (400, "the Content-Length is malformed"),
            Self::TransferCodingInHttp10 => (400, "HTTP/1.0 has no Transfer-Encoding"),
            Self::TransferCodingNotChunked => (400, "the final transfer coding is not chunked"),
            Self::TransferCodingUnknown => (501, "the transfer coding is not known here"),
            Self::ConnectionOptions => (400, "there are too many connection options"),
            Self::Expectation => (417, "the expectation is not known here"),
        }
    }
}

/// Reads heads off a buffer that grows. It remembers what it has looked at, so that a head that
/// arrives byte by byte costs no more than one that arrives at once.
#[derive(Debug, Default)]
pub struct Parser {
    scanned: usize,
}

impl Parser {
    /// Takes one head off the front of `buf`; `None` when more bytes are needed. Between calls,
    /// bytes may only be appended.
    ///
    /// Bytes that can never become a good head are refused as soon as they are seen, without
    /// waiting for the rest.
    pub fn next(
        &mut self,
        buf: &mut BytesMut,
        limits: &HeadLimits,
    ) -> Result<Option<RequestHead>, BadRequest> {
        // One empty line is left over by old clients after a body (RFC 9112, section 2.2).
        let start = if buf.starts_with(b"\r\n") { 2 } else { 0 };
        let text = &buf[start..];
        if text.first() == Some(&b'\n') || text.starts_with(b"\r\n") {
            return Err(BadRequest::EmptyLines);
        }
        // An end may have begun in what was seen before.
        let from = self.scanned.saturating_sub(start + 3).min(text.len());
        let lines = lines(&text[from..]);
        let end = lines.end.map(|end| from + end);
        let head = &text[..end.unwrap_or(text.len())];
        check_sizes(head, limits)?;
        check_bytes(&head[from..], &lines)?;
        self.scanned = buf.len();
        let Some(end) = end else { return Ok(None) };
        self.scanned = 0;
        buf.advance(start);
        read_head(buf.split_to(end).freeze(), limits).map(Some)
    }
}

/// The lines of a part of a head, up to its end.
struct Lines {
    /// Where the empty line ends that is the end of a head.
    end: Option<usize>,
    /// How many line feeds there are, and whether each one that is not the first byte of the part
    /// follows a carriage return.
    feeds: usize,
    are_ended_well: bool,
}

fn lines(part: &[u8]) -> Lines {
    let mut lines = Lines { end: None, feeds: 0, are_ended_well: true };
    for at in memchr::memchr_iter(b'\n', part) {
        lines.feeds += 1;
        lines.are_ended_well &= at == 0 || part[at - 1] == b'\r';
        if part[..at].ends_with(b"\r\n\r") {
            lines.end = Some(at + 1);
            break;
        }
    }
    lines
}

/// Whether these bytes can stand in a head, wherever in it they stand.
fn check_bytes(part: &[u8], lines: &Lines) -> Result<(), BadRequest> {
    // Each carriage return belongs to a line feed: the last one perhaps to one that is yet to come, and
    // the first line feed to one that was seen before. A bare one of either ends a line for some
    // parsers and not for others (RFC 9112, section 2.2).
    let returns = memchr::memchr_iter(b'\r', part).count();
    let (begins_with_feed, ends_with_return) = (part.starts_with(b"\n"), part.ends_with(b"\r"));
    let paired = lines.feeds - usize::from(begins_with_feed) + usize::from(ends_with_return);
    if !lines.are_ended_well || returns != paired {
        return Err(BadRequest::LineEnd);
    }
    // Looked at many at a time, because none is left out.
    if part.iter().fold(false, |is_bad, byte| is_bad | is_control(*byte)) {
        return Err(BadRequest::ControlByte);
    }
    Ok(())
}

fn check_sizes(text: &[u8], limits: &HeadLimits) -> Result<(), BadRequest> {
    // Method, two spaces and version leave 32 bytes for the longest method that anybody uses.
    let line_bytes_max = limits.target_bytes_max + 32 + " HTTP/1.1".len();
    let line = memchr::memchr(b'\r', text).unwrap_or(text.len());
    if line > line_bytes_max {
        return Err(BadRequest::TargetTooLong);
    }
    if text.len() > limits.head_bytes_max {
        return Err(BadRequest::HeadTooLarge);
    }
    Ok(())
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n')) || byte == 0x7f
}

fn read_head(bytes: Bytes, limits: &HeadLimits) -> Result<RequestHead, BadRequest> {
    let mut lines = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let room = limits.fields_max.min(FIELDS_CEILING);
    let mut parsed = httparse::Request::new(&mut []);
    if let Err(error) = httparse::ParserConfig::default().parse_request_with_uninit_headers(
        &mut parsed,
        &bytes,
        &mut lines[..room],
    ) {
        return Err(refusal(error, &bytes));
    }
    let method = parsed.method.unwrap_or("");
    let raw_target = parsed.path.unwrap_or("");
    let version = if parsed.version == Some(0) { Version::Http10 } else { Version::Http11 };
    if raw_target.len() > limits.target_bytes_max {
        return Err(BadRequest::TargetTooLong);
    }

    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BadRequest::RequestLine)?;
    if matches!(method, Method::CONNECT | Method::TRACE) {
        // A tunnel is not this server's to give; TRACE would echo what we add to the request.
        return Err(BadRequest::MethodNotServed);
    }
    let seen = Seen::collect(parsed.headers, version)?;
    let (target, named) = read_target(raw_target, &method)?;
    let authority = agree_on_host(&seen, named, version)?;
    let framing = seen.framing(version)?;
    let head = RequestHead {
        method,
        version,
        framing,
        persistent: seen.persistent(version),
        // A 1.0 client cannot have meant it (RFC 9110, section 10.1.1).
        expects_continue: seen.expects_continue && version == Version::Http11,
        upgrade: seen.upgrade == Some(true)
            && seen.connection_upgrade
            && version == Version::Http11,
        fields: Fields::from_parsed(&bytes, parsed.headers),
        target: match target {
            Target::Sent(text) => bytes.slice_ref(text.as_bytes()),
            Target::Made(text) => Bytes::from(text),
        },
        authority: authority.map(|(text, authority)| Place {
            text: bytes.slice_ref(text),
            host_bytes: authority.host.len(),
            port: authority.port,
        }),
    };
    Ok(head)
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> BadRequest {
    match error {
        httparse::Error::TooManyHeaders => BadRequest::TooManyFields,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            BadRequest::FieldLine
        }
        httparse::Error::Version if names_another_version(bytes) => BadRequest::Version,
        httparse::Error::Token if method_is_good(bytes) => BadRequest::Target,
        _ => BadRequest::RequestLine,
    }
}

/// `HTTP/2.0`, `HTTP/1.2` and the like, well formed, at the end of the first line.
fn names_another_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.rsplit(|byte| *byte == b' ');
    matches!(words.next(), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit())
        && words.count() == 2
}

fn method_is_good(bytes: &[u8]) -> bool {
    let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
    Method::from_bytes(word).is_ok()
}

/// What the fields say about the message itself.
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    hosts: usize,
    length: Option<u64>,
    lengths: usize,
    codings: Option<Codings>,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    connection_options: usize,
    /// Whether every offered protocol may be passed on.
    upgrade: Option<bool>,
    expects_continue: bool,
}

/// The whole list of transfer codings, in one word each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Codings {
    ChunkedAlone,
    ChunkedLast,
    ChunkedNotLast,
    Unknown,
}

impl<'a> Seen<'a> {
    fn collect(lines: &[httparse::Header<'a>], version: Version) -> Result<Self, BadRequest> {
        let mut seen = Self::default();
        let mut codings: Vec<&[u8]> = Vec::new();
        let mut has_coding = false;
        for line in lines {
            let (name, value) = (line.name, line.value);
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => {
                    seen.hosts += 1;
                    seen.host = Some(value);
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    seen.lengths += 1;
                    seen.length = Some(super::length(value).ok_or(BadRequest::LengthMalformed)?);
                }
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    has_coding = true;
                    codings.extend(value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for option in super::fields::split_list(value) {
                        seen.connection_options += 1;
                        seen.close |= option.eq_ignore_ascii_case(b"close");
                        seen.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                        seen.connection_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                7 if name.eq_ignore_ascii_case("upgrade") => {
                    // All lines are forwarded or none.
                    seen.upgrade = Some(seen.upgrade.unwrap_or(true) && may_pass_on(value));
                }
                6 if name.eq_ignore_ascii_case("expect") => {
                    for expected in super::fields::split_list(value) {
                        let is_known = expected.eq_ignore_ascii_case(b"100-continue");
                        if !is_known && version == Version::Http11 {
                            return Err(BadRequest::Expectation);
                        }
                        seen.expects_continue |= is_known;
                    }
                }
                _ => {}
            }
        }
        if seen.connection_options > super::CONNECTION_OPTIONS_MAX {
            return Err(BadRequest::ConnectionOptions);
        }
        seen.codings = has_coding.then(|| judge(&codings));
        Ok(seen)
    }

    fn framing(&self, version: Version) -> Result<Framing, BadRequest> {
        match (self.codings, self.length) {
            _ if self.lengths > 1 => Err(BadRequest::LengthRepeated),
            (Some(_), Some(_)) => Err(BadRequest::LengthAndTransferCoding),
            (Some(_), None) if version == Version::Http10 => {
                Err(BadRequest::TransferCodingInHttp10)
            }
            (Some(Codings::ChunkedAlone), None) => Ok(Framing::Chunked),
            (Some(Codings::ChunkedNotLast), None) => Err(BadRequest::TransferCodingNotChunked),
            // Another coding below chunked frames the body well, but we cannot take it off
            // (RFC 9112, section 6.1).
            (Some(Codings::Unknown | Codings::ChunkedLast), None) => {
                Err(BadRequest::TransferCodingUnknown)
            }
            (None, Some(length)) => Ok(Framing::Length(length)),
            (None, None) => Ok(Framing::Empty),
        }
    }

    fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }
}

fn judge(codings: &[&[u8]]) -> Codings {
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_known = |coding: &&[u8]| {
        let lower = coding.to_ascii_lowercase();
        is_chunked(coding)
            || matches!(
                &lower[..],
                b"gzip" | b"x-gzip" | b"deflate" | b"compress" | b"x-compress" | b"identity"
            )
    };
    match codings {
        [only] if is_chunked(only) => Codings::ChunkedAlone,
        // An empty member is not a coding; some parsers skip it and others do not.
        list if list.iter().any(|coding| coding.is_empty()) => Codings::ChunkedNotLast,
        list if !list.iter().all(is_known) => Codings::Unknown,
        [first @ .., last] if is_chunked(last) && !first.iter().any(is_chunked) => {
            Codings::ChunkedLast
        }
        _ => Codings::ChunkedNotLast,
    }
}

/// An upgrade to another HTTP or to TLS would let the client speak past this server: the
/// intermediary must stay the reader of the bytes it forwards. Such offers are ignored.
fn may_pass_on(upgrade: &[u8]) -> bool {
    let mut protocols = super::fields::split_list(upgrade).peekable();
    protocols.peek().is_some()
        && protocols.all(|protocol| {
            let name = protocol.split(|byte| *byte == b'/').next().unwrap_or_default();
            ![&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|n| name.eq_ignore_ascii_case(n))
        })
}

/// The origin-form of a target.
enum Target<'a> {
    Sent(&'a str),
    /// Of an absolute target without a path.
    Made(String),
}

/// What an absolute target names besides path and query.
struct Named<'a> {
    authority: &'a [u8],
    /// The port that its scheme leaves out.
    default_port: u16,
}

/// The origin-form of any target, and what an absolute one names (RFC 9112, section 3.2).
fn read_target<'a>(
    raw: &'a str,
    method: &Method,
) -> Result<(Target<'a>, Option<Named<'a>>), BadRequest> {
    if raw == "*" {
        let allowed = method == Method::OPTIONS;
        return if allowed { Ok((Target::Sent(raw), None)) } else { Err(BadRequest::AsteriskForm) };
    }
    // Printable ASCII; a fragment is never sent (RFC 9110, section 7.1).
    let is_good = |byte: u8| byte.is_ascii_graphic() & (byte != b'#');
    if raw.is_empty() || !raw.bytes().fold(true, |are_good, byte| are_good & is_good(byte)) {
        return Err(BadRequest::Target);
    }
    if raw.starts_with('/') {
        return Ok((Target::Sent(raw), None));
    }
    let scheme_end = raw.find("://").ok_or(BadRequest::Target)?;
    let scheme = raw[..scheme_end].to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(BadRequest::Target);
    }
    let rest = &raw[scheme_end + 3..];
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = match path {
        // RFC 9112, section 3.2.4.
        "" if method == Method::OPTIONS => Target::Made("*".into()),
        path if path.starts_with('/') => Target::Sent(path),
        query => Target::Made(format!("/{query}")),
    };
    let default_port = authority::default_port(&scheme);
    Ok((target, Some(Named { authority: authority.as_bytes(), default_port })))
}

fn agree_on_host<'a>(
    seen: &Seen<'a>,
    named: Option<Named<'a>>,
    version: Version,
) -> Result<Option<(&'a [u8], Authority<'a>)>, BadRequest> {
    let read = |text: &'a [u8]| authority::parse(text).ok_or(BadRequest::HostMalformed);
    let host = seen.host.map(read).transpose()?;
    let default_port = named.as_ref().map_or(80, |named| named.default_port);
    let target = named.map(|named| named.authority);
    let named = target.map(read).transpose()?;
    match (host, named) {
        _ if seen.hosts > 1 => Err(BadRequest::HostRepeated),
        (None, _) if version == Version::Http11 => Err(BadRequest::HostMissing),
        (Some(host), Some(named)) if !authority::same(host, named, default_port) => {
            Err(BadRequest::HostDisagrees)
        }
        _ => Ok(target.or(seen.host).zip(named.or(host))),
    }
}
