//! The access log: every line whole and in its place, and never in anybody's way.

use crate::kit::{Brim, Client, Http2Client, NOBODY, Origin, PATIENCE, get, get_with, ok_with};
use rustix::fs::{CWD, FileType, Mode};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const KEPT: &str = "Cache-Control: max-age=60\r\n";

fn logging(origin: impl ToString, log: &str, server: &str) -> String {
    format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = true }}]\n{server}\n[log]\n{log}\n\
         [[origin]]\nname = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['a.test']\n\
         origin = 'o'\n[[site.rule]]\npath = '/pass*'\ncache = false\n",
        origin.to_string()
    )
}

/// Waits for something that nobody signals.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_line_tells_where_an_answer_came_from_and_when() {
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let brim = Brim::configured(&logging(origin.address(), "", ""));
    let mut client = Client::connect(brim.address());
    assert_eq!(client.ask(get_with("/one", "Referer: http://b.test/\r\n")).status, 200);
    assert_eq!(client.ask(get("/one")).status, 200);
    assert_eq!(client.ask(get("/pass")).status, 200);

    let miss = json(&brim.access_log("\"outcome\":\"miss\""));
    assert_eq!((&miss["site"], &miss["reason"]), (&"a.test".into(), &"uri-miss".into()));
    assert_eq!((&miss["referer"], &miss["tier"]), (&"http://b.test/".into(), &Value::Null));
    assert!(miss["origin_ms"].as_f64() <= miss["first_byte_ms"].as_f64(), "{miss}");
    assert!(miss["first_byte_ms"].as_f64() <= miss["duration_ms"].as_f64(), "{miss}");
    let hit = json(&brim.access_log("\"outcome\":\"hit\""));
    assert_eq!((&hit["tier"], &hit["origin_ms"]), (&"memory".into(), &Value::Null));
    assert!(hit["first_byte_ms"].is_f64() && hit["bytes"].as_u64() > Some(5), "{hit}");
    let ids: HashSet<_> = [&miss, &hit].map(|line| line["request_id"].to_string()).into();
    assert_eq!(ids.len(), 2);
    let pass = json(&brim.access_log("/pass"));
    assert!(pass["first_byte_ms"].is_f64() && pass["origin_ms"].is_f64(), "{pass}");

    assert_eq!(brim.metric("brim_hits_total{tier=\"memory\"}"), 1);
    assert_eq!(brim.metric("brim_hits_total{tier=\"disk\"}"), 0);
    assert_eq!(brim.metric("brim_first_byte_seconds_count"), 3);
    let bytes = |line: &Value| line["bytes"].as_u64().expect("bytes");
    let sent = brim.metric("brim_sent_bytes_total{site=\"a.test\"}");
    assert_eq!(sent, bytes(&miss) + bytes(&hit) + bytes(&pass));
}

#[test]
fn what_was_read_from_the_disk_says_so() {
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    for _ in 0..2 {
        assert_eq!(client.ask(get("/a")).status, 200);
    }
    brim.wait_for_metric("brim_disk_writes_total", 1);
    drop(client);
    let brim = brim.again_after(Signal::TERM);
    assert_eq!(Client::connect(brim.address()).ask(get("/a")).status, 200);
    assert_eq!(json(&brim.access_log("\"outcome\":\"hit\""))["tier"], "disk");
    assert_eq!(brim.metric("brim_hits_total{tier=\"disk\"}"), 1);
}

#[test]
fn answers_that_are_not_kept_are_counted_by_why_not() {
    let origin = Origin::serving(|head, _| match head {
        _ if head.contains("/private") => ok_with("Cache-Control: private\r\n", ""),
        _ if head.contains("/no-store") => ok_with("Cache-Control: no-store\r\n", ""),
        _ => ok_with(KEPT, ""),
    });
    let brim = Brim::in_front_of(origin.address());
    let text = Client::connect(brim.admin()).ask(get("/metrics")).text();
    assert!(text.contains("\nbrim_unstored_total{reason=\"too-many-tags\"} 0\n"));
    let mut client = Client::connect(brim.address());
    for path in ["/private", "/no-store", "/no-store", "/kept"] {
        assert_eq!(client.ask(get(path)).status, 200);
    }
    assert_eq!(brim.metric("brim_unstored_total{reason=\"private\"}"), 1);
    assert_eq!(brim.metric("brim_unstored_total{reason=\"no-store\"}"), 2);
}

