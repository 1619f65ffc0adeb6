//! Answers out of the cache: stored objects at once, and those that are being fetched as they come.

mod plan;

use super::client::{Ended, Reply};
use super::content::{Content, Rests};
use super::own::{Own, Recipient};
use super::shape::{self, Shape, Story};
use crate::access_log::Record;
use crate::config::Limits;
use crate::engine::{
    Answer, Engine, Event, Found, Head, Object, ReadEnd, Request, Ticket, Verdict,
};
use crate::metrics::Metrics;
use crate::outcome::{Forward, Outcome, Staleness};
use crate::rules::forwarding::{self, Onward};
use crate::rules::storing::Refusal;
use crate::transport::WriteError;
use crate::upstream::Fault;
use crate::wire::body::Frame;
use crate::wire::{Framing, Version};
use pingora::server::ShutdownWatch;
use plan::{Plan, Segment, Told};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Answers of others that may turn out not to fit before a client asks for itself alone.
const ROUNDS_SHARED: usize = 3;

/// One request to be answered out of the cache.
pub(super) struct Exchange<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) request: Request<'a>,
    pub(super) limits: &'a Limits,
    pub(super) metrics: &'a Metrics,
    pub(super) shutdown: &'a ShutdownWatch,
}

/// What became of an answer.
enum Said {
    Ended(Ended),
    /// Nothing is out: what was stored cannot be read, and is stored no more.
    Unread,
}

/// What a waiting client came to.
enum Waited {
    Said(Said),
    /// What came does not fit this client.
    Again,
    /// Nor would anything else that was not asked for in its own words.
    Alone,
}

impl Waited {
    fn ended(ended: Ended) -> Self {
        Self::Said(Said::Ended(ended))
    }
}

