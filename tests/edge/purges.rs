//! What a purge takes and what it leaves, in either tier, now and after the end of the process.

use crate::kit::{Brim, Client, Gate, Origin, Response, get, get_with, ok_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";
const WEAK: &str = "Cache-Control: max-age=3600, stale-while-revalidate=600\r\n";
const ON_DISK: &str = "brim_cache_objects{tier=\"disk\"}";
const WRITES: &str = "brim_disk_writes_total";

/// Where an object is when it is purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    Memory,
    Disk,
    Both,
}

const TIERS: [Tier; 3] = [Tier::Memory, Tier::Disk, Tier::Both];

fn host_and_target(url: &str) -> (&str, &str) {
    url.split_at(url.find('/').expect("a path"))
}

fn ask_for(client: &mut Client, url: &str, lines: &str) -> Response {
    let (host, target) = host_and_target(url);
    client.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"))
}

/// Whether a stored answer was used.
fn is_held(client: &mut Client, url: &str, lines: &str) -> bool {
    let lines = format!("Cache-Control: only-if-cached\r\n{lines}");
    ask_for(client, url, &lines).status == 200
}

/// Has these URLs in that tier alone, or in both.
fn filled(origin: &Origin, tier: Tier, urls: &[&str], site: &str) -> Brim {
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[cache.memory]\nsize = '16MiB'\n\
         [cache.disk]\npath = 'disk'\nsize = '64MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n{site}\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    for _ in 0..if tier == Tier::Memory { 1 } else { 2 } {
        for url in urls {
            assert_eq!(ask_for(&mut client, url, "").status, 200);
        }
    }
    if tier == Tier::Memory {
        return brim;
    }
    brim.wait_for_metric(ON_DISK, urls.len() as u64);
    if tier == Tier::Disk { restarted(brim) } else { brim }
}

/// What the next process finds is on the disk alone; it knows that it is.
fn restarted(brim: Brim) -> Brim {
    let brim = brim.again_after(Signal::TERM);
    brim.error_log("the disk tier knows what it has");
    brim
}

const TAGGED: &str = "Surrogate-Key: sk both\r\nxkey: xk, both\r\nCache-Tag: ct,both\r\n\
                      Edge-Cache-Tag: et\r\n";

/// Each purge is asked for with these in the cache, and has to take what it names.
const URLS: [&str; 8] = [
    "a.test/a",
    "a.test/a?x",
    "a.test/a?x&y",
    "a.test/a/b",
    "a.test/ab",
    "a.test/tagged",
    "b.test/a",
    "b.test:81/a",
];

fn takes() -> Vec<(Value, Vec<&'static str>)> {
    vec![
        (json!({ "urls": ["http://a.test/a"] }), vec!["a.test/a"]),
        (json!({ "urls": ["https://A.test:443/%61?x#y"] }), vec!["a.test/a?x"]),
        (
            json!({ "urls": ["a.test/a"], "all_queries": true }),
            vec!["a.test/a", "a.test/a?x", "a.test/a?x&y"],
        ),
        (json!({ "prefixes": ["http://a.test/a/"] }), vec!["a.test/a/b"]),
        (json!({ "prefixes": ["a.test/a?x"] }), vec!["a.test/a?x", "a.test/a?x&y"]),
        (json!({ "prefixes": ["http://a.test"] }), URLS[..6].to_vec()),
        (json!({ "hosts": ["a.test"] }), URLS[..6].to_vec()),
        (json!({ "hosts": ["b.test"] }), URLS[6..].to_vec()),
        (json!({ "hosts": ["b.test:81"] }), vec!["b.test:81/a"]),
        (json!({ "tags": ["sk"] }), vec!["a.test/tagged"]),
        (json!({ "tags": ["xk"] }), vec!["a.test/tagged"]),
        (json!({ "tags": ["ct"] }), vec!["a.test/tagged"]),
        (json!({ "tags": ["et"] }), vec!["a.test/tagged"]),
        (json!({ "tags": ["both", "none"] }), vec!["a.test/tagged"]),
        (json!({ "tags": ["s", "skb", "SK", "sk both"] }), vec![]),
        (
            json!({ "urls": ["a.test/a"], "prefixes": ["a.test/a/"], "tags": ["sk"],
                    "hosts": ["b.test:81"] }),
            vec!["a.test/a", "a.test/a/b", "a.test/tagged", "b.test:81/a"],
        ),
        (json!({ "all": true }), URLS.to_vec()),
    ]
}

