//! What was seen of one contestant in one row, and what became of the goals.

use crate::contestants::Who;
use crate::rows::{Beside, Goal, Row};
use crate::table::median;

/// A value for each round.
pub(crate) struct Seen {
    pub(crate) who: Who,
    /// Answers per second.
    pub(crate) rates: Vec<f64>,
    /// Processor time for each answer, in seconds.
    pub(crate) times: Vec<f64>,
    /// Seconds within which 99 of 100 answers came.
    pub(crate) p99s: Vec<f64>,
    /// The share of its processor that the load took.
    pub(crate) load_busy: Vec<f64>,
    /// Requests to the origin for each answer.
    pub(crate) asked_of_origin: Vec<f64>,
    /// Of Brim's hits, the share that came from the disk.
    pub(crate) from_disk: Vec<f64>,
}

impl Seen {
    pub(crate) fn new(who: Who) -> Self {
        Self {
            who,
            rates: Vec::new(),
            times: Vec::new(),
            p99s: Vec::new(),
            load_busy: Vec::new(),
            asked_of_origin: Vec::new(),
            from_disk: Vec::new(),
        }
    }
}

/// One row with logs on or off, and everybody who took part.
pub(crate) struct Measured {
    pub(crate) row: &'static Row,
    pub(crate) writes_log: bool,
    pub(crate) seen: Vec<Seen>,
}

/// What became of a goal.
pub(crate) struct Verdict {
    pub(crate) goal: Goal,
    pub(crate) beside: Who,
    pub(crate) ratio: f64,
}

impl Verdict {
    pub(crate) fn is_met(&self) -> bool {
        match self.goal.beside {
            Beside::BestOf(_) => self.ratio >= self.goal.limit,
            Beside::LatencyOf(_) => self.ratio <= self.goal.limit,
        }
    }
}

impl Measured {
    /// With its disk tier where only that takes part.
    pub(crate) fn brim(&self) -> Option<&Seen> {
        self.seen.iter().find(|seen| seen.who.is_brim())
    }

    /// The one of these with the most answers per second.
    pub(crate) fn best_of(&self, these: &[Who]) -> Option<&Seen> {
        let taking_part = self.seen.iter().filter(|seen| these.contains(&seen.who));
        taking_part.max_by(|a, b| median(&a.rates).total_cmp(&median(&b.rates)))
    }

    /// Of whom nothing can be said is left out.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let Some(brim) = self.brim() else { return Vec::new() };
        let verdict = |goal: &Goal| {
            let (beside, ratio) = match goal.beside {
                Beside::BestOf(these) => {
                    let best = self.best_of(these)?;
                    (best.who, ratio(&brim.rates, &best.rates))
                }
                Beside::LatencyOf(these) => {
                    let with_latency = self.seen.iter().filter(|seen| these.contains(&seen.who));
                    let with_latency = with_latency.filter(|seen| !seen.p99s.is_empty());
                    let best =
                        with_latency.min_by(|a, b| median(&a.p99s).total_cmp(&median(&b.p99s)))?;
                    (best.who, ratio(&brim.p99s, &best.p99s))
                }
            };
            Some(Verdict { goal: *goal, beside, ratio })
        };
        self.row.goals.iter().filter_map(verdict).collect()
    }
}

/// The median of the ratios round by round: what disturbs one disturbs the other beside it.
pub(crate) fn ratio(values: &[f64], beside: &[f64]) -> f64 {
    let ratios: Vec<f64> =
        values.iter().zip(beside).map(|(value, beside)| value / beside).collect();
    if ratios.is_empty() { f64::NAN } else { median(&ratios) }
}
