//! What several origins have to do with each other: parents and fallbacks, which never lead back to
//! where they came from.

use super::ReadOrigin;
use crate::config::file::unknown_origin;
use crate::config::section::{Found, Report};
use crate::config::{Balance, Fallback, Http2, Origin};
use std::collections::VecDeque;
use std::sync::Arc;

/// Positions of the origins that one of them names.
struct Links {
    parent: Option<usize>,
    fallback: Option<usize>,
}

/// Puts those together that name each other. `None` if one of them could not be read.
pub(in crate::config::file) fn joined(
    report: &Report<'_>,
    read: Vec<ReadOrigin>,
) -> Option<Vec<Arc<Origin>>> {
    refuse_repeated_names(report, &read);
    let links: Vec<Links> = (0..read.len()).map(|own| links(report, &read, own)).collect();
    refuse_circles(report, &read, &links);
    let is_parent = |position| links.iter().any(|links| links.parent == Some(position));
    for (position, read) in read.iter().enumerate() {
        check_fallback(report, read);
        check_parents(report, read, is_parent(position));
    }
    let with_links = |(position, read): (usize, ReadOrigin)| {
        let origin = read.origin?;
        let is_parent = is_parent(position);
        Some(Arc::new(Origin {
            // Each object has one home among parents.
            balance: match read.balance {
                None if is_parent => Balance::Hash,
                _ => origin.balance,
            },
            parent: links[position].parent,
            is_parent,
            admin: read.admin.map_or_else(Vec::new, Found::values),
            fallback: links[position]
                .fallback
                .map(|origin| Fallback { origin, statuses: read.fallback_statuses }),
            ..origin
        }))
    };
    read.into_iter().enumerate().map(with_links).collect()
}

fn refuse_repeated_names(report: &Report<'_>, origins: &[ReadOrigin]) {
    let known = || origins.iter().filter_map(|read| read.name.as_ref());
    for (position, name) in known().enumerate() {
        if known().take(position).any(|before| before.value == name.value) {
            let message = format!("another [[origin]] is already named \"{}\"", name.value);
            report.refuse(name, message);
        }
    }
}

fn links(report: &Report<'_>, read: &[ReadOrigin], own: usize) -> Links {
    let names = || read.iter().map(|read| read.name.as_ref().map(|name| name.value.as_str()));
    let link = |found: &Option<Found<String>>, what: &str| {
        let found = found.as_ref()?;
        let other = names().position(|name| name == Some(found.value.as_str()));
        if other.is_none() {
            let others = names().enumerate().filter(|(position, _)| *position != own);
            let others = others.filter_map(|(_, name)| name);
            report.refuse(found, unknown_origin(&found.value, others));
        }
        if other == Some(own) {
            report.refuse(found, format!("an origin cannot be its own {what}"));
        }
        other.filter(|other| *other != own)
    };
    Links {
        parent: link(&read[own].parent, "parent"),
        fallback: link(&read[own].fallback, "fallback"),
    }
}

/// A circle is named once, where the first of its origins starts it.
fn refuse_circles(report: &Report<'_>, read: &[ReadOrigin], links: &[Links]) {
    for (start, Links { parent, fallback }) in links.iter().enumerate() {
        let ways = [(&read[start].parent, *parent), (&read[start].fallback, *fallback)];
        for (found, next) in ways {
            let Some((found, next)) = found.as_ref().zip(next) else { continue };
            if let Some(circle) = way_back(links, start, next) {
                let names = circle.iter().filter_map(|position| read[*position].name.as_ref());
                let names: Vec<String> = names.map(|name| format!("\"{}\"", name.value)).collect();
                report.refuse(found, format!("goes round in a circle: {}", names.join(" -> ")));
            }
        }
    }
}

/// The shortest way that starts with one step to `next` and comes back, past later origins only.
fn way_back(links: &[Links], start: usize, next: usize) -> Option<Vec<usize>> {
    let mut came_from = vec![None; links.len()];
    let mut to_visit = VecDeque::new();
    let mut step = |from: usize, to: usize, to_visit: &mut VecDeque<usize>| {
        if to >= start && came_from[to].is_none() {
            came_from[to] = Some(from);
            to_visit.push_back(to);
        }
    };
    step(start, next, &mut to_visit);
    loop {
        let here = to_visit.pop_front()?;
        if here == start {
            break;
        }
        for to in [links[here].parent, links[here].fallback].into_iter().flatten() {
            step(here, to, &mut to_visit);
        }
    }
    let mut way = vec![start];
    while let Some(before) = came_from[way[way.len() - 1]] {
        way.push(before);
        if before == start {
            break;
        }
    }
    way.reverse();
    Some(way)
}

fn check_fallback(report: &Report<'_>, read: &ReadOrigin) {
    if let (Some(statuses), None) = (&read.fallback_statuses_said, &read.fallback) {
        report.warn(statuses, "does nothing without `fallback`");
    }
}

fn check_parents(report: &Report<'_>, read: &ReadOrigin, is_parent: bool) {
    if !is_parent {
        if let Some(admin) = &read.admin {
            report.warn(admin, "does nothing: no [[origin]] has this one for its `parent`");
        }
        return;
    }
    if read.admin.is_none() {
        report.warn(&read.place, "purges do not reach these parents: `admin` is missing");
    }
    if let Some(balance) = read.balance.as_ref().filter(|found| found.value != Balance::Hash) {
        report.warn(balance, "each parent fetches every object; with \"hash\" each has one home");
    }
    if let Some(http2) = read.http2.as_ref().filter(|found| found.value == Http2::Always) {
        let mut servers = read.origin.iter().flat_map(|origin| &origin.servers);
        if servers.any(|server| !server.tls) {
            report.warn(http2, "Brim's plain listeners speak HTTP/1.1 only");
        }
    }
}
