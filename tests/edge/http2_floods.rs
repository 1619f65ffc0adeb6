//! Clients over HTTP/2 that mean harm: they are sent away, it costs a bounded amount, and the others
//! do not feel it.

use crate::kit::frames::*;
use crate::kit::http2_client::request;
use crate::kit::{Brim, Client, Gate, Http2Client, Origin, PATIENCE, RawClient, get, ok_with};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const HOUR: &str = "Cache-Control: max-age=3600\r\n";
/// Frames of a flood, unless it says otherwise: beyond any patience, and a fraction of a second.
const MANY: u32 = 5000;
const MIB: u64 = 1024 * 1024;

/// What it is called, and the frames behind the head of the stream with this number.
type Way = (&'static str, fn(u32) -> Vec<u8>);

/// Somebody else, who asks all the while and has to be answered.
struct Bystander {
    has_enough: Arc<AtomicBool>,
    thread: JoinHandle<(usize, Duration)>,
    asked: Gate,
}

impl Bystander {
    fn of(brim: &Brim) -> Self {
        let (address, has_enough) = (brim.address(), Arc::<AtomicBool>::default());
        let (asked, shared, counted) = (Gate::default(), has_enough.clone(), Gate::default());
        let gate = asked.clone();
        let thread = std::thread::spawn(move || {
            let (client, mut old) = (Http2Client::connect(address), Client::connect(address));
            let mut slowest = Duration::ZERO;
            while !shared.load(Ordering::Relaxed) || counted.count() == 0 {
                let started = Instant::now();
                assert_eq!(client.get("/bystander").status, 200);
                assert_eq!(old.ask(get("/bystander")).status, 200);
                slowest = slowest.max(started.elapsed());
                counted.add_one();
                gate.add_one();
            }
            (counted.count(), slowest)
        });
        asked.wait_for(3);
        Self { has_enough, thread, asked }
    }

    /// It was answered all the while, and once more.
    #[track_caller]
    fn ends_well(self) {
        self.asked.wait_for(self.asked.count() + 1);
        self.has_enough.store(true, Ordering::Relaxed);
        let (count, slowest) = self.thread.join().expect("every answer");
        // The machine may be busy with other tests: what is meant is that nothing waits for an
        // attack to end.
        assert!(slowest < Duration::from_secs(5), "of {count} answers one took {slowest:?}");
    }
}

fn edge() -> (Origin, Brim) {
    edge_with("")
}

fn edge_with(site: &str) -> (Origin, Brim) {
    let origin = Origin::serving(|head, _| match head.contains("/large") {
        true => ok_with(HOUR, &"x".repeat(1 << 20)),
        false => ok_with(HOUR, "ok"),
    });
    let brim = Brim::http2(origin.address(), "", site);
    (origin, brim)
}

fn series(frame: &str) -> String {
    format!("brim_http2_floods_total{{frame=\"{frame}\"}}")
}

/// Sends all of this on one connection, while somebody else is answered. It has to end with GOAWAY
/// for a flood, to be counted, and to leave the memory as it was.
#[track_caller]
fn is_sent_away(frames: &str, attack: impl Fn(u32) -> Vec<u8>) {
    let (_origin, brim) = edge();
    let bystander = Bystander::of(&brim);
    let before = brim.peak_rss_bytes();
    let end = flood(&brim, &[], MANY, attack);
    assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM), "{frames}");
    bystander.ends_well();
    brim.wait_for_metric(&series(frames), 1);
    let more = brim.peak_rss_bytes() - before;
    assert!(more < 16 * MIB, "{} KiB more", more / 1024);
}

