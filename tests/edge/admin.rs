//! The operator's listener: health, readiness, metrics.

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
fn connections_of_operators_are_bounded() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let connect = || Client::connect(brim.admin());
    let mut clients: Vec<_> = (0..64).map(|_| connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get("/healthz")).status, 200);
    }
    connect().is_closed();
    // Those that have a place keep it.
    assert!(clients.iter_mut().all(|client| client.ask(get("/readyz")).status == 200));
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
