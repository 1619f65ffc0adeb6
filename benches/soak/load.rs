//! Clients that behave: everything they ask for has to be answered, and rightly.

use crate::doors::{Doors, Manner};
use crate::question::{Answer, Question};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

const HTTP1_CLIENTS: u64 = 16;
const HTTP2_CONNECTIONS: u64 = 4;
const HTTP2_STREAMS: u64 = 8;
/// Between an answer and the next request: on average half of it.
const PAUSE_MS_MAX: u64 = 30;
/// A connection is left for a new one after so many requests.
const REQUESTS_PER_CONNECTION: usize = 200;
/// Later is not at all.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(10);
const COMPLAINTS_MAX: usize = 5;

/// What clients that behave have got so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) answers: AtomicU64,
    pub(crate) hits: AtomicU64,
    /// Answers that were not what was asked for, and those that did not come.
    pub(crate) bad: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

impl Tally {
    pub(crate) fn count(&self, question: &Question, answer: &io::Result<Answer>) {
        let objection = match answer {
            Ok(answer) => question.objection(answer),
            Err(error) => Some(format!("{}: {error}", question.path)),
        };
        let counted = if objection.is_some() { &self.bad } else { &self.answers };
        counted.fetch_add(1, Ordering::Relaxed);
        let is_hit = answer.as_ref().is_ok_and(|answer| answer.is_hit);
        self.hits.fetch_add(u64::from(is_hit), Ordering::Relaxed);
        objection.into_iter().for_each(|objection| self.complain(objection));
    }

    fn complain(&self, complaint: String) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < COMPLAINTS_MAX {
            complaints.push(complaint);
        }
    }

    /// The first of them.
    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts all of them; each ends after this time, at the end of what it has begun.
pub(crate) fn start(
    running: &mut JoinSet<()>,
    doors: &Arc<Doors>,
    tally: &Arc<Tally>,
    until: Instant,
) {
    for seed in 0..HTTP1_CLIENTS {
        running.spawn(over_http1(doors.clone(), tally.clone(), seed, until));
    }
    for seed in 0..HTTP2_CONNECTIONS {
        running.spawn(over_http2(doors.clone(), tally.clone(), seed, until));
    }
}

/// Half of them with TLS.
async fn over_http1(doors: Arc<Doors>, tally: Arc<Tally>, seed: u64, until: Instant) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = None;
    let mut left = REQUESTS_PER_CONNECTION;
    while Instant::now() < until {
        let question = Question::next(&mut random);
        let answer = in_time(async {
            let mut connected = match client.take() {
                Some(connected) => connected,
                None => doors.http1(seed.is_multiple_of(2)).await?,
            };
            let answer = connected.ask(&question).await?;
            left -= 1;
            if left > 0 {
                client = Some(connected);
            } else {
                left = REQUESTS_PER_CONNECTION;
            }
            Ok(answer)
        });
        tally.count(&question, &answer.await);
        pause(&mut random).await;
    }
}

async fn over_http2(doors: Arc<Doors>, tally: Arc<Tally>, seed: u64, until: Instant) {
    while Instant::now() < until {
        let connected = doors.http2(seed.is_multiple_of(2), Manner::default());
        let (client, driver) = match in_time(connected).await {
            Ok(connected) => connected,
            Err(error) => {
                tally.bad.fetch_add(1, Ordering::Relaxed);
                tally.complain(format!("no connection: {error}"));
                tokio::time::sleep(Duration::from_millis(PAUSE_MS_MAX)).await;
                continue;
            }
        };
        let mut streams = JoinSet::new();
        for stream in 0..HTTP2_STREAMS {
            let (client, tally) = (client.clone(), tally.clone());
            let mut random = fastrand::Rng::with_seed(seed << 8 | stream);
            streams.spawn(async move {
                for _ in 0..REQUESTS_PER_CONNECTION {
                    if Instant::now() >= until {
                        return;
                    }
                    let question = Question::next(&mut random);
                    let answer = in_time(client.ask(&question)).await;
                    let is_good = answer.is_ok();
                    tally.count(&question, &answer);
                    if !is_good {
                        return;
                    }
                    pause(&mut random).await;
                }
            });
        }
        streams.join_all().await;
        drop(client);
        driver.abort();
    }
}

pub(crate) async fn in_time<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(ANSWERED_WITHIN, asked).await.map_err(io::Error::other)?
}

async fn pause(random: &mut fastrand::Rng) {
    tokio::time::sleep(Duration::from_millis(random.u64(1..PAUSE_MS_MAX))).await;
}
