//! The kinds of values in the file. Each reads one, or says in words what it expected, and tells
//! editors the same: see `kind`. Those that say where somebody is are `addresses`.

mod addresses;

pub use addresses::origin_server;
pub(super) use addresses::{
    ADDRESS, AUTHORITY, CERTIFICATE_NAME, COLLECTOR, HOST, NETWORK, SERVER, SERVER_NAME,
};

use super::kind::{Boolean, Kind, Text, Unlike, Whole, Words};
use super::{
    AccessLog, Balance, ErrorFormat, HostHeader, Http2, Levels, LogFormat, Parents, Query,
};
use crate::wire::fields::FIELDS_CEILING;
use bytesize::ByteSize;
use serde_json::{Value as Json, json};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeValue;

/// Any text but the empty one, for `Text::pattern`.
const ANY: &str = "";

fn any(text: &str) -> Result<&str, Unlike> {
    Some(text).filter(|text| !text.is_empty()).ok_or(None)
}

pub(super) const TEXT: Text<String> = Text {
    expected: "a text in quotes, not empty",
    pattern: ANY,
    read: |text| any(text).map(str::to_owned),
};

pub(super) const BOOLEAN: Boolean = Boolean;

pub(super) const PATH: Text<PathBuf> =
    Text { expected: "a path in quotes", pattern: ANY, read: |text| any(text).map(PathBuf::from) };

pub(super) const THREADS: Whole<usize> =
    Whole::between(0, 1024, "a whole number up to 1024; 0 for one per core");

pub(super) const COUNT_ABOVE_ZERO: Whole<usize> =
    Whole::between(1, u64::MAX, "a whole number above 0");

pub(super) const HEAD_FIELDS: Whole<usize> =
    Whole::between(1, FIELDS_CEILING as u64, "a whole number from 1 to 1024");

pub(super) const STREAMS: Whole<usize> =
    Whole::between(1, 10_000, "a whole number from 1 to 10000");

/// The kinds of durations have units, pairs and patterns in common. Patterns leave out what only the
/// parser would understand: white space inside a number.
macro_rules! durations {
    (pair) => {
        concat!("[0-9]+(\\.[0-9]+)? *", durations!(unit), " *")
    };
    (unit) => {
        "(nanos|nsec|ns|usec|us|\u{b5}s|millis|msec|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h\
         |days?|d|weeks?|wks?|w|months?|M|years?|yrs?|y)"
    };
    (some) => {
        concat!("^ *(", durations!(pair), ")+$")
    };
    (above zero) => {
        concat!("^(?=.*[1-9]) *(", durations!(pair), ")+$")
    };
}

/// Editors also take more than ten years, and fractions of a nanosecond.
pub(super) const DURATION: Text<Duration> = Text {
    expected: "a duration with a unit, such as \"500ms\", \"10s\" or \"30d\"",
    pattern: durations!(some),
    read: duration,
};

// Far beyond any use, and far below what a clock can add.
const DURATION_MAX: Duration = Duration::from_secs(10 * 366 * 86400);

fn duration(text: &str) -> Result<Duration, Unlike> {
    let duration = humantime::parse_duration(text).map_err(|_| None)?;
    if duration > DURATION_MAX { Err(Some("at most 10 years".into())) } else { Ok(duration) }
}

/// As wide for editors as `DURATION` is.
pub(super) const DURATION_ABOVE_ZERO: Text<Duration> = Text {
    expected: DURATION.expected,
    pattern: durations!(above zero),
    read: |text| {
        let duration = duration(text)?;
        if duration.is_zero() { Err(Some("a duration above 0".into())) } else { Ok(duration) }
    },
};

/// It is told in seconds; less than one would be none, which means to forget. Editors also take what
/// is no whole number of them.
pub(super) const HSTS_AGE: Text<Duration> = Text {
    expected: DURATION.expected,
    pattern: concat!("^0s$|", durations!(above zero)),
    read: |text| {
        let duration = duration(text)?;
        let is_whole = duration.subsec_nanos() == 0;
        if is_whole && (!duration.is_zero() || text == "0s") {
            Ok(duration)
        } else {
            let expected = "whole seconds above 0, such as \"365d\", or \"0s\" to be forgotten";
            Err(Some(expected.into()))
        }
    },
};

/// A number without a unit is more often a mistake than a number of bytes.
pub(super) const SIZE: Text<u64> = Text {
    expected: "a size with a unit, such as \"64KiB\" or \"10GiB\"",
    pattern: "^([0-9]+(\\.[0-9]*)?|\\.[0-9]+) *([bB]|[kKmMgGtTpPeE][iI]?[bB]?)$",
    read: size,
};

fn size(text: &str) -> Result<u64, Unlike> {
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        return Err(None);
    }
    text.parse::<ByteSize>().map(|size| size.as_u64()).map_err(|_| None)
}

