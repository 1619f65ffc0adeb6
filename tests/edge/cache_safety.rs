//! Nobody gets what is another's, what is broken, or what somebody else has planted.

use crate::kit::{Brim, Client, OK, Origin, get, get_with, ok_with};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

/// Whether the answer to one request is the answer to the next.
#[track_caller]
fn is_shared(site: &str, first: &str, second: &str, answer: impl Into<String>) -> bool {
    let origin = Origin::answering(answer);
    let brim = Brim::with(origin.address(), "", site);
    let mut client = Client::connect(brim.address());
    let kept = client.ask(first).told().contains("; stored");
    let hit = client.ask(second).told().contains("; hit");
    assert_eq!(hit, origin.requests() == 1);
    assert!(kept || !hit);
    hit
}

#[test]
fn answers_to_credentials_are_shared_only_where_they_say_so() {
    let with = get_with("/", "Authorization: Basic YTpi\r\n");
    for (directives, expected) in [
        ("max-age=3600", false),
        ("max-age=3600, public", true),
        ("s-maxage=3600", true),
        ("max-age=3600, must-revalidate", true),
        ("max-age=3600, proxy-revalidate", false),
        ("max-age=3600, private, public", false),
    ] {
        let answer = ok_with(&format!("Cache-Control: {directives}\r\n"), "ok");
        for second in [get("/"), get_with("/", "Authorization: Basic Yzpk\r\n")] {
            assert_eq!(is_shared("", &with, &second, &*answer), expected, "{directives}");
        }
        // What was asked for without is for everybody, as far as it may be kept at all.
        let is_kept = !directives.contains("private");
        assert_eq!(is_shared("", &get("/"), &with, &*answer), is_kept, "{directives}");
    }
}

#[test]
fn what_is_private_or_not_to_be_stored_is_neither() {
    for directives in [
        "private, max-age=3600",
        "private, s-maxage=3600",
        "no-store, max-age=3600",
        "max-age=3600, No-Store",
        "max-age=3600, private=\"\"",
        "must-understand, max-age=3600, private",
    ] {
        let answer = ok_with(&format!("Cache-Control: {directives}\r\n"), "ok");
        assert!(!is_shared("", &get("/"), &get("/"), &*answer), "{directives}");
    }
    // A status that is understood outranks the no-store beside it (RFC 9111, section 5.2.2.3).
    let directives = "Cache-Control: max-age=3600, must-understand, no-store\r\n";
    assert!(is_shared("", &get("/"), &get("/"), ok_with(directives, "ok")));
    let unknown = format!("HTTP/1.1 299 X\r\n{directives}Content-Length: 0\r\n\r\n");
    assert!(!is_shared("", &get("/"), &get("/"), unknown));
}

#[test]
fn fields_that_are_for_one_client_reach_no_second() {
    for (directives, name) in [
        ("max-age=3600, private=\"X-User\"", "x-user"),
        ("max-age=3600, no-cache=\"X-User, X-More\"", "x-user"),
        ("max-age=3600, public", "set-cookie"),
        ("s-maxage=3600", "set-cookie"),
    ] {
        let fields =
            format!("Cache-Control: {directives}\r\n{name}: a=1\r\n{name}: b=2\r\nX-A: 1\r\n");
        let origin = Origin::answering(ok_with(&fields, "ok"));
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        assert_eq!(client.ask(get("/")).fields(name), ["a=1", "b=2"], "{directives}");
        let hit = client.ask(get("/"));
        assert_eq!((hit.told().as_str(), hit.field("x-a")), ("brim; hit", Some("1")));
        assert_eq!(hit.fields(name), [""; 0], "{directives}");
    }
}

#[test]
fn an_answer_that_sets_a_cookie_is_not_kept_unless_it_is_public() {
    let cookie = format!("{HOUR}Set-Cookie: id=1\r\n");
    assert!(!is_shared("", &get("/"), &get("/"), ok_with(&cookie, "ok")));
    let origin = Origin::answering(ok_with(&cookie, "ok"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        assert_eq!(client.ask(get("/")).field("set-cookie"), Some("id=1"));
    }
    let strips = "strip_set_cookie = true";
    assert!(is_shared(strips, &get("/"), &get("/"), ok_with(&cookie, "ok")));
    let origin = Origin::answering(ok_with(&cookie, "ok"));
    let brim = Brim::with(origin.address(), "", strips);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).field("set-cookie"), Some("id=1"));
    assert_eq!(client.ask(get("/")).field("set-cookie"), None);
}

