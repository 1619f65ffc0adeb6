//! What the guard of `make bench-guard` says of numbers that it has counted.

#[path = "../benches/guard/expected.rs"]
#[allow(dead_code, reason = "what prints is tried by running it")]
mod expected;

use expected::{Cost, Expected, Verdict, advice, judge};

const BEFORE: Cost = Cost { instructions: 10_000.0, allocations: 6.03, bytes: 1000.0 };

fn judged(seen: Cost) -> Vec<Verdict> {
    judge("hit", Some(BEFORE), seen, true)
}

#[test]
fn the_same_again_is_no_news() {
    assert_eq!(judged(BEFORE), []);
}

#[test]
fn one_allocation_more_in_ten_operations_fails() {
    let verdicts = judged(Cost { allocations: 6.13, ..BEFORE });
    assert_eq!(verdicts.len(), 1, "{verdicts:?}");
    assert!(verdicts[0].is_failure());
    let told = verdicts[0].to_string();
    assert_eq!(told, "FAILED hit: allocations, 6.13 in the place of 6.03");
    assert!(advice(&verdicts).contains("--profile"));
}

#[test]
fn what_is_done_once_in_a_while_does_not_fail() {
    assert_eq!(judged(Cost { allocations: 6.06, bytes: 1010.0, ..BEFORE }), []);
    assert_eq!(judged(Cost { allocations: 6.0, bytes: 990.0, ..BEFORE }), []);
}

#[test]
fn instructions_fail_beyond_three_in_a_hundred() {
    assert_eq!(judged(Cost { instructions: 10_300.0, ..BEFORE }), []);
    let verdicts = judged(Cost { instructions: 10_301.0, ..BEFORE });
    assert!(verdicts[0].is_failure(), "{verdicts:?}");
}

#[test]
fn another_compiler_may_differ_by_ten_in_a_hundred() {
    let judged = |instructions| judge("hit", Some(BEFORE), Cost { instructions, ..BEFORE }, false);
    assert_eq!(judged(11_000.0), []);
    assert!(judged(11_001.0)[0].is_failure());
}

#[test]
fn bytes_beyond_sixteen_and_one_in_two_hundred_fail() {
    assert_eq!(judged(Cost { bytes: 1016.0, ..BEFORE }), []);
    assert!(judged(Cost { bytes: 1017.0, ..BEFORE })[0].is_failure());
    let large = Cost { bytes: 100_000.0, ..BEFORE };
    let judged = |bytes| judge("miss", Some(large), Cost { bytes, ..BEFORE }, true);
    assert_eq!(judged(100_500.0), []);
    assert!(judged(100_501.0)[0].is_failure());
}

#[test]
fn what_costs_less_is_told_and_does_not_fail() {
    assert_eq!(judged(Cost { instructions: 9501.0, ..BEFORE }), []);
    for seen in [
        Cost { instructions: 9499.0, ..BEFORE },
        Cost { allocations: 5.03, ..BEFORE },
        Cost { bytes: 900.0, ..BEFORE },
    ] {
        let verdicts = judged(seen);
        assert!(matches!(&verdicts[..], [Verdict::Better(_)]), "{verdicts:?}");
        assert!(!verdicts[0].is_failure());
        assert!(advice(&verdicts).contains("--update"));
    }
}

#[test]
fn an_operation_without_numbers_fails() {
    let verdicts = judge("hit", None, BEFORE, true);
    assert_eq!(verdicts, [Verdict::Unknown("hit".to_owned())]);
    assert!(verdicts[0].is_failure());
}

#[test]
fn numbers_are_read_as_they_were_written() {
    let costs = [("hit".to_owned(), BEFORE), ("parse".to_owned(), BEFORE)].into();
    let written = Expected { compiler: "rustc 1.95.0".to_owned(), costs };
    let read = Expected::parse(&written.to_text());
    assert_eq!(read.compiler, written.compiler);
    assert_eq!(read.costs, written.costs);
}

#[test]
fn the_least_of_several_rounds_is_what_counts() {
    let rounds = [BEFORE, Cost { instructions: 9000.0, ..BEFORE }, Cost { bytes: 1.0, ..BEFORE }];
    let least = Cost { instructions: 9000.0, bytes: 1.0, ..BEFORE };
    assert_eq!(Cost::least(&rounds), least);
}
