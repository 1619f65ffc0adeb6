//! The query of an operator's request. What nobody asked for is an error: `?dry_run` at a place
//! that does not know it would be believed.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use url::form_urlencoded;

/// How many of a list may be asked for.
const LIMITS: RangeInclusive<usize> = 1..=10_000;

/// Parameters, each once.
pub(super) struct Query<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Query<'a> {
    /// An error names the parameter.
    pub(super) fn parse(text: Option<&'a str>, known: &[&str]) -> Result<Self, String> {
        Self::parse_with(text, known, "")
    }

    /// The same, where one of them may be there several times.
    pub(super) fn parse_with(
        text: Option<&'a str>,
        known: &[&str],
        repeated: &str,
    ) -> Result<Self, String> {
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let hint = match known {
                    [] => "there are none here".to_owned(),
                    known => format!("known here: {}", known.join(", ")),
                };
                return Err(format!("unknown parameter `{name}`; {hint}"));
            }
            if name != repeated && pairs.iter().any(|(other, _)| *other == name) {
                return Err(format!("`{name}` is there twice"));
            }
            if value.is_empty() {
                return Err(format!("`{name}` is empty"));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_ref())
    }

    /// All values of the one that may be there several times.
    pub(super) fn values<'q>(&'q self, name: &'q str) -> impl Iterator<Item = &'q str> {
        self.pairs.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_ref())
    }

    /// `limit`, if it is there.
    pub(super) fn limit(&self) -> Result<Option<usize>, String> {
        let Some(text) = self.value("limit") else { return Ok(None) };
        let limit = text.parse().ok().filter(|limit| LIMITS.contains(limit));
        let expected = || {
            format!("`limit`: expected a whole number from {} to {}", LIMITS.start(), LIMITS.end())
        };
        limit.map(Some).ok_or_else(expected)
    }
}
