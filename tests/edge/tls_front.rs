//! TLS with clients: who the edge is to whom, how handshakes go, and what becomes of those that do not.

use crate::kit::tls::{Authority, Order, TlsClients};
use crate::kit::{Brim, Client, Origin, get, ok_with};
use rustls::SignatureScheme;
use rustls::version::{TLS12, TLS13};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use tempfile::TempDir;

const FULL: &str = "brim_tls_handshakes_total{result=\"full\"}";
const RESUMED: &str = "brim_tls_handshakes_total{result=\"resumed\"}";
const FAILED: &str = "brim_tls_handshakes_total{result=\"failed\"}";
const TIMEOUT: &str = "brim_tls_handshakes_total{result=\"timeout\"}";

/// Nothing else is logged of handshakes, whatever comes of them.
fn no_handshake_is_worth_a_word(brim: &Brim) {
    for level in ["WARN", "ERROR"] {
        assert_eq!(brim.error_log_so_far(level), None);
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// An edge with one certificate for `a.test`.
fn usual(authority: &Authority, folder: &Path, server: &str) -> (Origin, Brim) {
    let origin = Origin::ok();
    let certificate = authority.issue(&["a.test"]).write(folder, "a");
    let brim = Brim::over_tls(origin.address(), &certificate, server, "");
    (origin, brim)
}

#[test]
fn requests_are_answered_over_both_versions_of_tls_with_what_the_cache_has() {
    let (authority, folder) = (Authority::new(), folder());
    let origin = Origin::serving(|_, number| {
        ok_with("Cache-Control: max-age=60\r\n", &number.to_string().repeat(100_000))
    });
    let certificate = authority.issue(&["a.test"]).write(folder.path(), "a");
    let brim = Brim::over_tls(origin.address(), &certificate, "", "");
    for version in [&TLS13, &TLS12] {
        let clients = TlsClients::of_version(authority.der(), version);
        let mut client = clients.connect(brim.https(), "a.test");
        for _ in 0..3 {
            let answer = client.ask(get("/large"));
            assert_eq!((answer.status, answer.is_whole), (200, true));
            assert_eq!(answer.text(), "0".repeat(100_000));
        }
        assert_eq!(client.connection().protocol_version(), Some(version.version));
        let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n";
        let body = "x".repeat(100_000);
        assert_eq!(client.ask(format!("{post}{body}")).status, 200);
    }
    assert_eq!(origin.requests(), 3, "one fill, two of POST");
    assert_eq!(brim.metric(FULL), 2);
}

#[test]
fn origins_and_logs_learn_that_a_client_came_over_tls() {
    let (authority, folder) = (Authority::new(), folder());
    let (origin, brim) = usual(&authority, folder.path(), "");
    let mut client = authority.trusting_client().connect(brim.https(), "a.test");
    let lies = "X-Forwarded-Proto: http\r\nForwarded: proto=http\r\nX-Scheme: http\r\n";
    client.ask(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lies}\r\n"));
    let head = origin.only_head();
    assert!(head.contains("\r\nX-Forwarded-Proto: https\r\n"), "{head}");
    assert!(
        head.contains("\r\nForwarded: for=127.0.0.1;host=\"a.test\";proto=https\r\n"),
        "{head}"
    );
    assert!(!head.contains("X-Scheme"), "{head}");
}

#[test]
fn a_client_is_shown_the_certificate_that_is_made_out_to_the_name_it_asks_for() {
    let (authority, folder) = (Authority::new(), folder());
    let first = authority.issue(&["first.test", "127.0.0.1"]);
    let exact = authority.issue(&["www.wild.test", "other.test"]);
    let wild = authority.issue(&["*.wild.test"]);
    let lines = [("first", &first), ("exact", &exact), ("wild", &wild)];
    let lines = lines.map(|(name, issued)| issued.write(folder.path(), name)).concat();
    let brim = Brim::over_tls(Origin::ok().address(), &lines, "", "");
    let clients = TlsClients::trusting_anybody();
    for (name, shown) in [
        ("first.test", &first),
        ("www.wild.test", &exact),
        ("WWW.Wild.test", &exact),
        ("other.test", &exact),
        ("x.wild.test", &wild),
        // A wildcard is one label, and not none.
        ("x.y.wild.test", &first),
        ("wild.test", &first),
        ("unknown.test", &first),
        // Addresses are not asked for by name.
        ("127.0.0.1", &first),
    ] {
        assert_eq!(clients.shown(brim.https(), name), shown.der, "{name}");
    }
    let client = authority.trusting_client();
    assert_eq!(client.ask(brim.https(), "127.0.0.1", &get("/")).expect("an answer").status, 200);
}

#[test]
fn of_two_kinds_of_keys_a_client_gets_the_one_that_it_can_judge_and_rather_the_cheap_one() {
    let (authority, folder) = (Authority::new(), folder());
    let names = &["a.test"][..];
    let rsa = authority.issue_as(&Order { names, is_rsa: true, ..Order::default() });
    let ecdsa = authority.issue(names);
    let lines = rsa.write(folder.path(), "rsa") + &ecdsa.write(folder.path(), "ecdsa");
    let brim = Brim::over_tls(Origin::ok().address(), &lines, "", "");
    // The authority has signed both with ECDSA.
    let old = [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256];
    let new = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let both = [&old[..], &new[..]].concat();
    for (schemes, shown) in [(&old[..], &rsa), (&new[..], &ecdsa), (&both[..], &ecdsa)] {
        let clients = TlsClients::judging(authority.der(), schemes);
        for name in ["a.test", "unknown.test"] {
            let connected = clients.try_connect(brim.https(), name);
            match connected {
                Ok(client) => assert_eq!(client.shown(), shown.der, "{schemes:?}"),
                Err(error) => assert_eq!(name, "unknown.test", "{schemes:?}: {error}"),
            }
        }
    }
    for version in [&TLS12, &TLS13] {
        let clients = TlsClients::of_version(authority.der(), version);
        assert_eq!(clients.shown(brim.https(), "a.test"), ecdsa.der);
    }
}

#[test]
fn a_client_that_comes_back_takes_a_shorter_handshake_over_both_versions() {
    let (authority, folder) = (Authority::new(), folder());
    let (_origin, brim) = usual(&authority, folder.path(), "");
    for (version, so_far) in [(&TLS13, 0), (&TLS12, 2)] {
        let clients = TlsClients::of_version(authority.der(), version);
        let is_resumed = |_| {
            let mut client = clients.connect(brim.https(), "a.test");
            // Tickets of TLS 1.3 come behind the handshake.
            assert_eq!(client.ask(get("/")).status, 200);
            client.is_resumed()
        };
        assert_eq!([0, 1, 2].map(is_resumed), [false, true, true], "{version:?}");
        assert_eq!(brim.metric(RESUMED), so_far + 2);
    }
    assert_eq!((brim.metric(FULL), brim.metric(FAILED)), (2, 0));
}

#[test]
fn the_lowest_version_is_the_operators_choice() {
    let (authority, folder) = (Authority::new(), folder());
    let (_origin, brim) = usual(&authority, folder.path(), "[server.tls]\nmin_version = '1.3'");
    let old = TlsClients::of_version(authority.der(), &TLS12);
    assert!(old.try_connect(brim.https(), "a.test").is_err());
    let new = TlsClients::of_version(authority.der(), &TLS13);
    assert_eq!(new.connect(brim.https(), "a.test").ask(get("/")).status, 200);
    assert_eq!((brim.metric(FAILED), brim.metric(FULL)), (1, 1));
    no_handshake_is_worth_a_word(&brim);
}

#[test]
fn both_sides_agree_on_http_or_do_not_speak() {
    let (authority, folder) = (Authority::new(), folder());
    let (_origin, brim) = usual(&authority, folder.path(), "");
    let offering = |protocols: &[&str]| {
        let clients = authority.trusting_client().offering(protocols);
        let connected = clients.try_connect(brim.https(), "a.test").ok()?;
        Some(connected.connection().alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(offering(&[]), Some(None));
    assert_eq!(offering(&["http/1.1"]), Some(Some(b"http/1.1".to_vec())));
    assert_eq!(offering(&["smtp"]), None);
}

#[test]
fn a_certificate_is_made_on_the_fly_for_whoever_needs_one() {
    let brim = Brim::over_tls(
        Origin::ok().address(),
        "[[certificate]]\nself_signed = ['localhost', '127.0.0.1', '*.dev.test']\n",
        "",
        "",
    );
    let shown = TlsClients::trusting_anybody().shown(brim.https(), "localhost");
    let clients = TlsClients::trusting(shown);
    for name in ["localhost", "127.0.0.1", "x.dev.test"] {
        assert_eq!(clients.connect(brim.https(), name).ask(get("/")).status, 200, "{name}");
    }
    assert!(clients.try_connect(brim.https(), "other.test").is_err());
    let expiry = "brim_certificate_expires_in_seconds\
                  {certificate=\"self-signed: localhost, 127.0.0.1, *.dev.test\"}";
    assert!(brim.metric(expiry) > 300 * 86400);
}

#[test]
fn a_client_that_does_not_shake_hands_is_cut_off_in_time_and_counted() {
    let (authority, folder) = (Authority::new(), folder());
    let limits = "[server.limits]\ntls_timeout = '200ms'";
    let (_origin, brim) = usual(&authority, folder.path(), limits);
    // One that says nothing, and one that stops in the middle of its first record.
    let mut mute = Client::connect(brim.https());
    let mut slow = Client::connect(brim.https());
    slow.send(b"\x16\x03\x01\x02\x00\x01");
    mute.is_closed();
    slow.is_closed();
    brim.wait_for_metric(TIMEOUT, 2);
    // One whose handshake is over has all the time that the other limits give.
    let mut client = authority.trusting_client().connect(brim.https(), "a.test");
    assert_eq!(client.ask(get("/")).status, 200);
    no_handshake_is_worth_a_word(&brim);
}

#[test]
fn a_client_that_takes_nothing_is_cut_off_over_tls_too() {
    let (authority, folder) = (Authority::new(), folder());
    let certificate = authority.issue(&["a.test"]).write(folder.path(), "a");
    let origin = Origin::answering(ok_with("", &"x".repeat(32 << 20)));
    let limits = "[server.limits]\nwrite_timeout = '300ms'";
    let brim = Brim::over_tls(origin.address(), &certificate, limits, "");
    let mut client = authority.trusting_client().connect(brim.https(), "a.test");
    client.send(get("/large"));
    assert!(brim.access_log("client_stalled").contains("\"outcome\":\"error\""));
    drop(client);
}

#[test]
fn a_client_without_tls_is_told_what_this_port_speaks() {
    let (authority, folder) = (Authority::new(), folder());
    let (origin, brim) = usual(&authority, folder.path(), "");
    let mut client = Client::connect(brim.https());
    let answer = client.ask(get("/"));
    assert_eq!((answer.status, answer.field("connection")), (400, Some("close")));
    assert_eq!(answer.text(), "400 Bad Request: this port speaks TLS: use https\n");
    client.is_closed();
    assert!(brim.access_log("no_tls").contains("\"status\":400"));
    assert_eq!((brim.metric(FAILED), origin.requests()), (1, 0));
}

#[test]
fn what_is_no_tls_at_all_is_closed_counted_and_not_logged() {
    let (authority, folder) = (Authority::new(), folder());
    let (_origin, brim) = usual(&authority, folder.path(), "");
    for (number, garbage) in
        [&b"\x16\x03\x01\x00\x05hello"[..], b"\0\0\0\0", b"\x80\x2e\x01\x03\x01", b"\x15\x03\x03"]
            .into_iter()
            .enumerate()
    {
        let mut client = Client::connect(brim.https());
        client.send(garbage);
        // The edge may have had enough already.
        let _ = client.stream().get_ref().shutdown(Shutdown::Write);
        let told = client.rest();
        // At most an alert.
        assert!(told.len() <= 7 && told.first().is_none_or(|first| *first == 0x15), "{told:?}");
        brim.wait_for_metric(FAILED, number as u64 + 1);
    }
    drop(TcpStream::connect(brim.https()).expect("connected"));
    brim.wait_for_metric(FAILED, 5);
    no_handshake_is_worth_a_word(&brim);
}

#[test]
fn a_mute_client_does_not_delay_the_end() {
    let (authority, folder) = (Authority::new(), folder());
    let (_origin, mut brim) = usual(&authority, folder.path(), "");
    let mut mute = Client::connect(brim.https());
    // Connections are accepted in their order.
    let mut client = authority.trusting_client().connect(brim.https(), "a.test");
    assert_eq!(client.ask(get("/")).status, 200);
    brim.signal(rustix::process::Signal::TERM);
    brim.error_log("all requests have finished");
    assert!(brim.wait().success());
    mute.is_closed();
}

#[test]
fn metrics_tell_how_long_each_certificate_is_good() {
    let (authority, folder) = (Authority::new(), folder());
    let names = &["a.test"][..];
    let good = authority.issue(names).write(folder.path(), "good");
    let old = authority.issue_as(&Order { names, valid: (-20, -10), ..Order::default() });
    let lines = good + &old.write(folder.path(), "old");
    let brim = Brim::over_tls(Origin::ok().address(), &lines, "", "");
    let text = Client::connect(brim.admin()).ask(get("/metrics")).text();
    let left = |name: &str| {
        let path = folder.path().join(name);
        let series =
            format!("brim_certificate_expires_in_seconds{{certificate=\"{}\"}} ", path.display());
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.expect("a series").parse::<i64>().expect("a number")
    };
    let days = |days: i64| (days * 86400 - 60)..=(days * 86400 + 60);
    assert!(days(90).contains(&left("good.pem")), "{}", left("good.pem"));
    assert!(days(-10).contains(&left("old.pem")), "{}", left("old.pem"));
}
