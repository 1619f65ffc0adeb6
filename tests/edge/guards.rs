//! What one client network may have is bounded, and everybody else has what they had before.

use crate::kit::{Brim, Client, Gate, OK, Origin, PATIENCE, Response, get, get_with};
use std::time::{Duration, Instant};

/// A request of a client behind the proxy on 127.0.0.1.
fn of(client: &str, path: &str) -> String {
    get_with(path, &format!("X-Forwarded-For: {client}\r\n"))
}

/// An origin that says when it was asked, and answers everybody when it is told to.
fn waiting() -> (Origin, Gate, Gate) {
    let (asked, may_answer) = (Gate::default(), Gate::default());
    let (ask, wait) = (asked.clone(), may_answer.clone());
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            ask.add_one();
            wait.wait_for(1);
            peer.send(OK);
        }
    });
    (origin, asked, may_answer)
}

/// The statuses of these requests, one after the other, all of them within a second: at a rate of one
/// in a second no token comes back meanwhile. A machine that is too busy for that gets another edge.
fn statuses(edge: impl Fn() -> Brim, requests: &[String]) -> Vec<u16> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let brim = edge();
        let started = Instant::now();
        let mut client = Client::connect(brim.address());
        let statuses = requests.iter().map(|request| client.ask(request).status).collect();
        if started.elapsed() < Duration::from_secs(1) {
            return statuses;
        }
        assert!(Instant::now() < deadline, "the machine is too busy");
    }
}

/// An edge behind a trusted proxy on 127.0.0.1.
fn behind_a_proxy(origin: &Origin, limits: &str, site: &str) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\ntrusted_proxies = ['127.0.0.1']\n\
         [server.limits]\n{limits}\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n[site.limits]\n{site}\n",
        origin.address()
    ))
}

fn limited(brim: &Brim, limit: &str) -> u64 {
    brim.metric(&format!("brim_limited_total{{limit=\"{limit}\",site=\"*\"}}"))
}

fn is_limited(answer: &Response, detail: &str) {
    assert_eq!(answer.status, 429, "{}", answer.head);
    assert_eq!(answer.told(), format!("brim; detail={detail}"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert!(answer.number("retry-after").is_some_and(|seconds| seconds >= 1), "{}", answer.head);
    assert_eq!(answer.field("connection"), None, "the connection stays");
}

#[test]
fn a_burst_is_answered_and_then_429_until_a_token_is_there() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n",
    );
    let brim = Brim::with(origin.address(), "", "[site.limits]\nrate = 1\nburst = 3");
    let mut client = Client::connect(brim.address());
    let mut answers = Vec::new();
    for _ in 0..20 {
        answers.push(client.ask(get("/hit")));
    }
    assert!(answers[..3].iter().all(|answer| answer.status == 200), "the burst");
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 10, "twenty requests take no ten seconds");
    refused.iter().for_each(|answer| is_limited(answer, "client-rate"));
    assert_eq!(limited(&brim, "rate"), refused.len() as u64);
    assert!(brim.access_log("too_many_requests").contains("\"status\":429"));
    // What the answer says is kept: after that many seconds there is a token.
    let wait = refused[0].number("retry-after").expect("told");
    std::thread::sleep(Duration::from_secs(wait.unsigned_abs()));
    assert_eq!(client.ask(get("/hit")).status, 200);
    assert_eq!(origin.requests(), 1);
}

#[test]
fn each_network_has_a_rate_of_its_own_and_an_ipv6_network_is_a_64() {
    let origin = Origin::answering(OK);
    let edge = || behind_a_proxy(&origin, "", "rate = 1\nburst = 1");
    let clients = [
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:2::1", 200),
        ("2001:db8:0:2:ffff::9", 429),
        ("::ffff:192.0.2.3", 200),
        ("192.0.2.3", 429),
    ];
    let requests = clients.map(|(client, _)| of(client, "/"));
    assert_eq!(statuses(edge, &requests), clients.map(|(_, status)| status));
}

