//! Spans on their way to a collector: OTLP over HTTP, in batches, by a thread of its own. Whatever
//! the collector does, requests never wait: when the queue is full, or a batch is not taken, spans are
//! dropped and counted.

use super::random;
use super::span::{Kind, Span, Value};
use crate::config::{Collector, Parents, Trace};
use crate::metrics::Metrics;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Message, Status, span::SpanKind, status::StatusCode,
};
use prost::Message as _;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Spans waiting to be sent.
const QUEUE_SPANS: usize = 4096;
/// Sent at one time.
const BATCH_SPANS: usize = 512;
/// How long the first of a batch waits for others.
const BATCH_WITHIN: Duration = Duration::from_secs(1);
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// What is left at the end has this long to be sent.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// `sampled`, and whether the parent is known to be elsewhere (bits 8 and 9 of OTLP's flags).
const FLAGS: u32 = 0x01 | 0x100 | 0x200;
const FLAGS_OF_OWN_PARENT: u32 = 0x01 | 0x100;

/// Takes spans from any thread.
pub struct Tracer {
    queue: Mutex<Queue>,
    changed: Condvar,
    threshold: u64,
    parents: Parents,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    spans: VecDeque<Span>,
    /// No more come.
    is_ending: bool,
    has_ended: bool,
}

/// The thread that sends. When dropped it sends what is queued, but does not wait for ever.
pub struct SpanWriter(Option<Arc<Tracer>>);

/// What is below it is chosen: this share of all numbers.
pub(crate) fn threshold(share: f64) -> u64 {
    // As a number it saturates.
    (share * 18_446_744_073_709_551_616.0) as u64
}

/// Whether a number that nobody has chosen is among that share.
pub(crate) fn is_chosen(number: u64, threshold: u64) -> bool {
    threshold == u64::MAX || number < threshold
}

