//! Servers that are not well get no requests, the operator is told, and they come back.

use crate::kit::operator::json_of;
use crate::kit::{Brim, Client, OK, Origin, get};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An edge in front of these servers, with more lines for their origin.
fn brim_for(servers: &[&Origin], lines: &str) -> Brim {
    let urls: Vec<_> = servers.iter().map(|of| format!("http://{}", of.address())).collect();
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = {urls:?}\n{lines}\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    ))
}

const CHECKS: &str = "[origin.health]\npath = '/health?deep'\ninterval = '20ms'\ntimeout = '10s'\n\
                      healthy = 2\nunhealthy = 3";

/// An origin whose checks say what the switch says.
fn with_checks() -> (Origin, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(true));
    let switch = is_well.clone();
    let origin = Origin::serving(move |head, _| {
        if head.starts_with("GET /health?deep ") && !is_well.load(Ordering::SeqCst) {
            return "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nsick".to_owned();
        }
        OK.to_owned()
    });
    (origin, switch)
}

/// Requests that are no checks.
fn requests(origin: &Origin) -> usize {
    origin.heads().iter().filter(|head| !head.starts_with("GET /health?deep ")).count()
}

fn series(name: &str, server: &Origin) -> String {
    format!("{name}{{origin=\"o\",server=\"{}\"}}", server.address())
}

fn readiness(brim: &Brim) -> String {
    let answer = Client::connect(brim.admin()).ask(get("/readyz"));
    assert_eq!(answer.status, 200);
    answer.text()
}

/// What the operator is told of the only origin.
fn told(brim: &Brim) -> Value {
    brim.operator().get("/origins")["origins"][0].clone()
}

#[track_caller]
fn all_are_answered(brim: &Brim, name: &str, count: usize) {
    let mut client = Client::connect(brim.address());
    for number in 0..count {
        assert_eq!(client.ask(get(&format!("/{name}/{number}"))).status, 200, "{name} {number}");
    }
}

#[test]
fn a_server_that_fails_its_checks_gets_no_requests_until_it_passes_them() {
    let ((sick, is_well), (well, _always)) = (with_checks(), with_checks());
    let brim = brim_for(&[&sick, &well], CHECKS);
    for origin in [&sick, &well] {
        let labels = format!("origin=\"o\",result=\"good\",server=\"{}\"", origin.address());
        brim.wait_for_metric(&format!("brim_origin_checks_total{{{labels}}}"), 2);
    }
    all_are_answered(&brim, "first", 10);
    assert_eq!((requests(&sick), requests(&well)), (5, 5));
    assert_eq!(readiness(&brim), "ready\n");

    is_well.store(false, Ordering::SeqCst);
    brim.wait_until(&series("brim_origin_server_up", &sick), |up| up == 0);
    all_are_answered(&brim, "second", 10);
    assert_eq!((requests(&sick), requests(&well)), (5, 15));
    let server = sick.address().to_string();
    let line = format!("degraded: origin o: 1 of 2 servers: {server}: status 500");
    assert_eq!(readiness(&brim), format!("ready\n{line}\n"));
    let reported = &told(&brim)["servers"];
    let (down, up) = (&reported[0], &reported[1]);
    assert_eq!((&down["state"], &down["reason"]), (&json!("down"), &json!("status 500")));
    assert_eq!(down["check"]["result"], "status 500");
    assert!(down["since"].as_str().is_some_and(|time| time.ends_with('Z')), "{down}");
    assert_eq!(
        (&up["state"], &up["reason"], &up["since"]),
        (&json!("in"), &Value::Null, &Value::Null)
    );
    assert_eq!(up["check"]["result"], "good");
    let labels = format!("origin=\"o\",result=\"bad\",server=\"{server}\"");
    assert!(brim.metric(&format!("brim_origin_checks_total{{{labels}}}")) >= 3);
    assert_eq!(brim.metric(&series("brim_origin_ejections_total", &sick)), 0);
    let warning = brim.error_log("an origin server is down");
    assert!(warning.contains(" WARN ") && warning.contains("status 500"), "{warning}");
    assert!(warning.contains(&server), "{warning}");

    is_well.store(true, Ordering::SeqCst);
    brim.wait_until(&series("brim_origin_server_up", &sick), |up| up == 1);
    all_are_answered(&brim, "third", 10);
    assert_eq!((requests(&sick), requests(&well)), (10, 20));
    assert_eq!(readiness(&brim), "ready\n");
    assert!(brim.error_log("an origin server is back").contains(" INFO "));
}

