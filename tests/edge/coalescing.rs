//! One fetch, however many want the same, and nobody pays for somebody else.

use crate::kit::{Brim, Client, Gate, Origin, get};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::net::SocketAddr;
use std::thread::JoinHandle;

const MIB: usize = 1024 * 1024;

/// So many clients at once, each on a thread.
fn clients<T: Send + 'static>(
    count: usize,
    address: SocketAddr,
    act: impl Fn(usize, &mut Client) -> T + Clone + Send + 'static,
) -> Vec<JoinHandle<T>> {
    let start = |number| {
        let act = act.clone();
        std::thread::spawn(move || act(number, &mut Client::connect(address)))
    };
    (0..count).map(start).collect()
}

fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    threads.into_iter().map(|thread| thread.join().expect("a client")).collect()
}

/// Content in which every eight bytes tell where they stand.
fn content(len: usize) -> Vec<u8> {
    (0..len / 8).flat_map(|at| (at as u64 * 8).to_be_bytes()).collect()
}

fn head_of(len: usize, fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n{fields}\r\n")
}

#[test]
fn two_hundred_clients_of_a_cold_url_cost_one_fetch() {
    let asked = Gate::default();
    let all_asked = asked.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            all_asked.wait_for(200);
            peer.send(head_of(2, "Cache-Control: max-age=60\r\n") + "ok");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let answers = join(clients(200, brim.address(), move |_, client| {
        client.send(get("/cold"));
        asked.add_one();
        client.answer()
    }));
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == "ok"));
    assert_eq!(origin.heads().len(), 1);
    let fetched = answers.iter().filter(|answer| {
        let status = answer.field("cache-status").expect("a Cache-Status");
        status.contains("fwd=uri-miss") && !status.contains("collapsed")
    });
    assert_eq!(fetched.count(), 1);
}

#[test]
fn everybody_receives_a_large_body_while_it_arrives() {
    const CLIENTS: usize = 30;
    let body = content(20 * MIB);
    let (have_half, sent) = (Gate::default(), body.clone());
    let all_have_half = have_half.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(head_of(sent.len(), "Cache-Control: max-age=60\r\n"));
            peer.send(&sent[..10 * MIB]);
            all_have_half.wait_for(CLIENTS);
            peer.send(&sent[10 * MIB..]);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let are_good = join(clients(CLIENTS, brim.address(), move |_, client| {
        client.send(get("/large"));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(client.read_exactly(1));
        }
        let mut whole = client.read_exactly(10 * MIB);
        have_half.add_one();
        whole.extend(client.read_exactly(10 * MIB));
        whole == body
    }));
    assert!(are_good.into_iter().all(|is_good| is_good));
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn those_who_waited_for_an_answer_that_is_not_kept_ask_all_at_once() {
    const CLIENTS: usize = 100;
    let (sent, asked) = (Gate::default(), Gate::default());
    let (all_sent, all_asked) = (sent.clone(), asked.clone());
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            all_asked.add_one();
            // The first waits until everybody waits for it, the others until they are all here.
            all_sent.wait_for(CLIENTS);
            let is_first = peer.count_head() == 1;
            if !is_first {
                all_asked.wait_for(CLIENTS);
            }
            peer.send(head_of(2, "Cache-Control: no-store\r\n") + "ok");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let answers = join(clients(CLIENTS, brim.address(), move |_, client| {
        client.send(get("/private"));
        sent.add_one();
        client.answer()
    }));
    assert!(answers.iter().all(|answer| answer.text() == "ok"));
    assert_eq!(origin.heads().len(), CLIENTS);
    // From now on nobody waits for anybody.
    let status = Client::connect(brim.address()).ask(get("/private"));
    assert_eq!(status.field("cache-status"), Some("brim; fwd=bypass; detail=no-store"));
}