#[test]
fn a_cookie_that_comes_with_a_confirmation_is_for_the_first_client_only() {
    let origin = Origin::serving(|head, _| {
        if head.contains("If-None-Match") {
            let fields = format!("{HOUR}ETag: \"1\"\r\nSet-Cookie: id=2\r\n");
            return format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
        }
        ok_with("Cache-Control: max-age=1, public\r\nAge: 100\r\nETag: \"1\"\r\n", "ok")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    assert_eq!(client.ask(get("/")).field("set-cookie"), Some("id=2"));
    assert_eq!(client.ask(get("/")).field("set-cookie"), None);
}

#[test]
fn nothing_that_the_key_does_not_know_reaches_an_origin_that_could_echo_it() {
    let origin = Origin::serving(|head, _| ok_with(HOUR, head));
    let site = "[site.key]\nquery = { allow = ['id'] }";
    let brim = Brim::with(origin.address(), "", site);
    let request = "GET http://A.TEST:80/?evil=1&id=2 HTTP/1.1\r\nHost: A.TEST:80\r\n\
                   X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: evil\r\nForwarded: host=evil\r\n\
                   X-Original-URL: /evil\r\nX_Rewrite_Url: /evil\r\nX-HTTP-Method-Override: EVIL\r\n\
                   X-Forwarded-Prefix: /evil\r\nX-Forwarded-Port: 666evil\r\nX-Host: evil\r\n\
                   Expect: evil\r\nIf-None-Match: \"evil\"\r\nIf-Range: \"evil\"\r\n\
                   Range: bytes=0-1,evil\r\nAccept-Encoding: evil\r\nVia: 1.1 evil\r\n\
                   Surrogate-Capability: evil\r\n\r\n";
    let mut client = Client::connect(brim.address());
    let answer = client.ask(request.replace("Expect: evil\r\n", ""));
    assert_eq!(answer.status, 200);
    let echoed = origin.only_head();
    assert!(!echoed.to_lowercase().contains("evil"), "{echoed}");
    assert!(echoed.starts_with("GET /?id=2 HTTP/1.1\r\nHost: a.test\r\n"), "{echoed}");
    assert!(echoed.contains("\r\nX-Forwarded-Host: a.test\r\n"), "{echoed}");
    assert_eq!(client.ask(get("/?id=2")).told(), "brim; hit");
}

#[test]
fn what_is_signed_reaches_the_origin_byte_for_byte() {
    let origin = Origin::answering(ok_with(HOUR, "ok"));
    let site = "[site.key]\nquery = { deny = ['x'] }\nsort_query = true";
    let brim = Brim::with(origin.address(), "", site);
    let mut client = Client::connect(brim.address());
    for (target, lines) in [
        ("/%7Ea%2fb?z=1&x=2&a=%3d&X-Amz-Signature=abc", ""),
        ("/%7Ea?z=1&x=2&a=3&Signature=abc", "Accept-Encoding: gzip;q=0.5, odd\r\n"),
        ("/%7Ea?z=1&x=2&a=3", "Authorization: AWS4-HMAC-SHA256 Credential=a\r\n"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: A.Test:80\r\n{lines}\r\n");
        client.ask(&request);
        let seen = origin.last_head();
        let start = format!("GET {target} HTTP/1.1\r\nHost: A.Test:80\r\n");
        assert!(seen.starts_with(&start), "{seen}");
        assert!(seen.contains(lines), "{seen}");
        // Kept under a key that spells it otherwise, it would be another's answer.
        let before = origin.requests();
        client.ask(&request);
        assert_eq!(origin.requests(), before + 1, "{target}");
    }
    // One that is spelled as the key is can be kept.
    let request = get("/a?Signature=abc&b=c");
    client.ask(&request);
    assert_eq!(client.ask(&request).told(), "brim; hit");
}

#[test]
fn a_condition_that_is_signed_reaches_the_origin() {
    let origin = Origin::answering(OK);
    let brim = Brim::in_front_of(origin.address());
    let target = "/a?X-Amz-SignedHeaders=host%3Brange%3Bif-match&X-Amz-Signature=abc";
    let lines = "Range: bytes=0-0\r\nIf-Match: \"1\"\r\n";
    Client::connect(brim.address()).ask(get_with(target, lines));
    let seen = origin.only_head();
    assert!(seen.contains("\r\nRange: bytes=0-0\r\n") && seen.contains("\r\nIf-Match: \"1\"\r\n"));
}

#[test]
fn a_get_with_a_body_is_passed_and_nobody_elses() {
    let origin = Origin::serving(|_, number| ok_with(HOUR, &number.to_string()));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let with_body = get_with("/", "Content-Length: 2\r\n") + "hi";
    let chunked = get_with("/", "Transfer-Encoding: chunked\r\n") + "2\r\nhi\r\n0\r\n\r\n";
    for (request, body) in
        [(&with_body, "0"), (&get("/"), "1"), (&with_body, "2"), (&chunked, "3"), (&get("/"), "1")]
    {
        assert_eq!(client.ask(request).text(), body);
    }
}

#[test]
fn an_error_that_a_client_may_have_provoked_is_not_kept() {
    let error = |status: &str| format!("HTTP/1.1 {status} X\r\n{HOUR}Content-Length: 0\r\n\r\n");
    let large = format!("X-Large: {}\r\n", "x".repeat(5000));
    let many: String = (0..100).map(|n| format!("X-{n}: {}\r\n", "x".repeat(80))).collect();
    for lines in [&large[..], &many, "X-Odd: a\u{e9}b\r\n", "X-Odd: a\tb\r\n"] {
        for status in ["400", "404", "431", "501"] {
            let request = get_with("/", lines);
            let name = &lines[..6];
            assert!(!is_shared("", &request, &get("/"), error(status)), "{status} {name}");
        }
        assert!(is_shared("", &get_with("/", lines), &get("/"), ok_with(HOUR, "ok")));
    }
    assert!(is_shared("", &get("/"), &get("/"), error("404")));
}

#[test]
fn an_answer_about_a_condition_or_a_part_is_not_kept_for_others() {
    // Once nothing is kept, the client's own conditions reach the origin.
    for (lines, status) in [("If-Match: \"0\"\r\n", 412), ("Range: bytes=9-\r\n", 416)] {
        let origin = Origin::serving(move |head, number| {
            if head.contains(lines.trim_end()) {
                return format!("HTTP/1.1 {status} X\r\n{HOUR}Content-Length: 0\r\n\r\n");
            }
            let fields = if number == 0 { "Cache-Control: no-store\r\n" } else { HOUR };
            ok_with(fields, "ok")
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/"));
        assert_eq!(client.ask(get_with("/", lines)).status, status);
        assert_eq!(client.ask(get("/")).status, 200);
        assert_eq!(client.ask(get_with("/", lines)).status, status);
    }
}

#[test]
fn a_page_that_pretends_to_be_a_file_is_not_kept_where_the_site_guards() {
    let guard = "deception_guard = true";
    let typed = |kind: &str| ok_with(&format!("{HOUR}Content-Type: {kind}\r\n"), "ok");
    for (path, kind, expected) in [
        ("/account/x.css", "text/html; charset=utf-8", false),
        ("/account/x.css?y=.z", "text/html", false),
        ("/account/x.JPG", "text/html", false),
        ("/account/x.js", "application/json", false),
        ("/account;/x%2ecss", "text/html", false),
        ("/account/x%2Ecss", "text/html", false),
        ("/account/x.css", "text/css", true),
        ("/account/x.css", "Text/CSS; charset=utf-8", true),
        ("/x.jpg", "image/webp", true),
        ("/x.zip", "application/octet-stream", true),
        ("/account", "text/html", true),
        ("/page.html", "text/html", true),
    ] {
        let shared = is_shared(guard, &get(path), &get(path), typed(kind));
        assert_eq!(shared, expected, "{path} {kind}");
        assert!(is_shared("", &get(path), &get(path), typed(kind)));
    }
    // Nor is one that does not say what it is.
    assert!(!is_shared(guard, &get("/x.css"), &get("/x.css"), ok_with(HOUR, "ok")));
}

#[test]
fn an_answer_that_breaks_off_breaks_the_clients_and_is_not_kept() {
    let begin = |fields: &str| format!("HTTP/1.1 200 OK\r\n{HOUR}ETag: \"1\"\r\n{fields}\r\n");
    for broken in [
        begin("Content-Length: 10\r\n") + "half",
        begin("Transfer-Encoding: chunked\r\n") + "4\r\nhalf\r\n",
        begin("Transfer-Encoding: chunked\r\n") + "4\r\nhalf\r\nnonsense\r\n",
        begin("Transfer-Encoding: chunked\r\n") + "4\r\nhalf\r\n0\r\n",
    ] {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let first = broken.clone();
        let origin = Origin::start(move |peer| {
            while peer.head().is_some() {
                if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
                    return peer.send(&first);
                }
                peer.send(ok_with(HOUR, "whole"));
            }
        });
        let brim = Brim::in_front_of(origin.address());
        let answer = Client::connect(brim.address()).ask(get_with("/", "User-Agent: first\r\n"));
        assert_eq!((answer.status, answer.is_whole), (200, false), "{broken}");
        let line = brim.access_log("first");
        assert!(line.contains("\"outcome\":\"error\""), "{line}");
        let next = Client::connect(brim.address()).ask(get("/"));
        assert_eq!(
            (next.text().as_str(), next.told().as_str()),
            ("whole", "brim; fwd=uri-miss; stored")
        );
    }
}

#[test]
fn one_that_breaks_off_leaves_what_was_stored_to_be_asked_for_again() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => peer.send(ok_with("Cache-Control: max-age=1\r\nAge: 100\r\n", "old")),
                1 => {
                    return peer
                        .send(format!("HTTP/1.1 200 OK\r\n{HOUR}Content-Length: 9\r\n\r\nnew"));
                }
                _ => peer.send(ok_with(HOUR, "whole")),
            }
        }
    });
    let brim = Brim::in_front_of(origin.address());
    assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "old");
    assert!(!Client::connect(brim.address()).ask(get("/")).is_whole);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).text(), "whole");
}