#[test]
fn a_client_cannot_be_counted_as_somebody_else() {
    let origin = Origin::answering(OK);
    let edge = || behind_a_proxy(&origin, "", "rate = 1\nburst = 1");
    // What a client writes itself stands before what the proxy has seen.
    let clients = [
        ("192.0.2.9", 200),
        ("198.51.100.1, 192.0.2.9", 429),
        ("127.0.0.1, 192.0.2.9", 429),
        ("nonsense, 192.0.2.9", 429),
        ("198.51.100.1", 200),
    ];
    let requests = clients.map(|(client, _)| of(client, "/"));
    assert_eq!(statuses(edge, &requests), clients.map(|(_, status)| status));
}

#[test]
fn a_trusted_proxy_that_does_not_tell_for_whom_it_asks_is_not_one_client() {
    let origin = Origin::answering(OK);
    let brim = behind_a_proxy(
        &origin,
        "connections_per_client = 1",
        "rate = 1\nburst = 1\nrequests_per_client = 1",
    );
    let mut connections: Vec<_> = (0..5).map(|_| Client::connect(brim.address())).collect();
    for connection in &mut connections {
        for _ in 0..3 {
            assert_eq!(connection.ask(get("/")).status, 200);
            assert_eq!(connection.ask(of("unknown", "/")).status, 200);
        }
    }
}

#[test]
fn who_is_on_a_list_is_never_limited() {
    let origin = Origin::answering(OK);
    let site = "rate = 1\nburst = 1\nallow = ['2001:db8::/32']";
    let edge = || behind_a_proxy(&origin, "allow = ['192.0.2.0/24']", site);
    let clients =
        ["192.0.2.1", "192.0.2.1", "2001:db8::1", "2001:db8::1", "198.51.100.1", "198.51.100.1"];
    let requests = clients.map(|client| of(client, "/"));
    assert_eq!(statuses(edge, &requests), [200, 200, 200, 200, 200, 429]);
}

#[test]
fn concurrent_requests_of_a_network_are_bounded_and_a_place_comes_back() {
    let (origin, asked, may_answer) = waiting();
    let brim = behind_a_proxy(&origin, "", "requests_per_client = 2");
    let mut busy: Vec<_> = (1..=2)
        .map(|number| {
            let mut client = Client::connect(brim.address());
            client.send(of("192.0.2.1", &format!("/{number}")));
            asked.wait_for(number);
            client
        })
        .collect();
    let mut third = Client::connect(brim.address());
    is_limited(&third.ask(of("192.0.2.1", "/3")), "client-requests");
    assert_eq!(limited(&brim, "requests"), 1);
    // Others are not concerned.
    let mut other = Client::connect(brim.address());
    other.send(of("192.0.2.2", "/4"));
    asked.wait_for(3);
    may_answer.add_one();
    assert_eq!(other.answer().status, 200);
    busy.iter_mut().for_each(|client| assert_eq!(client.answer().status, 200));
    brim.access_log("\"/1\"");
    brim.access_log("\"/2\"");
    assert_eq!(third.ask(of("192.0.2.1", "/5")).status, 200, "the place is free again");
}

#[test]
fn a_place_comes_back_from_a_client_that_has_left() {
    let (origin, asked, may_answer) = waiting();
    let brim = behind_a_proxy(&origin, "", "requests_per_client = 1");
    let mut left = Client::connect(brim.address());
    left.send(of("192.0.2.1", "/left"));
    asked.wait_for(1);
    left.reset();
    assert!(brim.access_log("/left").contains("client_gone"));
    let mut next = Client::connect(brim.address());
    next.send(of("192.0.2.1", "/next"));
    asked.wait_for(2);
    may_answer.add_one();
    assert_eq!(next.answer().status, 200);
}

