//! Asks servers how they are, for nothing else: each for itself, as long as a configuration names it.

use super::Upstream;
use super::fault::Fault;
use super::health::Trouble;
use super::pool::Pool;
use super::way::connect_apart;
use crate::config::HealthCheck;
use crate::survive;
use crate::transport::Source;
use crate::wire::Framing;
use crate::wire::body::Frame;
use http::Method;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What the answer may bring along; the rest is left where it is.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// An interval is so many hundredths longer or shorter, so that the edges of a fleet, started
/// together, do not ask together for ever.
const JITTER_PERCENT: u32 = 10;
const AGENT: &str = concat!("brim-health/", env!("CARGO_PKG_VERSION"));

/// The checks of all servers that are to be checked; they end when it is dropped.
#[derive(Default)]
pub struct Checks {
    /// By the number of the pool.
    of_pools: HashMap<u64, JoinSet<()>>,
}

impl Checks {
    /// From here on these servers are checked, and no others. What is checked already goes on.
    pub fn follow(&mut self, upstream: &Upstream) {
        let mut before = std::mem::take(&mut self.of_pools);
        for pool in &upstream.pools {
            let Some(settings) = &pool.settings.health else { continue };
            let checks = before.remove(&pool.number).unwrap_or_else(|| {
                let servers = 0..pool.servers.len();
                servers.map(|server| watch(pool.clone(), server, settings.clone())).collect()
            });
            self.of_pools.insert(pool.number, checks);
        }
    }
}

async fn watch(pool: Arc<Pool>, server: usize, settings: HealthCheck) {
    loop {
        // One that panicked says nothing about the server.
        survive::caught(async {
            let checked = timeout(settings.timeout, check(&pool, server, &settings)).await;
            let checked = checked.unwrap_or(Err(Trouble::Fault(Fault::Overtime)));
            pool.checked(server, checked, &settings);
        })
        .await;
        sleep(about(settings.interval)).await;
    }
}

async fn check(pool: &Arc<Pool>, server: usize, settings: &HealthCheck) -> Result<(), Trouble> {
    let asked = &pool.servers[server];
    let mut connection = match connect_apart(pool, server).await {
        Ok(connection) => connection,
        Err(not_connected) => {
            asked.doubt();
            return Err(Trouble::Fault(not_connected.fault));
        }
    };
    let host = settings.host.as_deref().unwrap_or(&asked.settings.authority);
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {AGENT}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        settings.path
    );
    // Who closes may have answered before; reading shows.
    connection.ask(head.as_bytes(), Framing::Empty).await;
    let answer = &mut connection.answer;
    let head = loop {
        let head = answer.read_head(&Method::GET).await.map_err(Trouble::Fault)?;
        if !head.is_interim() {
            break head;
        }
    };
    if !settings.expect.contains(&head.status) {
        return Err(Trouble::Status(head.status));
    }
    answer.begin_body(&head);
    let mut bytes = 0;
    while bytes <= BODY_BYTES_MAX {
        let broken = |error| Trouble::Fault(Fault::of_body(&error));
        match answer.next().await.map_err(broken)? {
            Some(Frame::Data(data)) => bytes += data.len(),
            Some(Frame::Trailers(_)) | None => break,
        }
    }
    Ok(())
}

/// Without randomness, all at the same pace is good enough.
fn about(interval: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let range = interval * (2 * JITTER_PERCENT) / 100;
    interval - range / 2 + range.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_keep_their_interval_about() {
        let interval = Duration::from_secs(10);
        let waits: Vec<_> = (0..100).map(|_| about(interval)).collect();
        assert!(waits.iter().all(|wait| (9..=11).contains(&wait.as_secs())), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}
