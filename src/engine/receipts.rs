//! What was purged lately, and what came of it.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Receipts that are kept.
const RECEIPTS_MAX: usize = 1000;

/// What a purge did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Its name; later ones are larger.
    pub id: String,
    /// When it came into force (RFC 3339).
    pub applied_at: String,
    /// Who asked for it.
    pub by: String,
    /// What was named, of each kind.
    pub kinds: Kinds,
    /// The first of the items, each behind its kind.
    pub items: Vec<String>,
    /// Stale instead of gone.
    pub soft: bool,
    /// Objects that it has taken away so far.
    pub objects: u64,
    /// What they weighed.
    pub bytes: u64,
    /// Objects on the disk that it may turn out to be about when they are met.
    pub at_most_more: u64,
    /// Memory has been gone through.
    pub done: bool,
    /// The end of the machine does not undo it.
    pub durable: bool,
    /// What became of it at the parents that it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<OfParent>,
}

/// Items of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kinds {
    /// URLs.
    pub urls: u64,
    /// Prefixes.
    pub prefixes: u64,
    /// Tags.
    pub tags: u64,
    /// Hosts.
    pub hosts: u64,
    /// Everything.
    pub all: bool,
}

/// What became of a purge at one parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfParent {
    /// Its admin listener.
    pub url: String,
    /// Whether it has acknowledged.
    pub state: ParentState,
    /// Its own receipt's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Objects that it had taken away when it acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// What they weighed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Why it has not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Whether a parent has acknowledged a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParentState {
    /// It has, and its own parents have.
    Purged,
    /// It has not, and is asked for nothing else until it has.
    Pending,
    /// It had not when another configuration came into force, in which it is no parent.
    Left,
}

impl Receipt {
    /// How a purge that is in force here is answered.
    pub fn status(&self) -> u16 {
        if self.pending().next().is_some() { 202 } else { 200 }
    }

    /// Parents that have not acknowledged.
    pub fn pending(&self) -> impl Iterator<Item = &OfParent> {
        self.parents.iter().filter(|parent| parent.state == ParentState::Pending)
    }
}

impl OfParent {
    /// It had not acknowledged when it ceased to be a parent.
    pub(super) fn left(url: &str) -> Self {
        let error = Some("it is no parent any more".to_owned());
        let (url, state) = (url.to_owned(), ParentState::Left);
        Self { url, state, id: None, objects: None, bytes: None, error }
    }

    /// It has not acknowledged, because of this.
    pub(super) fn pending(url: &str, why: String) -> Self {
        let (url, state) = (url.to_owned(), ParentState::Pending);
        Self { url, state, id: None, objects: None, bytes: None, error: Some(why) }
    }
}

/// The last ones, by the number of their purge.
#[derive(Default)]
pub(super) struct Receipts {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The oldest first; those from before this start have the number 0.
    all: VecDeque<(u64, Receipt)>,
    newest_id: u64,
}

impl Receipts {
    /// A name that is larger than all before: of this moment, in microseconds since 1970.
    pub(super) fn new_id(&self) -> String {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let moment = u64::try_from(since.as_micros()).unwrap_or(0);
        let mut state = self.lock();
        state.newest_id = moment.max(state.newest_id + 1);
        format!("{:x}", state.newest_id)
    }

    pub(super) fn add(&self, number: u64, receipt: Receipt) {
        let mut state = self.lock();
        if state.all.len() == RECEIPTS_MAX {
            state.all.pop_front();
        }
        // Two purges at the same moment may come in either order.
        let place = state.all.partition_point(|(before, _)| *before < number);
        state.all.insert(place, (number, receipt));
    }

    /// Those of before this start, as they were noted; of one purge, the last counts.
    pub(super) fn add_old(&self, receipts: Vec<Receipt>) {
        // A purge may be noted again after later ones.
        let of_moment =
            |receipt: Receipt| Some((u64::from_str_radix(&receipt.id, 16).ok()?, receipt));
        let old: BTreeMap<u64, Receipt> = receipts.into_iter().filter_map(of_moment).collect();
        let mut state = self.lock();
        for receipt in old.into_values().rev() {
            let is_known = state.all.iter().any(|(_, known)| known.id == receipt.id);
            if !is_known && state.all.len() < RECEIPTS_MAX {
                state.all.push_front((0, receipt));
            }
        }
    }

    /// A purge turned out to be about so many more. Of everything that was counted at once.
    pub(super) fn count(&self, number: u64, objects: u64, bytes: u64) {
        self.change(number, |receipt| {
            if receipt.kinds.all && !receipt.soft {
                return;
            }
            receipt.objects += objects;
            receipt.bytes += bytes;
            receipt.at_most_more = receipt.at_most_more.saturating_sub(objects);
        });
    }

    /// Whether more may be met on the disk that was not counted.
    pub(super) fn expects_more(&self, number: u64) -> bool {
        self.change(number, |_| {}).is_some_and(|receipt| receipt.at_most_more > 0)
    }

    /// Changes the receipt of a purge, if it is still known. What it is then.
    pub(super) fn change(&self, number: u64, change: impl FnOnce(&mut Receipt)) -> Option<Receipt> {
        let mut state = self.lock();
        let place = state.all.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        let receipt = &mut state.all[place].1;
        change(receipt);
        Some(receipt.clone())
    }

    /// The same for one that may be from before this start.
    pub(super) fn change_of(&self, id: &str, change: impl FnOnce(&mut Receipt)) -> Option<Receipt> {
        let mut state = self.lock();
        let (_, receipt) = state.all.iter_mut().find(|(_, receipt)| receipt.id == id)?;
        change(receipt);
        Some(receipt.clone())
    }

    /// Changes those of all purges up to a number that were made since this start.
    pub(super) fn change_up_to(&self, number: u64, change: impl Fn(&mut Receipt)) {
        let mut state = self.lock();
        let made = state.all.iter_mut().filter(|(made, _)| (1..=number).contains(made));
        made.for_each(|(_, receipt)| change(receipt));
    }

    /// Those of purges up to a number for which everything was counted since the last time.
    pub(super) fn done_up_to(&self, number: u64) -> Vec<Receipt> {
        let mut state = self.lock();
        let made = state.all.iter_mut().filter(|(made, _)| (1..=number).contains(made));
        let news = made.filter(|(_, receipt)| !receipt.done);
        news.map(|(_, receipt)| {
            receipt.done = true;
            receipt.clone()
        })
        .collect()
    }

    /// The newest first.
    pub(super) fn all(&self) -> Vec<Receipt> {
        self.lock().all.iter().rev().map(|(_, receipt)| receipt.clone()).collect()
    }

    pub(super) fn get(&self, id: &str) -> Option<Receipt> {
        let state = self.lock();
        state.all.iter().find(|(_, receipt)| receipt.id == id).map(|(_, receipt)| receipt.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
