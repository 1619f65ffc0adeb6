//! `--watch`: files that change are purged, under the paths that they are served at.
//!
//! Purged is at least what changed. Where that cannot be told (too much at one time, a name that is no
//! text, more hosts than are remembered), everything is.

mod folders;

use super::super::door::Key;
use super::screen::{Screen, Tap};
use crate::rules::purging::{ITEMS_MAX, Wish};
use folders::{Changed, Folders};
use http::Method;
use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Nothing else has changed for so long: what a program does to save one file is one change.
const QUIET: Duration = Duration::from_millis(20);
/// But nobody waits longer for who never stops.
const PATIENCE: Duration = Duration::from_millis(200);
/// Of more, none is named.
const NAMED_MAX: usize = 3;

/// A folder, and the path at which it is served.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Watched {
    folder: PathBuf,
    /// Begins and ends with a slash.
    prefix: String,
}

/// `DIR` or `DIR=/path`.
impl FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (folder, prefix) = match text.rsplit_once("=/") {
            Some((folder, prefix)) => (folder, format!("/{}", prefix.trim_start_matches('/'))),
            None => (text, "/".to_owned()),
        };
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'*');
        if !prefix.bytes().all(is_plain) {
            return Err("expected a folder, and behind `=` the path at which it is served".into());
        }
        let folder = Path::new(folder).canonicalize().map_err(|error| error.to_string())?;
        if !folder.is_dir() {
            return Err("it is not a folder".to_owned());
        }
        let slash = if prefix.ends_with('/') { "" } else { "/" };
        Ok(Self { folder, prefix: format!("{prefix}{slash}") })
    }
}

/// Watches for as long as the process lives.
pub(super) fn start(
    watched: &[Watched],
    edge: Key,
    tap: Arc<Tap>,
    screen: Screen,
) -> io::Result<()> {
    if watched.is_empty() {
        return Ok(());
    }
    let mut folders = Folders::watch(watched.iter().map(|one| one.folder.as_path()))?;
    let purger = Purger { watched: watched.to_vec(), edge, tap, screen };
    let thread = std::thread::Builder::new().name("watch".to_owned());
    thread.spawn(move || {
        while let Some(changed) = folders.next(QUIET, PATIENCE) {
            purger.purge(&changed);
        }
    })?;
    Ok(())
}

struct Purger {
    watched: Vec<Watched>,
    edge: Key,
    tap: Arc<Tap>,
    screen: Screen,
}

/// What is to be purged.
#[derive(Debug, Default, PartialEq)]
struct Paths {
    /// Of URLs, each with any query.
    exact: BTreeSet<String>,
    /// Beginnings of them.
    below: BTreeSet<String>,
    /// Nobody knows.
    is_everything: bool,
}

impl Purger {
    fn purge(&self, changed: &Changed) {
        let paths = paths(&self.watched, changed);
        let is_nothing = paths.exact.is_empty() && !paths.is_everything;
        if is_nothing {
            return;
        }
        let wishes = wishes(&paths, self.tap.hosts());
        let purged = wishes.iter().try_fold(0, |objects, wish| {
            let body = serde_json::to_string(wish).map_err(|error| error.to_string())?;
            let answer = self.edge.ask(&Method::POST, "/purge", Some(&body))?;
            let receipt: serde_json::Value =
                serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
            match (answer.status, receipt["objects"].as_u64()) {
                (200, Some(purged)) => Ok(objects + purged),
                (status, _) => Err(format!("the edge answers a purge with {status}")),
            }
        });
        let what = told(&paths);
        self.screen.event(
            "CHANGED",
            &match purged {
                Ok(1) => format!("{what}: 1 object purged"),
                Ok(objects) => format!("{what}: {objects} objects purged"),
                Err(why) => format!("{what}: NOT purged: {why}"),
            },
        );
    }
}

fn told(paths: &Paths) -> String {
    if paths.is_everything {
        return "more than can be told apart, so everything".to_owned();
    }
    let named: Vec<&str> = paths.exact.iter().take(NAMED_MAX).map(String::as_str).collect();
    match paths.exact.len().saturating_sub(NAMED_MAX) {
        0 => named.join(" "),
        more => format!("{} and {more} more", named.join(" ")),
    }
}

