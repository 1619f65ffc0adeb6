//! A new binary, as an operator asks for it.

use super::answer::Answer;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// Where somebody waits for what became of it.
pub type Asking = oneshot::Sender<Result<Upgraded, NotUpgraded>>;

/// Another process has taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upgraded {
    /// Its number.
    pub pid: u32,
    /// What it says that it is.
    pub version: String,
}

/// This process goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotUpgraded {
    /// One is under way, or this process is about to end.
    UnderWay(&'static str),
    /// It cannot be done with this process.
    Impossible(&'static str),
    /// It was tried; why it failed.
    Failed(String),
}

/// Asks for it, and waits for what became of it.
pub(super) async fn upgrade(upgrades: Option<&mpsc::Sender<Asking>>) -> Answer {
    let (asking, answer) = oneshot::channel();
    let is_heard = match upgrades {
        Some(upgrades) => upgrades.try_send(asking).is_ok(),
        None => false,
    };
    let answer = if is_heard { answer.await.ok() } else { None };
    match answer {
        Some(Ok(upgraded)) => Answer::json(200, &upgraded),
        Some(Err(NotUpgraded::UnderWay(why))) => Answer::error(409, why),
        Some(Err(NotUpgraded::Impossible(why))) => Answer::error(501, why),
        Some(Err(NotUpgraded::Failed(why))) => Answer::error(500, &why),
        None => Answer::error(503, "another process has taken over, or this one is ending"),
    }
}
