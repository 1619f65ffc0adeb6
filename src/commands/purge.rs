//! `brim purge`: have a running edge forget what is named.

mod door;
mod telling;

pub(crate) use door::{Door, admin_address};

use crate::rules::purging::Wish;
use door::Key;
use std::process::ExitCode;
use std::time::Duration;
use telling::Told;

const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// Longer than the edge takes in any case.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

/// What the edge has answered.
struct Answer {
    status: u16,
    body: String,
}

/// Sends the wish to the edge behind the door; for machines, the answer is printed as it came.
pub(crate) fn purge(wish: &Wish, door: &Door, is_json: bool) -> ExitCode {
    match door.key().and_then(|key| purged(wish, &key, is_json)) {
        Ok(Told { text, pending }) => {
            telling::say(&text);
            match pending {
                None => ExitCode::SUCCESS,
                Some(pending) => {
                    eprintln!("brim: {pending}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(message) => {
            eprintln!("brim: {message}");
            ExitCode::FAILURE
        }
    }
}

fn purged(wish: &Wish, key: &Key, is_json: bool) -> Result<Told, String> {
    let Answer { status, body } = ask(wish, key)?;
    if matches!(status, 200 | 202) {
        let told = telling::of_success(&body, wish);
        let told = told.map(|told| if is_json { Told { text: body, ..told } } else { told });
        return told.ok_or_else(|| format!("http://{} does not answer as an edge does", key.admin));
    }
    let Some(why) = telling::of_failure(&body) else {
        let line = body.lines().next().unwrap_or_default();
        return Err(format!("http://{} answers with {status}: {line}", key.admin));
    };
    // A receipt may be in it.
    if is_json {
        telling::say(&body);
    }
    Err(match status {
        401 => format!("the edge at {} does not know the token of {}", key.admin, key.source),
        _ => why,
    })
}

fn ask(wish: &Wish, key: &Key) -> Result<Answer, String> {
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECTED_WITHIN))
        .timeout_global(Some(ANSWERED_WITHIN))
        .http_status_as_error(false)
        // The token goes to the edge alone.
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("brim/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent();
    let url = format!("http://{}/purge", key.admin);
    let unreachable = |error: ureq::Error| {
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        format!("no answer from the edge's admin listener at {}: {why}", key.admin)
    };
    let body = serde_json::to_string(wish).map_err(|error| error.to_string())?;
    let mut response = agent
        .post(&url)
        .header("Authorization", format!("Bearer {}", key.token))
        .content_type("application/json")
        .send(&body)
        .map_err(unreachable)?;
    let status = response.status().as_u16();
    let body = response.body_mut().read_to_string().map_err(unreachable)?;
    Ok(Answer { status, body })
}
