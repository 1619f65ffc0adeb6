//! The development server: how it is named, how the edge treats it, and what is told while it is not
//! there yet.

use super::screen::Screen;
use crate::config::{HostHeader, OriginServer, Place, Settings, values};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

const PAGE: &str = include_str!("trouble.html");

/// Between two looks whether it is there.
const LOOKS_EVERY: Duration = Duration::from_millis(500);
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// A development server, and the page that its user has in mind.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) server: OriginServer,
    /// Path and query as the command line says them, for the greeting.
    pub(super) path: String,
}

/// Reads what the command line says: a URL with or without a path, `host:port`, or a port.
pub(crate) fn target(text: &str) -> Result<Target, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let whole = if is_port {
        format!("http://localhost:{port}")
    } else if text.contains("://") || text.starts_with("unix:") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let after_scheme = whole.find("://").map_or(whole.len(), |at| at + "://".len());
    let path_at = whole[after_scheme..].find(['/', '?', '#']).map(|at| after_scheme + at);
    let (base, path) = whole.split_at(path_at.unwrap_or(whole.len()));
    let server = values::origin_server(base)
        .map_err(|expected| format!("{expected}, or a port of this machine alone, such as 5173"))?;
    // The fragment is the browser's own business.
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    Ok(Target { server, path })
}

impl Target {
    /// Its port, where it is on this machine.
    pub(super) fn own_port(&self) -> Option<u16> {
        match &self.server.place {
            Place::Net(host, port) if is_here(host) => Some(*port),
            Place::Net(..) | Place::Unix(_) => None,
        }
    }

    /// Puts it behind the edge.
    pub(super) fn stand_behind(&self, settings: &mut Settings, host_header: Option<HostHeader>) {
        let is_here = match &self.server.place {
            Place::Net(host, _) => is_here(host),
            Place::Unix(_) => true,
        };
        for origin in settings.origins.iter_mut().map(Arc::make_mut) {
            origin.servers = vec![self.server.clone()];
            origin.redirects_stay = true;
            // On this machine nobody is in between, and certificates are homemade.
            origin.tls.verify = !is_here;
        }
        // Development servers take any Host of this machine, and compare it with the Origin of forms;
        // a server elsewhere knows itself by its own name only.
        let suits = if is_here { HostHeader::Client } else { HostHeader::Origin };
        for site in settings.sites.iter_mut().map(Arc::make_mut) {
            site.host_header = host_header.unwrap_or(suits);
        }
    }

    /// What whoever navigates is shown until it answers.
    pub(super) fn page(&self) -> String {
        let escaped = |text: &str| {
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
        };
        PAGE.replace("{origin}", &escaped(&self.server.url()))
    }
}

/// The edge goes to this address instead of the server's own, which stays its name.
pub(super) fn lead_to(settings: &mut Settings, address: SocketAddr) {
    for origin in settings.origins.iter_mut().map(Arc::make_mut) {
        for server in &mut origin.servers {
            if let Place::Net(host, _) = &server.place {
                origin.tls.server_name.get_or_insert_with(|| host.clone());
            }
            server.place = Place::Net(address.ip().to_string(), address.port());
        }
    }
}

fn is_here(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    let is_local = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    address.map_or_else(|_| is_localhost(host), is_local)
}

fn is_localhost(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

/// Every address that it may have, for whoever connects to it beside the edge.
pub(super) fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    let found = (host, port).to_socket_addrs().map(Iterator::collect);
    let mut found: Vec<SocketAddr> = found.unwrap_or_default();
    if is_localhost(host) {
        let both: [IpAddr; 2] = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
        found.extend(both.map(|address| SocketAddr::from((address, port))));
    }
    found
}

/// Says that nobody is there, if so, and when somebody is.
pub(super) fn tell_when_it_answers(server: OriginServer, screen: Screen) {
    std::thread::spawn(move || {
        let url = server.url();
        if is_there(&server) {
            return;
        }
        let meanwhile = "requests are answered with 502 until somebody does";
        screen.event("WAITING", &format!("nobody answers at {url} yet; {meanwhile}"));
        while !is_there(&server) {
            std::thread::sleep(LOOKS_EVERY);
        }
        screen.event("READY", &format!("{url} answers now"));
    });
}

fn is_there(server: &OriginServer) -> bool {
    match &server.place {
        Place::Net(host, port) => addresses(host, *port)
            .iter()
            .any(|address| TcpStream::connect_timeout(address, CONNECTED_WITHIN).is_ok()),
        Place::Unix(path) => UnixStream::connect(path).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_url_or_less() {
        for (text, url, path) in [
            ("http://localhost:5173", "http://localhost:5173", "/"),
            ("http://localhost:5173/", "http://localhost:5173", "/"),
            ("http://localhost:5173/base/?a#b", "http://localhost:5173", "/base/?a"),
            ("localhost:3000", "http://localhost:3000", "/"),
            ("5173", "http://localhost:5173", "/"),
            (":5173", "http://localhost:5173", "/"),
            ("https://[::1]:1/x", "https://[::1]:1", "/x"),
            ("unix:/run/app.sock", "unix:/run/app.sock", "/"),
        ] {
            let target = target(text).expect(text);
            assert_eq!((target.server.url().as_str(), target.path.as_str()), (url, path), "{text}");
        }
        for bad in ["", "ftp://a", "http://", "99999", "http://a:b", "http://u:p@a", "a b"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}
