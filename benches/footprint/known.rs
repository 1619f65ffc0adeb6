//! Processor time for a hit when few and when many objects are known: of objects that are popular,
//! the same thousand in both cases, and of any of them. Two processes, which take turns. What many
//! objects cost beyond a search that gets longer is that nothing of them is in the processor's caches:
//! that is part of it.

use crate::client::{self, Answers};
use crate::edge::{self, Edge, Plan};
use crate::objects;
use crate::report::{Report, Table, bytes};
use crate::table::{Goal, median};
use brim::store::disk::local::LocalFolder;
use brim::store::disk::{Content, Disk, Health, NOT_WRITTEN, Options, Receipt};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::{Duration, Instant};

const GOAL: f64 = 1.2;
const FEW: u64 = 1000;
/// Asked for all the time.
const POPULAR: u64 = 1000;
const ROUND: Duration = Duration::from_millis(1200);
const CLIENTS: usize = 64;
/// As small as objects get: what counts here is how many there are.
const SIZE: usize = 1;
/// Room on the disk for each, all in.
const ON_DISK_BYTES: u64 = 1100;
const KNOWN_WITHIN: Duration = Duration::from_secs(120);
/// Little enough that what is asked for lies on the disk, and enough for the popular.
const MEMORY_FOR_NONE: &str = "64KiB";
const MEMORY_FOR_POPULAR: &str = "64MiB";

const ON_DISK: &str = "brim_cache_objects{tier=\"disk\"}";

/// Two processes: one knows few, the other many.
struct Pair {
    few: Edge,
    many: Edge,
    objects: u64,
    rounds: usize,
}

