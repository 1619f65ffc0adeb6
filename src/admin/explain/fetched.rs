//! What the origin says when it is asked once, and what would become of that.

use super::Explainer;
use super::stored::text;
use super::told::{FetchedTold, duration, sentence};
use super::verdict::{clock_told, of_bypass, of_refusal};
use crate::engine::{Probed, Request, Unprobed};
use crate::outcome::glossary::{self, Topic};
use crate::rules::bypass::{Bypass, Say};
use crate::rules::cache_control::{Directives, GOVERNING};
use crate::rules::storing::{self, Clock};
use crate::wire::fields::Fields;
use std::time::Duration;

/// Nobody waits longer for an origin here.
const FETCHED_WITHIN: Duration = Duration::from_secs(20);
/// Lines of the origin's head that are shown.
const LINES_MAX: usize = 64;

/// Fields that say whether and how long something is kept.
const SHOWN: &[&str] = &[
    "CDN-Cache-Control",
    "Surrogate-Control",
    "Cache-Control",
    "Expires",
    "Pragma",
    "Date",
    "Age",
    "ETag",
    "Last-Modified",
    "Vary",
    "Set-Cookie",
    "Content-Type",
    "Content-Length",
    "Location",
    "Surrogate-Key",
    "Cache-Tag",
];

impl Explainer<'_> {
    pub(super) async fn fetched(
        &self,
        request: &Request<'_>,
        say: Say,
        rule: Option<usize>,
    ) -> FetchedTold {
        if let Say::Around(Bypass::Method | Bypass::Upgrade | Bypass::RequestBody) = say {
            return FetchedTold {
                because: "the origin was not asked: only a GET or HEAD without content changes \
                          nothing there"
                    .to_owned(),
                ..FetchedTold::default()
            };
        }
        let probed = match self.engine.probe(request, FETCHED_WITHIN).await {
            Ok(probed) => probed,
            Err(unprobed) => return of_unprobed(unprobed),
        };
        let fields = &probed.response.fields;
        let clock = storing::clock(probed.response.status, fields, &request.policy, probed.now);
        let told = FetchedTold {
            status: Some(probed.response.status),
            fields: shown(fields),
            governing: governing(fields, clock),
            ignored: ignored(fields, clock),
            milliseconds: u64::try_from(probed.delay.as_millis()).ok(),
            ..FetchedTold::default()
        };
        if let Say::Around(bypass) = say {
            let verdict = of_bypass(bypass, request.site, rule);
            return FetchedTold {
                detail: verdict.detail,
                because: format!("it would not be stored: {}", verdict.because),
                by: verdict.by,
                change: verdict.change,
                more: verdict.more,
                ..told
            };
        }
        judged(&probed, request, rule, clock, told)
    }
}

fn of_unprobed(unprobed: Unprobed) -> FetchedTold {
    let (because, word) = match unprobed {
        Unprobed::Fault(fault) => {
            (fault.detail().to_owned(), glossary::of(Topic::Origin, fault.label()))
        }
        Unprobed::TooManyFills => (
            "as many answers are being fetched as may be".to_owned(),
            glossary::of(Topic::Edge, "too_many_fills"),
        ),
        Unprobed::Overtime => {
            let seconds = FETCHED_WITHIN.as_secs();
            (format!("the origin did not answer within {seconds} s"), None)
        }
    };
    FetchedTold {
        detail: word.map(|word| word.word.to_owned()),
        because,
        by: word.map(|word| word.by.replace('`', "")).unwrap_or_default(),
        change: word.map(|word| sentence(word.remedy)).unwrap_or_default(),
        more: word.iter().map(|word| word.link()).collect(),
        ..FetchedTold::default()
    }
}

