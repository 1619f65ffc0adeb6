//! The servers of one origin: which one is asked, how many requests they have at one time, and how
//! often another one may be tried.

use super::Fault;
use super::door::{Door, Owed};
use super::health::{Change, Trouble};
use super::server::Server;
use super::tls::{self, Tls};
use crate::config::{Balance, HealthCheck, Origin, OriginServer};
use crate::metrics::Metrics;
use pingora::lb::Backend;
use pingora::lb::selection::{
    BackendIter, BackendSelection, Consistent, RoundRobin, UniqueIterator,
};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Retries that are always possible after a quiet time.
const RETRIES_IN_RESERVE: i64 = 10;
/// What one costs, where each request brings in the percentage of the configuration.
const RETRY_COSTS: i64 = 100;
/// So finely loads are told apart, whatever the weights.
const LOAD_BITS: u32 = 16;
/// Steps on the ring, or in turns, before nobody else is to be found.
const STEPS_MAX: usize = 4096;

/// What the next pool is told apart by.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// The servers of one origin.
pub(super) struct Pool {
    /// Its own, of all that there have been.
    pub(super) number: u64,
    /// Position of the origin in the configuration that it was made for, and in the view of `metrics`.
    /// In others it may have another one.
    pub(super) position: usize,
    pub(super) settings: Arc<Origin>,
    pub(super) servers: Vec<Server>,
    /// None, or one for each server.
    pub(super) doors: Vec<Door>,
    pub(super) tls: Option<Tls>,
    /// What it was made of besides the settings.
    files: u64,
    order: Order,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// In hundredths of a retry.
    budget: AtomicI64,
    /// Of two that fail at once, one is the last.
    judging: Mutex<()>,
    pub(super) metrics: Arc<Metrics>,
}

/// In which order the servers are asked.
enum Order {
    Only,
    InTurns(Arc<RoundRobin>),
    ByKey(Arc<Consistent>),
    ByLoad(AtomicUsize),
}

/// Its position among the servers, in a `Backend`.
#[derive(Clone)]
struct Position(usize);

