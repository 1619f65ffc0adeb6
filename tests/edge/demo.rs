//! `brim demo`: the first minute.

use crate::kit::{Brim, Client, Origin};

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

#[test]
fn the_demo_tells_where_its_metrics_are_if_it_can_have_the_port() {
    let demos = [Brim::demo(&[]), Brim::demo(&[])];
    let mut open = 0;
    for brim in &demos {
        brim.access_log("Ctrl-C ends it");
        let Some(line) = brim.printed_so_far("/metrics") else {
            brim.error_log("no admin listener");
            continue;
        };
        assert_eq!(line, format!("  curl -s http://{}/metrics", brim::config::ADMIN));
        let metrics = Client::connect(brim::config::ADMIN)
            .ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(metrics.text().contains("brim_requests_total{outcome=\"pass\",site=\"*\"} 0\n"));
        open += 1;
    }
    assert!(open <= 1, "both cannot have it");
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
