//! An edge under load that is purged and killed again and again, right after receipts: whatever it has
//! kept, nobody is given what was older than a purge of it whose receipt came.
//!
//! `BRIM_CRASHES` says how often; `BRIM_SEED` repeats a run as far as its random numbers go.

use crate::kit::{Brim, Client, Origin, ok_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const PATHS: usize = 90;
const CLIENTS: usize = 3;
const HOSTS: usize = 3;
const FOLDERS: usize = 5;
const TAGS: usize = 11;

/// One answer of the origin: some paths have two, which lie together and have tags of their own.
#[derive(Clone, Copy)]
struct Thing(usize);

impl Thing {
    fn all() -> impl Iterator<Item = Self> {
        (0..PATHS * 2).map(Self).filter(|thing| thing.varies() || thing.variant() == 0)
    }

    fn any(random: &mut fastrand::Rng) -> Self {
        let first = Self(random.usize(0..PATHS) * 2);
        if first.varies() { Self(first.0 + random.usize(0..2)) } else { first }
    }

    fn path(self) -> usize {
        self.0 / 2
    }

    fn variant(self) -> usize {
        self.0 % 2
    }

    fn varies(self) -> bool {
        self.path() % 4 == 1
    }

    fn host(self) -> String {
        format!("h{}.test", self.path() % HOSTS)
    }

    fn target(self) -> String {
        format!("/f{}/{}", self.path() % FOLDERS, self.path())
    }

    fn url(self) -> String {
        format!("http://{}{}", self.host(), self.target())
    }

    fn tag(self) -> String {
        format!("{}{}", ["t", "u"][self.variant()], self.path() % TAGS)
    }

    fn request(self, more: &str) -> String {
        let (host, target, variant) = (self.host(), self.target(), self.variant());
        format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Kind: {variant}\r\n{more}\r\n")
    }

    /// From a few bytes to several chunks.
    fn body(self, version: u64) -> String {
        let bytes = match self.path() % 20 {
            0 => 2_500_000 + self.0,
            2..6 => 200_000 + self.0,
            _ => 100 + 37 * self.0,
        };
        let mark = format!("<{}:{version}>", self.0);
        let mut text = mark.repeat(bytes.div_ceil(mark.len()));
        text.truncate(bytes);
        text
    }

    /// The version of a body, which has to be one as a whole.
    fn version(self, text: &str) -> u64 {
        let (mark, _) = text.split_once('>').expect("a mark");
        let (marked, version) = mark[1..].split_once(':').expect("a mark");
        assert_eq!(marked, self.0.to_string(), "somebody else's body");
        let version = version.parse().expect("a version");
        assert!(text == self.body(version), "a body of {} that is not one", self.url());
        version
    }
}

/// Each thing's version at the origin, and what nothing may be older than any more.
struct Versions {
    current: Vec<AtomicU64>,
    purged: Vec<AtomicU64>,
    receipts: AtomicUsize,
    broken: AtomicUsize,
}

impl Versions {
    fn current(&self, thing: Thing) -> u64 {
        self.current[thing.0].load(Ordering::SeqCst)
    }

    fn purged(&self, thing: Thing) -> u64 {
        self.purged[thing.0].load(Ordering::SeqCst)
    }
}

fn origin_of(versions: &Arc<Versions>) -> Origin {
    let versions = versions.clone();
    Origin::serving(move |head, _| {
        let path = head.split(' ').nth(1).and_then(|target| target.rsplit('/').next());
        let path: usize = path.and_then(|path| path.parse().ok()).expect("a path");
        let field = |name: &str| {
            let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
            line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
        };
        let first = Thing(path * 2);
        let is_second = first.varies() && field("x-kind:").as_deref() == Some("1");
        let thing = Thing(first.0 + usize::from(is_second));
        let version = versions.current(thing);
        let etag = format!("\"{}-{version}\"", thing.0);
        let vary = if thing.varies() { "Vary: X-Kind\r\n" } else { "" };
        let fields = format!(
            "Cache-Control: max-age=3600\r\nETag: {etag}\r\nAccept-Ranges: none\r\n\
             Surrogate-Key: {}\r\n{vary}",
            thing.tag()
        );
        if field("if-none-match:") == Some(etag) {
            return format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
        }
        ok_with(&fields, &thing.body(version))
    })
}

/// Asks so often, or until the edge is gone. What it gets is checked.
fn load(address: SocketAddr, versions: &Versions, mut random: fastrand::Rng, times: usize) {
    let Some(mut client) = Client::try_connect(address) else { return };
    for _ in 0..times {
        let thing = Thing::any(&mut random);
        let purged = versions.purged(thing);
        let sent = client.try_send(thing.request(""));
        let Some(answer) = sent.ok().and_then(|()| client.try_answer()) else {
            // A body breaks when its chunks made room, and the origin has another one by now.
            versions.broken.fetch_add(1, Ordering::SeqCst);
            let Some(again) = Client::try_connect(address) else { return };
            client = again;
            continue;
        };
        assert_eq!(answer.status, 200, "{}", answer.head);
        let version = thing.version(&answer.text());
        assert!(version >= purged, "{} has {version}, purged {purged}", thing.url());
    }
}

/// Something to be purged, and what it is about.
fn wish(random: &mut fastrand::Rng) -> (Value, Vec<Thing>) {
    let thing = Thing::any(random);
    let of = |is_it: &dyn Fn(Thing) -> bool| Thing::all().filter(|other| is_it(*other)).collect();
    let (mut wish, about): (Value, Vec<Thing>) = match random.u8(0..100) {
        0..50 => (json!({"urls": [thing.url()]}), of(&|other| other.path() == thing.path())),
        50..65 => {
            let folder = thing.path() % FOLDERS;
            let prefix = format!("http://{}/f{folder}/", thing.host());
            let is_it =
                |other: Thing| other.host() == thing.host() && other.path() % FOLDERS == folder;
            (json!({"prefixes": [prefix]}), of(&is_it))
        }
        65..90 => (json!({"tags": [thing.tag()]}), of(&|other| other.tag() == thing.tag())),
        90..97 => (json!({"hosts": [thing.host()]}), of(&|other| other.host() == thing.host())),
        _ => (json!({"all": true}), of(&|_| true)),
    };
    wish["soft"] = random.bool().into();
    (wish, about)
}

/// Changes what the origin has, and purges it, until the edge is gone.
fn purge(admin: SocketAddr, token: &str, versions: &Versions, mut random: fastrand::Rng) {
    let mut client = Client::connect(admin);
    loop {
        let (wish, about) = wish(&mut random);
        for thing in &about {
            if random.u8(0..4) > 0 {
                versions.current[thing.0].fetch_add(1, Ordering::SeqCst);
            }
        }
        let then: Vec<u64> = about.iter().map(|thing| versions.current(*thing)).collect();
        let body = wish.to_string();
        let request = format!(
            "POST /purge HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if client.try_send(request).is_err() {
            return;
        }
        let Some(answer) = client.try_answer() else { return };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let receipt: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(receipt["durable"], true, "{receipt}");
        for (thing, version) in about.iter().zip(then) {
            versions.purged[thing.0].fetch_max(version, Ordering::SeqCst);
        }
        versions.receipts.fetch_add(1, Ordering::SeqCst);
    }
}

/// A disk tier that has to make room, and memory that does not hold half of it all.
fn edge(origin: SocketAddr) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[cache.memory]\nsize = '8MiB'\n\
         [cache.disk]\npath = 'disk'\nsize = '24MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    ))
}

