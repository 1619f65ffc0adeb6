//! What a person is told. Whatever the edge says may come from an origin or a client: only printable
//! ASCII goes to the terminal as it is.

use crate::admin::explain::told::{
    AdditionTold, Explanation, FetchedTold, FlightTold, HostsTold, KeyTold, RememberedTold,
    Selector, StoredTold, Verdict, duration,
};
use crate::commands::door::printable;
use bytesize::ByteSize;
use std::fmt::Write;
use std::time::Duration;

/// Room for the names on the left.
const NAME_WIDTH: usize = 10;
/// The longest line, where words allow it.
const WIDTH: usize = 100;

/// Text in the making.
pub(super) struct Telling {
    out: String,
    is_coloured: bool,
}

impl Telling {
    pub(super) fn new(is_coloured: bool) -> Self {
        Self { out: String::new(), is_coloured }
    }

    /// The verdict first.
    pub(super) fn of(mut self, told: &Explanation) -> String {
        self.verdict(&told.verdict);
        self.out.push('\n');
        self.line("request", &format!("{} {}", told.request.method, told.request.url));
        if let Some(site) = &told.site {
            self.line(
                "site",
                &format!("{} (host \"{}\"), origin {}", site.name, site.host, site.origin),
            );
            if !site.limits.is_empty() {
                let limits = site.limits.join(", ");
                self.line("", &format!("limits: {limits}; a client beyond them gets 429"));
            }
        }
        if let Some(hosts) = &told.hosts {
            self.hosts(hosts);
        }
        match (&told.rule, &told.no_rule_because, &told.key) {
            (Some(rule), _, _) => {
                let says = rule.says.join(", ");
                self.line("rule", &format!("{}: path \"{}\", {says}", rule.position, rule.path));
            }
            (None, Some(why), _) => self.line("rule", &format!("none: {why}")),
            (None, None, Some(_)) => self.line("rule", "none matches"),
            (None, None, None) => {}
        }
        told.key.iter().for_each(|key| self.key(key));
        if !told.vary.is_empty() {
            self.line("vary", &format!("this request has {}", selectors(&told.vary)));
        }
        if told.key.is_some() && told.stored.is_empty() {
            self.line("stored", "nothing");
        }
        told.stored.iter().for_each(|stored| self.stored(stored));
        told.in_flight.iter().for_each(|flight| self.flight(flight));
        told.remembered.iter().for_each(|remembered| self.remembered(remembered));
        told.fetched.iter().for_each(|fetched| self.fetched(fetched));
        self.out
    }

    fn verdict(&mut self, verdict: &Verdict) {
        let Verdict { outcome, reason, detail, status, cache_status, because, by, change, more } =
            verdict;
        let colour = match &**outcome {
            "hit" | "stale" | "revalidated" => 32,
            "error" => 31,
            _ => 33,
        };
        let words: Vec<&str> = reason.iter().chain(detail).map(String::as_str).collect();
        let words =
            if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
        let status = status.map_or_else(String::new, |status| format!(" {status}"));
        let headline = printable(&format!("{outcome}{words}{status}"));
        let headline =
            if self.is_coloured { format!("\x1b[1;{colour}m{headline}\x1b[0m") } else { headline };
        let _ = writeln!(self.out, "{headline}");
        self.line("  because", because);
        self.line("  by", by);
        self.line("  change", change);
        if let Some(cache_status) = cache_status {
            self.line("  says", &format!("Cache-Status: {cache_status}"));
        }
        self.line("  more", &more.join(" "));
    }

    fn hosts(&mut self, hosts: &HostsTold) {
        if let Some(nearest) = &hosts.nearest {
            self.line("nearest", nearest);
        }
        let more =
            if hosts.more > 0 { format!(", and {} more", hosts.more) } else { String::new() };
        self.line("hosts", &format!("{}{more}", hosts.all.join(", ")));
    }

    fn key(&mut self, key: &KeyTold) {
        self.line("key", &format!("{} {}{}", key.site, key.host, key.target));
        for left in &key.left_out {
            self.line("", &format!("left out: {} ({})", left.parameter, left.by));
        }
        if key.more_left_out > 0 {
            self.line("", &format!("and {} more", key.more_left_out));
        }
        for change in &key.changed {
            self.line("", change);
        }
        for addition in &key.added {
            self.line("", &format!("with {}", added(addition)));
        }
    }

