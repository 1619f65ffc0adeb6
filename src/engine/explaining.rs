//! What a request would get at this moment, and everything that is known about its key, for people:
//! nothing is asked for, fetched, taken out or counted. It goes by the decision that a request gets.
//! (To look at what memory has counts as one use there; of the disk's it does not.)

use super::compare::Left;
use super::decision::{Decision, Errand};
use super::fill::Unprobed;
use super::in_flight::{Flight, Wanted};
use super::notes::Note;
use super::object::{Head, Object, Variants};
use super::{Engine, InStore, Probed, Request};
use crate::outcome::{Forward, Outcome};
use crate::rules::storing::Refusal;
use crate::store::purges::Fate;
use crate::upstream::Fault;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Of a content that lies in chunks, so many are looked for.
const CHUNKS_MAX: u32 = 64 * 1024;

/// What a request would get.
pub enum Prospect {
    /// A stored object, and how it is used.
    Stored(Arc<Object>, Outcome),
    /// The client wanted a stored answer or none.
    OnlyIfCached,
    /// The origin failed a moment ago and is left in peace.
    Failed(Fault),
    /// There are as many fills as there may be.
    TooManyFills,
    /// The origin is asked.
    Fetch(Fetch),
}

/// How the origin is asked.
pub struct Fetch {
    /// Why, in one word.
    pub forward: Forward,
    /// With the client's own conditions, for it alone.
    pub is_private: bool,
    /// What it is asked to confirm.
    pub stored: Option<Arc<Object>>,
    /// Only the head is asked for.
    pub is_head: bool,
    /// Somebody else has asked already, and this one waits with them.
    pub joins: bool,
}

/// What is known about a key.
pub struct Explained {
    /// What the request would get.
    pub prospect: Prospect,
    /// The newest first.
    pub stored: Vec<Seen>,
    /// Who is fetching what.
    pub flights: Vec<Flight>,
    /// What is remembered, and how long.
    pub remembered: Option<(Remembered, Duration)>,
}

/// A stored object.
pub struct Seen {
    /// Itself.
    pub object: Arc<Object>,
    /// It is the one for this request.
    pub is_chosen: bool,
    /// `memory`, `disk` or `both`.
    pub tier: &'static str,
    /// How much of its content is here; `false`: at least.
    pub here_bytes: (u64, bool),
    /// When a soft purge made it stale, as far as that is still known.
    pub made_stale: Option<SystemTime>,
}

/// What is remembered about a key.
#[derive(Clone, Copy, Debug)]
pub enum Remembered {
    /// The last answer was not to be kept: nobody waits for the next one's.
    Refused(Refusal),
    /// The last answer was not kept.
    Unkept(Refusal),
    /// It has to be confirmed for each client.
    Unshared,
    /// The origin did not answer.
    Failing {
        /// So many times in a row.
        in_a_row: u32,
        /// It is left in peace for so long.
        peace: Duration,
        /// What went wrong, if it gave no answer at all.
        fault: Option<Fault>,
    },
}

