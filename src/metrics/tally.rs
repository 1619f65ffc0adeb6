//! What every request is counted in. Each thread adds to numbers of its own, on cache lines of its own, so
//! that none waits for another; they are added up when somebody asks.

use super::{NO_SITE, SECONDS};
use crate::outcome::{Outcome, Tier};
use prometheus::core::{Collector, Desc};
use prometheus::proto;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// More threads than these share.
const THREADS_MAX: usize = 64;

/// Numbers that any thread adds to.
struct Tally<const COUNT: usize> {
    by_thread: Box<[Own<COUNT>]>,
}

/// Those of one thread, with no others beside them on their cache lines (two, because processors fetch
/// them in pairs).
#[repr(align(128))]
struct Own<const COUNT: usize>([AtomicU64; COUNT]);

impl<const COUNT: usize> Tally<COUNT> {
    fn new() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let own = |_| Own(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { by_thread: (0..threads.min(THREADS_MAX)).map(own).collect() }
    }

    /// The numbers to add to.
    fn own(&self) -> &[AtomicU64; COUNT] {
        thread_local! {
            static NUMBER: usize = {
                static THREADS: AtomicUsize = AtomicUsize::new(0);
                THREADS.fetch_add(1, Ordering::Relaxed)
            };
        }
        // A thread that ends has nothing more to count.
        let number = NUMBER.try_with(|number| *number).unwrap_or(0);
        &self.by_thread[number % self.by_thread.len()].0
    }

    /// All added up.
    fn sums(&self) -> [u64; COUNT] {
        std::array::from_fn(|at| {
            self.by_thread.iter().map(|own| own.0[at].load(Ordering::Relaxed)).sum()
        })
    }
}

fn add(to: &AtomicU64, count: u64) {
    to.fetch_add(count, Ordering::Relaxed);
}

const OUTCOMES: usize = Outcome::LABELS.len();

/// What one site is counted in: its requests by outcome, and then the bytes that it has sent.
pub(super) struct SiteTally(Tally<{ OUTCOMES + 1 }>);

impl SiteTally {
    /// A request is over, for which so many bytes were sent.
    pub(super) fn answered(&self, outcome: Outcome, sent_bytes: u64) {
        let own = self.0.own();
        add(&own[outcome.index()], 1);
        add(&own[OUTCOMES], sent_bytes);
    }
}

/// What all sites are counted in, by their names. They stay: what was counted does not become less.
#[derive(Clone)]
pub(super) struct SiteTallies {
    by_name: Arc<Mutex<BTreeMap<String, Arc<SiteTally>>>>,
    requests: Desc,
    sent_bytes: Desc,
}

impl SiteTallies {
    pub(super) fn new() -> Self {
        Self {
            by_name: Arc::default(),
            requests: desc(
                "brim_requests_total",
                "Requests that are over, by site and by what became of them.",
                &["site", "outcome"],
            ),
            sent_bytes: desc(
                "brim_sent_bytes_total",
                "Bytes sent to clients in answers, heads included (over HTTP/2 as HTTP/1.1 would write them), TLS not.",
                &["site"],
            ),
        }
    }

    /// No site's first, then those of these sites in this order.
    pub(super) fn of(&self, sites: &[String]) -> Vec<Arc<SiteTally>> {
        let mut by_name = self.locked();
        let sites = std::iter::once(NO_SITE).chain(sites.iter().map(String::as_str));
        let mut of_site = |site: &str| {
            let new = || Arc::new(SiteTally(Tally::new()));
            by_name.entry(site.to_owned()).or_insert_with(new).clone()
        };
        sites.map(&mut of_site).collect()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, Arc<SiteTally>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for SiteTallies {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.requests, &self.sent_bytes]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let (mut requests, mut sent_bytes) = (Vec::new(), Vec::new());
        for (site, tally) in self.locked().iter() {
            let sums = tally.0.sums();
            for (outcome, count) in Outcome::LABELS.into_iter().zip(sums) {
                requests.push(counter(&[("outcome", outcome), ("site", site)], count));
            }
            sent_bytes.push(counter(&[("site", site)], sums[OUTCOMES]));
        }
        let counters = proto::MetricType::COUNTER;
        vec![
            family(&self.requests, counters, requests),
            family(&self.sent_bytes, counters, sent_bytes),
        ]
    }
}

