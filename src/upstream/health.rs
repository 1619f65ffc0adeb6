//! How a server is: what requests have told about it, and what checks that ask for nothing else
//! have. Time is an argument.
//!
//! Requests: so many failures in a row take a server out for a while. Then one request finds out
//! whether it is back, while all others are kept away; the while doubles with each that fails, and
//! begins small again once the server was well for as long as it may grow. Who is the last one in is
//! only taken out where no connection can be made, and never for longer and longer: there is nobody
//! to go to instead, but a client need not wait to hear that nobody listens.
//!
//! Checks: whom they find bad is not asked at all until they find it good, whatever its requests
//! say, and even where nobody else is left. Whoever configures them says by that what a server must
//! be able to do; one that cannot would give answers that look good and are not, and be remembered
//! for them. A fault at once lets the cache stand in instead, and the checks go on by themselves, so
//! that no request is needed to find out.

use super::Fault;
use crate::config::{Ejection, HealthCheck};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Of one server.
#[derive(Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Requests that failed in a row.
    failures: u32,
    /// The last of them had begun to be answered.
    has_broken_off: bool,
    /// Requests have taken it out.
    out: Option<Out>,
    /// How often in succession they did.
    ejections: u32,
    /// When it came back from the last time.
    back_since: Option<Instant>,
    /// Checks have taken it out, at that time.
    down: Option<(Trouble, Instant)>,
    /// The last check.
    check: Option<Check>,
    /// Checks of the same result in a row.
    streak: u32,
}

struct Out {
    fault: Fault,
    since: Instant,
    /// Nobody asks it before that.
    until: Instant,
    /// Somebody does: what fails now was sent to find out.
    is_probed: bool,
}

/// What a check found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No answer.
    Fault(Fault),
    /// An answer that is none of the good ones.
    Status(u16),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => f.write_str(fault.label()),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

/// A check that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) at: Instant,
    pub(super) result: Result<(), Trouble>,
}

/// Whether a server may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is well, as far as is known.
    In,
    /// Requests failed there; it is left in peace for so long.
    Ejected { fault: Fault, since: Instant, left: Duration },
    /// Checks failed there.
    Down { trouble: Trouble, since: Instant },
}

/// What the operator is told of a server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub(super) standing: Standing,
    /// Requests that failed in a row.
    pub(super) failures: u32,
    pub(super) check: Option<Check>,
}

/// What has become of a server by something that was learned about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It was in, and is not any more; requests took it out for so long.
    Ejected(Duration),
    /// It was in or ejected, and checks have found it bad.
    Down(Trouble),
    /// It is in again.
    Back,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn condition(&self, now: Instant) -> Condition {
        let state = self.lock();
        let standing = match (&state.down, &state.out) {
            (Some((trouble, since)), _) => Standing::Down { trouble: *trouble, since: *since },
            (None, Some(out)) => Standing::Ejected {
                fault: out.fault,
                since: out.since,
                left: out.until.saturating_duration_since(now),
            },
            (None, None) => Standing::In,
        };
        Condition { standing, failures: state.failures, check: state.check }
    }

    /// Whether it is neither down nor out.
    pub(super) fn is_in(&self) -> bool {
        let state = self.lock();
        state.down.is_none() && state.out.is_none()
    }

    /// Whether `admits` would say yes.
    pub(super) fn would_admit(&self, now: Instant) -> bool {
        let state = self.lock();
        state.down.is_none() && state.out.as_ref().is_none_or(|out| out.until <= now)
    }

    /// Whether it may be asked now. Of one that is out, one request finds out every now and then:
    /// whoever gets a yes asks.
    pub(super) fn admits(&self, now: Instant, settings: &Ejection) -> bool {
        let mut state = self.lock();
        if state.down.is_some() {
            return false;
        }
        match &mut state.out {
            None => true,
            Some(out) if now < out.until => false,
            Some(out) => {
                // The one that finds out may never tell: its client may leave.
                out.until = now + settings.time;
                out.is_probed = true;
                true
            }
        }
    }

    /// The fault that keeps it out, if it is requests that do.
    pub(super) fn fault(&self) -> Option<Fault> {
        let state = self.lock();
        state.out.as_ref().filter(|_| state.down.is_none()).map(|out| out.fault)
    }

    /// It has answered a request as a whole.
    pub(super) fn succeeded(&self, now: Instant) -> Option<Change> {
        self.lock().has_broken_off = false;
        self.answered(now)
    }

    /// It begins to answer a request. One whose answers break off does that, too.
    pub(super) fn answered(&self, now: Instant) -> Option<Change> {
        let mut state = self.lock();
        if !state.has_broken_off {
            state.failures = 0;
        }
        state.out.take()?;
        state.back_since = Some(now);
        state.down.is_none().then_some(Change::Back)
    }

    /// It did not answer a request. `is_last`: nobody else is in.
    pub(super) fn failed(
        &self,
        fault: Fault,
        now: Instant,
        is_last: bool,
        settings: &Ejection,
    ) -> Option<Change> {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        state.has_broken_off = fault.is_after_answer();
        if state.down.is_some() {
            return None;
        }
        match &state.out {
            // Sent before it was taken out: that is known.
            Some(out) if !out.is_probed => return None,
            Some(_) => {}
            None if settings.failures == 0 || state.failures < settings.failures => return None,
            None => {
                let was_well = |since| now.saturating_duration_since(since) >= settings.time_max;
                if state.back_since.is_some_and(was_well) {
                    state.ejections = 0;
                }
            }
        }
        if is_last && !fault.is_of_connecting() {
            // One that connects, but does not answer, may be all that there is.
            let was_out = state.out.take().is_some();
            return was_out.then_some(Change::Back);
        }
        let time = if is_last {
            settings.time
        } else {
            let longer = settings.time.saturating_mul(1 << state.ejections.min(20));
            state.ejections = state.ejections.saturating_add(1);
            longer.min(settings.time_max)
        };
        let before = state.out.as_ref().map(|out| out.since);
        let since = before.unwrap_or(now);
        state.out = Some(Out { fault, since, until: now + time, is_probed: false });
        before.is_none().then_some(Change::Ejected(time))
    }

    /// What a check found.
    pub(super) fn checked(
        &self,
        result: Result<(), Trouble>,
        now: Instant,
        settings: &HealthCheck,
    ) -> Option<Change> {
        let mut state = self.lock();
        let was_same = state.check.is_some_and(|check| check.result.is_ok() == result.is_ok());
        state.streak = if was_same { state.streak.saturating_add(1) } else { 1 };
        state.check = Some(Check { at: now, result });
        match result {
            Ok(()) if state.streak >= settings.healthy_after && state.down.is_some() => {
                // Whatever requests told is from before.
                *state = State { check: state.check, streak: state.streak, ..State::default() };
                Some(Change::Back)
            }
            Err(trouble) if state.down.is_some() || state.streak >= settings.unhealthy_after => {
                let before = state.down.map(|(_, since)| since);
                state.down = Some((trouble, before.unwrap_or(now)));
                before.is_none().then_some(Change::Down(trouble))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
