//! What a request is called on its way: the id that clients, logs and origins know it by, and its
//! place in a trace. Both are found out when they are first asked for, and not at all otherwise.
//!
//! `request_id` makes ids, `span` is what is told of a request or a fetch, `export` has it sent to a
//! collector by a thread of its own.

mod export;
mod request_id;
mod span;

pub use export::{SpanWriter, Tracer};
pub(crate) use export::{is_chosen, threshold};
pub use request_id::RequestId;
pub(crate) use request_id::random;
pub use span::{Fetch, Kind, Span, Value};

use crate::rules::trace_context::TraceContext;
use crate::wire::request::RequestHead;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// One request's way through this server, as far as it has to be told apart from others.
pub struct Trail<'a> {
    head: &'a RequestHead,
    peer_is_trusted: bool,
    now: SystemTime,
    tracer: Option<&'a Arc<Tracer>>,
    is_told_in_answers: bool,
    id: OnceLock<RequestId>,
    place: OnceLock<Option<Place>>,
}

/// A place in a trace.
struct Place {
    /// The span in it is that of this server where there is a tracer, else that of whoever asked.
    context: TraceContext,
    /// The span of whoever asked.
    parent: Option<u64>,
}

impl<'a> Trail<'a> {
    /// That of a request which came at `now`; what a trusted proxy calls it counts.
    pub fn new(
        head: &'a RequestHead,
        peer_is_trusted: bool,
        now: SystemTime,
        tracer: Option<&'a Arc<Tracer>>,
    ) -> Self {
        let (id, place) = (OnceLock::new(), OnceLock::new());
        Self { head, peer_is_trusted, now, tracer, is_told_in_answers: false, id, place }
    }

    /// Whether clients get to know what their request is called.
    #[must_use]
    pub fn told_in_answers(self, is_told_in_answers: bool) -> Self {
        Self { is_told_in_answers, ..self }
    }

    /// What clients are told it is called.
    pub fn told_id(&self) -> Option<&RequestId> {
        self.is_told_in_answers.then(|| self.id())
    }

    /// What it is called.
    pub fn id(&self) -> &RequestId {
        self.id.get_or_init(|| {
            let told = || RequestId::told(&self.head.fields);
            self.peer_is_trusted.then(told).flatten().unwrap_or_else(|| RequestId::new(self.now))
        })
    }

    /// The trace that it belongs to.
    pub fn trace_id(&self) -> Option<u128> {
        self.place().map(|place| place.context.trace_id)
    }

    /// Who holds the connection is believed.
    pub fn peer_is_trusted(&self) -> bool {
        self.peer_is_trusted
    }

    fn place(&self) -> Option<&Place> {
        self.place.get_or_init(|| self.find_place()).as_ref()
    }

    fn find_place(&self) -> Option<Place> {
        let told = TraceContext::of(&self.head.fields);
        let Some(tracer) = self.tracer else {
            return told.map(|context| Place { parent: Some(context.span_id), context });
        };
        let span_id = random().max(1);
        let is_heeded = tracer.heeds(self.peer_is_trusted);
        Some(match told {
            Some(told) => {
                let is_sampled = if is_heeded { told.is_sampled } else { tracer.chooses() };
                let parent = Some(told.span_id);
                Place { context: TraceContext { span_id, is_sampled, ..told }, parent }
            }
            None => {
                let trace_id = (u128::from(random()) << 64 | u128::from(random())).max(1);
                let is_sampled = tracer.chooses();
                let state = Box::default();
                Place {
                    context: TraceContext { trace_id, span_id, is_sampled, state },
                    parent: None,
                }
            }
        })
    }

    /// What whoever goes to the origin for it takes along.
    pub fn errand(&self) -> Errand {
        Errand {
            id: self.id().clone(),
            context: self.place().map(|place| place.context.clone()),
            tracer: self.tracer.cloned(),
        }
    }

    /// Where what is told of it as a whole goes, and what that begins with, if anybody wants it.
    pub fn span(&self) -> Option<(&Tracer, Span)> {
        let tracer = self.tracer.map(AsRef::as_ref)?;
        let Place { context, parent } = self.place()?;
        let span = || Span::new(context, context.span_id, *parent, Kind::Server, self.now);
        context.is_sampled.then(|| (tracer, span()))
    }
}

/// What goes along to the origin: it outlives the request that it is for.
#[derive(Clone)]
pub struct Errand {
    id: RequestId,
    context: Option<TraceContext>,
    /// Without one, the origin is told what the client has told.
    tracer: Option<Arc<Tracer>>,
}

impl Errand {
    /// The field lines that an origin gets with one try to fetch it, and the span of that.
    pub fn fetch(&self) -> (Vec<u8>, Fetch) {
        let mut lines = Vec::with_capacity(160);
        lines.extend_from_slice(b"X-Request-Id: ");
        self.id.write(&mut lines);
        lines.extend_from_slice(b"\r\n");
        let Some(context) = &self.context else { return (lines, Fetch::untold()) };
        let Some(tracer) = &self.tracer else {
            context.write(&mut lines);
            return (lines, Fetch::untold());
        };
        let span_id = random().max(1);
        TraceContext { span_id, ..context.clone() }.write(&mut lines);
        if !context.is_sampled {
            return (lines, Fetch::untold());
        }
        let span =
            Span::new(context, span_id, Some(context.span_id), Kind::Client, SystemTime::now());
        (lines, Fetch::new(tracer.clone(), span))
    }
}
