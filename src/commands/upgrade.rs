//! `brim upgrade`: have a new process take over from the running edge.

use super::door::{Answer, Door, Key, failed, printable};
use http::Method;
use serde::Deserialize;
use std::process::ExitCode;

#[derive(Deserialize)]
struct Upgraded {
    pid: u32,
    version: String,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

pub(crate) fn upgrade(door: &Door) -> ExitCode {
    match door.key().and_then(|key| upgraded(&key)) {
        Ok(Upgraded { pid, version }) => {
            println!("process {pid} has taken over; it is brim {}", printable(&version));
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

fn upgraded(key: &Key) -> Result<Upgraded, String> {
    let Answer { status, body } = key.ask(&Method::POST, "/upgrade", None)?;
    if status == 200
        && let Ok(upgraded) = serde_json::from_str(&body)
    {
        return Ok(upgraded);
    }
    Err(match serde_json::from_str(&body) {
        Ok(Failure { .. }) if status == 401 => {
            format!("the edge at {} does not know the token of {}", key.admin, key.source)
        }
        Ok(Failure { error }) => error,
        Err(_) => {
            let line = body.lines().next().unwrap_or_default();
            format!("http://{} answers with {status}: {line}", key.admin)
        }
    })
}
