//! The operator wants the configuration to be read again: what is asked of whoever does that, and what
//! came of it.

use super::answer::Answer;
use super::query::Query;
use crate::config::{Change, Problem};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Those who wait for their turn.
const QUEUE_MAX: usize = 64;
/// Many certificates may have to be read.
const DONE_WITHIN: Duration = Duration::from_secs(90);
const TAKEN_OVER: &str = "another process has taken over meanwhile: ask again";

/// Who wants it.
pub enum Wish {
    /// SIGHUP: nobody waits for an answer.
    Signal,
    /// Who waits for one.
    Operator(oneshot::Sender<Told>),
}

/// Takes wishes, which are fulfilled one after the other.
#[derive(Clone)]
pub struct Reloads {
    wishes: mpsc::Sender<Wish>,
    progress: Arc<Progress>,
}

/// What two processes have to know of each other's reloads when one takes over from the other.
#[derive(Default)]
pub struct Progress {
    has_begun: AtomicBool,
    is_over: AtomicBool,
}

impl Progress {
    /// A configuration is about to be read. `false`: that is another process's affair by now.
    pub fn begins(&self) -> bool {
        // Whoever hands over does the same the other way round: one of both sees the other.
        self.has_begun.store(true, Ordering::SeqCst);
        !self.is_over()
    }

    /// Another process is about to read the configuration.
    pub fn is_read_elsewhere(&self) {
        self.has_begun.store(false, Ordering::SeqCst);
    }

    /// Another process has taken over. Whether a reload has begun since that began to read.
    pub fn ends(&self) -> bool {
        self.is_over.store(true, Ordering::SeqCst);
        self.has_begun.load(Ordering::SeqCst)
    }

    /// Whether another process has taken over.
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }
}

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
        let (wishes, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { wishes, progress: Arc::default() }, receiver)
    }

    /// How it stands with them.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// SIGHUP came. Where so many wait, one of them reads what is there now.
    pub fn signal(&self) {
        let _ = self.wishes.try_send(Wish::Signal);
    }

    async fn ask(&self) -> Result<Told, Answer> {
        let (sender, told) = oneshot::channel();
        let has_gone = |_| Answer::error(409, "this edge has no configuration file to read again");
        self.wishes.send(Wish::Operator(sender)).await.map_err(has_gone)?;
        let broke_off = |_| Answer::error(500, "the reload broke off; the edge's log tells why");
        let told = told.await.map_err(broke_off)?;
        if told.is_err() && self.progress.is_over() {
            return Err(Answer::error(503, TAKEN_OVER).with("Retry-After", 1));
        }
        Ok(told)
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
