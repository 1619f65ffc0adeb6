//! Answers past their time: when they are used all the same, and when they are not.

use crate::kit::{Brim, Client, Origin, PATIENCE, Response, get, get_with, ok_with};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Instant;

const HOUR: &str = "Cache-Control: max-age=3600\r\n";

/// Asks until the answer is this one; what comes before has to be `meanwhile`.
#[track_caller]
fn wait_for(client: &mut Client, body: &str, meanwhile: &str) -> Response {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.ask(get("/"));
        if answer.text() == body {
            return answer;
        }
        assert_eq!(answer.text(), meanwhile);
        assert!(Instant::now() < deadline, "{body} does not come");
    }
}

#[test]
fn a_stale_answer_is_served_at_once_and_refreshed_once_behind() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let origin = Origin::serving(move |_, number| {
        if number == 0 {
            let fields = "Cache-Control: max-age=1, stale-while-revalidate=600\r\nAge: 100\r\n";
            return ok_with(fields, "old");
        }
        let _ = released.lock().expect("lock").recv();
        ok_with(HOUR, "new")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    for _ in 0..5 {
        let stale = client.ask(get("/"));
        assert_eq!(stale.text(), "old");
        assert_eq!(stale.told(), "brim; hit; detail=stale-while-revalidate");
        assert!(stale.number("ttl").is_some_and(|ttl| ttl < 0));
        assert!(stale.number("age").is_some_and(|age| age >= 100));
    }
    origin.wait_for_requests(2);
    release.send(()).expect("the origin waits");
    assert_eq!(wait_for(&mut client, "new", "old").told(), "brim; hit");
    assert_eq!(origin.requests(), 2);
}

#[test]
fn a_refresh_is_a_question_whether_anything_changed() {
    let origin = Origin::serving(|head, _| {
        if head.contains("If-None-Match: \"1\"") {
            return format!("HTTP/1.1 304 Not Modified\r\n{HOUR}ETag: \"1\"\r\nX-N: 1\r\n\r\n");
        }
        let fields = "Cache-Control: max-age=1, stale-while-revalidate=600\r\nAge: 100\r\n";
        ok_with(&format!("{fields}ETag: \"1\"\r\n"), "body")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    // Neither the range nor the condition of the client that set it off belong to it.
    let lines = "Range: bytes=0-1\r\nIf-None-Match: \"0\"\r\n";
    assert_eq!(client.ask(get_with("/", lines)).status, 206);
    origin.wait_for_requests(2);
    let asked = origin.last_head();
    assert!(!asked.contains("Range") && !asked.contains("\"0\""), "{asked}");
    let deadline = Instant::now() + PATIENCE;
    while client.ask(get("/")).told() != "brim; hit" {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(client.ask(get("/")).field("x-n"), Some("1"));
    assert_eq!(origin.requests(), 2);
}

#[test]
fn a_refresh_is_not_the_wish_of_the_client_that_it_is_begun_at() {
    let origin = Origin::serving(|_, number| {
        let fields = "Cache-Control: max-age=1, stale-while-revalidate=600\r\n";
        let age = if number == 0 { "Age: 100\r\n" } else { "Age: 0\r\n" };
        ok_with(&format!("{fields}{age}"), "body")
    });
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let lines = "Cache-Control: only-if-cached\r\nPragma: x\r\nCDN-Loop: brim, brim\r\nX: y\r\n";
    client.ask(get("/"));
    assert_eq!(client.ask(get_with("/", lines)).status, 200);
    origin.wait_for_requests(2);
    let head = origin.last_head();
    assert!(head.contains("X: y"), "{head}");
    assert!(!(head.contains("Cache-Control") || head.contains("Pragma")), "{head}");
    let way: Vec<_> = head.lines().filter_map(|line| line.strip_prefix("CDN-Loop: ")).collect();
    assert!(way.len() == 1 && way[0].starts_with("brim;id=") && !way[0].contains(','), "{head}");
}

#[test]
fn past_the_time_for_refreshing_the_origin_is_asked_first() {
    for fields in [
        "Cache-Control: max-age=1, stale-while-revalidate=50\r\nAge: 100\r\n",
        "Cache-Control: max-age=1, stale-while-revalidate=600, must-revalidate\r\nAge: 100\r\n",
        "Cache-Control: max-age=1, stale-while-revalidate=600, proxy-revalidate\r\nAge: 100\r\n",
        "Cache-Control: max-age=1, stale-while-revalidate=600, no-cache\r\nAge: 100\r\n",
        "Cache-Control: s-maxage=1, stale-while-revalidate=600\r\nAge: 100\r\n",
    ] {
        let origin = Origin::serving(move |_, number| match number {
            0 => ok_with(fields, "old"),
            _ => ok_with(HOUR, "new"),
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/"));
        let next = client.ask(get("/"));
        assert_eq!(
            (next.text().as_str(), next.told().as_str()),
            ("new", "brim; fwd=stale; stored")
        );
    }
}

/// An edge whose origin gives a first answer with these fields, and then fails in some way.
fn failing(
    site: &str,
    fields: &str,
    fail: impl Fn(&mut dyn FnMut(&str)) + Send + Sync + 'static,
) -> (Origin, Brim, Client) {
    let first = ok_with(fields, "old");
    let has_answered = AtomicBool::new(false);
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            if has_answered.swap(true, Ordering::SeqCst) {
                return fail(&mut |bytes| peer.send(bytes));
            }
            peer.send(&first);
        }
    });
    let brim = Brim::with(origin.address(), "", site);
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).text(), "old");
    (origin, brim, client)
}

#[test]
fn a_stale_answer_stands_in_for_an_origin_in_trouble() {
    let fields = "Cache-Control: max-age=1, stale-if-error=600\r\nAge: 100\r\n";
    for status in ["500", "502", "503", "504"] {
        let answer = format!("HTTP/1.1 {status} X\r\n{HOUR}Content-Length: 3\r\n\r\nbad");
        let (_origin, brim, mut client) = failing("", fields, move |send| send(&answer));
        let answer = client.ask(get_with("/", "User-Agent: second\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "old"), "{status}");
        assert!(answer.told().starts_with("brim; fwd=stale"), "{}", answer.told());
        assert!(answer.told().ends_with("; detail=stale-if-error"), "{}", answer.told());
        let line = brim.access_log("second");
        assert!(line.contains("\"outcome\":\"stale\",\"reason\":\"stale-if-error\""), "{line}");
    }
    for garbage in ["", "nonsense\r\n\r\n"] {
        let (_origin, _brim, mut client) = failing("", fields, move |send| send(garbage));
        assert_eq!(client.ask(get("/")).text(), "old", "{garbage}");
    }
}

#[test]
fn other_errors_are_answers() {
    let fields = "Cache-Control: max-age=1, stale-if-error=600\r\nAge: 100\r\n";
    for status in [400, 403, 404, 410, 501] {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nbad");
        let (_origin, _brim, mut client) = failing("", fields, move |send| send(&answer));
        assert_eq!(client.ask(get("/")).status, status);
    }
}

#[test]
fn without_a_word_about_errors_only_a_lost_connection_is_bridged_and_not_for_long() {
    let unavailable = "HTTP/1.1 503 X\r\nContent-Length: 3\r\n\r\nbad";
    let fields = "Cache-Control: max-age=100\r\nAge: 101\r\n";
    let (_origin, _brim, mut client) = failing("", fields, |_| {});
    let answer = client.ask(get("/"));
    let told = (answer.status, answer.told());
    assert_eq!(told, (200, "brim; fwd=stale; detail=stale-if-error".to_owned()));
    let (_origin, _brim, mut client) = failing("", fields, move |send| send(unavailable));
    assert_eq!(client.ask(get("/")).status, 503);
    let late = "Cache-Control: max-age=100\r\nAge: 131\r\n";
    let (_origin, _brim, mut client) = failing("", late, |_| {});
    let answer = client.ask(get("/"));
    assert_eq!(
        (answer.status, answer.told().as_str()),
        (502, "brim; fwd=stale; detail=origin_closed")
    );
}

#[test]
fn a_response_can_forbid_to_stand_in() {
    for directives in [
        "max-age=100, must-revalidate",
        "max-age=100, proxy-revalidate",
        "s-maxage=100",
        "max-age=100, no-cache",
        "max-age=100, stale-if-error=0",
        "max-age=100, stale-if-error=600, must-revalidate",
    ] {
        for site in ["", "[[site.rule]]\npath = '*'\nstale_if_error = '1h'"] {
            // The operator's word stands in for the origin's, but not against its prohibition.
            let is_overruled = directives.ends_with("=0") || directives.starts_with("s-maxage");
            let status = if !site.is_empty() && is_overruled { 200 } else { 502 };
            let fields = format!("Cache-Control: {directives}\r\nAge: 101\r\n");
            let (_origin, _brim, mut client) = failing(site, &fields, |_| {});
            assert_eq!(client.ask(get("/")).status, status, "{directives} {site}");
        }
    }
}

#[test]
fn rules_say_how_long_stale_answers_are_used() {
    let site = "[[site.rule]]\npath = '*'\nstale_if_error = '10m'";
    let fields = "Cache-Control: max-age=1\r\nAge: 100\r\n";
    let unavailable = "HTTP/1.1 503 X\r\nContent-Length: 3\r\n\r\nbad";
    let (_origin, _brim, mut client) = failing(site, fields, move |send| send(unavailable));
    assert_eq!(client.ask(get("/")).text(), "old");
    let site = "[[site.rule]]\npath = '*'\nstale_while_revalidate = '10m'";
    let (origin, _brim, mut client) = failing(site, fields, move |send| send(unavailable));
    assert_eq!(client.ask(get("/")).told(), "brim; hit; detail=stale-while-revalidate");
    origin.wait_for_requests(2);
    assert_eq!(client.ask(get("/")).text(), "old");
}

/// An origin that can be taken away: the address stays, the listener goes.
struct Vanishing {
    address: SocketAddr,
    listener: Arc<Mutex<Option<std::net::TcpListener>>>,
}

impl Vanishing {
    /// Answers one connection, once, and closes.
    fn answering_once(answer: String) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let accepted = listener.try_clone().expect("cloned");
        let kept = Arc::new(Mutex::new(Some(listener)));
        std::thread::spawn(move || {
            use std::io::{BufRead, Write};
            let (stream, _) = accepted.accept().expect("accepted");
            drop(accepted);
            let mut reader = std::io::BufReader::new(stream);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).expect("a line");
            }
            reader.get_mut().write_all(answer.as_bytes()).expect("sent");
        });
        Self { address, listener: kept }
    }

    fn vanish(&self) {
        self.listener.lock().expect("lock").take();
    }
}

