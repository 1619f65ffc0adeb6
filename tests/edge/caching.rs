//! What is stored, for how long, and what a hit is like.

use crate::kit::{Brim, Client, NOBODY, OK, Origin, get, get_with, head, ok_with};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

fn date_ago(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(seconds))
}

/// Whether two requests for the same cost the origin only one.
#[track_caller]
fn is_kept(site: &str, path: &str, answer: impl Into<String>) -> bool {
    let origin = Origin::answering(answer);
    let brim = Brim::with(origin.address(), "", site);
    let mut client = Client::connect(brim.address());
    let first = client.ask(get(path));
    let second = client.ask(get(path));
    assert_eq!((first.status, &first.body), (second.status, &second.body));
    let is_kept = origin.requests() == 1;
    assert_eq!(first.told().contains("; stored"), is_kept, "{}", first.told());
    assert_eq!(second.told().contains("; hit"), is_kept, "{}", second.told());
    is_kept
}

#[test]
fn a_hit_serves_the_same_bytes_and_the_origin_is_asked_once() {
    let large: String = (0..40_000u32).map(|number| format!("{number:05}")).collect();
    let told = large.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            let fields = format!("{HOUR}ETag: \"1\"\r\nX-A: 1\r\nx-a: 2\r\n");
            match head.split(' ').nth(1).expect("a target") {
                "/empty" => peer.send(ok_with(&fields, "")),
                "/small" => peer.send(ok_with(&fields, "small")),
                "/large" => peer.send(ok_with(&fields, &told)),
                "/chunked" => peer.send(format!(
                    "HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n\
                     3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
                )),
                _ => return peer.send(format!("HTTP/1.0 200 OK\r\n{fields}\r\nuntil the end")),
            }
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let expected = [
        ("/empty", ""),
        ("/small", "small"),
        ("/large", &large),
        ("/chunked", "abcde"),
        ("/close", "until the end"),
    ];
    for (position, (path, body)) in expected.into_iter().enumerate() {
        for turn in 0..3 {
            let answer = client.ask(get(path));
            assert_eq!((answer.status, answer.is_whole), (200, true), "{path}");
            assert!(answer.text() == body, "{path}");
            assert_eq!(answer.field("etag"), Some("\"1\""));
            assert_eq!(answer.fields("x-a"), ["1", "2"]);
            let told = if turn == 0 { "brim; fwd=uri-miss; stored" } else { "brim; hit" };
            assert_eq!(answer.told(), told, "{path}");
            if turn > 0 {
                let length = body.len().to_string();
                assert_eq!(answer.field("content-length"), Some(&length[..]), "{path}");
            }
        }
        assert_eq!(origin.requests(), position + 1, "{path}");
    }
}

