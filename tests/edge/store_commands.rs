//! `brim store`: what operators see of the folder of the disk tier, also while it is in use.

use crate::kit::{Brim, Client, Command, Finished, Origin, PATIENCE, get, get_with, ok_with};
use brim::store::disk::local::LocalFolder;
use brim::store::disk::{CHUNK_BYTES, Content, Disk, NOT_WRITTEN, Options};
use brim::store::purges::Scope;
use bytes::Bytes;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Instant, SystemTime};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A store, in use until it is closed.
struct Store {
    disk: Arc<Disk>,
    folder: TempDir,
    runtime: Runtime,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = Runtime::new().expect("a runtime");
        let local = Arc::new(LocalFolder::new(folder.path()));
        let disk = Disk::open(local, &Options { bytes: 64 << 20 }).expect("opened");
        Self { disk, folder, runtime }
    }

    /// One that has these, and is in use by nobody.
    fn with(entries: &[(&[u8], &[u8])]) -> Self {
        let store = Self::new();
        for (key, body) in entries {
            store.put(key, body);
        }
        store.settle();
        store.disk.close();
        store
    }

    fn put(&self, key: &[u8], body: &[u8]) {
        let content = Content {
            tags: Bytes::from_static(b"news\nstart page\n"),
            head: Bytes::from_static(b"HTTP/1.1 200 OK\r\n"),
            body: Bytes::copy_from_slice(body),
            asked: self.disk.next_sequence(),
        };
        let receipt = Arc::new(AtomicU32::new(NOT_WRITTEN));
        assert!(self.disk.put(key, content, &receipt), "the writer takes it");
    }

    fn settle(&self) {
        self.runtime.block_on(self.disk.settled());
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().expect("a path in UTF-8")
    }

    fn run(&self, command: &str, more: &[&str]) -> Finished {
        run(self.path(), command, more)
    }

    fn json(&self, command: &str) -> Vec<Value> {
        let finished = self.run(command, &["--json"]);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        finished.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Changes the only place where these bytes are.
    fn spoil(&self, bytes: &[u8]) -> String {
        for file in fs::read_dir(self.folder.path()).expect("a folder") {
            let path = file.expect("a file").path();
            let mut content = fs::read(&path).expect("read");
            let found = content.windows(bytes.len()).position(|window| window == bytes);
            if let Some(at) = found {
                content[at] ^= 1;
                fs::write(&path, content).expect("written");
                return path.file_name().expect("a name").to_string_lossy().into_owned();
            }
        }
        panic!("these bytes are in no file");
    }
}

fn run(path: &str, command: &str, more: &[&str]) -> Finished {
    Command::run(&[&["store", command, "--path", path], more].concat())
}

const A: (&[u8], &[u8]) = (b"*\na.test\n/style.css?v=1", b"body of a");
const B: (&[u8], &[u8]) = (b"*\nb.test:8080\n/", b"body of b");

#[test]
fn stat_counts_everything_and_each_segment() {
    let store = Store::new();
    store.put(A.0, A.1);
    store.put(B.0, B.1);
    let generation = store.disk.new_generation();
    let chunk = Bytes::from(vec![b'c'; usize::try_from(CHUNK_BYTES).expect("fits")]);
    assert!(store.disk.put_chunk(generation, 0, vec![chunk]));
    store.settle();
    store.disk.close();

    let stat = store.run("stat", &[]);
    assert_eq!(stat.code, Some(0), "{}", stat.stderr);
    assert!(stat.stdout.contains("2 entries and 1 chunk in 1 segment"), "{}", stat.stdout);
    let lines: Vec<&str> = stat.stdout.lines().collect();
    let names = lines.iter().position(|line| line.starts_with("segment")).expect("column names");
    assert!(lines[names + 1].contains("sealed"), "{}", stat.stdout);
    assert_eq!(lines[names].len(), lines[names + 1].len(), "columns align: {}", stat.stdout);

    let json = &store.json("stat")[0];
    assert_eq!((&json["entries"], &json["chunks"]), (&2.into(), &1.into()), "{json}");
    let segment = &json["segments"][0];
    assert_eq!((&segment["entries"], &segment["chunks"]), (&2.into(), &1.into()), "{json}");
    assert_eq!(segment["state"], "sealed");
    let live = segment["live_bytes"].as_u64().expect("a number");
    let file = segment["file_bytes"].as_u64().expect("a number");
    assert!(live > CHUNK_BYTES && live <= file, "{json}");
}

