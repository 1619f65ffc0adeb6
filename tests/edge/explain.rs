//! What `GET /explain` says, against what the very next request gets.

use crate::kit::{Brim, Client, Operator, Origin, Response, get, get_with, ok_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use url::form_urlencoded::Serializer;

/// A request, in parts.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    lines: &'a [&'a str],
}

impl<'a> Asked<'a> {
    fn get(path: &'a str) -> Self {
        Self { method: "GET", host: "a.test", path, lines: &[] }
    }

    fn with(self, lines: &'a [&'a str]) -> Self {
        Self { lines, ..self }
    }

    fn sent(&self, mark: &str) -> String {
        let Self { method, host, path, .. } = self;
        let lines: String = self.lines.iter().map(|line| format!("{line}\r\n")).collect();
        let body = if self.lines.contains(&"Content-Length: 2") { "ok" } else { "" };
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {mark}\r\n{lines}\r\n{body}"
        )
    }
}

/// The path with which an operator asks about a request.
fn question(asked: Asked<'_>, more: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    let url = format!("http://{}{}", asked.host, asked.path);
    query.append_pair("url", &url).append_pair("method", asked.method);
    for line in asked.lines {
        query.append_pair("header", line);
    }
    query.extend_pairs(more);
    format!("/explain?{}", query.finish())
}

fn explain(operator: &Operator, asked: Asked<'_>) -> Value {
    operator.get(&question(asked, &[]))
}

/// What was predicted came true: Cache-Status, and outcome and reason of the log.
#[track_caller]
fn comes_true(brim: &Brim, asked: Asked<'_>) -> Value {
    static MARKS: AtomicUsize = AtomicUsize::new(0);
    let mark = format!("mark-{}.", MARKS.fetch_add(1, Ordering::SeqCst));
    let told = explain(&brim.operator(), asked);
    let mut client = Client::connect(brim.address());
    let answer = match asked.method {
        "HEAD" => client.ask_head(asked.sent(&mark)),
        _ => client.ask(asked.sent(&mark)),
    };
    agrees(
        &told["verdict"],
        &answer,
        &format!("{} {} {:?}", asked.method, asked.path, asked.lines),
    );
    if told["verdict"]["reason"] != "bad_request" {
        let line: Value = serde_json::from_str(&brim.access_log(&mark)).expect("a line");
        let verdict = &told["verdict"];
        assert_eq!(verdict["outcome"], line["outcome"], "{asked:?}\n{told:#}\n{line:#}");
        assert_eq!(verdict["reason"], line["reason"], "{asked:?}\n{told:#}\n{line:#}");
    }
    told
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}{} {:?}", self.method, self.host, self.path, self.lines)
    }
}

#[track_caller]
fn agrees(verdict: &Value, answer: &Response, about: &str) {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split("; ").filter(|part| !part.starts_with("ttl="));
        parts.map(str::to_owned).collect()
    };
    let said = parts(answer.field("cache-status").expect("a Cache-Status"));
    let predicted = parts(verdict["cache_status"].as_str().expect("a Cache-Status"));
    match verdict["outcome"].as_str() {
        // What the origin answers is not known before.
        Some("miss" | "revalidated") => {
            assert!(
                predicted.iter().all(|part| said.contains(part)),
                "{about}: {verdict:#} {said:?}"
            );
        }
        _ => assert_eq!(predicted, said, "{about}: {verdict:#}"),
    }
    if let Some(status) = verdict["status"].as_u64() {
        assert_eq!(status, u64::from(answer.status), "{about}: {verdict:#}");
    }
    for part in ["because", "by", "change"] {
        let text = verdict[part].as_str().expect("a text");
        assert!(!text.is_empty() && !text.contains('`'), "{about}: {part} of {verdict:#}");
    }
    assert!(!verdict["more"].as_array().expect("links").is_empty(), "{about}: {verdict:#}");
}