impl Exchange<'_> {
    /// Answers with what is stored, if there is something, or says what there is instead.
    pub(super) async fn at_once(
        &self,
        reply: &mut impl Reply,
        record: &mut Record<'_>,
    ) -> Result<Ended, Found> {
        let found = self.engine.lookup(&self.request, false).await;
        let Found::Stored(object, outcome, tier) = &found else { return Err(found) };
        record.tier = Some(*tier);
        let (story, now) = (Story::new(*outcome), self.request.now);
        match self.send_stored(reply, object, story, &[], now, record).await {
            Ok(Said::Unread) => Err(self.engine.lookup(&self.request, false).await),
            Ok(Said::Ended(ended)) => Ok(ended),
            Err(error) => Ok(error.into()),
        }
    }

    /// Waits for what others, or a fill of its own, bring.
    pub(super) async fn fetched(
        &self,
        found: Found,
        reply: &mut impl Reply,
        record: &mut Record<'_>,
    ) -> Ended {
        self.fetch(found, reply, record).await.unwrap_or_else(Ended::from)
    }

    async fn fetch(
        &self,
        found: Found,
        reply: &mut impl Reply,
        record: &mut Record<'_>,
    ) -> Result<Ended, WriteError> {
        let (mut found, mut rounds) = (found, 0);
        loop {
            match found {
                Found::Stored(object, outcome, tier) => {
                    record.tier = Some(tier);
                    let story = Story { is_collapsed: true, ..Story::new(outcome) };
                    let now = SystemTime::now();
                    match self.send_stored(reply, &object, story, &[], now, record).await? {
                        Said::Ended(ended) => return Ok(ended),
                        // Whoever could try again has.
                        Said::Unread if rounds > ROUNDS_SHARED => {
                            return Ok(Ended::Broken("client_lagged"));
                        }
                        Said::Unread => {}
                    }
                }
                Found::Wait(ticket, forward) => {
                    match self.wait(ticket, forward, reply, record).await? {
                        Waited::Said(Said::Unread) | Waited::Again => {}
                        Waited::Said(Said::Ended(ended)) => return Ok(ended),
                        Waited::Alone => rounds = ROUNDS_SHARED,
                    }
                }
                Found::Failed(fault) => {
                    return self.send_own(reply, Own::Origin(fault, None), record).await;
                }
                Found::OnlyIfCached => {
                    return self.send_own(reply, Own::OnlyIfCached, record).await;
                }
                Found::TooManyFills => {
                    return self.send_own(reply, Own::TooManyFills, record).await;
                }
            }
            rounds += 1;
            // Whoever is alone gets whatever comes.
            found = self.engine.lookup(&self.request, rounds >= ROUNDS_SHARED).await;
        }
    }

    async fn wait(
        &self,
        mut ticket: Ticket,
        forward: Forward,
        reply: &mut impl Reply,
        record: &mut Record<'_>,
    ) -> Result<Waited, WriteError> {
        // Whatever was found before could not be read.
        record.tier = None;
        let began = Instant::now();
        let verdict = loop {
            let told = tokio::select! {
                biased;
                told = ticket.next() => told,
                // Whoever has gone waits for nothing; the fill goes on without.
                () = reply.gone() => return Ok(Waited::ended(Ended::Broken("client_gone"))),
            };
            match told {
                Event::Verdict(verdict) => break verdict,
                // A 1.0 client knows no interim answers (RFC 9110, section 15.2).
                Event::Interim(head) if self.request.head.version != Version::Http10 => {
                    let onward = self.onward(Framing::Empty);
                    let now = self.request.now;
                    reply.interim(&forwarding::response_head(&head, &onward, now, b"")).await?;
                }
                Event::Interim(_) => {}
            }
        };
        let now = SystemTime::now();
        let is_collapsed = !ticket.is_owner();
        record.origin_duration = Some(began.elapsed()).filter(|_| !is_collapsed);
        if is_collapsed {
            self.metrics.coalesced();
        }
        let story = Story { is_collapsed, ..Story::new(Outcome::Miss(forward)) };
        let said = match verdict {
            Verdict::Arriving(answer) => {
                if !self.engine.fits(&self.request, &answer, ticket.is_owner()) {
                    let Some(fault) = answer.fault_for_others else { return Ok(Waited::Again) };
                    let own = Own::Origin(fault, Some(forward));
                    return Ok(Waited::ended(self.send_own(reply, own, record).await?));
                }
                return self.stream(&answer, &mut ticket, story, reply, record).await;
            }
            Verdict::Confirmed(object, once) => {
                if is_collapsed
                    && !(self.request.is_answered_by(&object.head, true, now)
                        && self.request.is_covered_by(&object)
                        && !self.engine.is_purged(self.request.key, &object.head, object.asked))
                {
                    return Ok(Waited::Again);
                }
                let once = if is_collapsed { &[] } else { &once[..] };
                let outcome = Outcome::Revalidated(forward);
                let story = Story { outcome, origin_status: Some(304), ..story };
                record.tier = Some(object.tier());
                self.send_stored(reply, &object, story, once, now, record).await?
            }
            Verdict::StandIn(object, fault) => {
                let request = &self.request;
                let terms = object.head.kept_terms();
                let is_withheld = terms.is_some_and(|terms| !terms.may_be_passed_down(now));
                if is_withheld && request.is_child() {
                    let Some(fault) = fault else { return Ok(Waited::Again) };
                    let own = Own::Origin(fault, Some(forward));
                    return Ok(Waited::ended(self.send_own(reply, own, record).await?));
                }
                let is_for_it = object.head.answers(&request.head.fields, &request.additions)
                    && request.is_covered_by(&object)
                    && !self.engine.is_gone(request.key, &object);
                if is_collapsed && !is_for_it {
                    return Ok(Waited::Again);
                }
                let outcome = Outcome::Stale(Staleness::IfError);
                let story = Story { outcome, forward: Some(forward), ..story };
                record.tier = Some(object.tier());
                self.send_stored(reply, &object, story, &[], now, record).await?
            }
            // A part that did not go on where another client was: that one's trouble.
            Verdict::Failed(Fault::Garbage(_)) if is_collapsed && forward == Forward::Partial => {
                return Ok(Waited::Again);
            }
            Verdict::Failed(fault) => {
                let own = Own::Origin(fault, Some(forward));
                Said::Ended(self.send_own(reply, own, record).await?)
            }
        };
        Ok(Waited::Said(said))
    }

    /// A stored object, or the parts of it that are asked for.
    async fn send_stored(
        &self,
        reply: &mut impl Reply,
        object: &Arc<Object>,
        story: Story,
        once: &[u8],
        now: SystemTime,
        record: &mut Record<'_>,
    ) -> Result<Said, WriteError> {
        let (head, total) = (&object.head, Some(object.body.total()));
        let shape = shape::shape(&self.request, head, total);
        let ttl = head.kept_terms().map(|terms| terms.seconds_left(now));
        let story = Story { ttl, ..story };
        let (part, length) = (0..u64::MAX, total);
        let told = Told { shape, head, total, part, length, story, once, now };
        let plan = match told.plan(&self.request, self.may_stay(), record) {
            Ok(plan) => plan,
            Err(own) => {
                let sent = self.send_own_about(reply, own, (story, head), record).await?;
                return Ok(Said::Ended(sent));
            }
        };
        self.send(reply, plan, Content::Stored(Cow::Borrowed(object)), record).await
    }

    /// An answer that is on its way.
    async fn stream(
        &self,
        answer: &Arc<Answer>,
        ticket: &mut Ticket,
        story: Story,
        reply: &mut impl Reply,
        record: &mut Record<'_>,
    ) -> Result<Waited, WriteError> {
        let (head, now) = (&answer.head, SystemTime::now());
        // Of a part that cannot be placed only the origin's words are known.
        let is_whole = answer.content_range.is_none() || answer.before.is_some();
        let shape = match (&answer.content_range, shape::shape(&self.request, head, answer.total)) {
            // What the origin sends holds what was asked for.
            (Some(_), Shape::Part(part)) if answer.is_widened && answer.holds(&part) => {
                Shape::Part(part)
            }
            // The part that the origin sends is the one that was asked for.
            (Some(told), Shape::Whole | Shape::Part(_) | Shape::Parts(_)) if !is_whole => {
                Shape::PartAsTold(told.clone())
            }
            // Parts in any order need what may have gone by already.
            (_, Shape::Parts(_)) if !answer.arrival.is_kept() => Shape::Whole,
            (_, shape) => shape,
        };
        // The range was widened for the chunks, and what came has less, or nobody can tell what.
        let is_asked_for_alone = matches!(shape, Shape::PartAsTold(_)) && answer.is_widened;
        if is_asked_for_alone {
            return Ok(Waited::Alone);
        }
        // The client's place comes first: there may be none any more.
        let place = match ticket.take_reader().or_else(|| answer.arrival.reader(answer.start())) {
            Some(place) => place,
            None => return Ok(Waited::Again),
        };
        let terms = head.kept_terms();
        let story = Story {
            ttl: terms.filter(|_| answer.is_kept).map(|t| t.seconds_left(now)),
            origin_status: Some(answer.origin_status),
            is_stored: answer.is_kept,
            detail: answer.refusal.map(Refusal::label),
            ..story
        };
        let once = if ticket.is_owner() { &answer.once[..] } else { &[] };
        let length = if is_whole { answer.total } else { answer.length };
        let (total, part) = (answer.total, answer.part.clone().unwrap_or(0..u64::MAX));
        let told = Told { shape, head, total, part, length, story, once, now };
        let plan = match told.plan(&self.request, self.may_stay(), record) {
            Ok(plan) => plan,
            Err(own) => {
                let sent = self.send_own_about(reply, own, (story, head), record).await?;
                return Ok(Waited::ended(sent));
            }
        };
        let object = answer.before.clone();
        let content = Content::Arriving { answer: answer.clone(), place, object };
        Ok(Waited::Said(self.send(reply, plan, content, record).await?))
    }

    /// Sends head and content as planned. An answer of which the client has seen nothing has no
    /// status.
    async fn send(
        &self,
        reply: &mut impl Reply,
        plan: Plan,
        content: Content<'_>,
        record: &mut Record<'_>,
    ) -> Result<Said, WriteError> {
        let (mut plan, sent_before) = (plan, reply.sent_bytes());
        shape::identify(&mut plan.head, record);
        let said = self.send_planned(reply, plan, content).await;
        if reply.sent_bytes() == sent_before {
            record.status = 0;
        }
        said
    }

    async fn send_planned(
        &self,
        reply: &mut impl Reply,
        mut plan: Plan,
        mut content: Content<'_>,
    ) -> Result<Said, WriteError> {
        reply.begin(std::mem::take(&mut plan.head), plan.framing);
        let mut trailers = None;
        let (mut rests, sent_before) = (Rests::default(), reply.sent_bytes());
        for Segment { before, mut part } in std::mem::take(&mut plan.segments) {
            reply.add(&before);
            while part.start < part.end {
                let ready = match content.ready(&mut part) {
                    Some(ready) => ready,
                    None => {
                        // What there is does not wait for what is not there yet.
                        if !matches!(content, Content::Stored(_)) {
                            reply.flush().await?;
                        }
                        tokio::select! {
                            biased;
                            ready = content.wait(&mut part) => ready,
                            () = reply.gone() => return Ok(plan.broken("client_gone")),
                        }
                    }
                };
                match ready {
                    Ok(pieces) => reply.pieces(&pieces).await?,
                    Err(ReadEnd::Whole(found)) if part.end == u64::MAX => {
                        trailers = found;
                        break;
                    }
                    Err(ReadEnd::Lagged) => {
                        let rest = if rests.may_go_on(&content, part.start) {
                            self.go_on(&content, &part).await
                        } else {
                            None
                        };
                        let Some(rest) = rest else {
                            let is_unread = reply.sent_bytes() == sent_before
                                && matches!(content, Content::Stored(_));
                            return Ok(if is_unread {
                                Said::Unread
                            } else {
                                plan.broken("client_lagged")
                            });
                        };
                        content = rest;
                    }
                    Err(ReadEnd::Broken(fault)) => return Ok(plan.broken(fault.label())),
                    Err(ReadEnd::Whole(_)) => {
                        return Ok(plan.broken(Fault::Truncated.label()));
                    }
                }
            }
        }
        match trailers {
            Some(trailers) => reply.frame(&Frame::Trailers(trailers)).await?,
            None => reply.end().await?,
        }
        Ok(Said::Ended(Ended::Sent(plan.persistent)))
    }

    /// The rest of a content that went by or was let go of before this client had it: fetched for
    /// it alone, if it is certain that it is the rest of the same bytes.
    async fn go_on(&self, content: &Content<'_>, part: &Range<u64>) -> Option<Content<'static>> {
        let is_unclear = |answer: &Answer| answer.content_range.is_some() && answer.part.is_none();
        if matches!(content, Content::Arriving { answer, .. } if is_unclear(answer)) {
            return None;
        }
        let object = content.object();
        // What was found there a moment ago and could not be read is not waited for again.
        if let Some(object) = object
            && matches!(content, Content::Arriving { .. })
            && object.body.has(&(part.start..part.start + 1))
        {
            return Some(Content::Stored(Cow::Owned(object.clone())));
        }
        let mut ticket = self.engine.fetch_rest(
            &self.request,
            content.head(),
            (object, content.total()),
            part,
        )?;
        let answer = loop {
            match ticket.next().await {
                Event::Verdict(Verdict::Arriving(answer)) => break answer,
                Event::Verdict(_) => return None,
                Event::Interim(_) => {}
            }
        };
        if !answer.is_rest_of(content.head(), part.start, SystemTime::now()) {
            return None;
        }
        let place = ticket.take_reader().or_else(|| answer.arrival.reader(part.start))?;
        Some(Content::Arriving { answer, place, object: object.cloned() })
    }

    fn onward(&self, framing: Framing) -> Onward {
        plan::onward(&self.request, framing, self.may_stay())
    }

    /// The connection may be used again, as far as the server is concerned.
    fn may_stay(&self) -> bool {
        !*self.shutdown.borrow()
    }

    fn hsts_line(&self) -> &[u8] {
        self.request.site.hsts_line(self.request.scheme)
    }

    async fn send_own(
        &self,
        reply: &mut impl Reply,
        own: Own,
        record: &mut Record<'_>,
    ) -> Result<Ended, WriteError> {
        let persistent = self.onward(Framing::Empty).persistent;
        let Request { head, site, scheme, .. } = self.request;
        let to = Recipient::of_site(head, persistent, site, scheme);
        own.send(reply, to, record).await?;
        Ok(Ended::Sent(persistent))
    }

    /// The same about something that is there, with what went before.
    async fn send_own_about(
        &self,
        reply: &mut impl Reply,
        own: Own,
        (story, head): (Story, &Head),
        record: &mut Record<'_>,
    ) -> Result<Ended, WriteError> {
        let persistent = self.onward(Framing::Empty).persistent;
        let story = Some((story, &head.extras().told_before[..]));
        let to =
            Recipient { story, ..Recipient::of(self.request.head, persistent, self.hsts_line()) };
        own.send(reply, to, record).await?;
        Ok(Ended::Sent(persistent))
    }
}

impl Plan {
    /// It cannot be brought to its end.
    fn broken(&self, reason: &'static str) -> Said {
        Said::Ended(match self.framing {
            Framing::UntilClose => Ended::Reset(reason),
            _ => Ended::Broken(reason),
        })
    }
}
