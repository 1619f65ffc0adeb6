use crate::kit::{ASKED, date, fields, judge, judge_for, now, policy, properties, secs};
use brim::rules::storing::{Asked, Policy, Received, Refusal, judge as judge_at, withheld};
use proptest::prelude::*;
use std::time::Duration;

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

fn refusal(status: u16, lines: &[(&str, &str)]) -> Option<Refusal> {
    judge(status, lines).err()
}

#[test]
fn what_is_not_to_be_kept_is_not_kept() {
    for (line, expected) in [
        (("Cache-Control", "no-store"), Refusal::NoStore),
        (("Cache-Control", "private"), Refusal::Private),
        (("Cache-Control", "private, public, s-maxage=9"), Refusal::Private),
        (("CDN-Cache-Control", "no-store"), Refusal::NoStore),
        (("CDN-Cache-Control", "private"), Refusal::Private),
        (("Set-Cookie", "a=b"), Refusal::SetCookie),
        (("Vary", "*"), Refusal::VaryAny),
        (("Vary", "CDN-Loop"), Refusal::VaryAny),
        (("Vary", "Accept, * , Cookie"), Refusal::VaryAny),
    ] {
        assert_eq!(refusal(200, &[FRESH, line]), Some(expected), "{line:?}");
    }
    assert_eq!(refusal(200, &[FRESH, ("Vary", "X-*, Accept")]), None);
    assert_eq!(refusal(200, &[FRESH, ("Cache-Control", "private=\"x-a\"")]), None);
}

#[test]
fn only_final_statuses_that_stand_for_themselves_are_kept() {
    for status in 100..200 {
        assert_eq!(refusal(status, &[FRESH]), Some(Refusal::Status), "{status}");
    }
    for status in 200..600 {
        let expected = match status {
            304 | 412 | 416 => Some(Refusal::Status),
            // Whoever made up the way of the request can make it loop.
            508 => Some(Refusal::ProvokedError),
            _ => None,
        };
        assert_eq!(refusal(status, &[FRESH]), expected, "{status}");
    }
}

#[test]
fn answers_to_credentials_are_kept_only_when_the_origin_shares_them() {
    let asked = Asked { has_authorization: true, ..ASKED };
    let of = |policy: &Policy, value| judge_for(&asked, policy, 200, &[("Cache-Control", value)]);
    for value in ["max-age=60", "max-age=60, proxy-revalidate", "max-age=60, no-cache"] {
        assert_eq!(of(&policy(), value), Err(Refusal::Authorization), "{value}");
        let ruled = Policy { ttl: Some(secs(60)), strips_set_cookie: true, ..policy() };
        assert_eq!(of(&ruled, value), Err(Refusal::Authorization), "{value}");
    }
    for value in ["max-age=60, public", "s-maxage=60", "max-age=60, must-revalidate"] {
        assert!(of(&policy(), value).is_ok(), "{value}");
    }
}

#[test]
fn answers_that_set_cookies_are_kept_only_when_they_are_for_all_or_stripped_by_wish() {
    let cookie = ("Set-Cookie", "session=1");
    for value in ["public, max-age=60", "s-maxage=60"] {
        assert_eq!(refusal(200, &[cookie, ("Cache-Control", value)]), None, "{value}");
    }
    let stripping = Policy { strips_set_cookie: true, ..policy() };
    assert!(judge_for(&ASKED, &stripping, 200, &[cookie, FRESH]).is_ok());
    let expires = date(60);
    for line in
        [("Expires", expires.as_str()), ("ETag", "\"a\""), ("Cache-Control", "private, max-age=9")]
    {
        assert!(judge_for(&ASKED, &stripping, 200, &[cookie, line]).is_err(), "{line:?}");
    }
}

#[test]
fn cookies_and_named_fields_are_never_kept() {
    let lines = [("Cache-Control", "max-age=1, private=\"X-A\", no-cache=\"x-b,X-C\"")];
    assert_eq!(withheld(&fields(&lines)), ["set-cookie", "x-a", "x-b", "x-c"]);
}

