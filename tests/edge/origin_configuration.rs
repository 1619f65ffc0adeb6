//! `[[origin]]` in `edge.toml`: what it means, what is wrong with it, and what it warns of.

mod servers;

use brim::config::{
    self, Balance, Ejection, Fallback, HealthCheck, Http2, Origin, OriginServer, OriginTls, Place,
    Settings,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SITE: &str = "[[site]]\nhosts = ['*']\norigin = 'main'\n";

/// With the first line of an `[[origin]]` at line 2, its `servers` at line 3, `lines` from line 4.
fn one(lines: &str) -> String {
    format!("[[origin]]\nname = 'main'\nservers = ['http://a.test']\n{lines}\n{SITE}")
}

/// Origins of these names and lines, and a site for the first one's.
fn several(origins: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, lines) in origins {
        text += &format!("[[origin]]\nname = '{name}'\nservers = ['http://{name}']\n{lines}\n");
    }
    text + SITE
}

fn problems_in(text: &str, folder: &Path) -> Vec<String> {
    let checked = config::check(text, "e", folder);
    let has_error = checked.problems.iter().any(|problem| !problem.is_warning);
    assert_eq!(checked.settings.is_none(), has_error, "{:?}", checked.problems);
    checked.problems.iter().map(ToString::to_string).collect()
}

fn problems(text: &str) -> Vec<String> {
    problems_in(text, Path::new(""))
}

fn good(text: &str) -> Settings {
    let checked = config::check(text, "e", Path::new(""));
    assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
    checked.settings.expect("no problems")
}

fn good_origin(text: &str) -> Arc<Origin> {
    good(text).origins[0].clone()
}

