//! Lines for people who watch a terminal: one a request, with its verdict and the reason.
//!
//! ```text
//! 12:01:02  HIT          200 GET /assets/app.css  0.2 ms  12 KB  out of the cache, 58 s left
//! ```
//!
//! Whatever a client sends, it cannot make the terminal do anything: what is not a visible character
//! of ASCII is written as its escape.

use super::{Lines, Record, words};
use crate::outcome::Outcome;
use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What is left of a line that has to hold a target as well.
const REST_COLUMNS: usize = 78;
/// Of a target, however narrow the terminal is.
const TARGET_COLUMNS_MIN: usize = 24;

/// How such lines look.
pub struct People {
    has_colours: bool,
    /// Standard output is a terminal, whose width counts.
    is_terminal: bool,
    zone: jiff::tz::TimeZone,
    /// The failure that was told last.
    told: Mutex<Option<String>>,
}

impl People {
    /// For standard output: colours on a terminal only, and not where NO_COLOR or the user says no.
    pub fn of_stdout(may_colour: bool) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let refuses = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            has_colours: may_colour && is_terminal && !refuses("NO_COLOR") && !is_dumb,
            is_terminal,
            zone: jiff::tz::TimeZone::system(),
            told: Mutex::default(),
        }
    }

    /// A line about something else than a request.
    pub fn event(&self, kind: &str, sentence: &str) -> String {
        let time = self.time(SystemTime::now());
        format!("{}  {}  {}", self.dim(&time), self.paint("1", &padded(kind)), plain(sentence))
    }

    fn line(&self, record: &Record<'_>) -> String {
        let label = record.outcome.label().to_ascii_uppercase();
        let verdict = self.paint(colour(record.outcome), &padded(&label));
        let status = match record.status {
            0 => "  -".to_owned(),
            status if status >= 500 => self.paint("31", &status.to_string()),
            status => status.to_string(),
        };
        let (method, target) = match record.head {
            Some(head) => (head.method.as_str(), head.target()),
            None => ("-", "-"),
        };
        let (method, target) = (plain(method), self.shortened(plain(target)));
        let duration = record.took();
        let mut line = format!("{}  {verdict}  {status} {method} {target}", self.time(record.time));
        line += &self.dim(&format!("  {}", time_taken(duration)));
        if record.status != 101 {
            line += &self.dim(&format!("  {}", size(record.sent.bytes)));
        }
        line + "  " + &plain(&words::of(record))
    }

    /// Local time of day.
    fn time(&self, time: SystemTime) -> String {
        let time = jiff::Timestamp::try_from(time).unwrap_or_default();
        time.to_zoned(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.has_colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// On a terminal, a target that would wrap the line is cut in the middle: its beginning and its
    /// end tell most.
    fn shortened<'t>(&self, target: Cow<'t, str>) -> Cow<'t, str> {
        let width = self.is_terminal.then(|| rustix::termios::tcgetwinsize(io::stdout()).ok());
        let Some(size) = width.flatten().filter(|size| size.ws_col > 0) else { return target };
        let room = usize::from(size.ws_col).saturating_sub(REST_COLUMNS).max(TARGET_COLUMNS_MIN);
        cut(target, room)
    }

    /// A page that is waiting for its origin asks every other moment: one line is enough, until
    /// something else happens.
    fn is_new(&self, record: &Record<'_>) -> bool {
        let failure = match (record.outcome, record.head) {
            (Outcome::Error(reason), Some(head)) if reason.starts_with("origin_") => {
                Some(format!("{} {} {reason}", head.method, head.target()))
            }
            _ => None,
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = failure.is_none() || *told != failure;
        *told = failure;
        is_new
    }
}

impl Lines for People {
    fn upgraded(&self, record: &Record<'_>) -> Option<String> {
        Some(self.line(record))
    }

    fn done(&self, record: &Record<'_>, is_told: bool) -> Option<String> {
        (!is_told && self.is_new(record)).then(|| self.line(record))
    }
}

fn colour(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "32",
        Outcome::Stale(_) => "33",
        Outcome::Miss(_) => "36",
        Outcome::Revalidated(_) => "34",
        Outcome::Pass(_) => "35",
        Outcome::Edge => "2",
        Outcome::Error(_) => "1;31",
    }
}

/// As wide as the longest verdict.
fn padded(label: &str) -> String {
    format!("{label:<11}")
}

/// What a terminal shows as it is.
fn plain(text: &str) -> Cow<'_, str> {
    let is_visible = |byte: u8| (b' '..=b'~').contains(&byte);
    if text.bytes().all(is_visible) {
        return Cow::Borrowed(text);
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 16), |mut out, letter| {
            match letter {
                ' '..='~' => out.push(letter),
                other => out.extend(other.escape_default()),
            }
            out
        })
        .into()
}

/// `text` is ASCII.
fn cut(text: Cow<'_, str>, room: usize) -> Cow<'_, str> {
    if text.len() <= room {
        return text;
    }
    let end = room / 3;
    let start = room - end - "...".len();
    format!("{}...{}", &text[..start], &text[text.len() - end..]).into()
}

fn time_taken(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    match milliseconds {
        short if short < 10.0 => format!("{short:.1} ms"),
        middle if middle < 1000.0 => format!("{middle:.0} ms"),
        long if long < 60_000.0 => format!("{:.1} s", long / 1000.0),
        _ => {
            let seconds = duration.as_secs();
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

fn size(bytes: u64) -> String {
    let of = |unit: f64| bytes as f64 / unit;
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..10_000 => format!("{:.1} KB", of(1e3)),
        10_000..1_000_000 => format!("{:.0} KB", of(1e3)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", of(1e6)),
        _ => format!("{:.1} GB", of(1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_visible_ascii_reaches_a_terminal() {
        assert_eq!(plain("/a?b=%20"), "/a?b=%20");
        assert_eq!(plain("\x1b[2J\r\n\t\u{7f}"), "\\u{1b}[2J\\r\\n\\t\\u{7f}");
        assert_eq!(plain("\u{202e}é\u{9b}"), "\\u{202e}\\u{e9}\\u{9b}");
    }

    #[test]
    fn a_long_target_keeps_its_beginning_and_its_end() {
        assert_eq!(cut("/short".into(), 24), "/short");
        let long = format!("/begin/{}/end.js", "x".repeat(100));
        let shown = cut(long.into(), 30);
        assert_eq!(shown.len(), 30);
        assert!(shown.starts_with("/begin/") && shown.ends_with("/end.js"), "{shown}");
    }

    #[test]
    fn times_and_sizes_are_short() {
        let milliseconds = |n| time_taken(Duration::from_millis(n));
        let times = [1, 80, 1500, 3_723_000].map(milliseconds);
        assert_eq!(times, ["1.0 ms", "80 ms", "1.5 s", "62 min 3 s"]);
        let sizes = [0, 999, 1234, 12_000, 3_400_000, 5_000_000_000].map(size);
        assert_eq!(sizes, ["0 B", "999 B", "1.2 KB", "12 KB", "3.4 MB", "5.0 GB"]);
    }
}
