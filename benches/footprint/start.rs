//! From the start of the program to its first answer, with an empty store. Somebody tries to connect
//! all the while, and what it asks for comes from the origin.

use crate::client;
use crate::edge::{Edge, Plan};
use crate::report::{Report, Table};
use crate::table::{Goal, median};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const TAKES_MAX: Duration = Duration::from_secs(20);
const BETWEEN_TRIES: Duration = Duration::from_micros(200);

pub(crate) fn run(
    dir: &Path,
    origin: SocketAddr,
    starts: usize,
    report: &mut Report,
) -> io::Result<()> {
    let mut table = Table::new(
        &format!("Start to first answer, empty store, {starts} starts"),
        &["", "median", "least", "most"],
    );
    let mut goals = Vec::new();
    for (name, disk) in [("memory only", None), ("with a disk tier", Some("1GiB"))] {
        let mut times = Vec::new();
        for _ in 0..starts {
            let folder = crate::folder(dir)?;
            let disk = disk.map(str::to_owned);
            let plan = Plan { disk, ..Plan::new(folder.path(), origin) };
            times.push(first_answer(&plan)?.as_secs_f64() * 1e3);
        }
        let least = times.iter().copied().fold(f64::INFINITY, f64::min);
        let most = times.iter().copied().fold(0.0, f64::max);
        let cells = [median(&times), least, most].map(|time| format!("{time:.1} ms"));
        table.row(name, &cells);
        let what = |which| format!("start to first answer, {name}, {which}");
        goals.push(Goal::at_most(&what("median"), 100.0, median(&times), " ms"));
        goals.push(Goal::at_most(&what("most"), 100.0, most, " ms"));
    }
    report.add(table, goals);
    Ok(())
}

fn first_answer(plan: &Plan) -> io::Result<Duration> {
    let runtime = crate::runtime()?;
    let edge = Edge::launch(plan)?;
    loop {
        match runtime.block_on(client::answer_to(edge.plain, "/100/first")) {
            Ok((head, _)) if head.starts_with(b"HTTP/1.1 200 ") => {
                return Ok(edge.launched.elapsed());
            }
            Ok(_) => return Err(io::Error::other("a first answer that is not good")),
            Err(error) if edge.launched.elapsed() > TAKES_MAX => return Err(error),
            Err(_) => std::thread::sleep(BETWEEN_TRIES),
        }
    }
}
