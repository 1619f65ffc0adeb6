//! The second tier with a device or an origin in trouble, and with clients in the middle of it.

use crate::kit::{Brim, Client, Gate, Origin, get, get_with, ok_with};
use rustix::process::Signal;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MIB: usize = 1024 * 1024;
const LEN: usize = 40 * MIB;
const WRITES: &str = "brim_disk_writes_total";
const FIELDS: &str = "ETag: \"one\"\r\nAccept-Ranges: bytes\r\nCache-Control: max-age=600\r\n";

/// Content in which every eight bytes tell where they stand and of which version they are.
fn content(version: u64) -> Vec<u8> {
    (0..LEN / 8).flat_map(|at| (at as u64 * 8 + version).to_be_bytes()).collect()
}

/// The first and the last byte that a request asks for.
fn range_of(head: &str) -> Option<(usize, usize)> {
    let lower = head.to_ascii_lowercase();
    let line = lower.lines().find_map(|line| line.strip_prefix("range: bytes="))?;
    let (first, last) = line.trim().split_once('-')?;
    Some((first.parse().ok()?, last.parse().map_or(LEN - 1, |last: usize| last.min(LEN - 1))))
}

/// A large file whose ETag never changes, also when a POST has changed it. The second half of each
/// part comes when the gate has been passed.
fn large_file(second_half: &Gate) -> Origin {
    let (version, second_half) = (AtomicU64::new(0), second_half.clone());
    Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("POST") {
                version.store(1, Ordering::SeqCst);
                peer.send(ok_with("", "changed"));
                continue;
            }
            let bytes = content(version.load(Ordering::SeqCst));
            let Some((first, last)) = range_of(&head) else {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n{FIELDS}\r\n"));
                peer.send(&bytes);
                continue;
            };
            peer.send(format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{LEN}\r\n\
                 Content-Length: {}\r\n{FIELDS}\r\n",
                last - first + 1
            ));
            let half = (first + last) / 2;
            peer.send(&bytes[first..half]);
            second_half.wait_for(1);
            peer.send(&bytes[half..=last]);
        }
    })
}

/// A gate that is open.
fn open_gate() -> Gate {
    let gate = Gate::default();
    gate.add_one();
    gate
}

/// An edge whose disk has all of the large file of this version.
fn with_all_on_disk(origin: &Origin) -> Brim {
    let brim = Brim::with_disk(origin.address(), "32MiB");
    assert!(Client::connect(brim.address()).ask(get("/large")).body == content(0));
    brim.wait_for_metric(WRITES, LEN as u64 / MIB as u64 + 1);
    brim
}

/// Changes bytes of the content on the disk that begin at `at`.
fn spoil(brim: &Brim, at: usize) {
    let wanted = &content(0)[at..at + 64];
    for entry in std::fs::read_dir(brim.folder().join("disk")).expect("a folder") {
        let path = entry.expect("a file").path();
        let bytes = std::fs::read(&path).expect("read");
        if let Some(found) = memchr::memmem::find(&bytes, wanted) {
            let file = std::fs::File::options().write(true).open(&path).expect("opened");
            return file.write_all_at(b"spoilt!!", found as u64).expect("written");
        }
    }
    panic!("these bytes are not on the disk");
}

#[test]
fn a_spoilt_part_is_fetched_again_and_whoever_joins_gets_what_it_asked_for() {
    let second_half = Gate::default();
    let origin = large_file(&second_half);
    let brim = with_all_on_disk(&origin);
    spoil(&brim, 20 * MIB + 80_000);
    let address = brim.address();
    let first = std::thread::spawn(move || Client::connect(address).ask(get("/large")));
    origin.wait_for_requests(2);
    let joined = std::thread::spawn(move || Client::connect(address).ask(get("/large")));
    // The head of the missing part is known: the second one has joined.
    brim.wait_for_metric("brim_coalesced_total", 1);
    second_half.add_one();
    for client in [first, joined] {
        let answer = client.join().expect("a client");
        assert_eq!((answer.status, answer.body.len()), (200, LEN), "{}", answer.head);
        assert!(answer.body == content(0));
    }
    assert_eq!(brim.metric("brim_disk_corrupt_records_total"), 1);
    let answer = Client::connect(brim.address()).ask(get("/large"));
    assert!(answer.told().contains("brim; hit") && answer.body == content(0), "{}", answer.told());
    assert_eq!(origin.requests(), 2);
}

#[test]
fn what_was_invalidated_does_not_come_back_with_a_part_for_one_who_had_begun() {
    let origin = large_file(&open_gate());
    let brim = with_all_on_disk(&origin);
    spoil(&brim, 30 * MIB + 80_000);
    let mut begun = Client::connect(brim.address());
    begun.send(get("/large"));
    let beginning = begun.read_exactly(MIB);
    let post = "POST /large HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(Client::connect(brim.address()).ask(post).status, 200);
    // It goes on with the version of a part that has the same ETag, and nobody else does.
    begun.answer_behind(beginning);
    let answer = Client::connect(brim.address()).ask(get("/large"));
    assert!(answer.body == content(1), "{}", answer.told());
}