#[test]
fn the_other_formats_are_written_as_they_are_asked_for() {
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let brim = Brim::configured(&logging(origin.address(), "format = 'combined'", ""));
    let mut client = Client::connect(brim.address());
    let lines = "User-Agent: \"\\ \u{e9}\t.\r\nReferer: x\r\n";
    assert_eq!(client.ask(get_with("/a?b", lines)).status, 200);
    let line = brim.access_log("GET /a?b");
    let (before, behind) = line.split_once('[').expect("a time");
    assert_eq!(before, "127.0.0.1 - - ");
    let (_, behind) = behind.split_once("] ").expect("a time");
    assert_eq!(behind, r#""GET /a?b HTTP/1.1" 200 5 "x" "\x22\x5C \xC3\xA9\x09.""#);
    let client = Http2Client::connect(brim.address());
    assert_eq!(client.get("/h2").status, 200);
    assert!(brim.access_log("GET /h2").contains(r#""GET /h2 HTTP/2.0" 200 5 "-" "-""#));

    let template = "format = '{{{status} {tier} {field:X-A} {outcome}}} {target}'";
    let brim = Brim::configured(&logging(origin.address(), template, ""));
    let mut client = Client::connect(brim.address());
    client.ask(get_with("/a", "X-A: 1\r\n"));
    client.ask(get("/a"));
    assert_eq!(brim.access_log(" miss"), "{200 - 1 miss} /a");
    assert_eq!(brim.access_log(" hit"), "{200 memory - hit} /a");
}

/// Whatever a client sends, there is one line for it, and others are none of its making.
#[test]
fn no_request_writes_a_line_of_its_own_making() {
    for (format, name) in
        [("json", "\"status\""), ("combined", " HTTP/1."), ("{client} {field:user-agent}", "127.")]
    {
        let brim =
            Brim::configured(&logging(NOBODY, &format!("format = '{format}'\naccess = 'log'"), ""));
        let mut sent = 0;
        for hostile in [
            "\"} {\"forged\":1}",
            "a\\",
            "\x0b\x0cforged",
            "\u{85}forged",
            "\u{2028}forged",
            "\x1b[2Jforged",
        ] {
            let mut client = Client::connect(brim.address());
            client.ask(get_with("/a", &format!("User-Agent: {hostile}\r\nReferer: {hostile}\r\n")));
            sent += 1;
        }
        let file = brim.folder().join("log");
        until("all lines", || text(&file).lines().count() >= sent);
        let log = text(&file);
        assert_eq!(log.lines().count(), sent, "{log}");
        for line in log.lines() {
            // Those that are refused have no head, and say so.
            assert!(line.contains(name) || line.contains("\"-\""), "{line}");
            assert!(
                !line.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')),
                "{line}"
            );
            if format == "json" {
                assert!(json(line).get("forged").is_none(), "{line}");
            }
        }
    }
}

#[test]
fn a_file_that_is_moved_away_loses_no_line_under_load() {
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let brim = Brim::configured(&logging(origin.address(), "access = 'access.log'", ""));
    let (current, address) = (brim.folder().join("access.log"), brim.address());
    let is_over = AtomicBool::new(false);
    let moved = |number: usize| -> PathBuf { brim.folder().join(format!("access.log.{number}")) };
    let asked: Vec<usize> = std::thread::scope(|scope| {
        let ask = |name: usize| {
            let is_over = &is_over;
            move || {
                let (mut client, mut count) = (Client::connect(address), 0);
                while !is_over.load(Ordering::Relaxed) {
                    let line = format!("User-Agent: client {name} request {count} end\r\n");
                    assert_eq!(client.ask(get_with("/a", &line)).status, 200);
                    count += 1;
                }
                count
            }
        };
        let clients: Vec<_> = (0..3).map(|name| scope.spawn(ask(name))).collect();
        for number in 0..8 {
            until("lines", || !text(&current).is_empty());
            fs::rename(&current, moved(number)).expect("moved");
            brim.signal(Signal::HUP);
            until("a new file", || current.exists());
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    let sum: usize = asked.iter().sum();
    let files = || (0..8).map(moved).chain([current.clone()]);
    let lines = || files().map(|file| text(&file)).collect::<String>();
    until("all lines", || lines().lines().count() >= sum);
    let agents: HashSet<String> =
        lines().lines().map(|line| json(line)["user_agent"].to_string()).collect();
    assert_eq!((agents.len(), lines().lines().count()), (sum, sum));
    for (name, count) in asked.into_iter().enumerate() {
        for request in 0..count {
            let agent = format!("\"client {name} request {request} end\"");
            assert!(agents.contains(&agent), "{agent} is lost");
        }
    }
    assert_eq!(brim.metric("brim_access_log_dropped_lines_total"), 0);
}

#[test]
fn a_pipe_that_nobody_reads_costs_lines_and_no_request() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    let log = format!("access = '{}'", pipe.display());
    // Without anybody at its other end it is not even opened.
    let file = folder.path().join("edge.toml");
    fs::write(&file, logging(NOBODY, &log, "admin = '127.0.0.1:0'")).expect("written");
    let refused = crate::kit::Command::run(&["run", "--config", file.to_str().expect("a path")]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains(pipe.to_str().expect("a path")), "{}", refused.stderr);

    let _end = OpenOptions::new().read(true).write(true).open(&pipe).expect("opened");
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let mut brim = Brim::configured(&logging(origin.address(), &log, ""));
    let mut client = Client::connect(brim.address());
    let agent = format!("User-Agent: {}\r\n", "x".repeat(16 * 1024));
    // More than the pipe and the queue hold.
    for _ in 0..400 {
        assert_eq!(client.ask(get_with("/a", &agent)).status, 200);
    }
    assert!(brim.metric("brim_access_log_dropped_lines_total") > 0);
    brim.error_log("the access log is written too slowly");
    assert_eq!(brim.error_log_count("the access log is written too slowly"), 1);
    assert_eq!(client.ask(get("/a")).status, 200);
    brim.signal(Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
}

#[test]
fn a_full_disk_is_told_once_and_what_waits_is_written_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let (link, room) = (folder.path().join("access.log"), folder.path().join("room"));
    std::os::unix::fs::symlink("/dev/full", &link).expect("linked");
    let log = format!("access = '{}'", link.display());
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let brim = Brim::configured(&logging(origin.address(), &log, ""));
    let mut client = Client::connect(brim.address());
    for _ in 0..50 {
        assert_eq!(client.ask(get("/a")).status, 200);
    }
    brim.error_log("the access log cannot be written");
    for _ in 0..50 {
        assert_eq!(client.ask(get("/a")).status, 200);
    }
    fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink(&room, &link).expect("linked");
    brim.signal(Signal::HUP);
    until("all lines", || text(&room).lines().count() >= 100);
    assert_eq!(text(&room).lines().map(json).filter(|line| line["target"] == "/a").count(), 100);
    brim.error_log("the access log is written again");
    assert_eq!(brim.error_log_count("the access log cannot be written"), 1);
    assert_eq!(brim.metric("brim_access_log_dropped_lines_total"), 0);
}

#[test]
fn a_file_that_cannot_be_opened_again_is_told_of_and_the_old_one_goes_on() {
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("logs");
    fs::create_dir(&inner).expect("made");
    let log = format!("access = '{}'", inner.join("access.log").display());
    let brim = Brim::configured(&logging(origin.address(), &log, ""));
    fs::rename(&inner, folder.path().join("away")).expect("moved");
    brim.signal(Signal::HUP);
    brim.error_log("the access log cannot be reopened");
    assert_eq!(Client::connect(brim.address()).ask(get("/a")).status, 200);
    let moved = folder.path().join("away/access.log");
    until("the line", || text(&moved).lines().count() == 1);
}

#[test]
fn a_sample_leaves_out_what_went_well_and_nothing_else() {
    let origin = Origin::serving(|head, _| match head {
        _ if head.contains("/pass-bad") => {
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        _ => ok_with(KEPT, "hello"),
    });
    let brim = Brim::configured(&logging(origin.address(), "sample = 0\naccess = 'log'", ""));
    let mut client = Client::connect(brim.address());
    for _ in 0..50 {
        assert_eq!(client.ask(get("/good")).status, 200);
        assert_eq!(client.ask(get("/pass-bad")).status, 500);
    }
    assert_eq!(client.ask("GET /x HTTP/1.1\r\nHost: b.test\r\n\r\n").status, 421);
    let file = brim.folder().join("log");
    until("errors", || text(&file).lines().count() >= 51);
    let log = text(&file);
    assert_eq!(log.lines().count(), 51);
    assert_eq!(log.lines().filter(|line| line.contains("/pass-bad")).count(), 50);
    assert_eq!(brim.metric("brim_requests_total{outcome=\"hit\",site=\"a.test\"}"), 49);
}

/// With a trace, each server on its way comes to the same, if whoever names it is believed.
#[test]
fn a_sample_goes_by_the_trace_of_a_trusted_proxy() {
    let origin = Origin::answering(ok_with(KEPT, "hello"));
    let traced = |last: &str| {
        let line = format!("traceparent: 00-0af7651916cd43dd84{last}-b7ad6b7169203331-00\r\n");
        get_with(&format!("/{last}"), &line)
    };
    let (low, high) = ("00000000000001", "ffffffffffffff");
    let ask = |brim: SocketAddr| {
        let mut client = Client::connect(brim);
        for _ in 0..64 {
            client.ask(traced(low));
            client.ask(traced(high));
        }
        client.ask("GET /x HTTP/1.1\r\nHost: b.test\r\n\r\n");
    };
    let trusted = "trusted_proxies = ['127.0.0.1']";
    let log = "sample = 0.5\naccess = 'log'";
    let brim = Brim::configured(&logging(origin.address(), log, trusted));
    ask(brim.address());
    let file = brim.folder().join("log");
    until("the last one", || text(&file).contains("no_site"));
    let count = |file: &Path, word: &str| text(file).matches(&format!("\"/{word}\"")).count();
    assert_eq!((count(&file, low), count(&file, high)), (64, 0));

    // Of a stranger all lines of a trace are there or none, and which it is nobody can choose.
    let brim = Brim::configured(&logging(origin.address(), log, ""));
    ask(brim.address());
    let file = brim.folder().join("log");
    until("the last one", || text(&file).contains("no_site"));
    for word in [low, high] {
        assert!(matches!(count(&file, word), 0 | 64), "{}", count(&file, word));
    }
}