/// Begins with a stream of its own that stays open, and sends so many pieces, as they are taken.
fn flood(brim: &Brim, settings: &[(u16, u32)], count: u32, piece: impl Fn(u32) -> Vec<u8>) -> End {
    let mut client = RawClient::connect_with(brim.address(), settings);
    let mut socket = client.socket().try_clone().expect("cloned");
    let pieces: Vec<u8> = (0..count).flat_map(piece).collect();
    let sender = std::thread::spawn(move || {
        // The edge takes what it takes.
        let _ = std::io::Write::write_all(&mut socket, &pieces);
    });
    let end = client.end();
    sender.join().expect("sent");
    end
}

/// The number of a client's stream.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

fn open_post(number: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream(number), &request_block("POST", "/post"))
}

fn whole_get(number: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream(number), &get_block("/get"))
}

#[test]
fn streams_that_are_broken_off_at_once() {
    is_sent_away("rst_stream", |number| [whole_get(number), reset_frame(stream(number))].concat());
}

#[test]
fn streams_that_are_broken_off_one_after_the_other() {
    let (origin, brim) = edge();
    let bystander = Bystander::of(&brim);
    let mut client = RawClient::connect(brim.address());
    for number in 0..MANY {
        // Each in a packet of its own: the edge may have begun to work on it.
        if !client.try_send(&[whole_get(number), reset_frame(stream(number))].concat()) {
            break;
        }
    }
    assert_eq!(client.end(), End::GoAway(ENHANCE_YOUR_CALM));
    bystander.ends_well();
    assert!(origin.requests() <= 1000, "{} reached the origin", origin.requests());
}

#[test]
fn nothing_is_asked_upstream_for_streams_that_were_broken_off_before() {
    let (origin, brim) = edge();
    let end = flood(&brim, &[], 1000, |number| {
        let post = frame(HEADERS, WHOLE, stream(number), &request_block("POST", "/post"));
        [post, reset_frame(stream(number))].concat()
    });
    assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM));
    // An attacker does not fill the log.
    brim.wait_for_metric(&series("rst_stream"), 1);
    assert_eq!(brim.error_log_so_far("WARN h2"), None);
    // Those that stood at the end of a packet had begun.
    assert!(origin.requests() < 20, "{} reached the origin", origin.requests());
}

/// CVE-2025-8671: frames that make the edge break streams off itself.
#[test]
fn streams_that_the_edge_is_made_to_break_off() {
    let ways: [Way; 6] = [
        ("a window that grows by nothing", |at| window_frame(stream(at), 0)),
        ("a window beyond its largest size", |at| window_frame(stream(at), 0x7fff_ffff)),
        ("a stream that depends on itself", |at| {
            frame(PRIORITY, 0, stream(at), &[&stream(at).to_be_bytes()[..], &[0]].concat())
        }),
        ("a second head without an end", |at| {
            frame(HEADERS, END_HEADERS, stream(at), &field("x", "y"))
        }),
        ("more content than was said", |at| frame(DATA, 0, stream(at), b"more")),
        ("a short PRIORITY", |at| frame(PRIORITY, 0, stream(at), &[0; 4])),
    ];
    for (way, frames) in ways {
        let (origin, brim) = edge();
        let bystander = Bystander::of(&brim);
        let before = brim.peak_rss_bytes();
        let end = flood(&brim, &[], MANY, |number| {
            let head = [request_block("POST", "/post"), field("content-length", "2")].concat();
            [frame(HEADERS, END_HEADERS, stream(number), &head), frames(number)].concat()
        });
        // What the library takes for an error of the connection ends it at once.
        assert!(
            matches!(end, End::GoAway(ENHANCE_YOUR_CALM | PROTOCOL_ERROR | 6)),
            "{way}: {end:?}"
        );
        bystander.ends_well();
        assert!(origin.requests() <= 800, "{way}: {} reached the origin", origin.requests());
        let more = brim.peak_rss_bytes() - before;
        assert!(more < 24 * MIB, "{way}: {} KiB more", more / 1024);
    }
}

