//! Bodies: a decoder that takes frames off a buffer, and the frame heads that an encoder writes.

use super::fields::{Fields, line_ends_are_crlf};
use super::{Framing, HeadLimits, names};
use bytes::{Buf, Bytes, BytesMut};

/// One piece of a body.
#[derive(Debug)]
pub enum Frame {
    /// Content, never empty.
    Data(Bytes),
    /// The trailer section, never empty; nothing follows it.
    Trailers(Fields),
}

/// What the decoder made of the buffer.
#[derive(Debug)]
pub enum Step {
    /// A piece of the body.
    Frame(Frame),
    /// The body ended; what is left in the buffer belongs to the next message.
    Done,
    /// More bytes are needed.
    More,
}

/// Why a body cannot be read in one way only. In words for the log and the client.
pub type BadBody = &'static str;

/// Whose body is read: what is an attack by a client is a mistake of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Forbidden trailers and endless extensions refuse the message.
    Client,
    /// Forbidden trailers are left out.
    Origin,
}

/// Reads one body off a buffer that grows.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    sender: Sender,
    limits: HeadLimits,
    extension_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Done,
}

/// A chunk's size line; extensions are allowed by the RFC and used by nobody.
const SIZE_LINE_BYTES_MAX: usize = 512;
/// All chunk extensions of one body together, so that they cannot be used to send for free.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// A trailer section: nobody needs a large one, and it is read again whenever it has grown.
const TRAILER_BYTES_MAX: usize = 16 * 1024;