#[test]
fn stat_knows_what_was_replaced_and_removed() {
    let store = Store::new();
    for body in [&b"first"[..], b"second"] {
        store.put(A.0, body);
        store.settle();
    }
    store.put(B.0, B.1);
    store.settle();
    assert!(store.disk.remove(B.0));
    assert!(store.runtime.block_on(store.disk.removals_written()));
    let json = &store.json("stat")[0];
    assert_eq!(json["entries"], 1, "{json}");
    assert_eq!(json["segments"][0]["records"], 3, "{json}");
    let keys: Vec<_> = store.json("ls").iter().map(|entry| entry["key"].clone()).collect();
    assert_eq!(keys, ["* a.test/style.css?v=1"]);
    assert!(store.run("dump", &["* a.test/style.css?v=1"]).stdout.ends_with("\nsecond"));
    let dump = store.run("dump", &["http://b.test:8080/"]);
    assert_eq!(dump.code, Some(1), "what was removed is not shown: {}", dump.stdout);
}

#[test]
fn what_was_purged_by_rule_is_not_shown() {
    let store = Store::with(&[]);
    let stat = store.run("stat", &[]);
    assert!(!stat.stdout.contains("purged"), "{}", stat.stdout);
    let store = Store::new();
    store.put(A.0, A.1);
    store.put(B.0, B.1);
    store.settle();
    store.disk.purge(&[Scope::Prefix(b"*\na.test\n"[..].into())], None);
    store.disk.purge(&[Scope::Tag(b"\nnews"[..].into())], Some(SystemTime::now()));
    assert!(store.runtime.block_on(store.disk.removals_written()));
    for is_closed in [false, true] {
        let keys: Vec<_> = store.json("ls").iter().map(|entry| entry["key"].clone()).collect();
        assert_eq!(keys, ["* b.test:8080/"], "{is_closed}");
        for name in ["http://a.test/style.css?v=1", "* a.test/style.css?v=1"] {
            let dump = store.run("dump", &[name]);
            assert_eq!((dump.code, &dump.stdout[..]), (Some(1), ""));
            assert!(dump.stderr.contains("nothing is stored for"), "{}", dump.stderr);
        }
        assert!(store.run("dump", &["* b.test:8080/"]).stdout.ends_with("body of b"));
        assert_eq!(store.json("stat")[0]["rules"], 2);
        let stat = store.run("stat", &[]);
        assert!(stat.stdout.contains("\n2 rules of what was purged"), "{}", stat.stdout);
        assert_eq!(store.run("verify", &[]).code, Some(0), "what was purged is not bad");
        store.disk.close();
    }
}

#[test]
fn what_is_left_of_a_purged_entry_is_shown() {
    let origin = Origin::serving(|head, _| {
        let kind = if head.contains("X-Kind: fr") { "fr" } else { "en" };
        let fields = format!("Cache-Control: max-age=600\r\nSurrogate-Key: {kind}\r\n");
        ok_with(&format!("{fields}Vary: X-Kind\r\n"), kind)
    });
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    ask_twice(&mut client, &get_with("/varies", "X-Kind: fr\r\n"));
    ask_twice(&mut client, &get_with("/varies", "X-Kind: en\r\n"));
    brim.wait_for_metric("brim_cache_objects{tier=\"disk\"}", 1);
    let folder = brim.folder().join("disk");
    let path = folder.to_str().expect("a path in UTF-8");
    let url = "http://a.test/varies";
    let head = || run(path, "dump", &["--head", url]);
    let deadline = Instant::now() + PATIENCE;
    while !head().stdout.contains("# variant: 2 of 2") {
        assert!(Instant::now() < deadline, "{}", head().stdout);
    }
    let purge = |wish: &str| {
        let request = format!(
            "POST /purge HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{wish}",
            brim.token(),
            wish.len()
        );
        assert_eq!(Client::connect(brim.admin()).ask(request).status, 200);
    };
    purge("{\"tags\":[\"fr\"]}");
    let dump = run(path, "dump", &[url]);
    assert!(dump.stdout.ends_with("\n\nen"), "{}{}", dump.stdout, dump.stderr);
    assert!(head().stdout.contains(" of 600 seconds, fresh for "), "{}", head().stdout);
    purge("{\"tags\":[\"en\"],\"soft\":true}");
    assert!(head().stdout.contains(" seconds, stale for "), "{}", head().stdout);
    assert_eq!(run(path, "ls", &[]).stdout.lines().count(), 1);
    purge("{\"tags\":[\"en\"]}");
    assert_eq!(head().code, Some(1), "{}", head().stdout);
    assert_eq!(run(path, "ls", &[]).stdout, "");
}

