//! The operator wants the configuration to be read again: what is asked of whoever does that, and what
//! came of it.

use super::answer::Answer;
use super::query::Query;
use crate::config::{Change, Problem};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Those who wait for their turn.
const QUEUE_MAX: usize = 64;
/// Many certificates may have to be read.
const DONE_WITHIN: Duration = Duration::from_secs(90);

/// Who wants it.
pub enum Wish {
    /// SIGHUP: nobody waits for an answer.
    Signal,
    /// Who waits for one.
    Operator(oneshot::Sender<Told>),
}

/// Takes wishes, which are fulfilled one after the other.
#[derive(Clone)]
pub struct Reloads(mpsc::Sender<Wish>);

/// What came of it.
pub type Told = Result<Reloaded, Refused>;

/// Another configuration is in force, or the same.
#[derive(Clone, Debug, Serialize)]
pub struct Reloaded {
    /// What the file says that it did not say before.
    pub changed: Vec<Change>,
    /// Keys of which the old values stay in force until there is a restart.
    pub needs_restart: Vec<String>,
    /// What is worth a word.
    pub warnings: Vec<Problem>,
}

/// The configuration before it stays in force.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// In a sentence.
    pub error: String,
    /// Everything that is wrong with the file.
    pub errors: Vec<Problem>,
    /// What else is worth a word.
    pub warnings: Vec<Problem>,
}

impl Refused {
    /// For this reason, which is in no line of the file.
    pub fn because(error: String) -> Self {
        Self { error, errors: Vec::new(), warnings: Vec::new() }
    }
}

impl Reloads {
    /// And where the wishes come out.
    pub fn new() -> (Self, mpsc::Receiver<Wish>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Self(sender), receiver)
    }

    /// SIGHUP came. Where so many wait, one of them reads what is there now.
    pub fn signal(&self) {
        let _ = self.0.try_send(Wish::Signal);
    }

    async fn ask(&self) -> Result<Told, Answer> {
        let (sender, told) = oneshot::channel();
        let has_gone = |_| Answer::error(409, "this edge has no configuration file to read again");
        self.0.send(Wish::Operator(sender)).await.map_err(has_gone)?;
        let broke_off = |_| Answer::error(500, "the reload broke off; the edge's log tells why");
        told.await.map_err(broke_off)
    }
}

pub(super) async fn reload(reloads: &Reloads, query: Option<&str>) -> Answer {
    if let Err(message) = Query::parse(query, &[]) {
        return Answer::error(400, &message);
    }
    match timeout(DONE_WITHIN, reloads.ask()).await {
        Ok(Ok(Ok(reloaded))) => Answer::json(200, &reloaded),
        Ok(Ok(Err(refused))) => Answer::json(422, &refused),
        Ok(Err(answer)) => answer,
        Err(_) => {
            let message = format!("not done within {} s; the log tells", DONE_WITHIN.as_secs());
            Answer::error(504, &message)
        }
    }
}
