//! The ways into the edge: with and without TLS, and how a client's socket behaves.

use crate::client::{Http1, Http2, Stream};
use crate::question::HOST;
use pingora::tls::{CertificateDer, ClientConfig, RootCertStore, ServerName, TlsConnector};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// How a socket behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    /// It ends with RST in the place of FIN.
    pub(crate) resets: bool,
    /// The kernel takes hardly anything that nobody reads.
    pub(crate) has_little_room: bool,
}

/// Where the edge listens, and whom its clients believe.
pub(crate) struct Doors {
    pub(crate) plain: SocketAddr,
    pub(crate) secured: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Doors {
    pub(crate) fn new(
        plain: SocketAddr,
        secured: SocketAddr,
        certificate: CertificateDer<'static>,
    ) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(io::Error::other)?;
        let connector = |protocol: &[u8]| {
            let config = ClientConfig::builder().with_root_certificates(roots.clone());
            let mut config = config.with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        Ok(Self { plain, secured, http1: connector(b"http/1.1"), http2: connector(b"h2") })
    }

    pub(crate) async fn http1(&self, with_tls: bool) -> io::Result<Http1> {
        Ok(Http1::over(self.open(with_tls, &self.http1, Manner::default()).await?))
    }

    /// The connection goes on as long as the task that is told beside it.
    pub(crate) async fn http2(
        &self,
        with_tls: bool,
        manner: Manner,
    ) -> io::Result<(Http2, JoinHandle<()>)> {
        Http2::over(self.open(with_tls, &self.http2, manner).await?).await
    }

    async fn open(
        &self,
        with_tls: bool,
        connector: &TlsConnector,
        manner: Manner,
    ) -> io::Result<Box<dyn Stream>> {
        if !with_tls {
            return Ok(Box::new(connect(self.plain, manner).await?));
        }
        let stream = connect(self.secured, manner).await?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

pub(crate) async fn connect(edge: SocketAddr, manner: Manner) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if manner.resets {
        socket.set_zero_linger()?;
    }
    if manner.has_little_room {
        socket.set_recv_buffer_size(4096)?;
    }
    let stream = socket.connect(edge).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
