//! The signals that are waited for.

use crate::admin::reload::Reloads;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, which end the process, and SIGHUP.
pub(super) struct Heard {
    term: Signal,
    int: Signal,
    hangup: Signal,
}

impl Heard {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Until the process is asked to end. SIGHUP ends nothing, also where there is nothing to read again.
    pub(super) async fn end(&mut self, reloads: Option<&Reloads>) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                _ = self.hangup.recv() => reloads.into_iter().for_each(Reloads::signal),
            }
        }
    }
}
