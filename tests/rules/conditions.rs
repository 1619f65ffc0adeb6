use crate::kit::{date, fields, now, properties};
use Condition::{Failed, Met, NotModified};
use brim::rules::conditional::{
    Condition, are_the_same_bytes, confirms, evaluate, range_applies, strong_validator,
};
use brim::wire::fields::Fields;
use proptest::prelude::*;

type Lines<'a> = &'a [(&'a str, &'a str)];

fn condition(request: Lines<'_>, response: Lines<'_>) -> Condition {
    evaluate(&fields(request), 200, &fields(response), now())
}

#[test]
fn etags_are_compared_strongly_for_if_match_and_weakly_for_if_none_match() {
    let strong: Lines<'_> = &[("ETag", "\"a\"")];
    let weak: Lines<'_> = &[("ETag", "W/\"a\"")];
    for (name, value, response, expected) in [
        ("If-Match", "\"a\"", strong, Met),
        ("If-Match", "\"b\", \"a\"", strong, Met),
        ("If-Match", "*", strong, Met),
        ("If-Match", "*", &[], Met),
        ("If-Match", "\"b\"", strong, Failed),
        ("If-Match", "\"A\"", strong, Failed),
        ("If-Match", "W/\"a\"", strong, Failed),
        ("If-Match", "W/\"a\"", weak, Failed),
        ("If-Match", "\"a\"", weak, Failed),
        ("If-Match", "\"a\"", &[], Failed),
        ("If-Match", "", strong, Failed),
        ("If-None-Match", "\"a\"", strong, NotModified),
        ("If-None-Match", "W/\"a\"", strong, NotModified),
        ("If-None-Match", "\"a\"", weak, NotModified),
        ("If-None-Match", "W/\"a\"", weak, NotModified),
        ("If-None-Match", "W/\"x\" ,\t\"a\"", strong, NotModified),
        ("If-None-Match", "*", strong, NotModified),
        ("If-None-Match", "*", &[], NotModified),
        ("If-None-Match", "\"b\"", strong, Met),
        ("If-None-Match", "w/\"a\"", strong, Met),
        ("If-None-Match", "\"a", strong, Met),
        ("If-None-Match", "\"a\"", &[], Met),
        ("If-None-Match", "", strong, Met),
        ("If-None-Match", "\"*\"", strong, Met),
    ] {
        let found = condition(&[(name, value)], response);
        assert_eq!(found, expected, "{name}: {value} against {response:?}");
    }
}

#[test]
fn lists_of_etags_end_at_commas_outside_quotes_and_know_no_escapes() {
    let response: Lines<'_> = &[("ETag", "\"b,c\"")];
    assert_eq!(condition(&[("If-None-Match", "\"a\", \"b,c\"")], response), NotModified);
    assert_eq!(condition(&[("If-None-Match", "\"a,b,c\"")], response), Met);
    // RFC 9110, section 8.8.3: a backslash is a character like any other.
    let list: Lines<'_> = &[("If-None-Match", "\"a\\\", \"b\"")];
    assert_eq!(condition(list, &[("ETag", "\"b\"")]), NotModified);
    assert_eq!(condition(list, &[("ETag", "\"a\\\"")]), NotModified);
    let lines: Lines<'_> = &[("If-None-Match", "\"a\""), ("If-None-Match", "\"b\"")];
    assert_eq!(condition(lines, &[("ETag", "\"b\"")]), NotModified);
}

