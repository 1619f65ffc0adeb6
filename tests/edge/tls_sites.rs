//! What sites do with TLS: redirects to it, HSTS, and objects that both schemes share.

use crate::kit::tls::{Authority, TlsClient};
use crate::kit::{Brim, Client, NOBODY, Origin, Response, get, get_with, head, ok_with};
use serde_json::json;
use std::net::SocketAddr;

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

/// An edge over both, with what its certificate needs.
struct Both {
    brim: Brim,
    authority: Authority,
    _folder: tempfile::TempDir,
}

impl Both {
    fn new(origin: SocketAddr, server: &str, site: &str) -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
        let certificate = authority.issue(&["a.test"]).write(folder.path(), "a");
        let brim = Brim::over_tls(origin, &certificate, server, site);
        Self { brim, authority, _folder: folder }
    }

    fn plain(&self) -> Client {
        Client::connect(self.brim.address())
    }

    fn secured(&self) -> TlsClient {
        self.authority.trusting_client().connect(self.brim.https(), "a.test")
    }
}

fn request(method: &str, target: &str, host: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
}

#[test]
fn a_plain_request_is_sent_to_the_same_url_over_tls() {
    let origin = Origin::ok();
    let both = Both::new(origin.address(), "https_port = 443", "redirect_to_https = true");
    let mut client = both.plain();
    for (target, host, location) in [
        ("/", "a.test", "https://a.test/"),
        ("/a/b?c=d&e=%20f", "a.test:8080", "https://a.test/a/b?c=d&e=%20f"),
        ("//other.test/x", "A.test", "https://A.test//other.test/x"),
        ("/\\other.test", "[::1]:80", "https://[::1]/\\other.test"),
        ("http://b.test:81/x", "b.test:81", "https://b.test/x"),
        ("/@other.test", "127.0.0.1", "https://127.0.0.1/@other.test"),
    ] {
        let answer = client.ask(request("GET", target, host, ""));
        assert_eq!((answer.status, answer.field("location")), (308, Some(location)));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert_eq!(answer.told(), "brim; detail=https");
        // Only TLS can vouch for it.
        assert_eq!(answer.field("strict-transport-security"), None);
    }
    // 308 keeps the method, and the connection what is not read of a body.
    let post = request("POST", "/form", "a.test", "Content-Length: 3\r\n") + "abc";
    assert_eq!(client.ask(post).field("location"), Some("https://a.test/form"));
    let answer = client.ask_head(request("HEAD", "/x", "a.test", ""));
    assert_eq!((answer.status, answer.field("location")), (308, Some("https://a.test/x")));
    let answer = client.ask(request("OPTIONS", "*", "a.test", ""));
    assert_eq!((answer.status, answer.field("location")), (308, Some("https://a.test/")));
    let chunked = request("POST", "/form", "a.test", "Transfer-Encoding: chunked\r\n");
    let answer = client.ask(chunked);
    assert_eq!((answer.status, answer.field("connection")), (308, Some("close")));
    // There is nowhere to send whoever names no host.
    assert_eq!(both.plain().ask("GET / HTTP/1.0\r\n\r\n").status, 400);
    assert_eq!(origin.requests(), 0);
    let line = both.brim.access_log("\"status\":308");
    assert!(line.contains("\"outcome\":\"edge\""), "{line}");
    assert_eq!(both.secured().ask(get("/")).status, 200);
}

#[test]
fn a_host_that_could_lead_elsewhere_is_refused_and_not_repeated() {
    let both = Both::new(Origin::ok().address(), "", "redirect_to_https = true");
    for host in ["a.test/x", "a.test@other.test", "a.test\\x", "a.test, b.test", "a.test:x", ""] {
        let answer = both.plain().ask(request("GET", "/", host, ""));
        assert_eq!((answer.status, answer.field("location")), (400, None), "{host}");
    }
    let two = "Host: other.test\r\n";
    assert_eq!(both.plain().ask(request("GET", "/", "a.test", two)).status, 400);
}

#[test]
fn clients_are_sent_to_the_port_that_is_bound_unless_the_operator_knows_better() {
    let location = |server: &str| {
        let both = Both::new(Origin::ok().address(), server, "redirect_to_https = true");
        let answer = both.plain().ask(get("/x"));
        let location = answer.field("location").expect("a location").to_owned();
        location.replace(&both.brim.https().port().to_string(), "<bound>")
    };
    assert_eq!(location(""), "https://a.test:<bound>/x");
    assert_eq!(location("https_port = 443"), "https://a.test/x");
    assert_eq!(location("https_port = 9443"), "https://a.test:9443/x");
}