#[test]
fn a_hit_is_the_origins_answer_with_its_reason_and_date() {
    let date = date_ago(100);
    let origin = Origin::answering(format!(
        "HTTP/1.1 200 Fine by me\r\nDate: {date}\r\nAge: 40\r\n{HOUR}Server: origin\r\n\
         Content-Length: 2\r\n\r\nok"
    ));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for turn in 0..2 {
        let answer = client.ask(get("/"));
        assert!(answer.head.starts_with("HTTP/1.1 200 Fine by me\r\n"), "{}", answer.head);
        assert_eq!(answer.fields("date"), [&date]);
        assert_eq!(answer.field("server"), Some("origin"));
        assert_eq!(answer.fields("via"), ["1.1 brim"]);
        // The older of what Date and Age say, and one line only (RFC 9111, section 4.2.3).
        let (age, ttl) = (answer.number("age").expect("an age"), answer.number("ttl"));
        assert!((100..160).contains(&age), "turn {turn}: {age}");
        assert_eq!((answer.fields("age").len(), ttl), (1, Some(3600 - age)));
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn an_answer_without_a_date_gets_one_and_keeps_it() {
    let origin = Origin::answering(ok_with(HOUR, "ok"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let first = client.ask(get("/"));
    let again = client.ask(get("/"));
    assert_eq!(first.fields("date").len(), 1);
    assert_eq!(first.fields("date"), again.fields("date"));
    // A hit has an age, even of no seconds.
    assert!((0..60).contains(&again.number("age").expect("an age")));
}

#[test]
fn what_has_been_passed_on_and_its_line_in_the_log_tell_the_same_story() {
    let origin = Origin::serving(|head, _| match head.split(' ').nth(1) {
        Some("/kept" | "/posted") => ok_with(HOUR, "ok"),
        Some("/vary") => ok_with(&format!("{HOUR}Vary: X-V\r\n"), "ok"),
        Some("/stale") if head.contains("If-None-Match") => {
            "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nAge: 100\r\n\r\n".into()
        }
        Some("/stale") => ok_with("Cache-Control: max-age=1\r\nAge: 100\r\nETag: \"1\"\r\n", "ok"),
        Some("/swr") => {
            ok_with("Cache-Control: max-age=1, stale-while-revalidate=600\r\nAge: 100\r\n", "ok")
        }
        Some("/private") => ok_with("Cache-Control: private\r\n", "ok"),
        _ => OK.into(),
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[origin]]\nname = 'dead'\nservers = ['http://{NOBODY}']\n\
         [[site]]\nhosts = ['a.test']\norigin = 'o'\n[[site.rule]]\npath = '/rule'\ncache = false\n\
         [[site]]\nhosts = ['b.test']\norigin = 'dead'\n",
        origin.address()
    ));
    let a = |path: &str, lines: &str| get_with(path, lines);
    let method = |method: &str, path: &str, host: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\n\r\nx")
    };
    let steps = [
        (a("/kept", "U: 1\r\n"), 200, "brim; fwd=uri-miss; stored", "miss", Some("uri-miss")),
        (a("/kept", ""), 200, "brim; hit", "hit", None),
        (a("/kept", "If-None-Match: *\r\n"), 304, "brim; hit", "hit", None),
        (a("/kept", "Range: bytes=0-0\r\n"), 206, "brim; hit", "hit", None),
        (a("/vary", "X-V: 1\r\n"), 200, "brim; fwd=uri-miss; stored", "miss", Some("uri-miss")),
        (a("/vary", "X-V: 2\r\n"), 200, "brim; fwd=vary-miss; stored", "miss", Some("vary-miss")),
        (a("/stale", ""), 200, "brim; fwd=uri-miss; stored", "miss", Some("uri-miss")),
        (a("/stale", ""), 200, "brim; fwd=stale; fwd-status=304", "revalidated", Some("stale")),
        (a("/swr", ""), 200, "brim; fwd=uri-miss; stored", "miss", Some("uri-miss")),
        (
            a("/swr", ""),
            200,
            "brim; hit; detail=stale-while-revalidate",
            "stale",
            Some("stale-while-revalidate"),
        ),
        (a("/private", ""), 200, "brim; fwd=uri-miss; detail=private", "miss", Some("uri-miss")),
        (a("/private", ""), 200, "brim; fwd=bypass; detail=private", "miss", Some("bypass")),
        (a("/rule", ""), 200, "brim; fwd=bypass; detail=rule", "pass", Some("bypass")),
        (method("POST", "/posted", "a.test"), 200, "brim; fwd=method", "pass", Some("method")),
        (
            method("GET", "/content", "a.test"),
            200,
            "brim; fwd=bypass; detail=request-body",
            "pass",
            Some("bypass"),
        ),
        (
            a("/none", "Cache-Control: only-if-cached\r\n"),
            504,
            "brim; detail=only-if-cached",
            "edge",
            None,
        ),
        (
            "GET /dead HTTP/1.1\r\nHost: b.test\r\n\r\n".into(),
            502,
            "brim; fwd=uri-miss; detail=origin_refused",
            "error",
            Some("origin_refused"),
        ),
        (
            method("PUT", "/dead-put", "b.test"),
            502,
            "brim; fwd=method; detail=origin_refused",
            "error",
            Some("origin_refused"),
        ),
        (
            "GET /nowhere HTTP/1.1\r\nHost: c.test\r\n\r\n".into(),
            421,
            "brim; detail=no_site",
            "error",
            Some("no_site"),
        ),
    ];
    let mut client = Client::connect(brim.address());
    for (step, (request, status, told, outcome, reason)) in steps.into_iter().enumerate() {
        let request = request.replacen("\r\n", &format!("\r\nUser-Agent: step-{step};\r\n"), 1);
        let answer = client.ask(&request);
        assert_eq!((answer.status, answer.told().as_str()), (status, told), "{request}");
        assert_eq!(answer.fields("via"), ["1.1 brim"], "{request}");
        assert_eq!(answer.fields("cache-status").len(), 1, "{request}");
        let line = brim.access_log(&format!("step-{step};"));
        assert!(line.contains(&format!("\"outcome\":\"{outcome}\"")), "{request} {line}");
        let said = line.split("\"reason\":\"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(said, reason, "{request} {line}");
    }
    let bad = client.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!((bad.status, bad.told().as_str()), (400, "brim; detail=bad_request"));
    assert_eq!(bad.fields("via"), ["1.1 brim"]);
}

#[test]
fn head_is_answered_from_what_get_stored() {
    let origin = Origin::answering(ok_with(HOUR, "four"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    for _ in 0..2 {
        let answer = client.ask_head(head("/"));
        assert_eq!((answer.status, answer.told().as_str()), (200, "brim; hit"));
        assert_eq!(answer.field("content-length"), Some("4"));
    }
    assert_eq!(client.ask(get("/")).text(), "four");
    assert_eq!(origin.requests(), 1);
}

#[test]
fn head_of_what_is_not_stored_passes_as_head_and_stores_nothing() {
    let origin = Origin::serving(|head, _| {
        let body = if head.starts_with("HEAD") { "" } else { "four" };
        format!("HTTP/1.1 200 OK\r\n{HOUR}Content-Length: 4\r\n\r\n{body}")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        let answer = client.ask_head(head("/"));
        assert_eq!((answer.status, answer.told().as_str()), (200, "brim; fwd=uri-miss"));
        assert_eq!(answer.field("content-length"), Some("4"));
    }
    assert_eq!(client.ask(get("/")).text(), "four");
    let methods: Vec<_> = origin.heads().iter().map(|head| head[..4].to_owned()).collect();
    assert_eq!(methods, ["HEAD", "HEAD", "GET "]);
}

#[test]
fn an_answer_to_head_brings_what_is_stored_up_to_date() {
    let origin = Origin::serving(|head, _| {
        if head.starts_with("HEAD") {
            format!("HTTP/1.1 200 OK\r\n{HOUR}ETag: \"1\"\r\nX-N: new\r\nContent-Length: 4\r\n\r\n")
        } else {
            ok_with("Cache-Control: max-age=1\r\nAge: 100\r\nETag: \"1\"\r\nX-N: old\r\n", "four")
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    assert_eq!(client.ask_head(head("/")).told(), "brim; fwd=stale");
    let updated = client.ask(get("/"));
    assert_eq!((updated.text().as_str(), updated.told().as_str()), ("four", "brim; hit"));
    assert_eq!(updated.fields("x-n"), ["new"]);
}

#[test]
fn an_answer_to_head_that_shows_another_object_makes_the_stored_one_stale() {
    for other in ["ETag: \"2\"\r\nContent-Length: 4\r\n", "ETag: \"1\"\r\nContent-Length: 5\r\n"] {
        let origin = Origin::serving(move |head, _| {
            if head.starts_with("HEAD") {
                format!("HTTP/1.1 200 OK\r\n{HOUR}{other}\r\n")
            } else if head.contains("If-None-Match") {
                ok_with(HOUR, "other")
            } else {
                ok_with(&format!("{HOUR}ETag: \"1\"\r\n"), "four")
            }
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/"));
        let request = "HEAD / HTTP/1.1\r\nHost: a.test\r\nCache-Control: no-cache\r\n\r\n";
        assert_eq!(client.ask_head(request).told(), "brim; fwd=request");
        assert_eq!(client.ask(get("/")).text(), "other", "{other}");
        assert_eq!(origin.requests(), 3);
    }
}

#[test]
fn old_clients_get_hits_and_misses_that_they_can_read() {
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\n{HOUR}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
            ));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let request = "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n";
    let mut client = Client::connect(brim.address());
    let miss = client.ask(request);
    assert_eq!((miss.text().as_str(), miss.field("transfer-encoding")), ("ab", None));
    assert_eq!(miss.field("connection"), Some("close"));
    client.is_closed();
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        let hit = client.ask(request);
        assert_eq!((hit.text().as_str(), hit.told().as_str()), ("ab", "brim; hit"));
        assert_eq!(hit.field("content-length"), Some("2"));
        assert_eq!(hit.field("connection"), Some("keep-alive"));
    }
    let hit = client.ask("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!((hit.text().as_str(), hit.field("connection")), ("ab", Some("close")));
    client.is_closed();
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_hint_reaches_the_first_client_and_is_no_part_of_the_hit() {
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
            peer.send(ok_with(HOUR, "ok"));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let hint = client.ask(get("/"));
    assert_eq!((hint.status, hint.field("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(client.answer().status, 200);
    let hit = client.ask(get("/"));
    assert_eq!((hit.status, hit.field("link")), (200, None));
    // A 1.0 client gets none.
    let old = client.ask("GET /old HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(old.status, 200);
}

#[test]
fn trailers_reach_the_first_client_and_a_hit_is_whole_without_them() {
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            peer.send(format!(
                "HTTP/1.1 200 OK\r\n{HOUR}Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\nX-Sum: abc\r\nSet-Cookie: a=1\r\n\r\n"
            ));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let miss = client.ask(get("/"));
    assert_eq!((miss.text().as_str(), miss.trailers.as_str()), ("hello", "X-Sum: abc\r\n"));
    let hit = client.ask(get("/"));
    assert_eq!((hit.text().as_str(), hit.is_whole, hit.trailers.as_str()), ("hello", true, ""));
    assert_eq!(origin.requests(), 1);
}

#[test]
fn the_first_client_reads_while_the_answer_is_being_stored() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\n{HOUR}Content-Length: 10\r\n\r\nfirst"));
            let _ = released.lock().expect("lock").recv();
            peer.send("-last");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send(get("/"));
    let head = client.answer_without_body();
    assert_eq!(head.field("content-length"), Some("10"));
    assert_eq!(client.read_exactly(5), b"first");
    release.send(()).expect("the origin waits");
    assert_eq!(client.read_exactly(5), b"-last");
    // Whoever has the last byte finds it stored.
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
}

#[test]
fn an_object_of_more_than_a_quarter_of_the_memory_is_served_and_not_kept() {
    let origin = Origin::serving(|head, _| {
        let bytes = if head.contains("/fits") { 250 * 1024 } else { 300 * 1024 };
        let body = "x".repeat(bytes);
        if head.contains("/chunked") {
            let fields = format!("{HOUR}Transfer-Encoding: chunked\r\n");
            return format!("HTTP/1.1 200 OK\r\n{fields}\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n");
        }
        ok_with(HOUR, &body)
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[cache.memory]\nsize = '1MiB'\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    for (path, bytes, is_kept) in
        [("/fits", 250, true), ("/length", 300, false), ("/chunked", 300, false)]
    {
        let before = origin.requests();
        for _ in 0..3 {
            let answer = client.ask(get(path));
            assert_eq!((answer.is_whole, answer.body.len()), (true, bytes * 1024), "{path}");
        }
        let asked = origin.requests() - before;
        assert_eq!(asked, if is_kept { 1 } else { 3 }, "{path}");
    }
    let told = client.ask(get("/length")).told();
    assert!(told.ends_with("; detail=too-large") && !told.contains("stored"), "{told}");
}

#[test]
fn statuses_are_kept_with_a_time_and_some_without() {
    let answer = |status: &str, fields: &str| {
        format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: 0\r\n\r\n")
    };
    let modified = format!("Last-Modified: {}\r\n", date_ago(10 * 86400));
    for status in ["200", "203", "300", "301", "308", "404", "405", "410", "414", "501"] {
        assert!(is_kept("", "/", answer(status, HOUR)), "{status}");
        assert!(is_kept("", "/", answer(status, &modified)), "{status} guessed");
        assert!(!is_kept("", "/", answer(status, "")), "{status} without a word");
    }
    for status in ["302", "307", "400", "403", "500", "503", "599"] {
        assert!(is_kept("", "/", answer(status, HOUR)), "{status}");
        assert!(!is_kept("", "/", answer(status, &modified)), "{status} guessed");
        let public = format!("{modified}Cache-Control: public\r\n");
        assert!(is_kept("", "/", answer(status, &public)), "{status} guessed, public");
    }
    assert!(is_kept("", "/", format!("HTTP/1.1 204 X\r\n{HOUR}\r\n")));
}

#[test]
fn an_age_is_guessed_unless_the_site_forbids_it() {
    let answer = ok_with(&format!("Last-Modified: {}\r\n", date_ago(10 * 86400)), "ok");
    assert!(is_kept("", "/", &*answer));
    let origin = Origin::answering(&*answer);
    let brim = Brim::with(origin.address(), "", "heuristic_freshness = false");
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    // Kept, to be asked for again with its date.
    assert_eq!(client.ask(get("/")).told(), "brim; fwd=stale; stored");
    assert!(origin.last_head().contains("\r\nIf-Modified-Since: "));
    // 10 % of the time that it has not changed for, at most a day.
    let origin =
        Origin::answering(ok_with(&format!("Last-Modified: {}\r\n", date_ago(10_000)), "ok"));
    let brim = Brim::in_front_of(origin.address());
    let ttl = Client::connect(brim.address()).ask(get("/")).number("ttl").expect("a ttl");
    assert!((900..=1000).contains(&ttl), "{ttl}");
    let origin = Origin::answering(ok_with("Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""));
    let brim = Brim::in_front_of(origin.address());
    let ttl = Client::connect(brim.address()).ask(get("/")).number("ttl").expect("a ttl");
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");
}

#[test]
fn the_field_for_cdns_governs_then_surrogates_then_caches_then_expires() {
    let expires = format!("Expires: {}\r\n", date_ago(0));
    let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3600));
    let kept: &[(&str, bool)] = &[
        (
            "CDN-Cache-Control: max-age=60\r\nSurrogate-Control: no-store\r\nCache-Control: no-store\r\n",
            true,
        ),
        (
            "CDN-Cache-Control: no-store\r\nSurrogate-Control: max-age=60\r\nCache-Control: max-age=60\r\n",
            false,
        ),
        ("Surrogate-Control: max-age=60\r\nCache-Control: no-store\r\n", true),
        ("Surrogate-Control: no-store\r\nCache-Control: max-age=60\r\n", false),
        ("Surrogate-Control: max-age=60;other\r\nCache-Control: no-store\r\n", false),
        ("Surrogate-Control: max-age=60;brim\r\nCache-Control: no-store\r\n", true),
        // One that is no structured field, or empty, is not there (RFC 9213, section 2.1).
        ("CDN-Cache-Control: max-age=60, &&\r\nCache-Control: no-store\r\n", false),
        ("CDN-Cache-Control: \r\nCache-Control: max-age=60\r\n", true),
        ("CDN-Cache-Control: max-age=\"60\"\r\n", false),
        ("CDN-Cache-Control: max-age=60, no-store=?0\r\nCache-Control: private\r\n", true),
        ("Cache-Control: max-age=60\r\nExpires: Thu, 01 Jan 1970 00:00:00 GMT\r\n", true),
        ("Cache-Control: s-maxage=60, max-age=0\r\n", true),
        ("Cache-Control: s-maxage=0, max-age=60\r\n", false),
        ("Cache-Control: max-age=60, no-store\r\n", false),
        ("Expires: 0\r\n", false),
    ];
    for (fields, expected) in kept {
        let origin = Origin::answering(ok_with(fields, "ok"));
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/"));
        assert_eq!(client.ask(get("/")).told() == "brim; hit", *expected, "{fields}");
    }
    assert!(is_kept("", "/", ok_with(&format!("Expires: {later}\r\n"), "ok")));
    let origin = Origin::answering(ok_with(&expires, "ok"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    assert_eq!(client.ask(get("/")).told(), "brim; fwd=stale; stored");
}

#[test]
fn a_rule_gives_times_and_never_overrules_what_is_not_to_be_kept() {
    let rules = "[[site.rule]]\npath = '/ttl/*'\nttl = '1h'\n\
                 [[site.rule]]\npath = '*.default'\ndefault_ttl = '1h'\nnegative_ttl = '1h'\n\
                 [[site.rule]]\npath = '/never/*'\ncache = false\n\
                 [[site.rule]]\npath = '*'\nnegative_ttl = '0s'\n";
    let ok = |fields: &str| ok_with(fields, "ok");
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    for (path, answer, expected) in [
        ("/ttl/a", ok(""), true),
        ("/ttl/a", ok("Cache-Control: max-age=0\r\n"), true),
        ("/ttl/a", ok("Expires: 0\r\n"), true),
        ("/ttl/a", ok("Cache-Control: no-store\r\n"), false),
        ("/ttl/a", ok("Cache-Control: private\r\n"), false),
        ("/ttl/a", ok("Set-Cookie: a=1\r\n"), false),
        ("/ttl/a", missing.into(), false),
        ("/a.default", ok(""), true),
        ("/a.default?b=c", ok(""), true),
        ("/a.default", missing.into(), true),
        ("/a.default", "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".into(), false),
        ("/a.default", "HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n".into(), false),
        ("/ttl/a.default", missing.into(), false),
        ("/never/a", ok(HOUR), false),
        ("/other", ok(HOUR), true),
        ("/other", ok(""), false),
    ] {
        assert_eq!(is_kept(rules, path, &*answer), expected, "{path} {answer}");
    }
    // `no-cache` is asked for again each time, whatever the rule says.
    let origin = Origin::answering(ok("Cache-Control: no-cache\r\nETag: \"1\"\r\n"));
    let brim = Brim::with(origin.address(), "", rules);
    let mut client = Client::connect(brim.address());
    client.ask(get("/ttl/a"));
    assert_eq!(client.ask(get("/ttl/a")).told(), "brim; fwd=stale; stored");
    assert!(origin.last_head().contains("\r\nIf-None-Match: \"1\"\r\n"));
}

#[test]
fn fields_for_caches_stay_here() {
    let fields = format!(
        "{HOUR}Surrogate-Key: a b\r\nCache-Tag: c,d\r\nSurrogate-Control: max-age=60\r\nX-Kept: 1\r\n"
    );
    let origin = Origin::answering(ok_with(&fields, "ok"));
    let brim = Brim::with(origin.address(), "", "[[site.rule]]\npath = '/pass'\ncache = false");
    let mut client = Client::connect(brim.address());
    for path in ["/", "/", "/pass"] {
        let answer = client.ask(get(path));
        for name in ["surrogate-key", "cache-tag", "surrogate-control"] {
            assert_eq!(answer.field(name), None, "{path}");
        }
        assert_eq!(answer.field("x-kept"), Some("1"));
        assert_eq!(answer.field("cache-control"), Some("max-age=3600"));
    }
}

#[test]
fn the_story_of_a_cache_behind_this_one_comes_before_ours() {
    let origin = Origin::answering(ok_with(
        &format!("{HOUR}Cache-Status: Far; hit\r\nVia: 1.1 far\r\n"),
        "",
    ));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    let hit = client.ask(get("/"));
    let told = hit.fields("cache-status");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("Far; hit, brim; hit; ttl="), "{told:?}");
    assert_eq!(hit.fields("via"), ["1.1 far", "1.1 brim"]);
}

#[test]
fn a_large_hit_is_the_same_bytes_and_so_are_its_parts() {
    const TOTAL: usize = 5_000_000;
    let body: Vec<u8> = (0..TOTAL).map(|at| (at * 31 / 7 % 251) as u8).collect();
    let sent = body.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(format!("HTTP/1.1 200 OK\r\n{HOUR}Content-Length: {TOTAL}\r\n\r\n"));
            // In pieces that fit no block.
            sent.chunks(70_001).for_each(|piece| peer.send(piece));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        assert!(client.ask(get("/")).body == body);
    }
    for (from, to) in [(0, 0), (65_535, 65_536), (1_000_000, 4_000_000), (TOTAL - 1, TOTAL - 1)] {
        let part = client.ask(get_with("/", &format!("Range: bytes={from}-{to}\r\n")));
        assert!(part.status == 206 && part.body == body[from..=to], "{from}");
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn hits_misses_and_passes_are_answered_in_the_order_of_their_requests() {
    let origin = Origin::serving(|head, _| ok_with(HOUR, head.lines().next().unwrap_or_default()));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/hit"));
    let post = "POST /hit?pass HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    let paths = ["/hit", "/miss", "/hit", "/miss", "/pass"];
    let mut sent: String = paths.iter().map(|path| get(path)).collect();
    sent += post;
    sent += &get("/hit");
    client.send(sent);
    for path in paths {
        assert_eq!(client.answer().text(), format!("GET {path} HTTP/1.1"));
    }
    assert_eq!(client.answer().text(), "POST /hit?pass HTTP/1.1");
    assert_eq!(client.answer().told(), "brim; hit");
}
