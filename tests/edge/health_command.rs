//! `brim health`, as container runtimes call it, and what the metrics tell of the process.

use crate::kit::{Brim, Client, Command, Origin, get};
use rustix::process::Signal;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn an_edge_that_takes_requests_is_well_and_needs_no_token() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let admin = format!("http://{}", brim.admin());
    let nowhere = ["health", "--config", "/nowhere/edge.toml", "--admin", &admin];
    let told = Command::run(&nowhere);
    assert_eq!((told.code, &*told.stdout, &*told.stderr), (Some(0), "ready\n", ""));
    let alive = Command::run(&[&nowhere[..], &["--live"]].concat());
    assert_eq!((alive.code, &*alive.stdout, &*alive.stderr), (Some(0), "ok\n", ""));
}

#[test]
fn the_admin_listener_is_that_of_the_configuration() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let file = brim.folder().join("edge-of-health.toml");
    let text = "[[origin]]\nname = \"o\"\nservers = [\"http://127.0.0.1:1\"]\n\
                [[site]]\nhosts = [\"*\"]\norigin = \"o\"\n";
    let path = file.to_str().expect("a path");
    fs::write(&file, format!("[server]\nadmin = \"{}\"\n{text}", brim.admin())).expect("written");
    assert_eq!(Command::run(&["health", "--config", path]).code, Some(0));
    fs::write(&file, "[server]\nadmin = 1\n").expect("written");
    let bad = Command::run(&["health", "--config", path]);
    assert_eq!((bad.code, &*bad.stdout), (Some(1), ""));
    assert!(bad.stderr.contains("brim check --config"), "{}", bad.stderr);
}

#[test]
fn who_is_not_there_is_not_well() {
    let told = Command::run(&["health", "--admin", "http://127.0.0.1:1"]);
    assert_eq!((told.code, &*told.stdout), (Some(1), ""));
    let line = "brim: no answer from the edge at 127.0.0.1:1: ";
    assert!(told.stderr.starts_with(line), "{}", told.stderr);
    assert_eq!(Command::run(&["health", "--admin", "127.0.0.1:1"]).code, Some(2));
}

#[test]
fn an_edge_that_shuts_down_lives_and_is_not_well() {
    let (origin, answer, was_asked) = Origin::waiting();
    let mut brim = Brim::in_front_of(origin.address());
    let mut busy = Client::connect(brim.address());
    busy.send(get("/"));
    was_asked.recv().expect("asked");
    brim.signal(Signal::TERM);
    brim.error_log("shutting down");
    let admin = format!("http://{}", brim.admin());
    let told = Command::run(&["health", "--admin", &admin]);
    assert_eq!((told.code, &*told.stdout), (Some(1), ""));
    assert!(told.stderr.ends_with(" answers with 503: shutting down\n"), "{}", told.stderr);
    assert_eq!(Command::run(&["health", "--live", "--admin", &admin]).code, Some(0));
    answer.send(()).expect("the origin waits");
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn the_process_tells_of_itself_from_the_first_scrape() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(brim.metric(&format!("brim_build_info{{version=\"{version}\"}}")), 1);
    assert!(brim.metric("process_open_fds") > 3);
    assert!(brim.metric("process_open_fds") < brim.metric("process_max_fds"));
    assert!(brim.metric("process_resident_memory_bytes") > 1 << 20);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let started = brim.metric("process_start_time_seconds");
    assert!((now - 60..=now + 1).contains(&started), "{started} at {now}");
}
