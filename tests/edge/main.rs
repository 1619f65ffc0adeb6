//! Brim as its users meet it: the real program, real sockets, origins that behave as told.

mod kit;

mod admin;
mod bad_requests;
mod bodies;
mod cache_safety;
mod caching;
mod coalescing;
mod command_line;
mod conditions;
mod configuration;
mod crashes;
mod demo;
mod disk;
mod disk_faults;
mod forwarding;
mod invalidation;
mod keys;
mod limits;
mod origin_faults;
mod passing;
mod purge_api;
mod purge_command;
mod purge_crashes;
mod purge_races;
mod purges;
mod purges_in_flight;
mod purging_front_door;
mod ranges;
mod shutdown;
mod sites;
mod stale;
mod store_commands;
mod tls_origins;
mod tokens;
mod upgrades;
