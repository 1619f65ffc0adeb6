//! Misses per second, and the processor time that each takes, of Brim beside nginx and HAProxy in one
//! run: one thread each on a processor of its own, the same origin and the same load on another,
//! rounds that take turns. Prints tables, and for each goal whether it was met; asserts nothing
//! about time.
//!
//! `make bench-misses` runs it.

mod load;
mod origin;
mod proxy;
mod report;
#[path = "../disk/table.rs"]
mod table;

use clap::{Parser, ValueEnum};
use load::{Target, Unique};
use origin::Origin;
use proxy::{Proxy, Recipe};
use report::Seen;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const CROWD_CLIENTS: usize = 200;
/// The latest objects of a round that are asked for once more: is it true that they are stored?
const ASKED_AGAIN: u64 = 100;

/// Benchmarks of misses.
#[derive(Parser)]
struct Options {
    /// Rounds; one more before them is not counted.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Milliseconds of load in each round, for each proxy and size.
    #[arg(long, default_value_t = 600)]
    time: u64,
    /// Clients at one time.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Where the folder for configuration, and for nginx's files and Brim's disk tier, is made;
    /// removed at the end. [default: in memory, /dev/shm, or else target/]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only those whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Only these kinds of answers.
    #[arg(long, value_delimiter = ',', default_values = ["kept", "passed"])]
    kinds: Vec<Kind>,
    /// Bytes of contents.
    #[arg(long, value_delimiter = ',', default_values_t = [1024, 64 * 1024])]
    sizes: Vec<usize>,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What becomes of an answer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// It is stored.
    Kept,
    /// It is not: the origin forbids it, or the proxy is not asked to.
    Passed,
    /// Many want it at once.
    #[value(skip)]
    Crowd,
    /// The same, where nginx is told to have one wait for the other.
    #[value(skip)]
    Locked,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Passed => "passed",
            Self::Crowd => "crowd",
            Self::Locked => "locked",
        }
    }

    fn path_prefix(self, size: usize) -> String {
        format!("/{}/{size}/", self.name())
    }

    /// Whether the origin takes its time for this path.
    fn waits(path: &[u8]) -> bool {
        path.starts_with(b"/crowd/") || path.starts_with(b"/locked/")
    }
}

fn main() {
    let options = Options::parse();
    // The origin and the load share a thread, so that neither waits for the scheduler.
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // Whoever rests when this ends has to be woken to end, too.
        tokio::select! {
            () = run(&options) => {}
            _ = tokio::signal::ctrl_c() => println!("interrupted"),
        }
    });
}

async fn run(options: &Options) {
    let (proxies_on, load_on) = processors();
    if let Some(processor) = load_on {
        pin_myself(processor);
    }
    let origin = Origin::start(&options.sizes).await;
    let mut goals = Vec::new();
    for (position, &size) in options.sizes.iter().enumerate() {
        // A size finds caches that are full of its own kind, and not of what was measured before it.
        let folder = folder(options.dir.as_deref());
        let proxies = start(folder.path(), &origin, proxies_on, &options.only);
        proxies.iter().for_each(Proxy::rest);
        let unique = Unique::default();
        if position == 0 {
            report::print_setting(&proxies, folder.path(), proxies_on, load_on);
            crowds(&proxies, &origin, size, &unique).await;
        }
        goals.extend(of_size(size, &proxies, &origin, options, &unique).await);
    }
    table::print_goals(&goals);
}

/// Everybody in turn, with contents of this size.
async fn of_size(
    size: usize,
    proxies: &[Proxy],
    origin: &Origin,
    options: &Options,
    unique: &Unique,
) -> Vec<table::Goal> {
    let mut seen: Vec<Seen> = Vec::new();
    for &kind in &options.kinds {
        seen.push(Seen::new("no proxy", kind, size));
        // Without storing, the disk tier has nothing to do.
        let takes_part = |proxy: &&Proxy| kind == Kind::Kept || !proxy.name.contains("disk");
        let taking_part = proxies.iter().filter(takes_part);
        seen.extend(taking_part.map(|proxy| Seen::new(proxy.name, kind, size)));
    }
    let (begun, before) = (Instant::now(), proxy::processor_time_of_all());
    let mut ours = -(proxy::processor_time("self") + of_all(proxies));
    for round in 0..=options.rounds {
        for seen in &mut seen {
            let proxy = proxies.iter().find(|proxy| proxy.name == seen.name);
            measure(seen, proxy, origin, options, unique, round > 0).await;
        }
    }
    ours += proxy::processor_time("self") + of_all(proxies);
    let others = proxy::processor_time_of_all() - before - ours;
    for &kind in &options.kinds {
        report::print_seen(&seen, kind, size);
    }
    let took = begun.elapsed().as_secs_f64();
    println!(
        "\n  {took:.0} s; everybody else on this machine took {others:.1} s of processor time"
    );
    report::goals(&seen)
}

