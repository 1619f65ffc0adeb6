//! The values of single fields: the fuzz entries on mutated seeds.

use crate::{bounded, field_entries};
use std::time::Duration;

fn fuzz(name: &str, entry: fn(&[u8])) {
    const WORDS: &[&str] = &[
        "\n",
        ", ",
        "bytes=",
        "bytes 0-9/",
        "0-,",
        "-1",
        "18446744073709551615",
        "18446744073709551614",
        "max-age=",
        "no-store",
        "no-cache=\"",
        "private",
        "s-maxage=60",
        "=?0",
        ";a=1",
        "(1 2)",
        "\"a\\\"\"",
        ":aGk=:",
        "CDN-Loop: ",
        "brim;id=",
        "Via: 1.1 ",
        "Vary: ",
        "Accept-Encoding: ",
        "Accept-Language: ",
        "X-A: ",
        ";q=0",
        "gzip",
        "x-br",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "9999",
        "[::1]",
        ":80",
        "xn--",
        "0x7f",
        "\u{e4}",
    ];
    bounded::fuzz(name, WORDS, Duration::from_secs(2), entry);
}

#[test]
fn no_range_whatever_it_asks_comes_to_more_than_is_there() {
    fuzz("range", field_entries::range);
}

#[test]
fn no_directive_whatever_stands_beside_it_is_lost() {
    fuzz("cache_control", field_entries::cache_control);
}

#[test]
fn no_structured_field_whatever_its_bytes_is_taken_in_part() {
    fuzz("structured_fields", field_entries::structured_fields);
}

#[test]
fn no_request_whatever_it_tells_of_its_way_goes_round_for_ever() {
    fuzz("loops", field_entries::loops);
}

#[test]
fn no_date_whatever_its_format_means_two_times() {
    fuzz("http_date", field_entries::http_date);
}

#[test]
fn no_request_whatever_it_accepts_selects_what_others_asked_for() {
    fuzz("selecting_fields", field_entries::selecting_fields);
}

#[test]
fn no_host_whatever_its_spelling_is_another_to_other_parsers() {
    fuzz("host", field_entries::host);
}
