//! One fetch from upstream, owned by no client: it asks (`asking`), judges the answer, feeds whoever
//! reads it (`carrying`), and puts the object into the store.

mod asking;
mod carrying;
mod probing;

pub use probing::{Probed, Unprobed};

use super::arrival::Over;
use super::in_flight::{Fill, Verdict, Wanted};
use super::notes::About;
use super::object::{Head, HeadParts, Object, Variants};
use super::{Configured, Engine, InStore};
use crate::config::Site;
use crate::rules::cache_control::Directives;
use crate::rules::conditional;
use crate::rules::forwarding;
use crate::rules::freshness::Trouble;
use crate::rules::key::Key;
use crate::rules::range::{self, ContentRange};
use crate::rules::storing::{self, Asked, Policy, Received, Refusal, Terms};
use crate::rules::vary;
use crate::trace::Errand;
use crate::upstream::{Connection, Fault, Way};
use crate::wire::Framing;
use crate::wire::fields::Fields;
use crate::wire::request::RequestHead;
use crate::wire::response::ResponseHead;
use asking::{Told, ToldOrNot};
use bytes::Bytes;
use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::OwnedSemaphorePermit;

/// A head this large, or a field this large in it, can be the reason of an error.
const ORDINARY_HEAD_BYTES: usize = 6 * 1024;
const ORDINARY_FIELD_BYTES: usize = 3 * 1024;

/// Everything a fill needs to know; it outlives the request that it was begun for.
pub(super) struct Task {
    pub(super) engine: Arc<Engine>,
    pub(super) configured: Arc<Configured>,
    pub(super) fill: Arc<Fill>,
    pub(super) key: Key,
    pub(super) site: Arc<Site>,
    pub(super) policy: Policy,
    /// Of the client that it was begun for.
    pub(super) request: RequestHead,
    pub(super) additions: Box<[u8]>,
    pub(super) peer: IpAddr,
    pub(super) peer_is_trusted: bool,
    pub(super) scheme: &'static str,
    pub(super) wanted: Wanted,
    /// What is stored and only needs to be confirmed, or can stand in.
    pub(super) stored: Option<Arc<Object>>,
    /// All that was stored for the key when it began.
    pub(super) seen: Option<InStore<Variants>>,
    /// What is here already: only the rest is asked for.
    pub(super) rest: Option<Rest>,
    /// The answer is known not to be kept: the client's conditions and range are the origin's.
    pub(super) is_private: bool,
    /// The client has signed it: the origin sees its spelling of the URL.
    pub(super) is_signed: bool,
    /// The client forbids to keep it.
    pub(super) forbids_storing: bool,
    /// What the request that it was begun for is called.
    pub(super) errand: Errand,
    /// Its place among the fills that may run.
    pub(super) _place: OwnedSemaphorePermit,
}

/// The rest of a content.
#[derive(Clone)]
pub(super) struct Rest {
    /// Where it begins, and up to where it is wanted.
    pub(super) part: Range<u64>,
    /// The head of the response whose rest it is.
    pub(super) head: Arc<Head>,
    /// What comes before; `None` where somebody has had it and nothing but the rest is of use.
    pub(super) before: Option<Arc<Object>>,
    /// Among whose chunks it belongs.
    pub(super) into: Option<Arc<Object>>,
    /// How long the whole is, where that is known.
    pub(super) total: Option<u64>,
}

impl Rest {
    /// What an object lacks.
    pub(super) fn of(object: &Arc<Object>, gap: Range<u64>) -> Self {
        let into = Some(object.clone()).filter(|object| object.body.chunks().is_some());
        let part = if into.is_some() { gap } else { gap.start..u64::MAX };
        let total = Some(object.body.total());
        Self { part, head: object.head.clone(), before: Some(object.clone()), into, total }
    }

    /// It is for all who want these chunks.
    pub(super) fn is_among_chunks(&self) -> bool {
        self.into.is_some()
    }

    /// Whether a part is what was asked for, of the same response.
    fn is_gone_on_with(&self, part: &ContentRange, head: &ResponseHead, now: SystemTime) -> bool {
        let end = if self.part.end == u64::MAX { part.total } else { Some(self.part.end) };
        // A part need not say how it is coded, but then it is coded as the rest is.
        let coding = head.fields.first("content-encoding");
        part.part.start == self.part.start
            && end == Some(part.part.end)
            && (self.total.is_none() || part.total == self.total)
            && (coding.is_none() || coding == self.head.fields.first("content-encoding"))
            && conditional::are_the_same_bytes(&self.head.fields, &head.fields, now)
    }

