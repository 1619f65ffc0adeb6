//! HTTP-date in its three formats (RFC 9110, section 5.6.7), as whole seconds.

use crate::wire::fields::Fields;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a date. Names in another case than the grammar's are clear enough.
pub fn parse(value: &[u8], now: SystemTime) -> Option<SystemTime> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if let Ok(date) = httpdate::parse_http_date(text) {
        return Some(in_this_century(text, date, now));
    }
    let usual = usual_case(text);
    let (day, rest) = usual.split_at(usual.find([',', ' '])?);
    // The day of the week says nothing that the date does not; a wrong one does no harm.
    let is_long = DAYS.iter().find(|(short, long)| day == *short || day == *long)?.1 == day;
    let date = DAYS.iter().find_map(|(short, long)| {
        httpdate::parse_http_date(&[if is_long { long } else { short }, rest].concat()).ok()
    })?;
    Some(in_this_century(rest, date, now))
}

const DAYS: [(&str, &str); 7] = [
    ("Mon", "Monday"),
    ("Tue", "Tuesday"),
    ("Wed", "Wednesday"),
    ("Thu", "Thursday"),
    ("Fri", "Friday"),
    ("Sat", "Saturday"),
    ("Sun", "Sunday"),
];

/// The date of a field that stands there once; one of several lines means nothing.
pub fn of_field(fields: &Fields, name: &str, now: SystemTime) -> Option<SystemTime> {
    let mut lines = fields.all(name);
    let only = lines.next().filter(|_| lines.next().is_none())?;
    parse(only, now)
}

/// Two digits of a year that seem to be more than 50 years ahead mean the past
/// (RFC 9110, section 5.6.7); the parser below knows only a fixed boundary.
fn in_this_century(text: &str, date: SystemTime, now: SystemTime) -> SystemTime {
    const CENTURY: Duration = Duration::from_secs(36525 * 86400);
    const AHEAD: Duration = Duration::from_secs(18263 * 86400);
    let has_two_digits = text.bytes().filter(|byte| *byte == b'-').count() == 2;
    if !has_two_digits {
        return date;
    }
    if date > now + AHEAD {
        return date.checked_sub(CENTURY).unwrap_or(UNIX_EPOCH);
    }
    match date.checked_add(CENTURY) {
        Some(later) if later <= now + AHEAD => later,
        _ => date,
    }
}

/// `THU, 18 aug 2050 02:01:18 gmt` as the grammar spells it.
fn usual_case(text: &str) -> String {
    let mut usual = String::with_capacity(text.len());
    let mut is_first = true;
    for letter in text.chars() {
        usual.push(if is_first {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        });
        is_first = !letter.is_ascii_alphabetic();
    }
    if usual.ends_with(" Gmt") {
        usual.replace_range(usual.len() - 3.., "GMT");
    }
    usual
}

/// Whole seconds from `from` to `to`, negative when `to` is earlier.
pub fn seconds_between(from: SystemTime, to: SystemTime) -> i64 {
    let whole = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(later) => whole(later),
        Err(earlier) => -whole(earlier.duration()),
    }
}
