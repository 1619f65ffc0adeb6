//! What a person is told of a purge.

use crate::engine::{OfParent, ParentState, Receipt};
use crate::rules::purging::Wish;
use bytesize::ByteSize;
use serde::Deserialize;
use std::io::{self, Write};

#[derive(Deserialize)]
struct Preview {
    objects: u64,
    bytes: u64,
    sample: Vec<String>,
    complete: bool,
    /// Said where there are any.
    parents: Option<String>,
}

/// What is said of an edge's good answer.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) text: String,
    /// What is not done yet.
    pub(super) pending: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// Prints lines. Whoever reads them may stop at any time.
pub(super) fn say(lines: &str) {
    let _ = writeln!(io::stdout(), "{}", lines.trim_end());
}

/// A good answer; `None` if it is none of an edge.
pub(super) fn of_success(body: &str, wish: &Wish) -> Option<Told> {
    if wish.dry_run {
        let preview = serde_json::from_str(body).ok()?;
        return Some(Told { text: of_preview(&preview, wish.soft), pending: None });
    }
    let receipt: Receipt = serde_json::from_str(body).ok()?;
    let mut text = of_receipt(&receipt);
    for parent in &receipt.parents {
        text += &format!("\n{}", of_parent(parent, receipt.soft));
    }
    Some(Told { text, pending: of_pending(&receipt) })
}

/// What an edge says of a failure; `None` if it is no edge that has answered.
pub(super) fn of_failure(body: &str) -> Option<String> {
    serde_json::from_str::<Failure>(body).ok().map(|failure| failure.error)
}

fn of_receipt(receipt: &Receipt) -> String {
    let what = if receipt.soft { "made stale" } else { "purged" };
    let so_far = if receipt.done { "" } else { " so far" };
    let safe = if receipt.durable { ", on stable storage" } else { "" };
    let mut told = format!(
        "{what}: {}{so_far} (purge {}{safe})",
        weighed(receipt.objects, receipt.bytes),
        receipt.id,
    );
    let more = receipt.at_most_more;
    let becomes = match (receipt.soft, more) {
        (_, 0) => return told,
        (false, 1) => "goes when it is met",
        (false, _) => "go when they are met",
        (true, 1) => "becomes stale when it is met",
        (true, _) => "become stale when they are met",
    };
    told += &format!("\nat most {more} more on the disk {becomes}");
    told
}

fn of_parent(parent: &OfParent, is_soft: bool) -> String {
    let url = &parent.url;
    match parent.state {
        ParentState::Purged => {
            let what = if is_soft { "made stale" } else { "purged" };
            let of_purge = parent.id.as_ref().map(|id| format!(" (purge {id})"));
            let (objects, bytes) = (parent.objects.unwrap_or(0), parent.bytes.unwrap_or(0));
            let weighed = weighed(objects, bytes);
            format!("parent {url}: {what} {weighed}{}", of_purge.unwrap_or_default())
        }
        ParentState::Left => format!("parent {url}: not purged: it is no parent any more"),
        ParentState::Pending => {
            let why = parent.error.as_deref().unwrap_or("it has not acknowledged");
            format!("parent {url}: pending: {why}")
        }
    }
}

fn of_pending(receipt: &Receipt) -> Option<String> {
    let urls: Vec<&str> = receipt.pending().map(|parent| parent.url.as_str()).collect();
    let last = urls.last()?;
    let becomes = match urls.len() {
        1 => "it is tried again, and not asked for anything else until then",
        _ => "they are tried again, and not asked for anything else until then",
    };
    let all = match &urls[..urls.len() - 1] {
        [] => (*last).to_owned(),
        others => format!("{} and {last}", others.join(", ")),
    };
    Some(format!("not yet at {all}; {becomes} (GET /purges/{} tells when)", receipt.id))
}

fn of_preview(preview: &Preview, is_soft: bool) -> String {
    let what = if is_soft { "would make stale" } else { "would purge" };
    let at_least = if preview.complete { "" } else { "at least " };
    let mut told = format!("{what}: {at_least}{}", weighed(preview.objects, preview.bytes));
    for url in &preview.sample {
        told += &format!("\n  {url}");
    }
    let is_all = preview.complete && preview.sample.len() as u64 >= preview.objects;
    if !is_all && !preview.sample.is_empty() {
        told += "\n  ...";
    }
    if preview.parents.is_some() {
        told += "\nparents were not asked";
    }
    told
}

