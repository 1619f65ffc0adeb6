//! Minutes of load, slow clients, resets, floods and purges at one time against the program, with an
//! origin in this process: what it takes of memory and descriptors before, between and after, and what
//! a bystander feels. Ends with exit status 1 where something did not come back, or was not answered.
//!
//! `make soak` runs it, on Linux.

mod bystander;
mod client;
mod doors;
mod edge;
mod load;
mod origin;
mod question;
mod report;
#[path = "../disk/table.rs"]
mod table;
mod trouble;

use bystander::Waited;
use clap::Parser;
use client::Http1;
use doors::{Manner, connect};
use edge::Edge;
use load::Tally;
use report::{Moment, Seen};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;
use trouble::Diary;

/// Long enough to fill both tiers.
const WARM_UP: Duration = Duration::from_secs(20);
/// Of the bystander alone.
const ALONE: Duration = Duration::from_secs(5);
/// How long it may take until idle connections to the origin are closed, and clients are forgotten.
const REST_TAKES_MAX: Duration = Duration::from_secs(30);
const BETWEEN_PURGES: Duration = Duration::from_millis(100);

/// Minutes of trouble.
#[derive(Parser)]
struct Options {
    /// Minutes of trouble, in two halves.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Another Brim than the one that was built with this.
    #[arg(long, value_name = "PROGRAM", default_value = env!("CARGO_BIN_EXE_brim"))]
    brim: PathBuf,
    /// Of the access log, which is written for nobody.
    #[arg(long, default_value = "json")]
    log_format: String,
    /// Said by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    let is_good = runtime.block_on(async {
        // The folder and the process go when `run` is dropped.
        tokio::select! {
            result = run(&options) => result,
            _ = tokio::signal::ctrl_c() => Err(io::Error::other("interrupted")),
        }
    });
    match is_good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> io::Result<bool> {
    let target = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target"));
    let folder = tempfile::Builder::new().prefix("soak-").tempdir_in(target)?;
    let mut soak = Soak::start(options, folder.path())?;
    let half = Duration::from_secs_f64(options.minutes.max(0.1) * 60.0 / 2.0);
    let mut waited = Vec::new();
    waited.push(("with load", soak.phase(WARM_UP, true, false).await?));
    let before = soak.rest("before").await?;
    waited.push(("alone, before", soak.phase(ALONE, false, false).await?));
    waited.push(("with load and trouble", soak.phase(half, true, true).await?));
    let between = soak.rest("after the first half").await?;
    waited.push(("with load and trouble", soak.phase(half, true, true).await?));
    let after = soak.rest("after the second half").await?;
    waited.push(("alone, after", soak.phase(ALONE, false, false).await?));
    let metrics = soak.edge.metrics().await?;
    let ends_well = soak.edge.ends_well();

    let moments = [before, between, after];
    report::print_moments(&moments);
    report::print_waited(&mut waited);
    report::print_acts(&soak.diary);
    report::print_metrics(&metrics);
    let load = &soak.tally;
    let count =
        |count: &std::sync::atomic::AtomicU64| count.load(std::sync::atomic::Ordering::Relaxed);
    println!("\n{} answers, {} of them hits", count(&load.answers), count(&load.hits));
    load.complaints().iter().for_each(|complaint| println!("  NOT GOOD: {complaint}"));
    soak.edge.last_lines().iter().for_each(|line| println!("  the edge wrote: {line}"));
    let panics = soak.edge.panics();
    let seen = Seen { moments: &moments, tally: load, diary: &soak.diary, panics, ends_well };
    let goals = report::goals(&seen);
    table::print_goals(&goals);
    Ok(goals.iter().all(|goal| goal.is_met))
}

/// The process, and what has been seen of it.
struct Soak {
    edge: Edge,
    tally: Arc<Tally>,
    diary: Arc<Diary>,
    rss_bytes_max: u64,
    descriptors_max: usize,
    /// At rest, before anything.
    sockets: Option<usize>,
}

