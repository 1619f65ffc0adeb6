//! Two clients that want little, on a thread of their own: how long their hits and misses take while
//! others do what they do.

use crate::doors::Doors;
use crate::load::{Tally, in_time};
use crate::question::Question;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const BYTES: usize = 4096;
/// Objects of its own, from this number on.
const OBJECTS: std::ops::Range<u64> = 900_000..900_008;
const PAUSE: Duration = Duration::from_millis(5);

/// How long its answers took, in microseconds.
#[derive(Default)]
pub(crate) struct Waited {
    pub(crate) hits: Vec<f64>,
    pub(crate) misses: Vec<f64>,
}

/// Asks until then; whatever goes wrong is in `tally`.
pub(crate) fn start(doors: Arc<Doors>, tally: Arc<Tally>, until: Instant) -> JoinHandle<Waited> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (old, new) =
                tokio::join!(ask(&doors, &tally, until, true), ask(&doors, &tally, until, false));
            Waited {
                hits: [old.hits, new.hits].concat(),
                misses: [old.misses, new.misses].concat(),
            }
        })
    })
}

async fn ask(doors: &Doors, tally: &Tally, until: Instant, for_known: bool) -> Waited {
    let mut waited = Waited::default();
    let mut client = None;
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let objects = OBJECTS.end - OBJECTS.start;
        let question = match for_known {
            true => Question::kept(BYTES, OBJECTS.start + number % objects),
            false => Question::unknown(BYTES),
        };
        let mut begun = Instant::now();
        let answer = in_time(async {
            let mut connected = match client.take() {
                Some(connected) => connected,
                None => doors.http1(false).await?,
            };
            begun = Instant::now();
            let answer = connected.ask(&question).await?;
            client = Some(connected);
            Ok(answer)
        });
        let answer = answer.await;
        let took = begun.elapsed().as_secs_f64() * 1e6;
        tally.count(&question, &answer);
        if let Ok(answer) = &answer {
            // What was purged meanwhile is a miss of another kind: it is left to others.
            match (for_known, answer.is_hit) {
                (true, true) => waited.hits.push(took),
                (false, false) => waited.misses.push(took),
                _ => {}
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    waited
}
