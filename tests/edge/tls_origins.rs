//! Origins over TLS: whom the edge believes, and who it is.

use crate::kit::{Brim, Client, Command, get};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// A certificate authority of the test's own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// How an origin secures itself.
struct Secured<'a> {
    issuer: &'a CertifiedIssuer<'static, KeyPair>,
    name: &'a str,
    is_expired: bool,
    /// Who has to have signed the client's certificate.
    clients: Option<&'a CertifiedIssuer<'static, KeyPair>>,
}

/// One whose certificate is made out to `name`.
fn origin(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> SocketAddr {
    Secured { issuer, name, is_expired: false, clients: None }.listen()
}

fn signed(
    name: &str,
    issuer: &CertifiedIssuer<'static, KeyPair>,
    is_expired: bool,
) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    if is_expired {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    (params.signed_by(&key, issuer).expect("signed"), key)
}

impl Secured<'_> {
    /// It answers with the Host that it saw, the name that was asked for, and whether the handshake
    /// was shortened.
    fn listen(&self) -> SocketAddr {
        let (certificate, key) = signed(self.name, self.issuer, self.is_expired);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(issuer) => {
                let mut roots = RootCertStore::empty();
                roots.add(issuer.der().clone()).expect("a root");
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let config = builder.with_single_cert(vec![certificate.der().clone()], key);
        let config = Arc::new(config.expect("a configuration"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let connection = ServerConnection::new(config.clone()).expect("a connection");
                std::thread::spawn(move || answer(StreamOwned::new(connection, stream)));
            }
        });
        address
    }
}

fn answer(stream: StreamOwned<ServerConnection, TcpStream>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while stream.read_line(&mut head).is_ok_and(|read| read > 0) {
        if !head.ends_with("\r\n\r\n") {
            continue;
        }
        let host = head.lines().find(|line| line.starts_with("Host: ")).unwrap_or_default();
        let connection = &stream.get_ref().conn;
        let asked_for = connection.server_name().unwrap_or("nobody");
        let is_short = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        let body = format!("{host} as {asked_for}{}", if is_short { " again" } else { "" });
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.get_mut().write_all(answer.as_bytes()).expect("written");
        head.clear();
    }
}

fn configuration(server: &str, lines: &str) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['https://{server}']\n\
         {lines}\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    )
}

fn brim_for(server: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> Brim {
    Brim::trusting(&issuer.pem(), &configuration(server, ""))
}

#[test]
fn an_origin_with_a_good_certificate_is_passed_to_over_tls() {
    let issuer = authority();
    let named = origin(&issuer, "localhost");
    let numbered = origin(&issuer, "127.0.0.1");
    for server in [format!("localhost:{}", named.port()), numbered.to_string()] {
        let brim = brim_for(&server, &issuer);
        let mut client = Client::connect(brim.address());
        for _ in 0..2 {
            let answer = client.ask(get("/"));
            let name = if server.starts_with("localhost") { "localhost" } else { "nobody" };
            assert_eq!((answer.status, answer.text()), (200, format!("Host: a.test as {name}")));
        }
    }
}

#[test]
fn an_origin_that_cannot_be_trusted_is_not_spoken_to() {
    let (issuer, stranger) = (authority(), authority());
    for (signed_by, name, is_expired) in [
        (&issuer, "other.test", false),
        (&stranger, "localhost", false),
        (&issuer, "localhost", true),
    ] {
        let address = Secured { issuer: signed_by, name, is_expired, clients: None }.listen();
        let brim = brim_for(&format!("localhost:{}", address.port()), &issuer);
        let answer = Client::connect(brim.address()).ask(get("/"));
        assert_eq!(answer.status, 502, "{name}");
        assert!(brim.access_log("origin_tls").contains("502"));
    }
}

#[test]
fn an_origin_can_have_an_authority_of_its_own_and_another_name() {
    let (issuer, others) = (authority(), authority());
    let address = origin(&issuer, "inside.test");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, issuer.pem()).expect("written");
    let ca = format!("ca = '{}'", file.display());
    for (lines, status) in [
        (format!("[origin.tls]\n{ca}\nserver_name = 'inside.test'"), 200),
        (format!("[origin.tls]\n{ca}\nserver_name = 'other.test'"), 502),
        (format!("[origin.tls]\n{ca}"), 502),
        ("[origin.tls]\nserver_name = 'inside.test'".to_owned(), 502),
    ] {
        let brim = Brim::trusting(&others.pem(), &configuration(&address.to_string(), &lines));
        let answer = Client::connect(brim.address()).ask(get("/"));
        assert_eq!(answer.status, status, "{lines}");
        assert!(status != 200 || answer.text() == "Host: a.test as inside.test");
    }
}

