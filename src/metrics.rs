//! The Prometheus counters, gauges and histograms.
//!
//! Labels come from closed sets that are known at the start: sites and origins of the
//! configuration, kinds of outcomes, classes of statuses. Every series therefore exists, at 0,
//! before the first request, and whoever counts has its handle already: no look-up by name.
//!
//! `Metrics` is the view of one configuration, by whose positions sites and origins are counted. Another
//! configuration has another view of the same series: what has the same name is counted on.

mod answers;
mod clients;
mod floods;
mod origins;
mod process;
mod reloads;
mod tally;
mod tls;
mod upgrades;

pub use answers::Answered;
pub use clients::{Closed, Limit, Refused};
pub use floods::Flood;
pub use origins::{OriginGauges, OriginNames};
pub use tls::Handshake;

use answers::AnswerSeries;
use clients::ClientSeries;
use floods::FloodSeries;
use origins::{OriginFamilies, OriginSeries, ServerSeries};
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use reloads::ReloadSeries;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tally::{Durations, SiteTallies, SiteTally};
use tls::TlsSeries;
use upgrades::UpgradeSeries;

/// Upper bounds in seconds: from an answer out of memory to a long download.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// The last one is for whatever is not a good answer.
const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "error"];
/// The site of a request that belongs to none.
const NO_SITE: &str = "none";

/// What a purge names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeKind {
    /// URLs.
    Url,
    /// Beginnings of URLs.
    Prefix,
    /// Tags.
    Tag,
    /// Hosts.
    Host,
    /// Everything.
    All,
}

impl PurgeKind {
    /// In the order of the variants.
    const LABELS: [&str; 5] = ["url", "prefix", "tag", "host", "all"];
}

/// Tells how the cache is.
type CacheProbe = Box<dyn Fn() -> CacheReport + Send + Sync>;

/// Tells how the origins are that there are now.
type OriginsProbe = Box<dyn Fn() -> Vec<OriginGauges> + Send + Sync>;

/// How the cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReport {
    /// In memory.
    pub memory: TierReport,
    /// On the disk, if there is that tier.
    pub disk: Option<DiskReport>,
    /// Purges by rule that something stored may still be old enough for.
    pub purge_rules: u64,
}

/// What a tier holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierReport {
    /// What the objects weigh.
    pub bytes: u64,
    /// How many there are.
    pub objects: u64,
}

/// What the disk holds, and what has happened to it since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskReport {
    /// What is live in it.
    pub tier: TierReport,
    /// What the files take.
    pub file_bytes: u64,
    /// Objects that made room for others.
    pub evicted: u64,
    /// Records written.
    pub written: u64,
    /// Records that were not written because the device was too slow, or failed.
    pub dropped: u64,
    /// Records that were not what had been written.
    pub corrupt: u64,
    /// It does not store.
    pub is_degraded: bool,
}

/// The series of the disk tier; there are none without it.
struct DiskSeries {
    bytes: IntGauge,
    objects: IntGauge,
    evictions: IntCounter,
    file_bytes: IntGauge,
    written: IntCounter,
    dropped: IntCounter,
    corrupt: IntCounter,
    degraded: IntGauge,
}

/// Everything that is counted, as one configuration numbers its sites and origins.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    site_tallies: SiteTallies,
    /// No site's first, then by position.
    sites: Vec<Arc<SiteTally>>,
    request_seconds: Durations,
    answers: AnswerSeries,
    clients: ClientSeries,
    origin_requests_by_class: IntCounterVec,
    /// By position; inside as in `STATUS_CLASSES`.
    origin_requests: Vec<[IntCounter; STATUS_CLASSES.len()]>,
    origin_seconds: Histogram,
    /// By position.
    origins: Vec<OriginSeries>,
    origin_families: OriginFamilies,
    origins_probe: Arc<OnceLock<OriginsProbe>>,
    cache_bytes: IntGaugeVec,
    cache_objects: IntGaugeVec,
    evictions_by_tier: IntCounterVec,
    evictions: IntCounter,
    disk: Arc<OnceLock<DiskSeries>>,
    coalesced: IntCounter,
    fills_in_flight: IntGauge,
    /// By `PurgeKind`.
    purges: [IntCounter; PurgeKind::LABELS.len()],
    parent_purges: [IntCounter; 2],
    parent_purges_pending: IntGauge,
    admin_denied: IntCounter,
    panics: IntCounter,
    http2_floods: FloodSeries,
    cache_probe: Arc<OnceLock<CacheProbe>>,
    purge_rules: IntGauge,
    tls: TlsSeries,
    reloads: ReloadSeries,
    upgrades: UpgradeSeries,
}

