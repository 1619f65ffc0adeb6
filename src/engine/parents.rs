//! Purges on parents: they are asked before the edge drops its own copy, or it would fill itself
//! with what they still have.
//!
//! A parent that has not acknowledged a purge owes it. Until it has, it is asked for nothing else,
//! and for the purge again and again. What is owed survives a restart where there is a disk tier.
//! Without one an edge forgets it, as it forgets what it has in memory: it may then be given by a
//! parent what was purged while nobody reached that.

mod accounts;
mod debts;
mod known;

use super::receipts::{OfParent, ParentState, Receipt};
use super::{Configured, Engine};
use crate::config::Site;
use crate::rules::key::Key;
use crate::rules::purging::{Shares, Wish};
use crate::survive;
use crate::upstream::PurgeWay;
use accounts::{Asking, Debtor, Left};
use bytes::Bytes;
use debts::{Debt, Debts, everything};
use known::Known;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(super) use accounts::Parents;

/// So long a purge waits for parents that are well, as far as is known.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// For one that owes others, too.
const LATE_WITHIN: Duration = Duration::from_secs(1);
/// Of each tier further up, so that its answer is here before the patience below is over.
const LESS_PER_HOP: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// After so many purges, what is owed is noted again, before it is among the oldest notes.
const NOTED_EVERY: u64 = 16;
/// How often it is looked whether the disk has told of debts.
const LOOKED_FOR_EVERY: Duration = Duration::from_secs(10);
/// Of what a parent says is wrong.
const ERROR_BYTES_MAX: usize = 300;

/// What is kept of all purges.
#[derive(Default)]
pub(super) struct Bookkeeping {
    /// How often something owed was paid.
    paid: watch::Sender<u64>,
    noted: AtomicU64,
    known: Mutex<Known>,
}

/// A parent's receipt, as far as it is of interest.
#[derive(Deserialize)]
struct Told {
    id: String,
    objects: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Complaint {
    error: String,
}

/// Why a parent has not acknowledged.
struct NotYet {
    why: String,
    /// If it has answered: another purge may be none of its troubles.
    status: Option<u16>,
}

/// What is owed at one door, as it is noted.
#[derive(Serialize, Deserialize)]
struct Owed {
    owed_at: String,
    purges: Vec<Debt>,
}

impl NotYet {
    fn unanswered(why: String) -> Self {
        Self { why, status: None }
    }

    /// It does not understand what is asked for, and never will.
    fn is_refusal(&self) -> bool {
        matches!(self.status, Some(400 | 413))
    }

    fn log(&self, parent: &str) {
        let why = &self.why;
        match self.status {
            None => tracing::warn!(parent, why, "a parent cannot be reached for a purge"),
            Some(400..500) => {
                tracing::error!(parent, why, "a parent does not take purges from here");
            }
            Some(_) => tracing::warn!(parent, why, "a parent has not acknowledged a purge"),
        }
    }
}

impl Configured {
    /// Whether a purge would be brought to parents.
    pub fn has_parents_for(&self, shares: &Shares) -> bool {
        let debtors = &self.parents.debtors;
        debtors.iter().any(|debtor| shares.of_origins(&debtor.origins).is_some())
    }
}

impl Engine {
    /// Those who have left owe nothing any more.
    pub(super) fn tell_of_left(&self, left: &[Left]) {
        for Left { url, ids } in left {
            for id in ids {
                if let Some(receipt) = self.tell_receipt(id, &OfParent::left(url)) {
                    self.note_down(&receipt);
                }
            }
        }
        self.count_owed();
        self.bookkeeping.paid.send_modify(|paid| *paid += 1);
    }

