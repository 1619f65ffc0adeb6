//! The front door: bytes in, answers out, and nothing about caching.
//!
//! `door` lets connections in, `connection` reads requests off one of them, `serve` answers them out of the cache in the
//! `shape` that each client gets, from whatever `content` there is, `pass` carries the others to the
//! origin and back, `upload` their bodies, `tunnel` what follows an upgrade, `purging` takes PURGE
//! and BAN, `own` writes the answers that are the edge's own.

mod again;
mod client;
mod connection;
mod content;
mod door;
mod http1;
mod http2;
mod own;
mod pass;
mod purging;
mod route;
mod serve;
mod shape;
mod tunnel;
mod upload;

pub use door::Edge;
