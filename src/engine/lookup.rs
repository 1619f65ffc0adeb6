//! Which of the answers a request gets, and why: what `decision` says is done here.

use super::arrival::AHEAD_BYTES_MAX;
use super::decision::{Decision, Errand, Reason};
use super::fill::{Rest, Task};
use super::in_flight::{Joined, Need, Ticket, Wanted};
use super::notes::Note;
use super::object::{Head, Object, Variants};
use super::request::Request;
use super::{Engine, InStore};
use crate::outcome::{Forward, Outcome, Staleness, Tier};
use crate::rules::conditional;
use crate::rules::range::{self, Resolved};
use crate::rules::signed;
use crate::rules::vary::Variant;
use crate::upstream::Fault;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// How often a store is asked again that was just changed.
const ROUNDS_MAX: usize = 3;

/// What a refresh does not take over from the request that it is begun at.
const OF_ONE_CLIENT: [&str; 3] = ["cache-control", "pragma", "cdn-loop"];

/// What a request gets.
pub enum Found {
    /// A stored object that has what is asked for, how it is used, and where it was found.
    Stored(Arc<Object>, Outcome, Tier),
    /// A fetch to wait for, why it is needed, and what to ask it for.
    Wait(Ticket, Forward),
    /// The origin failed a moment ago and is left in peace.
    Failed(Fault),
    /// The client wanted a stored answer or none (RFC 9111, section 5.2.1.7).
    OnlyIfCached,
    /// There are as many fills as there may be.
    TooManyFills,
}

impl Engine {
    /// The answer to a request. `alone` is for one whom the answers that others share did not fit.
    pub async fn lookup(self: &Arc<Self>, request: &Request<'_>, alone: bool) -> Found {
        let mut rounds = 0;
        loop {
            let seen = self.stored(request.key).await;
            rounds += 1;
            // Otherwise somebody has just stored something; or it cannot be read, and never will be.
            let has_tried = rounds >= ROUNDS_MAX;
            if let Some(found) = self.judge(request, seen, alone, has_tried) {
                return found;
            }
        }
    }

    fn judge(
        self: &Arc<Self>,
        request: &Request<'_>,
        seen: Option<InStore<Variants>>,
        alone: bool,
        has_tried: bool,
    ) -> Option<Found> {
        let decision = self.decide(request, seen.as_ref().map(|seen| &*seen.value));
        match decision {
            Decision::Stored(object, outcome) => {
                if outcome == Outcome::Stale(Staleness::WhileRevalidate) {
                    self.refresh(request, &object, seen.as_ref());
                }
                let was_read = seen.is_some_and(|seen| seen.place.is_some());
                let tier = if was_read { Tier::Disk } else { object.tier() };
                Some(Found::Stored(object, outcome, tier))
            }
            Decision::OnlyIfCached => Some(Found::OnlyIfCached),
            Decision::Failed(fault) => Some(Found::Failed(fault)),
            Decision::Fetch(reason) => self.fetch(request, *reason, seen, alone, has_tried),
        }
    }

    /// A fill that nobody waits for.
    fn refresh(
        self: &Arc<Self>,
        request: &Request<'_>,
        object: &Arc<Object>,
        seen: Option<&InStore<Variants>>,
    ) {
        if let Some(Note::Failing { until, .. }) = self.notes.about(request.about(false))
            && Instant::now() < until
        {
            return;
        }
        let need = self.need(request, Wanted::Whole, seen);
        let Ok(place) = self.fills.clone().try_acquire_owned() else { return };
        let (key, fields) = (request.key.as_bytes(), &request.head.fields);
        let is_unchanged = || self.is_still(key, seen);
        let joined = self.in_flight.join(key, &need, fields, |_| true, is_unchanged);
        if let Some(Joined::Begun(fill, _)) = joined {
            let stored = Some(object.clone());
            let wanted = Wanted::Whole;
            let seen = seen.cloned();
            let of = Origin { stored, rest: None, is_private: false, wanted, seen };
            let mut task = self.task(request, fill, of, place);
            // What this client wishes, and which way it came, is no reason for anybody on the way to
            // the origin to refuse what is asked for all. Where it is in the key, it stays.
            task.request.fields.retain(|name| {
                let is_in_key = |known: &String| known.eq_ignore_ascii_case(name);
                !OF_ONE_CLIENT.iter().any(|own| name.eq_ignore_ascii_case(own))
                    || request.site.key.headers.iter().any(is_in_key)
            });
            tokio::spawn(task.run());
        }
    }