    /// Has parents purge what concerns them, all at once. Those that have not acknowledged are asked
    /// for nothing else afterwards.
    pub(super) async fn purge_parents(
        self: &Arc<Self>,
        configured: &Configured,
        wish: &Wish,
        shares: &Shares,
        way: &PurgeWay,
        id: &str,
    ) -> Vec<OfParent> {
        let mut asking = JoinSet::new();
        let concerned = self.begin_to_ask(&configured.parents, wish, shares, way);
        for (position, (wish, asked)) in concerned.into_iter().enumerate() {
            let (engine, id, onward) =
                (self.clone(), id.to_owned(), way.onward(self.identity(), id));
            asking.spawn(async move {
                (position, engine.purge_parent(&asked.debtor, &wish, &onward, &id).await)
            });
        }
        let mut told = asking.join_all().await;
        told.sort_unstable_by_key(|(position, _)| *position);
        told.into_iter().map(|(_, told)| told).collect()
    }

    /// Who is to be asked for what. Nobody, if the purge was here before: whoever brings it again is
    /// not made to wait for what those are asked who brought it first, as that may be the same in the
    /// other direction. It may rely on what it is told, and on all that comes from here afterwards:
    /// until the parents have answered, nothing comes from them.
    fn begin_to_ask(
        &self,
        parents: &Parents,
        wish: &Wish,
        shares: &Shares,
        way: &PurgeWay,
    ) -> Vec<(Wish, Asking)> {
        let debtors = &parents.debtors;
        // Held until all are marked, or those who bring it again would find nobody to shut out.
        let known = &self.bookkeeping.known;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        let was_here = way.leads_through(self.identity())
            || way.name().is_some_and(|name| !known.add(name, wish));
        if was_here {
            for debtor in debtors {
                let mut state = debtor.lock();
                state.is_shut |= state.asking > 0;
                debtor.keep_out(&state);
            }
            return Vec::new();
        }
        let concerned = debtors.iter().filter_map(|debtor| {
            let wish = shares.of_origins(&debtor.origins)?;
            Some((wish, Asking::begin(debtor)))
        });
        concerned.collect()
    }

    async fn purge_parent(
        self: &Arc<Self>,
        debtor: &Arc<Debtor>,
        wish: &Wish,
        onward: &PurgeWay,
        id: &str,
    ) -> OfParent {
        let patience = debtor.patience(onward.hops - 1);
        let owed_before = debtor.lock().debts.last_number();
        let asked = timeout(patience, async {
            let _place = debtor.account.places.acquire().await;
            self.ask(debtor, wish, onward, patience).await
        });
        let why = format!("no answer in {patience:?}");
        let asked = asked.await.unwrap_or(Err(NotYet::unanswered(why)));
        self.metrics.parent_purge(asked.is_ok());
        match asked {
            Ok(told) => {
                if is_everything(wish) {
                    self.is_paid(debtor, &told, |debts| debts.pay_up_to(owed_before));
                }
                if debtor.lock().debts.count() > 0 {
                    // It is there: what it owes can be tried, too.
                    debtor.account.wake.notify_one();
                }
                told
            }
            Err(not_yet) => {
                not_yet.log(&debtor.url);
                let hops = onward.hops - 1;
                let mut state = debtor.lock();
                if state.has_left {
                    return OfParent::left(&debtor.url);
                }
                state.is_late = true;
                let first = if not_yet.is_refusal() && !is_everything(wish) {
                    log_everything(debtor);
                    state.debts.add(id, &everything(), hops);
                    Duration::ZERO
                } else {
                    state.debts.add(id, wish, hops);
                    RETRY_FIRST
                };
                debtor.keep_out(&state);
                drop(state);
                self.have_paid(debtor, first);
                OfParent::pending(&debtor.url, not_yet.why)
            }
        }
    }