#[test]
fn a_redirect_to_the_same_url_with_another_scheme_is_not_kept() {
    let to = |location: &str| {
        format!("HTTP/1.1 301 X\r\n{HOUR}Location: {location}\r\nContent-Length: 0\r\n\r\n")
    };
    let (first, second) = (get("/a?b"), get("/a?b"));
    assert!(!is_shared("", &first, &second, to("https://a.test/a?b")));
    assert!(!is_shared("", &first, &second, to("https://A.test:443/a?b")));
    assert!(is_shared("", &first, &second, to("https://www.a.test/a?b")));
    assert!(is_shared("", &first, &second, to("/c")));
    let keyed = "[site.key]\nscheme = true";
    assert!(is_shared(keyed, &first, &second, to("https://a.test/a?b")));
}

#[test]
fn an_upgrade_is_passed_and_not_kept() {
    let origin = Origin::answering(ok_with(HOUR, "ok"));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let request = get_with("/", "Connection: upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(client.ask(request).told(), "brim; fwd=bypass; detail=upgrade");
    assert_eq!(client.ask(get("/")).told(), "brim; fwd=uri-miss; stored");
}

#[test]
fn what_is_stored_survives_the_question_of_somebody_with_credentials() {
    let fields = format!("{HOUR}ETag: \"1\"\r\n");
    let origin = Origin::serving(move |head, _| {
        if head.contains("If-None-Match: \"1\"") || head.starts_with("HEAD") {
            let status = if head.starts_with("HEAD") { "200 OK" } else { "304 Not Modified" };
            return format!("HTTP/1.1 {status}\r\n{fields}\r\n");
        }
        ok_with(&fields, "ok")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    let request = get_with("/", "Authorization: Basic YTpi\r\nCache-Control: no-cache\r\n");
    assert_eq!(client.ask(&request).told(), "brim; fwd=request; fwd-status=304");
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
    client.ask_head(request.replacen("GET", "HEAD", 1));
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
}

#[test]
fn a_confirmation_that_forbids_to_keep_is_the_last_use() {
    for directives in ["no-store", "private"] {
        let origin = Origin::serving(move |head, _| {
            if head.contains("If-None-Match: \"1\"") {
                let fields = format!("Cache-Control: {directives}\r\nETag: \"1\"\r\n");
                return format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
            }
            ok_with("Cache-Control: max-age=1\r\nAge: 100\r\nETag: \"1\"\r\n", "ok")
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/"));
        assert_eq!(client.ask(get("/")).text(), "ok");
        assert!(!origin.heads()[0].contains("If-None-Match"));
        assert_eq!(client.ask(get("/")).told(), "brim; fwd=uri-miss; stored", "{directives}");
    }
}

#[test]
fn an_old_client_notices_that_an_answer_broke_off() {
    let origin = Origin::start(|peer| {
        peer.head();
        let fields = format!("{HOUR}Transfer-Encoding: chunked\r\n");
        peer.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n4\r\nhalf\r\n"));
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.answer_without_body().status, 200);
    // The end of the connection would be the end of a whole answer.
    let mut bytes = Vec::new();
    let read = std::io::Read::read_to_end(client.stream(), &mut bytes);
    assert_eq!(read.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn a_coding_that_the_key_cannot_tell_is_not_kept() {
    // Who signs a request is heard word for word, and may get what others cannot read.
    let origin = Origin::serving(|head, _| {
        let coding = if head.contains("deflate") { "Content-Encoding: deflate\r\n" } else { "" };
        let fields =
            format!("Cache-Control: max-age=3600, public\r\nVary: Accept-Encoding\r\n{coding}");
        ok_with(&fields, "ok")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let lines = "Authorization: Basic YTpi\r\nAccept-Encoding: deflate\r\n";
    assert_eq!(client.ask(get_with("/", lines)).field("content-encoding"), Some("deflate"));
    assert_eq!(client.ask(get("/")).field("content-encoding"), None);
    assert_eq!(client.ask(get("/")).told(), "brim; hit");
}
