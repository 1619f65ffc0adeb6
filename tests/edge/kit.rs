//! What the tests are made of: the program as a process, raw clients, scripted origins.

mod client;
pub(crate) mod frames;
mod gate;
pub(crate) mod http2;
pub(crate) mod http2_client;
pub(crate) mod operator;
mod origin;
pub(crate) mod parents;
mod program;
pub(crate) mod successors;
pub(crate) mod tls;

pub(crate) use client::{Client, Response, read_response};
pub(crate) use frames::RawClient;
pub(crate) use gate::Gate;
pub(crate) use http2::{Call, Http2Origin};
pub(crate) use http2_client::Http2Client;
pub(crate) use operator::Operator;
pub(crate) use origin::{Origin, Peer};
pub(crate) use parents::Tiers;
pub(crate) use program::{Brim, Command, Finished};

use std::time::Duration;

/// No step of a test may take longer. Not waited for: whatever is awaited comes earlier.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A GET with nothing special about it.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// The same with more field lines, each with its end.
pub(crate) fn get_with(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")
}

/// A HEAD with nothing special about it.
pub(crate) fn head(path: &str) -> String {
    format!("HEAD {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// A 200 with these field lines, each with its end, and this body.
pub(crate) fn ok_with(lines: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// A small answer that leaves the connection open.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Nobody listens there: everything in the tests is bound to 127.0.0.1.
pub(crate) const NOBODY: &str = "127.0.0.77:9";