#[test]
fn must_understand_decides_by_the_status_instead_of_no_store() {
    let lines = [("Cache-Control", "max-age=60, no-store, must-understand")];
    for (status, expected) in [
        (200, None),
        (404, None),
        (302, None),
        (206, None),
        (299, Some(Refusal::Status)),
        (418, Some(Refusal::Status)),
        (500, Some(Refusal::Status)),
    ] {
        assert_eq!(refusal(status, &lines), expected, "{status}");
    }
    let private = [("Cache-Control", "max-age=60, no-store, must-understand, private")];
    assert_eq!(refusal(200, &private), Some(Refusal::Private));
}

#[test]
fn errors_that_the_request_may_have_provoked_are_not_kept() {
    let asked = Asked { is_ordinary: false, ..ASKED };
    let of = |status| judge_for(&asked, &policy(), status, &[FRESH]).err();
    for status in [400, 404, 431, 500, 503] {
        assert_eq!(of(status), Some(Refusal::ProvokedError), "{status}");
    }
    assert_eq!((of(200), of(301)), (None, None));
}

#[test]
fn what_the_request_forbids_or_spells_in_its_own_way_is_not_kept() {
    let asked = Asked { forbids_storing: true, ..ASKED };
    assert_eq!(judge_for(&asked, &policy(), 200, &[FRESH]), Err(Refusal::RequestNoStore));
    let asked = Asked { is_spelled_otherwise: true, ..ASKED };
    assert_eq!(judge_for(&asked, &policy(), 200, &[FRESH]), Err(Refusal::Signed));
}

#[test]
fn a_redirect_to_the_same_url_with_another_scheme_is_not_kept() {
    let of = |target, location, policy: &Policy| {
        let asked = Asked { target, host: "a.test:8080", ..ASKED };
        judge_for(&asked, policy, 301, &[FRESH, ("Location", location)]).err()
    };
    for (target, location) in [
        ("/a?b=c", "https://a.test/a?b=c"),
        ("/a?b=c", "HTTPS://A.Test:443/a?b=c"),
        ("/a", "https://a.test/a#top"),
        ("/", "https://a.test"),
        ("/", "https://a.test/"),
        ("/?b", "https://a.test?b"),
    ] {
        let read = of(target, location, &policy());
        assert_eq!(read, Some(Refusal::SchemeRedirect), "{target} {location}");
        let keyed = Policy { keys_scheme: true, ..policy() };
        assert_eq!(of(target, location, &keyed), None, "{target} {location}");
    }
    for (target, location) in [
        ("/a", "https://b.test/a"),
        ("/a", "https://a.test/b"),
        ("/a", "https://a.test/a/"),
        ("/a", "https://a.test/a?b"),
        ("/a", "https://a.test"),
        ("/a", "/b"),
        ("/a", "https://a.test.evil/a"),
        ("/a", ""),
        ("/a", "://"),
    ] {
        assert_eq!(of(target, location, &policy()), None, "{target} {location}");
    }
}

#[test]
fn the_deception_guard_keeps_only_what_the_extension_promises() {
    let of = |target, content_type: &str, status| {
        let asked = Asked { target, ..ASKED };
        let policy = Policy { guards_deception: true, ..policy() };
        let kept = judge_for(&asked, &policy, status, &[FRESH, ("Content-Type", content_type)]);
        kept.err() != Some(Refusal::Deception)
    };
    for (target, content_type) in [
        ("/a.css", "text/css"),
        ("/a.CSS", "Text/CSS; charset=utf-8"),
        ("/a.js", "application/javascript"),
        ("/a.js?v=1.html", "text/javascript"),
        ("/a.png", "image/webp"),
        ("/a.css", "application/octet-stream"),
        ("/a.css/b", "text/html"),
        ("/a", "text/html"),
        ("/a.html", "text/html"),
        ("/a?b=c.css", "text/html"),
        ("/", "text/html"),
    ] {
        assert!(of(target, content_type, 200), "{target} {content_type}");
    }
    for (target, content_type) in [
        ("/account/x.css", "text/html"),
        ("/account/x.css?y", "text/html; a=\"text/css\""),
        ("/account/.css", "text/html"),
        ("/account%2Fx.JS", "text/html"),
        ("/account;x.png", "text/html"),
        ("/account/x.pdf", ""),
        ("/account/x.json", "text/html"),
    ] {
        assert!(!of(target, content_type, 200), "{target} {content_type}");
        assert!(of(target, content_type, 404), "an error page is what it is");
    }
    assert_eq!(refusal(200, &[FRESH, ("Content-Type", "text/html")]), None, "off by default");
}

