use crate::kit::{cache_control, fields, properties};
use brim::rules::cache_control::{Demands, Directives, delta_seconds};
use proptest::prelude::*;

const FOREVER: u64 = 1 << 31;

fn response(lines: &[(&str, &str)]) -> Directives {
    Directives::of_response(&fields(lines))
}

fn cdn(value: &str) -> Directives {
    response(&[("CDN-Cache-Control", value), ("Cache-Control", "max-age=1, private")])
}

#[test]
fn directives_are_read_in_any_case_and_over_all_lines() {
    let read = response(&[
        ("Cache-Control", "MAX-AGE=60 ,\tPublic"),
        ("cache-control", ",, s-maxage=\"30\",stale-while-revalidate=5, unknown=\"a, no-store\""),
        ("Cache-Control", "stale-if-error=7, Must-Revalidate, proxy-revalidate"),
    ]);
    let expected = Directives {
        max_age: Some(60),
        s_maxage: Some(30),
        stale_while_revalidate: Some(5),
        stale_if_error: Some(7),
        public: true,
        must_revalidate: true,
        proxy_revalidate: true,
        ..Directives::default()
    };
    assert_eq!(read, expected);
}

#[test]
fn a_time_that_cannot_be_read_is_over() {
    for value in [
        "max-age",
        "max-age=",
        "max-age=-1",
        "max-age=1.5",
        "max-age=1e3",
        "max-age=0x10",
        "max-age= 60",
        "max-age=\t60",
        "max-age =60",
        "max-age=\"60",
        "max-age=60s",
        "max-age='60'",
        "max-age=abc, max-age=60",
    ] {
        assert_eq!(cache_control(value).max_age, Some(0), "{value}");
    }
}

#[test]
fn the_first_of_several_equal_directives_counts() {
    assert_eq!(cache_control("max-age=60, max-age=0").max_age, Some(60));
    let lines = [("Cache-Control", "max-age=60"), ("Cache-Control", "max-age=1")];
    assert_eq!(response(&lines).max_age, Some(60));
}