    fn fetch(
        self: &Arc<Self>,
        request: &Request<'_>,
        reason: Reason,
        seen: Option<InStore<Variants>>,
        alone: bool,
        has_tried: bool,
    ) -> Option<Found> {
        let (key, fields) = (request.key.as_bytes(), &request.head.fields);
        let Errand { wanted, rest, can_join } = self.errand(request, &reason, alone);
        let Reason { forward, is_private, stored, .. } = reason;
        let is_head = wanted == Wanted::Head;
        let need = self.need(request, wanted.clone(), seen.as_ref());
        let fits = |head: &Head| request.is_answered_by(head, false, request.now);
        // The head of what others are fetching is as good as one alone.
        if can_join && let Some(ticket) = self.in_flight.wait(key, &need, fields, fits) {
            return Some(Found::Wait(ticket, forward));
        }
        let Ok(place) = self.fills.clone().try_acquire_owned() else {
            return Some(Found::TooManyFills);
        };
        let (fill, mut ticket) = if can_join && !is_head {
            let has_nothing = stored.is_none();
            let may_begin = || has_tried && has_nothing || self.is_still(key, seen.as_ref());
            match self.in_flight.join(key, &need, fields, fits, may_begin)? {
                Joined::Begun(fill, ticket) => (fill, ticket),
                Joined::Waiting(ticket) => return Some(Found::Wait(ticket, forward)),
            }
        } else {
            self.in_flight.begin_alone(key, need, self.moment())
        };
        let of = Origin { stored, rest, is_private, wanted, seen };
        ticket.runs(self.task(request, fill, of, place).run());
        Some(Found::Wait(ticket, forward))
    }

    /// The rest of a content for one who has had the beginning; `None` if nobody could tell that
    /// what comes is the rest of the same. What lies in chunks is completed for all.
    pub fn fetch_rest(
        self: &Arc<Self>,
        request: &Request<'_>,
        head: &Arc<Head>,
        (object, total): (Option<&Arc<Object>>, Option<u64>),
        part: &Range<u64>,
    ) -> Option<Ticket> {
        conditional::strong_validator(&head.fields, request.now)?;
        let key = request.key.as_bytes();
        let into = object.filter(|object| object.body.chunks().is_some());
        let gap = into.and_then(|object| {
            let gap = object.body.gap(part).filter(|gap| gap.contains(&part.start))?;
            Some((object, gap))
        });
        let rest = match gap {
            Some((object, gap)) => Rest { before: None, ..Rest::of(object, gap) },
            None => {
                Rest { part: part.clone(), head: head.clone(), before: None, into: None, total }
            }
        };
        let is_for_all = rest.is_among_chunks();
        let wanted = if is_for_all { rest.wanted() } else { Wanted::Whole };
        let need = self.need(request, wanted.clone(), None);
        let place = || self.fills.clone().try_acquire_owned().ok();
        let (fill, mut ticket, place) = if is_for_all && !request.demands.no_store {
            let place = place();
            let may_begin = || place.is_some();
            match self.in_flight.join(key, &need, &request.head.fields, |_| true, may_begin)? {
                Joined::Begun(fill, ticket) => (fill, ticket, place?),
                Joined::Waiting(ticket) => return Some(ticket),
            }
        } else {
            let place = place()?;
            let (fill, ticket) = self.in_flight.begin_alone(key, need, self.moment());
            (fill, ticket, place)
        };
        let (rest, stored, seen) = (Some(rest), None, None);
        let of = Origin { stored, rest, is_private: false, wanted, seen };
        let task = self.task(request, fill, of, place);
        let forbids_storing = task.forbids_storing || !is_for_all;
        ticket.runs(Task { forbids_storing, ..task }.run());
        Some(ticket)
    }

