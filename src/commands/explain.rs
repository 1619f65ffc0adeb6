//! `brim explain`: ask a running edge why something is, or is not, answered out of the cache.

mod telling;

use super::door::{Answer, Door, Key, failed};
use crate::admin::explain::told::Explanation;
use http::Method;
use serde::Deserialize;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use telling::Telling;
use url::form_urlencoded::Serializer;

/// What is asked about.
pub(crate) struct Question {
    pub(crate) url: String,
    /// `Name: value`
    pub(crate) headers: Vec<String>,
    pub(crate) method: String,
    /// The origin is asked, too.
    pub(crate) fetch: bool,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

/// Asks the edge behind the door; for machines, the answer is printed as it came.
pub(crate) fn explain(question: &Question, door: &Door, is_json: bool) -> ExitCode {
    match door.key().and_then(|key| explained(question, &key, is_json)) {
        Ok(text) => {
            // Whoever reads may stop at any time.
            let _ = writeln!(io::stdout(), "{}", text.trim_end());
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

fn explained(question: &Question, key: &Key, is_json: bool) -> Result<String, String> {
    let Answer { status, body } = key.ask(&Method::GET, &question.path(), None)?;
    if status == 200 {
        let explanation = serde_json::from_str::<Explanation>(&body);
        let explanation = explanation
            .map_err(|_| format!("http://{} does not answer as an edge does", key.admin))?;
        return Ok(if is_json { body } else { Telling::new(is_coloured()).of(&explanation) });
    }
    let Ok(Failure { error }) = serde_json::from_str::<Failure>(&body) else {
        let line = body.lines().next().unwrap_or_default();
        return Err(format!("http://{} answers with {status}: {line}", key.admin));
    };
    Err(match status {
        401 => format!("the edge at {} does not know the token of {}", key.admin, key.source),
        _ => error,
    })
}

impl Question {
    fn path(&self) -> String {
        let mut query = Serializer::new(String::new());
        query.append_pair("url", &self.url).append_pair("method", &self.method);
        for header in &self.headers {
            query.append_pair("header", header);
        }
        if self.fetch {
            query.append_pair("fetch", "true");
        }
        format!("/explain?{}", query.finish())
    }
}

/// Only a terminal shows colours, and only to those who want them (no-color.org).
fn is_coloured() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !is_unwanted
}