impl Metrics {
    /// All series at 0; names in the order of their positions.
    pub fn new(sites: &[String], origins: &[OriginNames]) -> Arc<Self> {
        let registry = Registry::new();
        process::register(&registry);
        let site_tallies = registered(&registry, Ok(SiteTallies::new()));
        let origin_requests = counters(
            &registry,
            "brim_origin_requests_total",
            "Answers of origins by class of status. error: no good answer; one that broke off \
             counts in its class, too.",
            &["origin", "status_class"],
        );
        let cache_bytes =
            gauges(&registry, "brim_cache_bytes", "What the stored objects weigh.", &["tier"]);
        let cache_objects = gauges(&registry, "brim_cache_objects", "Stored objects.", &["tier"]);
        let evictions = counters(
            &registry,
            "brim_evictions_total",
            "Objects that made room for others.",
            &["tier"],
        );
        let purges = counters(
            &registry,
            "brim_purges_total",
            "Items of purges that are in force, by what they name.",
            &["kind"],
        );
        let parent_purges = counters(
            &registry,
            "brim_parent_purges_total",
            "Purges that parents have acknowledged, at once or later, and those that they have not at \
             once.",
            &["result"],
        );
        let answers = AnswerSeries::of(&registry);
        let clients = ClientSeries::of(&registry, sites);
        let origin_families = OriginFamilies::new(&registry, origins);
        Arc::new(Self {
            sites: site_tallies.of(sites),
            site_tallies,
            request_seconds: registered(
                &registry,
                Ok(Durations::new(
                    "brim_request_seconds",
                    "From the arrival of a request's head to the last byte of the answer.",
                )),
            ),
            answers,
            clients,
            origin_requests: of_origins(&origin_requests, origins),
            origin_requests_by_class: origin_requests,
            origins: origin_families.series(origins),
            origin_families,
            origins_probe: Arc::default(),
            origin_seconds: histogram(
                &registry,
                "brim_origin_seconds",
                "From a request's departure to the head of the origin's answer.",
            ),
            evictions: evictions.with_label_values(&["memory"]),
            evictions_by_tier: evictions,
            disk: Arc::default(),
            coalesced: registered(
                &registry,
                IntCounter::new(
                    "brim_coalesced_total",
                    "Requests answered by a fetch that another one had begun.",
                ),
            ),
            fills_in_flight: registered(
                &registry,
                IntGauge::new("brim_fills_in_flight", "Fetches for the cache that are under way."),
            ),
            purges: PurgeKind::LABELS.map(|kind| purges.with_label_values(&[kind])),
            parent_purges: ["purged", "pending"]
                .map(|result| parent_purges.with_label_values(&[result])),
            parent_purges_pending: registered(
                &registry,
                IntGauge::new(
                    "brim_parent_purges_pending",
                    "Purges that parents have not acknowledged yet; they are asked for nothing else.",
                ),
            ),
            admin_denied: registered(
                &registry,
                IntCounter::new(
                    "brim_admin_denied_total",
                    "Requests that were refused for want of the operator's token.",
                ),
            ),
            panics: registered(
                &registry,
                IntCounter::new("brim_panics_total", "Bugs that ended what they happened in."),
            ),
            http2_floods: FloodSeries::of(&registry),
            cache_probe: Arc::default(),
            purge_rules: registered(
                &registry,
                IntGauge::new(
                    "brim_purge_rules",
                    "Purges by prefix, tag, host or of everything that something stored may still \
                     be old enough for.",
                ),
            ),
            cache_bytes,
            cache_objects,
            tls: TlsSeries::new(&registry),
            reloads: ReloadSeries::of(&registry),
            upgrades: UpgradeSeries::of(&registry),
            registry,
        })
    }

