//! What the second tier keeps across the end of the process, and what it must not.

use crate::kit::{Brim, Client, Command, Origin, get, get_with, ok_with};
use rustix::process::Signal;
use std::path::Path;
use std::sync::{Arc, Mutex};

const MIB: usize = 1024 * 1024;
const ON_DISK: &str = "brim_cache_objects{tier=\"disk\"}";
const WRITES: &str = "brim_disk_writes_total";

/// Content in which every eight bytes tell where they stand.
fn content(len: usize) -> Vec<u8> {
    (0..len.div_ceil(8)).flat_map(|at| (at as u64 * 8).to_be_bytes()).take(len).collect()
}

/// A file behind a server that knows ranges; its validator can be changed.
struct LargeFile {
    origin: Origin,
    etag: Arc<Mutex<String>>,
}

impl LargeFile {
    fn of(len: usize) -> Self {
        let etag = Arc::new(Mutex::new("\"one\"".to_owned()));
        let (bytes, current) = (content(len), etag.clone());
        let origin = Origin::start(move |peer| {
            while let Some(head) = peer.head() {
                let etag = current.lock().expect("an etag").clone();
                let field = |name: &str| {
                    let lower = head.to_ascii_lowercase();
                    let line =
                        lower.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
                    line.map(|value| value.trim().to_owned())
                };
                let applies = field("if-range:").is_none_or(|wanted| wanted == etag);
                let range = field("range: bytes=").filter(|_| applies);
                let fields = format!(
                    "ETag: {etag}\r\nAccept-Ranges: bytes\r\nCache-Control: max-age=600\r\n"
                );
                let Some(range) = range else {
                    peer.send(ok_head(len, &fields));
                    peer.send(&bytes);
                    continue;
                };
                let (first, last) = range.split_once('-').expect("a range");
                let first: usize = first.parse().expect("a number");
                let last = last.parse().map_or(len - 1, |last: usize| last.min(len - 1));
                peer.send(format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{len}\r\n\
                     Content-Length: {}\r\n{fields}\r\n",
                    last - first + 1
                ));
                peer.send(&bytes[first..=last]);
            }
        });
        Self { origin, etag }
    }

    /// The Range of each request, in order; "" where there was none.
    fn ranges(&self) -> Vec<String> {
        let range = |head: String| {
            let line =
                head.lines().find_map(|line| line.strip_prefix("Range: ").map(str::to_owned));
            line.unwrap_or_default()
        };
        self.origin.heads().into_iter().map(range).collect()
    }
}

fn ok_head(len: usize, fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n{fields}\r\n")
}

fn range(part: &str) -> String {
    get_with("/large", &format!("Range: bytes={part}\r\n"))
}

fn is_hit(answer: &crate::kit::Response) -> bool {
    answer.told().contains("brim; hit")
}

#[test]
fn what_was_asked_for_twice_outlives_any_end_of_the_process() {
    for signal in [Signal::TERM, Signal::KILL] {
        let small = "s".repeat(300);
        let large = "l".repeat(200_000);
        let origin = Origin::serving(move |head, _| {
            let body = if head.starts_with("GET /large") { &large } else { &small };
            ok_with("Cache-Control: max-age=600\r\nETag: \"1\"\r\nX-Own: yes\r\n", body)
        });
        let brim = Brim::with_disk(origin.address(), "64MiB");
        let mut client = Client::connect(brim.address());
        for path in ["/small", "/large", "/small", "/large"] {
            assert_eq!(client.ask(get(path)).status, 200);
        }
        brim.wait_for_metric(ON_DISK, 2);
        let brim = brim.again_after(signal);
        let mut client = Client::connect(brim.address());
        for (path, len) in [("/small", 300), ("/large", 200_000)] {
            let answer = client.ask(get(path));
            assert!(is_hit(&answer), "{}", answer.told());
            assert_eq!((answer.body.len(), answer.field("x-own")), (len, Some("yes")));
            assert_eq!(answer.field("etag"), Some("\"1\""));
        }
        assert_eq!(origin.requests(), 2);
    }
}

