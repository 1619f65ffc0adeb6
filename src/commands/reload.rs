//! `brim reload`: have a running edge read its configuration again.

use super::check;
use super::door::{Answer, Door, Key, failed};
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use std::process::ExitCode;

/// What the edge tells, as far as it is printed.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    changed: Vec<Change>,
    needs_restart: Vec<String>,
    warnings: Vec<Problem>,
    errors: Vec<Problem>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Change {
    key: String,
    old: Option<Value>,
    new: Option<Value>,
}

#[derive(Deserialize)]
struct Problem {
    file: String,
    line: usize,
    key: String,
    message: String,
}

/// Prints what has changed, or everything that is wrong.
pub(crate) fn reload(door: &Door) -> ExitCode {
    let key = match door.key() {
        Ok(key) => key,
        Err(message) => {
            // Most often for the same reason for which the edge would refuse it.
            let is_good = check::load(&door.config).is_some();
            let message = if is_good { message } else { "nothing was reloaded".to_owned() };
            return failed(&message);
        }
    };
    match reloaded(&key) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

fn reloaded(key: &Key) -> Result<String, String> {
    let Answer { status, body } = key.ask(&Method::POST, "/reload", None)?;
    let told = serde_json::from_str::<Told>(&body)
        .map_err(|_| format!("http://{} does not answer as an edge does", key.admin))?;
    for (problems, is_warning) in [(&told.errors, false), (&told.warnings, true)] {
        problems.iter().for_each(|problem| eprintln!("{}", problem.line(is_warning)));
    }
    match (status, told.error) {
        (200, None) => Ok(said(&told.changed, &told.needs_restart)),
        (401, _) => {
            Err(format!("the edge at {} does not know the token of {}", key.admin, key.source))
        }
        (422, Some(error)) => Err(format!("{error}; the configuration before stays in force")),
        (_, error) => {
            Err(error.unwrap_or_else(|| format!("http://{} answers with {status}", key.admin)))
        }
    }
}

fn said(changed: &[Change], needs_restart: &[String]) -> String {
    let value = |value: &Option<Value>| {
        value.as_ref().map_or_else(|| "nothing".to_owned(), Value::to_string)
    };
    let mut text = String::new();
    for Change { key, old, new } in changed {
        text += &format!("{key}: {} -> {}\n", value(old), value(new));
    }
    if changed.is_empty() {
        text += "nothing has changed\n";
    }
    for key in needs_restart {
        text += &format!("{key} needs a restart: the value before stays in force\n");
    }
    text
}

impl Problem {
    /// As `brim check` says it.
    fn line(&self, is_warning: bool) -> String {
        let Self { file, line, key, message } = self;
        let warning = if is_warning { "warning: " } else { "" };
        let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
        format!("{file}:{line}: {warning}{key}{message}")
    }
}
