//! What clients were sent and what was kept of it, and what could not be told of either.

use super::{NO_SITE, counters, histogram, registered};
use crate::outcome::{Outcome, Tier};
use crate::rules::storing::Refusal;
use prometheus::{Histogram, IntCounter, IntCounterVec, Registry};
use std::time::Duration;

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The position of its site in the configuration.
    pub site: Option<usize>,
    /// What became of it.
    pub outcome: Outcome,
    /// Where what it was answered with was found.
    pub tier: Option<Tier>,
    /// From its arrival to the first byte of its answer.
    pub first_byte: Option<Duration>,
    /// Heads included.
    pub sent_bytes: u64,
}

#[derive(Clone)]
pub(super) struct AnswerSeries {
    first_byte_seconds: Histogram,
    /// By `Tier`.
    hits: [IntCounter; Tier::LABELS.len()],
    /// No site's first, then by position.
    sent_bytes: Vec<IntCounter>,
    sent_bytes_by_site: IntCounterVec,
    /// As `Refusal::ALL`.
    unstored: [IntCounter; Refusal::ALL.len()],
    access_log_dropped_lines: IntCounter,
    spans_dropped: IntCounter,
}

impl AnswerSeries {
    pub(super) fn of(registry: &Registry, sites: &[String]) -> Self {
        let hits = counters(
            registry,
            "brim_hits_total",
            "Requests answered by a stored answer that may be used, by where it was found.",
            &["tier"],
        );
        let sent_bytes = counters(
            registry,
            "brim_sent_bytes_total",
            "Bytes sent to clients in answers, heads included (over HTTP/2 as HTTP/1.1 would write them), TLS not.",
            &["site"],
        );
        let unstored = counters(
            registry,
            "brim_unstored_total",
            "Answers fetched for the cache that were not kept, by why not.",
            &["reason"],
        );
        let counter = |name, help| registered(registry, IntCounter::new(name, help));
        Self {
            first_byte_seconds: histogram(
                registry,
                "brim_first_byte_seconds",
                "From the arrival of a request's head to the first byte of the answer.",
            ),
            hits: Tier::LABELS.map(|tier| hits.with_label_values(&[tier])),
            sent_bytes: of_sites(&sent_bytes, sites),
            sent_bytes_by_site: sent_bytes,
            unstored: Refusal::ALL.map(|why| unstored.with_label_values(&[why.label()])),
            access_log_dropped_lines: counter(
                "brim_access_log_dropped_lines_total",
                "Lines of the access log that were dropped because it was written too slowly.",
            ),
            spans_dropped: counter(
                "brim_spans_dropped_total",
                "Spans that were dropped because the collector did not take them, or not in time.",
            ),
        }
    }

    /// The same in the view of another configuration.
    pub(super) fn of_other_sites(&self, sites: &[String]) -> Self {
        Self { sent_bytes: of_sites(&self.sent_bytes_by_site, sites), ..self.clone() }
    }

    pub(super) fn answered(&self, answered: &Answered) {
        let Answered { site, outcome, tier, first_byte, sent_bytes } = *answered;
        if let Some(first_byte) = first_byte {
            self.first_byte_seconds.observe(first_byte.as_secs_f64());
        }
        if let Some(tier) = tier.filter(|_| outcome == Outcome::Hit) {
            self.hits[tier as usize].inc();
        }
        let of_site = self.sent_bytes.get(site.map_or(0, |position| position + 1));
        of_site.inspect(|counter| counter.inc_by(sent_bytes));
    }
}

fn of_sites(sent_bytes: &IntCounterVec, sites: &[String]) -> Vec<IntCounter> {
    let sites = std::iter::once(NO_SITE).chain(sites.iter().map(String::as_str));
    sites.map(|site| sent_bytes.with_label_values(&[site])).collect()
}

impl super::Metrics {
    /// What a request that is over was sent.
    pub fn answered(&self, answered: &Answered) {
        self.answers.answered(answered);
    }

    /// An answer was fetched for the cache, and is not kept.
    pub fn unstored(&self, why: Refusal) {
        self.answers.unstored[why as usize].inc();
    }

    /// So many lines of the access log were dropped.
    pub fn access_log_dropped(&self, lines: u64) {
        self.answers.access_log_dropped_lines.inc_by(lines);
    }

    /// So many spans were dropped.
    pub fn spans_dropped(&self, spans: u64) {
        self.answers.spans_dropped.inc_by(spans);
    }
}