#[test]
fn content_behind_the_end_of_a_request() {
    let (_origin, brim) = edge();
    for behind in [frame(DATA, 0, 1, b"more"), frame(HEADERS, WHOLE, 1, &field("x", "y"))] {
        let end = flood(&brim, &[], MANY, |number| {
            let mut behind = behind.clone();
            behind[5..9].copy_from_slice(&stream(number).to_be_bytes());
            [whole_get(number), behind].concat()
        });
        assert!(matches!(end, End::GoAway(error) if error != NO_ERROR), "{end:?}");
    }
}

#[test]
fn continuations_without_end() {
    for piece in [0, 1, 16_000] {
        let (_origin, brim) = edge();
        let bystander = Bystander::of(&brim);
        let before = brim.peak_rss_bytes();
        let end = flood(&brim, &[], 2000, |number| match number {
            0 => frame(HEADERS, END_STREAM, 1, &get_block("/")),
            _ => frame(CONTINUATION, 0, 1, &field("x", "y".repeat(piece))),
        });
        assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM), "{piece}");
        bystander.ends_well();
        brim.wait_for_metric(&series("continuation"), 1);
        assert!(brim.peak_rss_bytes() - before < 8 * MIB);
    }
}

#[test]
fn heads_in_many_small_continuations() {
    is_sent_away("continuation", |number| {
        let mut frames = frame(HEADERS, END_STREAM, stream(number), b"");
        for byte in get_block("/") {
            frames.extend(frame(CONTINUATION, 0, stream(number), &[byte]));
        }
        frames.extend(frame(CONTINUATION, END_HEADERS, stream(number), b""));
        frames
    });
}

#[test]
fn one_large_field_that_is_repeated_by_its_number() {
    let (_origin, brim) = edge();
    let bystander = Bystander::of(&brim);
    let before = brim.peak_rss_bytes();
    let remembered = remembered_field("x-bomb", &[b'x'; 4000]);
    let end = flood(&brim, &[], 200, |number| {
        let bomb = if number == 0 { remembered.clone() } else { Vec::new() };
        let block = [get_block("/"), bomb, indexed_field(62).repeat(16_000 - 4100)].concat();
        frame(HEADERS, WHOLE, stream(number), &block)
    });
    assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM));
    bystander.ends_well();
    brim.wait_for_metric(&series("headers"), 1);
    assert!(brim.peak_rss_bytes() - before < 8 * MIB);
}

#[test]
fn many_small_fields_that_are_repeated_by_their_number() {
    // The largest lists that are taken, on as many streams as there may be, again and again.
    let (_origin, brim) = edge();
    let bystander = Bystander::of(&brim);
    let before = brim.peak_rss_bytes();
    let end = flood(&brim, &[], 2000, |number| {
        let tiny = if number == 0 { remembered_field("x", b"") } else { Vec::new() };
        let block = [get_block("/"), tiny, indexed_field(62).repeat(1900)].concat();
        frame(HEADERS, WHOLE, stream(number), &block)
    });
    assert!(matches!(end, End::GoAway(ENHANCE_YOUR_CALM)), "{end:?}");
    bystander.ends_well();
    let more = brim.peak_rss_bytes() - before;
    assert!(more < 48 * MIB, "{} KiB more", more / 1024);
}

#[test]
fn a_head_beyond_the_limits_is_answered_and_the_connection_lives() {
    let (origin, brim) = edge();
    let large = field("x-large", "x".repeat(8000)).repeat(9);
    let many = field("x", "y").repeat(300);
    for (number, more) in [large, many].iter().enumerate() {
        let mut client = RawClient::connect(brim.address());
        let block = [get_block("/"), more.clone()].concat();
        let mut pieces = block.chunks(16_384);
        client.send(&frame(HEADERS, END_STREAM, 1, pieces.next().expect("a piece")));
        for piece in pieces {
            client.send(&frame(CONTINUATION, 0, 1, piece));
        }
        client.send(&frame(CONTINUATION, END_HEADERS, 1, b""));
        assert!(matches!(client.end_of(1), End::Answer(431, _)), "{number}");
        assert!(client.is_alive(3));
    }
    assert_eq!(origin.requests(), 1);
}

