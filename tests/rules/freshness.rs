use crate::kit::{ASKED, date, judge, judge_for, lifetime, now, policy, properties, secs};
use brim::rules::cache_control::Demands;
use brim::rules::freshness::{IF_UNREACHABLE, Trouble, Use};
use brim::rules::storing::{LONGEST, Policy, Refusal, Terms};
use proptest::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86400;

fn terms(lifetime: u64, age: u64) -> Terms {
    Terms {
        born: now() - secs(age),
        lifetime: secs(lifetime),
        must_validate: false,
        forbids_stale: false,
        while_revalidate: secs(0),
        if_error: None,
    }
}

fn used(terms: Terms, demands: Demands) -> Use {
    terms.usable(&demands, now())
}

#[test]
fn s_maxage_comes_before_max_age_before_expires_before_a_guess() {
    let (later, earlier) = (date(40), date(-1000));
    let lines = [
        ("Last-Modified", earlier.as_str()),
        ("Expires", later.as_str()),
        ("Cache-Control", "max-age=60"),
        ("Cache-Control", "s-maxage=80"),
    ];
    for (count, expected) in [(1, 100), (2, 40), (3, 60), (4, 80)] {
        assert_eq!(lifetime(&lines[..count]), Ok(expected));
    }
}

#[test]
fn expires_has_no_say_beside_a_targeted_field() {
    let expires = date(40);
    let lines = [("CDN-Cache-Control", "public"), ("Expires", &expires), ("ETag", "\"a\"")];
    assert_eq!(lifetime(&lines), Ok(0));
}

#[test]
fn expires_is_counted_from_the_origins_own_date() {
    let (made, expires) = (date(-500), date(100));
    let read = judge(200, &[("Date", &made), ("Expires", &expires)]).expect("kept");
    assert_eq!(read.lifetime, secs(600));
    assert_eq!(read.age(now()), secs(500));
    assert_eq!(read.seconds_left(now()), 100);
}

#[test]
fn the_last_expires_that_there_is_is_as_good_as_five_centuries() {
    let seconds = lifetime(&[("Expires", "Fri, 31 Dec 9999 23:59:59 GMT")]).expect("kept");
    assert_eq!(seconds, LONGEST.as_secs());
    // Fifteen digits are the most that Cache-Status can say (RFC 9651, section 3.3.1).
    assert!(seconds < 1_000_000_000_000_000);
}

#[test]
fn an_expires_that_cannot_be_read_or_stands_there_twice_has_passed() {
    let good = date(40);
    for value in ["0", "-1", "", "never", "Sun, 31 Feb 2094 08:49:37 GMT", &date(-40)] {
        assert_eq!(lifetime(&[("Expires", value)]), Ok(0), "{value}");
    }
    assert_eq!(lifetime(&[("Expires", &good), ("Expires", &good)]), Ok(0));
}

#[test]
fn a_guess_is_a_tenth_of_the_time_since_the_change_and_at_most_a_day() {
    for (seconds, expected) in
        [(-100, 10), (-9, 0), (0, 0), (50, 0), (-10 * DAY as i64, DAY), (-1000 * DAY as i64, DAY)]
    {
        assert_eq!(lifetime(&[("Last-Modified", &date(seconds))]), Ok(expected), "{seconds}");
    }
}

#[test]
fn a_guess_is_made_for_heuristically_cacheable_or_public_answers_only() {
    let modified = date(-1000);
    let lines = [("Last-Modified", modified.as_str()), ("Cache-Control", "public")];
    for status in 200..600 {
        let is_heuristic =
            matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
        let read = judge(status, &lines[..1]);
        match is_heuristic {
            true => assert_eq!(read.expect("kept").lifetime, secs(100), "{status}"),
            false => assert!(read.is_err(), "{status}"),
        }
        assert_eq!(
            judge(status, &lines).is_ok(),
            !matches!(status, 304 | 412 | 416 | 508),
            "{status}"
        );
    }
    let without = Policy { heuristics: false, ..policy() };
    let read = judge_for(&ASKED, &without, 200, &lines).expect("kept to be asked about");
    assert_eq!(read.lifetime, secs(0));
}

#[test]
fn nothing_to_go_by_is_not_kept_and_a_validator_is_enough_to_ask_again() {
    assert_eq!(lifetime(&[]), Err(Refusal::NoFreshness));
    assert_eq!(lifetime(&[("Cache-Control", "public")]), Err(Refusal::NoFreshness));
    assert_eq!(lifetime(&[("ETag", "\"a\"")]), Ok(0));
    assert_eq!(judge(302, &[("ETag", "\"a\"")]), Err(Refusal::NoFreshness));
}

