//! Clients that show who they are, and what origins are told of it (RFC 9440).

use crate::kit::tls::{Authority, Issued, Order, TlsClients};
use crate::kit::{Brim, Client, Origin, PATIENCE, get, get_with, ok_with};
use rustls::version::{TLS12, TLS13};
use std::path::Path;
use std::time::Instant;

const RESUMED: &str = "brim_tls_handshakes_total{result=\"resumed\"}";

/// An edge that asks clients for certificates of `clients`.
fn edge(origin: &Origin, all: &All, auth: &str, site: &str) -> Brim {
    let certificate = all.servers.issue(&["a.test"]).write(all.folder.path(), "a");
    std::fs::write(all.ca(), all.clients.pem()).expect("written");
    let server =
        format!("[server.tls]\nclient_ca = '{}'\nclient_auth = '{auth}'\n", all.ca().display());
    Brim::over_tls(origin.address(), &certificate, &server, site)
}

struct All {
    servers: Authority,
    clients: Authority,
    folder: tempfile::TempDir,
}

impl All {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self { servers: Authority::new(), clients: Authority::new(), folder }
    }

    fn ca(&self) -> std::path::PathBuf {
        self.folder.path().join("clients.pem")
    }

    fn showing(&self, own: &Issued) -> TlsClients {
        TlsClients::showing(self.servers.der(), &TLS13, own)
    }

    fn ask(&self, brim: &Brim, clients: &TlsClients) -> Option<u16> {
        clients.ask(brim.https(), "a.test", &get("/")).map(|answer| answer.status)
    }
}

#[test]
fn where_a_certificate_is_required_nobody_is_answered_without_a_good_one() {
    let all = All::new();
    let origin = Origin::ok();
    let brim = edge(&origin, &all, "required", "");
    let (good, strange) = (all.clients.issue(&["client"]), all.servers.issue(&["client"]));
    let old = Order { names: &["client"], valid: (-20, -10), ..Order::default() };
    let old = all.clients.issue_as(&old);
    for version in [&TLS12, &TLS13] {
        for (shown, status) in [(&good, Some(200)), (&strange, None), (&old, None)] {
            let clients = TlsClients::showing(all.servers.der(), version, shown);
            assert_eq!(all.ask(&brim, &clients), status);
        }
        let nameless = TlsClients::of_version(all.servers.der(), version);
        assert_eq!(all.ask(&brim, &nameless), None);
    }
    assert_eq!(origin.requests(), 2);
    assert_eq!(brim.error_log_so_far("WARN"), None);
    // Without TLS there is nothing to show.
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200);
}

#[test]
fn where_it_is_optional_nobody_needs_one_but_a_bad_one_is_refused() {
    let all = All::new();
    let brim = edge(&Origin::ok(), &all, "optional", "");
    let good = all.showing(&all.clients.issue(&["client"]));
    let strange = all.showing(&all.servers.issue(&["client"]));
    assert_eq!(all.ask(&brim, &good), Some(200));
    assert_eq!(all.ask(&brim, &strange), None);
    assert_eq!(all.ask(&brim, &all.servers.trusting_client()), Some(200));
}

/// The value of Client-Cert that the origin saw.
fn told(head: &str) -> Vec<String> {
    let lines = head
        .lines()
        .filter(|line| line.to_ascii_lowercase().replace('_', "-").starts_with("client-cert"));
    lines.map(str::to_owned).collect()
}

/// The same as the certificate itself says it.
fn value(issued: &Issued) -> String {
    let base64: String = issued.cert.lines().filter(|line| !line.starts_with('-')).collect();
    format!("Client-Cert: :{}:", base64.trim())
}

#[test]
fn an_origin_is_told_of_the_certificate_by_what_is_passed_and_by_nothing_else() {
    let all = All::new();
    let origin = Origin::serving(|_, _| ok_with("Cache-Control: max-age=60\r\n", "ok"));
    let rule = "[[site.rule]]\npath = '/private/*'\ncache = false";
    let brim = edge(&origin, &all, "optional", rule);
    let issued = all.clients.issue(&["client"]);
    let clients = all.showing(&issued);
    let lie = "Client-Cert: :AAAA:\r\nClient_Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\n";
    let post = format!("POST /p HTTP/1.1\r\nHost: a.test\r\n{lie}Content-Length: 0\r\n\r\n");
    for is_new in [true, false] {
        let mut client = clients.connect(brim.https(), "a.test");
        for request in [get_with("/private/a", lie), post.clone()] {
            client.ask(request);
            assert_eq!(told(&origin.last_head()), [value(&issued)]);
        }
        assert_eq!(client.is_resumed(), !is_new);
    }
    assert_eq!(brim.metric(RESUMED), 1);
    // What everybody gets depends on nobody's certificate.
    clients.connect(brim.https(), "a.test").ask(get_with("/shared", lie));
    assert_eq!(told(&origin.last_head()), [""; 0]);
    let mut nameless = all.servers.trusting_client().connect(brim.https(), "a.test");
    assert_eq!(nameless.ask(get("/shared")).told(), "brim; hit");
    nameless.ask(get_with("/private/a", lie));
    assert_eq!(told(&origin.last_head()), [""; 0]);
    Client::connect(brim.address()).ask(get_with("/private/a", lie));
    assert_eq!(told(&origin.last_head()), [""; 0]);
}

