use crate::kit::{fields, properties};
use brim::rules::vary::{Variant, accept_encoding};
use brim::wire::fields::Fields;
use proptest::prelude::*;

fn request(lines: &[(&str, &str)]) -> Fields {
    fields(lines)
}

/// Whether an answer for the first request answers the second.
fn answers(vary: &str, first: &Fields, second: &Fields) -> bool {
    Variant::new(&fields(&[("Vary", vary)]), first).matches(second, None)
}

/// The same both ways, since two meanings are equal or not.
fn same(name: &str, a: &str, b: &str) -> bool {
    let (a, b) = (request(&[(name, a)]), request(&[(name, b)]));
    let there = answers(name, &a, &b);
    assert_eq!(there, answers(name, &b, &a));
    there
}

#[test]
fn accept_encoding_is_the_set_of_codings_that_it_allows() {
    for (a, b) in [
        ("gzip, br", "br,gzip"),
        ("gzip, br", "BR;q=1.0 , GZip;Q=0.2, deflate"),
        ("gzip", "x-gzip"),
        ("gzip", "X-GZIP"),
        ("gzip", "gzip;q=0.001, identity;q=0.5"),
        ("br, gzip, zstd", "*"),
        ("br, gzip", "*, zstd;q=0"),
        ("identity", ""),
        ("identity", "gzip;q=0, br; q=0.0"),
        ("identity", "*;q=0"),
        ("identity", "deflate, compress"),
        ("gzip", "gzip, *;q=0"),
    ] {
        assert!(same("Accept-Encoding", a, b), "{a:?} {b:?}");
    }
    for (a, b) in [
        ("gzip", "br"),
        ("gzip", "gzip, br"),
        ("gzip", "identity"),
        ("gzip", "gzip;q=0"),
        ("gzip", "*"),
        ("gzip", "gzipped"),
        ("zstd", "br"),
    ] {
        assert!(!same("Accept-Encoding", a, b), "{a:?} {b:?}");
    }
    let split = request(&[("Accept-Encoding", "gzip"), ("accept-encoding", "br")]);
    let joined = request(&[("Accept-Encoding", "br, gzip")]);
    assert!(answers("Accept-Encoding", &split, &joined));
    assert!(answers("Accept-Encoding", &joined, &split));
    assert!(answers(
        "Accept-Encoding",
        &request(&[]),
        &request(&[("Accept-Encoding", "identity")])
    ));
}

#[test]
fn the_origin_is_asked_for_what_the_variant_stands_for() {
    for (value, expected) in [
        ("gzip, deflate, br, zstd", "br, gzip, zstd"),
        ("GZIP;q=0.3", "gzip"),
        ("*", "br, gzip, zstd"),
        ("deflate", "identity"),
        ("", "identity"),
    ] {
        let asked = request(&[("Accept-Encoding", value)]);
        assert_eq!(accept_encoding(&asked).as_deref(), Some(expected), "{value:?}");
    }
    assert_eq!(accept_encoding(&request(&[])), None);
}

#[test]
fn accept_language_is_a_ranking() {
    for (a, b) in [
        ("en-GB, de;q=0.5", "EN-gb,de; q=0.5"),
        ("de;q=0.5, en", "en;q=1,de;q=0.500"),
        ("en, de, fr;q=0.1", "de, en, fr;q=0.1"),
    ] {
        assert!(same("Accept-Language", a, b), "{a:?} {b:?}");
    }
    for (a, b) in [
        ("en, de;q=0.5", "de, en;q=0.5"),
        ("en", "en-GB"),
        ("en", "*"),
        ("en", ""),
        ("en", "en;q=0"),
        ("en, de;q=0.5", "en"),
    ] {
        assert!(!same("Accept-Language", a, b), "{a:?} {b:?}");
    }
}

#[test]
fn the_language_that_a_client_likes_best_is_good_enough() {
    let of = |stored: &str, asked: &str, language: &str| {
        Variant::new(
            &fields(&[("Vary", "accept-language")]),
            &request(&[("Accept-Language", stored)]),
        )
        .matches(&request(&[("Accept-Language", asked)]), Some(language.as_bytes()))
    };
    assert!(of("de, en;q=0.5", "DE, fr;q=0.5", "de"));
    assert!(of("de", "fr, de", "De"));
    assert!(!of("de", "fr, de;q=0.9", "de"));
    assert!(!of("de", "de;q=0", "de"));
    assert!(!of("de-AT", "de-DE", "de-AT"));
    assert!(!of("de", "*", "de"));
}

#[test]
fn other_fields_differ_in_everything_but_white_space_and_lines() {
    for (a, b) in [("a,b", "a , b"), ("a, b", "a\t,b"), ("\"a, b\"", "\"a, b\""), ("", "")] {
        assert!(same("X-Any", a, b), "{a:?} {b:?}");
    }
    for (a, b) in [("a", "A"), ("a,b", "b,a"), ("a b", "ab"), ("\"a,b\"", "\"a, b\""), ("", "a")] {
        assert!(!same("X-Any", a, b), "{a:?} {b:?}");
    }
    let lines = request(&[("X-Any", "a"), ("x-any", "b")]);
    let joined = request(&[("X-Any", "a, b")]);
    assert!(answers("X-Any", &lines, &joined) && answers("X-Any", &joined, &lines));
    assert!(!answers("X-Any", &lines, &request(&[("X-Any", "a")])));
    assert!(!answers("X-Any", &request(&[("X-Any", "a")]), &lines));
}

