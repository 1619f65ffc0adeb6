//! Where fills and passes get their answer: the right server of the right origin, or a good reason
//! why there is none.
//!
//! A `way` leads from one server to the next: through the pool of the parents, the origin's own, and
//! that of its fallback. A `pool` chooses among its servers and limits what they have to do at one
//! time; a `server` knows where it is (`addresses`) and how it is (`health`), which `checks` find out,
//! too, and a `report` tells. `doors` are the admin listeners of servers that are Brims themselves.
//! `dial` makes a connection, `idle` keeps those that wait, `http2` those that are shared, `exchange`
//! is one request and its answer over one of them, `fault` what can go wrong.

mod addresses;
mod checks;
mod dial;
mod door;
mod doors;
mod exchange;
mod fault;
mod health;
mod http2;
mod idle;
mod pool;
mod report;
mod server;
mod tls;
mod way;

pub use checks::Checks;
pub use doors::{DoorAnswer, HOPS, HOPS_MAX, ParentDoor, PurgeWay, WAY};
pub use exchange::{Answer, Connection, Destination, Sender};
pub use fault::Fault;
pub use report::OriginReport;
pub use way::{Asking, Way};

use crate::config::Origin;
use crate::metrics::Metrics;
use door::Owed;
use idle::Idle;
use pool::Pool;
use std::io;
use std::sync::Arc;

/// Idle connections kept over all origins.
const IDLE_CONNECTIONS_MAX: usize = 4096;

/// All origins of one configuration, and the connections to them.
pub struct Upstream {
    /// In the order of the configuration.
    origins: Vec<Arc<Origin>>,
    /// Of each of them. What nothing has changed about is that of the configuration before: the settings
    /// in it are the same but for the positions of parent and fallback.
    pools: Vec<Arc<Pool>>,
    /// Of all configurations.
    idle: Arc<Idle>,
    /// What parents' admin listeners are brought.
    token: Option<String>,
    owed: Owed,
}

impl Upstream {
    /// Nothing is connected yet. `token` is the operator's, for purges on parents. Fails when an
    /// origin needs certificates that cannot be used.
    pub fn new(
        origins: &[Arc<Origin>],
        token: Option<String>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let nothing = Self {
            origins: Vec::new(),
            pools: Vec::new(),
            idle: Idle::new(IDLE_CONNECTIONS_MAX),
            token,
            owed: Owed::default(),
        };
        nothing.next(origins, &metrics)
    }

    /// That of another configuration. Origins of the same name that nothing has changed about go on as
    /// they are: with their connections, their requests, and what is known about their servers.
    pub fn next(&self, origins: &[Arc<Origin>], metrics: &Arc<Metrics>) -> io::Result<Self> {
        let owed = self.owed.of(origins);
        let pool = |(position, settings): (usize, &Arc<Origin>)| {
            let same = self.pools.iter().find(|pool| pool.serves(settings));
            match same {
                Some(pool) => Ok(pool.clone()),
                None => Pool::new(position, settings.clone(), metrics.clone(), &owed).map(Arc::new),
            }
        };
        let pools = origins.iter().enumerate().map(pool).collect::<io::Result<_>>()?;
        let (origins, idle, token) = (origins.to_vec(), self.idle.clone(), self.token.clone());
        Ok(Self { origins, pools, idle, token, owed })
    }

    /// Nobody asks for others any more: their unused connections are closed.
    pub fn is_in_force(&self) {
        self.idle.keep_only(|peer| self.pools.iter().any(|pool| pool.number == peer.server.0));
    }

    /// What requests have to have in common to wait for the same answer of an origin: it changes with
    /// the settings of the origin.
    pub fn number(&self, origin: usize) -> u64 {
        self.pools[origin].number
    }

    /// The settings of the origin at this position.
    pub fn settings(&self, origin: usize) -> &Arc<Origin> {
        &self.origins[origin]
    }

    /// Keeps a connection whose answer was read to its end for the next request.
    pub fn release(&self, connection: Connection) {
        if let Some((halves, peer, idle_timeout)) = connection.into_idle() {
            self.idle.put(peer, halves, idle_timeout);
        }
    }
}