    /// Has parents forget what a request has made out of date: of many, each may have it, and only one
    /// has passed the request on. Costs each of them a question, or one for many such requests. Other
    /// edges are not told, and it is written down only when a parent does not answer.
    pub(super) fn outdate_at_parents(
        self: &Arc<Self>,
        configured: &Configured,
        site: &Site,
        keys: &[Key],
    ) {
        let debtors = &configured.parents.debtors;
        if debtors.is_empty() {
            return;
        }
        // A parent knows what was asked for without a host by a name of its own. It would have to
        // forget everything, and anybody could have it do so.
        let named = keys.iter().filter(|key| !key.host().is_empty());
        let urls = named.map(|key| format!("http://{}{}", key.host(), key.target()));
        let wish = Wish { urls: urls.collect(), ..Wish::default() };
        let shares = Shares::of_site(&wish, site);
        for debtor in debtors {
            let Some(wish) = shares.of_origins(&debtor.origins) else { continue };
            let mut state = debtor.lock();
            if state.has_left {
                continue;
            }
            state.debts.add_of_request(wish);
            if !state.is_late {
                // Whoever has just paid the last of them would pause first.
                debtor.account.wake.notify_one();
            }
            drop(state);
            self.have_paid(debtor, Duration::ZERO);
        }
    }

    /// Waits until parents have forgotten that, but not for long: who has not by then is asked for
    /// nothing else until it has. Before that nobody is kept away from them, or whoever sends
    /// requests could keep everybody away.
    pub(super) async fn parents_told(&self, configured: &Configured, patience: Duration) {
        let debtors = &configured.parents.debtors;
        let newest: Vec<u64> =
            debtors.iter().map(|debtor| debtor.lock().debts.last_number()).collect();
        let has_told = |debtor: &Debtor, number| !debtor.lock().debts.has_of_requests(number);
        let have_all = || debtors.iter().zip(&newest).all(|(debtor, of)| has_told(debtor, *of));
        let mut paid = self.bookkeeping.paid.subscribe();
        if timeout(patience, paid.wait_for(|_| have_all())).await.is_ok() {
            return;
        }
        for (debtor, number) in debtors.iter().zip(newest) {
            let mut state = debtor.lock();
            if state.debts.has_of_requests(number) {
                state.is_late = true;
                debtor.keep_out(&state);
            }
        }
    }

    async fn ask(
        &self,
        debtor: &Debtor,
        wish: &Wish,
        onward: &PurgeWay,
        within: Duration,
    ) -> Result<OfParent, NotYet> {
        let url = &debtor.url;
        let told = match serde_json::to_vec(wish) {
            Ok(body) => {
                let configured = self.configured();
                let (upstream, door) = (&configured.upstream, &debtor.doors[0]);
                upstream.ask_for_purge(door, &body, onward, within).await
            }
            Err(error) => Err(error.to_string()),
        };
        let told = told.map_err(NotYet::unanswered)?;
        let receipt = serde_json::from_slice::<Told>(&told.body).ok();
        let why = match (told.status, receipt) {
            (200, Some(Told { id, objects, bytes })) => {
                let (url, state) = (url.clone(), ParentState::Purged);
                let (objects, bytes) = (Some(objects), Some(bytes));
                return Ok(OfParent { url, state, id: Some(id), objects, bytes, error: None });
            }
            (200, None) => "it does not answer as an edge does".to_owned(),
            (202, _) => "parents of its own have not acknowledged".to_owned(),
            (status, _) => match serde_json::from_slice::<Complaint>(&told.body) {
                Ok(Complaint { error }) => format!("it answers with {status}: {}", cut(error)),
                Err(_) => format!("it answers with {status}"),
            },
        };
        Err(NotYet { why, status: Some(told.status) })
    }

    /// Somebody sees to it that a parent is asked again.
    fn have_paid(self: &Arc<Self>, debtor: &Arc<Debtor>, first: Duration) {
        let mut state = debtor.lock();
        if !state.has_worker && state.debts.count() > 0 {
            state.has_worker = true;
            tokio::spawn(work_off(Arc::downgrade(self), debtor.clone(), first));
        }
        drop(state);
        self.count_owed();
    }

