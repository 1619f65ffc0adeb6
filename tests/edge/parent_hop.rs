//! An edge whose origin is another one, its parent: what one has to know of the other, and what no
//! client gets to see of it.

use crate::kit::{Brim, Client, Gate, Origin, Response, get, get_with, head, ok_with};
use rustix::process::Signal;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const NOT_FOR_CLIENTS: [&str; 5] =
    ["surrogate-key", "cache-tag", "edge-cache-tag", "xkey", "surrogate-control"];
const CHILD: &str = "Surrogate-Capability: brim=\"Surrogate/1.0\"\r\n";

/// One that believes whoever is on this machine.
fn parent(origin: SocketAddr) -> Brim {
    parent_with(origin, "")
}

/// The same with more tables.
fn parent_with(origin: SocketAddr, tables: &str) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\ntrusted_proxies = ['127.0.0.0/8']\n\
         {tables}\n[[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\nhost_header = 'client'\n"
    ))
}

/// An edge, and the parent that it asks.
fn edge_and_parent(origin: &Origin) -> (Brim, Brim) {
    let parent = parent(origin.address());
    (Brim::with(parent.address(), "", "host_header = 'client'"), parent)
}

/// The members of the only Cache-Status, less the seconds.
#[track_caller]
fn story(answer: &Response) -> Vec<String> {
    let told = answer.fields("cache-status");
    assert_eq!(told.len(), 1, "{}", answer.head);
    let is_timeless = |part: &&str| !part.starts_with("ttl=");
    let member =
        |member: &str| member.split("; ").filter(is_timeless).collect::<Vec<_>>().join("; ");
    told[0].split(", ").map(member).collect()
}

#[track_caller]
fn is_for_clients(answer: &Response) {
    for name in NOT_FOR_CLIENTS {
        assert_eq!(answer.field(name), None, "{}", answer.head);
    }
}