/// One round for one proxy, or for the origin alone.
async fn measure(
    seen: &mut Seen,
    proxy: Option<&Proxy>,
    origin: &Origin,
    options: &Options,
    unique: &Unique,
    counts: bool,
) {
    let address = proxy.map_or(origin.address, |proxy| proxy.address);
    let target = Target { address, kind: seen.kind, size: seen.size };
    let before = (origin.requests(), proxy.map(Proxy::processor_time));
    let (begun, mine) = (Instant::now(), proxy::processor_time("self"));
    proxy.inspect(|proxy| proxy.resume());
    let time = Duration::from_millis(options.time);
    let answers = load::run(target, options.clients, unique, time).await;
    proxy.inspect(|proxy| proxy.rest());
    let took = begun.elapsed().as_secs_f64();
    if counts {
        seen.rates.push(answers as f64 / took);
        seen.load_busy.push((proxy::processor_time("self") - mine) / took);
        seen.asked_of_origin.push((origin.requests() - before.0) as f64 / answers as f64);
        if let (Some(proxy), Some(before)) = (proxy, before.1) {
            seen.times.push((proxy.processor_time() - before) / answers as f64);
        }
    }
    if let Some(proxy) = proxy.filter(|_| counts && seen.kind == Kind::Kept) {
        proxy.resume();
        let (latest, before) = (unique.count(), origin.requests());
        load::ask_again(target, latest - ASKED_AGAIN..latest).await;
        seen.stored.push(1.0 - (origin.requests() - before) as f64 / ASKED_AGAIN as f64);
        proxy.rest();
    }
}

/// Many clients for one object that nobody has yet.
async fn crowds(proxies: &[Proxy], origin: &Origin, size: usize, unique: &Unique) {
    let mut rows = vec![table::row(&[&"", &"requests to the origin", &"until all have it"])];
    for proxy in proxies {
        let kinds = [(Kind::Crowd, ""), (Kind::Locked, ", proxy_cache_lock on")];
        for (kind, how) in kinds.into_iter().take(if proxy.name == "nginx" { 2 } else { 1 }) {
            let target = Target { address: proxy.address, kind, size };
            proxy.resume();
            let before = origin.requests();
            let took = load::crowd(target, CROWD_CLIENTS, unique).await;
            proxy.rest();
            let asked = origin.requests() - before;
            let name = format!("{}{how}", proxy.name);
            rows.push(table::row(&[&name, &asked, &format!("{} ms", took.as_millis())]));
        }
    }
    let title = "at once for one object that nobody has yet; the origin takes 200 ms";
    table::print(&format!("{CROWD_CLIENTS} clients {title}"), &rows);
}

/// Everybody who can be started; says who cannot.
fn start(folder: &Path, origin: &Origin, processor: Option<usize>, only: &str) -> Vec<Proxy> {
    let to = origin.address;
    let recipes = [
        ("Brim", Some(Recipe::brim(folder, to))),
        ("Brim with disk tier", Some(Recipe::brim_with_disk(folder, to))),
        ("nginx", Recipe::nginx(folder, to)),
        ("HAProxy", Recipe::haproxy(folder, to)),
    ];
    let mut started = Vec::new();
    for (name, recipe) in recipes.into_iter().filter(|(name, _)| name.contains(only)) {
        match recipe.map(|recipe| recipe.start(folder, processor)) {
            Some(Ok(proxy)) => started.push(proxy),
            Some(Err(error)) => println!("NOT RUN: {name}: {error}"),
            None => println!("NOT RUN: {name}: it is not installed"),
        }
    }
    started
}

fn of_all(proxies: &[Proxy]) -> f64 {
    proxies.iter().map(Proxy::processor_time).sum()
}

/// A folder that goes when it is dropped.
fn folder(dir: Option<&Path>) -> tempfile::TempDir {
    let target = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target"));
    let memory = Path::new("/dev/shm");
    let dir = dir.unwrap_or(if memory.is_dir() { memory } else { target });
    std::fs::create_dir_all(dir).expect("a folder to work in");
    tempfile::Builder::new().prefix("bench-misses-").tempdir_in(dir).expect("a folder")
}

/// One for the proxies and one for the origin and the load, if there are two and they can be chosen.
fn processors() -> (Option<usize>, Option<usize>) {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
    if count > 1 && taskset.is_ok_and(|status| status.success()) {
        (Some(0), Some(1))
    } else {
        println!("NOT PINNED: that takes two processors and taskset");
        (None, None)
    }
}

fn pin_myself(processor: usize) {
    let mut command = Command::new("taskset");
    command.args(["-a", "-cp", &processor.to_string(), &std::process::id().to_string()]);
    if !command.stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("NOT PINNED: the load and the origin");
    }
}