#[test]
fn a_stale_answer_stands_in_for_an_origin_that_is_not_there() {
    let fields = "Cache-Control: max-age=100\r\nAge: 101\r\nConnection: close\r\n";
    let origin = Vanishing::answering_once(ok_with(fields, "old"));
    let brim = Brim::in_front_of(origin.address);
    let mut client = Client::connect(brim.address());
    client.ask(get("/"));
    origin.vanish();
    // The first finds out; for a moment the others do not ask.
    for (method, told) in [("GET", "fwd=stale"), ("HEAD", "hit"), ("GET", "hit")] {
        let request = get("/").replacen("GET", method, 1);
        let answer = if method == "GET" { client.ask(request) } else { client.ask_head(request) };
        assert_eq!(
            (answer.status, answer.told().as_str()),
            (200, &format!("brim; {told}; detail=stale-if-error")[..])
        );
    }
    // Whoever has nothing to get learns of the trouble.
    assert_eq!(client.ask(get("/other")).status, 502);
}

#[test]
fn a_client_says_how_fresh_an_answer_has_to_be() {
    let fresh = "Cache-Control: max-age=1000\r\nAge: 100\r\nETag: \"1\"\r\n";
    let stale = "Cache-Control: max-age=10\r\nAge: 100\r\nETag: \"1\"\r\n";
    let strict = "Cache-Control: max-age=10, must-revalidate\r\nAge: 100\r\nETag: \"1\"\r\n";
    let hit = "brim; hit";
    let asked = "brim; fwd=request; fwd-status=304";
    let validated = "brim; fwd=stale; fwd-status=304";
    let max_stale = "brim; hit; detail=max-stale";
    for (fields, line, expected) in [
        (fresh, "Cache-Control: no-cache", asked),
        (fresh, "Pragma: no-cache", asked),
        // Cache-Control has the last word (RFC 9111, section 5.4).
        (fresh, "Pragma: no-cache\r\nCache-Control: max-age=500", hit),
        (fresh, "Cache-Control: max-age=0", asked),
        (fresh, "Cache-Control: max-age=50", asked),
        (fresh, "Cache-Control: max-age=500", hit),
        (fresh, "Cache-Control: min-fresh=500", hit),
        (fresh, "Cache-Control: min-fresh=950", asked),
        (fresh, "Cache-Control: max-stale", hit),
        (fresh, "Cache-Control: only-if-cached", hit),
        (stale, "Cache-Control: max-stale", max_stale),
        (stale, "Cache-Control: max-stale=600", max_stale),
        (stale, "Cache-Control: max-stale=10", validated),
        (stale, "Cache-Control: max-stale=600, max-age=5", asked),
        (stale, "Cache-Control: max-stale, only-if-cached", max_stale),
        (strict, "Cache-Control: max-stale", validated),
        (stale, "Cache-Control: only-if-cached", "brim; detail=only-if-cached"),
        (fresh, "Cache-Control: only-if-cached, no-cache", "brim; detail=only-if-cached"),
    ] {
        let origin = Origin::serving(move |head, _| {
            if head.contains("If-None-Match: \"1\"") {
                return "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".into();
            }
            ok_with(fields, "body")
        });
        let brim = Brim::in_front_of(origin.address());
        let mut client = Client::connect(brim.address());
        client.ask(get("/"));
        let answer = client.ask(get_with("/", &format!("{line}\r\n")));
        assert_eq!(answer.told(), expected, "{line} {fields}");
        let status = if expected.contains("only-if-cached") { 504 } else { 200 };
        assert_eq!(answer.status, status, "{line}");
    }
}

