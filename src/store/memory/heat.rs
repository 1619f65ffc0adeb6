//! How much something is wanted: the logarithm of how often it was asked for, where older requests
//! count less and less. One number that need not be touched as time goes by: what was asked for once
//! is as hot as the moment of that, and of two things the hotter one stays so until somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits after the point.
const FRACTION_BITS: u32 = 16;
const ONE: u64 = 1 << FRACTION_BITS;
/// The same of the clock, which takes smaller steps.
const CLOCK_BITS: u32 = 36;
/// Whole half-lives that the clock begins with, so that nothing is below zero.
const BEGIN: u64 = 64;
/// Steps of a cache with fewer entries are not larger.
const ENTRIES_MIN: u64 = 256;
/// In so many times that everything in memory is exchanged, a request comes to count half.
const HALF_LIFE: u64 = 16;

/// In logarithms to the base of two; comparable at any two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Heat(pub(super) u64);

impl Heat {
    /// With one more request now. Sums of powers of two, with a straight line between two powers.
    #[must_use]
    pub(super) fn warmed(self, now: Self) -> Self {
        let (more, less) = (self.0.max(now.0), self.0.min(now.0));
        let apart = more - less;
        let share = (2 * ONE - apart % ONE).checked_shr((apart / ONE) as u32 + 1).unwrap_or(0);
        Self(more + share)
    }

    /// How much it is worth to keep something so large: less the larger it is, but only by the root
    /// of that. By the size itself, no more requests are hits, and a seventh fewer of the bytes.
    pub(super) fn worth(self, bytes: u64) -> u64 {
        self.0.saturating_sub(logarithm(bytes) / 2)
    }
}

/// With a straight line between two powers, too.
fn logarithm(number: u64) -> u64 {
    let whole = number.max(1).ilog2();
    let rest = number.max(1) - (1 << whole);
    (u64::from(whole) << FRACTION_BITS) + (((u128::from(rest)) << FRACTION_BITS) >> whole) as u64
}

/// Time, in half-lives: it goes by as values come, not while nothing but hits happens.
pub(super) struct Clock(AtomicU64);

impl Clock {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(BEGIN << CLOCK_BITS))
    }

    pub(super) fn now(&self) -> Heat {
        Heat(self.0.load(Ordering::Relaxed) >> (CLOCK_BITS - FRACTION_BITS))
    }

    /// One more value comes to so many.
    pub(super) fn tick(&self, entries: u64) {
        let step = (1 << CLOCK_BITS) / (entries.max(ENTRIES_MIN) * HALF_LIFE);
        self.0.fetch_add(step, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Heat = Heat(100 * ONE);

    fn asked(times: usize) -> Heat {
        (1..times).fold(NOW, |heat, _| heat.warmed(NOW))
    }

    #[test]
    fn twice_as_many_requests_are_about_one_half_life_more() {
        assert_eq!(asked(2), Heat(101 * ONE));
        for times in [4, 32, 256] {
            let more = (asked(2 * times).0 - asked(times).0) as f64 / ONE as f64;
            assert!((0.6..1.1).contains(&more), "{more} from {times}");
        }
    }

    #[test]
    fn a_request_in_time_to_come_counts_more_than_one_now() {
        let later = Heat(NOW.0 + 3 * ONE);
        assert!(asked(1).warmed(later) > asked(8).max(later));
        assert!(asked(64) > later);
        assert!(asked(2) < later);
    }

    #[test]
    fn requests_for_what_was_forgotten_long_ago_begin_anew() {
        let later = Heat(NOW.0 + 200 * ONE);
        assert_eq!(asked(100).warmed(later), later);
    }

    #[test]
    fn of_two_that_are_equally_wanted_the_larger_one_is_worth_less() {
        assert_eq!(NOW.worth(1024).abs_diff(NOW.worth(4096)), ONE);
        assert!(NOW.worth(5000) < NOW.worth(4999) + 1);
        assert_eq!(Heat(0).worth(u64::MAX), 0);
    }

    #[test]
    fn time_goes_by_with_what_comes_in_half_lives_of_so_many_exchanges() {
        let clock = Clock::new();
        let begun = clock.now();
        (0..1_000 * HALF_LIFE).for_each(|_| clock.tick(1_000));
        let passed = clock.now().0 - begun.0;
        assert!(passed.abs_diff(ONE) < ONE / 100, "{passed}");
    }
}
