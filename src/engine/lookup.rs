//! Which of the answers a request gets, and why.

use super::arrival::AHEAD_BYTES_MAX;
use super::fill::{Rest, Task, is_ordinary};
use super::in_flight::{Joined, Need, Ticket, Wanted};
use super::notes::{About, Note};
use super::object::{Head, Object, Variants};
use super::{Configured, Engine, InStore};
use crate::config::Site;
use crate::outcome::{Forward, Outcome, Staleness, Tier};
use crate::rules::cache_control::Demands;
use crate::rules::conditional::{self, Condition};
use crate::rules::forwarding;
use crate::rules::freshness::{Trouble, Use};
use crate::rules::key::Key;
use crate::rules::range::{self, Resolved};
use crate::rules::signed;
use crate::rules::storing::Policy;
use crate::rules::vary::Variant;
use crate::store::disk::CHUNK_BYTES;
use crate::trace::Trail;
use crate::upstream::Fault;
use crate::wire::request::RequestHead;
use bytes::Bytes;
use http::Method;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// How often a store is asked again that was just changed.
const ROUNDS_MAX: usize = 3;

/// What a refresh does not take over from the request that it is begun at.
const OF_ONE_CLIENT: [&str; 3] = ["cache-control", "pragma", "cdn-loop"];

/// A GET or HEAD that the cache may answer.
pub struct Request<'a> {
    /// As the client sent it.
    pub head: &'a RequestHead,
    /// What is in force for it.
    pub configured: &'a Arc<Configured>,
    /// Whose it is.
    pub site: &'a Arc<Site>,
    /// What it asks for.
    pub key: &'a Key,
    /// What the site adds to the key.
    pub additions: Vec<u8>,
    /// What the operator says about its path.
    pub policy: Policy,
    /// What the client says about the answer.
    pub demands: Demands,
    /// Who holds the connection.
    pub peer: IpAddr,
    /// The peer is a proxy whose word is taken.
    pub peer_is_trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// When it came.
    pub now: SystemTime,
    /// What it is called.
    pub trail: &'a Trail<'a>,
}

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

impl Request<'_> {
    fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }

    fn has_authorization(&self) -> bool {
        self.head.fields.first("authorization").is_some()
    }

    /// Who asks keeps what it gets for clients of its own.
    pub fn is_child(&self) -> bool {
        forwarding::is_child(&self.head.fields, self.peer_is_trusted)
    }

    fn about(&self, has_authorization: bool) -> About<'_> {
        About { key: self.key, additions: &self.additions, has_authorization }
    }

    /// It has a condition that only an origin can judge (RFC 9111, section 4.3.2).
    fn is_for_origin(&self) -> bool {
        let fields = &self.head.fields;
        ["if-match", "if-unmodified-since"].iter().any(|name| fields.first(name).is_some())
    }

    /// The Range, if there is one that means something for this method (RFC 9110, section 14.2).
    pub fn ranges(&self) -> Option<Vec<range::Asked>> {
        let value = self.head.fields.first("range").filter(|_| self.head.method == Method::GET)?;
        range::parse(value)
    }

    /// Whether a stored or arriving response with this head may answer it. One who waited for an
    /// answer that had not begun to come has had the origin asked.
    pub fn is_answered_by(&self, head: &Head, has_waited: bool, now: SystemTime) -> bool {
        let demands = if has_waited {
            Demands { no_cache: false, no_store: false, max_age: None, ..self.demands }
        } else {
            self.demands
        };
        head.answers(&self.head.fields, &self.additions)
            && head.kept_terms().is_some_and(|terms| terms.may_be_used(&demands, now))
    }

    /// The first bytes that it could take to answer and that an object does not have.
    pub(super) fn missing(&self, object: &Object) -> Option<Range<u64>> {
        let body = &object.body;
        if body.is_in_memory() || self.is_head() {
            return None;
        }
        let (fields, head) = (&self.head.fields, &object.head);
        let condition = conditional::evaluate(fields, head.status, &head.fields, self.now);
        if condition != Condition::Met {
            return None;
        }
        let applies = || conditional::range_applies(fields, &object.head.fields, self.now);
        match self.ranges().filter(|_| applies()) {
            None => body.gap(&(0..body.total())),
            Some(asked) => match range::resolve(&asked, body.total()) {
                Resolved::One(part) => body.gap(&part),
                Resolved::Several(parts) => parts.iter().find_map(|part| body.gap(part)),
                Resolved::None => None,
            },
        }
    }

    /// Whether an object has every byte that it could take to answer.
    pub fn is_covered_by(&self, object: &Object) -> bool {
        self.missing(object).is_none()
    }
}

