//! Another configuration comes into force while the edge runs: requests, connections and what is stored
//! stay.

use crate::kit::operator::json_of;
use crate::kit::tls::Authority;
use crate::kit::{Brim, Client, Gate, Http2Client, NOBODY, OK, Origin, get, ok_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::thread;

const GOOD: &str = "brim_reloads_total{result=\"good\"}";
const BAD: &str = "brim_reloads_total{result=\"bad\"}";

/// One origin and these sites, after more lines of `[server]`.
fn text(server: &str, origin: &Origin, sites: &str) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{server}\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n{sites}\n",
        origin.address()
    )
}

fn site(host: &str, lines: &str) -> String {
    format!("[[site]]\nhosts = ['{host}']\norigin = 'o'\n{lines}\n")
}

fn get_of(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn cacheable() -> Origin {
    Origin::answering(ok_with("Cache-Control: max-age=600\r\n", "x"))
}

#[test]
fn a_new_site_answers_and_one_that_is_gone_does_not_on_connections_that_stay() {
    let origin = cacheable();
    let brim = Brim::configured(&text("", &origin, &site("a.test", "")));
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get_of("a.test", "/")).status, 200);
    assert_eq!(client.ask(get_of("b.test", "/")).status, 421);

    let both = [site("b.test", ""), site("a.test", "")].concat();
    let told = brim.reloaded(&text("", &origin, &both));
    assert_eq!(told["changed"][0]["key"], "site[b.test]");
    assert_eq!((&told["changed"][0]["old"], &told["needs_restart"]), (&Value::Null, &json!([])));
    assert_eq!(client.ask(get_of("b.test", "/")).status, 200);
    let hit = client.ask(get_of("a.test", "/"));
    assert!(hit.told().starts_with("brim; hit"), "{}", hit.head);

    brim.reloaded(&text("", &origin, &site("b.test", "")));
    assert_eq!(client.ask(get_of("a.test", "/")).status, 421);
    let hit = client.ask(get_of("b.test", "/"));
    assert!(hit.told().starts_with("brim; hit"), "{}", hit.head);
    // What is stored of a site outlives it.
    brim.reloaded(&text("", &origin, &both));
    let hit = client.ask(get_of("a.test", "/"));
    assert!(hit.told().starts_with("brim; hit"), "{}", hit.head);
    assert_eq!((brim.metric(GOOD), brim.metric(BAD), origin.requests()), (3, 0, 2));
}

#[test]
fn a_changed_rule_applies_to_the_next_request_of_a_connection() {
    let origin = cacheable();
    let with = |rule: &str| {
        let site = site("a.test", &format!("[[site.rule]]\npath = '/*'\n{rule}"));
        let http2 = "http = [{ address = '127.0.0.1:0', h2c = true }]";
        text("", &origin, &site).replace("http = ['127.0.0.1:0']", http2)
    };
    let brim = Brim::configured(&with("cache = true"));
    let mut client = Client::connect(brim.address());
    let http2 = Http2Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).status, 200);
    assert_eq!(http2.get("/").told(), "brim; hit");
    let told = brim.reloaded(&with("cache = false"));
    let change = json!([{
        "key": "site[a.test].rule[/*].cache", "old": true, "new": false, "needs_restart": false
    }]);
    assert_eq!(told["changed"], change);
    let passed = client.ask(get("/"));
    assert!(passed.told().contains("fwd=bypass"), "{}", passed.head);
    assert!(http2.get("/").told().contains("fwd=bypass"));
    let line = brim.error_log("site[a.test].rule[/*].cache");
    assert!(line.contains("old=true new=false"), "{line}");
    brim.reloaded(&with("cache = true"));
    assert_eq!(http2.get("/").told(), "brim; hit");
    // Terms are fixed when something is stored.
    brim.reloaded(&with("ttl = '1s'"));
    assert!(client.ask(get("/")).told().starts_with("brim; hit"));
}

