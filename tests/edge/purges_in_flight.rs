//! Purges of what is on its way: whoever waited gets it, nobody who comes later does, and it is not
//! stored.

use crate::kit::{Brim, Client, Gate, Origin, Response, get, get_with, ok_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

const MIB: usize = 1024 * 1024;
const HOUR: &str = "Cache-Control: max-age=3600\r\n";
const TAGGED: &str = "Surrogate-Key: mine other\r\n";
const IN_FLIGHT: &str = "brim_fills_in_flight";

/// A purge of each kind that is about `/a?x` on a.test.
fn wishes() -> [Value; 6] {
    [
        json!({ "urls": ["http://a.test/a?x"] }),
        json!({ "urls": ["http://a.test/a"], "all_queries": true }),
        json!({ "prefixes": ["http://a.test/a"] }),
        json!({ "tags": ["mine"] }),
        json!({ "hosts": ["a.test"] }),
        json!({ "all": true }),
    ]
}

/// The same, and each as a soft one.
fn hard_and_soft() -> Vec<Value> {
    let soft = wishes().map(|mut wish| {
        wish["soft"] = true.into();
        wish
    });
    wishes().into_iter().chain(soft).collect()
}

fn is_by_tag(wish: &Value) -> bool {
    !wish["tags"].is_null()
}

/// Where the origin stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    BeforeHead,
    InBody,
}

/// Answers each request by its number; stops in the middle of the one with this number until the gate
/// opens.
fn stopping(
    stop: Stop,
    number: usize,
    gate: &Gate,
    answer: impl Fn(usize, &str) -> String + Send + Sync + 'static,
) -> Origin {
    let (gate, count) = (gate.clone(), AtomicUsize::new(0));
    Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            peer.body_of(&head);
            let this = count.fetch_add(1, Ordering::SeqCst);
            let answer = answer(this, &head);
            let at = match stop {
                Stop::BeforeHead => 0,
                Stop::InBody => answer.len() - 2,
            };
            peer.send(&answer[..at]);
            if this == number {
                gate.wait_for(1);
            }
            peer.send(&answer[at..]);
        }
    })
}

/// Asks for `/a?x` and waits until the origin stops with that.
fn begun(brim: &Brim, origin: &Origin, stop: Stop, request: &str) -> (Client, Vec<u8>) {
    let before = origin.requests();
    let mut client = Client::connect(brim.address());
    client.send(request);
    origin.wait_for_requests(before + 1);
    // After its first byte the head is known.
    let first = if stop == Stop::InBody { client.read_exactly(1) } else { Vec::new() };
    (client, first)
}

/// What later ones get, now, and after what was on its way has ended, and after a crash.
#[track_caller]
fn is_gone_for_good(brim: Brim, old: &str, why: &str) {
    brim.wait_until(IN_FLIGHT, |fills| fills == 0);
    for _ in 0..2 {
        let answer = Client::connect(brim.address()).ask(get("/a?x"));
        assert_ne!(answer.text(), old, "{why}: {}", answer.head);
    }
    let brim = brim.again_after(Signal::KILL);
    let answer = Client::connect(brim.address()).ask(get("/a?x"));
    assert_ne!(answer.text(), old, "{why}, restarted: {}", answer.head);
}

#[test]
fn a_fetch_that_began_before_a_purge_is_not_joined_after_it_and_not_stored() {
    for stop in [Stop::BeforeHead, Stop::InBody] {
        for wish in hard_and_soft() {
            let why = format!("{stop:?} {wish}");
            let gate = Gate::default();
            let origin = stopping(stop, 0, &gate, |number, _| {
                ok_with(&format!("{HOUR}{TAGGED}"), if number == 0 { "old" } else { "new" })
            });
            let brim = Brim::with_disk(origin.address(), "16MiB");
            let (mut first, read) = begun(&brim, &origin, stop, &get("/a?x"));
            brim.operator().purge(&wish);
            let mut later = Client::connect(brim.address());
            later.send(get("/a?x"));
            if stop == Stop::BeforeHead && is_by_tag(&wish) {
                // What tags it has is known when its head comes.
                gate.add_one();
                assert_eq!(later.answer().text(), "new", "{why}");
            } else {
                assert_eq!(later.answer().text(), "new", "{why}");
                gate.add_one();
            }
            let answer = first.answer_behind(read);
            assert!(answer.is_whole && answer.text() == "old", "{why}: {answer:?}");
            brim.wait_until(IN_FLIGHT, |fills| fills == 0);
            let hit = Client::connect(brim.address()).ask(get("/a?x"));
            assert_eq!((hit.text().as_str(), hit.told().as_str()), ("new", "brim; hit"), "{why}");
            assert_eq!(origin.requests(), 2, "{why}");
            is_gone_for_good(brim, "old", &why);
        }
    }
}

