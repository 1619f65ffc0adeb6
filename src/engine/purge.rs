//! Purges: in force here and on parents, and on stable storage, before they are acknowledged, whatever
//! is stored.

use super::handover::HandedOver;
use super::receipts::{Kinds, Receipt};
use super::{Configured, Engine};
use crate::metrics::PurgeKind;
use crate::rules::purging::{Shares, Targets, Wish};
use crate::store::purges::Scope;
use crate::upstream::PurgeWay;
use bytes::Bytes;
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, timeout_at};

/// To go through so many objects in memory is the work of a few milliseconds, and the receipt tells
/// what went.
const FEW_OBJECTS: u64 = 10_000;
/// So long is read what is on the disk, to tell what it weighed.
const READ_WITHIN: Duration = Duration::from_millis(100);
/// One whose caller wants to know waits so long.
const WAITS_FOR: Duration = Duration::from_secs(60);
/// From the beginning of such a purge, for parents that could not be reached at once.
const WAITS_FOR_PARENTS: Duration = Duration::from_secs(75);
/// Of the items in a receipt, all together.
const ITEMS_BYTES_MAX: usize = 4096;

/// A purge that somebody asks for.
pub struct Order<'a> {
    /// In their words.
    pub wish: &'a Wish,
    /// What that means here.
    pub targets: &'a Targets,
    /// What of it concerns which origin.
    pub shares: &'a Shares,
    /// Whose origins those are.
    pub configured: &'a Arc<Configured>,
    /// Who it is.
    pub by: &'a str,
    /// How it has come here.
    pub way: &'a PurgeWay,
}

impl Engine {
    /// Makes what is meant forgotten, or stale, on parents before it is here. Ends when that is in
    /// force and on stable storage; `durable` tells if it could not be brought there, `parents` who of
    /// them has not acknowledged and is asked for nothing else.
    pub async fn purge(self: &Arc<Self>, order: &Order<'_>) -> Result<Receipt, HandedOver> {
        let &Order { wish, targets, shares, configured, by, way } = order;
        let began = Instant::now();
        let id = self.receipts.new_id();
        // Whoever asks after the number below is drawn finds them without what is purged, or not at
        // all.
        let parents = self.purge_parents(configured, wish, shares, way, &id).await;
        // Until it is durable.
        let turn = self.handover.turn().await?;
        let now = SystemTime::now();
        let rules = scopes(targets, wish.soft);
        let on_disk = self.store.disk().map_or(0, |disk| disk.stats().entries);
        let number = match &rules[..] {
            [] => self.store.purges().draw(),
            rules => self.store.purge(rules, wish.soft.then_some(now)),
        };
        self.last_purge.fetch_max(number, Ordering::AcqRel);
        let at_most_more = if rules.is_empty() { 0 } else { on_disk };
        let new_receipt = Receipt { id, parents, ..new_receipt(wish, by, now, at_most_more) };
        self.receipts.add(number, new_receipt.clone());
        self.tell_paid(&new_receipt.id);
        let is_quick = wish.wait || self.store.memory().entries() <= FEW_OBJECTS;
        if targets.is_everything() && !wish.soft {
            self.take_all_away(number);
        } else if !wish.soft {
            self.take_away(&targets.keys, number).await;
        }
        if rules.is_empty() {
            self.receipts.change(number, |receipt| receipt.done = true);
        } else {
            self.sweep_soon();
        }
        let durable = self.make_durable(number).await;
        drop(turn);
        if is_quick && !rules.is_empty() {
            self.swept(number, WAITS_FOR).await;
        }
        if wish.wait {
            self.paid(&new_receipt.id, WAITS_FOR_PARENTS.saturating_sub(began.elapsed())).await;
        }
        let receipt = self.receipts.change(number, |receipt| receipt.durable = durable);
        // So many others came meanwhile that it is not kept any more.
        let receipt = receipt.unwrap_or(Receipt { durable, ..new_receipt });
        let Receipt { id, by, objects, bytes, .. } = &receipt;
        let items = receipt.items.join(", ");
        self.count_purge(&receipt.kinds);
        tracing::info!(id, by, items, soft = wish.soft, objects, bytes, durable, "purged");
        Ok(receipt)
    }

    fn count_purge(&self, kinds: &Kinds) {
        let Kinds { urls, prefixes, tags, hosts, all } = *kinds;
        for (kind, items) in [
            (PurgeKind::Url, urls),
            (PurgeKind::Prefix, prefixes),
            (PurgeKind::Tag, tags),
            (PurgeKind::Host, hosts),
            (PurgeKind::All, u64::from(all)),
        ] {
            self.metrics.purged(kind, items);
        }
    }