#[test]
fn a_first_client_that_leaves_takes_nothing_with_it() {
    let (arrived, left) = (Gate::default(), Gate::default());
    let (has_arrived, has_left) = (arrived.clone(), left.clone());
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            has_arrived.add_one();
            has_left.wait_for(1);
            peer.send(head_of(2, "Cache-Control: max-age=60\r\n") + "ok");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut first = Client::connect(brim.address());
    first.send(get("/left"));
    arrived.wait_for(1);
    first.reset();
    brim.access_log("client_gone");
    let mut second = Client::connect(brim.address());
    second.send(get("/left"));
    left.add_one();
    assert_eq!(second.answer().text(), "ok");
    assert_eq!(second.ask(get("/left")).text(), "ok");
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn an_origin_that_dies_in_the_middle_breaks_all_readers_and_leaves_nothing() {
    const CLIENTS: usize = 20;
    let begun = Gate::default();
    let all_begun = begun.clone();
    let origin = Origin::start(move |peer| {
        if peer.head().is_some() && peer.count_head() == 1 {
            peer.send(head_of(1000, "Cache-Control: max-age=60\r\nETag: \"1\"\r\n"));
            peer.send([b'x'; 500]);
            all_begun.wait_for(CLIENTS);
        } else {
            peer.send(head_of(2, "Cache-Control: max-age=60\r\n") + "ok");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let answers = join(clients(CLIENTS, brim.address(), move |_, client| {
        client.send(get("/half"));
        // The first byte is here: it is part of this arrival.
        let first = client.read_exactly(1);
        begun.add_one();
        [first, client.rest()].concat()
    }));
    for answer in answers {
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains("Content-Length: 1000\r\n"), "{text}");
        assert!(text.ends_with('x') && text.matches('x').count() <= 501, "{text}");
    }
    // It was asked once whether it goes on, for all of them, and did not.
    let heads = origin.heads();
    assert_eq!(heads.len(), 2, "{heads:#?}");
    assert!(heads[1].contains("\r\nRange: bytes=500-999\r\n"), "{}", heads[1]);
    let again = Client::connect(brim.address()).ask(get("/half"));
    assert_eq!((again.status, again.text().as_str()), (200, "ok"));
}

#[test]
fn a_failure_is_told_to_all_who_waited_for_it_once() {
    const CLIENTS: usize = 50;
    let sent = Gate::default();
    let all_sent = sent.clone();
    let origin = Origin::start(move |peer| {
        if peer.head().is_some() {
            all_sent.wait_for(CLIENTS);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let answers = join(clients(CLIENTS, brim.address(), move |_, client| {
        client.send(get("/broken"));
        sent.add_one();
        client.answer()
    }));
    assert!(answers.iter().all(|answer| answer.status == 502), "{answers:?}");
    // Those whose requests were still on their way when the first fetch failed may cause a second
    // and a third; then the origin is left in peace.
    assert!(origin.heads().len() <= 3, "{}", origin.heads().len());
}

#[test]
fn what_became_out_of_date_on_its_way_is_not_kept() {
    let (begun, changed) = (Gate::default(), Gate::default());
    let (has_begun, has_changed) = (begun.clone(), changed.clone());
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            let number = peer.count_head();
            if head.starts_with("POST") {
                peer.send(head_of(0, ""));
                continue;
            }
            let body = if number == 1 { "old" } else { "new" };
            peer.send(head_of(3, "Cache-Control: max-age=60\r\n"));
            peer.send(&body[..1]);
            if number == 1 {
                has_begun.add_one();
                has_changed.wait_for(1);
            }
            peer.send(&body[1..]);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut first = Client::connect(brim.address());
    first.send(get("/thing"));
    begun.wait_for(1);
    let mut writer = Client::connect(brim.address());
    let post = "POST /thing HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(writer.ask(post).status, 200);
    // The old answer is still on its way; who asks now gets the new one.
    assert_eq!(writer.ask(get("/thing")).text(), "new");
    changed.add_one();
    assert_eq!(first.answer().text(), "old");
    let after = Client::connect(brim.address()).ask(get("/thing"));
    assert_eq!(after.text(), "new");
    assert!(after.field("cache-status").is_some_and(|status| status.contains("hit")));
}

#[test]
fn clients_who_want_different_variants_wait_for_one_head_only() {
    const CLIENTS: usize = 40;
    let sent = Gate::default();
    let all_sent = sent.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            all_sent.wait_for(CLIENTS);
            let language = if head.contains("Accept-Language: de") { "de" } else { "en" };
            let fields = "Cache-Control: max-age=60\r\nVary: Accept-Language\r\n";
            peer.send(head_of(2, fields) + language);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let are_right = join(clients(CLIENTS, brim.address(), move |number, client| {
        let language = ["de", "en"][number % 2];
        client.send(format!(
            "GET /page HTTP/1.1\r\nHost: a.test\r\nAccept-Language: {language}\r\n\r\n"
        ));
        sent.add_one();
        client.answer().text() == language
    }));
    assert!(are_right.into_iter().all(|is_right| is_right));
    assert_eq!(origin.heads().len(), 2);
}

#[test]
fn a_reader_that_stalls_keeps_nobody_from_anything() {
    let body = content(20 * MIB);
    let sent = body.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(head_of(sent.len(), "Cache-Control: max-age=60\r\n"));
            peer.send(&sent);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut stalled = Client::connect(brim.address());
    set_socket_recv_buffer_size(stalled.stream().get_ref(), 256 * 1024).expect("set");
    stalled.send(get("/large"));
    let first = stalled.read_exactly(1);
    let answer = Client::connect(brim.address()).ask(get("/large"));
    assert!(answer.body == body, "the same bytes");
    let rest = stalled.answer_behind(first);
    assert!(rest.body == body, "the same bytes");
    assert_eq!(origin.heads().len(), 1);
}

/// Reads the head of an answer and so much of its content.
fn begin(client: &mut Client, len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.read_exactly(1));
    }
    (head, client.read_exactly(len))
}

/// The first client has the fetch run until its head is here: nobody else depends on him any longer.
/// `stops` is what he does then, and what he gets in the end.
fn a_first_client_who_stops_behind_the_head(stops: impl FnOnce(&Brim, Client) -> Option<Client>) {
    const OTHERS: usize = 5;
    let body = content(20 * MIB);
    let (stopped, have_half, sent) = (Gate::default(), Gate::default(), body.clone());
    let (has_stopped, all_have_half) = (stopped.clone(), have_half.clone());
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(head_of(sent.len(), "Cache-Control: max-age=60\r\n"));
            has_stopped.wait_for(1);
            peer.send(&sent[..10 * MIB]);
            all_have_half.wait_for(OTHERS);
            peer.send(&sent[10 * MIB..]);
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut first = Client::connect(brim.address());
    set_socket_recv_buffer_size(first.stream().get_ref(), 256 * 1024).expect("set");
    first.send(get("/large"));
    let (head, _) = begin(&mut first, 0);
    let first = stops(&brim, first);
    stopped.add_one();
    let whole = body.clone();
    let are_good = join(clients(OTHERS, brim.address(), move |_, client| {
        client.send(get("/large"));
        let (_, mut came) = begin(client, 10 * MIB);
        have_half.add_one();
        came.extend(client.read_exactly(10 * MIB));
        came == whole
    }));
    assert!(are_good.into_iter().all(|is_good| is_good));
    if let Some(mut first) = first {
        assert!(first.answer_behind(head).body == body, "the same bytes");
    }
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn a_first_client_who_reads_no_further_than_the_head_keeps_nobody_waiting() {
    a_first_client_who_stops_behind_the_head(|_, first| Some(first));
}

#[test]
fn a_first_client_who_leaves_behind_the_head_keeps_nobody_waiting() {
    a_first_client_who_stops_behind_the_head(|brim, first| {
        first.reset();
        brim.access_log("client_gone");
        None
    });
}

#[test]
fn an_object_too_large_to_keep_is_fetched_once_for_all_who_keep_up() {
    const CLIENTS: usize = 8;
    let body = content(16 * MIB);
    let (sent, begun) = (body.clone(), Gate::default());
    let all_begun = begun.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            peer.send(head_of(sent.len(), "Cache-Control: max-age=60\r\n"));
            peer.send(&sent[..1000]);
            all_begun.wait_for(CLIENTS);
            // A little at a time, so that everybody keeps up on a machine with few cores.
            for piece in sent[1000..].chunks(64 * 1024) {
                peer.send(piece);
            }
        }
    });
    let brim = Brim::configured(&small_memory(origin.address(), ""));
    let before = brim.peak_rss_bytes();
    let answers = join(clients(CLIENTS, brim.address(), move |_, client| {
        client.send(get("/huge"));
        let first = client.read_exactly(1);
        begun.add_one();
        client.answer_behind(first)
    }));
    for answer in answers {
        let status = answer.field("cache-status").expect("a Cache-Status").to_owned();
        assert!(status.contains("detail=too-large") && !status.contains("stored"), "{status}");
        // Whoever falls behind and cannot go on is cut off; nobody gets wrong bytes.
        assert!(body.starts_with(&answer.body), "the same bytes");
    }
    let grown = brim.peak_rss_bytes() - before;
    assert!(grown < 12 * MIB as u64, "{grown} bytes more");
}

#[test]
fn a_client_that_fell_behind_goes_on_by_itself() {
    let body = content(16 * MIB);
    let (sent, begun) = (body.clone(), Gate::default());
    let all_begun = begun.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            let fields = "Cache-Control: max-age=60\r\nETag: \"1\"\r\n";
            let range = head.lines().find_map(|line| line.strip_prefix("Range: bytes="));
            let Some((from, to)) = range.and_then(|range| range.split_once('-')) else {
                peer.send(head_of(sent.len(), fields));
                peer.send(&sent[..1000]);
                all_begun.wait_for(2);
                peer.send(&sent[1000..]);
                continue;
            };
            assert!(head.contains("\r\nIf-Range: \"1\"\r\n"), "{head}");
            let from: usize = from.parse().expect("a number");
            let to = to.parse().unwrap_or(sent.len() - 1);
            peer.send(format!(
                "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n\
                 Content-Range: bytes {from}-{to}/{}\r\n{fields}\r\n",
                to + 1 - from,
                sent.len()
            ));
            peer.send(&sent[from..=to]);
        }
    });
    let brim = Brim::configured(&small_memory(origin.address(), ""));
    let mut slow = Client::connect(brim.address());
    set_socket_recv_buffer_size(slow.stream().get_ref(), 256 * 1024).expect("set");
    slow.send(get("/huge"));
    let first = slow.read_exactly(1);
    begun.add_one();
    let mut fast = Client::connect(brim.address());
    fast.send(get("/huge"));
    let fast_first = fast.read_exactly(1);
    begun.add_one();
    assert!(fast.answer_behind(fast_first).body == body, "the same bytes");
    assert!(slow.answer_behind(first).body == body, "the same bytes");
    assert_eq!(origin.heads().len(), 2);
}