/// An origin that says what the path asks for.
fn origin() -> Origin {
    Origin::serving(|head, _| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let kind = path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
        let fields = match kind {
            "fresh" => "Cache-Control: max-age=3600\r\nETag: \"1\"\r\n",
            "aged" => "Cache-Control: max-age=10\r\nAge: 100\r\n",
            "stale" => "Cache-Control: max-age=10\r\nAge: 100\r\nETag: \"1\"\r\n",
            "swr" => "Cache-Control: max-age=10, stale-while-revalidate=600\r\nAge: 100\r\n",
            "no-cache" => "Cache-Control: no-cache\r\nETag: \"1\"\r\n",
            "private" => "Cache-Control: private\r\n",
            "no-store" => "Cache-Control: no-store\r\n",
            "cookie" => "Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n",
            "vary" => "Cache-Control: max-age=60\r\nVary: X, Accept-Encoding\r\n",
            "vary-any" => "Cache-Control: max-age=60\r\nVary: *\r\n",
            "tagged" => "Cache-Control: max-age=3600\r\nETag: \"1\"\r\nSurrogate-Key: t u\r\n",
            _ => "",
        };
        if head.contains("If-None-Match: \"1\"") && !head.starts_with("POST") {
            return format!(
                "HTTP/1.1 304 Not Modified\r\n{}\r\n",
                fields.replace("Age: 100\r\n", "")
            );
        }
        if kind == "parts" && head.contains("Range: bytes=0-4") {
            return "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\
                    Content-Range: bytes 0-4/10\r\nContent-Length: 5\r\n\r\n01234"
                .to_owned();
        }
        if kind == "parts" {
            return ok_with("Cache-Control: max-age=60\r\nETag: \"1\"\r\n", "0123456789");
        }
        if head.starts_with("HEAD") {
            return format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 4\r\n\r\n");
        }
        ok_with(fields, "body")
    })
}

const SITE: &str = "[[site.rule]]\npath = '/never/*'\ncache = false\n\
                    [[site.rule]]\npath = '/ruled/*'\nttl = '1h'\n";