    /// What can be found by its key goes at once.
    async fn take_away(&self, keys: &[Box<[u8]>], number: u64) {
        let until = Instant::now() + READ_WITHIN;
        for key in keys {
            let mut there = self.store.get(key);
            // Only to be counted; while it is not known what the disk has, nobody waits for that.
            if there.is_none() && self.store.has_on_disk(key) {
                there = timeout_at(until, self.store.read(key)).await.ok().flatten();
            }
            let mut is_there = false;
            self.in_flight.doom(key, || {
                is_there = self.store.get(key).is_some() || self.store.has_on_disk(key);
                self.store.remove(key);
                self.notes.forget(key);
            });
            // Not what another purge has counted, or whoever was faster.
            let Some(found) = there.filter(|_| is_there) else {
                self.receipts.count(number, u64::from(is_there), 0);
                continue;
            };
            let objects = &found.value.objects;
            for object in objects.iter().filter(|object| !self.is_dead(key, &found.value, object)) {
                self.receipts.count(number, 1, object.stored_bytes());
            }
        }
    }

    /// The disk is emptied at once: it would be long until all that is on it is met. What is in memory
    /// is counted here, too, as well as can be told without going through it.
    fn take_all_away(&self, number: u64) {
        let memory = self.store.memory();
        let (mut objects, mut bytes) = (memory.entries(), memory.bytes());
        if let Some(disk) = self.store.disk() {
            let held = disk.stats();
            if objects <= FEW_OBJECTS {
                (objects, bytes) = (held.entries, held.live_bytes);
                memory.each(|key, variants| {
                    if disk.place(key).is_none() {
                        objects += variants.objects.len() as u64;
                        bytes += variants.objects.iter().map(|o| o.stored_bytes()).sum::<u64>();
                    }
                    true
                });
            } else {
                (objects, bytes) = (objects.max(held.entries), bytes.max(held.live_bytes));
            }
            disk.remove_all();
        }
        self.receipts.change(number, |receipt| {
            (receipt.objects, receipt.bytes, receipt.at_most_more) = (objects, bytes, 0);
        });
    }

    async fn make_durable(&self, number: u64) -> bool {
        let Some(disk) = self.store.disk() else { return true };
        if let Some(receipt) = self.receipts.change(number, |_| {}) {
            self.note_down(&receipt);
            self.note_all_owed(&receipt.parents);
        }
        disk.removals_durable().await
    }

    /// For `receipts` after a restart. Whoever can read it knows that it is durable.
    pub(super) fn note_down(&self, receipt: &Receipt) {
        let receipt = Receipt { durable: true, ..receipt.clone() };
        if let Some(disk) = self.store.disk()
            && let Ok(text) = serde_json::to_vec(&receipt)
        {
            disk.note_down(Bytes::from(text));
        }
    }

    /// What was purged, the newest first.
    pub fn receipts(&self) -> Vec<Receipt> {
        self.find_old_receipts();
        self.receipts.all()
    }

    /// One of them.
    pub fn receipt(&self, id: &str) -> Option<Receipt> {
        self.find_old_receipts();
        self.receipts.get(id)
    }

    /// The disk has those from before this start.
    pub(super) fn find_old_receipts(&self) {
        let notes = self.store.disk().map(|disk| disk.take_notes()).unwrap_or_default();
        if notes.is_empty() {
            return;
        }
        self.restore_owed(&notes);
        let read = |note: Bytes| serde_json::from_slice::<Receipt>(&note).ok();
        self.receipts.add_old(notes.into_iter().filter_map(read).collect());
    }
}

fn new_receipt(wish: &Wish, by: &str, now: SystemTime, at_most_more: u64) -> Receipt {
    let moment = Timestamp::try_from(now).unwrap_or_default();
    let count = |items: &Vec<String>| items.len() as u64;
    Receipt {
        id: String::new(),
        applied_at: format!("{moment:.3}"),
        by: by.to_owned(),
        kinds: Kinds {
            urls: count(&wish.urls),
            prefixes: count(&wish.prefixes),
            tags: count(&wish.tags),
            hosts: count(&wish.hosts),
            all: wish.all,
        },
        items: items(wish),
        soft: wish.soft,
        objects: 0,
        bytes: 0,
        at_most_more,
        done: false,
        durable: false,
        parents: Vec::new(),
    }
}

/// What is remembered as rules. Whole keys are found and taken away, but cannot be made stale
/// without being read.
pub(super) fn scopes(targets: &Targets, with_keys: bool) -> Vec<Scope> {
    let keys = targets.keys.iter().filter(|_| with_keys).cloned().map(Scope::Key);
    let prefixes = targets.prefixes.iter().cloned().map(Scope::Prefix);
    keys.chain(prefixes).chain(targets.tags.iter().cloned().map(Scope::Tag)).collect()
}

/// The first items of a wish; the last one is cut where it goes too far.
fn items(wish: &Wish) -> Vec<String> {
    let kinds = [
        ("url", &wish.urls),
        ("prefix", &wish.prefixes),
        ("tag", &wish.tags),
        ("host", &wish.hosts),
    ];
    let of_kind = |(kind, items)| {
        let items: &Vec<String> = items;
        items.iter().map(move |item| format!("{kind} {item}"))
    };
    let named = kinds.into_iter().flat_map(of_kind);
    let mut left = ITEMS_BYTES_MAX;
    let mut all = Vec::new();
    for mut item in wish.all.then(|| "all".to_owned()).into_iter().chain(named) {
        if item.len() > left {
            item.truncate(item.floor_char_boundary(left));
            all.push(item + "...");
            break;
        }
        left -= item.len();
        all.push(item);
    }
    all
}