#[test]
fn operators_times_replace_what_the_origin_says_about_things_that_are_there() {
    let policy = Policy {
        ttl: Some(secs(9)),
        default_ttl: Some(secs(8)),
        negative_ttl: Some(secs(7)),
        ..policy()
    };
    let of = |policy: &Policy, status, lines: &[(&str, &str)]| {
        judge_for(&ASKED, policy, status, lines).map(|terms| terms.lifetime.as_secs())
    };
    let said = [("Cache-Control", "max-age=60")];
    assert_eq!(of(&policy, 200, &said), Ok(9));
    assert_eq!(of(&policy, 404, &said), Ok(60));
    assert_eq!(of(&policy, 404, &[]), Ok(7));
    assert_eq!(of(&policy, 500, &[]), Err(Refusal::NoFreshness));
    assert_eq!(of(&policy, 302, &[]), Err(Refusal::NoFreshness));
    let policy = Policy { ttl: None, ..policy };
    assert_eq!(of(&policy, 200, &said), Ok(60));
    assert_eq!(of(&policy, 200, &[]), Ok(8));
    assert_eq!(of(&policy, 200, &[("Cache-Control", "no-cache")]), Ok(0));
    assert_eq!(of(&policy, 200, &[("Expires", "0")]), Ok(0));
}

#[test]
fn age_is_the_larger_of_what_is_said_and_what_the_date_shows() {
    let age = |lines: &[(&str, &str)]| judge(200, lines).map(|terms| terms.age(now()).as_secs());
    let fresh = ("Cache-Control", "max-age=60");
    assert_eq!(age(&[fresh, ("Age", "5")]), Ok(5));
    assert_eq!(age(&[fresh, ("Age", "5"), ("Date", &date(-9))]), Ok(9));
    assert_eq!(age(&[fresh, ("Age", "5"), ("Date", &date(900))]), Ok(5), "a clock ahead of ours");
    for value in ["-5", "5.0", "five", "5;a=b", "", "\"5\""] {
        assert_eq!(age(&[fresh, ("Age", value)]), Ok(0), "{value}");
    }
    assert_eq!(age(&[fresh, ("Age", "5, 7")]), Ok(5));
    assert_eq!(age(&[fresh, ("Age", "5"), ("Age", "7")]), Ok(5));
}

#[test]
fn an_answer_is_fresh_while_its_age_is_less_than_its_lifetime() {
    let none = Demands::default();
    assert_eq!(used(terms(60, 59), none), Use::Fresh);
    assert_eq!(used(terms(60, 60), none), Use::AfterValidation);
    assert_eq!(used(terms(0, 0), none), Use::AfterValidation);
}

#[test]
fn clients_may_want_more_and_accept_less() {
    let none = Demands::default();
    let max_age = |seconds| Demands { max_age: Some(seconds), ..none };
    let min_fresh = |seconds| Demands { min_fresh: Some(seconds), ..none };
    let max_stale = |seconds| Demands { max_stale: Some(seconds), ..none };
    for (lifetime, age, demands, expected) in [
        (60, 5, max_age(5), Use::Fresh),
        (60, 6, max_age(5), Use::AfterValidationByRequest),
        (60, 0, max_age(0), Use::AfterValidationByRequest),
        (60, 50, min_fresh(10), Use::Fresh),
        (60, 51, min_fresh(10), Use::AfterValidationByRequest),
        (60, 70, max_stale(10), Use::StaleByRequest),
        (60, 71, max_stale(10), Use::AfterValidation),
        (60, 1 << 40, max_stale(u64::MAX), Use::StaleByRequest),
        (60, 5, Demands { no_cache: true, ..none }, Use::AfterValidationByRequest),
        (60, 5, Demands { no_store: true, ..none }, Use::AfterValidationByRequest),
        (60, 70, Demands { max_age: Some(65), ..max_stale(99) }, Use::AfterValidationByRequest),
        (60, 70, Demands { max_age: Some(75), ..max_stale(99) }, Use::StaleByRequest),
    ] {
        assert_eq!(used(terms(lifetime, age), demands), expected, "{lifetime} {age} {demands:?}");
    }
    let strict = Terms { forbids_stale: true, ..terms(60, 70) };
    assert_eq!(used(strict, max_stale(u64::MAX)), Use::AfterValidation);
}

