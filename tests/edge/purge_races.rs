//! Purges among everything else at once: whoever asks after a purge was acknowledged gets no version
//! that is older than the origin's was when it was asked for.
//!
//! `BRIM_SEED` repeats a run as far as its random numbers go, `BRIM_PURGES` says how many there are.

use crate::kit::{Brim, Client, Operator, Origin, get_with, ok_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

const KEYS: u64 = 24;
const GROUPS: u64 = 5;
const CLIENTS: u64 = 4;
const PURGES: u64 = 300;
const MEMORY: &str = "2MiB";

/// Each key's version at the origin, and the oldest that a client may still be told of.
struct Versions {
    current: Vec<AtomicU64>,
    known: Vec<AtomicU64>,
    /// So many purges were begun or ended.
    turns: AtomicUsize,
}

impl Versions {
    fn new() -> Arc<Self> {
        let numbers = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { current: numbers(), known: numbers(), turns: AtomicUsize::new(0) })
    }

    fn known(&self, key: u64) -> u64 {
        self.known[key as usize].load(Ordering::SeqCst)
    }
}

/// From a few bytes to what memory cannot hold.
fn length(key: u64) -> usize {
    match key % 12 {
        0 => 2 * 1024 * 1024 + 500_000 + key as usize,
        1..5 => 90_000 + key as usize,
        _ => 500 + 37 * key as usize,
    }
}

fn body(key: u64, version: u64) -> String {
    let mark = format!("<{key}:{version}>");
    let mut text = mark.repeat(length(key).div_ceil(mark.len()));
    text.truncate(length(key));
    text
}

/// The version of a body or of its beginning, which has to be one throughout.
#[track_caller]
fn version(key: u64, text: &str) -> u64 {
    let (mark, _) = text.split_once('>').expect("a mark");
    let (marked, version) = mark[1..].split_once(':').expect("a mark");
    assert_eq!(marked, key.to_string(), "somebody else's body");
    let version = version.parse().expect("a version");
    assert!(body(key, version).starts_with(text), "a body of key {key} that is not one");
    version
}

/// Knows validators and ranges; now and then it stops in the middle of a body until something was
/// purged.
fn origin_of(versions: &Arc<Versions>, seed: u64) -> Origin {
    let (versions, connections) = (versions.clone(), AtomicU64::new(seed));
    Origin::start(move |peer| {
        let seed = connections.fetch_add(1, Ordering::SeqCst);
        let mut random = fastrand::Rng::with_seed(seed);
        while let Some(head) = peer.head() {
            let path = head.split(' ').nth(1).expect("a target");
            let key: u64 = path[1..].parse().expect("a key");
            let version = versions.current[key as usize].load(Ordering::SeqCst);
            let etag = format!("\"{key}-{version}\"");
            let fields = format!(
                "Cache-Control: max-age=3600\r\nETag: {etag}\r\nAccept-Ranges: bytes\r\n\
                 Surrogate-Key: own-{key} group-{}\r\n",
                key % GROUPS
            );
            let field = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                let line = lines.find(|(known, _)| known.eq_ignore_ascii_case(name));
                line.map(|(_, value)| value.to_owned())
            };
            let waits = random.u8(0..4) == 0;
            if waits && random.bool() {
                wait_for_a_turn(&versions);
            }
            if field("if-none-match").is_some_and(|known| known == etag) {
                peer.send(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"));
                continue;
            }
            let (text, total) = (body(key, version), length(key));
            let applies = field("if-range").is_none_or(|known| known == etag);
            let asked = field("range").filter(|_| applies);
            let part = asked.as_deref().and_then(|asked| asked.strip_prefix("bytes="));
            let (first, last) = match part.and_then(|part| part.split_once('-')) {
                None => (0, total - 1),
                Some((first, last)) => {
                    let last = last.parse().map_or(total - 1, |last: usize| last.min(total - 1));
                    (first.parse().expect("a number"), last)
                }
            };
            let length = last + 1 - first;
            let line = match part {
                None => "HTTP/1.1 200 OK".to_owned(),
                Some(_) => format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}"
                ),
            };
            let half = first + length / 2;
            peer.send(format!("{line}\r\n{fields}Content-Length: {length}\r\n\r\n"));
            peer.send(&text[first..half]);
            if waits {
                wait_for_a_turn(&versions);
            }
            peer.send(&text[half..=last]);
        }
    })
}