    /// Asks for each of what a parent owes. Whether something of it was paid; `None`: nothing is
    /// left.
    async fn try_debts(&self, debtor: &Debtor) -> Option<bool> {
        let (mut last, mut has_paid) = (0, false);
        loop {
            let (next, newest) = {
                let mut state = debtor.lock();
                (state.debts.behind(last), state.debts.last_number())
            };
            let Some(debt) = next else { break };
            last = debt.number;
            // A purge of its own: what is owed may stand for many by now.
            let onward =
                PurgeWay::after(debt.hops).onward(self.identity(), &self.receipts.new_id());
            match self.ask(debtor, &debt.wish, &onward, ACKNOWLEDGED_WITHIN).await {
                Ok(told) => {
                    has_paid = true;
                    self.is_paid(debtor, &told, |debts| match is_everything(&debt.wish) {
                        true => debts.pay_up_to(newest),
                        false => debts.pay(debt.number),
                    });
                }
                Err(not_yet) => {
                    self.is_unpaid(debtor, &debt, &not_yet);
                    if not_yet.status.is_none() {
                        break;
                    }
                }
            }
        }
        let mut state = debtor.lock();
        if state.debts.count() == 0 {
            state.has_worker = false;
            return None;
        }
        let is_news = state.debts.last_number() > state.noted;
        drop(state);
        if is_news {
            self.note_owed(debtor);
        }
        Some(has_paid)
    }

    fn is_paid(
        &self,
        debtor: &Debtor,
        told: &OfParent,
        pay: impl FnOnce(&mut Debts) -> Option<Vec<String>>,
    ) {
        self.find_old_receipts();
        let mut state = debtor.lock();
        let Some(ids) = pay(&mut state.debts) else { return };
        debtor.keep_out(&state);
        if state.debts.count() == 0 && std::mem::take(&mut state.is_late) {
            tracing::info!(parent = debtor.url, "a parent has made up for all purges");
        }
        let is_noted = state.is_noted;
        drop(state);
        self.metrics.parent_purge(true);
        self.count_owed();
        for id in ids {
            if let Some(receipt) = self.tell_receipt(&id, told) {
                self.note_down(&receipt);
            }
        }
        if is_noted {
            self.note_owed(debtor);
        }
        self.bookkeeping.paid.send_modify(|paid| *paid += 1);
    }

    fn is_unpaid(&self, debtor: &Debtor, debt: &Debt, not_yet: &NotYet) {
        for id in &debt.ids {
            self.tell_receipt(id, &OfParent::pending(&debtor.url, not_yet.why.clone()));
        }
        let mut state = debtor.lock();
        // Whose requests they are can name hosts as they like: no line for each.
        if not_yet.is_refusal() && state.debts.refused(debt.number) {
            if !debt.is_of_requests {
                log_everything(debtor);
            }
            debtor.keep_out(&state);
            drop(state);
            return self.count_owed();
        }
        if state.has_left {
            return;
        }
        state.is_late = true;
        debtor.keep_out(&state);
        drop(state);
        not_yet.log(&debtor.url);
    }

    fn tell_receipt(&self, id: &str, told: &OfParent) -> Option<Receipt> {
        self.receipts.change_of(id, |receipt| {
            let own = receipt.parents.iter_mut().filter(|own| own.url == told.url);
            own.for_each(|own| *own = told.clone());
        })
    }

    /// What was paid before there was a receipt to tell it.
    pub(super) fn tell_paid(&self, id: &str) {
        let configured = self.configured();
        self.receipts.change_of(id, |receipt| {
            let pending = |own: &&mut OfParent| own.state == ParentState::Pending;
            for own in receipt.parents.iter_mut().filter(pending) {
                match configured.parents.at(&own.url) {
                    None => *own = OfParent::left(&own.url),
                    Some(debtor) if debtor.lock().debts.has(id) => {}
                    Some(_) => (own.state, own.error) = (ParentState::Purged, None),
                }
            }
        });
    }

    /// Waits until all parents have acknowledged a purge, but no longer than so.
    pub(super) async fn paid(&self, id: &str, patience: Duration) {
        let mut paid = self.bookkeeping.paid.subscribe();
        let _ = timeout(patience, paid.wait_for(|_| !self.configured().parents.owe(id))).await;
    }

