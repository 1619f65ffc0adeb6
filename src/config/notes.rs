//! What a file could say. While they are noted, the readers of `file` read a file in which every
//! table is there, and is empty: so they ask for every key that there is.

use super::kind::Kind;
use serde_json::Value as Json;
use toml::de::DeValue;

/// A key that a reader has asked for.
pub(super) struct Note {
    /// Dotted, without positions: `site.rule.ttl`.
    pub(super) path: String,
    pub(super) is_required: bool,
    pub(super) holds: Holds,
}

/// What a key holds. A value, or an item of a list, that is a table has keys of its own, too.
pub(super) enum Holds {
    /// `[key]`
    Table,
    /// `[[key]]`
    Tables,
    Value(Told),
    List(Told),
}

/// What is known of a value, or of the items of a list.
pub(super) struct Told {
    /// In words that go on after "expected".
    pub(super) expected: String,
    pub(super) schema: Json,
    /// What holds without it, where the reader has said so.
    pub(super) default: Option<Default>,
    /// Judges a value, or a list, that is not made of tables.
    pub(super) judge: Box<dyn Fn(&DeValue<'_>) -> Verdict>,
}

/// A default that a reader has said.
pub(super) struct Default {
    /// As it would be written, where that is said in one way.
    pub(super) written: Option<String>,
}

/// What a reader makes of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    Refused,
    Taken,
    /// It is what holds where the key is left out.
    Default,
}

impl Told {
    /// A value that has no default of its own.
    pub(super) fn value<K: Kind>(kind: K) -> Self {
        let judge = move |value: &DeValue<'_>| match kind.read(value) {
            Ok(_) => Verdict::Taken,
            Err(_) => Verdict::Refused,
        };
        Self {
            expected: kind.expected(),
            schema: kind.schema(),
            default: None,
            judge: Box::new(judge),
        }
    }

    /// A value with a default.
    pub(super) fn value_or<K: Kind>(kind: K, default: K::Value) -> Self
    where
        K::Value: PartialEq,
    {
        let written = kind.written(&default);
        let judge = move |value: &DeValue<'_>| match kind.read(value) {
            Ok(value) if value == default => Verdict::Default,
            Ok(_) => Verdict::Taken,
            Err(_) => Verdict::Refused,
        };
        Self { default: Some(Default { written }), judge: Box::new(judge), ..Self::value(kind) }
    }

    /// A list that is this long at least.
    pub(super) fn list<K: Kind>(kind: K, length_min: usize) -> Self {
        let judge = move |value: &DeValue<'_>| match items(kind, value) {
            Some(items) if items.len() >= length_min => Verdict::Taken,
            _ => Verdict::Refused,
        };
        Self { judge: Box::new(judge), ..Self::value(kind) }
    }

    /// A list with a default.
    pub(super) fn list_or<K: Kind>(kind: K, default: Vec<K::Value>) -> Self
    where
        K::Value: PartialEq,
    {
        let judge = move |value: &DeValue<'_>| match items(kind, value) {
            Some(items) if items == default => Verdict::Default,
            Some(_) => Verdict::Taken,
            None => Verdict::Refused,
        };
        Self {
            default: Some(Default { written: None }),
            judge: Box::new(judge),
            ..Self::value(kind)
        }
    }
}

fn items<K: Kind>(kind: K, value: &DeValue<'_>) -> Option<Vec<K::Value>> {
    let items = value.as_array()?.iter();
    items.map(|item| kind.read(item.get_ref()).ok()).collect()
}
