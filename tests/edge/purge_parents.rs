//! A purge goes to the parents before the edge drops its own copy.

use crate::kit::operator::{json_of, request};
use crate::kit::{Brim, Client, Gate, Origin, Tiers, get_with, parents};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What became of a purge at the only parent.
#[track_caller]
fn of_parent(receipt: &Value) -> &Value {
    let parents = receipt["parents"].as_array().expect("parents");
    assert_eq!(parents.len(), 1, "{receipt}");
    &parents[0]
}

fn newest(operator: &crate::kit::Operator) -> Value {
    operator.get("/purges?limit=1")["purges"][0].clone()
}

#[test]
fn whatever_is_named_is_purged_on_the_parent_too() {
    let tiers = Tiers::new();
    let url = "http://a.test/x?q=1";
    for wish in [
        json!({ "urls": [url] }),
        json!({ "urls": ["http://a.test/x"], "all_queries": true }),
        json!({ "prefixes": ["http://a.test/x"] }),
        json!({ "hosts": ["a.test"] }),
        json!({ "all": true }),
        json!({ "urls": [url], "soft": true }),
        json!({ "hosts": ["a.test"], "soft": true, "wait": true }),
        json!({ "tags": ["t"], "urls": [url] }),
    ] {
        let old = tiers.get("/x?q=1");
        let asked = tiers.origin.requests();
        let new = tiers.change();
        assert_eq!(tiers.get("/x?q=1"), old, "nobody has purged");
        let receipt = tiers.operator().purge(&wish);
        let told = of_parent(&receipt);
        let theirs = newest(&tiers.parent.operator());
        assert_eq!(told["url"], format!("http://{}", tiers.parent.admin()));
        assert_eq!((&told["state"], &told["id"]), (&json!("purged"), &theirs["id"]), "{wish}");
        // What two items of one purge are about is not counted.
        let counted = usize::from(wish.get("tags").is_none());
        assert_eq!(told["objects"], counted, "{wish}: {theirs}");
        assert_eq!(theirs["soft"], wish.get("soft").is_some(), "{wish}");
        assert_eq!(tiers.get("/x?q=1"), new, "{wish}");
        assert_eq!(tiers.origin.requests(), asked + 1, "{wish}: one fill, through the parent");
    }
    assert_eq!(tiers.edge.metric("brim_parent_purges_total{result=\"purged\"}"), 8);
    assert_eq!(tiers.edge.metric("brim_parent_purges_total{result=\"pending\"}"), 0);
}

#[test]
fn a_tag_reaches_every_parent_whatever_its_sites_are() {
    let tiers = Tiers::new();
    tiers.get("/x");
    let receipt = tiers.operator().purge(&json!({ "tags": ["t"] }));
    assert_eq!(of_parent(&receipt)["objects"], 1, "{receipt}");
    assert_eq!(newest(&tiers.parent.operator())["items"], json!(["tag t"]));
}

#[test]
fn a_front_door_purge_is_the_same_purge_on_the_parent() {
    let tiers = Tiers::with("", "[site.purge]\nnetworks = ['127.0.0.0/8']");
    for (method, lines, item) in [
        ("PURGE", "", "url http://a.test/x?q=1"),
        ("PURGE", "Soft-Purge: 1\r\n", "url http://a.test/x?q=1"),
        ("BAN", "", "prefix http://a.test/x?q=1"),
    ] {
        tiers.get("/x?q=1");
        let new = tiers.change();
        let purge = get_with("/x?q=1", lines).replacen("GET", method, 1);
        let answer = Client::connect(tiers.edge.address()).ask(purge);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let receipt = json_of(&answer);
        assert_eq!(of_parent(&receipt)["state"], "purged");
        let theirs = newest(&tiers.parent.operator());
        assert_eq!((&theirs["items"], &theirs["objects"]), (&json!([item]), &json!(1)));
        assert_eq!(theirs["soft"], !lines.is_empty());
        assert_eq!(tiers.get("/x?q=1"), new, "{method}");
    }
    let tags = get_with("/", "Surrogate-Key: t\r\n").replacen("GET", "PURGE", 1);
    let receipt = json_of(&Client::connect(tiers.edge.address()).ask(tags));
    assert_eq!(of_parent(&receipt)["objects"], 1, "{receipt}");
}

