//! `brim run`: serve what a configuration says.

use super::check;
use crate::access_log::AccessLog;
use crate::config::Settings;
use crate::server::Brim;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub(crate) fn run(path: &Path) -> ExitCode {
    let Some(settings) = check::load(path) else { return ExitCode::FAILURE };
    let _log = start_error_log(settings.log.level);
    report(serve(settings))
}

fn serve(settings: Settings) -> io::Result<()> {
    let mut brim = Brim::new(settings.server.threads, settings.server.shutdown_timeout);
    let (log, _writer) = AccessLog::open(&settings.log.access)?;
    let addresses = brim.add_edge(settings, log)?;
    brim.run(move || {
        for address in addresses {
            tracing::info!(%address, "listening");
        }
    });
    Ok(())
}

/// An error in one line, and the exit code.
pub(super) fn report(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The error log goes to standard error, through a bounded queue, so that a blocked terminal
/// blocks no request; what is queued is written when the guard is dropped. What Pingora says at
/// `info` is about itself.
pub(super) fn start_error_log(level: Level) -> WorkerGuard {
    let quiet = if level > Level::INFO { level } else { level.min(Level::WARN) };
    let targets = Targets::new()
        .with_default(LevelFilter::from_level(level))
        .with_target("pingora", LevelFilter::from_level(quiet));
    let (writer, guard) =
        NonBlockingBuilder::default().thread_name("error-log").finish(io::stderr());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(targets).with(lines).init();
    guard
}