/// Below this there is not room for enough segments.
const DISK_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// A capacity of the disk tier. Editors also take less than it needs.
pub(super) const DISK_SIZE: Text<u64> = Text {
    read: |text| {
        let bytes = size(text)?;
        if bytes < DISK_BYTES_MIN { Err(Some("at least \"16MiB\"".to_owned())) } else { Ok(bytes) }
    },
    ..SIZE
};

macro_rules! level {
    () => {
        "((error|warn|info|debug|trace)|[A-Za-z0-9_:]+=(error|warn|info|debug|trace|off))"
    };
}

/// That there is one level for all, and not two, is not told to editors.
pub(super) const LEVELS: Text<Levels> = Text {
    expected: "a level, as \"info\", or levels of targets, too, as \"info,brim::upstream=debug\"",
    pattern: concat!("^ *", level!(), " *(, *", level!(), " *)*$"),
    read: |text| text.parse().map_err(of_its_own),
};

pub(super) const ERROR_FORMAT: Words<ErrorFormat> =
    Words(&[("text", ErrorFormat::Text), ("json", ErrorFormat::Json)]);

/// The names in a template are not told to editors.
pub(super) const LOG_FORMAT: Text<LogFormat> = Text {
    expected: "\"json\", \"combined\" or a template such as \"{client} {status}\"",
    pattern: "^(json|combined|.*[{}].*)$",
    read: |text| LogFormat::read(text).map_err(of_its_own),
};

/// What a reader says goes on after "expected".
fn of_its_own(message: String) -> Unlike {
    Some(match message.strip_prefix("expected ") {
        Some(expected) => expected.to_owned(),
        None => format!("another text: {message}"),
    })
}

pub(super) const PARENTS: Words<Parents> =
    Words(&[("any", Parents::Any), ("trusted", Parents::Trusted)]);

pub(super) const SHARE: Share = Share;

/// A part of all.
#[derive(Clone, Copy)]
pub(super) struct Share;

impl Kind for Share {
    type Value = f64;

    fn expected(&self) -> String {
        "a share from 0.0, none, to 1.0, all".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<f64, String> {
        let share = match value {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => None,
        };
        let share = share.filter(|share: &f64| (0.0..=1.0).contains(share));
        share.ok_or_else(|| self.expected())
    }

    fn written(&self, value: &f64) -> Option<String> {
        Some(format!("{value:?}"))
    }

    fn schema(&self) -> Json {
        json!({ "type": "number", "minimum": 0, "maximum": 1 })
    }
}

pub(super) const ACCESS_LOG: Text<AccessLog> = Text {
    expected: "\"off\", \"stdout\" or a file's path",
    pattern: ANY,
    read: |text| {
        Ok(match any(text)? {
            "off" => AccessLog::Off,
            "stdout" => AccessLog::Stdout,
            path => AccessLog::File(path.into()),
        })
    },
};

pub(super) const BALANCE: Words<Balance> = Words(&[
    ("round_robin", Balance::RoundRobin),
    ("least_conn", Balance::LeastConn),
    ("hash", Balance::Hash),
]);

pub(super) const HOST_HEADER: Words<HostHeader> =
    Words(&[("client", HostHeader::Client), ("origin", HostHeader::Origin)]);

pub(super) const HTTP2: Words<Http2> =
    Words(&[("auto", Http2::Auto), ("never", Http2::Never), ("always", Http2::Always)]);

pub(super) const STATUS: Whole<u16> = Whole::between(200, 599, "a status from 200 to 599");

/// More at one time than any machine has room for is a mistake, and a rate beyond what any machine
/// answers is none.
const MANY: u64 = 1_000_000;
const UP_TO_MANY: &str = "a whole number up to 1000000";
const FROM_ONE_TO_MANY: &str = "a whole number from 1 to 1000000";

pub(super) const AT_ONE_TIME: Whole<usize> = Whole::between(0, MANY, UP_TO_MANY);

pub(super) const AT_ONE_TIME_ABOVE_ZERO: Whole<usize> = Whole::between(1, MANY, FROM_ONE_TO_MANY);

/// Requests a second.
pub(super) const A_SECOND: Whole<u32> = Whole::between(0, MANY, UP_TO_MANY);

pub(super) const A_SECOND_ABOVE_ZERO: Whole<u32> = Whole::between(1, MANY, FROM_ONE_TO_MANY);

pub(super) const PERCENT: Whole<u32> =
    Whole::between(0, 100, "a whole number of percent, from 0 to 100");

pub(super) const FEW: Whole<u32> = Whole::between(0, 1000, "a whole number up to 1000");

pub(super) const FEW_ABOVE_ZERO: Whole<u32> =
    Whole::between(1, 1000, "a whole number from 1 to 1000");

/// What a server is asked for: path and query, as a request line takes them.
pub(super) const REQUEST_PATH: Text<String> = Text {
    expected: "a path, such as \"/healthz\"",
    pattern: "^/[!-\"$-~]*$",
    read: |text| {
        let is_good = text.starts_with('/')
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if is_good { Ok(text.to_owned()) } else { Err(None) }
    },
};

/// The lowest version of TLS; whether 1.2 is spoken, too.
pub(super) const ALLOWS_TLS12: Words<bool> = Words(&[("1.2", true), ("1.3", false)]);

/// Whether clients need a certificate.
pub(super) const IS_REQUIRED: Words<bool> = Words(&[("required", true), ("optional", false)]);

pub(super) const PORT: Whole<u16> = Whole::between(1, 65535, "a port from 1 to 65535");

/// A server's share beside the others.
pub(super) const WEIGHT: Whole<usize> = Whole::between(1, 256, "a whole number from 1 to 256");

/// Which part of the query names the object. Editors know no preset but `@tracking`, and take any name.
#[derive(Clone, Copy)]
pub(super) struct QueryParameters;

pub(super) const QUERY: QueryParameters = QueryParameters;

impl Kind for QueryParameters {
    type Value = Query;