#[test]
fn dates_are_compared_to_the_second() {
    let (at, before, after) = (date(-100), date(-101), date(-99));
    let response: Lines<'_> = &[("Last-Modified", &at)];
    for (name, value, expected) in [
        ("If-Modified-Since", at.as_str(), NotModified),
        ("If-Modified-Since", &after, NotModified),
        ("If-Modified-Since", &before, Met),
        ("If-Modified-Since", "yesterday", Met),
        ("If-Unmodified-Since", &at, Met),
        ("If-Unmodified-Since", &after, Met),
        ("If-Unmodified-Since", &before, Failed),
        ("If-Unmodified-Since", "yesterday", Met),
    ] {
        assert_eq!(condition(&[(name, value)], response), expected, "{name}: {value}");
        let twice: Lines<'_> = &[(name, value), (name, value)];
        assert_eq!(condition(twice, response), Met, "two lines of {name}");
        assert_eq!(condition(&[(name, value)], &[]), Met, "{name} without Last-Modified");
    }
}

#[test]
fn etags_come_before_dates_and_preconditions_before_validators() {
    let (at, before, after) = (date(-100), date(-200), date(-50));
    let response: Lines<'_> = &[("ETag", "\"a\""), ("Last-Modified", &at)];
    let cases: &[(Lines<'_>, Condition)] = &[
        (&[("If-None-Match", "\"b\""), ("If-Modified-Since", &after)], Met),
        (&[("If-None-Match", "\"a\""), ("If-Modified-Since", &before)], NotModified),
        (&[("If-Match", "\"a\""), ("If-Unmodified-Since", &before)], Met),
        (&[("If-Match", "\"b\""), ("If-Unmodified-Since", &after)], Failed),
        (&[("If-Match", "\"b\""), ("If-None-Match", "\"a\"")], Failed),
        (&[("If-Match", "\"a\""), ("If-None-Match", "\"a\"")], NotModified),
        (&[("If-Match", "\"a\""), ("If-Modified-Since", &after)], NotModified),
        (&[("If-Unmodified-Since", &before), ("If-None-Match", "\"a\"")], Failed),
        (&[("If-Unmodified-Since", &after), ("If-Modified-Since", &after)], NotModified),
    ];
    for (request, expected) in cases {
        assert_eq!(condition(request, response), *expected, "{request:?}");
    }
}

#[test]
fn conditions_are_about_successes_only() {
    let request = fields(&[("If-None-Match", "*"), ("If-Match", "\"x\"")]);
    for status in [301, 302, 404, 412, 500] {
        assert_eq!(
            evaluate(&request, status, &fields(&[("ETag", "\"a\"")]), now()),
            Met,
            "{status}"
        );
    }
}

#[test]
fn if_range_wants_the_very_same_bytes() {
    let (made, at, other, just) = (date(-10), date(-100), date(-99), date(-10));
    let strong: Lines<'_> = &[("ETag", "\"a\""), ("Last-Modified", &at), ("Date", &made)];
    let weak: Lines<'_> = &[("ETag", "W/\"a\""), ("Last-Modified", &at), ("Date", &made)];
    let undated: Lines<'_> = &[("Last-Modified", &at)];
    let recent: Lines<'_> = &[("Last-Modified", &just), ("Date", &made)];
    for (value, response, expected) in [
        ("\"a\"", strong, true),
        ("\"b\"", strong, false),
        ("W/\"a\"", strong, false),
        ("W/\"a\"", weak, false),
        ("\"a\"", weak, false),
        ("\"a\"", undated, false),
        ("\"a\", \"b\"", strong, false),
        ("*", strong, false),
        ("", strong, false),
        (&at, strong, true),
        (&other, strong, false),
        (&at, undated, false),
        (&just, recent, false),
        ("a", strong, false),
    ] {
        let applies = range_applies(&fields(&[("If-Range", value)]), &fields(response), now());
        assert_eq!(applies, expected, "{value} against {response:?}");
    }
    assert!(range_applies(&fields::<&str, &str>(&[]), &fields(strong), now()));
    let twice = fields(&[("If-Range", "\"a\""), ("If-Range", "\"a\"")]);
    assert!(!range_applies(&twice, &fields(strong), now()));
}

#[test]
fn the_validator_for_if_range_is_strong() {
    let (made, at) = (date(-10), date(-100));
    let of = |lines: Lines<'_>| {
        let fields = fields(lines);
        strong_validator(&fields, now()).map(|value| String::from_utf8_lossy(value).into_owned())
    };
    assert_eq!(of(&[("ETag", "\"a\""), ("Last-Modified", &at)]), Some("\"a\"".into()));
    assert_eq!(of(&[("ETag", "W/\"a\""), ("Last-Modified", &at), ("Date", &made)]), None);
    assert_eq!(of(&[("Last-Modified", &at), ("Date", &made)]), Some(at.clone()));
    assert_eq!(of(&[("Last-Modified", &at)]), None);
    assert_eq!(of(&[("Last-Modified", &at), ("Date", &at)]), None);
}

