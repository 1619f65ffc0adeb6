//! A client over HTTP/2 that sends the very frames it is told to.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS; of SETTINGS and PING the same bit means ACK.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
/// A request's head without a body.
pub(crate) const WHOLE: u8 = END_STREAM | END_HEADERS;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One frame as it came.
#[derive(Debug)]
pub(crate) struct RawFrame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// How a stream, or the connection under it, ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With an answer of this status and length.
    Answer(u16, usize),
    /// With RST_STREAM.
    Reset(u32),
    /// With GOAWAY.
    GoAway(u32),
    /// Closed without a word.
    Closed,
}

/// One connection to the edge.
pub(crate) struct RawClient {
    stream: BufReader<TcpStream>,
}

impl RawClient {
    /// Begins as an ordinary client does, but remembers no fields: every status is in its frame.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[(HEADER_TABLE_SIZE, 0)])
    }

    /// The same with these settings.
    pub(crate) fn connect_with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::connect_silently(address);
        client.send(&[PREFACE, &settings_frame(settings)].concat());
        client
    }

    /// Says nothing.
    pub(crate) fn connect_silently(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        Self { stream: BufReader::new(stream) }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("sent");
    }

    /// Sends until the edge has enough; whether it took everything.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// A GET with nothing special about it.
    pub(crate) fn get(&mut self, stream: u32, path: &str) {
        self.send(&frame(HEADERS, WHOLE, stream, &get_block(path)));
    }

    /// The next frame, or `None` when none comes within the socket's time.
    pub(crate) fn next_in_time(&mut self) -> Option<RawFrame> {
        let waiting = self.stream.fill_buf().ok()?;
        if waiting.is_empty() { None } else { self.next() }
    }

    /// The next frame, or `None` when the edge has closed.
    pub(crate) fn next(&mut self) -> Option<RawFrame> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("the edge neither says anything nor closes")
            }
            Err(_) => return None,
        }
        let number =
            |bytes: &[u8]| bytes.iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let mut payload = vec![0; number(&head[..3]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        let stream = number(&head[5..]) & 0x7fff_ffff;
        Some(RawFrame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of this type, whatever comes before it.
    pub(crate) fn next_of(&mut self, kind: u8) -> RawFrame {
        std::iter::from_fn(|| self.next())
            .find(|frame| frame.kind == kind)
            .unwrap_or_else(|| panic!("no frame of type {kind}"))
    }

    /// Reads on until this stream ends, or the connection.
    pub(crate) fn end_of(&mut self, stream: u32) -> End {
        let (mut status, mut len) = (0, 0);
        while let Some(frame) = self.next() {
            match frame.kind {
                GOAWAY if frame.error() != NO_ERROR => return End::GoAway(frame.error()),
                RST_STREAM if frame.stream == stream => return End::Reset(frame.error()),
                HEADERS if frame.stream == stream && status < 200 => status = frame.status(),
                DATA if frame.stream == stream => len += frame.payload.len(),
                _ => {}
            }
            let is_last = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
            if is_last && frame.stream == stream {
                return End::Answer(status, len);
            }
        }
        End::Closed
    }

    /// Reads on until the connection ends.
    pub(crate) fn end(&mut self) -> End {
        let mut end = End::Closed;
        while let Some(frame) = self.next() {
            if frame.kind == GOAWAY {
                end = End::GoAway(frame.error());
            }
        }
        end
    }

    /// Whether an ordinary request on this stream is answered.
    pub(crate) fn is_alive(&mut self, stream: u32) -> bool {
        self.get(stream, "/alive");
        matches!(self.end_of(stream), End::Answer(200, _))
    }
}

impl RawFrame {
    /// Of RST_STREAM or GOAWAY.
    pub(crate) fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    /// Of SETTINGS: the value of this one.
    pub(crate) fn setting(&self, id: u16) -> Option<u32> {
        let entry = self.payload.chunks(6).find(|entry| entry.starts_with(&id.to_be_bytes()))?;
        Some(u32::from_be_bytes(entry[2..].try_into().expect("four bytes")))
    }

    /// Of an answer: indexed in the static table, or three digits in Huffman code behind its name.
    fn status(&self) -> u16 {
        // The encoder may say first that its table has another size.
        let mut block = &self.payload[..];
        while block[0] >> 5 == 1 {
            let more = if block[0] & 0x1f == 0x1f {
                1 + block[1..].iter().take_while(|byte| **byte > 127).count()
            } else {
                0
            };
            block = &block[1 + more..];
        }
        match block[0] {
            0x88 => return 200,
            0x89 => return 204,
            0x8a => return 206,
            0x8b => return 304,
            0x8c => return 400,
            0x8d => return 404,
            0x8e => return 500,
            _ => {}
        }
        let name = block[0] & if block[0] >> 6 == 1 { 0x3f } else { 0x0f };
        assert!((8..=14).contains(&name), "not `:status`: {block:?}");
        let len = usize::from(block[1] & 0x7f);
        let code = block[2..2 + len].iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let mut left = len * 8;
        (0..3).fold(0, |status, _| {
            let five = (code >> (left - 5)) & 0x1f;
            let digit = if five < 3 {
                left -= 5;
                five
            } else {
                left -= 6;
                ((code >> left) & 0x3f) - 0x19 + 3
            };
            status * 10 + u16::try_from(digit).expect("a digit")
        })
    }
}

/// A frame of this type.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn settings_frame(settings: &[(u16, u32)]) -> Vec<u8> {
    let entry = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    let payload: Vec<u8> = settings.iter().flat_map(entry).collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn reset_frame(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())
}

pub(crate) fn window_frame(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A field, neither indexed nor compressed.
pub(crate) fn field(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [&[0], &number(name.len(), 0, 7)[..], name.as_bytes(), &number(value.len(), 0, 7), value]
        .concat()
}

/// The same, and it goes into the table.
pub(crate) fn remembered_field(name: &str, value: &[u8]) -> Vec<u8> {
    let mut field = field(name, value);
    field[0] = 0x40;
    field
}

/// What has this number in the table; 62 is what was remembered last.
pub(crate) fn indexed_field(index: usize) -> Vec<u8> {
    number(index, 0x80, 7)
}

/// RFC 7541, section 5.1.
fn number(value: usize, pattern: u8, bits: u32) -> Vec<u8> {
    let max = (1 << bits) - 1;
    if value < max {
        return vec![pattern | u8::try_from(value).expect("few bits")];
    }
    let mut bytes = vec![pattern | u8::try_from(max).expect("few bits")];
    let mut left = value - max;
    while left >= 128 {
        bytes.push(u8::try_from(left % 128).expect("seven bits") | 128);
        left /= 128;
    }
    bytes.push(u8::try_from(left).expect("seven bits"));
    bytes
}

/// These fields as a block.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| field(name, value)).collect()
}

/// The block of a request with nothing special about it.
pub(crate) fn request_block(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)])
}

pub(crate) fn get_block(path: &str) -> Vec<u8> {
    request_block("GET", path)
}