    fn stored(&mut self, stored: &StoredTold) {
        let StoredTold { tier, status, bytes, here_bytes, .. } = stored;
        let tier = if tier == "both" { "memory and disk" } else { tier };
        let chosen = if stored.is_chosen { "this one: " } else { "another: " };
        let mut text = format!("{chosen}{status}, {}", ByteSize(*bytes));
        if here_bytes < bytes {
            let least = if stored.is_counted { "" } else { "at least " };
            let _ = write!(text, " ({least}{} of it here)", ByteSize(*here_bytes));
        }
        let _ = write!(text, ", in {tier}, {} old", seconds(stored.age));
        text += &match stored.ttl {
            left @ 1.. => format!(", good for {} more", seconds(left.unsigned_abs())),
            over => format!(", its time was over {} ago", seconds(over.unsigned_abs())),
        };
        self.line("stored", &text);
        if let Some(by) = &stored.lifetime_by {
            self.line("", &format!("time: {by}"));
        }
        let mut after = Vec::new();
        if stored.must_validate {
            after.push("confirmed before each use (no-cache)".to_owned());
        }
        if stored.stale_while_revalidate > 0 {
            let time = seconds(stored.stale_while_revalidate);
            after.push(format!("used while it is refreshed for {time} after that"));
        }
        if let Some(time) = stored.stale_if_error {
            after.push(format!("used while the origin fails for {} after that", seconds(time)));
        }
        if !after.is_empty() {
            self.line("", &after.join(", "));
        }
        if let Some(since) = &stored.softly_purged {
            self.line("", &format!("made stale by a soft purge at {since}"));
        }
        if !stored.selected_by.is_empty() {
            self.line("", &format!("for {}", selectors(&stored.selected_by)));
        }
        for addition in &stored.added {
            self.line("", &format!("for {}", added(addition)));
        }
        for (name, value) in [("ETag", &stored.etag), ("Last-Modified", &stored.last_modified)] {
            if let Some(value) = value {
                self.line("", &format!("{name}: {value}"));
            }
        }
        if !stored.tags.is_empty() {
            let more = if stored.more_tags > 0 {
                format!(", and {} more", stored.more_tags)
            } else {
                String::new()
            };
            self.line("", &format!("tags: {}{more}", stored.tags.join(", ")));
        }
    }

    fn flight(&mut self, flight: &FlightTold) {
        let arrived = match flight.status {
            Some(status) => format!("{status}, {} have come", ByteSize(flight.bytes)),
            None => "not answered yet".to_owned(),
        };
        let shared = if flight.is_shared { "" } else { ", for one client alone" };
        self.line("in flight", &format!("{}, {arrived}{shared}", flight.wants));
    }

    fn remembered(&mut self, remembered: &RememberedTold) {
        let RememberedTold { what, reason, means, seconds_left } = remembered;
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
        let left = seconds(*seconds_left);
        self.line("known", &format!("{what}{reason}, for {left} more: {means}"));
    }

    fn fetched(&mut self, fetched: &FetchedTold) {
        self.out.push('\n');
        let Some(status) = fetched.status else {
            self.line("origin", &fetched.because);
            return self.why(fetched);
        };
        let took = fetched.milliseconds.map_or_else(String::new, |ms| format!(" after {ms} ms"));
        self.line("origin", &format!("{status}{took}"));
        for (name, value) in &fetched.fields {
            self.line("", &format!("{name}: {value}"));
        }
        if let Some(governing) = &fetched.governing {
            self.line("counts", governing);
        }
        for (name, why) in &fetched.ignored {
            self.line("ignored", &format!("{name}: {why}"));
        }
        self.line("judged", &fetched.because);
        self.why(fetched);
    }

    fn why(&mut self, fetched: &FetchedTold) {
        self.line("  by", &fetched.by);
        self.line("  change", &fetched.change);
        self.line("  more", &fetched.more.join(" "));
    }

    /// A name and a text behind it, which goes on in lines of its own where it is long; nothing where
    /// there is no text.
    fn line(&mut self, name: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let mut column = NAME_WIDTH;
        let _ = write!(self.out, "{name:NAME_WIDTH$}");
        for (position, word) in printable(text).split(' ').enumerate() {
            if position > 0 && column + 1 + word.len() > WIDTH {
                let _ = write!(self.out, "\n{:NAME_WIDTH$}", "");
                column = NAME_WIDTH;
            } else if position > 0 {
                self.out.push(' ');
                column += 1;
            }
            self.out += word;
            column += word.len();
        }
        self.out.push('\n');
    }
}

fn seconds(seconds: u64) -> String {
    duration(Duration::from_secs(seconds))
}

fn selectors(selectors: &[Selector]) -> String {
    let told = selectors.iter().map(|Selector { field, says }| format!("{field}: {says}"));
    told.collect::<Vec<_>>().join("; ")
}

fn added(AdditionTold { kind, name, value }: &AdditionTold) -> String {
    let value = value.as_ref().map_or_else(|| "absent".to_owned(), |value| format!("\"{value}\""));
    match &**name {
        "" => format!("{kind} {value}"),
        name => format!("{kind} {name} {value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_aligned() {
        let mut telling = Telling::new(false);
        telling.line("name", &["word"; 40].join(" "));
        telling.line("none", "");
        let lines: Vec<&str> = telling.out.lines().collect();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("name      word ") && lines[0].len() <= WIDTH, "{lines:?}");
        assert!(lines[1].starts_with("          word "), "{lines:?}");
    }

    #[test]
    fn an_origin_that_was_not_asked_is_not_said_to_be_silent() {
        let fetched =
            FetchedTold { because: "it was not asked".to_owned(), ..FetchedTold::default() };
        let mut telling = Telling::new(false);
        telling.fetched(&fetched);
        assert_eq!(telling.out, "\norigin    it was not asked\n");
    }

    #[test]
    fn only_the_headline_has_a_colour() {
        let verdict = Verdict {
            outcome: "hit".to_owned(),
            because: "it is stored".to_owned(),
            ..Verdict::default()
        };
        let mut telling = Telling::new(true);
        telling.verdict(&verdict);
        assert_eq!(telling.out, "\x1b[1;32mhit\x1b[0m\n  because it is stored\n");
    }
}
