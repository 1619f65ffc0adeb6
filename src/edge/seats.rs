//! Connections on which nothing happens give way to those on which something may: when there is no
//! place left for a new one, whoever has been idle longest leaves.
//!
//! So a flood of idle connections keeps nobody out. Who has asked a moment ago is not idle yet: a busy
//! connection never comes here, and never pays for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long nothing happens on a connection before it is asked to give way.
pub(super) const RESTS_AFTER: Duration = Duration::from_secs(1);

/// The idle connections, in the order in which they came to be so.
#[derive(Default)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    by_number: BTreeMap<u64, oneshot::Sender<()>>,
}

/// An idle connection's own, until it is dropped.
pub(super) struct Seat<'s> {
    seats: &'s Seats,
    number: u64,
    asked: oneshot::Receiver<()>,
}

impl Seats {
    /// For a connection on which nothing has happened for `RESTS_AFTER`.
    pub(super) fn take(&self) -> Seat<'_> {
        let (ask, asked) = oneshot::channel();
        let mut taken = self.locked();
        let number = taken.next;
        taken.next += 1;
        taken.by_number.insert(number, ask);
        Seat { seats: self, number, asked }
    }

    /// Asks the one that has been idle longest to leave; whether there is one.
    pub(super) fn make_room(&self) -> bool {
        while let Some((_, ask)) = self.leaving() {
            if ask.send(()).is_ok() {
                return true;
            }
        }
        false
    }

    fn leaving(&self) -> Option<(u64, oneshot::Sender<()>)> {
        self.locked().by_number.pop_first()
    }

    fn locked(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Ends when somebody else needs the place.
    pub(super) async fn is_needed(&mut self) {
        if (&mut self.asked).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.seats.locked().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_one_that_has_been_idle_longest_leaves_first() {
        let seats = Seats::default();
        let (mut first, gone, mut third) = (seats.take(), seats.take(), seats.take());
        drop(gone);
        assert!(seats.make_room());
        first.is_needed().await;
        assert!(seats.make_room());
        third.is_needed().await;
        assert!(!seats.make_room(), "nobody is idle any more");
        drop((first, third));
        assert!(seats.locked().by_number.is_empty());
    }
}
