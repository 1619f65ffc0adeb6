//! A new process that does not take over leaves the old one as it was.

use crate::kit::successors::{lives, signal};
use crate::kit::{Brim, Client, Origin, PATIENCE, get, ok_with};
use rustix::process::Signal;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Instant;

const FAILED: &str = "brim_upgrades_total{result=\"failed\"}";
const ON_DISK: &str = "brim_cache_objects{tier=\"disk\"}";
const DEGRADED: &str = "degraded";

/// Takes the next message from the old process.
const TAKE: &str = "dd bs=300000 count=1 2>/dev/null >/dev/null";
/// What a new process says when it has everything but the disk.
const READY: &str = r#"printf '{"tells":"ready","version":"2"}' >&0"#;

fn configuration(origin: SocketAddr, server: &str) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{server}\n[cache.memory]\nsize = '16MiB'\n\
         [cache.disk]\npath = 'disk'\nsize = '64MiB'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    )
}

fn edge(server: &str) -> (Origin, Brim) {
    let origin = Origin::serving(|head, number| {
        let path = head.split(' ').nth(1).expect("a path");
        ok_with("Cache-Control: max-age=600\r\n", &format!("{path} {number}"))
    });
    let mut brim = Brim::of_binary(&configuration(origin.address(), server));
    brim.expects_successors();
    let mut client = Client::connect(brim.address());
    for path in ["/a", "/b", "/c"] {
        for _ in 0..3 {
            assert_eq!(client.ask(get(path)).status, 200);
        }
    }
    brim.wait_until(ON_DISK, |objects| objects == 3);
    (origin, brim)
}

/// It serves and stores, and its purges are for good.
#[track_caller]
fn serves_as_before(origin: &Origin, brim: &mut Brim, client: &mut Client) {
    assert!(brim.is_running());
    let before = origin.requests();
    // On a connection from before, and on a new one.
    assert_eq!(client.ask(get("/a")).told(), "brim; hit");
    assert_eq!(Client::connect(brim.address()).ask(get("/b")).told(), "brim; hit");
    assert_eq!(origin.requests(), before);
    let receipt = brim.operator().purge(&json!({"urls": ["http://a.test/c"]}));
    assert_eq!(receipt["durable"], true);
    let again = format!("/c {before}");
    for _ in 0..3 {
        assert_eq!(client.ask(get("/c")).text(), again);
    }
    brim.wait_until(ON_DISK, |objects| objects == 3);
    let ready = Client::connect(brim.admin()).ask(get("/readyz")).text();
    assert!(!ready.contains(DEGRADED), "{ready}");
}

/// What is on the disk is there after the end of the process.
fn has_kept_its_disk(origin: &Origin, brim: Brim) {
    let before = origin.requests();
    let brim = brim.again_after(Signal::KILL);
    let mut client = Client::connect(brim.address());
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.ask(get(path)).told(), "brim; hit", "{path}");
    }
    assert_eq!(origin.requests(), before);
}

