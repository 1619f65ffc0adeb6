//! Misses per second, and the processor time that each takes, of Brim beside nginx and HAProxy in one
//! run: one thread each on a processor of its own, the same origin and the same load on another,
//! rounds that take turns. Prints tables, and for each goal whether it was met; asserts nothing
//! about time.
//!
//! `make bench-misses` runs it.

#[path = "../kit/kind.rs"]
mod kind;
#[path = "../kit/load.rs"]
mod load;
#[path = "../kit/machine.rs"]
#[allow(dead_code, reason = "no program is waited for here")]
mod machine;
#[path = "../kit/nginx.rs"]
mod nginx;
#[path = "../kit/origin.rs"]
mod origin;
#[path = "../kit/process.rs"]
mod process;
mod proxy;
mod report;
#[path = "../disk/table.rs"]
mod table;

use clap::Parser;
use kind::Kind;
use load::{Target, Unique};
use origin::Origin;
use process::Proxy;
use report::Seen;
use std::path::{Path, PathBuf};
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
    let (proxies_on, load_on) = machine::processors();
    if let Some(processor) = load_on {
        machine::pin_myself(processor);
    }
    let origin = Origin::start(&options.sizes).await;
    let mut goals = Vec::new();
    for (position, &size) in options.sizes.iter().enumerate() {
        // A size finds caches that are full of its own kind, and not of what was measured before it.
        let folder = machine::folder(options.dir.as_deref(), "bench-misses-");
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
    let (begun, before) = (Instant::now(), machine::processor_time_of_all());
    let mut ours = -(machine::processor_time("self") + of_all(proxies));
    for round in 0..=options.rounds {
        for seen in &mut seen {
            let proxy = proxies.iter().find(|proxy| proxy.name == seen.name);
            measure(seen, proxy, origin, options, unique, round > 0).await;
        }
    }
    ours += machine::processor_time("self") + of_all(proxies);
    let others = machine::processor_time_of_all() - before - ours;
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
    let (begun, mine) = (Instant::now(), machine::processor_time("self"));
    proxy.inspect(|proxy| proxy.resume());
    let time = Duration::from_millis(options.time);
    let answers = load::run(target, options.clients, unique, time).await;
    proxy.inspect(|proxy| proxy.rest());
    let took = begun.elapsed().as_secs_f64();
    if counts {
        seen.rates.push(answers as f64 / took);
        seen.load_busy.push((machine::processor_time("self") - mine) / took);
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
        ("Brim", Some(proxy::brim(folder, to))),
        ("Brim with disk tier", Some(proxy::brim_with_disk(folder, to))),
        ("nginx", proxy::nginx(folder, to)),
        ("HAProxy", proxy::haproxy(folder, to)),
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