#[test]
fn the_edge_keeps_and_purges_by_what_no_client_sees() {
    let origin = Origin::answering(ok_with(
        "Cache-Control: max-age=0\r\nSurrogate-Control: max-age=600\r\nSurrogate-Key: a b,c\r\n\
         Cache-Tag: d e, f\r\n",
        "it",
    ));
    let (edge, parent) = edge_and_parent(&origin);
    let mut client = Client::connect(edge.address());
    let first = client.ask(get("/"));
    assert_eq!(story(&first), ["brim; fwd=uri-miss; stored", "brim; fwd=uri-miss; stored"]);
    let second = client.ask(get("/"));
    // What was told of how it came to be stored stays with it (RFC 9211, section 3).
    assert_eq!(story(&second), ["brim; fwd=uri-miss; stored", "brim; hit"]);
    let at_parent = Client::connect(parent.address()).ask(get("/"));
    assert_eq!(story(&at_parent), ["brim; hit"]);
    for answer in [first, second, at_parent] {
        assert_eq!(answer.field("cache-control"), Some("max-age=0"));
        is_for_clients(&answer);
    }
    for tag in ["a", "b,c", "d e", "f"] {
        assert_eq!(edge.operator().purge(&json!({ "tags": [tag] }))["objects"], 1, "{tag}");
        let again = client.ask(get("/"));
        assert_eq!(story(&again), ["brim; hit", "brim; fwd=uri-miss; stored"], "{tag}");
        is_for_clients(&again);
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn every_answer_to_a_child_tells_how_to_keep_it() {
    let origin = Origin::serving(|head, _| match head.split(' ').nth(1) {
        Some("/private") => ok_with("Cache-Control: private\r\nSurrogate-Key: a\r\n", ""),
        _ => ok_with(
            "ETag: \"1\"\r\nSurrogate-Control: max-age=60+10, no-cache;other\r\nxkey: a, b\r\n\
             Cache-Control: no-store\r\n",
            "0123456789",
        ),
    });
    let parent = parent(origin.address());
    let mut child = Client::connect(parent.address());
    let range = format!("{CHILD}Range: bytes=2-4\r\n");
    let ranges = format!("{CHILD}Range: bytes=0-0,8-8\r\n");
    let condition = format!("{CHILD}If-None-Match: \"1\"\r\n");
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n";
    for (request, status, told) in [
        (get_with("/", CHILD), 200, "brim; fwd=uri-miss; stored"),
        (get_with("/", CHILD), 200, "brim; hit"),
        (get_with("/", &range), 206, "brim; hit"),
        (get_with("/", &ranges), 206, "brim; hit"),
        (get_with("/", &condition), 304, "brim; hit"),
        (
            get_with("/", &format!("{CHILD}Cache-Control: no-cache\r\n")),
            200,
            "brim; fwd=request; stored",
        ),
        (format!("{post}{CHILD}\r\n"), 200, "brim; fwd=method"),
    ] {
        let answer = child.ask(&request);
        assert_eq!((answer.status, story(&answer)), (status, vec![told.to_owned()]), "{request}");
        let control = Some("max-age=60+10, no-cache;other");
        assert_eq!(answer.fields("surrogate-control").first().copied(), control, "{request}");
        let key = if told.contains("method") { "xkey" } else { "surrogate-key" };
        assert_eq!(answer.field(key).map(|tags| tags.replace(',', "")), Some("a b".into()));
        // To those who are not, nothing.
        is_for_clients(&child.ask(request.replace(CHILD, "")));
    }
    child.ask(get("/"));
    let alone = child.ask_head(head("/").replace("\r\n\r\n", &format!("\r\n{CHILD}\r\n")));
    assert_eq!(alone.field("surrogate-key"), Some("a b"));
    let private = child.ask(get_with("/private", CHILD));
    assert_eq!(private.field("surrogate-key"), Some("a"));
}

#[test]
fn a_parent_that_is_started_again_tells_it_still() {
    let lines = "Surrogate-Control: max-age=600\r\nSurrogate-Key: a\r\nCache-Status: Far; hit\r\n";
    let origin = Origin::answering(ok_with(lines, "it"));
    let disk = "[cache.disk]\npath = 'disk'\nsize = '256MiB'";
    let parent = parent_with(origin.address(), disk);
    let mut client = Client::connect(parent.address());
    for _ in 0..2 {
        client.ask(get("/"));
    }
    parent.wait_for_metric("brim_disk_writes_total", 1);
    let parent = parent.again_after(Signal::TERM);
    let again = Client::connect(parent.address()).ask(get_with("/", CHILD));
    assert_eq!(story(&again), ["Far; hit", "brim; hit"]);
    let told = ["surrogate-control", "surrogate-key"].map(|name| again.field(name));
    assert_eq!(told, [Some("max-age=600"), Some("a")]);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn nobody_becomes_a_child_by_saying_so() {
    let lines = "Cache-Control: max-age=60\r\nSurrogate-Key: a\r\nSurrogate-Control: max-age=9\r\n";
    let origin = Origin::answering(ok_with(lines, ""));
    let untrusting = Brim::in_front_of(origin.address());
    let mut client = Client::connect(untrusting.address());
    for path in ["/", "/", "/other"] {
        is_for_clients(&client.ask(get_with(path, CHILD)));
    }
    let parent = parent(origin.address());
    let mut client = Client::connect(parent.address());
    let another = "Surrogate-Capability: cdn=\"Surrogate/1.0 brim\", \"brim=\"\r\n";
    for path in ["/", "/", "/other"] {
        is_for_clients(&client.ask(get_with(path, another)));
    }
}

#[test]
fn a_confirmation_brings_new_times_and_names_through_both() {
    let lines = "ETag: \"1\"\r\nCache-Control: max-age=0\r\n";
    let origin = Origin::serving(move |head, _| {
        if head.contains("If-None-Match: \"1\"") {
            format!(
                "HTTP/1.1 304 Not Modified\r\n{lines}Surrogate-Control: max-age=600\r\n\
                 Surrogate-Key: new\r\n\r\n"
            )
        } else {
            ok_with(&format!("{lines}Surrogate-Control: max-age=0\r\nSurrogate-Key: old\r\n"), "it")
        }
    });
    let (edge, parent) = edge_and_parent(&origin);
    let mut client = Client::connect(edge.address());
    client.ask(get("/"));
    let confirmed = client.ask(get("/"));
    assert_eq!((confirmed.status, confirmed.text().as_str()), (200, "it"));
    assert_eq!(story(&confirmed), ["brim; fwd=stale", "brim; fwd=stale; fwd-status=304"]);
    assert_eq!(story(&client.ask(get("/"))).last().map(String::as_str), Some("brim; hit"));
    let own = client.ask(get_with("/", "If-None-Match: \"1\"\r\n"));
    assert_eq!((own.status, own.field("etag")), (304, Some("\"1\"")));
    is_for_clients(&own);
    assert_eq!(origin.requests(), 2);
    for brim in [&edge, &parent] {
        assert_eq!(brim.operator().purge(&json!({ "tags": ["new"] }))["objects"], 1);
    }
}

#[test]
fn what_has_too_many_names_is_kept_by_neither() {
    let names: Vec<_> = (0..1001).map(|number| number.to_string()).collect();
    let lines = format!("Cache-Control: max-age=60\r\nSurrogate-Key: {}\r\n", names.join(" "));
    let origin = Origin::answering(ok_with(&lines, ""));
    let (edge, _parent) = edge_and_parent(&origin);
    let mut client = Client::connect(edge.address());
    for asked in 1..3 {
        let answer = client.ask(get("/"));
        assert!(story(&answer).iter().all(|told| told.ends_with("; detail=too-many-tags")));
        is_for_clients(&answer);
        assert_eq!(origin.requests(), asked);
    }
}

#[test]
fn age_grows_over_both() {
    let lines = "Cache-Control: max-age=3600\r\nAge: 100\r\nSurrogate-Key: a\r\n";
    let origin = Origin::answering(ok_with(lines, ""));
    let (edge, _parent) = edge_and_parent(&origin);
    let mut client = Client::connect(edge.address());
    for _ in 0..3 {
        let answer = client.ask(get("/"));
        let (age, ttl) = (answer.number("age").expect("an age"), answer.number("ttl"));
        assert!((100..130).contains(&age), "{}", answer.head);
        assert!(ttl.is_some_and(|ttl| (3470..=3500).contains(&ttl)), "{}", answer.head);
        edge.operator().purge(&json!({ "tags": ["a"] }));
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_part_comes_through_both_and_what_is_for_one_client_stays_his() {
    let lines = "Cache-Control: public, max-age=60\r\nETag: \"1\"\r\nSet-Cookie: c=1\r\n";
    let origin = Origin::answering(ok_with(lines, "0123456789"));
    let (edge, _parent) = edge_and_parent(&origin);
    let mut client = Client::connect(edge.address());
    let first = client.ask(get_with("/part", "Range: bytes=2-4\r\n"));
    assert_eq!((first.status, first.text().as_str()), (206, "234"));
    assert_eq!(first.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(client.ask(get("/whole")).field("set-cookie"), Some("c=1"));
    let hit = client.ask(get("/whole"));
    assert_eq!((hit.text().as_str(), hit.field("set-cookie")), ("0123456789", None));
    assert_eq!(hit.field("etag"), Some("\"1\""));
}

#[test]
fn what_is_passed_tells_of_both_and_keeps_their_secrets() {
    let origin = Origin::answering(ok_with("Surrogate-Key: a\r\nCache-Status: Far; hit\r\n", ""));
    let (edge, _parent) = edge_and_parent(&origin);
    let answer = Client::connect(edge.address())
        .ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(story(&answer), ["Far; hit", "brim; fwd=method", "brim; fwd=method"]);
    is_for_clients(&answer);
}

#[test]
fn a_story_that_nobody_can_read_does_not_spoil_ours() {
    let lines =
        "Cache-Control: max-age=60\r\nCache-Status: HIT from far\r\nCache-Status: Near; hit\r\n";
    let origin = Origin::answering(ok_with(lines, ""));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(story(&client.ask(get("/"))), ["Near; hit", "brim; fwd=uri-miss; stored"]);
    assert_eq!(story(&client.ask(get("/"))), ["Near; hit", "brim; hit"]);
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(story(&client.ask(post)), ["Near; hit", "brim; fwd=method"]);
}

/// What may be used in every way past its time, at this version.
fn patient(version: usize) -> String {
    let lines = "Cache-Control: max-age=3600, stale-while-revalidate=600, stale-if-error=600\r\n";
    ok_with(&format!("{lines}ETag: \"{version}\"\r\n"), &version.to_string())
}

#[test]
fn what_a_purge_made_stale_is_confirmed_before_an_edge_has_it() {
    let version = Arc::new(AtomicUsize::new(1));
    let current = version.clone();
    let origin = Origin::serving(move |head, _| match current.load(Ordering::SeqCst) {
        500 => "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
        version if head.contains(&format!("If-None-Match: \"{version}\"")) => {
            format!("HTTP/1.1 304 Not Modified\r\nETag: \"{version}\"\r\n\r\n")
        }
        version => patient(version),
    });
    let parent = parent(origin.address());
    let mut client = Client::connect(parent.address());
    let soft = json!({ "all": true, "soft": true });
    let has_old = format!("{CHILD}If-None-Match: \"1\"\r\n");
    client.ask(get("/"));
    parent.operator().purge(&soft);
    let confirmed = client.ask(get_with("/", &has_old));
    assert_eq!((confirmed.status, origin.requests()), (304, 2));
    assert_eq!(story(&confirmed), ["brim; fwd=stale"]);

    parent.operator().purge(&soft);
    version.store(500, Ordering::SeqCst);
    // Before anybody knows of the trouble, and after.
    for lines in [&has_old, CHILD, ""] {
        let answer = client.ask(get_with("/", lines));
        let expected = if lines.is_empty() { 200 } else { 500 };
        assert_eq!(answer.status, expected, "{lines}: {}", answer.head);
    }
    version.store(2, Ordering::SeqCst);
    let new = client.ask(get_with("/", &has_old));
    assert_eq!((new.status, new.text().as_str()), (200, "2"));
}

#[test]
fn an_edge_and_a_client_that_wait_together_get_what_is_for_each() {
    let (gate, failing) = (Gate::default(), Gate::default());
    let (passed, fails) = (gate.clone(), failing.clone());
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            if fails.count() > 0 {
                return passed.wait_for(1);
            }
            peer.send(patient(1));
        }
    });
    let parent = parent(origin.address());
    let [mut first, mut second] = [(); 2].map(|()| Client::connect(parent.address()));
    for path in ["/child-first", "/client-first"] {
        first.ask(get(path));
    }
    parent.operator().purge(&json!({ "all": true, "soft": true }));
    failing.add_one();
    let (child, client) = (get_with("/child-first", CHILD), get("/child-first"));
    first.send(child.clone());
    origin.wait_for_requests(3);
    second.send(client.clone());
    gate.add_one();
    for (asked, expected) in [(&mut first, 502), (&mut second, 200)] {
        let answer = asked.answer();
        assert_eq!(answer.status, expected, "{}", answer.head);
    }
    let [child, client] = [child, client].map(|asked| asked.replace("/child", "/client"));
    let asked = origin.requests();
    second.send(client);
    origin.wait_for_requests(asked + 1);
    first.send(child);
    for (asked, expected) in [(&mut first, 502), (&mut second, 200)] {
        let answer = asked.answer();
        assert_eq!(answer.status, expected, "{}", answer.head);
    }
}

#[test]
fn what_is_as_old_for_an_edge_stands_in_for_it_too() {
    let lines = "Cache-Control: max-age=60, stale-while-revalidate=600\r\nAge: 100\r\n";
    let origin = Origin::serving(move |_, number| match number {
        0 => ok_with(lines, "old"),
        _ => "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
    });
    let parent = parent(origin.address());
    let mut child = Client::connect(parent.address());
    child.ask(get("/"));
    let old = child.ask(get_with("/", CHILD));
    assert_eq!((old.status, old.text().as_str()), (200, "old"));
    assert_eq!(story(&old), ["brim; fwd=stale; detail=stale-if-error"]);
    assert!(old.number("age").is_some_and(|age| age > 100), "{}", old.head);
}

#[test]
fn an_edge_does_not_get_the_old_while_the_new_is_fetched() {
    let origin = Origin::serving(|_, number| {
        let lines = "Cache-Control: max-age=60, stale-while-revalidate=600\r\n";
        let age = if number == 0 { "Age: 100\r\n" } else { "" };
        ok_with(&format!("{lines}{age}"), &number.to_string())
    });
    let parent = parent(origin.address());
    let mut child = Client::connect(parent.address());
    child.ask(get("/"));
    let new = child.ask(get_with("/", CHILD));
    assert_eq!((new.text().as_str(), story(&new)), ("1", vec!["brim; fwd=stale; stored".into()]));
}

#[test]
fn what_is_stored_is_never_younger_for_an_edge_than_it_is() {
    let origin = Origin::answering(ok_with("Cache-Control: max-age=600\r\n", ""));
    let parent = parent(origin.address());
    let mut child = Client::connect(parent.address());
    // Nothing of the time is lost that the edge has waited itself.
    assert_eq!(child.ask(get_with("/", CHILD)).number("age"), None);
    assert!(child.ask(get_with("/", CHILD)).number("age").is_some_and(|age| age > 0));
}

#[test]
fn refusals_about_what_is_stored_tell_the_story_of_both() {
    let origin = Origin::answering(ok_with(
        "Cache-Control: max-age=600\r\nETag: \"1\"\r\nCache-Status: Far; hit\r\n",
        "0123456789",
    ));
    let (edge, _parent) = edge_and_parent(&origin);
    let mut client = Client::connect(edge.address());
    client.ask(get("/"));
    let answer = client.ask(get_with("/", "Range: bytes=10-\r\n"));
    assert_eq!(answer.status, 416);
    assert_eq!(story(&answer), ["Far; hit", "brim; fwd=uri-miss; stored", "brim; hit"]);
}

#[test]
fn what_was_judged_at_the_edge_is_not_judged_again_by_its_parent() {
    let origin = Origin::answering(ok_with("Cache-Control: max-age=600\r\n", ""));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for (number, (told, left)) in [
        ("max-stale", None),
        ("max-stale=5, Max-Stale = 7", None),
        ("no-cache, max-stale, x=\"a, max-stale\"", Some("no-cache, x=\"a, max-stale\"")),
        ("max-age=0,  no-transform", Some("max-age=0,  no-transform")),
    ]
    .into_iter()
    .enumerate()
    {
        let lines = format!("Cache-Control: {told}\r\n");
        client.ask(get_with(&format!("/{number}"), &lines));
        let head = origin.last_head();
        let found: Vec<_> =
            head.lines().filter_map(|line| line.strip_prefix("Cache-Control: ")).collect();
        assert_eq!(found, Vec::from_iter(left), "{told}");
    }
}