    /// A task that nobody waits for and nobody can find.
    pub(super) fn lone_task(
        self: &Arc<Self>,
        request: &Request<'_>,
        place: tokio::sync::OwnedSemaphorePermit,
    ) -> Task {
        let wanted = Wanted::Whole;
        let need = self.need(request, wanted.clone(), None);
        let fill = self.in_flight.unlisted(request.key.as_bytes(), need, self.moment());
        let (stored, rest, seen) = (None, None, None);
        self.task(request, fill, Origin { stored, rest, is_private: false, wanted, seen }, place)
    }

    /// Whether a key has what was seen, and nothing was purged since.
    fn is_still(&self, key: &[u8], seen: Option<&InStore<Variants>>) -> bool {
        let is_compared = seen.is_none_or(|seen| self.is_compared(&seen.value));
        is_compared && self.store.is_unchanged(key, seen)
    }

    pub(super) fn need(
        &self,
        request: &Request<'_>,
        wanted: Wanted,
        seen: Option<&InStore<Variants>>,
    ) -> Need {
        let newest = seen.and_then(|seen| {
            seen.value.objects.iter().find(|object| !object.head.variant.is_empty())
        });
        Need {
            wanted,
            has_authorization: request.has_authorization(),
            additions: request.additions[..].into(),
            whence: request.configured.upstream.number(request.site.origin),
            expected: newest.map_or_else(Variant::default, |object| {
                object.head.variant.with_values_of(&request.head.fields)
            }),
        }
    }

    fn task(
        self: &Arc<Self>,
        request: &Request<'_>,
        fill: Arc<super::in_flight::Fill>,
        of: Origin,
        place: tokio::sync::OwnedSemaphorePermit,
    ) -> Task {
        Task {
            engine: self.clone(),
            configured: request.configured.clone(),
            fill,
            key: request.key.clone(),
            site: request.site.clone(),
            policy: request.policy,
            request: request.head.clone(),
            additions: request.additions[..].into(),
            peer: request.peer,
            peer_is_trusted: request.peer_is_trusted,
            scheme: request.scheme,
            wanted: of.wanted,
            stored: of.stored,
            seen: of.seen,
            rest: of.rest,
            is_private: of.is_private,
            is_signed: signed::signed(request.head).is_some(),
            forbids_storing: request.demands.no_store
                || request.configured.parents.have_some_left(),
            errand: request.trail.errand(),
            _place: place,
        }
    }

    /// Whether an answer on its way has what this client asks for, soon.
    pub fn fits(&self, request: &Request<'_>, answer: &super::Answer, is_owner: bool) -> bool {
        if is_owner {
            return true;
        }
        let is_answer = request.is_answered_by(&answer.head, true, SystemTime::now());
        if !(answer.is_shared && is_answer)
            || self.is_purged(request.key, &answer.head, answer.asked)
        {
            return false;
        }
        if request.is_head() {
            return true;
        }
        let asked = request.ranges().zip(answer.total);
        let one = asked.and_then(|(asked, total)| match range::resolve(&asked, total) {
            Resolved::One(part) => Some(part),
            Resolved::Several(_) | Resolved::None => None,
        });
        match (&answer.part, one) {
            (Some(_), Some(part)) if answer.is_widened => answer.holds(&part),
            (Some(_), None) if answer.is_widened => false,
            _ if answer.content_range.is_some() => true,
            (_, Some(part)) => part.start <= answer.arrival.end() + AHEAD_BYTES_MAX,
            (_, None) => true,
        }
    }
}

/// What a fill starts from.
struct Origin {
    stored: Option<Arc<Object>>,
    rest: Option<Rest>,
    is_private: bool,
    wanted: Wanted,
    seen: Option<InStore<Variants>>,
}
