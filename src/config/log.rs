//! `[log]` and `[trace]`: what is told of each request, where, and how loud the error log is.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::str::FromStr;
use tracing::Level;
use tracing::level_filters::LevelFilter;

/// `[log]`
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Where access lines go.
    pub access: AccessLog,
    /// How they look.
    pub format: LogFormat,
    /// The share of requests that get one, from 0 to 1; what went wrong always does.
    pub sample: f64,
    /// The least levels of the error log.
    pub level: Levels,
    /// How its lines look.
    pub error_format: ErrorFormat,
}

/// Where access lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// This file, appended to.
    File(PathBuf),
}

/// How access lines look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One object a line.
    Json,
    /// The combined format of other servers.
    Combined,
    /// The operator's own.
    Template(Vec<LogPiece>),
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece {
    /// As it stands.
    Text(String),
    /// What is known of the request.
    Value(LogValue),
    /// A field of the request.
    Field(String),
}

/// What an access line can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are named after their keys in the line")]
pub enum LogValue {
    Time,
    Client,
    Protocol,
    Method,
    Host,
    Target,
    Site,
    Status,
    Bytes,
    FirstByteMs,
    DurationMs,
    OriginMs,
    Outcome,
    Reason,
    Tier,
    Detail,
    UserAgent,
    Referer,
    RequestId,
    TraceId,
}

impl LogValue {
    /// All of them, in the order in which JSON has them.
    pub const ALL: [(&str, Self); 20] = [
        ("time", Self::Time),
        ("client", Self::Client),
        ("protocol", Self::Protocol),
        ("method", Self::Method),
        ("host", Self::Host),
        ("target", Self::Target),
        ("site", Self::Site),
        ("status", Self::Status),
        ("bytes", Self::Bytes),
        ("first_byte_ms", Self::FirstByteMs),
        ("duration_ms", Self::DurationMs),
        ("origin_ms", Self::OriginMs),
        ("outcome", Self::Outcome),
        ("reason", Self::Reason),
        ("tier", Self::Tier),
        ("detail", Self::Detail),
        ("user_agent", Self::UserAgent),
        ("referer", Self::Referer),
        ("request_id", Self::RequestId),
        ("trace_id", Self::TraceId),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// How lines of the error log look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

impl LogFormat {
    /// Reads a format, or says what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        match text {
            "json" => return Ok(Self::Json),
            "combined" => return Ok(Self::Combined),
            _ if text.contains(['{', '}']) => {}
            _ => {
                let expected = "\"json\", \"combined\" or a template such as \"{client} {status}\"";
                return Err(format!("expected {expected}"));
            }
        }
        if text.chars().any(char::is_control) {
            return Err("expected one line without control characters".to_owned());
        }
        let (mut pieces, mut rest, mut plain) = (Vec::new(), text, String::new());
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if from.starts_with("{{") || from.starts_with("}}") {
                plain.push_str(&from[..1]);
                rest = &from[2..];
                continue;
            }
            let name =
                from.strip_prefix('{').ok_or("a `}` without its `{`; `}}` is one of its own")?;
            let (name, after) =
                name.split_once('}').ok_or("a `{` without its `}`; `{{` is one of its own")?;
            if !plain.is_empty() {
                pieces.push(LogPiece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece(name)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(LogPiece::Text(plain));
        }
        Ok(Self::Template(pieces))
    }

    /// The request fields of a template that hold what nobody else should know.
    pub(super) fn secrets(&self) -> Option<&str> {
        let Self::Template(pieces) = self else { return None };
        let is_secret = |name: &str| {
            ["authorization", "cookie", "proxy-authorization"]
                .iter()
                .any(|secret| name.eq_ignore_ascii_case(secret))
        };
        pieces.iter().find_map(|piece| match piece {
            LogPiece::Field(name) if is_secret(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

fn piece(name: &str) -> Result<LogPiece, String> {
    if let Some(field) = name.strip_prefix("field:") {
        let is_good = http::HeaderName::from_bytes(field.as_bytes()).is_ok();
        let expected = || format!("`{{{name}}}`: expected the name of a request field");
        return is_good.then(|| LogPiece::Field(field.to_owned())).ok_or_else(expected);
    }
    LogValue::named(name).map(LogPiece::Value).ok_or_else(|| {
        let known = || LogValue::ALL.iter().map(|(name, _)| *name);
        match super::nearest(name, known().chain(["field:"])) {
            Some("field:") => {
                format!("`{{{name}}}`: did you mean `{{field:..}}`, a request field?")
            }
            Some(near) => format!("`{{{name}}}` is not known; did you mean `{{{near}}}`?"),
            None => {
                let known: Vec<_> = known().collect();
                format!("`{{{name}}}` is not known; known are {}, field:..", known.join(", "))
            }
        }
    })
}

/// The least level of what is told, and others for single parts of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Where nothing else is said.
    pub default: Level,
    /// Modules as the lines name them, such as `brim::upstream`.
    pub targets: Vec<(String, LevelFilter)>,
}

/// Targets with a level of their own.
const TARGETS_MAX: usize = 64;
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

impl From<Level> for Levels {
    fn from(default: Level) -> Self {
        Self { default, targets: Vec::new() }
    }
}

impl FromStr for Levels {
    type Err = String;

    /// `info`, or `info,brim::upstream=debug,h2=off`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mut default, mut targets) = (None, Vec::new());
        for member in text.split(',').map(str::trim) {
            match member.split_once('=') {
                None => {
                    let level = level(member)?.into_level();
                    let level = level.ok_or("expected a level; \"off\" is for single targets")?;
                    if default.replace(level).is_some() {
                        return Err("expected one level for all, others as target=level".to_owned());
                    }
                }
                Some((target, word)) => {
                    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
                    if target.is_empty() || !target.bytes().all(is_good) {
                        return Err(format!(
                            "expected a target such as brim::upstream, not \"{target}\""
                        ));
                    }
                    targets.push((target.to_owned(), level(word)?));
                }
            }
        }
        if targets.len() > TARGETS_MAX {
            return Err(format!("expected at most {TARGETS_MAX} targets"));
        }
        Ok(Self { default: default.unwrap_or(Level::INFO), targets })
    }
}

fn level(word: &str) -> Result<LevelFilter, String> {
    let known = LEVELS.contains(&word).then(|| word.parse().ok()).flatten();
    known.ok_or_else(|| {
        let expected = "expected \"error\", \"warn\", \"info\", \"debug\" or \"trace\"";
        match super::nearest(word, LEVELS.into_iter()) {
            Some(near) => format!("{expected}, also for targets as in \"info,brim::upstream=debug\"; did you mean \"{near}\"?"),
            None => format!("{expected}, also for targets as in \"info,brim::upstream=debug\""),
        }
    })
}

impl Display for Levels {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.default.as_str().to_ascii_lowercase())?;
        self.targets.iter().try_for_each(|(target, level)| write!(f, ",{target}={level}"))
    }
}

/// `[trace]`
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Where spans are sent, if they are: an OTLP/HTTP collector, `host:port` and a path.
    pub otlp: Option<Collector>,
    /// The share of requests of which they are, where nobody has decided before.
    pub sample: f64,
    /// Whose decision counts.
    pub parents: Parents,
    /// What the spans say they are from.
    pub service_name: String,
}

/// An OTLP/HTTP collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// `http://host:port/v1/traces`
    pub url: String,
}

