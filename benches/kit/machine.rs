//! Where a measurement happens: which processor is whose, where the files are, what the kernel counts.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// /proc counts processor time in these, whatever the kernel's own ticks are.
const TICKS_PER_SECOND: f64 = 100.0;

/// One for the proxies and one for the origin and the load, if there are two and they can be chosen.
pub(crate) fn processors() -> (Option<usize>, Option<usize>) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    if count > 1 && taskset.is_ok_and(|status| status.success()) {
        (Some(0), Some(1))
    } else {
        println!("NOT PINNED: that takes two processors and taskset");
        (None, None)
    }
}

/// This process, and those that it starts from now on and says nothing else of.
pub(crate) fn pin_myself(processor: usize) {
    let mut command = Command::new("taskset");
    command.args(["-a", "-cp", &processor.to_string(), &std::process::id().to_string()]);
    if !command.stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("NOT PINNED: the load and the origin");
    }
}

/// A folder that goes when it is dropped; in memory, or else below target/, unless a place is given.
pub(crate) fn folder(dir: Option<&Path>, prefix: &str) -> tempfile::TempDir {
    let target = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target"));
    let memory = Path::new("/dev/shm");
    let dir = dir.unwrap_or(if memory.is_dir() { memory } else { target });
    std::fs::create_dir_all(dir).expect("a folder to work in");
    tempfile::Builder::new().prefix(prefix).tempdir_in(dir).expect("a folder")
}

/// Where it is; the search path of ordinary users leaves out where servers are.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(servers);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

pub(crate) struct Stat {
    pub(crate) parent: i32,
    /// Processor time of the process, in seconds, in user space and in the kernel.
    pub(crate) seconds: f64,
    /// The same of its children that have ended.
    pub(crate) seconds_of_ended_children: f64,
}

/// What the kernel tells of a process; `None`: it has ended.
pub(crate) fn stat(pid: impl Display) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, can contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |position: usize| fields.get(position)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / TICKS_PER_SECOND;
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        seconds: seconds(number(11)? + number(12)?),
        seconds_of_ended_children: seconds(number(13)? + number(14)?),
    })
}

/// In seconds.
pub(crate) fn processor_time(pid: impl Display) -> f64 {
    stat(pid).map_or(0.0, |stat| stat.seconds)
}

/// In seconds, of all processes and processors since the machine was started.
pub(crate) fn processor_time_of_all() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
    // User, nice, system; idle and waiting; interrupts; stolen by the host.
    let busy = [0, 1, 2, 5, 6, 7].map(|position| numbers.get(position).copied().unwrap_or(0));
    busy.iter().sum::<u64>() as f64 / TICKS_PER_SECOND
}
