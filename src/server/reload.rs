//! Applies the configuration file again while everything runs: when it is asked for, by SIGHUP or by the
//! operator, and where that is wished for when the file changes. One after the other.

use super::notify;
use crate::access_log::AccessLog;
use crate::admin::reload::{Progress, Refused, Reloaded, Told, Wish};
use crate::config::{self, Document, Settings, Watched};
use crate::edge::Door;
use crate::error_log;
use crate::survive;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks at the file.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Of one value in the log.
const VALUE_BYTES_MAX: usize = 200;

/// A configuration file, and what it said when it was read.
pub struct ConfigFile {
    path: PathBuf,
    document: Document,
    watched: Watched,
}

/// Reads the file again.
pub(super) struct Reloader {
    pub(super) file: ConfigFile,
    pub(super) door: Arc<Door>,
    pub(super) log: AccessLog,
    pub(super) shutdown_timeout: watch::Sender<Duration>,
    pub(super) wishes: mpsc::Receiver<Wish>,
    pub(super) progress: Arc<Progress>,
}

/// Reading blocks nobody else: the service has a thread of its own.
pub(super) struct Reloading(Mutex<Option<Reloader>>);

impl ConfigFile {
    /// A file that was read after it was begun to be watched.
    pub fn new(path: &Path, document: Document, watched: Watched) -> Self {
        Self { path: path.to_owned(), document, watched }
    }
}

impl Reloading {
    pub(super) fn new(reloader: Reloader) -> Self {
        Self(Mutex::new(Some(reloader)))
    }
}

#[async_trait]
impl BackgroundService for Reloading {
    async fn start(&self, mut pingora_stop: ShutdownWatch) {
        let reloader = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(reloader) = reloader else { return };
        tokio::select! {
            () = reloader.run() => {}
            _ = pingora_stop.changed() => {}
        }
    }
}

impl Reloader {
    /// Ends when nobody can ask any more.
    async fn run(mut self) {
        let mut looks = interval(LOOKS_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wish = tokio::select! {
                wish = self.wishes.recv() => wish,
                _ = looks.tick() => {
                    let is_wished = self.door.settings().server.reload_on_change;
                    if is_wished && self.file.watched.is_due() {
                        survive::caught(async { self.reload("a change of the file") }).await;
                    }
                    continue;
                }
            };
            match wish {
                None => return,
                Some(Wish::Signal) => {
                    survive::caught(async { self.reload("SIGHUP") }).await;
                    // Whatever moved the file away says so by this signal.
                    self.log.reopen();
                }
                Some(Wish::Operator(waits)) => {
                    if let Some(told) = survive::caught(async { self.reload("the operator") }).await
                    {
                        // Whoever has gone finds it in the log.
                        let _ = waits.send(told);
                    }
                }
            }
        }
    }

    /// Nothing is in force of a file that is not good.
    fn reload(&mut self, by: &str) -> Told {
        if !self.progress.begins() {
            // The service is that process by now, also to systemd.
            const WHY: &str = "another process has taken over";
            tracing::info!(by, why = WHY, "the configuration is not read again");
            return Err(Refused::because(WHY.to_owned()));
        }
        notify::reloading();
        let told = self.read();
        self.log.metrics().reloaded(told.is_ok());
        let file = self.file.path.display();
        match &told {
            Ok(reloaded) => {
                self.log.metrics().configuration_loaded(SystemTime::now());
                tell(reloaded, &file, by);
            }
            Err(Refused { error, errors, warnings }) => {
                errors.iter().for_each(|problem| tracing::error!("{problem}"));
                warnings.iter().for_each(|problem| tracing::warn!("{problem}"));
                tracing::error!(%file, by, error, "the configuration before stays in force");
            }
        }
        notify::ready(false);
        told
    }

    fn read(&mut self) -> Told {
        let ConfigFile { path, document, watched } = &mut self.file;
        // Before it is read: what changes meanwhile is a change.
        *watched = Watched::new(vec![path.clone()]);
        let checked = config::load(path).map_err(|error| {
            Refused::because(format!("{} cannot be read: {error}", path.display()))
        })?;
        let (warnings, errors): (Vec<_>, Vec<_>) =
            checked.problems.into_iter().partition(|problem| problem.is_warning);
        let Some(mut settings) = checked.settings else {
            let error = format!("{} is not good", path.display());
            return Err(Refused { error, errors, warnings });
        };
        let running = self.door.settings();
        let needs_restart = config::keep_what_needs_restart(&running, &mut settings);
        let mut changed = document.changes_to(&checked.document);
        for change in &mut changed {
            change.needs_restart = needs_restart.iter().any(|key| is_about(&change.key, key));
        }
        self.apply(&running, settings).map_err(|error| Refused {
            warnings: warnings.clone(),
            ..Refused::because(error.to_string())
        })?;
        self.file.document = checked.document;
        Ok(Reloaded { changed, needs_restart, warnings })
    }

    fn apply(&self, running: &Settings, settings: Settings) -> std::io::Result<()> {
        let (log, timeout) = (settings.log.clone(), settings.server.shutdown_timeout);
        let next = self.door.prepare(settings)?;
        self.log.apply(&log)?;
        // From here on nothing goes wrong.
        self.door.adopt(next);
        // What the operator has changed meanwhile stays, unless the file says something new.
        if log.level != running.log.level {
            error_log::set_levels(log.level);
        }
        self.shutdown_timeout.send_replace(timeout);
        Ok(())
    }
}

/// Whether a changed key is, or is a part of, one that needs a restart.
fn is_about(changed: &str, key: &str) -> bool {
    changed.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn tell(reloaded: &Reloaded, file: &impl std::fmt::Display, by: &str) {
    let Reloaded { changed, needs_restart, warnings } = reloaded;
    warnings.iter().for_each(|problem| tracing::warn!("{problem}"));
    for change in changed {
        let said = |value: &Option<serde_json::Value>| {
            value.as_ref().map_or_else(|| "nothing".to_owned(), |value| cut(value.to_string()))
        };
        let (key, old, new) = (&change.key, said(&change.old), said(&change.new));
        tracing::info!(key, %old, %new, "changed");
    }
    for key in needs_restart {
        tracing::warn!(key, "needs a restart: the value before stays in force");
    }
    match changed.len() {
        0 => tracing::info!(%file, by, "the configuration was read again: nothing has changed"),
        changes => tracing::info!(%file, by, changes, "another configuration is in force"),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > VALUE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(VALUE_BYTES_MAX));
        text += "...";
    }
    text
}