fn tagging() -> Origin {
    Origin::serving(|head, number| {
        let tags = if head.starts_with("GET /tagged") { TAGGED } else { "" };
        ok_with(&format!("{HOUR}{tags}"), &number.to_string())
    })
}

#[test]
fn each_kind_takes_what_it_names_and_nothing_else_wherever_it_lies() {
    for tier in TIERS {
        for (wish, taken) in takes() {
            let brim = filled(&tagging(), tier, &URLS, "");
            let operator = brim.operator();
            let mut dry = wish.clone();
            dry["dry_run"] = true.into();
            let preview = operator.purge(&dry);
            assert_eq!(preview["objects"], taken.len(), "{tier:?} {wish}");
            let receipt = operator.purge(&wish);
            assert_eq!(receipt["durable"], true);
            let mut client = Client::connect(brim.address());
            for url in URLS {
                let is_left = is_held(&mut client, url, "");
                assert_eq!(is_left, !taken.contains(&url), "{tier:?} {wish}: {url}");
            }
        }
    }
}

#[test]
fn what_was_purged_is_gone_when_the_process_is_killed_at_once() {
    for tier in [Tier::Disk, Tier::Both] {
        for (wish, taken) in takes() {
            let brim = filled(&tagging(), tier, &URLS, "");
            brim.operator().purge(&wish);
            let brim = brim.again_after(Signal::KILL);
            let mut client = Client::connect(brim.address());
            for url in URLS {
                let is_left = is_held(&mut client, url, "");
                assert_eq!(is_left, !taken.contains(&url), "{tier:?} {wish}: {url}");
            }
        }
    }
}

#[test]
fn a_receipt_counts_what_was_taken_once() {
    for tier in TIERS {
        for (mut wish, taken) in takes() {
            let brim = filled(&tagging(), tier, &URLS, "");
            let operator = brim.operator();
            let mut dry = wish.clone();
            dry["dry_run"] = true.into();
            let bytes = operator.purge(&dry)["bytes"].clone();
            wish["wait"] = true.into();
            let receipt = operator.purge(&wish);
            let why = format!("{tier:?} {receipt}");
            assert_eq!(receipt["done"], true, "{why}");
            let objects = receipt["objects"].as_u64().expect("a number");
            let is_counted = tier != Tier::Disk || wish["all"] == true;
            if is_counted {
                assert_eq!(objects, taken.len() as u64, "{why}");
                assert!(wish["all"] == true || receipt["bytes"] == bytes, "{why}, not {bytes}");
            }
            // What is only on the disk is counted when it is met, if it has no whole key.
            let more = receipt["at_most_more"].as_u64().expect("a number");
            assert!(objects + more >= taken.len() as u64, "{why}");
            let mut client = Client::connect(brim.address());
            for _ in 0..2 {
                for url in URLS {
                    is_held(&mut client, url, "");
                }
            }
            let id = receipt["id"].as_str().expect("an id");
            let later = operator.get(&format!("/purges/{id}"));
            assert_eq!(later["objects"], taken.len(), "{why}, later {later}");
            assert!(wish["all"] == true || later["bytes"] == bytes, "{why}, later {later}");
        }
    }
}

