//! Which of the answers a request gets, and why.

use super::Engine;
use super::fill::{Rest, Task, is_ordinary};
use super::in_flight::{Joined, Need, Ticket, Wanted};
use super::notes::Note;
use super::object::{Head, Object, Variants};
use crate::config::Site;
use crate::outcome::{Forward, Outcome, Staleness};
use crate::rules::cache_control::Demands;
use crate::rules::conditional;
use crate::rules::freshness::{Trouble, Use};
use crate::rules::key::Key;
use crate::rules::range::{self, Resolved};
use crate::rules::signed;
use crate::rules::storing::Policy;
use crate::rules::vary::Variant;
use crate::upstream::Fault;
use crate::wire::request::RequestHead;
use bytes::Bytes;
use http::Method;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// How far ahead of what has arrived a part may begin for a client to wait for it.
const AHEAD_BYTES_MAX: u64 = 1024 * 1024;

/// A GET or HEAD that the cache may answer.
pub struct Request<'a> {
    /// As the client sent it.
    pub head: &'a RequestHead,
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
}

/// What a request gets.
pub enum Found {
    /// A stored object that has what is asked for, and how it is used.
    Stored(Arc<Object>, Outcome),
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

    /// Whether an object has every byte that it could take to answer.
    pub fn is_covered_by(&self, object: &Object) -> bool {
        let body = &object.body;
        body.is_whole()
            || self.is_head()
            || self.ranges().is_some_and(|asked| match range::resolve(&asked, body.total()) {
                Resolved::One(part) => body.has(&part),
                Resolved::Several(parts) => parts.iter().all(|part| body.has(part)),
                Resolved::None => true,
            })
    }
}

/// Why there is nothing to use, and what there is instead.
struct Lack {
    forward: Forward,
    /// Stored, and covers what is asked for, but is past its time or unwanted.
    stored: Option<Arc<Object>>,
    /// Fresh, but only a beginning of what is asked for.
    prefix: Option<Arc<Object>>,
}

