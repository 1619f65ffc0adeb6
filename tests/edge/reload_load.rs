//! Many configurations come into force, one after the other, while clients ask all the time: nobody
//! notices.

use crate::kit::{Brim, Client, Http2Client, Origin, get, ok_with};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const RELOADS: usize = 30;

/// What a client saw: requests, and those that were answered out of the store.
#[derive(Clone, Copy, Default)]
struct Seen {
    requests: usize,
    hits: usize,
}

/// Asks for the same stored object and for something that is not stored until it is told to stop.
fn http1(brim: &Brim, stop: &Arc<AtomicBool>, turn: &Arc<AtomicUsize>) -> thread::JoinHandle<Seen> {
    let (address, stop, turn) = (brim.address(), stop.clone(), turn.clone());
    thread::spawn(move || {
        let (mut client, mut seen) = (Client::connect(address), Seen::default());
        while !stop.load(Ordering::SeqCst) {
            let hit = client.ask(get("/stored"));
            assert_eq!(hit.status, 200, "{}", hit.head);
            seen.hits += usize::from(hit.told().starts_with("brim; hit"));
            let number = turn.fetch_add(1, Ordering::SeqCst);
            let miss = client.ask(get(&format!("/other/{number}")));
            assert_eq!((miss.status, miss.text().as_str()), (200, "x"), "{}", miss.head);
            let passed =
                client.ask("POST /form HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
            assert_eq!(passed.status, 200, "{}", passed.head);
            seen.requests += 1;
        }
        seen
    })
}

fn http2(brim: &Brim, stop: &Arc<AtomicBool>, turn: &Arc<AtomicUsize>) -> thread::JoinHandle<Seen> {
    let (address, stop, turn) = (brim.address(), stop.clone(), turn.clone());
    thread::spawn(move || {
        let (client, mut seen) = (Http2Client::connect(address), Seen::default());
        while !stop.load(Ordering::SeqCst) {
            let number = turn.fetch_add(1, Ordering::SeqCst);
            let paths = ["/stored".to_owned(), format!("/other/{number}")];
            let answers = client.get_all(&paths);
            answers.iter().for_each(|answer| assert_eq!(answer.status, 200, "{answer:?}"));
            seen.hits += usize::from(answers[0].told() == "brim; hit");
            seen.requests += 1;
        }
        seen
    })
}

#[test]
fn no_request_fails_and_what_is_stored_stays_so_while_configurations_alternate() {
    let origin = Origin::serving(|_, _| ok_with("Cache-Control: max-age=600\r\n", "x"));
    let other = Origin::serving(|_, _| ok_with("Cache-Control: max-age=600\r\n", "x"));
    // Positions, servers, limits and rules are others each time.
    let versions = [
        format!(
            "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = true }}]\n\
             [[origin]]\nname = 'o'\nservers = ['http://{0}']\n\
             [[site]]\nhosts = ['a.test']\norigin = 'o'\n",
            origin.address()
        ),
        format!(
            "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = true }}]\n\
             [server.limits]\nfills = 1000\nconnections = 1000\n\
             [[origin]]\nname = 'p'\nservers = ['http://{1}']\n\
             [[origin]]\nname = 'o'\nservers = ['http://{1}', 'http://{0}']\nread_timeout = '9s'\n\
             [origin.health]\npath = '/'\ninterval = '50ms'\n\
             [[site]]\nhosts = ['b.test']\norigin = 'p'\n\
             [[site]]\nhosts = ['a.test']\norigin = 'o'\n\
             [[site.rule]]\npath = '/never'\ncache = false\n",
            origin.address(),
            other.address()
        ),
    ];
    let brim = Brim::configured(&versions[0]);
    Client::connect(brim.address()).ask(get("/stored"));
    let (stop, turn) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients = [
        http1(&brim, &stop, &turn),
        http1(&brim, &stop, &turn),
        http2(&brim, &stop, &turn),
        http2(&brim, &stop, &turn),
    ];
    for number in 1..=RELOADS {
        let before = turn.load(Ordering::SeqCst);
        let told = brim.reloaded(&versions[number % 2]);
        assert_ne!(told["changed"], serde_json::json!([]), "{number}");
        // All of them have asked under it.
        while turn.load(Ordering::SeqCst) < before + clients.len() {
            thread::yield_now();
        }
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let seen = client.join().expect("nothing failed");
        assert!(seen.requests > 0);
        assert_eq!(seen.hits, seen.requests);
    }
    assert_eq!(brim.metric("brim_reloads_total{result=\"good\"}"), RELOADS as u64);
    assert_eq!(brim.metric("brim_requests_total{outcome=\"error\",site=\"a.test\"}"), 0);
    assert_eq!(brim.metric("brim_panics_total"), 0);
}
