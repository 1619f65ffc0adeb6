//! `brim dev --https`: certificates of an authority that is made once.

use crate::kit::tls::TlsClients;
use crate::kit::{Brim, Command, Origin, get};
use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use x509_parser::prelude::FromDer;

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn data(brim: &Brim, name: &str) -> PathBuf {
    brim.folder().join("brim").join(name)
}

fn authority(brim: &Brim) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(data(brim, "local-authority.pem")).expect("a certificate")
}

#[test]
fn browsers_that_trust_the_authority_believe_every_run() {
    let origin = Origin::ok();
    let url = format!("http://{}", origin.address());
    let arguments = ["--https=127.0.0.1:0", "--https-name", "app.test"];
    let mut brim = Brim::dev(&url, &arguments);
    brim.access_log("signed by an authority that was made for you just now");
    let root = authority(&brim);
    let clients = TlsClients::trusting(root.clone());
    for name in ["localhost", "127.0.0.1", "app.test"] {
        let answer = clients.connect(brim.dev_https(), name).ask(get("/"));
        assert_eq!(answer.status, 200, "{name}");
    }
    assert!(clients.try_connect(brim.dev_https(), "other.test").is_err());
    let offering = clients.clone().offering(&["h2", "http/1.1"]);
    let client = offering.connect(brim.dev_https(), "localhost");
    assert_eq!(client.connection().alpn_protocol(), Some(&b"h2"[..]));
    // Browsers refuse what is good for longer than 398 days.
    let shown = clients.shown(brim.dev_https(), "localhost");
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&shown).expect("X.509");
    let validity = leaf.validity();
    assert!(validity.not_after.timestamp() - validity.not_before.timestamp() < 398 * 86400);
    assert!(!leaf.is_ca());
    let mode = |name| std::fs::metadata(data(&brim, name)).expect("there").permissions().mode();
    assert_eq!(mode("local-authority-key.pem") & 0o777, 0o600);

    brim.signal(Signal::INT);
    brim.wait();
    let again = brim.dev_again(&url, &arguments);
    assert_eq!(authority(&again), root);
    let answer = clients.connect(again.dev_https(), "localhost").ask(get("/"));
    assert_eq!(answer.status, 200);
    assert_ne!(clients.shown(again.dev_https(), "localhost"), shown);
}

#[test]
fn a_hot_reload_socket_passes_over_tls_too() {
    let origin = Origin::start(|peer| {
        let head = peer.head().expect("a head");
        assert!(head.contains("\r\nX-Forwarded-Proto: https\r\n"), "{head}");
        peer.send(format!("{SWITCHED}connected"));
        peer.echo();
    });
    let url = format!("http://{}", origin.address());
    let brim = Brim::dev(&url, &["--https=127.0.0.1:0", "--simulate", "latency=2ms"]);
    let clients = TlsClients::trusting(authority(&brim));
    let mut client = clients.connect(brim.dev_https(), "localhost");
    client.send(
        get("/").replace("\r\n\r\n", "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping"),
    );
    let expected = b"connectedping";
    let mut seen = Vec::new();
    while !seen.ends_with(expected) {
        seen.extend(client.read_exactly(1));
    }
    assert!(seen.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&seen));
}

#[test]
fn an_authority_that_others_could_have_used_is_not_used() {
    let origin = Origin::ok();
    let url = format!("http://{}", origin.address());
    let brim = Brim::dev(&url, &["--https=127.0.0.1:0"]);
    let key = data(&brim, "local-authority-key.pem");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).expect("set");
    let folder = brim.folder();
    let environment = [("XDG_DATA_HOME", folder.to_str().expect("UTF-8"))];
    let arguments = ["dev", &url, "--listen", "127.0.0.1:0", "--https=127.0.0.1:0"];
    let refused = Command::run_with(&arguments, &environment);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("others than its owner may use it"), "{}", refused.stderr);
}
