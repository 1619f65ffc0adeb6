//! Listening sockets: bound here, or taken over from the process before this one. The same open
//! socket serves both, with what waits in its backlog, so that nobody is turned away between them.

use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

/// Connections that wait to be accepted. Pingora raises it when it takes the socket over.
const LISTEN_BACKLOG: i32 = 1024;

/// A socket, and what it is for.
pub(super) struct Socket {
    /// Which service listens on it.
    pub(super) service: String,
    /// As the configuration says it: port 0 stands for whatever it came to be.
    pub(super) configured: SocketAddr,
    pub(super) listener: TcpListener,
}

#[derive(Default)]
pub(super) struct Sockets {
    /// From the process before, as long as nobody has asked for them.
    inherited: Vec<Socket>,
    /// Opened, and not yet asked for.
    prepared: Vec<Socket>,
    /// Copies of those in use, for the process after this one.
    in_use: Vec<Socket>,
}

impl Sockets {
    pub(super) fn inheriting(inherited: Vec<Socket>) -> Self {
        Self { inherited, ..Self::default() }
    }

    /// Opens a socket before it is asked for: what can fail does so early.
    pub(super) fn prepare(&mut self, service: &str, configured: SocketAddr) -> io::Result<()> {
        let listener = match self.inherited(service, configured) {
            Some(listener) => listener,
            None => listen(&configured).map_err(|error| {
                io::Error::other(format!("cannot listen on {configured}: {error}"))
            })?,
        };
        self.prepared.push(Socket { service: service.to_owned(), configured, listener });
        Ok(())
    }

    /// The socket for an address. An error names the address.
    pub(super) fn open(
        &mut self,
        service: &str,
        configured: SocketAddr,
    ) -> io::Result<TcpListener> {
        let is_it = |socket: &Socket| socket.service == service && socket.configured == configured;
        if !self.prepared.iter().any(is_it) {
            self.prepare(service, configured)?;
        }
        let place = self.prepared.iter().position(is_it);
        let place =
            place.ok_or_else(|| io::Error::other("a socket was opened and is not there"))?;
        let socket = self.prepared.remove(place);
        let listener = socket.listener.try_clone()?;
        self.in_use.push(socket);
        Ok(listener)
    }

    /// All in use, for the process after this one. As long as these are open, connections wait for
    /// somebody to accept them.
    pub(super) fn into_shared(self) -> Vec<Socket> {
        for Socket { configured, .. } in &self.inherited {
            tracing::info!(address = %configured, "no longer listening");
        }
        self.in_use
    }

    /// The one of the same service, or else the one that stands where this is to stand.
    fn inherited(&mut self, service: &str, configured: SocketAddr) -> Option<TcpListener> {
        let is_same = |socket: &Socket| socket.configured == configured;
        let all = &self.inherited;
        let of_service =
            || all.iter().position(|socket| is_same(socket) && socket.service == service);
        let of_others = || all.iter().position(|socket| is_same(socket) && configured.port() != 0);
        let stands_there = || {
            let is_there = |socket: &Socket| {
                socket.listener.local_addr().is_ok_and(|address| address == configured)
            };
            all.iter().position(is_there)
        };
        let place = of_service().or_else(of_others).or_else(stands_there)?;
        Some(self.inherited.remove(place).listener)
    }
}

/// An IPv6 listener takes IPv6 only, so that `0.0.0.0:80` and `[::]:80` can stand side by side.
fn listen(address: &SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, address)?;
    net::listen(&socket, LISTEN_BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(sockets: &[(&str, &str)]) -> Sockets {
        let socket = |(service, configured): &(&str, &str)| {
            let configured = configured.parse().expect("an address");
            let listener = listen(&configured).expect("bound");
            Socket { service: (*service).to_owned(), configured, listener }
        };
        Sockets::inheriting(sockets.iter().map(socket).collect())
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().expect("an address")
    }

    #[test]
    fn a_service_gets_its_own_sockets_in_their_order_and_binds_what_is_missing() {
        let mut sockets = inherited(&[
            ("edge", "127.0.0.1:0"),
            ("admin", "127.0.0.1:0"),
            ("edge", "127.0.0.1:0"),
        ]);
        let there: Vec<_> = sockets
            .inherited
            .iter()
            .map(|socket| socket.listener.local_addr().expect("an address"))
            .collect();
        let mut open = |service| {
            let listener = sockets.open(service, any()).expect("a socket");
            listener.local_addr().expect("an address")
        };
        assert_eq!([open("admin"), open("edge"), open("edge")], [there[1], there[0], there[2]]);
        assert!(!there.contains(&open("admin")));
        assert_eq!(sockets.into_shared().len(), 4);
    }

    #[test]
    fn a_socket_is_found_by_where_it_stands_and_what_nobody_wants_is_closed() {
        let mut sockets = inherited(&[("edge", "127.0.0.1:0"), ("edge", "127.0.0.1:0")]);
        let there = sockets.inherited[1].listener.local_addr().expect("an address");
        let unwanted = sockets.inherited[0].listener.local_addr().expect("an address");
        let listener = sockets.open("admin", there).expect("the socket that is there");
        assert_eq!(listener.local_addr().expect("an address"), there);
        let shared = sockets.into_shared();
        assert!(std::net::TcpStream::connect(unwanted).is_err());
        drop(listener);
        assert!(std::net::TcpStream::connect(there).is_ok(), "the copy keeps it open");
        drop(shared);
        assert!(std::net::TcpStream::connect(there).is_err());
    }
}
