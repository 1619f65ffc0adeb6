//! The HTTP rules, as pure functions: tables, properties, and the fuzz entries on mutated seeds.

#[path = "../../fuzz/bounded.rs"]
mod bounded;
mod cache_status;
mod conditions;
mod dates;
mod directives;
#[path = "../../fuzz/entries.rs"]
#[allow(dead_code, reason = "tests/wire.rs runs the others")]
mod entries;
#[path = "../../fuzz/field_entries.rs"]
mod field_entries;
mod fields;
mod forwarding;
mod freshness;
mod keys;
mod kit;
mod loops;
mod operators;
mod purge_shares;
mod purging;
mod ranges;
mod reasons;
mod storing;
mod tags;
mod trace_context;
mod variants;

fn fuzz(name: &str, entry: fn(&[u8])) {
    const WORDS: &[&str] = &[
        "\r\n",
        "Cache-Control: ",
        "CDN-Cache-Control: ",
        "Surrogate-Control: ",
        "Expires: ",
        "Vary: ",
        "Accept-Encoding: ",
        "If-None-Match: ",
        "Range: bytes=",
        "Content-Range: bytes ",
        "max-age=",
        "s-maxage=60",
        "no-store",
        "private",
        "public",
        "no-cache=\"",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "18446744073709551615",
        "W/\"",
        "%2F",
        "%41",
        "%",
        "utm_source=",
        "http://",
        "/../",
        ".test",
        "xn--",
        "\u{e4}",
        "\u{3002}",
        ";q=0",
        "Connection: ",
        "X-Forwarded-For: ",
        "X_Forwarded_Host: ",
        "Forwarded: ",
        "CDN-Loop: ",
        "TE: trailers",
    ];
    bounded::fuzz(name, WORDS, std::time::Duration::from_secs(4), entry);
}

#[test]
fn no_answer_whatever_its_fields_is_used_against_its_terms() {
    fuzz("judged_response", entries::judged_response);
}

#[test]
fn no_target_whatever_its_bytes_shares_a_key_with_another_resource() {
    fuzz("cache_key", entries::cache_key);
}

#[test]
fn no_request_whatever_its_fields_tells_an_origin_what_its_client_may_not_say() {
    fuzz("forwarded_request", entries::forwarded_request);
}

#[test]
fn no_range_or_condition_whatever_its_bytes_selects_what_is_not_there() {
    fuzz("partial_request", entries::partial_request);
}

#[test]
fn no_purge_whatever_it_names_reaches_beyond_it() {
    fuzz("purge_wish", entries::purge_wish);
}