fn weighed(objects: u64, bytes: u64) -> String {
    let noun = if objects == 1 { "object" } else { "objects" };
    format!("{objects} {noun}, {}", ByteSize(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(soft: bool, more: u64) -> String {
        format!(
            r#"{{"id":"65e","applied_at":"2026-11-21T00:00:00Z","by":"admin ::1","kinds":{{"urls":1,
            "prefixes":0,"tags":0,"hosts":0,"all":false}},"items":[],"soft":{soft},"objects":3,
            "bytes":12700,"at_most_more":{more},"done":true,"durable":true}}"#
        )
    }

    #[test]
    fn a_receipt_is_a_line_or_two() {
        let told = |text: String| {
            let told = of_success(&text, &Wish::default()).expect("a receipt");
            assert_eq!(told.pending, None);
            told.text
        };
        let first = "3 objects, 12.4 KiB (purge 65e, on stable storage)";
        assert_eq!(told(receipt(false, 0)), format!("purged: {first}"));
        assert_eq!(
            told(receipt(false, 120)),
            format!("purged: {first}\nat most 120 more on the disk go when they are met")
        );
        assert_eq!(
            told(receipt(true, 1)),
            format!("made stale: {first}\nat most 1 more on the disk becomes stale when it is met")
        );
        let unfinished = receipt(false, 0).replace("\"done\":true", "\"done\":false");
        assert!(told(unfinished).starts_with("purged: 3 objects, 12.4 KiB so far (purge 65e"));
        assert_eq!(of_success("hello", &Wish::default()), None);
    }

    #[test]
    fn each_parent_is_a_line_and_what_is_missing_a_sentence() {
        let parents = r#""durable":true,"parents":[
            {"url":"http://p:1","state":"purged","id":"9","objects":1,"bytes":5},
            {"url":"http://q:1","state":"pending","error":"refused"}]}"#;
        let text = receipt(false, 0).replace("\"durable\":true}", parents);
        let told = of_success(&text, &Wish::default()).expect("a receipt");
        let lines: Vec<&str> = told.text.lines().skip(1).collect();
        let expected = [
            "parent http://p:1: purged 1 object, 5 B (purge 9)",
            "parent http://q:1: pending: refused",
        ];
        assert_eq!(lines, expected);
        let sentence = "not yet at http://q:1; it is tried again, and not asked for anything else \
                        until then (GET /purges/65e tells when)";
        assert_eq!(told.pending.as_deref(), Some(sentence));
        let both = text.replace("purged\",\"id", "pending\",\"id");
        let told = of_success(&both, &Wish::default()).expect("a receipt");
        let pending = told.pending.expect("pending");
        assert!(pending.starts_with("not yet at http://p:1 and http://q:1; they"), "{pending}");
    }

    #[test]
    fn a_preview_counts_and_shows_some() {
        let wish = Wish { dry_run: true, ..Wish::default() };
        let told = |text: &str| of_success(text, &wish).expect("a preview").text;
        let all =
            r#"{"dry_run":true,"objects":1,"bytes":5,"sample":["http://a/"],"complete":true}"#;
        assert_eq!(told(all), "would purge: 1 object, 5 B\n  http://a/");
        let some = r#"{"objects":2,"bytes":5,"sample":["http://a/"],"complete":false}"#;
        assert_eq!(told(some), "would purge: at least 2 objects, 5 B\n  http://a/\n  ...");
        let parents = all.replace("{\"dry_run\"", "{\"parents\":\"not asked\",\"dry_run\"");
        assert_eq!(told(&parents), format!("{}\nparents were not asked", told(all)));
    }

    #[test]
    fn a_failure_is_told_in_the_edges_words() {
        assert_eq!(of_failure("{\"error\":\"no\",\"receipt\":{}}\n"), Some("no".to_owned()));
        assert_eq!(of_failure("Not found\n"), None);
    }
}