    fn count_owed(&self) {
        let configured = self.configured();
        let debtors = configured.parents.debtors.iter();
        let owed = debtors.map(|debtor| debtor.lock().debts.count() as u64);
        self.metrics.set_parent_purges_pending(owed.sum());
    }

    /// For the next start: what is owed at one door, the last such note counts.
    fn note_owed(&self, debtor: &Debtor) {
        let mut state = debtor.lock();
        let owed = Owed { owed_at: debtor.url.clone(), purges: state.debts.all() };
        (state.noted, state.is_noted) = (state.debts.last_number(), !owed.purges.is_empty());
        drop(state);
        if let Some(disk) = self.store.disk()
            && let Ok(text) = serde_json::to_vec(&owed)
        {
            disk.note_down(Bytes::from(text));
        }
    }

    /// Notes what is owed because of these, and all that is owed every now and then.
    pub(super) fn note_all_owed(&self, told: &[OfParent]) {
        let noted = self.bookkeeping.noted.fetch_add(1, Ordering::Relaxed);
        for debtor in &self.configured().parents.debtors {
            let is_new =
                |told: &OfParent| told.url == debtor.url && told.state == ParentState::Pending;
            let is_due = noted.is_multiple_of(NOTED_EVERY) && debtor.lock().debts.count() > 0;
            if is_due || told.iter().any(is_new) {
                self.note_owed(debtor);
            }
        }
    }

    /// A note from before this start that is no receipt. In force before anybody is asked for
    /// anything, if the disk was there at the start.
    pub(super) fn restore_owed(&self, notes: &[Bytes]) {
        for debtor in &self.configured().parents.debtors {
            let read = |note: &Bytes| serde_json::from_slice::<Owed>(note).ok();
            let mut of_door = notes.iter().rev().filter_map(read);
            let Some(Owed { purges, .. }) = of_door.find(|owed| owed.owed_at == debtor.url) else {
                continue;
            };
            let mut state = debtor.lock();
            (state.is_late, state.is_noted) = (true, true);
            state.debts.restore(purges);
            debtor.keep_out(&state);
        }
        self.count_owed();
    }

    /// Has parents make up for what they owe from before this start. Never ends.
    pub async fn remind_parents(self: &Arc<Self>) {
        loop {
            survive::caught(async {
                // The disk may have come later than the start.
                self.find_old_receipts();
                for debtor in &self.configured().parents.debtors {
                    self.have_paid(debtor, Duration::ZERO);
                }
            })
            .await;
            tokio::time::sleep(LOOKED_FOR_EVERY).await;
        }
    }
}

/// Until nothing is owed any more.
async fn work_off(engine: Weak<Engine>, mut debtor: Arc<Debtor>, first: Duration) {
    let mut pause = first;
    loop {
        // The engine may end meanwhile.
        let _ = timeout(pause, debtor.account.wake.notified()).await;
        let Some(engine) = engine.upgrade() else { return };
        // How it is reached may have changed. One that has left owes nothing.
        let configured = engine.configured();
        let same = configured.parents.at(&debtor.url);
        if let Some(same) = same.filter(|same| Arc::ptr_eq(&same.account, &debtor.account)) {
            debtor = same.clone();
        }
        // After a panic something may still be owed, and nobody else would see to it.
        match survive::caught(engine.try_debts(&debtor)).await {
            Some(None) => return,
            Some(Some(true)) => pause = RETRY_FIRST,
            Some(Some(false)) | None => pause = (pause * 2).clamp(RETRY_FIRST, RETRY_MAX),
        }
    }
}

/// Nothing that a parent has can be older.
fn is_everything(wish: &Wish) -> bool {
    wish.all && !wish.soft && !wish.dry_run
}

fn log_everything(debtor: &Debtor) {
    let parent = &debtor.url;
    tracing::error!(parent, "a parent does not understand a purge: it is to forget everything");
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(ERROR_BYTES_MAX));
    text
}
