//! What is remembered about keys for a while: that their answers are not kept, so that nobody waits
//! for another's, and that the origin has no answer, so that it is not asked too often. What is purged
//! is forgotten here, too.

use crate::rules::key::Key;
use crate::rules::storing::Refusal;
use crate::store::purges::{Fate, Purges};
use crate::upstream::Fault;
use bytes::Bytes;
use moka::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of all notes; enough for some 30,000 keys where answers have no tags.
const BYTES_MAX: u64 = 8 * 1024 * 1024;
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
    /// By the hash of a key: the worst that a collision does is to be too careful.
    notes: Cache<u64, Arc<[Noted]>>,
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
    /// When it was written.
    since: Instant,
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

impl Notes {
    pub(super) fn new(purges: Arc<Purges>) -> Self {
        let weigh = |_: &u64, notes: &Arc<[Noted]>| {
            let tags: usize = notes.iter().map(|noted| NOTE_BYTES + noted.source.tags.len()).sum();
            (KEY_BYTES + tags) as u32
        };
        let notes = Cache::builder().max_capacity(BYTES_MAX).weigher(weigh);
        let notes = notes.time_to_live(REMEMBERED_FOR).build();
        Self { notes, hasher: RandomState::new(), purges }
    }

    /// What is known.
    pub(super) fn about(&self, about: About<'_>) -> Option<Note> {
        self.with_rest(about).map(|(note, _)| note)
    }

    /// The same, and for how long it is still known.
    pub(super) fn with_rest(&self, about: About<'_>) -> Option<(Note, Duration)> {
        let all = self.notes.get(&self.name(about.key.as_bytes()))?;
        let variant = self.variant(about);
        let Noted { source, note, .. } = all.iter().find(|noted| noted.variant == variant)?;
        let key = about.key.as_bytes();
        let is_good = self.purges.fate(key, &source.tags, source.asked) == Fate::Stays;
        // All notes of a key are kept as long as the newest.
        let newest = all.iter().map(|noted| noted.since).max()?;
        is_good.then(|| (*note, REMEMBERED_FOR.saturating_sub(newest.elapsed())))
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
        let Some(all) = self.notes.get(&name) else { return };
        let variants = [false, true]
            .map(|has_authorization| self.variant(About { has_authorization, ..about }));
        let others = all.iter().filter(|noted| !variants.contains(&noted.variant));
        let others: Arc<[Noted]> = others.cloned().collect();
        if others.is_empty() {
            self.notes.invalidate(&name);
        } else if others.len() < all.len() {
            self.notes.insert(name, others);
        }
    }

    /// Everything about a key is out of date.
    pub(super) fn forget(&self, key: &[u8]) {
        self.notes.invalidate(&self.name(key));
    }

    /// What is purged already is not noted: later purges find every note that is older.
    fn put(&self, about: About<'_>, source: Source, note: Note) {
        if self.purges.fate(about.key.as_bytes(), &source.tags, source.asked) != Fate::Stays {
            return;
        }
        let (name, variant) = (self.name(about.key.as_bytes()), self.variant(about));
        let all = self.notes.get(&name);
        let others = all.iter().flat_map(|all| all.iter());
        let others = others.filter(|noted| noted.variant != variant).take(VARIANTS_MAX - 1);
        let since = Instant::now();
        let new = std::iter::once(Noted { variant, source, note, since });
        self.notes.insert(name, new.chain(others.cloned()).collect());
    }

    fn name(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn variant(&self, about: About<'_>) -> u64 {
        self.hasher.hash_one((about.additions, about.has_authorization))
    }
}