#[test]
fn what_was_asked_for_once_does_not_wear_the_disk() {
    let origin = Origin::serving(|_, _| ok_with("Cache-Control: max-age=600\r\n", "once"));
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    for number in 0..200 {
        assert_eq!(client.ask(get(&format!("/{number}"))).status, 200);
    }
    for _ in 0..2 {
        client.ask(get("/twice"));
    }
    brim.wait_for_metric(ON_DISK, 1);
    assert_eq!(brim.metric(WRITES), 1);
}

#[test]
fn what_an_unsafe_request_made_out_of_date_does_not_come_back() {
    let origin = Origin::serving(|head, count| match head.starts_with("POST") {
        true => ok_with("", "changed"),
        false => ok_with("Cache-Control: max-age=600\r\n", &format!("version {count}")),
    });
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/it")).text(), "version 0");
    client.ask(get("/it"));
    brim.wait_for_metric(ON_DISK, 1);
    client.ask("POST /it HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    let brim = brim.again_after(Signal::KILL);
    assert_eq!(Client::connect(brim.address()).ask(get("/it")).text(), "version 2");
}

#[test]
fn a_newer_version_is_what_comes_back() {
    let origin = Origin::serving(|_, count| {
        ok_with("Cache-Control: max-age=600\r\n", &format!("version {count}"))
    });
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    client.ask(get("/it"));
    client.ask(get("/it"));
    brim.wait_for_metric(WRITES, 1);
    let reload = get_with("/it", "Cache-Control: no-cache\r\n");
    assert_eq!(client.ask(reload).text(), "version 1");
    brim.wait_for_metric(WRITES, 2);
    let brim = brim.again_after(Signal::KILL);
    let answer = Client::connect(brim.address()).ask(get("/it"));
    assert!(is_hit(&answer), "{}", answer.told());
    assert_eq!(answer.text(), "version 1");
}

#[test]
fn variants_come_back_together() {
    let origin = Origin::serving(|head, _| {
        let is_gzip = head.to_ascii_lowercase().contains("accept-encoding: gzip");
        let (lines, body) =
            if is_gzip { ("Content-Encoding: gzip\r\n", "squeezed") } else { ("", "plain") };
        ok_with(&format!("Cache-Control: max-age=600\r\nVary: Accept-Encoding\r\n{lines}"), body)
    });
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    let gzip = get_with("/it", "Accept-Encoding: gzip\r\n");
    for _ in 0..2 {
        client.ask(get("/it"));
        client.ask(&gzip);
    }
    brim.wait_for_metric(ON_DISK, 1);
    let brim = brim.again_after(Signal::TERM);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/it")).text(), "plain");
    assert_eq!(client.ask(&gzip).text(), "squeezed");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn what_was_confirmed_is_written_without_its_content() {
    let origin = Origin::serving(|head, _| {
        if head.contains("If-None-Match") {
            "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=600\r\n\
             X-Turn: second\r\n\r\n"
                .to_owned()
        } else {
            ok_with("Cache-Control: max-age=600\r\nETag: \"1\"\r\n", &"x".repeat(3 * MIB))
        }
    });
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    client.ask(get("/it"));
    client.ask(get("/it"));
    // Three chunks, and the head.
    brim.wait_for_metric(WRITES, 4);
    let brim = brim.again_after(Signal::TERM);
    let mut client = Client::connect(brim.address());
    let confirmed = client.ask(get_with("/it", "Cache-Control: no-cache\r\n"));
    assert_eq!((confirmed.body.len(), confirmed.field("x-turn")), (3 * MIB, Some("second")));
    brim.wait_for_metric(WRITES, 1);
    let brim = brim.again_after(Signal::TERM);
    let answer = Client::connect(brim.address()).ask(get("/it"));
    assert!(is_hit(&answer), "{}", answer.told());
    assert_eq!((answer.body.len(), answer.field("x-turn")), (3 * MIB, Some("second")));
    assert_eq!(origin.requests(), 2);
}

#[test]
fn what_memory_cannot_hold_is_fetched_once_for_all_and_comes_back() {
    let file = LargeFile::of(40 * MIB + 12_345);
    let brim = Brim::with_disk(file.origin.address(), "32MiB");
    let whole = content(40 * MIB + 12_345);
    let mut first = Client::connect(brim.address());
    first.send(get("/large"));
    // Joins when most of it is on the disk already.
    file.origin.wait_for_requests(1);
    brim.wait_for_metric(WRITES, 20);
    let mut second = Client::connect(brim.address());
    second.send(get("/large"));
    assert!(second.answer().body == whole);
    assert!(first.answer().body == whole);
    let mut client = Client::connect(brim.address());
    assert!(is_hit(&client.ask(get("/large"))));
    let brim = brim.again_after(Signal::TERM);
    let mut client = Client::connect(brim.address());
    let answer = client.ask(get("/large"));
    assert!(is_hit(&answer) && answer.body == whole, "{}", answer.told());
    for (part, from, to) in [
        ("0-0", 0, 1),
        ("1048570-1048580", 1_048_570, 1_048_581),
        ("41943030-", 41_943_030, whole.len()),
        ("-5", whole.len() - 5, whole.len()),
    ] {
        let answer = client.ask(range(part));
        assert!(is_hit(&answer), "{part}: {}", answer.told());
        assert_eq!((answer.status, &answer.body[..]), (206, &whole[from..to]), "{part}");
    }
    let several = client.ask(range("0-9,20000000-20000009"));
    assert!(is_hit(&several) && several.status == 206);
    assert_eq!(file.ranges(), [""]);
}

#[test]
fn only_what_is_missing_is_fetched() {
    let file = LargeFile::of(40 * MIB);
    let whole = content(40 * MIB);
    let brim = Brim::with_disk(file.origin.address(), "32MiB");
    let mut client = Client::connect(brim.address());
    // Parts are fetched by whole chunks of 1 MiB.
    let answer = client.ask(range("10485770-10485779"));
    assert_eq!((answer.status, &answer.body[..]), (206, &whole[10_485_770..10_485_780]));
    brim.wait_for_metric(ON_DISK, 1);
    let within = client.ask(range("11000000-11000009"));
    assert!(is_hit(&within), "{}", within.told());
    assert_eq!(within.body, whole[11_000_000..11_000_010]);
    // Across what is there and what is not.
    let across = client.ask(range("11000000-13000000"));
    assert_eq!(across.body, whole[11_000_000..=13_000_000]);
    let answer = client.ask(get("/large"));
    assert!(answer.status == 200 && answer.body == whole);
    let answer = client.ask(get("/large"));
    assert!(is_hit(&answer) && answer.body == whole, "{}", answer.told());
    assert_eq!(
        file.ranges(),
        [
            "bytes=10485760-11534335",
            "bytes=11534336-13631487",
            "bytes=0-10485759",
            "bytes=13631488-41943039",
        ]
    );
    // After a restart it is still whole.
    let brim = brim.again_after(Signal::KILL);
    let answer = Client::connect(brim.address()).ask(get("/large"));
    assert!(is_hit(&answer) && answer.body == whole, "{}", answer.told());
    assert_eq!(file.origin.requests(), 4);
}

#[test]
fn who_has_it_already_costs_no_fetch_of_what_is_missing() {
    let file = LargeFile::of(40 * MIB);
    let brim = Brim::with_disk(file.origin.address(), "32MiB");
    let mut client = Client::connect(brim.address());
    client.ask(range("0-9"));
    brim.wait_for_metric(ON_DISK, 1);
    let answer = client.ask(get_with("/large", "If-None-Match: \"one\"\r\n"));
    assert_eq!((answer.status, is_hit(&answer)), (304, true), "{}", answer.told());
    assert_eq!(file.origin.requests(), 1);
}

#[test]
fn slow_readers_of_what_is_on_the_disk_cost_a_bounded_amount() {
    const LEN: usize = 100 * MIB;
    let file = LargeFile::of(LEN);
    let brim = Brim::with_disk(file.origin.address(), "32MiB");
    let before = brim.peak_rss_bytes();
    let begin = |_| {
        let mut client = Client::connect(brim.address());
        client.send(get("/large"));
        client.read_exactly(1000);
        client
    };
    // While it is fetched, and when all of it is there.
    let mut slow: Vec<Client> = (0..50).map(begin).collect();
    brim.wait_for_metric(ON_DISK, 1);
    slow.extend((50..100).map(begin));
    let answer = Client::connect(brim.address()).ask(get("/large"));
    assert!(answer.body.len() == LEN && is_hit(&answer), "{}", answer.told());
    let grown = brim.peak_rss_bytes() - before;
    assert!(grown < 64 * MIB as u64, "{} MiB", grown / MIB as u64);
    assert_eq!(file.origin.requests(), 1);
}

#[test]
fn parts_of_another_version_are_never_put_together() {
    let file = LargeFile::of(40 * MIB);
    let brim = Brim::with_disk(file.origin.address(), "32MiB");
    let mut client = Client::connect(brim.address());
    client.ask(range("0-9"));
    *file.etag.lock().expect("an etag") = "\"two\"".to_owned();
    let answer = client.ask(range("5-2000000"));
    assert_eq!((answer.status, answer.field("etag")), (206, Some("\"two\"")));
    assert_eq!(answer.body, content(40 * MIB)[5..=2_000_000]);
    // What is fresh of the old one is gone.
    let answer = client.ask(range("0-9"));
    assert_eq!(answer.field("etag"), Some("\"two\""));
}

#[test]
fn what_was_cut_off_is_not_kept() {
    let origin = Origin::start(|peer| {
        if peer.head().is_some() {
            let fields = "ETag: \"1\"\r\nAccept-Ranges: bytes\r\nCache-Control: max-age=600\r\n";
            peer.send(ok_head(40 * MIB, fields));
            peer.send(vec![b'x'; 20 * MIB]);
        }
    });
    let brim = Brim::with_disk(origin.address(), "32MiB");
    for _ in 0..2 {
        let answer = {
            let mut client = Client::connect(brim.address());
            client.send(get("/large"));
            client.answer()
        };
        assert!(!answer.is_whole, "{}", answer.told());
    }
    // Each fetch began anew, and was asked once to go on where it broke off.
    let heads = origin.heads();
    let goes_on: Vec<bool> = heads.iter().map(|head| head.contains("Range: ")).collect();
    assert_eq!(goes_on, [false, true, false, true], "{heads:#?}");
    assert_eq!(brim.metric(ON_DISK), 0);
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let origin = Origin::ok();
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let file = brim.folder().join("edge.toml");
    let second = Command::run(&["run", "--config", file.to_str().expect("a path")]);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("another process"), "{}", second.stderr);
    assert!(second.stderr.contains(&disk_path(&brim)), "{}", second.stderr);
}

fn disk_path(brim: &Brim) -> String {
    brim.folder().join("disk").to_string_lossy().into_owned()
}

#[test]
fn a_folder_that_cannot_be_made_leaves_an_edge_that_serves() {
    let origin = Origin::serving(|_, _| ok_with("Cache-Control: max-age=600\r\n", "ok"));
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n\
         [cache.disk]\npath = 'edge.toml/disk'\nsize = '64MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    assert!(is_hit(&client.ask(get("/"))));
    let readiness = Client::connect(brim.admin()).ask(get("/readyz"));
    assert_eq!(readiness.status, 200);
    assert!(readiness.text().starts_with("ready\ndegraded: disk: "), "{}", readiness.text());
    assert_eq!(brim.metric("brim_disk_degraded"), 1);
}

#[test]
fn the_folder_is_relative_to_the_configuration() {
    let origin = Origin::ok();
    let brim = Brim::with_disk(origin.address(), "64MiB");
    assert!(Path::new(&disk_path(&brim)).is_dir());
}
