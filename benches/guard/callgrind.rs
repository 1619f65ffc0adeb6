//! Instructions, as valgrind's callgrind counts them: those of one thread, and only while it is in
//! `counted_operations`.

use std::path::Path;
use std::process::{Command, Stdio};

/// What the function below is called in the program.
const COUNTED: &str = "*counted_operations*";
/// Keeps the C library from copying with an instruction that callgrind counts for every byte: not every
/// processor has a fast one.
const COPIES_ALIKE: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1073741824");

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
        .env(COPIES_ALIKE.0, COPIES_ALIKE.1)
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