#[test]
fn what_ls_shows_can_be_dumped() {
    let hostile: (&[u8], &[u8]) = (b"*\na.test\n/\x1b]0;x\x07\xff \\n", b"body of the hostile one");
    let other: (&[u8], &[u8]) = (b"of another make", b"body of the other one");
    let entries = [A, B, hostile, other];
    let store = Store::with(&entries);
    let ls = store.run("ls", &[]);
    assert_eq!(ls.code, Some(0), "{}", ls.stderr);
    assert_eq!(ls.stdout.lines().count(), entries.len());
    for (line, (_, body)) in ls.stdout.lines().zip(entries) {
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line:?}");
        let (_age, key) = line.trim_start().split_once("s  ").expect("bytes, age, key");
        let dump = store.run("dump", &[key]);
        assert_eq!(dump.code, Some(0), "{key}: {}", dump.stderr);
        let end = format!("\n\n{}", String::from_utf8_lossy(body));
        assert!(dump.stdout.ends_with(&end), "{key}: {}", dump.stdout);
        assert!(dump.stdout.contains("tag: start\\x20page\n"), "{}", dump.stdout);
    }
}

#[test]
fn ls_tells_machines_more() {
    let store = Store::with(&[A, B]);
    let entries = store.json("ls");
    assert_eq!(entries[1]["key"], "* b.test:8080/");
    assert_eq!(entries[1]["body_bytes"], B.1.len());
    assert_eq!(entries[1]["tags"], serde_json::json!(["news", "start\\x20page"]));
    assert!(entries[0]["sequence"].as_u64() < entries[1]["sequence"].as_u64());
}

#[test]
fn a_dump_of_the_head_has_no_body() {
    let store = Store::with(&[A]);
    let dump = store.run("dump", &["--head", "http://a.test/style.css?v=1"]);
    assert_eq!(dump.code, Some(0), "{}", dump.stderr);
    assert!(dump.stdout.contains("HTTP/1.1\\x20200\\x20OK"), "{}", dump.stdout);
    assert!(!dump.stdout.contains("body of a"), "{}", dump.stdout);
}

#[test]
fn a_body_is_dumped_byte_for_byte() {
    let body: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let store = Store::with(&[(A.0, &body)]);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_brim"))
        .args(["store", "dump", "--path", store.path(), "a.test/style.css?v=1"])
        .output()
        .expect("brim starts");
    assert!(output.status.success());
    assert!(output.stdout.ends_with(&[b"\n\n", &body[..]].concat()));
}

#[test]
fn a_url_that_can_mean_several_is_not_guessed() {
    let keys: [&[u8]; 4] =
        [b"one\na.test\n/x", b"two\na.test\n/x", b"two\na.test\n/y", b"two\na.test:8080\n/x"];
    let store = Store::with(&keys.map(|key| (key, key)));
    let dump = store.run("dump", &["http://A.test/x"]);
    assert_eq!(dump.code, Some(1));
    assert!(dump.stdout.is_empty(), "{}", dump.stdout);
    let named: Vec<&str> = dump.stderr.lines().skip(1).map(str::trim).collect();
    assert_eq!(named, ["one a.test/x", "two a.test/x"], "{}", dump.stderr);
    let dump = store.run("dump", &["http://a.test:8080/x"]);
    assert_eq!(dump.stderr.lines().count(), 4, "with and without the port: {}", dump.stderr);
    // Without quotes, the shell makes two words of it.
    assert_eq!(store.run("dump", &["two", "a.test/x"]).code, Some(0));
    let dump = store.run("dump", &["https://a.test/z"]);
    assert_eq!(dump.code, Some(1));
    assert!(dump.stderr.contains("nothing is stored for https://a.test/z"), "{}", dump.stderr);
}

