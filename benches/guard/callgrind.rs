//! Instructions, as valgrind's callgrind counts them: those of one thread, and only while it is in
//! `counted_operations`.

use std::path::Path;
use std::process::{Command, Stdio};

/// What the function below is called in the program.
const COUNTED: &str = "*counted_operations*";
/// Functions that a profile shows.
const SHOWN: usize = 40;

/// Does so many operations. Callgrind knows it by its name, and every function whose name contains that
/// would turn the counting off again: it has no closure.
#[inline(never)]
pub(super) fn counted_operations(work: &mut dyn FnMut(usize), times: usize) {
    work(std::hint::black_box(times));
    // The call above is to return here.
    std::hint::black_box(());
}

/// Runs this program below callgrind, with these arguments; all instructions that were counted. What
/// callgrind has to tell of them is in `out` then.
pub(super) fn count(arguments: &[&str], out: &Path) -> Result<u64, String> {
    let program = std::env::current_exe().expect("this program's path");
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--toggle-collect={COUNTED}")])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(arguments)
        .stdout(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    if !run.status.success() {
        let told = String::from_utf8_lossy(&run.stderr);
        return Err(format!("{arguments:?} failed below valgrind:\n{told}"));
    }
    let written = std::fs::read_to_string(out).map_err(|error| error.to_string())?;
    let total = written.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: Option<u64> = total.and_then(|total| total.trim().parse().ok());
    total.filter(|total| *total > 0).ok_or_else(|| format!("{arguments:?}: nothing was counted"))
}

/// Shows the functions that take most: by themselves, and with all that they call.
pub(super) fn annotate(out: &Path) -> Result<(), String> {
    for (title, inclusive) in [("by itself", "no"), ("with what it calls", "yes")] {
        let told = Command::new("callgrind_annotate")
            .args(["--auto=no", "--threshold=99.9", &format!("--inclusive={inclusive}")])
            .arg(out)
            .output()
            .map_err(|error| format!("callgrind_annotate cannot be started: {error}"))?;
        println!("\n{title}");
        let told = String::from_utf8_lossy(&told.stdout);
        let functions = told.lines().filter(|line| line.contains("%)"));
        functions.take(SHOWN).for_each(|line| println!("{line}"));
    }
    println!("\nkept in {}", out.display());
    Ok(())
}
