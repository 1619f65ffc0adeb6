//! Another configuration takes the place of the one in force: everything that can fail is done before.

use super::current::Edge;
use super::door::Door;
use super::tls;
use crate::config::Settings;
use crate::metrics::OriginNames;
use std::io;
use std::sync::Arc;

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