#[test]
fn what_nobody_asks_for_meanwhile_is_not_stored_either() {
    for stop in [Stop::BeforeHead, Stop::InBody] {
        for wish in wishes() {
            let why = format!("{stop:?} {wish}");
            let gate = Gate::default();
            let origin = stopping(stop, 0, &gate, |number, _| {
                ok_with(&format!("{HOUR}{TAGGED}"), if number == 0 { "old" } else { "new" })
            });
            let brim = Brim::with_disk(origin.address(), "16MiB");
            let (mut first, read) = begun(&brim, &origin, stop, &get("/a?x"));
            let receipt = brim.operator().purge(&wish);
            gate.add_one();
            assert_eq!(first.answer_behind(read).text(), "old", "{why}");
            brim.wait_until(IN_FLIGHT, |fills| fills == 0);
            assert_eq!(brim.operator().get("/objects")["objects"], json!([]), "{why}");
            assert_eq!(receipt["objects"], 0, "{why}");
            is_gone_for_good(brim, "old", &why);
        }
    }
}

#[test]
fn another_tag_host_or_url_does_not_disturb_what_is_on_its_way() {
    for wish in [
        json!({ "urls": ["http://a.test/a", "http://a.test/a?x&y", "http://b.test/a?x"] }),
        json!({ "prefixes": ["http://a.test/a/", "http://a.test/a?xy"] }),
        json!({ "tags": ["min", "mine2", "Mine"] }),
        json!({ "hosts": ["b.test", "test"] }),
    ] {
        for stop in [Stop::BeforeHead, Stop::InBody] {
            let gate = Gate::default();
            let origin =
                stopping(stop, 0, &gate, |_, _| ok_with(&format!("{HOUR}{TAGGED}"), "kept"));
            let brim = Brim::in_front_of(origin.address());
            let (mut first, read) = begun(&brim, &origin, stop, &get("/a?x"));
            brim.operator().purge(&wish);
            let mut later = Client::connect(brim.address());
            later.send(get("/a?x"));
            gate.add_one();
            assert_eq!(first.answer_behind(read).text(), "kept");
            assert_eq!(later.answer().text(), "kept");
            assert_eq!(Client::connect(brim.address()).ask(get("/a?x")).told(), "brim; hit");
            assert_eq!(origin.requests(), 1, "{wish}");
        }
    }
}

#[test]
fn a_confirmation_that_comes_after_a_purge_confirms_nothing() {
    for wish in hard_and_soft() {
        let gate = Gate::default();
        let origin = stopping(Stop::BeforeHead, 1, &gate, |number, head| match number {
            0 => ok_with(
                &format!("Cache-Control: max-age=1\r\nAge: 100\r\nETag: \"1\"\r\n{TAGGED}"),
                "old",
            ),
            1 => {
                assert!(head.contains("If-None-Match: \"1\""), "{head}");
                format!("HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"1\"\r\n{TAGGED}\r\n")
            }
            _ => ok_with(&format!("{HOUR}ETag: \"2\"\r\n{TAGGED}"), "new"),
        });
        let brim = Brim::with_disk(origin.address(), "16MiB");
        Client::connect(brim.address()).ask(get("/a?x"));
        let (mut first, _) = begun(&brim, &origin, Stop::BeforeHead, &get("/a?x"));
        brim.operator().purge(&wish);
        let mut later = Client::connect(brim.address());
        later.send(get("/a?x"));
        if is_by_tag(&wish) {
            gate.add_one();
        }
        assert_eq!(later.answer().text(), "new", "{wish}");
        // A hard one leaves nothing that could be confirmed.
        let asked = origin.last_head().contains("If-None-Match");
        assert_eq!(asked, wish["soft"] == true, "{wish}");
        gate.add_one();
        let answer = first.answer();
        assert!(answer.is_whole && answer.status == 200, "{wish}: {answer:?}");
        brim.wait_until(IN_FLIGHT, |fills| fills == 0);
        let hit = Client::connect(brim.address()).ask(get("/a?x"));
        assert_eq!((hit.text().as_str(), hit.told().as_str()), ("new", "brim; hit"), "{wish}");
        assert_eq!(origin.requests(), 3, "{wish}");
        is_gone_for_good(brim, "old", &wish.to_string());
    }
}