#[test]
fn a_check_is_a_request_of_its_own_for_what_the_configuration_says() {
    let origins = [with_checks().0, with_checks().0];
    let brims = [
        brim_for(&[&origins[0]], CHECKS),
        brim_for(&[&origins[1]], &format!("{CHECKS}\nhost = 'shop.example'")),
    ];
    let hosts = [origins[0].address().to_string(), "shop.example".to_owned()];
    for ((origin, mut brim), host) in origins.iter().zip(brims).zip(hosts) {
        origin.wait_for_requests(3);
        for head in origin.heads() {
            let version = env!("CARGO_PKG_VERSION");
            let expected = format!(
                "GET /health?deep HTTP/1.1\r\nHost: {host}\r\nUser-Agent: brim-health/{version}\r\n\
                 Accept: */*\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(head, expected);
        }
        assert!(origin.connections() >= 3);
        // They hold up no shutdown.
        brim.signal(Signal::TERM);
        assert_eq!(brim.wait().code(), Some(0));
    }
}

#[test]
fn what_counts_as_a_good_check() {
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(200_000));
    let checks = |more: &str, result: &str| {
        // Who is in time has all the time that there is.
        let timeout = if result == "origin_overtime" { "300ms" } else { "10s" };
        format!(
            "[origin.health]\npath = '/'\ninterval = '20ms'\ntimeout = '{timeout}'\nunhealthy = 1\n{more}"
        )
    };
    for (answer, more, result) in [
        (OK, "", "good"),
        ("HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", "good"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "expect = [204, 401]", "good"),
        // So much of it is enough.
        (long.as_str(), "", "good"),
        ("HTTP/1.1 204 No Content\r\n\r\n", "", "status 204"),
        (OK, "expect = [204, 401]", "status 200"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "", "origin_overtime"),
        ("", "", "origin_overtime"),
        ("nonsense\r\n\r\n", "", "origin_garbage"),
    ] {
        let answer = answer.to_owned();
        let origin = Origin::start(move |peer| {
            peer.head();
            peer.send(&answer);
            peer.rest();
        });
        let brim = brim_for(&[&origin], &checks(more, result));
        let labels = |result| {
            let server = origin.address();
            format!(
                "brim_origin_checks_total{{origin=\"o\",result=\"{result}\",server=\"{server}\"}}"
            )
        };
        let is_good = result == "good";
        brim.wait_for_metric(&labels(if is_good { "good" } else { "bad" }), 1);
        assert_eq!(told(&brim)["servers"][0]["check"]["result"], result);
        assert_eq!(brim.metric(&labels(if is_good { "bad" } else { "good" })), 0, "{result}");
    }
}

#[test]
fn an_origin_whose_checks_have_taken_every_server_down_is_not_asked() {
    let (origin, is_well) = with_checks();
    is_well.store(false, Ordering::SeqCst);
    let brim = brim_for(&[&origin], CHECKS);
    brim.wait_until(&series("brim_origin_server_up", &origin), |up| up == 0);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/down")).status, 502);
    assert_eq!(
        client.ask("POST /down HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status,
        502
    );
    assert!(brim.access_log("/down").contains("origin_down"));
    assert_eq!(requests(&origin), 0);
    let server = origin.address();
    assert_eq!(
        readiness(&brim),
        format!("ready\ndegraded: origin o: no server: {server}: status 500\n")
    );
    is_well.store(true, Ordering::SeqCst);
    brim.wait_until(&series("brim_origin_server_up", &origin), |up| up == 1);
    assert_eq!(client.ask(get("/back")).status, 200);
}

#[test]
fn a_server_whose_requests_fail_is_left_in_peace_and_no_client_notices() {
    let failing = Origin::start(|peer| drop(peer.head()));
    let good = Origin::ok();
    let ejection = "[origin.ejection]\nfailures = 3\ntime = '10m'\ntime_max = '10m'";
    let brim = brim_for(&[&failing, &good], ejection);
    all_are_answered(&brim, "through", 20);
    assert_eq!((failing.requests(), good.requests()), (3, 20));
    assert_eq!(brim.metric(&series("brim_origin_ejections_total", &failing)), 1);
    assert_eq!(brim.metric(&series("brim_origin_server_up", &failing)), 0);
    assert_eq!(brim.metric(&series("brim_origin_server_up", &good)), 1);
    assert_eq!(brim.metric("brim_origin_retries_total{origin=\"o\"}"), 3);
    let server = failing.address().to_string();
    let line = format!("degraded: origin o: 1 of 2 servers: {server}: origin_closed");
    assert_eq!(readiness(&brim), format!("ready\n{line}\n"));
    let reported = &told(&brim)["servers"][0];
    assert_eq!(
        (&reported["state"], &reported["reason"], &reported["failures"]),
        (&json!("ejected"), &json!("origin_closed"), &json!(3))
    );
    let left = reported["for_seconds"].as_u64().expect("a number");
    assert!((500..=600).contains(&left), "{left}");
    let warning = brim.error_log("an origin server is left in peace");
    assert!(warning.contains(&server) && warning.contains("origin_closed"), "{warning}");
}

/// Answers on a socket in the file system.
fn listen_at(path: &Path) {
    let listener = UnixListener::bind(path).expect("bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                    if line.ends_with("\r\n\r\n") {
                        stream.get_mut().write_all(OK.as_bytes()).expect("written");
                        line.clear();
                    }
                }
            });
        }
    });
}