/// Whose `traceparent` decides whether a trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parents {
    /// Everybody's.
    Any,
    /// That of trusted proxies.
    Trusted,
}

impl Default for Trace {
    fn default() -> Self {
        Self { otlp: None, sample: 0.01, parents: Parents::Any, service_name: "brim".to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_with_its_literal_braces() {
        let read = LogFormat::read("{{{client}}} {status}|{field:X-A}").expect("good");
        assert_eq!(
            read,
            LogFormat::Template(vec![
                LogPiece::Text("{".into()),
                LogPiece::Value(LogValue::Client),
                LogPiece::Text("} ".into()),
                LogPiece::Value(LogValue::Status),
                LogPiece::Text("|".into()),
                LogPiece::Field("X-A".into()),
            ])
        );
    }

    #[test]
    fn a_bad_template_is_told_what_is_wrong_with_it() {
        for (text, why) in [
            ("{clinet}", "did you mean `{client}`?"),
            ("{status", "a `{` without its `}`"),
            ("status}", "a `}` without its `{`"),
            ("{field:}", "the name of a request field"),
            ("{field:a b}", "the name of a request field"),
            ("{status}\n", "without control characters"),
            ("jsno", "\"json\", \"combined\" or a template"),
            ("{}", "is not known"),
        ] {
            let told = LogFormat::read(text).expect_err(text);
            assert!(told.contains(why), "{text}: {told}");
        }
    }

    #[test]
    fn levels_are_read_as_they_are_shown() {
        for text in ["info", "warn,brim::upstream=debug,h2=off", "trace"] {
            assert_eq!(text.parse::<Levels>().expect("good").to_string(), text);
        }
        assert_eq!("h2=debug".parse::<Levels>().expect("good").to_string(), "info,h2=debug");
        for bad in ["", "inof", "info,warn", "off", "info,=debug", "info,a b=debug", "info,", "5"] {
            assert!(bad.parse::<Levels>().is_err(), "{bad}");
        }
        let told = "debgu".parse::<Levels>().expect_err("bad");
        assert!(told.contains("did you mean \"debug\"?"), "{told}");
    }
}
