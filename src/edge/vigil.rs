//! Waiting for a request, again and again on one connection: until its time is up, or until connections
//! that ask for nothing are to end.
//!
//! A timer and a place among those who are told of the end are set up once for each connection. For each
//! request that would take two locks that all connections share, and most of what a hit costs is such
//! little things.

use pingora::server::ShutdownWatch;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Why nothing is waited for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The time is up.
    Late,
    /// Connections that ask for nothing are to end.
    Leaving,
}

/// A connection's own.
pub(super) struct Vigil {
    leave: ShutdownWatch,
    leaving: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Rings now and then; what is waited for may come later than that.
    alarm: Pin<Box<Sleep>>,
    /// Whom both of them wake.
    waker: Option<Waker>,
}

impl Vigil {
    /// One that ends with `leave`.
    pub(super) fn new(leave: ShutdownWatch) -> Self {
        let mut told = leave.clone();
        let leaving = Box::pin(async move {
            // Whoever could tell has gone: so it has ended, too.
            let _ = told.wait_for(|down| *down).await;
        });
        let alarm = Box::pin(sleep_until(Instant::now()));
        Self { leave, leaving, alarm, waker: None }
    }

    /// Does `work`, if it ends before `until` and before everything does.
    pub(super) async fn unless_over<T>(
        &mut self,
        until: Instant,
        work: impl Future<Output = T>,
    ) -> Result<T, Woken> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.is_over(until, cx).map(Err),
        })
        .await
    }

    /// Whether connections that ask for nothing are to end.
    pub(super) fn is_leaving(&self) -> bool {
        self.is_told() && *self.leave.borrow()
    }

    /// Whether there may be news of that: without a lock.
    fn is_told(&self) -> bool {
        !matches!(self.leave.has_changed(), Ok(false))
    }

    fn is_over(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<Woken> {
        let wakes_us = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !wakes_us {
            self.waker = Some(cx.waker().clone());
        }
        let is_told = self.is_told();
        // Whoever has had its share of a turn has to be woken, too, and a poll that waits for the next share
        // tells nobody whom to wake.
        let leaving = pin!(unconstrained(self.leaving.as_mut()));
        if (is_told || !wakes_us) && leaving.poll(cx).is_ready() {
            return Poll::Ready(Woken::Leaving);
        }
        let is_too_late = self.alarm.deadline() > until;
        if is_too_late {
            self.alarm.as_mut().reset(until);
        }
        if is_too_late || !wakes_us || self.alarm.is_elapsed() {
            while pin!(unconstrained(self.alarm.as_mut())).poll(cx).is_ready() {
                if Instant::now() >= until {
                    return Poll::Ready(Woken::Late);
                }
                self.alarm.as_mut().reset(until);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::time::Duration;
    use tokio::sync::watch;
    use tokio::task::coop;

    const LONG: Duration = Duration::from_secs(1000);

    #[tokio::test(start_paused = true)]
    async fn each_time_is_up_when_it_is_however_the_one_before_ended() {
        let (_leave, leaves) = watch::channel(false);
        let mut vigil = Vigil::new(leaves);
        for seconds in [5, 1000, 1, 0, 30] {
            let began = Instant::now();
            let until = began + Duration::from_secs(seconds);
            assert_eq!(vigil.unless_over(until, pending::<()>()).await, Err(Woken::Late));
            assert_eq!(began.elapsed().as_secs(), seconds);
            assert_eq!(vigil.unless_over(until + LONG, async { 7 }).await, Ok(7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_time_counts_and_the_time_goes_on_from_there() {
        let (_leave, leaves) = watch::channel(false);
        let mut vigil = Vigil::new(leaves);
        let began = Instant::now();
        for _ in 0..10 {
            let work = tokio::time::sleep(Duration::from_secs(9));
            let until = Instant::now() + Duration::from_secs(10);
            assert_eq!(vigil.unless_over(until, work).await, Ok(()));
        }
        assert_eq!(began.elapsed().as_secs(), 90);
        let until = Instant::now() + Duration::from_secs(10);
        assert_eq!(vigil.unless_over(until, pending::<()>()).await, Err(Woken::Late));
        assert_eq!(began.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_had_its_share_of_a_turn_is_woken_all_the_same() {
        for ends in [false, true] {
            let (leave, leaves) = watch::channel(false);
            let waiting = tokio::spawn(async move {
                let (mut vigil, mut is_first) = (Vigil::new(leaves), true);
                let work = poll_fn(|cx| {
                    while is_first {
                        match coop::poll_proceed(cx) {
                            Poll::Ready(progress) => progress.made_progress(),
                            Poll::Pending => is_first = false,
                        }
                    }
                    Poll::<()>::Pending
                });
                vigil.unless_over(Instant::now() + Duration::from_secs(9), work).await
            });
            tokio::time::sleep(Duration::from_secs(1)).await;
            if ends {
                leave.send_replace(true);
            }
            let woken = tokio::time::timeout(LONG, waiting).await.expect("nobody has woken it");
            assert_eq!(
                woken.expect("no panic"),
                Err(if ends { Woken::Leaving } else { Woken::Late })
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_heard_at_once_while_waiting_and_before() {
        for begins_with_work in [false, true] {
            let (leave, leaves) = watch::channel(false);
            let mut vigil = Vigil::new(leaves);
            let until = Instant::now() + LONG;
            if begins_with_work {
                assert_eq!(vigil.unless_over(until, async {}).await, Ok(()));
            }
            let tell = async {
                tokio::task::yield_now().await;
                leave.send_replace(true);
            };
            let (woken, ()) = tokio::join!(vigil.unless_over(until, pending::<()>()), tell);
            assert_eq!(woken, Err(Woken::Leaving));
        }
        let (leave, leaves) = watch::channel(true);
        let until = Instant::now() + LONG;
        assert_eq!(
            Vigil::new(leaves).unless_over(until, pending::<()>()).await,
            Err(Woken::Leaving)
        );
        drop(leave);
    }
}
