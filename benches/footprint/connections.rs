//! Memory for each connection that waits: one that has never asked, and one that has had an answer;
//! right then, and when it has rested for so long that the edge has let go of what it can.

use crate::client::{Client, Manner, Opener};
use crate::edge::{Edge, Plan};
use crate::report::{Report, Table, bytes};
use crate::table::Goal;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;

const GOAL_KIB: f64 = 16.0;
/// Longer than the edge waits until it takes a connection for one that rests.
const REST: Duration = Duration::from_millis(2500);
/// Opened before anything is counted.
const FIRST: usize = 64;
/// Connections that are being opened at one time.
const AT_ONCE: usize = 64;

const KINDS: [(&str, Manner); 4] = [
    ("HTTP/1.1", Manner { with_tls: false, is_http2: false }),
    ("HTTP/1.1 over TLS", Manner { with_tls: true, is_http2: false }),
    ("HTTP/2", Manner { with_tls: false, is_http2: true }),
    ("HTTP/2 over TLS", Manner { with_tls: true, is_http2: true }),
];

/// Bytes for each connection.
struct Seen {
    opened: f64,
    opened_at_rest: f64,
    answered: f64,
    answered_at_rest: f64,
    /// Of each side's end, in the kernel.
    socket: f64,
}

pub(crate) fn run(
    dir: &Path,
    origin: SocketAddr,
    connections: usize,
    report: &mut Report,
) -> io::Result<()> {
    let mut table = Table::new(
        &format!("Memory for each of {connections} idle connections"),
        &[
            "",
            "never asked",
            "the same at rest",
            "answered",
            "the same at rest",
            "kernel, each end",
        ],
    );
    let mut goals = Vec::new();
    for (number, (name, manner)) in (0..).zip(KINDS) {
        let folder = crate::folder(dir)?;
        let edge = Edge::start(&Plan::new(folder.path(), origin))?;
        let opener = Opener::new(&edge, manner, number)?;
        let seen = crate::runtime()?.block_on(look(&edge, opener, connections))?;
        let Seen { opened, opened_at_rest, answered, answered_at_rest, socket } = seen;
        let all = [opened, opened_at_rest, answered, answered_at_rest];
        table.row(
            name,
            &[all.as_slice(), &[socket]].concat().into_iter().map(bytes).collect::<Vec<_>>(),
        );
        let most = all.into_iter().fold(0.0, f64::max) / 1024.0;
        let what = format!("idle connection, {name}, the most of it");
        goals.push(Goal::at_most(&what, GOAL_KIB, most, " KiB"));
    }
    report.add(table, goals);
    Ok(())
}

async fn look(edge: &Edge, opener: Opener, connections: usize) -> io::Result<Seen> {
    let opener = Arc::new(opener);
    drop(answered(opened(&opener, FIRST).await?).await?);
    sleep(REST).await;
    let (before, kernel_before) = (edge.memory_bytes()?, kernel_bytes()?);
    let each = |after: u64, before| (after as f64 - before as f64) / connections as f64;
    let clients = opened(&opener, connections).await?;
    let opened = each(edge.memory_bytes()?, before);
    sleep(REST).await;
    let opened_at_rest = each(edge.memory_bytes()?, before);
    let clients = answered(clients).await?;
    let answered = each(edge.memory_bytes()?, before);
    sleep(REST).await;
    let answered_at_rest = each(edge.memory_bytes()?, before);
    // Both ends are on this machine.
    let socket = each(kernel_bytes()?, kernel_before) / 2.0;
    drop(clients);
    Ok(Seen { opened, opened_at_rest, answered, answered_at_rest, socket })
}

async fn opened(opener: &Arc<Opener>, count: usize) -> io::Result<Vec<Client>> {
    let (mut opening, mut clients) = (JoinSet::new(), Vec::with_capacity(count));
    for _ in 0..count {
        let opener = opener.clone();
        opening.spawn(async move { opener.open().await });
        while opening.len() >= AT_ONCE {
            clients.extend(next(&mut opening).await?);
        }
    }
    while let Some(client) = next(&mut opening).await? {
        clients.push(client);
    }
    Ok(clients)
}

/// All ask at once.
async fn answered(clients: Vec<Client>) -> io::Result<Vec<Client>> {
    let (mut asking, mut done) = (JoinSet::new(), Vec::with_capacity(clients.len()));
    for mut client in clients {
        asking.spawn(async move { client.ask("/100/idle").await.map(|()| client) });
    }
    while let Some(client) = next(&mut asking).await? {
        done.push(client);
    }
    Ok(done)
}

async fn next(set: &mut JoinSet<io::Result<Client>>) -> io::Result<Option<Client>> {
    set.join_next().await.map(|ended| ended.map_err(io::Error::other)?).transpose()
}

/// What the kernel has of small things, sockets among them.
fn kernel_bytes() -> io::Result<u64> {
    let told = std::fs::read_to_string("/proc/meminfo")?;
    let line = told.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}