    /// What others who want the same want.
    pub(super) fn wanted(&self) -> Wanted {
        let chunks = self.into.as_ref().and_then(|object| object.body.chunks());
        let chunks = chunks.map(|chunks| Wanted::Chunks(chunks.generation(), self.part.start));
        chunks.unwrap_or(Wanted::Whole)
    }
}

/// What is asked for in one exchange.
#[derive(Clone, Copy, Default)]
struct Ask {
    validates: bool,
    completes: bool,
}

/// An answer of which the head is known and judged.
struct Came {
    response: ResponseHead,
    received: Received,
    terms: Result<Terms, Refusal>,
    /// Names of its fields that are not kept.
    withheld: Vec<Cow<'static, str>>,
    part: Option<ContentRange>,
    before: Option<Arc<Object>>,
}

/// What one exchange came to.
enum Exchanged {
    Done,
    /// There was no good answer, and there is somebody else to ask.
    NotYet,
    /// The same; this is what there is if nobody has a better one.
    Declined(Box<Told>),
    /// What came is no answer to what was asked; the plain question is left.
    Plainly,
}

/// A fill that ends without a word has failed all the same.
struct Departure<'t>(&'t Task);

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let Self(task) = self;
        task.fill.tell(Verdict::Failed(Fault::Closed));
        if let Some(Verdict::Arriving(answer)) = task.fill.verdict() {
            answer.arrival.finish(Over::Broken(Fault::Truncated));
        }
        task.engine.in_flight.leave(&task.fill);
        task.engine.metrics.fills_in_flight().dec();
    }
}

impl Task {
    /// Runs to its end.
    pub(super) async fn run(self) {
        self.engine.metrics.fills_in_flight().inc();
        let _departure = Departure(&self);
        let mut ask = Ask {
            // A private fill carries the client's own conditions.
            validates: self.stored.is_some() && self.wanted == Wanted::Whole && !self.is_private,
            completes: self.rest.is_some(),
        };
        let mut way = self.configured.upstream.way(self.asking());
        let mut declined: Option<Box<Told>> = None;
        loop {
            let exchanged = match (self.exchange(&mut way, ask).await, declined.take()) {
                (Err(_), Some(told)) => self.answered(&mut way, ask, *told).await,
                (exchanged, before) => {
                    declined = before;
                    exchanged
                }
            };
            match exchanged {
                Ok(Exchanged::Done) => return,
                Ok(Exchanged::NotYet) => {}
                Ok(Exchanged::Declined(told)) => declined = Some(told),
                Ok(Exchanged::Plainly) if ask.validates || ask.completes => {
                    (ask.validates, ask.completes) = (false, false);
                    way = self.configured.upstream.way(self.asking());
                }
                Ok(Exchanged::Plainly) => {
                    return self.fail(Fault::Garbage("it answers what it was not asked"));
                }
                Err(fault) => return self.fail(fault),
            }
        }
    }

    fn fail(&self, fault: Fault) {
        let now = SystemTime::now();
        let may_stand_in = |stored: &&Arc<Object>| {
            let terms = stored.head.kept_terms();
            terms.is_some_and(|terms| terms.may_stand_in(Trouble::Unreachable, now))
        };
        match self.stored.as_ref().filter(may_stand_in) {
            Some(stored) => self.stand_in(stored, Some(fault)),
            None => {
                self.note_failure(fault);
                self.fill.tell(Verdict::Failed(fault));
            }
        }
    }

    /// What goes wrong with an odd request, or with the rest of something old, says nothing about
    /// the next one's.
    fn note_failure(&self, fault: Fault) {
        let is_of_use = |rest: &Rest| rest.before.is_some();
        if is_ordinary(&self.request.fields) && self.rest.as_ref().is_none_or(is_of_use) {
            self.engine.notes.failed(self.about_anybody(), self.fill.asked, Some(fault), false);
        }
    }