#[test]
fn parts_go_together_only_with_a_common_strong_validator() {
    let (made, at, other) = (date(-10), date(-100), date(-90));
    let same = |a: Lines<'_>, b: Lines<'_>| are_the_same_bytes(&fields(a), &fields(b), now());
    let dated = |at: &str| fields(&[("Last-Modified", at), ("Date", &made)]);
    assert!(same(&[("ETag", "\"a\"")], &[("ETag", "\"a\"")]));
    assert!(!same(&[("ETag", "\"a\"")], &[("ETag", "\"b\"")]));
    assert!(!same(&[("ETag", "W/\"a\"")], &[("ETag", "W/\"a\"")]));
    assert!(!same(&[("ETag", "\"a\"")], &[]));
    assert!(!same(&[], &[]));
    assert!(are_the_same_bytes(&dated(&at), &dated(&at), now()));
    assert!(!are_the_same_bytes(&dated(&at), &dated(&other), now()));
    assert!(!same(&[("Last-Modified", &at)], &[("Last-Modified", &at)]));
}

#[test]
fn a_304_confirms_what_its_validators_name() {
    let (at, other) = (date(-100), date(-90));
    let cases: &[(Lines<'_>, Lines<'_>, bool)] = &[
        (&[("ETag", "\"a\"")], &[("ETag", "\"a\"")], true),
        (&[("ETag", "W/\"a\"")], &[("ETag", "W/\"a\"")], true),
        (&[("ETag", "\"b\"")], &[("ETag", "\"a\"")], false),
        (&[("ETag", "\"b\"")], &[], false),
        (&[], &[("ETag", "\"a\"")], true),
        (&[("Last-Modified", &at)], &[("Last-Modified", &at)], true),
        (&[("Last-Modified", &other)], &[("Last-Modified", &at)], false),
        (&[], &[("Last-Modified", &at)], true),
        (&[], &[], true),
    ];
    for (new, stored, expected) in cases {
        assert_eq!(confirms(&fields(new), &fields(stored)), *expected, "{new:?} {stored:?}");
    }
}

fn etag() -> impl Strategy<Value = String> {
    "(W/)?\"[!#-~]{0,6}\""
}

fn with(name: &str, value: &str) -> Fields {
    fields(&[(name, value)])
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn a_client_that_has_it_is_told_so_wherever_it_stands_in_the_list(
        before in proptest::collection::vec(etag(), 0..4),
        tag in etag(),
        after in proptest::collection::vec(etag(), 0..4),
    ) {
        let response = with("ETag", &tag);
        let list = [before.clone(), vec![tag.clone()], after.clone()].concat().join(", ");
        prop_assert_eq!(evaluate(&with("If-None-Match", &list), 200, &response, now()), NotModified);
        let is_strong = !tag.starts_with("W/");
        let matched = evaluate(&with("If-Match", &list), 200, &response, now());
        prop_assert_eq!(matched, if is_strong { Met } else { Failed });
        let opaque = |tag: &String| tag.trim_start_matches("W/").to_owned();
        let others = [before, after].concat();
        prop_assume!(!others.is_empty() && others.iter().all(|other| opaque(other) != opaque(&tag)));
        let request = with("If-None-Match", &others.join(","));
        prop_assert_eq!(evaluate(&request, 200, &response, now()), Met);
    }
}
