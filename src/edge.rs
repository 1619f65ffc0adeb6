//! The front door: bytes in, answers out, and nothing about caching.
//!
//! `connection` reads requests off one connection, `pass` carries them to the origin and back,
//! `upload` their bodies, `tunnel` what follows an upgrade, `respond` writes the answers that are
//! the edge's own.

mod connection;
mod pass;
mod respond;
mod tunnel;
mod upload;

pub use connection::Edge;
