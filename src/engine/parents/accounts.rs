//! The parents that a configuration names, and what is known of each, which other configurations that
//! name it share.

use super::debts::Debts;
use super::{ACKNOWLEDGED_WITHIN, LATE_WITHIN, LESS_PER_HOP};
use crate::upstream::{HOPS_MAX, ParentDoor, Upstream};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Purges that are brought to one parent at one time: its listener has few places.
const AT_ONE_TIME: usize = 8;

/// All doors of parents that a configuration names, and what is owed at each.
pub(in crate::engine) struct Parents {
    pub(super) debtors: Vec<Arc<Debtor>>,
}

/// A parent that is none any more.
pub(in crate::engine) struct Left {
    pub(super) url: String,
    /// Of the purges that it owed.
    pub(super) ids: Vec<String>,
}

/// A parent, under whatever names the configuration has for it.
pub(super) struct Debtor {
    pub(super) url: String,
    pub(super) doors: Vec<ParentDoor>,
    /// Those that lead there.
    pub(super) origins: Vec<usize>,
    pub(super) account: Arc<Account>,
}

/// What stays of it where another configuration names it, too.
pub(super) struct Account {
    pub(super) places: Semaphore,
    state: Mutex<State>,
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) debts: Debts,
    /// Somebody sees to it that they are paid.
    pub(super) has_worker: bool,
    /// It has not acknowledged something when it was asked.
    pub(super) is_late: bool,
    /// Purges that it is being asked for, and whether it is asked for nothing else until they have
    /// ended.
    pub(super) asking: usize,
    pub(super) is_shut: bool,
    /// The newest debt when they were noted, and whether there were any.
    pub(super) noted: u64,
    pub(super) is_noted: bool,
    /// It is no parent any more: nobody waits for it.
    pub(super) has_left: bool,
}

/// A parent is being asked.
pub(super) struct Asking {
    pub(super) debtor: Arc<Debtor>,
}

impl Parents {
    pub(in crate::engine) fn of(upstream: &Upstream) -> Self {
        Self { debtors: Vec::new() }.next(upstream)
    }

    /// Those of another configuration. What is known of those that it names, too, is one thing.
    pub(in crate::engine) fn next(&self, upstream: &Upstream) -> Self {
        let mut by_url = BTreeMap::<_, Vec<_>>::new();
        for door in upstream.doors() {
            by_url.entry(door.url.clone()).or_default().push(door);
        }
        let debtor = |(url, doors): (String, Vec<ParentDoor>)| {
            let origins = doors.iter().flat_map(|door| door.origins.iter().copied());
            let origins = origins.collect::<BTreeSet<_>>().into_iter().collect();
            let account = match self.at(&url) {
                Some(debtor) => debtor.account.clone(),
                None => Arc::new(Account {
                    places: Semaphore::new(AT_ONE_TIME),
                    state: Mutex::default(),
                    wake: Notify::new(),
                }),
            };
            Arc::new(Debtor { url, doors, origins, account })
        };
        Self { debtors: by_url.into_iter().map(debtor).collect() }
    }

    /// Who is not among the next ones is a parent no more, from here on: what they owed. Should one be a
    /// parent again, it may have whatever was purged meanwhile, and before that, too.
    pub(in crate::engine) fn leave(&self, next: &Self) -> Vec<Left> {
        let leaves = |debtor: &&Arc<Debtor>| next.at(&debtor.url).is_none();
        let leave = |debtor: &Arc<Debtor>| {
            let mut state = debtor.lock();
            state.has_left = true;
            let newest = state.debts.last_number();
            let ids = state.debts.pay_up_to(newest).unwrap_or_default();
            drop(state);
            debtor.account.wake.notify_one();
            Left { url: debtor.url.clone(), ids }
        };
        self.debtors.iter().filter(leaves).map(leave).collect()
    }

    /// One of them is told of purges no more: what it gives may be kept by nobody.
    pub(in crate::engine) fn have_some_left(&self) -> bool {
        self.debtors.iter().any(|debtor| debtor.lock().has_left)
    }

    pub(super) fn owe(&self, id: &str) -> bool {
        self.debtors.iter().any(|debtor| debtor.lock().debts.has(id))
    }

    pub(super) fn at(&self, url: &str) -> Option<&Arc<Debtor>> {
        self.debtors.iter().find(|debtor| debtor.url == url)
    }
}

impl Asking {
    pub(super) fn begin(debtor: &Arc<Debtor>) -> Self {
        debtor.lock().asking += 1;
        Self { debtor: debtor.clone() }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.debtor.lock();
        state.asking -= 1;
        state.is_shut &= state.asking > 0;
        self.debtor.keep_out(&state);
    }
}

impl Debtor {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.account.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In force for everybody who asks afterwards.
    pub(super) fn keep_out(&self, state: &State) {
        if state.has_left {
            return;
        }
        let is_owed = state.debts.has_wishes() || state.is_late && state.debts.count() > 0;
        self.doors.iter().for_each(|door| door.keep_out(state.is_shut || is_owed));
    }

    pub(super) fn patience(&self, hops: u32) -> Duration {
        match self.lock().debts.count() {
            0 => ACKNOWLEDGED_WITHIN.saturating_sub(LESS_PER_HOP * hops.min(HOPS_MAX)),
            _ => LATE_WITHIN,
        }
    }
}