#[test]
fn all_variants_of_a_url_go_and_are_counted_one_by_one() {
    for tier in TIERS {
        let origin = Origin::serving(|_, number| {
            ok_with(&format!("{HOUR}Vary: X-A\r\nSurrogate-Key: t\r\n"), &number.to_string())
        });
        for wish in [
            json!({ "urls": ["a.test/a"] }),
            json!({ "prefixes": ["a.test/a"] }),
            json!({ "tags": ["t"] }),
            json!({ "hosts": ["a.test"] }),
        ] {
            let brim = Brim::with_disk(origin.address(), "16MiB");
            let mut client = Client::connect(brim.address());
            for _ in 0..if tier == Tier::Memory { 1 } else { 2 } {
                for variant in 0..3 {
                    ask_for(&mut client, "a.test/a", &format!("X-A: {variant}\r\n"));
                }
            }
            let brim = match tier {
                Tier::Memory => brim,
                _ => {
                    brim.wait_for_metric(ON_DISK, 1);
                    if tier == Tier::Disk { restarted(brim) } else { brim }
                }
            };
            let operator = brim.operator();
            let before = operator.get("/objects")["objects"].as_array().expect("a list").len();
            assert_eq!(before, 3, "{tier:?}");
            let receipt = operator.purge(&wish);
            assert_eq!(operator.get("/objects")["objects"], json!([]), "{tier:?} {wish}");
            let mut client = Client::connect(brim.address());
            for variant in 0..3 {
                let lines = format!("X-A: {variant}\r\n");
                assert!(!is_held(&mut client, "a.test/a", &lines), "{tier:?} {wish}");
            }
            let id = receipt["id"].as_str().expect("an id");
            assert_eq!(operator.get(&format!("/purges/{id}"))["objects"], 3, "{tier:?} {wish}");
        }
    }
}

#[test]
fn a_url_is_read_with_the_rules_of_its_site() {
    let site = |host: &str, key: &str| {
        format!("[[site]]\nhosts = ['{host}']\norigin = 'o'\n[site.key]\n{key}\n")
    };
    let sites = [
        site("deny.test", "query = { deny = ['utm_*'] }"),
        site("allow.test", "query = { allow = ['id'] }"),
        site("sort.test", "sort_query = true"),
        site("none.test", "query = 'none'"),
    ];
    for (stored, named) in [
        ("deny.test/a?id=1", "deny.test/a?utm_source=x&id=1"),
        ("allow.test/a?id=1", "allow.test/a?x=y&id=1&z"),
        ("sort.test/a?a=1&b=2", "sort.test/a?b=2&a=1"),
        ("none.test/a", "none.test/a?x"),
    ] {
        let others = ["other.test/a", "other.test/a?id=1", "deny.test/a?id=2"];
        for tier in TIERS {
            let urls = [&[stored][..], &others].concat();
            let brim = filled(&tagging(), tier, &urls, &sites.concat());
            brim.operator().purge(&json!({ "urls": [named] }));
            let mut client = Client::connect(brim.address());
            assert!(!is_held(&mut client, stored, ""), "{tier:?} {named}");
            for other in others {
                assert!(is_held(&mut client, other, ""), "{tier:?} {named}: {other}");
            }
        }
    }
}

/// Answers with a validator, and 304 to whom has it.
fn confirming(fields: &'static str, confirms: &Arc<AtomicBool>) -> Origin {
    let confirms = confirms.clone();
    Origin::serving(move |head, number| {
        let confirms = confirms.load(Ordering::SeqCst);
        if confirms && head.contains("If-None-Match: \"1\"") {
            return format!("HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"1\"\r\n\r\n");
        }
        let etag = if number == 0 { "\"1\"" } else { "\"2\"" };
        ok_with(&format!("{fields}ETag: {etag}\r\n{TAGGED}"), &number.to_string())
    })
}

fn soft_wishes() -> [Value; 5] {
    [
        json!({ "urls": ["a.test/tagged"], "soft": true }),
        json!({ "prefixes": ["a.test/ta"], "soft": true }),
        json!({ "tags": ["sk"], "soft": true }),
        json!({ "hosts": ["a.test"], "soft": true }),
        json!({ "all": true, "soft": true }),
    ]
}

