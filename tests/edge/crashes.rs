//! An edge under load that is killed again and again: whatever it has kept, it gives out what its
//! origin said, whole, and nothing that was known to be out of date.
//!
//! `BRIM_CRASHES` says how often; `BRIM_SEED` repeats a run as far as its random numbers go.

use crate::kit::{Brim, Client, Origin, get, get_with, ok_with};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const KEYS: u64 = 60;
const CLIENTS: u64 = 4;

/// Each key's version at the origin, and the newest that a client was told of.
struct Versions {
    current: Vec<AtomicU64>,
    known: Vec<AtomicU64>,
}

/// From a few bytes to many chunks.
fn length(key: u64) -> usize {
    match key % 20 {
        0 => 9 * 1024 * 1024 + key as usize,
        1..6 => 200_000 + key as usize,
        _ => 100 + 37 * key as usize,
    }
}

fn body(key: u64, version: u64) -> String {
    let mark = format!("<{key}:{version}>");
    let mut text = mark.repeat(length(key).div_ceil(mark.len()));
    text.truncate(length(key));
    text
}

/// The version of a body, which has to be one as a whole.
fn version(key: u64, text: &str) -> u64 {
    let (mark, _) = text.split_once('>').expect("a mark");
    let (marked, version) = mark[1..].split_once(':').expect("a mark");
    assert_eq!(marked, key.to_string(), "somebody else's body");
    let version = version.parse().expect("a version");
    assert!(text == body(key, version), "a body of key {key} that is not one");
    version
}

fn origin_of(versions: &Arc<Versions>) -> Origin {
    let versions = versions.clone();
    Origin::serving(move |head, _| {
        let path = head.split(' ').nth(1).expect("a target");
        let key: u64 = path[1..].parse().expect("a key");
        let current = &versions.current[key as usize];
        if head.starts_with("POST") {
            current.fetch_add(1, Ordering::SeqCst);
            return ok_with("", "");
        }
        let version = current.load(Ordering::SeqCst);
        let fields = format!(
            "Cache-Control: max-age=3600\r\nETag: \"{key}-{version}\"\r\nAccept-Ranges: none\r\n"
        );
        ok_with(&fields, &body(key, version))
    })
}

/// Asks and changes until the edge is gone. What it gets meanwhile is checked, too.
fn load(address: SocketAddr, versions: &Versions, mut random: fastrand::Rng, is_over: &AtomicBool) {
    let mut client = Client::connect(address);
    while !is_over.load(Ordering::SeqCst) {
        let key = random.u64(0..KEYS);
        let known = versions.known[key as usize].load(Ordering::SeqCst);
        if random.u8(0..8) == 0 {
            let before = versions.current[key as usize].load(Ordering::SeqCst);
            let post = format!("POST /{key} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
            if client.try_send(post).is_err() {
                return;
            }
            let Some(answer) = client.try_answer() else { return };
            assert_eq!(answer.status, 200);
            versions.known[key as usize].fetch_max(before + 1, Ordering::SeqCst);
        } else {
            if client.try_send(get(&format!("/{key}"))).is_err() {
                return;
            }
            let Some(answer) = client.try_answer() else { return };
            assert!(version(key, &answer.text()) >= known, "key {key} is out of date");
        }
    }
}

#[test]
fn an_edge_that_is_killed_under_load_keeps_nothing_torn_and_nothing_out_of_date() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("BRIM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("BRIM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let numbers = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let versions = Arc::new(Versions { current: numbers(), known: numbers() });
    let origin = origin_of(&versions);
    let mut brim = Brim::with_disk(origin.address(), "32MiB");
    let mut kept = 0;
    for _ in 0..number("BRIM_CRASHES").unwrap_or(4) {
        let is_over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (address, versions) = (brim.address(), versions.clone());
                let (random, is_over) = (random.fork(), is_over.clone());
                std::thread::spawn(move || load(address, &versions, random, &is_over))
            })
            .collect();
        // Killed in the middle of it, each time after another number of requests.
        origin.wait_for_requests(origin.requests() + random.usize(20..120));
        brim.signal(Signal::KILL);
        is_over.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("a client"));
        brim = brim.again_after(Signal::KILL);
        let mut client = Client::connect(brim.address());
        for key in 0..KEYS {
            let known = versions.known[key as usize].load(Ordering::SeqCst);
            let request = get_with(&format!("/{key}"), "Cache-Control: only-if-cached\r\n");
            let answer = client.ask(request);
            if answer.status == 200 {
                kept += 1;
                assert!(version(key, &answer.text()) >= known, "key {key} came back");
            }
        }
    }
    assert!(kept > 0, "nothing outlived any crash");
}
