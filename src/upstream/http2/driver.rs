//! Keeps one connection going until it ends: because either side says so, because nobody has used
//! it for a while, or because it is silent when it is asked whether it lives.

use super::{Connection, Connections, Usage};
use crate::survive;
use h2::Ping;
use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Who moves the frames of a connection.
pub(super) struct Driver {
    pub(super) id: u64,
    pub(super) usage: Arc<Usage>,
    /// Where it is taken from.
    pub(super) connections: Weak<Connections>,
    pub(super) idle_timeout: Duration,
    pub(super) pong_within: Duration,
}

impl Driver {
    /// Ends with the connection. What is dropped with streams on it breaks them off, also where
    /// moving its frames panicked.
    pub(super) async fn run(self, connection: Connection) {
        survive::caught(self.drive(connection)).await;
        self.usage.ends();
        if let Some(connections) = self.connections.upgrade() {
            connections.retire(self.id);
        }
    }

    async fn drive(&self, mut connection: Connection) {
        let Some(mut pings) = connection.ping_pong() else { return };
        let mut pong_by = None;
        loop {
            let (is_probed, unused_since) = {
                let state = self.usage.lock();
                (state.is_probed, (state.streams == 0).then_some(state.unused_since))
            };
            if is_probed && pong_by.is_none() {
                if pings.send_ping(Ping::opaque()).is_err() {
                    break;
                }
                pong_by = Instant::now().checked_add(self.pong_within);
            }
            let close_at = unused_since.and_then(|since| since.checked_add(self.idle_timeout));
            tokio::select! {
                _ = &mut connection => break,
                () = self.usage.news.notified() => {}
                pong = poll_fn(|context| pings.poll_pong(context)), if pong_by.is_some() => {
                    if pong.is_err() {
                        break;
                    }
                    pong_by = None;
                    self.usage.lives();
                }
                () = until(pong_by) => break,
                () = until(close_at) => {
                    if self.retires_unused() {
                        // It says farewell by itself when nobody can use it any more.
                        let _ = timeout(self.pong_within, &mut connection).await;
                        break;
                    }
                }
            }
        }
    }

    fn retires_unused(&self) -> bool {
        let connections = self.connections.upgrade();
        connections.is_none_or(|connections| connections.retire_unused(self.id, &self.usage))
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
