//! What the words of the log mean: for people who see them for the first time.

use super::Record;
use crate::outcome::glossary::{self, Topic};
use crate::outcome::{Forward, Outcome};

/// What became of a request, and why.
pub(super) fn of(record: &Record<'_>) -> String {
    let kept = kept(record);
    match record.outcome {
        Outcome::Hit => match record.ttl {
            Some(left) => format!("out of the cache, {left} s left"),
            None => "out of the cache".to_owned(),
        },
        Outcome::Stale(staleness) => {
            format!(
                "{}: {}",
                staleness.label(),
                meaning(Topic::Staleness, staleness.label()).unwrap_or_default()
            )
        }
        Outcome::Revalidated(_) => format!("the origin says it is unchanged, {kept}"),
        Outcome::Miss(forward) => match record.detail {
            Some(detail) => not_kept(detail),
            // An answer that is known not to be kept may be asked for again before it is over.
            None if forward == Forward::Bypass => "not kept, like the answer before".to_owned(),
            None => format!("{}, {kept}", of_forward(forward)),
        },
        Outcome::Pass(_) if record.status == 101 => "upgraded (WebSocket)".to_owned(),
        Outcome::Pass(forward) => match record.detail {
            Some(detail) => not_kept(detail),
            None => of_forward(forward).to_owned(),
        },
        Outcome::Edge => record.detail.unwrap_or("answered by the edge itself").to_owned(),
        Outcome::Error(reason) => match of_error(reason, record.detail) {
            Some(sentence) => format!("{reason}: {sentence}"),
            None => reason.to_owned(),
        },
    }
}

/// What went wrong. Why the answer would not have been kept is no part of it.
fn of_error<'d>(reason: &str, detail: Option<&'d str>) -> Option<&'d str> {
    let is_about_keeping = |detail: &&str| meaning(Topic::NotKept, detail).is_some();
    let topics = [Topic::Client, Topic::Origin, Topic::Edge];
    detail
        .filter(|detail| !is_about_keeping(detail))
        .or_else(|| topics.iter().find_map(|topic| meaning(*topic, reason)))
}

fn kept(record: &Record<'_>) -> String {
    match record.ttl {
        Some(left) if left > 0 => format!("kept for {left} s"),
        Some(_) => "kept, and confirmed each time".to_owned(),
        None => "not kept".to_owned(),
    }
}

fn not_kept(detail: &str) -> String {
    let topics = [Topic::NotKept, Topic::Bypass];
    match topics.iter().find_map(|topic| meaning(*topic, detail)) {
        Some(meaning) => format!("not kept: {detail} ({meaning})"),
        None => format!("not kept: {detail}"),
    }
}

fn of_forward(forward: Forward) -> &'static str {
    meaning(Topic::Forward, forward.label()).unwrap_or_else(|| forward.label())
}

fn meaning(topic: Topic, word: &str) -> Option<&'static str> {
    glossary::of(topic, word).map(|word| word.means)
}
