//! Brim as its users meet it: the real program, real sockets, origins that behave as told.

mod kit;

mod admin;
mod bad_requests;
mod bodies;
mod command_line;
mod configuration;
mod demo;
mod forwarding;
mod limits;
mod origin_faults;
mod passing;
mod shutdown;
mod sites;
mod tls_origins;
mod upgrades;