fn server(tls: bool, host: &str, port: u16, authority: &str) -> OriginServer {
    OriginServer {
        tls,
        place: Place::Net(host.into(), port),
        authority: authority.into(),
        weight: 1,
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_an_origin_leaves_out_has_its_default() {
    let expected = Origin {
        name: "main".into(),
        servers: vec![server(false, "a.test", 80, "a.test")],
        balance: Balance::RoundRobin,
        parent: None,
        is_parent: false,
        admin: Vec::new(),
        fallback: None,
        connect_timeout: secs(2),
        tls_timeout: secs(5),
        response_timeout: secs(30),
        read_timeout: secs(30),
        total_timeout: None,
        idle_timeout: secs(60),
        http2: Http2::Auto,
        tls: OriginTls { server_name: None, verify: true, ca: None, client: None },
        redirects_stay: false,
        health: None,
        ejection: Ejection { failures: 5, time: secs(1), time_max: secs(60) },
        retries: 2,
        retry_budget_percent: 20,
        requests_max: 4096,
        queue_max: 4096,
        queue_timeout: secs(10),
    };
    assert_eq!(*good_origin(&one("")), expected);
}

#[test]
fn every_key_of_an_origin_is_understood() {
    let origin = good_origin(&one("\
balance = 'least_conn'
http2 = 'always'
connect_timeout = '1s'
tls_timeout = '2s'
response_timeout = '3s'
read_timeout = '4s'
total_timeout = '5s'
idle_timeout = '6s'
retries = 7
retry_budget = 8
requests = 9
queue = 10
queue_timeout = '11s'
[origin.health]
path = '/healthz?full=1'
host = 'b.test:81'
interval = '12s'
timeout = '12s'
healthy = 13
unhealthy = 14
expect = [204, 301]
[origin.ejection]
failures = 0
time = '15s'
time_max = '15s'"));
    let expected = Origin {
        balance: Balance::LeastConn,
        http2: Http2::Always,
        connect_timeout: secs(1),
        tls_timeout: secs(2),
        response_timeout: secs(3),
        read_timeout: secs(4),
        total_timeout: Some(secs(5)),
        idle_timeout: secs(6),
        retries: 7,
        retry_budget_percent: 8,
        requests_max: 9,
        queue_max: 10,
        queue_timeout: secs(11),
        redirects_stay: false,
        health: Some(HealthCheck {
            path: "/healthz?full=1".into(),
            host: Some("b.test:81".into()),
            interval: secs(12),
            timeout: secs(12),
            healthy_after: 13,
            unhealthy_after: 14,
            expect: vec![204, 301],
        }),
        ejection: Ejection { failures: 0, time: secs(15), time_max: secs(15) },
        ..(*good_origin(&one(""))).clone()
    };
    assert_eq!(*origin, expected);
    let with = |line: &str| good_origin(&one(line));
    assert_eq!(with("balance = 'hash'").balance, Balance::Hash);
    assert_eq!(with("http2 = 'never'").http2, Http2::Never);
    assert_eq!((with("retries = 0").retries, with("queue = 0").queue_max), (0, 0));
}

#[test]
fn what_is_said_of_two_times_draws_the_default_of_the_other_along() {
    let ejection = |lines: &str| {
        let ejection = good_origin(&one(&format!("[origin.ejection]\n{lines}"))).ejection;
        (ejection.time, ejection.time_max)
    };
    assert_eq!(ejection("time = '2m'"), (secs(120), secs(120)));
    assert_eq!(ejection("time_max = '500ms'"), (secs(1) / 2, secs(1) / 2));
    let health = good_origin(&one("[origin.health]\npath = '/'\ninterval = '1s'")).health.clone();
    assert_eq!(health.map(|health| health.timeout), Some(secs(1)));
}

#[test]
fn every_bad_value_of_an_origin_is_named() {
    let text = one("\
balance = 'random'
http2 = 'h2c'
connect_timeout = 2
tls_timeout = '0s'
response_timeout = '30'
read_timeout = 'soon'
total_timeout = '0s'
idle_timeout = '11y'
retries = -1
retry_budget = 101
requests = 0
queue = 1000001
queue_timeout = '0s'
fallback = ''
fallback_statuses = [199, 600, '503']
parent = 1
admin = 'http://a'
reties = 1
[origin.tls]
server_name = 'a b'
verify = 'no'
ca = 1
client_certs = 'a'
[origin.health]
path = 'healthz'
host = 'http://a'
interval = '0s'
timeout = 1
healthy = 0
unhealthy = 1001
expect = [20]
[origin.ejection]
failures = 1001
time = '0s'
time_max = '1'");
    let duration = "expected a duration with a unit, such as \"500ms\", \"10s\" or \"30d\"";
    let status = "expected a status from 200 to 599";
    let expected = [
        "4: origin[0].balance: expected \"round_robin\", \"least_conn\" or \"hash\"".to_owned(),
        "5: origin[0].http2: expected \"auto\", \"never\" or \"always\"".into(),
        format!("6: origin[0].connect_timeout: {duration}"),
        "7: origin[0].tls_timeout: expected a duration above 0".into(),
        format!("8: origin[0].response_timeout: {duration}"),
        format!("9: origin[0].read_timeout: {duration}"),
        "10: origin[0].total_timeout: expected a duration above 0".into(),
        "11: origin[0].idle_timeout: expected at most 10 years".into(),
        "12: origin[0].retries: expected a whole number up to 1000".into(),
        "13: origin[0].retry_budget: expected a whole number of percent, from 0 to 100".into(),
        "14: origin[0].requests: expected a whole number from 1 to 1000000".into(),
        "15: origin[0].queue: expected a whole number up to 1000000".into(),
        "16: origin[0].queue_timeout: expected a duration above 0".into(),
        "17: origin[0].fallback: expected a text in quotes, not empty".into(),
        format!("18: origin[0].fallback_statuses[0]: {status}"),
        format!("18: origin[0].fallback_statuses[1]: {status}"),
        format!("18: origin[0].fallback_statuses[2]: {status}"),
        "19: origin[0].parent: expected a text in quotes, not empty".into(),
        "20: origin[0].admin: expected a list, each an origin, such as \
         \"http://127.0.0.1:3000\", \"https://example.com\" or \"unix:/run/app.sock\""
            .into(),
        "21: origin[0].reties: unknown key; did you mean `retries`?".into(),
        "23: origin[0].tls.server_name: expected a name in certificates, such as \
         \"origin.example.com\""
            .into(),
        "24: origin[0].tls.verify: expected true or false".into(),
        "25: origin[0].tls.ca: expected a path in quotes".into(),
        "26: origin[0].tls.client_certs: unknown key; did you mean `client_cert`?".into(),
        "28: origin[0].health.path: expected a path, such as \"/healthz\"".into(),
        "29: origin[0].health.host: expected a host, such as \"example.com\" or \
         \"example.com:8080\""
            .into(),
        "30: origin[0].health.interval: expected a duration above 0".into(),
        format!("31: origin[0].health.timeout: {duration}"),
        "32: origin[0].health.healthy: expected a whole number from 1 to 1000".into(),
        "33: origin[0].health.unhealthy: expected a whole number from 1 to 1000".into(),
        format!("34: origin[0].health.expect[0]: {status}"),
        "36: origin[0].ejection.failures: expected a whole number up to 1000".into(),
        "37: origin[0].ejection.time: expected a duration above 0".into(),
        format!("38: origin[0].ejection.time_max: {duration}"),
    ]
    .map(|line| format!("e:{line}"));
    let mut errors = problems(&text);
    errors.retain(|line| !line.contains(": warning: "));
    assert_eq!(errors, expected);
}

#[test]
fn keys_that_contradict_each_other_are_named() {
    for (lines, expected) in [
        ("[origin.health]\ninterval = '1s'", "e:4: origin[0].health: `path` is missing"),
        (
            "[origin.health]\npath = '/'\nexpect = []",
            "e:6: origin[0].health.expect: expected at least one",
        ),
        (
            "[origin.health]\npath = '/'\ntimeout = '6s'",
            "e:6: warning: origin[0].health.timeout: longer than `interval`: checks of one server \
             wait for each other",
        ),
        (
            "[origin.ejection]\ntime = '2s'\ntime_max = '1s'",
            "e:6: origin[0].ejection.time_max: expected no less than `time`, which grows up to it",
        ),
        (
            "total_timeout = '20s'\nresponse_timeout = '21s'",
            "e:5: warning: origin[0].response_timeout: does nothing: `total_timeout` is shorter",
        ),
        (
            "retries = 0\nretry_budget = 10",
            "e:5: warning: origin[0].retry_budget: does nothing with `retries = 0`",
        ),
        (
            "queue = 0\nqueue_timeout = '1s'",
            "e:5: warning: origin[0].queue_timeout: does nothing with `queue = 0`",
        ),
        (
            "fallback_statuses = [503]",
            "e:4: warning: origin[0].fallback_statuses: does nothing without `fallback`",
        ),
        (
            "admin = ['http://a.test:9180']",
            "e:4: warning: origin[0].admin: does nothing: no [[origin]] has this one for its \
             `parent`",
        ),
        (
            "[origin.tls]\nserver_name = 'a.test'",
            "e:4: warning: origin[0].tls: does nothing: none of `servers` is https",
        ),
    ] {
        assert_eq!(problems(&one(lines)), [expected], "{lines}");
    }
    // A time-out that only its default makes longer than the whole is nobody's mistake.
    assert_eq!(problems(&one("total_timeout = '1s'")), [""; 0]);
}

#[test]
fn parents_and_fallbacks_are_found_by_name() {
    let settings = good(&several(&[
        ("main", "parent = 'near'\nfallback = 'second'\nfallback_statuses = [404, 503]"),
        ("second", "parent = 'near'"),
        ("near", "admin = ['unix:/run/near.sock']\nparent = 'far'\nfallback = 'last'"),
        ("far", "admin = ['http://far:9180']\nbalance = 'hash'"),
        ("last", ""),
    ]));
    let [main, second, near, far, last] = &settings.origins[..] else { panic!("five origins") };
    assert_eq!((main.parent, main.is_parent), (Some(2), false));
    let fallback = Fallback { origin: 1, statuses: vec![404, 503] };
    assert_eq!(main.fallback, Some(fallback));
    assert_eq!((second.parent, &second.fallback), (Some(2), &None));
    // Parents may have parents, and each object has one home among them.
    assert_eq!((near.parent, near.is_parent, near.balance), (Some(3), true, Balance::Hash));
    let fallback = Fallback { origin: 4, statuses: vec![500, 502, 503, 504] };
    assert_eq!(near.fallback, Some(fallback));
    assert_eq!(near.admin[0].place, Place::Unix("/run/near.sock".into()));
    assert_eq!((far.parent, far.is_parent, far.balance), (None, true, Balance::Hash));
    assert_eq!(far.admin, [server(false, "far", 9180, "far:9180")]);
    assert_eq!((last.parent, last.is_parent, last.balance), (None, false, Balance::RoundRobin));
}

#[test]
fn origins_that_lead_nowhere_or_back_to_themselves_are_named() {
    let doors = "admin = ['unix:/a']";
    let with_doors = |line: &str| format!("{doors}\n{line}");
    let circle = |line, place: &str, names: &str| {
        format!("e:{line}: origin[{place}: goes round in a circle: {names}")
    };
    for key in ["parent", "fallback"] {
        let line = |name: &str| {
            let line = format!("{key} = '{name}'");
            if key == "parent" { with_doors(&line) } else { format!("\n{line}") }
        };
        let itself = problems(&several(&[("main", &format!("{key} = 'main'"))]));
        assert_eq!(itself, [format!("e:4: origin[0].{key}: an origin cannot be its own {key}")]);
        let unknown = problems(&several(&[
            ("main", &format!("{key} = 'secnd'")),
            ("second", &format!("{key} = 'nobody'")),
        ]));
        assert_eq!(
            unknown,
            [
                format!(
                    "e:4: origin[0].{key}: there is no [[origin]] named \"secnd\"; did you mean \
                     \"second\"?"
                ),
                format!("e:8: origin[1].{key}: there is no [[origin]] named \"nobody\""),
            ]
        );
        // The way into a circle is not part of it.
        let found = problems(&several(&[
            ("main", &format!("{key} = 'a'")),
            ("a", &line("b")),
            ("b", &line("c")),
            ("c", &line("a")),
        ]));
        let names = r#""a" -> "b" -> "c" -> "a""#;
        assert_eq!(found, [circle(9, &format!("1].{key}"), names)], "{key}");
    }
    // One of each makes a circle, too.
    let found = problems(&several(&[
        ("main", "parent = 'shield'"),
        ("shield", &with_doors("fallback = 'main'")),
    ]));
    assert_eq!(found, [circle(4, "0].parent", r#""main" -> "shield" -> "main""#)]);
}

#[test]
fn parents_are_told_of_purges_and_of_what_they_are_for() {
    let parents = |lines: &str| several(&[("main", "parent = 'shield'"), ("shield", lines)]);
    let two = "admin = ['http://shield:1', 'http://shield:2']";
    let door = "admin = ['http://shield:1']\n";
    for (lines, expected) in [
        ("", "e:5: warning: origin[1]: purges do not reach these parents: `admin` is missing"),
        (
            two,
            "e:8: origin[1].admin: expected one admin listener for each of `servers`, in the same \
             order: 1, not 2",
        ),
        (
            "admin = []",
            "e:8: origin[1].admin: expected one admin listener for each of `servers`, in the same \
             order: 1, not 0",
        ),
        (
            &format!("{door}balance = 'round_robin'"),
            "e:9: warning: origin[1].balance: each parent fetches every object; with \"hash\" \
             each has one home",
        ),
        (
            &format!("{door}http2 = 'always'"),
            "e:9: warning: origin[1].http2: Brim's plain listeners speak HTTP/1.1 only",
        ),
    ] {
        assert_eq!(problems(&parents(lines)), [expected], "{lines}");
    }
    let one_door_for_two = parents(&two.replace(":2", ":1"))
        .replace("['http://shield']", "['http://shield', 'http://b']");
    assert_eq!(
        problems(&one_door_for_two),
        [
            "e:8: origin[1].admin[1]: http://shield:1 is already origin[1].admin[0]; each server has \
          its own"
        ]
    );
    // Parents may be all that an edge knows, but they choose their site by the client's Host.
    let direct = parents(door).replace("origin = 'main'", "origin = 'shield'");
    assert_eq!(problems(&direct), [""; 0]);
    assert_eq!(
        problems(&(direct + "host_header = 'origin'\n")),
        ["e:13: warning: site[0].host_header: the origin's servers are parents, which know sites \
          by the client's Host"]
    );
    assert_eq!(problems(&(parents(door) + "host_header = 'origin'\n")), [""; 0]);
}

/// A folder with `ca.pem`, `client.pem` and `client.key`.
fn folder_with_certificates() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("signed").pem();
    for (name, text) in [
        ("ca.pem", format!("two of them\n{certificate}{certificate}")),
        ("client.pem", certificate),
        ("client.key", key.serialize_pem()),
    ] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

/// What a comment of the sample shows is taken as it is shown, and is the default where there is
/// one.
#[test]
fn the_comments_of_the_sample_are_good_settings() {
    let sample = std::fs::read_to_string("edge.toml").expect("the sample is there");
    let origin = sample.split("[[site]]").next().unwrap_or_default();
    let origin = origin.split_once("[[origin]]").expect("an origin").1;
    let mut text = "[[origin]]".to_owned();
    for line in origin.lines() {
        let is_for_parents = line.starts_with("# admin");
        text += if is_for_parents { line } else { line.strip_prefix("# ").unwrap_or(line) };
        text += "\n";
    }
    let text = text.replace("[\"http://127.0.0.1:3000\"]", "[\"https://127.0.0.1:3000\"]")
        + "[[origin]]\nname = 'second'\nservers = ['http://b']\n\
           [[origin]]\nname = 'shield'\nservers = ['http://c']\nadmin = ['http://10.0.0.2:9180']\n"
        + SITE;
    let folder = folder_with_certificates();
    let checked = config::check(&text, "e", folder.path());
    assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
    let settings = checked.settings.expect("no problems");
    let main = &settings.origins[0];
    assert_eq!(main.parent, Some(2));
    let statuses = vec![500, 502, 503, 504];
    assert_eq!(main.fallback, Some(Fallback { origin: 1, statuses }));
    assert!(main.tls.verify && main.tls.ca.is_some() && main.tls.client.is_some());
    let path = "[origin.health]\npath = '/healthz'\nhost = 'www.example.com'";
    assert_eq!(main.health, good_origin(&one(path)).health);
    assert_eq!(main.ejection, good_origin(&one("")).ejection);
}
