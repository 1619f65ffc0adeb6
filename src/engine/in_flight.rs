//! Who is already fetching what. A fill is listed from its beginning until its object is in the
//! store or known not to be for others; whoever wants the same waits for it.

use super::arrival::{Arrival, ArrivalReader};
use super::by_hash::{self, ByHash};
use super::object::{Head, Object};
use crate::rules::conditional;
use crate::rules::storing::Refusal;
use crate::rules::vary::Variant;
use crate::store::purges::{Fate, Purges};
use crate::survive;
use crate::upstream::Fault;
use crate::wire::fields::Fields;
use crate::wire::response::ResponseHead;
use bytes::Bytes;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::sync::Notify;

/// Locks that the keys are spread over.
const SHARDS: usize = 32;
/// Fetches for one key that people are told of.
const TOLD_MAX: usize = 64;

/// What a fill asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it.
    Whole,
    /// A part that is not known to be one of anything.
    Part {
        /// Range and If-Range.
        lines: Bytes,
        /// The Range is wider than the client's.
        is_widened: bool,
    },
    /// Chunks that are missing: of which generation, and from where on.
    Chunks(u64, u64),
    /// The head alone.
    Head,
}

/// What makes two requests want the same.
#[derive(Clone, Debug)]
pub(super) struct Need {
    /// How much of it.
    pub wanted: Wanted,
    /// Requests with credentials do not wait for those without, nor the other way round.
    pub has_authorization: bool,
    /// What the site adds to the key.
    pub additions: Box<[u8]>,
    /// From where (`Upstream::number`).
    pub whence: u64,
    /// Which fields are known to select between answers, as the request has them.
    pub expected: Variant,
}

/// One fetch on its way.
pub(super) struct Fill {
    /// What it is listed under, and the hash of that.
    key: Box<[u8]>,
    hash: u64,
    need: Need,
    /// The number of the moment in which it began: what was purged since is no business of its.
    pub(super) asked: u64,
    /// Nobody else can wait for it.
    is_alone: bool,
    stage: Mutex<Stage>,
    changed: Notify,
    /// Somebody said meanwhile that what it fetches is out of date.
    is_doomed: AtomicBool,
    /// It has been taken off the list.
    is_finished: AtomicBool,
}

struct Stage {
    interims: Vec<Arc<ResponseHead>>,
    verdict: Option<Verdict>,
    /// The client that it was begun for is still there.
    has_owner: bool,
    /// Its place in the arrival.
    owners_reader: Option<ArrivalReader>,
}

/// What came of a fill.
#[derive(Clone)]
pub enum Verdict {
    /// An answer begins.
    Arriving(Arc<Answer>),
    /// The origin confirmed what is stored; lines for the first client only.
    Confirmed(Arc<Object>, Bytes),
    /// The origin is in trouble; what is stored may be used. Without a fault it has answered.
    StandIn(Arc<Object>, Option<Fault>),
    /// There is no answer.
    Failed(Fault),
}

/// An answer on its way.
pub struct Answer {
    /// Its head.
    pub head: Arc<Head>,
    /// Lines for the first client only.
    pub once: Bytes,
    /// Its content, or the part of it that is fetched.
    pub arrival: Arc<Arrival>,
    /// What comes before that part and was there already.
    pub before: Option<Arc<Object>>,
    /// Which part of the whole the origin sends, if it is not the whole.
    pub part: Option<Range<u64>>,
    /// The number of the moment in which the origin was asked.
    pub asked: u64,
    /// How long the whole is, where that is known.
    pub total: Option<u64>,
    /// How long what the origin sends is, where that is known.
    pub length: Option<u64>,
    /// What the origin said in the Content-Range of a part.
    pub content_range: Option<Bytes>,
    /// That part may be more than anybody has asked for.
    pub is_widened: bool,
    /// It is going to be in the store.
    pub is_kept: bool,
    /// Why not, if there is a reason.
    pub refusal: Option<Refusal>,
    /// Others than the first client may have it.
    pub is_shared: bool,
    /// What they are told where they may not, and asking again would only make it worse.
    pub fault_for_others: Option<Fault>,
    /// The status that the origin sent.
    pub origin_status: u16,
}

impl Answer {
    /// Where what the origin sends begins.
    pub fn start(&self) -> u64 {
        self.part.as_ref().map_or(0, |part| part.start)
    }

    /// Whether these bytes are among what the origin sends.
    pub fn holds(&self, part: &Range<u64>) -> bool {
        let own = self.part.as_ref();
        own.is_none_or(|own| own.start <= part.start && part.end <= own.end)
    }

    /// Whether it goes on at this place with the content of a head.
    pub fn is_rest_of(&self, head: &Head, at: u64, now: SystemTime) -> bool {
        self.brings(at) && conditional::are_the_same_bytes(&self.head.fields, &head.fields, now)
    }

