//! What tells objects apart, and that the origin is asked for just that.

use crate::kit::{Brim, Client, Origin, get, get_with, ok_with};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

/// An origin that tells which target and host it was asked for, and with these further fields.
fn telling(fields: &'static str) -> Origin {
    Origin::serving(move |head, _| {
        let target = head.split(' ').nth(1).unwrap_or_default();
        let host = head.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap_or_default();
        ok_with(&format!("{HOUR}{fields}"), &format!("{host} {target}"))
    })
}

/// What the origin was asked for by each request, and how many times it was asked.
#[track_caller]
fn asked(site: &str, targets: &[&str]) -> (Vec<String>, usize) {
    let origin = telling("");
    let brim = Brim::with(origin.address(), "", site);
    let mut client = Client::connect(brim.address());
    let bodies = targets.iter().map(|target| {
        let body = client.ask(get(target)).text();
        body.split_once(' ').expect("two words").1.to_owned()
    });
    let bodies = bodies.collect();
    (bodies, origin.requests())
}

#[test]
fn two_spellings_of_one_path_are_one_object() {
    for (first, second) in [
        ("/a~b-c_d", "/%61%7Eb%2Dc%5Fd"),
        ("/%7e", "/~"),
        ("/a%2fb", "/a%2Fb"),
        ("/%c3%a4", "/%C3%A4"),
    ] {
        assert_eq!(asked("", &[first, second]).1, 1, "{first} {second}");
    }
}

#[test]
fn two_resources_are_never_one_object() {
    let targets = [
        "/a/b",
        "/a%2Fb",
        "/a%252Fb",
        "/a/b/",
        "/a//b",
        "/A/b",
        "/a/./b",
        "/a/%2E/b",
        "/a/%2e%2e/b",
        "/a/../b",
        "/a/b?",
        "/a/b?x",
        "/a/b?x=",
        "/a/b?X=",
        "/a/b?x=%41",
        "/a/b?x=A",
        "/a/b?x&x",
        "/a/b%3Fx",
        "/a/b;x",
        "/a/b%3Bx",
        "/a/b%00",
        "/a/b%20",
        "/a/b+",
        "/a/b%2B",
        "/a%zz",
        "/a%",
        "/a/b?x=1&y=2",
        "/a/b?y=2&x=1",
        "/a%5Cb",
        "/a\\b",
    ];
    let (bodies, requests) = asked("", &targets);
    assert_eq!(requests, targets.len());
    // Each is what the origin was asked for, but for the digits' case.
    for (body, target) in bodies.iter().zip(targets) {
        assert!(body.eq_ignore_ascii_case(target), "{body} {target}");
    }
    // Sites that sort or deny do not mix up what is left.
    for site in ["[site.key]\nsort_query = true", "[site.key]\nquery = { deny = ['utm_*'] }"] {
        let targets = ["/?a=1&a=2", "/?a=2&a=1", "/?a=1%262", "/?a", "/?a=", "/?aa", "/?b&a=1&a=2"];
        assert_eq!(asked(site, &targets).1, targets.len(), "{site}");
    }
}

#[test]
fn the_case_of_a_host_and_its_default_port_mean_nothing() {
    let origin = telling("");
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for host in ["a.test", "A.Test", "a.test:80", "A.TEST:80"] {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.text(), "a.test /", "{host}");
    }
    let absolute = "GET http://A.test:80/ HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(client.ask(absolute).told(), "brim; hit");
    assert_eq!(origin.requests(), 1);
    for host in ["b.test", "a.test:8080", "a.test.b"] {
        let answer = client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.text(), format!("{host} /"));
    }
    assert_eq!(origin.requests(), 4);
}

