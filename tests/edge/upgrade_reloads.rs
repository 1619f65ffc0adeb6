//! Upgrades, reloads and the end of a process at the same time.

use crate::kit::operator::request;
use crate::kit::successors::signal;
use crate::kit::{Brim, Client, Gate, Origin, PATIENCE, get, ok_with};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// Takes the next message from the old process.
const TAKE: &str = "dd bs=300000 count=1 2>/dev/null >/dev/null";
const READY: &str = r#"printf '{"tells":"ready","version":"2"}' >&0"#;
const ACCEPTING: &str = r#"printf '{"tells":"accepting"}' >&0"#;

fn configuration(origin: SocketAddr) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[log]\naccess = 'access.log'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    )
}

fn edge() -> (Origin, Brim) {
    let origin = Origin::serving(|_, _| ok_with("", "x"));
    let mut brim = Brim::of_binary(&configuration(origin.address()));
    brim.expects_successors();
    (origin, brim)
}

fn wait_for(file: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < deadline, "there is no {}", file.display());
        thread::yield_now();
    }
}

fn upgrade(brim: &Brim) -> JoinHandle<u16> {
    let operator = brim.operator();
    thread::spawn(move || operator.ask("POST", "/upgrade", "").status)
}

#[test]
fn what_is_read_again_while_a_new_process_starts_that_reads_again_too() {
    let (_origin, brim) = edge();
    let at = |name: &str| brim.folder().join(name);
    let (waits, go, told) = (at("waits"), at("go"), at("told"));
    brim.replace_binary_by(&format!(
        "trap 'touch {told}' HUP\n{TAKE}; {TAKE}; {TAKE}; {READY}; {TAKE}\nmkfifo {go}\n\
         touch {waits}\nread go < {go}\n{ACCEPTING}\nwhile :; do sleep 0.02; done",
        told = told.display(),
        waits = waits.display(),
        go = go.display(),
    ));
    let upgrade = upgrade(&brim);
    wait_for(&waits);
    brim.reconfigure(|text| text + "forward = ['X-HTTP-Method-Override']\n");
    assert_eq!(brim.operator().ask("POST", "/reload", "").status, 200);
    std::fs::write(&go, "go\n").expect("told");
    assert_eq!(upgrade.join().expect("an answer"), 200);
    wait_for(&told);
}

#[test]
fn a_process_from_which_another_has_taken_over_goes_on_in_a_new_log_and_reads_nothing_else() {
    let (gate, origin_gate) = (Gate::default(), Gate::default());
    let (held, opened) = (gate.clone(), origin_gate.clone());
    let origin = Origin::serving(move |head, _| {
        if head.starts_with("GET /slow ") {
            held.add_one();
            opened.wait_for(1);
        }
        ok_with("Cache-Control: no-store\r\n", "x")
    });
    let mut brim = Brim::of_binary(&configuration(origin.address()));
    let address = brim.address();
    let slow = thread::spawn(move || Client::connect(address).ask(get("/slow")));
    gate.wait_for(1);
    let (mut operator, old) = (Client::connect(brim.admin()), brim.pid());
    assert_eq!(operator.ask(get("/healthz")).status, 200);
    brim.upgrade();
    let authorization = format!("Bearer {}", brim.token());
    let answer = operator.ask(request("POST", "/reload", &authorization, ""));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("another process has taken over"), "{}", answer.text());
    let log = brim.folder().join("access.log");
    std::fs::rename(&log, brim.folder().join("access.log.1")).expect("moved");
    signal(old, Signal::HUP);
    wait_for(&log);
    // The first of these does not cut off what runs.
    signal(old, Signal::TERM);
    brim.error_log("running requests are waited for already");
    origin_gate.add_one();
    let answer = slow.join().expect("an answer");
    assert_eq!((answer.status, answer.is_whole), (200, true));
    assert_eq!(brim.wait().code(), Some(0));
    assert!(std::fs::read_to_string(&log).expect("a log").contains("/slow"));
    assert!(brim.error_log_so_far("a second signal").is_none());
}

#[test]
fn whoever_waits_for_a_new_process_does_not_hold_up_the_end_of_the_old_one() {
    let (_origin, mut brim) = edge();
    let waits = brim.folder().join("waits");
    brim.replace_binary_by(&format!("{TAKE}; touch {}; exec sleep 1000", waits.display()));
    let upgrade = upgrade(&brim);
    wait_for(&waits);
    brim.signal(Signal::TERM);
    assert_eq!(upgrade.join().expect("an answer"), 503);
    brim.error_log("all requests have finished");
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn a_new_process_serves_where_the_old_one_dies_before_it_has_given_anything() {
    let (_origin, mut brim) = edge();
    let address = brim.address();
    brim.reconfigure(|text| {
        text.replace("http = ['127.0.0.1:0']", &format!("http = ['{address}']"))
    });
    brim.replace_binary_by(&format!(
        "kill -9 $PPID\nwhile grep -q \"^PPid:[^0-9]*$PPID\\$\" /proc/$$/status; do :; done\n\
         exec {} \"$@\"",
        env!("CARGO_BIN_EXE_brim")
    ));
    brim.signal(Signal::USR2);
    brim.wait();
    let deadline = Instant::now() + PATIENCE;
    // Until the new process listens, a connection may be refused, or wait at a socket that is closed.
    let asked = || {
        let mut client = Client::try_connect(address)?;
        client.try_send(get("/")).ok()?;
        client.try_answer()
    };
    let answer = loop {
        if let Some(answer) = asked() {
            break answer;
        }
        assert!(Instant::now() < deadline, "nobody serves");
        thread::yield_now();
    };
    assert_eq!(answer.status, 200);
}