#[test]
fn memory_stays_within_its_bounds_whatever_comes_and_goes() {
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            // From 1 KiB to 256 KiB, by the number in the path.
            let number = head.split(['/', ' ']).nth(2).and_then(|number| number.parse().ok());
            let len = 1024 << (number.unwrap_or(0usize) % 9);
            peer.send(head_of(len, "Cache-Control: max-age=600\r\n"));
            peer.send(vec![b'x'; len]);
        }
    });
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[log]\naccess = 'off'\n[cache.memory]\nsize = '64MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let base = brim.peak_rss_bytes();
    let lengths = join(clients(4, brim.address(), |number, client| {
        let mut bytes = 0;
        for turn in 0..1500 {
            bytes += client.ask(get(&format!("/{}", turn * 4 + number))).body.len();
        }
        bytes
    }));
    let passed: usize = lengths.into_iter().sum();
    assert!(passed > 250 * MIB, "{passed} bytes");
    let grown = brim.peak_rss_bytes() - base;
    assert!(grown < (64.0 * 1.3) as u64 * MIB as u64, "{} MiB more", grown / MIB as u64);
}

/// An edge whose largest object is 1 MiB.
fn small_memory(origin: SocketAddr, site: &str) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[cache.memory]\nsize = '4MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n{site}\n"
    )
}

