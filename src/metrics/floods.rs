//! Clients over HTTP/2 that were sent away, counted by what they sent too much of.

use super::counters;
use prometheus::{IntCounter, Registry};

/// What a client over HTTP/2 sent too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the frames of RFC 9113, section 6, but for the last two")]
pub enum Flood {
    Data,
    Headers,
    Priority,
    Reset,
    Settings,
    Ping,
    WindowUpdate,
    Continuation,
    /// Frames of other types.
    Other,
    /// Requests that are malformed.
    BadRequest,
}

impl Flood {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// In the order of the variants.
    const LABELS: [&str; Self::COUNT] = [
        "data",
        "headers",
        "priority",
        "rst_stream",
        "settings",
        "ping",
        "window_update",
        "continuation",
        "other",
        "bad_request",
    ];

    /// What metrics and logs call it.
    pub fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

#[derive(Clone)]
pub(super) struct FloodSeries([IntCounter; Flood::COUNT]);

impl FloodSeries {
    pub(super) fn of(registry: &Registry) -> Self {
        let floods = counters(
            registry,
            "brim_http2_floods_total",
            "Connections over HTTP/2 that were ended because of what came over them, by the frames \
             that were too many. bad_request: requests that were malformed.",
            &["frame"],
        );
        Self(Flood::LABELS.map(|frame| floods.with_label_values(&[frame])))
    }

    pub(super) fn count(&self, flood: Flood) {
        self.0[flood as usize].inc();
    }
}