#[test]
fn heads_beyond_the_limits_again_and_again() {
    is_sent_away("headers", |number| {
        let bomb = if number == 0 { remembered_field("x", &[b'x'; 4000]) } else { Vec::new() };
        let block = [get_block("/"), bomb, indexed_field(62).repeat(20)].concat();
        frame(HEADERS, WHOLE, stream(number), &block)
    });
}

#[test]
fn streams_beyond_those_that_there_may_be() {
    let (origin, _answer, _was_asked) = Origin::waiting();
    let brim = Brim::http2(origin.address(), "streams = 10", "");
    let mut client = RawClient::connect(brim.address());
    for number in 0..30 {
        client.send(&whole_get(number));
    }
    for number in 10..30 {
        assert_eq!(client.end_of(stream(number)), End::Reset(REFUSED_STREAM), "{number}");
    }
    let end = flood(&brim, &[], MANY, whole_get);
    assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM));
    brim.wait_for_metric(&series("headers"), 1);
}

#[test]
fn frames_that_bring_nothing() {
    is_sent_away("ping", |number| frame(PING, 0, 0, &u64::from(number).to_be_bytes()));
    is_sent_away("settings", |_| settings_frame(&[(INITIAL_WINDOW_SIZE, 65_535)]));
    is_sent_away("settings", |_| settings_frame(&[]));
    is_sent_away("priority", |number| frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 16]));
    is_sent_away("window_update", |_| window_frame(0, 1));
    is_sent_away("other", |_| frame(0x42, 0xff, 0x7fff_ffff, b""));
    is_sent_away("other", |_| frame(0x42, 0, 0, &[0; 1000]));
}

#[test]
fn content_that_brings_nothing() {
    for (piece, count) in [(0, 200), (1, 120_000)] {
        let (_origin, brim) = edge();
        let bystander = Bystander::of(&brim);
        let end = flood(&brim, &[], count, |number| match number {
            0 => open_post(0),
            _ => frame(DATA, 0, 1, &vec![b'x'; piece]),
        });
        assert_eq!(end, End::GoAway(ENHANCE_YOUR_CALM), "{piece}");
        bystander.ends_well();
        brim.wait_for_metric(&series("data"), 1);
    }
}

#[test]
fn frames_that_only_a_server_sends_or_nobody_end_the_connection() {
    let (origin, brim) = edge();
    let promise = [&2_u32.to_be_bytes()[..], &get_block("/")].concat();
    for (what, frames) in [
        ("a promise", [open_post(0), frame(PUSH_PROMISE, END_HEADERS, 1, &promise)].concat()),
        ("an answer to no SETTINGS", frame(SETTINGS, ACK, 0, b"").repeat(2)),
        ("a second preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("frames that are too small", settings_frame(&[(MAX_FRAME_SIZE, 100)])),
        ("a window beyond its size", settings_frame(&[(INITIAL_WINDOW_SIZE, 1 << 31)])),
        ("the connection's window beyond its size", window_frame(0, 0x7fff_ffff)),
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 16_385])),
        ("a stream of a server", frame(HEADERS, WHOLE, 2, &get_block("/"))),
        ("content of no stream", frame(DATA, 0, 7, b"x")),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, b"")),
        ("a head inside a head", {
            [frame(HEADERS, 0, 1, &get_block("/")), frame(PING, 0, 0, &[0; 8])].concat()
        }),
        ("a number in no table", frame(HEADERS, WHOLE, 1, &indexed_field(100))),
        ("a table beyond what was allowed", frame(HEADERS, WHOLE, 1, &[0x3f, 0xe2, 0x1f])),
        ("padding beyond its frame", frame(DATA, PADDED, 1, &[200, 0, 0])),
    ] {
        let mut client = RawClient::connect(brim.address());
        client.send(&frames);
        let end = client.end();
        assert!(matches!(end, End::GoAway(error) if error != NO_ERROR), "{what}: {end:?}");
        assert!(RawClient::connect(brim.address()).is_alive(1), "{what}");
    }
    let reached = origin.heads().iter().filter(|head| !head.starts_with("GET /alive ")).count();
    assert!(reached <= 1, "{:#?}", origin.heads());
}