#[test]
fn nobody_gets_what_has_to_be_asked_for_by_each() {
    // An application that gives its pages an ETag and no time, and makes them for a cookie.
    let sent = Gate::default();
    let all_sent = sent.clone();
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            let cookie = head.lines().find_map(|line| line.strip_prefix("Cookie: "));
            let cookie = cookie.expect("a cookie").to_owned();
            if peer.count_head() == 1 {
                all_sent.wait_for(20);
            }
            let etag = format!("\"{cookie}\"");
            if head.contains(&etag) {
                peer.send(format!("HTTP/1.1 304 Not Modified\r\nETag: {etag}\r\n\r\n"));
            } else {
                peer.send(head_of(cookie.len(), &format!("ETag: {etag}\r\n")) + &cookie);
            }
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let answers = join(clients(20, brim.address(), move |number, client| {
        let cookie = format!("user={number}");
        let ask = format!("GET /me HTTP/1.1\r\nHost: a.test\r\nCookie: {cookie}\r\n\r\n");
        client.send(&ask);
        sent.add_one();
        [client.answer(), client.ask(&ask)].map(|answer| answer.text() == cookie)
    }));
    assert!(answers.into_iter().flatten().all(|is_own| is_own));
}

#[test]
fn a_fast_answer_that_is_not_kept_comes_whole() {
    for len in [150_000, 300_000, 3 * MIB] {
        let body = content(len);
        let sent =
            [head_of(len, "Cache-Control: no-store\r\n").into_bytes(), body.clone()].concat();
        let origin = Origin::start(move |peer| {
            while peer.head().is_some() {
                peer.send(&sent);
            }
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        for _ in 0..20 {
            assert!(client.ask(get("/fast")).body == body, "{len}");
        }
        assert_eq!(origin.heads().len(), 20);
    }
}
