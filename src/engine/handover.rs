//! The cache changes hands: another process takes over from this one, or this one from another.
//!
//! Purges are made by one process at a time. Whoever hands over makes none from the moment on when
//! it begins to close the disk, and whoever takes over acknowledges none before the other uses
//! nothing stored any more for requests that come. In between, requests for purges wait. What a
//! request makes out of date that ends in the old process after the disk was closed there, the new
//! one is told through the `Heir`.

use super::Engine;
use crate::store::purges::Scope;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

/// Keys that wait to be told at one time; for more, everything is forgotten.
const WAITING_MAX: usize = 1024;

/// Purges are another process's affair by now: they have to be asked for again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOver;

#[derive(Default)]
pub(super) struct Handover {
    /// Held by each purge; `true`: there are none here any more.
    purges: Arc<RwLock<bool>>,
    is_given_up: AtomicBool,
    heir: Mutex<Option<Arc<Heir>>>,
}

/// No purge is made as long as this is held.
pub struct PurgesHeld(OwnedRwLockWriteGuard<bool>);

impl PurgesHeld {
    /// Those that wait, and those that come, are refused.
    pub fn refuse(mut self) {
        *self.0 = true;
    }
}

/// What the new process has to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// What is stored under this key.
    Key(Box<[u8]>),
    /// All that is stored.
    Everything,
}

/// What the new process has to be told.
#[derive(Default)]
pub struct Heir {
    news: Mutex<News>,
    wake: Condvar,
    /// The number of the last that it has confirmed.
    confirmed: watch::Sender<u64>,
}

#[derive(Default)]
struct News {
    waiting: VecDeque<Forgotten>,
    /// Of the last one.
    number: u64,
    is_over: bool,
}

impl Heir {
    /// The next one and its number, waited for; `None`: there is none any more.
    pub fn next(&self) -> Option<(u64, Forgotten)> {
        let mut news = self.lock();
        loop {
            if news.is_over {
                return None;
            }
            if let Some(next) = news.waiting.pop_front() {
                return Some((news.number - news.waiting.len() as u64, next));
            }
            news = self.wake.wait(news).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The new process has forgotten everything up to this number.
    pub fn confirm(&self, number: u64) {
        self.confirmed.send_modify(|confirmed| *confirmed = number.max(*confirmed));
    }

    fn note(&self, forgotten: Forgotten) {
        let mut news = self.lock();
        news.number += 1;
        if news.waiting.len() < WAITING_MAX {
            news.waiting.push_back(forgotten);
        } else {
            news.waiting.clear();
            news.waiting.push_back(Forgotten::Everything);
        }
        self.wake.notify_one();
    }

    fn end(&self) {
        self.lock().is_over = true;
        self.wake.notify_one();
        self.confirm(u64::MAX);
    }

    /// Waits until it has forgotten everything that was noted before.
    async fn told(&self) {
        let number = self.lock().number;
        // The sender lives as long as `self`.
        let _ = self.confirmed.subscribe().wait_for(|confirmed| *confirmed >= number).await;
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handover {
    /// A purge's turn: no handover begins as long as it is held.
    pub(super) async fn turn(&self) -> Result<OwnedRwLockReadGuard<bool>, HandedOver> {
        let turn = self.purges.clone().read_owned().await;
        if *turn { Err(HandedOver) } else { Ok(turn) }
    }

    /// Something was made out of date here.
    pub(super) fn note(&self, forgotten: impl FnOnce() -> Forgotten) {
        if let Some(heir) = &*self.heir() {
            heir.note(forgotten());
        }
    }

    /// Waits until the new process has forgotten what was noted before, if there is one.
    pub(super) async fn told(&self) {
        let heir = self.heir().clone();
        if let Some(heir) = heir {
            heir.told().await;
        }
    }

    fn heir(&self) -> MutexGuard<'_, Option<Arc<Heir>>> {
        self.heir.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Waits until the purges that are being made are durable, and lets no others begin.
    pub async fn hold_purges(&self) -> PurgesHeld {
        PurgesHeld(self.handover.purges.clone().write_owned().await)
    }

    /// The same before anybody can ask for one.
    pub fn hold_purges_at_start(&self) -> Option<PurgesHeld> {
        self.handover.purges.clone().try_write_owned().ok().map(PurgesHeld)
    }

    /// From now on whoever is returned is to tell the new process what is made out of date here. To be
    /// called before the disk is closed.
    pub fn appoint_heir(&self) -> Arc<Heir> {
        let heir = Arc::new(Heir::default());
        *self.handover.heir() = Some(heir.clone());
        heir
    }

    /// There is no new process, or not any more.
    pub fn dismiss_heir(&self) {
        if let Some(heir) = self.handover.heir().take() {
            heir.end();
        }
    }

    /// Nothing stored is used for requests that come from now on.
    pub fn give_up_store(&self) {
        self.handover.is_given_up.store(true, Ordering::SeqCst);
    }

    /// Whether what is stored here may be what another process has purged.
    pub fn has_given_up_store(&self) -> bool {
        self.handover.is_given_up.load(Ordering::SeqCst)
    }

    /// What the old process has made out of date; ends when that cannot come back.
    pub async fn forget(&self, forgotten: &Forgotten) {
        match forgotten {
            Forgotten::Key(key) => self.in_flight.doom(key, || {
                self.store.remove(key);
                self.notes.forget(key);
            }),
            Forgotten::Everything => {
                let number = self.store.purge(&[Scope::Prefix(Box::default())], None);
                self.last_purge.fetch_max(number, Ordering::AcqRel);
            }
        }
        // Where there have been several upgrades in a short time, it is somebody else's again.
        self.handover.note(|| forgotten.clone());
        self.invalidations_written(&self.configured()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &[u8]) -> Forgotten {
        Forgotten::Key(key.into())
    }

    #[test]
    fn the_heir_is_told_each_key_under_its_number() {
        let heir = Heir::default();
        heir.note(key(b"a"));
        heir.note(key(b"b"));
        assert_eq!(heir.next(), Some((1, key(b"a"))));
        heir.note(key(b"c"));
        assert_eq!(heir.next(), Some((2, key(b"b"))));
        assert_eq!(heir.next(), Some((3, key(b"c"))));
        heir.end();
        assert_eq!(heir.next(), None);
    }

    #[test]
    fn what_nobody_takes_becomes_everything_and_is_bounded() {
        let heir = Heir::default();
        for _ in 0..=WAITING_MAX {
            heir.note(key(b"a"));
        }
        assert_eq!(heir.next(), Some((WAITING_MAX as u64 + 1, Forgotten::Everything)));
    }

    #[tokio::test]
    async fn purges_wait_for_the_handover_and_are_refused_when_it_is_done() {
        let handover = Handover::default();
        let turn = handover.turn().await.expect("its turn");
        let mut held = Box::pin(handover.purges.clone().write_owned());
        assert!(futures_now(&mut held).await.is_none(), "a purge is being made");
        drop(turn);
        let held = PurgesHeld(held.await);
        let mut waiting = Box::pin(handover.turn());
        assert!(futures_now(&mut waiting).await.is_none());
        held.refuse();
        assert_eq!(waiting.await.err(), Some(HandedOver));
    }

    async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
