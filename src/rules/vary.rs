//! Which request fields select between the answers for one URL (RFC 9111, section 4.1), brought to
//! a form in which what cannot make a difference is gone.

use super::cache_control::split_unquoted;
use crate::wire::fields::Fields;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The selecting fields of one stored answer, with what the request said that it answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Variant {
    selectors: Box<[(Box<str>, Value)]>,
}

/// What a request says in one selecting field.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Value {
    Absent,
    /// Accept-Encoding: which of `CODINGS` the client takes.
    Codings(u8),
    /// Accept-Language: in the order of preference, in lower case.
    Languages(Box<str>),
    /// White space around commas is gone, lines are joined.
    Text(Box<[u8]>),
}

/// Content codings that the edge can tell apart.
const CODINGS: [&str; 3] = ["br", "gzip", "zstd"];

impl Variant {
    /// What `response` varies on, as `request` has it. `Vary: *` is for others to refuse.
    pub fn new(response: &Fields, request: &Fields) -> Self {
        let mut names: Vec<String> = response
            .tokens("vary")
            // What is no name is in no request.
            .filter(|name| !name.contains(&b':'))
            .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
            .collect();
        names.sort_unstable();
        names.dedup();
        Self::of(names, request)
    }

    fn of(names: Vec<String>, request: &Fields) -> Self {
        let selectors = names.into_iter().map(|name| {
            let value = Value::of(&name, request);
            (name.into_boxed_str(), value)
        });
        Self { selectors: selectors.collect() }
    }

    /// The same selecting fields, as another request has them.
    #[must_use]
    pub fn with_values_of(&self, request: &Fields) -> Self {
        Self::of(self.selectors.iter().map(|(name, _)| name.to_string()).collect(), request)
    }

    /// There is no selecting field.
    pub fn is_empty(&self) -> bool {
        self.selectors.is_empty()
    }

    /// The selecting fields with what the request said in them, for people.
    pub fn selectors(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        self.selectors.iter().map(|(name, value)| {
            let said = match value {
                Value::Absent => Cow::Borrowed(&b"(absent)"[..]),
                Value::Codings(accepted) => Cow::Owned(listed_codings(*accepted).into_bytes()),
                Value::Languages(list) => Cow::Borrowed(list.trim_end_matches(',').as_bytes()),
                Value::Text(text) => Cow::Borrowed(&**text),
            };
            (&**name, said)
        })
    }

    /// Whether an answer with this variant, and with this Content-Language, answers `request` too.
    pub fn matches(&self, request: &Fields, language: Option<&[u8]>) -> bool {
        self.selectors.iter().all(|(name, value)| match value {
            Value::Absent => request.first(name).is_none(),
            Value::Codings(codings) => *codings == accepted_codings(request),
            Value::Languages(wanted) => {
                let presented = languages(request);
                let is_same = **wanted == *listed(&presented) && request.first(name).is_some();
                is_same || prefers(&presented, language)
            }
            Value::Text(text) => {
                let mut lines = request.all(name);
                let is_same = lines.next() == Some(text) && lines.next().is_none();
                is_same || request.first(name).is_some() && *joined(name, request) == **text
            }
        })
    }

    /// Bytes that it costs to keep.
    pub fn weight(&self) -> usize {
        let heap = |value: &Value| match value {
            Value::Absent | Value::Codings(_) => 0,
            Value::Languages(text) => text.len(),
            Value::Text(text) => text.len(),
        };
        let one = |(name, value): &(Box<str>, Value)| {
            size_of::<(Box<str>, Value)>() + name.len() + heap(value)
        };
        self.selectors.iter().map(one).sum()
    }
}

impl Value {
    fn of(name: &str, request: &Fields) -> Self {
        match name {
            "accept-encoding" => Self::Codings(accepted_codings(request)),
            _ if request.first(name).is_none() => Self::Absent,
            "accept-language" => Self::Languages(listed(&languages(request)).into()),
            _ => Self::Text(joined(name, request).into()),
        }
    }
}

/// The Accept-Encoding that stands for all with the same meaning here. `None` where the client said
/// nothing.
pub fn accept_encoding(request: &Fields) -> Option<String> {
    request.first("accept-encoding")?;
    Some(listed_codings(accepted_codings(request)))
}

fn listed_codings(accepted: u8) -> String {
    let named = CODINGS.iter().enumerate().filter(|(at, _)| accepted & (1 << at) != 0);
    let list: Vec<&str> = named.map(|(_, name)| *name).collect();
    if list.is_empty() { "identity".into() } else { list.join(", ") }
}

/// Whether a response has no other content codings than those that select between answers.
pub fn is_told_apart(response: &Fields) -> bool {
    response.tokens("content-encoding").all(|coding| {
        let is_it = |known: &str| coding.eq_ignore_ascii_case(known.as_bytes());
        CODINGS.iter().any(|known| is_it(known)) || is_it("x-gzip") || is_it("identity")
    })
}

fn accepted_codings(request: &Fields) -> u8 {
    let (mut accepted, mut refused, mut any) = (0, 0, false);
    for member in request.tokens("accept-encoding") {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let is_accepted = parts.next().is_none_or(|weight| quality(weight) > 0);
        any |= name == b"*" && is_accepted;
        let is_it = |known: &str| {
            // RFC 9110, section 8.4.1.3.
            let prefix = name.get(..2).filter(|prefix| prefix.eq_ignore_ascii_case(b"x-"));
            let name = prefix.map_or(name, |_| &name[2..]);
            name.eq_ignore_ascii_case(known.as_bytes())
        };
        if let Some(at) = CODINGS.iter().position(|known| is_it(known)) {
            *(if is_accepted { &mut accepted } else { &mut refused }) |= 1 << at;
        }
    }
    if any { ((1 << CODINGS.len()) - 1) & !refused } else { accepted & !refused }
}

/// `q=0.5` in thousandths; 1 where it cannot be read.
fn quality(parameter: &[u8]) -> u16 {
    let text = parameter.strip_prefix(b"q=").or(parameter.strip_prefix(b"Q="));
    let number = text.and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<f32>().ok());
    number.filter(|q| (0.0..=1.0).contains(q)).map_or(1000, |q| (q * 1000.0) as u16)
}

/// Language ranges with their weights, best first. The order among equals says nothing.
fn languages(request: &Fields) -> Vec<(u16, String)> {
    let member = |member: &[u8]| {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let range = String::from_utf8_lossy(parts.next()?).to_ascii_lowercase();
        Some((parts.next().map_or(1000, quality), range))
    };
    let mut list: Vec<_> = request.tokens("accept-language").filter_map(member).collect();
    list.sort_by(|a, b| b.cmp(a));
    list
}

fn listed(languages: &[(u16, String)]) -> String {
    languages.iter().map(|(quality, range)| format!("{range};{quality},")).collect()
}

/// Whether nothing could please the client more than an answer in this language.
fn prefers(languages: &[(u16, String)], language: Option<&[u8]>) -> bool {
    let best = languages.first().map(|(quality, _)| *quality).filter(|quality| *quality > 0);
    language.is_some_and(|language| {
        languages
            .iter()
            .take_while(|(quality, _)| Some(*quality) == best)
            .any(|(_, range)| range.as_bytes().eq_ignore_ascii_case(language))
    })
}

fn joined(name: &str, request: &Fields) -> Vec<u8> {
    let members = request.all(name).flat_map(|line| split_unquoted(line, b','));
    members.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(&b',')
}
