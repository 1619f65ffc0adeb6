//! The key, and what is known about it.

use super::told::{
    AdditionTold, Explanation, FlightTold, KeyTold, LeftOutTold, RememberedTold, Selector,
    StoredTold, cut,
};
use super::verdict::Context;
use crate::config::Site;
use crate::engine::{Remembered, Seen};
use crate::outcome::glossary::{self, Topic};
use crate::rules::key::{self, Addition, Key};
use crate::rules::vary::Variant;
use crate::wire::authority::default_port;
use crate::wire::request::RequestHead;
use jiff::Timestamp;
use std::time::Duration;

/// Query parameters that are listed.
const LEFT_OUT_MAX: usize = 100;
/// Tags of one object that are listed.
const TAGS_MAX: usize = 50;
/// Selecting fields of one object that are listed.
const SELECTORS_MAX: usize = 32;

/// The key of a request, and how it came to be.
pub(super) fn key(
    site: &Site,
    head: &RequestHead,
    scheme: &str,
    key: &Key,
    additions: &[u8],
) -> KeyTold {
    let left_out = key::left_out(site, head.target());
    let authority = head.authority().zip(head.authority_text());
    KeyTold {
        site: site.name.clone(),
        host: key.host().to_owned(),
        target: key.target().to_owned(),
        changed: key::changes(site, authority, head.target(), default_port(scheme), key),
        more_left_out: left_out.len().saturating_sub(LEFT_OUT_MAX),
        left_out: left_out
            .into_iter()
            .take(LEFT_OUT_MAX)
            .map(|left| LeftOutTold { parameter: cut(left.parameter), by: cut(left.by) })
            .collect(),
        added: added(additions),
    }
}

/// Everything that is known about the key.
pub(super) fn tell(explanation: &mut Explanation, context: &Context<'_>) {
    let explained = context.explained;
    let fields = &context.request.head.fields;
    for seen in &explained.stored {
        for selector in selectors(&seen.object.head.variant.with_values_of(fields)) {
            if !explanation.vary.contains(&selector) && explanation.vary.len() < SELECTORS_MAX {
                explanation.vary.push(selector);
            }
        }
    }
    explanation.stored = explained.stored.iter().map(|seen| stored(seen, context)).collect();
    explanation.in_flight = explained
        .flights
        .iter()
        .map(|flight| FlightTold {
            wants: flight.wants.to_owned(),
            is_shared: flight.is_shared,
            status: flight.arrived.map(|(status, _)| status),
            bytes: flight.arrived.map_or(0, |(_, bytes)| bytes),
        })
        .collect();
    explanation.remembered = explained.remembered.map(|(what, left)| remembered(what, left));
}

fn stored(seen: &Seen, context: &Context<'_>) -> StoredTold {
    let (head, now) = (&seen.object.head, context.request.now);
    let terms = head.kept_terms();
    let tags = head.extras().tags.split(|byte| *byte == b'\n').filter(|tag| !tag.is_empty());
    let tags: Vec<String> = tags.map(text).collect();
    let seconds = |time: Duration| time.as_secs();
    StoredTold {
        is_chosen: seen.is_chosen,
        tier: seen.tier.to_owned(),
        status: head.status,
        bytes: seen.object.body.total(),
        here_bytes: seen.here_bytes.0,
        is_counted: seen.here_bytes.1,
        age: terms.map_or(0, |terms| terms.age(now).as_secs()),
        ttl: terms.map_or(0, |terms| terms.seconds_left(now)),
        lifetime_by: context.clock_of(head).map(|clock| clock.what),
        must_validate: terms.is_some_and(|terms| terms.must_validate),
        stale_while_revalidate: terms.map_or(0, |terms| seconds(terms.while_revalidate)),
        stale_if_error: terms.and_then(|terms| terms.if_error).map(seconds),
        forbids_stale: terms.is_some_and(|terms| terms.forbids_stale),
        softly_purged: seen
            .made_stale
            .map(|since| format!("{:.3}", Timestamp::try_from(since).unwrap_or_default())),
        etag: head.fields.first("etag").map(text),
        last_modified: head.fields.first("last-modified").map(text),
        more_tags: tags.len().saturating_sub(TAGS_MAX),
        tags: tags.into_iter().take(TAGS_MAX).collect(),
        selected_by: selectors(&head.variant).collect(),
        added: added(&head.additions),
    }
}

fn remembered(what: Remembered, left: Duration) -> RememberedTold {
    let seconds_left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let of_refusal = |what: &str, label: &str, then: &str| {
        let means = glossary::of(Topic::NotKept, label).map(|word| word.means.replace('`', ""));
        let means = means.unwrap_or_default();
        RememberedTold {
            what: what.to_owned(),
            reason: Some(label.to_owned()),
            means: format!("the last answer was not kept: {means}{then}"),
            seconds_left,
        }
    };
    match what {
        Remembered::Refused(refusal) => {
            of_refusal("hit-for-miss", refusal.label(), "; each client is asked for alone")
        }
        Remembered::Unkept(refusal) => of_refusal("not-kept", refusal.label(), ""),
        Remembered::Unshared => RememberedTold {
            what: "confirm-each".to_owned(),
            reason: None,
            means: "what is stored has to be confirmed for each client".to_owned(),
            seconds_left,
        },
        Remembered::Failing { in_a_row, peace, fault } => RememberedTold {
            what: "failing".to_owned(),
            reason: fault.map(|fault| fault.label().to_owned()),
            means: format!(
                "the origin failed {in_a_row} times in a row and is left in peace for {} ms",
                peace.as_millis()
            ),
            seconds_left,
        },
    }
}

fn selectors(variant: &Variant) -> impl Iterator<Item = Selector> {
    let selectors = variant.selectors().take(SELECTORS_MAX);
    selectors.map(|(field, says)| Selector { field: cut(field.to_owned()), says: text(&says) })
}

fn added(additions: &[u8]) -> Vec<AdditionTold> {
    let told = |Addition { kind, name, value }: Addition| AdditionTold {
        kind,
        name,
        value: value.as_deref().map(text),
    };
    key::added(additions).into_iter().map(told).collect()
}

/// What somebody else has chosen, as text.
pub(super) fn text(bytes: &[u8]) -> String {
    cut(String::from_utf8_lossy(bytes).into_owned())
}