impl Engine {
    /// Looks, and decides as `lookup` does.
    pub async fn explain(self: &Arc<Self>, request: &Request<'_>) -> Explained {
        let key = request.key.as_bytes();
        let found = self.look(key).await;
        let variants = found.as_ref().map(|(found, _)| &found.value);
        let prospect = match self.decide(request, variants.map(|variants| &**variants)) {
            Decision::Stored(object, outcome) => Prospect::Stored(object, outcome),
            Decision::OnlyIfCached => Prospect::OnlyIfCached,
            Decision::Failed(fault) => Prospect::Failed(fault),
            Decision::Fetch(reason) => {
                let Errand { wanted, can_join, .. } = self.errand(request, &reason, false);
                let is_head = wanted == Wanted::Head;
                let need = self.need(request, wanted, found.as_ref().map(|(found, _)| found));
                let fits = |head: &Head| request.is_answered_by(head, false, request.now);
                let fields = &request.head.fields;
                let joins = can_join && self.in_flight.wait(key, &need, fields, fits).is_some();
                if !joins && self.fills.available_permits() == 0 {
                    Prospect::TooManyFills
                } else {
                    let (forward, is_private) = (reason.forward, reason.is_private);
                    Prospect::Fetch(Fetch {
                        forward,
                        is_private,
                        stored: reason.stored,
                        is_head,
                        joins,
                    })
                }
            }
        };
        let stored = found.iter().flat_map(|(found, on_disk)| {
            let chosen = found.value.select(&request.head.fields, &request.additions);
            let seen = move |object: &Arc<Object>| Seen {
                object: object.clone(),
                is_chosen: chosen.is_some_and(|chosen| Arc::ptr_eq(chosen, object)),
                tier: tier(object, found.place.is_some(), *on_disk),
                here_bytes: object.body.here(CHUNKS_MAX),
                made_stale: self.made_stale(key, object),
            };
            found.value.objects.iter().map(seen)
        });
        Explained {
            stored: stored.collect(),
            prospect,
            flights: self.in_flight.about(key),
            remembered: self.remembered(request),
        }
    }

    /// Asks the origin once, past what is stored here and at parents, stores nothing, and judges the
    /// answer as a fill does.
    pub async fn probe(
        self: &Arc<Self>,
        request: &Request<'_>,
        within: Duration,
    ) -> Result<Probed, Unprobed> {
        let Ok(place) = self.fills.clone().try_acquire_owned() else {
            return Err(Unprobed::TooManyFills);
        };
        let task = self.lone_task(request, place);
        tokio::time::timeout(within, task.probe()).await.unwrap_or(Err(Unprobed::Overtime))
    }

    /// What is stored for a key and not purged, and whether the disk has it; nothing is moved, or
    /// taken out.
    async fn look(&self, key: &[u8]) -> Option<(InStore<Variants>, bool)> {
        let found = match self.store.get(key).and_then(|found| self.unpurged(key, found)) {
            Some(found) => found,
            None => {
                let found = self.store.look(key).await?;
                self.unpurged(key, found)?
            }
        };
        Some((found, self.store.has_on_disk(key)))
    }

    fn unpurged(&self, key: &[u8], found: InStore<Variants>) -> Option<InStore<Variants>> {
        match self.compare(key, &found.value) {
            Left::Same => Some(found),
            Left::Some(left, _) => Some(InStore { value: Arc::new(left), ..found }),
            Left::Nothing(_) => None,
        }
    }

    fn made_stale(&self, key: &[u8], object: &Object) -> Option<SystemTime> {
        match self.store.purges().fate(key, &object.head.extras().tags, object.asked) {
            Fate::Stale(since, _) => Some(since),
            Fate::Stays | Fate::Gone(_) => object.head.extras().made_stale,
        }
    }

    fn remembered(&self, request: &Request<'_>) -> Option<(Remembered, Duration)> {
        let about = request.about(request.has_authorization());
        // That an origin fails is remembered for all.
        let (note, rest) = self.notes.with_rest(about).or(self
            .notes
            .with_rest(request.about(false))
            .filter(|(note, _)| matches!(note, Note::Failing { .. })))?;
        let remembered = match note {
            Note::Refused(refusal) => Remembered::Refused(refusal),
            Note::Unkept(refusal) => Remembered::Unkept(refusal),
            Note::Unshared => Remembered::Unshared,
            Note::Failing { in_a_row, until, fault } => {
                let peace = until.saturating_duration_since(Instant::now());
                Remembered::Failing { in_a_row, peace, fault }
            }
        };
        Some((remembered, rest))
    }
}

fn tier(object: &Object, is_read: bool, on_disk: bool) -> &'static str {
    match (is_read || !object.body.is_in_memory(), on_disk) {
        (true, _) => "disk",
        (false, true) => "both",
        (false, false) => "memory",
    }
}