#[test]
fn a_reader_may_stop_reading() {
    let store = Store::new();
    for number in 0..4000 {
        store.put(format!("*\na.test\n/{number:060}").as_bytes(), b"x");
    }
    store.settle();
    store.disk.close();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_brim"))
        .args(["store", "ls", "--path", store.path()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("brim starts");
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    stdout.read_line(&mut line).expect("a line");
    assert!(line.contains("a.test/0000"), "{line}");
    drop(stdout);
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(child.wait().expect("ends").code(), Some(0));
    assert!(said.is_empty(), "{said}");
}

#[test]
fn a_store_in_use_can_be_looked_into() {
    let store = Store::new();
    store.put(A.0, A.1);
    store.settle();
    let stat = &store.json("stat")[0];
    assert_eq!(stat["entries"], 1, "{stat}");
    assert_eq!(stat["segments"].as_array().expect("a list").last().expect("one")["state"], "open");
    assert_eq!(store.json("ls").len(), 1);
    let dump = store.run("dump", &["http://a.test/style.css?v=1"]);
    assert!(dump.stdout.ends_with("body of a"), "{}{}", dump.stdout, dump.stderr);
    let verify = store.run("verify", &[]);
    assert_eq!(verify.code, Some(0), "{}{}", verify.stdout, verify.stderr);
    // And it goes on as if nobody had looked.
    store.put(B.0, B.1);
    store.settle();
    let read = store.runtime.block_on(store.disk.get(B.0)).expect("there");
    assert_eq!(read.content.body, B.1);
    assert_eq!(store.json("ls").len(), 2);
}

#[test]
fn a_folder_is_only_read() {
    let store = Store::with(&[A, B]);
    let before = state(store.folder.path());
    for (command, more) in [
        ("stat", &[][..]),
        ("verify", &[]),
        ("ls", &[]),
        ("dump", &["http://a.test/style.css?v=1"]),
    ] {
        assert_eq!(store.run(command, more).code, Some(0));
    }
    assert_eq!(state(store.folder.path()), before);
}

fn state(folder: &Path) -> BTreeMap<String, (SystemTime, Vec<u8>)> {
    let files = fs::read_dir(folder).expect("a folder").map(|file| {
        let file = file.expect("a file");
        let written = file.metadata().and_then(|data| data.modified()).expect("a time");
        let content = fs::read(file.path()).expect("read");
        (file.file_name().to_string_lossy().into_owned(), (written, content))
    });
    files.collect()
}

#[test]
fn verify_finds_one_changed_bit() {
    let body = vec![b'z'; 100_000];
    let store = Store::with(&[A, (b"*\na.test\n/\x1bz", &body), B]);
    let verify = store.run("verify", &[]);
    assert_eq!(verify.code, Some(0), "{}{}", verify.stdout, verify.stderr);
    assert!(verify.stdout.contains("1 segment, 3 records and"), "{}", verify.stdout);
    assert!(verify.stdout.trim_end().ends_with("read: all good"), "{}", verify.stdout);
    assert!(verify.stderr.is_empty(), "no progress where nobody looks: {}", verify.stderr);

    let file = store.spoil(&body[..70_000]);
    let verify = store.run("verify", &[]);
    assert_eq!(verify.code, Some(1), "{}", verify.stdout);
    let lines: Vec<&str> = verify.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", verify.stdout);
    assert!(lines[0].starts_with(&format!("{file}:")), "{}", lines[0]);
    assert!(lines[0].ends_with("(* a.test/\\x1bz)"), "{}", lines[0]);
    assert!(lines[1].ends_with("read: 1 problem"), "{}", lines[1]);
    let dump = store.run("dump", &["http://a.test/style.css?v=1"]);
    assert_eq!(dump.code, Some(0), "the others are as they were: {}", dump.stderr);
    let dump = store.run("dump", &["* a.test/\\x1bz"]);
    assert_eq!(dump.code, Some(1), "{}", dump.stdout);
    assert!(!dump.stdout.contains("zzz"), "what is bad is not shown as if it were good");
}

#[test]
fn what_is_no_store_is_said_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "x").expect("written");
    let gone = folder.path().join("gone");
    for (path, reason) in [
        (folder.path(), "there is no store in this folder"),
        (&gone, "there is no such folder"),
        (&file, "this is no folder"),
    ] {
        let path = path.to_str().expect("a path in UTF-8");
        for (command, more) in [("stat", &[][..]), ("verify", &[]), ("ls", &[]), ("dump", &["x"])] {
            let finished = run(path, command, more);
            assert_eq!(finished.code, Some(1), "{command} {path}");
            assert!(finished.stdout.is_empty(), "{}", finished.stdout);
            assert_eq!(finished.stderr, format!("brim: {path}: {reason}\n"));
        }
    }
}