#[test]
fn what_is_not_a_new_process_of_brim_changes_nothing() {
    let (origin, mut brim) = edge("takeover_timeout = '500ms'");
    let mut client = Client::connect(brim.address());
    let good = std::fs::read_to_string(brim.folder().join("edge.toml")).expect("a configuration");
    let mut failures = 0;
    let mut fails_with = |brim: &mut Brim, why: &str| {
        let answer = brim.try_upgrade();
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(answer.text().contains(why), "{why}: {}", answer.text());
        failures += 1;
        assert_eq!(brim.metric(FAILED), failures);
        serves_as_before(&origin, brim, &mut client);
    };
    brim.reconfigure(|text| text + "nonsense = 1\n");
    fails_with(&mut brim, "exit status: 1");
    brim.error_log("nonsense: unknown key");
    brim.reconfigure(|_| good);
    brim.replace_binary_by("exit 0");
    fails_with(&mut brim, "exit status: 0");
    brim.replace_binary_by("exec sleep 1000");
    fails_with(&mut brim, "had not taken over after 500ms");
    brim.replace_binary_by("printf nonsense >&0; exec sleep 1000");
    fails_with(&mut brim, "does not answer as it should");
    brim.replace_binary_by(r#"printf '{"tells":"accepting"}' >&0; exec sleep 1000"#);
    fails_with(&mut brim, "does not answer as it should");
    std::fs::write(brim.binary(), "no program").expect("written");
    fails_with(&mut brim, "could not be started");
    std::fs::remove_file(brim.binary()).expect("removed");
    fails_with(&mut brim, "could not be started");
    has_kept_its_disk(&origin, brim);
}

#[test]
fn a_new_process_that_is_killed_when_it_may_have_the_disk_gives_everything_back() {
    let (origin, mut brim) = edge("");
    let mut client = Client::connect(brim.address());
    // Greeting, sockets, end of sockets; then that the disk is free.
    let script = format!("{TAKE}; {TAKE}; {TAKE}; {READY}; {TAKE}; kill -9 $$");
    brim.replace_binary_by(&script);
    for turn in 1..=3 {
        let answer = brim.try_upgrade();
        assert_eq!(answer.status, 500, "{}", answer.text());
        assert!(answer.text().contains("signal: 9"), "{}", answer.text());
        assert_eq!(brim.metric(FAILED), turn);
        serves_as_before(&origin, &mut brim, &mut client);
    }
    brim.restore_binary();
    brim.upgrade();
    assert_eq!(brim.wait().code(), Some(0));
    assert_eq!(Client::connect(brim.address()).ask(get("/b")).told(), "brim; hit");
}

#[test]
fn while_the_disk_is_on_its_way_requests_are_answered_and_purges_wait() {
    let (origin, mut brim) = edge("");
    let folder = brim.folder();
    let (fifo, gone) = (folder.join("go"), folder.join("has-disk"));
    let script = format!(
        "{TAKE}; {TAKE}; {TAKE}; {READY}; {TAKE}; mkfifo {}; touch {}; read go < {}",
        fifo.display(),
        gone.display(),
        fifo.display()
    );
    brim.replace_binary_by(&script);
    brim.expects_successors();
    let operator = brim.operator();
    let upgrade = {
        let operator = operator.clone();
        std::thread::spawn(move || operator.ask("POST", "/upgrade", "").status)
    };
    let deadline = Instant::now() + PATIENCE;
    while !gone.exists() {
        assert!(Instant::now() < deadline, "the new process gets no disk");
        std::thread::yield_now();
    }
    let before = origin.requests();
    let mut client = Client::connect(brim.address());
    for path in ["/a", "/b", "/c"] {
        assert_eq!(client.ask(get(path)).told(), "brim; hit");
    }
    assert_eq!(client.ask(get("/d")).status, 200);
    assert_eq!(origin.requests(), before + 1);
    let purge = {
        let operator = operator.clone();
        std::thread::spawn(move || operator.purge(&json!({"urls": ["http://a.test/a"]})))
    };
    // A request that makes something out of date is heard of by nobody, and does not wait for long.
    let post = "POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(client.ask(post).status, 200);
    assert_eq!(client.ask(get("/b")).told(), "brim; fwd=uri-miss; stored");
    assert!(!purge.is_finished() && !upgrade.is_finished());
    assert_eq!(operator.ask("POST", "/upgrade", "").status, 409);
    brim.signal(Signal::USR2);
    brim.error_log("an upgrade is under way");
    std::fs::write(&fifo, "go\n").expect("told");
    assert_eq!(upgrade.join().expect("an answer"), 500);
    assert_eq!(purge.join().expect("a receipt")["durable"], true);
    assert_eq!(client.ask(get("/a")).told(), "brim; fwd=uri-miss; stored");
    // Nothing comes back that was made out of date without the disk.
    let newest = client.ask(get("/b")).text();
    let brim = brim.again_after(Signal::KILL);
    let mut client = Client::connect(brim.address());
    let answer = client.ask(get("/b"));
    assert!(answer.told() != "brim; hit" || answer.text() == newest, "{}", answer.text());
}

#[test]
fn a_process_that_is_to_end_ends_the_one_that_would_have_taken_over() {
    let (_origin, mut brim) = edge("");
    let number = brim.folder().join("number");
    brim.replace_binary_by(&format!(
        "{TAKE}; echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
        number.display()
    ));
    brim.signal(Signal::USR2);
    let deadline = Instant::now() + PATIENCE;
    while !number.exists() {
        assert!(Instant::now() < deadline, "no process is started");
        std::thread::yield_now();
    }
    let pid = std::fs::read_to_string(&number).expect("a number").trim().parse().expect("a number");
    assert!(lives(pid));
    signal(brim.pid(), Signal::TERM);
    assert_eq!(brim.wait().code(), Some(0));
    while lives(pid) {
        assert!(Instant::now() < deadline, "the new process stays");
        std::thread::yield_now();
    }
}
