//! Conditional requests: those that clients send, and those that the edge asks origins with.

use crate::kit::{Brim, Client, Origin, get, get_with, ok_with};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const STALE: &str = "Cache-Control: max-age=1\r\nAge: 100\r\n";
const HOUR: &str = "Cache-Control: max-age=3600\r\n";

/// Conditions and the status that they lead to, for something with ETag "1" of 1994.
fn conditions() -> Vec<(String, u16)> {
    let mut all: Vec<(String, u16)> = [
        ("If-None-Match: \"1\"", 304),
        ("If-None-Match: W/\"1\"", 304),
        ("If-None-Match: \"0\", W/\"1\" ,\"2\"", 304),
        ("If-None-Match: \"0\"\r\nIf-None-Match: \"1\"", 304),
        ("If-None-Match: *", 304),
        ("If-None-Match: \"0\"", 200),
        ("If-None-Match: \"0,\\\"1\"", 200),
        ("If-Match: \"1\"", 200),
        ("If-Match: \"0\", \"1\"", 200),
        ("If-Match: *", 200),
        ("If-Match: \"0\"", 412),
        ("If-Match: W/\"1\"", 412),
    ]
    .map(|(line, status)| (format!("{line}\r\n"), status))
    .into();
    for (name, date, status) in [
        ("If-Modified-Since", MODIFIED, 304),
        ("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT", 304),
        ("If-Modified-Since", "Sun Nov  6 08:49:37 1994", 304),
        ("If-Modified-Since", BEFORE, 200),
        ("If-Modified-Since", "yesterday", 200),
        ("If-Unmodified-Since", MODIFIED, 200),
        ("If-Unmodified-Since", BEFORE, 412),
        // The entity tags have the last word where there are some (RFC 9110, section 13.2.2).
        ("If-None-Match: \"0\"\r\nIf-Modified-Since", MODIFIED, 200),
        ("If-None-Match: \"1\"\r\nIf-Modified-Since", BEFORE, 304),
        ("If-Match: \"1\"\r\nIf-Unmodified-Since", BEFORE, 200),
        ("If-Match: \"0\"\r\nIf-None-Match: \"1\"\r\nIf-Modified-Since", MODIFIED, 412),
    ] {
        all.push((format!("{name}: {date}\r\n"), status));
    }
    all
}

