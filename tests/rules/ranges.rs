use crate::kit::properties;
use brim::rules::range::{Asked, ContentRange, Resolved, content_range, parse, resolve};
use proptest::prelude::*;
use std::ops::Range;

/// As the module says: closer parts than this are sent as one.
const GAP_BYTES: u64 = 128;

fn resolved(value: &str, total: u64) -> Option<Resolved> {
    parse(value.as_bytes()).map(|asked| resolve(&asked, total))
}

fn parts(resolved: &Resolved) -> Vec<Range<u64>> {
    match resolved {
        Resolved::One(part) => vec![part.clone()],
        Resolved::Several(parts) => parts.clone(),
        Resolved::None => Vec::new(),
    }
}

#[test]
fn one_range_is_the_part_that_is_there() {
    for (value, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-499", 0..500),
        ("BYTES=500-", 500..1000),
        ("bytes=-1", 999..1000),
        ("bytes=-1000", 0..1000),
        ("bytes=-5000", 0..1000),
        ("bytes=999-5000", 999..1000),
        ("bytes=0-18446744073709551615", 0..1000),
        ("bytes=0-99999999999999999999999", 0..1000),
        ("bytes=-99999999999999999999999", 0..1000),
        ("bytes= , 1-2 ,,", 1..3),
        ("bytes=5000-, 1-2", 1..3),
    ] {
        assert_eq!(resolved(value, 1000), Some(Resolved::One(part)), "{value}");
    }
}

#[test]
fn a_range_that_is_not_there_is_unsatisfiable() {
    for value in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=2000-,-0"] {
        assert_eq!(resolved(value, 1000), Some(Resolved::None), "{value}");
    }
    for value in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
        assert_eq!(resolved(value, 0), Some(Resolved::None), "{value}");
    }
    assert_eq!(resolved("bytes=18446744073709551615-", u64::MAX), Some(Resolved::None));
}

#[test]
fn what_is_no_range_of_bytes_is_ignored() {
    for value in [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=2-1",
        "bytes=0-1,2-1",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1 - 2",
        "bytes=1-2;",
        "bytes 1-2",
        "bytes =1-2",
        "items=0-1",
        "bytes=0x1-2",
        "bytes=--1",
        "bytes=1.0-2",
    ] {
        assert_eq!(parse(value.as_bytes()), None, "{value}");
    }
}

#[test]
fn parts_that_overlap_touch_or_nearly_touch_are_one() {
    let cases: &[(&str, &[(u64, u64)])] = &[
        ("bytes=0-9,5-19", &[(0, 20)]),
        ("bytes=0-9,10-19", &[(0, 20)]),
        ("bytes=10-19,0-9", &[(0, 20)]),
        ("bytes=0-9,138-199", &[(0, 200)]),
        ("bytes=0-9,139-199", &[(0, 10), (139, 200)]),
        ("bytes=900-,0-9", &[(900, 1000), (0, 10)]),
        ("bytes=0-9,900-,300-309,-200", &[(0, 10), (800, 1000), (300, 310)]),
        ("bytes=0-,0-,0-,0-", &[(0, 1000)]),
        ("bytes=0-9,500-509,0-999", &[(0, 1000)]),
    ];
    for (value, expected) in cases {
        let found = parts(&resolved(value, 1000).expect("good"));
        let found: Vec<_> = found.iter().map(|part| (part.start, part.end)).collect();
        assert_eq!(found, *expected, "{value}");
    }
}

#[test]
fn more_parts_than_anybody_needs_are_ignored() {
    let of = |count: usize| parse(format!("bytes={}", vec!["0-0"; count].join(",")).as_bytes());
    assert_eq!(of(16).map(|parts| parts.len()), Some(16));
    assert_eq!(of(17), None);
    assert_eq!(of(100_000), None);
}