    /// As much from the front of `part` as lies before or behind what the origin sends.
    pub fn part_beside(&self, part: &Range<u64>) -> Range<u64> {
        let start = self.start();
        part.start..if part.start < start { part.end.min(start) } else { part.end }
    }

    /// How long the whole is, and where in it this begins; `None` where nobody can know.
    pub(super) fn place(&self) -> Option<(u64, u64)> {
        Some((self.total?, self.start()))
    }

    /// Whether this byte is among what the origin sends.
    pub fn brings(&self, at: u64) -> bool {
        self.part.as_ref().is_none_or(|part| part.contains(&at))
    }
}

impl Fill {
    fn new((key, hash): (&[u8], u64), need: Need, is_alone: bool, asked: u64) -> Self {
        let stage =
            Stage { interims: Vec::new(), verdict: None, has_owner: true, owners_reader: None };
        Self {
            key: key.into(),
            hash,
            need,
            asked,
            is_alone,
            stage: Mutex::new(stage),
            changed: Notify::new(),
            is_doomed: AtomicBool::new(false),
            is_finished: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An interim head for everybody who waits.
    pub(super) fn tell_interim(&self, head: ResponseHead) {
        self.lock().interims.push(Arc::new(head));
        self.changed.notify_waiters();
    }

    /// The first verdict counts.
    pub(super) fn tell(&self, verdict: Verdict) {
        let mut stage = self.lock();
        if stage.verdict.is_some() {
            return;
        }
        if let Verdict::Arriving(answer) = &verdict
            && stage.has_owner
        {
            stage.owners_reader = answer.arrival.reader(answer.start());
        }
        stage.verdict = Some(verdict);
        drop(stage);
        self.changed.notify_waiters();
    }

    /// What is known so far.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.lock().verdict.clone()
    }

    /// What somebody has to be told who has seen so many interim heads.
    fn told(&self, is_owner: bool, interims_seen: &mut usize) -> Option<Event> {
        let stage = self.lock();
        // What comes before the head is known may be for the first client only.
        if let Some(head) = stage.interims.get(*interims_seen).filter(|_| is_owner) {
            *interims_seen += 1;
            return Some(Event::Interim(head.clone()));
        }
        stage.verdict.clone().map(Event::Verdict)
    }

    /// Whether it became out of date while it was on its way.
    pub(super) fn is_doomed(&self) -> bool {
        self.is_doomed.load(Ordering::Acquire)
    }

    /// Names that what it brings can be purged by, as far as they are known.
    fn tags(&self) -> Bytes {
        match &self.lock().verdict {
            Some(Verdict::Arriving(answer)) => answer.head.extras().tags.clone(),
            _ => Bytes::new(),
        }
    }

    /// Whether a request with this need may wait for it; `fits` judges a head that is known already.
    fn serves(&self, need: &Need, request: &Fields, fits: &impl Fn(&Head) -> bool) -> bool {
        let own = &self.need;
        if self.is_alone
            || own.has_authorization != need.has_authorization
            || own.additions != need.additions
            || own.whence != need.whence
        {
            return false;
        }
        let may_have_it = match (&own.wanted, &need.wanted) {
            (Wanted::Chunks(one, _), Wanted::Chunks(other, _)) => one == other,
            // Some of it may be with the client already: nothing else will do.
            (_, Wanted::Chunks(..)) => false,
            // A whole on its way may have the part, too; a head is a part of any answer.
            (Wanted::Whole, _) => true,
            (own, wanted) => own == wanted,
        };
        if !may_have_it {
            return false;
        }
        match self.verdict() {
            None => {
                let is_chunk_ahead =
                    matches!(need.wanted, Wanted::Chunks(..)) && own.wanted != need.wanted;
                own.expected.matches(request, None) && !is_chunk_ahead
            }
            Some(Verdict::Arriving(answer)) => {
                let is_near = match need.wanted {
                    Wanted::Chunks(_, at) => answer.brings(at) && answer.arrival.can_give(at),
                    _ => true,
                };
                is_near && answer.is_shared && fits(&answer.head)
            }
            // It is over; the store knows more.
            Some(_) => false,
        }
    }
}

/// A fetch on its way, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// `whole`, `part`, `chunks` or `head`.
    pub wants: &'static str,
    /// Others may wait for it, too.
    pub is_shared: bool,
    /// What came of it, if its head is there: the status, and so many bytes of the content.
    pub arrived: Option<(u16, u64)>,
}

