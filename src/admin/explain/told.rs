//! What is told: JSON for machines, and what `brim explain` makes text of.

use crate::config::Rule;
use crate::outcome::Outcome;
use crate::outcome::glossary::{self, Topic};
use crate::rules::cache_status::Story;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Of a value that somebody else has chosen.
const VALUE_BYTES_MAX: usize = 1024;

/// Everything about one request.
#[derive(Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// What was asked about.
    pub request: AskedTold,
    /// What it would get.
    pub verdict: Verdict,
    /// Whose it is; `None`: nobody's.
    pub site: Option<SiteTold>,
    /// Which hosts there are, where none is the right one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosts: Option<HostsTold>,
    /// The rule of the site that counts for the path.
    pub rule: Option<RuleTold>,
    /// Why rules do not count for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_rule_because: Option<String>,
    /// What it is stored under.
    pub key: Option<KeyTold>,
    /// What `Vary` makes of the request, over all that is stored.
    pub vary: Vec<Selector>,
    /// What is stored, the newest first.
    pub stored: Vec<StoredTold>,
    /// Fetches on their way.
    pub in_flight: Vec<FlightTold>,
    /// What is remembered about it.
    pub remembered: Option<RememberedTold>,
    /// What the origin has just said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetched: Option<FetchedTold>,
}

/// What was asked about.
#[derive(Debug, Serialize, Deserialize)]
pub struct AskedTold {
    /// `GET`
    pub method: String,
    /// With its scheme, without its fragment.
    pub url: String,
}

/// What a request would get, in the words of the access log and of Cache-Status.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// `hit`, `stale`, `revalidated`, `miss`, `pass`, `edge` or `error`.
    pub outcome: String,
    /// As in the log.
    pub reason: Option<String>,
    /// As in Cache-Status, as far as it is known without the origin.
    pub detail: Option<String>,
    /// The status, where the edge answers itself.
    pub status: Option<u16>,
    /// As far as it is known without the origin.
    pub cache_status: Option<String>,
    /// Why, in a sentence.
    pub because: String,
    /// The section of an RFC, or the key of the configuration with its value, that leads to it.
    pub by: String,
    /// What to change for it to be cached, or kept longer.
    pub change: String,
    /// Where the words are explained.
    pub more: Vec<String>,
}

/// A site.
#[derive(Debug, Serialize, Deserialize)]
pub struct SiteTold {
    /// Its name.
    pub name: String,
    /// The one of its hosts that matched.
    pub host: String,
    /// Its origin.
    pub origin: String,
    /// What one client network may do to it, as the configuration spells it: who does more gets 429,
    /// whatever is stored.
    pub limits: Vec<String>,
}

/// Hosts that sites answer for.
#[derive(Debug, Serialize, Deserialize)]
pub struct HostsTold {
    /// The one that may have been meant.
    pub nearest: Option<String>,
    /// All of them, up to a limit.
    pub all: Vec<String>,
    /// How many more there are.
    pub more: usize,
}

/// A rule of a site.
#[derive(Debug, Serialize, Deserialize)]
pub struct RuleTold {
    /// Its position, from 1 on.
    pub position: usize,
    /// Which paths it is for.
    pub path: String,
    /// What it says, as the configuration spells it.
    pub says: Vec<String>,
}

/// A key.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyTold {
    /// The site's name.
    pub site: String,
    /// `host[:port]`
    pub host: String,
    /// Path and query.
    pub target: String,
    /// What is spelled otherwise than in the request.
    pub changed: Vec<String>,
    /// Query parameters that do not count.
    pub left_out: Vec<LeftOutTold>,
    /// How many more there are.
    pub more_left_out: usize,
    /// What counts besides the URL.
    pub added: Vec<AdditionTold>,
}

/// A query parameter that does not count.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeftOutTold {
    /// As it came.
    pub parameter: String,
    /// The setting that says so.
    pub by: String,
}

/// What counts besides the URL.
#[derive(Debug, Serialize, Deserialize)]
pub struct AdditionTold {
    /// `scheme`, `host`, `field`, `forward` or `cookie`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What the request says; `None`: nothing.
    pub value: Option<String>,
}

/// A field that selects between answers.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Selector {
    /// Its name.
    pub field: String,
    /// What the request says in it, as far as that can make a difference.
    pub says: String,
}

/// A stored object.
#[derive(Debug, Serialize, Deserialize)]
pub struct StoredTold {
    /// It is the one for this request.
    pub is_chosen: bool,
    /// `memory`, `disk` or `both`.
    pub tier: String,
    /// Its status.
    pub status: u16,
    /// Length of its content.
    pub bytes: u64,
    /// How much of that is here.
    pub here_bytes: u64,
    /// That is all of it that is known to be here; if not, there may be more.
    pub is_counted: bool,
    /// In seconds.
    pub age: u64,
    /// Seconds until its time is over, negative after it.
    pub ttl: i64,
    /// Who says how long.
    pub lifetime_by: Option<String>,
    /// Each use has to be confirmed by the origin.
    pub must_validate: bool,
    /// Seconds after its time for which it may be used while it is refreshed.
    pub stale_while_revalidate: u64,
    /// The same while the origin is in trouble, where somebody says so.
    pub stale_if_error: Option<u64>,
    /// It is never used past its time unless somebody says so.
    pub forbids_stale: bool,
    /// When a soft purge made it stale.
    pub softly_purged: Option<String>,
    /// `ETag`
    pub etag: Option<String>,
    /// `Last-Modified`
    pub last_modified: Option<String>,
    /// Names that it can be purged by.
    pub tags: Vec<String>,
    /// How many more there are.
    pub more_tags: usize,
    /// What the request said that it answers, in the fields that select.
    pub selected_by: Vec<Selector>,
    /// The same for what the site adds to the key.
    pub added: Vec<AdditionTold>,
}

