//! `brim purge`: have a running edge forget what is named.

mod telling;

use super::door::{Answer, Door, Key, failed};
use crate::rules::purging::Wish;
use http::Method;
use std::process::ExitCode;
use telling::Told;

/// Sends the wish to the edge behind the door; for machines, the answer is printed as it came.
pub(crate) fn purge(wish: &Wish, door: &Door, is_json: bool) -> ExitCode {
    match door.key().and_then(|key| purged(wish, &key, is_json)) {
        Ok(Told { text, pending }) => {
            telling::say(&text);
            match pending {
                None => ExitCode::SUCCESS,
                Some(pending) => failed(&pending),
            }
        }
        Err(message) => failed(&message),
    }
}

fn purged(wish: &Wish, key: &Key, is_json: bool) -> Result<Told, String> {
    let wished = serde_json::to_string(wish).map_err(|error| error.to_string())?;
    let Answer { status, body } = key.ask(&Method::POST, "/purge", Some(&wished))?;
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