#[test]
fn a_store_of_another_version_is_not_guessed_at() {
    let store = Store::with(&[A]);
    let file = store.folder.path().join("brim.store");
    let mut content = fs::read(&file).expect("read");
    // Where the version is.
    content[8] = 0xee;
    fs::write(&file, content).expect("written");
    let stat = store.run("stat", &[]);
    assert_eq!(stat.code, Some(1), "{}", stat.stdout);
    assert_eq!(stat.stderr.lines().count(), 1, "{}", stat.stderr);
}

/// Asked for twice: then it is worth the disk.
fn ask_twice(client: &mut Client, request: &str) {
    for _ in 0..2 {
        assert_eq!(client.ask(request).status, 200);
    }
}

#[test]
fn the_folder_of_a_running_edge_can_be_looked_into() {
    const MIB: usize = 1 << 20;
    let large: String = ('a'..='z').cycle().take(3 * MIB + 5).collect();
    let whole = large.clone();
    let origin = Origin::serving(move |head, _| {
        let fields = "Cache-Control: max-age=600\r\nX-Own: yes\r\n";
        if head.starts_with("GET /large") {
            ok_with(fields, &whole)
        } else if head.starts_with("GET /varies") {
            let is_french = head.contains("X-Kind: fr");
            ok_with(&format!("{fields}Vary: X-Kind\r\n"), if is_french { "oui" } else { "yes" })
        } else {
            ok_with(fields, "small")
        }
    });
    let brim = Brim::with_disk(origin.address(), "64MiB");
    let mut client = Client::connect(brim.address());
    ask_twice(&mut client, &get("/small"));
    ask_twice(&mut client, &get("/large"));
    ask_twice(&mut client, &get_with("/varies", "X-Kind: fr\r\n"));
    ask_twice(&mut client, &get_with("/varies", "X-Kind: en\r\n"));
    brim.wait_for_metric("brim_cache_objects{tier=\"disk\"}", 3);
    let folder = brim.folder().join("disk");
    let path = folder.to_str().expect("a path in UTF-8");

    let stat = run(path, "stat", &["--json"]);
    assert_eq!(stat.code, Some(0), "{}", stat.stderr);
    let stat: Value = serde_json::from_str(&stat.stdout).expect("JSON");
    assert_eq!((&stat["entries"], &stat["chunks"]), (&3.into(), &4.into()), "{stat}");
    assert_eq!((&stat["problems"], &stat["segments"][0]["state"]), (&0.into(), &"open".into()));

    let ls = run(path, "ls", &[]);
    assert_eq!(ls.stdout.lines().count(), 3, "{}", ls.stdout);
    let key = |target: &str| {
        let line = ls.stdout.lines().find(|line| line.ends_with(target)).expect("listed");
        line.trim_start().split_once("s  ").expect("bytes, age, key").1.to_owned()
    };

    let dump = run(path, "dump", &[&key("/small")]);
    assert_eq!(dump.code, Some(0), "{}", dump.stderr);
    assert!(dump.stdout.starts_with("HTTP/1.1 200 OK\n"), "{}", dump.stdout);
    assert!(dump.stdout.contains("\nX-Own: yes\n"), "{}", dump.stdout);
    assert!(dump.stdout.ends_with("\n\nsmall"), "{}", dump.stdout);
    let dump = run(path, "dump", &[&key("/large")]);
    assert!(dump.stdout.ends_with(&format!("\n\n{large}")), "{}", dump.stderr);

    let head = run(path, "dump", &["--head", &key("/varies")]).stdout;
    assert!(head.contains("# for x-kind: "), "{head}");
    assert!(head.contains(" of 600 seconds, fresh for "), "{head}");
    assert!(head.contains("# body: 3 bytes, with the head\n"), "{head}");

    let verify = run(path, "verify", &[]);
    assert_eq!(verify.code, Some(0), "{}{}", verify.stdout, verify.stderr);
    assert!(verify.stdout.ends_with(": all good\n"), "{}", verify.stdout);
    assert_eq!(client.ask(get("/small")).body, b"small");
}
