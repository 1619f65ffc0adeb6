use crate::kit::{fields, now, properties, secs};
use brim::rules::date;
use proptest::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 86400;

/// Written by another library than the one that reads.
fn written(time: SystemTime, format: &str) -> String {
    let time = jiff::Timestamp::try_from(time).expect("in range");
    time.to_zoned(jiff::tz::TimeZone::UTC).strftime(format).to_string()
}

const IMF_FIXDATE: &str = "%a, %d %b %Y %H:%M:%S GMT";
const RFC_850: &str = "%A, %d-%b-%y %H:%M:%S GMT";
const ASCTIME: &str = "%a %b %e %H:%M:%S %Y";

fn parse(text: &str) -> Option<SystemTime> {
    date::parse(text.as_bytes(), now())
}

#[test]
fn the_three_formats_of_one_moment_are_the_same_moment() {
    let moment = UNIX_EPOCH + secs(784_111_777);
    for text in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "sun, 06 nov 1994 08:49:37 gmt",
        "SUN, 06 NOV 1994 08:49:37 GMT",
        "SUNDAY, 06-NOV-94 08:49:37 gmt",
        "sun nov  6 08:49:37 1994",
        "Mon, 06 Nov 1994 08:49:37 GMT",
        " Sun, 06 Nov 1994 08:49:37 GMT\t",
    ] {
        assert_eq!(parse(text), Some(moment), "{text}");
    }
}

#[test]
fn what_is_no_date_is_none() {
    for text in [
        "",
        "0",
        "-1",
        "now",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "S\u{e9}n, 06 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn two_digits_of_a_year_mean_the_past_when_they_seem_more_than_fifty_years_ahead() {
    let year = |text: &str| written(parse(text).expect(text), "%Y");
    // Seen from 2026.
    assert_eq!(year("Friday, 06-Nov-26 08:49:37 GMT"), "2026");
    assert_eq!(year("Wednesday, 06-Nov-74 08:49:37 GMT"), "2074");
    assert_eq!(year("Sunday, 06-Nov-77 08:49:37 GMT"), "1977");
    assert_eq!(year("Sunday, 06-Nov-94 08:49:37 GMT"), "1994");
}

#[test]
fn a_date_that_stands_in_two_lines_means_nothing() {
    let text = "Sun, 06 Nov 1994 08:49:37 GMT";
    let once = fields(&[("Expires", text)]);
    let twice = fields(&[("Expires", text), ("expires", text)]);
    assert!(date::of_field(&once, "expires", now()).is_some());
    assert_eq!(date::of_field(&twice, "expires", now()), None);
}

proptest! {
    #![proptest_config(properties())]

    #[test]
    fn every_moment_is_read_back_in_all_formats(seconds in 0..253_402_300_800_u64) {
        let moment = UNIX_EPOCH + secs(seconds);
        for format in [IMF_FIXDATE, ASCTIME] {
            let text = written(moment, format);
            prop_assert_eq!(parse(&text), Some(moment), "{}", &text);
            prop_assert_eq!(parse(&text.to_ascii_lowercase()), Some(moment), "{}", &text);
            prop_assert_eq!(parse(&text.to_ascii_uppercase()), Some(moment), "{}", &text);
        }
    }

    #[test]
    fn two_digits_of_a_year_are_read_back_within_fifty_years_of_now(
        now_days in 10957..28854_u64, // 2000 to 2048
        days in 0..2 * 49 * 365_u64,
        second in 0..DAY,
    ) {
        let now = UNIX_EPOCH + secs(now_days * DAY);
        let moment = now - secs(49 * 365 * DAY) + secs(days * DAY + second);
        let text = written(moment, RFC_850);
        prop_assert_eq!(date::parse(text.as_bytes(), now), Some(moment), "{}", text);
    }

    #[test]
    fn no_bytes_and_no_clock_make_it_panic(
        text in prop_oneof![
            "\\PC{0,40}",
            "[A-Z][a-z]{2,8},? [0-9]{0,2}[ -][A-Z][a-z]{2}[ -][0-9]{1,4} [0-9:]{5,8}( GMT)?",
        ],
        now in any::<i64>(),
    ) {
        let by = Duration::from_secs(now.unsigned_abs());
        let now = if now < 0 { UNIX_EPOCH.checked_sub(by) } else { UNIX_EPOCH.checked_add(by) };
        let _ = date::parse(text.as_bytes(), now.unwrap_or(UNIX_EPOCH));
    }

    #[test]
    fn seconds_between_counts_both_ways(a in any::<u32>(), b in any::<u32>()) {
        let at = |seconds: u32| UNIX_EPOCH + secs(seconds.into());
        let between = date::seconds_between(at(a), at(b));
        prop_assert_eq!(between, i64::from(b) - i64::from(a));
        prop_assert_eq!(between, -date::seconds_between(at(b), at(a)));
    }
}
