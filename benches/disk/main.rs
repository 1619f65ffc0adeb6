//! The disk tier beside one file per object, and its admission and eviction beside LRU and FIFO:
//! each comparison in one run, in rounds that take turns. Prints tables, and for each goal whether
//! it was met; asserts nothing about time.
//!
//! `make bench-disk` runs it; `make bench-disk BENCH="--full"` with the sizes that the goals name.

mod file_per_object;
mod gets;
#[path = "../kit/edge.rs"]
mod kit;
mod policy;
mod purge;
mod reopen;
mod segment_log;
mod store;
mod table;

use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use table::Goal;

/// Benchmarks of the disk tier.
#[derive(Parser)]
struct Options {
    /// Sizes as the goals name them: 10 million objects to reopen. Takes about 10 GB.
    #[arg(long)]
    full: bool,
    /// Where the folders are made; removed at the end.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target"))]
    dir: PathBuf,
    /// Only these parts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Objects to reopen.
    #[arg(long)]
    objects: Option<u64>,
    /// What this process does for another one of the same benchmark.
    #[arg(long, hide = true, num_args = 3)]
    child: Option<Vec<String>>,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Small and large objects: written, then read.
    Gets,
    /// Starting on a folder with many objects, and the memory that they take.
    Reopen,
    /// Hits and writes.
    Policy,
    /// Purges with little and with much in the cache.
    Purge,
}

fn main() {
    let options = Options::parse();
    if let Some(child) = &options.child {
        return reopen::child(&child[0], child[1].as_ref(), &child[2]);
    }
    std::fs::create_dir_all(&options.dir).expect("a folder to work in");
    let mut goals: Vec<Goal> = Vec::new();
    let wants = |part| options.only.is_empty() || options.only.contains(&part);
    if wants(Part::Gets) {
        goals.extend(gets::run(&options.dir, options.full));
    }
    if wants(Part::Reopen) {
        let default = if options.full { 10_000_000 } else { 1_000_000 };
        goals.extend(reopen::run(&options.dir, options.objects.unwrap_or(default)));
    }
    if wants(Part::Policy) {
        goals.extend(policy::run(&options.dir));
    }
    if wants(Part::Purge) {
        goals.extend(purge::run(&options.dir));
    }
    table::print_goals(&goals);
}

/// Two worker threads, whoever is measured.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// A folder that goes when it is dropped.
fn folder(dir: &std::path::Path, name: &str) -> tempfile::TempDir {
    tempfile::Builder::new().prefix(&format!("bench-{name}-")).tempdir_in(dir).expect("a folder")
}

/// Has the kernel write what it has still to write on the file system of `dir`.
fn sync(dir: &std::path::Path) {
    let dir = std::fs::File::open(dir).expect("a folder");
    rustix::fs::syncfs(dir).expect("synced");
}
