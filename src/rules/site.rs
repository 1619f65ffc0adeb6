//! Which site a host belongs to: an exact name before the longest wildcard before `*`.

use crate::config::Site;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// All sites by the hosts that they answer for.
#[derive(Debug, Default)]
pub struct SiteMap {
    exact: HashMap<String, Arc<Site>>,
    /// What follows the `*` of `*.example.org`, so `.example.org`.
    wildcard: HashMap<String, Arc<Site>>,
    any: Option<Arc<Site>>,
}

impl SiteMap {
    /// Hosts are unique over all sites; the configuration sees to it.
    pub fn new(sites: &[Arc<Site>]) -> Self {
        let mut map = Self::default();
        for site in sites {
            for host in &site.hosts {
                match host.strip_prefix('*') {
                    Some("") => map.any = Some(site.clone()),
                    Some(suffix) => drop(map.wildcard.insert(suffix.to_owned(), site.clone())),
                    None => drop(map.exact.insert(host.clone(), site.clone())),
                }
            }
        }
        map
    }

    /// The site of a host as `wire::authority` reads it; `None` for HTTP/1.0 without one.
    pub fn find(&self, host: Option<&str>) -> Option<&Arc<Site>> {
        let Some(host) = host.filter(|_| !self.exact.is_empty() || !self.wildcard.is_empty())
        else {
            return self.any.as_ref();
        };
        let has_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
        let host: Cow<'_, str> =
            if has_upper { host.to_ascii_lowercase().into() } else { host.into() };
        let wildcard = || self.wildcard(&host).map(|(_, site)| site);
        self.exact.get(&*host).or_else(wildcard).or(self.any.as_ref())
    }

    /// The same, and by which of its hosts.
    pub fn find_by(&self, host: Option<&str>) -> Option<(&Arc<Site>, String)> {
        let site = self.find(host)?;
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let by = match self.wildcard(&host) {
            _ if self.exact.contains_key(&host) => host,
            Some((suffix, _)) => format!("*{suffix}"),
            None => "*".to_owned(),
        };
        Some((site, by))
    }

    /// Every host, as sites name them, in order.
    pub fn hosts(&self) -> Vec<String> {
        let wildcard = self.wildcard.keys().map(|suffix| format!("*{suffix}"));
        let any = self.any.iter().map(|_| "*".to_owned());
        let mut hosts: Vec<String> =
            self.exact.keys().cloned().chain(wildcard).chain(any).collect();
        hosts.sort_unstable();
        hosts
    }

    fn wildcard<'h>(&self, host: &'h str) -> Option<(&'h str, &Arc<Site>)> {
        if self.wildcard.is_empty() {
            return None;
        }
        // From the left, so that the longest suffix comes first. `*` stands for one label or more.
        host.match_indices('.')
            .filter(|(at, _)| *at > 0)
            .find_map(|(at, _)| Some((&host[at..], self.wildcard.get(&host[at..])?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn find<'a>(map: &'a SiteMap, host: &str) -> Option<&'a str> {
        map.find(Some(host)).map(|site| site.name.as_str())
    }

    #[test]
    fn an_exact_host_comes_before_the_longest_wildcard_before_any() {
        let mut text = "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n".to_owned();
        for host in ["www.a.org", "*.a.org", "*.deep.a.org", "[::1]"] {
            text += &format!("[[site]]\nhosts = ['{host}']\norigin = 'o'\n");
        }
        let settings = |text: &str| {
            let checked = crate::config::check(text, "test.toml", Path::new(""));
            checked.settings.unwrap_or_else(|| panic!("{:?}", checked.problems))
        };
        let map = SiteMap::new(&settings(&text).sites);
        assert_eq!(find(&map, "WWW.A.org"), Some("www.a.org"));
        assert_eq!(find(&map, "x.a.org"), Some("*.a.org"));
        assert_eq!(find(&map, "x.y.a.org"), Some("*.a.org"));
        assert_eq!(find(&map, "x.deep.a.org"), Some("*.deep.a.org"));
        assert_eq!(find(&map, "deep.a.org"), Some("*.a.org"));
        assert_eq!(find(&map, "[::1]"), Some("[::1]"));
        assert_eq!(find(&map, "a.org"), None);
        assert_eq!(find(&map, ".a.org"), None);
        assert!(map.find(None).is_none());
        for (host, by) in
            [("WWW.A.org", "www.a.org"), ("x.y.a.org", "*.a.org"), ("x.deep.a.org", "*.deep.a.org")]
        {
            assert_eq!(map.find_by(Some(host)).map(|(_, by)| by).as_deref(), Some(by));
        }
        assert!(map.find_by(Some("a.org")).is_none());
        assert_eq!(map.hosts(), ["*.a.org", "*.deep.a.org", "[::1]", "www.a.org"]);

        text += "[[site]]\nhosts = ['*']\norigin = 'o'\n";
        let map = SiteMap::new(&settings(&text).sites);
        assert_eq!(find(&map, "a.org"), Some("*"));
        assert_eq!(map.find(None).map(|site| site.name.as_str()), Some("*"));
        assert_eq!(map.find_by(Some("b.org")).map(|(_, by)| by).as_deref(), Some("*"));
        assert_eq!(find(&map, "x.a.org"), Some("*.a.org"));
    }
}
