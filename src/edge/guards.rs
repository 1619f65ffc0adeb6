//! How much one client network may have: connections of the whole edge, requests of each site at one
//! time and in a second.
//!
//! A client is whoever stands behind the trusted proxies; an IPv6 client is its /64. Who is itself a
//! trusted proxy is never limited: it speaks for many, and where it does not tell for whom, nobody
//! else could be held to account. (The right-most address of X-Forwarded-For that no trusted proxy
//! has is what a trusted proxy has seen itself: whatever a client writes in front of it changes
//! nothing, neither to be counted as somebody else nor not to be counted.) Nor is limited who is on the
//! list of the server (everything) or of a site (its requests).

mod tally;

use super::own::Own;
use crate::config::{Settings, Site};
use crate::metrics::{Limit, Metrics};
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::{Allowance, Excess, Network, Subject};

pub(super) use tally::{Place, Tally};

/// When a client that has too much at one time may try again.
const SOON: Duration = Duration::from_secs(1);

/// Who limits clients, as one configuration says. What they are doing and owe is known to all.
pub(super) struct Guards {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    tally: Arc<Tally>,
    started: Instant,
    /// By which number the tally knows each site, by position.
    doors: Vec<u32>,
    next_door: u32,
}

impl Guards {
    pub(super) fn new(settings: Arc<Settings>, metrics: Arc<Metrics>, tally: Arc<Tally>) -> Self {
        let count = u32::try_from(settings.sites.len()).unwrap_or(u32::MAX - 1);
        let (doors, next_door) = ((1..=count).collect(), count + 1);
        Self { settings, metrics, tally, started: Instant::now(), doors, next_door }
    }

    /// Those of another configuration. A site of the same name is the same site.
    pub(super) fn next(&self, settings: Arc<Settings>, metrics: Arc<Metrics>) -> Self {
        let mut next_door = self.next_door;
        let doors = settings.sites.iter().map(|site| {
            let same = self.settings.sites.iter().position(|before| before.name == site.name);
            same.and_then(|position| self.doors.get(position).copied()).unwrap_or_else(|| {
                let door = next_door;
                // After so many sites one may begin with what another owes.
                next_door = next_door.checked_add(1).unwrap_or(1);
                door
            })
        });
        let doors = doors.collect();
        let (tally, started) = (self.tally.clone(), self.started);
        Self { settings, metrics, tally, started, doors, next_door }
    }

    /// A place for one more connection of this client, until it is dropped.
    pub(super) fn connection<'t>(&self, tally: &'t Tally, client: IpAddr) -> Option<Place<'t>> {
        let at_once = self.settings.server.limits.connections_per_client;
        if at_once == 0 || self.is_exempt(client, &[]) {
            return Some(Place::uncounted());
        }
        let subject = Subject { network: Network::of(client), door: 0 };
        let allowance = Allowance { at_once, rate: 0, burst: 0 };
        tally.admit(subject, allowance, Duration::ZERO).ok()
    }

    /// A place for one more request of this client to a site, to be held until the answer is out; or
    /// the answer that there is none. `client` is whom `forwarding::client_address` names.
    pub(super) fn request(&self, site: &Site, client: IpAddr) -> Result<Place<'_>, Own> {
        let limits = &site.limits;
        let is_free = limits.requests == 0 && limits.rate == 0;
        if is_free || self.is_exempt(client, &limits.never_limited) {
            return Ok(Place::uncounted());
        }
        let door = self.doors.get(site.position).copied().unwrap_or(u32::MAX);
        let subject = Subject { network: Network::of(client), door };
        let allowance =
            Allowance { at_once: limits.requests, rate: limits.rate, burst: limits.burst };
        let now = if limits.rate > 0 { self.started.elapsed() } else { Duration::ZERO };
        self.tally.admit(subject, allowance, now).map_err(|excess| {
            let (limit, wait) = match excess {
                Excess::AtOnce => (Limit::Requests, SOON),
                Excess::Rate(wait) => (Limit::Rate, wait),
            };
            self.metrics.limited(site.position, limit);
            Own::TooManyRequests(limit, wait)
        })
    }

    fn is_exempt(&self, client: IpAddr, of_site: &[IpNet]) -> bool {
        let server = &self.settings.server;
        let client = client.to_canonical();
        let lists = [&server.trusted_proxies[..], &server.never_limited, of_site];
        lists.iter().any(|list| list.iter().any(|network| network.contains(&client)))
    }
}
