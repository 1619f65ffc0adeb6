//! Settings that change while lines are written.

use super::*;
use crate::config::{AccessLog as Place, ErrorFormat, LogPiece};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn settings(access: Place, text: &str) -> config::Log {
    config::Log {
        access,
        format: LogFormat::Template(vec![LogPiece::Text(text.to_owned())]),
        sample: 1.0,
        level: tracing::Level::INFO.into(),
        error_format: ErrorFormat::Text,
    }
}

fn file(folder: &TempDir, name: &str) -> Place {
    Place::File(folder.path().join(name))
}

fn lines(folder: &TempDir, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn write_one(log: &AccessLog) {
    drop(log.begin(Record::new(SystemTime::now(), Ipv4Addr::LOCALHOST.into(), None)));
}

#[test]
fn target_and_format_change_and_a_bad_target_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = Metrics::new(&[], &[]);
    let (log, writer) =
        AccessLog::open(&settings(file(&folder, "a"), "1"), metrics).expect("a log");
    write_one(&log);
    log.apply(&settings(file(&folder, "a"), "2")).expect("applied");
    write_one(&log);
    let nowhere = Place::File(Path::new("/nowhere/at/all").to_owned());
    let error = log.apply(&settings(nowhere, "bad")).expect_err("nowhere");
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    write_one(&log);
    log.apply(&settings(Place::Off, "off")).expect("applied");
    write_one(&log);
    log.apply(&settings(file(&folder, "b"), "3")).expect("applied");
    write_one(&log);
    drop(writer);
    assert_eq!(lines(&folder, "a"), ["1", "2", "2"]);
    assert_eq!(lines(&folder, "b"), ["3"]);
}

#[test]
fn no_line_is_lost_while_targets_change_under_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = Metrics::new(&[], &[]);
    let (log, writer) =
        AccessLog::open(&settings(file(&folder, "0"), "line"), metrics).expect("a log");
    let is_over = AtomicBool::new(false);
    let written: usize = std::thread::scope(|scope| {
        let write = || {
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                write_one(&log);
                count += 1;
            }
            count
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(write)).collect();
        for target in 1..40 {
            log.apply(&settings(file(&folder, &(target % 4).to_string()), "line"))
                .expect("applied");
            log.reopen();
        }
        is_over.store(true, Ordering::Relaxed);
        threads.into_iter().map(|thread| thread.join().expect("a count")).sum()
    });
    drop(writer);
    let dropped = log.metrics().text();
    assert!(dropped.contains("\nbrim_access_log_dropped_lines_total 0\n"), "{dropped}");
    let all: Vec<_> = (0..4).flat_map(|name| lines(&folder, &name.to_string())).collect();
    assert!(all.iter().all(|line| line == "line"));
    assert_eq!(all.len(), written);
}