#[test]
fn an_absent_field_is_not_an_empty_one() {
    for name in ["X-Any", "Accept-Language"] {
        let (absent, empty) = (request(&[]), request(&[(name, "")]));
        assert!(answers(name, &absent, &absent) && answers(name, &empty, &empty));
        assert!(!answers(name, &absent, &empty) && !answers(name, &empty, &absent), "{name}");
    }
}

#[test]
fn every_selecting_field_counts_however_vary_spells_them() {
    let first = request(&[("Accept", "a"), ("X-B", "b")]);
    for vary in ["Accept, X-B", "x-b,ACCEPT", "X-B,, accept ,x-b"] {
        assert!(answers(vary, &first, &first));
        for other in [
            request(&[("Accept", "a")]),
            request(&[("Accept", "a"), ("X-B", "c")]),
            request(&[("Accept", "c"), ("X-B", "b")]),
            request(&[]),
        ] {
            assert!(!answers(vary, &first, &other), "{vary} {other:?}");
        }
    }
    let variant = |vary| Variant::new(&fields(&[("Vary", vary)]), &first);
    assert_eq!(variant("Accept, X-B"), variant("x-b,,accept"));
    assert!(Variant::new(&fields::<&str, &str>(&[]), &first).is_empty());
}

const NAMES: [&str; 4] = ["accept-encoding", "accept-language", "x-any", "cookie"];

fn any_request() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let value = prop_oneof![
        "((gzip|br|zstd|\\*|identity|en|de-AT|a)(;q=(0|1|0\\.5|0\\.999))?[ ,]{1,3}){0,4}",
        "[ -~]{0,20}",
        "[\"\\\\a, ]{0,12}",
    ];
    let value = value.prop_map(|value| value.trim().to_owned());
    proptest::collection::vec((proptest::sample::select(&NAMES[..]), value), 0..6)
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn an_answer_answers_its_own_request(
        asked in any_request(),
        vary in proptest::sample::subsequence(&NAMES[..], 0..=4),
        language in proptest::option::of("[a-z]{2}"),
    ) {
        let asked = fields(&asked);
        let variant = Variant::new(&fields(&[("Vary", vary.join(", "))]), &asked);
        prop_assert!(variant.matches(&asked, language.as_ref().map(String::as_bytes)));
        prop_assert_eq!(&variant.with_values_of(&asked), &variant);
    }

    #[test]
    fn two_requests_match_when_their_variants_are_equal(
        a in any_request(),
        b in any_request(),
        name in proptest::sample::select(&NAMES[..]),
    ) {
        let (a, b) = (fields(&a), fields(&b));
        let vary = fields(&[("Vary", name)]);
        let (of_a, of_b) = (Variant::new(&vary, &a), Variant::new(&vary, &b));
        prop_assert_eq!(of_a.matches(&b, None), of_a == of_b, "{:?} {:?}", of_a, of_b);
        prop_assert_eq!(of_b.matches(&a, None), of_a == of_b);
        prop_assert_eq!(of_a.with_values_of(&b), of_b);
    }

    #[test]
    fn codings_match_exactly_when_the_same_ones_are_allowed(
        a in proptest::collection::vec((0..5_usize, any::<bool>()), 0..5),
        b in proptest::collection::vec((0..5_usize, any::<bool>()), 0..5),
        spelling in any::<bool>(),
    ) {
        const CODINGS: [&str; 5] = ["br", "gzip", "zstd", "deflate", "*"];
        let once = |list: &[(usize, bool)]| {
            let mut seen = list.to_vec();
            seen.sort_unstable();
            seen.dedup_by_key(|(coding, _)| *coding);
            seen
        };
        let allowed = |list: &[(usize, bool)], coding| {
            let said = |coding| list.iter().find(|(c, _)| *c == coding).map(|(_, allowed)| *allowed);
            said(coding).or(said(4)).unwrap_or(false)
        };
        let text = |list: &[(usize, bool)], loud: bool| {
            let member = |(coding, allowed): &(usize, bool)| match (loud, allowed) {
                (false, true) => CODINGS[*coding].to_owned(),
                (true, true) => format!("{} ; Q=0.7", CODINGS[*coding].to_ascii_uppercase()),
                (_, false) => format!("{};q=0", CODINGS[*coding]),
            };
            list.iter().map(member).collect::<Vec<_>>().join(if loud { " ,\t" } else { "," })
        };
        let (a, b) = (once(&a), once(&b));
        let is_same = (0..3).all(|coding| allowed(&a, coding) == allowed(&b, coding));
        prop_assert_eq!(same("Accept-Encoding", &text(&a, false), &text(&b, spelling)), is_same);
    }
}