#[test]
fn an_only_server_that_refuses_is_an_error_at_once_and_is_found_when_it_listens_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['unix:{}']\n\
         [origin.ejection]\nfailures = 2\ntime = '1s'\ntime_max = '10m'\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n",
        path.display()
    ));
    let mut client = Client::connect(brim.address());
    for number in 0..50 {
        let answer = client.ask(get(&format!("/{number}")));
        assert_eq!(answer.status, 502, "{number}");
        assert!(brim.access_log(&format!("/{number}\"")).contains("origin_refused"));
    }
    let server = format!("unix:{}", path.display());
    let line = format!("degraded: origin o: no server: {server}: origin_refused");
    assert_eq!(readiness(&brim), format!("ready\n{line}\n"));
    listen_at(&path);
    let mut asked = 0;
    let is_back = |client: &mut Client, asked: usize| {
        // However often it was asked in vain, and however long, the wait does not grow.
        let left = told(&brim)["servers"][0]["for_seconds"].clone();
        assert!(left.as_u64().is_none_or(|left| left <= 1), "{left}");
        client.ask(get(&format!("/back/{asked}"))).status == 200
    };
    let deadline = std::time::Instant::now() + crate::kit::PATIENCE;
    while !is_back(&mut client, asked) {
        assert!(std::time::Instant::now() < deadline, "it does not come back");
        asked += 1;
    }
    assert_eq!(readiness(&brim), "ready\n");
    assert_eq!(told(&brim)["servers"][0]["addresses"], json!([]));
}

#[test]
fn the_operator_sees_every_origin_and_its_servers() {
    let origin = Origin::ok();
    let server = origin.address().to_string();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n\
         [[origin]]\nname = 'main'\nservers = [{{ url = 'http://{server}', weight = 7 }}]\n\
         parent = 'shield'\nrequests = 12\nqueue = 34\nbalance = 'least_conn'\n\
         [[origin]]\nname = 'shield'\nservers = ['http://{server}']\n\
         [[site]]\nhosts = ['*']\norigin = 'main'\n"
    ));
    let server = json!({
        "name": server, "url": format!("http://{server}"), "weight": 7, "state": "in",
        "since": null, "for_seconds": null, "reason": null, "failures": 0, "requests": 0,
        "check": null, "addresses": [server],
    });
    let mut second = server.clone();
    second["weight"] = json!(1);
    let expected = json!({ "origins": [
        {
            "name": "main", "role": "origin", "balance": "least_conn", "requests": 0, "waiting": 0,
            "limits": { "requests": 12, "queue": 34 }, "servers": [server],
        },
        {
            "name": "shield", "role": "parent", "balance": "hash", "requests": 0, "waiting": 0,
            "limits": { "requests": 4096, "queue": 4096 }, "servers": [second],
        },
    ]});
    let operator = brim.operator();
    assert_eq!(operator.get("/origins"), expected);
    // Who may ask, and how.
    let stranger = Client::connect(brim.admin()).ask(get("/origins"));
    assert_eq!((stranger.status, json_of(&stranger)["error"].is_string()), (401, true));
    let answer = operator.ask("GET", "/origins?name=main", "");
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("unknown parameter `name`"), "{}", answer.text());
    let answer = operator.ask("POST", "/origins", "");
    assert_eq!((answer.status, answer.field("allow")), (405, Some("GET, HEAD")));
    let mut client = Client::connect(brim.admin());
    let token = brim.token();
    let head =
        format!("HEAD /origins HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    assert_eq!(client.ask_head(head).status, 200);
    assert_eq!(client.ask(get("/healthz")).text(), "ok\n");
}