#[test]
fn a_content_range_says_where_the_part_lies() {
    let read = |value: &str| content_range(value.as_bytes());
    let of = |part, total| Some(ContentRange { part, total });
    assert_eq!(read("bytes 0-0/1"), of(0..1, Some(1)));
    assert_eq!(read("Bytes 5-9/10"), of(5..10, Some(10)));
    assert_eq!(read("bytes 5-9/*"), of(5..10, None));
    for value in [
        "",
        "bytes",
        "bytes ",
        "bytes */10",
        "bytes 9-5/10",
        "bytes 5-10/10",
        "bytes 5-9",
        "bytes 5-9/",
        "bytes 5-/10",
        "bytes -5/10",
        "bytes=5-9/10",
        "items 5-9/10",
        "bytes 5-9/10/11",
        "bytes 5-9/-1",
        "bytes 0-18446744073709551615/*",
        "bytes 5 -9/10",
        "bytes 5-9/10, bytes 5-9/10",
        "bytes 0-1/99999999999999999999999",
    ] {
        assert_eq!(read(value), None, "{value}");
    }
}

/// Reads what was asked for once more, byte by byte and in the simplest way.
fn is_asked_for(asked: &[Asked], at: u64, total: u64) -> bool {
    asked.iter().any(|asked| match *asked {
        Asked::From(first, last) => at >= first && last.is_none_or(|last| at <= last),
        Asked::Last(bytes) => at >= total.saturating_sub(bytes),
    })
}

fn any_asked(limit: u64) -> impl Strategy<Value = Asked> {
    prop_oneof![
        (0..limit, proptest::option::of(0..limit)).prop_map(|(first, more)| {
            Asked::From(first, more.map(|more| first.saturating_add(more)))
        }),
        (0..limit).prop_map(Asked::Last),
    ]
}

fn written(asked: &Asked) -> String {
    match asked {
        Asked::From(first, Some(last)) => format!("{first}-{last}"),
        Asked::From(first, None) => format!("{first}-"),
        Asked::Last(bytes) => format!("-{bytes}"),
    }
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn the_parts_are_what_was_asked_for_and_no_more_than_the_gaps_between(
        asked in proptest::collection::vec(prop_oneof![any_asked(3000), any_asked(300)], 1..17),
        total in 0..3000_u64,
    ) {
        let found = parts(&resolve(&asked, total));
        let is_covered = |at: u64| found.iter().any(|part| part.contains(&at));
        for part in &found {
            prop_assert!(part.start < part.end && part.end <= total);
            // Whoever goes on from an end finds a reason for every byte: it, or a near neighbour.
            prop_assert!(is_asked_for(&asked, part.start, total));
            prop_assert!(is_asked_for(&asked, part.end - 1, total));
        }
        let mut unasked = 0;
        for at in 0..total {
            let is_asked = is_asked_for(&asked, at, total);
            prop_assert!(is_covered(at) || !is_asked, "{at} is missing");
            unasked = if is_covered(at) && !is_asked { unasked + 1 } else { 0 };
            prop_assert!(unasked <= GAP_BYTES, "{at} is too much");
        }
        let mut sorted = found;
        sorted.sort_by_key(|part| part.start);
        for pair in sorted.windows(2) {
            prop_assert!(pair[0].end + GAP_BYTES < pair[1].start, "{pair:?}");
        }
    }

    #[test]
    fn a_range_is_read_as_it_is_written(
        asked in proptest::collection::vec(any_asked(u64::MAX), 1..17),
        comma in proptest::sample::select(vec![",", ", ", " ,", ",,", "\t,\t"]),
        total in any::<u64>(),
    ) {
        let text = format!("bytes={}", asked.iter().map(written).collect::<Vec<_>>().join(comma));
        prop_assert_eq!(parse(text.as_bytes()), Some(asked.clone()), "{}", text);
        for part in parts(&resolve(&asked, total)) {
            prop_assert!(part.start < part.end && part.end <= total);
        }
    }

    #[test]
    fn a_content_range_is_read_as_it_is_written(
        start in 0..u64::MAX / 2,
        length in 1..u64::MAX / 4,
        more in proptest::option::of(0..u64::MAX / 4),
    ) {
        let part = start..start + length;
        let total = more.map(|more| part.end + more);
        let said = total.map_or("*".to_owned(), |total| total.to_string());
        let text = format!("bytes {}-{}/{said}", part.start, part.end - 1);
        prop_assert_eq!(content_range(text.as_bytes()), Some(ContentRange { part, total }));
    }
}
