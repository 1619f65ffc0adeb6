//! Series about TLS with clients.

use super::{counters, gauges};
use prometheus::{IntCounter, IntGaugeVec, Registry};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What became of a handshake with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// From the beginning.
    Full,
    /// Shortened by what both sides knew.
    Resumed,
    /// None: not TLS, nothing in common, no good certificate.
    Failed,
    /// Not in time.
    Timeout,
}

impl Handshake {
    /// In the order of the variants.
    const LABELS: [&str; 4] = ["full", "resumed", "failed", "timeout"];
}

/// Whether new files were taken.
const RELOADS: [&str; 2] = ["good", "bad"];

/// Tells what the certificates are called, and how long each is good, in seconds.
type Expiries = Box<dyn Fn() -> Vec<(String, i64)> + Send + Sync>;

#[derive(Clone)]
pub(super) struct TlsSeries {
    /// By `Handshake`.
    handshakes: [IntCounter; Handshake::LABELS.len()],
    /// As in `RELOADS`.
    reloads: [IntCounter; RELOADS.len()],
    expires_in: IntGaugeVec,
    expiries: Arc<OnceLock<Expiries>>,
    /// Those that were told of last.
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl TlsSeries {
    pub(super) fn new(registry: &Registry) -> Self {
        let handshakes = counters(
            registry,
            "brim_tls_handshakes_total",
            "TLS handshakes of clients, by what became of them.",
            &["result"],
        );
        let reloads = counters(
            registry,
            "brim_certificate_reloads_total",
            "Certificate files that have changed; bad: they cannot be used, and what was there stays.",
            &["result"],
        );
        let expires_in = gauges(
            registry,
            "brim_certificate_expires_in_seconds",
            "Seconds until a certificate has expired; below 0 after that.",
            &["certificate"],
        );
        Self {
            handshakes: Handshake::LABELS.map(|label| handshakes.with_label_values(&[label])),
            reloads: RELOADS.map(|label| reloads.with_label_values(&[label])),
            expires_in,
            expiries: Arc::default(),
            told: Arc::default(),
        }
    }

    pub(super) fn handshake(&self, handshake: Handshake) {
        self.handshakes[handshake as usize].inc();
    }

    pub(super) fn reloaded(&self, is_good: bool) {
        self.reloads[usize::from(!is_good)].inc();
    }

    pub(super) fn set_certificates(&self, expiries: Expiries) {
        let _ = self.expiries.set(expiries);
    }

    pub(super) fn heed(&self) {
        let Some(expiries) = self.expiries.get() else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = std::mem::take(&mut *told);
        for (name, seconds) in expiries() {
            self.expires_in.with_label_values(&[&name]).set(seconds);
            gone.remove(&name);
            told.insert(name);
        }
        for name in gone {
            // It was there, or another scrape has taken it away.
            let _ = self.expires_in.remove_label_values(&[&name]);
        }
    }
}
