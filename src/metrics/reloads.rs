//! Series about the configuration that is in force.

use super::{counters, registered, set};
use prometheus::{IntCounter, IntGauge, Registry};
use std::time::SystemTime;

/// Whether a configuration could be used.
const RESULTS: [&str; 2] = ["good", "bad"];

#[derive(Clone)]
pub(super) struct ReloadSeries {
    /// As in `RESULTS`.
    reloads: [IntCounter; RESULTS.len()],
    loaded_at: IntGauge,
}

impl ReloadSeries {
    pub(super) fn of(registry: &Registry) -> Self {
        let reloads = counters(
            registry,
            "brim_reloads_total",
            "Configurations that were read while the edge ran; bad: it cannot be used, and the one before \
             it stays in force.",
            &["result"],
        );
        let loaded_at = IntGauge::new(
            "brim_config_loaded_timestamp_seconds",
            "When the configuration that is in force was read, in seconds from 1970 on.",
        );
        Self {
            reloads: RESULTS.map(|result| reloads.with_label_values(&[result])),
            loaded_at: registered(registry, loaded_at),
        }
    }

    pub(super) fn reloaded(&self, is_good: bool) {
        self.reloads[usize::from(!is_good)].inc();
    }

    pub(super) fn loaded(&self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        set(&self.loaded_at, since.as_secs());
    }
}
