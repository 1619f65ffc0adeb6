//! What admission and eviction are worth: hits, and writes to the device, of the disk tier with
//! small records on a real folder, beside LRU and FIFO of as many objects, on the same requests.
//!
//! The requests: three of ten for something that nobody asks for again, the others for one of a
//! million objects, by Zipf's law with 0.9. The first half fills the caches, the second half counts.
//! All that the tier keeps for itself, checksums and footers and a segment that is being filled, has
//! to fit into the bytes that the objects alone would take.

use crate::segment_log::{SegmentLog, receipt};
use crate::table::{self, Goal, row};
use brim::store::disk::{Content, Disk};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;

const REQUESTS: u64 = 8_000_000;
const POPULAR: u32 = 1_000_000;
const ZIPF: f64 = 0.9;
const ONCE_ONLY: f64 = 0.3;
/// What each cache has room for.
const OBJECTS: usize = 100_000;
/// An object with its key and all else that is in its record.
const RECORD_BYTES: usize = 1024;
/// Of a record, what is no body: the header, the key, the checksum of a block.
const AROUND_BYTES: usize = 64 + KEY_BYTES + 4;
const KEY_BYTES: usize = 26;
/// The edge has a memory tier for what is on its way to the disk; here, nothing is for long.
const PUTS_UNDER_WAY: u64 = 64;

/// What a cache did while it counted.
struct Score {
    name: &'static str,
    hits: u64,
    writes: u64,
}

pub(crate) fn run(dir: &Path) -> Vec<Goal> {
    let folder = crate::folder(dir, "policy");
    let runtime = crate::runtime();
    let bytes = (OBJECTS * RECORD_BYTES) as u64;
    let (scores, stats) = runtime.block_on(async {
        let log = SegmentLog::open(folder.path(), bytes).await;
        let scores = compare(log.disk()).await;
        let stats = log.disk().stats();
        log.disk().close();
        (scores, stats)
    });
    let counted = REQUESTS / 2;
    let percent = |count: u64| count as f64 * 100.0 / counted as f64;
    let mut rows = vec![row(&[&"", &"hits %", &"writes per 100 requests"])];
    rows.extend(scores.iter().map(|score| {
        let (hits, writes) = (percent(score.hits), percent(score.writes));
        row(&[&score.name, &format!("{hits:.2}"), &format!("{writes:.2}")])
    }));
    let title = "Zipf 0.9 of a million objects and 30 % that come once; room for 100,000";
    table::print(title, &rows);
    println!(
        "\n  at the end {} entries in {} MiB of {} MiB, {} evicted, {} dropped",
        stats.entries,
        stats.file_bytes >> 20,
        bytes >> 20,
        stats.evicted,
        stats.dropped
    );
    let [log, lru, _] = scores;
    let wanted = format!("hits where LRU has {:.1} %", percent(lru.hits));
    vec![
        Goal::at_least(&wanted, 45.0, percent(log.hits), " %"),
        Goal::at_most("writes per 100 requests", 10.0, percent(log.writes), ""),
    ]
}

async fn compare(disk: &Disk) -> [Score; 3] {
    let mut log = Log { disk, puts: 0 };
    let (mut lru, mut fifo) = (Lru::default(), Fifo::default());
    let mut requests = Requests::new();
    let mut scores = ["segment log", "LRU", "FIFO"].map(|name| Score { name, hits: 0, writes: 0 });
    for number in 0..REQUESTS {
        if number == REQUESTS / 2 {
            disk.settled().await;
            // What was written before does not count.
            scores[0].hits = 0;
            for (score, writes) in scores.iter_mut().zip([log.writes(), lru.writes, fifo.writes]) {
                *score = Score { name: score.name, hits: 0, writes };
            }
        }
        let object = requests.next();
        let hits = [log.ask(object).await, lru.ask(object), fifo.ask(object)];
        for (score, is_hit) in scores.iter_mut().zip(hits) {
            score.hits += u64::from(is_hit);
        }
    }
    disk.settled().await;
    for (score, writes) in scores.iter_mut().zip([log.writes(), lru.writes, fifo.writes]) {
        score.writes = writes - score.writes;
    }
    scores
}

/// The tier, asked as the engine asks it.
struct Log<'a> {
    disk: &'a Disk,
    puts: u64,
}

impl Log<'_> {
    async fn ask(&mut self, object: u64) -> bool {
        let key = key(object);
        if let Some(entry) = self.disk.get(&key).await {
            assert_eq!(entry.content.body[..8], object.to_le_bytes(), "another object");
            return true;
        }
        // What is on its way counts as a miss.
        if !self.disk.has(&key) && self.disk.admits(&key) {
            let mut body = vec![0; RECORD_BYTES - AROUND_BYTES];
            body[..8].copy_from_slice(&object.to_le_bytes());
            let asked = self.disk.next_sequence();
            let content = Content { body: Bytes::from(body), asked, ..Content::default() };
            self.disk.put(&key, content, &receipt());
            self.puts += 1;
            if self.puts.is_multiple_of(PUTS_UNDER_WAY) {
                self.disk.settled().await;
            }
        }
        false
    }

    fn writes(&self) -> u64 {
        self.disk.stats().written
    }
}

fn key(object: u64) -> Vec<u8> {
    let key = format!("a\na.test\n/{object:016x}").into_bytes();
    debug_assert_eq!(key.len(), KEY_BYTES);
    key
}

/// Whoever was asked for longest ago makes room.
#[derive(Default)]
struct Lru {
    /// When each was asked for last.
    last: HashMap<u64, u64>,
    /// Everything that was asked for, oldest first; what was asked for again counts there only.
    order: VecDeque<(u64, u64)>,
    clock: u64,
    writes: u64,
}

impl Lru {
    fn ask(&mut self, object: u64) -> bool {
        self.clock += 1;
        let is_hit = self.last.insert(object, self.clock).is_some();
        self.order.push_back((object, self.clock));
        self.writes += u64::from(!is_hit);
        while self.last.len() > OBJECTS {
            let Some((oldest, asked)) = self.order.pop_front() else { break };
            if self.last.get(&oldest) == Some(&asked) {
                self.last.remove(&oldest);
            }
        }
        is_hit
    }
}

/// Whoever came longest ago makes room.
#[derive(Default)]
struct Fifo {
    kept: HashSet<u64>,
    order: VecDeque<u64>,
    writes: u64,
}

impl Fifo {
    fn ask(&mut self, object: u64) -> bool {
        if !self.kept.insert(object) {
            return true;
        }
        self.writes += 1;
        self.order.push_back(object);
        if self.order.len() > OBJECTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        false
    }
}

/// The same in every run.
struct Requests {
    random: fastrand::Rng,
    /// How much of all requests goes to an object or a more popular one.
    shares: Vec<f64>,
    next_once: u64,
}

impl Requests {
    fn new() -> Self {
        let mut sum = 0.0;
        let weights = (1..=POPULAR).map(|rank| {
            sum += f64::from(rank).powf(-ZIPF);
            sum
        });
        let mut shares: Vec<f64> = weights.collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self { random: fastrand::Rng::with_seed(42), shares, next_once: 1 << 40 }
    }

    fn next(&mut self) -> u64 {
        if self.random.f64() < ONCE_ONLY {
            self.next_once += 1;
            return self.next_once;
        }
        let share = self.random.f64();
        self.shares.partition_point(|up_to| *up_to < share) as u64
    }
}
