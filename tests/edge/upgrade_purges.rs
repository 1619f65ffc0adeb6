//! Purges around upgrades: what is acknowledged, by whichever process, never comes back.

use crate::kit::successors::{lives, signal};
use crate::kit::{Brim, Client, Origin, PATIENCE, get, ok_with};
use rustix::process::Signal;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

const PATHS: usize = 12;
const ON_DISK: &str = "brim_cache_objects{tier=\"disk\"}";

/// Each path's version at the origin, and what nothing may be older than any more.
#[derive(Default)]
struct Versions {
    current: [AtomicU64; PATHS],
    purged: [AtomicU64; PATHS],
    receipts: AtomicU64,
    refusals: AtomicU64,
    answers: AtomicU64,
    is_over: AtomicBool,
}

impl Versions {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::SeqCst)
    }

    /// Everything has another version from now on. What they are.
    fn renew(&self) -> [u64; PATHS] {
        std::array::from_fn(|path| self.current[path].fetch_add(1, Ordering::SeqCst) + 1)
    }

    fn is_purged(&self, path: usize, version: u64) {
        self.purged[path].fetch_max(version, Ordering::SeqCst);
        self.receipts.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks, and looks at what comes.
    fn look(&self, client: &mut Client, path: usize) -> bool {
        let purged = self.purged[path].load(Ordering::SeqCst);
        let answer = client.ask(get(&format!("/{path}")));
        assert_eq!((answer.status, answer.is_whole), (200, true), "{}", answer.head);
        let version: u64 = answer.text().trim().parse().expect("a version");
        assert!(version >= purged, "/{path}: {version} after {purged}\n{}", answer.head);
        self.answers.fetch_add(1, Ordering::SeqCst);
        answer.field("connection") != Some("close")
    }
}

fn origin_of(versions: &Arc<Versions>) -> Origin {
    let versions = versions.clone();
    Origin::serving(move |head, _| {
        let path = head.split([' ', '/']).find_map(|word| word.parse::<usize>().ok());
        let path = path.expect("a path");
        if head.starts_with("POST") {
            let version = versions.current[path].fetch_add(1, Ordering::SeqCst) + 1;
            return ok_with("", &version.to_string());
        }
        let version = versions.current[path].load(Ordering::SeqCst);
        let tags = format!("Surrogate-Key: t{} all\r\n", path % 3);
        let fields = format!("Cache-Control: max-age=3600\r\n{tags}");
        ok_with(&fields, &format!("{version:>200}"))
    })
}

fn readers(address: SocketAddr, versions: &Arc<Versions>) -> Vec<JoinHandle<()>> {
    let reader = |turn: usize| {
        let versions = versions.clone();
        std::thread::spawn(move || {
            let (mut client, mut number) = (Client::connect(address), turn);
            while versions.goes_on() {
                number += 1;
                if !versions.look(&mut client, number % PATHS) || turn == 0 {
                    client = Client::connect(address);
                }
            }
        })
    };
    (0..3).map(reader).collect()
}

/// Purges one thing after the other, each time by other means. Whoever is told to ask the new process
/// does.
fn purger(brim: &Brim, versions: &Arc<Versions>) -> JoinHandle<()> {
    let (operator, address, versions) = (brim.operator(), brim.address(), versions.clone());
    std::thread::spawn(move || {
        let mut turn = 0;
        while versions.goes_on() {
            turn += 1;
            let path = turn % PATHS;
            if turn % 5 == 0 {
                let request = format!(
                    "POST /{path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\
                     Connection: close\r\n\r\n"
                );
                let answer = Client::connect(address).ask(request);
                assert_eq!(answer.status, 200, "{}", answer.head);
                versions.is_purged(path, answer.text().parse().expect("a version"));
                continue;
            }
            let newest = versions.renew();
            let (wish, paths): (_, Vec<usize>) = match turn % 4 {
                0 => (json!({"urls": [format!("http://a.test/{path}")]}), vec![path]),
                1 => {
                    let tagged = (0..PATHS).filter(|other| other % 3 == path % 3);
                    (json!({"tags": [format!("t{}", path % 3)]}), tagged.collect())
                }
                2 => (json!({"prefixes": ["http://a.test/"]}), (0..PATHS).collect()),
                _ => (json!({"all": turn % 8 == 3, "tags": ["all"]}), (0..PATHS).collect()),
            };
            let answer = operator.ask("POST", "/purge", &wish.to_string());
            if answer.status == 503 {
                assert!(answer.text().contains("a new process takes over"), "{}", answer.text());
                assert_eq!(answer.field("retry-after"), Some("1"));
                versions.refusals.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.text());
            paths.into_iter().for_each(|path| versions.is_purged(path, newest[path]));
        }
    })
}

#[test]
fn what_was_purged_around_upgrades_never_comes_back() {
    let versions = Arc::<Versions>::default();
    let origin = origin_of(&versions);
    let mut brim = Brim::with_disk(origin.address(), "16MiB");
    let mut threads = readers(brim.address(), &versions);
    threads.push(purger(&brim, &versions));
    let goes_on = |counter: &AtomicU64| {
        let enough = counter.load(Ordering::SeqCst) + 20;
        while counter.load(Ordering::SeqCst) < enough {
            assert!(!threads.iter().any(JoinHandle::is_finished), "somebody has failed");
            std::thread::yield_now();
        }
    };
    for _ in 0..6 {
        goes_on(&versions.receipts);
        brim.upgrade();
        goes_on(&versions.answers);
    }
    goes_on(&versions.receipts);
    versions.is_over.store(true, Ordering::SeqCst);
    threads.into_iter().for_each(|thread| thread.join().expect("nothing came back"));
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (answers, receipts) = (count(&versions.answers), count(&versions.receipts));
    println!("{answers} answers, {receipts} receipts, {} refusals", count(&versions.refusals));
    let mut client = Client::connect(brim.address());
    for path in 0..PATHS {
        versions.look(&mut client, path);
    }
}

#[test]
fn the_new_process_has_the_receipts_of_the_old_one_and_what_those_purges_were_about_is_gone() {
    let versions = Arc::<Versions>::default();
    let origin = origin_of(&versions);
    let mut brim = Brim::with_disk(origin.address(), "16MiB");
    let mut client = Client::connect(brim.address());
    for _ in 0..3 {
        for path in 0..PATHS {
            versions.look(&mut client, path);
        }
    }
    brim.wait_until(ON_DISK, |objects| objects == PATHS as u64);
    let newest = versions.renew();
    let receipt = brim.operator().purge(&json!({"tags": ["t1"]}));
    versions.is_purged(1, newest[1]);
    brim.upgrade();
    let id = receipt["id"].as_str().expect("an id");
    assert_eq!(brim.operator().get(&format!("/purges/{id}"))["durable"], true);
    let mut client = Client::connect(brim.address());
    versions.look(&mut client, 1);
    assert_eq!(client.ask(get("/2")).told(), "brim; hit");
    // A purge of the new process, which the next one, and a crash, have to know of.
    let newest = versions.renew();
    brim.operator().purge(&json!({"urls": ["http://a.test/2"]}));
    versions.is_purged(2, newest[2]);
    let pid = brim.upgrade();
    signal(pid, Signal::KILL);
    let deadline = Instant::now() + PATIENCE;
    while lives(pid) {
        assert!(Instant::now() < deadline, "the new process stays");
        std::thread::yield_now();
    }
    let brim = brim.again_after(Signal::KILL);
    let mut client = Client::connect(brim.address());
    for path in [1, 2] {
        versions.look(&mut client, path);
    }
    assert_eq!(client.ask(get("/3")).told(), "brim; hit");
}
