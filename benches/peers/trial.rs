//! One row after the other: everybody is started, warmed, looked at, and measured in turns.

use crate::certificate::Certificate;
use crate::check::{self, Answer};
use crate::contestants::{Contestant, Stage, Who};
use crate::load::{self, Target, Unique};
use crate::origin::Origin;
use crate::rows::{Found, Row, Way};
use crate::seen::{Measured, Seen};
use crate::table::median;
use crate::{Kind, Options, generator, machine, path_of};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often everything is asked for until nobody has to ask the origin.
const PASSES_MAX: usize = 12;
/// Clients that ask for everything together.
const WARMING_CLIENTS: u64 = 8;

pub(crate) struct Trial<'a> {
    options: &'a Options,
    origin: &'a Origin,
    certificate: &'a Certificate,
    folder: &'a Path,
    processor: Option<usize>,
    log_reader: SocketAddr,
    begun: Instant,
    /// By the names of contestants.
    pub(crate) versions: Vec<(&'static str, String)>,
    /// What has to be known beside the numbers.
    pub(crate) notes: Vec<String>,
    /// Of contestants that do not run, and of measurements that are none.
    pub(crate) failures: usize,
}

impl<'a> Trial<'a> {
    pub(crate) fn new(
        options: &'a Options,
        origin: &'a Origin,
        certificate: &'a Certificate,
        folder: &'a Path,
        processor: Option<usize>,
        log_reader: SocketAddr,
    ) -> Self {
        let (versions, notes, begun) = (Vec::new(), Vec::new(), Instant::now());
        let failures = 0;
        Self {
            options,
            origin,
            certificate,
            folder,
            processor,
            log_reader,
            begun,
            versions,
            notes,
            failures,
        }
    }

    pub(crate) async fn row(&mut self, row: &'static Row, writes_log: bool) -> Measured {
        let logs = if writes_log { "on" } else { "off" };
        println!("{:4.0} s  {}, access logs {logs}", self.begun.elapsed().as_secs_f64(), row.title);
        let folder = tempfile::tempdir_in(self.folder).expect("a folder");
        let contestants = self.start(row, writes_log, folder.path()).await;
        let mut seen: Vec<Seen> = contestants.iter().map(|one| Seen::new(one.who)).collect();
        let unique = Unique::default();
        let before = self.options.rounds_before();
        for round in 0..before + self.options.rounds() {
            for turn in 0..contestants.len() {
                let position = (turn + round) % contestants.len();
                let contestant = &contestants[position];
                contestant.proxy.resume();
                let outcome = self.measure(row, contestant, &unique, folder.path()).await;
                contestant.proxy.rest();
                match outcome {
                    Ok(one) if round >= before => seen[position].take(one),
                    Ok(_) => {}
                    Err(error) => self.fail(row, contestant.who, &error.to_string()),
                }
            }
        }
        seen.retain(|seen| !seen.rates.is_empty());
        self.look_back(row, &seen);
        for seen in &seen {
            let (rate, time) = (median(&seen.rates), median(&seen.times) * 1e6);
            println!("          {:<20} {rate:>9.0}/s {time:>8.2} us", seen.who.name());
        }
        Measured { row, writes_log, seen }
    }

    /// Everybody who can be started and answers as they should; says who does not.
    async fn start(
        &mut self,
        row: &'static Row,
        writes_log: bool,
        folder: &Path,
    ) -> Vec<Contestant> {
        let stage = Stage {
            row,
            origin: self.origin.address,
            certificate: self.certificate,
            writes_log,
            brim: &self.options.brim,
            log_reader: self.log_reader,
            processor: self.processor,
        };
        let (mut started, mut of_brim): (Vec<Contestant>, Option<Answer>) = (Vec::new(), None);
        for &who in row.contestants {
            if !who.is_brim() && who != Who::Bare && !who.name().contains(&self.options.only) {
                continue;
            }
            match self.start_one(&stage, who, folder, of_brim.as_ref()).await {
                Ok((contestant, answer)) => {
                    contestant.proxy.rest();
                    let version = (who.name(), contestant.proxy.version.clone());
                    if !self.versions.contains(&version) {
                        self.versions.push(version);
                    }
                    if who.is_brim() {
                        of_brim.get_or_insert(answer);
                    }
                    started.push(contestant);
                }
                Err(error) => self.fail(row, who, &format!("not run: {error}")),
            }
        }
        started
    }

    async fn start_one(
        &self,
        stage: &Stage<'_>,
        who: Who,
        folder: &Path,
        bare: Option<&Answer>,
    ) -> io::Result<(Contestant, Answer)> {
        let contestant = stage.start(who, folder, bare)?;
        let row = stage.row;
        if who != Who::Bare && row.found != Found::AtTheOrigin {
            self.warm(row, &contestant).await?;
        }
        let path = path_of(row, 0);
        let answer = self.ask(row, &contestant, path.clone()).await?;
        let address = self.origin.address;
        let wanted = blocking(move || check::ask_plain(address, &path)).await?;
        if answer.body != wanted.body {
            let (length, wanted) = (answer.body.len(), wanted.body.len());
            return Err(io::Error::other(format!(
                "wrong content: {length} bytes, not the {wanted} of the origin"
            )));
        }
        Ok((contestant, answer))
    }

    /// Asks for everything until the origin is not asked any more.
    async fn warm(&self, row: &Row, contestant: &Contestant) -> io::Result<()> {
        let target = Target { address: contestant.plain, kind: Kind::Kept, size: row.size };
        for _ in 0..PASSES_MAX {
            let before = self.origin.requests();
            match row.way {
                Way::Plain => of_task(ask_for_all(target, row.wanted.objects())).await?,
                _ => drop(self.ask(row, contestant, path_of(row, 0)).await?),
            }
            if self.origin.requests() == before {
                return Ok(());
            }
        }
        Err(io::Error::other("it asks the origin again and again for what it should have"))
    }

