//! How much of what is asked for is in the cache, at equal bytes: Brim's memory tier, and both of its
//! tiers, beside the policies of libCacheSim on the same requests. Writes a table, and says whether
//! Brim is above the mean of each policy that does not know what is to come.
//!
//! `make bench-hit-ratio` runs it.

mod report;
mod tiers;
mod trace;

use clap::Parser;
use report::{Ratio, Row};
use std::path::{Path, PathBuf};
use std::process::Command;
use trace::{KINDS, Kind, Trace};

/// Sizes of caches, as shares of all bytes that are ever asked for.
const SHARES: [f64; 3] = [0.01, 0.05, 0.2];
/// Of two tiers, memory takes this share.
const MEMORY_SHARE: u64 = 10;
const REQUESTS: u64 = 400_000;
const QUICK_REQUESTS: u64 = 200_000;
/// What is in memory, where there is such a folder: the disk itself is not what is measured.
const IN_MEMORY: &str = "/dev/shm";

/// Hit ratios beside other policies.
#[derive(Parser)]
struct Options {
    /// Fewer requests, and nothing is written down.
    #[arg(long)]
    quick: bool,
    /// Other requests of the same kinds.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Only kinds of requests whose name has this in it; nothing is written down.
    #[arg(long, default_value = "")]
    only: String,
    /// Brim alone.
    #[arg(long)]
    alone: bool,
    /// The Python that has the simulator.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/hit-ratio/bin/python"))]
    python: PathBuf,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let requests = if options.quick { QUICK_REQUESTS } else { REQUESTS };
    let in_memory = Path::new(IN_MEMORY);
    let dir = if in_memory.is_dir() { in_memory.into() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("brim-hit-ratio-").tempdir_in(dir);
    let folder = folder.expect("a folder to work in");
    let mut rows = Vec::new();
    let mut version = String::new();
    for kind in KINDS.iter().filter(|kind| kind.name.contains(&options.only)) {
        eprintln!("{}", kind.name);
        rows.extend(replay(kind, requests, &options, folder.path(), &mut version));
    }
    assert!(!rows.is_empty(), "no kind of requests has \"{}\" in its name", options.only);
    let report = report::of(&rows, &version, requests, options.seed);
    println!("{report}");
    if !options.quick && !options.alone && options.only.is_empty() {
        let place = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/hit-ratio.md");
        std::fs::write(place, report).expect("a file with the results");
    }
}

/// Rows for one kind of requests, a row for each size.
fn replay(
    kind: &Kind,
    requests: u64,
    options: &Options,
    folder: &Path,
    version: &mut String,
) -> Vec<Row> {
    let trace = Trace::new(kind, requests, options.seed);
    let filling = trace.requests.len() / 2;
    let sizes = SHARES.map(|share| (trace.footprint as f64 * share) as u64);
    let mut rows: Vec<Row> = (SHARES.iter().zip(sizes))
        .map(|(share, bytes)| Row::new(kind.name, *share, bytes))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for row in &mut rows {
        let alone = tiers::memory(&trace, filling, row.bytes);
        row.add(report::MEMORY, Ratio { requests: alone.of_requests(), bytes: alone.of_bytes() });
        let place = folder.join("tier");
        std::fs::create_dir(&place).expect("a folder for the disk tier");
        let memory = row.bytes / MEMORY_SHARE;
        let both = tiers::both(&trace, filling, (memory, row.bytes - memory), &place);
        let both = runtime.block_on(both);
        std::fs::remove_dir_all(&place).expect("the disk tier's folder goes");
        row.add(report::BOTH, Ratio { requests: both.of_requests(), bytes: both.of_bytes() });
        row.writes = both.writes_of_requests();
    }
    if !options.alone {
        let file = folder.join("trace");
        trace.write(&file).expect("a trace");
        simulate(&options.python, &file, filling, &mut rows, version);
    }
    rows
}

/// Adds what each policy of the simulator hits.
fn simulate(python: &Path, trace: &Path, filling: usize, rows: &mut [Row], version: &mut String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/hit_ratio/policies.py");
    let mut command = Command::new(python);
    command.arg(script).arg(trace).arg(filling.to_string());
    command.args(rows.iter().map(|row| row.bytes.to_string()));
    let output = command.output().expect("the simulator: see `make bench-hit-ratio`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["version", number] => *version = number.to_owned(),
            [bytes, policy, of_requests, of_bytes] => {
                let number = |text: &str| text.parse::<f64>().expect("a number");
                let row = rows.iter_mut().find(|row| row.bytes.to_string() == bytes);
                let ratio = Ratio { requests: number(of_requests), bytes: number(of_bytes) };
                row.expect("a size that was asked for").add(policy, ratio);
            }
            // It speaks of its reader, too.
            _ => {}
        }
    }
}
