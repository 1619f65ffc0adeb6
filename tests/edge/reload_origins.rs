//! Another configuration and the origins: what nothing has changed about goes on as it is, the rest is
//! new.

use crate::kit::{Brim, Client, Gate, OK, Origin, get, ok_with};
use std::thread;

/// These origins by name, each the only one of a site of the same name.
fn text(origins: &[(&str, &Origin, &str)]) -> String {
    let mut text = "[server]\nhttp = ['127.0.0.1:0']\n".to_owned();
    for (name, origin, lines) in origins {
        let address = origin.address();
        text += &format!("[[origin]]\nname = '{name}'\nservers = ['http://{address}']\n{lines}\n");
    }
    for (name, ..) in origins {
        text += &format!("[[site]]\nhosts = ['{name}.test']\norigin = '{name}'\n");
    }
    text
}

fn ask(client: &mut Client, name: &str, path: &str) -> u16 {
    client.ask(format!("GET {path} HTTP/1.1\r\nHost: {name}.test\r\n\r\n")).status
}

#[test]
fn an_origin_that_stays_keeps_its_connection_and_one_that_changes_gets_another() {
    let (stays, before, after) = (Origin::ok(), Origin::ok(), Origin::ok());
    let brim = Brim::configured(&text(&[("stays", &stays, ""), ("moves", &before, "")]));
    let mut client = Client::connect(brim.address());
    for name in ["stays", "moves"] {
        assert_eq!(ask(&mut client, name, "/1"), 200);
    }
    // Another position is no change.
    let new = Origin::ok();
    brim.reloaded(&text(&[("new", &new, ""), ("moves", &after, ""), ("stays", &stays, "")]));
    for name in ["stays", "moves", "new"] {
        assert_eq!(ask(&mut client, name, "/2"), 200, "{name}");
    }
    assert_eq!((stays.connections(), stays.requests()), (1, 2));
    assert_eq!((before.requests(), after.requests(), new.requests()), (1, 1, 1));
    // Nor is another fallback.
    brim.reloaded(&text(&[("stays", &stays, "fallback = 'new'"), ("new", &new, "")]));
    assert_eq!(ask(&mut client, "stays", "/3"), 200);
    assert_eq!((stays.connections(), stays.requests()), (1, 3));
    brim.reloaded(&text(&[("stays", &stays, "read_timeout = '9s'"), ("new", &new, "")]));
    assert_eq!(ask(&mut client, "stays", "/4"), 200);
    assert_eq!(stays.connections(), 2);
}

#[test]
fn fallbacks_and_parents_are_those_of_the_new_positions() {
    let (first, second) =
        (Origin::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), Origin::ok());
    let lines = "fallback = 'second'\nfallback_statuses = [503]";
    let brim = Brim::configured(&text(&[("first", &first, ""), ("second", &second, "")]));
    let mut client = Client::connect(brim.address());
    assert_eq!(ask(&mut client, "first", "/1"), 503);
    let unused = Origin::ok();
    brim.reloaded(&text(&[
        ("unused", &unused, ""),
        ("second", &second, ""),
        ("first", &first, lines),
    ]));
    assert_eq!(ask(&mut client, "first", "/2"), 200);
    brim.reloaded(&text(&[("first", &first, lines), ("second", &second, "")]));
    assert_eq!(ask(&mut client, "first", "/3"), 200);
    assert_eq!((unused.requests(), first.requests(), second.requests()), (0, 3, 2));
}

#[test]
fn a_request_is_brought_to_its_end_where_it_began() {
    let (gate, origin) = gated();
    let after = Origin::answering(ok_with("Cache-Control: max-age=60\r\n", "new"));
    let brim = Brim::configured(&text(&[("a", &origin, "")]));
    let address = brim.address();
    let waits = thread::spawn(move || Client::connect(address).ask(get("/slow")).text());
    origin.wait_for_requests(1);
    brim.reloaded(&text(&[("a", &after, "")]));
    // Nobody who comes now waits for an origin that is not asked any more.
    assert_eq!(Client::connect(brim.address()).ask(get("/slow")).text(), "new");
    brim.reloaded(&text(&[("b", &after, "")]));
    assert_eq!(Client::connect(brim.address()).ask(get("/slow")).status, 421);
    gate.add_one();
    assert_eq!(waits.join().expect("answered"), "old");
    // What came later is not overtaken by what came before.
    brim.reloaded(&text(&[("a", &after, "")]));
    assert_eq!(Client::connect(brim.address()).ask(get("/slow")).text(), "new");
}

