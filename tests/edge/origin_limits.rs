//! How many requests an origin has at one time, who of its servers gets them, and who else does.

use crate::kit::{Brim, Client, NOBODY, Origin, get};

/// An edge in front of one server, with more lines for its origin.
fn brim_for(origin: &Origin, lines: &str) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['http://{}']\n\
         {lines}\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ))
}

fn asks_for(brim: &Brim, path: &str) -> Client {
    let mut client = Client::connect(brim.address());
    client.send(get(path));
    client
}

#[test]
fn requests_beyond_the_limit_wait_for_their_turn_and_those_beyond_the_queue_do_not() {
    let (origin, answer, was_asked) = Origin::waiting();
    let brim = brim_for(&origin, "requests = 1\nqueue = 1");
    let mut first = asks_for(&brim, "/first");
    was_asked.recv().expect("asked");
    let mut second = asks_for(&brim, "/second");
    brim.wait_for_metric("brim_origin_queue{origin=\"o\"}", 1);
    assert_eq!(brim.metric("brim_origin_requests_in_flight{origin=\"o\"}"), 1);
    let reported = brim.operator().get("/origins")["origins"][0].clone();
    assert_eq!((&reported["requests"], &reported["waiting"]), (&1.into(), &1.into()));
    assert_eq!(reported["servers"][0]["requests"], 1);
    let third = Client::connect(brim.address()).ask(get("/third"));
    assert_eq!((third.status, third.field("retry-after")), (503, Some("5")));
    assert!(brim.access_log("/third").contains("origin_busy"));
    assert_eq!(brim.metric("brim_origin_queue_full_total{origin=\"o\"}"), 1);
    assert_eq!(origin.requests(), 1);
    answer.send(()).expect("the origin waits");
    assert_eq!(first.answer().status, 200);
    was_asked.recv().expect("asked");
    answer.send(()).expect("the origin waits");
    assert_eq!(second.answer().status, 200);
    brim.wait_until("brim_origin_requests_in_flight{origin=\"o\"}", |requests| requests == 0);
    assert_eq!(brim.metric("brim_origin_queue{origin=\"o\"}"), 0);
    answer.send(()).expect("the origin waits");
    assert_eq!(Client::connect(brim.address()).ask(get("/again")).status, 200);
}

#[test]
fn without_a_queue_nobody_waits() {
    let (origin, answer, was_asked) = Origin::waiting();
    let brim = brim_for(&origin, "requests = 1\nqueue = 0");
    let mut first = asks_for(&brim, "/first");
    was_asked.recv().expect("asked");
    let mut client = Client::connect(brim.address());
    // What is passed counts like what is fetched for the cache.
    for request in [get("/second"), "DELETE /second HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()] {
        let second = client.ask(request);
        assert_eq!((second.status, second.field("retry-after")), (503, Some("5")));
    }
    answer.send(()).expect("the origin waits");
    assert_eq!(first.answer().status, 200);
    brim.wait_until("brim_origin_requests_in_flight{origin=\"o\"}", |requests| requests == 0);
    answer.send(()).expect("the origin waits");
    assert_eq!(client.ask(get("/third")).status, 200);
}

#[test]
fn a_wait_that_is_too_long_ends_with_a_503() {
    let (origin, answer, was_asked) = Origin::waiting();
    let brim = brim_for(&origin, "requests = 1\nqueue_timeout = '50ms'");
    let mut first = asks_for(&brim, "/first");
    was_asked.recv().expect("asked");
    assert_eq!(Client::connect(brim.address()).ask(get("/second")).status, 503);
    assert_eq!(brim.metric("brim_origin_queue_full_total{origin=\"o\"}"), 1);
    answer.send(()).expect("the origin waits");
    assert_eq!(first.answer().status, 200);
}

#[test]
fn servers_get_requests_by_their_weights() {
    let (light, heavy) = (Origin::ok(), Origin::ok());
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}', {{ url = 'http://{}', weight = 3 }}]\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n",
        light.address(),
        heavy.address()
    ));
    let mut client = Client::connect(brim.address());
    for number in 0..40 {
        assert_eq!(client.ask(get(&format!("/{number}"))).status, 200);
    }
    assert_eq!((light.requests(), heavy.requests()), (10, 30));
}

#[test]
fn a_request_that_leaves_an_origin_for_its_fallback_is_counted() {
    let second = Origin::ok();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n\
         [[origin]]\nname = 'first'\nservers = ['http://{NOBODY}']\nfallback = 'second'\n\
         [[origin]]\nname = 'second'\nservers = ['http://{}']\n\
         [[site]]\nhosts = ['*']\norigin = 'first'\n",
        second.address()
    ));
    let mut client = Client::connect(brim.address());
    for number in 0..10 {
        assert_eq!(client.ask(get(&format!("/{number}"))).status, 200);
    }
    assert_eq!(second.requests(), 10);
    assert_eq!(brim.metric("brim_origin_failovers_total{origin=\"first\"}"), 10);
    assert_eq!(brim.metric("brim_origin_failovers_total{origin=\"second\"}"), 0);
}

#[test]
fn parents_have_a_budget_of_retries_of_their_own() {
    let origin = Origin::ok();
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n\
         [[origin]]\nname = 'main'\nservers = ['http://{}']\nparent = 'shield'\n\
         [[origin]]\nname = 'shield'\nservers = ['http://{NOBODY}', 'http://127.0.0.78:9']\n\
         retry_budget = 100\n[origin.ejection]\nfailures = 0\n\
         [[site]]\nhosts = ['*']\norigin = 'main'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    for number in 0..30 {
        assert_eq!(client.ask(get(&format!("/{number}"))).status, 200);
    }
    // More than its reserve.
    assert_eq!(brim.metric("brim_origin_retries_total{origin=\"shield\"}"), 30);
    assert_eq!(brim.metric("brim_origin_failovers_total{origin=\"shield\"}"), 30);
    assert_eq!(brim.metric("brim_origin_retries_total{origin=\"main\"}"), 0);
}
