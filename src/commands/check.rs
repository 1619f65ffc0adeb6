//! `brim check`: every problem of a configuration, at once.

use crate::config::{self, Document, Settings};
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn check(path: &Path) -> ExitCode {
    let Some((settings, _)) = load(path) else { return ExitCode::FAILURE };
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    println!(
        "{}: good: {}, {}",
        path.display(),
        count(settings.sites.len(), "site"),
        count(settings.origins.len(), "origin"),
    );
    ExitCode::SUCCESS
}

/// The settings of a file, and what it says; prints its problems, one a line.
pub(super) fn load(path: &Path) -> Option<(Settings, Document)> {
    let checked = match config::load(path) {
        Ok(checked) => checked,
        Err(error) => {
            eprintln!("{}: cannot be read: {error}", path.display());
            return None;
        }
    };
    for problem in &checked.problems {
        eprintln!("{problem}");
    }
    checked.settings.zip(Some(checked.document))
}
