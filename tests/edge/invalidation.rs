//! What unsafe requests make out of date, and what they bring.

use crate::kit::{Brim, Client, Gate, Origin, PATIENCE, get, get_with, ok_with};
use std::time::Instant;

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

/// An origin that gives GET its number, and anything else this answer.
fn changing(answer: &'static str) -> Origin {
    Origin::serving(move |head, number| {
        if head.starts_with("GET") { ok_with(HOUR, &number.to_string()) } else { answer.into() }
    })
}

fn unsafe_request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
}

/// Which of these paths are forgotten after a request for `/a` with this answer.
#[track_caller]
fn forgotten<'p>(method: &str, answer: &'static str, paths: &[&'p str]) -> Vec<&'p str> {
    let origin = changing(answer);
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for path in paths {
        client.ask(get(path));
        assert_eq!(client.ask(get(path)).told(), "brim; hit");
    }
    let request = unsafe_request(method, "/a");
    let passed = if method == "HEAD" { client.ask_head(request) } else { client.ask(request) };
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    assert_eq!((Some(passed.status), passed.told().contains("stored")), (status, false));
    paths.iter().copied().filter(|path| client.ask(get(path)).told() != "brim; hit").collect()
}

const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn an_unsafe_request_that_succeeds_makes_its_url_out_of_date() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "MKCOL", "post"] {
        assert_eq!(forgotten(method, DONE, &["/a", "/a?b", "/b"]), ["/a"], "{method}");
    }
    for method in ["OPTIONS", "PROPFIND", "SEARCH"] {
        assert_eq!(forgotten(method, DONE, &["/a"]), [""; 0], "{method}");
    }
}

#[test]
fn one_that_fails_changes_nothing() {
    for answer in [
        "HTTP/1.1 500 X\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 403 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(forgotten("POST", answer, &["/a", "/b"]), [""; 0], "{answer}");
    }
    let redirect = "HTTP/1.1 303 See Other\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(forgotten("POST", redirect, &["/a"]), ["/a"]);
}

#[test]
fn what_the_answer_names_on_the_same_host_is_out_of_date_too() {
    for (answer, expected) in [
        ("HTTP/1.1 201 Created\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", &["/a", "/b"][..]),
        (
            "HTTP/1.1 201 Created\r\nLocation: http://A.test/b\r\nContent-Length: 0\r\n\r\n",
            &["/a", "/b"],
        ),
        ("HTTP/1.1 201 Created\r\nLocation: b?c=d\r\nContent-Length: 0\r\n\r\n", &["/a", "/b?c=d"]),
        ("HTTP/1.1 204 X\r\nContent-Location: /b\r\n\r\n", &["/a", "/b"]),
        (
            "HTTP/1.1 204 X\r\nContent-Location: /b\r\nLocation: /b?c=d\r\n\r\n",
            &["/a", "/b", "/b?c=d"],
        ),
        // Nobody speaks for another host (RFC 9111, section 4.4).
        ("HTTP/1.1 204 X\r\nLocation: http://b.test/b\r\n\r\n", &["/a"]),
        ("HTTP/1.1 204 X\r\nLocation: http://a.test:81/b\r\n\r\n", &["/a"]),
        ("HTTP/1.1 204 X\r\nLocation: //b.test/b\r\nContent-Location: http://[/b\r\n\r\n", &["/a"]),
    ] {
        let paths = ["/a", "/b", "/b?c=d"];
        assert_eq!(forgotten("PUT", answer, &paths), expected, "{answer}");
    }
}

#[test]
fn another_host_keeps_its_own() {
    let origin = changing("HTTP/1.1 204 X\r\nLocation: http://b.test/a\r\n\r\n");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let other = "GET /a HTTP/1.1\r\nHost: b.test\r\n\r\n";
    client.ask(other);
    client.ask(unsafe_request("POST", "/a"));
    assert_eq!(client.ask(other).told(), "brim; hit");
}

#[test]
fn every_variant_and_every_part_is_out_of_date() {
    let origin = Origin::serving(|head, number| match head.starts_with("GET") {
        true => ok_with(&format!("{HOUR}Vary: X-A\r\n"), &number.to_string()),
        false => DONE.into(),
    });
    let brim = Brim::with(origin.address(), "", "[site.key]\nheaders = ['X-Device']");
    let mut client = Client::connect(brim.address());
    let ask = |client: &mut Client, lines: &str| {
        client.ask(format!("GET /a HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n"))
    };
    let sets = ["", "X-A: 1\r\n", "X-Device: 1\r\n"];
    for lines in sets {
        ask(&mut client, lines);
    }
    client.ask(unsafe_request("DELETE", "/a"));
    for lines in sets {
        assert_ne!(ask(&mut client, lines).told(), "brim; hit", "{lines}");
    }
}

#[test]
fn the_url_is_known_by_its_key() {
    let origin = changing(DONE);
    let brim = Brim::with(origin.address(), "", "[site.key]\nquery = { deny = ['@tracking'] }");
    let mut client = Client::connect(brim.address());
    client.ask(get("/~a?b=1"));
    client.ask(unsafe_request("POST", "/%7Ea?b=1&utm_source=x"));
    // The origin of what is not kept sees it as it was sent.
    assert!(origin.last_head().starts_with("POST /%7Ea?b=1&utm_source=x "));
    assert_ne!(client.ask(get("/~a?b=1")).told(), "brim; hit");
}

