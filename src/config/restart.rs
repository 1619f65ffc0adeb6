//! What a running process cannot change: all of it stands here.

use super::{ADMIN, Listener, Settings};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Puts what is running in the place of what only a restart changes. The keys where that makes a
/// difference; whatever would do harm without them stays as it is, too.
pub fn keep_what_needs_restart(running: &Settings, next: &mut Settings) -> Vec<String> {
    let mut kept = Kept(Vec::new());
    kept.listeners(running, next);
    let (own, new) = (&running.server, &mut next.server);
    // Where it is at its default, that is as good as said.
    if own.admin.unwrap_or(ADMIN) != new.admin.unwrap_or(ADMIN) {
        kept.keep("server.admin", &own.admin, &mut new.admin);
    }
    kept.keep("server.admin_token_file", &own.admin_token_file, &mut new.admin_token_file);
    kept.keep("server.threads", &own.threads, &mut new.threads);
    let (takeover, next_takeover) = (&own.takeover_timeout, &mut new.takeover_timeout);
    kept.keep("server.takeover_timeout", takeover, next_takeover);
    kept.keep("log.error_format", &running.log.error_format, &mut next.log.error_format);
    kept.keep("trace", &running.trace, &mut next.trace);
    kept.keep("cache.memory.size", &running.cache.memory_bytes, &mut next.cache.memory_bytes);
    kept.keep("cache.disk", &running.cache.disk, &mut next.cache.disk);
    kept.0
}

struct Kept(Vec<String>);

impl Kept {
    fn keep<T: Clone + PartialEq>(&mut self, key: &str, running: &T, next: &mut T) {
        if running != next {
            *next = running.clone();
            self.0.push(key.to_owned());
        }
    }

    /// Sockets stay. What is spoken through them may change.
    fn listeners(&mut self, running: &Settings, next: &mut Settings) {
        let mut new = next.server.listeners.clone();
        let same = |own: &Listener| {
            let is_same = |one: &Listener| (one.address, one.tls) == (own.address, own.tls);
            new.iter().position(is_same).map(|place| new.remove(place))
        };
        let in_order: Option<Vec<_>> = running.server.listeners.iter().map(same).collect();
        if let Some(in_order) = in_order.filter(|_| new.is_empty()) {
            next.server.listeners = in_order;
            return;
        }
        for (key, tls) in [("server.http", false), ("server.https", true)] {
            let places = |settings: &Settings| -> BTreeSet<_> {
                let listeners = settings.server.listeners.iter();
                listeners.filter(|one| one.tls == tls).map(|one| one.address).collect()
            };
            if places(running) != places(next) {
                self.0.push(key.to_owned());
            }
        }
        next.server.listeners.clone_from(&running.server.listeners);
        let has = |speaks: fn(&Listener) -> bool| running.server.listeners.iter().any(speaks);
        // Without them nobody could come in through the sockets that stay.
        if has(|listener| listener.tls) && next.certificates.is_empty() {
            self.keep("certificate", &running.certificates, &mut next.certificates);
        }
        let proxies = &mut next.server.trusted_proxies;
        if has(|listener| listener.proxy_protocol) && proxies.is_empty() {
            self.keep("server.trusted_proxies", &running.server.trusted_proxies, proxies);
        }
        // Clients would be sent to where nobody listens yet.
        if !has(|listener| listener.tls) && next.server.trusted_proxies.is_empty() {
            for site in next.sites.iter_mut().filter(|site| site.redirect_to_https) {
                self.0.push(format!("site[{}].redirect_to_https", site.name));
                Arc::make_mut(site).redirect_to_https = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn settings(server: &str, rest: &str) -> Settings {
        let text = format!(
            "[server]\n{server}\n{rest}\n[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n\
             [[site]]\nhosts = ['a.test']\norigin = 'o'\n"
        );
        let checked = super::super::check(&text, "test", Path::new(""));
        checked.settings.unwrap_or_else(|| panic!("{:?}", checked.problems))
    }

    #[test]
    fn what_cannot_be_changed_is_named_and_stays_and_the_rest_is_taken() {
        let running = settings("", "");
        let lines = "http = ['127.0.0.1:81']\nadmin = '127.0.0.1:82'\nthreads = 3\n\
                     admin_token_file = 'b'\nshutdown_timeout = '1s'\n";
        let others = "[log]\nerror_format = 'json'\nlevel = 'warn'\n[cache.memory]\nsize = '1MiB'\n\
                      [cache.disk]\npath = 'd'\nsize = '1GiB'\n[server.limits]\nfills = 3\n";
        let mut next = settings(lines, others);
        assert_eq!(
            keep_what_needs_restart(&running, &mut next),
            [
                "server.http",
                "server.admin",
                "server.admin_token_file",
                "server.threads",
                "log.error_format",
                "cache.memory.size",
                "cache.disk"
            ]
        );
        assert_eq!(next.server.listeners, running.server.listeners);
        assert_eq!((next.server.threads, &next.cache), (0, &running.cache));
        assert_eq!((next.server.limits.fills, &next.log.level), (3, &tracing::Level::WARN.into()));
        assert_eq!(keep_what_needs_restart(&running, &mut next), [""; 0]);
    }

    #[test]
    fn what_the_sockets_that_stay_need_stays_with_them() {
        let certificate = "[[certificate]]\nself_signed = ['a.test']\n";
        let secured = settings("https = ['127.0.0.1:82']", certificate);
        let mut plain = settings("", "");
        assert_eq!(keep_what_needs_restart(&secured, &mut plain), ["server.https", "certificate"]);
        assert_eq!(plain.certificates, secured.certificates);

        let mut next = settings("https = ['127.0.0.1:82']", certificate);
        Arc::make_mut(&mut next.sites[0]).redirect_to_https = true;
        assert_eq!(
            keep_what_needs_restart(&settings("", ""), &mut next),
            ["server.https", "site[a.test].redirect_to_https"]
        );
        assert!(!next.sites[0].redirect_to_https);
    }

    #[test]
    fn what_is_spoken_through_a_socket_changes_without_a_restart() {
        let running = settings("http = ['127.0.0.1:81', '127.0.0.1:82']", "");
        let lines = "http = ['127.0.0.1:82', { address = '127.0.0.1:81', h2c = true }]\n\
                     admin = '127.0.0.1:9180'";
        let mut next = settings(lines, "");
        assert_eq!(keep_what_needs_restart(&running, &mut next), [""; 0]);
        // Sockets are known by their places in the list.
        let listeners = &next.server.listeners;
        assert_eq!(listeners[0].address, running.server.listeners[0].address);
        assert_eq!((listeners[0].h2c, listeners[1].h2c), (true, false));
    }
}