#[test]
fn conditions_are_judged_against_what_is_stored() {
    let fields = format!("{HOUR}ETag: \"1\"\r\nLast-Modified: {MODIFIED}\r\n");
    let origin = Origin::answering(ok_with(&fields, "ok"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    for (lines, status) in conditions() {
        for method in ["GET", "HEAD"] {
            let request = get_with("/", &lines).replacen("GET", method, 1);
            client.send(request);
            let answer = match method {
                "GET" => client.answer(),
                _ => client.answer_without_body(),
            };
            assert_eq!(answer.status, status, "{method} {lines}");
            let body = answer.text();
            assert_eq!(body == "ok", status == 200 && method == "GET", "{method} {lines}");
        }
    }
    // What only an origin can judge was asked of it (RFC 9111, section 4.3.2).
    let heads = origin.heads();
    let is_for_origin = |head: &String| head.contains("If-Match") || head.contains("If-Unmodified");
    assert!(heads[1..].iter().all(is_for_origin), "{heads:#?}");
}

#[test]
fn conditions_are_judged_against_what_is_fetched_and_kept_for_others() {
    let fields = format!("{HOUR}ETag: \"1\"\r\nLast-Modified: {MODIFIED}\r\n");
    let origin = Origin::answering(ok_with(&fields, "ok"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for (position, (lines, status)) in conditions().into_iter().enumerate() {
        let path = format!("/{position}");
        assert_eq!(client.ask(get_with(&path, &lines)).status, status, "{lines}");
        let next = client.ask(get(&path));
        assert_eq!((next.text().as_str(), next.told().as_str()), ("ok", "brim; hit"), "{lines}");
    }
    let heads = origin.heads();
    let is_for_cache = |head: &String| head.contains("If-None-Match") && !head.contains("If-Match");
    assert!(!heads.iter().any(is_for_cache), "{heads:#?}");
}

#[test]
fn a_304_tells_what_a_200_would_have_told_and_nothing_about_content() {
    let fields = format!(
        "{HOUR}ETag: \"1\"\r\nVary: X-V\r\nContent-Location: /x\r\nContent-Type: a/b\r\n\
         Content-Language: de\r\nExpires: {MODIFIED}\r\n"
    );
    let origin = Origin::answering(ok_with(&fields, "ok"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let date = client.ask(get("/")).field("date").expect("a date").to_owned();
    let answer = client.ask(get_with("/", "If-None-Match: \"1\"\r\n"));
    assert_eq!((answer.status, answer.field("date")), (304, Some(&date[..])));
    for (name, value) in [
        ("cache-control", "max-age=3600"),
        ("etag", "\"1\""),
        ("vary", "X-V"),
        ("content-location", "/x"),
        ("expires", MODIFIED),
        ("via", "1.1 brim"),
    ] {
        assert_eq!(answer.fields(name), [value]);
    }
    assert_eq!(answer.told(), "brim; hit");
    assert!(answer.number("age").is_some());
    for name in ["content-length", "content-type", "content-language", "transfer-encoding"] {
        assert_eq!(answer.field(name), None, "{name}");
    }
}

#[test]
fn a_condition_is_about_success_only() {
    let origin = Origin::answering(format!(
        "HTTP/1.1 404 Not Found\r\n{HOUR}ETag: \"1\"\r\nContent-Length: 2\r\n\r\nno"
    ));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for lines in ["", "If-None-Match: \"1\"\r\n", "If-Match: \"0\"\r\n"] {
        assert_eq!(client.ask(get_with("/", lines)).status, 404, "{lines}");
    }
    assert_eq!(origin.requests(), 2);
}

#[test]
fn a_confirmation_updates_the_whole_head_and_the_freshness() {
    let origin = Origin::serving(|head, _| {
        if head.contains("If-None-Match: \"1\"") {
            return format!(
                "HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"1\"\r\nX-New: 1\r\nX-Both: new\r\n\
                 Content-Type: new/type\r\nContent-Encoding: br\r\nContent-Length: 99\r\n\r\n"
            );
        }
        ok_with(
            &format!(
                "{STALE}ETag: \"1\"\r\nLast-Modified: {MODIFIED}\r\nX-Old: 1\r\nX-Both: old\r\n\
                 X-Both: older\r\nContent-Type: old/type\r\nContent-Encoding: gzip\r\n"
            ),
            "body",
        )
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    for told in ["brim; fwd=stale; fwd-status=304", "brim; hit"] {
        let answer = client.ask(get("/"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
        assert_eq!(answer.told(), told);
        for (name, value) in [
            ("x-new", "1"),
            ("x-old", "1"),
            ("x-both", "new"),
            ("content-type", "new/type"),
            // About the stored bytes, which did not change.
            ("content-encoding", "gzip"),
            ("content-length", "4"),
            ("cache-control", "max-age=3600"),
            ("via", "1.1 brim"),
        ] {
            assert_eq!(answer.fields(name), [value], "{name}");
        }
        assert!(answer.number("age").is_some_and(|age| age < 60));
    }
    assert_eq!(origin.requests(), 2);
    let asked = origin.last_head();
    assert!(asked.contains(&format!("\r\nIf-Modified-Since: {MODIFIED}\r\n")), "{asked}");
}

#[test]
fn the_clients_own_condition_is_judged_after_the_confirmation() {
    let origin = Origin::serving(|head, _| {
        if head.contains("If-None-Match: \"1\"") {
            return "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nAge: 100\r\n\r\n".into();
        }
        ok_with(&format!("{STALE}ETag: \"1\"\r\n"), "body")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    for (lines, status) in [("\"1\"", 304), ("\"0\"", 200), ("\"1\"", 304)] {
        let answer = client.ask(get_with("/", &format!("If-None-Match: {lines}\r\n")));
        assert_eq!(answer.status, status);
        assert!(answer.told().starts_with("brim; fwd=stale"), "{}", answer.told());
    }
    // The origin was asked about what is stored, each time.
    let heads = origin.heads();
    assert!(heads[1..].iter().all(|head| head.matches("If-None-Match: \"1\"").count() == 1));
    assert!(!heads.iter().any(|head| head.contains("\"0\"")), "{heads:#?}");
}

#[test]
fn a_full_answer_replaces_what_was_to_be_confirmed() {
    let origin = Origin::serving(|_, number| {
        if number == 0 {
            ok_with(&format!("{STALE}ETag: \"1\"\r\n"), "old")
        } else {
            ok_with(&format!("{HOUR}ETag: \"2\"\r\n"), "new")
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let told = ["brim; fwd=uri-miss; stored", "brim; fwd=stale; stored", "brim; hit"];
    for (body, told) in ["old", "new", "new"].into_iter().zip(told) {
        let answer = client.ask(get("/"));
        assert_eq!((answer.text().as_str(), answer.told().as_str()), (body, told));
    }
}

#[test]
fn what_is_gone_replaces_what_was_to_be_confirmed_also_without_its_vary() {
    let origin = Origin::serving(|_, number| {
        if number == 0 {
            ok_with(&format!("{STALE}ETag: \"1\"\r\nVary: X-V\r\n"), "old")
        } else {
            format!("HTTP/1.1 404 Not Found\r\n{HOUR}Content-Length: 4\r\n\r\ngone")
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    for told in ["brim; fwd=stale; stored", "brim; hit"] {
        let answer = client.ask(get("/"));
        assert_eq!((answer.status, answer.told().as_str()), (404, told));
    }
}

#[test]
fn a_304_about_something_else_confirms_nothing() {
    let origin = Origin::serving(|head, number| {
        if head.contains("If-None-Match") {
            return format!("HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"2\"\r\n\r\n");
        }
        let (fields, body) = if number == 0 { (STALE, "old") } else { (HOUR, "new") };
        ok_with(&format!("{fields}ETag: \"{number}\"\r\n"), body)
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    assert_eq!(client.ask(get("/")).text(), "new");
    assert_eq!(origin.requests(), 3);
}

#[test]
fn what_the_client_has_confirms_nothing_that_is_stored() {
    // A client that forbids to store speaks to the origin for itself: a 304 is about its copy.
    let newer = "Mon, 07 Nov 1994 08:49:37 GMT";
    let origin = Origin::serving(move |head, _| {
        if head.contains(&format!("If-Modified-Since: {newer}")) {
            return format!("HTTP/1.1 304 Not Modified\r\n{HOUR}\r\n");
        }
        ok_with(&format!("{STALE}Last-Modified: {MODIFIED}\r\n"), "old")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    let lines = format!("Cache-Control: no-store\r\nIf-Modified-Since: {newer}\r\n");
    assert_eq!(client.ask(get_with("/", &lines)).status, 304);
    let asked = origin.last_head();
    assert_eq!(asked.matches("If-Modified-Since").count(), 1, "{asked}");
    assert_eq!(client.ask(get("/")).told(), "brim; fwd=stale; stored");
}

#[test]
fn conditions_of_a_client_go_to_the_origin_where_nothing_is_kept() {
    let origin = Origin::serving(|head, _| {
        if head.contains("If-None-Match: \"1\"") {
            return "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".into();
        }
        ok_with("Cache-Control: no-store\r\nETag: \"1\"\r\n", "ok")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).status, 200);
    let answer = client.ask(get_with("/", "If-None-Match: \"1\"\r\n"));
    assert_eq!((answer.status, answer.field("etag")), (304, Some("\"1\"")));
    assert!(origin.last_head().contains("If-None-Match: \"1\""));
    assert_eq!(client.ask(get("/")).text(), "ok");
}
