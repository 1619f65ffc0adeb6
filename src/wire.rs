//! HTTP as the bytes of HTTP/1.1: one strict reading of a message, for both directions; and what
//! balancers say before it.
//!
//! Nothing here does I/O or knows the time. Whatever two parsers could read in two ways is refused
//! here, once, so that no other part of the house has to ask how a message was meant (promise 6).

pub mod authority;
pub mod body;
pub mod fields;
pub mod frames;
pub mod http2;
pub mod names;
pub mod proxy;
pub mod request;
pub mod response;

/// What a head may cost (`[server.limits]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Start line and fields together.
    pub head_bytes_max: usize,
    /// The request target alone.
    pub target_bytes_max: usize,
    /// Number of field lines.
    pub fields_max: usize,
}

impl HeadLimits {
    /// What the head of an origin's answer may cost: an origin is trusted more than a client, and
    /// the limits for clients are not about it.
    pub const OF_ANSWERS: Self = Self {
        head_bytes_max: 128 * 1024,
        target_bytes_max: 0,
        fields_max: fields::FIELDS_CEILING,
    };
}

/// Options of a Connection field. Each is compared with each field name.
const CONNECTION_OPTIONS_MAX: usize = 32;

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head_bytes_max: 64 * 1024, target_bytes_max: 16 * 1024, fields_max: 200 }
    }
}

/// What a message was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, no interim answers, closes unless asked not to.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2, where the end of a body is told by itself, and nothing is said about the connection.
    Http2,
}

impl Version {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }

    /// How a message that was received in this version is marked (RFC 9110, section 7.6.3).
    pub fn via(self) -> &'static str {
        match self {
            Self::Http10 => "1.0 brim",
            Self::Http11 => "1.1 brim",
            Self::Http2 => "2 brim",
        }
    }
}

/// How the end of a message body is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    Empty,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// Responses only: the body ends where the connection does.
    UntilClose,
}

impl Framing {
    /// Whether there is a byte of a body to come.
    pub fn has_body(self) -> bool {
        !matches!(self, Self::Empty | Self::Length(0))
    }
}

/// The value of Content-Length: 1*DIGIT and nothing else, no sign, no list, no space (RFC 9110,
/// section 8.6). What does not fit into 63 bits is a negative number to somebody.
fn length(value: &[u8]) -> Option<u64> {
    digits(value).filter(|length| *length <= i64::MAX as u64)
}

/// `1*DIGIT` as a number; the largest there is where it does not fit.
pub fn digits(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number)?;
    Some(text.parse().unwrap_or(u64::MAX))
}