#[test]
fn a_client_that_says_that_it_goes_and_goes_on_is_served_within_the_limits() {
    is_sent_away("other", |number| match number {
        0 => open_post(0),
        _ => frame(GOAWAY, 0, 0, &[0; 8]),
    });
    let (_origin, brim) = edge();
    let mut client = RawClient::connect(brim.address());
    client.send(&frame(GOAWAY, 0, 0, &[0; 8]));
    client.get(1, "/get");
    // Either is allowed; what matters is that it ends.
    assert!(matches!(client.end_of(1), End::Answer(200, 2) | End::Closed | End::GoAway(_)));
}

#[test]
fn sizes_of_tables_that_go_up_and_down() {
    let (_origin, brim) = edge();
    let before = brim.peak_rss_bytes();
    let mut client = RawClient::connect_with(brim.address(), &[(HEADER_TABLE_SIZE, u32::MAX)]);
    // What the edge remembers for a client has its own bounds: 20 MiB of distinct fields.
    for number in 0..1000 {
        client.get(stream(number), &format!("/{number}"));
        assert!(matches!(client.end_of(stream(number)), End::Answer(200, 2)));
        if number % 10 == 0 {
            let size = if number % 20 == 0 { 0 } else { u32::MAX };
            client.send(&settings_frame(&[(HEADER_TABLE_SIZE, size)]));
        }
    }
    let more = brim.peak_rss_bytes() - before;
    assert!(more < 16 * MIB, "{} KiB more", more / 1024);
}

/// 100 answers of 1 MiB each that the client lets nobody send, or does not read.
#[test]
fn answers_that_nobody_takes_cost_little() {
    for (window, reads) in [(0, true), (0x7fff_ffff, false)] {
        let origin = Origin::serving(|_, _| {
            format!(
                "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n{}",
                MIB,
                "x".repeat(MIB as usize)
            )
        });
        let brim = Brim::http2(origin.address(), "write_timeout = '2s'", "");
        let bystander = Bystander::of(&brim);
        let before = brim.peak_rss_bytes();
        let mut client = RawClient::connect_with(brim.address(), &[(INITIAL_WINDOW_SIZE, window)]);
        if window > 0 {
            client.send(&window_frame(0, 0x7000_0000));
        }
        let gets: Vec<u8> = (0..100)
            .flat_map(|number| {
                frame(HEADERS, WHOLE, stream(number), &get_block(&format!("/{number}")))
            })
            .collect();
        client.send(&gets);
        // Some fit into the buffers of the sockets.
        brim.access_log("\"reason\":\"client_");
        if reads {
            // They are broken off one by one, and the connection stays.
            assert!(matches!(client.end_of(1), End::Reset(_)));
        } else {
            is_cut_off(&mut client);
        }
        bystander.ends_well();
        let more = brim.peak_rss_bytes() - before;
        assert!(more < 48 * MIB, "{} KiB more", more / 1024);
    }
}

