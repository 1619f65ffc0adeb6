//! Names that answers can be purged by.

use crate::kit::{fields, judge, properties};
use brim::rules::storing::Refusal;
use brim::rules::tags::{self, TooMany};
use brim::wire::fields::Fields;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn of(lines: &[(&str, &str)]) -> Result<String, TooMany> {
    tags::of(&fields(lines)).map(|tags| String::from_utf8_lossy(&tags).replace('\n', "|"))
}

#[test]
fn names_are_separated_as_each_field_is_known_for() {
    for (field, value, expected) in [
        ("Surrogate-Key", "a b  c", "a|b|c|"),
        ("Surrogate-Key", "a,b c", "a,b|c|"),
        ("Surrogate-Key", " \t", ""),
        ("xkey", "a b,c, d", "a|b|c|d|"),
        ("XKEY", "a", "a|"),
        ("Cache-Tag", "a b, c ,, d", "a b|c|d|"),
        ("Edge-Cache-Tag", "a,b", "a|b|"),
        ("Cache-Tag", "Ä,a,A", "Ä|a|A|"),
        ("Cache-Tags", "a", ""),
        ("xkey-purge", "a", ""),
        ("ETag", "a", ""),
    ] {
        assert_eq!(of(&[(field, value)]).as_deref(), Ok(expected), "{field}: {value}");
    }
}

#[test]
fn names_of_all_lines_count_once_each() {
    let lines = [("Surrogate-Key", "a b"), ("Cache-Tag", "b, c"), ("surrogate-key", "a d")];
    assert_eq!(of(&lines).as_deref(), Ok("a|b|c|d|"));
    assert_eq!(of(&[("Cache-Control", "max-age=1")]).as_deref(), Ok(""));
}

#[test]
fn more_names_than_can_be_remembered_are_refused() {
    let names = |count: usize| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let long = |bytes: usize| "x".repeat(bytes);
    let heavy = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("{n:0>1023}")).collect();
        names.join(",")
    };
    for (field, good, bad) in [
        ("Surrogate-Key", names(1000), names(1001)),
        ("Cache-Tag", long(1024), long(1025)),
        ("Cache-Tag", heavy(16), heavy(17)),
        // The same name again is no other one.
        ("xkey", format!("{} 0 1 2", names(1000)), format!("{} x", names(1000))),
    ] {
        assert!(of(&[(field, &good)]).is_ok(), "{field}");
        assert_eq!(of(&[(field, &bad)]), Err(TooMany), "{field}");
        let fresh = ("Cache-Control", "max-age=60");
        assert!(judge(200, &[fresh, (field, &good)]).is_ok());
        assert_eq!(judge(200, &[fresh, (field, &bad)]).err(), Some(Refusal::Tags));
    }
    assert_eq!(Refusal::Tags.label(), "too-many-tags");
    assert!(!Refusal::Tags.is_about_request());
}

#[test]
fn a_purge_names_tags_in_further_fields() {
    let of = |lines: &[(&str, &str)]| {
        let named = tags::of_purge(&fields(lines)).expect("few");
        named.map(|named| (String::from_utf8_lossy(&named.tags).replace('\n', "|"), named.is_soft))
    };
    let named = |tags: &str, is_soft| Some((tags.to_owned(), is_soft));
    assert_eq!(of(&[("Soft-Purge", "1")]), None);
    assert_eq!(of(&[("Surrogate-Key", "a b")]), named("a|b|", false));
    assert_eq!(of(&[("xkey-purge", "a,b")]), named("a|b|", false));
    assert_eq!(of(&[("xkey-softpurge", "a b")]), named("a|b|", true));
    // Rather too much than too little.
    assert_eq!(of(&[("xkey-softpurge", "a"), ("xkey", "b")]), named("a|b|", false));
    // A field that names nothing is not the same as none.
    assert_eq!(of(&[("Surrogate-Key", "")]), named("", false));
    assert_eq!(tags::of_purge(&fields(&[("xkey", "x".repeat(1025))])), Err(TooMany));
}

fn written(names: &[u8]) -> Bytes {
    let mut lines = b"HTTP/1.1 200 OK\r\n".to_vec();
    tags::write(names, &mut lines);
    lines.into()
}

fn set(names: &Bytes) -> BTreeSet<&[u8]> {
    names.split(|byte| *byte == b'\n').collect()
}

#[test]
fn names_are_written_so_that_they_are_read_again() {
    let names = tags::of(&fields(&[("Surrogate-Key", "a b,c"), ("Cache-Tag", "d e, f, g h")]));
    assert_eq!(
        written(&names.expect("few"))[17..],
        b"Surrogate-Key: a b,c f\r\nCache-Tag: d e,g h\r\n"[..]
    );
    assert_eq!(written(b"").len(), 17);
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn the_next_cache_reads_the_same_names(
        lines in prop::collection::vec(
            (prop::sample::select(vec!["Surrogate-Key", "xkey", "Cache-Tag", "Edge-Cache-Tag"]), "[ -~\t\u{e4}]{0,60}"),
            0..6,
        )
    ) {
        let names = tags::of(&fields(&lines)).expect("few");
        let read = Fields::of_lines(&written(&names)).expect("field lines");
        let read = tags::of(&read).expect("few");
        prop_assert_eq!(set(&read), set(&names));
    }
}