#[test]
fn the_next_request_gets_what_was_said() {
    let origin = origin();
    let brim = Brim::with(origin.address(), "", SITE);
    // Each with what was asked for before.
    let table: &[(&str, &[&str], Asked<'_>)] = &[
        ("miss", &[], Asked::get("/fresh/cold")),
        ("hit", &["/fresh/1"], Asked::get("/fresh/1")),
        ("hit", &["/fresh/2?a=%7e"], Asked { host: "A.test:80", ..Asked::get("/fresh/2?a=%7e") }),
        ("hit", &["/ruled/1"], Asked::get("/ruled/1")),
        ("revalidated", &["/stale/1"], Asked::get("/stale/1")),
        ("miss", &["/aged/1"], Asked::get("/aged/1")),
        ("stale", &["/swr/1"], Asked::get("/swr/1")),
        ("stale", &["/stale/2"], Asked::get("/stale/2").with(&["Cache-Control: max-stale"])),
        ("revalidated", &["/no-cache/1"], Asked::get("/no-cache/1")),
        ("miss", &["/private/1"], Asked::get("/private/1")),
        ("miss", &["/no-store/1"], Asked::get("/no-store/1")),
        ("miss", &["/cookie/1"], Asked::get("/cookie/1")),
        ("miss", &["/vary-any/1"], Asked::get("/vary-any/1")),
        ("miss", &["/nothing/1"], Asked::get("/nothing/1")),
        ("miss", &["/fresh/3"], Asked::get("/fresh/other").with(&["Authorization: Basic x"])),
        ("hit", &["/fresh/4"], Asked::get("/fresh/4").with(&["Authorization: Basic x"])),
        ("hit", &["/vary/1"], Asked::get("/vary/1")),
        ("miss", &["/vary/2"], Asked::get("/vary/2").with(&["X: 1"])),
        ("miss", &["/vary/3"], Asked::get("/vary/3").with(&["Accept-Encoding: gzip"])),
        ("hit", &["/vary/4"], Asked::get("/vary/4").with(&["Accept-Encoding: identity"])),
        ("hit", &["/fresh/5"], Asked::get("/fresh/5").with(&["Range: bytes=1-2"])),
        ("miss", &[], Asked::get("/parts/cold").with(&["Range: bytes=0-4"])),
        ("hit", &["/fresh/6"], Asked::get("/fresh/6").with(&["If-None-Match: \"1\""])),
        ("miss", &["/fresh/7"], Asked::get("/fresh/7").with(&["If-Match: \"1\""])),
        ("miss", &[], Asked::get("/fresh/none").with(&["Cache-Control: no-store"])),
        ("miss", &["/fresh/8"], Asked::get("/fresh/8").with(&["Cache-Control: no-store"])),
        ("revalidated", &["/fresh/9"], Asked::get("/fresh/9").with(&["Cache-Control: no-cache"])),
        ("revalidated", &["/fresh/10"], Asked::get("/fresh/10").with(&["Pragma: no-cache"])),
        (
            "revalidated",
            &["/fresh/11"],
            Asked::get("/fresh/11").with(&["Cache-Control: max-age=0"]),
        ),
        ("hit", &["/fresh/12"], Asked::get("/fresh/12").with(&["Cache-Control: only-if-cached"])),
        ("edge", &[], Asked::get("/fresh/no").with(&["Cache-Control: only-if-cached"])),
        ("pass", &[], Asked::get("/never/1")),
        ("pass", &["/fresh/13"], Asked { method: "POST", ..Asked::get("/fresh/13") }),
        ("pass", &["/fresh/14"], Asked::get("/fresh/14").with(&["Content-Length: 2"])),
        ("hit", &["/fresh/15"], Asked { method: "HEAD", ..Asked::get("/fresh/15") }),
        ("miss", &[], Asked { method: "HEAD", ..Asked::get("/fresh/head") }),
        ("error", &[], Asked { method: "PURGE", ..Asked::get("/fresh/1") }),
        (
            "error",
            &[],
            Asked::get("/fresh/1")
                .with(&["CDN-Loop: brim, brim, brim, brim, brim, brim, brim, brim, brim"]),
        ),
        ("error", &[], Asked::get("/fresh/1").with(&["Content-Length: 2", "Content-Length: 2"])),
        ("error", &[], Asked { method: "TRACE", ..Asked::get("/") }),
    ];
    for (outcome, before, asked) in table {
        for path in *before {
            Client::connect(brim.address()).ask(get(path));
        }
        let requests = origin.requests();
        let told = explain(&brim.operator(), *asked);
        assert_eq!(told["verdict"]["outcome"], *outcome, "{asked:?}: {told:#}");
        assert_eq!(origin.requests(), requests, "{asked:?}");
        comes_true(&brim, *asked);
    }
}

#[test]
fn a_part_that_is_stored_and_an_upgrade_are_told() {
    let origin = origin();
    let brim = Brim::with(origin.address(), "", SITE);
    let mut client = Client::connect(brim.address());
    client.ask(get_with("/parts/1", "Range: bytes=0-4\r\n"));
    let told = comes_true(&brim, Asked::get("/parts/1").with(&["Range: bytes=0-1"]));
    assert_eq!(told["verdict"]["outcome"], "hit");
    let told = comes_true(&brim, Asked::get("/parts/1"));
    assert_eq!(told["verdict"]["reason"], "partial");
    assert_eq!(
        (&told["stored"][0]["bytes"], &told["stored"][0]["here_bytes"]),
        (&json!(10), &json!(5))
    );
    let upgrade = &["Connection: upgrade", "Upgrade: websocket"];
    let told = comes_true(&brim, Asked::get("/fresh/1").with(upgrade));
    assert_eq!(told["verdict"]["detail"], "upgrade");
}

#[test]
fn what_was_not_kept_is_remembered_with_its_reason() {
    let origin = origin();
    let brim = Brim::with(origin.address(), "", SITE);
    for (path, reason, what) in [
        ("/private/1", "private", "hit-for-miss"),
        ("/cookie/1", "set-cookie", "hit-for-miss"),
        ("/no-store/1", "no-store", "hit-for-miss"),
        ("/nothing/1", "no-freshness", "hit-for-miss"),
    ] {
        Client::connect(brim.address()).ask(get(path));
        let told = comes_true(&brim, Asked::get(path));
        assert_eq!(told["remembered"]["reason"], reason, "{told:#}");
        assert_eq!(told["remembered"]["what"], what);
        let left = told["remembered"]["seconds_left"].as_u64().expect("a number");
        assert!((1..=60).contains(&left), "{left}");
        assert_eq!(told["verdict"]["reason"], "bypass");
        let link = format!("docs/reasons.md#not-kept-{reason}");
        assert!(told["verdict"]["more"].as_array().expect("links").contains(&json!(link)));
        assert!(!told["verdict"]["change"].as_str().expect("a text").is_empty());
    }
    // It is about the request with credentials alone.
    let lines = &["Authorization: Basic x"];
    Client::connect(brim.address()).ask(Asked::get("/fresh/auth").with(lines).sent("x"));
    let told = comes_true(&brim, Asked::get("/fresh/auth").with(lines));
    assert_eq!(told["remembered"]["reason"], "authorization");
    let told = comes_true(&brim, Asked::get("/fresh/auth"));
    assert_eq!(
        (&told["remembered"], &told["verdict"]["reason"]),
        (&Value::Null, &json!("uri-miss"))
    );
}

#[test]
fn a_reason_that_nobody_goes_by_is_told_all_the_same() {
    let origin = Origin::serving(|head, _| {
        let status = if head.contains("/trouble") { "500 Internal Server Error" } else { "200 OK" };
        format!("HTTP/1.1 {status}\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n")
            .replacen(
                "Cache-Control: max-age=60\r\n",
                if head.contains("/trouble") { "" } else { "X: y\r\n" },
                1,
            )
    });
    let brim = Brim::in_front_of(origin.address());
    Client::connect(brim.address()).ask(get("/trouble"));
    let told = comes_true(&brim, Asked::get("/trouble"));
    assert_eq!(told["remembered"]["what"], "not-kept", "{told:#}");
    assert_eq!(told["remembered"]["reason"], "no-freshness");
    assert_eq!(told["verdict"]["reason"], "uri-miss");
    let because = told["verdict"]["because"].as_str().expect("a text");
    assert!(because.contains("neither a time nor anything to be confirmed with"), "{because}");
}

#[test]
fn what_was_purged_is_told_as_it_is() {
    let origin = origin();
    let brim = Brim::with(origin.address(), "", SITE);
    let operator = brim.operator();
    for wish in [
        json!({"urls": ["http://a.test/tagged/1"]}),
        json!({"tags": ["t"]}),
        json!({"prefixes": ["http://a.test/tagged/"]}),
    ] {
        Client::connect(brim.address()).ask(get("/tagged/1"));
        let told = explain(&operator, Asked::get("/tagged/1"));
        assert_eq!(told["stored"][0]["tags"], json!(["t", "u"]));
        operator.purge(&wish);
        let told = comes_true(&brim, Asked::get("/tagged/1"));
        assert_eq!(told["verdict"]["reason"], "uri-miss", "{told:#}");
        assert_eq!(told["stored"], json!([]));
        operator.purge(&json!({"tags": ["u"], "soft": true}));
        let told = comes_true(&brim, Asked::get("/tagged/1"));
        assert_eq!(told["verdict"]["outcome"], "revalidated", "{told:#}");
        assert!(told["stored"][0]["softly_purged"].is_string(), "{told:#}");
        let because = told["verdict"]["because"].as_str().expect("a text");
        assert!(because.contains("soft purge"), "{because}");
        operator.purge(&json!({"all": true}));
    }
}

#[test]
fn hosts_and_schemes_lead_to_sites_and_redirects() {
    let origin = origin();
    let address = origin.address();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{address}']\n\
         [[site]]\nhosts = ['a.test', '*.b.test']\norigin = 'o'\n\
         [[site]]\nhosts = ['tls.test']\norigin = 'o'\nredirect_to_https = true\n"
    ));
    let told = comes_true(&brim, Asked { host: "a.tset", ..Asked::get("/") });
    assert_eq!((&told["verdict"]["status"], &told["site"]), (&json!(421), &Value::Null));
    assert_eq!(told["hosts"]["nearest"], "a.test");
    assert_eq!(told["hosts"]["all"], json!(["*.b.test", "a.test", "tls.test"]));
    let told = comes_true(&brim, Asked { host: "X.b.test", ..Asked::get("/fresh/1") });
    assert_eq!(
        (&told["site"]["host"], &told["key"]["host"]),
        (&json!("*.b.test"), &json!("x.b.test"))
    );
    let told = comes_true(&brim, Asked { host: "tls.test", ..Asked::get("/fresh/1") });
    assert_eq!(told["verdict"]["detail"], "https");
    let told = brim.operator().get("/explain?url=https://tls.test/fresh/1");
    assert_eq!(told["verdict"]["reason"], "uri-miss");
}

