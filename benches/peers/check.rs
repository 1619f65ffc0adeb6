//! One answer, as it came: a measurement of wrong answers would be none.

use crate::load::content_length;
use crate::rows::Way;
use crate::{HOST, machine};
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// Of HTTP/1.1. Over HTTP/2 the head is not looked at.
#[derive(Default)]
pub(crate) struct Answer {
    /// With the empty line.
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

/// Asks as the load does; over TLS, who shows another certificate is not believed.
pub(crate) fn ask(
    way: Way,
    (plain, tls): (SocketAddr, SocketAddr),
    certificate: CertificateDer<'static>,
    path: &str,
) -> io::Result<Answer> {
    match way {
        Way::Plain => ask_plain(plain, path),
        Way::Tls => ask_tls(tls, certificate, path),
        Way::Http2 { .. } => ask_http2(tls, path),
    }
}

pub(crate) fn ask_plain(address: SocketAddr, path: &str) -> io::Result<Answer> {
    read_answer(connect(address)?, path)
}

/// Only with what everybody is told to use, so that nobody has less to encrypt.
fn ask_tls(
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    path: &str,
) -> io::Result<Answer> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]);
    let builder = builder.map_err(io::Error::other)?.with_root_certificates(roots);
    let config = builder.with_no_client_auth();
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    read_answer(StreamOwned::new(session, connect(address)?), path)
}

/// Asks with the client that comes with the load generator.
fn ask_http2(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let program =
        machine::program("nghttp").ok_or_else(|| io::Error::other("nghttp is missing"))?;
    let mut command = Command::new(program);
    command.args(["--no-verify-peer", "--timeout=10", "-H", &format!(":authority: {HOST}")]);
    let output = command.arg(format!("https://{address}{path}")).output()?;
    Ok(Answer { head: Vec::new(), body: output.stdout })
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read_answer(mut stream: impl Read + Write, path: &str) -> io::Result<Answer> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
    stream.flush()?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let head_ends = memchr::memmem::find(&bytes, b"\r\n\r\n").map(|position| position + 4);
        if let Some(head_ends) = head_ends {
            let length = content_length(&bytes[..head_ends]).ok_or_else(|| {
                io::Error::other(format!(
                    "no length: {}",
                    String::from_utf8_lossy(&bytes[..head_ends])
                ))
            })?;
            if bytes.len() >= head_ends + length {
                let body = bytes.split_off(head_ends);
                return Ok(Answer { head: bytes, body });
            }
        }
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}
