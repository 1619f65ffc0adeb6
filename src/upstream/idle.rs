//! Connections that wait for their next request.
//!
//! Pingora's own pool has a task watch each of them, and now and then loses one when it is wanted
//! while that task still holds it; a busy edge would connect anew for no reason. Here nobody holds
//! a connection that waits: whoever takes it looks whether it still lives.

use super::server::Peer;
use crate::transport::{Reader, Writer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often connections that are past their time are closed when nobody asks for them.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// The waiting connections, by where they lead.
pub(super) struct Idle {
    waiting: Mutex<Waiting>,
    connections_max: usize,
}

#[derive(Default)]
struct Waiting {
    by_peer: HashMap<Peer, Vec<Entry>>,
    count: usize,
    is_swept: bool,
}

struct Entry {
    halves: Halves,
    until: Instant,
}

/// A connection, as it is used.
pub(super) type Halves = (Reader, Writer);

impl Idle {
    pub(super) fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), connections_max })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was put back last, if one of them still lives.
    pub(super) fn take(&self, peer: Peer) -> Option<Halves> {
        loop {
            let mut entry = {
                let mut waiting = self.lock();
                let entry = waiting.by_peer.get_mut(&peer)?.pop()?;
                waiting.count -= 1;
                entry
            };
            if Instant::now() < entry.until && entry.halves.0.is_quiet() {
                return Some(entry.halves);
            }
        }
    }

    /// Keeps a connection for a while, unless there are enough.
    pub(super) fn put(self: &Arc<Self>, peer: Peer, halves: Halves, idle_timeout: Duration) {
        let mut waiting = self.lock();
        if waiting.count >= self.connections_max {
            return;
        }
        let until = Instant::now() + idle_timeout;
        waiting.by_peer.entry(peer).or_default().push(Entry { halves, until });
        waiting.count += 1;
        if !std::mem::replace(&mut waiting.is_swept, true) {
            let idle = Arc::downgrade(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SWEEP_EVERY).await;
                    let Some(idle) = idle.upgrade() else { return };
                    if idle.sweep() {
                        return;
                    }
                }
            });
        }
    }

    /// Closes what leads elsewhere.
    pub(super) fn keep_only(&self, is_kept: impl Fn(&Peer) -> bool) {
        let mut waiting = self.lock();
        let gone: Vec<_> = waiting.by_peer.extract_if(|peer, _| !is_kept(peer)).collect();
        waiting.count -= gone.iter().map(|(_, entries)| entries.len()).sum::<usize>();
        // To close them takes its time.
        drop(waiting);
        drop(gone);
    }

    /// Closes what is past its time or dead. Whether nothing is left to come back for.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut closed = Vec::new();
        let mut waiting = self.lock();
        for entries in waiting.by_peer.values_mut() {
            let is_over = |entry: &mut Entry| entry.until <= now || !entry.halves.0.is_quiet();
            closed.extend(entries.extract_if(.., is_over));
        }
        waiting.by_peer.retain(|_, entries| !entries.is_empty());
        waiting.count -= closed.len();
        waiting.is_swept = waiting.count > 0;
        !waiting.is_swept
    }
}
