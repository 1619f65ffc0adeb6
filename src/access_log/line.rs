//! How a record is written: straight into one buffer, in the operator's format.

use super::escape;
use super::record::Record;
use crate::config::{LogFormat, LogPiece, LogValue};
use crate::trace::RequestId;
use crate::wire::Version;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// One thing that is known.
enum Known<'a> {
    /// Of ours: nothing in it has to be escaped.
    Word(&'a str),
    /// Of the client's.
    Bytes(&'a [u8]),
    Number(u64),
    Milliseconds(Duration),
    Address(IpAddr),
    Time(SystemTime),
    RequestId(&'a RequestId),
    TraceId(u128),
}

/// Adds a line with its end.
pub(super) fn write(out: &mut Vec<u8>, format: &LogFormat, record: &Record<'_>) {
    match format {
        LogFormat::Json => json(out, record),
        LogFormat::Combined => combined(out, record),
        LogFormat::Template(pieces) => template(out, pieces, record),
    }
    out.push(b'\n');
}

fn json(out: &mut Vec<u8>, record: &Record<'_>) {
    let mut before = b'{';
    for (name, value) in LogValue::ALL {
        let Some(known) = known(record, value) else { continue };
        out.push(before);
        before = b',';
        put(out, format_args!("\"{name}\":"));
        match known {
            Known::Number(_) | Known::Milliseconds(_) => plain(out, &known),
            Known::Bytes(bytes) => {
                out.push(b'"');
                escape::json(out, bytes);
                out.push(b'"');
            }
            _ => {
                out.push(b'"');
                plain(out, &known);
                out.push(b'"');
            }
        }
    }
    out.push(b'}');
}

/// As nginx and Apache write it; there are no users.
fn combined(out: &mut Vec<u8>, record: &Record<'_>) {
    let time = jiff::Timestamp::try_from(record.time).unwrap_or_default();
    let time = time.to_zoned(jiff::tz::TimeZone::UTC);
    put(out, format_args!("{} - - [{}] \"", record.client, time.strftime("%d/%b/%Y:%H:%M:%S %z")));
    match record.head {
        Some(head) => {
            escape::plain(out, head.method.as_str().as_bytes());
            out.push(b' ');
            escape::plain(out, head.target().as_bytes());
            let version = match head.version {
                Version::Http2 => "HTTP/2.0",
                version => version.name(),
            };
            put(out, format_args!(" {version}"));
        }
        None => out.push(b'-'),
    }
    let content = record.sent.bytes.saturating_sub(record.sent.head_bytes);
    put(out, format_args!("\" {:03} {content}", record.status));
    for name in ["referer", "user-agent"] {
        out.extend_from_slice(b" \"");
        match record.field(name) {
            Some(value) => escape::plain(out, value),
            None => out.push(b'-'),
        }
        out.push(b'"');
    }
}

fn template(out: &mut Vec<u8>, pieces: &[LogPiece], record: &Record<'_>) {
    for piece in pieces {
        let known = match piece {
            LogPiece::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            LogPiece::Value(value) => known(record, *value),
            LogPiece::Field(name) => {
                record.head.and_then(|head| head.fields.first(name)).map(Known::Bytes)
            }
        };
        match known {
            Some(known) => plain(out, &known),
            None => out.push(b'-'),
        }
    }
}

fn known<'a>(record: &'a Record<'_>, value: LogValue) -> Option<Known<'a>> {
    let head = record.head;
    Some(match value {
        LogValue::Time => Known::Time(record.time),
        LogValue::Client => Known::Address(record.client),
        LogValue::Protocol => Known::Word(head?.version.name()),
        LogValue::Method => Known::Bytes(head?.method.as_str().as_bytes()),
        LogValue::Host => Known::Bytes(head?.authority_text().unwrap_or_default().as_bytes()),
        LogValue::Target => Known::Bytes(head?.target().as_bytes()),
        LogValue::Site => Known::Bytes(record.site.as_ref()?.name.as_bytes()),
        LogValue::Status => Known::Number(record.status.into()),
        LogValue::Bytes => Known::Number(record.sent.bytes),
        LogValue::FirstByteMs => Known::Milliseconds(record.first_byte()?),
        LogValue::DurationMs => Known::Milliseconds(record.duration.unwrap_or_default()),
        LogValue::OriginMs => Known::Milliseconds(record.origin_duration?),
        LogValue::Outcome => Known::Word(record.outcome.label()),
        LogValue::Reason => Known::Word(record.outcome.reason()?),
        LogValue::Tier => Known::Word(record.tier?.label()),
        LogValue::Detail => Known::Bytes(record.detail?.as_bytes()),
        LogValue::UserAgent => Known::Bytes(record.field("user-agent")?),
        LogValue::Referer => Known::Bytes(record.field("referer")?),
        LogValue::RequestId => Known::RequestId(record.trail?.id()),
        LogValue::TraceId => Known::TraceId(record.trail?.trace_id()?),
    })
}

fn plain(out: &mut Vec<u8>, known: &Known<'_>) {
    match known {
        Known::Word(word) => out.extend_from_slice(word.as_bytes()),
        Known::Bytes(b"") => out.push(b'-'),
        Known::Bytes(bytes) => escape::plain(out, bytes),
        Known::Number(number) => put(out, format_args!("{number}")),
        Known::Milliseconds(time) => {
            let microseconds = time.as_micros();
            put(out, format_args!("{}.{:03}", microseconds / 1000, microseconds % 1000));
        }
        Known::Address(address) => put(out, format_args!("{address}")),
        Known::Time(time) => {
            let time = jiff::Timestamp::try_from(*time).unwrap_or_default();
            put(out, format_args!("{time:.3}"));
        }
        Known::RequestId(id) => id.write(out),
        Known::TraceId(id) => put(out, format_args!("{id:032x}")),
    }
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Nothing that is written into memory fails.
    let _ = out.write_fmt(text);
}
