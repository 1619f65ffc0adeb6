//! New binaries that were to take over.

use super::{Metrics, counters};
use prometheus::{IntCounter, Registry};

#[derive(Clone)]
pub(super) struct UpgradeSeries {
    good: IntCounter,
    failed: IntCounter,
}

impl UpgradeSeries {
    pub(super) fn of(registry: &Registry) -> Self {
        let upgrades = counters(
            registry,
            "brim_upgrades_total",
            "New processes that were started to take over, by whether they did. It goes on to count \
             in those that did.",
            &["result"],
        );
        let of = |result| upgrades.with_label_values(&[result]);
        Self { good: of("good"), failed: of("failed") }
    }
}

impl Metrics {
    /// A new process was to take over. Whether it did.
    pub fn upgraded(&self, is_good: bool) {
        let series = &self.upgrades;
        if is_good { series.good.inc() } else { series.failed.inc() }
    }

    /// How many did, and how many did not.
    pub fn upgrades(&self) -> (u64, u64) {
        (self.upgrades.good.get(), self.upgrades.failed.get())
    }

    /// So many there were in the process before, and this one took over.
    pub fn took_over(&self, good: u64, failed: u64) {
        self.upgrades.good.inc_by(good + 1);
        self.upgrades.failed.inc_by(failed);
    }
}
