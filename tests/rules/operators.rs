//! What operators say about paths, and what signed requests cover.

use crate::kit::{secs, site};
use brim::rules::policy::of_path;
use brim::rules::signed::{Signed, signed};
use brim::wire::HeadLimits;
use brim::wire::request::Parser;
use bytes::BytesMut;

#[test]
fn the_first_rule_that_covers_the_whole_path_counts() {
    let site = site(
        "a.test",
        "deception_guard = true\nstrip_set_cookie = true\nheuristic_freshness = false\n\
         [site.key]\nscheme = true\n\
         [[site.rule]]\npath = '/assets/private/*'\ncache = false\n\
         [[site.rule]]\npath = '/assets/*.css'\nttl = '1h'\n\
         [[site.rule]]\npath = '/assets/*'\ndefault_ttl = '2m'\nnegative_ttl = '3s'\n\
         stale_while_revalidate = '4s'\nstale_if_error = '5s'\n\
         [[site.rule]]\npath = '*.css'\nttl = '6s'\n",
    );
    assert!(of_path(&site, "/assets/private/a.css").is_none());
    let ttl = |path| of_path(&site, path).expect("cached").ttl;
    assert_eq!(ttl("/assets/x/y.css"), Some(secs(3600)));
    assert_eq!(ttl("/assets/a.js"), None);
    assert_eq!(ttl("/a.css"), Some(secs(6)));
    assert_eq!(ttl("/a.CSS"), None, "paths have case");
    assert_eq!(ttl("/assets"), None);
    let found = of_path(&site, "/assets/a").expect("cached");
    let times = (found.default_ttl, found.negative_ttl, found.while_revalidate, found.if_error);
    assert_eq!(times, (Some(secs(120)), Some(secs(3)), Some(secs(4)), Some(secs(5))));
    for path in ["/assets/a", "/elsewhere"] {
        let found = of_path(&site, path).expect("cached");
        let said =
            (found.guards_deception, found.strips_set_cookie, found.heuristics, found.keys_scheme);
        assert_eq!(said, (true, true, false, true));
    }
}

#[test]
fn no_pattern_makes_a_path_expensive() {
    let site =
        site("a.test", &format!("[[site.rule]]\npath = '/{}b'\nttl = '1s'", "a*".repeat(200)));
    let path = format!("/{}", "a".repeat(8000));
    let started = std::time::Instant::now();
    assert_eq!(of_path(&site, &path).expect("cached").ttl, None);
    assert!(started.elapsed() < secs(5));
}

fn read(target: &str, lines: &str) -> Option<Signed> {
    let text = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
    let head = Parser::default().next(&mut BytesMut::from(text.as_bytes()), &HeadLimits::default());
    signed(&head.expect("good").expect("whole"))
}

#[test]
fn credentials_and_signatures_make_a_request_a_signed_one() {
    for (target, lines) in [
        ("/", "Authorization: Basic YTpi\r\n"),
        ("/", "Authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b\r\n"),
        ("/?X-Amz-Signature=a", ""),
        ("/?a=b&x-goog-signature=c", ""),
        ("/?sv=1&sig=a", ""),
        ("/?Signature=a", ""),
        ("/?sign=a", ""),
    ] {
        assert_eq!(
            read(target, lines),
            Some(Signed { covers_conditions: false }),
            "{target} {lines}"
        );
    }
    for target in ["/", "/signature?a=b", "/?a=signature", "/?design=a", "/?sigh=b"] {
        assert_eq!(read(target, ""), None, "{target}");
    }
}

#[test]
fn a_signature_covers_conditions_that_it_names_and_that_are_there() {
    let authorization = |list: &str| {
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential=a, SignedHeaders={list}, Signature=range\r\n"
        )
    };
    let range = "Range: bytes=0-1\r\n";
    for (target, lines, expected) in [
        ("/", authorization("host;range") + range, true),
        ("/", authorization("host;range"), false),
        ("/", authorization("host") + range, false),
        ("/", authorization("host;if-none-match") + "If-None-Match: *\r\n", true),
        ("/?X-Amz-SignedHeaders=host%3BRange&X-Amz-Signature=a", range.to_owned(), true),
        ("/?X-Amz-SignedHeaders=host&X-Amz-Signature=range", range.to_owned(), false),
    ] {
        let found = read(target, &lines).expect("signed").covers_conditions;
        assert_eq!(found, expected, "{target} {lines}");
    }
}

#[test]
fn a_path_that_may_lead_elsewhere_gets_no_time_from_a_rule() {
    let rules = "[[site.rule]]\npath = '/static/*'\nttl = '1d'\ndefault_ttl = '1d'\n";
    let site = crate::kit::site("a.test", rules);
    assert!(of_path(&site, "/static/a.css").is_some_and(|policy| policy.ttl.is_some()));
    for path in
        ["/static/../me", "/static/./me", "/static/..%2Fme", "/static/%2E%2E/me", "/static/\\me"]
    {
        let policy = of_path(&site, path).expect("cached");
        assert_eq!((policy.ttl, policy.default_ttl), (None, None), "{path}");
    }
    let rules = "[[site.rule]]\npath = '/me'\ncache = false\n";
    let site = crate::kit::site("a.test", rules);
    assert!(of_path(&site, "/static/..%2Fme").is_none() && of_path(&site, "/you").is_some());
}
