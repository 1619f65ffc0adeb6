//! Cache directives: those of a response, from whichever field governs a CDN, and those of a
//! request.

use crate::wire::fields::Fields;
use sfv::{BareItem, Dictionary, FieldType, ListEntry};

/// RFC 9111, section 1.2.2: more seconds than this are as good as for ever.
const SECONDS_MAX: u64 = 1 << 31;

/// How we call ourselves to origins that target surrogates.
pub const SURROGATE: &str = "brim";

/// The fields that may govern here, the first that says something before the others.
pub const GOVERNING: [&str; 3] = ["CDN-Cache-Control", "Surrogate-Control", "Cache-Control"];

/// What a response says about its storage and use here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache` of the whole response.
    pub no_cache: bool,
    /// `private` of the whole response.
    pub private: bool,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `max-age`; an unreadable one is 0 (RFC 9111, section 4.2.1).
    pub max_age: Option<u64>,
    /// `s-maxage`
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate`
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error`
    pub stale_if_error: Option<u64>,
    /// Fields named by `no-cache="..."` and `private="..."`, in lower case.
    pub withheld_fields: Vec<String>,
    /// From a field that is meant for CDNs: `Expires` has no say then.
    pub is_targeted: bool,
}

/// What a request says about the answers that it accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// `no-cache`, also in Pragma.
    pub no_cache: bool,
    /// `no-store`
    pub no_store: bool,
    /// `max-age`
    pub max_age: Option<u64>,
    /// `min-fresh`
    pub min_fresh: Option<u64>,
    /// `max-stale`; any staleness without a value.
    pub max_stale: Option<u64>,
    /// `only-if-cached`
    pub only_if_cached: bool,
}

impl Directives {
    /// The directives that govern here: `CDN-Cache-Control` before `Surrogate-Control` before
    /// `Cache-Control`.
    pub fn of_response(fields: &Fields) -> Self {
        Self::governing(fields).1
    }

    /// The same, and the field that they are from.
    pub fn governing(fields: &Fields) -> (&'static str, Self) {
        let targeted = || Some((GOVERNING[0], targeted(fields)?));
        let surrogate = || Some((GOVERNING[1], surrogate(fields)?));
        let plain = || (GOVERNING[2], collect(lines(fields, "cache-control")));
        targeted().or_else(surrogate).unwrap_or_else(plain)
    }

    /// Whether the response forbids to be used past its time, whatever an operator says
    /// (RFC 9111, section 4.2.4).
    pub fn insists_on_validation(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.no_cache
    }

    fn apply(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // The first of several equal directives counts (RFC 9111, section 4.2.1).
        let number = |slot: &mut Option<u64>| {
            slot.get_or_insert(argument.seconds().unwrap_or(0));
        };
        if is("max-age") {
            number(&mut self.max_age);
        } else if is("s-maxage") {
            number(&mut self.s_maxage);
        } else if is("stale-while-revalidate") {
            number(&mut self.stale_while_revalidate);
        } else if is("stale-if-error") {
            number(&mut self.stale_if_error);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand = true;
        } else if is("no-cache") {
            self.no_cache |= !self.withhold(argument);
        } else if is("private") {
            self.private |= !self.withhold(argument);
        }
    }

    /// Whether fields are named, so that the directive is about them only.
    fn withhold(&mut self, argument: Argument<'_>) -> bool {
        let Argument::Text(list) = argument else { return false };
        let names: Vec<String> = crate::wire::fields::split_list(list)
            .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
            .collect();
        let are_named = !names.is_empty();
        self.withheld_fields.extend(names);
        are_named
    }
}

impl Demands {
    /// Pragma counts only where there is no Cache-Control (RFC 9111, section 5.4).
    pub fn of_request(fields: &Fields) -> Self {
        let mut demands = Self::default();
        let mut has_cache_control = false;
        for (name, argument) in lines(fields, "cache-control") {
            has_cache_control = true;
            demands.apply(name, argument);
        }
        if !has_cache_control {
            demands.no_cache =
                lines(fields, "pragma").any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"));
        }
        demands
    }

    fn apply(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let seconds = argument.seconds();
        if is("no-cache") {
            self.no_cache = true;
        } else if is("no-store") {
            self.no_store = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            self.max_age.get_or_insert(seconds.unwrap_or(0));
        } else if is("min-fresh") {
            self.min_fresh = self.min_fresh.or(seconds);
        } else if is("max-stale") {
            let allowed = if argument == Argument::None { Some(u64::MAX) } else { seconds };
            self.max_stale = self.max_stale.or(allowed);
        }
    }
}

/// What follows the `=` of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument<'a> {
    None,
    /// A token, or what stands between quotes.
    Text(&'a [u8]),
    /// Something that cannot be meant.
    Malformed,
}

impl Argument<'_> {
    fn seconds(self) -> Option<u64> {
        match self {
            Self::Text(digits) => delta_seconds(digits),
            Self::None | Self::Malformed => None,
        }
    }
}

