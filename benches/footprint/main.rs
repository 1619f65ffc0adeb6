//! What Brim takes: memory for each connection that waits and for each object in the memory tier,
//! processor time for a hit when many objects are known, and the time from its start to its first
//! answer. Everything is measured from outside, of a release build in a process of its own. Writes
//! its tables, with each goal, into `benches/results/footprint.md`.
//!
//! `make bench-footprint` runs it, on Linux; `make bench-footprint BENCH="--full"` with the sizes that
//! the goals name.

mod client;
mod connections;
mod edge;
#[path = "../kit/fixed_origin.rs"]
mod fixed_origin;
mod known;
mod objects;
mod report;
mod start;
#[allow(dead_code, reason = "the other benchmarks need more of it")]
#[path = "../disk/table.rs"]
mod table;

use clap::{Parser, ValueEnum};
use report::Report;
use std::io;
use std::path::PathBuf;

/// What a file server sends beside date and length, and that it may be kept for long.
const ORIGIN_FIELDS: &str = "Content-Type: application/octet-stream\r\nETag: \"5f3-400\"\r\n\
    Last-Modified: Sun, 20 Sep 2026 10:00:00 GMT\r\nCache-Control: max-age=86400\r\n";

/// Memory, processor time and start of the program.
#[derive(Parser)]
struct Options {
    /// Sizes as the goals name them: 10 million objects known. Takes about 10 GB of memory and as
    /// much of the disk, and the better part of an hour.
    #[arg(long)]
    full: bool,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Connections of each kind.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Objects of each size in the memory tier.
    #[arg(long, default_value_t = 200_000)]
    objects: u64,
    /// Objects known to the disk tier.
    #[arg(long)]
    known: Option<u64>,
    /// Objects known to the memory tier.
    #[arg(long)]
    known_in_memory: Option<u64>,
    /// MiB of the memory tier that is turned over.
    #[arg(long, default_value_t = 64)]
    filled: u64,
    /// Rounds of hits, with few and with many objects known.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Starts of each kind.
    #[arg(long, default_value_t = 20)]
    starts: usize,
    /// Where the folders are made; removed at the end.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target"))]
    dir: PathBuf,
    /// Where the tables are written; nowhere where only some parts are measured.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results/footprint.md"))]
    results: PathBuf,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Memory for each idle connection.
    Connections,
    /// Memory for each object beyond its bytes.
    Objects,
    /// Processor time for a hit, with few and with many objects known to the disk tier.
    Known,
    /// The same, of the memory tier.
    KnownInMemory,
    /// From the start to the first answer.
    Start,
}

fn main() -> io::Result<()> {
    let options = Options::parse();
    std::fs::create_dir_all(&options.dir)?;
    let mut report = Report::new();
    edge::raise_file_limit();
    let origin = fixed_origin::start(ORIGIN_FIELDS);
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    let of_the_goal =
        |asked: Option<u64>, quick| asked.unwrap_or(if options.full { 10_000_000 } else { quick });
    // Not while anything else has warmed up or used up the machine.
    if wants(Part::Start) {
        start::run(&options.dir, origin, options.starts, &mut report)?;
    }
    if wants(Part::Connections) {
        connections::run(&options.dir, origin, options.connections, &mut report)?;
    }
    if wants(Part::Objects) {
        objects::run(&options.dir, origin, options.objects, options.filled, &mut report)?;
    }
    if wants(Part::Known) {
        let objects = of_the_goal(options.known, 1_000_000);
        known::on_disk(&options.dir, origin, objects, options.rounds, &mut report)?;
    }
    if wants(Part::KnownInMemory) {
        let objects = of_the_goal(options.known_in_memory, 500_000);
        known::in_memory(&options.dir, origin, objects, options.rounds, &mut report)?;
    }
    report.print();
    if options.only.is_empty() {
        report.write(&options.results)?;
        println!("\nwritten: {}", options.results.display());
    }
    Ok(())
}

/// A folder that goes when it is dropped.
fn folder(dir: &std::path::Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("bench-footprint-").tempdir_in(dir)
}

/// One thread for all clients.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
