//! The access log: one line a request, written by a thread of its own, so that a slow disk or
//! terminal never holds up a request. When its queue is full, lines are dropped and counted. A
//! request is counted in the metrics where its line is written, also when there is no log, and what
//! is told of it to whoever follows its trace is told there, too.
//!
//! `record` is what is known of a request, `line` how it is written, `escape` what keeps it one line,
//! `span` what of it goes into a trace, `writer` the queue and the thread, `target` where they lead;
//! `people` writes lines for those who look at a terminal, in `words` that say more.

mod escape;
mod line;
mod people;
mod record;
mod span;
mod target;
mod words;
mod writer;

pub use people::People;
pub use record::{Record, Sent};
pub use writer::LogWriter;

use crate::config::{self, LogFormat};
use crate::metrics::{Answered, Metrics};
use crate::outcome::Outcome;
use crate::trace::{self, Tracer, Trail};
use crate::wire::request::RequestHead;
use arc_swap::ArcSwap;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use target::Target;
use writer::Queue;

/// A line that is longer gives its buffer back.
const LINE_BYTES_USUAL: usize = 16 * 1024;

/// Takes records from any thread.
#[derive(Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    tracer: Option<Arc<Tracer>>,
    style: Option<Arc<dyn Lines>>,
}

/// Who writes lines of another kind, and sees every request on its way into the log.
pub trait Lines: Send + Sync {
    /// A request has arrived.
    fn begun(&self, _record: &Record<'_>) {}

    /// It was upgraded: its connection carries something else from here on, maybe for hours.
    fn upgraded(&self, record: &Record<'_>) -> Option<String>;

    /// It is over; `is_told` if there was a line when it was upgraded.
    fn done(&self, record: &Record<'_>, is_told: bool) -> Option<String>;
}

struct Shared {
    settings: ArcSwap<Settings>,
    /// What is written now, and what still was when something else took its place.
    writers: Mutex<Vec<Arc<Queue>>>,
    /// Strangers do not choose which of their requests are written.
    keyed: RandomState,
}

/// What is written, and where to.
struct Settings {
    target: config::AccessLog,
    format: LogFormat,
    threshold: u64,
    queue: Option<Arc<Queue>>,
}

impl AccessLog {
    /// Opens the target; the error names it. What is written to it is counted in `metrics`.
    pub fn open(settings: &config::Log, metrics: Arc<Metrics>) -> io::Result<(Self, LogWriter)> {
        let nothing = Settings {
            target: config::AccessLog::Off,
            format: LogFormat::Json,
            threshold: 0,
            queue: None,
        };
        let shared = Arc::new(Shared {
            settings: ArcSwap::from_pointee(nothing),
            writers: Mutex::default(),
            keyed: RandomState::new(),
        });
        let log = Self { shared, metrics, tracer: None, style: None };
        log.apply(settings)?;
        let writer = LogWriter::new(log.clone());
        Ok((log, writer))
    }

    /// Has spans of the requests told, too.
    #[must_use]
    pub fn with_tracer(self, tracer: Option<Arc<Tracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// The same with lines of another kind; every request has one.
    #[must_use]
    pub fn with_style(self, style: Option<Arc<dyn Lines>>) -> Self {
        Self { style, ..self }
    }

    /// Writes like this from now on. When another target cannot be opened, nothing changes, and the
    /// error names it.
    pub fn apply(&self, settings: &config::Log) -> io::Result<()> {
        // One after the other.
        let mut writers = self.writers();
        let now = self.shared.settings.load_full();
        let queue = if now.target == settings.access && now.queue.is_some() {
            now.queue.clone()
        } else {
            let opened = Target::open(&settings.access)?;
            opened.map(|target| writer::start(target, self.metrics.clone())).transpose()?
        };
        let is_another = match (&now.queue, &queue) {
            (Some(now), Some(next)) => !Arc::ptr_eq(now, next),
            (None, None) => false,
            _ => true,
        };
        let next = Settings {
            target: settings.access.clone(),
            format: settings.format.clone(),
            threshold: trace::threshold(settings.sample),
            queue: queue.clone(),
        };
        self.shared.settings.store(Arc::new(next));
        if is_another {
            // Who has taken the old one a moment ago may still write into it: it ends when they
            // are done.
            if let Some(old) = &now.queue {
                old.finish();
            }
            writers.retain(|writer| !writer.has_ended());
            writers.extend(queue);
        }
        Ok(())
    }

    /// Goes on in a new file where the one that is written to was moved away. What is queued is
    /// written before, and nothing waits.
    pub fn reopen(&self) {
        if let Some(queue) = &self.shared.settings.load().queue {
            queue.reopen();
        }
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

    /// What a request that came at `now` is called on its way.
    pub fn trail<'a>(
        &'a self,
        head: &'a RequestHead,
        peer_is_trusted: bool,
        now: SystemTime,
    ) -> Trail<'a> {
        Trail::new(head, peer_is_trusted, now, self.tracer.as_ref())
    }

    /// Begins a line that is written when it is dropped, however that comes about.
    pub fn begin<'l>(&'l self, record: Record<'l>) -> Recording<'l> {
        if let Some(style) = &self.style {
            style.begun(&record);
        }
        Recording { log: self, record, is_told: false }
    }

    fn writers(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Queue>>> {
        self.shared.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues the line of a request that is over.
    fn write(&self, record: &Record<'_>) {
        thread_local! {
            static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        let settings = self.shared.settings.load();
        let Some(queue) = &settings.queue else { return };
        if !self.is_written(record, settings.threshold) {
            return;
        }
        let mut line = LINE.take();
        line.clear();
        line::write(&mut line, &settings.format, record);
        self.queue(queue, &line);
        if line.capacity() <= LINE_BYTES_USUAL {
            LINE.set(line);
        }
    }

    /// Queues a line of another kind, where there is one and a log.
    fn write_styled(&self, line: Option<String>) {
        if let (Some(queue), Some(mut line)) = (&self.shared.settings.load().queue, line) {
            line.push('\n');
            self.queue(queue, line.as_bytes());
        }
    }

    /// What cannot be queued is counted.
    fn queue(&self, queue: &Queue, line: &[u8]) {
        // It may have been finished between the look at the settings and now.
        let is_taken = queue.put(line) || {
            let next = self.shared.settings.load();
            next.queue.as_ref().is_none_or(|queue| queue.put(line))
        };
        if !is_taken {
            self.metrics.access_log_dropped(1);
        }
    }

    /// What goes wrong is always written.
    fn is_written(&self, record: &Record<'_>, threshold: u64) -> bool {
        let is_wrong = record.status >= 500 || matches!(record.outcome, Outcome::Error(_));
        if threshold == u64::MAX || is_wrong {
            return true;
        }
        let trail = record.trail;
        let number =
            match trail.and_then(|trail| Some((trail.trace_id()?, trail.peer_is_trusted()))) {
                // Every server on the way of a trace comes to the same: its last 56 bits are random.
                Some((trace_id, true)) => (trace_id as u64) << 8,
                Some((trace_id, false)) => self.shared.keyed.hash_one(trace_id),
                None => trace::random(),
            };
        trace::is_chosen(number, threshold)
    }
}

/// A request that is being answered.
pub struct Recording<'l> {
    log: &'l AccessLog,
    /// What is known so far.
    pub record: Record<'l>,
    is_told: bool,
}

impl Recording<'_> {
    /// It was upgraded, and its end may be far.
    pub fn is_upgraded(&mut self) {
        if let Some(style) = &self.log.style {
            let line = style.upgraded(&self.record);
            self.is_told = line.is_some();
            self.log.write_styled(line);
        }
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let Self { log, record, is_told } = self;
        if std::thread::panicking() {
            record.outcome = Outcome::Error("panic");
        }
        let duration = record.ends();
        let site = record.site.map(|site| site.position);
        // Whoever has seen the line finds it counted.
        log.metrics.answered(&Answered {
            site,
            outcome: record.outcome,
            tier: record.tier,
            duration,
            first_byte: record.first_byte(),
            sent_bytes: record.sent.bytes,
        });
        match &log.style {
            Some(style) => log.write_styled(style.done(record, *is_told)),
            None => log.write(record),
        }
        if let Some((tracer, span)) = record.trail.and_then(Trail::span) {
            tracer.record(span::told(span, record));
        }
    }
}

#[cfg(test)]
mod tests;
