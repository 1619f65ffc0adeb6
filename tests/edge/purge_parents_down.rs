//! Purges while a parent cannot be reached: it is not asked for anything until it has made up for
//! them.

use crate::kit::parents::{edge_of, version_of};
use crate::kit::{Brim, Client, Command, Origin, Tiers, get_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn state(receipt: &Value) -> &str {
    receipt["parents"][0]["state"].as_str().expect("a state")
}

/// Tiers whose parent has an old version of these on its disk, and is away. The new version.
fn with_parent_away(cache: &str, site: &str, paths: &[&str]) -> (Tiers, usize) {
    let mut tiers = Tiers::with(cache, site);
    for path in paths {
        let given = tiers.get(path);
        // The disk gets what is asked for twice.
        assert_eq!(version_of(tiers.parent.address(), path), given);
    }
    let stored = "brim_cache_objects{tier=\"disk\"}";
    tiers.parent.wait_for_metric(stored, paths.len() as u64);
    tiers.stop_parent();
    let new = tiers.change();
    (tiers, new)
}

#[test]
fn a_parent_that_was_away_is_purged_before_it_is_asked_again() {
    let (tiers, new) = with_parent_away("", "", &["/x", "/y"]);
    let receipt = tiers.purge_later(&json!({ "urls": ["http://a.test/x", "http://a.test/y"] }));
    assert_eq!((state(&receipt), &receipt["durable"]), ("pending", &json!(true)));
    let error = receipt["parents"][0]["error"].as_str().expect("an error");
    assert!(error.contains("refused"), "{error}");
    assert_eq!(tiers.edge.metric("brim_parent_purges_pending"), 1);
    // The edge goes to the origin meanwhile.
    assert_eq!(tiers.get("/x"), new);
    let tiers = tiers.start_parent();
    assert_eq!(tiers.get("/y"), new);
    let paid = tiers.wait_until_paid(&receipt);
    assert_eq!((state(&paid), paid["parents"][0].get("error")), ("purged", None), "{paid}");
    assert_eq!(paid["parents"][0]["objects"], 2, "{paid}");
    assert_eq!(tiers.operator().get("/purges")["purges"][0], paid);
    // It is asked again, and has nothing old.
    let asked = "brim_origin_requests_total{origin=\"shield\",status_class=\"2xx\"}";
    let before = tiers.edge.metric(asked);
    assert_eq!(tiers.get("/z"), new);
    assert_eq!(tiers.edge.metric(asked), before + 1);
    assert_eq!(tiers.edge.metric("brim_parent_purges_total{result=\"pending\"}"), 1);
    assert_eq!(tiers.edge.metric("brim_parent_purges_total{result=\"purged\"}"), 1);
}

#[test]
fn nothing_old_is_seen_while_a_parent_comes_back() {
    let paths: Vec<String> = (0..40).map(|number| format!("/{number}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (mut tiers, new) = with_parent_away("", "", &paths);
    for path in &paths {
        tiers.purge_later(&json!({ "urls": [format!("http://a.test{path}")] }));
    }
    let receipt = tiers.purge_later(&json!({ "urls": ["http://a.test/0"] }));
    assert_eq!(tiers.edge.metric("brim_parent_purges_pending"), paths.len() as u64);
    tiers = tiers.start_parent();
    for path in &paths {
        assert_eq!(tiers.get(path), new, "{path}");
    }
    assert_eq!(state(&tiers.wait_until_paid(&receipt)), "purged");
    for path in &paths {
        assert_eq!(version_of(tiers.parent.address(), path), new, "{path}");
    }
}

#[test]
fn too_many_purges_become_one_of_everything() {
    let (tiers, new) = with_parent_away("", "", &["/x"]);
    let long = "x".repeat(600);
    let mut receipt = Value::Null;
    for number in 0..30 {
        let tags: Vec<_> = (0..10).map(|tag| format!("{long}{number}-{tag}")).collect();
        receipt = tiers.purge_later(&json!({ "tags": tags }));
    }
    assert!(tiers.edge.metric("brim_parent_purges_pending") < 10);
    let tiers = tiers.start_parent();
    assert_eq!(state(&tiers.wait_until_paid(&receipt)), "purged");
    // The tags were of nothing, and yet it is gone.
    assert_eq!(version_of(tiers.parent.address(), "/x"), new);
}

#[test]
fn what_is_owed_survives_a_restart_with_a_disk_tier() {
    const DISK: &str = "[cache.disk]\npath = 'disk'\nsize = '256MiB'";
    for signal in [Signal::TERM, Signal::KILL] {
        let (tiers, new) = with_parent_away(DISK, "", &["/x", "/y"]);
        let receipt = tiers.purge_later(&json!({ "hosts": ["a.test"] }));
        let Tiers { origin, version, parent, mut edge, token } = tiers;
        edge.signal(signal);
        edge.wait();
        let (parent, edge) = (parent.again(), edge.again());
        let tiers = Tiers { origin, version, parent, edge, token };
        assert_eq!(tiers.get("/x"), new);
        assert_eq!(tiers.get("/y"), new);
        let paid = tiers.wait_until_paid(&receipt);
        assert_eq!((state(&paid), &paid["id"]), ("purged", &receipt["id"]), "{paid}");
        assert_eq!(version_of(tiers.parent.address(), "/x"), new);
        // And what was paid is not owed again.
        let edge = tiers.edge.again_after(signal);
        assert_eq!(edge.metric("brim_parent_purges_pending"), 0);
        assert_eq!(
            tiers.parent.operator().get("/purges")["purges"].as_array().map(Vec::len),
            Some(1)
        );
    }
}

#[test]
fn who_waits_is_told_when_the_parent_has_come_back() {
    let (tiers, _) = with_parent_away("", "", &["/x"]);
    let operator = tiers.operator();
    let wish = json!({ "urls": ["http://a.test/x"], "wait": true });
    let waiting = std::thread::spawn(move || operator.purge(&wish));
    tiers.edge.wait_for_metric("brim_parent_purges_pending", 1);
    let _tiers = tiers.start_parent();
    let receipt = waiting.join().expect("a receipt");
    assert_eq!((state(&receipt), &receipt["parents"][0]["objects"]), ("purged", &json!(1)));
}

#[test]
fn a_front_door_purge_tells_of_a_parent_that_is_away() {
    let site = "[site.purge]\nnetworks = ['127.0.0.0/8']";
    let (tiers, new) = with_parent_away("", site, &["/x"]);
    let purge = get_with("/x", "").replacen("GET", "PURGE", 1);
    let answer = Client::connect(tiers.edge.address()).ask(purge);
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(state(&crate::kit::operator::json_of(&answer)), "pending");
    let tiers = tiers.start_parent();
    assert_eq!(tiers.get("/x"), new);
}

fn purge(edge: &Brim, token: &str, arguments: &[&str]) -> crate::kit::Finished {
    let admin = format!("http://{}", edge.admin());
    let of_edge = ["purge", "--admin", &admin];
    Command::run_with(&[&of_edge, arguments].concat(), &[("BRIM_ADMIN_TOKEN", token)])
}

#[test]
fn a_person_is_told_of_each_parent() {
    let mut tiers = Tiers::new();
    tiers.get("/x");
    let parent = format!("http://{}", tiers.parent.admin());
    let arguments = ["--url", "http://a.test/x"];
    let told = purge(&tiers.edge, &tiers.token, &arguments);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let line = told.stdout.lines().nth(1).expect("a second line");
    assert!(line.starts_with(&format!("parent {parent}: purged 1 object, ")), "{line}");
    let dry = purge(&tiers.edge, &tiers.token, &["--all", "--dry-run"]);
    assert!(dry.stdout.ends_with("\nparents were not asked\n"), "{}", dry.stdout);

    tiers.stop_parent();
    let told = purge(&tiers.edge, &tiers.token, &arguments);
    assert_eq!(told.code, Some(1));
    let line = told.stdout.lines().nth(1).expect("a second line");
    assert!(line.starts_with(&format!("parent {parent}: pending: ")), "{line}");
    let expected = format!(
        "brim: not yet at {parent}; it is tried again, and not asked for anything else until then \
         (GET /purges/"
    );
    assert!(told.stderr.starts_with(&expected), "{}", told.stderr);
    assert_eq!(told.stderr.lines().count(), 1);
    let machine = purge(&tiers.edge, &tiers.token, &["--all", "--json"]);
    let receipt: Value = serde_json::from_str(&machine.stdout).expect("JSON");
    assert_eq!((machine.code, state(&receipt)), (Some(1), "pending"));
}

#[test]
fn a_parent_that_never_answers_is_waited_for_once() {
    let door = Origin::start(|peer| drop(peer.rest()));
    let (origin, shield) = (Origin::ok(), Origin::ok());
    let doors = format!("http://{}", door.address());
    let edge = edge_of(origin.address(), shield.address(), &doors, ["", "", ""]);
    let purge = |path: &str| {
        let began = Instant::now();
        let wish = json!({ "urls": [format!("http://a.test{path}")] });
        let answer = edge.operator().ask("POST", "/purge", &wish.to_string());
        assert_eq!(answer.status, 202, "{}", answer.text());
        began.elapsed()
    };
    assert!(purge("/x") > Duration::from_secs(5));
    assert!(purge("/y") < Duration::from_secs(5));
    assert_eq!(edge.metric("brim_parent_purges_pending"), 2);
    assert_eq!(Client::connect(edge.address()).ask(get_with("/x", "")).status, 200);
    assert_eq!((origin.requests(), shield.requests()), (1, 0));
}

#[test]
fn what_a_request_made_out_of_date_is_forgotten_by_a_parent_that_was_away() {
    let (tiers, new) = with_parent_away("", "", &["/x"]);
    let post = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(Client::connect(tiers.edge.address()).ask(post).status, 200);
    assert_eq!(tiers.edge.metric("brim_parent_purges_pending"), 1);
    let tiers = tiers.start_parent();
    assert_eq!(tiers.get("/x"), new);
    tiers.edge.wait_until("brim_parent_purges_pending", |pending| pending == 0);
    assert_eq!(version_of(tiers.parent.address(), "/x"), new);
}

#[test]
fn what_a_request_made_out_of_date_is_forgotten_by_all_parents_first() {
    let (asked_by, asked) = std::sync::mpsc::channel();
    let (go, go_on) = std::sync::mpsc::channel::<()>();
    let go_on = std::sync::Mutex::new(go_on);
    let door = Origin::start(move |peer| {
        let head = peer.head().expect("a purge");
        let wish: Value = serde_json::from_slice(&peer.body_of(&head)).expect("a wish");
        asked_by.send(wish).expect("the test listens");
        go_on.lock().expect("one at a time").recv().expect("a sign");
        let body = "{\"id\":\"7\",\"objects\":3,\"bytes\":4}";
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let answer = "HTTP/1.1 303 See Other\r\nLocation: /list?a=1\r\nContent-Length: 0\r\n\r\n";
    let (origin, shield) = (Origin::ok(), Origin::serving(move |_, _| answer.to_owned()));
    let doors = format!("http://{}", door.address());
    let edge = edge_of(origin.address(), shield.address(), &doors, ["", "", ""]);
    let ask = |method: &str, path: &str| {
        let lines =
            format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
        Client::connect(edge.address()).ask(lines).status
    };
    assert_eq!(ask("POST", "/form"), 303, "nobody waits for the parents");
    let urls = ["http://a.test/form", "http://a.test/list?a=1"];
    assert_eq!(asked.recv().expect("a purge"), json!({ "urls": urls }));
    assert_eq!((ask("GET", "/list?a=1"), origin.requests(), shield.requests()), (200, 1, 1));
    go.send(()).expect("it waits");
    edge.wait_until("brim_parent_purges_pending", |pending| pending == 0);
    assert_eq!((ask("GET", "/y"), origin.requests(), shield.requests()), (303, 1, 2));
    assert_eq!(ask("OPTIONS", "/form"), 200);
    assert!(asked.try_recv().is_err(), "that has changed nothing");
}
