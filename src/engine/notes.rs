//! What is remembered about keys for a while: that their answers are not kept, so that nobody waits
//! for another's, and that the origin has no answer, so that it is not asked too often.

use crate::rules::key::Key;
use crate::rules::storing::Refusal;
use crate::upstream::Fault;
use moka::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Keys remembered.
const NOTES_MAX: u64 = 32 * 1024;
/// How long a refusal is remembered.
const REFUSAL_LASTS: Duration = Duration::from_secs(60);
/// How long an origin is left in peace after it failed, doubled with each failure in a row.
const PEACE_MIN: Duration = Duration::from_millis(50);
const PEACE_MAX: Duration = Duration::from_secs(2);

/// The notes.
pub(super) struct Notes {
    /// By the hash of a key: the worst that a collision does is to be too careful.
    notes: Cache<u64, Note>,
    hasher: RandomState,
}

/// What is known about a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Note {
    /// The last answer was not to be kept.
    Refused,
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
    pub(super) fn new() -> Self {
        let notes = Cache::builder().max_capacity(NOTES_MAX).time_to_live(REFUSAL_LASTS).build();
        Self { notes, hasher: RandomState::new() }
    }

    /// What is known. Requests with credentials get other answers than those without.
    pub(super) fn about(
        &self,
        key: &Key,
        additions: &[u8],
        has_authorization: bool,
    ) -> Option<Note> {
        self.notes.get(&self.name(key, additions, has_authorization))
    }

    /// An answer was not to be kept, and others will not be either.
    pub(super) fn refused(
        &self,
        key: &Key,
        additions: &[u8],
        has_authorization: bool,
        refusal: Refusal,
    ) {
        // These are about one request, not about what it asks for.
        let is_about_request = matches!(refusal, Refusal::RequestNoStore | Refusal::ProvokedError);
        if !is_about_request {
            let name = self.name(key, additions, has_authorization);
            self.notes.insert(name, Note::Refused);
        }
    }

    /// An answer was kept that nobody may have without asking.
    pub(super) fn unshared(&self, key: &Key, additions: &[u8], has_authorization: bool) {
        self.notes.insert(self.name(key, additions, has_authorization), Note::Unshared);
    }

    /// There was no answer; whether something stored stood in for it.
    pub(super) fn failed(
        &self,
        key: &Key,
        additions: &[u8],
        fault: Option<Fault>,
        has_stand_in: bool,
    ) {
        let name = self.name(key, additions, false);
        let before = match self.notes.get(&name) {
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
        self.notes.insert(name, note);
    }

    /// There was an answer that is kept.
    pub(super) fn succeeded(&self, key: &Key, additions: &[u8]) {
        for has_authorization in [false, true] {
            self.notes.invalidate(&self.name(key, additions, has_authorization));
        }
    }

    fn name(&self, key: &Key, additions: &[u8], has_authorization: bool) -> u64 {
        self.hasher.hash_one((key.as_bytes(), additions, has_authorization))
    }
}