/// A fetch on its way.
#[derive(Debug, Serialize, Deserialize)]
pub struct FlightTold {
    /// `whole`, `part`, `chunks` or `head`.
    pub wants: String,
    /// Others may wait for it, too.
    pub is_shared: bool,
    /// The origin's status, once it has answered.
    pub status: Option<u16>,
    /// So much of the content has come.
    pub bytes: u64,
}

/// What is remembered about a key.
#[derive(Debug, Serialize, Deserialize)]
pub struct RememberedTold {
    /// `hit-for-miss`, `not-kept`, `confirm-each` or `failing`.
    pub what: String,
    /// Why, in one word.
    pub reason: Option<String>,
    /// In a sentence.
    pub means: String,
    /// How long it is remembered, in seconds.
    pub seconds_left: u64,
}

/// What the origin has just said.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FetchedTold {
    /// Its status; `None`: no answer, or it was not asked.
    pub status: Option<u16>,
    /// The fields that matter, as they came.
    pub fields: Vec<(String, String)>,
    /// The field that governs.
    pub governing: Option<String>,
    /// Fields that are there and do not count, each with the reason.
    pub ignored: Vec<(String, String)>,
    /// It would be stored.
    pub is_stored: bool,
    /// For how long without asking again, in seconds.
    pub lifetime: Option<u64>,
    /// Why not, in one word.
    pub detail: Option<String>,
    /// Why, in a sentence.
    pub because: String,
    /// The section of an RFC, or the key of the configuration with its value.
    pub by: String,
    /// What to change.
    pub change: String,
    /// Where the words are explained.
    pub more: Vec<String>,
    /// To the head of the answer.
    pub milliseconds: Option<u64>,
}

impl Explanation {
    /// With nothing but this known.
    pub(super) fn of(request: AskedTold, verdict: Verdict) -> Self {
        Self {
            request,
            verdict,
            site: None,
            hosts: None,
            rule: None,
            no_rule_because: None,
            key: None,
            vary: Vec::new(),
            stored: Vec::new(),
            in_flight: Vec::new(),
            remembered: None,
            fetched: None,
        }
    }
}

impl Verdict {
    /// In these words.
    pub(super) fn of(outcome: Outcome, because: &str) -> Self {
        Self::with(&Story::new(outcome), b"", because)
    }

    /// With all that Cache-Status would say.
    pub(super) fn with(story: &Story, told_before: &[u8], because: &str) -> Self {
        let mut line = Vec::new();
        story.write(&mut line, told_before);
        let line = String::from_utf8_lossy(&line);
        let value = line.split_once(": ").map(|(_, value)| value.trim_end().to_owned());
        let outcome = story.outcome;
        let topic = match outcome {
            Outcome::Stale(_) => Topic::Staleness,
            Outcome::Error(word) if glossary::of(Topic::Origin, word).is_some() => Topic::Origin,
            Outcome::Error(_) => Topic::Edge,
            _ => Topic::Forward,
        };
        let words = [
            glossary::of(Topic::Outcome, outcome.label()),
            outcome.reason().and_then(|reason| glossary::of(topic, reason)),
            story.detail.and_then(|detail| {
                let topics = [Topic::NotKept, Topic::Bypass, Topic::Edge];
                topics.iter().find_map(|topic| glossary::of(*topic, detail))
            }),
        ];
        Self {
            outcome: outcome.label().to_owned(),
            reason: outcome.reason().map(str::to_owned),
            detail: story.detail.map(str::to_owned),
            status: None,
            cache_status: value,
            because: because.to_owned(),
            by: String::new(),
            change: String::new(),
            more: words.iter().flatten().map(|word| word.link()).collect(),
        }
    }

    /// An answer of the edge's own.
    pub(super) fn own(status: u16, reason: &'static str, because: &str) -> Self {
        let mut verdict =
            Self { status: Some(status), ..Self::of(Outcome::Error(reason), because) };
        let topics = [Topic::Edge, Topic::Origin];
        if let Some(word) = topics.iter().find_map(|topic| glossary::of(*topic, reason)) {
            verdict.by = word.by.replace('`', "");
            verdict.change = sentence(word.remedy);
        }
        verdict
    }
}

impl RuleTold {
    /// The rule at a position from 0 on.
    pub(super) fn of(position: usize, rule: &Rule) -> Self {
        let times = [
            ("ttl", rule.ttl),
            ("default_ttl", rule.default_ttl),
            ("negative_ttl", rule.negative_ttl),
            ("stale_while_revalidate", rule.stale_while_revalidate),
            ("stale_if_error", rule.stale_if_error),
        ];
        let told = times
            .iter()
            .filter_map(|(name, time)| time.map(|time| format!("{name} = \"{}\"", duration(time))));
        let cache = rule.cache.map(|cache| format!("cache = {cache}"));
        Self { position: position + 1, path: rule.path.clone(), says: told.chain(cache).collect() }
    }
}

/// As the configuration spells it: `90s`, `5m`, `1h`, `30d`.
pub fn duration(time: Duration) -> String {
    if time.subsec_millis() != 0 {
        return format!("{}ms", time.as_millis());
    }
    let seconds = time.as_secs();
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= length && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

/// What somebody else has chosen, as far as it is shown.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text += "...";
    }
    text
}

/// Words of the glossary as a sentence, without its marks for code.
pub(super) fn sentence(words: &str) -> String {
    let plain = words.replace('`', "");
    let mut letters = plain.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
