//! A new connection to a server: the first of its addresses that answers, and TLS over it.

use super::Fault;
use super::tls::Tls;
use crate::config::{Http2, Origin, OriginServer, Place};
use pingora::protocols::ALPN;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Socket;
use pingora::protocols::tls::client::handshake;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an address has before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// A connection that nobody has used.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    /// HTTP/2 is spoken on it.
    pub(super) is_http2: bool,
    /// Where it leads; `None` for a socket in the file system.
    pub(super) address: Option<SocketAddr>,
}

/// Why there is no connection.
#[derive(Clone)]
pub(super) struct NotConnected {
    pub(super) fault: Fault,
    /// In the words of whoever knows more.
    pub(super) reason: String,
    is_counted: Arc<AtomicBool>,
}

impl NotConnected {
    pub(super) fn new(fault: Fault, reason: String) -> Self {
        Self { fault, reason, is_counted: Arc::default() }
    }

    /// Nothing that the server has to answer for.
    pub(super) fn blameless(fault: Fault, reason: String) -> Self {
        Self { fault, reason, is_counted: Arc::new(AtomicBool::new(true)) }
    }

    /// Whether it is to be counted as a failure: once, however many waited for the connection.
    pub(super) fn counts(&self) -> bool {
        !self.is_counted.swap(true, Ordering::Relaxed)
    }

    fn of(error: &io::Error) -> Self {
        let fault = match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Fault::Refused,
            io::ErrorKind::TimedOut => Fault::ConnectTimeout,
            _ => Fault::Unreachable,
        };
        Self::new(fault, error.to_string())
    }
}

/// Connects to one of these addresses, or to the server's socket. Only HTTP/1.1 can be upgraded to
/// other protocols.
pub(super) async fn dial(
    server: &OriginServer,
    addresses: &[SocketAddr],
    origin: &Origin,
    tls: Option<&Tls>,
    needs_http1: bool,
) -> Result<Dialled, NotConnected> {
    let (socket, address) = match &server.place {
        Place::Unix(path) => (to_socket(path, origin.connect_timeout).await?, None),
        Place::Net(..) => {
            let (stream, address) = to_network(addresses, origin.connect_timeout).await?;
            (Socket::from(stream), Some(address))
        }
    };
    let Some(tls) = tls.filter(|_| server.tls) else {
        let is_http2 = origin.http2 == Http2::Always && !needs_http1;
        return Ok(Dialled { stream: Box::new(socket), is_http2, address });
    };
    let name = tls.name(server);
    let shaking = handshake(tls.connector(needs_http1), name, socket);
    let stream = match timeout(origin.tls_timeout, shaking).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            return Err(NotConnected::new(Fault::Tls, error.to_string()));
        }
        Err(_) => {
            let reason = format!("no TLS within {:?}", origin.tls_timeout);
            return Err(NotConnected::new(Fault::ConnectTimeout, reason));
        }
    };
    let stream: Stream = Box::new(stream);
    let is_http2 = stream.selected_alpn_proto() == Some(ALPN::H2);
    if !is_http2 && origin.http2 == Http2::Always && !needs_http1 {
        let reason = "it does not speak HTTP/2".to_owned();
        return Err(NotConnected::new(Fault::Tls, reason));
    }
    Ok(Dialled { stream, is_http2, address })
}

async fn to_socket(path: &Path, within: Duration) -> Result<Socket, NotConnected> {
    let connected = timeout(within, UnixStream::connect(path)).await;
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map(Socket::from).map_err(|error| NotConnected::of(&error))
}

/// One after the other, but none waits for the one before longer than its head start.
async fn to_network(
    addresses: &[SocketAddr],
    within: Duration,
) -> Result<(TcpStream, SocketAddr), NotConnected> {
    let connected = match addresses {
        [only] => timeout(within, to_address(*only)).await,
        several => timeout(within, to_first(several)).await,
    };
    let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    connected.map_err(|error| NotConnected::of(&error))
}

async fn to_address(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    // Heads and small bodies are written at once, and waited for.
    stream.set_nodelay(true)?;
    Ok((stream, address))
}

async fn to_first(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "its name has no address");
    let mut tries = JoinSet::new();
    let mut left = addresses.iter();
    loop {
        if let Some(address) = left.next() {
            tries.spawn(to_address(*address));
        } else if tries.is_empty() {
            return Err(error);
        }
        let patience = if left.len() > 0 { HEAD_START } else { Duration::MAX };
        match timeout(patience, tries.join_next()).await {
            Ok(Some(Ok(Ok(connected)))) => return Ok(connected),
            Ok(Some(Ok(Err(failed)))) => error = failed,
            // One that has not come back is not waited for by the next.
            Ok(Some(Err(_)) | None) | Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::OwnedFd;

    /// Somebody who neither takes connections nor refuses them, for as long as these live.
    fn black_hole() -> (SocketAddr, TcpListener, Vec<OwnedFd>) {
        let (family, flags) = (AddressFamily::INET, SocketFlags::NONBLOCK);
        let socket = || socket_with(family, SocketType::STREAM, flags, None).expect("a socket");
        let full = socket();
        bind(&full, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("bound");
        listen(&full, 0).expect("listening");
        let full = TcpListener::from(full);
        let address = full.local_addr().expect("an address");
        let waiting: Vec<OwnedFd> = (0..8).map(|_| socket()).collect();
        for socket in &waiting {
            // They are in the queue, or wait for a place in it.
            let _ = rustix::net::connect(socket, &address);
        }
        (address, full, waiting)
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_costs_its_head_start() {
        let (nowhere, _full, _waiting) = black_hole();
        let good = TcpListener::bind("127.0.0.1:0").expect("bound");
        let good = good.local_addr().expect("an address");
        let began = std::time::Instant::now();
        let (_stream, address) = to_first(&[nowhere, good]).await.expect("connected");
        assert_eq!(address, good);
        assert!(began.elapsed() >= HEAD_START);
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing_and_the_last_one_says_why() {
        // Everything in the tests listens on 127.0.0.1.
        let refusing = "127.0.0.77:9".parse().expect("an address");
        let good = TcpListener::bind("127.0.0.1:0").expect("bound");
        let good = good.local_addr().expect("an address");
        assert_eq!(to_first(&[refusing, good]).await.expect("connected").1, good);
        let error = to_first(&[refusing, refusing]).await.expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = to_first(&[]).await.expect_err("there is nowhere to go");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
