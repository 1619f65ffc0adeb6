//! Brim, a CDN edge in one binary. One request's way through these files:
//!
//! 1. `server` bound the sockets; Pingora accepts a connection and hands it to `edge::door`, which finds
//!    out whose it is, over what, and whether there is a place for it;
//! 2. `edge::connection` (HTTP/1.1) or `edge::http2` reads it until
//! 3. `wire::request` finds one whole head in it, or a reason to refuse it;
//! 4. `edge::route` finds its way by what `edge::current` says, which a reload replaces: `rules::site` names
//!    the site of its host, `rules::loops` finds out whether it was here before;
//! 5. `rules::key` says what it asks for; a GET or HEAD is `edge::serve`'s, which asks
//! 6. `engine::lookup`, which does what `engine::decision` says (and `admin::explain` tells): stored in `store`, in memory or on the disk (then it is answered at once), on
//!    its way (`in_flight`), or to be fetched by a `fill`, a task of its own that takes a connection from
//! 7. `upstream`, from one server to the next until one answers, sends the head that `rules::forwarding` wrote, reads the answer's head
//!    (`wire::response`), has `rules::storing` judge it, and feeds its body (`wire::body` over
//!    `transport`) to all who wait, through an `arrival`.
//! 8. PURGE and BAN are `edge::purging`'s. Everything else is `edge::pass`'s, which streams both bodies
//!    between client and origin.
//! 9. Whatever goes wrong becomes a status in `edge::own` and an `outcome`;
//! 10. `metrics` counts it, `access_log` writes the line, and the connection waits for the next
//!     head.
//!
//! `admin` answers the operator meanwhile. `config` is what `edge.toml` says; `server` has another
//! configuration, or another process, take over. Imports run down this list only: `cli`, `commands`,
//! `server`, `demo`, `edge`, `admin`, `engine`, `store`, `upstream`, `access_log`, `error_log`, `trace`,
//! `metrics`, `transport`, `rules`, `config`, `outcome`, `permits`, `survive`, `wire`.

pub mod access_log;
pub mod admin;
pub mod cli;
mod commands;
pub mod config;
pub mod demo;
pub mod edge;
pub mod engine;
pub mod error_log;
pub mod metrics;
pub mod outcome;
pub mod permits;
pub mod rules;
pub mod server;
pub mod store;
pub mod survive;
pub mod trace;
pub mod transport;
pub mod upstream;
pub mod wire;
