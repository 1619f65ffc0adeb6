//! Certificates that change while the edge runs.

use crate::kit::tls::{Authority, Issued, TlsClients};
use crate::kit::{Brim, Client, Gate, Origin, PATIENCE, get};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Instant;

const GOOD: &str = "brim_certificate_reloads_total{result=\"good\"}";
const BAD: &str = "brim_certificate_reloads_total{result=\"bad\"}";

/// Waits until new connections are shown this.
#[track_caller]
fn wait_until_shown(brim: &Brim, issued: &Issued) {
    let (clients, deadline) = (TlsClients::trusting_anybody(), Instant::now() + PATIENCE);
    while clients.shown(brim.https(), "a.test") != issued.der {
        assert!(Instant::now() < deadline, "it is not shown");
        std::thread::yield_now();
    }
}

/// An edge in front of one origin with this certificate in its files.
fn edge(origin: &Origin, issued: &Issued, folder: &Path) -> Brim {
    Brim::over_tls(origin.address(), &issued.write(folder, "a"), "", "")
}

#[test]
fn new_connections_get_the_new_certificate_and_nobody_else_notices() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let go_on = Gate::default();
    let origin = {
        let go_on = go_on.clone();
        Origin::start(move |peer| {
            while let Some(head) = peer.head() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
                if head.starts_with("GET /slow ") {
                    go_on.wait_for(1);
                }
                peer.send(" last");
            }
        })
    };
    let (old, new) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let brim = edge(&origin, &old, folder.path());
    let clients = authority.trusting_client();
    let mut idle = clients.connect(brim.https(), "a.test");
    assert_eq!(idle.ask(get("/")).text(), "first last");
    let mut busy = clients.connect(brim.https(), "a.test");
    busy.send(get("/slow"));
    let mut begun = Vec::new();
    while !begun.ends_with(b"first") {
        begun.extend(busy.read_exactly(1));
    }

    new.write(folder.path(), "a");
    wait_until_shown(&brim, &new);

    go_on.add_one();
    let answer = busy.answer_behind(&begun);
    assert_eq!((answer.text(), answer.is_whole), ("first last".into(), true));
    for client in [&mut idle, &mut busy] {
        assert_eq!(client.shown(), old.der);
        assert_eq!(client.ask(get("/again")).text(), "first last");
    }
    brim.error_log("a new certificate");
    assert_eq!(brim.metric(BAD), 0);
}

#[test]
fn a_half_written_pair_changes_nothing_is_told_once_and_followed_by_the_whole() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let (old, new) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let brim = edge(&Origin::ok(), &old, folder.path());
    let (cert, key) = new.files(folder.path(), "a");
    // The new certificate is there, and its key is not.
    fs::write(&cert, &new.cert).expect("written");
    brim.wait_for_metric(BAD, 1);
    wait_until_shown(&brim, &old);
    let told = brim.error_log("a changed certificate cannot be used");
    assert!(told.contains("WARN") && told.contains("not the key of"), "{told}");
    // Half a file.
    fs::write(&key, &new.key[..new.key.len() / 2]).expect("written");
    brim.wait_for_metric(BAD, 2);
    wait_until_shown(&brim, &old);
    fs::remove_file(&cert).expect("removed");
    brim.wait_for_metric(BAD, 3);
    wait_until_shown(&brim, &old);

    new.write(folder.path(), "a");
    wait_until_shown(&brim, &new);
    // Behind everything that was told before.
    brim.error_log("a new certificate");
    assert_eq!(brim.error_log_count("a changed certificate cannot be used"), 3);
    assert_eq!((brim.metric(GOOD), brim.metric(BAD)), (1, 3));
}

#[test]
fn one_bad_pair_keeps_no_other_from_being_renewed() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let (a, b) = (authority.issue(&["a.test"]), authority.issue(&["b.test"]));
    let lines = a.write(folder.path(), "a") + &b.write(folder.path(), "b");
    let brim = Brim::over_tls(Origin::ok().address(), &lines, "", "");
    fs::write(b.files(folder.path(), "b").0, "nothing").expect("written");
    let new = authority.issue(&["a.test"]);
    new.write(folder.path(), "a");
    wait_until_shown(&brim, &new);
    brim.wait_for_metric(BAD, 1);
    assert_eq!(TlsClients::trusting_anybody().shown(brim.https(), "b.test"), b.der);
}

#[test]
fn symlinks_that_are_swapped_are_followed() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let (old, new) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let at = |name: &str| folder.path().join(name);
    // As it is done with secrets that are mounted: one link to the folder of the version.
    for (version, issued) in [("1", &old), ("2", &new)] {
        fs::create_dir(at(version)).expect("made");
        issued.write(&at(version), "tls");
    }
    symlink("1", at("current")).expect("linked");
    for name in ["tls.pem", "tls.key"] {
        symlink(format!("current/{name}"), at(name)).expect("linked");
    }
    let (cert, key) = old.files(folder.path(), "tls");
    let lines =
        format!("[[certificate]]\ncert = '{}'\nkey = '{}'\n", cert.display(), key.display());
    let brim = Brim::over_tls(Origin::ok().address(), &lines, "", "");
    wait_until_shown(&brim, &old);
    symlink("2", at("next")).expect("linked");
    fs::rename(at("next"), at("current")).expect("swapped");
    wait_until_shown(&brim, &new);
    assert_eq!((brim.metric(GOOD), brim.metric(BAD)), (1, 0));
}

#[test]
fn sessions_go_on_with_a_new_certificate() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
    let (old, new) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let brim = edge(&Origin::ok(), &old, folder.path());
    let clients = authority.trusting_client();
    clients.connect(brim.https(), "a.test").ask(get("/"));
    new.write(folder.path(), "a");
    wait_until_shown(&brim, &new);
    let mut client = clients.connect(brim.https(), "a.test");
    assert_eq!((client.ask(get("/")).status, client.is_resumed()), (200, true));
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200);
}
