//! How many connections of operators there may be. Who comes when there are as many takes the place
//! of the one that has had nothing to do for longest: a flood of them keeps nobody out for long.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// All places.
pub(super) struct Places {
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    last_turn: u64,
    /// Those who give way, in the order in which they have to.
    yielding: BTreeMap<u64, Arc<Notify>>,
}

/// One of them, until it is dropped or lost to somebody else.
pub(super) struct Place<'p> {
    places: &'p Places,
    lost: Arc<Notify>,
    /// When it is to be lost; `KEPT`: not now. Changed under the lock only.
    turn: AtomicU64,
}

const KEPT: u64 = 0;

impl Places {
    pub(super) fn new(max: usize) -> Self {
        Self { max, state: Mutex::default() }
    }

    /// A place; `None` where nobody gives way.
    pub(super) fn enter(&self) -> Option<Place<'_>> {
        let mut state = self.lock();
        if state.taken < self.max {
            state.taken += 1;
        } else {
            state.yielding.pop_first()?.1.notify_one();
        }
        drop(state);
        let place = Place { places: self, lost: Arc::default(), turn: AtomicU64::new(KEPT) };
        place.give_way();
        Some(place)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// From now on there is nothing to lose with it, as long as `keep` does not say otherwise.
    pub(super) fn give_way(&self) {
        let mut state = self.places.lock();
        if self.is_lost(&state) {
            return;
        }
        state.yielding.remove(&self.turn());
        state.last_turn += 1;
        let turn = state.last_turn;
        state.yielding.insert(turn, self.lost.clone());
        self.turn.store(turn, Ordering::Relaxed);
    }

    /// Whether it is still there; it is not lost then.
    pub(super) fn keep(&self) -> bool {
        let mut state = self.places.lock();
        if self.is_lost(&state) {
            return false;
        }
        state.yielding.remove(&self.turn());
        self.turn.store(KEPT, Ordering::Relaxed);
        true
    }

    /// Ends when somebody else has it.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }

    fn is_lost(&self, state: &State) -> bool {
        self.turn() != KEPT && !state.yielding.contains_key(&self.turn())
    }

    fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.places.lock();
        if !self.is_lost(&state) {
            state.yielding.remove(&self.turn());
            state.taken -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn has_lost(place: &Place<'_>) -> bool {
        pin!(place.lost()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_comes_takes_the_place_of_who_has_had_nothing_to_do_for_longest() {
        let places = Places::new(3);
        let [first, second, third] = [(); 3].map(|()| places.enter().expect("a place"));
        assert!(first.keep());
        third.give_way();
        second.give_way();
        let fourth = places.enter().expect("that of the third");
        assert!(has_lost(&third) && !has_lost(&first) && !has_lost(&second));
        assert!(!third.keep(), "it is somebody else's");
        third.give_way();
        drop(third);
        assert!(second.keep() && fourth.keep());
        assert!(places.enter().is_none(), "all are kept");
        drop(second);
        let fifth = places.enter().expect("a free one");
        fourth.give_way();
        first.give_way();
        let sixth = places.enter().expect("that of the fifth");
        assert!(has_lost(&fifth) && !has_lost(&fourth));
        for place in [first, fourth, fifth, sixth] {
            drop(place);
        }
        let state = places.lock();
        assert!(state.taken == 0 && state.yielding.is_empty());
    }
}