#[test]
fn a_query_policy_decides_what_counts_and_what_the_origin_sees() {
    for (query, targets, seen) in [
        ("'none'", ["/a?x=1", "/a?y=2"], "/a"),
        ("{ allow = ['id', 'p*'] }", ["/a?id=1&x=2&page=3", "/a?z&id=1&page=3&"], "/a?id=1&page=3"),
        ("{ allow = ['id'] }", ["/a?x=1", "/a?"], "/a"),
        ("{ deny = ['x', 's_*'] }", ["/a?id=1&x=2", "/a?s_id=3&id=1"], "/a?id=1"),
        // A name can be spelled in escapes.
        ("{ deny = ['utm_*'] }", ["/a?%75tm_source=x&b", "/a?b&utm%5Fmedium=y"], "/a?b"),
        (
            "{ deny = ['@tracking'] }",
            ["/a?utm_source=a&id=1&gclid=b", "/a?id=1&fbclid=c"],
            "/a?id=1",
        ),
        ("{ deny = ['@tracking', 'x'] }", ["/a?x", "/a?msclkid=1"], "/a"),
    ] {
        let (bodies, requests) = asked(&format!("[site.key]\nquery = {query}"), &targets);
        assert_eq!((bodies[0].as_str(), bodies[1].as_str(), requests), (seen, seen, 1), "{query}");
    }
    let targets = ["/a?utm_source=a", "/a?utm_source=b"];
    assert_eq!(asked("", &targets).1, 2);
}

#[test]
fn a_sorted_query_is_asked_for_as_sorted() {
    let site = "[site.key]\nsort_query = true";
    let (bodies, requests) = asked(site, &["/?b=2&a=1&c", "/?c&a=1&b=2", "/?a=1&b=2&c"]);
    assert_eq!((bodies[1].as_str(), requests), ("/?a=1&b=2&c", 1));
    // Equal names keep their order: it can mean something.
    let (bodies, requests) = asked(site, &["/?b&a=2&a=1", "/?a=2&b&a=1", "/?a=1&a=2&b"]);
    assert_eq!((bodies[0].as_str(), bodies[2].as_str()), ("/?a=2&a=1&b", "/?a=1&a=2&b"));
    assert_eq!(requests, 2);
}

#[test]
fn chosen_fields_and_cookies_join_the_key() {
    let origin = Origin::serving(|_, number| ok_with(HOUR, &number.to_string()));
    let site = "[site.key]\nheaders = ['X-Device']\ncookies = ['currency']";
    let brim = Brim::with(origin.address(), "", site);
    let mut client = Client::connect(brim.address());
    let sets = [
        "",
        "X-Device: phone\r\n",
        "X-Device: \r\n",
        "Cookie: currency=EUR\r\n",
        "Cookie: currency=\r\n",
        "X-Device: phone\r\nCookie: a=b; currency=EUR; c=d\r\n",
    ];
    for turn in 0..2 {
        for (number, lines) in sets.iter().enumerate() {
            let answer = client.ask(get_with("/", lines));
            assert_eq!(answer.text(), number.to_string(), "turn {turn} {lines}");
        }
    }
    // What has not been chosen does not matter, nor does the order.
    let lines = "Cookie: session=1\r\nCookie: currency=EUR\r\nx-device: phone\r\nX-Other: 1\r\n";
    assert_eq!(client.ask(get_with("/", lines)).text(), "5");
    assert_eq!(origin.requests(), sets.len());
}

#[test]
fn the_scheme_joins_the_key_as_the_origin_hears_it() {
    let origin = |_: ()| {
        Origin::serving(|head, _| {
            let proto = head.lines().find_map(|line| line.strip_prefix("X-Forwarded-Proto: "));
            ok_with(HOUR, proto.unwrap_or_default())
        })
    };
    let edge = |origin: &Origin, key: &str| {
        Brim::configured(&format!(
            "[server]\nhttp = ['127.0.0.1:0']\ntrusted_proxies = ['127.0.0.1']\n\
             [[origin]]\nname = 'o'\nservers = ['http://{}']\n\
             [[site]]\nhosts = ['*']\norigin = 'o'\n[site.key]\n{key}\n",
            origin.address()
        ))
    };
    let ask = |brim: &Brim, proto: &str| {
        let lines = format!("X-Forwarded-Proto: {proto}\r\n");
        Client::connect(brim.address()).ask(get_with("/", &lines)).text()
    };
    let apart = origin(());
    let brim = edge(&apart, "scheme = true");
    for _ in 0..2 {
        assert_eq!((ask(&brim, "http").as_str(), ask(&brim, "https").as_str()), ("http", "https"));
    }
    assert_eq!(apart.requests(), 2);
    let together = origin(());
    let brim = edge(&together, "");
    assert_eq!((ask(&brim, "http").as_str(), ask(&brim, "https").as_str()), ("http", "http"));
    assert_eq!(together.requests(), 1);
}