#[test]
fn more_seconds_than_fit_are_for_ever() {
    for (text, seconds) in [
        ("0", Some(0)),
        ("000060", Some(60)),
        ("2147483647", Some(FOREVER - 1)),
        ("2147483648", Some(FOREVER)),
        ("2147483649", Some(FOREVER)),
        ("99999999999999999999999999", Some(FOREVER)),
        ("", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
    ] {
        assert_eq!(delta_seconds(text.as_bytes()), seconds, "{text:?}");
    }
}

#[test]
fn named_fields_narrow_no_cache_and_private_to_these_fields() {
    let read = cache_control("max-age=9, no-cache=\"Set-Cookie, X-A\", private=\"x-b\"");
    assert!(!read.no_cache && !read.private);
    assert_eq!(read.withheld_fields, ["set-cookie", "x-a", "x-b"]);
    // A token where a string belongs is accepted (RFC 9111, section 5.2).
    assert_eq!(cache_control("private=X-A").withheld_fields, ["x-a"]);
}

#[test]
fn no_cache_and_private_are_about_everything_when_in_doubt() {
    for argument in ["", "=", "=\"\"", "=\" , \"", "=\"x-a", " =\"x-a\"", "= \"x-a\"", "=\tx-a"] {
        assert!(cache_control(&format!("private{argument}")).private, "private{argument}");
        assert!(cache_control(&format!("no-cache{argument}")).no_cache, "no-cache{argument}");
    }
    let both = cache_control("no-cache=\"x-a\", no-cache");
    assert!(both.no_cache);
}

#[test]
fn restrictive_directives_count_whatever_argument_they_have() {
    for argument in ["", "=", "=0", "=false", "=\"a\"", " = 1"] {
        assert!(cache_control(&format!("no-store{argument}")).no_store, "{argument}");
        let read = cache_control(&format!("must-revalidate{argument}"));
        assert!(read.insists_on_validation(), "{argument}");
    }
}

#[test]
fn names_that_only_contain_a_known_one_are_unknown() {
    let read = cache_control("x-no-store, no-storey, privateer, maxage=5, \"no-store\"");
    assert_eq!(read, Directives::default());
}

#[test]
fn the_field_for_cdns_outranks_surrogates_outranks_caches() {
    let all = [
        ("Cache-Control", "no-store"),
        ("Surrogate-Control", "max-age=20"),
        ("CDN-Cache-Control", "max-age=30"),
        ("Expires", "0"),
    ];
    let read = response(&all);
    assert_eq!((read.max_age, read.no_store, read.is_targeted), (Some(30), false, true));
    let read = response(&all[..2]);
    assert_eq!((read.max_age, read.no_store, read.is_targeted), (Some(20), false, true));
    let read = response(&all[..1]);
    assert_eq!((read.max_age, read.no_store, read.is_targeted), (None, true, false));
}

#[test]
fn the_field_for_cdns_is_a_dictionary() {
    let is_private = |value: &str| cdn(value).private;
    assert_eq!(cdn("max-age=30").max_age, Some(30));
    assert_eq!(cdn("max-age=30;ext=1;b, x-new=(1 2), y").max_age, Some(30), "unknown things");
    assert_eq!(cdn("max-age=30, max-age=40").max_age, Some(40), "the last counts");
    assert_eq!(cdn("max-age=99999999999").max_age, Some(FOREVER));
    assert!(cdn("no-store").no_store);
    assert!(!cdn("no-store=?0, max-age=1").no_store);
    assert!(!cdn("no-store, no-store=?0").no_store, "the last counts");
    assert!(is_private("private") && is_private("private=?1;a"));
    assert_eq!(cdn("private=\"X-A, x-b\"").withheld_fields, ["x-a", "x-b"]);
    assert!(!is_private("private=\"X-A\""));
    let lines = [("CDN-Cache-Control", "max-age=30"), ("CDN-Cache-Control", "no-cache")];
    let read = response(&lines);
    assert_eq!((read.max_age, read.no_cache), (Some(30), true));
}

#[test]
fn a_field_for_cdns_that_is_empty_or_no_dictionary_is_not_there() {
    for value in [
        "",
        " ",
        "max-age =30",
        "max-age= 30",
        "Max-Age=30",
        "max-age=30,",
        "max-age=30, ,no-cache",
        "max-age=30; ",
        "max-age=\"30",
        "max-age=30 no-store",
        "max-age=9999999999999999",
        "no-store, &",
        "\u{e9}",
    ] {
        let read = cdn(value);
        assert_eq!(
            (read.max_age, read.private, read.is_targeted),
            (Some(1), true, false),
            "{value}"
        );
    }
}

#[test]
fn values_of_the_wrong_type_make_nothing_more_permissive() {
    for value in ["max-age=\"30\"", "max-age=30.0", "max-age=thirty", "max-age", "max-age=-3"] {
        let read = cdn(value);
        assert_eq!((read.max_age, read.is_targeted), (Some(0), true), "{value}");
    }
    assert!(cdn("no-store=1").no_store && cdn("no-store=(a)").no_store);
    assert!(cdn("private=1").private && cdn("private=(\"x-a\")").private);
    assert!(cdn("no-cache=x-a").no_cache);
    for value in ["public=0", "public=\"no\"", "public=(a)", "public=no"] {
        assert!(!cdn(value).public, "{value}");
    }
}

#[test]
fn surrogate_control_may_be_targeted_and_may_extend_its_time() {
    let read =
        |value: &str| response(&[("Surrogate-Control", value), ("Cache-Control", "no-cache")]);
    assert_eq!(read("max-age=60+30").max_age, Some(60));
    assert_eq!(read("max-age=60+30").stale_while_revalidate, Some(30));
    assert_eq!(read("max-age=60;other, max-age=9;brim").max_age, Some(9));
    assert_eq!(read("max-age=60;Brim").max_age, Some(60));
    for value in ["content=\"ESI/1.0\"", "max-age=60;other", "no-store;other", ""] {
        assert!(read(value).no_cache && !read(value).is_targeted, "{value}");
    }
    assert!(read("no-store").no_store);
}

#[test]
fn pragma_counts_only_without_cache_control() {
    let demands = |lines: &[(&str, &str)]| Demands::of_request(&fields(lines));
    assert!(demands(&[("Pragma", "x, No-Cache")]).no_cache);
    assert!(!demands(&[("Pragma", "no-cache"), ("Cache-Control", "max-age=5")]).no_cache);
    assert!(!demands(&[("Pragma", "nocache")]).no_cache);
    assert_eq!(demands(&[]), Demands::default());
}

#[test]
fn demands_are_read_and_unreadable_ones_ask_for_no_more_than_they_can() {
    let demands = |value: &str| Demands::of_request(&fields(&[("Cache-Control", value)]));
    let all = demands("Max-Age=5, min-fresh=6, max-stale=7, no-cache, no-store, only-if-cached");
    let expected = Demands {
        no_cache: true,
        no_store: true,
        max_age: Some(5),
        min_fresh: Some(6),
        max_stale: Some(7),
        only_if_cached: true,
    };
    assert_eq!(all, expected);
    assert_eq!(demands("max-stale").max_stale, Some(u64::MAX));
    assert_eq!(demands("max-stale=x").max_stale, None);
    assert_eq!(demands("min-fresh=x").min_fresh, None);
    assert_eq!(demands("max-age=x").max_age, Some(0));
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn the_order_of_different_directives_means_nothing(
        (list, shuffled) in proptest::sample::subsequence(vec![
            "max-age=5", "s-maxage=6", "public", "no-cache", "no-store", "must-revalidate",
            "stale-if-error=7", "x=\"a, private\"",
        ], 1..8).prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
    ) {
        let read = cache_control(&list.join(", "));
        prop_assert_eq!(&read, &cache_control(&shuffled.join(" ,")));
        let lines: Vec<_> = shuffled.iter().map(|directive| ("Cache-Control", *directive)).collect();
        prop_assert_eq!(&read, &response(&lines));
    }

    #[test]
    fn no_bytes_make_it_panic(
        name in prop_oneof![Just("Cache-Control"), Just("CDN-Cache-Control"), Just("Surrogate-Control")],
        value in prop_oneof!["\\PC{0,60}", "((max-age|private|no-cache|[a-z\"\\\\]{1,3})[=;+,\" ]{0,3}[0-9]{0,3}){0,8}"],
    ) {
        let fields = fields(&[(name, value.as_bytes())]);
        let read = Directives::of_response(&fields);
        let times = [read.max_age, read.s_maxage, read.stale_while_revalidate, read.stale_if_error];
        prop_assert!(times.into_iter().flatten().all(|seconds| seconds <= FOREVER));
        let _ = Demands::of_request(&fields);
    }
}
