//! What the tests are made of: the program as a process, raw clients, scripted origins.

mod client;
mod origin;
mod program;

pub(crate) use client::{Client, Response, read_response};
pub(crate) use origin::Origin;
pub(crate) use program::{Brim, Command};

use std::time::Duration;

/// No step of a test may take longer. Not waited for: whatever is awaited comes earlier.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A GET with nothing special about it.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// A small answer that leaves the connection open.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Nobody listens there: everything in the tests is bound to 127.0.0.1.
pub(crate) const NOBODY: &str = "127.0.0.77:9";
