//! What is remembered about keys for a while: that their answers are not kept, so that nobody waits
//! for another's, and that the origin has no answer, so that it is not asked too often. What is purged
//! is forgotten here, too.

use super::by_hash::{self, ByHash};
use crate::rules::key::Key;
use crate::rules::storing::Refusal;
use crate::store::purges::{Fate, Purges};
use crate::upstream::Fault;
use bytes::Bytes;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of all notes; enough for some 30,000 keys where answers have no tags.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Locks that they are spread over.
const SHARDS: usize = 32;
/// What a key, and a note, take besides tags.
const KEY_BYTES: usize = 160;
const NOTE_BYTES: usize = size_of::<Noted>();
/// Different requests for one key.
const VARIANTS_MAX: usize = 16;
/// How long a refusal is remembered.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// How long an origin is left in peace after it failed, doubled with each failure in a row.
const PEACE_MIN: Duration = Duration::from_millis(50);
const PEACE_MAX: Duration = Duration::from_secs(2);

/// The notes.
pub(super) struct Notes {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    purges: Arc<Purges>,
}

/// Whose answer a note is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) key: &'a Key,
    /// What the site adds to it.
    pub(super) additions: &'a [u8],
    /// Requests with credentials get other answers than those without.
    pub(super) has_authorization: bool,
}

/// When the origin was asked, and names that its answer can be purged by.
#[derive(Clone, Default)]
pub(super) struct Source {
    pub(super) asked: u64,
    pub(super) tags: Bytes,
}

#[derive(Clone)]
struct Noted {
    /// Additions and credentials.
    variant: u64,
    source: Source,
    note: Note,
}

impl Noted {
    fn bytes(&self) -> usize {
        NOTE_BYTES + self.source.tags.len()
    }
}

/// What is known about a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// The last answer was not to be kept.
    Refused(Refusal),
    /// The same, for a reason that may not be the next one's: nobody goes by it, it is for people.
    Unkept(Refusal),
    /// It is kept, but has to be confirmed for each client.
    Unshared,
    /// The origin did not answer so many times in a row.
    Failing {
        /// How often.
        in_a_row: u32,
        /// Until when it is not asked again.
        until: Instant,
        /// What went wrong, if it gave no answer at all.
        fault: Option<Fault>,
    },
}

/// Some of the notes: what was noted first is forgotten first.
#[derive(Default)]
struct Shard {
    /// By the hash of a key: the worst that a collision does is to be too careful.
    by_name: ByHash<Page>,
    /// Each name once, with when it was written before it came to its place here.
    order: VecDeque<(u64, Instant)>,
    bytes: usize,
}

/// All notes of one key; none where they were forgotten.
struct Page {
    notes: Vec<Noted>,
    /// Of the newest.
    since: Instant,
}

