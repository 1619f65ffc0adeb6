//! Objects written and read, by the disk tier and by one file per object.
//!
//! Both have everything in the page cache and read it all once before it counts. The rounds take
//! turns, and of each figure the median of the rounds is shown, because others use the machine, too.

use crate::file_per_object::FilePerObject;
use crate::reopen;
use crate::segment_log::SegmentLog;
use crate::store::{Size, Store};
use crate::table::{self, Goal, median, row};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const ROUNDS: u64 = 9;
/// Slices of the writing that take turns.
const SLICES: u64 = 10;
/// Keeps everything that is written here.
const CAPACITY_BYTES: u64 = 6 << 30;

/// The two sides, and how many objects each has.
struct Sides<'a> {
    runtime: &'a Runtime,
    log: &'a SegmentLog,
    files: &'a FilePerObject,
    small: u64,
    large: u64,
}

/// What is read in one row of the table.
#[derive(Clone, Copy)]
struct Load {
    size: Size,
    /// Objects that there are.
    count: u64,
    tasks: u64,
    /// By all tasks together, in a round.
    reads: u64,
}

/// What one side did in one round, or in the median of all.
struct Figures {
    p50_us: f64,
    p99_us: f64,
    per_second: f64,
}

pub(crate) fn run(dir: &Path, is_full: bool) -> Vec<Goal> {
    let (small, large) = if is_full { (300_000, 1_000) } else { (100_000, 300) };
    let runtime = crate::runtime();
    let (log_folder, file_folder) = (crate::folder(dir, "log"), crate::folder(dir, "files"));
    let log = runtime.block_on(SegmentLog::open(log_folder.path(), CAPACITY_BYTES));
    let files = FilePerObject::new(file_folder.path());
    let sides = Sides { runtime: &runtime, log: &log, files: &files, small, large };
    sides.write_all();
    // What the kernel writes later would disturb whoever is measured then.
    crate::sync(dir);
    let goals = sides.read_all();
    log.disk().close();
    reopen::compare(log_folder.path(), file_folder.path(), small + large, CAPACITY_BYTES);
    goals
}

impl Sides<'_> {
    fn write_all(&self) {
        let mut rows =
            vec![row(&[&"", &"segment log", &"file per object", &"ratio", &"log MiB/s"])];
        for (size, count) in [(Size::Small, self.small), (Size::Large, self.large)] {
            let (mut log, mut files) = (Duration::ZERO, Duration::ZERO);
            for slice in 0..SLICES {
                let part = count * slice / SLICES..count * (slice + 1) / SLICES;
                log += write(self.runtime, self.log, size, part.clone());
                files += write(self.runtime, self.files, size, part);
            }
            let [log, files] = [log, files].map(|taken| count as f64 / taken.as_secs_f64());
            rows.push(row(&[
                &format!("{}, objects/s", size.name()),
                &format!("{log:.0}"),
                &format!("{files:.0}"),
                &format!("{:.2}", log / files),
                &format!("{:.0}", log * size.bytes() as f64 / 1_048_576.0),
            ]));
        }
        table::print("Writing: two tasks, until the last is written, nothing synced", &rows);
    }

    fn read_all(&self) -> Vec<Goal> {
        let mut rows = vec![row(&[
            &"",
            &"log p50 us",
            &"p99 us",
            &"1/s",
            &"files p50 us",
            &"p99 us",
            &"1/s",
            &"p50 ratio",
            &"p99 ratio",
        ])];
        let mut goals = Vec::new();
        for (size, count, tasks, reads) in [
            (Size::Small, self.small, 1, 100_000),
            (Size::Small, self.small, 64, 200_000),
            (Size::Large, self.large, 1, 1_000),
            (Size::Large, self.large, 64, 2_000),
        ] {
            let load = Load { size, count, tasks, reads };
            let (log, files) = self.compare(load);
            let name =
                format!("{}, {tasks} task{}", size.name(), if tasks == 1 { "" } else { "s" });
            let ratio = log.p50_us / files.p50_us;
            rows.push(row(&[
                &name,
                &format!("{:.1}", log.p50_us),
                &format!("{:.1}", log.p99_us),
                &format!("{:.0}", log.per_second),
                &format!("{:.1}", files.p50_us),
                &format!("{:.1}", files.p99_us),
                &format!("{:.0}", files.per_second),
                &format!("{ratio:.2}"),
                &format!("{:.2}", log.p99_us / files.p99_us),
            ]));
            if size == Size::Small {
                let what = format!("{name}: p50, of file per object's");
                goals.push(Goal::at_most(&what, 0.5, ratio, ""));
            }
            if (size, tasks) == (Size::Small, 64) {
                goals.push(Goal::at_most(&format!("{name}: p99"), 20.0, log.p99_us, " us"));
            }
        }
        table::print("Reading, warm", &rows);
        goals
    }

    fn compare(&self, load: Load) -> (Figures, Figures) {
        warm(self.runtime, self.log, load);
        warm(self.runtime, self.files, load);
        let (mut log, mut files) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            log.push(read(self.runtime, self.log, load, round));
            files.push(read(self.runtime, self.files, load, round));
        }
        (middle(&log), middle(&files))
    }
}

fn middle(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
    Figures {
        p50_us: of(|round| round.p50_us),
        p99_us: of(|round| round.p99_us),
        per_second: of(|round| round.per_second),
    }
}

/// Two tasks write these objects.
fn write<S: Store>(runtime: &Runtime, store: &S, size: Size, numbers: Range<u64>) -> Duration {
    let start = Instant::now();
    let halves = [0, 1].map(|half| {
        let (store, numbers) = (store.clone(), numbers.clone());
        runtime.spawn(async move {
            for number in numbers.skip(half).step_by(2) {
                store.write(size, number).await;
            }
        })
    });
    runtime.block_on(async {
        for half in halves {
            half.await.expect("written");
        }
        store.settled().await;
    });
    start.elapsed()
}

/// Reads everything once.
fn warm<S: Store>(runtime: &Runtime, store: &S, load: Load) {
    let store = store.clone();
    let all = runtime.spawn(async move {
        for number in 0..load.count {
            assert!(store.read(load.size, number).await, "object {number} is not there");
        }
    });
    runtime.block_on(all).expect("read");
}

/// A round: each task reads objects at random, one after the other.
fn read<S: Store>(runtime: &Runtime, store: &S, load: Load, round: u64) -> Figures {
    let start = Instant::now();
    let tasks: Vec<_> = (0..load.tasks)
        .map(|task| {
            let store = store.clone();
            let mut random = fastrand::Rng::with_seed(round << 32 | task);
            runtime.spawn(async move {
                let mut taken = Vec::new();
                for _ in 0..load.reads / load.tasks {
                    let number = random.u64(..load.count);
                    let start = Instant::now();
                    assert!(store.read(load.size, number).await, "object {number} is gone");
                    taken.push(start.elapsed());
                }
                taken
            })
        })
        .collect();
    let mut taken: Vec<Duration> = Vec::new();
    for task in tasks {
        taken.extend(runtime.block_on(task).expect("read"));
    }
    let seconds = start.elapsed().as_secs_f64();
    taken.sort_unstable();
    let us = |share: usize| taken[taken.len() * share / 100].as_nanos() as f64 / 1000.0;
    Figures { p50_us: us(50), p99_us: us(99), per_second: taken.len() as f64 / seconds }
}
