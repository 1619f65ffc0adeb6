//! What was seen, as tables and goals.

use crate::bystander::Waited;
use crate::edge::Taken;
use crate::load::Tally;
use crate::table::{self, Goal};
use crate::trouble::{Diary, KINDS};
use std::sync::atomic::Ordering;

const MIB: f64 = 1024.0 * 1024.0;
/// How much more it may keep at rest than before: the allocator gives back whole pages only, and what
/// was in use at the worst time leaves holes in them. Ten minutes have left 96 MiB.
const RSS_MORE_MIB_MAX: f64 = 128.0;
/// From one half of the trouble to the next: what grows with time is a leak.
const RSS_RATIO_OF_HALVES_MAX: f64 = 1.1;
/// Connections to the origin come and go.
pub(crate) const SOCKETS_MORE_MAX: usize = 8;
/// Files of the disk tier, too: how many there are depends on what is stored.
const DESCRIPTORS_MORE_MAX: f64 = 8.0;
/// Series that tell of work that is under way, or of what was refused.
const SERIES: [&str; 8] = [
    "brim_connections",
    "brim_fills_in_flight",
    "brim_cache_bytes",
    "brim_cache_objects",
    "brim_connections_refused_total",
    "brim_connections_closed_total",
    "brim_http2_closed_total",
    "brim_panics_total",
];

/// What it takes at one time.
pub(crate) struct Moment {
    pub(crate) name: &'static str,
    pub(crate) taken: Taken,
    /// The most there was of either since the one before.
    pub(crate) rss_bytes_max: u64,
    pub(crate) descriptors_max: usize,
}

/// Everything that came out.
pub(crate) struct Seen<'a> {
    /// At rest: before, between the halves and after.
    pub(crate) moments: &'a [Moment; 3],
    pub(crate) tally: &'a Tally,
    pub(crate) diary: &'a Diary,
    pub(crate) panics: usize,
    pub(crate) ends_well: bool,
}

pub(crate) fn print_moments(moments: &[Moment]) {
    let titles = ["at rest", "RSS, MiB", "descriptors", "sockets", "threads"];
    let most = ["most RSS until then, MiB", "most descriptors"];
    let titles = titles.into_iter().chain(most).map(str::to_owned);
    let mut rows = vec![titles.collect::<Vec<_>>()];
    for Moment { name, taken, rss_bytes_max, descriptors_max } in moments {
        let (rss, most) = (mib(taken.rss_bytes), mib(*rss_bytes_max));
        let Taken { descriptors, sockets, threads, .. } = taken;
        rows.push(table::row(&[name, &rss, descriptors, sockets, threads, &most, descriptors_max]));
    }
    table::print("What the process takes", &rows);
}

pub(crate) fn print_waited(phases: &mut [(&'static str, Waited)]) {
    let titles = ["bystander", "hits", "p50, us", "p99, us", "worst", "misses", "p50, us"];
    let titles = titles.into_iter().chain(["p99, us", "worst"]).map(str::to_owned);
    let mut rows = vec![titles.collect::<Vec<_>>()];
    for (name, waited) in phases {
        let mut row = vec![(*name).to_owned()];
        for times in [&mut waited.hits, &mut waited.misses] {
            times.sort_unstable_by(f64::total_cmp);
            row.push(times.len().to_string());
            row.extend(spread(times));
        }
        rows.push(row);
    }
    table::print("How long a bystander waits", &rows);
}

pub(crate) fn print_acts(diary: &Diary) {
    let titles = ["trouble", "done", "not ended in time", "could not be done"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for (name, acts) in diary.all() {
        let counts = [&acts.done, &acts.suffered, &acts.failed];
        let counts = counts.map(|count| count.load(Ordering::Relaxed).to_string());
        rows.push(std::iter::once(name).chain(counts).collect());
    }
    table::print("What was done to it", &rows);
}

pub(crate) fn print_metrics(metrics: &str) {
    println!("\nmetrics at the end\n");
    let is_wanted = |line: &&str| SERIES.iter().any(|name| line.starts_with(name));
    metrics.lines().filter(is_wanted).for_each(|line| println!("  {line}"));
}

pub(crate) fn goals(seen: &Seen) -> Vec<Goal> {
    let [before, between, after] = seen.moments.each_ref().map(|moment| moment.taken);
    let ratio = after.rss_bytes as f64 / between.rss_bytes as f64;
    let more_mib = (after.rss_bytes as f64 - before.rss_bytes as f64) / MIB;
    let more_sockets = after.sockets as f64 - before.sockets as f64;
    let more_descriptors = after.descriptors as f64 - between.descriptors as f64;
    let none = |what: &str, seen: u64| Goal::at_most(what, 0.0, seen as f64, "");
    vec![
        Goal::at_most("RSS at rest, more than before", RSS_MORE_MIB_MAX, more_mib, " MiB"),
        Goal::at_most("RSS at rest, second half to first", RSS_RATIO_OF_HALVES_MAX, ratio, ""),
        Goal::at_most(
            "sockets at rest, more than before",
            SOCKETS_MORE_MAX as f64,
            more_sockets,
            "",
        ),
        Goal::at_most(
            "descriptors at rest, second half more than first",
            DESCRIPTORS_MORE_MAX,
            more_descriptors,
            "",
        ),
        none(
            "wrong or missing answers to those who behave",
            seen.tally.bad.load(Ordering::Relaxed),
        ),
        none("trouble that went on for longer than allowed", seen.diary.suffered()),
        Goal::at_least(
            "kinds of trouble that were made",
            KINDS as f64,
            seen.diary.kinds_done() as f64,
            "",
        ),
        none("panics", seen.panics as u64),
        none("ends that were not in good order", u64::from(!seen.ends_well)),
    ]
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / MIB)
}

/// The median, the 99th percentile and the most of values in order.
fn spread(sorted: &[f64]) -> [String; 3] {
    let Some(worst) = sorted.last() else { return Default::default() };
    let almost_all = sorted.get(sorted.len() * 99 / 100).unwrap_or(worst);
    [table::median(sorted), *almost_all, *worst].map(|value| format!("{value:.0}"))
}