#[test]
fn what_was_purged_softly_is_confirmed_before_it_is_used_again() {
    for tier in TIERS {
        for restarts in [false, true] {
            for wish in soft_wishes() {
                let origin = confirming(HOUR, &Arc::new(true.into()));
                let mut brim = filled(&origin, tier, &["a.test/tagged"], "");
                brim.operator().purge(&wish);
                if restarts && tier != Tier::Memory {
                    brim = brim.again_after(Signal::KILL);
                }
                let why = format!("{tier:?} {restarts} {wish}");
                let mut client = Client::connect(brim.address());
                // Whatever the client would take.
                let lines = "Cache-Control: only-if-cached, max-stale\r\n";
                assert_eq!(ask_for(&mut client, "a.test/tagged", lines).status, 504, "{why}");
                let lines = "Cache-Control: max-stale\r\n";
                let answer = ask_for(&mut client, "a.test/tagged", lines);
                assert_eq!(answer.text(), "0", "{why}");
                assert_eq!(origin.requests(), 2, "{why}");
                assert!(origin.last_head().contains("If-None-Match: \"1\""), "{why}");
                let told = ask_for(&mut client, "a.test/tagged", "").told();
                assert_eq!(told, "brim; hit", "{why}");
                let brim = brim.again_after(Signal::KILL);
                let mut client = Client::connect(brim.address());
                ask_for(&mut client, "a.test/tagged", "");
                assert!(is_held(&mut client, "a.test/tagged", ""), "{why}");
            }
        }
    }
}

#[test]
fn what_was_purged_softly_is_served_while_it_is_refreshed_if_its_origin_said_so() {
    for tier in TIERS {
        for restarts in [false, true] {
            let (gate, count) = (Gate::default(), AtomicUsize::new(0));
            let passed = gate.clone();
            let origin = Origin::start(move |peer| {
                while peer.head().is_some() {
                    let number = count.fetch_add(1, Ordering::SeqCst);
                    if number == 1 {
                        passed.wait_for(1);
                    }
                    peer.send(ok_with(&format!("{WEAK}{TAGGED}"), &number.to_string()));
                }
            });
            let mut brim = filled(&origin, tier, &["a.test/tagged"], "");
            brim.operator().purge(&json!({ "tags": ["sk"], "soft": true }));
            if restarts && tier != Tier::Memory {
                brim = brim.again_after(Signal::KILL);
            }
            let mut client = Client::connect(brim.address());
            for _ in 0..3 {
                let stale = ask_for(&mut client, "a.test/tagged", "");
                assert_eq!(stale.text(), "0", "{tier:?}");
                assert_eq!(stale.told(), "brim; hit; detail=stale-while-revalidate", "{tier:?}");
                origin.wait_for_requests(2);
            }
            gate.add_one();
            brim.wait_until("brim_fills_in_flight", |fills| fills == 0);
            let fresh = ask_for(&mut client, "a.test/tagged", "");
            assert_eq!((fresh.text().as_str(), fresh.told().as_str()), ("1", "brim; hit"));
            assert_eq!(origin.requests(), 2, "{tier:?} {restarts}");
        }
    }
}

#[test]
fn what_was_purged_softly_stands_in_for_an_origin_in_trouble_only_if_that_was_said() {
    for tier in TIERS {
        for (fields, status) in
            [("Cache-Control: max-age=600, stale-if-error=600\r\n", 200), (HOUR, 503)]
        {
            let origin = Origin::serving(move |_, number| match number {
                0 => ok_with(&format!("{fields}{TAGGED}"), "old"),
                _ => "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n".to_owned(),
            });
            let brim = filled(&origin, tier, &["a.test/tagged"], "");
            let operator = brim.operator();
            let wish = json!({ "tags": ["sk"], "soft": true, "wait": true });
            let receipt = operator.purge(&wish);
            let mut client = Client::connect(brim.address());
            for _ in 0..3 {
                let answer = ask_for(&mut client, "a.test/tagged", "");
                assert_eq!(answer.status, status, "{tier:?} {fields}");
            }
            // However often it is met.
            let id = receipt["id"].as_str().expect("an id");
            let later = operator.get(&format!("/purges/{id}"));
            assert_eq!(later["objects"], 1, "{tier:?} {fields}");
        }
    }
}