impl Soak {
    fn start(options: &Options, folder: &Path) -> io::Result<Self> {
        let edge = Edge::start(options, folder, origin::start())?;
        let (tally, diary) = (Arc::default(), Arc::default());
        Ok(Self { edge, tally, diary, rss_bytes_max: 0, descriptors_max: 0, sockets: None })
    }

    /// So long, with these beside the bystander.
    async fn phase(&mut self, time: Duration, load: bool, trouble: bool) -> io::Result<Waited> {
        let until = Instant::now() + time;
        let doors = &self.edge.doors;
        let bystander = bystander::start(doors.clone(), self.tally.clone(), until);
        let mut running = JoinSet::new();
        if load {
            load::start(&mut running, doors, &self.tally, until);
        }
        if trouble {
            trouble::start(&mut running, doors, &self.diary, until);
            running.spawn(purge(self.edge.operator(), time));
        }
        // Those that had begun something at the end of the time bring it to its end.
        while !(running.is_empty() && bystander.is_finished()) {
            while running.try_join_next().is_some() {}
            self.look()?;
            sleep(Duration::from_millis(200)).await;
        }
        bystander.join().map_err(|_| io::Error::other("the bystander panicked"))
    }

    /// Waits until what was opened is closed, or should have been.
    async fn rest(&mut self, name: &'static str) -> io::Result<Moment> {
        let begun = Instant::now();
        let wanted = self.sockets.map(|before| before + report::SOCKETS_MORE_MAX);
        // Connections to the origin that nobody uses stay for some seconds.
        sleep(edge::PATIENCE * 3).await;
        while begun.elapsed() < REST_TAKES_MAX
            && wanted.is_some_and(|wanted| self.edge.taken().is_ok_and(|t| t.sockets > wanted))
        {
            sleep(Duration::from_millis(200)).await;
        }
        self.look()?;
        let taken = self.edge.taken()?;
        self.sockets.get_or_insert(taken.sockets);
        println!("{name}: at rest after {:.1} s", begun.elapsed().as_secs_f64());
        let rss_bytes_max = std::mem::take(&mut self.rss_bytes_max);
        let descriptors_max = std::mem::take(&mut self.descriptors_max);
        Ok(Moment { name, taken, rss_bytes_max, descriptors_max })
    }

    fn look(&mut self) -> io::Result<()> {
        if self.edge.has_ended() {
            let lines = self.edge.last_lines().join("\n");
            return Err(io::Error::other(format!("the edge has ended; it wrote:\n{lines}")));
        }
        let taken = self.edge.taken()?;
        self.rss_bytes_max = self.rss_bytes_max.max(taken.rss_bytes);
        self.descriptors_max = self.descriptors_max.max(taken.descriptors);
        Ok(())
    }
}

/// Purges of all kinds for this time; of everything once, in the middle.
async fn purge((admin, authorization): (std::net::SocketAddr, String), time: Duration) {
    let begun = Instant::now();
    let mut had_all = false;
    for number in 0_u64.. {
        if begun.elapsed() >= time {
            return;
        }
        let wish = match number % 4 {
            _ if !had_all && begun.elapsed() > time / 2 => {
                had_all = true;
                "{\"all\":true}".to_owned()
            }
            0 => format!("{{\"tags\":[\"tag-{}\"]}}", number % 8),
            1 => format!("{{\"urls\":[\"http://soak.test/kept/16384/{}\"]}}", number % 200),
            2 => "{\"prefixes\":[\"http://soak.test/kept/262144/\"]}".to_owned(),
            _ => "{\"hosts\":[\"soak.test\"],\"soft\":true}".to_owned(),
        };
        let head = format!(
            "POST /purge HTTP/1.1\r\nHost: admin\r\n{authorization}Content-Length: {}\r\n\r\n",
            wish.len()
        );
        let purged = async {
            let stream = connect(admin, Manner::default()).await?;
            Http1::over(stream).send(&head, wish.as_bytes()).await
        };
        match load::in_time(purged).await {
            Ok(answer) if answer.status == 200 => {}
            other => println!("  NOT PURGED: {wish}: {:?}", other.map(|answer| answer.status)),
        }
        sleep(BETWEEN_PURGES).await;
    }
}
