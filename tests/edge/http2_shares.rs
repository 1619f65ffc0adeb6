//! What the requests on one connection over HTTP/2 share: its memory, its windows and its end.

use crate::kit::frames::*;
use crate::kit::http2_client::request;
use crate::kit::{Brim, Client, Gate, Http2Client, Origin, PATIENCE, RawClient, get, ok_with};
use rustix::process::Signal;
use std::thread::sleep;
use std::time::Duration;

const HOUR: &str = "Cache-Control: max-age=3600\r\n";
/// Less than the edge hands to the library below for one stream.
const ANSWER_BYTES: usize = 60_000;
/// So many that they are more than the buffers of the sockets hold.
const ANSWERS: u32 = 90;
/// Longer than the edge waits for whoever has to go.
const A_WHILE: Duration = Duration::from_millis(2500);

fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// A client whose windows are open, and that takes nothing yet.
fn slow_client(brim: &Brim) -> RawClient {
    let mut client = RawClient::connect_with(
        brim.address(),
        &[(HEADER_TABLE_SIZE, 0), (INITIAL_WINDOW_SIZE, 1 << 30)],
    );
    client.send(&window_frame(0, 1 << 30));
    client
}

/// Reads on; how many of the answers came whole.
fn whole_answers(client: &mut RawClient) -> usize {
    let mut bytes = vec![0; ANSWERS as usize];
    let mut whole = 0;
    while whole < ANSWERS as usize {
        let Some(frame) = client.next() else { break };
        if frame.kind == DATA {
            let answer = &mut bytes[frame.stream as usize / 2];
            *answer += frame.payload.len();
            whole += usize::from(frame.flags & END_STREAM != 0 && *answer == ANSWER_BYTES);
        }
    }
    whole
}

/// An edge that is asked for many answers at one time by somebody who does not take them yet.
fn edge_with_answers_on_their_way(limits: &str) -> (Origin, Brim, RawClient) {
    let origin = Origin::serving(|_, _| ok_with(HOUR, &"x".repeat(ANSWER_BYTES)));
    let brim = Brim::http2(origin.address(), limits, "[site.limits]\nrequests_per_client = 0");
    Client::connect(brim.address()).ask(get("/"));
    brim.wait_until("brim_connections", |open| open == 0);
    let mut client = slow_client(&brim);
    for number in 0..ANSWERS {
        client.get(stream(number), "/");
    }
    (origin, brim, client)
}

#[test]
fn answers_that_are_on_their_way_when_the_edge_stops_arrive() {
    let (_origin, mut brim, mut client) = edge_with_answers_on_their_way("");
    brim.wait_for_metric("brim_requests_total{outcome=\"hit\",site=\"*\"}", 1);
    brim.signal(Signal::TERM);
    sleep(A_WHILE);
    assert_eq!(whole_answers(&mut client), ANSWERS as usize);
    drop(client);
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn a_connection_whose_answers_are_on_their_way_is_not_idle() {
    let (_origin, _brim, mut client) = edge_with_answers_on_their_way("idle_timeout = '300ms'");
    sleep(A_WHILE);
    assert_eq!(whole_answers(&mut client), ANSWERS as usize);
    assert_eq!(client.end(), End::GoAway(NO_ERROR));
}

#[test]
fn a_connection_whose_answers_are_on_their_way_gives_no_place_away() {
    let (_origin, brim, mut client) = edge_with_answers_on_their_way("connections = 1");
    sleep(A_WHILE);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 503);
    assert_eq!(whole_answers(&mut client), ANSWERS as usize);
}

#[test]
fn a_client_that_takes_nothing_is_stalled_and_no_answer_counts_as_sent_before() {
    let (_origin, brim, _client) = edge_with_answers_on_their_way("write_timeout = '500ms'");
    brim.wait_until("brim_connections", |open| open == 0);
    brim.access_log("\"reason\":\"client_");
    let hits = brim.metric("brim_requests_total{outcome=\"hit\",site=\"*\"}");
    assert!(hits < u64::from(ANSWERS), "{hits} answers were taken");
}