/// Until a purge begins or ends, or not: there may be no more.
fn wait_for_a_turn(versions: &Versions) {
    let before = versions.turns.load(Ordering::SeqCst);
    for _ in 0..2000 {
        if versions.turns.load(Ordering::SeqCst) != before {
            return;
        }
        std::thread::yield_now();
    }
}

/// Asks, in many ways, until it is over or the edge is gone. How often.
fn ask_on(
    address: SocketAddr,
    versions: &Versions,
    mut random: fastrand::Rng,
    is_over: &AtomicBool,
) -> u64 {
    let mut client = Client::connect(address);
    let mut asked = 0;
    while !is_over.load(Ordering::SeqCst) {
        let key = random.u64(0..KEYS);
        let lines = match random.u8(0..16) {
            0 => "Cache-Control: no-cache\r\n".to_owned(),
            1 => "Cache-Control: max-stale\r\n".to_owned(),
            2 | 3 => format!("Range: bytes=0-{}\r\n", random.usize(20..length(key))),
            _ => String::new(),
        };
        let known = versions.known(key);
        if client.try_send(get_with(&format!("/{key}"), &lines)).is_err() {
            break;
        }
        let Some(answer) = client.try_answer() else { break };
        assert!(matches!(answer.status, 200 | 206), "{}", answer.head);
        let version = version(key, &answer.text());
        assert!(version >= known, "key {key}: {version}, not {known}\n{}", answer.head);
        asked += 1;
    }
    asked
}

/// A purge of one kind, and the keys that it is about.
fn wish(random: &mut fastrand::Rng) -> (Value, Vec<u64>) {
    let key = random.u64(0..KEYS);
    let group = key % GROUPS;
    let (mut wish, keys) = match random.u8(0..16) {
        0..5 => (json!({ "urls": [format!("http://a.test/{key}")] }), vec![key]),
        5..8 => (json!({ "prefixes": [format!("a.test/{key}")] }), vec![key]),
        8..11 => (json!({ "tags": [format!("own-{key}")] }), vec![key]),
        11..14 => {
            let keys = (0..KEYS).filter(|key| key % GROUPS == group).collect();
            (json!({ "tags": [format!("group-{group}")] }), keys)
        }
        14 => (json!({ "hosts": ["a.test"] }), (0..KEYS).collect()),
        _ => (json!({ "all": true }), (0..KEYS).collect()),
    };
    wish["soft"] = (random.u8(0..3) == 0).into();
    (wish, keys)
}

/// Changes and purges some keys; `false` if that was not acknowledged.
fn purge_some(operator: &Operator, versions: &Versions, random: &mut fastrand::Rng) -> bool {
    let (wish, keys) = wish(random);
    let bump = |key: &u64| versions.current[*key as usize].fetch_add(1, Ordering::SeqCst) + 1;
    let changed: Vec<u64> = keys.iter().map(bump).collect();
    versions.turns.fetch_add(1, Ordering::SeqCst);
    let receipt = operator.try_purge(&wish);
    if receipt.is_some() {
        for (key, version) in keys.iter().zip(changed) {
            versions.known[*key as usize].fetch_max(version, Ordering::SeqCst);
        }
    }
    versions.turns.fetch_add(1, Ordering::SeqCst);
    receipt.is_some()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn seeded() -> (u64, fastrand::Rng) {
    let seed = number("BRIM_SEED").unwrap_or_else(|| fastrand::u64(..1 << 32));
    println!("BRIM_SEED={seed}");
    (seed, fastrand::Rng::with_seed(seed))
}

/// Clients that ask until `act` has ended; how often they did.
fn with_clients(
    brim: &Brim,
    versions: &Arc<Versions>,
    random: &mut fastrand::Rng,
    act: impl FnOnce(&mut fastrand::Rng),
) -> u64 {
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, versions) = (brim.address(), versions.clone());
            let (random, is_over) = (random.fork(), is_over.clone());
            std::thread::spawn(move || ask_on(address, &versions, random, &is_over))
        })
        .collect();
    act(random);
    is_over.store(true, Ordering::SeqCst);
    clients.into_iter().map(|client| client.join().expect("a client")).sum()
}

