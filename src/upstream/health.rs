//! How a server is: what requests have told about it, and what those tell who ask it for nothing
//! else. Time is an argument.

use super::Fault;
use crate::config::{Ejection, HealthCheck};
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
    /// The last of them.
    fault: Option<Fault>,
    /// How often in succession it was taken out.
    ejections: u32,
    /// It was taken out, and is tried again then.
    out_until: Option<Instant>,
    /// Checks of the same result in a row.
    streak: u32,
    was_good: bool,
    /// The checks have taken it out; why.
    is_down: Option<String>,
}

/// Whether a server may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is well, as far as is known.
    In,
    /// Requests failed there; it is left in peace for so long.
    Ejected(Fault, Duration),
    /// Checks failed there; the last one's reason.
    Down(String),
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let state = self.lock();
        if let Some(reason) = &state.is_down {
            return Standing::Down(reason.clone());
        }
        match (state.out_until, state.fault) {
            (Some(until), Some(fault)) => {
                Standing::Ejected(fault, until.saturating_duration_since(now))
            }
            _ => Standing::In,
        }
    }

    /// Whether it is neither down nor out.
    pub(super) fn is_in(&self) -> bool {
        let state = self.lock();
        state.is_down.is_none() && state.out_until.is_none()
    }

    /// Whether it may be asked now. Of one that is out, one request finds out every now and then.
    pub(super) fn admits(&self, now: Instant, settings: &Ejection) -> bool {
        let mut state = self.lock();
        if state.is_down.is_some() {
            return false;
        }
        match state.out_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.out_until = Some(now + settings.time);
                true
            }
        }
    }

    /// The fault that keeps it out.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.lock().fault
    }

    /// It answered. Whether it was out.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.lock();
        state.failures = 0;
        state.out_until.take().is_some()
    }

    /// It did not answer. For how long it is left in peace, if it has to be. The last one that is
    /// left is never out for what it does with connections, and not for longer and longer.
    pub(super) fn failed(
        &self,
        fault: Fault,
        now: Instant,
        is_last: bool,
        settings: &Ejection,
    ) -> Option<Duration> {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        state.fault = Some(fault);
        let is_out = state.out_until.is_some();
        let is_enough = is_out || state.failures >= settings.failures;
        if settings.failures == 0 || !is_enough || is_last && !fault.is_of_connecting() {
            // One that connects, but does not answer, may be all that there is.
            if is_last && !fault.is_of_connecting() {
                state.out_until = None;
            }
            return None;
        }
        let time = if is_last {
            settings.time
        } else {
            let longer = settings.time.saturating_mul(1 << state.ejections.min(20));
            state.ejections = state.ejections.saturating_add(1);
            longer.min(settings.time_max)
        };
        state.out_until = Some(now + time);
        Some(time)
    }

    /// What a check found. Whether that changes anything.
    pub(super) fn checked(&self, result: Result<(), String>, settings: &HealthCheck) -> bool {
        let mut state = self.lock();
        let is_good = result.is_ok();
        state.streak = if state.was_good == is_good { state.streak.saturating_add(1) } else { 1 };
        state.was_good = is_good;
        match result {
            Ok(()) if state.streak >= settings.healthy_after && state.is_down.is_some() => {
                *state = State { was_good: true, streak: state.streak, ..State::default() };
                true
            }
            Err(reason) if state.streak >= settings.unhealthy_after => {
                let was_up = state.is_down.is_none();
                state.is_down = Some(reason);
                was_up
            }
            _ => false,
        }
    }
}
