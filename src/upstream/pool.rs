//! The servers of one origin: which one is asked, how many requests they have at one time, and how
//! often another one may be tried.

use super::Fault;
use super::health::Standing;
use super::server::Server;
use super::tls::Tls;
use crate::config::{Balance, Origin};
use pingora::lb::Backend;
use pingora::lb::selection::{
    BackendIter, BackendSelection, Consistent, RoundRobin, UniqueIterator,
};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::collections::BTreeSet;
use std::hash::Hasher;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
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

/// The servers of one origin.
pub(super) struct Pool {
    /// Position of the origin in the configuration.
    pub(super) position: usize,
    pub(super) settings: Arc<Origin>,
    pub(super) servers: Vec<Server>,
    pub(super) tls: Option<Tls>,
    order: Order,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// In hundredths of a retry.
    budget: AtomicI64,
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
    pub(super) fn new(position: usize, settings: Arc<Origin>) -> io::Result<Self> {
        let order = match settings.balance {
            _ if settings.servers.len() == 1 => Order::Only,
            Balance::RoundRobin => {
                Order::InTurns(Arc::new(RoundRobin::build(&backends(&settings))))
            }
            Balance::Hash => Order::ByKey(Arc::new(Consistent::build(&backends(&settings)))),
            Balance::LeastConn => Order::ByLoad(AtomicUsize::new(0)),
        };
        Ok(Self {
            position,
            servers: settings.servers.iter().cloned().map(Server::new).collect(),
            tls: Tls::of(&settings)?,
            order,
            places: Arc::new(Semaphore::new(settings.requests_max.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            budget: AtomicI64::new(RETRIES_IN_RESERVE * RETRY_COSTS),
            settings,
        })
    }

    /// A place among the requests that the origin has to do with; waits for one, but not for long.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Fault> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok(place);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.before >= self.settings.queue_max {
            return Err(Fault::Busy);
        }
        match timeout(self.settings.queue_timeout, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Fault::Busy),
        }
    }

    /// Requests that wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The server to ask, of those that were not tried and may be.
    pub(super) fn pick(&self, key: &[u8], tried: &[usize], now: Instant) -> Option<usize> {
        let ejection = &self.settings.ejection;
        let may_be_asked = |position: &usize| {
            !tried.contains(position) && self.servers[*position].health.admits(now, ejection)
        };
        match &self.order {
            Order::Only => Some(0).filter(may_be_asked),
            Order::InTurns(turns) => in_order(turns.iter(b""), may_be_asked),
            Order::ByKey(ring) => in_order(ring.iter(key), may_be_asked),
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

    /// Why none of its servers may be asked.
    pub(super) fn fault(&self) -> Fault {
        let of = |server: &Server| server.health.fault();
        self.servers.iter().find_map(of).unwrap_or(Fault::Down)
    }

    /// Whether this is the only server that is in.
    fn is_last(&self, server: usize) -> bool {
        let others = self.servers.iter().enumerate().filter(|(position, _)| *position != server);
        !others.into_iter().any(|(_, other)| other.health.is_in())
    }

    /// A server gave no answer.
    pub(super) fn failed(&self, server: usize, fault: Fault) {
        let is_last = self.is_last(server);
        let Server { health, name, .. } = &self.servers[server];
        let out = health.failed(fault, Instant::now(), is_last, &self.settings.ejection);
        if let Some(time) = out {
            let (origin, reason) = (&self.settings.name, fault.label());
            tracing::warn!(
                origin,
                server = name,
                reason,
                ?time,
                "an origin server is left in peace"
            );
        }
    }

    /// A server answered.
    pub(super) fn succeeded(&self, server: usize) {
        let Server { health, name, .. } = &self.servers[server];
        if health.succeeded() {
            tracing::info!(origin = self.settings.name, server = name, "an origin server is back");
        }
    }

    /// How each of its servers is.
    pub(super) fn standings(&self, now: Instant) -> impl Iterator<Item = (&Server, Standing)> {
        self.servers.iter().map(move |server| (server, server.health.standing(now)))
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

fn in_order(order: impl BackendIter, may_be_asked: impl Fn(&usize) -> bool) -> Option<usize> {
    let mut order = UniqueIterator::new(order, STEPS_MAX);
    while let Some(backend) = order.get_next() {
        let Position(position) = backend.ext.get::<Position>()?;
        if may_be_asked(position) {
            return Some(*position);
        }
    }
    None
}

/// The servers as Pingora's balancing knows them: by addresses. The place of a server on the ring
/// must be the same on every edge, whatever its name is resolved to, so it is drawn from its URL.
fn backends(settings: &Origin) -> BTreeSet<Backend> {
    let backend = |(position, server): (usize, &crate::config::OriginServer)| {
        let mut hasher = SipHasher13::new();
        hasher.write(server.url().as_bytes());
        let address = Ipv6Addr::from(hasher.finish128().as_u128());
        let address = SocketAddr::from((address, 1)).to_string();
        let mut backend = Backend::new_with_weight(&address, server.weight).ok()?;
        backend.ext.insert(Position(position));
        Some(backend)
    };
    settings.servers.iter().enumerate().filter_map(backend).collect()
}