fn judged(
    probed: &Probed,
    request: &Request<'_>,
    rule: Option<usize>,
    clock: Option<(Duration, Clock)>,
    told: FetchedTold,
) -> FetchedTold {
    let terms = match &probed.terms {
        Ok(terms) => terms,
        Err(refusal) => {
            let (because, by, change) = of_refusal("it would not be stored: ", *refusal);
            let word = glossary::of(Topic::NotKept, refusal.label());
            return FetchedTold {
                detail: Some(refusal.label().to_owned()),
                because,
                by,
                change,
                more: word.iter().map(|word| word.link()).collect(),
                ..told
            };
        }
    };
    let clock = clock.map(|clock| clock_told(clock, &probed.response.fields, request.site, rule));
    let (what, by, longer) = clock
        .map_or((String::new(), String::new(), ""), |clock| (clock.what, clock.by, clock.longer));
    let left = terms.seconds_left(probed.now);
    let lifetime = duration(terms.lifetime);
    let (because, by, change) = if terms.must_validate {
        let because = "it would be stored, and confirmed before each use: no-cache";
        let change = "To have it used unasked, have the origin leave no-cache out.";
        (because.to_owned(), "RFC 9111, section 5.2.2.4".to_owned(), change)
    } else if terms.lifetime.is_zero() {
        (format!("it would be stored, and confirmed before each use: {what}"), by, longer)
    } else if left <= 0 {
        let age = duration(Duration::from_secs(terms.age(probed.now).as_secs()));
        let because = format!("it would be stored, but it is {age} old already: {what}");
        let change = "Its Age and Date say so: look at the caches between here and the origin.";
        (because, "RFC 9111, section 4.2.3".to_owned(), change)
    } else {
        (format!("it would be stored for {lifetime}: {what}"), by, longer)
    };
    FetchedTold {
        is_stored: true,
        lifetime: Some(terms.lifetime.as_secs()),
        because,
        by,
        change: change.to_owned(),
        ..told
    }
}

/// The fields that matter, as they came; of cookies only the names.
fn shown(fields: &Fields) -> Vec<(String, String)> {
    let is_shown = |name: &str| SHOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
    let shown = fields.iter().filter(|(name, _)| is_shown(name)).take(LINES_MAX);
    shown
        .map(|(name, value)| {
            let value = if name.eq_ignore_ascii_case("set-cookie") {
                let cookie = value.split(|byte| *byte == b'=').next().unwrap_or_default();
                text(cookie) + "=(not shown)"
            } else {
                text(value)
            };
            (name.to_owned(), value)
        })
        .collect()
}

fn governing(fields: &Fields, clock: Option<(Duration, Clock)>) -> Option<String> {
    match clock {
        Some((_, Clock::Ttl)) => Some("ttl of the rule".to_owned()),
        Some((_, Clock::DefaultTtl)) => Some("default_ttl of the rule".to_owned()),
        Some((_, Clock::NegativeTtl)) => Some("negative_ttl of the rule".to_owned()),
        Some((_, Clock::Expires)) => Some("Expires".to_owned()),
        Some((_, Clock::Guess)) => Some("Last-Modified".to_owned()),
        _ => {
            let name = Directives::governing(fields).0;
            fields.first(name).is_some().then(|| name.to_owned())
        }
    }
}

/// Fields that are there and do not count, and why.
fn ignored(fields: &Fields, clock: Option<(Duration, Clock)>) -> Vec<(String, String)> {
    let (governing, directives) = Directives::governing(fields);
    let position = GOVERNING.iter().position(|name| *name == governing).unwrap_or(0);
    let mut ignored = Vec::new();
    for (at, name) in GOVERNING.iter().enumerate() {
        if fields.first(name).is_none() || at == position {
            continue;
        }
        let why = if at < position {
            "it is malformed, or says nothing about storing".to_owned()
        } else {
            format!("{governing} counts before it")
        };
        ignored.push(((*name).to_owned(), why));
    }
    let is_expires_idle = !matches!(clock, Some((_, Clock::Expires)));
    if fields.first("expires").is_some() && is_expires_idle {
        let why = match clock {
            Some((_, Clock::Ttl)) => "the ttl of the rule counts before it".to_owned(),
            _ if directives.is_targeted => format!("{governing} counts before it"),
            _ => "max-age counts before it (RFC 9111, section 5.3)".to_owned(),
        };
        ignored.push(("Expires".to_owned(), why));
    }
    let has_time = directives.s_maxage.or(directives.max_age).is_some();
    if has_time && matches!(clock, Some((_, Clock::Ttl))) {
        let why = "the ttl of the rule counts before it";
        ignored.push((format!("max-age of {governing}"), why.to_owned()));
    }
    ignored
}