impl Pool {
    pub(super) fn new(
        position: usize,
        settings: Arc<Origin>,
        metrics: Arc<Metrics>,
        owed: &Owed,
    ) -> io::Result<Self> {
        // Before they are read: what changes meanwhile is a change.
        let files = tls::files(&settings);
        let order = match settings.balance {
            _ if settings.servers.len() == 1 => Order::Only,
            Balance::RoundRobin => {
                Order::InTurns(Arc::new(RoundRobin::build(&backends(&settings, by_position))))
            }
            Balance::Hash => {
                Order::ByKey(Arc::new(Consistent::build(&backends(&settings, by_url))))
            }
            Balance::LeastConn => Order::ByLoad(AtomicUsize::new(0)),
        };
        Ok(Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            position,
            servers: settings
                .servers
                .iter()
                .cloned()
                .zip(settings.server_names())
                .map(|(server, name)| Server::new(server, name))
                .collect(),
            doors: settings.admin.iter().cloned().map(|door| Door::new(door, owed)).collect(),
            tls: Tls::of(&settings)?,
            files,
            order,
            places: Arc::new(Semaphore::new(settings.requests_max.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            budget: AtomicI64::new(RETRIES_IN_RESERVE * RETRY_COSTS),
            judging: Mutex::default(),
            metrics,
            settings,
        })
    }

    /// Whether it is what another configuration needs for an origin. Whom else to ask is no matter of
    /// its own.
    pub(super) fn serves(&self, settings: &Origin) -> bool {
        let Origin { parent, fallback, .. } = settings.clone();
        let own = Origin { parent, fallback, ..Origin::clone(&self.settings) };
        own == *settings && self.files == tls::files(settings)
    }

    /// A place among the requests that the origin has to do with; waits for one, but not for long.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.before >= self.settings.queue_max {
            self.metrics.origin_queue_full(self.position);
            return Err(Fault::Busy);
        }
        match timeout(self.settings.queue_timeout, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => {
                self.metrics.origin_queue_full(self.position);
                Err(Fault::Busy)
            }
        }
    }

    /// Requests that have a place.
    pub(super) fn requests(&self) -> usize {
        let places = self.settings.requests_max.min(Semaphore::MAX_PERMITS);
        places.saturating_sub(self.places.available_permits())
    }

    /// Requests that wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The server to ask, of those that were not tried and may be.
    pub(super) fn pick(&self, key: &[u8], tried: &[usize], now: Instant) -> Option<usize> {
        let ejection = &self.settings.ejection;
        let may_be_asked = |position: &usize| {
            !(tried.contains(position) || self.is_kept_out(*position))
                && self.servers[*position].health.admits(now, ejection)
        };
        match &self.order {
            Order::Only => Some(0).filter(may_be_asked),
            Order::InTurns(turns) => self.in_order(turns.iter(b""), may_be_asked),
            Order::ByKey(ring) => self.in_order(ring.iter(key), may_be_asked),
            Order::ByLoad(turn) => {
                let first = turn.fetch_add(1, Ordering::Relaxed);
                let count = self.servers.len();
                let turns = (0..count).map(|offset| first.wrapping_add(offset) % count);
                let mut order: Vec<usize> = turns.collect();
                // Of two with the same load for their weight, the one whose turn it is.
                order.sort_by_cached_key(|position| {
                    let server = &self.servers[*position];
                    ((server.requests() + 1) << LOAD_BITS) / server.settings.weight
                });
                order.into_iter().find(may_be_asked)
            }
        }
    }

    /// Whether there is a server to ask that was not tried.
    pub(super) fn has_other(&self, tried: &[usize], now: Instant) -> bool {
        self.servers.iter().enumerate().any(|(position, server)| {
            !(tried.contains(&position) || self.is_kept_out(position))
                && server.health.would_admit(now)
        })
    }

    /// Whether a server may still have what was purged here.
    pub(super) fn is_kept_out(&self, server: usize) -> bool {
        self.doors.get(server).is_some_and(Door::is_owed)
    }

    fn in_order(
        &self,
        order: impl BackendIter,
        may_be_asked: impl Fn(&usize) -> bool,
    ) -> Option<usize> {
        let mut order = UniqueIterator::new(order, STEPS_MAX);
        for _ in &self.servers {
            let Some(backend) = order.get_next() else { break };
            let position = backend.ext.get::<Position>().map(|Position(position)| *position);
            if let Some(position) = position.filter(&may_be_asked) {
                return Some(position);
            }
        }
        // One of little weight may have no place on the ring.
        (0..self.servers.len()).find(may_be_asked)
    }

    /// Why none of its servers may be asked.
    pub(super) fn fault(&self) -> Fault {
        let of = |server: &Server| server.health.fault();
        self.servers.iter().find_map(of).unwrap_or(Fault::Down)
    }

    /// Whether a server is asked like the others.
    pub(super) fn is_in(&self, server: usize) -> bool {
        self.servers[server].health.is_in() && !self.is_kept_out(server)
    }

    /// Whether this is the only server that is in.
    fn is_last(&self, server: usize) -> bool {
        !(0..self.servers.len()).any(|other| other != server && self.is_in(other))
    }

    /// A server gave no answer.
    pub(super) fn failed(&self, server: usize, fault: Fault) {
        let judging = self.judging.lock().unwrap_or_else(PoisonError::into_inner);
        let is_last = self.is_last(server);
        let (health, ejection) = (&self.servers[server].health, &self.settings.ejection);
        let change = health.failed(fault, Instant::now(), is_last, ejection);
        drop(judging);
        self.tell(server, change, fault.label());
    }

    /// A server begins to answer.
    pub(super) fn answered(&self, server: usize) {
        self.tell(server, self.servers[server].health.answered(Instant::now()), "");
    }

    /// A server has answered.
    pub(super) fn succeeded(&self, server: usize) {
        self.tell(server, self.servers[server].health.succeeded(Instant::now()), "");
    }

    /// A server was checked.
    pub(super) fn checked(
        &self,
        server: usize,
        result: Result<(), Trouble>,
        settings: &HealthCheck,
    ) {
        self.metrics.origin_checked(self.position, server, result.is_ok());
        let change = self.servers[server].health.checked(result, Instant::now(), settings);
        self.tell(server, change, "");
    }

    fn tell(&self, position: usize, change: Option<Change>, reason: &str) {
        let (origin, server) = (&self.settings.name, &self.servers[position].name);
        match change {
            None => {}
            Some(Change::Ejected(time)) => {
                self.metrics.origin_ejected(self.position, position);
                tracing::warn!(origin, server, reason, ?time, "an origin server is left in peace");
            }
            Some(Change::Down(trouble)) => {
                tracing::warn!(origin, server, reason = %trouble, "an origin server is down");
            }
            Some(Change::Back) => tracing::info!(origin, server, "an origin server is back"),
        }
    }

    /// A request brings in a part of a retry.
    pub(super) fn earn(&self) {
        let earned = i64::from(self.settings.retry_budget_percent);
        let most = RETRIES_IN_RESERVE * RETRY_COSTS;
        let _ = self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            (left < most).then_some((left + earned).min(most))
        });
    }

    /// Whether one more try can be afforded.
    pub(super) fn affords_retry(&self) -> bool {
        let spend = |left: i64| (left >= RETRY_COSTS).then_some(left - RETRY_COSTS);
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

/// Counts one that waits.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self { count, before: count.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The servers as Pingora's balancing knows them: in the order of addresses.
fn backends(settings: &Origin, address: fn(usize, &OriginServer) -> Ipv6Addr) -> BTreeSet<Backend> {
    let backend = |(position, server): (usize, &OriginServer)| {
        let address = SocketAddr::from((address(position, server), 1)).to_string();
        let mut backend = Backend::new_with_weight(&address, server.weight).ok()?;
        backend.ext.insert(Position(position));
        Some(backend)
    };
    settings.servers.iter().enumerate().filter_map(backend).collect()
}

/// Turns are taken in the order of the file.
fn by_position(position: usize, _server: &OriginServer) -> Ipv6Addr {
    Ipv6Addr::from(position as u128)
}

/// The place of a server on the ring must be the same on every edge, whatever its name is resolved
/// to, and wherever it stands in the file.
fn by_url(_position: usize, server: &OriginServer) -> Ipv6Addr {
    let mut hasher = SipHasher13::new();
    hasher.write(server.url().as_bytes());
    Ipv6Addr::from(hasher.finish128().as_u128())
}

#[cfg(test)]
mod tests;
