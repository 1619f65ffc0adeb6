//! What clients were sent and what was kept of it, and what could not be told of either.

use super::tally::{Durations, Hits};
use super::{Closed, counters, registered};
use crate::outcome::{Outcome, Tier};
use crate::rules::storing::Refusal;
use prometheus::{IntCounter, Registry};
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
    /// From its arrival to the last byte of its answer.
    pub duration: Duration,
    /// From its arrival to the first byte of its answer.
    pub first_byte: Option<Duration>,
    /// Heads included.
    pub sent_bytes: u64,
}

#[derive(Clone)]
pub(super) struct AnswerSeries {
    first_byte_seconds: Durations,
    hits: Hits,
    /// As `Refusal::ALL`.
    unstored: [IntCounter; Refusal::ALL.len()],
    access_log_dropped_lines: IntCounter,
    spans_dropped: IntCounter,
}

impl AnswerSeries {
    pub(super) fn of(registry: &Registry) -> Self {
        let unstored = counters(
            registry,
            "brim_unstored_total",
            "Answers fetched for the cache that were not kept, by why not.",
            &["reason"],
        );
        let counter = |name, help| registered(registry, IntCounter::new(name, help));
        Self {
            first_byte_seconds: registered(
                registry,
                Ok(Durations::new(
                    "brim_first_byte_seconds",
                    "From the arrival of a request's head to the first byte of the answer.",
                )),
            ),
            hits: registered(
                registry,
                Ok(Hits::new(
                    "brim_hits_total",
                    "Requests answered by a stored answer that may be used, by where it was found.",
                )),
            ),
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
}

impl super::Metrics {
    /// A request is over.
    pub fn answered(&self, answered: &Answered) {
        let Answered { site, outcome, tier, duration, first_byte, sent_bytes } = *answered;
        let of_site = self.sites.get(site.map_or(0, |position| position + 1));
        of_site.inspect(|tally| tally.answered(outcome, sent_bytes));
        self.request_seconds.took(duration);
        if let Some(first_byte) = first_byte {
            self.answers.first_byte_seconds.took(first_byte);
        }
        if let Some(tier) = tier.filter(|_| outcome == Outcome::Hit) {
            self.answers.hits.hit(tier);
        }
        if let Outcome::Error(reason) = outcome
            && let Some(why) = Closed::of_error(reason)
        {
            self.clients.closed(why);
        }
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
