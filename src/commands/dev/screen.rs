//! What whoever runs the edge gets to see: a line for each request, and one for each event.

use crate::access_log::{Lines, People, Record};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hosts that clients have named. Whoever names more has everything purged.
const HOSTS_MAX: usize = 64;
const HOST_BYTES_MAX: usize = 256;

/// Where events are told: beside the lines of requests, unless those are for a machine.
#[derive(Clone)]
pub(super) struct Screen {
    people: Arc<People>,
    is_json: bool,
}

impl Screen {
    pub(super) fn new(people: Arc<People>, is_json: bool) -> Self {
        Self { people, is_json }
    }

    pub(super) fn event(&self, kind: &str, sentence: &str) {
        self.print(&self.people.event(kind, sentence));
    }

    pub(super) fn print(&self, text: &str) {
        // Nobody may be looking any more.
        let _ = match self.is_json {
            true => writeln!(io::stderr(), "{text}"),
            false => writeln!(io::stdout(), "{text}"),
        };
    }
}

/// Sees every request on its way into the log.
pub(super) struct Tap {
    /// `None`: the lines are JSON.
    people: Option<Arc<People>>,
    hosts: Mutex<Hosts>,
}

#[derive(Default)]
struct Hosts {
    named: BTreeSet<String>,
    has_more: bool,
}

impl Tap {
    pub(super) fn new(people: Option<Arc<People>>) -> Self {
        Self { people, hosts: Mutex::default() }
    }

    /// Clients that come to these addresses may call them by these names.
    pub(super) fn knows(&self, doors: &[SocketAddr], names: &[String]) {
        let mut hosts = self.lock();
        for door in doors {
            let port = door.port();
            let usual = ["localhost", "127.0.0.1", "[::1]"].map(str::to_owned);
            for name in usual.iter().chain(names) {
                hosts.named.insert(format!("{name}:{port}"));
            }
            hosts.named.insert(door.to_string());
        }
    }

    /// `host:port` of every URL that something may be stored for; `None`: nobody knows all of them.
    pub(super) fn hosts(&self) -> Option<Vec<String>> {
        let hosts = self.lock();
        (!hosts.has_more).then(|| hosts.named.iter().cloned().collect())
    }

    fn lock(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines for Tap {
    /// Before anything is stored for it.
    fn begun(&self, record: &Record<'_>) {
        let Some(host) = record.host() else { return };
        let mut hosts = self.lock();
        if hosts.has_more || hosts.named.contains(host) {
            return;
        }
        match hosts.named.len() < HOSTS_MAX && host.len() <= HOST_BYTES_MAX {
            true => drop(hosts.named.insert(host.to_owned())),
            false => hosts.has_more = true,
        }
    }

    fn upgraded(&self, record: &Record<'_>) -> Option<String> {
        self.people.as_ref().and_then(|people| people.upgraded(record))
    }

    fn done(&self, record: &Record<'_>, is_told: bool) -> Option<String> {
        match &self.people {
            Some(people) => people.done(record, is_told),
            None => Some(record.json()),
        }
    }
}
