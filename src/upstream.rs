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

pub use doors::{DoorAnswer, HOPS, HOPS_MAX, ParentDoor, PurgeWay, WAY};
pub use exchange::{Answer, Connection, Destination, Sender};
pub use fault::Fault;
pub use report::OriginReport;
pub use way::{Asking, Way};

use crate::config::Origin;
use crate::metrics::Metrics;
use idle::Idle;
use pool::Pool;
use std::io;
use std::sync::Arc;

/// Idle connections kept over all origins.
const IDLE_CONNECTIONS_MAX: usize = 4096;

/// All origins and the connections to them.
pub struct Upstream {
    /// In the order of the configuration.
    pools: Vec<Arc<Pool>>,
    idle: Arc<Idle>,
    /// What parents' admin listeners are brought.
    token: Option<String>,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Nothing is connected yet. `token` is the operator's, for purges on parents. Fails when an
    /// origin needs certificates that cannot be used.
    pub fn new(
        origins: &[Arc<Origin>],
        token: Option<String>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let pools = origins.iter().enumerate();
        let pools = pools
            .map(|(position, settings)| Pool::new(position, settings.clone(), metrics.clone()));
        let pools = pools.map(|pool| pool.map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Self { pools, idle: Idle::new(IDLE_CONNECTIONS_MAX), token, metrics })
    }

    /// The settings of the origin at this position.
    pub fn settings(&self, origin: usize) -> &Arc<Origin> {
        &self.pools[origin].settings
    }

    /// Keeps a connection whose answer was read to its end for the next request.
    pub fn release(&self, connection: Connection) {
        if let Some((stream, peer, idle_timeout)) = connection.into_idle() {
            self.idle.put(peer, stream, idle_timeout);
        }
    }
}
