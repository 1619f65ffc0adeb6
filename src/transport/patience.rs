//! How long the other side is waited for.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A time for which nothing may move, which waiting uses up and bytes earn back.
///
/// Without a least rate each byte earns all of it back: a single one a minute would keep a transfer
/// alive for ever. With one, a transfer of so many bytes is waited for no longer than this time and
/// what they take at that rate. Only waiting counts: who is ready whenever we are is never too slow.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    whole: Duration,
    /// Bytes a second; 0 for none.
    rate_min: u64,
    left: Duration,
}

impl Patience {
    /// So long for nothing, and `rate_min` bytes a second on average; 0 for no such rate.
    pub fn new(whole: Duration, rate_min: u64) -> Self {
        Self { whole, rate_min, left: whole }
    }

    /// One that is never over.
    pub fn endless() -> Self {
        Self::new(Duration::MAX, 0)
    }

    /// Does `work`, or `None` when it has taken too long.
    pub async fn wait<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        // Most of what is asked for is there: then no clock is looked at.
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Some(done);
        }
        if self.rate_min == 0 {
            return timeout(self.whole, work).await.ok();
        }
        let started = Instant::now();
        let done = timeout(self.left, work).await.ok();
        self.waited(started.elapsed());
        done
    }

    fn waited(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    /// So many bytes have moved.
    pub fn moved(&mut self, bytes: usize) {
        if self.rate_min > 0 && self.left < self.whole {
            self.left = self.whole.min(self.left.saturating_add(time_of(bytes, self.rate_min)));
        }
    }
}

impl From<Duration> for Patience {
    fn from(whole: Duration) -> Self {
        Self::new(whole, 0)
    }
}

fn time_of(bytes: usize, rate: u64) -> Duration {
    let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000) / rate;
    Duration::from_nanos(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Waits for pieces of so many bytes that come so far apart, up to `count` of them; how many came.
    fn pieces(mut patience: Patience, bytes: usize, apart: Duration, count: usize) -> usize {
        for came in 0..count {
            if patience.left < apart {
                return came;
            }
            if patience.rate_min > 0 {
                patience.waited(apart);
            }
            patience.moved(bytes);
        }
        count
    }

    #[tokio::test]
    async fn silence_is_waited_out_once() {
        for rate_min in [0, 1000] {
            let mut patience = Patience::new(Duration::from_millis(20), rate_min);
            assert_eq!(patience.wait(std::future::pending::<()>()).await, None);
        }
    }

    #[test]
    fn single_bytes_buy_time_only_where_there_is_no_least_rate() {
        let apart = 50 * SECOND;
        assert_eq!(pieces(Patience::new(60 * SECOND, 0), 1, apart, 1000), 1000);
        assert_eq!(pieces(Patience::new(60 * SECOND, 64), 1, apart, 1000), 1);
    }

    #[test]
    fn whoever_keeps_the_least_rate_may_take_for_ever() {
        assert_eq!(pieces(Patience::new(60 * SECOND, 64), 64, SECOND, 10_000), 10_000);
        assert_eq!(pieces(Patience::new(60 * SECOND, 64), 640, 10 * SECOND, 1000), 1000);
    }

    #[test]
    fn a_transfer_is_waited_for_no_longer_than_its_patience_and_its_bytes_at_that_rate() {
        for (bytes, rate) in [(0, 1), (1, 2), (50, 100), (99, 100)] {
            let came = pieces(Patience::new(60 * SECOND, rate), bytes, SECOND, usize::MAX) as u64;
            let at_most = 60 + came * bytes as u64 / rate + 1;
            assert!(came <= at_most, "{came} seconds for {bytes} a second");
        }
    }

    #[test]
    fn what_came_fast_buys_no_more_than_the_whole_time() {
        let mut patience = Patience::new(60 * SECOND, 1);
        patience.waited(SECOND);
        patience.moved(usize::MAX);
        assert_eq!(patience.left, 60 * SECOND);
    }
}