#[test]
fn who_came_over_tls_to_a_trusted_proxy_is_not_sent_there_again() {
    let status = |trusted: &str, lines: &str| {
        let server = format!("trusted_proxies = [{trusted}]");
        let both = Both::new(Origin::ok().address(), &server, "redirect_to_https = true");
        both.plain().ask(get_with("/", lines)).status
    };
    let here = "'127.0.0.1'";
    for told in [
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Proto: HTTPS\r\n",
        "Forwarded: for=192.0.2.1;proto=https;host=a.test\r\n",
        "Forwarded: for=192.0.2.1, for=192.0.2.2; Proto=\"https\"\r\n",
    ] {
        assert_eq!(status(here, told), 200, "{told}");
        assert_eq!(status("", told), 308, "of anybody: {told}");
    }
    for told in ["", "X-Forwarded-Proto: http\r\n", "Forwarded: for=https;host=\"proto=https\"\r\n"]
    {
        assert_eq!(status(here, told), 308, "{told}");
    }
}

#[test]
fn purges_are_not_sent_anywhere() {
    let origin = Origin::serving(|_, number| ok_with(HOUR, &number.to_string()));
    let site = "redirect_to_https = true\n[site.purge]\nnetworks = ['127.0.0.1']";
    let both = Both::new(origin.address(), "", site);
    assert_eq!(both.secured().ask(get("/a")).text(), "0");
    assert_eq!(both.plain().ask(request("PURGE", "/a", "a.test", "")).status, 200);
    assert_eq!(both.secured().ask(get("/a")).text(), "1");
    assert_eq!(both.plain().ask(request("BAN", "/", "a.test", "")).status, 200);
    assert_eq!(both.secured().ask(get("/a")).text(), "2");
}

#[test]
fn every_answer_of_a_site_over_tls_has_its_hsts_once_and_none_without() {
    let origin = Origin::start(|peer| {
        while let Some(head) = peer.head() {
            peer.body_of(&head);
            if head.contains(" /broken ") {
                return;
            }
            let own = "strict-transport-security: max-age=1\r\nStrict-Transport-Security: \
                       max-age=2; preload\r\nETag: \"e\"\r\n";
            let interim = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            if head.contains(" /hints ") {
                peer.send(interim);
            }
            peer.send(ok_with(&format!("{HOUR}{own}X-Last: 1\r\n"), "abc"));
        }
    });
    let site = "hsts = { max_age = '365d', include_subdomains = true }\n\
                [site.purge]\ntoken = true\n[[site.rule]]\npath = '/pass'\ncache = false";
    let both = Both::new(origin.address(), "", site);
    let expected = ["max-age=31536000; includeSubDomains"];
    #[track_caller]
    fn has(answer: &Response, status: u16, expected: &[&str]) {
        assert_eq!(answer.status, status);
        assert_eq!(answer.fields("strict-transport-security"), expected, "{}", answer.head);
        assert!(answer.head.ends_with("\r\n\r\n") && answer.is_whole);
    }
    let mut client = both.secured();
    for told in ["brim; fwd=uri-miss; fwd-status=200; stored", "brim; hit"] {
        let answer = client.ask(get("/a"));
        has(&answer, 200, &expected);
        assert!(answer.told() == told || told.contains("stored"), "{}", answer.told());
        assert_eq!((answer.field("x-last"), answer.text()), (Some("1"), "abc".into()));
    }
    has(&client.ask(get_with("/a", "Range: bytes=1-1\r\n")), 206, &expected);
    has(&client.ask(get_with("/a", "Range: bytes=9-\r\n")), 416, &expected);
    has(&client.ask(get_with("/a", "If-None-Match: \"e\"\r\n")), 304, &expected);
    has(&client.ask(get_with("/a", "If-Match: \"f\"\r\n")), 412, &expected);
    has(&client.ask_head(head("/a")), 200, &expected);
    has(&client.ask(get("/pass")), 200, &expected);
    has(&client.ask(request("POST", "/p", "a.test", "Content-Length: 0\r\n")), 200, &expected);
    has(&client.ask(request("PURGE", "/a", "a.test", "")), 401, &expected);
    has(&client.ask(get_with("/new", "Cache-Control: only-if-cached\r\n")), 504, &expected);
    has(&client.ask(get("/broken")), 502, &expected);
    let mut client = both.secured();
    has(&client.ask(request("POST", "/broken", "a.test", "Content-Length: 0\r\n")), 502, &expected);
    // Without TLS there is what the origin says, which no client takes.
    let theirs = ["max-age=1", "max-age=2; preload"];
    let mut client = both.plain();
    has(&client.ask(get("/a")), 200, &theirs);
    has(&client.ask(get("/pass")), 200, &theirs);
    has(&client.ask(get_with("/a", "If-Match: \"f\"\r\n")), 412, &[]);
}

