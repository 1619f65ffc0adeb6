//! Guards what the usual requests cost: allocations, and instructions as callgrind counts them, of single
//! operations, compared with the numbers in `expected.toml`. No clock is looked at, so that a busy machine
//! makes no difference.
//!
//! `make bench-guard` runs it. Allocations are counted in this process; for instructions it starts itself
//! below valgrind, once for each operation, with `--run`.

mod allocations;
mod callgrind;
mod expected;
mod operations;
mod profile;

#[path = "../kit/edge.rs"]
mod kit;

use clap::{Parser, ValueEnum};
use expected::{Cost, Expected, Verdict};
use operations::{OPERATIONS, Operation};
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Done before anything is counted, so that every room has the size that it needs.
const WARM_UP: usize = 2000;
/// Counted at one time.
const COUNTED: usize = 1000;

/// Compares costs of operations with those that were written down.
#[derive(Parser)]
struct Options {
    /// Writes the numbers of this run down.
    #[arg(long)]
    update: bool,
    /// Only operations whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Counts so many times, and shows how far apart the numbers are.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Shows where the instructions of one operation go, and keeps what callgrind wrote.
    #[arg(long, value_name = "OPERATION")]
    profile: Option<String>,
    /// Does something more with each operation, to see that the guard fails then.
    #[arg(long, value_name = "WHAT")]
    plant: Option<Planted>,
    /// Does one operation many times, for valgrind to count.
    #[arg(long, hide = true)]
    run: Option<String>,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is done too much.
#[derive(Clone, Copy, ValueEnum)]
enum Planted {
    /// An allocation of a few bytes.
    Allocation,
    /// A loop over a few hundred bytes.
    Loop,
}

impl Planted {
    fn again(self, times: usize) {
        for _ in 0..times {
            match self {
                Self::Allocation => drop(black_box(Box::new(0_u64))),
                Self::Loop => (0..500_u16).for_each(|number| _ = black_box(number)),
            }
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = if let Some(name) = &options.run {
        named(name).map(|operation| run(operation, options.plant))
    } else if let Some(name) = &options.profile {
        named(name).and_then(show_profile)
    } else {
        guard(&options)
    };
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn named(name: &str) -> Result<&'static Operation, String> {
    let operation = OPERATIONS.iter().find(|operation| operation.name == name);
    operation.ok_or_else(|| {
        let names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        format!("no operation is called {name}: there are {}", names.join(", "))
    })
}

fn run(operation: &Operation, plant: Option<Planted>) -> ExitCode {
    (operation.prepare)(&mut |work| {
        work(WARM_UP);
        let mut work = |times| {
            work(times);
            plant.iter().for_each(|plant| plant.again(times));
        };
        callgrind::counted_operations(&mut work, COUNTED);
    });
    ExitCode::SUCCESS
}

fn show_profile(operation: &Operation) -> Result<ExitCode, String> {
    let Operation { name, .. } = operation;
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.out.{name}"));
    let total = callgrind::count(&["--run", name], &file)?;
    println!("{name}: {} instructions each, {COUNTED} times", total / COUNTED as u64);
    profile::show(&std::fs::read_to_string(&file).map_err(|error| error.to_string())?);
    println!("\nkept in {}", file.display());
    Ok(ExitCode::SUCCESS)
}

fn guard(options: &Options) -> Result<ExitCode, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/guard/expected.toml");
    let mut expected = Expected::read(&file);
    let compiler = compiler()?;
    let is_same_compiler = expected.compiler == compiler;
    let mut verdicts = Vec::new();
    for operation in OPERATIONS.iter().filter(|one| one.name.contains(&options.only)) {
        let rounds = (0..options.rounds.max(1)).map(|_| cost(operation, options.plant));
        let rounds = rounds.collect::<Result<Vec<Cost>, String>>()?;
        let seen = Cost::least(&rounds);
        let before = expected.costs.insert(operation.name.to_owned(), seen);
        println!("{}", expected::line(operation.name, before, seen));
        if rounds.len() > 1 {
            println!("{}", expected::spread(&rounds));
        }
        verdicts.extend(expected::judge(operation.name, before, seen, is_same_compiler));
    }
    if options.update {
        expected.compiler = compiler;
        expected.write(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("written down in {}", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    if !is_same_compiler {
        let before = &expected.compiler;
        println!(
            "Written down with {before}, and this is {compiler}: instructions may differ more."
        );
    }
    verdicts.iter().for_each(|verdict| println!("{verdict}"));
    println!("{}", expected::advice(&verdicts));
    match verdicts.iter().any(Verdict::is_failure) {
        true => Ok(ExitCode::FAILURE),
        false => Ok(ExitCode::SUCCESS),
    }
}

fn cost(operation: &Operation, plant: Option<Planted>) -> Result<Cost, String> {
    let planted = |times| plant.iter().for_each(|plant| plant.again(times));
    let (allocations, bytes) = allocations::count(operation, planted);
    let out = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let mut arguments = vec!["--run", operation.name];
    match plant {
        Some(Planted::Allocation) => arguments.extend(["--plant", "allocation"]),
        Some(Planted::Loop) => arguments.extend(["--plant", "loop"]),
        None => {}
    }
    let instructions = callgrind::count(&arguments, out.path())? as f64 / COUNTED as f64;
    Ok(Cost { instructions, allocations, bytes })
}

/// The version of the compiler, which decides about instructions.
fn compiler() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(rustc).arg("--version").output();
    let told = told.map_err(|error| format!("the compiler does not tell its version: {error}"))?;
    let told = String::from_utf8_lossy(&told.stdout);
    Ok(told.split(' ').take(2).collect::<Vec<_>>().join(" "))
}