/// In as few purges as may be.
fn wishes(paths: &Paths, hosts: Option<Vec<String>>) -> Vec<Wish> {
    let hosts = match hosts {
        Some(hosts) if !paths.is_everything => hosts,
        _ => return vec![Wish { all: true, ..Wish::default() }],
    };
    let all = |paths: &BTreeSet<String>| -> Vec<String> {
        let of = |host: &String| -> Vec<String> {
            paths.iter().map(|path| format!("http://{host}{path}")).collect()
        };
        hosts.iter().flat_map(of).collect()
    };
    let urls = all(&paths.exact);
    let urls = urls.chunks(ITEMS_MAX).map(|urls| Wish {
        urls: urls.to_vec(),
        all_queries: true,
        ..Wish::default()
    });
    let prefixes = all(&paths.below);
    let prefixes = prefixes
        .chunks(ITEMS_MAX)
        .map(|prefixes| Wish { prefixes: prefixes.to_vec(), ..Wish::default() });
    urls.chain(prefixes).collect()
}

fn paths(watched: &[Watched], changed: &Changed) -> Paths {
    let mut paths = Paths { is_everything: changed.is_everything, ..Paths::default() };
    for (path, may_be_folder) in &changed.paths {
        for one in watched {
            let Ok(inside) = path.strip_prefix(&one.folder) else { continue };
            let Some(url) = url_path(&one.prefix, inside) else {
                paths.is_everything = true;
                continue;
            };
            if *may_be_folder {
                paths.below.insert(format!("{}/", url.trim_end_matches('/')));
            }
            // As most servers have it, pages go by shorter names, too.
            if let Some(folder) = url.strip_suffix("/index.html") {
                paths.exact.insert(format!("{folder}/"));
                if !folder.is_empty() {
                    paths.exact.insert(folder.to_owned());
                }
            } else if let Some(page) = url.strip_suffix(".html") {
                paths.exact.insert(page.to_owned());
            }
            paths.exact.insert(url);
        }
    }
    paths
}

/// As browsers ask for it; `None` for what is no text.
fn url_path(prefix: &str, inside: &Path) -> Option<String> {
    let mut url = url::Url::parse("http://any").ok()?;
    url.set_path(prefix);
    let mut segments = url.path_segments_mut().ok()?;
    segments.pop_if_empty();
    for component in inside.components() {
        let Component::Normal(name) = component else { return None };
        segments.push(name.to_str()?);
    }
    drop(segments);
    Some(url.path().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn of(prefix: &str, changed: &[(&str, bool)]) -> Paths {
        let watched = [Watched { folder: "/site".into(), prefix: prefix.to_owned() }];
        let paths = changed.iter().map(|(path, is)| (PathBuf::from(path), *is)).collect();
        paths_of(&watched, Changed { paths, is_everything: false })
    }

    fn paths_of(watched: &[Watched], changed: Changed) -> Paths {
        super::paths(watched, &changed)
    }

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn files_are_purged_under_every_path_that_servers_give_them() {
        for (prefix, file, urls) in [
            ("/", "/site/assets/a.css", &["/assets/a.css"][..]),
            ("/", "/site/index.html", &["/", "/index.html"]),
            ("/", "/site/docs/index.html", &["/docs/", "/docs", "/docs/index.html"]),
            ("/", "/site/about.html", &["/about", "/about.html"]),
            ("/static/", "/site/a b\u{e9}?.js", &["/static/a%20b%C3%A9%3F.js"]),
            ("/", "/elsewhere/a.css", &[]),
        ] {
            assert_eq!(of(prefix, &[(file, false)]).exact, set(urls), "{file}");
        }
    }

    #[test]
    fn what_was_a_folder_is_purged_with_all_that_was_in_it() {
        let paths = of("/x/", &[("/site/old", true)]);
        assert_eq!((paths.exact, paths.below), (set(&["/x/old"]), set(&["/x/old/"])));
    }

    #[test]
    fn what_cannot_be_told_purges_everything() {
        let name = std::ffi::OsStr::from_bytes(b"/site/\xff.js");
        let watched = [Watched { folder: "/site".into(), prefix: "/".to_owned() }];
        let changed = Changed { paths: [(name.into(), false)].into(), is_everything: false };
        let paths = paths_of(&watched, changed);
        assert!(paths.is_everything);
        let everything = vec![Wish { all: true, ..Wish::default() }];
        assert_eq!(wishes(&paths, Some(vec!["a:1".to_owned()])), everything);
        assert_eq!(wishes(&of("/", &[("/site/a", false)]), None), everything);
    }

    #[test]
    fn every_host_is_purged() {
        let wishes =
            wishes(&of("/", &[("/site/a", false)]), Some(vec!["a:1".into(), "b:2".into()]));
        assert_eq!(wishes[0].urls, ["http://a:1/a", "http://b:2/a"]);
        assert!(wishes[0].all_queries && wishes.len() == 1, "{wishes:?}");
    }
}
