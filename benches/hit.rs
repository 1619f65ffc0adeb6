//! What it costs to look up a stored object, and to answer a whole request out of memory: bytes in,
//! parsed, looked up, answered, bytes out, over a connection without a network.
//!
//! `cargo bench` prints the times; compare medians of one run, not across machines.

use brim::access_log::AccessLog;
use brim::admin::gatekeeper::Gatekeeper;
use brim::config::{self, Settings};
use brim::edge::Door;
use brim::engine::{Engine, Event, Found, Order, Request, Ticket};
use brim::metrics::Metrics;
use brim::rules::cache_control::Demands;
use brim::rules::key::Key;
use brim::rules::policy;
use brim::rules::purging::{self, Shares, Wish};
use brim::trace::Trail;
use brim::upstream::PurgeWay;
use brim::wire::HeadLimits;
use brim::wire::request::{Parser, RequestHead};
use bytes::BytesMut;
use pingora::apps::ServerApp;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

const REQUEST: &str = "GET /object HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: bench/1\r\n\
    Accept: */*\r\nAccept-Encoding: gzip, br\r\n\r\n";

fn main() {
    divan::main();
}

/// An origin whose only object has this length.
fn origin(len: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                    if line == "\r\n" {
                        let head = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nETag: \"1\"\r\n\
                             Content-Type: text/css\r\nVary: Accept-Encoding\r\n\
                             Cache-Control: public, max-age=86400\r\n\r\n"
                        );
                        let answer = [head.into_bytes(), vec![b'x'; len]].concat();
                        stream.get_mut().write_all(&answer).expect("sent");
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

fn settings(origin: SocketAddr) -> Settings {
    let text = format!(
        "[[origin]]\nname = 'o'\nservers = ['http://{origin}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    config::check(&text, "bench", Path::new("")).settings.expect("good settings")
}

#[divan::bench(args = [1024, 100 * 1024, 1024 * 1024])]
fn answer_a_hit(bencher: divan::Bencher, len: usize) {
    let runtime = Runtime::new().expect("a runtime");
    let metrics = Metrics::new(&["*".into()], &[]);
    let settings = Arc::new(settings(origin(len)));
    let log = config::Log { access: config::AccessLog::Off, ..settings.log.clone() };
    let (log, _writer) = AccessLog::open(&log, metrics).expect("a log");
    let engine = Engine::new(&settings, None, None, log.metrics().clone()).expect("an engine");
    let gatekeeper = Arc::new(Gatekeeper::new(None, log.metrics().clone()));
    let edge = Door::new(settings, engine, gatekeeper, log, None, TaskTracker::new());
    let edge = Arc::new(edge);
    let (mut client, server) = tokio::io::duplex(2 * 1024 * 1024);
    let (_stop, stopping) = watch::channel(false);
    runtime.spawn(async move { edge.process_new(Box::new(server), &stopping).await });
    let mut ask = || {
        runtime.block_on(async {
            client.write_all(REQUEST.as_bytes()).await.expect("sent");
            let mut answer = BytesMut::with_capacity(len + 1024);
            let end = loop {
                client.read_buf(&mut answer).await.expect("an answer");
                if let Some(at) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                    break at + 4 + len;
                }
            };
            while answer.len() < end {
                client.read_buf(&mut answer).await.expect("a body");
            }
            answer
        })
    };
    ask();
    assert!(memchr::memmem::find(&ask(), b"Cache-Status: brim; hit").is_some());
    bencher.bench_local(ask);
}

/// With so many purges by rule that the object is not old enough for, of other prefixes and tags.
#[divan::bench(args = [0, 1, 10_000])]
fn look_up(bencher: divan::Bencher, rules: usize) {
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let settings = settings(origin(1024));
    let metrics = Metrics::new(&["*".into()], &[]);
    let engine = Engine::new(&settings, None, None, metrics.clone()).expect("an engine");
    let head = Parser::default().next(&mut BytesMut::from(REQUEST), &HeadLimits::default());
    let head: RequestHead = head.expect("good").expect("whole");
    let site = &settings.sites[0];
    let mut key = Key::default();
    key.write(site, head.authority(), head.target(), 80);
    let configured = &engine.configured();
    let trail = Trail::new(&head, false, SystemTime::now(), None);
    let request = Request {
        head: &head,
        configured,
        site,
        key: &key,
        additions: Vec::new(),
        policy: policy::of_path(site, "/object").expect("cached"),
        demands: Demands::default(),
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer_is_trusted: false,
        scheme: "http",
        now: SystemTime::now(),
        trail: &trail,
    };
    let look_up = || runtime.block_on(engine.lookup(&request, false));
    while let Found::Wait(ticket, _) = look_up() {
        runtime.block_on(fetched(ticket));
    }
    // Later than the object, so that it has to be compared with them, once.
    for number in 0..rules {
        let name = |begin: &str| vec![format!("{begin}{number}")];
        let wish = match number % 2 {
            0 => Wish { prefixes: name("http://www.example.com/"), ..Wish::default() },
            _ => Wish { tags: name("tag-"), ..Wish::default() },
        };
        let targets = &purging::targets(&wish, configured.sites()).expect("a good wish");
        let (wish, shares) = (&wish, &Shares::default());
        let (by, way) = ("bench", &PurgeWay::default());
        let order = Order { wish, targets, shares, configured, by, way };
        runtime.block_on(engine.purge(&order)).expect("nobody takes over");
    }
    assert_eq!(rules == 0, metrics.text().contains("brim_purge_rules 0\n"));
    assert!(matches!(look_up(), Found::Stored(..)));
    bencher.bench_local(look_up);
}

/// Waits until the answer has begun.
async fn fetched(mut ticket: Ticket) {
    while let Event::Interim(_) = ticket.next().await {}
}
