//! What is stored, for operators: gone through one by one, at the pace of the disk, and only when
//! somebody asks.

use super::Engine;
use super::object::{Object, Variants};
use super::purge::scopes;
use crate::rules::purging::Targets;
use crate::store::Value;
use crate::store::purges::{Fate, Purges};
use serde::Serialize;
use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Nobody waits longer for a list.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// URLs in a preview.
const SAMPLE_MAX: usize = 20;

/// What a purge would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// Objects that it is about.
    pub objects: u64,
    /// What they weigh.
    pub bytes: u64,
    /// Some of their URLs.
    pub sample: Vec<String>,
    /// Everything was looked at; if not, there may be more.
    pub complete: bool,
}

/// A stored object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Its URL.
    pub url: String,
    /// `memory`, `disk` or `both`.
    pub tier: &'static str,
    /// Its status.
    pub status: u16,
    /// Length of its content.
    pub bytes: u64,
    /// In seconds.
    pub age: u64,
    /// Seconds until its time is over, negative after it.
    pub ttl: i64,
    /// Names that it can be purged by.
    pub tags: Vec<String>,
}

impl Engine {
    /// What a purge would take away now.
    pub async fn would_purge(self: &Arc<Self>, targets: &Targets) -> Preview {
        let (engine, meant) = (self.clone(), Meant::of(targets));
        let listed = tokio::task::spawn_blocking(move || {
            let mut preview = Preview::default();
            preview.complete = engine.each_object(&meant, |key, object, _| {
                preview.objects += 1;
                preview.bytes += object.stored_bytes();
                let url = url(key);
                if preview.sample.len() < SAMPLE_MAX && preview.sample.last() != Some(&url) {
                    preview.sample.push(url);
                }
                true
            });
            preview
        });
        listed.await.unwrap_or_default()
    }

    /// Objects that are stored: those that are meant, or all. At most so many, and whether that is
    /// all of them.
    pub async fn held(
        self: &Arc<Self>,
        meant: Option<&Targets>,
        objects_max: usize,
    ) -> (Vec<Held>, bool) {
        let (engine, meant) = (self.clone(), meant.map_or(Meant::All, Meant::of));
        let listed = tokio::task::spawn_blocking(move || {
            let (mut held, now) = (Vec::new(), SystemTime::now());
            let is_all = engine.each_object(&meant, |key, object, tier| {
                if held.len() == objects_max {
                    return false;
                }
                held.push(Held::new(key, object, tier, now));
                true
            });
            (held, is_all)
        });
        listed.await.unwrap_or_default()
    }

    /// Shows what is meant and not purged already, until `see` has enough. Whether that was all.
    fn each_object(
        &self,
        meant: &Meant,
        mut see: impl FnMut(&[u8], &Object, &'static str) -> bool,
    ) -> bool {
        let until = Instant::now() + LISTED_WITHIN;
        let goes_on = Cell::new(true);
        let mut see_all = |key: &[u8], variants: &Variants, tier| {
            goes_on.set(goes_on.get() && Instant::now() < until);
            for object in &variants.objects {
                let is_meant = meant.is(key, object) && !self.is_dead(key, variants, object);
                goes_on.set(goes_on.get() && (!is_meant || see(key, object, tier)));
            }
            goes_on.get()
        };
        let memory = self.store.memory();
        memory.each(|key, variants| {
            let tier = if self.store.has_on_disk(key) { "both" } else { "memory" };
            see_all(key, &variants, tier)
        });
        let Some(disk) = self.store.disk().filter(|_| goes_on.get()) else {
            return goes_on.get();
        };
        let has_seen_all = disk.each_entry(|content, key, _| {
            if memory.has(key) {
                return Instant::now() < until;
            }
            Variants::of_disk(&content, disk).is_none_or(|found| see_all(key, &found, "disk"))
        });
        has_seen_all && goes_on.get()
    }
}

/// What somebody asks about.
enum Meant {
    All,
    These(Purges),
}

impl Meant {
    fn of(targets: &Targets) -> Self {
        let purges = Purges::default();
        purges.note(&scopes(targets, true));
        Self::These(purges)
    }

    fn is(&self, key: &[u8], object: &Object) -> bool {
        match self {
            Self::All => true,
            Self::These(purges) => purges.fate(key, &object.head.extras().tags, 0) != Fate::Stays,
        }
    }
}

impl Held {
    fn new(key: &[u8], object: &Object, tier: &'static str, now: SystemTime) -> Self {
        let head = &object.head;
        let terms = head.kept_terms();
        let tags = head.extras().tags.split(|byte| *byte == b'\n').filter(|tag| !tag.is_empty());
        Self {
            url: url(key),
            tier,
            status: head.status,
            bytes: object.body.total(),
            age: terms.map_or(0, |terms| terms.age(now).as_secs()),
            ttl: terms.map_or(0, |terms| terms.seconds_left(now)),
            tags: tags.map(|tag| String::from_utf8_lossy(tag).into_owned()).collect(),
        }
    }
}

/// A URL that has this key. The scheme is in no key.
fn url(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    let mut parts = text.splitn(3, '\n').skip(1);
    let (host, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("http://{host}{target}")
}
