//! Which addresses a server's name stands for, asked for again while the edge runs.

use crate::survive;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long the addresses of a name are believed.
const ADDRESSES_LAST: Duration = Duration::from_secs(30);
/// How long a name that was not found is not asked for again.
const FAILURE_LASTS: Duration = Duration::from_secs(1);

/// The addresses of one name.
pub(super) struct Addresses {
    host: String,
    port: u16,
    known: Mutex<Known>,
    /// Held by the one request that waits for the resolver in the place of all.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    found: Arc<[SocketAddr]>,
    /// `None` before the first look-up.
    believed_until: Option<Instant>,
    /// Of addresses that never change.
    is_fixed: bool,
    is_refreshed: bool,
}

impl Addresses {
    pub(super) fn of(host: &str, port: u16) -> Arc<Self> {
        let fixed = host.parse::<IpAddr>().ok().map(|address| Known {
            found: Arc::new([(address, port).into()]),
            is_fixed: true,
            ..Known::default()
        });
        let known = Mutex::new(fixed.unwrap_or_default());
        Arc::new(Self { host: host.to_owned(), port, known, asking: tokio::sync::Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that were found last.
    pub(super) fn last_found(&self) -> Arc<[SocketAddr]> {
        self.lock().found.clone()
    }

    /// In the order in which they are to be tried; none where the name is not known.
    pub(super) async fn find(self: &Arc<Self>, within: Duration) -> Arc<[SocketAddr]> {
        if let Some(found) = self.known(within) {
            return found;
        }
        let _one_asks = self.asking.lock().await;
        if let Some(found) = self.known(within) {
            return found;
        }
        self.look_up(within).await
    }

    /// What is known already. What was believed long enough is used once more while it is looked up
    /// again: a slow resolver holds nobody up.
    fn known(self: &Arc<Self>, within: Duration) -> Option<Arc<[SocketAddr]>> {
        let mut known = self.lock();
        let is_believed = known.believed_until.is_some_and(|until| Instant::now() < until);
        if known.found.is_empty() && !is_believed {
            return None;
        }
        if !is_believed && !known.is_fixed && !known.is_refreshed {
            known.is_refreshed = true;
            let addresses = self.clone();
            tokio::spawn(async move {
                if survive::caught(addresses.look_up(within)).await.is_none() {
                    addresses.lock().is_refreshed = false;
                }
            });
        }
        Some(known.found.clone())
    }

    async fn look_up(&self, within: Duration) -> Arc<[SocketAddr]> {
        let name = (self.host.as_str(), self.port);
        let looked_up = match timeout(within, tokio::net::lookup_host(name)).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let mut known = self.lock();
        let lasts = match looked_up {
            Ok(found) => {
                known.found = in_turns(with_loopback(name, found.collect())).into();
                ADDRESSES_LAST
            }
            // RFC 6761, section 6.3: whatever resolvers say.
            Err(_) if is_localhost(name.0) => {
                known.found = with_loopback(name, Vec::new()).into();
                ADDRESSES_LAST
            }
            // Addresses that worked are better than none.
            Err(error) => {
                tracing::warn!(host = self.host, %error, "no address for an origin server");
                FAILURE_LASTS
            }
        };
        known.believed_until = Some(Instant::now() + lasts);
        known.is_refreshed = false;
        known.found.clone()
    }

    /// Nobody answers there: it may have moved.
    pub(super) fn doubt(&self) {
        let mut known = self.lock();
        let soon = Instant::now() + FAILURE_LASTS;
        known.believed_until = known.believed_until.map(|until| until.min(soon));
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last_label = name.rsplit('.').next().unwrap_or_default();
    last_label.eq_ignore_ascii_case("localhost")
}

/// Servers on this machine that say `localhost` may mean either loopback address: where the resolver
/// knows one of them, the other one comes behind it.
fn with_loopback((name, port): (&str, u16), mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if is_localhost(name) {
        let both: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        for address in both.map(|address| SocketAddr::from((address, port))) {
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    found
}

/// The families take turns, the one that the resolver prefers first, so that one that leads nowhere
/// costs one try (RFC 8305, section 4).
fn in_turns(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_v6_first = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == is_v6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::new();
    loop {
        let (one, other) = (first.next(), second.next());
        if one.is_none() && other.is_none() {
            return all;
        }
        all.extend(one.into_iter().chain(other));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_both_loopback_addresses_whatever_the_resolver_knows() {
        let of = |name, texts: &[&str]| -> Vec<String> {
            let found = texts.iter().map(|text| text.parse().expect("an address")).collect();
            with_loopback((name, 1), found).iter().map(SocketAddr::to_string).collect()
        };
        assert_eq!(of("localhost", &["127.0.0.1:1"]), ["127.0.0.1:1", "[::1]:1"]);
        assert_eq!(of("app.LOCALHOST.", &[]), ["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(of("localhost.test", &["10.0.0.1:1"]), ["10.0.0.1:1"]);
    }

    #[test]
    fn address_families_take_turns() {
        let of = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let found = of(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"]);
        let tried = of(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(in_turns(found), tried);
        assert_eq!(in_turns(of(&["1.1.1.1:1", "[::1]:1"])), of(&["1.1.1.1:1", "[::1]:1"]));
        assert_eq!(in_turns(Vec::new()), Vec::new());
    }
}