    fn expected(&self) -> String {
        "\"all\", \"none\", { allow = [..] } or { deny = [..] }".to_owned()
    }

    fn read(&self, value: &DeValue<'_>) -> Result<Query, String> {
        let expected = || self.expected();
        match value {
            DeValue::String(text) if text == "all" => Ok(Query::All),
            DeValue::String(text) if text == "none" => Ok(Query::None),
            DeValue::Table(table) => {
                let mut entries = table.iter();
                let (Some((key, names)), None) = (entries.next(), entries.next()) else {
                    return Err(expected());
                };
                let names = names.get_ref().as_array().ok_or_else(expected)?.iter();
                let names = names.map(|name| TEXT.read(name.get_ref()).map_err(|_| expected()));
                let names = names.collect::<Result<Vec<_>, _>>()?;
                match key.get_ref().as_ref() {
                    "allow" => Ok(Query::Allow(with_presets(names)?)),
                    "deny" => Ok(Query::Deny(with_presets(names)?)),
                    _ => Err(expected()),
                }
            }
            _ => Err(expected()),
        }
    }

    fn schema(&self) -> Json {
        let names = json!({
            "type": "array",
            "items": { "type": "string", "pattern": "^(@tracking|[^@].*)$" },
        });
        let only = |key: &str| {
            json!({
                "type": "object",
                "properties": { key: names },
                "required": [key],
                "additionalProperties": false,
            })
        };
        let words = json!({ "type": "string", "enum": ["all", "none"] });
        json!({ "anyOf": [words, only("allow"), only("deny")] })
    }
}

/// Parameters that tell advertisers where a visitor came from, and no origin anything.
const TRACKING: &[&str] = &[
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "_openstat",
    "dclid",
    "fbclid",
    "gad_source",
    "gbraid",
    "gclid",
    "gclsrc",
    "igshid",
    "li_fat_id",
    "mc_cid",
    "mc_eid",
    "mkt_tok",
    "msclkid",
    "mtm_*",
    "pk_*",
    "s_kwcid",
    "srsltid",
    "ttclid",
    "twclid",
    "utm_*",
    "vero_id",
    "wbraid",
    "yclid",
];

/// Names of parameters, `*` at the end for any; `@tracking` stands for a list of them.
fn with_presets(names: Vec<String>) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    for name in names {
        match name.as_str() {
            "@tracking" => all.extend(TRACKING.iter().map(|&name| name.to_owned())),
            preset if preset.starts_with('@') => {
                return Err("parameter names, or the preset \"@tracking\"".into());
            }
            _ => all.push(name),
        }
    }
    Ok(all)
}

/// Editors do not look at its length.
pub(super) const FIELD_NAME: Text<String> = Text {
    expected: "the name of a field, such as \"X-Device\"",
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    read: |text| match http::HeaderName::try_from(text) {
        Ok(_) => Ok(text.to_ascii_lowercase()),
        Err(_) => Err(None),
    },
};

pub(super) const COOKIE_NAME: Text<String> = Text {
    expected: "the name of a cookie, such as \"currency\"",
    pattern: FIELD_NAME.pattern,
    read: |text| match http::HeaderName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(None),
    },
};

pub(super) const PATH_PATTERN: Text<String> = Text {
    expected: "a path, such as \"/assets/*\"",
    pattern: "^[/*]",
    read: |text| {
        if text.starts_with(['/', '*']) { Ok(text.to_owned()) } else { Err(None) }
    },
};
