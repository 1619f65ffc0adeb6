//! What `GET /explain?fetch=true` finds out from an origin.

use crate::kit::{Brim, Client, Origin, get, ok_with};
use serde_json::{Value, json};

/// What is told of an answer with these field lines.
fn fetched(fields: &'static str, site: &str) -> Value {
    let origin = Origin::answering(ok_with(fields, "body"));
    let brim = Brim::with(origin.address(), "", site);
    let told = brim.operator().get("/explain?url=http://a.test/x.html&fetch=true");
    assert_eq!(origin.requests(), 1, "{told:#}");
    // Nothing was stored, and the next answer is judged in the same way.
    assert_eq!(told["stored"], json!([]));
    let again = brim.operator().get("/explain?url=http://a.test/x.html");
    assert_eq!((&again["stored"], &again["remembered"]), (&json!([]), &Value::Null), "{again:#}");
    let answer = Client::connect(brim.address()).ask(get("/x.html"));
    let is_stored = answer.told().contains("; stored");
    assert_eq!(told["fetched"]["is_stored"], json!(is_stored), "{}: {told:#}", answer.told());
    let detail = answer.told().split("detail=").nth(1).map(str::to_owned);
    assert_eq!(told["fetched"]["detail"], json!(detail), "{}: {told:#}", answer.told());
    if is_stored {
        let ttl = answer.number("ttl").expect("a ttl");
        assert!(told["fetched"]["lifetime"].as_i64().expect("a number") >= ttl);
    }
    told["fetched"].clone()
}

#[test]
fn an_answer_is_judged_as_a_fill_would_judge_it() {
    let ruled = "[[site.rule]]\npath = '/*'\nttl = '1h'\n";
    let default = "[[site.rule]]\npath = '/*'\ndefault_ttl = '2h'\n";
    let modified =
        "Date: Tue, 03 Jan 2023 00:00:00 GMT\r\nLast-Modified: Sun, 01 Jan 2023 00:00:00 GMT\r\n";
    for (fields, site, lifetime, governing, because) in [
        ("Cache-Control: max-age=60\r\n", "", 60, "Cache-Control", "max-age=60 of Cache-Control"),
        ("Cache-Control: max-age=60, s-maxage=9\r\n", "", 9, "Cache-Control", "s-maxage=9"),
        (
            "CDN-Cache-Control: max-age=5\r\nCache-Control: no-store\r\n",
            "",
            5,
            "CDN-Cache-Control",
            "CDN-Cache-Control",
        ),
        (
            "Surrogate-Control: max-age=5\r\nCache-Control: private\r\n",
            "",
            5,
            "Surrogate-Control",
            "Surrogate-Control",
        ),
        (
            "Expires: Tue, 03 Jan 2123 00:00:00 GMT\r\nDate: Tue, 03 Jan 2023 00:00:00 GMT\r\n",
            "",
            3_155_673_600_u64,
            "Expires",
            "Expires",
        ),
        ("Cache-Control: max-age=60\r\n", ruled, 3600, "ttl of the rule", "ttl = \"1h\" of rule 1"),
        ("", default, 7200, "default_ttl of the rule", "default_ttl = \"2h\" of rule 1"),
        (modified, "", 17280, "Last-Modified", "tenth"),
        (
            "Cache-Control: no-cache\r\nETag: \"1\"\r\n",
            "",
            0,
            "Cache-Control",
            "confirmed before each use",
        ),
    ] {
        let told = fetched(fields, site);
        assert_eq!(told["lifetime"], lifetime, "{fields}: {told:#}");
        assert_eq!(told["governing"], governing, "{fields}: {told:#}");
        assert!(told["because"].as_str().expect("a text").contains(because), "{fields}: {told:#}");
        assert_eq!(told["status"], 200);
    }
}

#[test]
fn what_would_not_be_stored_says_why_and_what_to_change() {
    for (fields, site, detail) in [
        ("Cache-Control: no-store\r\n", "", "no-store"),
        ("Cache-Control: private, max-age=60\r\n", "", "private"),
        ("Set-Cookie: session=secret\r\nCache-Control: max-age=60\r\n", "", "set-cookie"),
        ("Vary: *\r\nCache-Control: max-age=60\r\n", "", "vary-any"),
        ("", "", "no-freshness"),
        ("Cache-Control: max-age=60\r\n", "[[site.rule]]\npath = '*'\ncache = false\n", "rule"),
    ] {
        let told = fetched(fields, site);
        assert_eq!(told["detail"], detail, "{told:#}");
        for part in ["because", "by", "change"] {
            let text = told[part].as_str().expect("a text");
            assert!(!text.is_empty() && !text.contains('`'), "{part}: {told:#}");
        }
        assert!(!told.to_string().contains("secret"), "{told:#}");
    }
}

#[test]
fn fields_that_lose_are_named() {
    let told = fetched(
        "CDN-Cache-Control: \"?\r\nSurrogate-Control: max-age=5\r\nCache-Control: max-age=1\r\n\
         Expires: 0\r\n",
        "",
    );
    let names: Vec<&str> = told["ignored"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|ignored| ignored[0].as_str().expect("a name"))
        .collect();
    assert_eq!(names, ["CDN-Cache-Control", "Cache-Control", "Expires"], "{told:#}");
}

#[test]
fn nothing_is_waited_for_behind_the_head() {
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\n1");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let told = brim.operator().get("/explain?url=http://a.test/&fetch=true");
    assert_eq!(told["fetched"]["is_stored"], true, "{told:#}");
    // One that is larger than any object may be.
    let origin = Origin::start(|peer| {
        while peer.head().is_some() {
            let fields = "Cache-Control: max-age=60\r\nContent-Length: 99999999999";
            peer.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n1"));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let told = brim.operator().get("/explain?url=http://a.test/&fetch=true");
    assert_eq!(told["fetched"]["detail"], "too-large", "{told:#}");
}

#[test]
fn only_what_changes_nothing_is_asked_for() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    for more in ["method=POST", "method=DELETE", "header=Content-Length:%202"] {
        let path = format!("/explain?url=http://a.test/&fetch=true&{more}");
        let told = brim.operator().get(&path);
        assert_eq!(told["fetched"]["status"], Value::Null, "{told:#}");
    }
    assert_eq!(origin.requests(), 0);
    let lines = "header=If-None-Match:%20x&header=Range:%20bytes=0-1";
    brim.operator().get(&format!("/explain?url=http://a.test/&fetch=true&method=HEAD&{lines}"));
    let head = origin.only_head();
    assert!(
        head.starts_with("GET / ") && !head.contains("Range") && !head.contains("If-"),
        "{head}"
    );
}

#[test]
fn an_origin_that_gives_no_answer_is_told() {
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n",
        crate::kit::NOBODY
    ));
    let told = brim.operator().get("/explain?url=http://a.test/&fetch=true");
    assert_eq!(told["fetched"]["detail"], "origin_refused", "{told:#}");
    // What only somebody who looked has learned is no reason for others to be refused.
    assert_eq!(told["remembered"], Value::Null);
}
