//! Starting on a folder with many objects: how long until it serves, and until it knows all that it
//! has; and what they take in memory. Each start is a process of its own, warm and with the folder's
//! files out of the page cache.

use crate::segment_log::{self, receipt, recovered};
use crate::table::{self, Goal, median, row};
use crate::{file_per_object, store};
use brim::store::disk::{Content, Disk};
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
/// Room for each object: the smallest record, its part of the footer, and some.
const OBJECT_BYTES: u64 = 320;

/// What a process saw that started on a folder.
#[derive(Serialize, Deserialize)]
struct Start {
    opened_seconds: f64,
    /// Until the first object was read; none if the answer was a miss.
    first_get_seconds: Option<f64>,
    all_seconds: f64,
    objects: u64,
    rss_bytes: u64,
    index_bytes: u64,
}

pub(crate) fn run(dir: &Path, objects: u64) -> Vec<Goal> {
    let folder = crate::folder(dir, "reopen");
    let bytes = (objects * OBJECT_BYTES).max(256 << 20);
    build(folder.path(), objects, bytes);
    crate::sync(dir);
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forget(folder.path());
        cold.push(start("log", folder.path(), bytes));
        warm.push(start("log", folder.path(), bytes));
    }
    for start in cold.iter().chain(&warm) {
        assert_eq!(start.objects, objects, "objects are missing after the start");
    }
    let mut rows =
        vec![row(&[&"", &"open s", &"first get s", &"all s", &"RSS B/object", &"index B/object"])];
    for (name, starts) in [("cold", &cold), ("warm", &warm)] {
        let of = |figure: fn(&Start) -> f64| median_of(starts, figure);
        rows.push(row(&[
            &name,
            &format!("{:.4}", of(|start| start.opened_seconds)),
            &format!("{:.4}", of(|start| start.first_get_seconds.unwrap_or(f64::INFINITY))),
            &format!("{:.2}", of(|start| start.all_seconds)),
            &format!("{:.1}", of(Start::rss_per_object)),
            &format!("{:.1}", of(Start::index_per_object)),
        ]));
    }
    let bytes = folder_bytes(folder.path());
    let millions = objects as f64 / 1e6;
    table::print(&format!("Starting on {millions} million objects in {} MiB", bytes >> 20), &rows);
    let limit = 3.0 * objects as f64 / 1e7;
    let all = median_of(&cold, |start| start.all_seconds);
    let what = format!("start on {millions} million objects, cold");
    vec![
        Goal::at_most(&what, limit, all, " s"),
        Goal::at_most("RSS of an object", 40.0, median_of(&warm, Start::rss_per_object), " B"),
        Goal::at_most("index of an object", 40.0, median_of(&warm, Start::index_per_object), " B"),
    ]
}

/// The start of both sides on the same objects.
pub(crate) fn compare(log: &Path, files: &Path, objects: u64, bytes: u64) {
    let mut rows = vec![row(&[&"", &"all s", &"RSS B/object"])];
    for (name, kind, folder) in
        [("segment log", "log", log), ("file per object, names and lengths", "files", files)]
    {
        let starts: Vec<Start> = (0..ROUNDS).map(|_| start(kind, folder, bytes)).collect();
        rows.push(row(&[
            &name,
            &format!("{:.3}", median_of(&starts, |start| start.all_seconds)),
            &format!("{:.1}", median_of(&starts, Start::rss_per_object)),
        ]));
    }
    table::print(&format!("Starting on {objects} of these objects, warm"), &rows);
}

impl Start {
    fn rss_per_object(&self) -> f64 {
        self.rss_bytes as f64 / self.objects as f64
    }

    fn index_per_object(&self) -> f64 {
        self.index_bytes as f64 / self.objects as f64
    }
}

fn median_of(starts: &[Start], figure: impl Fn(&Start) -> f64) -> f64 {
    median(&starts.iter().map(figure).collect::<Vec<_>>())
}

/// Entries as small as they get: what counts here is how many.
fn build(folder: &Path, objects: u64, bytes: u64) {
    let start = Instant::now();
    let disk = segment_log::open(folder, bytes);
    crate::runtime().block_on(async {
        recovered(&disk).await;
        for number in 0..objects {
            let content = Content { asked: disk.next_sequence(), ..Content::default() };
            while !(disk.has_room().await && disk.put(&key(number), content.clone(), &receipt())) {
                tokio::task::yield_now().await;
            }
        }
        disk.settled().await;
    });
    assert_eq!(disk.stats().entries, objects, "objects are missing after the writing");
    disk.close();
    println!("\n  {objects} objects written in {:.1} s", start.elapsed().as_secs_f64());
}

fn key(number: u64) -> Vec<u8> {
    format!("a\na.test\n/{number:x}").into_bytes()
}

/// Takes the files out of the page cache.
fn forget(folder: &Path) {
    for file in fs::read_dir(folder).expect("a folder") {
        let file = File::open(file.expect("a file").path()).expect("opened");
        file.sync_all().expect("synced");
        fadvise(&file, 0, None, Advice::DontNeed).expect("forgotten");
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).expect("a folder");
    files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len()).sum()
}

/// A process of its own, so that its memory is its own.
fn start(kind: &str, folder: &Path, bytes: u64) -> Start {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.arg("--child").arg(kind).arg(folder).arg(bytes.to_string());
    let output = command.output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("what it saw")
}

/// What `start` starts.
pub(crate) fn child(kind: &str, folder: &Path, bytes: &str) {
    let start = match kind {
        "log" => start_log(folder, bytes.parse().expect("bytes")),
        _ => start_files(folder),
    };
    serde_json::to_writer(std::io::stdout(), &start).expect("told");
}

fn start_log(folder: &Path, bytes: u64) -> Start {
    let runtime = crate::runtime();
    let before = rss_bytes();
    let start = Instant::now();
    let disk = segment_log::open(folder, bytes);
    let opened_seconds = start.elapsed().as_secs_f64();
    let first_get_seconds = runtime.block_on(first_get(&disk, start));
    runtime.block_on(async {
        let all = tokio::time::timeout(Duration::from_secs(120), recovered(&disk));
        all.await.expect("a start that ends");
    });
    let all_seconds = start.elapsed().as_secs_f64();
    let (rss_bytes, stats) = (rss_bytes().saturating_sub(before), disk.stats());
    Start {
        opened_seconds,
        first_get_seconds,
        all_seconds,
        objects: stats.entries,
        rss_bytes,
        index_bytes: stats.index_bytes,
    }
}

async fn first_get(disk: &Disk, start: Instant) -> Option<f64> {
    let small = store::Size::Small.key(0);
    for key in [key(0), small] {
        if disk.get(&key).await.is_some() {
            return Some(start.elapsed().as_secs_f64());
        }
    }
    None
}

fn start_files(folder: &Path) -> Start {
    let before = rss_bytes();
    let start = Instant::now();
    let found = file_per_object::walk(folder).expect("walked");
    let all_seconds = start.elapsed().as_secs_f64();
    Start {
        opened_seconds: 0.0,
        first_get_seconds: None,
        all_seconds,
        objects: found.len() as u64,
        rss_bytes: rss_bytes().saturating_sub(before),
        index_bytes: 0,
    }
}

/// Memory of this process that is in no file.
fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("RssAnon");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib * 1024
}