#[test]
fn a_site_without_hsts_leaves_the_origins() {
    let theirs = "Strict-Transport-Security: max-age=7\r\n";
    let both = Both::new(Origin::answering(ok_with(theirs, "")).address(), "", "");
    let answer = both.secured().ask(get("/"));
    assert_eq!(answer.fields("strict-transport-security"), ["max-age=7"]);
    let both = Both::new(NOBODY.parse().expect("an address"), "", "hsts = '0s'");
    let answer = both.secured().ask(get("/"));
    assert_eq!(answer.status, 502);
    assert_eq!(answer.fields("strict-transport-security"), ["max-age=0"]);
}

fn numbering() -> Origin {
    Origin::serving(|_, number| ok_with(HOUR, &number.to_string()))
}

#[test]
fn both_schemes_share_what_is_stored_unless_the_site_tells_them_apart() {
    let origin = numbering();
    let both = Both::new(origin.address(), "", "");
    let (mut plain, mut secured) = (both.plain(), both.secured());
    for (host, plain_host) in [("a.test", "a.test:80"), ("a.test:443", "a.test")] {
        assert_eq!(secured.ask(request("GET", "/", host, "")).text(), "0");
        assert_eq!(plain.ask(request("GET", "/", plain_host, "")).text(), "0");
    }
    // The port of the other scheme is a port like any other.
    assert_eq!(secured.ask(request("GET", "/", "a.test:80", "")).text(), "1");
    assert_eq!(plain.ask(request("GET", "/", "a.test:443", "")).text(), "2");
    assert_eq!(secured.ask(request("GET", "/", "a.test:8443", "")).text(), "3");
    assert_eq!(plain.ask(request("GET", "/", "a.test:8443", "")).text(), "3");
    let absolute = request("GET", "https://a.test:443/", "a.test", "");
    assert_eq!(secured.ask(absolute).text(), "0");

    let origin = numbering();
    let both = Both::new(origin.address(), "", "[site.key]\nscheme = true");
    assert_eq!(both.secured().ask(get("/")).text(), "0");
    assert_eq!(both.plain().ask(get("/")).text(), "1");
    assert_eq!(both.secured().ask(get("/")).text(), "0");
}

#[test]
fn what_is_stored_over_tls_is_purged_by_either_url() {
    let origin = numbering();
    for site in ["", "[site.key]\nscheme = true\n"] {
        let purging = format!("{site}[site.purge]\nnetworks = ['127.0.0.1']");
        let both = Both::new(origin.address(), "", &purging);
        let operator = both.brim.operator();
        let (mut plain, mut secured) = (both.plain(), both.secured());
        for url in ["https://a.test/x", "http://a.test/x", "https://a.test:443/x", "a.test/x"] {
            for client_is_secured in [true, false] {
                let mut ask = || match client_is_secured {
                    true => secured.ask(get("/x")),
                    false => plain.ask(get("/x")),
                };
                let before = ask().text();
                assert_eq!(ask().text(), before);
                operator.purge(&json!({"urls": [url]}));
                assert_ne!(ask().text(), before, "{url}");
                operator.purge(&json!({"prefixes": [url]}));
                assert_eq!(ask().told(), "brim; fwd=uri-miss; stored", "{url}");
            }
        }
        // And on the front door, over each for both.
        for host in ["a.test", "a.test:443"] {
            secured.ask(get("/x"));
            assert_eq!(secured.ask(get("/x")).told(), "brim; hit");
            assert_eq!(secured.ask(request("PURGE", "/x", host, "")).status, 200);
            assert_eq!(secured.ask(get("/x")).told(), "brim; fwd=uri-miss; stored");
        }
        plain.ask(request("PURGE", "/x", "a.test", ""));
        assert_eq!(secured.ask(get("/x")).told(), "brim; fwd=uri-miss; stored");
    }
}

#[test]
fn an_unsafe_request_over_tls_makes_the_object_out_of_date_for_both() {
    let origin = Origin::serving(|head, number| {
        let location = if head.starts_with("POST") { "Location: https://a.test/b\r\n" } else { "" };
        ok_with(&format!("{HOUR}{location}"), &number.to_string())
    });
    let both = Both::new(origin.address(), "", "");
    let (mut plain, mut secured) = (both.plain(), both.secured());
    assert_eq!(
        (secured.ask(get("/a")).text(), secured.ask(get("/b")).text()),
        ("0".into(), "1".into())
    );
    assert_eq!(secured.ask(request("POST", "/a", "a.test", "Content-Length: 0\r\n")).text(), "2");
    assert_eq!(
        (plain.ask(get("/a")).text(), plain.ask(get("/b")).text()),
        ("3".into(), "4".into())
    );
}