#[test]
fn nobody_is_given_what_was_purged_however_many_ask() {
    const PATHS: usize = 4;
    let tiers = Tiers::new();
    let purged: [AtomicUsize; PATHS] = std::array::from_fn(|_| AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (edge, purged, is_over) = (tiers.edge.address(), &purged, &is_over);
            scope.spawn(move || {
                let mut path = client % PATHS;
                while !is_over.load(Ordering::SeqCst) {
                    let at_least = purged[path].load(Ordering::SeqCst);
                    let given = parents::version_of(edge, &format!("/{path}"));
                    if given < at_least {
                        is_over.store(true, Ordering::SeqCst);
                        panic!("/{path}: {given} is older than {at_least}");
                    }
                    path = (path + 1) % PATHS;
                }
            });
        }
        for round in 0..80 {
            let path = round % PATHS;
            let new = tiers.change();
            let wish = match round % 3 {
                0 => json!({ "urls": [format!("http://a.test/{path}")] }),
                1 => json!({ "prefixes": [format!("http://a.test/{path}")] }),
                _ => json!({ "hosts": ["a.test"] }),
            };
            let answer = tiers.operator().ask("POST", "/purge", &wish.to_string());
            purged[path].store(new, Ordering::SeqCst);
            if answer.status != 200 || is_over.load(Ordering::SeqCst) {
                is_over.store(true, Ordering::SeqCst);
                panic!("{}", answer.text());
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_parent_is_told_only_of_sites_that_it_may_have() {
    let tiers = Tiers::new();
    let both = json!({ "urls": ["http://a.test/x", "http://c.test/x"], "hosts": ["c.test"] });
    let receipt = tiers.operator().purge(&both);
    assert_eq!(receipt["kinds"]["urls"], 2);
    assert_eq!(of_parent(&receipt)["state"], "purged");
    assert_eq!(newest(&tiers.parent.operator())["items"], json!(["url http://a.test/x"]));
    let other = tiers.operator().purge(&json!({ "prefixes": ["http://c.test/"] }));
    assert_eq!(other.get("parents"), None, "{other}");
    assert_eq!(tiers.parent.operator().get("/purges")["purges"].as_array().expect("all").len(), 1);
}

#[test]
fn a_dry_run_asks_no_parent_and_says_so() {
    let tiers = Tiers::new();
    tiers.get("/x");
    let asked = json!({ "urls": ["http://a.test/x"], "dry_run": true });
    let preview = tiers.operator().purge(&asked);
    assert_eq!((&preview["objects"], &preview["parents"]), (&json!(1), &json!("not asked")));
    let elsewhere = json!({ "urls": ["http://c.test/x"], "dry_run": true });
    assert_eq!(tiers.operator().purge(&elsewhere).get("parents"), None);
    assert_eq!(tiers.parent.operator().get("/purges")["purges"], json!([]));
}

/// What a parent that answers like that makes of a purge, and whether it is asked for fills.
#[track_caller]
fn refused(answer: &str) -> (String, Brim) {
    let answer = answer.to_owned();
    let door = Origin::serving(move |_, _| answer.clone());
    let (origin, shield) = (Origin::ok(), Origin::ok());
    let doors = format!("http://{}", door.address());
    let edge = parents::edge_of(origin.address(), shield.address(), &doors, ["", "", ""]);
    let answer = edge.operator().ask("POST", "/purge", "{\"hosts\":[\"a.test\"]}");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let receipt = json_of(&answer);
    let told = of_parent(&receipt);
    assert_eq!((&told["state"], told.get("objects")), (&json!("pending"), None), "{receipt}");
    assert_eq!(Client::connect(edge.address()).ask(crate::kit::get("/x")).status, 200);
    assert_eq!((origin.requests(), shield.requests()), (1, 0), "who was asked");
    let head = door.heads()[0].to_ascii_lowercase();
    assert!(head.starts_with("post /purge http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {}\r\n", edge.token())), "{head}");
    assert!(head.contains("brim-purge-hops: 1\r\n"), "{head}");
    (told["error"].as_str().expect("an error").to_owned(), edge)
}

#[test]
fn a_parent_that_does_not_acknowledge_is_not_asked() {
    let json = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let error = "{\"error\":\"the operator's token is needed\"}";
    for (answer, told, level) in [
        (
            json("401 Unauthorized", error),
            "it answers with 401: the operator's token is needed",
            "ERROR",
        ),
        (json("404 Not Found", "nothing"), "it answers with 404", "ERROR"),
        (
            json("202 Accepted", "{\"id\":\"1\",\"objects\":0,\"bytes\":0}"),
            "parents of its own have not acknowledged",
            "WARN",
        ),
        (json("200 OK", "hello"), "it does not answer as an edge does", "WARN"),
        (
            json("503 Service Unavailable", "{\"error\":\"not durable\"}"),
            "it answers with 503: not durable",
            "WARN",
        ),
        ("SSH-2.0\r\n\r\n".to_owned(), "it does not begin with HTTP/1.", "WARN"),
    ] {
        let (error, edge) = refused(&answer);
        assert_eq!(error, told);
        let line = edge.error_log(told);
        assert!(line.contains(level), "{line}");
        assert_eq!(edge.metric("brim_parent_purges_pending"), 1);
    }
}

#[test]
fn a_wrong_token_is_told_and_keeps_the_parent_out() {
    let origin = Origin::ok();
    let parent = parents::parent_of(origin.address());
    let doors = format!("http://{}", parent.admin());
    let edge = parents::edge_of(origin.address(), parent.address(), &doors, ["", "", ""]);
    let answer = edge.operator().ask("POST", "/purge", "{\"all\":true}");
    assert_eq!(answer.status, 202, "{}", answer.text());
    let receipt = json_of(&answer);
    let error = of_parent(&receipt)["error"].as_str().expect("an error");
    assert!(error.starts_with("it answers with 401: the operator's token is needed"), "{error}");
}

/// Two Brims whose parent is the other one.
fn two_parents_of_each_other(origin: &Origin) -> (Brim, Brim) {
    let first = parents::parent_of(origin.address());
    let token = parents::token_of(&first);
    let doors = format!("http://{}", first.admin());
    let second = parents::edge_of(origin.address(), first.address(), &doors, [&token, "", ""]);
    let path = first.folder().join("edge.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let back = format!(
        "parent = 's'\n[[origin]]\nname = 's'\nservers = ['http://{}']\nadmin = ['http://{}']\n\
         [[site]]",
        second.address(),
        second.admin()
    );
    std::fs::write(&path, text.replacen("[[site]]", &back, 1)).expect("written");
    (first.again_after(rustix::process::Signal::TERM), second)
}

#[test]
fn parents_that_name_each_other_purge_once() {
    let origin = Origin::ok();
    let (first, second) = two_parents_of_each_other(&origin);
    let operator = second.operator_with(&first.token());
    let receipt = operator.purge(&json!({ "all": true }));
    assert_eq!(of_parent(&receipt)["state"], "purged");
    for brim in [&first, &second] {
        assert_eq!(brim.metric("brim_parent_purges_total{result=\"purged\"}"), 1);
        assert_eq!(brim.metric("brim_parent_purges_pending"), 0);
    }
    let purges = operator.get("/purges");
    assert_eq!(purges["purges"].as_array().map(Vec::len), Some(2), "it came back: {purges}");

    let authorization = format!("Bearer {}", first.token());
    let ask = |lines: &str| {
        let purge = request("POST", "/purge", &authorization, "{\"all\":true}");
        let purge = purge.replacen("\r\n", &format!("\r\n{lines}\r\n"), 1);
        Client::connect(first.admin()).ask(purge)
    };
    for (lines, status) in [
        ("Brim-Purge-Hops: 8", 202),
        ("Brim-Purge-Hops: 9", 508),
        ("Brim-Purge-Hops: x", 508),
        ("Brim-Purge-Way: of nobody", 508),
    ] {
        assert_eq!(ask(lines).status, status, "{lines}");
    }
}

#[test]
fn a_purge_that_comes_by_two_ways_goes_on_once() {
    let tiers = Tiers::new();
    let ask = |way: &str, wish: &str| {
        let purge = request("POST", "/purge", &format!("Bearer {}", tiers.token), wish);
        let line = format!("\r\nBrim-Purge-Hops: 2\r\nBrim-Purge-Way: {way}\r\n");
        let purge = purge.replacen("\r\n", &line, 1);
        json_of(&Client::connect(tiers.edge.admin()).ask(purge))
    };
    let (one, other) =
        ("00000000000000aa-1, 00000000000000bb", "00000000000000aa-1, 00000000000000cc");
    let first = ask(one, "{\"tags\":[\"t\"]}");
    assert_eq!(of_parent(&first)["state"], "purged");
    tiers.get("/x");
    let second = ask(other, "{\"tags\":[\"t\"]}");
    assert_eq!((second.get("parents"), &second["objects"]), (None, &json!(1)), "{second}");
    let more = ask(other, "{\"tags\":[\"t\",\"u\"]}");
    assert_eq!(of_parent(&more)["state"], "purged", "it names more");
    let newer = ask("00000000000000aa-2", "{\"tags\":[\"t\"]}");
    assert_eq!(of_parent(&newer)["state"], "purged", "it is another one");
}

#[test]
fn nothing_comes_from_a_parent_that_is_asked_for_a_purge_that_came_again() {
    // The parent says that it has purged when it is told to.
    let (asked, go) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    let (asked_by, go_on) = (asked.0, std::sync::Mutex::new(go.1));
    let door = Origin::serving(move |_, _| {
        asked_by.send(()).expect("somebody waits");
        go_on.lock().expect("one at a time").recv().expect("a sign");
        let body = "{\"id\":\"1\",\"objects\":0,\"bytes\":0}";
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let (origin, shield) = (Origin::ok(), Origin::ok());
    let doors = format!("http://{}", door.address());
    let edge = parents::edge_of(origin.address(), shield.address(), &doors, ["", "", ""]);
    let (admin, authorization) = (edge.admin(), format!("Bearer {}", edge.token()));
    let ask = move || {
        let purge = request("POST", "/purge", &authorization, "{\"hosts\":[\"a.test\"]}");
        let line = "\r\nBrim-Purge-Way: 00000000000000aa-1\r\n";
        Client::connect(admin).ask(purge.replacen("\r\n", line, 1)).status
    };
    let first = std::thread::spawn(ask.clone());
    asked.1.recv().expect("the parent is asked");
    assert_eq!(ask(), 200, "nobody waits for the first");
    let get = |path: &str| Client::connect(edge.address()).ask(crate::kit::get(path)).status;
    assert_eq!((get("/x"), origin.requests(), shield.requests()), (200, 1, 0));
    go.0.send(()).expect("it waits");
    assert_eq!(first.join().expect("a status"), 200);
    assert_eq!((get("/y"), origin.requests(), shield.requests()), (200, 1, 1));
}

#[test]
fn a_tag_that_json_cannot_name_is_everything_to_parents() {
    let tiers = Tiers::with("", "[site.purge]\nnetworks = ['127.0.0.0/8']");
    for tag in [&b"caf\xe9"[..], &[0xff; 600]] {
        tiers.get("/x");
        let purge =
            [b"PURGE / HTTP/1.1\r\nHost: a.test\r\nSurrogate-Key: ", tag, b"\r\n\r\n"].concat();
        let receipt = json_of(&Client::connect(tiers.edge.address()).ask(purge));
        assert_eq!(of_parent(&receipt)["state"], "purged", "{receipt}");
        assert_eq!(newest(&tiers.parent.operator())["items"], json!(["all"]));
    }
}

#[test]
fn a_purge_that_a_parent_does_not_understand_has_it_forget_everything() {
    let acknowledged = Gate::default();
    let until = acknowledged.clone();
    let door = Origin::serving(move |head, count| {
        assert!(head.starts_with("POST /purge "), "{head}");
        let (status, body) = match count {
            0 => ("400 Bad Request", "{\"error\":\"no site\"}"),
            _ => {
                // Sooner, and the edge might have nothing left to tell of.
                until.wait_for(1);
                ("200 OK", "{\"id\":\"7\",\"objects\":3,\"bytes\":4}")
            }
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let (origin, shield) = (Origin::ok(), Origin::ok());
    let doors = format!("http://{}", door.address());
    let edge = parents::edge_of(origin.address(), shield.address(), &doors, ["", "", ""]);
    let answer = edge.operator().ask("POST", "/purge", "{\"hosts\":[\"a.test\"],\"soft\":true}");
    assert_eq!(answer.status, 202, "{}", answer.text());
    acknowledged.add_one();
    edge.wait_until("brim_parent_purges_pending", |pending| pending == 0);
    edge.error_log("it is to forget everything");
    assert_eq!(of_parent(&newest(&edge.operator()))["id"], "7");
    assert_eq!(Client::connect(edge.address()).ask(crate::kit::get("/x")).status, 200);
    assert_eq!(shield.requests(), 1);
    let heads = door.heads();
    let is_all = |head: &String| head.to_ascii_lowercase().contains("content-length: 12\r\n");
    assert!(!is_all(&heads[0]), "{heads:#?}");
    // Twice, if the first answer to it came later than the edge waits for it.
    assert!(heads.len() > 1 && heads[1..].iter().all(is_all), "{{\"all\":true}} has twelve bytes");
}

#[test]
fn everything_pays_for_what_a_parent_has_refused_before() {
    let door = Origin::serving(|_, count| {
        let (status, body) = match count {
            0 => ("404 Not Found", "{}"),
            _ => ("200 OK", "{\"id\":\"7\",\"objects\":3,\"bytes\":4}"),
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    });
    let (origin, shield) = (Origin::ok(), Origin::ok());
    let doors = format!("http://{}", door.address());
    let edge = parents::edge_of(origin.address(), shield.address(), &doors, ["", "", ""]);
    let operator = edge.operator();
    let refused = operator.ask("POST", "/purge", "{\"hosts\":[\"a.test\"]}");
    let id = json_of(&refused)["id"].as_str().expect("an id").to_owned();
    assert_eq!(of_parent(&operator.purge(&json!({ "all": true })))["state"], "purged");
    assert_eq!(of_parent(&operator.get(&format!("/purges/{id}")))["state"], "purged");
    assert_eq!(edge.metric("brim_parent_purges_pending"), 0);
}

#[test]
fn a_parent_without_a_place_is_asked_again_at_once() {
    let times = AtomicUsize::new(0);
    let door = Origin::start(move |peer| {
        if times.fetch_add(1, Ordering::SeqCst) < 3 {
            return;
        }
        let head = peer.head().expect("a purge");
        peer.body_of(&head);
        let body = "{\"id\":\"7\",\"objects\":3,\"bytes\":4}";
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    let (origin, shield) = (Origin::ok(), Origin::ok());
    let doors = format!("http://{}", door.address());
    let edge = parents::edge_of(origin.address(), shield.address(), &doors, ["", "", ""]);
    let receipt = edge.operator().purge(&json!({ "hosts": ["a.test"] }));
    assert_eq!((&of_parent(&receipt)["state"], door.connections()), (&json!("purged"), 4));
    assert_eq!(edge.metric("brim_parent_purges_total{result=\"pending\"}"), 0);
}

#[test]
fn no_client_can_tell_origins_of_a_purge() {
    let origin = Origin::ok();
    let edge = parents::parent_of(origin.address());
    let lines = "Brim-Purge-Hops: 1\r\nBrim_Purge_Way: a-1\r\n";
    assert_eq!(Client::connect(edge.address()).ask(get_with("/x", lines)).status, 200);
    let head = origin.only_head().to_ascii_lowercase();
    assert!(!head.contains("purge"), "{head}");
}