    fn about_anybody(&self) -> About<'_> {
        About { has_authorization: false, ..self.about() }
    }

    /// Whose answer it is.
    fn about(&self) -> About<'_> {
        let has_authorization = self.request.fields.first("authorization").is_some();
        About { key: &self.key, additions: &self.additions, has_authorization }
    }

    fn stand_in(&self, stored: &Arc<Object>, fault: Option<Fault>) {
        self.engine.notes.failed(self.about_anybody(), self.fill.asked, fault, true);
        self.fill.tell(Verdict::StandIn(stored.clone(), fault));
    }

    fn is_for_child(&self) -> bool {
        forwarding::is_child(&self.request.fields, self.peer_is_trusted)
    }

    async fn exchange(&self, way: &mut Way<'_>, ask: Ask) -> Result<Exchanged, Fault> {
        let stored = self.stored.as_ref().filter(|_| ask.validates);
        let rest = self.rest.as_ref().filter(|_| ask.completes);
        match self.ask(way, stored, rest).await? {
            ToldOrNot::Told(told) => self.answered(way, ask, *told).await,
            ToldOrNot::Declined(told) => Ok(Exchanged::Declined(told)),
            ToldOrNot::Nothing => Ok(Exchanged::NotYet),
        }
    }

    /// The head of the final answer is here.
    async fn answered(&self, way: &mut Way<'_>, ask: Ask, told: Told) -> Result<Exchanged, Fault> {
        let Told { response, received, connection } = told;
        if response.status == 304
            && let Some(stored) = self.stored.as_ref().filter(|_| ask.validates)
        {
            return Ok(self.not_modified(way, stored, &response, received, connection));
        }
        if matches!(response.status, 500 | 502 | 503 | 504)
            && let Some(stored) = &self.stored
            && let Some(terms) = stored.head.kept_terms()
            && terms.may_stand_in(Trouble::ServerError, received.now)
            && (terms.may_be_passed_down(received.now) || !self.is_for_child())
        {
            self.stand_in(stored, None);
            return Ok(Exchanged::Done);
        }
        let directives = Directives::of_response(&response.fields);
        let terms = self.judged(&response, &directives, received);
        let mut part = None;
        let mut before = None;
        if ask.completes && response.status == 416 {
            return Ok(Exchanged::Plainly);
        }
        if response.status == 206 {
            part = said_part(&response);
        }
        if let Some(rest) = self.rest.as_ref().filter(|_| ask.completes) {
            let goes_on = part
                .as_ref()
                .is_some_and(|part| rest.is_gone_on_with(part, &response, received.now));
            match &rest.before {
                None if !goes_on => {
                    self.forget_outdated(rest, &response, received.now);
                    return Err(Fault::Garbage("it does not go on where it was asked"));
                }
                // Others may have joined who lack what comes before, too.
                None => before = rest.into.clone(),
                Some(_) if response.status == 206 && !(goes_on && terms.is_ok()) => {
                    return Ok(Exchanged::Plainly);
                }
                Some(object) if goes_on => before = Some(object.clone()),
                Some(_) => {}
            }
        }
        let withheld = storing::withheld_by(directives);
        let came = Came { response, received, terms, withheld, part, before };
        self.carry(way, came, connection).await;
        Ok(Exchanged::Done)
    }

    /// How the answer may be kept.
    fn judged(
        &self,
        response: &ResponseHead,
        directives: &Directives,
        received: Received,
    ) -> Result<Terms, Refusal> {
        let (asked, status, fields) = (self.asked(), response.status, &response.fields);
        let policy = &self.policy;
        let terms = storing::judge_by(directives, &asked, status, fields, policy, received)?;
        // The origin has seen what the client accepts as it was spelled.
        if self.is_signed && !vary::is_told_apart(fields) {
            return Err(Refusal::Signed);
        }
        if response.status == 206 && said_part(response).is_none() {
            return Err(Refusal::PartialUnclear);
        }
        Ok(terms)
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            target: self.key.target(),
            host: self.key.host(),
            has_authorization: self.request.fields.first("authorization").is_some(),
            forbids_storing: self.forbids_storing,
            is_spelled_otherwise: self.asked_url() != (self.key.target(), self.key.host()),
            is_ordinary: is_ordinary(&self.request.fields),
        }
    }

    /// The origin confirms what is stored: its head is brought up to date (RFC 9111, section 4.3.4).
    fn not_modified(
        &self,
        way: &Way<'_>,
        stored: &Arc<Object>,
        response: &ResponseHead,
        received: Received,
        connection: Connection,
    ) -> Exchanged {
        if !conditional::confirms(&response.fields, &stored.head.fields) {
            return Exchanged::Plainly;
        }
        way.is_over(&connection.to);
        self.configured.upstream.release(connection);
        let (object, once) = self.refreshed(stored, response, received);
        let object = Arc::new(object);
        self.engine.in_flight.finish(&self.fill, || {
            self.replace(stored, &object);
        });
        self.fill.tell(Verdict::Confirmed(object, once));
        Exchanged::Done
    }

    fn replace(&self, old: &Arc<Object>, new: &Arc<Object>) {
        self.engine.replace(&self.key, self.seen.as_ref(), old, new);
    }

    /// Of what has changed at the origin the parts that are here are of no use any more.
    fn forget_outdated(&self, rest: &Rest, response: &ResponseHead, now: SystemTime) {
        let (old, new) = (&rest.head.fields, &response.fields);
        let has_changed =
            matches!(response.status, 200 | 206) && !conditional::are_the_same_bytes(old, new, now);
        if has_changed && rest.is_among_chunks() {
            self.engine.in_flight.finish(&self.fill, || {
                self.engine.store.remove(self.key.as_bytes());
            });
        }
    }

    /// What is stored with the fields of a newer head.
    fn refreshed(
        &self,
        stored: &Object,
        response: &ResponseHead,
        received: Received,
    ) -> (Object, Bytes) {
        let withheld = storing::withheld(&response.fields);
        let parts = HeadParts {
            response,
            request: &self.request.fields,
            additions: &self.additions,
            terms: stored.head.terms(),
            withheld: &withheld,
            now: received.now,
        };
        let (newer, once) = Head::new(&parts);
        let head = stored.head.updated(&newer, &self.request.fields);
        let fields = head.fields_for_caches();
        let judge = |_| storing::judge(&self.asked(), head.status, &fields, &self.policy, received);
        let terms = head.terms().and_then(judge);
        let (head, body) = (Arc::new(head.on_terms(terms)), stored.body.clone());
        (Object { head, body, asked: self.fill.asked }, once)
    }

    /// An answer to HEAD says how what is stored has to be seen from now on (RFC 9111, section
    /// 4.3.5).
    fn head_came(&self, response: &ResponseHead, received: Received) {
        let Some(stored) = self.stored.as_ref().filter(|_| response.status == 200) else { return };
        let fields = &stored.head.fields;
        let agrees = |name: &str| {
            response.fields.first(name).is_none_or(|new| fields.first(name) == Some(new))
        };
        let length = response.fields.tokens("content-length").next().and_then(crate::wire::digits);
        // That nothing speaks against it is not enough for what was made stale by a purge.
        let has_same = |name: &str| {
            fields.first(name).is_some_and(|old| response.fields.first(name) == Some(old))
        };
        let is_purged = self.engine.is_purged(&self.key, &stored.head, stored.asked);
        let is_same = (!is_purged || has_same("etag") || has_same("last-modified"))
            && agrees("etag")
            && agrees("last-modified")
            && length.is_none_or(|length| length == stored.body.total());
        let object = if is_same {
            self.refreshed(stored, response, received).0
        } else {
            let terms = stored.head.terms().map(|terms| Terms { must_validate: true, ..terms });
            let head = Head::clone(&stored.head).on_terms(terms);
            Object { head: Arc::new(head), body: stored.body.clone(), asked: stored.asked }
        };
        self.engine.in_flight.finish(&self.fill, || {
            self.replace(stored, &Arc::new(object));
        });
    }
}

