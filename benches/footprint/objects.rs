//! Memory for each object in the memory tier beyond its own bytes, beside what the tier believes; and
//! what the process takes with a tier that is full, beside the size that the operator gave it.

use crate::client;
use crate::edge::{Edge, Plan};
use crate::report::{Report, Table, bytes};
use crate::table::Goal;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const GOAL_BYTES: f64 = 512.0;
const SIZES: [usize; 2] = [100, 1024];
/// Stored before anything is counted.
const FIRST: u64 = 1000;
const CLIENTS: usize = 64;
/// So many times as much is stored in a tier that is filled as it takes.
const TURNED_OVER: u64 = 3;
const FILLED_WITH: [usize; 3] = [100, 1024, 64 * 1024];
/// How far beyond the given size the process may grow.
const HONOURED: f64 = 1.1;

const STORED_BYTES: &str = "brim_cache_bytes{tier=\"memory\"}";
const STORED_OBJECTS: &str = "brim_cache_objects{tier=\"memory\"}";

pub(crate) fn run(
    dir: &Path,
    origin: SocketAddr,
    objects: u64,
    filled_mib: u64,
    report: &mut Report,
) -> io::Result<()> {
    let mut goals = Vec::new();
    let title = format!("Memory for each of {objects} objects in the memory tier");
    let mut table = Table::new(
        &title,
        &["body", "stored head", "RSS", "the tier believes", "RSS beyond body and head"],
    );
    for size in SIZES {
        let seen = each(dir, origin, size, objects)?;
        let beyond = seen.resident - (size + seen.head) as f64;
        let cells = [seen.head as f64, seen.resident, seen.believed, beyond].map(bytes);
        table.row(&bytes(size as f64), &cells);
        let what = format!("an object of {size} B in memory, beyond its bytes");
        goals.push(Goal::at_most(&what, GOAL_BYTES, beyond, " B"));
        let what = format!("RSS of an object of {size} B, of what the tier believes");
        goals.push(Goal::at_most(&what, HONOURED, seen.resident / seen.believed, ""));
    }
    report.add(table, goals);
    let title = format!("A memory tier of {filled_mib} MiB, {TURNED_OVER} times turned over");
    let mut table =
        Table::new(&title, &["body", "objects", "the tier believes", "RSS", "of its size"]);
    let mut goals = Vec::new();
    for size in FILLED_WITH {
        let (count, believed, resident) = filled(dir, origin, size, filled_mib)?;
        let of_size = resident / (filled_mib << 20) as f64;
        let cells = [format!("{count}"), bytes(believed), bytes(resident), format!("{of_size:.2}")];
        table.row(&bytes(size as f64), &cells);
        let what = format!("RSS of a full tier of its size, bodies of {size} B");
        goals.push(Goal::at_most(&what, HONOURED, of_size, ""));
    }
    report.add(table, goals);
    Ok(())
}

/// Bytes for each object.
struct Each {
    head: usize,
    resident: f64,
    believed: f64,
}

fn each(dir: &Path, origin: SocketAddr, size: usize, objects: u64) -> io::Result<Each> {
    let (folder, runtime) = (crate::folder(dir)?, crate::runtime()?);
    let edge = Edge::start(&Plan { memory: "8GiB".into(), ..Plan::new(folder.path(), origin) })?;
    let number = Arc::new(AtomicU64::new(0));
    runtime.block_on(store(&edge, size, &number, FIRST))?;
    let look = || -> io::Result<[f64; 3]> {
        let resident = edge.memory_bytes()? as f64;
        Ok([resident, edge.metric(STORED_BYTES)?, edge.metric(STORED_OBJECTS)?])
    };
    let before = look()?;
    runtime.block_on(store(&edge, size, &number, objects))?;
    let after = look()?;
    let [resident, believed, count] = [0, 1, 2].map(|which| after[which] - before[which]);
    if count < objects as f64 * 0.99 {
        return Err(io::Error::other(format!("{count} of {objects} objects are in memory")));
    }
    let (head, _) = runtime.block_on(client::answer_to(edge.plain, &path(size, 1)))?;
    Ok(Each { head: stored_bytes(&head), resident: resident / count, believed: believed / count })
}

/// Objects, what the tier believes, and what the process has grown by.
fn filled(dir: &Path, origin: SocketAddr, size: usize, mib: u64) -> io::Result<(u64, f64, f64)> {
    let (folder, runtime) = (crate::folder(dir)?, crate::runtime()?);
    let memory = format!("{mib}MiB");
    let edge = Edge::start(&Plan { memory, ..Plan::new(folder.path(), origin) })?;
    let number = Arc::new(AtomicU64::new(0));
    runtime.block_on(store(&edge, size, &number, CLIENTS as u64))?;
    let before = edge.memory_bytes()?;
    let objects = (mib << 20) * TURNED_OVER / (size as u64 + 800);
    runtime.block_on(store(&edge, size, &number, objects))?;
    let (resident, count) = (edge.memory_bytes()? - before, edge.metric(STORED_OBJECTS)?);
    Ok((count as u64, edge.metric(STORED_BYTES)?, resident as f64))
}

/// So many more objects that nobody has asked for before.
pub(crate) async fn store(
    edge: &Edge,
    size: usize,
    number: &Arc<AtomicU64>,
    count: u64,
) -> io::Result<()> {
    let until = number.load(Ordering::Relaxed) + count;
    let number = number.clone();
    let next = move || {
        let next = number.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| {
            (number < until).then_some(number + 1)
        });
        next.ok().map(|number| path(size, number))
    };
    client::ask_all(edge.plain, CLIENTS, next).await?;
    Ok(())
}

pub(crate) fn path(size: usize, number: u64) -> String {
    format!("/{size}/{number:08x}")
}

/// What is stored of a head that is sent: all but what each answer says anew.
fn stored_bytes(head: &[u8]) -> usize {
    let is_anew = |line: &&[u8]| {
        let told = ["Age", "Cache-Status", "Content-Length", "Connection"];
        line.len() > 1 && !told.iter().any(|name| client::field(line, name.as_bytes()).is_some())
    };
    head.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.len() > 2)
        .filter(is_anew)
        .map(<[u8]>::len)
        .sum()
}
