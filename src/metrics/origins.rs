//! Series about the origins and their servers.

use super::{counters, gauges, set};
use crate::config::Origin;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Registry};
use std::sync::{Arc, Mutex, PoisonError};

/// What checks find.
const RESULTS: [&str; 2] = ["good", "bad"];

/// An origin and its servers as labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginNames {
    /// The origin's.
    pub name: String,
    /// Those of its servers, in their order.
    pub servers: Vec<String>,
}

impl OriginNames {
    /// Those of an origin of the configuration.
    pub fn of(origin: &Origin) -> Self {
        Self { name: origin.name.clone(), servers: origin.server_names() }
    }
}

/// How an origin is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginGauges {
    /// Its name.
    pub name: String,
    /// Requests that it has to do with.
    pub requests: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Its servers, and whether each may be asked.
    pub servers: Vec<(String, bool)>,
}

/// Of one origin.
#[derive(Clone)]
pub(super) struct OriginSeries {
    pub(super) queue_full: IntCounter,
    pub(super) retries: IntCounter,
    pub(super) failovers: IntCounter,
    pub(super) servers: Vec<ServerSeries>,
}

/// Of one of its servers.
#[derive(Clone)]
pub(super) struct ServerSeries {
    pub(super) ejections: IntCounter,
    /// As in `RESULTS`.
    checks: [IntCounter; RESULTS.len()],
}

impl ServerSeries {
    pub(super) fn checked(&self, is_good: bool) {
        self.checks[usize::from(!is_good)].inc();
    }
}

/// Of all origins, also of those that there were.
#[derive(Clone)]
pub(super) struct OriginFamilies {
    requests: IntGaugeVec,
    waiting: IntGaugeVec,
    queue_full: IntCounterVec,
    retries: IntCounterVec,
    failovers: IntCounterVec,
    up: IntGaugeVec,
    ejections: IntCounterVec,
    checks: IntCounterVec,
    /// Those that were told of last.
    told: Arc<Mutex<Vec<OriginGauges>>>,
}

impl OriginFamilies {
    /// The origins idle, and their servers up.
    pub(super) fn new(registry: &Registry, origins: &[OriginNames]) -> Self {
        let of_origin = ["origin"];
        let of_server = ["origin", "server"];
        let families = Self {
            requests: gauges(
                registry,
                "brim_origin_requests_in_flight",
                "Requests that an origin has to do with.",
                &of_origin,
            ),
            waiting: gauges(
                registry,
                "brim_origin_queue",
                "Requests that wait for their turn at an origin.",
                &of_origin,
            ),
            queue_full: counters(
                registry,
                "brim_origin_queue_full_total",
                "Requests that an origin did not get: others waited already, or the wait was long.",
                &of_origin,
            ),
            retries: counters(
                registry,
                "brim_origin_retries_total",
                "Second and further servers that a request was taken to.",
                &of_origin,
            ),
            failovers: counters(
                registry,
                "brim_origin_failovers_total",
                "Requests that left an origin for the one that stands in for it.",
                &of_origin,
            ),
            up: gauges(
                registry,
                "brim_origin_server_up",
                "0 while an origin server is left in peace or down; /readyz tells why.",
                &of_server,
            ),
            ejections: counters(
                registry,
                "brim_origin_ejections_total",
                "Times that an origin server was taken out because requests failed there.",
                &of_server,
            ),
            checks: counters(
                registry,
                "brim_origin_checks_total",
                "Health checks of an origin server by what they found.",
                &["origin", "server", "result"],
            ),
            told: Arc::default(),
        };
        let unasked = |names: &OriginNames| OriginGauges {
            name: names.name.clone(),
            servers: names.servers.iter().map(|server| (server.clone(), true)).collect(),
            ..OriginGauges::default()
        };
        families.heed(&origins.iter().map(unasked).collect::<Vec<_>>());
        families
    }

    /// What is counted of these, in their order.
    pub(super) fn series(&self, origins: &[OriginNames]) -> Vec<OriginSeries> {
        origins.iter().map(|names| self.series_of(names)).collect()
    }

    fn series_of(&self, names: &OriginNames) -> OriginSeries {
        let OriginNames { name, servers } = names;
        let server = |server: &String| ServerSeries {
            ejections: self.ejections.with_label_values(&[name, server]),
            checks: RESULTS.map(|result| {
                self.checks.with_label_values(&[name.as_str(), server.as_str(), result])
            }),
        };
        OriginSeries {
            queue_full: self.queue_full.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            failovers: self.failovers.with_label_values(&[name]),
            servers: servers.iter().map(server).collect(),
        }
    }

    /// Tells of these origins, and of no others any more.
    pub(super) fn heed(&self, origins: &[OriginGauges]) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for OriginGauges { name, requests, waiting, servers } in origins {
            set(&self.requests.with_label_values(&[name]), *requests as u64);
            set(&self.waiting.with_label_values(&[name]), *waiting as u64);
            for (server, is_in) in servers {
                set(&self.up.with_label_values(&[name, server]), u64::from(*is_in));
            }
        }
        // What is removed was told of before: it is there.
        for OriginGauges { name, servers, .. } in &*told {
            let now = origins.iter().find(|origin| origin.name == *name);
            if now.is_none() {
                let _ = self.requests.remove_label_values(&[name]);
                let _ = self.waiting.remove_label_values(&[name]);
            }
            for (server, _) in servers {
                let has = |now: &OriginGauges| now.servers.iter().any(|(own, _)| own == server);
                if !now.is_some_and(has) {
                    let _ = self.up.remove_label_values(&[name, server]);
                }
            }
        }
        *told = origins.to_vec();
    }
}