#[test]
fn whoever_wants_nothing_but_what_is_stored_asks_no_origin() {
    let origin = Origin::ok();
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let lines = "Cache-Control: only-if-cached\r\n";
    assert_eq!(client.ask(get_with("/", lines)).status, 504);
    let request = get_with("/", lines).replacen("GET", "HEAD", 1);
    assert_eq!(client.ask_head(request).status, 504);
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_request_that_forbids_to_store_leaves_what_is_stored_alone() {
    let origin = Origin::serving(|_, number| ok_with(HOUR, &number.to_string()));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    let forbidding = get_with("/", "Cache-Control: no-store\r\n");
    for (request, body, told) in [
        (&forbidding, "0", "brim; fwd=uri-miss; detail=request-no-store"),
        (&get("/"), "1", "brim; fwd=uri-miss; stored"),
        (&forbidding, "2", "brim; fwd=request; detail=request-no-store"),
        (&get("/"), "1", "brim; hit"),
    ] {
        let answer = client.ask(request);
        assert_eq!((answer.text().as_str(), answer.told().as_str()), (body, told));
    }
}

#[test]
fn an_answer_that_is_asked_for_anew_takes_the_place_of_the_old_one() {
    let origin = Origin::serving(|_, number| ok_with(HOUR, &number.to_string()));
    let brim = Brim::in_front_of(origin.address());
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get("/")).text(), "0");
    let anew = client.ask(get_with("/", "Cache-Control: no-cache\r\n"));
    assert_eq!((anew.text().as_str(), anew.told().as_str()), ("1", "brim; fwd=request; stored"));
    assert_eq!(client.ask(get("/")).text(), "1");
}

#[test]
fn who_gets_a_confirmation_that_is_not_kept_waits_for_nobody() {
    // The second answer says that it is not to be kept any more.
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(Mutex::new(released));
    let origin = Origin::serving(move |_, number| match number {
        0 => ok_with("Cache-Control: max-age=1\r\nAge: 100\r\nETag: \"1\"\r\n", "old"),
        1 => ok_with("Cache-Control: no-store\r\n", "1"),
        number => {
            let _ = released.lock().expect("lock").recv();
            ok_with("Cache-Control: no-store\r\n", &number.to_string())
        }
    });
    let brim = Brim::in_front_of(origin.address());
    let mut clients: Vec<_> = (0..5).map(|_| Client::connect(brim.address())).collect();
    clients[0].ask(get("/"));
    assert_eq!(clients[0].ask(get("/")).text(), "1");
    for client in &mut clients {
        client.send(get("/"));
    }
    // All are asked for before any is answered.
    origin.wait_for_requests(2 + clients.len());
    for _ in &clients {
        release.send(()).expect("the origin waits");
    }
    assert!(clients.iter_mut().all(|client| client.answer().status == 200));
}