#[test]
fn a_stale_answer_is_used_during_its_refresh_unless_the_client_asks_for_freshness() {
    let none = Demands::default();
    let refreshing = |age| Terms { while_revalidate: secs(10), ..terms(60, age) };
    assert_eq!(used(refreshing(69), none), Use::WhileRevalidate);
    assert_eq!(used(refreshing(70), none), Use::AfterValidation);
    let wants_fresh = Demands { min_fresh: Some(1), ..none };
    assert_eq!(used(refreshing(65), wants_fresh), Use::AfterValidation);
    // RFC 9111, section 5.2.1.1: without max-stale, no stale answer is wished for.
    let wants_young = Demands { max_age: Some(1000), ..none };
    assert_eq!(used(refreshing(65), wants_young), Use::AfterValidation);
}

#[test]
fn s_maxage_and_the_revalidate_directives_forbid_any_use_past_the_time() {
    for value in [
        "s-maxage=60",
        "max-age=60, must-revalidate",
        "max-age=60, proxy-revalidate",
        "max-age=60, no-cache",
    ] {
        let value = format!("{value}, stale-while-revalidate=99, stale-if-error=99");
        let read = judge(200, &[("Cache-Control", &value)]).expect("kept");
        assert!(read.forbids_stale, "{value}");
        let later = now() + secs(61);
        let any = Demands { max_stale: Some(u64::MAX), ..Demands::default() };
        assert_eq!(read.usable(&any, later), Use::AfterValidation, "{value}");
        for trouble in [Trouble::Unreachable, Trouble::ServerError] {
            assert!(!read.may_stand_in(trouble, later), "{value}");
        }
    }
}

#[test]
fn an_operators_stale_times_yield_to_an_origin_that_insists() {
    let policy = Policy {
        while_revalidate: Some(secs(50)),
        if_error: Some(secs(70)),
        ttl: Some(secs(10)),
        ..policy()
    };
    let of = |value| judge_for(&ASKED, &policy, 200, &[("Cache-Control", value)]).expect("kept");
    for value in ["s-maxage=60", "max-age=60, stale-while-revalidate=1, stale-if-error=1"] {
        let read = of(value);
        assert_eq!((read.while_revalidate, read.if_error), (secs(50), Some(secs(70))), "{value}");
    }
    for value in ["max-age=60, must-revalidate", "no-cache", "proxy-revalidate"] {
        let read = of(value);
        assert_eq!((read.while_revalidate, read.if_error), (secs(0), None), "{value}");
    }
}

#[test]
fn an_answer_stands_in_for_as_long_as_was_said_or_a_moment_when_nobody_answers() {
    let after = |terms: Terms, trouble| {
        (0..1000).find(|over| !terms.may_stand_in(trouble, now() + secs(*over))).unwrap_or(1000)
    };
    let silent = terms(60, 60);
    assert_eq!(after(silent, Trouble::Unreachable), IF_UNREACHABLE.as_secs());
    assert_eq!(after(silent, Trouble::ServerError), 0);
    let said = Terms { if_error: Some(secs(7)), ..silent };
    assert_eq!(after(said, Trouble::Unreachable), 7);
    assert_eq!(after(said, Trouble::ServerError), 7);
    let refreshing = Terms { while_revalidate: secs(100), ..silent };
    assert_eq!(after(refreshing, Trouble::Unreachable), 100);
    assert_eq!(after(refreshing, Trouble::ServerError), 100);
}

#[test]
fn what_was_ended_before_its_time_is_passed_down_to_nobody() {
    let said = Terms { if_error: Some(secs(600)), while_revalidate: secs(600), ..terms(60, 10) };
    for seconds in [0, 49, 50, 100] {
        assert!(said.may_be_passed_down(now() + secs(seconds)), "{seconds}");
    }
    let ended = said.ended_at(now() + secs(5));
    for (seconds, may_be) in [(4, true), (5, false), (50, false)] {
        let at = now() + secs(seconds);
        assert!(ended.may_stand_in(Trouble::Unreachable, at));
        assert_eq!(ended.may_be_passed_down(at), may_be, "{seconds}");
    }
}

#[test]
fn an_age_that_is_counted_on_is_never_too_small() {
    for (millis, expected) in [(0, 10), (1, 11), (999, 11), (1000, 11), (1001, 12)] {
        let at = now() + Duration::from_millis(millis);
        assert_eq!(terms(60, 10).age_rounded_up(at), expected, "{millis}");
    }
    assert_eq!(terms(60, 0).age_rounded_up(now() - secs(5)), 0);
}

