//! Whole requests that are answered out of memory: bytes in, parsed, looked up, answered, bytes out, over
//! a connection without a network. The times hold what the client does, which is little. `true`: every
//! request has a line in an access log.

use crate::kit::{Edge, request, target};

const KIB: usize = 1024;

/// With a content, and without an access log or with one in a file.
fn edge(is_logged: bool, length: usize) -> Edge {
    let edge = Edge::new(is_logged);
    edge.store(length);
    edge
}

/// Asks over HTTP/1.1 for something with so much content.
fn http1(bencher: divan::Bencher, edge: &Edge, request: &str, length: usize) {
    let mut client = edge.http1();
    bencher.bench_local(|| edge.run(async { client.ask(request.as_bytes(), length).await.len() }));
}

#[divan::bench(args = [KIB, 100 * KIB, 1024 * KIB], consts = [false, true])]
fn over_http1<const IS_LOGGED: bool>(bencher: divan::Bencher, length: usize) {
    let edge = edge(IS_LOGGED, length);
    http1(bencher, &edge, &request("GET", &target(length, 0), ""), length);
}

#[divan::bench(args = [KIB, 100 * KIB, 1024 * KIB], consts = [false, true])]
fn over_http2<const IS_LOGGED: bool>(bencher: divan::Bencher, length: usize) {
    let edge = edge(IS_LOGGED, length);
    let mut client = edge.http2(&target(length, 0));
    bencher.bench_local(|| edge.run(client.ask()));
}

#[divan::bench(args = [false, true])]
fn not_modified(bencher: divan::Bencher, is_logged: bool) {
    let request = request("GET", &target(KIB, 0), "If-None-Match: \"1\"\r\n");
    http1(bencher, &edge(is_logged, KIB), &request, 0);
}

#[divan::bench(args = [false, true])]
fn head(bencher: divan::Bencher, is_logged: bool) {
    http1(bencher, &edge(is_logged, KIB), &request("HEAD", &target(KIB, 0), ""), 0);
}

#[divan::bench(args = [false, true])]
fn part(bencher: divan::Bencher, is_logged: bool) {
    let request = request("GET", &target(100 * KIB, 0), "Range: bytes=10000-10999\r\n");
    http1(bencher, &edge(is_logged, 100 * KIB), &request, 1000);
}

/// Of an object that nobody has asked for before; the origin is on a thread of its own.
#[divan::bench]
fn stored_miss(bencher: divan::Bencher) {
    let edge = Edge::new(false);
    let (mut client, mut number) = (edge.http1(), 0);
    bencher.bench_local(|| {
        number += 1;
        let request = request("GET", &target(KIB, number), "");
        edge.run(async { client.ask(request.as_bytes(), KIB).await.len() })
    });
}