impl Notes {
    pub(super) fn new(purges: Arc<Purges>) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), purges }
    }

    fn shard(&self, name: u64) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[by_hash::shard(name, SHARDS)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known.
    pub(super) fn about(&self, about: About<'_>) -> Option<Note> {
        self.with_rest(about).map(|(note, _)| note)
    }

    /// The same, and for how long it is still known.
    pub(super) fn with_rest(&self, about: About<'_>) -> Option<(Note, Duration)> {
        let key = about.key.as_bytes();
        let (Noted { source, note, .. }, since) = {
            let name = self.name(key);
            let shard = self.shard(name);
            let page = shard.by_name.get(&name).filter(|page| !page.notes.is_empty())?;
            let variant = self.variant(about);
            let noted = page.notes.iter().find(|noted| noted.variant == variant)?;
            (noted.clone(), page.since)
        };
        // All notes of a key are kept as long as the newest.
        let rest = REMEMBERED_FOR.checked_sub(since.elapsed()).filter(|rest| !rest.is_zero())?;
        let is_good = self.purges.fate(key, &source.tags, source.asked) == Fate::Stays;
        is_good.then_some((note, rest))
    }

    /// An answer was not to be kept, and others will not be either.
    pub(super) fn refused(&self, about: About<'_>, source: Source, refusal: Refusal) {
        // These are about one request, not about what it asks for.
        let is_about_request = matches!(refusal, Refusal::RequestNoStore | Refusal::ProvokedError);
        if is_about_request {
            self.unkept(about, source, refusal);
        } else {
            self.put(about, source, Note::Refused(refusal));
        }
    }

    /// An answer was not kept; the next one may be.
    pub(super) fn unkept(&self, about: About<'_>, source: Source, refusal: Refusal) {
        // What others go by stays.
        if matches!(self.about(about), None | Some(Note::Unkept(_))) {
            self.put(about, source, Note::Unkept(refusal));
        }
    }

    /// An answer was kept that nobody may have without asking.
    pub(super) fn unshared(&self, about: About<'_>, source: Source) {
        self.put(about, source, Note::Unshared);
    }

    /// There was no answer; whether something stored stood in for it.
    pub(super) fn failed(
        &self,
        about: About<'_>,
        asked: u64,
        fault: Option<Fault>,
        has_stand_in: bool,
    ) {
        let before = match self.about(about) {
            Some(Note::Failing { in_a_row, .. }) => in_a_row,
            _ => 0,
        };
        // One failure alone can be an accident; clients that can have something else can wait.
        let peace = match before {
            _ if has_stand_in => PEACE_MAX / 2,
            0 => Duration::ZERO,
            more => PEACE_MIN.saturating_mul(1 << more.min(6)).min(PEACE_MAX),
        };
        let until = Instant::now() + peace;
        let note = Note::Failing { in_a_row: before.saturating_add(1), until, fault };
        self.put(about, Source { asked, tags: Bytes::new() }, note);
    }

    /// There was an answer that is kept.
    pub(super) fn succeeded(&self, about: About<'_>) {
        let name = self.name(about.key.as_bytes());
        let mut shard = self.shard(name);
        if shard.by_name.get(&name).is_none_or(|page| page.notes.is_empty()) {
            return;
        }
        let variants = [false, true]
            .map(|has_authorization| self.variant(About { has_authorization, ..about }));
        shard.change(name, |notes| notes.retain(|noted| !variants.contains(&noted.variant)));
    }

    /// Everything about a key is out of date.
    pub(super) fn forget(&self, key: &[u8]) {
        let name = self.name(key);
        self.shard(name).change(name, Vec::clear);
    }

    /// What is purged already is not noted: later purges find every note that is older.
    fn put(&self, about: About<'_>, source: Source, note: Note) {
        if self.purges.fate(about.key.as_bytes(), &source.tags, source.asked) != Fate::Stays {
            return;
        }
        let (name, variant) = (self.name(about.key.as_bytes()), self.variant(about));
        self.shard(name).put(name, Noted { variant, source, note });
    }

    fn name(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn variant(&self, about: About<'_>) -> u64 {
        self.hasher.hash_one((about.additions, about.has_authorization))
    }
}

impl Shard {
    fn put(&mut self, name: u64, new: Noted) {
        let now = Instant::now();
        self.by_name.entry(name).or_insert_with(|| {
            self.order.push_back((name, now));
            self.bytes += KEY_BYTES;
            Page { notes: Vec::new(), since: now }
        });
        self.change(name, |notes| {
            notes.retain(|noted| noted.variant != new.variant);
            notes.truncate(VARIANTS_MAX - 1);
            notes.insert(0, new);
        });
        if let Some(page) = self.by_name.get_mut(&name) {
            page.since = now;
        }
        self.shrink(now);
    }

    fn change(&mut self, name: u64, change: impl FnOnce(&mut Vec<Noted>)) {
        let Some(page) = self.by_name.get_mut(&name) else { return };
        let bytes = |page: &Page| page.notes.iter().map(Noted::bytes).sum::<usize>();
        self.bytes -= bytes(page);
        change(&mut page.notes);
        self.bytes += bytes(page);
    }

    /// Forgets what is older than anybody wants to know, and the oldest of what is too much. What was
    /// written again meanwhile goes to the end instead.
    fn shrink(&mut self, now: Instant) {
        while let Some(&(name, before)) = self.order.front() {
            let is_over = now.duration_since(before) >= REMEMBERED_FOR;
            if !is_over && self.bytes <= BYTES_MAX / SHARDS {
                return;
            }
            self.order.pop_front();
            let since = self.by_name.get(&name).filter(|page| !page.notes.is_empty());
            match since.map(|page| page.since).filter(|since| *since > before) {
                Some(since) => self.order.push_back((name, since)),
                None => {
                    self.change(name, Vec::clear);
                    self.by_name.remove(&name);
                    self.bytes -= KEY_BYTES;
                }
            }
        }
    }
}
