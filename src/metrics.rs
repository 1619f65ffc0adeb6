//! The Prometheus counters, gauges and histograms.
//!
//! Labels come from closed sets that are known at the start: sites and origins of the
//! configuration, kinds of outcomes, classes of statuses. Every series therefore exists, at 0,
//! before the first request, and whoever counts has its handle already: no look-up by name.

use crate::outcome::Outcome;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Upper bounds in seconds: from an answer out of memory to a long download.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// The last one is for whatever is not a good answer.
const STATUS_CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "error"];
/// The site of a request that belongs to none.
const NO_SITE: &str = "none";

/// Tells the bytes and the objects in the cache.
type CacheProbe = Box<dyn Fn() -> (u64, u64) + Send + Sync>;

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// No site's first, then by position; inside by `Outcome::index`.
    requests: Vec<[IntCounter; Outcome::LABELS.len()]>,
    request_seconds: Histogram,
    /// By position; inside as in `STATUS_CLASSES`.
    origin_requests: Vec<[IntCounter; STATUS_CLASSES.len()]>,
    origin_seconds: Histogram,
    cache_bytes: IntGauge,
    cache_objects: IntGauge,
    evictions: IntCounter,
    coalesced: IntCounter,
    fills_in_flight: IntGauge,
    cache_probe: OnceLock<CacheProbe>,
}

impl Metrics {
    /// All series at 0; names in the order of their positions.
    pub fn new(sites: &[String], origins: &[String]) -> Arc<Self> {
        let registry = Registry::new();
        let requests = counters(
            &registry,
            "brim_requests_total",
            "Requests that are over, by site and by what became of them.",
            &["site", "outcome"],
        );
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
        let sites = std::iter::once(NO_SITE).chain(sites.iter().map(String::as_str));
        Arc::new(Self {
            requests: sites
                .map(|site| Outcome::LABELS.map(|label| requests.with_label_values(&[site, label])))
                .collect(),
            request_seconds: histogram(
                &registry,
                "brim_request_seconds",
                "From the arrival of a request's head to the last byte of the answer.",
            ),
            origin_requests: origins
                .iter()
                .map(|origin| {
                    STATUS_CLASSES.map(|class| origin_requests.with_label_values(&[origin, class]))
                })
                .collect(),
            origin_seconds: histogram(
                &registry,
                "brim_origin_seconds",
                "From a request's departure to the head of the origin's answer.",
            ),
            cache_bytes: cache_bytes.with_label_values(&["memory"]),
            cache_objects: cache_objects.with_label_values(&["memory"]),
            evictions: evictions.with_label_values(&["memory"]),
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
            cache_probe: OnceLock::new(),
            registry,
        })
    }

    /// A request is over. `site` is its position in the configuration.
    pub fn request(&self, site: Option<usize>, outcome: Outcome, duration: Duration) {
        let row = site.map_or(0, |position| position + 1);
        if let Some(by_outcome) = self.requests.get(row) {
            by_outcome[outcome.index()].inc();
        }
        self.request_seconds.observe(duration.as_secs_f64());
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

    /// What the cache holds in memory.
    pub fn cache(&self, bytes: u64, objects: u64) {
        self.cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.cache_objects.set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    /// Who is asked for the bytes and the objects in memory before they are told. The first stays.
    pub fn set_cache_probe(&self, probe: impl Fn() -> (u64, u64) + Send + Sync + 'static) {
        let _ = self.cache_probe.set(Box::new(probe));
    }

    /// Everything in the text format 0.0.4.
    pub fn text(&self) -> String {
        if let Some(probe) = self.cache_probe.get() {
            let (bytes, objects) = probe();
            self.cache(bytes, objects);
        }
        // Only a family without a name or a series is an error, and `gather` leaves such out.
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
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
mod tests {
    use super::*;
    use crate::outcome::Forward;

    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.text().lines().any(|found| found == line)
    }

    #[test]
    fn every_known_series_is_there_from_the_start() {
        let metrics = Metrics::new(&["a.test".to_owned()], &["o".to_owned()]);
        for site in ["a.test", "none"] {
            for outcome in Outcome::LABELS {
                let series =
                    format!("brim_requests_total{{outcome=\"{outcome}\",site=\"{site}\"}}");
                assert!(has(&metrics, &format!("{series} 0")), "{series}");
            }
        }
        for class in STATUS_CLASSES {
            let labels = format!("origin=\"o\",status_class=\"{class}\"");
            assert!(has(&metrics, &format!("brim_origin_requests_total{{{labels}}} 0")), "{class}");
        }
        for series in [
            "brim_request_seconds_count",
            "brim_origin_seconds_count",
            "brim_cache_bytes{tier=\"memory\"}",
            "brim_cache_objects{tier=\"memory\"}",
            "brim_evictions_total{tier=\"memory\"}",
            "brim_coalesced_total",
            "brim_fills_in_flight",
        ] {
            assert!(has(&metrics, &format!("{series} 0")), "{series}");
        }
    }

    #[test]
    fn what_is_counted_is_told() {
        let metrics = Metrics::new(&["a".to_owned(), "b".to_owned()], &["o".to_owned()]);
        let time = Duration::from_millis(2);
        metrics.request(Some(1), Outcome::Pass(Forward::Bypass), time);
        metrics.request(None, Outcome::Error("bad_request"), time);
        metrics.origin_answer(0, Some(404), Some(time));
        metrics.origin_answer(0, None, None);
        metrics.coalesced();
        metrics.fills_in_flight().inc();
        metrics.evictions().inc();
        metrics.set_cache_probe(|| (4096, 3));
        for line in [
            "brim_requests_total{outcome=\"pass\",site=\"b\"} 1",
            "brim_requests_total{outcome=\"pass\",site=\"a\"} 0",
            "brim_requests_total{outcome=\"error\",site=\"none\"} 1",
            "brim_request_seconds_bucket{le=\"0.001\"} 0",
            "brim_request_seconds_bucket{le=\"0.0025\"} 2",
            "brim_request_seconds_count 2",
            "brim_origin_requests_total{origin=\"o\",status_class=\"4xx\"} 1",
            "brim_origin_requests_total{origin=\"o\",status_class=\"error\"} 1",
            "brim_origin_seconds_count 1",
            "brim_coalesced_total 1",
            "brim_fills_in_flight 1",
            "brim_evictions_total{tier=\"memory\"} 1",
            "brim_cache_bytes{tier=\"memory\"} 4096",
            "brim_cache_objects{tier=\"memory\"} 3",
        ] {
            assert!(has(&metrics, line), "{line} is not in\n{}", metrics.text());
        }
    }
}