#[test]
fn a_limit_holds_for_one_site_and_for_methods_that_pass() {
    let origin = Origin::ok();
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['a.test']\norigin = 'o'\n[site.limits]\nrate = 1\nburst = 1\n\
         [[site]]\nhosts = ['b.test']\norigin = 'o'\n",
        origin.address()
    );
    let edge = || Brim::configured(&text);
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi".to_owned();
    let other = "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n".to_owned();
    let requests = [post.clone(), post, other.clone(), other];
    assert_eq!(statuses(edge, &requests), [200, 429, 200, 200]);
}

#[test]
fn a_request_that_is_limited_is_answered_with_why_and_when() {
    let (origin, asked, may_answer) = waiting();
    let brim = Brim::with(origin.address(), "", "[site.limits]\nrequests_per_client = 1");
    let mut first = Client::connect(brim.address());
    first.send(get("/first"));
    asked.wait_for(1);
    let mut second = Client::connect(brim.address());
    is_limited(&second.ask(get("/second")), "client-requests");
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi";
    is_limited(&second.ask(post), "client-requests");
    // A body that is not there yet would be taken for the next request.
    let answer = second.ask("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nhi");
    assert_eq!((answer.status, answer.field("connection")), (429, Some("close")));
    second.is_closed();
    may_answer.add_one();
    assert_eq!(first.answer().status, 200);
}

#[test]
fn connections_of_a_network_are_bounded_and_a_place_comes_back() {
    let origin = Origin::answering(OK);
    let brim = Brim::configured(&format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', proxy_protocol = true }}]\n\
         trusted_proxies = ['127.0.0.1']\n[server.limits]\nconnections_per_client = 2\n\
         allow = ['198.51.100.9']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let connect = |from: &str| {
        let mut client = Client::connect(brim.address());
        let family = if from.contains(':') { "TCP6 " } else { "TCP4 " };
        client.send(format!("PROXY {family}{from} {from} 1 2\r\n"));
        client
    };
    let mut open: Vec<_> = (0..2)
        .map(|number| {
            let mut client = connect(&format!("2001:db8::{number}"));
            assert_eq!(client.ask(get("/")).status, 200);
            client
        })
        .collect();
    let mut third = connect("2001:db8::3");
    let answer = third.answer();
    assert_eq!((answer.status, answer.field("retry-after")), (429, Some("5")));
    third.is_closed();
    assert_eq!(brim.metric("brim_connections_refused_total{reason=\"client\"}"), 1);
    let mut other = connect("2001:db8:0:1::3");
    assert_eq!(other.ask(get("/")).status, 200, "another /64");
    let mut listed: Vec<_> = (0..4).map(|_| connect("198.51.100.9")).collect();
    listed.iter_mut().for_each(|client| assert_eq!(client.ask(get("/")).status, 200));
    brim.wait_until("brim_connections", |count| count == 7);
    open.pop();
    brim.wait_until("brim_connections", |count| count == 6);
    assert_eq!(connect("2001:db8::4").ask(get("/")).status, 200);
}

#[test]
fn a_flood_from_many_networks_costs_a_bounded_amount_of_memory() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 0\r\n\r\n",
    );
    let brim = behind_a_proxy(&origin, "", "rate = 1\nburst = 1");
    let mut proxy = Client::connect(brim.address());
    assert_eq!(proxy.ask(of("192.0.2.1", "/")).status, 200);
    let before = brim.peak_rss_bytes();
    for batch in 0..20_u32 {
        let requests: Vec<_> = (0..1000_u32)
            .map(|number| of(&format!("2001:db8:{batch:x}:{number:x}::1"), "/"))
            .collect();
        proxy.send(requests.concat());
        (0..1000).for_each(|_| assert_eq!(proxy.answer().status, 200));
    }
    let grown = brim.peak_rss_bytes() - before;
    assert!(grown < 24 << 20, "{grown} bytes for 20000 networks");
    assert_eq!(limited(&brim, "rate"), 0);
}
