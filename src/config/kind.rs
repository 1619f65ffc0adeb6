//! What the value of a key may be. A kind reads a value, says in words what it expects, and tells
//! editors the same as a JSON schema: in one place, so that a new key costs one line.
//!
//! A schema is never narrower than what is read. Where it is wider, the kind's comment says so.

use serde_json::{Value as Json, json};
use std::marker::PhantomData;
use toml::de::DeValue;

/// A kind of values.
pub(super) trait Kind: Copy + 'static {
    /// What is made of one.
    type Value: 'static;

    /// What it is, in words that go on after "expected".
    fn expected(&self) -> String;

    /// Reads a value, or says in words what it expected.
    fn read(&self, value: &DeValue<'_>) -> Result<Self::Value, String>;

    /// A value as it would be written, where that is said in one way.
    fn written(&self, _value: &Self::Value) -> Option<String> {
        None
    }

    /// What editors are told of it. They all understand `type`, `enum`, `pattern`, `minLength`,
    /// `minimum`, `maximum`, `items`, `properties`, `required` and `anyOf`.
    fn schema(&self) -> Json;
}

/// `true` or `false`.
#[derive(Clone, Copy)]
pub(super) struct Boolean;

impl Kind for Boolean {
    type Value = bool;

    fn expected(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| self.expected())
    }

    fn written(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }

    fn schema(&self) -> Json {
        json!({ "type": "boolean" })
    }
}

/// One of a few words, and what each means.
#[derive(Clone, Copy)]
pub(super) struct Words<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + 'static> Kind for Words<T> {
    type Value = T;

    fn expected(&self) -> String {
        let (last, before) = self.0.split_last().map_or(("", self.0), |((word, _), b)| (*word, b));
        let before: Vec<String> = before.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        match before.is_empty() {
            true => format!("\"{last}\""),
            false => format!("{} or \"{last}\"", before.join(", ")),
        }
    }

    fn read(&self, value: &DeValue<'_>) -> Result<T, String> {
        let meant = self.0.iter().find(|(word, _)| value.as_str() == Some(word));
        meant.map(|(_, meaning)| *meaning).ok_or_else(|| self.expected())
    }

    fn schema(&self) -> Json {
        let words: Vec<&str> = self.0.iter().map(|(word, _)| *word).collect();
        json!({ "type": "string", "enum": words })
    }
}

/// A whole number.
#[derive(Clone, Copy)]
pub(super) struct Whole<N> {
    expected: &'static str,
    least: u64,
    most: u64,
    number: PhantomData<N>,
}

impl<N> Whole<N> {
    /// One of these, both ends included.
    pub(super) const fn between(least: u64, most: u64, expected: &'static str) -> Self {
        Self { expected, least, most, number: PhantomData }
    }
}

impl<N: TryFrom<u64> + ToString + Copy + 'static> Kind for Whole<N> {
    type Value = N;

    fn expected(&self) -> String {
        self.expected.to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<N, String> {
        let number = match value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (self.least..=self.most).contains(number));
        number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| self.expected())
    }

    fn written(&self, value: &N) -> Option<String> {
        Some(value.to_string())
    }

    fn schema(&self) -> Json {
        match i64::try_from(self.most) {
            Ok(most) => json!({ "type": "integer", "minimum": self.least, "maximum": most }),
            // TOML has no larger ones.
            Err(_) => json!({ "type": "integer", "minimum": self.least }),
        }
    }
}

/// Why a text is none of its kind; `None`: it is not at all what was expected.
pub(super) type Unlike = Option<String>;

/// A text that means something.
pub(super) struct Text<T> {
    /// What it is, in words.
    pub(super) expected: &'static str,
    /// What editors compare it with (ECMA 262), anchored. Empty: any text that is not empty.
    pub(super) pattern: &'static str,
    pub(super) read: fn(&str) -> Result<T, Unlike>,
}

// Derived, they would ask the same of `T`.
impl<T> Clone for Text<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Text<T> {}

impl<T: 'static> Kind for Text<T> {
    type Value = T;

    fn expected(&self) -> String {
        self.expected.to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<T, String> {
        let read = value.as_str().ok_or(None).and_then(self.read);
        read.map_err(|unlike| unlike.unwrap_or_else(|| self.expected()))
    }

    fn schema(&self) -> Json {
        match self.pattern {
            "" => json!({ "type": "string", "minLength": 1 }),
            pattern => json!({ "type": "string", "pattern": pattern }),
        }
    }
}