#[test]
fn a_bad_file_changes_nothing_and_everything_wrong_with_it_is_told() {
    let origin = cacheable();
    let good = text("", &origin, &site("a.test", ""));
    let brim = Brim::configured(&good);
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    let bad = good.replace("[server]\n", "[server]\nthread = 2\n").replace("'o'\n", "'p'\n")
        + "[[site]]\nhosts = ['a.test']\norigin = 'missing'\n[server.limits]\nidle_timeout = 3\n";
    let answer = brim.reload(&bad);
    assert_eq!(answer.status, 422);
    let told = json_of(&answer);
    let keys: Vec<_> =
        told["errors"].as_array().expect("a list").iter().map(|error| &error["key"]).collect();
    for key in ["server.thread", "site[1].origin", "site[1].hosts[0]", "server.limits.idle_timeout"]
    {
        assert!(keys.contains(&&json!(key)), "{key}: {told:#}");
        let problem = told["errors"].as_array().expect("a list");
        let problem = problem.iter().find(|error| error["key"] == key).expect("found");
        let (file, line) = (problem["file"].as_str(), problem["line"].as_u64());
        let line = format!("{}:{}: {key}: ", file.expect("a name"), line.expect("a number"));
        brim.error_log(&line);
    }
    assert!(told["error"].as_str().expect("a sentence").contains("edge.toml is not good"));
    let hit = client.ask(get("/"));
    assert!(hit.told().starts_with("brim; hit"), "{}", hit.head);

    fs::remove_file(brim.folder().join("edge.toml")).expect("removed");
    let answer = brim.operator().ask("POST", "/reload", "");
    assert_eq!(answer.status, 422);
    let why = json_of(&answer)["error"].as_str().expect("a sentence").to_owned();
    assert!(why.contains("edge.toml cannot be read: "), "{why}");
    assert_eq!((brim.metric(GOOD), brim.metric(BAD)), (0, 2));
    let told = brim.reloaded(&good);
    assert_eq!(told, json!({"changed": [], "needs_restart": [], "warnings": []}));
    assert_eq!(brim.metric(GOOD), 1);
    brim.error_log("nothing has changed");
}

#[test]
fn only_who_has_the_token_may_have_it_read_again() {
    let brim = Brim::in_front_of(Origin::ok().address());
    assert_eq!(brim.operator_with("wrong").ask("POST", "/reload", "").status, 401);
    let get = brim.operator().ask("GET", "/reload", "");
    assert_eq!((get.status, get.field("allow")), (405, Some("POST")));
    assert_eq!(brim.operator().ask("POST", "/reload?now=1", "").status, 400);
    assert_eq!(brim.metric(GOOD), 0);
}

#[test]
fn what_needs_a_restart_is_named_and_stays_and_the_rest_is_applied() {
    let origin = cacheable();
    let brim = Brim::configured(&text("", &origin, &site("a.test", "")));
    let lines = "threads = 3\nadmin_token_file = 'b'\n[server.limits]\nhead_fields = 3\n";
    let changed = text(lines, &origin, &site("a.test", ""))
        .replace("['127.0.0.1:0']", &format!("['127.0.0.1:0', '{NOBODY}']"))
        + "[cache.memory]\nsize = '1MiB'\n[cache.disk]\npath = 'd'\nsize = '1GiB'\n";
    let needed = json!([
        "server.http",
        "server.admin_token_file",
        "server.threads",
        "cache.memory.size",
        "cache.disk"
    ]);
    let told = brim.reloaded(&changed);
    assert_eq!(told["needs_restart"], needed);
    let marked = |key: &str| {
        let changes = told["changed"].as_array().expect("a list");
        let change = changes.iter().find(|change| change["key"] == key);
        change.unwrap_or_else(|| panic!("{key}: {told:#}"))["needs_restart"].clone()
    };
    for key in ["server.http", "server.threads", "cache.memory.size", "cache.disk.path"] {
        assert_eq!(marked(key), true, "{key}");
    }
    assert_eq!(marked("server.limits.head_fields"), false);
    let line = brim.error_log("needs a restart");
    assert!(line.contains("WARN") && line.contains("server.http"), "{line}");
    let many = "A: 1\r\nB: 2\r\nC: 3\r\n";
    let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{many}\r\n");
    assert_eq!(Client::connect(brim.address()).ask(request).status, 431);
    assert!(!brim.folder().join("d").exists());
    // They are still not what the file says.
    let again = brim.reloaded(&changed);
    assert_eq!((&again["changed"], &again["needs_restart"]), (&json!([]), &needed));
}

