//! `brim demo`: the first minute.

use crate::kit::{Brim, Client, Command, Origin};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The body of a page, through the edge of the demo.
fn page(brim: &Brim, path: &str) -> crate::kit::Response {
    Client::connect(brim.address()).ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}

#[test]
fn the_demo_serves_its_site_through_the_edge() {
    let brim = Brim::demo(&[]);
    let index = page(&brim, "/");
    assert_eq!((index.status, index.field("via")), (200, Some("1.1 brim")));
    let asset = |kind: &str| {
        let text = index.text();
        let from = text.find(&format!("/assets/{kind}.")).expect("a hashed asset");
        text[from..].split('"').next().expect("an end").to_owned()
    };
    for (path, content_type) in [(asset("app"), "text/javascript"), (asset("style"), "text/css")] {
        let answer = page(&brim, &path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.field("content-type").expect("a type").starts_with(content_type));
        assert!(answer.field("cache-control").expect("a rule").contains("immutable"));
    }
    assert_eq!(page(&brim, "/logo.svg").field("content-type"), Some("image/svg+xml"));
    assert_eq!(page(&brim, "/slow").status, 200);
    assert_eq!(page(&brim, "/now").field("cache-control"), Some("no-store"));
    assert_eq!(page(&brim, "/nothing").status, 404);
    let video = page(&brim, "/video.mp4");
    assert_eq!((video.body.len(), video.is_whole), (20 << 20, true));
    let part = Client::connect(brim.address())
        .ask("GET /video.mp4 HTTP/1.1\r\nHost: localhost\r\nRange: bytes=1000-1999\r\n\r\n");
    assert_eq!((part.status, &part.body[..]), (206, &video.body[1000..2000]));
}

#[test]
fn the_demo_prints_where_it_is_and_what_to_try() {
    let brim = Brim::demo(&[]);
    let address = brim.address();
    assert!(brim.access_log("curl -i").contains(&format!("http://{address}/")));
    brim.access_log("/video.mp4");
}

/// Where a demo's operators are served, as it prints it.
fn admin(brim: &Brim) -> SocketAddr {
    let line = brim.access_log("/metrics");
    let address = line.trim().strip_prefix("curl -s http://").expect("a command");
    address.trim_end_matches("/metrics").parse().expect("an address")
}

#[test]
fn each_demo_tells_where_its_metrics_are() {
    let demos = [Brim::demo(&[]), Brim::demo(&[])];
    for brim in &demos {
        let metrics =
            Client::connect(admin(brim)).ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(metrics.text().contains("brim_requests_total{outcome=\"pass\",site=\"*\"} 0\n"));
    }
    assert_ne!(admin(&demos[0]), admin(&demos[1]));
}

/// The command that a demo prints, without the program's name.
fn purge_command(brim: &Brim) -> Vec<String> {
    let line = brim.access_log(" purge --admin http://");
    let words = line.split_whitespace().map(str::to_owned);
    words.skip_while(|word| word != "purge").collect()
}

#[test]
fn the_demo_is_purged_by_the_command_that_it_prints() {
    let mut brim = Brim::demo(&[]);
    let command = purge_command(&brim);
    let file = PathBuf::from(&command[4]);
    assert_eq!(std::fs::metadata(&file).expect("a token file").mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).expect("a token");
    assert!(brim.printed_so_far(token.trim()).is_none(), "nobody is shown the token");
    let outcome = |brim: &Brim| page(brim, "/logo.svg").field("cache-status").map(str::to_owned);
    assert_eq!(outcome(&brim).as_deref(), Some("brim; fwd=uri-miss; ttl=3600; stored"));
    assert!(outcome(&brim).expect("a status").starts_with("brim; hit; ttl="));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let purged = Command::run(&command);
    assert_eq!(purged.code, Some(0), "{}", purged.stderr);
    assert_eq!(outcome(&brim).as_deref(), Some("brim; fwd=uri-miss; ttl=3600; stored"));
    brim.signal(Signal::INT);
    assert_eq!(brim.wait().code(), Some(0));
    assert!(!file.exists(), "a demonstration leaves no files behind");
}

#[test]
fn a_token_of_the_environment_comes_before_one_that_a_demo_makes() {
    let token = [("BRIM_ADMIN_TOKEN", "of-the-environment")];
    let brim = Brim::demo_with(&[], &token);
    let command = purge_command(&brim);
    assert_eq!((&command[3..], command.len()), (&["--all".to_owned()][..], 4));
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    assert_eq!(Command::run_with(&command, &token).code, Some(0));
    assert_eq!(Command::run_with(&command, &[("BRIM_ADMIN_TOKEN", "another")]).code, Some(1));
}

#[test]
fn the_demo_stands_in_front_of_any_origin() {
    let origin = Origin::ok();
    let brim = Brim::demo(&["--origin", &format!("http://{}", origin.address())]);
    assert_eq!(page(&brim, "/").text(), "ok");
    assert!(origin.only_head().contains(&format!("\r\nHost: {}\r\n", origin.address())));
}

#[test]
fn the_demo_site_can_be_had_alone() {
    let site = Brim::demo(&["--origin-only"]);
    let index = page(&site, "/");
    assert_eq!((index.status, index.field("via")), (200, None));
}