impl Engine {
    /// The answer to a request. `alone` is for one whom the answers that others share did not fit.
    pub fn lookup(self: &Arc<Self>, request: &Request<'_>, alone: bool) -> Found {
        let fields = &request.head.fields;
        let variants = self.store.get(request.key.as_bytes());
        let object = variants
            .as_ref()
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
                prefix: None,
            },
            Some(object) => match self.use_stored(request, object, variants.as_ref()) {
                Ok(found) => return found,
                Err(lack) => lack,
            },
        };
        if request.demands.only_if_cached {
            return Found::OnlyIfCached;
        }
        self.fetch(request, lack, variants, alone)
    }

    fn use_stored(
        self: &Arc<Self>,
        request: &Request<'_>,
        object: &Arc<Object>,
        variants: Option<&Arc<Variants>>,
    ) -> Result<Found, Lack> {
        let Some(terms) = object.head.kept_terms() else {
            return Err(Lack { forward: Forward::UriMiss, stored: None, prefix: None });
        };
        let is_covered = request.is_covered_by(object);
        let usable = terms.usable(&request.demands, request.now);
        if !is_covered {
            let is_usable = matches!(usable, Use::Fresh | Use::StaleByRequest);
            let has_beginning = is_usable && request.ranges().is_none() && object.body.prefix() > 0;
            let prefix = has_beginning.then(|| object.clone());
            return Err(Lack { forward: Forward::Partial, stored: None, prefix });
        }
        let outcome = match usable {
            Use::Fresh => Outcome::Hit,
            Use::StaleByRequest => Outcome::Stale(Staleness::MaxStale),
            Use::WhileRevalidate => {
                self.refresh(request, object, variants);
                Outcome::Stale(Staleness::WhileRevalidate)
            }
            Use::AfterValidation | Use::AfterValidationByRequest => {
                let is_left_in_peace = matches!(
                    self.notes.about(request.key, &request.additions, false),
                    Some(Note::Failing { until, .. }) if Instant::now() < until
                );
                if is_left_in_peace && terms.may_stand_in(Trouble::Unreachable, request.now) {
                    Outcome::Stale(Staleness::IfError)
                } else {
                    let is_wish = usable == Use::AfterValidationByRequest;
                    let forward = if is_wish { Forward::Request } else { Forward::Stale };
                    return Err(Lack { forward, stored: Some(object.clone()), prefix: None });
                }
            }
        };
        Ok(Found::Stored(object.clone(), outcome))
    }

    /// A fill that nobody waits for.
    fn refresh(
        self: &Arc<Self>,
        request: &Request<'_>,
        object: &Arc<Object>,
        variants: Option<&Arc<Variants>>,
    ) {
        if let Some(Note::Failing { until, .. }) =
            self.notes.about(request.key, &request.additions, false)
            && Instant::now() < until
        {
            return;
        }
        let need = self.need(request, Wanted::Whole, variants);
        let Ok(place) = self.fills.clone().try_acquire_owned() else { return };
        let (key, fields) = (request.key.as_bytes(), &request.head.fields);
        let is_unchanged = || is_same(self.store.get(key).as_ref(), variants);
        let joined = self.in_flight.join(key, &need, fields, |_| true, is_unchanged);
        if let Some(Joined::Begun(fill, _)) = joined {
            let stored = Some(object.clone());
            let wanted = Wanted::Whole;
            let of = Origin { stored, rest: None, is_private: false, wanted };
            tokio::spawn(self.task(request, fill, of, place).run());
        }
    }

    fn fetch(
        self: &Arc<Self>,
        request: &Request<'_>,
        lack: Lack,
        variants: Option<Arc<Variants>>,
        alone: bool,
    ) -> Found {
        let (key, fields) = (request.key.as_bytes(), &request.head.fields);
        let has_authorization = request.has_authorization();
        let note = self.notes.about(request.key, &request.additions, has_authorization);
        if let Some(Note::Failing { until, fault: Some(fault), .. }) = note
            && Instant::now() < until
        {
            return Found::Failed(fault);
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
        let wanted = match request.ranges() {
            _ if request.is_head() => Wanted::Head,
            // What is stored is confirmed as a whole, and several parts are cut out of the whole.
            Some(asked) if asked.len() == 1 && lack.stored.is_none() => {
                let lines =
                    ["range", "if-range"].map(|name| fields.first(name).unwrap_or_default());
                Wanted::Part(Bytes::from(lines.join(&b'\n')))
            }
            _ => Wanted::Whole,
        };
        let is_head = wanted == Wanted::Head;
        let need = self.need(request, wanted.clone(), variants.as_ref());
        // Nobody pays for another's odd head, and what each has to ask for is not waited for.
        let is_not_shared = matches!(note, Some(Note::Refused | Note::Unshared));
        let can_join = !(alone || is_private || is_not_shared || !is_ordinary(fields));
        let fits = |head: &Head| request.is_answered_by(head, false, request.now);
        // The head of what others are fetching is as good as one alone.
        if can_join && let Some(ticket) = self.in_flight.wait(key, &need, fields, fits) {
            return Found::Wait(ticket, forward);
        }
        let Ok(place) = self.fills.clone().try_acquire_owned() else {
            return Found::TooManyFills;
        };
        let rest = lack.prefix.map(|object| Rest {
            part: object.body.prefix()..u64::MAX,
            head: object.head.clone(),
            before: Some(object),
        });
        let of = Origin { stored: lack.stored, rest, is_private, wanted };
        let (fill, ticket) = if can_join && !is_head {
            let is_unchanged = || is_same(self.store.get(key).as_ref(), variants.as_ref());
            match self.in_flight.join(key, &need, fields, fits, is_unchanged) {
                Some(Joined::Begun(fill, ticket)) => (fill, ticket),
                Some(Joined::Waiting(ticket)) => return Found::Wait(ticket, forward),
                // Somebody has just stored something.
                None => {
                    drop(place);
                    return self.lookup(request, alone);
                }
            }
        } else {
            self.in_flight.begin_alone(key, need)
        };
        tokio::spawn(self.task(request, fill, of, place).run());
        Found::Wait(ticket, forward)
    }

    /// The rest of a content for one who has had the beginning; `None` if nobody could tell that
    /// what comes is the rest of the same.
    pub fn fetch_rest(
        self: &Arc<Self>,
        request: &Request<'_>,
        head: &Arc<Head>,
        part: Range<u64>,
    ) -> Option<Ticket> {
        conditional::strong_validator(&head.fields, request.now)?;
        let place = self.fills.clone().try_acquire_owned().ok()?;
        let need = self.need(request, Wanted::Whole, None);
        let (fill, ticket) = self.in_flight.begin_alone(request.key.as_bytes(), need);
        let rest = Some(Rest { part, head: head.clone(), before: None });
        let of = Origin { stored: None, rest, is_private: false, wanted: Wanted::Whole };
        let task = Task { forbids_storing: true, ..self.task(request, fill, of, place) };
        tokio::spawn(task.run());
        Some(ticket)
    }

    fn need(
        &self,
        request: &Request<'_>,
        wanted: Wanted,
        variants: Option<&Arc<Variants>>,
    ) -> Need {
        let newest = variants.and_then(|variants| {
            variants.objects.iter().find(|object| !object.head.variant.is_empty())
        });
        Need {
            wanted,
            has_authorization: request.has_authorization(),
            additions: request.additions[..].into(),
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
            rest: of.rest,
            is_private: of.is_private,
            is_signed: signed::signed(request.head).is_some(),
            forbids_storing: request.demands.no_store,
            _place: place,
        }
    }

    /// Whether an answer on its way has what this client asks for, soon.
    pub fn fits(&self, request: &Request<'_>, answer: &super::Answer, is_owner: bool) -> bool {
        if is_owner {
            return true;
        }
        if !answer.is_shared || !request.is_answered_by(&answer.head, true, SystemTime::now()) {
            return false;
        }
        if answer.content_range.is_some() || request.is_head() {
            return true;
        }
        let Some((asked, total)) = request.ranges().zip(answer.total) else { return true };
        match range::resolve(&asked, total) {
            Resolved::One(part) => part.start <= answer.arrival.end() + AHEAD_BYTES_MAX,
            Resolved::Several(_) | Resolved::None => true,
        }
    }
}

/// What a fill starts from.
struct Origin {
    stored: Option<Arc<Object>>,
    rest: Option<Rest>,
    is_private: bool,
    wanted: Wanted,
}

fn is_same(now: Option<&Arc<Variants>>, before: Option<&Arc<Variants>>) -> bool {
    match (now, before) {
        (None, None) => true,
        (Some(now), Some(before)) => Arc::ptr_eq(now, before),
        // Evicted meanwhile.
        (None, Some(_)) => true,
        (Some(_), None) => false,
    }
}
