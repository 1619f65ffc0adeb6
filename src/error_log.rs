//! The error log: what the program has to say about itself, to standard error. There is one of a
//! process; how much it says can be changed while it runs.

use crate::config::{ErrorFormat, Levels};
use std::io::{self, IsTerminal};
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

struct Running {
    handle: Handle<Targets, Registry>,
    levels: Mutex<Levels>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Lines go through a bounded queue, so that a blocked terminal blocks no request; what is queued is
/// written when the guard is dropped. Called once.
pub fn start(levels: impl Into<Levels>, format: ErrorFormat) -> WorkerGuard {
    let levels = levels.into();
    let (writer, guard) =
        NonBlockingBuilder::default().thread_name("error-log").finish(io::stderr());
    let (targets, handle) = reload::Layer::new(targets(&levels));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        ErrorFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        ErrorFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(targets).with(lines).init();
    // There is none before it: a second one could not have been made the process's.
    let _ = RUNNING.set(Running { handle, levels: Mutex::new(levels) });
    guard
}

/// What is told now; `None` where there is no error log.
pub fn levels() -> Option<Levels> {
    let levels = RUNNING.get()?.levels.lock().unwrap_or_else(PoisonError::into_inner);
    Some(levels.clone())
}

/// From now on this is told. Whether there is an error log.
pub fn set_levels(levels: Levels) -> bool {
    let Some(running) = RUNNING.get() else { return false };
    let mut now = running.levels.lock().unwrap_or_else(PoisonError::into_inner);
    if running.handle.reload(targets(&levels)).is_err() {
        return false;
    }
    *now = levels;
    true
}

/// What Pingora says at `info` is about itself.
fn targets(levels: &Levels) -> Targets {
    let level = levels.default;
    let quiet = if level > Level::INFO { level } else { level.min(Level::WARN) };
    let quietest = if level > Level::INFO { level } else { Level::ERROR };
    Targets::new()
        .with_default(LevelFilter::from_level(level))
        .with_target("pingora", LevelFilter::from_level(quiet))
        // It warns of each client that it sends away, and so as often as they like.
        .with_target("h2", LevelFilter::from_level(quietest))
        .with_targets(levels.targets.iter().map(|(target, level)| (target.clone(), *level)))
}
