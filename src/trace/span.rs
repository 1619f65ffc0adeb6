//! What is told of a request, or of a fetch for it, to whoever follows a trace.

use super::Tracer;
use crate::config::{OriginServer, Place};
use crate::rules::trace_context::TraceContext;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Clients write some of it, and many spans may wait.
const TEXT_BYTES_MAX: usize = 1024;

/// Which side of a connection it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request that came.
    Server,
    /// One that went out.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// In words.
    Text(String),
    /// As a number.
    Number(i64),
}

/// What is told.
#[derive(Clone, Debug)]
pub struct Span {
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    pub(super) parent: Option<u64>,
    pub(super) state: Box<[u8]>,
    pub(super) kind: Kind,
    pub(super) began: SystemTime,
    pub(super) duration: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// What it was, in a word.
    pub name: String,
    /// It is one of those that somebody has to look at.
    pub is_error: bool,
}

impl Span {
    pub(super) fn new(
        context: &TraceContext,
        span_id: u64,
        parent: Option<u64>,
        kind: Kind,
        began: SystemTime,
    ) -> Self {
        Self {
            trace_id: context.trace_id,
            span_id,
            parent,
            state: context.state.clone(),
            kind,
            began,
            duration: Duration::ZERO,
            attributes: Vec::with_capacity(16),
            name: String::new(),
            is_error: false,
        }
    }

    /// Adds something that is known, as far as there is room.
    pub fn says(&mut self, name: &'static str, text: impl Into<String>) {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        self.attributes.push((name, Value::Text(text)));
    }

    /// Adds a number.
    pub fn counts(&mut self, name: &'static str, number: impl Into<i64>) {
        self.attributes.push((name, Value::Number(number.into())));
    }

    /// It took so long.
    pub fn took(&mut self, duration: Duration) {
        self.duration = duration;
    }
}

/// One try to fetch something from an origin, from the departure of the request to the head of the
/// answer. What is never answered is told of all the same.
pub struct Fetch(Option<Box<Told>>);

struct Told {
    tracer: Arc<Tracer>,
    span: Span,
    began: Instant,
}

impl Fetch {
    /// Nobody wants to hear of it.
    pub(super) fn untold() -> Self {
        Self(None)
    }

    pub(super) fn new(tracer: Arc<Tracer>, mut span: Span) -> Self {
        span.is_error = true;
        Self(Some(Box::new(Told { tracer, span, began: Instant::now() })))
    }

    /// What is asked for, and of whom: an origin, and one of its servers.
    pub fn asks(&mut self, method: &str, target: &str, (origin, server): (&str, &OriginServer)) {
        let Some(told) = &mut self.0 else { return };
        let span = &mut told.span;
        method.clone_into(&mut span.name);
        span.says("http.request.method", method);
        span.says("url.full", server.url() + target);
        match &server.place {
            Place::Net(host, port) => {
                span.says("server.address", host.as_str());
                span.counts("server.port", *port);
            }
            Place::Unix(path) => span.says("server.address", path.display().to_string()),
        }
        span.says("brim.origin", origin);
    }

    /// The origin has answered.
    pub fn answered(&mut self, status: u16) {
        let Some(told) = &mut self.0 else { return };
        told.span.counts("http.response.status_code", status);
        told.span.is_error = status >= 400;
        if told.span.is_error {
            told.span.says("error.type", status.to_string());
        }
        self.end();
    }

    /// It has not, and why.
    pub fn failed(&mut self, why: &'static str) {
        if let Some(told) = &mut self.0 {
            told.span.says("error.type", why);
        }
        self.end();
    }

    fn end(&mut self) {
        if let Some(told) = self.0.take() {
            let Told { tracer, mut span, began } = *told;
            span.took(began.elapsed());
            tracer.record(span);
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.end();
    }
}