#[test]
fn an_answer_to_post_that_says_where_it_belongs_is_kept() {
    let posted = |fields: &'static str| {
        Origin::serving(move |head, _| match head.starts_with("POST") {
            true => ok_with(fields, "posted"),
            false => ok_with(HOUR, "fetched"),
        })
    };
    for (fields, is_kept) in [
        ("Content-Location: /a\r\nCache-Control: max-age=60\r\n", true),
        ("Content-Location: http://a.test/a\r\nCache-Control: max-age=60\r\n", true),
        // With an explicit time only (RFC 9110, section 9.3.3).
        ("Content-Location: /a\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", false),
        ("Content-Location: /b\r\nCache-Control: max-age=60\r\n", false),
        ("Cache-Control: max-age=60\r\n", false),
        ("Content-Location: /a\r\nCache-Control: max-age=60, private\r\n", false),
    ] {
        let origin = posted(fields);
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        let answer = client.ask(unsafe_request("POST", "/a"));
        let told = if is_kept { "brim; fwd=method; stored" } else { "brim; fwd=method" };
        assert_eq!((answer.text().as_str(), answer.told().as_str()), ("posted", told), "{fields}");
        let next = client.ask(get("/a"));
        assert_eq!(next.text(), if is_kept { "posted" } else { "fetched" }, "{fields}");
        assert_eq!(next.told() == "brim; hit", is_kept);
        // Another POST goes to the origin all the same.
        assert_eq!(client.ask(unsafe_request("POST", "/a")).text(), "posted");
    }
}

#[test]
fn an_answer_to_post_that_breaks_off_is_not_kept() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            peer.body_of(&head);
            if head.starts_with("POST") {
                return peer.send(format!(
                    "HTTP/1.1 200 OK\r\n{HOUR}Content-Location: /a\r\nContent-Length: 9\r\n\r\nhalf"
                ));
            }
            peer.send(ok_with(HOUR, "fetched"));
        }
    });
    let brim = Brim::in_front_of(origin.address());
    assert!(!Client::connect(brim.address()).ask(unsafe_request("POST", "/a")).is_whole);
    assert_eq!(Client::connect(brim.address()).ask(get("/a")).text(), "fetched");
}

#[test]
fn what_a_client_does_not_wait_to_hear_of_changes_all_the_same() {
    let (origin, release, asked) = {
        let asked = Gate::default();
        let (release, gate) = (Gate::default(), asked.clone());
        let released = release.clone();
        let changed = Gate::default();
        let origin = Origin::start(move |peer| {
            while let Some(head) = peer.head() {
                if head.starts_with("POST") {
                    gate.add_one();
                    released.wait_for(1);
                    changed.add_one();
                    peer.send(ok_with("", "changed"));
                } else {
                    peer.send(ok_with(HOUR, if changed.count() == 0 { "old" } else { "new" }));
                }
            }
        });
        (origin, release, asked)
    };
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/a")).text(), "old");
    let mut writer = Client::connect(brim.address());
    writer.send("POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    asked.wait_for(1);
    writer.reset();
    brim.access_log("client_gone");
    // It has not changed yet; what is fetched now must not outlive the change.
    assert_eq!(client.ask(get("/a")).text(), "old");
    release.add_one();
    let deadline = Instant::now() + PATIENCE;
    while client.ask(get("/a")).text() == "old" {
        assert!(Instant::now() < deadline, "the old one stays");
    }
}

#[test]
fn a_confirmation_without_vary_keeps_variants_apart() {
    let origin = Origin::serving(|head, _| {
        let language = if head.contains("Accept-Language: de") { "de" } else { "en" };
        if head.contains("If-None-Match") {
            return format!("HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"{language}\"\r\n\r\n");
        }
        let fields = "Cache-Control: max-age=1\r\nAge: 100\r\nVary: Accept-Language\r\n";
        ok_with(&format!("{fields}ETag: \"{language}\"\r\n"), language)
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for round in 0..3 {
        for language in ["de", "en"] {
            let answer = client.ask(get_with("/", &format!("Accept-Language: {language}\r\n")));
            assert_eq!(answer.text(), language, "round {round}");
        }
    }
    assert_eq!(origin.requests(), 4);
}

#[test]
fn what_each_has_to_confirm_is_not_kept_either_when_it_changes_on_its_way() {
    let (begun, changed) = (Gate::default(), Gate::default());
    let (has_begun, has_changed) = (begun.clone(), changed.clone());
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.starts_with("POST") {
                peer.send(ok_with("", ""));
                continue;
            }
            let is_first = peer.count_head() == 1;
            assert!(is_first || !head.contains("If-None-Match"), "the old one was kept: {head}");
            peer.send("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 3\r\n\r\no");
            if is_first {
                has_begun.add_one();
                has_changed.wait_for(1);
            }
            peer.send("ld");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut first = Client::connect(brim.address());
    first.send(get("/a"));
    begun.wait_for(1);
    let post = "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(Client::connect(brim.address()).ask(post).status, 200);
    changed.add_one();
    assert_eq!(first.answer().text(), "old");
    assert_eq!(first.ask(get("/a")).text(), "old");
    assert!(!origin.last_head().contains("If-None-Match"));
}