#[test]
fn sighup_reads_the_file_again_and_ends_nothing() {
    let origin = cacheable();
    let mut brim = Brim::configured(&text("", &origin, &site("a.test", "")));
    brim.error_log("admin listener");
    brim.rewrite(&text("", &origin, &site("b.test", "")));
    brim.signal(Signal::HUP);
    brim.wait_for_metric(GOOD, 1);
    assert_eq!(Client::connect(brim.address()).ask(get_of("b.test", "/")).status, 200);
    brim.rewrite("[server]\nnothing good");
    brim.signal(Signal::HUP);
    brim.wait_for_metric(BAD, 1);
    assert_eq!(Client::connect(brim.address()).ask(get_of("b.test", "/")).status, 200);
    assert!(brim.error_log("SIGHUP").contains("another configuration is in force"));
    assert!(brim.is_running());
}

#[test]
fn a_terminal_that_is_closed_ends_what_has_no_file_to_read_again() {
    for mut brim in [Brim::demo(&[]), Brim::demo(&["--origin-only"]), Brim::dev(NOBODY, &[])] {
        assert!(brim.address().port() > 0 && brim.is_running());
        brim.signal(Signal::HUP);
        assert_eq!(brim.wait().signal(), Some(Signal::HUP.as_raw()));
    }
}

#[test]
fn a_file_that_changes_is_applied_where_that_is_wished_for() {
    let origin = cacheable();
    let wished = |host: &str| text("reload_on_change = true", &origin, &site(host, ""));
    let brim = Brim::configured(&wished("a.test"));
    brim.rewrite(&wished("b.test"));
    brim.wait_for_metric(GOOD, 1);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get_of("b.test", "/")).status, 200);
    brim.rewrite("[server]\nnothing good");
    brim.wait_for_metric(BAD, 1);

    // As Kubernetes does it: the folder behind a link is another one.
    let (folder, file) = (brim.folder(), brim.folder().join("edge.toml"));
    for version in ["1", "2"] {
        fs::create_dir(folder.join(version)).expect("made");
        let text = wished(&format!("v{version}.test"));
        let text = text.replacen("[server]\n", "[server]\nadmin = '127.0.0.1:0'\n", 1);
        fs::write(folder.join(version).join("edge.toml"), text).expect("written");
    }
    symlink("1", folder.join("..data")).expect("linked");
    fs::remove_file(&file).expect("removed");
    symlink("..data/edge.toml", &file).expect("linked");
    brim.wait_for_metric(GOOD, 2);
    assert_eq!(client.ask(get_of("v1.test", "/")).status, 200);
    symlink("2", folder.join("next")).expect("linked");
    fs::rename(folder.join("next"), folder.join("..data")).expect("swapped");
    brim.wait_for_metric(GOOD, 3);
    assert_eq!(client.ask(get_of("v2.test", "/")).status, 200);
    // What is asked for is not applied once more because the file has changed.
    brim.reloaded(&wished("c.test"));
    assert_eq!(brim.metric(GOOD), 4);
}

#[test]
fn those_who_ask_at_one_time_are_served_one_after_the_other() {
    let origin = cacheable();
    let brim = Brim::configured(&text("", &origin, &site("a.test", "")));
    brim.rewrite(&text("", &origin, &site("b.test", "")));
    let operator = brim.operator();
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let operator = operator.clone();
            thread::spawn(move || json_of(&operator.ask("POST", "/reload", "")))
        })
        .collect();
    let told: Vec<Value> = asked.into_iter().map(|asked| asked.join().expect("told")).collect();
    let with_changes = told.iter().filter(|told| told["changed"] != json!([])).count();
    assert_eq!((with_changes, brim.metric(GOOD)), (1, 8), "{told:#?}");
}

