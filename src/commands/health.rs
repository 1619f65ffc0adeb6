//! `brim health`: ask a running edge how it is.

use super::door::{Door, agent, failed};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Shorter than whoever asks again and again waits for one answer.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// One line for each thing that an edge does without.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Whether the edge behind the door takes requests, or lives at all, and what it says of itself.
pub(crate) fn health(door: &Door, only_alive: bool) -> ExitCode {
    let path = if only_alive { "/healthz" } else { "/readyz" };
    match door.open_address().and_then(|admin| asked(&admin, path)) {
        Ok(text) => {
            // Whoever has gone needs only the exit code.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

fn asked(admin: &str, path: &str) -> Result<String, String> {
    let unreachable = |error: ureq::Error| match error {
        ureq::Error::Io(error) => format!("no answer from the edge at {admin}: {error}"),
        error => format!("no answer from the edge at {admin}: {error}"),
    };
    let mut response =
        agent(ANSWERED_WITHIN).get(format!("http://{admin}{path}")).call().map_err(unreachable)?;
    let content = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
    let text = content.read_to_string().map_err(unreachable)?;
    if response.status().as_u16() == 200 {
        return Ok(text);
    }
    let line = text.lines().next().unwrap_or_default();
    Err(format!("the edge at {admin} answers with {}: {line}", response.status().as_u16()))
}