impl Tracer {
    /// Begins to send to the collector of these settings, if they name one.
    pub fn open(
        settings: &Trace,
        metrics: Arc<Metrics>,
    ) -> io::Result<(Option<Arc<Self>>, SpanWriter)> {
        let Some(collector) = settings.otlp.clone() else { return Ok((None, SpanWriter(None))) };
        let tracer = Arc::new(Self {
            queue: Mutex::default(),
            changed: Condvar::new(),
            threshold: threshold(settings.sample),
            parents: settings.parents,
            metrics,
        });
        let (sent, service_name) = (tracer.clone(), settings.service_name.clone());
        std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || Exporter::new(collector, service_name).run(&sent))?;
        Ok((Some(tracer.clone()), SpanWriter(Some(tracer))))
    }

    /// Whether somebody else's decision about a trace counts.
    pub(super) fn heeds(&self, peer_is_trusted: bool) -> bool {
        self.parents == Parents::Any || peer_is_trusted
    }

    /// A decision of its own.
    pub(super) fn chooses(&self) -> bool {
        is_chosen(random(), self.threshold)
    }

    /// Queues one span, or counts it as dropped.
    pub fn record(&self, span: Span) {
        let mut queue = self.lock();
        if queue.spans.len() >= QUEUE_SPANS || queue.has_ended {
            drop(queue);
            return self.metrics.spans_dropped(1);
        }
        queue.spans.push_back(span);
        let is_awaited = matches!(queue.spans.len(), 1 | BATCH_SPANS);
        drop(queue);
        if is_awaited {
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch, and whether it is among the last; `None` after those.
    fn next(&self) -> Option<(Vec<Span>, bool)> {
        let queue = self.lock();
        let is_idle = |queue: &mut Queue| queue.spans.is_empty() && !queue.is_ending;
        let queue = self.changed.wait_while(queue, is_idle).unwrap_or_else(PoisonError::into_inner);
        let is_small = |queue: &mut Queue| queue.spans.len() < BATCH_SPANS && !queue.is_ending;
        let waited = self.changed.wait_timeout_while(queue, BATCH_WITHIN, is_small);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let batch = queue.spans.len().min(BATCH_SPANS);
        let batch: Vec<_> = queue.spans.drain(..batch).collect();
        (!batch.is_empty()).then_some((batch, queue.is_ending))
    }
}

impl Drop for SpanWriter {
    fn drop(&mut self) {
        let Some(tracer) = &self.0 else { return };
        let mut queue = tracer.lock();
        queue.is_ending = true;
        tracer.changed.notify_all();
        let is_busy = |queue: &mut Queue| !queue.has_ended;
        let waited = tracer.changed.wait_timeout_while(queue, ENDS_WITHIN, is_busy);
        let (_queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            tracing::warn!("the collector was too slow to be told of the last requests");
        }
    }
}

struct Exporter {
    agent: ureq::Agent,
    url: String,
    resource: Resource,
    is_failing: bool,
}

impl Exporter {
    fn new(collector: Collector, service_name: String) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_connect(Some(CONNECTED_WITHIN))
            .timeout_global(Some(TAKEN_WITHIN))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("brim/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        let version = Value::Text(env!("CARGO_PKG_VERSION").to_owned());
        let attributes = vec![
            key_value("service.name", Value::Text(service_name)),
            key_value("service.version", version),
        ];
        let resource = Resource { attributes, ..Resource::default() };
        Self { agent, url: collector.url, resource, is_failing: false }
    }

    fn run(mut self, tracer: &Tracer) {
        while let Some((batch, is_ending)) = tracer.next() {
            let spans = batch.len() as u64;
            match self.send(batch) {
                Ok(rejected) => {
                    tracer.metrics.spans_dropped(rejected.min(spans));
                    if std::mem::take(&mut self.is_failing) {
                        tracing::info!(url = self.url, "the trace collector takes spans again");
                    }
                }
                Err(why) => {
                    tracer.metrics.spans_dropped(spans);
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(url = self.url, why, "the trace collector takes no spans");
                    }
                    if is_ending {
                        // Nor is it going to take the rest.
                        break;
                    }
                }
            }
        }
        let mut queue = tracer.lock();
        queue.has_ended = true;
        let left = queue.spans.drain(..).count() as u64;
        drop(queue);
        tracer.metrics.spans_dropped(left);
        tracer.changed.notify_all();
    }

    /// How many of them the collector does not want.
    fn send(&self, batch: Vec<Span>) -> Result<u64, String> {
        let scope =
            InstrumentationScope { name: "brim".to_owned(), ..InstrumentationScope::default() };
        let spans = batch.into_iter().map(message).collect();
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource.clone());
        let resource_spans =
            vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let request = self.agent.post(&self.url).header("Content-Type", "application/x-protobuf");
        let mut response = request.send(&body).map_err(|error| error.to_string())?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("it answers with {status}"));
        }
        let told = response.body_mut().read_to_vec().unwrap_or_default();
        let told = ExportTraceServiceResponse::decode(&told[..]).unwrap_or_default();
        let rejected = told.partial_success.map_or(0, |told| told.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

fn message(span: Span) -> Message {
    let ended = span.began.checked_add(span.duration).unwrap_or(span.began);
    let (kind, flags) = match span.kind {
        Kind::Server => (SpanKind::Server, FLAGS),
        Kind::Client => (SpanKind::Client, FLAGS_OF_OWN_PARENT),
    };
    let status =
        span.is_error.then(|| Status { code: StatusCode::Error.into(), ..Status::default() });
    Message {
        trace_id: span.trace_id.to_be_bytes().into(),
        span_id: span.span_id.to_be_bytes().into(),
        trace_state: String::from_utf8_lossy(&span.state).into_owned(),
        parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.to_be_bytes().into()),
        flags,
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.began),
        end_time_unix_nano: nanoseconds(ended),
        attributes: span.attributes.into_iter().map(|(key, value)| key_value(key, value)).collect(),
        status,
        ..Message::default()
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn key_value(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Number(number) => any_value::Value::IntValue(number),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