#[test]
fn what_an_origin_says_to_depend_on_the_certificate_is_not_kept() {
    let all = All::new();
    let fields = "Cache-Control: max-age=60\r\nVary: Client-Cert\r\n";
    let brim = edge(&Origin::answering(ok_with(fields, "")), &all, "optional", "");
    let mut client = all.showing(&all.clients.issue(&["client"])).connect(brim.https(), "a.test");
    assert_eq!(client.ask(get("/")).told(), "brim; fwd=uri-miss; detail=vary-any");
}

#[test]
fn what_is_answered_to_a_certificate_is_nobody_elses() {
    let all = All::new();
    let fields = "Cache-Control: max-age=60\r\nContent-Location: /p\r\n";
    let origin = Origin::serving(move |head, _| ok_with(fields, &told(head).len().to_string()));
    let brim = edge(&origin, &all, "optional", "");
    let post = "POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    // Without one, the answer to a POST may be kept.
    let mut nameless = all.servers.trusting_client().connect(brim.https(), "a.test");
    assert_eq!(nameless.ask(post).told(), "brim; fwd=method; stored");
    let mut client = all.showing(&all.clients.issue(&["client"])).connect(brim.https(), "a.test");
    let answer = client.ask(post);
    assert_eq!((answer.text(), answer.told()), ("1".into(), "brim; fwd=method".into()));
    assert_eq!(nameless.ask(get("/p")).text(), "0");
}

#[test]
fn a_trusted_proxy_is_believed_what_it_tells_of_its_clients_certificate() {
    let origin = Origin::ok();
    let trusting = |networks: &str| {
        Brim::configured(&format!(
            "[server]\nhttp = ['127.0.0.1:0']\ntrusted_proxies = [{networks}]\n[[origin]]\n\
             name = 'o'\nservers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n\
             [[site.rule]]\npath = '/private'\ncache = false\n",
            origin.address()
        ))
    };
    let lines = "Client-Cert: :MIIB:\r\nClient-Cert-Chain: :MIIC:\r\n";
    for (networks, expected) in [
        ("'127.0.0.1'", &["Client-Cert: :MIIB:", "Client-Cert-Chain: :MIIC:"][..]),
        ("'192.0.2.1'", &[]),
    ] {
        let brim = trusting(networks);
        Client::connect(brim.address()).ask(get_with("/private", lines));
        assert_eq!(told(&origin.last_head()), expected);
        Client::connect(brim.address()).ask(get_with("/shared", lines));
        assert_eq!(told(&origin.last_head()), [""; 0]);
    }
}

#[test]
fn whoever_is_no_longer_believed_does_not_come_back_with_an_old_session() {
    let all = All::new();
    let brim = edge(&Origin::ok(), &all, "required", "");
    for version in [&TLS12, &TLS13] {
        std::fs::write(all.ca(), all.clients.pem()).expect("written");
        let own = all.clients.issue(&["client"]);
        let clients = TlsClients::showing(all.servers.der(), version, &own);
        wait_until(|| all.ask(&brim, &clients) == Some(200));
        let mut again = clients.connect(brim.https(), "a.test");
        assert_eq!((again.ask(get("/")).status, again.is_resumed()), (200, true));
        let others = Authority::new();
        std::fs::write(all.ca(), others.pem()).expect("written");
        let new = TlsClients::showing(all.servers.der(), version, &others.issue(&["client"]));
        wait_until(|| all.ask(&brim, &new) == Some(200));
        assert_eq!(all.ask(&brim, &clients), None, "{version:?}");
        // Who is connected stays so.
        assert_eq!(again.ask(get("/")).status, 200);
    }
    // What is no authority at all changes nothing.
    std::fs::write(all.ca(), "nobody").expect("written");
    brim.wait_for_metric("brim_certificate_reloads_total{result=\"bad\"}", 1);
    brim.error_log("a changed client_ca cannot be used");
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn an_authority_that_is_none_fails_the_check_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[server]\n[server.tls]\nclient_ca = 'missing.pem'\n[[origin]]\nname = 'o'\n\
                servers = ['http://127.0.0.1:1']\n[[site]]\nhosts = ['*']\norigin = 'o'\n";
    let checked = brim::config::check(text, "edge.toml", Path::new(folder.path()));
    let found = checked.problems[0].to_string();
    let beginning = "edge.toml:3: server.tls.client_ca: expected a file with certificates in PEM; ";
    assert!(found.starts_with(beginning), "{found}");
}