#[test]
fn requests_whose_answers_nobody_takes_stay_requests_under_way() {
    let fields = "Cache-Control: no-store\r\n";
    let origin = Origin::serving(move |_, _| ok_with(fields, &"x".repeat(ANSWER_BYTES)));
    let brim = Brim::http2(origin.address(), "", "[site.limits]\nrequests_per_client = 10");
    let (mut client, other) = (slow_client(&brim), Http2Client::connect(brim.address()));
    let is_limited = (0..300).any(|number| {
        client.get(stream(number), &format!("/{number}"));
        other.ask(request("POST", "/"), b"").status == 429
    });
    assert!(is_limited);
}

#[test]
fn an_idle_connection_gives_its_place_away_before_the_newcomer_has_waited_too_long() {
    let origin = Origin::serving(|_, _| ok_with(HOUR, "ok"));
    let brim = Brim::http2(origin.address(), "connections = 1", "");
    // It neither acknowledges anything nor closes.
    let mut idle = RawClient::connect(brim.address());
    assert!(idle.is_alive(1));
    sleep(A_WHILE);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200);
    assert_eq!(idle.end(), End::GoAway(NO_ERROR));
}

#[test]
fn bodies_that_nobody_takes_do_not_stop_the_others() {
    const STALLED: u32 = 4;
    const PIECE: usize = 16 * 1024;
    let may_end = Gate::default();
    let gate = may_end.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if head.contains("/stalled") {
                return gate.wait_for(1);
            }
            peer.body_of(&head);
            peer.send(ok_with("", "ok"));
        }
    });
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    for number in 0..STALLED {
        let head =
            [request_block("POST", "/stalled"), field("content-length", "99999999")].concat();
        client.send(&frame(HEADERS, END_HEADERS, stream(number), &head));
    }
    origin.wait_for_requests(STALLED as usize);
    // What it may send on the connection, and of each body.
    let (mut window, mut windows) = (65_535, vec![0; STALLED as usize]);
    client.socket().set_read_timeout(Some(Duration::from_secs(1))).expect("set");
    while let Some(came) = client.next_in_time() {
        match came.kind {
            SETTINGS if came.flags & ACK == 0 => {
                client.send(&frame(SETTINGS, ACK, 0, b""));
                let of_a_body = came.setting(INITIAL_WINDOW_SIZE).expect("a window");
                windows.fill(of_a_body as usize);
            }
            WINDOW_UPDATE if came.stream == 0 => window += came.error() as usize,
            WINDOW_UPDATE => windows[came.stream as usize / 2] += came.error() as usize,
            _ => {}
        }
        for number in 0..STALLED {
            let of_this = &mut windows[number as usize];
            while window >= PIECE && *of_this >= PIECE {
                client.send(&frame(DATA, 0, stream(number), &[b'x'; PIECE]));
                window -= PIECE;
                *of_this -= PIECE;
            }
        }
    }
    // Nothing moves any more, and there is room for another body.
    let head = [request_block("POST", "/other"), field("content-length", "16384")].concat();
    client.send(&frame(HEADERS, END_HEADERS, stream(STALLED), &head));
    assert!(window >= PIECE, "{window} on the connection, {windows:?} of the bodies");
    client.send(&frame(DATA, END_STREAM, stream(STALLED), &[b'x'; PIECE]));
    client.socket().set_read_timeout(Some(PATIENCE)).expect("set");
    assert_eq!(client.end_of(stream(STALLED)), End::Answer(200, 2));
    may_end.add_one();
}

#[test]
fn a_head_that_is_too_large_has_an_answer_like_any_other() {
    let origin = Origin::ok();
    let brim = Brim::http2(origin.address(), "", "");
    let client = Http2Client::connect(brim.address());
    let mut large = request("GET", "/large");
    for number in 0..70 {
        let name = http::HeaderName::try_from(format!("x-{number}")).expect("a name");
        large.headers_mut().insert(name, "x".repeat(1000).parse().expect("a value"));
    }
    let answer = client.ask(large, b"");
    assert_eq!(answer.status, 431);
    assert!(answer.field("date").is_some() && answer.text().starts_with("431 "), "{answer:?}");
    let long = client.ask(request("GET", &format!("/{}", "x".repeat(20_000))), b"");
    assert_eq!(long.status, 414);
    assert!(brim.access_log("\"status\":431").contains("bad_request"));
    brim.access_log("\"status\":414");
    assert_eq!(origin.requests(), 0);
}