#[test]
fn whoever_is_told_to_believes_any_certificate_and_is_warned() {
    let (issuer, others) = (authority(), authority());
    let address = Secured { issuer: &issuer, name: "x.test", is_expired: true, clients: None };
    let server = format!("localhost:{}", address.listen().port());
    let text = configuration(&server, "[origin.tls]\nverify = false");
    let brim = Brim::trusting(&others.pem(), &text);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 200);
    assert!(brim.error_log("origin[0].tls.verify").contains("warning"));
}

#[test]
fn an_origin_that_wants_to_know_who_asks_is_shown_a_certificate() {
    let (issuer, clients) = (authority(), authority());
    let secured =
        Secured { issuer: &issuer, name: "localhost", is_expired: false, clients: Some(&clients) };
    let server = format!("localhost:{}", secured.listen().port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let shown = |name: &str, issuer| {
        let (certificate, key) = signed(name, issuer, false);
        let cert = file(&format!("{name}.pem"), certificate.pem());
        let key = file(&format!("{name}.key"), key.serialize_pem());
        format!("[origin.tls]\nclient_cert = '{cert}'\nclient_key = '{key}'")
    };
    for (lines, status) in [
        (shown("edge.test", &clients), 200),
        (shown("stranger.test", &issuer), 502),
        (String::new(), 502),
    ] {
        let brim = Brim::trusting(&issuer.pem(), &configuration(&server, &lines));
        let answer = Client::connect(brim.address()).ask(get("/"));
        assert_eq!(answer.status, status, "{lines}");
    }
    // A key of another certificate is nothing to start with.
    let (certificate, _) = signed("a.test", &clients, false);
    let (_, key) = signed("a.test", &clients, false);
    let (cert, key) = (file("a.pem", certificate.pem()), file("a.key", key.serialize_pem()));
    let lines = format!("[origin.tls]\nclient_cert = '{cert}'\nclient_key = '{key}'");
    let config = file("edge.toml", configuration(&server, &lines));
    let run = Command::run_with(&["run", "--config", &config], &[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("a.pem"), "{}", run.stderr);
}

#[test]
fn a_handshake_that_stops_is_over_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("bound");
    let server = silent.local_addr().expect("an address").to_string();
    let text = configuration(&server, "tls_timeout = '200ms'");
    let brim = Brim::trusting(&authority().pem(), &text);
    assert_eq!(Client::connect(brim.address()).ask(get("/")).status, 504);
    assert!(brim.access_log("origin_connect_timeout").contains("504"));
}

#[test]
fn a_new_connection_to_a_known_origin_takes_a_shorter_handshake() {
    let issuer = authority();
    let server = format!("localhost:{}", origin(&issuer, "localhost").port());
    let brim = brim_for(&server, &issuer);
    let mut client = Client::connect(brim.address());
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n";
    let texts: Vec<String> = (0..3).map(|_| client.ask(post).text()).collect();
    assert_eq!(texts[0], "Host: a.test as localhost");
    assert_eq!(texts[2], "Host: a.test as localhost again");
}

#[test]
fn roots_that_cannot_be_used_fail_the_start_with_one_line_where_they_are_needed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .expect("written");
    let text = "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['https://a.test']\n\
                [[site]]\nhosts = ['*']\norigin = 'o'\n";
    std::fs::write(&file, text).expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_brim"))
        .args(["run", "--config", file.to_str().expect("a path")])
        .env("SSL_CERT_FILE", &roots)
        .output()
        .expect("run");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    let beginning = "brim: origin \"o\": root certificates for https: ";
    assert!(told.starts_with(beginning), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");

    let plain = Brim::trusting(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &text.replace("https", "http"),
    );
    assert_eq!(Client::connect(plain.address()).ask("GET / HTTP/1.0\r\n\r\n").status, 502);
}
