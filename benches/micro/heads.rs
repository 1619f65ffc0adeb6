//! What it costs to read a request head, and to write what is new in each head: the one that the origin
//! gets, and what an answer says about the cache.

use crate::kit::{BROWSER_FIELDS, CURL_FIELDS, head_of};
use brim::outcome::Outcome;
use brim::rules::cache_status::Story;
use brim::rules::forwarding::{self, Hop};
use brim::rules::loops::Identity;
use brim::wire::HeadLimits;
use brim::wire::request::Parser;
use bytes::BytesMut;
use std::net::{IpAddr, Ipv4Addr};

const CLIENTS: [&str; 2] = ["curl", "browser"];

fn text(client: &str) -> String {
    let fields = if client == "curl" { CURL_FIELDS } else { BROWSER_FIELDS };
    format!("GET /assets/app.3f2a1b9c.js?v=42 HTTP/1.1\r\n{fields}\r\n")
}

#[divan::bench(args = CLIENTS)]
fn read_a_head(bencher: divan::Bencher, client: &str) {
    let text = text(client);
    bencher
        .with_inputs(|| BytesMut::from(&text[..]))
        .bench_refs(|buf| Parser::default().next(buf, &HeadLimits::default()));
}

#[divan::bench(args = CLIENTS)]
fn write_the_origins_head(bencher: divan::Bencher, client: &str) {
    let head = head_of(&text(client));
    let identity = Identity::new([7; 8]);
    let hop = Hop {
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer_is_trusted: false,
        scheme: "http",
        host: "www.example.com",
        client_certificate: None,
        allowed: &[],
        identity: &identity,
        about_request: b"",
    };
    bencher.bench(|| forwarding::request_head(divan::black_box(&head), &hop));
}

/// The Cache-Status of a hit; the rest of its head is stored as it goes out.
#[divan::bench]
fn write_what_the_cache_did(bencher: divan::Bencher) {
    let story = Story { ttl: Some(86_400), ..Story::new(Outcome::Hit) };
    let mut out = Vec::with_capacity(256);
    bencher.bench_local(|| {
        out.clear();
        divan::black_box(&story).write(&mut out, b"");
    });
}
