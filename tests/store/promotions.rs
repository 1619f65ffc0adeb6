//! What is read from the disk so often that it comes back into memory, while it is purged.

use crate::faulty_folder::{EAGAIN, FaultyFolder, Op};
use crate::kit::{LARGE, PATIENCE, open_good};
use brim::config::{self, Settings};
use brim::engine::{Engine, Found, Order, Request};
use brim::metrics::Metrics;
use brim::rules::cache_control::Demands;
use brim::rules::key::Key;
use brim::rules::policy;
use brim::rules::purging::{self, Shares, Wish};
use brim::store::disk::Disk;
use brim::trace::Trail;
use brim::upstream::PurgeWay;
use brim::wire::HeadLimits;
use brim::wire::request::{Parser, RequestHead};
use bytes::BytesMut;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Too large to be read together with its head.
const BODY_BYTES: usize = 100_000;
const IN_MEMORY: &str = "brim_cache_objects{tier=\"memory\"}";

/// An origin of one answer, to be kept for an hour, that goes by the name of a tag.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let body = "x".repeat(BODY_BYTES);
            let _ = (&stream).write_all(
                format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nSurrogate-Key: t\r\n\
                     ETag: \"a\"\r\nConnection: close\r\nContent-Length: {BODY_BYTES}\r\n\r\n{body}"
                )
                .as_bytes(),
            );
        }
    });
    address
}

/// An engine, and all that it takes to ask it for one thing.
struct Cache {
    settings: Settings,
    metrics: Arc<Metrics>,
    engine: Arc<Engine>,
    head: RequestHead,
    key: Key,
}

impl Cache {
    fn new(origin: SocketAddr, disk: &Arc<Disk>) -> Self {
        let text = format!(
            "[server]\nhttp = ['127.0.0.1:0']\n[cache.memory]\nsize = '64MiB'\n\
             [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
             [[site]]\nhosts = ['a.test']\norigin = 'o'\n"
        );
        let settings = config::check(&text, "a test", Path::new("")).settings.expect("good");
        let metrics = Metrics::new(&["a.test".to_owned()], &[]);
        let disk = Some(disk.clone());
        let engine = Engine::new(&settings, None, disk, metrics.clone()).expect("an engine");
        let mut text = BytesMut::from("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let head = Parser::default().next(&mut text, &HeadLimits::default());
        let head = head.expect("good").expect("whole");
        let mut key = Key::default();
        key.write(&settings.sites[0], head.authority(), head.target(), 80);
        Self { settings, metrics, engine, head, key }
    }

    async fn lookup(&self) -> Found {
        let site = &self.settings.sites[0];
        let trail = Trail::new(&self.head, false, SystemTime::now(), None);
        let request = Request {
            head: &self.head,
            configured: &self.engine.configured(),
            site,
            key: &self.key,
            additions: Vec::new(),
            policy: policy::of_path(site, "/x").expect("a policy"),
            demands: Demands::default(),
            peer: Ipv4Addr::LOCALHOST.into(),
            peer_is_trusted: false,
            scheme: "http",
            now: SystemTime::now(),
            trail: &trail,
        };
        self.engine.lookup(&request, false).await
    }

    async fn purge(&self, wish: Wish) {
        let configured = &self.engine.configured();
        let sites = configured.sites();
        let targets = purging::targets(&wish, sites).expect("good");
        let (shares, way) = (Shares::of(&wish, sites), PurgeWay::told(None, None));
        let way = &way.expect("a way");
        let (wish, targets, shares, by) = (&wish, &targets, &shares, "a test");
        let order = Order { wish, targets, shares, configured, by, way };
        let receipt = self.engine.purge(&order).await.expect("its turn");
        assert_eq!((receipt.done, receipt.durable), (true, true));
    }

    fn has(&self, series: &str, value: u64) -> bool {
        self.metrics.text().contains(&format!("\n{series} {value}\n"))
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}");
        tokio::task::yield_now().await;
    }
}

/// A disk that an earlier start has written the answer to.
async fn stored(folder: &FaultyFolder, origin: SocketAddr) -> Arc<Disk> {
    let disk = open_good(folder, LARGE);
    let before = Cache::new(origin, &disk);
    let Found::Wait(ticket, _) = before.lookup().await else { panic!("nothing is stored") };
    // What nobody waits for comes all the same.
    drop(ticket);
    until("it is in memory", || before.has(IN_MEMORY, 1)).await;
    assert!(matches!(before.lookup().await, Found::Stored(..)));
    until("it is on the disk", || disk.stats().entries > 0).await;
    disk.settled().await;
    disk
}

/// Purges while what is purged is on its way into memory. Whether it came there, and what is found
/// afterwards.
async fn purge_meanwhile(wish: Option<Wish>) -> (bool, Found) {
    let (folder, origin) = (FaultyFolder::default(), origin());
    let disk = stored(&folder, origin).await;
    let cache = Cache::new(origin, &disk);
    assert!(matches!(cache.lookup().await, Found::Stored(..)));
    assert!(cache.has(IN_MEMORY, 0));
    // The second time it is read it is wanted in memory. On this one thread, whoever takes it there
    // has not begun when that is found out.
    folder.fail(&[Op::ReadNow], "seg", EAGAIN);
    assert!(matches!(cache.lookup().await, Found::Stored(..)));
    let gate = folder.hold(&[Op::Read], "seg");
    until("its content is being read", || gate.is_waited_at()).await;
    if let Some(wish) = wish {
        cache.purge(wish).await;
    }
    gate.let_go();
    until("it is over", || Arc::strong_count(&cache.engine) == 1).await;
    let is_in_memory = cache.has(IN_MEMORY, 1);
    (is_in_memory, cache.lookup().await)
}

#[tokio::test]
async fn what_is_read_again_and_again_comes_back_into_memory() {
    assert!(matches!(purge_meanwhile(None).await, (true, Found::Stored(..))));
}

#[tokio::test]
async fn what_is_purged_on_its_way_into_memory_is_not_seen_there_again() {
    let item = |text: &str| vec![text.to_owned()];
    for wish in [
        Wish { urls: item("http://a.test/x"), ..Wish::default() },
        Wish { tags: item("t"), wait: true, ..Wish::default() },
        Wish { prefixes: item("http://a.test/"), wait: true, ..Wish::default() },
        Wish { hosts: item("a.test"), wait: true, ..Wish::default() },
        Wish { all: true, wait: true, ..Wish::default() },
    ] {
        // A rule is forgotten when nothing can be as old as it is: what comes into memory behind the
        // sweep would then be seen again.
        let after = purge_meanwhile(Some(wish.clone())).await;
        assert!(matches!(after, (false, Found::Wait(..))), "{wish:?}");
    }
}