#[test]
fn the_key_says_what_was_thrown_out_of_it() {
    let origin = origin();
    let site = "[site.key]\nquery = { deny = ['utm_*'] }\nsort_query = true\nheaders = ['X-Lang']\n\
                cookies = ['c']\nscheme = true\n[[site.rule]]\npath = '/fresh/*'\ndefault_ttl = '5m'\n";
    let brim = Brim::with(origin.address(), "", site);
    let path = "/fresh/%61%7e?b=1&utm_x=2&a=3";
    let asked = Asked { host: "A.test.:80", ..Asked::get(path) };
    let asked = asked.with(&["X-Lang: de", "Cookie: z=1; c=2"]);
    Client::connect(brim.address()).ask(asked.sent("x"));
    let told = comes_true(&brim, asked);
    assert_eq!(told["verdict"]["outcome"], "hit", "{told:#}");
    let key = &told["key"];
    assert_eq!((&key["host"], &key["target"]), (&json!("a.test"), &json!("/fresh/a~?a=3&b=1")));
    let left_out = json!([{"parameter": "utm_x=2", "by": "site.key.query: deny \"utm_*\""}]);
    assert_eq!(key["left_out"], left_out);
    assert_eq!(key["changed"].as_array().map(Vec::len), Some(5), "{key:#}");
    let added = json!([
        {"kind": "scheme", "name": "", "value": "http"},
        {"kind": "field", "name": "x-lang", "value": "de"},
        {"kind": "cookie", "name": "c", "value": "2"},
    ]);
    assert_eq!(key["added"], added);
    assert_eq!(told["rule"]["says"], json!(["default_ttl = \"5m\""]));
    let elsewhere = comes_true(&brim, Asked::get("/fresh/%2e%2e%2fx"));
    assert_eq!(elsewhere["rule"], Value::Null);
    assert!(elsewhere["no_rule_because"].is_string(), "{elsewhere:#}");
    let many = format!("/fresh/x?{}", "utm_x&".repeat(1000));
    let many = explain(&brim.operator(), Asked::get(&many));
    assert_eq!(many["key"]["left_out"].as_array().map(Vec::len), Some(100));
    assert_eq!(many["key"]["more_left_out"], 900);
    assert_eq!(told["stored"][0]["lifetime_by"], "max-age=3600 of Cache-Control");
}