#[test]
fn a_refresh_that_began_before_a_purge_brings_nothing_back() {
    for stop in [Stop::BeforeHead, Stop::InBody] {
        for wish in wishes() {
            let why = format!("{stop:?} {wish}");
            let gate = Gate::default();
            let origin = stopping(stop, 1, &gate, |number, _| {
                let fields = "Cache-Control: max-age=1, stale-while-revalidate=600\r\nAge: 100\r\n";
                match number {
                    0 | 1 => ok_with(&format!("{fields}{TAGGED}"), "old"),
                    _ => ok_with(&format!("{HOUR}{TAGGED}"), "new"),
                }
            });
            let brim = Brim::with_disk(origin.address(), "16MiB");
            let mut client = Client::connect(brim.address());
            client.ask(get("/a?x"));
            assert_eq!(client.ask(get("/a?x")).text(), "old");
            origin.wait_for_requests(2);
            brim.operator().purge(&wish);
            client.send(get("/a?x"));
            if is_by_tag(&wish) {
                gate.add_one();
            }
            assert_eq!(client.answer().text(), "new", "{why}");
            gate.add_one();
            brim.wait_until(IN_FLIGHT, |fills| fills == 0);
            let hit = client.ask(get("/a?x"));
            assert_eq!((hit.text().as_str(), hit.told().as_str()), ("new", "brim; hit"), "{why}");
            is_gone_for_good(brim, "old", &why);
        }
    }
}

#[test]
fn a_new_state_that_a_post_brings_is_not_stored_after_a_purge() {
    for stop in [Stop::BeforeHead, Stop::InBody] {
        for wish in wishes() {
            let why = format!("{stop:?} {wish}");
            let gate = Gate::default();
            let origin = stopping(stop, 0, &gate, |_, head| match head.starts_with("POST") {
                true => ok_with(&format!("{HOUR}{TAGGED}Content-Location: /a?x\r\n"), "old"),
                false => ok_with(&format!("{HOUR}{TAGGED}"), "new"),
            });
            let brim = Brim::with_disk(origin.address(), "16MiB");
            let post = "POST /a?x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
            let (mut first, read) = begun(&brim, &origin, stop, post);
            brim.operator().purge(&wish);
            gate.add_one();
            let answer = first.answer_behind(read);
            assert!(answer.is_whole && answer.text() == "old", "{why}: {answer:?}");
            is_gone_for_good(brim, "old", &why);
        }
    }
}

/// Both versions of a large content, in which every block tells where it stands and of which it is.
static CONTENTS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    [0, 1].map(|version| {
        let block = |at: usize| format!("{version:512}{at:512}").into_bytes();
        (0..40 * 1024).flat_map(block).collect()
    })
});

#[test]
fn chunks_of_before_a_purge_are_not_put_together_with_those_of_after_it() {
    for wish in wishes() {
        let gate = Gate::default();
        let version = Arc::new(AtomicUsize::new(0));
        let (passed, shown) = (gate.clone(), version.clone());
        let origin = Origin::start(move |peer| {
            while let Some(head) = peer.head() {
                let (version, len) = (shown.load(Ordering::SeqCst), 40 * MIB);
                let lower = head.to_ascii_lowercase();
                let range = lower.lines().find_map(|line| line.strip_prefix("range: bytes="));
                let (first, last) =
                    range.and_then(|range| range.split_once('-')).unwrap_or(("0", ""));
                let first: usize = first.parse().expect("a number");
                let last = last.parse().map_or(len - 1, |last: usize| last.min(len - 1));
                let line = match range {
                    Some(_) => format!("206 X\r\nContent-Range: bytes {first}-{last}/{len}"),
                    None => "200 X".to_owned(),
                };
                // A validator that never changes.
                peer.send(format!(
                    "HTTP/1.1 {line}\r\nETag: \"1\"\r\n{HOUR}{TAGGED}Content-Length: {}\r\n\r\n",
                    last + 1 - first
                ));
                let (bytes, half) = (&CONTENTS[version], (first + last) / 2);
                peer.send(&bytes[first..half]);
                if first >= 10 * MIB && version == 0 {
                    passed.wait_for(1);
                }
                peer.send(&bytes[half..=last]);
            }
        });
        let brim = Brim::with_disk(origin.address(), "32MiB");
        let part = |from: usize| {
            get_with("/a?x", &format!("Range: bytes={from}-{}\r\n", from + 2 * MIB - 1))
        };
        let is_of = |answer: &Response, version: usize, from: usize| {
            answer.status == 206 && answer.body == CONTENTS[version][from..from + 2 * MIB]
        };
        let mut client = Client::connect(brim.address());
        assert!(is_of(&client.ask(part(0)), 0, 0));
        let mut first = Client::connect(brim.address());
        first.send(part(10 * MIB));
        let read = first.read_exactly(100_000);
        version.store(1, Ordering::SeqCst);
        brim.operator().purge(&wish);
        assert!(is_of(&client.ask(part(MIB)), 1, MIB), "{wish}: a part of before");
        gate.add_one();
        assert!(is_of(&first.answer_behind(read), 0, 10 * MIB), "{wish}: one that had begun");
        brim.wait_until(IN_FLIGHT, |fills| fills == 0);
        for from in [0, 10 * MIB, 11 * MIB] {
            assert!(is_of(&client.ask(part(from)), 1, from), "{wish}: {from}");
        }
        assert!(client.ask(get("/a?x")).body == CONTENTS[1], "{wish}: the whole");
    }
}

