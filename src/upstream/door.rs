//! The admin listener of a parent, and whether that parent may have what was purged here.

use super::server::Server;
use crate::config::{Origin, OriginServer};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The admin listener of one server.
pub(super) struct Door {
    pub(super) server: Server,
    is_owed: Arc<AtomicBool>,
}

/// Who may have what was purged here: by the URLs of admin listeners, of whatever origin in whatever
/// configuration.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed(BTreeMap<String, Arc<AtomicBool>>);

impl Owed {
    /// The same for these.
    pub(super) fn of(&self, origins: &[Arc<Origin>]) -> Self {
        let urls = origins.iter().flat_map(|origin| &origin.admin).map(OriginServer::url);
        let mut all = BTreeMap::new();
        for url in urls {
            let is_owed = self.at(&url);
            all.entry(url).or_insert(is_owed);
        }
        Self(all)
    }

    fn at(&self, url: &str) -> Arc<AtomicBool> {
        self.0.get(url).cloned().unwrap_or_default()
    }
}

impl Door {
    pub(super) fn new(settings: OriginServer, owed: &Owed) -> Self {
        let (name, is_owed) = (settings.to_string(), owed.at(&settings.url()));
        Self { server: Server::new(settings, name), is_owed }
    }

    /// It may have what was purged here.
    pub(super) fn is_owed(&self) -> bool {
        self.is_owed.load(Ordering::SeqCst)
    }

    /// From here on, for everybody who asks, at whatever origin the same server is.
    pub(super) fn set_owed(&self, is_owed: bool) {
        self.is_owed.store(is_owed, Ordering::SeqCst);
    }
}