impl Flight {
    fn of(fill: &Fill) -> Self {
        let wants = match fill.need.wanted {
            Wanted::Whole => "whole",
            Wanted::Part { .. } => "part",
            Wanted::Chunks(..) => "chunks",
            Wanted::Head => "head",
        };
        let (is_shared, arrived) = match fill.verdict() {
            None => (!fill.is_alone, None),
            Some(Verdict::Arriving(answer)) => {
                let arrived = (answer.origin_status, answer.arrival.len());
                (!fill.is_alone && answer.is_shared, Some(arrived))
            }
            Some(_) => (false, None),
        };
        Self { wants, is_shared, arrived }
    }
}

/// A client's claim to what a fill brings.
pub struct Ticket {
    fill: Arc<Fill>,
    is_owner: bool,
    interims_seen: usize,
    /// The fill itself, as long as it is this client's to run. Nobody else ever looks at it.
    work: Option<Mutex<Work>>,
}

/// A fill that is run; `None` if it panicked.
type Work = Pin<Box<dyn Future<Output = Option<()>> + Send>>;

/// What a waiting client is told.
pub enum Event {
    /// An interim head.
    Interim(Arc<ResponseHead>),
    /// The outcome.
    Verdict(Verdict),
}

impl Ticket {
    fn new(fill: Arc<Fill>, is_owner: bool) -> Self {
        Self { fill, is_owner, interims_seen: 0, work: None }
    }

    /// The client who waits runs the fill himself: small answers come without another task that has
    /// to be woken. As soon as he has something else to do, or is gone, it is a task of its own.
    pub(super) fn runs(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.work = Some(Mutex::new(Box::pin(survive::caught(work))));
    }

    /// The next thing to be told. After a verdict there is nothing more.
    pub async fn next(&mut self) -> Event {
        let fill = self.fill.clone();
        loop {
            let changed = fill.changed.notified();
            if let Some(event) = fill.told(self.is_owner, &mut self.interims_seen) {
                self.hand_over();
                return event;
            }
            let Some(work) = &mut self.work else {
                changed.await;
                continue;
            };
            let work = work.get_mut().unwrap_or_else(PoisonError::into_inner);
            let is_over = tokio::select! {
                biased;
                _ = work => true,
                () = changed => false,
            };
            if is_over {
                self.work = None;
            }
        }
    }

