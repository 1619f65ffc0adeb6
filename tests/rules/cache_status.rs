//! What caches behind this one tell about an answer.

use crate::kit::fields;
use brim::rules::cache_status::told_before;

#[track_caller]
fn is_told(lines: &[&str], expected: &str) {
    let lines: Vec<_> = lines.iter().map(|line| ("Cache-Status", *line)).collect();
    assert_eq!(told_before(&fields(&lines)), expected, "{lines:?}");
}

#[test]
fn lines_become_one_list_in_their_order() {
    is_told(&[], "");
    is_told(&["Far; hit"], "Far; hit");
    is_told(&["\"A, b\"; fwd=miss", "near; hit; ttl=-3"], "\"A, b\"; fwd=miss, near; hit; ttl=-3");
    is_told(&["a, b"], "a, b");
}

#[test]
fn a_line_that_is_no_list_takes_no_other_with_it() {
    for broken in ["", "  ", "HIT from a", "a; hit,", "\"open", "a; ttl=", "a;;", "\u{e4}"] {
        is_told(&[broken], "");
        is_told(&["a; hit", broken, "b"], "a; hit, b");
    }
}