/// Which part a 206 brings.
fn said_part(response: &ResponseHead) -> Option<ContentRange> {
    let said = response.fields.first("content-range").filter(|_| response.status == 206);
    believed(said.and_then(range::content_range)?, response.framing)
}

/// Where the length of a part says something else than its Content-Range, but that is said to reach
/// to the end, what comes is taken for the end: never for a beginning, so that it makes nothing
/// whole. Anything else cannot be told.
fn believed(said: ContentRange, framing: Framing) -> Option<ContentRange> {
    let Framing::Length(length) = framing else { return Some(said) };
    if said.part.end - said.part.start == length {
        return Some(said);
    }
    let end = said.part.start.checked_add(length)?;
    let is_an_end = said.part.start > 0 && said.total == Some(said.part.end) && length > 0;
    is_an_end.then_some(ContentRange { part: said.part.start..end, total: Some(end) })
}

/// Whether nothing about a request is likely to make a server answer with an error that it would
/// not give to others: oversized fields, bytes that are not printable.
pub(super) fn is_ordinary(fields: &Fields) -> bool {
    let mut head_bytes = 0;
    fields.iter().all(|(name, value)| {
        let field_bytes = name.len() + value.len() + ": \r\n".len();
        head_bytes += field_bytes;
        field_bytes <= ORDINARY_FIELD_BYTES
            && head_bytes <= ORDINARY_HEAD_BYTES
            && value.iter().all(|byte| (b' '..=b'~').contains(byte))
    })
}
