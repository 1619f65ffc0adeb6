//! What a request gets, decided without doing any of it: `lookup` does it, `explaining` tells it.

use super::Engine;
use super::fill::{Rest, is_ordinary};
use super::in_flight::Wanted;
use super::notes::Note;
use super::object::{Object, Variants};
use super::request::Request;
use crate::outcome::{Forward, Outcome, Staleness};
use crate::rules::conditional;
use crate::rules::freshness::{Trouble, Use};
use crate::rules::range;
use crate::rules::signed::{self, Signed};
use crate::store::disk::CHUNK_BYTES;
use crate::upstream::Fault;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// What a request gets.
pub(super) enum Decision {
    /// A stored object that has what is asked for, and how it is used.
    Stored(Arc<Object>, Outcome),
    /// The client wanted a stored answer or none (RFC 9111, section 5.2.1.7).
    OnlyIfCached,
    /// The origin failed a moment ago and is left in peace.
    Failed(Fault),
    /// The origin has to be asked.
    Fetch(Box<Reason>),
}

/// Why the origin has to be asked, and what is there already.
pub(super) struct Reason {
    /// In one word.
    pub(super) forward: Forward,
    /// The answer is known not to be kept: the client's conditions and range are the origin's.
    pub(super) is_private: bool,
    /// Stored, and covers what is asked for, but is past its time or unwanted.
    pub(super) stored: Option<Arc<Object>>,
    /// Fresh, but some of what is asked for is missing: this, and perhaps more behind it.
    pub(super) missing: Option<(Arc<Object>, Range<u64>)>,
    /// What is remembered about the key.
    pub(super) note: Option<Note>,
    /// The request is signed for the origin.
    pub(super) signed: Option<Signed>,
}

/// What the origin is asked for.
pub(super) struct Errand {
    pub(super) wanted: Wanted,
    /// What of it is missing here.
    pub(super) rest: Option<Rest>,
    /// What others are waiting for will do.
    pub(super) can_join: bool,
}

/// Why there is nothing to use, and what there is instead.
struct Lack {
    forward: Forward,
    stored: Option<Arc<Object>>,
    missing: Option<(Arc<Object>, Range<u64>)>,
}

impl Lack {
    fn of(forward: Forward) -> Self {
        Self { forward, stored: None, missing: None }
    }
}

impl Engine {
    /// Decides with what is stored for the request's key.
    pub(super) fn decide(&self, request: &Request<'_>, variants: Option<&Variants>) -> Decision {
        let fields = &request.head.fields;
        let object = variants
            .filter(|_| !request.is_for_origin())
            .and_then(|variants| variants.select(fields, &request.additions));
        let lack = match object {
            None => Lack::of(match variants {
                Some(_) if request.is_for_origin() => Forward::Request,
                Some(_) => Forward::VaryMiss,
                None => Forward::UriMiss,
            }),
            Some(object) => match self.use_stored(request, object) {
                Ok(outcome) => return Decision::Stored(object.clone(), outcome),
                Err(lack) => lack,
            },
        };
        if request.demands.only_if_cached {
            return Decision::OnlyIfCached;
        }
        self.decide_to_fetch(request, lack)
    }

    fn use_stored(&self, request: &Request<'_>, object: &Arc<Object>) -> Result<Outcome, Lack> {
        let Some(terms) = object.head.kept_terms() else {
            return Err(Lack::of(Forward::UriMiss));
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
        match usable {
            Use::Fresh => Ok(Outcome::Hit),
            Use::StaleByRequest => Ok(Outcome::Stale(Staleness::MaxStale)),
            // A child has its own to use meanwhile, and wants to know what is new.
            Use::WhileRevalidate if !request.is_child() => {
                Ok(Outcome::Stale(Staleness::WhileRevalidate))
            }
            Use::WhileRevalidate | Use::AfterValidation | Use::AfterValidationByRequest => {
                let is_left_in_peace = matches!(
                    self.notes.about(request.about(false)),
                    Some(Note::Failing { until, .. }) if Instant::now() < until
                );
                let may_stand_in = terms.may_stand_in(Trouble::Unreachable, request.now)
                    && (terms.may_be_passed_down(request.now) || !request.is_child());
                if is_left_in_peace && may_stand_in {
                    return Ok(Outcome::Stale(Staleness::IfError));
                }
                let is_wish = usable == Use::AfterValidationByRequest;
                let forward = if is_wish { Forward::Request } else { Forward::Stale };
                Err(Lack { forward, stored: Some(object.clone()), missing: None })
            }
        }
    }

    fn decide_to_fetch(&self, request: &Request<'_>, lack: Lack) -> Decision {
        let note = self.notes.about(request.about(request.has_authorization()));
        if let Some(Note::Failing { until, fault: Some(fault), .. }) = note
            && Instant::now() < until
        {
            return Decision::Failed(fault);
        }
        let Lack { forward, stored, missing } = lack;
        let signed = signed::signed(request.head);
        let is_refused = matches!(note, Some(Note::Refused(_)));
        let is_private = request.demands.no_store
            || request.is_for_origin()
            || signed.is_some_and(|signed| signed.covers_conditions)
            || is_refused && stored.is_none();
        let forward = if is_refused && is_private { Forward::Bypass } else { forward };
        Decision::Fetch(Box::new(Reason { forward, is_private, stored, missing, note, signed }))
    }

    /// What the origin is asked for. `alone` is for one whom the answers that others share did not
    /// fit.
    pub(super) fn errand(&self, request: &Request<'_>, reason: &Reason, alone: bool) -> Errand {
        let fields = &request.head.fields;
        let is_private = reason.is_private;
        let missing = reason.missing.as_ref().filter(|_| !is_private);
        let rest = missing.map(|(object, gap)| Rest::of(object, gap.clone()));
        let wanted = match request.ranges() {
            _ if request.is_head() => Wanted::Head,
            _ if rest.as_ref().is_some_and(|rest| rest.is_among_chunks()) => {
                rest.as_ref().map_or(Wanted::Whole, Rest::wanted)
            }
            // What is stored is confirmed as a whole, and several parts are cut out of the whole.
            Some(asked) if asked.len() == 1 && reason.stored.is_none() => {
                let is_signed = reason.signed.is_some();
                let is_exact = alone || is_private || is_signed || self.store.disk().is_none();
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
        // Nobody pays for another's odd head, and what each has to ask for is not waited for.
        let is_not_shared = matches!(reason.note, Some(Note::Refused(_) | Note::Unshared));
        let can_join = !(alone || is_private || is_not_shared || !is_ordinary(fields));
        Errand { wanted, rest, can_join }
    }
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
