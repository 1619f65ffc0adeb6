//! How a record is written: straight into one buffer, in the operator's format.

use super::escape;
use super::record::Record;
use crate::config::{LogFormat, LogPiece, LogValue};
use crate::trace::RequestId;
use crate::wire::Version;
use crate::wire::fields::put_number;
use std::cell::Cell;
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

impl Record<'_> {
    /// Its line as one JSON object.
    pub fn json(&self) -> String {
        let mut line = Vec::new();
        json(&mut line, self);
        String::from_utf8(line).unwrap_or_default()
    }
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
        for part in ["\"", name, "\":"] {
            out.extend_from_slice(part.as_bytes());
        }
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
    thread_local! {
        /// `21/Sep/2026:14:13:20 +0000`
        static LATEST: Latest<26> = const { Cell::new(None) };
    }
    plain(out, &Known::Address(record.client));
    out.extend_from_slice(b" - - [");
    LATEST.with(|latest| {
        put_second(out, latest, since_epoch(record.time), |time| {
            time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
        });
    });
    out.extend_from_slice(b"] \"");
    match record.head {
        Some(head) => {
            escape::plain(out, head.method.as_str().as_bytes());
            out.push(b' ');
            escape::plain(out, head.target().as_bytes());
            let version = match head.version {
                Version::Http2 => "HTTP/2.0",
                version => version.name(),
            };
            out.push(b' ');
            out.extend_from_slice(version.as_bytes());
        }
        None => out.push(b'-'),
    }
    out.extend_from_slice(b"\" ");
    match record.status {
        0 => out.extend_from_slice(b"000"),
        status => put_number(out, status),
    }
    out.push(b' ');
    put_number(out, record.sent.bytes.saturating_sub(record.sent.head_bytes));
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
        LogValue::Site => Known::Bytes(record.site?.name.as_bytes()),
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
        Known::Number(number) => put_number(out, *number),
        Known::Milliseconds(time) => {
            let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            put_number(out, microseconds / 1000);
            put_thousandths(out, microseconds % 1000);
        }
        Known::Address(IpAddr::V4(address)) => {
            for (position, byte) in address.octets().into_iter().enumerate() {
                if position > 0 {
                    out.push(b'.');
                }
                put_number(out, byte);
            }
        }
        Known::Address(address) => put(out, format_args!("{address}")),
        Known::Time(time) => put_time(out, *time),
        Known::RequestId(id) => id.write(out),
        Known::TraceId(id) => put(out, format_args!("{id:032x}")),
    }
}

fn put_time(out: &mut Vec<u8>, time: SystemTime) {
    thread_local! {
        /// `2026-09-21T14:13:20`
        static LATEST: Latest<19> = const { Cell::new(None) };
    }
    let since = since_epoch(time);
    LATEST.with(|latest| put_second(out, latest, since, |time| time.to_string()));
    put_thousandths(out, since.subsec_millis().into());
    out.push(b'Z');
}

/// The second that was written last, and how.
type Latest<const N: usize> = Cell<Option<(u64, [u8; N])>>;

