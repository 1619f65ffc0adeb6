//! Which origins the items of a wish are about: their parents have to fulfil it, too, and each is
//! told only of sites that it has.

use super::{Wish, place, url};
use crate::config::{Query, Site};
use crate::rules::site::SiteMap;
use std::collections::BTreeMap;

/// A wish, taken apart by origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// What can be about objects of any origin.
    everywhere: Wish,
    /// What is about those of one, by its position in the configuration.
    by_origin: BTreeMap<usize, Wish>,
}

impl Shares {
    /// Of a wish that has targets.
    pub fn of(wish: &Wish, sites: &SiteMap) -> Self {
        let everywhere = Wish {
            tags: if wish.all { Vec::new() } else { wish.tags.clone() },
            all: wish.all,
            soft: wish.soft,
            ..Wish::default()
        };
        let mut shares = Self { everywhere, by_origin: BTreeMap::new() };
        if wish.all {
            return shares;
        }
        for text in &wish.urls {
            for site in sites_of_url(text, sites) {
                let share = shares.of_origin(site, wish.soft);
                share.all_queries |= wish.all_queries || hides_queries(site);
                share.urls.push(text.clone());
            }
        }
        for text in &wish.prefixes {
            for site in sites_of_url(text, sites) {
                shares.of_origin(site, wish.soft).prefixes.push(text.clone());
            }
        }
        for text in &wish.hosts {
            for place in place::of_host(text, sites).unwrap_or_default() {
                shares.of_origin(place.site, wish.soft).hosts.push(text.clone());
            }
        }
        shares
    }

    /// Of a wish that is about one site only.
    pub fn of_site(wish: &Wish, site: &Site) -> Self {
        let all_queries = wish.all_queries || hides_queries(site) && !wish.urls.is_empty();
        let share = Wish { all_queries, ..wish.clone() };
        Self { by_origin: BTreeMap::from([(site.origin, share)]), ..Self::default() }
    }

    /// What concerns somebody who answers in the place of these origins.
    pub fn of_origins(&self, origins: &[usize]) -> Option<Wish> {
        let mut all = self.everywhere.clone();
        for share in origins.iter().filter_map(|origin| self.by_origin.get(origin)) {
            all.urls.extend_from_slice(&share.urls);
            all.prefixes.extend_from_slice(&share.prefixes);
            all.tags.extend_from_slice(&share.tags);
            all.hosts.extend_from_slice(&share.hosts);
            all.all |= share.all;
            all.soft |= share.soft;
            all.all_queries |= share.all_queries;
        }
        let mut is_empty = !all.all;
        for items in [&mut all.urls, &mut all.prefixes, &mut all.tags, &mut all.hosts] {
            items.sort_unstable();
            items.dedup();
            is_empty &= items.is_empty();
        }
        (!is_empty).then_some(all)
    }

    fn of_origin(&mut self, site: &Site, soft: bool) -> &mut Wish {
        let share = self.by_origin.entry(site.origin).or_default();
        share.soft = soft;
        share
    }
}

/// Whose a URL is, or a beginning of one: two spellings of a host may belong to two sites.
fn sites_of_url<'a>(text: &str, sites: &'a SiteMap) -> Vec<&'a Site> {
    let Ok(url) = url::split(text.split('#').next().unwrap_or_default()) else { return Vec::new() };
    let places = place::of_url(url.authority, url.scheme_port, sites).unwrap_or_default();
    let mut found: Vec<&Site> = places.into_iter().map(|place| place.site).collect();
    found.sort_unstable_by_key(|site| site.position);
    found.dedup_by_key(|site| site.position);
    found
}

/// One object here may have been fetched with any query, and a parent may tell them apart.
fn hides_queries(site: &Site) -> bool {
    site.key.query != Query::All || site.key.sort_query
}
