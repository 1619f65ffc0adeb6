//! What wakes a connection's task, and whether that is worth a turn.
//!
//! The library wakes the task for each answer that is handed over, and once more when its stream is done:
//! mostly in the middle of the turn that does both. Then the bell only remembers that it rang, and the
//! turn looks once more before it ends. A task that is woken by something else, a timer say, finds that
//! the bell has not rung, and leaves the library alone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

pub(super) struct Bell {
    wire: Arc<Wire>,
    /// Rings it.
    button: Waker,
}

struct Wire {
    has_rung: AtomicBool,
    is_turn: AtomicBool,
    task: Mutex<Waker>,
}

impl Wire {
    fn task(&self) -> MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Wire {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::SeqCst);
        if !self.is_turn.load(Ordering::SeqCst) {
            self.task().wake_by_ref();
        }
    }
}

impl Bell {
    /// One that has rung: there is a first turn.
    pub(super) fn new() -> Self {
        let (has_rung, is_turn) = (AtomicBool::new(true), AtomicBool::new(false));
        let task = Mutex::new(Waker::noop().clone());
        let wire = Arc::new(Wire { has_rung, is_turn, task });
        Self { button: wire.clone().into(), wire }
    }

    /// For what is to ring it.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.button)
    }

    /// Whether it has rung. If not, or after the turn that begins now, it wakes this task.
    pub(super) fn begins_turn(&self, task: &Waker) -> bool {
        self.wire.task().clone_from(task);
        !self.ends_turn()
    }

    /// Whether the turn is over: if it has rung, another one begins.
    pub(super) fn ends_turn(&self) -> bool {
        // Whoever rings before this is heard here, and whoever rings after it wakes the task.
        self.wire.is_turn.store(false, Ordering::SeqCst);
        let has_rung = self.wire.has_rung.swap(false, Ordering::SeqCst);
        if has_rung {
            self.wire.is_turn.store(true, Ordering::SeqCst);
        }
        !has_rung
    }

    /// Ends the turn although there is more to do, so that others have theirs; the task is woken.
    pub(super) fn puts_off_turn(&self) {
        self.wire.is_turn.store(false, Ordering::SeqCst);
        self.button.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn task() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    #[test]
    fn there_is_a_first_turn_and_another_one_only_after_it_has_rung() {
        let (bell, (woken, task)) = (Bell::new(), task());
        assert!(bell.begins_turn(&task) && bell.ends_turn());
        assert!(!bell.begins_turn(&task), "something else has woken the task");
        bell.context().waker().wake_by_ref();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(bell.begins_turn(&task) && bell.ends_turn());
    }

    #[test]
    fn what_rings_in_a_turn_makes_it_begin_anew_and_wakes_nobody() {
        let (bell, (woken, task)) = (Bell::new(), task());
        assert!(bell.begins_turn(&task));
        bell.context().waker().wake_by_ref();
        assert!(!bell.ends_turn() && bell.ends_turn());
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        assert!(!bell.begins_turn(&task));
    }

    #[test]
    fn a_turn_that_is_put_off_comes() {
        let (bell, (woken, task)) = (Bell::new(), task());
        assert!(bell.begins_turn(&task));
        bell.puts_off_turn();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(bell.begins_turn(&task));
    }

    #[test]
    fn the_task_that_began_the_last_turn_is_woken() {
        let (bell, (before, first), (after, second)) = (Bell::new(), task(), task());
        assert!(bell.begins_turn(&first) && bell.ends_turn());
        assert!(!bell.begins_turn(&second));
        bell.context().waker().wake_by_ref();
        assert_eq!(before.0.load(Ordering::SeqCst), 0);
        assert_eq!(after.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn no_ring_of_another_thread_is_lost() {
        let (bell, (woken, task)) = (Bell::new(), task());
        let (asked, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
        const RINGS: usize = 20_000;
        std::thread::scope(|scope| {
            let rings = scope.spawn(|| {
                for ring in 1..=RINGS {
                    asked.store(ring, Ordering::SeqCst);
                    bell.context().waker().wake_by_ref();
                    while seen.load(Ordering::SeqCst) < ring {
                        std::thread::yield_now();
                    }
                }
            });
            let mut heard = 0;
            while !rings.is_finished() {
                // As a runtime does: a task that nobody has woken is not polled.
                let now = woken.0.load(Ordering::SeqCst);
                if now == heard && seen.load(Ordering::SeqCst) > 0 {
                    std::thread::yield_now();
                    continue;
                }
                heard = now;
                if bell.begins_turn(&task) {
                    loop {
                        seen.store(asked.load(Ordering::SeqCst), Ordering::SeqCst);
                        if bell.ends_turn() {
                            break;
                        }
                    }
                }
            }
        });
        assert_eq!(seen.load(Ordering::SeqCst), RINGS);
    }
}