/// Many lines are of the same second: what they have in common is worked out once.
fn put_second<const N: usize>(
    out: &mut Vec<u8>,
    latest: &Latest<N>,
    since: Duration,
    text: impl FnOnce(jiff::Timestamp) -> String,
) {
    let seconds = since.as_secs();
    let known = latest.get().filter(|(of, _)| *of == seconds);
    let (_, text) = known.unwrap_or_else(|| {
        let time = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        let text = text(time.unwrap_or_default());
        (seconds, text.as_bytes().first_chunk().copied().unwrap_or([b'-'; N]))
    });
    latest.set(Some((seconds, text)));
    out.extend_from_slice(&text);
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A point and three digits.
fn put_thousandths(out: &mut Vec<u8>, number: u64) {
    let digit = |value: u64| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[b'.', digit(number / 100), digit(number / 10), digit(number)]);
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Nothing that is written into memory fails.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_log::Sent;
    use crate::outcome::{Forward, Outcome, Tier};
    use crate::trace::Trail;
    use crate::wire::HeadLimits;
    use crate::wire::request::{Parser, RequestHead};
    use bytes::BytesMut;
    use std::net::Ipv4Addr;
    use std::time::UNIX_EPOCH;

    const REQUEST: &[u8] = b"GET /a?b=\"1\" HTTP/1.1\r\nHost: a.test\r\nX-Request-Id: the-id\r\n\
        Referer: http://b.test/\\\r\nUser-Agent: \"x\" \xff\t{}\r\n\
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";

    fn head() -> RequestHead {
        let head = Parser::default().next(&mut BytesMut::from(REQUEST), &HeadLimits::default());
        head.expect("good").expect("whole")
    }

    /// What is written of a request that has everything, and of one that has nothing.
    fn written(format: &str) -> [String; 2] {
        let format = crate::config::check(
            &format!(
                "[log]\nformat = '{format}'\n[[origin]]\nname = 'o'\nservers = ['http://o']\n\
                 [[site]]\nhosts = ['*']\norigin = 'o'\n"
            ),
            "test",
            std::path::Path::new(""),
        );
        let format = format.settings.expect("good").log.format;
        let now = UNIX_EPOCH + Duration::from_millis(1_790_000_000_042);
        let head = head();
        let trail = Trail::new(&head, true, now, None);
        let client = Ipv4Addr::new(192, 0, 2, 7).into();
        let mut all = Record::new(now, client, Some((&head, &trail)));
        all.status = 200;
        all.outcome = Outcome::Pass(Forward::Bypass);
        all.tier = Some(Tier::Disk);
        all.detail = Some("a \"detail\"");
        all.sent = Sent { bytes: 1234, head_bytes: 234, first: None };
        all.duration = Some(Duration::from_micros(12_345));
        all.origin_duration = Some(Duration::from_micros(2));
        let mut nothing = Record::new(now, client, None);
        nothing.duration = Some(Duration::ZERO);
        [all, nothing].map(|record| {
            let mut out = Vec::new();
            write(&mut out, &format, &record);
            String::from_utf8(out).expect("text")
        })
    }

    #[test]
    fn json_is_one_object_a_line_without_what_is_not_known() {
        let [all, nothing] = written("json");
        assert_eq!(
            all,
            "{\"time\":\"2026-09-21T14:13:20.042Z\",\"client\":\"192.0.2.7\",\
             \"protocol\":\"HTTP/1.1\",\"method\":\"GET\",\"host\":\"a.test\",\
             \"target\":\"/a?b=\\\"1\\\"\",\"status\":200,\"bytes\":1234,\"duration_ms\":12.345,\
             \"origin_ms\":0.002,\"outcome\":\"pass\",\"reason\":\"bypass\",\"tier\":\"disk\",\
             \"detail\":\"a \\\"detail\\\"\",\"user_agent\":\"\\\"x\\\" \u{fffd}\\t{}\",\
             \"referer\":\"http://b.test/\\\\\",\"request_id\":\"the-id\",\
             \"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}\n"
        );
        assert_eq!(
            nothing,
            "{\"time\":\"2026-09-21T14:13:20.042Z\",\"client\":\"192.0.2.7\",\"status\":0,\
             \"bytes\":0,\"duration_ms\":0.000,\"outcome\":\"error\",\"reason\":\"cut_off\"}\n"
        );
        for line in [all, nothing] {
            serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
        }
    }

    #[test]
    fn combined_is_what_other_servers_write() {
        let [all, nothing] = written("combined");
        assert_eq!(
            all,
            "192.0.2.7 - - [21/Sep/2026:14:13:20 +0000] \"GET /a?b=\\x221\\x22 HTTP/1.1\" 200 1000 \
             \"http://b.test/\\x5C\" \"\\x22x\\x22 \\xFF\\x09{}\"\n"
        );
        assert_eq!(nothing, "192.0.2.7 - - [21/Sep/2026:14:13:20 +0000] \"-\" 000 0 \"-\" \"-\"\n");
    }

    #[test]
    fn a_template_is_filled_in_and_what_is_not_known_is_a_dash() {
        let [all, nothing] = written(
            "{{{client}}} {method} {host}{target} {status} {outcome}/{reason} {tier} {bytes} \
             {first_byte_ms} {duration_ms} {request_id} {field:Referer} {field:cookie}",
        );
        assert_eq!(
            all,
            "{192.0.2.7} GET a.test/a?b=\\x221\\x22 200 pass/bypass disk 1234 - 12.345 the-id \
             http://b.test/\\x5C -\n"
        );
        assert_eq!(nothing, "{192.0.2.7} - -- 0 error/cut_off - 0 - 0.000 - - -\n");
    }
}