#[test]
fn what_lies_on_the_disk_alone_is_told_and_not_moved() {
    let origin = origin();
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    client.ask(get("/fresh/1"));
    client.ask(get("/fresh/1"));
    brim.wait_for_metric("brim_cache_objects{tier=\"disk\"}", 1);
    let told = explain(&brim.operator(), Asked::get("/fresh/1"));
    assert_eq!(told["stored"][0]["tier"], "both", "{told:#}");
    drop(client);
    let brim = brim.again_after(Signal::TERM);
    for _ in 0..4 {
        let told = explain(&brim.operator(), Asked::get("/fresh/1"));
        assert_eq!(
            (&told["stored"][0]["tier"], &told["verdict"]["outcome"]),
            (&json!("disk"), &json!("hit")),
            "{told:#}"
        );
    }
    assert_eq!(brim.metric("brim_cache_objects{tier=\"memory\"}"), 0);
    comes_true(&brim, Asked::get("/fresh/1"));
    assert_eq!(origin.requests(), 1);
}

#[test]
fn somebody_elses_fetch_is_told_and_joined() {
    let (origin, answer, was_asked) = Origin::waiting();
    let brim = Brim::in_front_of(origin.address());
    let mut first = Client::connect(brim.address());
    first.send(get("/"));
    was_asked.recv().expect("asked");
    let told = explain(&brim.operator(), Asked::get("/"));
    let flight = json!({"wants": "whole", "is_shared": true, "status": null, "bytes": 0});
    assert_eq!(told["in_flight"], json!([flight]));
    assert_eq!(told["verdict"]["cache_status"], "brim; fwd=uri-miss; collapsed");
    answer.send(()).expect("the origin waits");
    assert_eq!(first.answer().status, 200);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn an_origin_that_is_left_in_peace_is_told() {
    let fails = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::serving(move |_, number| match number {
        0 => ok_with("Cache-Control: max-age=1, stale-if-error=600\r\nAge: 100\r\n", "old"),
        _ => fails.to_owned(),
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    loop {
        let begun = Instant::now();
        assert_eq!(client.ask(get("/")).text(), "old");
        let told = explain(&brim.operator(), Asked::get("/"));
        let answer = client.ask(get("/"));
        // The peace lasts for a second.
        if begun.elapsed() < Duration::from_millis(900) {
            let verdict = &told["verdict"];
            assert_eq!(verdict["outcome"], "stale", "{told:#}");
            assert_eq!(told["remembered"]["what"], "failing", "{told:#}");
            agrees(verdict, &answer, "a failing origin");
            break;
        }
    }
}

#[test]
fn explaining_changes_nothing() {
    let origin = origin();
    let brim = Brim::with(origin.address(), "", SITE);
    let mut client = Client::connect(brim.address());
    for path in ["/fresh/1", "/swr/1", "/private/1", "/tagged/1"] {
        client.ask(get(path));
    }
    // Both are counted behind the answer.
    brim.wait_for_metric("brim_requests_total{outcome=\"miss\",site=\"*\"}", 4);
    brim.wait_until("brim_fills_in_flight", |fills| fills == 0);
    let requests = origin.requests();
    let metrics = || {
        let text = Client::connect(brim.admin()).ask(get("/metrics")).text();
        let is_ours = |line: &&str| {
            ["brim_requests", "brim_cache", "brim_fills", "brim_origin_requests", "brim_coalesced"]
                .iter()
                .any(|name| line.starts_with(name))
        };
        text.lines().filter(is_ours).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = metrics();
    for path in ["/fresh/1", "/swr/1", "/private/1", "/tagged/1", "/never/1", "/cold"] {
        explain(&brim.operator(), Asked::get(path));
    }
    assert_eq!(metrics(), before);
    assert_eq!(origin.requests(), requests);
}

#[test]
fn what_is_too_large_for_the_edge_is_refused_as_a_request_is() {
    let origin = origin();
    let brim = Brim::in_front_of(origin.address());
    let long = format!("/{}", "a".repeat(40_000));
    assert_eq!(comes_true(&brim, Asked::get(&long))["verdict"]["status"], 414);
    let large = format!("X-Large: {}", "a".repeat(66_000));
    let told = comes_true(&brim, Asked::get("/a").with(&[&large]));
    assert_eq!(told["verdict"]["status"], 431);
}

#[test]
fn what_is_asked_about_is_untrusted() {
    let origin = Origin::answering(ok_with(
        "Cache-Control: max-age=60\r\nETag: \"\u{9b}31m\u{202e}\"\r\nVary: X\r\n",
        "body",
    ));
    let brim = Brim::in_front_of(origin.address());
    Client::connect(brim.address()).ask(get_with("/", "X: \u{9b}31m\r\n"));
    let operator = brim.operator();
    let answer = operator.ask("GET", "/explain?url=http://a.test/", "");
    let is_plain = |byte: &u8| (b' '..=b'~').contains(byte) || *byte == b'\n';
    assert!(answer.body.iter().all(is_plain), "{}", answer.text());
    for (query, why) in [
        ("", "`url` is missing"),
        ("?url=", "`url` is empty"),
        ("?url=http://a.test/&url=http://b.test/", "twice"),
        ("?url=http://a.test/&x=1", "unknown parameter `x`"),
        ("?url=http://a.test/%0d%0aX:%20y", "control character"),
        ("?url=ftp://a.test/", "not a scheme"),
        ("?url=http://u:p@a.test/", "user"),
        ("?url=http://a%20b/", "not a host"),
        ("?url=http:///x", "names no host"),
        ("?url=http://a.test/&method=GET%20/%20HTTP/1.1%0d%0aX:", "not a method"),
        ("?url=http://a.test/&header=x", "Name: value"),
        ("?url=http://a.test/&header=x:%20a%0d%0aHost:%20b", "Name: value"),
        ("?url=http://a.test/&header=x%20y:%20a", "Name: value"),
        ("?url=http://a.test/&fetch=yes", "true or false"),
    ] {
        let answer = operator.ask("GET", &format!("/explain{query}"), "");
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
        assert!(answer.text().contains(why), "{query}: {}", answer.text());
    }
    let head = "GET /explain?url=http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(Client::connect(brim.admin()).ask(head).status, 401);
    let long = format!("/explain?url=http://a.test/{}", "a".repeat(48 * 1024));
    assert_eq!(operator.ask("GET", &long, "").status, 400);
    let many = format!("/explain?url=http://a.test/{}", "&header=x:y".repeat(8000));
    let told = operator.get(&many);
    assert_eq!(told["verdict"]["reason"], "bad_request", "{}", told["verdict"]);
}
