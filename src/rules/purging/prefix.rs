//! Beginnings of URLs, and how the keys begin of all URLs that begin like that.
//!
//! Keys spell escapes in one way, except where a path has a broken one: then the whole path is as it
//! came. What breaks it may come behind the prefix, so both spellings of it are meant.

use super::place::{self, Place};
use super::{Targets, url};
use crate::config::Query;
use crate::rules::site::SiteMap;

const NO_QUERY: &str = "its site does not keep queries as they come (site.key), so \
                                      that a prefix ends before the \"?\"";

/// Adds what a beginning of a URL means.
pub(super) fn add(text: &str, sites: &SiteMap, all: &mut Targets) -> Result<(), String> {
    if text.contains('#') {
        return Err("a prefix with a fragment is about nothing: clients do not send it".to_owned());
    }
    let url = url::split(text)?;
    // Before the host is judged, of which a `*` can be a part.
    needs_no_star(text)?;
    let target = url::as_sent(url.rest).ok_or("expected a path behind the host")?;
    for place in place::of_url(url.authority, url.scheme_port, sites)? {
        add_of(&place, &target, all)?;
    }
    Ok(())
}

/// The same for the beginning of a target at one place.
pub(super) fn add_of(place: &Place<'_>, target: &str, all: &mut Targets) -> Result<(), String> {
    needs_no_star(target)?;
    let has_query = target.contains('?');
    let rules = &place.site.key;
    if has_query && (rules.query != Query::All || rules.sort_query) {
        return Err(NO_QUERY.to_owned());
    }
    if !has_query && ends_within_escape(target) {
        return Err("it ends within an escape: `%` and two digits".to_owned());
    }
    all.prefixes.push([&place.key(""), target.as_bytes()].concat().into());
    all.prefixes.push(place.key(target));
    Ok(())
}

fn needs_no_star(text: &str) -> Result<(), String> {
    let begins = text.strip_suffix('*');
    begins.map_or(Ok(()), |begins| Err(format!("a prefix needs no \"*\": write \"{begins}\"")))
}

/// Such a beginning is one of nearly every URL: `%4` could become `%41`, which is an `A`. Behind a
/// broken escape there are no others.
fn ends_within_escape(path: &str) -> bool {
    let Some((before, last)) = path.rsplit_once('%') else { return false };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_whole = |rest: &str| rest.get(..2).is_some_and(is_digits);
    last.len() < 2 && is_digits(last) && before.split('%').skip(1).all(is_whole)
}
