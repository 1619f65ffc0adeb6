//! Brim, a CDN edge in one binary. One request's way through these files:
//!
//! 1. `server` bound the sockets; Pingora accepts a connection and hands it to
//! 2. `edge::connection`, which reads bytes until
//! 3. `wire::request` finds one whole head in them, or a reason to refuse it;
//! 4. `rules::site` names the site of its host;
//! 5. `edge::pass` asks
//! 6. `upstream` for a connection to the site's origin, sends
//! 7. the head that `rules::forwarding` wrote, streams the body behind it (`wire::body` over
//!    `transport`), reads
//! 8. the answer's head (`wire::response`), and streams the answer back to the client.
//! 9. Whatever goes wrong becomes a status in `edge::respond` and an `outcome`;
//! 10. `metrics` counts it, `access_log` writes the line, and the connection waits for the next
//!     head.
//!
//! `admin` answers the operator meanwhile. `config` is what `edge.toml` says. Imports run down this
//! list only: `cli`, `commands`, `server`, `demo`, `edge`, `admin`, `upstream`, `access_log`,
//! `metrics`, `transport`, `rules`, `config`, `outcome`, `wire`.

pub mod access_log;
pub mod admin;
pub mod cli;
mod commands;
pub mod config;
pub mod demo;
pub mod edge;
pub mod metrics;
pub mod outcome;
pub mod rules;
pub mod server;
pub mod transport;
pub mod upstream;
pub mod wire;
