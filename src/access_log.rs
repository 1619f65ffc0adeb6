//! The access log: one JSON line a request, written by a thread of its own, so that a slow disk or
//! terminal never holds up a request. When its queue is full, lines are dropped and counted. A
//! request is counted in the metrics where its line is written, also when there is no log.

use crate::config::{AccessLog as Target, Site};
use crate::metrics::Metrics;
use crate::outcome::Outcome;
use crate::wire::Version;
use crate::wire::request::RequestHead;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines waiting for the writer.
const QUEUE_LINES: usize = 8192;

/// Everything the log says about one request.
#[derive(Clone, Debug)]
pub struct Record {
    /// When its head had arrived.
    time: SystemTime,
    /// Who asked; behind trusted proxies, who asked them.
    client: IpAddr,
    /// `None` for a head that could not be read.
    request: Option<RequestLine>,
    /// The site that it belongs to.
    pub site: Option<Arc<Site>>,
    /// What the client was told; 0 when it was told nothing.
    pub status: u16,
    /// Bytes sent to the client, heads included.
    sent_bytes: u64,
    /// When work on it began.
    started: Instant,
    /// From then to the answer's last byte.
    duration: Option<Duration>,
    /// From the request's departure to the head of the origin's answer.
    pub origin_duration: Option<Duration>,
    /// What became of it.
    pub outcome: Outcome,
    /// More about an error.
    pub detail: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct RequestLine {
    version: Version,
    method: String,
    host: String,
    target: String,
    user_agent: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_ms: Option<f64>,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

impl Record {
    /// A request that has just arrived; `None` for a head that could not be read.
    pub fn new(time: SystemTime, client: IpAddr, head: Option<&RequestHead>) -> Self {
        Self {
            time,
            client,
            request: head.map(|head| RequestLine {
                version: head.version,
                method: head.method.to_string(),
                host: head.authority_text().unwrap_or_default().to_owned(),
                target: head.target().to_owned(),
                user_agent: head
                    .fields
                    .first("user-agent")
                    .map(|value| String::from_utf8_lossy(value).into_owned()),
            }),
            site: None,
            status: 0,
            sent_bytes: 0,
            started: Instant::now(),
            duration: None,
            origin_duration: None,
            // What it is if nobody says anything else before it is dropped.
            outcome: Outcome::Error("cut_off"),
            detail: None,
        }
    }

    /// The answer is out. What the connection does after it is not the request's time.
    pub fn is_answered(&mut self, sent_bytes: u64) {
        self.sent_bytes = sent_bytes;
        self.duration = Some(self.started.elapsed());
    }

    fn line(&self) -> String {
        let request = self.request.as_ref();
        let time = jiff::Timestamp::try_from(self.time).unwrap_or_default();
        let line = Line {
            time: format!("{time:.3}"),
            client: self.client,
            protocol: request.map(|r| r.version.name()),
            method: request.map(|r| r.method.as_str()),
            host: request.map(|r| r.host.as_str()),
            target: request.map(|r| r.target.as_str()),
            site: self.site.as_ref().map(|site| site.name.as_str()),
            status: self.status,
            bytes: self.sent_bytes,
            duration_ms: milliseconds(self.duration.unwrap_or_default()),
            origin_ms: self.origin_duration.map(milliseconds),
            outcome: self.outcome.label(),
            reason: self.outcome.reason(),
            detail: self.detail,
            user_agent: request.and_then(|r| r.user_agent.as_deref()),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Takes records from any thread.
#[derive(Clone)]
pub struct AccessLog {
    lines: Option<NonBlocking>,
    metrics: Arc<Metrics>,
}

/// The thread that writes. When dropped it writes what is queued, but does not wait for ever.
pub struct LogWriter {
    lost: Option<ErrorCounter>,
    _guard: Option<WorkerGuard>,
}

impl AccessLog {
    /// Opens the target; the error names it. What is written to it is counted in `metrics`.
    pub fn open(target: &Target, metrics: Arc<Metrics>) -> io::Result<(Self, LogWriter)> {
        let output: Box<dyn Write + Send> = match target {
            Target::Off => {
                let writer = LogWriter { lost: None, _guard: None };
                return Ok((Self { lines: None, metrics }, writer));
            }
            Target::Stdout => Box::new(io::stdout()),
            Target::File(path) => {
                let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
                let named = |error| io::Error::other(format!("{}: {error}", path.display()));
                Box::new(file.map_err(named)?)
            }
        };
        let (lines, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUE_LINES)
            .thread_name("access-log")
            .finish(BufWriter::new(output));
        let writer = LogWriter { lost: Some(lines.error_counter()), _guard: Some(guard) };
        Ok((Self { lines: Some(lines), metrics }, writer))
    }

    /// Where requests are counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The same log, of requests that are counted elsewhere.
    #[must_use]
    pub fn counting_in(&self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self.clone() }
    }

    /// Begins a line that is written when it is dropped, however that comes about.
    pub fn begin(&self, record: Record) -> Recording<'_> {
        Recording { log: self, record }
    }

    /// Queues one line, or counts it as dropped.
    fn write(&self, record: &Record) {
        if let Some(lines) = &self.lines {
            let mut line = record.line();
            line.push('\n');
            // The queue takes the line or counts it; neither fails.
            let _ = lines.clone().write_all(line.as_bytes());
        }
    }
}

/// A request that is being answered.
pub struct Recording<'l> {
    log: &'l AccessLog,
    /// What is known so far.
    pub record: Record,
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let record = &mut self.record;
        if std::thread::panicking() {
            record.outcome = Outcome::Error("panic");
        }
        let duration = *record.duration.get_or_insert_with(|| record.started.elapsed());
        let site = record.site.as_ref().map(|site| site.position);
        // Whoever has seen the line finds it counted.
        self.log.metrics.request(site, record.outcome, duration);
        self.log.write(record);
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let lost = self.lost.as_ref().map_or(0, ErrorCounter::dropped_lines);
        if lost > 0 {
            tracing::warn!(lines = lost, "the access log was too slow and lost lines");
        }
    }
}
