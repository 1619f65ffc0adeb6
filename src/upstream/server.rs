//! One server of an origin.

use super::addresses::Addresses;
use super::dial::{Dialled, NotConnected, dial};
use super::health::Health;
use super::http2::Connections;
use super::tls::Tls;
use crate::config::{Origin, OriginServer, Place};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where connections that can be used for each other lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    /// The number of its pool, and its own position among the servers there.
    pub(super) server: (u64, usize),
    /// `None` for a socket in the file system.
    pub(super) address: Option<SocketAddr>,
}

/// One server of an origin.
pub(super) struct Server {
    pub(super) settings: OriginServer,
    /// As logs and metrics call it.
    pub(super) name: String,
    pub(super) health: Health,
    pub(super) http2: Arc<Connections>,
    addresses: Option<Arc<Addresses>>,
    requests: Arc<AtomicUsize>,
}

/// A request that a server has to do with.
pub(super) struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    pub(super) fn new(settings: OriginServer, name: String) -> Self {
        let addresses = match &settings.place {
            Place::Net(host, port) => Some(Addresses::of(host, *port)),
            Place::Unix(_) => None,
        };
        let (health, http2, requests) = (Health::default(), Arc::default(), Arc::default());
        Self { settings, name, health, http2, addresses, requests }
    }

    /// Where it is now; nowhere in the network if it has a socket in the file system.
    pub(super) async fn addresses(&self, within: Duration) -> Arc<[SocketAddr]> {
        match &self.addresses {
            Some(addresses) => addresses.find(within).await,
            None => Arc::default(),
        }
    }

    /// A connection that nobody has used.
    pub(super) async fn dial(
        &self,
        origin: &Origin,
        tls: Option<&Tls>,
        needs_http1: bool,
    ) -> Result<Dialled, NotConnected> {
        let addresses = self.addresses(origin.connect_timeout).await;
        dial(&self.settings, &addresses, origin, tls, needs_http1).await
    }

    /// Where it was when it was last looked for.
    pub(super) fn known_addresses(&self) -> Arc<[SocketAddr]> {
        self.addresses.as_ref().map(|addresses| addresses.last_found()).unwrap_or_default()
    }

    /// Nobody answers there.
    pub(super) fn doubt(&self) {
        if let Some(addresses) = &self.addresses {
            addresses.doubt();
        }
    }

    /// Counts a request for as long as the result lives.
    pub(super) fn load(&self) -> Load {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Load(self.requests.clone())
    }

    /// Requests that it has to do with.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}
