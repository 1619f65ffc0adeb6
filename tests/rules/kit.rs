//! What the tests of the rules are made of.

use brim::config::{self, Site};
use brim::rules::cache_control::Directives;
use brim::rules::storing::{self, Asked, Policy, Received, Refusal, Terms};
use brim::wire::fields::{Composer, Fields};
use proptest::test_runner::Config;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Monday, 21 September 2026, 13:33:20 GMT.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many seconds after `now`, as a field says it.
pub(crate) fn date(seconds: i64) -> String {
    let by = secs(seconds.unsigned_abs());
    httpdate::fmt_http_date(if seconds < 0 { now() - by } else { now() + by })
}

pub(crate) fn fields<N: AsRef<str>, V: AsRef<[u8]>>(lines: &[(N, V)]) -> Fields {
    let mut composer = Composer::new(b"HTTP/1.1 200 OK");
    for (name, value) in lines {
        composer.add(name.as_ref(), value.as_ref());
    }
    composer.finish()
}

/// The directives of a response with this Cache-Control.
pub(crate) fn cache_control(value: &str) -> Directives {
    Directives::of_response(&fields(&[("Cache-Control", value)]))
}

pub(crate) const ASKED: Asked<'_> = Asked {
    target: "/a",
    host: "a.test",
    has_authorization: false,
    forbids_storing: false,
    is_spelled_otherwise: false,
    is_ordinary: true,
};

pub(crate) fn policy() -> Policy {
    Policy { heuristics: true, ..Policy::default() }
}

/// The verdict on an answer that comes at once, has no age, and nobody has said anything about.
pub(crate) fn judge(status: u16, lines: &[(&str, &str)]) -> Result<Terms, Refusal> {
    judge_for(&ASKED, &policy(), status, lines)
}

pub(crate) fn judge_for(
    asked: &Asked<'_>,
    policy: &Policy,
    status: u16,
    lines: &[(&str, &str)],
) -> Result<Terms, Refusal> {
    let fields = fields(lines);
    let received = Received { now: now(), delay: secs(0), age: storing::age_said(&fields) };
    storing::judge(asked, status, &fields, policy, received)
}

/// Seconds of freshness of a 200.
pub(crate) fn lifetime(lines: &[(&str, &str)]) -> Result<u64, Refusal> {
    judge(200, lines).map(|terms| terms.lifetime.as_secs())
}

/// A site with these lines besides what every site needs.
pub(crate) fn site(name: &str, lines: &str) -> Site {
    let text = format!(
        "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n\
         [[site]]\nhosts = ['{name}']\norigin = 'o'\n{lines}\n"
    );
    let checked = config::check(&text, "test", Path::new(""));
    let settings = checked.settings.unwrap_or_else(|| panic!("{:?}", checked.problems));
    Site::clone(&settings.sites[0])
}

pub(crate) fn properties() -> Config {
    Config { failure_persistence: None, ..Config::default() }
}