#[test]
fn several_answers_for_one_url_are_kept_side_by_side() {
    let origin = Origin::serving(|head, number| {
        let fields = if head.contains("X-Other") { "Vary: X-A, X-B\r\n" } else { "Vary: X-A\r\n" };
        ok_with(&format!("{HOUR}{fields}"), &number.to_string())
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let sets = [
        "X-A: 1\r\n",
        "X-A: 2\r\n",
        "",
        "X-A: 3\r\nX-Other: 1\r\n",
        "X-A: 3\r\nX-B: 1\r\nX-Other: 1\r\n",
    ];
    for turn in 0..2 {
        for (number, lines) in sets.iter().enumerate() {
            let answer = client.ask(get_with("/", lines));
            assert_eq!(answer.text(), number.to_string(), "turn {turn} {lines}");
            let told = match (turn, number) {
                (0, 0) => "brim; fwd=uri-miss; stored",
                (0, _) => "brim; fwd=vary-miss; stored",
                _ => "brim; hit",
            };
            assert_eq!(answer.told(), told, "{lines}");
        }
    }
    // White space and lines make no difference.
    for lines in ["x-a:1\r\n", "X-A: 1 \r\n"] {
        assert_eq!(client.ask(get_with("/", lines)).text(), "0", "{lines}");
    }
    assert_eq!(origin.requests(), sets.len());
}

#[test]
fn what_varies_on_everything_is_not_kept() {
    for vary in ["*", "X-A, *", "X-A\r\nVary: *"] {
        let origin = Origin::answering(ok_with(&format!("{HOUR}Vary: {vary}\r\n"), "ok"));
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/"));
        assert_eq!(client.ask(get("/")).told(), "brim; fwd=bypass; detail=vary-any");
        assert_eq!(origin.requests(), 2);
    }
}

#[test]
fn content_codings_are_told_apart_as_far_as_they_mean_something() {
    let origin = Origin::serving(|head, _| {
        let line = head.lines().find_map(|line| line.strip_prefix("Accept-Encoding: "));
        ok_with(&format!("{HOUR}Vary: Accept-Encoding\r\n"), line.unwrap_or("none"))
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for (spellings, seen, requests) in [
        (
            &["gzip", "GZIP", "gzip, deflate", "x-gzip;q=0.5", "deflate, gzip;q=1.0, br;q=0"][..],
            "gzip",
            1,
        ),
        (&["gzip, deflate, br", "br,gzip", "br;q=0.9, gzip"], "br, gzip", 2),
        (&["*", "br, gzip, zstd", "zstd, *;q=0.1"], "br, gzip, zstd", 3),
        (&["identity", "deflate", "gzip;q=0"], "identity", 4),
    ] {
        for spelling in spellings {
            let lines = format!("Accept-Encoding: {spelling}\r\n");
            assert_eq!(client.ask(get_with("/", &lines)).text(), seen, "{spelling}");
        }
        assert_eq!(origin.requests(), requests, "{seen}");
    }
}

#[test]
fn a_host_that_a_trusted_proxy_tells_is_part_of_the_key() {
    let origin = Origin::serving(|head, _| {
        let told = head.lines().find_map(|line| line.strip_prefix("X-Forwarded-Host: "));
        ok_with(HOUR, told.unwrap_or_default())
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\ntrusted_proxies = ['127.0.0.1']\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    for (lines, told, requests) in [
        ("", "a.test", 1),
        ("X-Forwarded-Host: a.test\r\n", "a.test", 1),
        ("X-Forwarded-Host: evil.test\r\n", "evil.test", 2),
        ("X-Forwarded-Host: a.test\r\nX-Forwarded-Host: evil.test\r\n", "a.test, evil.test", 3),
        ("", "a.test", 3),
    ] {
        assert_eq!(client.ask(get_with("/", lines)).text(), told, "{lines}");
        assert_eq!(origin.requests(), requests, "{lines}");
    }
}

#[test]
fn a_variant_of_one_device_does_not_hide_the_answer_to_another() {
    let origin = Origin::serving(|head, number| {
        let vary = if head.contains("phone") { "Vary: X-V\r\n" } else { "" };
        ok_with(&format!("{HOUR}{vary}"), &number.to_string())
    });
    let brim = Brim::with(origin.address(), "", "[site.key]\nheaders = ['X-Device']");
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        for (device, body) in [("phone", "0"), ("desk", "1")] {
            let lines = format!("X-Device: {device}\r\n");
            assert_eq!(client.ask(get_with("/", &lines)).text(), body);
        }
    }
}
