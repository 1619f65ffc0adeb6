//! The way of one request from server to server until one of them answers.

use super::dial::{NotConnected, dial};
use super::exchange::{Connection, Destination};
use super::pool::Pool;
use super::server::Peer;
use super::{Fault, Upstream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What is asked.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// Position of the origin.
    pub origin: usize,
    /// What it is about: the key that chooses among servers, and parents.
    pub key: &'a [u8],
    /// Parents are asked first.
    pub through_parent: bool,
    /// To ask twice is not to ask for more, and nothing of the question is used up by asking.
    pub is_repeatable: bool,
    /// It asks for another protocol.
    pub needs_http1: bool,
    /// For the log.
    pub method: &'a str,
    /// For the log.
    pub target: &'a str,
}

/// From server to server.
pub struct Way<'a> {
    upstream: &'a Upstream,
    asking: Asking<'a>,
    /// Whose servers are still to be asked, the next at the end.
    pools: Vec<usize>,
    /// Of the pool that is asked now.
    tried: Vec<usize>,
    /// A server whose pooled connection was dead is asked again on a new one.
    anew: Option<usize>,
    deadline: Option<Instant>,
    fault: Fault,
}

impl Upstream {
    /// The way of a question.
    pub fn way<'a>(&'a self, asking: Asking<'a>) -> Way<'a> {
        let settings = self.settings(asking.origin);
        let fallback = settings.fallback.as_ref().map(|fallback| fallback.origin);
        let parent = settings.parent.filter(|_| asking.through_parent);
        let pools = fallback.into_iter().chain([asking.origin]).chain(parent).collect();
        self.pools[asking.origin].earn();
        Way {
            upstream: self,
            asking,
            pools,
            tried: Vec::new(),
            anew: None,
            deadline: settings.total_timeout.map(|timeout| Instant::now() + timeout),
            fault: Fault::Down,
        }
    }
}

impl Way<'_> {
    /// A connection to the next server.
    pub async fn next(&mut self) -> Result<Connection, Fault> {
        match self.deadline {
            None => self.next_in_time().await,
            Some(deadline) => {
                timeout_at(deadline, self.next_in_time()).await.unwrap_or(Err(Fault::Overtime))
            }
        }
    }

    async fn next_in_time(&mut self) -> Result<Connection, Fault> {
        while let Some(&position) = self.pools.last() {
            let pool = &self.upstream.pools[position];
            match self.next_of(pool).await {
                Ok(connection) => return Ok(connection),
                // More of the same would only reach others who are no better off.
                Err(Fault::Busy) => return Err(Fault::Busy),
                Err(fault) => {
                    self.fault = fault;
                    self.leave_pool();
                }
            }
        }
        Err(self.fault)
    }

    async fn next_of(&mut self, pool: &Arc<Pool>) -> Result<Connection, Fault> {
        let mut fault = None;
        loop {
            let anew = self.anew.take();
            let now = std::time::Instant::now();
            let server = match anew.or_else(|| pool.pick(self.asking.key, &self.tried, now)) {
                Some(server) if self.may_try(pool, anew.is_some()) => server,
                _ => return Err(fault.unwrap_or_else(|| self.fault_of(pool))),
            };
            let place = pool.place().await?;
            if anew.is_none() {
                self.tried.push(server);
            }
            match self.connect(pool, server, anew.is_some()).await {
                Ok(mut connection) => {
                    connection.takes(place, self.deadline);
                    return Ok(connection);
                }
                Err(not_connected) => {
                    fault = Some(not_connected.fault);
                    self.not_connected(pool, server, &not_connected);
                }
            }
        }
    }

    /// Whether one more server may be asked.
    fn may_try(&self, pool: &Pool, is_same: bool) -> bool {
        let is_retry = !self.tried.is_empty() && !is_same;
        !is_retry || self.tried.len() <= pool.settings.retries && pool.affords_retry()
    }

    /// Why there is nobody to ask; what was tried says more than what others have.
    fn fault_of(&self, pool: &Pool) -> Fault {
        if self.tried.is_empty() { pool.fault() } else { self.fault }
    }

    async fn connect(
        &self,
        pool: &Arc<Pool>,
        position: usize,
        anew: bool,
    ) -> Result<Connection, NotConnected> {
        let server = &pool.servers[position];
        let settings = &pool.settings;
        let id = (pool.position, position);
        let http1 = |stream, is_reused, peer| {
            Connection::http1(stream, is_reused, pool.clone(), position, peer)
        };
        // Who may close at any moment is not asked what can only be asked once.
        if self.asking.is_repeatable && !anew {
            let addresses = server.addresses(settings.connect_timeout).await;
            let addresses = addresses.iter().copied().map(Some).chain([None]);
            for address in addresses {
                let peer = Peer { server: id, address };
                if let Some(stream) = self.upstream.idle.take(peer) {
                    return Ok(http1(stream, true, peer));
                }
            }
        }
        // Large, and rarely needed: it is not to be a part of every request's task.
        let tls = pool.tls.as_ref();
        let dialling = Box::pin(dial(server, settings, tls, self.asking.needs_http1));
        let dialled = dialling.await?;
        let peer = Peer { server: id, address: dialled.address };
        Ok(http1(dialled.stream, false, peer))
    }

    fn not_connected(&self, pool: &Pool, server: usize, not_connected: &NotConnected) {
        let NotConnected { fault, reason } = not_connected;
        self.upstream.metrics.origin_answer(pool.position, None, None);
        tracing::warn!(
            origin = pool.settings.name,
            server = pool.servers[server].name,
            reason = fault.label(),
            error = reason,
            "no connection to an origin server"
        );
        pool.failed(server, *fault);
        pool.servers[server].doubt();
    }

    /// A server gave no answer. Whether another one, or the same on a new connection, may.
    pub fn failed(&mut self, to: &Destination, fault: Fault) -> bool {
        self.fault = fault;
        // It closed in the moment in which it was asked, as it may.
        if fault == Fault::Closed && to.is_reused && self.asking.is_repeatable {
            self.anew = Some(to.server);
            return true;
        }
        self.broke_off(to, fault);
        to.pool.failed(to.server, fault);
        let was_not_taken = fault == Fault::NotTaken;
        self.asking.is_repeatable && !fault.is_after_answer() || was_not_taken
    }

    /// A server answered with this status, after this time. Whether that is as bad as no answer, and somebody else
    /// may have a better one.
    pub fn declines(&mut self, to: &Destination, status: u16, delay: Duration) -> bool {
        self.upstream.metrics.origin_answer(to.pool.position, Some(status), Some(delay));
        to.pool.succeeded(to.server);
        let is_own = to.pool.position == self.asking.origin;
        let fallback = to.settings().fallback.as_ref().filter(|_| is_own);
        let is_bad = fallback.is_some_and(|fallback| fallback.statuses.contains(&status));
        if !(is_bad && self.asking.is_repeatable) {
            return false;
        }
        self.fault = Fault::ServerError(status);
        self.leave_pool();
        true
    }

    /// An answer was none, or broke off: in the log and in the metrics.
    pub fn broke_off(&self, to: &Destination, fault: Fault) {
        self.upstream.metrics.origin_answer(to.pool.position, None, None);
        tracing::warn!(
            origin = to.settings().name,
            server = to.name(),
            method = self.asking.method,
            target = self.asking.target,
            reason = fault.label(),
            detail = fault.detail(),
            "no good answer from the origin"
        );
    }

    fn leave_pool(&mut self) {
        self.pools.pop();
        self.tried.clear();
        self.anew = None;
    }
}
