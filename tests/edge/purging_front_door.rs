//! PURGE and BAN on the front door: who may, what it means, and that no origin ever sees one.

use crate::kit::{Brim, Client, Origin, Response, get, ok_with};
use serde_json::Value;

const HOUR: &str = "Cache-Control: max-age=3600\r\n";
const FROM_HERE: &str = "[site.purge]\nnetworks = ['127.0.0.0/8']";
const FROM_ELSEWHERE: &str = "[site.purge]\nnetworks = ['192.0.2.0/24', '::1']";
const WITH_TOKEN: &str = "[site.purge]\ntoken = true";

fn numbering() -> Origin {
    Origin::serving(|_, number| ok_with(HOUR, &number.to_string()))
}

fn request(method: &str, target: &str, lines: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n")
}

/// A purge by a client of a site with these lines: what it is told, and whether it did anything.
#[track_caller]
fn purged(server: &str, site: &str, lines: &str) -> (Response, bool) {
    let origin = numbering();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{server}\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n{site}\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    client.ask(get("/a"));
    let answer = client.ask(request("PURGE", "/a", lines));
    let is_gone = Client::connect(brim.address()).ask(get("/a")).told() != "brim; hit";
    assert_eq!(origin.requests(), 1 + usize::from(is_gone), "the origin was asked");
    (answer, is_gone)
}

fn receipt(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.told(), "brim");
    assert!(answer.text().ends_with("}\n"));
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn without_a_word_in_the_configuration_nobody_purges_and_no_origin_is_asked() {
    let origin = numbering();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    for method in ["PURGE", "BAN"] {
        let answer = client.ask(request(method, "/a", "Authorization: Bearer x\r\n"));
        assert_eq!(answer.status, 405);
        let allowed = answer.field("allow").expect("methods");
        assert!(allowed.contains("GET") && !allowed.contains("PURGE"), "{allowed}");
        assert_eq!(answer.told(), "brim; detail=purge_off");
    }
    assert_eq!(origin.requests(), 0);
    let line = brim.access_log("\"method\":\"BAN\"");
    assert!(line.contains("\"outcome\":\"error\",\"reason\":\"purge_off\""), "{line}");
    // Methods have case; these are the origin's.
    assert_eq!(client.ask(request("purge", "/a", "")).status, 200);
    assert_eq!(client.ask(request("LINK", "/a", "")).status, 200);
    assert_eq!(origin.requests(), 2);
}

#[test]
fn clients_of_named_networks_purge_and_others_do_not() {
    let (answer, is_gone) = purged("", FROM_HERE, "");
    let receipt = receipt(&answer);
    assert!(is_gone);
    assert_eq!(receipt["by"], "front door 127.0.0.1");
    assert_eq!((&receipt["kinds"]["urls"], &receipt["soft"]), (&1.into(), &false.into()));

    let (answer, is_gone) = purged("", FROM_ELSEWHERE, "Authorization: Bearer x\r\n");
    assert_eq!((answer.status, is_gone), (403, false));
    assert_eq!(answer.told(), "brim; detail=purge_denied");
}

#[test]
fn a_client_is_whom_trusted_proxies_tell_of_and_nobody_else() {
    let trusting = "trusted_proxies = ['127.0.0.1']";
    for (server, lines, status) in [
        // Nobody asked this client about itself.
        ("", "X-Forwarded-For: 192.0.2.1\r\n", 403),
        ("", "X-Forwarded-For: ::1\r\nX-Real-IP: ::1\r\n", 403),
        (trusting, "X-Forwarded-For: 192.0.2.1\r\n", 200),
        // What the client of the proxy wrote stands before what the proxy saw.
        (trusting, "X-Forwarded-For: 192.0.2.1, 198.51.100.1\r\n", 403),
        (trusting, "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 198.51.100.1\r\n", 403),
        (trusting, "X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\n", 200),
    ] {
        let (answer, is_gone) = purged(server, FROM_ELSEWHERE, lines);
        assert_eq!((answer.status, is_gone), (status, status == 200), "{server} {lines}");
    }
}

#[test]
fn the_address_of_a_trusted_proxy_is_not_lent_to_its_clients() {
    let trusting = "trusted_proxies = ['127.0.0.1']";
    for (lines, status) in [
        // Many proxies tell nothing where nobody has told them to.
        ("", 403),
        ("X-Forwarded-For: 127.0.0.1\r\n", 200),
        ("X-Forwarded-For: 198.51.100.1\r\n", 403),
        ("X-Forwarded-For: 198.51.100.1:4711\r\n", 403),
        ("X-Forwarded-For: unknown\r\n", 403),
        ("X-Forwarded-For: unknown, 127.0.0.1\r\n", 403),
        ("Forwarded: for=198.51.100.1\r\n", 403),
        ("Via: 1.1 proxy\r\n", 403),
    ] {
        let (answer, is_gone) = purged(trusting, FROM_HERE, lines);
        assert_eq!((answer.status, is_gone), (status, status == 200), "{lines}");
    }
}

#[test]
fn a_token_that_is_not_the_operators_opens_nothing() {
    for lines in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Bearer \r\n",
        "Authorization: Basic d3Jvbmc=\r\n",
        "Authorization: Bearer wrong\r\nAuthorization: Bearer wrong\r\n",
    ] {
        let (answer, is_gone) = purged("", WITH_TOKEN, lines);
        assert_eq!((answer.status, is_gone), (401, false), "{lines}");
        assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.told(), "brim; detail=purge_denied");
    }
    // Whoever may without one needs none.
    let both = format!("{FROM_HERE}\ntoken = true");
    assert_eq!(purged("", &both, "Authorization: Bearer wrong\r\n").0.status, 200);
}

