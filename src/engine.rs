//! The cache: a request becomes an answer, out of the store or by a fetch that is shared by all who
//! want the same.
//!
//! `decision` says which of the answers, `lookup` gives it, `explaining` tells why, `fill` fetches,
//! `in_flight` knows who is fetching what, `arrival` is a content on its way to its readers, `spill`
//! takes it to the disk where memory cannot hold it, `object` and `body` are what is stored,
//! `stored_form` is how the disk keeps it, `tiers` moves it between memory and disk, `purge` makes it
//! forgotten, `parents` has that done by parents, `notes` remembers for a while what is not worth
//! waiting for, and why. `configured` is what may change while all of it runs, `handover` gives all of
//! it to the next process.

mod arrival;
mod body;
mod by_hash;
mod compare;
mod configured;
mod decision;
mod explaining;
mod fill;
mod handover;
mod held;
mod in_flight;
mod ledger;
mod lookup;
mod notes;
mod object;
mod parents;
mod passed;
mod pinned;
mod purge;
mod receipts;
mod request;
mod spill;
mod stored_form;
mod sweep;
mod tiers;

pub use arrival::{ArrivalReader, ReadEnd};
pub use body::{PIECES_MAX, Pieces};
pub use configured::Configured;
pub use explaining::{Explained, Fetch, Prospect, Remembered, Seen};
pub use fill::{Probed, Unprobed};
pub use handover::{Forgotten, HandedOver, Heir, PurgesHeld};
pub use held::{Held, Preview};
pub use in_flight::{Answer, Event, Flight, Ticket, Verdict};
pub use lookup::Found;
pub use object::{Head, Object};
pub use passed::{Passed, Posted, is_safe};
pub use purge::Order;
pub use receipts::{Kinds, OfParent, ParentState, Receipt};
pub use request::Request;
pub use stored_form::{Kept, KeptBody, is_gone, read, read_left};

use crate::config::Settings;
use crate::metrics::{CacheReport, Metrics};
use crate::permits;
use crate::rules::conditional;
use crate::rules::key::Key;
use crate::rules::loops::Identity;
use crate::rules::storing;
use crate::store::disk::Disk;
use crate::store::memory::{Gone, Memory};
use crate::store::{Found as InStore, Store};
use crate::upstream::Upstream;
use crate::wire::fields::Fields;
use handover::Handover;
use in_flight::InFlight;
use ledger::Ledger;
use notes::Notes;
use object::Variants;
use parents::{Bookkeeping, Parents};
use pinned::Pinned;
use receipts::Receipts;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;
use sweep::Sweep;
use tiers::Promotions;
use tokio::sync::{Semaphore, watch};

/// One object takes at most this share of the memory.
const OBJECT_SHARE: u64 = 4;
/// What arrives takes at most this share of it, besides what is stored in the rest.
const ARRIVING_SHARE: u64 = 4;
/// What is stored no more, but still being sent, takes at most this share.
const PINNED_SHARE: u64 = 8;
/// Objects that are moved between the tiers at one time.
const MOVES_MAX: usize = 8;
/// What is stored takes this many eighths.
const STORED_EIGHTHS: u64 = 6;

/// The cache.
pub struct Engine {
    identity: Identity,
    /// What the settings say that are in force.
    current: watch::Sender<Arc<Configured>>,
    store: Store<Variants>,
    in_flight: InFlight,
    notes: Notes,
    receipts: Receipts,
    bookkeeping: Bookkeeping,
    handover: Handover,
    last_purge: AtomicU64,
    sweep: Sweep,
    pinned: Arc<Pinned>,
    arriving: Arc<Ledger>,
    object_bytes_max: u64,
    fills: Arc<Semaphore>,
    /// Objects on their way from one tier to the other.
    moves: Semaphore,
    promotions: Promotions,
    metrics: Arc<Metrics>,
}

