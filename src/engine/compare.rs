//! What is left of what was found, after everything that was purged since it was asked for. On the
//! way of a hit this is one comparison of two numbers.

use super::object::{Head, Object, Variants};
use super::{Engine, InStore};
use crate::rules::key::Key;
use crate::store::purges::Fate;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What became of a value.
pub(super) enum Left {
    /// Nothing.
    Same,
    /// Some of it is gone or stale.
    Some(Variants, Vec<Taken>),
    /// It is gone.
    Nothing(Vec<Taken>),
}

/// An object that is gone or stale.
pub(super) struct Taken {
    /// The number of the purge.
    by: u64,
    bytes: u64,
}

impl Engine {
    /// Whether a value was compared with the newest purge.
    pub(super) fn is_compared(&self, variants: &Variants) -> bool {
        variants.compared.load(Ordering::Relaxed) >= self.store.purges().newest()
    }

    /// Whether something was purged since it was asked for, so that nobody new may have it unasked.
    pub fn is_purged(&self, key: &Key, head: &Head, asked: u64) -> bool {
        self.fate(key.as_bytes(), head, asked) != Fate::Stays
    }

    /// The same for what may be stale.
    pub fn is_gone(&self, key: &Key, object: &Object) -> bool {
        matches!(self.fate(key.as_bytes(), &object.head, object.asked), Fate::Gone(_))
    }

    fn fate(&self, key: &[u8], head: &Head, asked: u64) -> Fate {
        self.store.purges().fate(key, &head.extras().tags, asked)
    }

    /// Whether one of the objects of a value is gone.
    pub(super) fn is_dead(&self, key: &[u8], variants: &Variants, object: &Object) -> bool {
        let compared = variants.compared.load(Ordering::Relaxed).max(object.asked);
        matches!(self.fate(key, &object.head, compared), Fate::Gone(_))
    }

    /// What is left of what was found; what is gone is taken out of the store, too.
    pub(super) fn left(
        self: &Arc<Self>,
        key: &[u8],
        found: InStore<Variants>,
    ) -> Option<InStore<Variants>> {
        if self.is_compared(&found.value) {
            return Some(found);
        }
        // The rules may be from before this start.
        self.start_sweeper();
        match self.compare(key, &found.value) {
            Left::Same => Some(found),
            Left::Some(left, taken) => {
                // It lies where it lay; what is left of it there is compared again.
                let receipt = found.place.map(|_| found.value.receipt.clone());
                let value = match receipt {
                    Some(receipt) => Arc::new(Variants { receipt, ..left }),
                    None => Arc::new(left),
                };
                self.in_flight.locked(key, || {
                    // What was purged since is found where it was, and compared with that.
                    if self.is_compared(&value) && self.is_there(key, &found) {
                        self.store.insert(key, value.clone());
                        // What is stale on the disk is found again when this has left memory.
                        let is_news = |by| found.place.is_none() || self.receipts.expects_more(by);
                        if taken.first().is_some_and(|first| is_news(first.by)) {
                            self.count(&taken);
                        }
                    }
                });
                Some(InStore { value, ..found })
            }
            Left::Nothing(taken) => {
                self.in_flight.locked(key, || {
                    // Whoever else has found it does not count it again.
                    if self.store.forget(key, &found) {
                        self.count(&taken);
                    }
                });
                None
            }
        }
    }

    /// Whether a key has what was found, in the same place. Called while nobody else can change it.
    fn is_there(&self, key: &[u8], found: &InStore<Variants>) -> bool {
        match (self.store.get(key), found.place) {
            (Some(now), None) => Arc::ptr_eq(&now.value, &found.value),
            (None, Some(_)) => self.store.is_unchanged(key, Some(found)),
            _ => false,
        }
    }

    fn count(&self, taken: &[Taken]) {
        for Taken { by, bytes } in taken {
            self.receipts.count(*by, 1, *bytes);
        }
    }

    /// The value of a key, if it is what was seen or newer. Called while nobody else can change it.
    pub(super) fn current(
        &self,
        key: &[u8],
        seen: Option<&InStore<Variants>>,
    ) -> Option<Arc<Variants>> {
        let found = self.store.current(key, seen)?;
        if self.is_compared(&found) {
            return Some(found);
        }
        match self.compare(key, &found) {
            Left::Same => Some(found),
            Left::Some(left, taken) => {
                self.count(&taken);
                Some(Arc::new(left))
            }
            Left::Nothing(taken) => {
                self.count(&taken);
                None
            }
        }
    }

    /// A new object as it may be stored; an error if it was purged while it was on its way.
    pub(super) fn unless_purged(&self, key: &[u8], new: Object) -> Result<Object, Object> {
        match self.fate(key, &new.head, new.asked) {
            Fate::Stays => Ok(new),
            Fate::Stale(since, by) => {
                self.receipts.count(by, 1, new.stored_bytes());
                Ok(Object { head: Arc::new(new.head.stale_since(since)), ..new })
            }
            Fate::Gone(by) => {
                self.receipts.count(by, 1, new.stored_bytes());
                Err(new)
            }
        }
    }

    pub(super) fn compare(&self, key: &[u8], variants: &Variants) -> Left {
        // Read first: what is purged from here on is a reason to compare again.
        let newest = self.store.purges().newest();
        let compared = variants.compared.load(Ordering::Relaxed);
        let mut left = Vec::with_capacity(variants.objects.len());
        let mut taken = Vec::new();
        for object in &variants.objects {
            let by = match self.fate(key, &object.head, object.asked.max(compared)) {
                Fate::Stays => {
                    left.push(object.clone());
                    continue;
                }
                Fate::Gone(by) => by,
                Fate::Stale(since, by) => {
                    let head = Arc::new(object.head.stale_since(since));
                    left.push(Arc::new(Object { head, ..Object::clone(object) }));
                    by
                }
            };
            taken.push(Taken { by, bytes: object.stored_bytes() });
        }
        if taken.is_empty() {
            variants.compared.fetch_max(newest, Ordering::Relaxed);
            return Left::Same;
        }
        if left.is_empty() {
            return Left::Nothing(taken);
        }
        Left::Some(Variants::of(left).compared_up_to(newest), taken)
    }
}