#[test]
fn levels_of_the_log_and_limits_change_too() {
    let origin = Origin::ok();
    let with = |level: &str, limits: &str| {
        text(&format!("[server.limits]\n{limits}"), &origin, &site("a.test", ""))
            + &format!("[log]\nlevel = '{level}'\n")
    };
    let brim = Brim::configured(&with("info", "connections = 2"));
    let mut held = [Client::connect(brim.address()), Client::connect(brim.address())];
    held.iter_mut().for_each(|client| assert_eq!(client.ask(get("/")).status, 200));
    assert_eq!(Client::connect(brim.address()).answer().status, 503);
    brim.reloaded(&with("debug", "connections = 3"));
    let mut third = Client::connect(brim.address());
    assert_eq!(third.ask(get("/")).status, 200);
    brim.reloaded(&with("warn", "connections = 1"));
    let told = brim.error_log_count("changed");
    brim.reloaded(&with("warn", "connections = 2"));
    brim.reloaded(&with("info", "connections = 1"));
    drop((held, third));
    brim.wait_until("brim_connections", |open| open == 0);
    let mut only = Client::connect(brim.address());
    assert_eq!(only.ask(get("/")).status, 200);
    assert_eq!(Client::connect(brim.address()).answer().status, 503);
    // Nothing at `info` came in between but what was told when it was back.
    brim.error_log("connections\" old=2 new=1");
    assert!(brim.error_log_count("connections\" old=1 new=2") == 0, "{told}");
}

#[test]
fn certificates_come_and_go_and_are_read_again() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let [a, b, new] = ["a.test", "b.test", "a.test"].map(|name| authority.issue(&[name]));
    let lines_a = a.write(folder.path(), "a");
    let origin = Origin::ok();
    let with = |certificates: &str| {
        format!(
            "[server]\nhttp = ['127.0.0.1:0']\nhttps = ['127.0.0.1:0']\n{certificates}\n\
             [[origin]]\nname = 'o'\nservers = ['http://{}']\n\
             [[site]]\nhosts = ['*']\norigin = 'o'\n",
            origin.address()
        )
    };
    let brim = Brim::configured(&with(&lines_a));
    let clients = crate::kit::tls::TlsClients::trusting_anybody();
    let shown = |name: &str| clients.shown(brim.https(), name);
    assert_eq!([shown("a.test"), shown("b.test")], [a.der.clone(), a.der.clone()]);
    let lines_b = b.write(folder.path(), "b");
    brim.reloaded(&with(&(lines_a.clone() + &lines_b)));
    assert_eq!([shown("a.test"), shown("b.test")], [a.der.clone(), b.der.clone()]);
    // The file is the same; what it names is not.
    new.write(folder.path(), "a");
    brim.signal(Signal::HUP);
    brim.wait_for_metric(GOOD, 2);
    assert_eq!(shown("a.test"), new.der);
    brim.reloaded(&with(&lines_b));
    assert_eq!(shown("a.test"), b.der);
    let metrics = Client::connect(brim.admin()).ask(get("/metrics")).text();
    let told = metrics.lines().filter(|line| line.starts_with("brim_certificate_expires_in"));
    assert_eq!(told.count(), 1, "{metrics}");
    // Half a pair is no configuration.
    fs::write(b.files(folder.path(), "b").1, "nothing").expect("written");
    let answer = brim.operator().ask("POST", "/reload", "");
    assert_eq!((answer.status, shown("b.test")), (422, b.der.clone()));
    assert_eq!(json_of(&answer)["errors"][0]["key"], "certificate[0].key");
}

#[test]
fn what_a_client_has_of_a_site_is_not_forgotten_nor_taken_for_another_sites() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("GET /held ") {
                opened.wait_for(1);
            }
            peer.send(OK);
        }
    });
    let limited = |host: &&str| site(host, "[site.limits]\nrequests_per_client = 1\n");
    let sites = |hosts: &[&str]| hosts.iter().map(limited).collect::<String>();
    let brim = Brim::configured(&text("", &origin, &sites(&["a.test", "b.test"])));
    let mut waits = Client::connect(brim.address());
    waits.send(get_of("a.test", "/held"));
    origin.wait_for_requests(1);
    brim.reloaded(&text("", &origin, &sites(&["new.test", "b.test", "a.test"])));
    let mut client = Client::connect(brim.address());
    for (host, status) in [("a.test", 429), ("new.test", 200), ("b.test", 200)] {
        assert_eq!(client.ask(get_of(host, "/")).status, status, "{host}");
    }
    gate.add_one();
    assert_eq!(waits.answer().status, 200);
}