#[test]
fn a_purge_is_about_one_url_with_all_its_variants() {
    let origin =
        Origin::serving(|_, number| ok_with(&format!("{HOUR}Vary: X-A\r\n"), &number.to_string()));
    let brim = Brim::with(origin.address(), "", FROM_HERE);
    let mut client = Client::connect(brim.address());
    let ask = |client: &mut Client, target: &str, lines: &str| {
        client.ask(request("GET", target, lines)).told()
    };
    let all =
        [("/a?x", "X-A: 1\r\n"), ("/a?x", "X-A: 2\r\n"), ("/a", ""), ("/a?x&y", ""), ("/a/", "")];
    for (target, lines) in all {
        ask(&mut client, target, lines);
    }
    receipt(&client.ask(request("PURGE", "/%61?x", "")));
    let told: Vec<bool> =
        all.iter().map(|(target, lines)| ask(&mut client, target, lines) == "brim; hit").collect();
    assert_eq!(told, [false, false, true, true, true]);
}

#[test]
fn what_is_named_and_how_is_in_the_receipt() {
    let origin = numbering();
    let brim = Brim::with(origin.address(), "", FROM_HERE);
    let mut client = Client::connect(brim.address());
    for (method, lines, kind, count, soft) in [
        ("PURGE", "", "urls", 1, false),
        ("BAN", "", "prefixes", 1, false),
        ("BAN", "Soft-Purge: 0\r\n", "prefixes", 1, false),
        ("PURGE", "Soft-Purge: 1\r\n", "urls", 1, true),
        ("BAN", "Fastly-Soft-Purge: 1\r\n", "prefixes", 1, true),
        ("PURGE", "Surrogate-Key: a b\r\n", "tags", 2, false),
        ("BAN", "Cache-Tag: a b, c\r\nEdge-Cache-Tag: c\r\n", "tags", 2, false),
        ("PURGE", "xkey: a b,c\r\nSoft-Purge: 1\r\n", "tags", 3, true),
        ("PURGE", "xkey-purge: a\r\n", "tags", 1, false),
        ("PURGE", "xkey-softpurge: a\r\n", "tags", 1, true),
    ] {
        let receipt = receipt(&client.ask(request(method, "/a", lines)));
        let kinds = ["urls", "prefixes", "tags"].map(|kind| receipt["kinds"][kind].as_u64());
        let expected =
            ["urls", "prefixes", "tags"].map(|of| Some(if of == kind { count } else { 0 }));
        assert_eq!((kinds, &receipt["soft"]), (expected, &soft.into()), "{method} {lines}");
    }
    let line = brim.access_log("\"method\":\"BAN\"");
    assert!(line.contains("\"status\":200") && line.contains("\"outcome\":\"edge\""), "{line}");
    assert_eq!(origin.requests(), 0);
}

#[test]
fn what_cannot_be_understood_is_told_and_nothing_is_purged() {
    let origin = numbering();
    let site = format!("[site.key]\nquery = 'none'\n{FROM_HERE}");
    let brim = Brim::with(origin.address(), "", &site);
    let mut client = Client::connect(brim.address());
    let long = format!("xkey: {}\r\n", "x".repeat(1025));
    for (target, lines, sentence) in [
        ("/a", "Surrogate-Key: \r\n", "a field for tags names none"),
        ("/a", long.as_str(), "the tags are too many or too long"),
        ("/a*", "", "a prefix needs no \"*\": write \"/a\""),
        ("/a%4", "", "it ends within an escape: `%` and two digits"),
        ("/a?x", "", "its site does not keep queries as they come"),
    ] {
        let answer = client.ask(request("BAN", target, lines));
        assert_eq!(answer.status, 400, "{target} {lines}");
        assert!(
            answer.text().starts_with(&format!("400 Bad Request: {sentence}")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.told(), "brim; detail=bad_purge");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn the_body_of_a_purge_is_not_the_next_request() {
    let origin = numbering();
    let brim = Brim::with(origin.address(), "", FROM_HERE);
    let mut client = Client::connect(brim.address());
    let body = request("GET", "/smuggled", "");
    let with_body = |length: usize| {
        let lines = format!("Content-Length: {length}\r\n");
        request("PURGE", "/a", &lines) + &body
    };
    // All there: skipped.
    receipt(&client.ask(with_body(body.len())));
    assert_eq!(client.ask(get("/a")).text(), "0");
    // Not all there: nobody waits for the rest.
    let answer = client.ask(with_body(body.len() + 1));
    assert_eq!(answer.field("connection"), Some("close"));
    receipt(&answer);
    client.finish();
    client.is_closed();
    assert_eq!(origin.requests(), 1);
}

#[test]
fn a_client_that_names_no_host_purges_what_it_gets() {
    let origin = numbering();
    let brim = Brim::with(origin.address(), "", FROM_HERE);
    let ask = |method: &str| {
        let request = format!("{method} /a HTTP/1.0\r\n\r\n");
        Client::connect(brim.address()).ask(request)
    };
    ask("GET");
    assert_eq!(ask("GET").told(), "brim; hit");
    assert_eq!(ask("PURGE").status, 200);
    assert_eq!(ask("GET").text(), "1");
    assert_eq!(ask("BAN").status, 200);
}
