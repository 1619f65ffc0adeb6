//! `brim log-level`: how loud a running edge's error log is.

use super::door::{Answer, Door, failed, printable};
use http::Method;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

#[derive(Deserialize, Serialize)]
struct LogLevel {
    level: String,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// Changes it, if a level is named, and prints what it is now.
pub(crate) fn log_level(level: Option<String>, door: &Door) -> ExitCode {
    match asked(level, door) {
        Ok(level) => {
            println!("{}", printable(&level));
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

fn asked(level: Option<String>, door: &Door) -> Result<String, String> {
    let key = door.key()?;
    let wish = level.map(|level| serde_json::to_string(&LogLevel { level }));
    let wish = wish.transpose().map_err(|error| error.to_string())?;
    let method = if wish.is_some() { Method::PUT } else { Method::GET };
    let Answer { status, body } = key.ask(&method, "/log-level", wish.as_deref())?;
    if status == 200 {
        let told = serde_json::from_str::<LogLevel>(&body);
        let strange = |_| format!("http://{} does not answer as an edge does", key.admin);
        return told.map(|told| told.level).map_err(strange);
    }
    if status == 401 {
        return Err(format!("the edge at {} does not know the token of {}", key.admin, key.source));
    }
    let told = serde_json::from_str::<Failure>(&body).map(|failure| failure.error);
    Err(told.unwrap_or_else(|_| format!("http://{} answers with {status}", key.admin)))
}
