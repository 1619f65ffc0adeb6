//! Who may purge and look into the cache: whoever knows the operator's token.
//!
//! Guesses are bounded: so many wrong ones from an address, and nobody there gets in for the rest of
//! the window, whatever they bring. Who brings nothing has guessed nothing and is not counted there.

use crate::metrics::Metrics;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// Wrong tokens from one address within a window; more attempts are not judged.
const FAILURES_MAX: u32 = 10;
/// From the first wrong token on.
const WINDOW: Duration = Duration::from_secs(10);
/// Addresses that are remembered at one time.
const ADDRESSES_MAX: usize = 4096;

/// Knows the token, and who has guessed too often.
pub struct Gatekeeper {
    token: Option<String>,
    metrics: Arc<Metrics>,
    guessers: Mutex<HashMap<IpAddr, Failures>>,
}

/// Wrong tokens from an address.
#[derive(Clone, Copy)]
struct Failures {
    since: Instant,
    count: u32,
}

/// What somebody who wants in is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In.
    Granted,
    /// No token, or a wrong one.
    Denied,
    /// Too many wrong ones: not before this has passed.
    TooMany(Duration),
}

impl Gatekeeper {
    /// Without a token nobody gets in.
    pub fn new(token: Option<String>, metrics: Arc<Metrics>) -> Self {
        Self { token, metrics, guessers: Mutex::default() }
    }

    /// What it takes, for those who have to be brought the same.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// For another door, whose guessers do not keep anybody out here.
    #[must_use]
    pub fn of_another_door(&self) -> Self {
        Self::new(self.token.clone(), self.metrics.clone())
    }

    /// Judges the value of an `Authorization` field.
    pub fn admit(&self, authorization: Option<&[u8]>, peer: IpAddr) -> Entry {
        let entry = self.admit_at(authorization, peer, Instant::now());
        if entry != Entry::Granted {
            self.metrics.admin_denied();
        }
        entry
    }

    fn admit_at(&self, authorization: Option<&[u8]>, peer: IpAddr, now: Instant) -> Entry {
        let Some(token) = &self.token else { return Entry::Denied };
        let place = neighbourhood(peer);
        let mut guessers = self.guessers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = guessers.get(&place).filter(|failures| !failures.is_over(now)).copied();
        if let Some(failures) = before.filter(|failures| failures.count >= FAILURES_MAX) {
            return Entry::TooMany(failures.left(now));
        }
        let Some(authorization) = authorization else { return Entry::Denied };
        // The time that it takes tells the length at most.
        let is_right =
            bearer(authorization).is_some_and(|given| bool::from(given.ct_eq(token.as_bytes())));
        if is_right {
            return Entry::Granted;
        }
        let failures = before.unwrap_or(Failures { since: now, count: 0 });
        make_room(&mut guessers, now);
        guessers.insert(place, Failures { count: failures.count + 1, ..failures });
        Entry::Denied
    }
}

impl Failures {
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.since))
    }

    fn is_over(&self, now: Instant) -> bool {
        self.left(now).is_zero()
    }
}

/// Those whose time is over go, and if they are too few, whoever came first.
fn make_room(guessers: &mut HashMap<IpAddr, Failures>, now: Instant) {
    if guessers.len() < ADDRESSES_MAX {
        return;
    }
    guessers.retain(|_, failures| !failures.is_over(now));
    if guessers.len() >= ADDRESSES_MAX {
        let first = guessers.iter().min_by_key(|(_, failures)| failures.since);
        if let Some(place) = first.map(|(place, _)| *place) {
            guessers.remove(&place);
        }
    }
}

/// Who has one IPv6 address has at least the 64 bits behind the prefix.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

/// The token behind the scheme, whose case means nothing (RFC 9110, section 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = authorization.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1";

    fn keeper(token: Option<&str>) -> Gatekeeper {
        Gatekeeper::new(token.map(str::to_owned), Metrics::new(&[], &[]))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_the_token_gets_in_however_its_scheme_is_spelled() {
        let keeper = keeper(Some("s3cret"));
        for right in ["Bearer s3cret", "bearer   s3cret", "BEARER s3cret "] {
            assert_eq!(keeper.admit(Some(right.as_bytes()), ip(A)), Entry::Granted, "{right}");
        }
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret2",
            "Bearer",
            "Bearer ",
            "Basic s3cret",
            "s3cret",
            "Bearers3cret",
        ] {
            assert_eq!(keeper.admit(Some(wrong.as_bytes()), ip(A)), Entry::Denied, "{wrong}");
        }
        assert_eq!(keeper.admit(None, ip(A)), Entry::Denied);
        let text = keeper.metrics.text();
        assert!(text.contains("brim_admin_denied_total 8"), "{text}");
    }

    #[test]
    fn without_a_token_nobody_gets_in() {
        let keeper = keeper(None);
        for given in [None, Some(&b"Bearer "[..]), Some(b"Bearer x"), Some(b"")] {
            assert_eq!(keeper.admit(given, ip(A)), Entry::Denied);
        }
    }

    #[test]
    fn who_guesses_too_often_is_not_heard_until_the_window_is_over() {
        let keeper = keeper(Some("t"));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (right, wrong) = (Some(&b"Bearer t"[..]), Some(&b"Bearer x"[..]));
        for second in 0..4 {
            // Nothing brought, nothing guessed.
            assert_eq!(keeper.admit_at(None, ip(A), at(second)), Entry::Denied);
        }
        for _ in 0..FAILURES_MAX {
            assert_eq!(keeper.admit_at(wrong, ip(A), at(4)), Entry::Denied);
        }
        for given in [right, wrong, None] {
            let left = Entry::TooMany(Duration::from_secs(7));
            assert_eq!(keeper.admit_at(given, ip(A), at(7)), left);
            assert_eq!(keeper.admit_at(given, ip("::ffff:192.0.2.1"), at(7)), left);
        }
        assert_eq!(keeper.admit_at(right, ip("192.0.2.2"), at(7)), Entry::Granted);
        assert_eq!(keeper.admit_at(right, ip(A), at(14)), Entry::Granted);
        assert_eq!(keeper.admit_at(wrong, ip(A), at(14)), Entry::Denied);
    }

    #[test]
    fn an_ipv6_network_is_one_guesser() {
        let keeper = keeper(Some("t"));
        let now = Instant::now();
        for host in 0..FAILURES_MAX {
            let peer = ip(&format!("2001:db8:1:2::{host}"));
            assert_eq!(keeper.admit_at(Some(b"Bearer x"), peer, now), Entry::Denied);
        }
        let neighbour = keeper.admit_at(Some(b"Bearer t"), ip("2001:db8:1:2:ffff::1"), now);
        assert_eq!(neighbour, Entry::TooMany(WINDOW));
        let stranger = keeper.admit_at(Some(b"Bearer t"), ip("2001:db8:1:3::1"), now);
        assert_eq!(stranger, Entry::Granted);
    }

    #[test]
    fn what_is_remembered_of_guessers_is_bounded() {
        let keeper = keeper(Some("t"));
        let now = Instant::now();
        for number in 0..ADDRESSES_MAX as u32 + 100 {
            let peer = IpAddr::from(std::net::Ipv4Addr::from_bits(number));
            keeper.admit_at(Some(b"Bearer x"), peer, now + Duration::from_micros(number.into()));
        }
        let remembered = || keeper.guessers.lock().expect("guessers").len();
        assert_eq!(remembered(), ADDRESSES_MAX);
        keeper.admit_at(Some(b"Bearer x"), ip("198.51.100.1"), now + 2 * WINDOW);
        assert_eq!(remembered(), 1);
    }
}
