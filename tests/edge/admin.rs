//! The operator's listener: health, readiness, metrics.

use crate::kit::operator::{json_of, request};
use crate::kit::parents::edge_of;
use crate::kit::{Brim, Client, Command, NOBODY, Origin, Response, get};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

/// The answer to a GET, on a connection of its own.
fn ask(brim: &Brim, path: &str) -> Response {
    Client::connect(brim.admin()).ask(get(path))
}

/// Every sample of the metrics by its series as it is written.
fn samples(brim: &Brim) -> BTreeMap<String, f64> {
    let answer = ask(brim, "/metrics");
    let content_type = answer.field("content-type");
    assert_eq!(
        (answer.status, content_type),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    parse_exposition(&answer.text())
}

/// Reads the text format 0.0.4, and takes nothing that it does not have to.
fn parse_exposition(text: &str) -> BTreeMap<String, f64> {
    let (mut help, mut types) = (BTreeSet::new(), BTreeMap::new());
    let mut samples = BTreeMap::new();
    assert!(text.ends_with('\n'), "the last line has no end");
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
            let (keyword, name, rest) = (word(), word(), word());
            let is_first = match (keyword, rest) {
                ("HELP", _) => help.insert(name),
                ("TYPE", "counter" | "gauge" | "histogram") => types.insert(name, rest).is_none(),
                _ => panic!("{line}"),
            };
            assert!(is_first, "twice: {line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        let name = series.split('{').next().expect("a first part");
        if series.len() > name.len() {
            check_labels(&series[name.len()..]);
        }
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|family| types.get(family) == Some(&"histogram"))
            .unwrap_or(name);
        assert!(types.contains_key(family) && help.contains(family), "unannounced: {line}");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
    }
    assert!(help.iter().eq(types.keys()), "{help:?} {types:?}");
    samples
}

/// `{name="value",...}` and nothing else.
fn check_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').expect("a brace");
    loop {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{labels}"));
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(!name.is_empty() && name.chars().all(is_name), "{labels}");
        let mut is_escaped = false;
        let end = value.find(|c| {
            let is_end = c == '"' && !is_escaped;
            assert!(!is_escaped || matches!(c, '"' | '\\' | 'n'), "{labels}");
            is_escaped = c == '\\' && !is_escaped;
            is_end
        });
        rest = &value[end.unwrap_or_else(|| panic!("{labels}")) + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => return assert_eq!(rest, "}", "{labels}"),
        }
    }
}

#[test]
fn the_routes_answer_as_promised() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    // All on one connection, which outlives each answer.
    let mut client = Client::connect(brim.admin());
    for (path, body) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = client.ask(get(path));
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
    }
    for (path, status) in [("/healthz", 200), ("/metrics", 200), ("/nothing", 404)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: admin\r\n\r\n"));
        let answer = client.answer_without_body();
        assert_eq!((answer.status, answer.field("cache-control")), (status, Some("no-store")));
    }
    let unknown = client.ask(get("/metric"));
    assert_eq!((unknown.status, unknown.field("cache-control")), (404, Some("no-store")));
    for route in ["/healthz", "/readyz", "/metrics"] {
        assert!(unknown.text().contains(route), "{}", unknown.text());
        let post =
            client.ask(format!("POST {route} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((post.status, post.field("allow")), (405, Some("GET, HEAD")));
        assert_eq!(post.field("cache-control"), Some("no-store"));
    }
    assert_eq!(client.ask(get("/healthz?verbose")).status, 200);
    // None of it reached the edge or its origin.
    assert_eq!((origin.connections(), samples(&brim)["brim_request_seconds_count"]), (0, 0.0));
}

#[test]
fn what_cannot_be_read_whole_ends_its_connection() {
    let brim = Brim::in_front_of(Origin::ok().address());
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400),
        ("GET /healthz\r\n\r\n\r\n", 400),
        ("POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", 405),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 200),
    ] {
        let mut client = Client::connect(brim.admin());
        let answer = client.ask(request);
        assert_eq!((answer.status, answer.field("connection")), (status, Some("close")));
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{request}");
        client.is_closed();
    }
}

#[test]
fn readyz_tells_of_the_shutdown_while_a_request_is_drained() {
    let (origin, answer, was_asked) = Origin::waiting();
    let mut brim = Brim::in_front_of(origin.address());
    let mut operator = Client::connect(brim.admin());
    let mut idle = Client::connect(brim.address());
    let mut busy = Client::connect(brim.address());
    busy.send(get("/"));
    was_asked.recv().expect("asked");
    assert_eq!(operator.ask(get("/readyz")).status, 200);
    brim.signal(Signal::TERM);
    // Idle connections of the edge go when the shutdown has begun.
    idle.is_closed();
    // Connections of the operator stay, and new ones are taken.
    for client in [&mut operator, &mut Client::connect(brim.admin())] {
        let readiness = client.ask(get("/readyz"));
        assert_eq!((readiness.status, readiness.text().as_str()), (503, "shutting down\n"));
        assert_eq!(readiness.field("cache-control"), Some("no-store"));
        assert_eq!(client.ask(get("/healthz")).status, 200);
        assert_eq!(client.ask(get("/metrics")).status, 200);
    }
    answer.send(()).expect("the origin waits");
    assert_eq!(busy.answer().text(), "ok");
    drop(busy);
    // The operator's idle connection holds up nothing: the time-out is longer than our patience.
    assert_eq!(brim.wait().code(), Some(0));
    brim.error_log("all requests have finished");
    operator.is_closed();
}

