//! What one configuration says, as far as it concerns requests. Each request keeps that with which it
//! began; the door has another one for the next.

use super::door::Door;
use super::guards::Guards;
use super::tls;
use crate::access_log::AccessLog;
use crate::admin::gatekeeper::Gatekeeper;
use crate::config::{Listener, Settings};
use crate::engine::{Configured, Engine};
use crate::metrics::OriginNames;
use std::io;
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

/// What is ready to take the place of what is in force. Nothing can go wrong any more.
pub struct Next {
    edge: Edge,
    tls: Option<tls::Next>,
}

impl Door {
    /// The settings that are in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.edge().settings.clone()
    }

    /// Makes ready what other settings say, for the listeners that there are.
    pub fn prepare(&self, settings: Settings) -> io::Result<Next> {
        let (edge, settings) = (self.edge(), Arc::new(settings));
        let sites: Vec<_> = settings.sites.iter().map(|site| site.name.clone()).collect();
        let origins: Vec<_> =
            settings.origins.iter().map(|origin| OriginNames::of(origin)).collect();
        let metrics = edge.log.metrics().reconfigured(&sites, &origins);
        let tls = self.tls.as_ref().map(|tls| tls.prepare(&settings)).transpose()?;
        let configured = edge.engine.prepare(&settings, &metrics)?;
        let guards = edge.guards.next(settings.clone(), metrics.clone());
        let next = Edge {
            settings,
            engine: edge.engine.clone(),
            configured,
            gatekeeper: edge.gatekeeper.clone(),
            log: edge.log.counting_in(metrics),
            guards,
            bound: edge.bound.clone(),
        };
        Ok(Next { edge: next, tls })
    }

    /// From here on it is in force for every request that begins. Within a runtime.
    pub fn adopt(&self, next: Next) {
        let Next { edge, tls } = next;
        let (before, now) = (self.settings().server.limits, edge.settings.server.limits);
        if let Some((own, next)) = self.tls.as_ref().zip(tls) {
            own.adopt(next);
        }
        edge.engine.adopt(&edge.configured);
        edge.engine.resize_fills(before.fills, now.fills);
        self.take(edge, before.connections, now.connections);
    }
}
