//! How loud the error log is.

use super::answer::Answer;
use super::query::Query;
use crate::config::Levels;
use crate::error_log;
use serde::{Deserialize, Serialize};

/// What both sides say: `info`, or `info,brim::upstream=debug`.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LogLevel {
    level: String,
}

/// What it is now.
pub(super) fn show(query: Option<&str>) -> Answer {
    match Query::parse(query, &[]) {
        Ok(_) => shown(),
        Err(message) => Answer::error(400, &message),
    }
}

/// What it is from now on, until the next start, or a reload with another `log.level`.
pub(super) fn set(query: Option<&str>, body: &[u8]) -> Answer {
    let wished = Query::parse(query, &[]).and_then(|_| {
        let wish: LogLevel = serde_json::from_slice(body).map_err(|error| {
            format!("expected {{\"level\":\"info\"}}, or single targets, too: \"info,brim::upstream=debug\": {error}")
        })?;
        wish.level.parse::<Levels>()
    });
    match wished {
        Ok(levels) => {
            let told = levels.to_string();
            if !error_log::set_levels(levels) {
                return Answer::error(503, "there is no error log to change");
            }
            tracing::warn!(level = told, "the level of the error log was changed by the operator");
            shown()
        }
        Err(message) => Answer::error(400, &message),
    }
}

fn shown() -> Answer {
    match error_log::levels() {
        Some(levels) => Answer::json(200, &LogLevel { level: levels.to_string() }),
        None => Answer::error(503, "there is no error log"),
    }
}