impl Engine {
    /// An empty cache in front of the origins of these settings. `token` is the operator's.
    pub fn new(
        settings: &Settings,
        token: Option<String>,
        disk: Option<Arc<Disk>>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Arc<Self>> {
        let bytes = settings.cache.memory_bytes;
        let pinned = Arc::new(Pinned::new(bytes / PINNED_SHARE));
        let (counted, left) = (metrics.clone(), pinned.clone());
        let gone = move |variants: &Variants, why: Gone| {
            if why != Gone::Removed {
                counted.evictions().inc();
            }
            // What was not let in has room of its own as long as it is read.
            if why != Gone::Refused {
                variants.objects.iter().for_each(|object| left.forgotten(object));
            }
        };
        let stored_bytes_max = bytes / 8 * STORED_EIGHTHS;
        let store = Store::new(Memory::new(stored_bytes_max, gone), disk);
        let purges = store.purges().clone();
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let upstream = Upstream::new(&settings.origins, token, metrics.clone())?;
        let parents = Parents::of(&upstream);
        let engine = Arc::new(Self {
            identity: Identity::new(random),
            current: watch::Sender::new(Configured::new(settings, upstream, parents)),
            store,
            in_flight: InFlight::new(purges.clone()),
            notes: Notes::new(purges),
            receipts: Receipts::default(),
            bookkeeping: Bookkeeping::default(),
            handover: Handover::default(),
            last_purge: AtomicU64::new(0),
            sweep: Sweep::default(),
            pinned,
            arriving: Ledger::new(bytes / ARRIVING_SHARE),
            object_bytes_max: bytes / OBJECT_SHARE,
            fills: permits::semaphore(settings.server.limits.fills),
            moves: Semaphore::new(MOVES_MAX),
            promotions: Promotions::for_memory_of(stored_bytes_max),
            metrics: metrics.clone(),
        });
        // Before anybody asks for anything: what parents owe.
        engine.find_old_receipts();
        let probed = Arc::downgrade(&engine);
        metrics.set_cache_probe(move || {
            probed.upgrade().map_or_else(CacheReport::default, |engine| engine.report())
        });
        let probed = Arc::downgrade(&engine);
        metrics.set_origins_probe(move || {
            let gauges = |engine: Arc<Self>| engine.configured().upstream.gauges();
            probed.upgrade().map_or_else(Vec::new, gauges)
        });
        Ok(engine)
    }

    /// This server, as those upstream get to know it; another one with each start.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What counts what happens.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The number of this moment: what is purged later has a larger one.
    pub fn moment(&self) -> u64 {
        self.store.purges().draw()
    }

    /// Puts a new object into the store, together with the parts of it that are there, and takes
    /// away what the origin was asked to confirm and did not. `seen` is what was there when the
    /// origin was asked. Called while nobody else can change this key.
    fn keep(self: &Arc<Self>, key: &Key, new: Object, change: &Change<'_>) -> Arc<Object> {
        let Change { seen, outdated, request } = *change;
        let newest = self.store.purges().newest();
        let new = match self.unless_purged(key.as_bytes(), new) {
            Ok(new) => new,
            Err(purged) => {
                self.forget_before(key, seen, &purged);
                return Arc::new(purged);
            }
        };
        let stored = self.current(key.as_bytes(), seen);
        if seen.is_some_and(|seen| seen.value.has_chunks_of(&new))
            && !stored.as_ref().is_some_and(|stored| stored.has_chunks_of(&new))
        {
            // The others of its chunks are those of something that is gone.
            return Arc::new(new);
        }
        let mut new = new;
        let parts = stored.as_ref().and_then(|stored| {
            stored.select(request, &new.head.additions).filter(|old| {
                let (old_fields, fields) = (&old.head.fields, &new.head.fields);
                !(old.body.is_in_memory() && new.body.is_in_memory())
                    && old.body.total() == new.body.total()
                    && conditional::are_the_same_bytes(old_fields, fields, SystemTime::now())
                    && old.body.weight() + new.body.weight() <= self.object_bytes_max as usize
            })
        });
        // What was asked for later is newer, however long this took to come.
        let is_late = parts.is_none()
            && stored
                .as_ref()
                .is_some_and(|stored| stored.objects.iter().any(|old| old.is_newer_than(&new)));
        if is_late {
            return Arc::new(new);
        }
        if let Some(old) = parts {
            // RFC 9111, section 3.4: the newer fields in the place of the older ones.
            new = Object {
                head: Arc::new(old.head.updated(&new.head, request)),
                body: old.body.joined(&new.body),
                asked: new.asked,
            };
            if new.head.terms().is_err() {
                self.store.remove(key.as_bytes());
                return Arc::new(new);
            }
        }
        let new = Arc::new(new);
        let variants = stored.map_or_else(Variants::default, |stored| match outdated {
            Some(outdated) => stored.without(outdated).unwrap_or_default(),
            None => Variants::of(stored.objects.clone()),
        });
        let (variants, replaced) = variants.with(new.clone(), self.object_bytes_max);
        self.changed(key, Arc::new(variants.compared_up_to(newest)));
        replaced.iter().chain(outdated).for_each(|old| self.pinned.forgotten(old));
        new
    }

    /// Takes away what a purged object was to replace: that is older still. Called while nobody else
    /// can change this key.
    fn forget_before(
        self: &Arc<Self>,
        key: &Key,
        seen: Option<&InStore<Variants>>,
        purged: &Object,
    ) {
        let newest = self.store.purges().newest();
        let Some(stored) = self.current(key.as_bytes(), seen) else {
            // It may have left memory, but not the disk.
            return self.store.remove(key.as_bytes());
        };
        let stays = |object: &&Arc<Object>| !purged.is_newer_than(object);
        let left: Vec<_> = stored.objects.iter().filter(stays).cloned().collect();
        if left.is_empty() {
            self.store.remove(key.as_bytes());
        } else if left.len() < stored.objects.len() {
            self.changed(key, Arc::new(Variants::of(left).compared_up_to(newest)));
        }
    }

    /// Whether memory has this object; it may find others more useful than a new one.
    fn has_in_memory(&self, key: &Key, object: &Arc<Object>) -> bool {
        let stored = self.store.get(key.as_bytes());
        let is_it = |stored: &Arc<Object>| Arc::ptr_eq(stored, object);
        stored.is_some_and(|found| found.value.objects.iter().any(is_it))
    }

    /// Puts `new` in the place of `old`, if that is still there; takes it away if the new one may
    /// not be kept, unless that is because of who asked. Called while nobody else can change this key.
    fn replace(
        self: &Arc<Self>,
        key: &Key,
        seen: Option<&InStore<Variants>>,
        old: &Arc<Object>,
        new: &Arc<Object>,
    ) {
        if new.head.terms().is_err_and(storing::Refusal::is_about_request) {
            return;
        }
        let newest = self.store.purges().newest();
        let Some(stored) = self.current(key.as_bytes(), seen) else {
            // It may have left memory, but not the disk.
            if new.head.kept_terms().is_none() {
                self.store.remove(key.as_bytes());
            }
            return;
        };
        if !stored.objects.iter().any(|object| object.is(old)) {
            return;
        }
        let without = stored.without(old);
        let kept = Some(new).filter(|new| new.head.kept_terms().is_some());
        let kept = kept.and_then(|new| self.unless_purged(key.as_bytes(), Object::clone(new)).ok());
        let variants = match kept {
            Some(new) => {
                let others = without.unwrap_or_default();
                Some(others.with(Arc::new(new), self.object_bytes_max).0)
            }
            None => without,
        };
        match variants {
            Some(variants) => self.changed(key, Arc::new(variants.compared_up_to(newest))),
            None => self.store.remove(key.as_bytes()),
        }
    }
}

/// What a new object changes.
struct Change<'a> {
    /// What was there when the origin was asked.
    seen: Option<&'a InStore<Variants>>,
    /// What it was asked to confirm, and did not.
    outdated: Option<&'a Arc<Object>>,
    /// The request that it answers.
    request: &'a Fields,
}