/// `1*DIGIT`; what is too large is capped (RFC 9111, section 1.2.2).
pub fn delta_seconds(digits: &[u8]) -> Option<u64> {
    crate::wire::digits(digits).map(|number| number.min(SECONDS_MAX))
}

fn collect<'a>(directives: impl Iterator<Item = (&'a [u8], Argument<'a>)>) -> Directives {
    let mut collected = Directives::default();
    for (name, argument) in directives {
        collected.apply(name, argument);
    }
    collected
}

/// The directives of all lines of a field, in order.
fn lines<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = (&'a [u8], Argument<'a>)> {
    fields.all(name).flat_map(|line| split_unquoted(line, b',')).filter_map(directive)
}

fn directive(text: &[u8]) -> Option<(&[u8], Argument<'_>)> {
    let text = text.trim_ascii();
    let Some(equals) = memchr::memchr(b'=', text) else {
        return (!text.is_empty()).then_some((text, Argument::None));
    };
    let (name, value) = (&text[..equals], &text[equals + 1..]);
    // No white space is allowed around `=`. The directive counts, its argument does not.
    if name.trim_ascii_end() != name || value.trim_ascii_start() != value {
        return Some((name.trim_ascii(), Argument::Malformed));
    }
    let argument = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\"").map_or(Argument::Malformed, Argument::Text),
        None => Argument::Text(value),
    };
    Some((name, argument))
}

/// Splits where the separator stands outside quoted strings. A quote that is never closed quotes
/// nothing: it must not hide what follows.
pub(super) fn split_unquoted(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let is_separator = |byte: &u8| *byte == separator;
        let (mut is_quoted, mut is_escaped) = (false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                byte if *byte == separator && !is_quoted => {
                    rest = Some(&text[at + 1..]);
                    return Some(&text[..at]);
                }
                _ => {}
            }
        }
        match text.iter().position(is_separator).filter(|_| is_quoted) {
            Some(at) => {
                rest = Some(&text[at + 1..]);
                Some(&text[..at])
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}

/// `CDN-Cache-Control` (RFC 9213, section 2.1). One that is empty or malformed is not there.
fn targeted(fields: &Fields) -> Option<Directives> {
    fields.first("cdn-cache-control")?;
    let lines: Vec<&[u8]> = fields.all("cdn-cache-control").collect();
    let parsed = Dictionary::parse(sfv::Parser::new(&lines.join(&b", "[..]))).ok()?;
    let mut directives = Directives { is_targeted: true, ..Directives::default() };
    for (name, value) in &parsed {
        let name = name.as_str().as_bytes();
        match value {
            ListEntry::Item(item) => match &item.bare_item {
                BareItem::Boolean(true) => directives.apply(name, Argument::None),
                BareItem::Boolean(false) => {}
                // A value of another type is not to be used (RFC 9213, section 2.1): a directive
                // that restricts does so without it, one that permits does not count.
                _ if name == b"public" => {}
                BareItem::Integer(number) if !matches!(name, b"private" | b"no-cache") => {
                    directives.apply(name, Argument::Text(number.to_string().as_bytes()));
                }
                BareItem::String(text) if matches!(name, b"private" | b"no-cache") => {
                    directives.apply(name, Argument::Text(text.as_str().as_bytes()));
                }
                _ => directives.apply(name, Argument::Malformed),
            },
            ListEntry::InnerList(_) if name == b"public" => {}
            ListEntry::InnerList(_) => directives.apply(name, Argument::Malformed),
        }
    }
    (!parsed.is_empty()).then_some(directives)
}

/// `Surrogate-Control` of the Edge Architecture note: directives may be targeted at one surrogate
/// (`;name`), and `max-age=60+30` allows 30 more seconds while it is being refreshed. One that says
/// nothing about storage or freshness is not there.
fn surrogate(fields: &Fields) -> Option<Directives> {
    fields.first("surrogate-control")?;
    let mut directives = Directives { is_targeted: true, ..Directives::default() };
    let members = fields
        .all("surrogate-control")
        .flat_map(|line| split_unquoted(line, b','))
        .filter(|member| {
            let mut targets = split_unquoted(member, b';').skip(1).peekable();
            targets.peek().is_none()
                || targets.any(|t| t.trim_ascii().eq_ignore_ascii_case(SURROGATE.as_bytes()))
        });
    for member in members {
        let text = split_unquoted(member, b';').next().unwrap_or_default();
        let Some((name, argument)) = directive(text) else { continue };
        match argument {
            Argument::Text(value) if name.eq_ignore_ascii_case(b"max-age") => {
                let mut parts = value.splitn(2, |byte| *byte == b'+');
                directives.apply(name, Argument::Text(parts.next().unwrap_or_default()));
                if let Some(extension) = parts.next().and_then(delta_seconds) {
                    directives.stale_while_revalidate = Some(extension);
                }
            }
            argument => directives.apply(name, argument),
        }
    }
    let says_something = directives.no_store || directives.max_age.is_some();
    says_something.then_some(directives)
}
