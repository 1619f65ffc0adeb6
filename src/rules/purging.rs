//! What a purge names: from what a person writes to what keys and tags begin with.
//!
//! Whatever a request could have been answered with under a name that is given here is covered:
//! `place` spells hosts as keys do, `url` whole URLs, `prefix` beginnings of them.

mod place;
mod prefix;
mod sharing;
mod url;

pub use self::url::{AskedFor, asked_for};
pub use sharing::Shares;

use super::site::SiteMap;
use crate::config::Site;
use crate::wire::authority::Authority;
use http::Method;
use serde::{Deserialize, Serialize};

/// The method that names everything that begins with its URL.
pub const BAN: &str = "BAN";

/// Whether a method asks for a purge on the front door.
pub fn is_meant(method: &Method) -> bool {
    matches!(method.as_str(), "PURGE" | BAN)
}

/// Items of one wish.
pub const ITEMS_MAX: usize = 1000;
/// The longest URL, prefix or host: longer than most sites' request targets may be.
const URL_BYTES_MAX: usize = 48 * 1024;
/// The longest key, or beginning of one, that a purge can be remembered by.
const NAME_BYTES_MAX: usize = 60 * 1024;

/// What somebody wants to be forgotten, in their words: the body of `POST /purge`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wish {
    /// `http://host/path?query`, with all variants of it.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub urls: Vec<String>,
    /// Beginnings of URLs.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub prefixes: Vec<String>,
    /// Names that origins gave to their answers.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub tags: Vec<String>,
    /// `host` or `host:port`.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub hosts: Vec<String>,
    /// Everything.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub all: bool,
    /// Not gone, but stale from now on.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub soft: bool,
    /// `urls` mean their paths with any query, or none.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub all_queries: bool,
    /// Only tell what would go.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub dry_run: bool,
    /// Answer when everything is counted, and all parents have acknowledged.
    #[serde(skip_serializing_if = "is_unsaid")]
    pub wait: bool,
}

/// Many wishes may have to be remembered: what says nothing is left out.
fn is_unsaid<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The same as the cache knows it. An object is meant if any of these is about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Whole keys.
    pub keys: Vec<Box<[u8]>>,
    /// Beginnings of keys; the empty one is that of all.
    pub prefixes: Vec<Box<[u8]>>,
    /// `site LF tag` for the objects of a site, `LF tag` for those of all.
    pub tags: Vec<Box<[u8]>>,
}

/// What a wish means for these sites. An error names the first item that means nothing.
pub fn targets(wish: &Wish, sites: &SiteMap) -> Result<Targets, String> {
    let Wish { urls, prefixes, tags, hosts, .. } = wish;
    let items = urls.len() + prefixes.len() + tags.len() + hosts.len();
    if items == 0 && !wish.all {
        return Err("nothing is named: urls, prefixes, tags, hosts or all".to_owned());
    }
    if items > ITEMS_MAX {
        return Err(format!("{items} items are too many: at most {ITEMS_MAX} at once"));
    }
    let mut all = Targets::default();
    each("urls", urls, |text| url::add(text, sites, wish.all_queries, &mut all))?;
    each("prefixes", prefixes, |text| prefix::add(text, sites, &mut all))?;
    each("tags", tags, |text| add_tag(text, &mut all))?;
    each("hosts", hosts, |text| add_host(text, sites, &mut all))?;
    if wish.all {
        let everything = Box::default();
        return Ok(Targets { prefixes: vec![everything], ..Targets::default() });
    }
    all.sort();
    all.checked()
}

/// What a request over a scheme names with its own URL.
pub fn url_of_site(
    site: &Site,
    scheme: &str,
    authority: Option<Authority<'_>>,
    target: &str,
) -> Result<Targets, String> {
    let places = place::of_request(site, authority, scheme);
    let keys = places.iter().map(|place| place.key(target)).collect();
    Targets { keys, ..Targets::default() }.checked()
}

/// The same for everything whose URL begins like that.
pub fn prefix_of_site(
    site: &Site,
    scheme: &str,
    authority: Option<Authority<'_>>,
    target: &str,
) -> Result<Targets, String> {
    let mut all = Targets::default();
    for place in place::of_request(site, authority, scheme) {
        prefix::add_of(&place, target, &mut all)?;
    }
    all.sort();
    all.checked()
}

/// Names with one LF behind each, as `rules::tags` writes them, where they mean the objects of one
/// site.
pub fn tags_of_site(site: &Site, tags: &[u8]) -> Targets {
    let tags = tags.split(|byte| *byte == b'\n').filter(|tag| !tag.is_empty());
    let tags = tags.map(|tag| [site.name.as_bytes(), b"\n", tag].concat().into());
    Targets { tags: tags.collect(), ..Targets::default() }
}

impl Targets {
    /// Names that can be written down; an error says that one cannot.
    fn checked(self) -> Result<Self, String> {
        let names = self.keys.iter().chain(&self.prefixes).chain(&self.tags);
        match names.map(|name| name.len()).max() {
            Some(bytes) if bytes > NAME_BYTES_MAX => Err("a URL is longer than 60 KiB".to_owned()),
            _ => Ok(self),
        }
    }

    /// Every object is meant.
    pub fn is_everything(&self) -> bool {
        self.prefixes.iter().any(|prefix| prefix.is_empty())
    }

    /// Each once.
    fn sort(&mut self) {
        for list in [&mut self.keys, &mut self.prefixes, &mut self.tags] {
            list.sort_unstable();
            list.dedup();
        }
    }
}

/// Adds each item of a kind; an error says which one it is about.
fn each(
    kind: &str,
    items: &[String],
    mut add: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    for (position, text) in items.iter().enumerate() {
        is_sound(text)
            .and_then(|()| add(text))
            .map_err(|why| format!("{kind}[{position}]: {why}"))?;
    }
    Ok(())
}

fn is_sound(text: &str) -> Result<(), String> {
    let why = match text {
        "" => "empty",
        _ if text.len() > URL_BYTES_MAX => "longer than 48 KiB",
        _ if text.bytes().any(|byte| byte.is_ascii_control()) => "holds a control character",
        _ if text.starts_with(' ') || text.ends_with(' ') => "begins or ends with a space",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

fn add_tag(tag: &str, all: &mut Targets) -> Result<(), String> {
    if tag.len() > super::tags::TAG_BYTES_MAX {
        return Err(format!("longer than {} bytes", super::tags::TAG_BYTES_MAX));
    }
    all.tags.push([b"\n", tag.as_bytes()].concat().into());
    Ok(())
}

fn add_host(text: &str, sites: &SiteMap, all: &mut Targets) -> Result<(), String> {
    for place in place::of_host(text, sites)? {
        all.prefixes.push(place.key(""));
        if place::names_no_port(text) {
            all.prefixes.push(place.with_any_port());
        }
    }
    Ok(())
}