const DIRECTIVES: &[&str] = &[
    "no-store",
    "private",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "no-cache",
    "s-maxage=60",
    "max-age=60",
    "must-understand",
    "private=\"x-a\"",
    "stale-while-revalidate=9",
    "stale-if-error=9",
];

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn whatever_else_is_said_what_is_not_for_all_is_not_kept(
        said in proptest::sample::subsequence(DIRECTIVES, 0..=DIRECTIVES.len()),
        status in prop_oneof![Just(200_u16), 100..600_u16],
        sets_cookie in any::<bool>(),
        vary in proptest::sample::select(vec!["", "accept", "*", "accept, *"]),
        flags in any::<[bool; 6]>(),
        ttl in proptest::option::of(any::<Duration>()),
    ) {
        let [has_authorization, forbids_storing, heuristics, keys_scheme, has_etag, has_date] = flags;
        let cache_control = said.join(", ");
        let now_said = date(0);
        let mut lines = vec![("Cache-Control", cache_control.as_str()), ("Vary", vary)];
        lines.extend(sets_cookie.then_some(("Set-Cookie", "a=b")));
        lines.extend(has_etag.then_some(("ETag", "\"a\"")));
        lines.extend(has_date.then_some(("Last-Modified", now_said.as_str())));
        let asked = Asked { has_authorization, forbids_storing, ..ASKED };
        let policy =
            Policy { ttl, default_ttl: ttl, negative_ttl: ttl, heuristics, keys_scheme, ..policy() };
        let has = |name: &str| said.contains(&name);
        let is_for_all = has("public") || has("s-maxage=60");
        let is_forbidden = has("private")
            || has("no-store") && !has("must-understand")
            || has_authorization && !(is_for_all || has("must-revalidate"))
            || sets_cookie && !is_for_all
            || vary.contains('*')
            || forbids_storing
            || status < 200
            || matches!(status, 304 | 508);
        if let Ok(terms) = judge_for(&asked, &policy, status, &lines) {
            prop_assert!(!is_forbidden, "{status} {lines:?}");
            prop_assert_eq!(terms.must_validate, has("no-cache"));
            if has("no-cache") || has("must-revalidate") || has("proxy-revalidate") {
                prop_assert!(terms.forbids_stale);
                prop_assert_eq!((terms.while_revalidate, terms.if_error), (secs(0), None));
            }
        } else {
            let has_time = has("s-maxage=60") || has("max-age=60");
            prop_assert!(is_forbidden || has("must-understand") || !has_time, "{status} {lines:?}");
        }
    }

    #[test]
    fn no_clock_and_no_age_make_it_panic_or_give_a_negative_age(
        delay in any::<Duration>(),
        age in any::<Duration>(),
        offset in -4_000_000_000..4_000_000_000_i64,
        date_offset in -1_000_000_000..1_000_000_000_i64,
    ) {
        let by = secs(offset.unsigned_abs());
        let received_at = if offset < 0 { now() - by } else { now() + by };
        let made = date(date_offset);
        let fields = fields(&[FRESH, ("Date", &made)]);
        let received = Received { now: received_at, delay, age };
        let terms = judge_at(&ASKED, 200, &fields, &policy(), received).expect("kept");
        prop_assert!(terms.born <= received_at || offset < 0);
        if age.saturating_add(delay) < secs(1_000_000_000) {
            prop_assert!(terms.age(received_at) >= age + delay);
        }
    }
}