fn any_time() -> impl Strategy<Value = SystemTime> {
    prop_oneof![any::<i64>(), -4_000_000_000..4_000_000_000_i64].prop_map(|seconds| {
        let by = Duration::from_secs(seconds.unsigned_abs());
        let at = if seconds < 0 { UNIX_EPOCH.checked_sub(by) } else { UNIX_EPOCH.checked_add(by) };
        at.unwrap_or(UNIX_EPOCH)
    })
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        any::<Duration>(),
        (0..200_u64).prop_map(Duration::from_secs),
        Just(Duration::ZERO),
        Just(Duration::MAX),
    ]
}

prop_compose! {
    fn any_terms()(
        born in any_time(),
        lifetime in any_duration(),
        must_validate in any::<bool>(),
        forbids_stale in any::<bool>(),
        while_revalidate in any_duration(),
        if_error in proptest::option::of(any_duration()),
    ) -> Terms {
        Terms { born, lifetime, must_validate, forbids_stale, while_revalidate, if_error }
    }
}

prop_compose! {
    fn any_demands()(
        no_cache in any::<bool>(),
        no_store in any::<bool>(),
        max_age in proptest::option::of(prop_oneof![any::<u64>(), 0..200_u64]),
        min_fresh in proptest::option::of(prop_oneof![any::<u64>(), 0..200_u64]),
        max_stale in proptest::option::of(prop_oneof![any::<u64>(), 0..200_u64]),
        only_if_cached in any::<bool>(),
    ) -> Demands {
        Demands { no_cache, no_store, max_age, min_fresh, max_stale, only_if_cached }
    }
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn nothing_is_used_against_its_terms_at_any_time(
        terms in any_terms(),
        demands in any_demands(),
        at in prop_oneof![any_time().prop_map(Err), (0..400_u64).prop_map(Ok)],
    ) {
        let at = match at {
            Ok(after) => terms.born.checked_add(secs(after)).unwrap_or(terms.born),
            Err(at) => at,
        };
        let age = terms.age(at);
        prop_assert!(at > terms.born || age.is_zero(), "a clock that goes backwards");
        let is_fresh = age < terms.lifetime;
        let left = terms.seconds_left(at);
        prop_assert!(left == 0 || (left > 0) == is_fresh);
        let used = terms.usable(&demands, at);
        if !matches!(used, Use::AfterValidation | Use::AfterValidationByRequest) {
            prop_assert!(!(terms.must_validate || demands.no_cache || demands.no_store));
            prop_assert!(demands.max_age.is_none_or(|max| age <= secs(max)));
        }
        let over = age.saturating_sub(terms.lifetime);
        match used {
            Use::Fresh => {
                prop_assert!(is_fresh);
                let wanted = demands.min_fresh.map_or(Duration::ZERO, secs);
                prop_assert!(terms.lifetime - age >= wanted);
            }
            Use::StaleByRequest => {
                prop_assert!(!is_fresh && !terms.forbids_stale);
                prop_assert!(demands.max_stale.is_some_and(|max| over.as_secs() <= max));
            }
            Use::WhileRevalidate => {
                prop_assert!(!is_fresh && over < terms.while_revalidate);
                prop_assert!(demands.min_fresh.is_none() && demands.max_age.is_none());
            }
            Use::AfterValidation => prop_assert!(!is_fresh || terms.must_validate),
            Use::AfterValidationByRequest => prop_assert!(demands != Demands::default()),
        }
        for trouble in [Trouble::Unreachable, Trouble::ServerError] {
            let stands_in = terms.may_stand_in(trouble, at);
            prop_assert!(!(stands_in && terms.must_validate));
            prop_assert!(!stands_in || is_fresh || over < [
                IF_UNREACHABLE, terms.while_revalidate, terms.if_error.unwrap_or_default(),
            ].into_iter().max().unwrap_or_default());
        }
    }

    #[test]
    fn what_is_no_longer_fresh_does_not_become_fresh_again(
        terms in any_terms(), a in any_time(), b in any_time(),
    ) {
        let (earlier, later) = (a.min(b), a.max(b));
        prop_assert!(terms.age(earlier) <= terms.age(later));
        prop_assert!(terms.seconds_left(earlier) >= terms.seconds_left(later));
    }
}
