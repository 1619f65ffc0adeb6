//! Clients that leave in the middle of an answer that pauses, for whom nothing is held any longer,
//! and answers that leave their clients.

use crate::kit::frames::{DATA, reset_frame};
use crate::kit::{Brim, Client, Gate, OK, Origin, RawClient, get};

const BEGUN: &str = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\n\
     Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";

/// Begins to answer what is asked under /events, goes on once for each word from the gate, and says
/// when nobody listens any more.
fn pausing() -> (Origin, Gate, Gate) {
    let (may_go_on, was_left) = (Gate::default(), Gate::default());
    let gates = (may_go_on.clone(), was_left.clone());
    let origin = Origin::start(move |peer| {
        while let Some(head) = peer.head() {
            if !head.contains(" /events") {
                peer.send(OK);
                continue;
            }
            peer.send(BEGUN);
            if head.contains(" /events/two ") {
                gates.0.wait_for(1);
                peer.send("5\r\nagain\r\n");
            }
            peer.rest();
            gates.1.add_one();
        }
    });
    (origin, may_go_on, was_left)
}

/// An edge that asks for one thing at a time, and passes everything.
fn in_front_of(origin: &Origin, protocol: &str) -> Brim {
    Brim::configured(&format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = {} }}]\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\nrequests = 1\nqueue_timeout = '20s'\n[[site]]\nhosts = ['*']\n\
         origin = 'o'\n[[site.rule]]\npath = '/*'\ncache = false\n",
        protocol == "h2c",
        origin.address()
    ))
}

fn is_let_go_of(brim: &Brim, was_left: &Gate) {
    brim.access_log("client_gone");
    was_left.wait_for(1);
    assert_eq!(Client::connect(brim.address()).ask(get("/next")).status, 200);
}

fn until_hello(client: &mut Client) {
    let mut seen = Vec::new();
    while !seen.ends_with(b"hello\r\n") {
        seen.extend(client.read_exactly(1));
    }
}

#[test]
fn a_client_that_breaks_its_connection_while_the_origin_pauses_is_not_waited_for() {
    for method in ["GET", "POST"] {
        let (origin, _, was_left) = pausing();
        let brim = in_front_of(&origin, "http/1.1");
        let mut client = Client::connect(brim.address());
        client.send(get("/events").replace("GET", method));
        until_hello(&mut client);
        client.reset();
        is_let_go_of(&brim, &was_left);
    }
}

#[test]
fn a_client_that_has_finished_sending_gets_its_answer_until_it_breaks_the_connection() {
    let (origin, may_go_on, was_left) = pausing();
    let brim = in_front_of(&origin, "http/1.1");
    let mut client = Client::connect(brim.address());
    client.send(get("/events/two"));
    client.finish();
    until_hello(&mut client);
    may_go_on.add_one();
    assert_eq!(client.read_exactly(10), b"5\r\nagain\r\n");
    client.reset();
    is_let_go_of(&brim, &was_left);
}

#[test]
fn a_client_that_leaves_with_its_body_half_sent_is_not_waited_for() {
    let (origin, _, was_left) = pausing();
    let brim = in_front_of(&origin, "http/1.1");
    let mut client = Client::connect(brim.address());
    client.send("POST /events HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf.");
    until_hello(&mut client);
    client.reset();
    is_let_go_of(&brim, &was_left);
}

#[test]
fn a_client_that_breaks_its_stream_off_while_the_origin_pauses_is_not_waited_for() {
    for closes_connection in [false, true] {
        let (origin, _, was_left) = pausing();
        let brim = in_front_of(&origin, "h2c");
        let mut client = RawClient::connect(brim.address());
        client.get(1, "/events");
        assert_eq!(client.next_of(DATA).payload, b"hello");
        if closes_connection {
            drop(client);
        } else {
            client.send(&reset_frame(1));
        }
        is_let_go_of(&brim, &was_left);
    }
}

#[test]
fn an_answer_of_which_the_client_saw_nothing_has_no_status_in_the_log() {
    let origin = Origin::start(|peer| {
        if peer.head().is_some() {
            // Broken off before any of its content: whether its head is out by then is a matter of
            // chance, but not whether the log says so.
            peer.send("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\n");
        }
    });
    let brim = Brim::in_front_of(origin.address());
    for turn in 0..100 {
        let mut client = Client::connect(brim.address());
        client.send(get(&format!("/{turn}")));
        let expected = if client.rest().is_empty() { "\"status\":0," } else { "\"status\":200," };
        let line = brim.access_log(&format!("\"target\":\"/{turn}\""));
        assert!(line.contains(expected), "{expected} in {line}");
    }
}
