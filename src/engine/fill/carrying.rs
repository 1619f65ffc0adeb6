//! The content of an answer on its way: to those who read it, and to where it is kept.

use super::{Came, Rest, Task};
use crate::engine::Change;
use crate::engine::arrival::{Arrival, Over};
use crate::engine::body::{Body, Chunks};
use crate::engine::in_flight::{Answer, Verdict, Wanted};
use crate::engine::ledger::Claim;
use crate::engine::notes::Source;
use crate::engine::object::{Head, HeadParts, Object};
use crate::engine::spill::{SPILL_BYTES, Spill};
use crate::rules::cache_control::Demands;
use crate::rules::conditional;
use crate::rules::forwarding;
use crate::rules::range::ContentRange;
use crate::rules::storing::{Refusal, Terms};
use crate::transport::Source as _;
use crate::upstream::{Connection, Fault, Way};
use crate::wire::Framing;
use crate::wire::body::Frame;
use crate::wire::fields::Fields;
use crate::wire::response::ResponseHead;
use bytes::Bytes;
use std::sync::Arc;
use std::time::SystemTime;

/// To read so much that nobody wants is cheaper than a new connection.
const WORTH_READING_BYTES: u64 = 64 * 1024;

/// So much that nobody reads at the moment is fetched to its end for whoever comes next; of more
/// than this the rest can be fetched when somebody does.
const WORTH_KEEPING_BYTES: u64 = 16 * 1024 * 1024;

/// How often one content is gone on with after it broke off.
const RESUMED_MAX: u32 = 3;

/// One object takes at most this share of the disk.
pub(super) const DISK_SHARE: u64 = 2;

/// Where what comes is kept.
enum Keeping {
    Nothing,
    InMemory,
    OnDisk(Spill),
}

impl Keeping {
    /// More than one object may have of the disk.
    fn is_too_large(&self) -> bool {
        let Self::OnDisk(spill) = self else { return false };
        spill.at() > spill.chunks().disk().capacity() / DISK_SHARE
    }

    fn chunks(&self) -> Option<&Chunks> {
        match self {
            Self::OnDisk(spill) => Some(spill.chunks()),
            Self::Nothing | Self::InMemory => None,
        }
    }

    /// Takes to the disk what has come into memory.
    async fn take(&mut self, arrival: &Arrival, pieces: Vec<Bytes>) {
        let Self::OnDisk(spill) = self else { return };
        for piece in pieces {
            if !spill.push(piece).await {
                arrival.is_lost_up_to(spill.at());
            }
        }
    }
}

/// Why a content was not read to its end.
enum Stop {
    /// It is not kept, and nobody reads it.
    Unwanted,
    /// Nobody reads it, and what came of it can be gone on with later.
    Abandoned,
    Broken(Fault),
}

impl Stop {
    fn fault(&self) -> Fault {
        match self {
            Self::Unwanted | Self::Abandoned => Fault::Truncated,
            Self::Broken(fault) => *fault,
        }
    }
}

impl Task {
    /// Feeds the content to whoever reads it, and keeps it if it may be kept.
    pub(super) async fn carry(&self, way: &Way<'_>, came: Came, mut connection: Connection) {
        let (answer, mut keeping) = self.answer(&came);
        let Came { response, received, terms, part, .. } = came;
        if self.wanted == Wanted::Head {
            self.head_came(&response, received);
        } else {
            self.note(&answer);
        }
        self.fill.tell(Verdict::Arriving(answer.clone()));
        if !(answer.is_kept || answer.is_shared) {
            // What was to be confirmed and was answered with something else is out of date. What is
            // kept stays on the list, to be doomed if it has to be, also if nobody can join it.
            self.engine.in_flight.finish(&self.fill, || {
                let is_head = self.wanted == Wanted::Head;
                let is_outdated = response.status < 400 && terms.is_err() && !is_head;
                if let Some(stored) = self.stored.as_ref().filter(|_| is_outdated) {
                    let (head, body) = (answer.head.clone(), stored.body.clone());
                    let object = Object { head, body, asked: self.fill.asked };
                    self.replace(stored, &Arc::new(object));
                }
            });
        }
        let mut trailers = match self.read(way, &answer, &mut keeping, &mut connection).await {
            Ok(trailers) => trailers,
            Err(stop) => {
                if let (Stop::Abandoned, Some(place)) = (&stop, answer.place()) {
                    self.keep(&answer, place, keeping);
                }
                // Before it is known to be broken: nobody new joins it.
                self.engine.in_flight.leave(&self.fill);
                return answer.arrival.finish(Over::Broken(stop.fault()));
            }
        };
        if let Some(trailers) = &mut trailers {
            forwarding::trailers(trailers, &response.fields);
        }
        let came = answer.arrival.len_with_last();
        let is_all = part.as_ref().is_none_or(|part| part.part.end - part.part.start == came);
        // One that ended early, or of something that has no end yet, is no part of anything.
        let place = answer.place().or_else(|| part.is_none().then_some((came, 0)));
        if let Some(place) = place.filter(|_| answer.is_kept && is_all) {
            if let Keeping::OnDisk(spill) = &mut keeping
                && place.0 == spill.at()
            {
                spill.finish().await;
            }
            // Stored before the last reader is told, so that its next request finds it.
            self.keep(&answer, place, keeping);
        }
        way.is_over(&connection.to);
        // For the next request of whoever is told now.
        self.configured.upstream.release(connection);
        answer.arrival.finish(Over::Whole(trailers));
    }