    /// The view of another configuration, with names in the order of its positions. Whatever else is
    /// counted is the same in both.
    #[must_use]
    pub fn reconfigured(&self, sites: &[String], origins: &[OriginNames]) -> Arc<Self> {
        Arc::new(Self {
            sites: self.site_tallies.of(sites),
            origin_requests: of_origins(&self.origin_requests_by_class, origins),
            origins: self.origin_families.series(origins),
            clients: self.clients.of_other_sites(sites),
            ..self.clone()
        })
    }

    /// Connections of clients that are open.
    pub fn connections(&self) -> &IntGauge {
        &self.clients.connections
    }

    /// A connection was given no place.
    pub fn connection_refused(&self, why: Refused) {
        self.clients.refused(why);
    }

    /// A client was waited for long enough, and there is no request to say so.
    pub fn connection_closed(&self, why: Closed) {
        self.clients.closed(why);
    }

    /// A request was not taken; `site` is its position in the configuration.
    pub fn limited(&self, site: usize, limit: Limit) {
        self.clients.limited(site, limit);
    }

    /// An origin has answered with this status, after this time; `None`: no good answer. `origin`
    /// is its position in the configuration.
    pub fn origin_answer(&self, origin: usize, status: Option<u16>, duration: Option<Duration>) {
        let class = match status {
            Some(status @ 100..600) => usize::from(status / 100 - 1),
            _ => STATUS_CLASSES.len() - 1,
        };
        if let Some(by_class) = self.origin_requests.get(origin) {
            by_class[class].inc();
        }
        if let Some(duration) = duration {
            self.origin_seconds.observe(duration.as_secs_f64());
        }
    }

    /// A request did not get its turn at an origin.
    pub fn origin_queue_full(&self, origin: usize) {
        self.origins.get(origin).inspect(|origin| origin.queue_full.inc());
    }

    /// A request was taken to a further server of an origin.
    pub fn origin_retry(&self, origin: usize) {
        self.origins.get(origin).inspect(|origin| origin.retries.inc());
    }

    /// A request left an origin for the next.
    pub fn origin_failover(&self, origin: usize) {
        self.origins.get(origin).inspect(|origin| origin.failovers.inc());
    }

    /// Requests took a server of an origin out.
    pub fn origin_ejected(&self, origin: usize, server: usize) {
        self.origin_server(origin, server).inspect(|server| server.ejections.inc());
    }

    /// A server of an origin was checked.
    pub fn origin_checked(&self, origin: usize, server: usize, is_good: bool) {
        self.origin_server(origin, server).inspect(|server| server.checked(is_good));
    }

    fn origin_server(&self, origin: usize, server: usize) -> Option<&ServerSeries> {
        self.origins.get(origin)?.servers.get(server)
    }

    /// A request is answered by a fetch that another one had begun.
    pub fn coalesced(&self) {
        self.coalesced.inc();
    }

    /// Fetches for the cache that are under way.
    pub fn fills_in_flight(&self) -> &IntGauge {
        &self.fills_in_flight
    }

    /// Objects that made room for others in memory.
    pub fn evictions(&self) -> &IntCounter {
        &self.evictions
    }

    /// So many items of this kind were purged.
    pub fn purged(&self, kind: PurgeKind, items: u64) {
        self.purges[kind as usize].inc_by(items);
    }

    /// A parent was asked for a purge. Whether it has acknowledged it.
    pub fn parent_purge(&self, is_acknowledged: bool) {
        self.parent_purges[usize::from(!is_acknowledged)].inc();
    }

    /// So many purges are owed by parents.
    pub fn set_parent_purges_pending(&self, count: u64) {
        set(&self.parent_purges_pending, count);
    }

    /// What became of a client's TLS handshake.
    pub fn handshake(&self, handshake: Handshake) {
        self.tls.handshake(handshake);
    }

    /// The files of a certificate have changed. Whether they can be used.
    pub fn certificate_reloaded(&self, is_good: bool) {
        self.tls.reloaded(is_good);
    }

    /// Who is asked what the certificates are called, and how long each is good, in seconds, before it
    /// is told. The first stays.
    pub fn set_certificates_probe(
        &self,
        probe: impl Fn() -> Vec<(String, i64)> + Send + Sync + 'static,
    ) {
        self.tls.set_certificates(Box::new(probe));
    }

    /// Another configuration was asked for. Whether it could be used.
    pub fn reloaded(&self, is_good: bool) {
        self.reloads.reloaded(is_good);
    }