#[test]
fn what_was_purged_with_a_receipt_stays_gone_after_kill_nine() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("BRIM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("BRIM_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let numbers = || (0..PATHS * 2).map(|_| AtomicU64::new(0)).collect();
    let (current, purged) = (numbers(), numbers());
    let (receipts, broken) = <(AtomicUsize, AtomicUsize)>::default();
    let versions = Arc::new(Versions { current, purged, receipts, broken });
    let origin = origin_of(&versions);
    let mut brim = edge(origin.address());
    let (mut kept, mut old) = (0, 0);
    for _ in 0..number("BRIM_CRASHES").unwrap_or(5) {
        // Some of it lies there before it is purged.
        let times = random.usize(0..600);
        load(brim.address(), &versions, random.fork(), times);
        let mut threads: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (address, versions) = (brim.address(), versions.clone());
                let random = random.fork();
                std::thread::spawn(move || load(address, &versions, random, usize::MAX))
            })
            .collect();
        let (admin, token) = (brim.admin(), brim.token());
        let (purged, fork) = (versions.clone(), random.fork());
        threads.push(std::thread::spawn(move || purge(admin, &token, &purged, fork)));
        // Killed right after a receipt, each time after another number of them.
        let receipts = versions.receipts.load(Ordering::SeqCst) + random.usize(1..25);
        while versions.receipts.load(Ordering::SeqCst) < receipts {
            assert!(!threads.iter().any(std::thread::JoinHandle::is_finished), "too early");
            std::thread::yield_now();
        }
        brim.signal(Signal::KILL);
        threads.into_iter().for_each(|thread| thread.join().expect("no older version"));
        brim = brim.again_after(Signal::KILL);
        let mut client = Client::connect(brim.address());
        for thing in Thing::all() {
            client.send(thing.request("Cache-Control: only-if-cached\r\n"));
            let Some(answer) = client.try_answer() else {
                client = Client::connect(brim.address());
                continue;
            };
            if answer.status == 200 {
                kept += 1;
                let (version, purged) = (thing.version(&answer.text()), versions.purged(thing));
                assert!(version >= purged, "{} came back with {version} < {purged}", thing.url());
                old += usize::from(version < versions.current(thing));
            }
        }
    }
    let broken = versions.broken.load(Ordering::SeqCst);
    println!("{kept} outlived, {old} of them not the origin's newest; {broken} answers broke");
    assert!(kept > 0, "nothing outlived any crash");
}