/// Those beyond the last bound are counted behind it, and then comes the sum in nanoseconds.
const OVER: usize = SECONDS.len();
const SUM: usize = OVER + 1;

/// How long something took.
#[derive(Clone)]
pub(super) struct Durations {
    tally: Arc<Tally<{ SUM + 1 }>>,
    desc: Desc,
}

impl Durations {
    pub(super) fn new(name: &str, help: &str) -> Self {
        Self { tally: Arc::new(Tally::new()), desc: desc(name, help, &[]) }
    }

    pub(super) fn took(&self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanoseconds <= *bound).unwrap_or(OVER);
        let own = self.tally.own();
        add(&own[bucket], 1);
        add(&own[SUM], nanoseconds);
    }
}

/// `SECONDS` in nanoseconds.
const BOUNDS: [u64; OVER] = {
    let (mut bounds, mut at) = ([0; OVER], 0);
    while at < OVER {
        bounds[at] = (SECONDS[at] * 1e9) as u64;
        at += 1;
    }
    bounds
};

impl Collector for Durations {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let sums = self.tally.sums();
        let mut count = 0;
        let buckets = SECONDS.iter().zip(sums).map(|(bound, in_bucket)| {
            count += in_bucket;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count + sums[OVER]);
        histogram.set_sample_sum(Duration::from_nanos(sums[SUM]).as_secs_f64());
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        vec![family(&self.desc, proto::MetricType::HISTOGRAM, vec![metric])]
    }
}

/// Answers by where they were found.
#[derive(Clone)]
pub(super) struct Hits {
    tally: Arc<Tally<{ Tier::LABELS.len() }>>,
    desc: Desc,
}

impl Hits {
    pub(super) fn new(name: &str, help: &str) -> Self {
        Self { tally: Arc::new(Tally::new()), desc: desc(name, help, &["tier"]) }
    }

    pub(super) fn hit(&self, tier: Tier) {
        add(&self.tally.own()[tier as usize], 1);
    }
}

impl Collector for Hits {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let hits = Tier::LABELS.into_iter().zip(self.tally.sums());
        let hits = hits.map(|(tier, count)| counter(&[("tier", tier)], count));
        vec![family(&self.desc, proto::MetricType::COUNTER, hits.collect())]
    }
}

fn desc(name: &str, help: &str, labels: &[&str]) -> Desc {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Desc::new(name.to_owned(), help.to_owned(), labels, HashMap::new())
        .expect("names and labels are constants of this house, and good")
}

/// Labels are in the order of their names.
fn counter(labels: &[(&str, &str)], count: u64) -> proto::Metric {
    let labels = labels.iter().map(|(name, value)| {
        let mut label = proto::LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    });
    let mut counter = proto::Counter::default();
    counter.set_value(count as f64);
    let mut metric = proto::Metric::default();
    metric.set_label(labels.collect());
    metric.set_counter(counter);
    metric
}

fn family(desc: &Desc, of: proto::MetricType, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(of);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_have_counted_at_one_time_is_all_there() {
        let (sites, durations) = (SiteTallies::new(), Durations::new("seconds", "Some."));
        let of_site = &sites.of(&["a.test".to_owned()])[1];
        std::thread::scope(|scope| {
            for _ in 0..THREADS_MAX + 9 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        of_site.answered(Outcome::Hit, 3);
                        durations.took(Duration::from_micros(300));
                    }
                });
            }
        });
        let all = 1000 * (THREADS_MAX as u64 + 9);
        assert_eq!(of_site.0.sums()[Outcome::Hit.index()], all);
        assert_eq!(of_site.0.sums()[OUTCOMES], 3 * all);
        assert_eq!(durations.tally.sums()[0], all);
        assert_eq!(durations.tally.sums()[SUM], 300_000 * all);
    }

    #[test]
    fn each_duration_is_in_the_first_bucket_that_it_fits() {
        let durations = Durations::new("seconds", "Some.");
        for micros in [0, 500, 501, 1000, 60_000_000, 60_000_001, u64::MAX / 1000] {
            durations.took(Duration::from_micros(micros));
        }
        let sums = durations.tally.sums();
        assert_eq!((sums[0], sums[1], sums[OVER - 1], sums[OVER]), (2, 2, 1, 2));
    }
}