/// An origin that answers when the gate is open.
fn gated() -> (Gate, Origin) {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |peer| {
        while peer.head().is_some() {
            opened.wait_for(1);
            peer.send(ok_with("Cache-Control: max-age=60\r\n", "old"));
        }
    });
    (gate, origin)
}

#[test]
fn health_checks_follow_the_configuration() {
    let (one, two) = (Origin::ok(), Origin::ok());
    let checked = "[origin.health]\npath = '/health'\ninterval = '10ms'";
    let brim = Brim::configured(&text(&[("one", &one, ""), ("two", &two, checked)]));
    two.wait_for_requests(3);
    assert_eq!(one.requests(), 0);
    brim.reloaded(&text(&[("one", &one, checked), ("two", &two, "")]));
    one.wait_for_requests(3);
    let before = two.requests();
    let now = one.requests();
    one.wait_for_requests(now + 5);
    // One may have been on its way.
    assert!(two.requests() <= before + 1, "{} after {before}", two.requests());
    let series = |origin: &str, of: &Origin| {
        format!(
            "brim_origin_checks_total{{origin=\"{origin}\",result=\"good\",server=\"{}\"}}",
            of.address()
        )
    };
    assert!(brim.metric(&series("one", &one)) > 0 && brim.metric(&series("two", &two)) > 0);
}

#[test]
fn what_is_known_about_servers_that_stay_is_not_forgotten() {
    let sick = Origin::answering("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
    let checked = "[origin.health]\npath = '/'\ninterval = '10ms'\nunhealthy = 2";
    let other = Origin::ok();
    let brim = Brim::configured(&text(&[("sick", &sick, checked)]));
    let up = format!("brim_origin_server_up{{origin=\"sick\",server=\"{}\"}}", sick.address());
    brim.wait_until(&up, |up| up == 0);
    brim.reloaded(&text(&[("other", &other, ""), ("sick", &sick, checked)]));
    assert_eq!(brim.metric(&up), 0);
    let ready = Client::connect(brim.admin()).ask(get("/readyz")).text();
    assert!(ready.contains("degraded: origin sick"), "{ready}");
    let origins = brim.operator().get("/origins");
    assert_eq!(origins["origins"][0]["name"], "other");
    assert_eq!(origins["origins"][1]["servers"][0]["state"], "down");
    // A server that is gone is told of no more.
    brim.reloaded(&text(&[("other", &other, "")]));
    let metrics = Client::connect(brim.admin()).ask(get("/metrics")).text();
    assert!(!metrics.contains(&up), "{metrics}");
    assert!(metrics.contains("brim_origin_checks_total{origin=\"sick\""), "{metrics}");
}

#[test]
fn sites_and_origins_are_counted_by_name_wherever_they_stand() {
    let (a, b) = (Origin::answering(OK), Origin::answering(OK));
    let brim = Brim::configured(&text(&[("a", &a, ""), ("b", &b, "")]));
    let mut client = Client::connect(brim.address());
    let passed =
        |site: &str| format!("brim_requests_total{{outcome=\"miss\",site=\"{site}.test\"}}");
    let answered = |origin: &str| {
        format!("brim_origin_requests_total{{origin=\"{origin}\",status_class=\"2xx\"}}")
    };
    for round in 1..4 {
        for (name, times) in [("a", 1), ("b", 2)] {
            for time in 0..times {
                assert_eq!(ask(&mut client, name, &format!("/{round}/{time}")), 200);
            }
        }
        for (name, times) in [("a", round), ("b", 2 * round)] {
            // It is counted when its answer is out.
            brim.wait_until(&passed(name), |count| count == times);
            assert_eq!(brim.metric(&answered(name)), times);
        }
        match round {
            1 => brim.reloaded(&text(&[("b", &b, ""), ("a", &a, "")])),
            _ => brim.reloaded(&text(&[("c", &a, ""), ("a", &a, ""), ("b", &b, "")])),
        };
    }
    assert_eq!(brim.metric(&passed("c")), 0);
}
