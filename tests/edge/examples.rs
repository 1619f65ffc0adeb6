//! `examples/`: each is what its comments say, in front of an origin that runs here.

use crate::kit::{Brim, Client, Origin, get, get_with, ok_with};
use std::net::SocketAddr;
use std::path::PathBuf;

fn text_of(name: &str) -> String {
    let path = PathBuf::from("examples").join(name).with_extension("toml");
    std::fs::read_to_string(path).expect("an example")
}

/// An example with ports that are free, in front of this origin.
fn running(name: &str, origin: SocketAddr) -> Brim {
    Brim::configured_exactly(&with_free_ports(&text_of(name), origin))
}

fn with_free_ports(text: &str, origin: SocketAddr) -> String {
    let mut text = text.replace("127.0.0.1:3000", &origin.to_string());
    for known in ["0.0.0.0:8080", "127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8443"] {
        text = text.replace(&format!("[\"{known}\"]"), "[\"127.0.0.1:0\"]");
    }
    for known in ["127.0.0.1:9180", "127.0.0.1:9181"] {
        text = text.replace(&format!("admin = \"{known}\""), "admin = \"127.0.0.1:0\"");
    }
    match text.contains("\nadmin = ") {
        true => text,
        false => text.replacen("[server]\n", "[server]\nadmin = \"127.0.0.1:0\"\n", 1),
    }
}

/// What became of a GET.
fn status_of(brim: &Brim, request: impl AsRef<[u8]>) -> String {
    let answer = Client::connect(brim.address()).ask(request);
    answer.field("cache-status").unwrap_or_default().to_owned()
}

#[test]
fn every_example_says_what_it_is_for_and_how_to_try_it() {
    for entry in std::fs::read_dir("examples").expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        let comment: Vec<_> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let comment = comment.join("\n");
        let command = format!("brim run --config {}", path.display());
        assert!(comment.contains("\n# Try it"), "{}", path.display());
        assert!(comment.contains(&command), "{} is started by {command}", path.display());
    }
}

#[test]
fn the_static_site_keeps_what_has_no_time_and_ignores_tracking() {
    let origin = Origin::serving(|head, _| match head.contains(" /missing ") {
        true => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        false => ok_with("", "file"),
    });
    let brim = running("static-site", origin.address());
    assert!(status_of(&brim, get("/a.html?utm_source=mail")).ends_with("; ttl=60; stored"));
    assert!(status_of(&brim, get("/a.html")).starts_with("brim; hit;"));
    assert!(status_of(&brim, get("/assets/a.css")).ends_with("; ttl=2592000; stored"));
    assert!(status_of(&brim, get("/missing")).ends_with("; ttl=10; stored"));
    assert_eq!(origin.requests(), 3);
}

#[test]
fn the_api_shares_what_it_allows_and_sees_whoever_brings_credentials() {
    let origin = Origin::serving(|head, _| match head.contains(" /v1/shared") {
        true => ok_with("Cache-Control: s-maxage=60\r\n", "shared"),
        false => ok_with("Cache-Control: max-age=60\r\n", "plain"),
    });
    let brim = running("api", origin.address());
    assert!(status_of(&brim, get("/v1/products?a=1&b=2")).ends_with("; ttl=60; stored"));
    assert!(status_of(&brim, get("/v1/products?b=2&a=1")).starts_with("brim; hit;"));
    let with_token = |path| get_with(path, "Authorization: Bearer secret\r\n");
    for count in [2, 3] {
        assert!(!status_of(&brim, with_token("/v1/mine")).contains("stored"));
        assert_eq!(origin.requests(), count);
        assert!(origin.last_head().contains("\r\nAuthorization: Bearer secret\r\n"));
    }
    assert!(status_of(&brim, with_token("/v1/shared")).ends_with("; ttl=60; stored"));
    assert!(status_of(&brim, get("/v1/shared")).starts_with("brim; hit;"));
    for _ in 0..2 {
        assert!(status_of(&brim, get("/v1/account/orders")).starts_with("brim; fwd=bypass"));
    }
    assert_eq!(origin.requests(), 6);
}

#[test]
fn the_video_is_served_and_kept_in_parts() {
    let site = Brim::demo(&["--origin-only"]);
    let brim = running("video", site.address());
    let part = |bytes: &str| {
        let request = get_with("/video.mp4?player=7", &format!("Range: bytes={bytes}\r\n"));
        Client::connect(brim.address()).ask(request)
    };
    let first = part("1000000-1999999");
    assert_eq!((first.status, first.body.len()), (206, 1_000_000));
    assert_eq!(first.field("content-range"), Some("bytes 1000000-1999999/20971520"));
    brim.wait_until("brim_fills_in_flight", |fills| fills == 0);
    let again = part("1200000-1299999");
    assert!(again.field("cache-status").expect("a status").starts_with("brim; hit;"), "{again:?}");
    assert_eq!(again.body, first.body[200_000..300_000]);
}

#[test]
fn the_pair_asks_the_parent_first_and_forgets_together() {
    let origin = Origin::answering(ok_with("Cache-Control: max-age=60\r\n", "page"));
    let token = [("BRIM_ADMIN_TOKEN", "the-same-on-both")];
    let start =
        |text: &str| Brim::configured_with(&with_free_ports(text, origin.address()), &token);
    let parent = start(&text_of("shield-parent"));
    let operator = parent.operator_with(token[0].1);
    let text = text_of("shield-edge")
        .replace("127.0.0.1:8081", &parent.address().to_string())
        .replace("127.0.0.1:9181", &parent.admin().to_string());
    let edge = start(&text);
    let fetched = "brim; fwd=uri-miss; ttl=60; stored";
    assert_eq!(status_of(&edge, get("/a")), format!("{fetched}, {fetched}"));
    assert!(status_of(&edge, get("/a")).contains(", brim; hit; ttl="));
    assert!(status_of(&parent, get("/a")).starts_with("brim; hit;"));
    let receipt = edge.operator_with(token[0].1).purge(&serde_json::json!({ "all": true }));
    assert!(receipt["parents"].is_array(), "{receipt}");
    assert_eq!(operator.get("/purges")["purges"].as_array().map(Vec::len), Some(1));
    assert_eq!(status_of(&edge, get("/a")), format!("{fetched}, {fetched}"));
    assert_eq!(origin.requests(), 2);
}

#[test]
fn the_development_edge_takes_a_purge_from_this_machine() {
    let origin = Origin::answering(ok_with("Cache-Control: max-age=60\r\n", "page"));
    let brim = running("development", origin.address());
    assert!(status_of(&brim, get("/assets/app.css")).ends_with("; ttl=2592000; stored"));
    assert!(status_of(&brim, get("/assets/app.css")).starts_with("brim; hit;"));
    let purge = "PURGE /assets/app.css HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(Client::connect(brim.address()).ask(purge).status, 200);
    assert!(status_of(&brim, get("/assets/app.css")).ends_with("; ttl=2592000; stored"));
}

#[test]
fn plain_requests_are_sent_to_where_there_is_tls() {
    let origin = Origin::ok();
    let brim = running("https", origin.address());
    let answer =
        Client::connect(brim.address()).ask("GET /a HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    assert_eq!(answer.status, 308);
    assert_eq!(answer.field("location"), Some("https://www.example.com/a"));
    assert_eq!(origin.requests(), 0);
}
