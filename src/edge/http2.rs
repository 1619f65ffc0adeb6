//! HTTP/2 from clients: each connection carries many requests at one time, each of which is answered
//! as one over HTTP/1.1 would be.
//!
//! `connection` keeps one connection going and answers its requests: at once, or in a task of its own
//! for each that has to wait, so that what goes wrong with one is no matter for the others; `stream` is
//! one request and its answer, `watch` looks at the frames that come and at the time that they take,
//! `outbox` at what has not left yet, `socket` lets answers leave together, and `bell` wakes the connection's
//! task where there is something to do.

mod bell;
mod connection;
mod outbox;
mod socket;
mod stream;
mod watch;

pub(super) use connection::serve;

/// What a client that knows that it may speak HTTP/2 begins with (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
