//! What one configuration says, as far as it concerns requests. Each request keeps that with which it
//! began; the door has another one for the next.

use super::guards::Guards;
use crate::access_log::AccessLog;
use crate::admin::gatekeeper::Gatekeeper;
use crate::config::{Listener, Settings};
use crate::engine::{Configured, Engine};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

/// Where listeners came to be bound, in the order of the configuration.
pub(super) type Bound = Arc<OnceLock<Vec<SocketAddr>>>;

/// Everything that it takes to answer a request.
pub(super) struct Edge {
    pub(super) settings: Arc<Settings>,
    pub(super) engine: Arc<Engine>,
    pub(super) configured: Arc<Configured>,
    pub(super) gatekeeper: Arc<Gatekeeper>,
    pub(super) log: AccessLog,
    pub(super) guards: Guards,
    pub(super) bound: Bound,
}

impl Edge {
    /// The one that takes connections to this address.
    pub(super) fn listener(&self, local: SocketAddr) -> Option<&Listener> {
        let takes = |address: &SocketAddr| {
            address.port() == local.port()
                && address.is_ipv4() == local.is_ipv4()
                && (address.ip().is_unspecified() || address.ip() == local.ip())
        };
        let position = self.bound.get()?.iter().position(takes)?;
        self.settings.server.listeners.get(position)
    }

    /// Whether this is a proxy whose word about its clients is taken.
    pub(super) fn trusts(&self, peer: IpAddr) -> bool {
        self.settings.server.trusted_proxies.iter().any(|network| network.contains(&peer))
    }

    /// The port that clients are sent to for TLS.
    pub(super) fn https_port(&self) -> u16 {
        let bound = || {
            let position = self.settings.server.listeners.iter().position(|one| one.tls)?;
            Some(self.bound.get()?.get(position)?.port())
        };
        self.settings.server.https_port.or_else(bound).unwrap_or(443)
    }
}
