//! The signals that are waited for.

use crate::admin::reload::Reloads;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, which end the process, and SIGHUP where there is a file to read again.
pub(super) struct Heard {
    term: Signal,
    int: Signal,
    /// Elsewhere it ends the process, as of a terminal that was closed.
    hangup: Option<Hangup>,
}

struct Hangup {
    signal: Signal,
    reloads: Reloads,
}

impl Heard {
    pub(super) fn new(reloads: Option<&Reloads>) -> io::Result<Self> {
        let hangup = reloads.map(|reloads| {
            let signal = signal(SignalKind::hangup())?;
            io::Result::Ok(Hangup { signal, reloads: reloads.clone() })
        });
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hangup: hangup.transpose()?,
        })
    }

    /// Until the process is asked to end. SIGHUP ends nothing that has a file to read again.
    pub(super) async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.term.recv() => return,
                _ = self.int.recv() => return,
                () = hung_up(&mut self.hangup) => {}
            }
        }
    }
}

async fn hung_up(hangup: &mut Option<Hangup>) {
    match hangup {
        Some(Hangup { signal, reloads }) => {
            signal.recv().await;
            reloads.signal();
        }
        None => std::future::pending().await,
    }
}
