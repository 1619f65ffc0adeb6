//! What one configuration says about where answers come from. A request keeps that with which it
//! began, whatever is said meanwhile: positions of origins mean nothing anywhere else.

use super::Engine;
use super::parents::Parents;
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::permits;
use crate::rules::site::SiteMap;
use crate::upstream::{Checks, Upstream};
use crate::wire::HeadLimits;
use std::io;
use std::sync::Arc;

/// Sites, origins and parents that belong together.
pub struct Configured {
    sites: SiteMap,
    head_limits: HeadLimits,
    pub(super) upstream: Upstream,
    pub(super) parents: Parents,
}

impl Configured {
    pub(super) fn new(settings: &Settings, upstream: Upstream, parents: Parents) -> Arc<Self> {
        let (sites, head_limits) = (SiteMap::new(&settings.sites), settings.server.limits.head);
        Arc::new(Self { sites, head_limits, upstream, parents })
    }

    /// The sites by their hosts.
    pub fn sites(&self) -> &SiteMap {
        &self.sites
    }

    /// What the head of a request may take.
    pub fn head_limits(&self) -> &HeadLimits {
        &self.head_limits
    }

    /// The origins and the connections to them.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }
}

impl Engine {
    /// What is in force now.
    pub fn configured(&self) -> Arc<Configured> {
        self.current.borrow().clone()
    }

    /// What other settings say; not in force yet. `metrics` is their view.
    pub fn prepare(
        &self,
        settings: &Settings,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Arc<Configured>> {
        let before = self.configured();
        let upstream = before.upstream.next(&settings.origins, metrics)?;
        let parents = before.parents.next(&upstream);
        Ok(Configured::new(settings, upstream, parents))
    }

    /// From here on it is in force for everybody who asks for it.
    pub fn adopt(self: &Arc<Self>, next: &Arc<Configured>) {
        // Before anybody purges without them: a fill that begins from here on and may ask them is not
        // kept, and one that has begun is older than the purge.
        let left = self.configured().parents.leave(&next.parents);
        self.current.send_replace(next.clone());
        next.upstream.is_in_force();
        self.tell_of_left(&left);
    }

    /// There may be so many fills at one time; before, there were so many.
    pub fn resize_fills(&self, before: usize, now: usize) {
        permits::resize(&self.fills, before, now);
    }

    /// Checks the servers of whatever is in force. Never ends.
    pub async fn check_servers(&self) {
        let mut current = self.current.subscribe();
        let mut checks = Checks::default();
        loop {
            checks.follow(&current.borrow_and_update().upstream);
            if current.changed().await.is_err() {
                return;
            }
        }
    }
}