    /// What everybody is told who waits for it, and how it is going to be kept.
    fn answer(&self, came: &Came) -> (Arc<Answer>, Keeping) {
        let Came { response, received, terms, withheld, part, before } = came;
        let length = match response.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::UntilClose => None,
        };
        let is_head = self.wanted == Wanted::Head;
        let total = match part {
            Some(part) => part.total,
            None if is_head => {
                response.fields.tokens("content-length").next().and_then(crate::wire::digits)
            }
            None => length,
        };
        let (head, once) = Head::new(&HeadParts {
            response,
            request: &self.request.fields,
            additions: &self.additions,
            terms: *terms,
            withheld,
            now: received.now,
        });
        let head = match before {
            Some(before) => head.with_tags_of(&before.head),
            None => head,
        };
        let terms = head.terms();
        let start = part.as_ref().map_or(0, |part| part.part.start);
        let may_keep = terms.is_ok() && !is_head;
        let (claim, keeping) = if may_keep {
            self.room(&head, part.as_ref(), length, received.now)
        } else {
            (None, Keeping::Nothing)
        };
        let is_kept = !matches!(keeping, Keeping::Nothing);
        // Only what may be used without asking again is for others (RFC 9111, section 4): the next
        // one's question, with other cookies, may get another answer.
        let may_be_used = |terms: &Terms| terms.may_be_used(&Demands::default(), received.now);
        let is_shared = terms.as_ref().is_ok_and(may_be_used) && !is_head;
        // Who waited for an error without a time would only ask a server in trouble again.
        let is_trouble = response.status >= 500 && terms.err() == Some(Refusal::NoFreshness);
        let fault_for_others = is_trouble.then_some(Fault::ServerError(response.status));
        let refusal = terms.err().or(Some(Refusal::TooLarge).filter(|_| !is_kept && !is_head));
        refusal.inspect(|why| self.engine.metrics.unstored(*why));
        let answer = Arc::new(Answer {
            arrival: Arrival::new(start, claim, keeping.chunks().cloned()),
            head: Arc::new(head),
            once,
            before: before.clone(),
            part: part.as_ref().map(|part| part.part.clone()),
            asked: self.fill.asked,
            total,
            length: length.filter(|_| !is_head).or(total.filter(|_| is_head)),
            content_range: content_range_told(response),
            is_widened: matches!(self.wanted, Wanted::Part { is_widened: true, .. }),
            is_kept,
            refusal,
            is_shared,
            fault_for_others,
            origin_status: response.status,
        });
        (answer, keeping)
    }

    /// Room for what comes: in memory if it fits, else on the disk; for what others lie beside on
    /// the disk, there.
    fn room(
        &self,
        head: &Head,
        part: Option<&ContentRange>,
        length: Option<u64>,
        now: SystemTime,
    ) -> (Option<Claim>, Keeping) {
        let engine = &self.engine;
        let disk = engine.store.disk().filter(|disk| disk.is_storing());
        let total = part.map_or(length, |part| part.total);
        let place = disk.and_then(|_| self.place_on_disk(head, total?, now));
        // A part of what as a whole is too large is kept with the other parts.
        let is_for_disk = total.is_some_and(|total| total > engine.object_bytes_max);
        if place.is_none() && !(is_for_disk && disk.is_some()) {
            let claim = engine.arriving.claim(engine.object_bytes_max, length.unwrap_or(0));
            if claim.is_some() {
                return (claim, Keeping::InMemory);
            }
        }
        // A part of what has no end yet has no place.
        let may_spill = part.is_none_or(|part| part.total.is_some())
            && disk.is_some_and(|disk| total.unwrap_or(0) <= disk.capacity() / DISK_SHARE);
        let disk = disk.filter(|_| may_spill);
        let room = disk.and_then(|_| engine.arriving.claim(SPILL_BYTES, SPILL_BYTES));
        let start = part.map_or(0, |part| part.part.start);
        let spill = disk.zip(room).map(|(disk, room)| {
            let chunks = place.unwrap_or_else(|| Chunks::new(disk));
            Spill::new(chunks, start, room)
        });
        (None, spill.map_or(Keeping::Nothing, Keeping::OnDisk))
    }

    /// Where other parts of the same content lie.
    fn place_on_disk(&self, head: &Head, total: u64, now: SystemTime) -> Option<Chunks> {
        let into = self.rest.as_ref().and_then(|rest| rest.into.as_ref());
        let seen = self.seen.as_ref();
        let object = into.or_else(|| {
            seen.and_then(|seen| seen.value.select(&self.request.fields, &self.additions))
        })?;
        let is_same = object.body.total() == total
            && conditional::are_the_same_bytes(&object.head.fields, &head.fields, now);
        object.body.chunks().filter(|_| is_same && !object.body.is_in_memory()).cloned()
    }

    /// Reads the content to its end, and hands it to its readers.
    async fn read(
        &self,
        way: &Way<'_>,
        answer: &Arc<Answer>,
        keeping: &mut Keeping,
        connection: &mut Connection,
    ) -> Result<Option<Fields>, Stop> {
        let (arrival, length) = (&answer.arrival, answer.length);
        let is_resumable = answer.place().is_some()
            && answer.head.fields.tokens("accept-ranges").any(|unit| unit == b"bytes")
            && conditional::strong_validator(&answer.head.fields, SystemTime::now()).is_some();
        let mut resumed = 0;
        loop {
            if arrival.has_room().await.is_err() && !self.is_worth_reading(answer, length) {
                return Err(Stop::Unwanted);
            }
            if matches!(keeping, Keeping::OnDisk(_)) && arrival.is_abandoned() {
                let came = arrival.len();
                match length {
                    Some(length)
                        if is_resumable && length.saturating_sub(came) > WORTH_KEEPING_BYTES =>
                    {
                        return Err(Stop::Abandoned);
                    }
                    // It may have no end.
                    None if came > WORTH_KEEPING_BYTES => return Err(Stop::Unwanted),
                    _ => {}
                }
            }
            match connection.answer.next().await {
                Ok(Some(Frame::Data(data))) => {
                    if matches!(keeping, Keeping::InMemory) && !arrival.has_claimed(data.len()) {
                        self.spill(answer, keeping).await;
                    }
                    let is_last = connection.answer.is_done();
                    let pieces = if is_last {
                        arrival.hold_last(data)
                    } else {
                        let came = arrival.len();
                        arrival.push(data, length.map(|length| length.saturating_sub(came)))
                    };
                    keeping.take(arrival, pieces).await;
                    if keeping.is_too_large() {
                        *keeping = Keeping::Nothing;
                        arrival.is_lost_up_to(u64::MAX);
                    }
                    if is_last {
                        return Ok(None);
                    }
                }
                Ok(Some(Frame::Trailers(fields))) => return Ok(Some(fields)),
                Ok(None) => return Ok(None),
                Err(error) => {
                    let fault = Fault::of_body(&error);
                    way.broke_off(&connection.to, fault);
                    let can_go_on = resumed < RESUMED_MAX && fault != Fault::Overtime;
                    let rest = self.rest_of(answer).filter(|_| can_go_on);
                    let onward = rest.and_then(|rest| Some((way.onward(&connection.to)?, rest)));
                    let (onward, rest) = onward.ok_or(Stop::Broken(fault))?;
                    resumed += 1;
                    // Its place may be the one that the next request waits for.
                    connection.to.leaves_its_place();
                    let next = self.go_on(onward, &rest).await;
                    *connection = next.map_err(|_| Stop::Broken(fault))?;
                }
            }
        }
    }

    /// What has not come yet, if that can be asked for: of what others may have, too, since what was
    /// made for one request is not there again. Only a strong entity tag will do: servers of one
    /// origin may give the same time to different bytes.
    fn rest_of(&self, answer: &Answer) -> Option<Rest> {
        let end = match &answer.part {
            Some(part) => part.end,
            None => answer.total?,
        };
        let at = answer.start() + answer.arrival.len();
        let head = answer.head.clone();
        let is_content = matches!(answer.origin_status, 200 | 206) && head.terms().is_ok();
        let tag = head.fields.first("etag").filter(|tag| tag.starts_with(b"\""));
        let can_be_asked_for = is_content && tag.is_some() && at < end;
        let (before, into, total) = (None, None, answer.total);
        can_be_asked_for.then(|| Rest { part: at..end, head, before, into, total })
    }

    /// What came does not fit into memory: it goes to the disk, if there is one, with all that is
    /// still to come.
    async fn spill(&self, answer: &Answer, keeping: &mut Keeping) {
        *keeping = Keeping::Nothing;
        let disk = self.engine.store.disk().filter(|disk| disk.is_storing());
        let Some(disk) = disk.filter(|_| answer.part.is_none() || answer.total.is_some()) else {
            return;
        };
        let Some(room) = self.engine.arriving.claim(SPILL_BYTES, SPILL_BYTES) else { return };
        let chunks = Chunks::new(disk);
        let pieces = answer.arrival.spill(chunks.clone());
        *keeping = Keeping::OnDisk(Spill::new(chunks, answer.start(), room));
        keeping.take(&answer.arrival, pieces).await;
    }

    fn is_worth_reading(&self, answer: &Answer, length: Option<u64>) -> bool {
        length
            .is_some_and(|length| length.saturating_sub(answer.arrival.len()) < WORTH_READING_BYTES)
    }

    fn note(&self, answer: &Answer) {
        // Answers to the client's own conditions say nothing about the next one's.
        if matches!(answer.origin_status, 304 | 412 | 416) {
            return;
        }
        let (notes, about) = (&self.engine.notes, self.about());
        let source = || Source { asked: answer.asked, tags: answer.head.extras().tags.clone() };
        let note = || match answer.head.terms() {
            Ok(_) if answer.is_shared => {
                notes.succeeded(about);
                if let Some(refusal) = answer.refusal {
                    notes.unkept(about, source(), refusal);
                }
            }
            Ok(_) => notes.unshared(about, source()),
            Err(refusal) if answer.fault_for_others.is_some() => {
                notes.unkept(about, source(), refusal);
            }
            Err(refusal) => notes.refused(about, source(), refusal),
        };
        self.engine.in_flight.unless_doomed(&self.fill, note);
    }

    /// Puts what came into the store: how long the whole is, and where this part of it begins.
    fn keep(&self, answer: &Answer, (total, start): (u64, u64), keeping: Keeping) {
        // What somebody had begun to read may be purged by now: its parts alone make no object.
        if self.rest.as_ref().is_some_and(|rest| rest.before.is_none()) {
            return;
        }
        let (claim, body) = match keeping {
            Keeping::Nothing => return,
            Keeping::InMemory => {
                let Some((pieces, claim)) = answer.arrival.take_all() else { return };
                let body = match &pieces[..] {
                    [_] => Body::of_blocks(total, start, pieces),
                    _ => Body::new(total, start, pieces),
                };
                (Some(claim), body)
            }
            Keeping::OnDisk(spill) => (None, Body::on_disk(total, spill.chunks().clone())),
        };
        let new = Object { head: answer.head.clone(), body, asked: self.fill.asked };
        self.engine.in_flight.finish(&self.fill, || {
            let change = Change {
                seen: self.seen.as_ref(),
                outdated: self.stored.as_ref(),
                request: &self.request.fields,
            };
            let stored = self.engine.keep(&self.key, new, &change);
            if self.engine.has_in_memory(&self.key, &stored) {
                answer.arrival.is_stored_in(stored.body.clone());
            } else if let Some(claim) = claim {
                // Others were found to be more useful: it stays with those who read it.
                answer.arrival.is_held_by(claim);
            }
        });
    }
}

fn content_range_told(response: &ResponseHead) -> Option<Bytes> {
    let told = response.fields.first("content-range").filter(|_| response.status == 206);
    told.map(Bytes::copy_from_slice)
}