    async fn ask(&self, row: &Row, contestant: &Contestant, path: String) -> io::Result<Answer> {
        let (way, at) = (row.way, (contestant.plain, contestant.tls));
        let certificate = self.certificate.der.clone();
        blocking(move || check::ask(way, at, certificate, &path)).await
    }

    async fn measure(
        &self,
        row: &Row,
        contestant: &Contestant,
        unique: &Unique,
        folder: &Path,
    ) -> io::Result<One> {
        let found_before = found(contestant).await;
        let before = (self.origin.requests(), contestant.proxy.processor_time(), time_of_load());
        let said = match row.found {
            Found::AtTheOrigin => self.misses(row, contestant, unique).await?,
            _ => generator::run(row, contestant, folder, self.options.time).await?,
        };
        if said.failed > 0.0 || said.answers == 0.0 {
            let generator::Said { answers, failed, .. } = said;
            let told = format!("{answers} answers, {failed} requests without a good one");
            return Err(io::Error::other(told));
        }
        let processor = contestant.proxy.processor_time() - before.1;
        let found = found(contestant).await.zip(found_before).map(|(now, before)| {
            let (disk, all) = (now.0 - before.0, now.1 - before.1);
            disk / all.max(1.0)
        });
        Ok(One {
            rate: said.answers / said.seconds,
            time: processor / said.answers,
            p99: said.p99_seconds,
            load_busy: (time_of_load() - before.2) / said.seconds,
            asked_of_origin: (self.origin.requests() - before.0) as f64 / said.answers,
            from_disk: found,
        })
    }

    /// The load and the origin share a thread, so that neither waits for the scheduler.
    async fn misses(
        &self,
        row: &Row,
        contestant: &Contestant,
        unique: &Unique,
    ) -> io::Result<generator::Said> {
        let target = Target { address: contestant.plain, kind: Kind::Kept, size: row.size };
        let begun = Instant::now();
        let time = Duration::from_secs(self.options.time);
        let (clients, unique) = (row.connections, unique.clone());
        let load = async move { load::run(target, clients, &unique, time).await };
        let answers = of_task(load).await? as f64;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(generator::Said { answers, seconds, ..generator::Said::default() })
    }

    /// Were they what they should have been?
    fn look_back(&mut self, row: &Row, seen: &[Seen]) {
        for seen in seen.iter().filter(|_| row.found != Found::AtTheOrigin) {
            let asked = seen.asked_of_origin.iter().copied().fold(0.0, f64::max);
            if asked > 0.0 {
                let share = asked * 100.0;
                self.note(row, seen.who, &format!("the origin was asked for {share:.2} % at most"));
            }
        }
        for seen in seen.iter().filter(|seen| seen.who == Who::BrimWithDisk) {
            if row.found == Found::OnDisk && !seen.from_disk.is_empty() {
                let share = median(&seen.from_disk) * 100.0;
                self.note(row, seen.who, &format!("{share:.0} % of its hits came from the disk"));
            }
        }
    }

    fn fail(&mut self, row: &Row, who: Who, what: &str) {
        self.failures += 1;
        self.note(row, who, what);
    }

    fn note(&mut self, row: &Row, who: Who, what: &str) {
        let note = format!("{}, {}: {what}", row.title, who.name());
        if !self.notes.contains(&note) {
            println!("          NOTE: {note}");
            self.notes.push(note);
        }
    }
}

/// One measurement.
pub(crate) struct One {
    rate: f64,
    time: f64,
    p99: Option<f64>,
    load_busy: f64,
    asked_of_origin: f64,
    from_disk: Option<f64>,
}

impl Seen {
    fn take(&mut self, one: One) {
        self.rates.push(one.rate);
        self.times.push(one.time);
        self.p99s.extend(one.p99);
        self.load_busy.push(one.load_busy);
        self.asked_of_origin.push(one.asked_of_origin);
        self.from_disk.extend(one.from_disk);
    }
}

/// Of this process, where the origin is, and of the generators that it has waited for.
fn time_of_load() -> f64 {
    machine::stat("self").map_or(0.0, |stat| stat.seconds + stat.seconds_of_ended_children)
}

/// Brim's hits on the disk and in all, as its metrics have them.
async fn found(contestant: &Contestant) -> Option<(f64, f64)> {
    if !contestant.who.is_brim() {
        return None;
    }
    let admin = contestant.admin;
    let metrics = blocking(move || check::ask_plain(admin, "/metrics")).await.ok()?;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("brim_hits_total{"));
    let values = lines.filter_map(|line| line.rsplit_once(' '));
    let mut hits = (0.0, 0.0);
    for (labels, value) in values {
        let value: f64 = value.parse().ok()?;
        hits.1 += value;
        if labels.contains("\"disk\"") {
            hits.0 += value;
        }
    }
    Some(hits)
}

/// Each once.
async fn ask_for_all(target: Target, objects: u64) {
    let share = objects.div_ceil(WARMING_CLIENTS);
    let mut clients = JoinSet::new();
    for from in (0..objects).step_by(usize::try_from(share).unwrap_or(1)) {
        clients.spawn(load::ask_again(target, from..objects.min(from + share)));
    }
    clients.join_all().await;
}

/// Its clients panic where an answer is not what it should be: that ends only this.
async fn of_task<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    tokio::spawn(work).await.map_err(io::Error::other)
}

/// The origin answers meanwhile.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
