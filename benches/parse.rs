//! What it costs to read a request head and to write the one that the origin gets.
//!
//! `cargo bench` prints the times; compare medians of one run, not across machines.

use brim::rules::forwarding::{self, Hop};
use brim::rules::loops::Identity;
use brim::wire::HeadLimits;
use brim::wire::request::{Parser, RequestHead};
use bytes::BytesMut;
use std::net::{IpAddr, Ipv4Addr};

const CURL: &[u8] =
    b"GET /index.html HTTP/1.1\r\nHost: example.com\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n";
const BROWSER: &[u8] = b"GET /assets/app.3f2a1b9c.js?v=42 HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\nReferer: https://www.example.com/\r\n\
Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n\r\n";

fn main() {
    divan::main();
}

fn parse(text: &[u8]) -> RequestHead {
    let head = Parser::default().next(&mut BytesMut::from(text), &HeadLimits::default());
    head.expect("good").expect("whole")
}

#[divan::bench(args = [("curl", CURL), ("browser", BROWSER)].map(|(name, text)| Named(name, text)))]
fn read_a_head(bencher: divan::Bencher, head: &Named) {
    bencher
        .with_inputs(|| BytesMut::from(head.1))
        .bench_refs(|buf| Parser::default().next(buf, &HeadLimits::default()));
}

#[divan::bench(args = [("curl", CURL), ("browser", BROWSER)].map(|(name, text)| Named(name, text)))]
fn write_the_origins_head(bencher: divan::Bencher, head: &Named) {
    let head = parse(head.1);
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

/// A head with the name that the table shows.
struct Named(&'static str, &'static [u8]);

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}
