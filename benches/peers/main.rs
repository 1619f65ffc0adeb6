//! Brim beside nginx, HAProxy, Varnish and Apache Traffic Server: hits, misses, TLS, HTTP/2 and the disk,
//! each row of the goals in one run, on one processor, the load on another, in rounds that take turns.
//! Writes a table and a plot; asserts nothing about time.
//!
//! `make bench-peers` runs it.

mod bare;
mod certificate;
mod check;
mod contestants;
mod generator;
#[path = "../kit/kind.rs"]
#[allow(dead_code, reason = "not all kinds of answers are measured here")]
mod kind;
#[path = "../kit/load.rs"]
#[allow(dead_code, reason = "nobody comes in crowds here")]
mod load;
mod log_reader;
#[path = "../kit/machine.rs"]
#[allow(dead_code, reason = "what everybody else takes is not asked here")]
mod machine;
#[path = "../kit/nginx.rs"]
mod nginx;
#[path = "../kit/origin.rs"]
mod origin;
mod plot;
#[path = "../kit/process.rs"]
#[allow(dead_code, reason = "contestants have their names from elsewhere")]
mod process;
mod report;
mod rows;
mod seen;
#[path = "../disk/table.rs"]
#[allow(dead_code, reason = "the goals are told in a table of their own")]
mod table;
mod trial;

use certificate::Certificate;
use clap::{Parser, ValueEnum};
use kind::Kind;
use origin::Origin;
use rows::{ROWS, Row};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use trial::Trial;

/// Whom everybody asks for.
pub(crate) const HOST: &str = "bench.test";

/// Brim beside its peers.
#[derive(Parser)]
pub(crate) struct Options {
    /// Rounds; one more before them is not counted.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of load in each round, for each contestant and row.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    time: u64,
    /// Only these rows.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Only contestants whose name contains this; Brim takes part in any case.
    #[arg(long, default_value = "")]
    only: String,
    /// Whether everybody writes access logs.
    #[arg(long, default_value = "both")]
    logs: Logs,
    /// Three rounds without access logs.
    #[arg(long)]
    quick: bool,
    /// Fails where somebody does not run, or does not answer as they should; goals do not count.
    #[arg(long)]
    strict: bool,
    /// Where the folder for configuration, caches and logs is made; removed at the end.
    /// [default: in memory, /dev/shm, or else target/]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Another Brim than the one that was built with this.
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_brim"))]
    pub(crate) brim: PathBuf,
    /// How it and the bare server were built, for the table.
    #[arg(long, default_value = "by Cargo, as for `make run`")]
    built: String,
    /// Where the table and the plot are written.
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results"))]
    results: PathBuf,
    /// The other part of this program.
    #[arg(long, hide = true, num_args = 3, value_names = ["ADDRESS", "PATH", "FILE"])]
    bare: Vec<String>,
    /// What the other part is called.
    #[arg(long, hide = true)]
    version: bool,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Logs {
    Off,
    On,
    Both,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.version {
        println!("Pingora as in Cargo.lock");
        return ExitCode::SUCCESS;
    }
    if let [address, path, file] = options.bare.as_slice() {
        bare::run(address, path, file);
    }
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).expect("a signal");
        // Whoever rests when this ends has to be woken to end, too: they are when they are dropped.
        tokio::select! {
            outcome = run(&options) => match outcome {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            },
            _ = tokio::signal::ctrl_c() => interrupted(),
            _ = terminated.recv() => interrupted(),
        }
    })
}

fn interrupted() -> ExitCode {
    eprintln!("interrupted");
    ExitCode::from(130)
}

async fn run(options: &Options) -> Result<(), String> {
    let rows = chosen(&options.rows)?;
    for generator in ["wrk", "h2load", "nghttp"] {
        machine::program(generator).ok_or_else(|| {
            format!("{generator} is not installed; make bench-peers installs it where it can")
        })?;
    }
    raise_descriptors();
    let (processor, load_on) = machine::processors();
    if let Some(load_on) = load_on {
        machine::pin_myself(load_on);
    }
    let mut sizes: Vec<usize> = rows.iter().map(|row| row.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let origin = Origin::start(&sizes).await;
    let folder = machine::folder(options.dir.as_deref(), "bench-peers-");
    let certificate = Certificate::make(folder.path());
    let log_reader = log_reader::start().await;
    let mut trial =
        Trial::new(options, &origin, &certificate, folder.path(), processor, log_reader);
    let mut measured = Vec::new();
    for writes_log in options.logs() {
        for row in &rows {
            measured.push(trial.row(row, writes_log).await);
            report::write(options, &trial, &measured).map_err(|error| error.to_string())?;
        }
    }
    report::print_goals(&measured);
    let is_empty = measured.iter().any(|measured| measured.seen.is_empty());
    if options.strict && (trial.failures > 0 || is_empty) {
        return Err(format!("{} failures; the notes above tell them", trial.failures));
    }
    Ok(())
}

impl Options {
    fn logs(&self) -> Vec<bool> {
        match self.logs {
            Logs::Both if self.quick => vec![false],
            Logs::Both => vec![false, true],
            Logs::Off => vec![false],
            Logs::On => vec![true],
        }
    }

    /// Counted ones.
    fn rounds(&self) -> usize {
        if self.quick { 3 } else { self.rounds }
    }

    /// One that is not counted, except where there is little time.
    fn rounds_before(&self) -> usize {
        usize::from(!self.quick)
    }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>, String> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    let row = |name: &String| {
        ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
            let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            format!("there is no row {name}; there are {}", known.join(", "))
        })
    };
    names.iter().map(row).collect()
}

/// Of this object; the origin knows the size by it.
pub(crate) fn path_of(row: &Row, object: u64) -> String {
    format!("{}{object}", Kind::Kept.path_prefix(row.size))
}

/// For a thousand connections on both sides; whoever is started from here has as many.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, raised).is_err() {
        println!("NOT RAISED: the number of open files; a thousand connections may be too many");
    }
}
