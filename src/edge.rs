//! The front door: bytes in, answers out, and nothing about caching.
//!
//! `door` lets connections in, and has the `current` configuration for each request: `proxy_protocol` tells who is behind a balancer, `tls` secures them,
//! `guards` bound what one client may have of them and of requests, and idle ones in their `seats` give
//! way. `connection` (with `http1`) and `http2` read requests off them, keep `vigil` between two of them,
//! and know how each is answered, as a `client`, in `room` that is used again. `route` finds its way: `serve` answers it out of the cache in the `shape` that each
//! client gets, from whatever `content` there is, `pass` carries it to the origin and back, `upload`
//! its body, `tunnel` what follows an upgrade, `purging` takes PURGE and BAN, `redirect` sends clients
//! to where there is TLS, `own` writes the answers that are the edge's own.

mod again;
mod client;
mod connection;
mod content;
mod current;
mod door;
mod guards;
mod http1;
mod http2;
mod next;
mod own;
mod pass;
mod proxy_protocol;
mod purging;
mod redirect;
mod room;
mod route;
mod seats;
mod serve;
mod shape;
mod tls;
mod tunnel;
mod upload;
mod vigil;

pub use door::Door;
pub use tls::Tls;
