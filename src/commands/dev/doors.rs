//! Where a development edge listens: where it is told to, or at the first port that is free.

use super::Options;
use crate::config;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

const HTTP_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;
/// Ports that are looked at.
const TRIES: u16 = 100;

pub(super) struct Doors {
    http: SocketAddr,
    https: Option<SocketAddr>,
    pub(super) admin: SocketAddr,
    /// Something stands in front of the edge.
    is_behind: bool,
}

impl Doors {
    /// An error names the address.
    pub(super) fn choose(options: &Options) -> io::Result<Self> {
        let mut taken: Vec<u16> = options.origin.own_port().into_iter().collect();
        let mut choose = |told: Option<SocketAddr>, port: u16| {
            let chosen = match told {
                Some(address) if address.port() > 0 && taken.contains(&address.port()) => {
                    return Err(io::Error::other(format!(
                        "cannot listen on {address}: the port is that of {}",
                        options.origin.server.url()
                    )));
                }
                Some(address) => address,
                None => free(port, &taken)?,
            };
            taken.push(chosen.port());
            Ok(chosen)
        };
        Ok(Self {
            http: choose(options.listen, HTTP_PORT)?,
            https: options.https.map(|told| choose(told, HTTPS_PORT)).transpose()?,
            admin: choose(options.admin, config::ADMIN.port())?,
            is_behind: options.simulated.iter().any(super::Simulated::is_latency),
        })
    }

    /// Where clients come in.
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        [self.http].into_iter().chain(self.https)
    }

    /// Where the edge itself listens.
    pub(super) fn of_edge(&self) -> (SocketAddr, Option<SocketAddr>) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        match self.is_behind {
            true => (any, self.https.map(|_| any)),
            false => (self.http, self.https),
        }
    }

    /// Names for the certificate.
    pub(super) fn names(&self, more: &[String]) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        let own = self.https.map(|address| address.ip()).filter(|ip| !ip.is_unspecified());
        names.extend(own.as_ref().map(IpAddr::to_string));
        names.extend_from_slice(more);
        let mut seen = Vec::new();
        names.retain(|name| {
            let is_new = !seen.contains(name);
            seen.push(name.clone());
            is_new
        });
        names
    }
}

fn free(first: u16, taken: &[u16]) -> io::Result<SocketAddr> {
    let mut last = None;
    for port in first..first + TRIES {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match TcpListener::bind(address) {
            Ok(_) if !taken.contains(&port) => return Ok(address),
            Ok(_) => {}
            Err(error) => last = Some(error),
        }
    }
    let why = last.map_or_else(String::new, |error| format!(": {error}"));
    Err(io::Error::other(format!(
        "cannot listen on any port from {first} to {} of 127.0.0.1{why}",
        first + TRIES - 1
    )))
}