#[test]
fn nobody_who_asks_after_a_purge_gets_what_was_there_before_it() {
    let (seed, mut random) = seeded();
    let versions = Versions::new();
    let origin = origin_of(&versions, seed);
    let brim = Brim::with_disk(origin.address(), MEMORY);
    let operator = brim.operator();
    let purges = number("BRIM_PURGES").unwrap_or(PURGES);
    let asked = with_clients(&brim, &versions, &mut random, |random| {
        for _ in 0..purges {
            assert!(purge_some(&operator, &versions, random), "not acknowledged");
            // So that there is something to purge.
            let enough = origin.requests() + random.usize(0..30);
            while origin.requests() < enough {
                std::thread::yield_now();
            }
        }
    });
    println!("{asked} answers, {} fetches", origin.requests());
    assert!(asked > origin.requests() as u64, "nothing was ever a hit");
}

#[test]
fn a_purge_that_was_acknowledged_outlives_any_end_of_the_process() {
    let (seed, mut random) = seeded();
    let versions = Versions::new();
    let origin = origin_of(&versions, seed);
    let mut brim = Brim::with_disk(origin.address(), MEMORY);
    let mut kept = 0;
    for _ in 0..number("BRIM_CRASHES").unwrap_or(6) {
        let (operator, pid) = (brim.operator(), &brim);
        with_clients(&brim, &versions, &mut random, |random| {
            for _ in 0..random.u64(5..40) {
                purge_some(&operator, &versions, random);
                let enough = origin.requests() + random.usize(0..20);
                while origin.requests() < enough {
                    std::thread::yield_now();
                }
            }
            purge_some(&operator, &versions, random);
            pid.signal(Signal::KILL);
        });
        brim = brim.again_after(Signal::KILL);
        let mut client = Client::connect(brim.address());
        for key in 0..KEYS {
            let lines = "Cache-Control: only-if-cached, max-stale\r\n";
            let answer = client.ask(get_with(&format!("/{key}"), lines));
            if answer.status == 200 {
                kept += 1;
                let version = version(key, &answer.text());
                assert!(version >= versions.known(key), "key {key} came back\n{}", answer.head);
            }
        }
    }
    assert!(kept > 0, "nothing outlived any crash");
}

#[test]
fn what_is_on_its_way_between_the_tiers_does_not_outlive_a_purge() {
    const PATHS: usize = 300;
    let now = Arc::new(AtomicUsize::new(0));
    let shown = now.clone();
    // Every second content lies in chunks on the disk.
    let padding = |path: usize| if path.is_multiple_of(2) { 100 } else { 100_000 };
    let origin = Origin::serving(move |head, _| {
        let path: usize = head.split(' ').nth(1).expect("a target")[1..].parse().expect("a path");
        let fields = format!("Cache-Control: max-age=3600\r\nCache-Tag: tag{path}\r\n");
        ok_with(&fields, &(shown.load(Ordering::SeqCst).to_string() + &" ".repeat(padding(path))))
    });
    let ask = |client: &mut Client, path: usize, lines: &str| -> Option<usize> {
        let answer = client.ask(get_with(&format!("/{path}"), lines));
        (answer.status == 200).then(|| answer.text().trim().parse().expect("a version"))
    };
    let mut brim = Brim::with_disk(origin.address(), "64MiB");
    // Written at the second request first; after a restart, taken into memory at the second.
    for _ in 0..2 {
        let (operator, mut client) = (brim.operator(), Client::connect(brim.address()));
        for path in 0..PATHS {
            ask(&mut client, path, "");
            ask(&mut client, path, "");
            let version = now.fetch_add(1, Ordering::SeqCst) + 1;
            let soft = path % 5 == 0;
            operator.purge(&match path % 4 {
                0 => json!({ "prefixes": [format!("a.test/{path}")], "soft": soft }),
                1 => json!({ "tags": [format!("tag{path}")], "soft": soft }),
                _ => json!({ "urls": [format!("a.test/{path}")], "soft": soft }),
            });
            for _ in 0..3 {
                assert_eq!(ask(&mut client, path, ""), Some(version), "/{path}");
            }
        }
        let first = now.load(Ordering::SeqCst) + 1 - PATHS;
        brim = brim.again_after(Signal::KILL);
        brim.error_log("the disk tier knows what it has");
        let (mut client, mut kept) = (Client::connect(brim.address()), 0);
        for path in 0..PATHS {
            let held = ask(&mut client, path, "Cache-Control: only-if-cached\r\n");
            assert!(held.is_none_or(|version| version == first + path), "/{path}: {held:?}");
            kept += usize::from(held.is_some());
        }
        assert!(kept > 0, "nothing was ever written");
    }
}