#[test]
fn that_an_answer_is_not_kept_is_forgotten_with_a_purge() {
    const CLIENTS: usize = 10;
    for wish in hard_and_soft() {
        let gate = Gate::default();
        let origin = stopping(Stop::BeforeHead, 2, &gate, |number, _| match number {
            0 | 1 => ok_with(&format!("Cache-Control: no-store\r\n{TAGGED}"), "private"),
            _ => ok_with(HOUR, "public"),
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/a?x"));
        assert_eq!(client.ask(get("/a?x")).told(), "brim; fwd=bypass; detail=no-store");
        brim.operator().purge(&wish);
        let mut clients: Vec<Client> =
            (0..CLIENTS).map(|_| Client::connect(brim.address())).collect();
        for client in &mut clients {
            client.send(get("/a?x"));
        }
        origin.wait_for_requests(3);
        gate.add_one();
        assert!(clients.iter_mut().all(|client| client.answer().text() == "public"));
        assert_eq!(origin.requests(), 3, "{wish}");
    }
    // Another purge does not forget it.
    let origin = Origin::answering(ok_with(&format!("Cache-Control: no-store\r\n{TAGGED}"), ""));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/a?x"));
    brim.operator().purge(&json!({ "tags": ["x"], "urls": ["a.test/a"], "hosts": ["b.test"] }));
    assert_eq!(client.ask(get("/a?x")).told(), "brim; fwd=bypass; detail=no-store");
}

#[test]
fn names_that_a_confirmation_does_not_repeat_go_on_to_count() {
    for name in ["one", "two"] {
        let origin = Origin::serving(|head, number| match number {
            0 => ok_with("Cache-Control: no-cache\r\nETag: \"e\"\r\nSurrogate-Key: one\r\n", "old"),
            1 => {
                assert!(head.contains("If-None-Match: \"e\""), "{head}");
                let fields = format!("{HOUR}ETag: \"e\"\r\nCache-Tag: two\r\n");
                format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n")
            }
            _ => ok_with(HOUR, "new"),
        });
        let brim = Brim::in_front_of(origin.address());
        let ask = || Client::connect(brim.address()).ask(get("/a?x")).text();
        assert_eq!([ask(), ask(), ask()], ["old"; 3]);
        assert_eq!(origin.requests(), 2, "it was confirmed");
        let receipt = brim.operator().purge(&json!({ "tags": [name], "wait": true }));
        assert_eq!(receipt["objects"], 1, "{name}");
        assert_eq!(ask(), "new", "{name}");
    }
}

#[test]
fn the_rest_of_a_content_goes_by_the_names_of_its_beginning() {
    let gate = Gate::default();
    let behind = gate.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            let fields = format!("{HOUR}ETag: \"e\"\r\n");
            if head.contains("Range: bytes=0-3") {
                let range = "Content-Range: bytes 0-3/8\r\nSurrogate-Key: mine\r\n";
                peer.send(part(&format!("{fields}{range}"), "old,"));
            } else if head.contains("Range: bytes=4-") {
                behind.add_one();
                behind.wait_for(2);
                peer.send(part(&format!("{fields}Content-Range: bytes 4-7/8\r\n"), "too,"));
            } else {
                peer.send(ok_with(HOUR, "new,new,"));
            }
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let ask = |request: String| Client::connect(brim.address()).ask(request).text();
    assert_eq!(ask(get_with("/a?x", "Range: bytes=0-3\r\n")), "old,");
    let mut first = Client::connect(brim.address());
    first.send(get("/a?x"));
    gate.wait_for(1);
    brim.operator().purge(&json!({ "tags": ["mine"], "wait": true }));
    let mut later = Client::connect(brim.address());
    later.send(get("/a?x"));
    gate.add_one();
    assert_eq!(later.answer().text(), "new,new,");
    assert_eq!(first.answer().text(), "old,too,", "who came before the purge");
    assert_eq!(ask(get("/a?x")), "new,new,");
}

fn part(fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 206 Partial Content\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
}
