//! Whether a stored answer may be used now (RFC 9111, section 4).

use super::cache_control::Demands;
use super::storing::Terms;
use std::time::{Duration, SystemTime};

/// How long an answer may be used after its time when the origin cannot be reached and nobody
/// said anything about it.
pub const IF_UNREACHABLE: Duration = Duration::from_secs(30);

/// What may be done with a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// As it is.
    Fresh,
    /// As it is, although its time is over: the client does not mind.
    StaleByRequest,
    /// As it is, while it is being refreshed.
    WhileRevalidate,
    /// After the origin has confirmed it: its time is over.
    AfterValidation,
    /// The same: the client wants it.
    AfterValidationByRequest,
}

/// What went wrong with the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It gave no answer.
    Unreachable,
    /// It answered 500, 502, 503 or 504.
    ServerError,
}

impl Terms {
    /// Section 4.2.3; never negative.
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.born).unwrap_or_default()
    }

    /// The same in seconds, begun ones too: a cache that goes on counting from there never takes it
    /// for younger than it is.
    pub fn age_rounded_up(&self, now: SystemTime) -> u64 {
        let age = self.age(now);
        age.as_secs() + u64::from(age.subsec_nanos() > 0)
    }

    /// The same, if its time ends at that moment or has ended before. After it, it goes as far as
    /// somebody has said: not by the client's wish, and not by habit.
    #[must_use]
    pub fn ended_at(self, end: SystemTime) -> Self {
        Self { lifetime: self.lifetime.min(self.age(end)), forbids_stale: true, ..self }
    }

    /// Seconds until its time is over, negative after it.
    pub fn seconds_left(&self, now: SystemTime) -> i64 {
        let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        whole(self.lifetime).saturating_sub(whole(self.age(now)))
    }

    /// How long its time has been over; `None` while it is fresh.
    fn overdue(&self, now: SystemTime) -> Option<Duration> {
        self.overdue_at(self.age(now))
    }

    fn overdue_at(&self, age: Duration) -> Option<Duration> {
        // A response is fresh while its lifetime is greater than its age (section 4.2).
        (age >= self.lifetime).then(|| age - self.lifetime)
    }

    /// Whether it may be used for a request with these demands.
    pub fn usable(&self, demands: &Demands, now: SystemTime) -> Use {
        let age = self.age(now);
        let is_too_old =
            demands.max_age.is_some_and(|max| max == 0 || age > Duration::from_secs(max));
        if demands.no_cache || demands.no_store || is_too_old {
            return Use::AfterValidationByRequest;
        }
        if self.must_validate {
            return Use::AfterValidation;
        }
        let overdue = match (self.overdue_at(age), demands.min_fresh) {
            (None, None) => return Use::Fresh,
            (None, Some(wanted)) => {
                let is_enough = self.lifetime - age >= Duration::from_secs(wanted);
                return if is_enough { Use::Fresh } else { Use::AfterValidationByRequest };
            }
            (Some(overdue), _) => overdue,
        };
        // Both mean that nothing stale is wished for (sections 5.2.1.1 and 5.2.1.3).
        let wants_fresh = demands.min_fresh.is_some() || demands.max_age.is_some();
        let is_accepted = demands.max_stale.is_some_and(|max| overdue.as_secs() <= max);
        if is_accepted && !self.forbids_stale {
            Use::StaleByRequest
        } else if overdue < self.while_revalidate && !wants_fresh {
            Use::WhileRevalidate
        } else {
            Use::AfterValidation
        }
    }

    /// Whether it may be used as it is for a request with these demands.
    pub fn may_be_used(&self, demands: &Demands, now: SystemTime) -> bool {
        let usable = self.usable(demands, now);
        matches!(usable, Use::Fresh | Use::StaleByRequest | Use::WhileRevalidate)
    }

    /// Whether it may stand in for an answer that the origin did not give. A demand to ask the
    /// origin first has been met: it was asked.
    pub fn may_stand_in(&self, trouble: Trouble, now: SystemTime) -> bool {
        let allowed = match (self.if_error, trouble) {
            (Some(allowed), _) => allowed,
            (None, Trouble::Unreachable) if !self.forbids_stale => {
                IF_UNREACHABLE.max(self.while_revalidate)
            }
            (None, Trouble::ServerError) if !self.forbids_stale => self.while_revalidate,
            (None, _) => Duration::ZERO,
        };
        !self.must_validate && self.overdue(now).is_none_or(|overdue| overdue < allowed)
    }

    /// Whether another cache may have it without a word of the origin's. That one goes by the Age,
    /// which does not tell of a purge: what it ended here would be fresh there.
    pub fn may_be_passed_down(&self, now: SystemTime) -> bool {
        !self.forbids_stale || self.overdue(now).is_none()
    }
}