    /// The configuration that is in force was read now.
    pub fn configuration_loaded(&self, now: SystemTime) {
        self.reloads.loaded(now);
    }

    /// Somebody did not bring the operator's token.
    pub fn admin_denied(&self) {
        self.admin_denied.inc();
    }

    /// Something panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// A client over HTTP/2 was sent away.
    pub fn http2_flood(&self, flood: Flood) {
        self.http2_floods.count(flood);
    }

    /// Who is asked how the cache is before it is told. The first stays.
    pub fn set_cache_probe(&self, probe: impl Fn() -> CacheReport + Send + Sync + 'static) {
        self.heed(&probe());
        let _ = self.cache_probe.set(Box::new(probe));
    }

    /// Who is asked how the origins are before it is told. The first stays.
    pub fn set_origins_probe(&self, probe: impl Fn() -> Vec<OriginGauges> + Send + Sync + 'static) {
        let _ = self.origins_probe.set(Box::new(probe));
    }

    fn heed(&self, report: &CacheReport) {
        set(&self.purge_rules, report.purge_rules);
        set(&self.cache_bytes.with_label_values(&["memory"]), report.memory.bytes);
        set(&self.cache_objects.with_label_values(&["memory"]), report.memory.objects);
        if let Some(report) = &report.disk {
            self.disk.get_or_init(|| self.disk_series()).heed(report);
        }
    }

    fn disk_series(&self) -> DiskSeries {
        let registry = &self.registry;
        let counter = |name, help| registered(registry, IntCounter::new(name, help));
        let gauge = |name, help| registered(registry, IntGauge::new(name, help));
        DiskSeries {
            bytes: self.cache_bytes.with_label_values(&["disk"]),
            objects: self.cache_objects.with_label_values(&["disk"]),
            evictions: self.evictions_by_tier.with_label_values(&["disk"]),
            file_bytes: gauge("brim_disk_file_bytes", "What the files of the disk tier take."),
            written: counter(
                "brim_disk_writes_total",
                "Records written to the disk, those again that were still wanted included.",
            ),
            dropped: counter(
                "brim_disk_dropped_writes_total",
                "Records that were not written because the disk was too slow or failed.",
            ),
            corrupt: counter(
                "brim_disk_corrupt_records_total",
                "Records on the disk that were not what had been written.",
            ),
            degraded: gauge(
                "brim_disk_degraded",
                "1 while the disk tier does not store; /readyz tells why.",
            ),
        }
    }

    /// Everything in the text format 0.0.4.
    pub fn text(&self) -> String {
        if let Some(probe) = self.cache_probe.get() {
            self.heed(&probe());
        }
        if let Some(probe) = self.origins_probe.get() {
            self.origin_families.heed(&probe());
        }
        self.tls.heed();
        // Only a family without a name or a series is an error, and `gather` leaves such out.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

impl DiskSeries {
    fn heed(&self, report: &DiskReport) {
        set(&self.bytes, report.tier.bytes);
        set(&self.objects, report.tier.objects);
        set(&self.file_bytes, report.file_bytes);
        set(&self.degraded, u64::from(report.is_degraded));
        for (counter, told) in [
            (&self.evictions, report.evicted),
            (&self.written, report.written),
            (&self.dropped, report.dropped),
            (&self.corrupt, report.corrupt),
        ] {
            counter.inc_by(told.saturating_sub(counter.get()));
        }
    }
}

fn of_origins(
    requests: &IntCounterVec,
    origins: &[OriginNames],
) -> Vec<[IntCounter; STATUS_CLASSES.len()]> {
    let of_origin = |origin: &OriginNames| {
        STATUS_CLASSES.map(|class| requests.with_label_values(&[&*origin.name, class]))
    };
    origins.iter().map(of_origin).collect()
}

fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(registry, IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histogram(registry: &Registry, name: &str, help: &str) -> Histogram {
    let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
    registered(registry, Histogram::with_opts(options))
}

fn registered<F>(registry: &Registry, family: prometheus::Result<F>) -> F
where
    F: Collector + Clone + 'static,
{
    let family = family.expect("names, labels and bounds are constants of this file, and good");
    registry.register(Box::new(family.clone())).expect("each name stands once in this file");
    family
}

#[cfg(test)]
mod tests;