    /// Nobody else has to wait for what this client does from now on.
    fn hand_over(&mut self) {
        let Some(work) = self.work.take() else { return };
        // Without a runtime there is nothing that could be fetched.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(work.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The fill was begun for this client.
    pub fn is_owner(&self) -> bool {
        self.is_owner
    }

    /// The place in the arrival that was kept for the owner.
    pub fn take_reader(&mut self) -> Option<ArrivalReader> {
        if self.is_owner { self.fill.lock().owners_reader.take() } else { None }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.hand_over();
        if self.is_owner {
            let mut stage = self.fill.lock();
            stage.has_owner = false;
            // Dropped after the lock is free: the arrival has a lock of its own.
            let reader = stage.owners_reader.take();
            drop(stage);
            drop(reader);
        }
    }
}

/// All fills that others may wait for, by key.
pub(super) struct InFlight {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    purges: Arc<Purges>,
}

/// Of all keys with the same hash.
type Shard = ByHash<Vec<Arc<Fill>>>;

/// Either a place with others, or a fill to be run.
pub(super) enum Joined {
    /// It is on its way.
    Waiting(Ticket),
    /// It is now this caller's to run.
    Begun(Arc<Fill>, Ticket),
}

impl InFlight {
    /// Nothing is on its way.
    pub(super) fn new(purges: Arc<Purges>) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), purges }
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[by_hash::shard(hash, SHARDS)];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits with those who want the same.
    pub(super) fn wait(
        &self,
        key: &[u8],
        need: &Need,
        request: &Fields,
        fits: impl Fn(&Head) -> bool,
    ) -> Option<Ticket> {
        let hash = self.hash(key);
        self.find(&self.shard(hash), (key, hash), need, request, &fits)
    }

    /// The same, or begins a fill that others can wait for. `may_begin` is asked under the lock:
    /// whatever it finds in the store is no older than the list.
    pub(super) fn join(
        &self,
        key: &[u8],
        need: &Need,
        request: &Fields,
        fits: impl Fn(&Head) -> bool,
        may_begin: impl FnOnce() -> bool,
    ) -> Option<Joined> {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        if let Some(ticket) = self.find(&shard, (key, hash), need, request, &fits) {
            return Some(Joined::Waiting(ticket));
        }
        // Before the store is looked at: a purge that the look misses is later than this.
        let asked = self.purges.draw();
        may_begin().then(|| {
            let fill = Fill::new((key, hash), need.clone(), false, asked);
            let (fill, ticket) = Self::begin(&mut shard, fill);
            Joined::Begun(fill, ticket)
        })
    }

    /// Begins a fill that nobody else can wait for, of what was asked for at that moment.
    pub(super) fn begin_alone(&self, key: &[u8], need: Need, asked: u64) -> (Arc<Fill>, Ticket) {
        let hash = self.hash(key);
        let fill = Fill::new((key, hash), need, true, asked);
        Self::begin(&mut self.shard(hash), fill)
    }

    /// One that is on no list.
    pub(super) fn unlisted(&self, key: &[u8], need: Need, asked: u64) -> Arc<Fill> {
        Arc::new(Fill::new((key, self.hash(key)), need, true, asked))
    }

    fn begin(shard: &mut Shard, fill: Fill) -> (Arc<Fill>, Ticket) {
        let fill = Arc::new(fill);
        shard.entry(fill.hash).or_default().push(fill.clone());
        (fill.clone(), Ticket::new(fill, true))
    }

    fn find(
        &self,
        shard: &Shard,
        (key, hash): (&[u8], u64),
        need: &Need,
        request: &Fields,
        fits: &impl Fn(&Head) -> bool,
    ) -> Option<Ticket> {
        // What they bring was asked for too early, if it is what was purged.
        let is_purged = |fill: &Fill| {
            let is_old = self.purges.newest() > fill.asked;
            is_old && self.purges.fate(key, &fill.tags(), fill.asked) != Fate::Stays
        };
        let serves = |fill: &&Arc<Fill>| {
            *fill.key == *key && fill.serves(need, request, fits) && !is_purged(fill.as_ref())
        };
        Some(Ticket::new(shard.get(&hash)?.iter().find(serves)?.clone(), false))
    }

    /// What is on its way for a key; some of it, if that is much.
    pub(super) fn about(&self, key: &[u8]) -> Vec<Flight> {
        let hash = self.hash(key);
        let is_of_key = |fill: &&Arc<Fill>| *fill.key == *key;
        let fills: Vec<Arc<Fill>> = match self.shard(hash).get(&hash) {
            Some(fills) => fills.iter().filter(is_of_key).take(TOLD_MAX).cloned().collect(),
            None => Vec::new(),
        };
        fills.iter().map(|fill| Flight::of(fill)).collect()
    }

    /// Waits for whoever is changing a key at this moment.
    pub(super) fn pass_through(&self) {
        for shard in &self.shards {
            drop(shard.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// For nothing that is on its way was the origin asked before this.
    pub(super) fn oldest_asked(&self) -> u64 {
        let mut oldest = u64::MAX;
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let fills = shard.values().flatten().map(|fill| fill.asked);
            oldest = fills.min().unwrap_or(u64::MAX).min(oldest);
        }
        oldest
    }

    /// Takes a fill off the list. `store` runs under the lock, unless the fill is doomed, so that
    /// what it puts into the store cannot outlive an invalidation.
    pub(super) fn finish(&self, fill: &Arc<Fill>, store: impl FnOnce()) {
        let mut shard = self.shard(fill.hash);
        if !fill.is_doomed() {
            store();
        }
        fill.is_finished.store(true, Ordering::Relaxed);
        if let Some(fills) = shard.get_mut(&fill.hash) {
            fills.retain(|other| !Arc::ptr_eq(other, fill));
            if fills.is_empty() {
                shard.remove(&fill.hash);
            }
        }
    }

    /// Takes a fill off the list that may not be there any more. Only who runs it does this.
    pub(super) fn leave(&self, fill: &Arc<Fill>) {
        if !fill.is_finished.load(Ordering::Relaxed) {
            self.finish(fill, || {});
        }
    }

    /// Does something about a key that nobody else can change meanwhile.
    pub(super) fn locked(&self, key: &[u8], change: impl FnOnce()) {
        let _shard = self.shard(self.hash(key));
        change();
    }

    /// Does something that an invalidation is to undo, unless there was one since the fill began.
    pub(super) fn unless_doomed(&self, fill: &Fill, act: impl FnOnce()) {
        let _shard = self.shard(fill.hash);
        if !fill.is_doomed() {
            act();
        }
    }

    /// Dooms what is on its way for a key, so that nobody new waits for it, and does `forget` under
    /// the same lock.
    pub(super) fn doom(&self, key: &[u8], forget: impl FnOnce()) {
        let hash = self.hash(key);
        let mut shard = self.shard(hash);
        let is_of_key = |fill: &mut Arc<Fill>| *fill.key == *key;
        if let Some(fills) = shard.get_mut(&hash) {
            for fill in fills.extract_if(.., is_of_key) {
                fill.is_doomed.store(true, Ordering::Release);
            }
            if fills.is_empty() {
                shard.remove(&hash);
            }
        }
        forget();
    }
}

#[cfg(test)]
mod tests;
