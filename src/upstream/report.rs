//! What operators are told of the origins.

use super::Upstream;
use super::health::{Check, Condition, Standing};
use super::pool::Pool;
use super::server::Server;
use crate::config::Balance;
use crate::metrics::OriginGauges;
use jiff::Timestamp;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

/// How an origin is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OriginReport {
    name: String,
    /// `origin` or `parent`.
    role: &'static str,
    /// As in the configuration.
    balance: &'static str,
    /// Requests that it has to do with.
    requests: usize,
    /// Requests that wait for their turn.
    waiting: usize,
    limits: Limits,
    servers: Vec<ServerReport>,
}

/// How much of both there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Limits {
    requests: usize,
    queue: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ServerReport {
    /// As logs and metrics call it.
    name: String,
    url: String,
    weight: usize,
    /// `in`, `ejected`, `down`, or `unpurged` where it may still have what was purged here.
    state: &'static str,
    /// When it ceased to be in.
    since: Option<String>,
    /// How long it is left in peace.
    for_seconds: Option<u64>,
    /// Why it is not in.
    reason: Option<String>,
    /// Requests that failed in a row.
    failures: u32,
    requests: usize,
    check: Option<CheckReport>,
    /// Where its name leads.
    addresses: Vec<SocketAddr>,
}

/// The last check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct CheckReport {
    at: String,
    /// `good`, or what was wrong.
    result: String,
}

impl Upstream {
    /// How all origins are, in the order of the configuration.
    pub fn report(&self) -> Vec<OriginReport> {
        let now = Now { instant: Instant::now(), time: SystemTime::now() };
        self.pools.iter().map(|pool| origin(pool, now)).collect()
    }

    /// A line about each origin that does without one of its servers.
    pub fn troubles(&self) -> Vec<String> {
        let now = Instant::now();
        self.pools.iter().filter_map(|pool| trouble(pool, now)).collect()
    }

    /// What the metrics tell of each origin.
    pub fn gauges(&self) -> Vec<OriginGauges> {
        let gauges = |pool: &std::sync::Arc<Pool>| OriginGauges {
            name: pool.settings.name.clone(),
            requests: pool.requests(),
            waiting: pool.waiting(),
            servers: (pool.servers.iter().enumerate())
                .map(|(position, server)| (server.name.clone(), pool.is_in(position)))
                .collect(),
        };
        self.pools.iter().map(gauges).collect()
    }
}

fn origin(pool: &Pool, now: Now) -> OriginReport {
    let settings = &pool.settings;
    OriginReport {
        name: settings.name.clone(),
        role: if settings.is_parent { "parent" } else { "origin" },
        balance: match settings.balance {
            Balance::RoundRobin => "round_robin",
            Balance::LeastConn => "least_conn",
            Balance::Hash => "hash",
        },
        requests: pool.requests(),
        waiting: pool.waiting(),
        limits: Limits { requests: settings.requests_max, queue: settings.queue_max },
        servers: (0..pool.servers.len()).map(|position| server(pool, position, now)).collect(),
    }
}

fn server(pool: &Pool, position: usize, now: Now) -> ServerReport {
    let (server, is_kept_out) = (&pool.servers[position], pool.is_kept_out(position));
    let Condition { standing, failures, check } = server.health.condition(now.instant);
    let (state, since, left) = match standing {
        Standing::In if is_kept_out => ("unpurged", None, None),
        Standing::In => ("in", None, None),
        Standing::Ejected { since, left, .. } => ("ejected", Some(since), Some(left)),
        Standing::Down { since, .. } => ("down", Some(since), None),
    };
    ServerReport {
        name: server.name.clone(),
        url: server.settings.url(),
        weight: server.settings.weight,
        state,
        since: since.map(|since| now.told(since)),
        for_seconds: left.map(whole_seconds),
        reason: reason(standing, is_kept_out),
        failures,
        requests: server.requests(),
        check: check.map(|Check { at, result }| CheckReport {
            at: now.told(at),
            result: result.map_or_else(|trouble| trouble.to_string(), |()| "good".to_owned()),
        }),
        addresses: server.known_addresses().to_vec(),
    }
}

fn reason(standing: Standing, is_kept_out: bool) -> Option<String> {
    match standing {
        Standing::In => is_kept_out.then(|| "purge_pending".to_owned()),
        Standing::Ejected { fault, .. } => Some(fault.label().to_owned()),
        Standing::Down { trouble, .. } => Some(trouble.to_string()),
    }
}

fn trouble(pool: &Pool, now: Instant) -> Option<String> {
    let why_out = |(position, server): (usize, &Server)| {
        let standing = server.health.condition(now).standing;
        Some(format!("{}: {}", server.name, reason(standing, pool.is_kept_out(position))?))
    };
    let out: Vec<String> = pool.servers.iter().enumerate().filter_map(why_out).collect();
    let (origin, list) = (&pool.settings.name, out.join(", "));
    match (out.len(), pool.servers.len()) {
        (0, _) => None,
        (out, all) if out == all => Some(format!("origin {origin}: no server: {list}")),
        (out, all) => Some(format!("origin {origin}: {out} of {all} servers: {list}")),
    }
}

/// The same moment on both clocks.
#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    time: SystemTime,
}

impl Now {
    fn told(self, then: Instant) -> String {
        let ago = self.instant.saturating_duration_since(then);
        let time = self.time.checked_sub(ago).unwrap_or(self.time);
        format!("{:.3}", Timestamp::try_from(time).unwrap_or_default())
    }
}

fn whole_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}
