//! The operations that are guarded.

use crate::kit::{BROWSER_FIELDS, Edge, StoredObject, request, target};
use brim::config;
use brim::rules::key::Key;
use brim::wire::HeadLimits;
use brim::wire::authority;
use brim::wire::request::Parser;
use bytes::BytesMut;
use std::hint::black_box;
use std::path::Path;

/// Bytes of contents.
const LENGTH: usize = 1024;

/// Takes what does an operation so many times.
pub(super) type Count<'a> = &'a mut dyn FnMut(&mut dyn FnMut(usize));

/// One of them.
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// Prepares it and hands it over.
    pub(super) prepare: fn(Count<'_>),
}

/// All of them.
pub(super) const OPERATIONS: [Operation; 12] = [
    Operation { name: "parse", prepare: parse },
    Operation { name: "key", prepare: key },
    Operation { name: "lookup", prepare: look_up },
    Operation { name: "hit-http1", prepare: |count| http1_hit(count, false) },
    Operation { name: "hit-http1-logged", prepare: |count| http1_hit(count, true) },
    Operation { name: "hit-http2", prepare: |count| http2_hit(count, false) },
    Operation { name: "hit-http2-logged", prepare: |count| http2_hit(count, true) },
    Operation { name: "not-modified", prepare: not_modified },
    Operation { name: "head", prepare: head },
    Operation { name: "part", prepare: part },
    Operation { name: "connection", prepare: connection },
    Operation { name: "miss", prepare: miss },
];

/// A browser's head is read.
fn parse(count: Count<'_>) {
    let text = format!("GET /assets/app.3f2a1b9c.js?v=42 HTTP/1.1\r\n{BROWSER_FIELDS}\r\n");
    let mut buf = BytesMut::with_capacity(4096);
    count(&mut |times| {
        for _ in 0..times {
            buf.reserve(text.len());
            buf.extend_from_slice(black_box(text.as_bytes()));
            let head = Parser::default().next(&mut buf, &HeadLimits::default());
            black_box(head.expect("good").expect("whole"));
        }
    });
}

/// A key is written for a target with a query, of which the site leaves a part out.
fn key(count: Count<'_>) {
    let text = "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n[[site]]\n\
        hosts = ['www.example.com']\norigin = 'o'\n[site.key]\nquery = { deny = ['@tracking'] }\n";
    let settings = config::check(text, "guard", Path::new("")).settings.expect("good settings");
    let host = authority::parse(b"www.example.com");
    let target = "/caf%c3%a9/search?q=shoes&utm_source=mail&page=2&color=red";
    let mut key = Key::default();
    count(&mut |times| {
        for _ in 0..times {
            key.write(black_box(&settings.sites[0]), black_box(host), black_box(target), 80);
            black_box(&key);
        }
    });
}

/// An object is found in memory.
fn look_up(count: Count<'_>) {
    let stored = StoredObject::of(&request("GET", &target(LENGTH, 0), ""));
    stored.with_look_up(|look_up| {
        count(&mut |times| {
            for _ in 0..times {
                black_box(look_up());
            }
        });
    });
}

/// A request is answered out of memory over HTTP/1.1, from its first byte to the last of its answer.
fn http1_hit(count: Count<'_>, is_logged: bool) {
    http1(count, is_logged, &request("GET", &target(LENGTH, 0), ""), b"HTTP/1.1 200 ", LENGTH);
}

/// The client has it already.
fn not_modified(count: Count<'_>) {
    let request = request("GET", &target(LENGTH, 0), "If-None-Match: \"1\"\r\n");
    http1(count, false, &request, b"HTTP/1.1 304 ", 0);
}

fn head(count: Count<'_>) {
    http1(count, false, &request("HEAD", &target(LENGTH, 0), ""), b"HTTP/1.1 200 ", 0);
}

fn part(count: Count<'_>) {
    let request = request("GET", &target(LENGTH, 0), "Range: bytes=100-299\r\n");
    http1(count, false, &request, b"HTTP/1.1 206 ", 200);
}

fn http1(count: Count<'_>, is_logged: bool, request: &str, status: &[u8], length: usize) {
    let edge = Edge::new(is_logged);
    let mut client = edge.http1();
    edge.store(LENGTH);
    edge.run(async {
        let answer = client.ask(request.as_bytes(), length).await;
        assert!(answer.starts_with(status), "another answer");
        assert!(memchr::memmem::find(answer, b"brim; hit").is_some(), "no hit");
    });
    count(&mut |times| {
        edge.run(async {
            for _ in 0..times {
                client.ask(request.as_bytes(), length).await;
            }
        });
    });
}

/// The same over HTTP/2.
fn http2_hit(count: Count<'_>, is_logged: bool) {
    let edge = Edge::new(is_logged);
    edge.store(LENGTH);
    let mut client = edge.http2(&target(LENGTH, 0));
    count(&mut |times| {
        edge.run(async {
            for _ in 0..times {
                assert_eq!(client.ask().await, LENGTH);
            }
        });
    });
}

/// A client comes, is answered out of memory, and goes.
fn connection(count: Count<'_>) {
    let edge = Edge::new(false);
    edge.store(LENGTH);
    let request = request("GET", &target(LENGTH, 0), "");
    count(&mut |times| {
        for _ in 0..times {
            let mut client = edge.http1();
            edge.run(client.ask(request.as_bytes(), LENGTH));
        }
    });
}

/// A request is answered by the origin, and the answer stored.
fn miss(count: Count<'_>) {
    let edge = Edge::new(false);
    let mut client = edge.http1();
    let mut number = 0;
    count(&mut |times| {
        edge.run(async {
            for _ in 0..times {
                number += 1;
                let request = request("GET", &target(LENGTH, number), "");
                client.ask(request.as_bytes(), LENGTH).await;
            }
        });
    });
}