#[test]
fn requests_are_counted_by_site_and_outcome_and_origins_by_status() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            match head.split(' ').nth(1) {
                Some("/cut") => return peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"),
                Some("/gone") => peer.send("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"),
                _ => peer.send(crate::kit::OK),
            }
        }
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n\
         [[origin]]\nname = 'good \"1\" \\'\nservers = ['http://{}']\n\
         [[origin]]\nname = 'dead'\nservers = ['http://{NOBODY}']\n\
         [[site]]\nhosts = ['a.test', 'www.a.test']\norigin = 'good \"1\" \\'\n\
         [[site]]\nhosts = ['*.b.test']\norigin = 'dead'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    let asked = |method: &str, path: &str, host: &str, more: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")
    };
    assert_eq!(client.ask(asked("GET", "/one", "a.test", "")).status, 200);
    assert_eq!(client.ask(asked("GET", "/gone", "www.a.test", "")).status, 410);
    let last_stop = asked("OPTIONS", "/options", "a.test", "Max-Forwards: 0\r\n");
    assert_eq!(client.ask(last_stop).status, 200);
    assert_eq!(client.ask(asked("GET", "/dead", "x.b.test", "")).status, 502);
    assert_eq!(client.ask(asked("GET", "/nowhere", "c.test", "")).status, 421);
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    client.is_closed();
    assert!(!Client::connect(brim.address()).ask(get("/cut")).is_whole);
    // A request whose line can be read has been counted.
    for text in ["/one", "/gone", "/options", "/dead", "/nowhere", "\"bad_request\"", "/cut"] {
        brim.access_log(text);
    }

    let samples = samples(&brim);
    let counted = |name: &str| -> Vec<(&str, f64)> {
        let of_family = samples.iter().filter_map(|(series, value)| {
            let labels = series.strip_prefix(name)?.strip_prefix('{')?.strip_suffix('}')?;
            Some((labels, *value))
        });
        of_family.filter(|(_, value)| *value != 0.0).collect()
    };
    assert_eq!(
        counted("brim_requests_total"),
        [
            ("outcome=\"edge\",site=\"a.test\"", 1.0),
            ("outcome=\"error\",site=\"*.b.test\"", 1.0),
            ("outcome=\"error\",site=\"a.test\"", 1.0),
            ("outcome=\"error\",site=\"none\"", 2.0),
            ("outcome=\"miss\",site=\"a.test\"", 2.0),
        ]
    );
    assert_eq!(
        counted("brim_origin_requests_total"),
        [
            ("origin=\"dead\",status_class=\"error\"", 1.0),
            // Of the answer that broke off, both the head and the end.
            ("origin=\"good \\\"1\\\" \\\\\",status_class=\"2xx\"", 2.0),
            ("origin=\"good \\\"1\\\" \\\\\",status_class=\"4xx\"", 1.0),
            ("origin=\"good \\\"1\\\" \\\\\",status_class=\"error\"", 1.0),
        ]
    );
    assert_eq!(samples["brim_request_seconds_count"], 7.0);
    assert_eq!(samples["brim_origin_seconds_count"], 3.0);
}

#[test]
fn a_client_that_finds_no_place_is_counted() {
    let brim = Brim::with(Origin::ok().address(), "connections = 1", "");
    let mut first = Client::connect(brim.address());
    assert_eq!(first.ask(get("/")).status, 200);
    assert_eq!(Client::connect(brim.address()).answer().status, 503);
    brim.access_log("too_many_connections");
    assert_eq!(samples(&brim)["brim_requests_total{outcome=\"error\",site=\"none\"}"], 1.0);
}

#[test]
fn who_comes_takes_the_place_of_who_has_been_idle_for_longest() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let connect = || Client::connect(brim.admin());
    let mut clients: Vec<_> = (0..64).map(|_| connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get("/healthz")).status, 200);
    }
    // The first is no longer the one that has been idle for longest.
    assert_eq!(clients[0].ask(get("/readyz")).status, 200);
    let mut newcomer = connect();
    assert_eq!(newcomer.ask(get("/healthz")).status, 200);
    clients.remove(1).is_closed();
    clients.push(newcomer);
    assert!(clients.iter_mut().all(|client| client.ask(get("/readyz")).status == 200));
}

