//! Terms in half the room: every stored head has them.

use super::storing::{LONGEST, Terms};
use std::time::{Duration, SystemTime};

/// Exact within 272 years of 1970, for times up to the longest; what is beyond becomes that.
#[derive(Clone, Copy, Debug)]
pub struct PackedTerms {
    born: Time,
    lifetime: Time,
    while_revalidate: Time,
    if_error: Time,
    has_if_error: bool,
    must_validate: bool,
    forbids_stale: bool,
}

/// Seconds, and in the lower bits nanoseconds: taken apart without a division, as it is for each hit.
#[derive(Clone, Copy, Debug)]
struct Time(u64);

const NANOS_BITS: u32 = 30;
const _: () = assert!(LONGEST.as_secs() == u64::MAX >> NANOS_BITS);
/// Where births are counted from, before 1970.
const EPOCH: Duration = Duration::from_secs(LONGEST.as_secs() / 2);

impl From<Duration> for Time {
    fn from(time: Duration) -> Self {
        let time = time.min(LONGEST);
        Self(time.as_secs() << NANOS_BITS | u64::from(time.subsec_nanos()))
    }
}

impl Time {
    fn parts(self) -> (u64, u32) {
        (self.0 >> NANOS_BITS, (self.0 & ((1 << NANOS_BITS) - 1)) as u32)
    }
}

impl From<Time> for Duration {
    fn from(time: Time) -> Self {
        let (seconds, nanos) = time.parts();
        Self::new(seconds, nanos)
    }
}

impl From<Terms> for PackedTerms {
    fn from(terms: Terms) -> Self {
        let born = match terms.born.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => EPOCH.saturating_add(since),
            Err(before) => EPOCH.saturating_sub(before.duration()),
        };
        Self {
            born: born.min(2 * EPOCH).into(),
            lifetime: terms.lifetime.into(),
            while_revalidate: terms.while_revalidate.into(),
            if_error: terms.if_error.unwrap_or_default().into(),
            has_if_error: terms.if_error.is_some(),
            must_validate: terms.must_validate,
            forbids_stale: terms.forbids_stale,
        }
    }
}

impl From<PackedTerms> for Terms {
    fn from(packed: PackedTerms) -> Self {
        let (seconds, nanos) = packed.born.parts();
        let born = match seconds.checked_sub(EPOCH.as_secs()) {
            Some(since) => SystemTime::UNIX_EPOCH + Duration::new(since, nanos),
            None => SystemTime::UNIX_EPOCH - (EPOCH - Duration::new(seconds, nanos)),
        };
        Self {
            born,
            lifetime: packed.lifetime.into(),
            must_validate: packed.must_validate,
            forbids_stale: packed.forbids_stale,
            while_revalidate: packed.while_revalidate.into(),
            if_error: packed.has_if_error.then(|| packed.if_error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CENTURIES_2: u64 = 200 * 365 * 86_400;

    fn time() -> impl Strategy<Value = Duration> {
        let time = (0..CENTURIES_2, 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n));
        prop_oneof![time, Just(Duration::ZERO), Just(LONGEST)]
    }

    fn round(terms: Terms) -> Terms {
        PackedTerms::from(terms).into()
    }

    proptest! {
        #[test]
        fn terms_are_what_they_were(
            (after, before) in (time(), time()),
            (lifetime, while_revalidate, if_error) in (time(), time(), proptest::option::of(time())),
            (must_validate, forbids_stale) in any::<(bool, bool)>(),
        ) {
            let cut = |time: Duration| time.min(Duration::from_secs(CENTURIES_2));
            let born = SystemTime::UNIX_EPOCH + cut(after) - cut(before);
            let terms = Terms {
                born, lifetime, must_validate, forbids_stale, while_revalidate, if_error,
            };
            prop_assert_eq!(round(terms), terms);
        }
    }

    #[test]
    fn what_is_beyond_all_times_stays_at_their_end() {
        let terms = Terms {
            born: SystemTime::UNIX_EPOCH + 2 * LONGEST,
            lifetime: LONGEST + Duration::from_nanos(1),
            must_validate: false,
            forbids_stale: false,
            while_revalidate: 2 * LONGEST,
            if_error: Some(Duration::MAX),
        };
        let ends = round(terms);
        let times = [Some(ends.lifetime), Some(ends.while_revalidate), ends.if_error];
        assert_eq!(times, [Some(LONGEST); 3]);
        assert_eq!(ends.born, SystemTime::UNIX_EPOCH + EPOCH);
        let old = Terms { born: SystemTime::UNIX_EPOCH - LONGEST, ..terms };
        assert_eq!(round(old).born, SystemTime::UNIX_EPOCH - EPOCH);
    }
}
