//! Origins over TLS: the certificate is verified, always.

use crate::kit::{Brim, Client, get};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

/// A certificate authority of the test's own.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
}

/// An origin whose certificate is made out to `name`; it answers with the Host that it saw.
fn origin(issuer: &CertifiedIssuer<'static, KeyPair>, name: &str) -> SocketAddr {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a configuration");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).expect("a connection");
            std::thread::spawn(move || {
                let mut stream = BufReader::new(StreamOwned::new(connection, stream));
                let mut head = String::new();
                while stream.read_line(&mut head).is_ok_and(|read| read > 0) {
                    if head.ends_with("\r\n\r\n") {
                        let host = head.lines().find(|line| line.starts_with("Host: "));
                        let host = host.unwrap_or_default();
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}",
                            host.len()
                        );
                        stream.get_mut().write_all(answer.as_bytes()).expect("written");
                        head.clear();
                    }
                }
            });
        }
    });
    address
}

fn brim_for(server: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> Brim {
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[[origin]]\nname = 'o'\nservers = ['https://{server}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    Brim::trusting(&issuer.pem(), &text)
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
            assert_eq!((answer.status, answer.text().as_str()), (200, "Host: a.test"), "{server}");
        }
    }
}

#[test]
fn an_origin_that_cannot_be_trusted_is_not_spoken_to() {
    let (issuer, stranger) = (authority(), authority());
    for (signed_by, name) in [(&issuer, "other.test"), (&stranger, "localhost")] {
        let address = origin(signed_by, name);
        let brim = brim_for(&format!("localhost:{}", address.port()), &issuer);
        let answer = Client::connect(brim.address()).ask(get("/"));
        assert_eq!(answer.status, 502, "{name}");
        assert!(brim.access_log("origin_tls").contains("502"));
    }
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
    assert!(told.starts_with("brim: root certificates for https origins: "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");

    let plain = Brim::trusting(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        &text.replace("https", "http"),
    );
    assert_eq!(Client::connect(plain.address()).ask("GET / HTTP/1.0\r\n\r\n").status, 502);
}