#[test]
fn a_flood_of_idle_connections_keeps_nobody_out_and_ends_no_purge() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let body = "{\"all\":true}";
    let whole = request("POST", "/purge", &format!("Bearer {}", brim.token()), body);
    let (head, last) = whole.split_at(whole.len() - 1);
    let mut operator = Client::connect(brim.admin());
    operator.send(head);
    // It has the token, and so it keeps its place, from when its head was read: before this answer.
    assert_eq!(ask(&brim, "/healthz").status, 200);
    let mut flood: Vec<_> = (0..1000).map(|_| Client::connect(brim.admin())).collect();
    for route in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(&brim, route).status, 200);
    }
    flood.drain(..900).for_each(|mut idle| idle.is_closed());
    // Half a head is nothing to keep a place for, either.
    let mut slow: Vec<_> = (0..100).map(|_| Client::connect(brim.admin())).collect();
    for client in &mut slow {
        let _ = client.try_send("GET /metrics HTTP/1.1\r\nHost: a");
    }
    assert_eq!(ask(&brim, "/metrics").status, 200);
    operator.send(last);
    assert_eq!(operator.answer().status, 200);
}

#[test]
fn requests_that_come_together_are_answered_in_their_order() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let token = format!("Bearer {}", brim.token());
    let mut client = Client::connect(brim.admin());
    let chunked = format!(
        "POST /purge HTTP/1.1\r\nHost: a\r\nAuthorization: {token}\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"tag\r\n9\r\ns\":[\"a\"]}}\r\n0\r\n\r\n"
    );
    let refused = request("POST", "/purge", "Bearer wrong", "{}");
    let last = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let all = [&request("POST", "/purge", &token, "{\"all\":true}"), &chunked, &refused, last];
    client.send(all.concat());
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 401);
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("connection")), (200, Some("close")));
    client.is_closed();
    assert_eq!(samples(&brim)["brim_purges_total{kind=\"tag\"}"], 1.0);
}

#[test]
fn what_the_front_door_refuses_is_refused_here_too() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let mut with_lf = Client::connect(brim.admin());
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
        ("GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    ] {
        let mut client = Client::connect(brim.admin());
        let answer = client.ask(request);
        assert_eq!((answer.status, answer.field("connection")), (status, Some("close")));
        client.is_closed();
    }
    assert_eq!(with_lf.ask("GET /healthz HTTP/1.1\nHost: a\n\n").status, 400);
    // Nothing has panicked, and that is told from the start.
    assert_eq!(samples(&brim)["brim_panics_total"], 0.0);
}

#[test]
fn a_purge_that_is_waited_for_is_waited_for_at_shutdown() {
    let (parent, answer, was_asked) = Origin::waiting();
    let (origin, nobody) = (Origin::ok().address(), NOBODY.parse().expect("an address"));
    let door = format!("http://{}", parent.address());
    let mut edge = edge_of(origin, nobody, &door, ["", "", ""]);
    let mut operator = Client::connect(edge.admin());
    let body = "{\"hosts\":[\"a.test\"]}";
    operator.send(request("POST", "/purge", &format!("Bearer {}", edge.token()), body));
    was_asked.recv().expect("asked");
    edge.signal(Signal::TERM);
    edge.error_log("shutting down");
    assert_eq!(ask(&edge, "/readyz").status, 503);
    answer.send(()).expect("the parent waits");
    // What the parent has said is no receipt; that it is owed is.
    let receipt = operator.answer();
    assert_eq!(
        (receipt.status, json_of(&receipt)["parents"][0]["state"].as_str()),
        (202, Some("pending"))
    );
    assert_eq!(edge.wait().code(), Some(0));
    edge.error_log("all requests have finished");
}

const NO_ADMIN: &str = "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\n\
                        servers = ['http://127.0.0.1:9']\n[[site]]\nhosts = ['a.test']\n\
                        origin = 'o'\n";

#[test]
fn a_default_address_that_is_taken_only_warns() {
    // Whoever has the port, the first of the two or anybody else, one of them cannot have it.
    let both = [Brim::configured_exactly(NO_ADMIN), Brim::configured_exactly(NO_ADMIN)];
    let mut without = 0;
    for brim in &both {
        assert_eq!(
            Client::connect(brim.address()).ask("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").status,
            421
        );
        // It stands before the line that the kit has waited for.
        let Some(warning) = brim.error_log_so_far("no admin listener") else {
            assert_eq!(brim.admin(), brim::config::ADMIN);
            continue;
        };
        without += 1;
        for part in [" WARN ", "server.admin", "127.0.0.1:9180", "Address already in use"] {
            assert!(warning.contains(part), "{warning}");
        }
    }
    assert!(without > 0);
}

#[test]
fn an_admin_address_that_is_asked_for_and_taken_fails_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    let text = NO_ADMIN.replacen("[server]\n", &format!("[server]\nadmin = '{address}'\n"), 1);
    std::fs::write(&file, text).expect("written");
    let finished = Command::run(&["run", "--config", file.to_str().expect("a path")]);
    assert_eq!(finished.code, Some(1));
    let line = format!("brim: cannot listen on {address}: Address already in use (os error 98)\n");
    assert_eq!(finished.stderr, line);
}
