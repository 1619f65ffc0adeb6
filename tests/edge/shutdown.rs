//! Starting and stopping.

use crate::kit::{Brim, Client, Command, Origin, get};
use rustix::process::Signal;
use std::net::{TcpListener, TcpStream};

#[test]
fn running_requests_finish_and_the_process_exits_with_zero() {
    for signal in [Signal::TERM, Signal::INT] {
        let (origin, answer, was_asked) = Origin::waiting();
        let mut brim = Brim::in_front_of(origin.address());
        let mut idle = Client::connect(brim.address());
        let mut busy = Client::connect(brim.address());
        busy.send(get("/"));
        was_asked.recv().expect("asked");
        brim.signal(signal);
        // Idle connections go at once, new ones are not taken, the busy one is waited for.
        idle.is_closed();
        brim.error_log("shutting down");
        while TcpStream::connect(brim.address()).is_ok() {
            std::thread::yield_now();
        }
        assert!(brim.is_running());
        answer.send(()).expect("the origin waits");
        let got = busy.answer();
        assert_eq!((got.text().as_str(), got.field("connection")), ("ok", Some("close")));
        busy.is_closed();
        assert_eq!(brim.wait().code(), Some(0), "{signal:?}");
    }
}

#[test]
fn the_wait_for_running_requests_is_bounded() {
    let (origin, _answer, was_asked) = Origin::waiting();
    let mut brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\nshutdown_timeout = '300ms'\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut busy = Client::connect(brim.address());
    busy.send(get("/"));
    was_asked.recv().expect("asked");
    brim.signal(Signal::TERM);
    busy.is_closed();
    assert_eq!(brim.wait().code(), Some(0));
    brim.error_log("the time for running requests is over");
    assert!(brim.access_log("a.test").contains("\"reason\":\"cut_off\""));
}

#[test]
fn a_second_signal_does_not_wait() {
    let (origin, _answer, was_asked) = Origin::waiting();
    let mut brim = Brim::in_front_of(origin.address());
    let mut busy = Client::connect(brim.address());
    busy.send(get("/"));
    was_asked.recv().expect("asked");
    brim.signal(Signal::TERM);
    brim.error_log("shutting down");
    brim.signal(Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn the_access_log_is_complete_when_the_process_has_ended() {
    let origin = Origin::ok();
    let mut brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[log]\naccess = 'access.log'\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    ));
    let mut client = Client::connect(brim.address());
    for turn in 0..500 {
        client.ask(get(&format!("/{turn}")));
    }
    brim.signal(Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
    // The path is relative to the configuration file.
    let log = std::fs::read_to_string(brim.folder().join("access.log")).expect("a log");
    assert_eq!(log.lines().count(), 500);
}

#[test]
fn a_listener_that_cannot_bind_fails_the_start_with_one_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0', '{address}']\n[[origin]]\nname = 'o'\n\
         servers = ['http://127.0.0.1:9']\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    std::fs::write(&file, text).expect("written");
    let finished = Command::run(&["run", "--config", file.to_str().expect("a path")]);
    assert_eq!(finished.code, Some(1));
    let line = format!("brim: cannot listen on {address}: Address already in use (os error 98)\n");
    assert_eq!(finished.stderr, line);
}

#[test]
fn a_busy_demo_port_is_one_clear_line_too() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let finished = Command::run(&["demo", "--listen", &address]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.starts_with(&format!("brim: cannot listen on {address}: ")));
    assert_eq!(finished.stderr.lines().count(), 1, "{}", finished.stderr);
    assert_eq!(finished.stdout, "");
}

#[test]
fn a_log_that_nobody_reads_holds_up_neither_requests_nor_the_exit() {
    let mut brim = Brim::unread(crate::kit::NOBODY);
    let mut client = Client::connect(brim.address());
    // Far more lines, on both outputs, than a pipe holds.
    let path = format!("/{}", "x".repeat(200));
    for _ in 0..2000 {
        assert_eq!(client.ask(get(&path)).status, 502);
    }
    brim.signal(Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn both_families_can_be_listened_on_at_one_port() {
    // Free for IPv6, and nobody else in the tests uses that IPv4 address.
    let free = TcpListener::bind("[::1]:0").expect("bound");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let brim = Brim::configured(&format!(
        "[server]\nhttp = ['127.0.0.78:{port}', '[::]:{port}']\n[[origin]]\nname = 'o'\n\
         servers = ['http://127.0.0.1:9']\n[[site]]\nhosts = ['a.test']\norigin = 'o'\n"
    ));
    brim.error_log(&format!("listening address=[::]:{port}"));
    for address in [format!("127.0.0.78:{port}"), format!("[::1]:{port}")] {
        let mut client = Client::connect(address.parse().expect("an address"));
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").status, 421);
    }
}
