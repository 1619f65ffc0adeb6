//! Clients: connections of every kind, and those that ask for many objects.

use crate::edge::{Edge, HOST};
use bytes::Bytes;
use h2::client::SendRequest;
use pingora::tls::{ClientConfig, RootCertStore, ServerName, TlsConnector};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Head and body of an answer are read through it.
const ROOM_BYTES: usize = 4096;

/// What is spoken on a connection, and over what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) with_tls: bool,
    pub(crate) is_http2: bool,
}

/// One connection.
pub(crate) enum Client {
    Http1(Box<dyn ReadWrite>),
    Http2 { send: SendRequest<Bytes>, scheme: &'static str, driver: AbortHandle },
}

/// Bytes both ways.
pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

impl Drop for Client {
    fn drop(&mut self) {
        if let Self::Http2 { driver, .. } = self {
            driver.abort();
        }
    }
}

/// Opens connections of one kind to one edge.
pub(crate) struct Opener {
    manner: Manner,
    edge: SocketAddr,
    /// Of this address: each kind of connection has ports of its own.
    from: SocketAddr,
    connector: TlsConnector,
}

impl Opener {
    /// `number` tells kinds of connections apart.
    pub(crate) fn new(edge: &Edge, manner: Manner, number: u8) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(edge.certificate.clone()).map_err(io::Error::other)?;
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![if manner.is_http2 { "h2" } else { "http/1.1" }.into()];
        let edge = if manner.with_tls { edge.secured } else { edge.plain };
        let from = SocketAddr::from(([127, 0, 0, 10 + number], 0));
        Ok(Self { manner, edge, from, connector: TlsConnector::from(Arc::new(config)) })
    }

    /// With TLS and HTTP/2 as far as they go before the first request.
    pub(crate) async fn open(&self) -> io::Result<Client> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(self.from)?;
        let stream = socket.connect(self.edge).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn ReadWrite> = if self.manner.with_tls {
            let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
            Box::new(self.connector.connect(name, stream).await?)
        } else {
            Box::new(stream)
        };
        if !self.manner.is_http2 {
            return Ok(Client::Http1(stream));
        }
        let (send, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // Whoever asks on it sees why it has ended.
            let _ = connection.await;
        });
        let scheme = if self.manner.with_tls { "https" } else { "http" };
        Ok(Client::Http2 { send, scheme, driver: driver.abort_handle() })
    }
}

impl Client {
    /// Asks for an object, and takes all of it.
    pub(crate) async fn ask(&mut self, path: &str) -> io::Result<()> {
        match self {
            Self::Http1(stream) => {
                stream.write_all(request(path).as_bytes()).await?;
                read_answer(stream, &mut Vec::new()).await?;
            }
            Self::Http2 { send, scheme, .. } => {
                let request = http::Request::get(format!("{scheme}://{HOST}{path}"));
                let request = request.body(()).map_err(io::Error::other)?;
                let (answer, _) = send.send_request(request, true).map_err(io::Error::other)?;
                let mut body = answer.await.map_err(io::Error::other)?.into_body();
                while let Some(data) = body.data().await {
                    let data = data.map_err(io::Error::other)?;
                    let flow = body.flow_control();
                    flow.release_capacity(data.len()).map_err(io::Error::other)?;
                }
            }
        }
        Ok(())
    }
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

/// One whole answer, head and body, in `room`; the length of its head.
async fn read_answer(
    stream: &mut (impl AsyncRead + Unpin),
    room: &mut Vec<u8>,
) -> io::Result<usize> {
    room.clear();
    room.reserve(ROOM_BYTES);
    let mut wanted = None;
    loop {
        if stream.read_buf(room).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if wanted.is_none() {
            let Some(end) = memchr::memmem::find(room, b"\r\n\r\n") else { continue };
            let length =
                field(&room[..end], b"Content-Length").and_then(|value| value.parse().ok());
            let length: usize = length.ok_or_else(|| io::Error::other("no length"))?;
            wanted = Some((end + 4, end + 4 + length));
        }
        if let Some((head, all)) = wanted
            && room.len() >= all
        {
            return Ok(head);
        }
    }
}

/// The value of a field.
pub(crate) fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a str> {
    let lines = head.split(|byte| *byte == b'\n');
    let mut values = lines.filter_map(|line| {
        let (before, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        before.eq_ignore_ascii_case(name).then_some(value)
    });
    std::str::from_utf8(values.next()?).ok().map(str::trim)
}

/// One whole answer: its head, and the length of its body.
pub(crate) async fn answer_to(edge: SocketAddr, path: &str) -> io::Result<(Vec<u8>, usize)> {
    let mut stream = TcpStream::connect(edge).await?;
    stream.write_all(request(path).as_bytes()).await?;
    let mut room = Vec::new();
    let head = read_answer(&mut stream, &mut room).await?;
    let body = room.split_off(head);
    Ok((room, body.len()))
}

/// What came back.
#[derive(Clone, Copy, Default)]
pub(crate) struct Answers {
    pub(crate) all: u64,
    /// Without the origin.
    pub(crate) hits: u64,
}

/// So many clients, each with a connection, ask for what `next` says until it says nothing more.
pub(crate) async fn ask_all(
    edge: SocketAddr,
    clients: usize,
    next: impl FnMut() -> Option<String> + Clone + Send + 'static,
) -> io::Result<Answers> {
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let mut next = next.clone();
        running.spawn(async move {
            let mut stream = TcpStream::connect(edge).await?;
            stream.set_nodelay(true)?;
            let (mut room, mut answers) = (Vec::new(), Answers::default());
            while let Some(path) = next() {
                stream.write_all(request(&path).as_bytes()).await?;
                let head = read_answer(&mut stream, &mut room).await?;
                if !room.starts_with(b"HTTP/1.1 200 ") {
                    return Err(io::Error::other("an answer that is not good"));
                }
                let told = field(&room[..head], b"Cache-Status").unwrap_or_default();
                answers.all += 1;
                answers.hits += u64::from(told.contains("; hit"));
            }
            Ok(answers)
        });
    }
    let mut all = Answers::default();
    while let Some(ended) = running.join_next().await {
        let answers: io::Result<Answers> = ended.map_err(io::Error::other)?;
        let answers = answers?;
        (all.all, all.hits) = (all.all + answers.all, all.hits + answers.hits);
    }
    Ok(all)
}