/// As much content as may wait, in pieces of which each lies alone in what was read of the socket.
#[test]
fn content_in_small_pieces_costs_little() {
    let never = Gate::default();
    let gate = never.clone();
    let origin = Origin::start(move |peer| {
        peer.head();
        gate.wait_for(1);
    });
    let brim = Brim::http2(origin.address(), "", "");
    let before = brim.peak_rss_bytes();
    let mut client = RawClient::connect(brim.address());
    client.send(&window_frame(0, 1 << 20));
    for number in 0..4 {
        client.send(&open_post(number));
    }
    origin.wait_for_requests(4);
    let between = [request_block("PURGE", "/"), field("x", "x".repeat(7900))].concat();
    for number in 4..2000 {
        client.send(&frame(DATA, 0, stream(number % 4), &[b'x'; 256]));
        client.send(&frame(HEADERS, WHOLE, stream(number), &between));
        let end = client.end_of(stream(number));
        assert!(matches!(end, End::Answer(405, _)), "{number}: {end:?}");
    }
    let more = brim.peak_rss_bytes() - before;
    assert!(more < 24 * MIB, "{} KiB more", more / 1024);
    never.add_one();
}

#[test]
fn content_beyond_the_windows_is_an_error() {
    let (origin, _answer, _was_asked) = Origin::waiting();
    let brim = Brim::http2(origin.address(), "", "");
    let mut client = RawClient::connect(brim.address());
    client.send(&open_post(0));
    origin.wait_for_requests(1);
    // What the sockets towards the origin take comes before what is beyond.
    let pieces = frame(DATA, 0, 1, &[b'x'; 16_384]).repeat(4000);
    client.try_send(&pieces);
    let end = client.end_of(1);
    assert!(
        matches!(end, End::Reset(FLOW_CONTROL_ERROR) | End::GoAway(FLOW_CONTROL_ERROR)),
        "{end:?}"
    );
}