#[test]
fn trouble_with_one_part_forgets_no_other() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            if range_of(&head).is_some() {
                peer.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            } else {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n{FIELDS}\r\n"));
                peer.send(content(0));
            }
        }
    });
    let brim = with_all_on_disk(&origin);
    spoil(&brim, 20 * MIB + 80_000);
    let cut = Client::connect(brim.address()).ask(get("/large"));
    assert!(!cut.is_whole && content(0).starts_with(&cut.body));
    let part = Client::connect(brim.address()).ask(get_with("/large", "Range: bytes=0-9\r\n"));
    assert!(part.told().contains("brim; hit"), "{}", part.told());
}

#[test]
fn a_content_without_end_is_let_go_of_with_its_last_reader() {
    let left = Gate::default();
    let seen = left.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            let fields = "ETag: \"1\"\r\nCache-Control: max-age=600\r\n";
            peer.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{fields}\r\n"));
            let chunk = [b"10000\r\n", &[b'x'; 65536][..], b"\r\n"].concat();
            while peer.try_send(&chunk) {}
            seen.add_one();
        }
    });
    let brim = Brim::with_disk(origin.address(), "32MiB");
    let mut client = Client::connect(brim.address());
    client.send(get("/radio"));
    client.read_exactly(20 * MIB);
    drop(client);
    left.wait_for(1);
}

#[test]
fn an_older_version_does_not_come_back_with_a_folder_that_was_late() {
    let origin = Origin::serving(|_, count| {
        ok_with("Cache-Control: max-age=600\r\n", &format!("version {count}"))
    });
    let mut brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    client.ask(get("/it"));
    client.ask(get("/it"));
    brim.wait_for_metric(WRITES, 1);
    brim.signal(Signal::TERM);
    brim.wait();
    let (disk, away) = (brim.folder().join("disk"), brim.folder().join("away"));
    std::fs::rename(&disk, &away).expect("renamed");
    std::fs::write(&disk, "in the way").expect("written");
    let brim = brim.again();
    assert_eq!(Client::connect(brim.address()).ask(get("/it")).text(), "version 1");
    assert_eq!(brim.metric("brim_disk_degraded"), 1);
    std::fs::remove_file(&disk).expect("removed");
    std::fs::rename(&away, &disk).expect("renamed");
    brim.wait_until("brim_disk_degraded", |value| value == 0);
    let brim = brim.again_after(Signal::KILL);
    let answer = Client::connect(brim.address()).ask(get("/it"));
    assert_ne!(answer.text(), "version 0", "{}", answer.told());
}

#[test]
fn a_folder_that_is_removed_under_an_edge_costs_hits_and_comes_back() {
    let is_up = Arc::new(AtomicBool::new(true));
    let shown = is_up.clone();
    let origin = Origin::serving(move |_, _| {
        assert!(shown.load(Ordering::SeqCst), "nobody has to be asked");
        ok_with("Cache-Control: max-age=600\r\n", "kept")
    });
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    client.ask(get("/it"));
    client.ask(get("/it"));
    brim.wait_for_metric(WRITES, 1);
    std::fs::remove_dir_all(brim.folder().join("disk")).expect("removed");
    brim.wait_until("brim_disk_degraded", |value| value == 1);
    let readiness = Client::connect(brim.admin()).ask(get("/readyz"));
    assert!(readiness.text().contains("degraded: disk: "), "{}", readiness.text());
    assert_eq!(client.ask(get("/it")).text(), "kept");
    brim.wait_until("brim_disk_degraded", |value| value == 0);
    // Asked for again, it is written to the new folder, and outlives the process.
    client.ask(get("/it"));
    brim.wait_for_metric("brim_cache_objects{tier=\"disk\"}", 1);
    is_up.store(false, Ordering::SeqCst);
    let brim = brim.again_after(Signal::KILL);
    assert_eq!(Client::connect(brim.address()).ask(get("/it")).text(), "kept");
}

#[test]
fn what_is_spoilt_and_has_no_validator_is_fetched_again_as_a_whole() {
    let body = content(0);
    let sent = body.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            let fields = "Cache-Control: max-age=600\r\n";
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n{fields}\r\n"));
            peer.send(&sent);
        }
    });
    let brim = with_all_on_disk(&origin);
    spoil(&brim, 64);
    let answer = Client::connect(brim.address()).ask(get("/large"));
    assert!(answer.status == 200 && answer.body == body, "{}", answer.told());
    assert_eq!(origin.requests(), 2);
}

#[test]
fn whoever_asks_for_a_part_never_gets_another_one() {
    for total in ["41943040", "*"] {
        let origin = Origin::start(move |peer| {
            while let Some(head) = peer.head() {
                let (first, last) = range_of(&head).expect("a range");
                // At most 1000 bytes at a time.
                let last = last.min(first + 999);
                peer.send(format!(
                    "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\n\
                     Content-Length: {}\r\n{FIELDS}\r\n",
                    last - first + 1
                ));
                peer.send(&content(0)[first..=last]);
            }
        });
        let brim = Brim::with_disk(origin.address(), "32MiB");
        let part = get_with("/large", "Range: bytes=3000000-3000009\r\n");
        let answer = Client::connect(brim.address()).ask(part);
        let wanted = format!("bytes 3000000-3000009/{total}");
        assert_eq!((answer.status, answer.field("content-range")), (206, Some(&wanted[..])));
        assert_eq!(answer.body, content(0)[3_000_000..3_000_010]);
    }
}