#[test]
fn receipts_outlive_the_process() {
    for signal in [Signal::TERM, Signal::KILL] {
        let brim = filled(&tagging(), Tier::Both, &URLS, "");
        let operator = brim.operator();
        let made: Vec<Value> = takes().iter().map(|(wish, _)| operator.purge(wish)).collect();
        let brim = brim.again_after(signal);
        let operator = brim.operator();
        let found = operator.get("/purges")["purges"].as_array().expect("a list").clone();
        assert_eq!(found.len(), made.len());
        // The newest comes first.
        for (found, made) in found.iter().rev().zip(&made) {
            for name in ["id", "applied_at", "by", "kinds", "items", "soft", "durable"] {
                assert_eq!(found[name], made[name], "{name} after {signal:?}");
            }
            let id = made["id"].as_str().expect("an id");
            assert_eq!(&operator.get(&format!("/purges/{id}")), found);
        }
        let newest = operator.purge(&json!({ "all": true }));
        assert_eq!(operator.get("/purges?limit=1")["purges"], json!([newest]));
        assert!(newest["id"].as_str() > made[made.len() - 1]["id"].as_str());
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    for tier in TIERS {
        let origin = tagging();
        let brim = filled(&origin, tier, &URLS, "");
        let operator = brim.operator();
        for (mut wish, taken) in takes() {
            wish["dry_run"] = true.into();
            let preview = operator.purge(&wish);
            let sample = preview["sample"].as_array().expect("URLs");
            let mut sample: Vec<&str> = sample.iter().filter_map(Value::as_str).collect();
            sample.sort_unstable();
            let mut expected: Vec<String> =
                taken.iter().map(|url| format!("http://{url}")).collect();
            expected.sort_unstable();
            assert_eq!(
                (sample, &preview["complete"]),
                (expected.iter().map(String::as_str).collect(), &true.into()),
                "{tier:?} {wish}"
            );
        }
        assert_eq!(operator.get("/purges")["purges"], json!([]));
        let mut client = Client::connect(brim.address());
        assert!(URLS.iter().all(|url| is_held(&mut client, url, "")), "{tier:?}");
    }
}

#[test]
fn operators_see_what_is_stored_where_and_nothing_that_was_purged() {
    for (tier, name) in [(Tier::Memory, "memory"), (Tier::Disk, "disk"), (Tier::Both, "both")] {
        let brim = filled(&tagging(), tier, &URLS, "");
        let operator = brim.operator();
        let urls = |path: &str| {
            let told = operator.get(path);
            let objects = told["objects"].as_array().expect("a list").clone();
            let mut urls: Vec<String> = objects
                .iter()
                .map(|object| {
                    assert_eq!(object["tier"], name, "{object}");
                    object["url"].as_str().expect("a URL").to_owned()
                })
                .collect();
            urls.sort_unstable();
            (urls, told["complete"] == true)
        };
        assert_eq!(urls("/objects").0.len(), URLS.len(), "{tier:?}");
        let (some, is_all) = urls("/objects?limit=3");
        assert_eq!((some.len(), is_all), (3, false), "{tier:?}");
        assert_eq!(urls("/objects?prefix=a.test/a/"), (vec!["http://a.test/a/b".into()], true));
        assert_eq!(urls("/objects?tag=ct"), (vec!["http://a.test/tagged".into()], true));
        assert_eq!(urls("/objects?host=b.test:81"), (vec!["http://b.test:81/a".into()], true));
        let told = operator.get("/objects?tag=ct")["objects"][0].clone();
        assert_eq!(told["tags"], json!(["sk", "both", "xk", "ct", "et"]), "{told}");
        assert_eq!((&told["status"], &told["bytes"]), (&200.into(), &1.into()), "{told}");
        operator.purge(&json!({ "tags": ["ct"], "hosts": ["b.test"] }));
        assert_eq!(urls("/objects").0.len(), URLS.len() - 3, "{tier:?}");
        assert_eq!(urls("/objects?tag=ct"), (vec![], true), "{tier:?}");
    }
}

#[test]
fn a_purge_while_it_is_not_yet_known_what_the_disk_has_counts_all_the_same() {
    const OBJECTS: usize = 1000;
    for wish in [
        json!({ "urls": ["http://a.test/7"] }),
        json!({ "prefixes": ["http://a.test/7"] }),
        json!({ "tags": ["tag7"] }),
        json!({ "hosts": ["a.test"] }),
        json!({ "all": true }),
    ] {
        let origin = Origin::serving(|head, number| {
            let path = head.split(' ').nth(1).expect("a target");
            ok_with(&format!("{HOUR}Surrogate-Key: tag{}\r\n", &path[1..]), &number.to_string())
        });
        let brim = Brim::with_disk(origin.address(), "32MiB");
        let mut client = Client::connect(brim.address());
        for number in 0..2 * OBJECTS {
            client.ask(get(&format!("/{}", number % OBJECTS)));
        }
        brim.wait_for_metric(WRITES, OBJECTS as u64);
        let brim = brim.again_after(Signal::KILL);
        brim.operator().purge(&wish);
        let ask = get_with("/7", "Cache-Control: only-if-cached\r\n");
        assert_eq!(Client::connect(brim.address()).ask(&ask).status, 504, "{wish}");
        let brim = brim.again_after(Signal::KILL);
        brim.wait_until(ON_DISK, |objects| objects > 0 || wish["all"] == true);
        assert_eq!(Client::connect(brim.address()).ask(&ask).status, 504, "{wish}");
    }
}

#[test]
fn a_purge_that_the_disk_cannot_take_says_so_and_is_in_force_all_the_same() {
    let all = (vec![json!({ "all": true })], URLS.to_vec());
    let some = [
        (json!({ "urls": ["a.test/a"] }), "a.test/a"),
        (json!({ "prefixes": ["a.test/a/"] }), "a.test/a/b"),
        (json!({ "tags": ["sk"] }), "a.test/tagged"),
        (json!({ "hosts": ["b.test:81"] }), "b.test:81/a"),
    ];
    let some = some.into_iter().unzip();
    for (tier, (wishes, taken)) in
        [(Tier::Disk, &all), (Tier::Both, &all), (Tier::Disk, &some), (Tier::Both, &some)]
    {
        let brim = filled(&tagging(), tier, &URLS, "");
        let (disk, away) = (brim.folder().join("disk"), brim.folder().join("away"));
        std::fs::rename(&disk, &away).expect("renamed");
        std::fs::write(&disk, "in the way").expect("written");
        brim.wait_until("brim_disk_degraded", |value| value == 1);
        let mut client = Client::connect(brim.address());
        let all_gone = |client: &mut Client, when: &str| {
            for url in taken {
                assert!(!is_held(client, url, ""), "{tier:?} {url} {when}");
            }
        };
        for wish in wishes {
            let answer = brim.operator().ask("POST", "/purge", &wish.to_string());
            assert_eq!(answer.status, 503, "{wish}: {}", answer.text());
            let told: Value = serde_json::from_str(&answer.text()).expect("JSON");
            assert_eq!(told["receipt"]["durable"], false, "{told}");
        }
        all_gone(&mut client, "without a folder");
        std::fs::remove_file(&disk).expect("removed");
        std::fs::rename(&away, &disk).expect("renamed");
        brim.wait_until("brim_disk_degraded", |value| value == 0);
        all_gone(&mut client, "when it is back");
        // Once the folder is in use again, it takes this, too.
        brim.operator().purge(&json!({ "tags": ["something else"] }));
        let brim = brim.again_after(Signal::KILL);
        all_gone(&mut Client::connect(brim.address()), "after a restart");
    }
}

#[test]
fn an_answer_to_head_that_says_nothing_does_not_undo_a_soft_purge() {
    let origin = Origin::serving(|_, number| {
        ok_with("Cache-Control: max-age=600\r\nSurrogate-Key: a\r\n", ["old", "new", "new"][number])
    });
    let brim = Brim::in_front_of(origin.address());
    let ask = || Client::connect(brim.address()).ask(get("/a")).text();
    assert_eq!([ask(), ask()], ["old"; 2]);
    brim.operator().purge(&json!({ "tags": ["a"], "soft": true }));
    let answer =
        Client::connect(brim.address()).ask_head("HEAD /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(answer.status, 200);
    assert_eq!(ask(), "new");
}

#[test]
fn a_receipt_tells_all_that_went_of_a_few_thousand_objects() {
    const OBJECTS: usize = 2500;
    let origin =
        Origin::answering(ok_with("Cache-Control: max-age=60\r\nSurrogate-Key: t\r\n", "x"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for number in 0..OBJECTS {
        assert_eq!(client.ask(get(&format!("/{number}"))).status, 200);
    }
    let receipt = brim.operator().purge(&json!({ "tags": ["t"] }));
    assert_eq!((&receipt["done"], &receipt["objects"]), (&json!(true), &json!(OBJECTS)));
}
