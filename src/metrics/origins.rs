//! Series about the origins and their servers.

use super::{counters, gauges, set};
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

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

/// How an origin is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginGauges {
    /// Requests that it has to do with.
    pub requests: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Whether each of its servers may be asked.
    pub servers_in: Vec<bool>,
}

/// Of one origin.
pub(super) struct OriginSeries {
    requests: IntGauge,
    waiting: IntGauge,
    pub(super) queue_full: IntCounter,
    pub(super) retries: IntCounter,
    pub(super) failovers: IntCounter,
    pub(super) servers: Vec<ServerSeries>,
}

/// Of one of its servers.
pub(super) struct ServerSeries {
    up: IntGauge,
    pub(super) ejections: IntCounter,
    /// As in `RESULTS`.
    checks: [IntCounter; RESULTS.len()],
}

impl OriginSeries {
    /// All at 0, the servers up, in the order of the names.
    pub(super) fn of(registry: &Registry, origins: &[OriginNames]) -> Vec<Self> {
        let families = Families::new(registry);
        origins.iter().map(|names| families.series(names)).collect()
    }

    pub(super) fn heed(&self, gauges: &OriginGauges) {
        set(&self.requests, gauges.requests as u64);
        set(&self.waiting, gauges.waiting as u64);
        for (server, is_in) in self.servers.iter().zip(&gauges.servers_in) {
            set(&server.up, u64::from(*is_in));
        }
    }
}

impl ServerSeries {
    pub(super) fn checked(&self, is_good: bool) {
        self.checks[usize::from(!is_good)].inc();
    }
}

struct Families {
    requests: IntGaugeVec,
    waiting: IntGaugeVec,
    queue_full: IntCounterVec,
    retries: IntCounterVec,
    failovers: IntCounterVec,
    up: IntGaugeVec,
    ejections: IntCounterVec,
    checks: IntCounterVec,
}

impl Families {
    fn new(registry: &Registry) -> Self {
        let of_origin = ["origin"];
        let of_server = ["origin", "server"];
        Self {
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
        }
    }

    fn series(&self, names: &OriginNames) -> OriginSeries {
        let OriginNames { name, servers } = names;
        let server = |server: &String| {
            let up = self.up.with_label_values(&[name, server]);
            set(&up, 1);
            ServerSeries {
                up,
                ejections: self.ejections.with_label_values(&[name, server]),
                checks: RESULTS.map(|result| {
                    self.checks.with_label_values(&[name.as_str(), server.as_str(), result])
                }),
            }
        };
        OriginSeries {
            requests: self.requests.with_label_values(&[name]),
            waiting: self.waiting.with_label_values(&[name]),
            queue_full: self.queue_full.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            failovers: self.failovers.with_label_values(&[name]),
            servers: servers.iter().map(server).collect(),
        }
    }
}