/// Waits until the edge has closed, without a look at what it has sent: that would be progress.
#[track_caller]
fn is_cut_off(client: &mut RawClient) {
    let deadline = Instant::now() + PATIENCE;
    while client.try_send(&frame(PING, 0, 0, &[0; 8])) {
        assert!(Instant::now() < deadline, "it is not cut off");
        // Each time somebody has to find out that nobody is there any more.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_client_that_never_reads_is_cut_off() {
    let (origin, brim) = edge();
    drop(brim);
    let brim = Brim::http2(origin.address(), "write_timeout = '500ms'", "");
    let mut client = RawClient::connect_with(brim.address(), &[(INITIAL_WINDOW_SIZE, 1 << 30)]);
    client.send(&window_frame(0, 1 << 30));
    for number in 0..50 {
        client.get(stream(number), "/large");
    }
    is_cut_off(&mut client);
    let line = brim.access_log("\"reason\":\"client_");
    assert!(line.contains("/large"), "{line}");
}

#[test]
fn a_client_that_does_not_begin_is_closed() {
    let (origin, brim) = edge();
    drop(brim);
    let limits = "idle_timeout = '300ms'\nheader_timeout = '300ms'";
    let brim = Brim::http2(origin.address(), limits, "");
    let mut silent = RawClient::connect_silently(brim.address());
    assert_eq!(silent.end(), End::Closed);
    let mut half = RawClient::connect_silently(brim.address());
    half.send(b"PRI * HTTP/2.0\r\n");
    assert_eq!(half.end(), End::Closed);
}

#[test]
fn a_connection_on_which_nothing_is_asked_is_told_to_go() {
    let (origin, brim) = edge();
    drop(brim);
    let brim = Brim::http2(origin.address(), "idle_timeout = '300ms'", "");
    for used in [false, true] {
        let mut client = RawClient::connect(brim.address());
        if used {
            assert!(client.is_alive(1));
        }
        assert_eq!(client.end(), End::GoAway(NO_ERROR), "{used}");
    }
    // Frames that ask for nothing do not keep it.
    let mut client = RawClient::connect(brim.address());
    let mut ends = false;
    let mut socket = client.socket().try_clone().expect("cloned");
    let pings = std::thread::spawn(move || {
        while std::io::Write::write_all(&mut socket, &frame(PING, 0, 0, &[0; 8])).is_ok() {
            // As often as somebody who wants to keep it open.
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    while let Some(frame) = client.next() {
        ends |= frame.kind == GOAWAY;
    }
    assert!(ends);
    drop(client);
    pings.join().expect("the end");
}

#[test]
fn a_head_has_a_deadline() {
    let (origin, brim) = edge();
    drop(brim);
    let limits = "header_timeout = '500ms'\nidle_timeout = '20s'";
    let brim = Brim::http2(origin.address(), limits, "");
    let whole = whole_get(0);
    for cut in [10, whole.len() - 1] {
        let mut client = RawClient::connect(brim.address());
        client.send(&whole[..cut]);
        assert_eq!(client.end(), End::GoAway(ENHANCE_YOUR_CALM), "{cut}");
    }
    let mut client = RawClient::connect(brim.address());
    client.send(&frame(HEADERS, END_STREAM, 1, &get_block("/")));
    assert_eq!(client.end(), End::GoAway(ENHANCE_YOUR_CALM));
    assert!(brim.access_log("head_timeout").contains("\"status\":0"));
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_frame_that_stops_is_given_up() {
    let (origin, brim) = edge();
    drop(brim);
    let limits = "idle_timeout = '300ms'\nbody_timeout = '300ms'";
    let brim = Brim::http2(origin.address(), limits, "");
    let mut client = RawClient::connect(brim.address());
    client.send(&frame(PING, 0, 0, &[0; 8])[..12]);
    assert_eq!(client.end(), End::GoAway(NO_ERROR));
    let mut client = RawClient::connect(brim.address());
    client.send(&open_post(0));
    client.send(&frame(DATA, 0, 1, &[0; 100])[..50]);
    assert!(matches!(client.end_of(1), End::Answer(408, _) | End::Reset(_)));
}

#[test]
fn a_hundred_connections_of_hostile_clients_leave_memory_bounded() {
    // They come from many networks.
    let (_origin, brim) = edge_with("[site.limits]\nrequests_per_client = 0");
    let bystander = Bystander::of(&brim);
    let before = brim.peak_rss_bytes();
    let mut clients: Vec<RawClient> = Vec::new();
    for _ in 0..100 {
        let mut client = RawClient::connect_with(brim.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
        let gets: Vec<u8> = (0..100)
            .flat_map(|number| frame(HEADERS, WHOLE, stream(number), &get_block("/large")))
            .collect();
        client.send(&gets);
        clients.push(client);
    }
    // Each has had its last answer's head.
    for client in &mut clients {
        while client.next().expect("a frame").stream != stream(99) {}
    }
    bystander.ends_well();
    let more = brim.peak_rss_bytes() - before;
    assert!(more < 256 * MIB, "{} KiB more", more / 1024);
}

#[test]
fn ordinary_clients_are_not_taken_for_floods() {
    let (_origin, brim) = edge();
    // A page that is left when its images have been asked for.
    let mut client = RawClient::connect(brim.address());
    let gets: Vec<u8> = (0..100).flat_map(whole_get).collect();
    let resets: Vec<u8> = (0..100).flat_map(|number| reset_frame(stream(number))).collect();
    client.send(&[gets, resets].concat());
    let gets: Vec<u8> = (100..200).flat_map(whole_get).collect();
    let resets: Vec<u8> = (100..200).flat_map(|number| reset_frame(stream(number))).collect();
    client.send(&[gets, resets].concat());
    assert!(client.is_alive(stream(200)));
    // Somebody who asks whether the connection is alive, 500 times, and takes the answers.
    let mut client = RawClient::connect(brim.address());
    for _ in 0..500 {
        client.send(&frame(PING, 0, 0, &[0; 8]));
        client.next_of(PING);
    }
    assert!(client.is_alive(1));
    // Many requests, of which every second one is broken off.
    let client = Http2Client::connect(brim.address());
    for _ in 0..1000 {
        drop(client.begin(request("GET", "/get"), true));
        assert_eq!(client.get("/get").status, 200);
    }
}
