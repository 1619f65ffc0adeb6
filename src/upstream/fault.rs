//! What can go wrong with an origin, as a closed vocabulary.

use crate::transport::ReadError;

/// Why an origin gave no (whole) answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens there.
    Refused,
    /// There is no way there, or no such name.
    Unreachable,
    /// No connection within `connect_timeout`.
    ConnectTimeout,
    /// No TLS connection that can be trusted.
    Tls,
    /// The connection ended before the first byte of an answer.
    Closed,
    /// It gave up the request without an answer, but not the connection (HTTP/2).
    Reset,
    /// No head of an answer within `response_timeout`.
    Silent,
    /// The answer is not HTTP that can be read in one way only.
    Garbage(&'static str),
    /// The connection ended in the middle of the answer.
    Truncated,
    /// No byte of the body within `read_timeout`.
    Stalled,
    /// The whole of it was not there within `total_timeout`.
    Overtime,
    /// It said that it had not looked at the request.
    NotTaken,
    /// It has as many requests as it may, and others wait already.
    Busy,
    /// None of its servers is well.
    Down,
    /// It answers with this status, 500 or above, and nothing that others could be given.
    ServerError(u16),
}

impl Fault {
    /// Every one, with something for what it tells.
    pub const ALL: [Self; 15] = [
        Self::Refused,
        Self::Unreachable,
        Self::ConnectTimeout,
        Self::Tls,
        Self::Closed,
        Self::Reset,
        Self::Silent,
        Self::Garbage(""),
        Self::Truncated,
        Self::Stalled,
        Self::Overtime,
        Self::NotTaken,
        Self::Busy,
        Self::Down,
        Self::ServerError(500),
    ];

    /// The status for a client that has not seen a head yet.
    pub fn status(self) -> u16 {
        match self {
            Self::ServerError(status) => status,
            Self::ConnectTimeout | Self::Silent | Self::Stalled | Self::Overtime => 504,
            Self::Busy => 503,
            _ => 502,
        }
    }

    /// One word for logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Refused => "origin_refused",
            Self::Unreachable => "origin_unreachable",
            Self::ConnectTimeout => "origin_connect_timeout",
            Self::Tls => "origin_tls",
            Self::Closed => "origin_closed",
            Self::Reset => "origin_reset",
            Self::Silent => "origin_silent",
            Self::Garbage(_) => "origin_garbage",
            Self::Truncated => "origin_truncated",
            Self::Stalled => "origin_stalled",
            Self::Overtime => "origin_overtime",
            Self::NotTaken => "origin_not_taken",
            Self::Busy => "origin_busy",
            Self::Down => "origin_down",
            Self::ServerError(_) => "origin_error",
        }
    }

    /// One sentence for the client. It names no address: that is for the log.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Refused => "the origin refused the connection",
            Self::Unreachable => "the origin cannot be reached",
            Self::ConnectTimeout => "the origin did not accept the connection in time",
            Self::Tls => "no trusted TLS connection to the origin",
            Self::Closed => "the origin closed the connection without an answer",
            Self::Reset => "the origin gave up the request without an answer",
            Self::Silent => "the origin did not answer in time",
            Self::Garbage(_) => "the origin's answer is not valid HTTP",
            Self::Truncated => "the origin's answer ended too early",
            Self::Stalled => "the origin's answer stopped",
            Self::Overtime => "the origin took too long for its answer",
            Self::NotTaken => "the origin does not take the request",
            Self::Busy => "the origin has too many requests at the moment",
            Self::Down => "no server of the origin is well",
            Self::ServerError(_) => "the origin is in trouble",
        }
    }

    /// More about it for the log.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Garbage(detail) => detail,
            other => other.sentence(),
        }
    }

    /// There was no connection that could be used.
    pub(super) fn is_of_connecting(self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable | Self::ConnectTimeout | Self::Tls)
    }

    /// Something of an answer came, so that the question was heard.
    pub(super) fn is_after_answer(self) -> bool {
        matches!(self, Self::Garbage(_) | Self::Truncated | Self::Stalled | Self::Overtime)
    }

    /// While the body was read.
    pub fn of_body(error: &ReadError) -> Self {
        match error {
            ReadError::Stalled => Self::Stalled,
            ReadError::Overtime => Self::Overtime,
            ReadError::Closed | ReadError::Io(_) => Self::Truncated,
            ReadError::Bad(detail) => Self::Garbage(detail),
        }
    }
}
