//! Requests that come round again.

use crate::kit::{fields, properties};
use brim::rules::loops::{self, Identity, Looped};
use proptest::prelude::*;

const OWN: &str = "0102030405060708";

fn own() -> Identity {
    Identity::new([1, 2, 3, 4, 5, 6, 7, 8])
}

fn check(lines: &[(&str, &str)]) -> Result<(), Looped> {
    loops::check(&fields(lines), &own())
}

#[test]
fn whoever_names_this_server_was_here() {
    assert_eq!(own().as_str(), OWN);
    for (name, value) in [
        ("CDN-Loop", format!("brim;id={OWN}")),
        ("cdn-loop", format!("other, Brim ; id=\"{OWN}\" , third;a=b")),
        ("CDN-Loop", format!("\"never closed, brim;id={OWN}")),
        ("Via", format!("1.1 brim ({OWN})")),
        ("via", format!("1.0 a, 1.1 brim ({OWN}), 2 b")),
    ] {
        assert_eq!(check(&[("CDN-Loop", "first"), (name, &value)]), Err(Looped::Here), "{value}");
    }
    for (name, value) in [
        ("CDN-Loop", "brim;id=0807060504030201".to_owned()),
        ("CDN-Loop", "other;x=y, fastly".to_owned()),
        ("Via", "1.1 brim".to_owned()),
        ("X-Loop", format!("brim;id={OWN}")),
    ] {
        assert_eq!(check(&[(name, &value)]), Ok(()), "{value}");
    }
}

#[test]
fn more_than_eight_servers_of_this_kind_are_too_many() {
    let servers = |count: usize| vec!["brim;id=1"; count].join(", ");
    assert_eq!(check(&[("CDN-Loop", &servers(8)), ("CDN-Loop", "a, brimful, \"brim\"")]), Ok(()));
    assert_eq!(check(&[("CDN-Loop", &servers(9))]), Err(Looped::TooManyServers));
    let lines =
        [("CDN-Loop", &servers(5)[..]), ("cdn-loop", "BRIM,,brim ;x"), ("CDN-Loop", "brim, brim")];
    assert_eq!(check(&lines), Err(Looped::TooManyServers));
    assert_eq!(
        check(&[("CDN-Loop", &format!("\"a, {}", servers(9)))]),
        Err(Looped::TooManyServers)
    );
}

#[test]
fn a_way_of_endless_length_is_not_gone_on() {
    let long = "x".repeat(512);
    assert_eq!(check(&[("CDN-Loop", &long), ("CDN-Loop", &long)]), Ok(()));
    assert_eq!(
        check(&[("CDN-Loop", &long), ("CDN-Loop", &long), ("CDN-Loop", "x")]),
        Err(Looped::TooLong)
    );
    // Only Via of trusted proxies goes on, and heads have their own limits.
    assert_eq!(check(&[("Via", &"x".repeat(4096))]), Ok(()));
}

#[test]
fn what_was_there_stays_and_this_server_is_the_last() {
    let continued = |lines: &[(&str, &str)]| {
        String::from_utf8(loops::continued(&fields(lines), &own())).expect("text")
    };
    assert_eq!(continued(&[("Host", "a")]), format!("brim;id={OWN}"));
    assert_eq!(continued(&[("CDN-Loop", "")]), format!("brim;id={OWN}"));
    let lines = [("CDN-Loop", "a;b=\"c, d\""), ("Host", "a"), ("cdn-loop", "brim;id=1 , e")];
    assert_eq!(continued(&lines), format!("a;b=\"c, d\", brim;id=1 , e, brim;id={OWN}"));
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn whatever_else_is_told_no_request_comes_through_twice(
        before in "[ -~]{0,80}", between in "[ -~]{0,80}"
    ) {
        let others = Identity::new([9; 8]);
        let first = loops::continued(&fields(&[("CDN-Loop", &before)]), &own());
        let first = String::from_utf8(first).expect("text");
        let second = loops::continued(&fields(&[("CDN-Loop", &first)]), &others);
        let second = String::from_utf8(second).expect("text");
        let lines = fields(&[("CDN-Loop", &between), ("CDN-Loop", &second)]);
        prop_assert!(loops::check(&lines, &own()).is_err());
    }
}