/// Why there is nothing to use, and what there is instead.
struct Lack {
    forward: Forward,
    /// Stored, and covers what is asked for, but is past its time or unwanted.
    stored: Option<Arc<Object>>,
    /// Fresh, but some of what is asked for is missing: this, and perhaps more behind it.
    missing: Option<(Arc<Object>, Range<u64>)>,
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
        let fields = &request.head.fields;
        let variants = seen.as_ref().map(|seen| &seen.value);
        let object = variants
            .filter(|_| !request.is_for_origin())
            .and_then(|variants| variants.select(fields, &request.additions));
        let lack = match object {
            None => Lack {
                forward: match variants {
                    Some(_) if request.is_for_origin() => Forward::Request,
                    Some(_) => Forward::VaryMiss,
                    None => Forward::UriMiss,
                },
                stored: None,
                missing: None,
            },
            Some(object) => match self.use_stored(request, object, seen.as_ref()) {
                Ok(found) => return Some(found),
                Err(lack) => lack,
            },
        };
        if request.demands.only_if_cached {
            return Some(Found::OnlyIfCached);
        }
        self.fetch(request, lack, seen, alone, has_tried)
    }

    fn use_stored(
        self: &Arc<Self>,
        request: &Request<'_>,
        object: &Arc<Object>,
        seen: Option<&InStore<Variants>>,
    ) -> Result<Found, Lack> {
        let Some(terms) = object.head.kept_terms() else {
            return Err(Lack { forward: Forward::UriMiss, stored: None, missing: None });
        };
        let usable = terms.usable(&request.demands, request.now);
        if let Some(gap) = request.missing(object) {
            let is_usable = matches!(usable, Use::Fresh | Use::StaleByRequest);
            let has_some = gap.start > 0 || gap.end < object.body.total();
            // A part that was asked for alone is asked for as it was where there are no chunks.
            let goes_on = if object.body.chunks().is_some() {
                has_some
                    && conditional::strong_validator(&object.head.fields, request.now).is_some()
            } else {
                gap.start > 0 && request.ranges().is_none()
            };
            let missing = (is_usable && goes_on).then(|| (object.clone(), gap));
            return Err(Lack { forward: Forward::Partial, stored: None, missing });
        }
        let outcome = match usable {
            Use::Fresh => Outcome::Hit,
            Use::StaleByRequest => Outcome::Stale(Staleness::MaxStale),
            // A child has its own to use meanwhile, and wants to know what is new.
            Use::WhileRevalidate if !request.is_child() => {
                self.refresh(request, object, seen);
                Outcome::Stale(Staleness::WhileRevalidate)
            }
            Use::WhileRevalidate | Use::AfterValidation | Use::AfterValidationByRequest => {
                let is_left_in_peace = matches!(
                    self.notes.about(request.about(false)),
                    Some(Note::Failing { until, .. }) if Instant::now() < until
                );
                let may_stand_in = terms.may_stand_in(Trouble::Unreachable, request.now)
                    && (terms.may_be_passed_down(request.now) || !request.is_child());
                if is_left_in_peace && may_stand_in {
                    Outcome::Stale(Staleness::IfError)
                } else {
                    let is_wish = usable == Use::AfterValidationByRequest;
                    let forward = if is_wish { Forward::Request } else { Forward::Stale };
                    return Err(Lack { forward, stored: Some(object.clone()), missing: None });
                }
            }
        };
        let was_read = seen.is_some_and(|seen| seen.place.is_some());
        let tier = if was_read { Tier::Disk } else { object.tier() };
        Ok(Found::Stored(object.clone(), outcome, tier))
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
        lack: Lack,
        seen: Option<InStore<Variants>>,
        alone: bool,
        has_tried: bool,
    ) -> Option<Found> {
        let (key, fields) = (request.key.as_bytes(), &request.head.fields);
        let has_authorization = request.has_authorization();
        let note = self.notes.about(request.about(has_authorization));
        if let Some(Note::Failing { until, fault: Some(fault), .. }) = note
            && Instant::now() < until
        {
            return Some(Found::Failed(fault));
        }
        let signed = signed::signed(request.head);
        let is_private = request.demands.no_store
            || request.is_for_origin()
            || signed.is_some_and(|signed| signed.covers_conditions)
            || matches!(note, Some(Note::Refused)) && lack.stored.is_none();
        let forward = match note {
            Some(Note::Refused) if is_private => Forward::Bypass,
            _ => lack.forward,
        };
        let missing = lack.missing.filter(|_| !is_private);
        let rest = missing.map(|(object, gap)| Rest::of(&object, gap));
        let wanted = match request.ranges() {
            _ if request.is_head() => Wanted::Head,
            _ if rest.as_ref().is_some_and(|rest| rest.is_among_chunks()) => {
                rest.as_ref().map_or(Wanted::Whole, Rest::wanted)
            }
            // What is stored is confirmed as a whole, and several parts are cut out of the whole.
            Some(asked) if asked.len() == 1 && lack.stored.is_none() => {
                let is_exact =
                    alone || is_private || signed.is_some() || self.store.disk().is_none();
                let widened = widened(&asked[0]).filter(|_| !is_exact);
                let range = match &widened {
                    Some(widened) => widened.as_bytes(),
                    None => fields.first("range").unwrap_or_default(),
                };
                let if_range = fields.first("if-range").unwrap_or_default();
                let lines = Bytes::from([range, if_range].join(&b'\n'));
                Wanted::Part { lines, is_widened: widened.is_some() }
            }
            _ => Wanted::Whole,
        };
        let is_head = wanted == Wanted::Head;
        let need = self.need(request, wanted.clone(), seen.as_ref());
        // Nobody pays for another's odd head, and what each has to ask for is not waited for.
        let is_not_shared = matches!(note, Some(Note::Refused | Note::Unshared));
        let can_join = !(alone || is_private || is_not_shared || !is_ordinary(fields));
        let fits = |head: &Head| request.is_answered_by(head, false, request.now);
        // The head of what others are fetching is as good as one alone.
        if can_join && let Some(ticket) = self.in_flight.wait(key, &need, fields, fits) {
            return Some(Found::Wait(ticket, forward));
        }
        let Ok(place) = self.fills.clone().try_acquire_owned() else {
            return Some(Found::TooManyFills);
        };
        let (fill, ticket) = if can_join && !is_head {
            let has_nothing = lack.stored.is_none();
            let may_begin = || has_tried && has_nothing || self.is_still(key, seen.as_ref());
            match self.in_flight.join(key, &need, fields, fits, may_begin)? {
                Joined::Begun(fill, ticket) => (fill, ticket),
                Joined::Waiting(ticket) => return Some(Found::Wait(ticket, forward)),
            }
        } else {
            self.in_flight.begin_alone(key, need, self.moment())
        };
        let of = Origin { stored: lack.stored, rest, is_private, wanted, seen };
        tokio::spawn(self.task(request, fill, of, place).run());
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
        let (fill, ticket, place) = if is_for_all && !request.demands.no_store {
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
        tokio::spawn(Task { forbids_storing, ..task }.run());
        Some(ticket)
    }

    /// Whether a key has what was seen, and nothing was purged since.
    fn is_still(&self, key: &[u8], seen: Option<&InStore<Variants>>) -> bool {
        let is_compared = seen.is_none_or(|seen| self.is_compared(&seen.value));
        is_compared && self.store.is_unchanged(key, seen)
    }

    fn need(
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
            forbids_storing: request.demands.no_store,
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

/// A range as it is asked for where chunks are kept: from the beginning of a chunk to the end of
/// one. `None` for one from the end of what is not known.
fn widened(asked: &range::Asked) -> Option<String> {
    let range::Asked::From(first, last) = asked else { return None };
    let start = first - first % CHUNK_BYTES;
    match last {
        None => Some(format!("bytes={start}-")),
        Some(last) => {
            let end = (last - last % CHUNK_BYTES).checked_add(CHUNK_BYTES - 1)?;
            Some(format!("bytes={start}-{end}"))
        }
    }
}