pub(crate) fn on_disk(
    dir: &Path,
    origin: SocketAddr,
    objects: u64,
    rounds: usize,
    report: &mut Report,
) -> io::Result<()> {
    let processors = pinned();
    let (key, content) = sample(dir, origin)?;
    let folders = [crate::folder(dir)?, crate::folder(dir)?];
    let counts = [FEW, objects];
    let size = |count: u64| (count * ON_DISK_BYTES).max(256 << 20);
    for (folder, count) in folders.iter().zip(counts) {
        fill(&folder.path().join("disk"), size(count), count, (&key, &content))?;
    }
    let start = |which: usize, memory: &str| {
        let disk = Some(format!("{}B", size(counts[which])));
        let plan = Plan::new(folders[which].path(), origin);
        let processor = processors.map(|[edge, _]| edge);
        let plan = Plan { memory: memory.into(), disk, threads: 1, processor, ..plan };
        let edge = Edge::start(&plan)?;
        let begun = Instant::now();
        while edge.metric(ON_DISK)? < counts[which] as f64 {
            if begun.elapsed() > KNOWN_WITHIN {
                return Err(io::Error::other("it does not find everything on the disk"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(edge)
    };
    let title =
        format!("Processor time for a hit, {FEW} and {objects} objects known to the disk tier");
    let (mut table, mut goals) = (titled(&title), Vec::new());
    let pair = |memory| {
        io::Result::Ok(Pair { few: start(0, memory)?, many: start(1, memory)?, objects, rounds })
    };
    let popular = pair(MEMORY_FOR_POPULAR)?;
    popular.warm_up()?;
    let what = "one of 1000 popular ones, in memory";
    goals.push(popular.compare(what, POPULAR, &mut table)?);
    drop(popular);
    let what = "any of them, read from the page cache";
    goals.push(pair(MEMORY_FOR_NONE)?.compare(what, objects, &mut table)?);
    report.add(table, goals);
    Ok(())
}

pub(crate) fn in_memory(
    dir: &Path,
    origin: SocketAddr,
    objects: u64,
    rounds: usize,
    report: &mut Report,
) -> io::Result<()> {
    let folders = [crate::folder(dir)?, crate::folder(dir)?];
    let start = |which: usize, count| {
        let plan = Plan {
            threads: 1,
            memory: "256GiB".into(),
            ..Plan::new(folders[which].path(), origin)
        };
        let edge = Edge::start(&plan)?;
        let number = Arc::new(AtomicU64::new(0));
        crate::runtime()?.block_on(objects::store(&edge, SIZE, &number, count))?;
        io::Result::Ok(edge)
    };
    let begun = Instant::now();
    let pair = Pair { few: start(0, FEW)?, many: start(1, objects)?, objects, rounds };
    let took = begun.elapsed().as_secs_f64();
    println!(
        "\n  {objects} objects stored in {took:.1} s, {}",
        bytes(pair.many.memory_bytes()? as f64)
    );
    if let Some([processor, _]) = pinned() {
        pair.few.pin(processor);
        pair.many.pin(processor);
    }
    let title = format!("Processor time for a hit, {FEW} and {objects} objects in the memory tier");
    let (mut table, mut goals) = (titled(&title), Vec::new());
    pair.warm_up()?;
    goals.push(pair.compare("one of 1000 popular ones", POPULAR, &mut table)?);
    goals.push(pair.compare("any of them", objects, &mut table)?);
    report.add(table, goals);
    Ok(())
}

fn titled(title: &str) -> Table {
    Table::new(title, &["asked for", "few known", "many known", "ratio, median of rounds"])
}

/// This process is on a processor of its own from here on, if there is one.
fn pinned() -> Option<[usize; 2]> {
    let processors = edge::processors();
    match processors {
        Some([_, own]) => edge::pin_myself(own),
        None => println!("NOT PINNED: that takes two processors and taskset"),
    }
    processors
}

impl Pair {
    /// What is popular is in memory.
    fn warm_up(&self) -> io::Result<()> {
        for edge in [&self.few, &self.many] {
            for _ in 0..4 {
                let mut number = 0;
                let next = move || {
                    number += 1;
                    (number <= POPULAR).then(|| objects::path(SIZE, number - 1))
                };
                crate::runtime()?.block_on(client::ask_all(edge.plain, 1, next))?;
            }
        }
        Ok(())
    }

    /// A hit of any of the first `among`.
    fn compare(&self, what: &str, among: u64, table: &mut Table) -> io::Result<Goal> {
        let mut times = [Vec::new(), Vec::new()];
        println!("\n  measuring: {what}");
        for _ in 0..self.rounds {
            self.few.rest();
            self.many.rest();
            for ((edge, known), times) in
                [(&self.few, FEW), (&self.many, self.objects)].into_iter().zip(&mut times)
            {
                edge.resume();
                times.push(time_of_a_hit(edge, among.min(known))?);
                edge.rest();
            }
        }
        self.few.resume();
        self.many.resume();
        println!("  measured");
        let ratios: Vec<f64> =
            times[1].iter().zip(&times[0]).map(|(many, few)| many / few).collect();
        let us = |times: &[f64]| format!("{:.2} us", median(times) * 1e6);
        table.row(what, &[us(&times[0]), us(&times[1]), format!("{:.2}", median(&ratios))]);
        let objects = self.objects;
        let what = format!("processor time for a hit with {objects} objects known: {what}");
        Ok(Goal::at_most(&what, GOAL, median(&ratios), " x"))
    }
}

/// In seconds; in user space and in the kernel.
fn time_of_a_hit(edge: &Edge, among: u64) -> io::Result<f64> {
    let until = Instant::now() + ROUND;
    let before = edge.processor_seconds()?;
    let next =
        move || (Instant::now() < until).then(|| objects::path(SIZE, fastrand::u64(..among)));
    let Answers { all, hits } =
        crate::runtime()?.block_on(client::ask_all(edge.plain, CLIENTS, next))?;
    if hits < all - all / 1000 {
        return Err(io::Error::other(format!("{hits} of {all} answers are hits")));
    }
    Ok((edge.processor_seconds()? - before) / all as f64)
}

/// A key and what is kept for it, as the program itself wrote it.
fn sample(dir: &Path, origin: SocketAddr) -> io::Result<(Vec<u8>, Content)> {
    let folder = crate::folder(dir)?;
    let plan = Plan { disk: Some("64MiB".into()), ..Plan::new(folder.path(), origin) };
    let edge = Edge::start(&plan)?;
    let begun = Instant::now();
    while edge.metric(ON_DISK)? < 1.0 {
        crate::runtime()?.block_on(client::answer_to(edge.plain, &objects::path(SIZE, 0)))?;
        if begun.elapsed() > KNOWN_WITHIN {
            return Err(io::Error::other("it writes nothing to the disk"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(edge);
    let disk = opened(&folder.path().join("disk"), 64 << 20)?;
    let mut found = None;
    disk.each_entry(|content, key, _| {
        found = Some((key.to_vec(), content));
        false
    });
    disk.close();
    found.ok_or_else(|| io::Error::other("nothing is on the disk"))
}

/// The tier, when it knows what it has.
fn opened(folder: &Path, bytes: u64) -> io::Result<Arc<Disk>> {
    let disk = Disk::open(Arc::new(LocalFolder::new(folder)), &Options { bytes });
    let disk = disk.map_err(|_| io::Error::other("the disk tier does not open"))?;
    loop {
        match disk.health() {
            Health::Good => return Ok(disk),
            Health::Recovering => std::thread::sleep(Duration::from_millis(1)),
            Health::Degraded(why) => return Err(io::Error::other(why.to_string())),
        }
    }
}

/// So many of the same under different keys, written as the program writes them.
fn fill(folder: &Path, bytes: u64, count: u64, sample: (&[u8], &Content)) -> io::Result<()> {
    let (key, content) = sample;
    let path = objects::path(SIZE, 0);
    let at = memchr::memmem::find(key, path.as_bytes());
    let at = at.ok_or_else(|| io::Error::other("a key without the path"))?;
    let begun = Instant::now();
    std::fs::create_dir_all(folder)?;
    let disk = opened(folder, bytes)?;
    crate::runtime()?.block_on(async {
        let mut key = key.to_vec();
        for number in 0..count {
            key[at..at + path.len()].copy_from_slice(objects::path(SIZE, number).as_bytes());
            let content = Content { asked: disk.next_sequence(), ..content.clone() };
            let receipt: Receipt = Arc::new(AtomicU32::new(NOT_WRITTEN));
            while !(disk.has_room().await && disk.put(&key, content.clone(), &receipt)) {
                tokio::task::yield_now().await;
            }
        }
        disk.settled().await;
    });
    let entries = disk.stats().entries;
    disk.close();
    println!("\n  {entries} objects written in {:.1} s", begun.elapsed().as_secs_f64());
    if entries < count { Err(io::Error::other("objects are missing")) } else { Ok(()) }
}