impl Decoder {
    /// A decoder at the beginning of a body.
    pub fn new(framing: Framing, sender: Sender, limits: HeadLimits) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, sender, limits, extension_bytes: 0 }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The sender closed. Whether that was the end of the body.
    pub fn end_of_stream(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Takes whatever is there of the body off the front of `buf`. Whether that was all of it.
    pub fn skip(&mut self, buf: &mut BytesMut) -> bool {
        loop {
            match self.step(buf) {
                Ok(Step::Frame(_)) => {}
                Ok(Step::Done) => return true,
                Ok(Step::More) | Err(_) => return false,
            }
        }
    }

    /// Takes the next frame off the front of `buf`.
    pub fn step(&mut self, buf: &mut BytesMut) -> Result<Step, BadBody> {
        loop {
            match self.state {
                State::Done => return Ok(Step::Done),
                _ if buf.is_empty() => return Ok(Step::More),
                State::UntilClose => return Ok(Step::Frame(Frame::Data(buf.split().freeze()))),
                State::Length(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Step::Frame(Frame::Data(data)));
                }
                State::ChunkData(left) => {
                    let (data, left) = take(buf, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Ok(Step::Frame(Frame::Data(data)));
                }
                State::ChunkEnd => {
                    if !b"\r\n".starts_with(&buf[..buf.len().min(2)]) {
                        return Err("a chunk does not end with CRLF");
                    }
                    if buf.len() < 2 {
                        return Ok(Step::More);
                    }
                    buf.advance(2);
                    self.state = State::ChunkSize;
                }
                State::ChunkSize => {
                    let Some(size) = self.size_line(buf)? else {
                        return Ok(Step::More);
                    };
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
                State::Trailers => {
                    let Some(trailers) = self.trailers(buf)? else {
                        return Ok(Step::More);
                    };
                    self.state = State::Done;
                    if !trailers.is_empty() {
                        return Ok(Step::Frame(Frame::Trailers(trailers)));
                    }
                }
            }
        }
    }

    fn size_line(&mut self, buf: &mut BytesMut) -> Result<Option<u64>, BadBody> {
        let seen = &buf[..buf.len().min(SIZE_LINE_BYTES_MAX)];
        if !line_ends_are_crlf(&seen[..memchr::memchr(b'\n', seen).map_or(seen.len(), |n| n + 1)]) {
            return Err("a chunk size does not end with CRLF");
        }
        let Some(end) = memchr::memchr(b'\r', seen).filter(|end| end + 1 < seen.len()) else {
            // Refuse what cannot become a size without waiting for its end.
            if !seen[0].is_ascii_hexdigit() {
                return Err("a chunk size is not hexadecimal");
            }
            let is_full = seen.len() == SIZE_LINE_BYTES_MAX;
            return if is_full { Err("a chunk size line is too long") } else { Ok(None) };
        };
        let digits = seen.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        // 15 digits are 1 EiB; more could overflow somebody's integer.
        if !(1..=15).contains(&digits) {
            return Err("a chunk size is malformed");
        }
        if !extensions_are_good(&seen[digits..end]) {
            return Err("a chunk extension is malformed");
        }
        self.extension_bytes += end - digits;
        if self.extension_bytes > EXTENSION_BYTES_MAX && self.sender == Sender::Client {
            return Err("there are too many chunk extensions");
        }
        let size = std::str::from_utf8(&seen[..digits])
            .ok()
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .ok_or("a chunk size is malformed")?;
        buf.advance(end + 2);
        Ok(Some(size))
    }

    fn trailers(&self, buf: &mut BytesMut) -> Result<Option<Fields>, BadBody> {
        if buf.starts_with(b"\r\n") {
            buf.advance(2);
            return Ok(Some(Fields::default()));
        }
        let end = memchr::memmem::find(buf, b"\r\n\r\n");
        let section = end.map_or(buf.len(), |end| end + 4);
        if section > self.limits.head_bytes_max.min(TRAILER_BYTES_MAX) {
            return Err("the trailer section is too large");
        }
        if !line_ends_are_crlf(&buf[..section]) {
            return Err("a trailer line does not end with CRLF");
        }
        if end.is_none() {
            return Ok(None);
        }
        trailers(buf.split_to(section).freeze(), self.sender, &self.limits).map(Some)
    }
}

/// Reads a whole trailer section, with the empty line at its end.
pub fn trailers(section: Bytes, sender: Sender, limits: &HeadLimits) -> Result<Fields, BadBody> {
    if section.len() > limits.head_bytes_max.min(TRAILER_BYTES_MAX) {
        return Err("the trailer section is too large");
    }
    let mut lines = vec![httparse::EMPTY_HEADER; limits.fields_max];
    let parsed = match httparse::parse_headers(&section, &mut lines) {
        Ok(httparse::Status::Complete((used, parsed))) if used == section.len() => parsed,
        _ => return Err("a trailer line is malformed"),
    };
    let mut fields = Fields::from_parsed(&section, parsed);
    let all = fields.len();
    let is_withheld = |name: &str| sender == Sender::Origin && names::is_for_caches(name);
    fields.retain(|name| !(names::is_forbidden_in_trailers(name) || is_withheld(name)));
    if fields.len() < all && sender == Sender::Client {
        return Err("a trailer is not allowed to be one");
    }
    Ok(fields)
}

fn take(buf: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
    (buf.split_to(len).freeze(), left - len as u64)
}

/// `*( ";" name [ "=" ( token / quoted-string ) ] )` of RFC 9112, section 7.1.1, without the "bad
/// white space" that its grammar tolerates: parsers differ on where it may stand.
fn extensions_are_good(mut rest: &[u8]) -> bool {
    fn token(text: &[u8]) -> usize {
        text.iter()
            .take_while(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
            .count()
    }
    fn quoted(text: &[u8]) -> Option<usize> {
        let mut bytes = text.iter().enumerate().skip(1);
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => return Some(at + 1),
                b'\\' => drop(bytes.next().filter(|(_, b)| is_text(**b))?),
                byte if is_text(*byte) => {}
                _ => return None,
            }
        }
        None
    }
    fn is_text(byte: u8) -> bool {
        byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
    }
    while !rest.is_empty() {
        let Some(after) = rest.strip_prefix(b";") else {
            return false;
        };
        let name = token(after);
        if name == 0 {
            return false;
        }
        rest = &after[name..];
        if let Some(value) = rest.strip_prefix(b"=") {
            let len = if value.starts_with(b"\"") {
                quoted(value)
            } else {
                Some(token(value)).filter(|len| *len > 0)
            };
            let Some(len) = len else { return false };
            rest = &value[len..];
        }
    }
    true
}

/// How a body is written. The length, where one is known, was already promised in the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The bytes as they are: their number was announced, or the connection's end will tell.
    Plain,
    /// Chunked, with trailers.
    Chunked,
}

impl From<Framing> for Encoding {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Chunked => Self::Chunked,
            Framing::Empty | Framing::Length(_) | Framing::UntilClose => Self::Plain,
        }
    }
}

impl Encoding {
    /// What stands before and after so many bytes on the wire.
    pub fn around(self, bytes: usize) -> (Bytes, &'static [u8]) {
        match self {
            Self::Plain => (Bytes::new(), b""),
            Self::Chunked => (Bytes::from(format!("{bytes:x}\r\n")), b"\r\n"),
        }
    }

    /// The end of the body, with its trailers.
    pub fn end(self, trailers: Option<&Fields>) -> Vec<u8> {
        let mut end = Vec::new();
        if self == Self::Chunked {
            end.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.iter().flat_map(|fields| fields.iter()) {
                end.extend_from_slice(name.as_bytes());
                end.extend_from_slice(b": ");
                end.extend_from_slice(value);
                end.extend_from_slice(b"\r\n");
            }
            end.extend_from_slice(b"\r\n");
        }
        end
    }
}
