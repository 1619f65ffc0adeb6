//! Connections to origin servers: pooled ones first, servers in turn, the next where one fails.

use super::Fault;
use super::idle::Idle;
use crate::config::{Origin, OriginServer};
use crate::transport::{self, Reader, Writer};
use crate::wire::HeadLimits;
use crate::wire::response::{self, ResponseHead};
use bytes::BytesMut;
use http::Method;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::Stream;
use pingora::tls::{RootCertStore, load_platform_certs_incl_env_into_store};
use pingora::upstreams::peer::{HttpPeer, Peer};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Idle connections kept over all origins.
const IDLE_CONNECTIONS_MAX: usize = 4096;
/// How long the addresses of a name are believed.
const ADDRESSES_LAST: Duration = Duration::from_secs(30);
/// How long a name that was not found is not asked for again.
const FAILURE_LASTS: Duration = Duration::from_secs(1);
/// An origin's promise to keep a connection is not trusted to its last moment.
const CLOSE_TAKES: Duration = Duration::from_secs(1);
/// Interim heads (1xx) before the final one of an answer.
const INTERIM_HEADS_MAX: usize = 32;

/// All origins and the connections to them.
pub struct Upstream {
    connector: TransportConnector,
    idle: Arc<Idle>,
    origins: Vec<OriginState>,
}

struct OriginState {
    settings: Arc<Origin>,
    servers: Vec<Server>,
    turn: AtomicUsize,
}

struct Server {
    settings: OriginServer,
    /// Of a name. Locked while they are looked up, so that one request asks for all.
    addresses: Mutex<Addresses>,
}

#[derive(Default)]
struct Addresses {
    found: Vec<SocketAddr>,
    believed_until: Option<Instant>,
}

/// A connection on which one request may be sent.
pub struct Connection {
    /// What the origin sends.
    pub answer: Answer,
    /// What the origin receives.
    pub writer: Writer,
    /// The server's own `host[:port]`.
    pub authority: String,
    /// It carried requests before, so that the origin may have closed it meanwhile.
    pub is_reused: bool,
    /// How long it may be kept unused.
    pub idle_timeout: Duration,
    pool_key: u64,
}

/// What an origin sends on one connection in answer to one request.
pub struct Answer {
    /// The bytes behind the heads that were taken off.
    pub reader: Reader,
    interim_heads: usize,
}

impl Upstream {
    /// Nothing is connected yet. Fails when an origin needs root certificates and there are none
    /// that can be used.
    pub fn new(origins: &[Arc<Origin>]) -> io::Result<Self> {
        // Its pool stays empty; ours is `idle`.
        let mut options = ConnectorOptions::new(1);
        options.ca_file = roots(origins)?;
        let origins = origins.iter().map(|settings| OriginState {
            settings: settings.clone(),
            servers: settings
                .servers
                .iter()
                .map(|server| Server { settings: server.clone(), addresses: Mutex::default() })
                .collect(),
            turn: AtomicUsize::new(0),
        });
        let connector = TransportConnector::new(Some(options));
        Ok(Self { connector, idle: Idle::new(IDLE_CONNECTIONS_MAX), origins: origins.collect() })
    }

    /// The settings of the origin at this position.
    pub fn settings(&self, origin: usize) -> &Arc<Origin> {
        &self.origins[origin].settings
    }

    /// A connection to one of the origin's servers; a pooled one unless `fresh`. A server that
    /// cannot be connected to is skipped for the next.
    pub async fn connect(&self, origin: usize, fresh: bool) -> Result<Connection, Fault> {
        let origin = &self.origins[origin];
        let first = origin.turn.fetch_add(1, Ordering::Relaxed);
        let mut fault = Fault::Unreachable;
        for offset in 0..origin.servers.len() {
            let server = &origin.servers[first.wrapping_add(offset) % origin.servers.len()];
            let peers = server.peers(&origin.settings).await;
            // A pooled connection to any address is better than a new one to the first.
            for peer in peers.iter().filter(|_| !fresh) {
                if let Some(stream) = self.idle.take(peer.reuse_hash()) {
                    return Ok(Connection::new(stream, true, peer, &origin.settings, server));
                }
            }
            for peer in &peers {
                match self.connector.new_stream(peer).await {
                    Ok(stream) => {
                        return Ok(Connection::new(stream, false, peer, &origin.settings, server));
                    }
                    Err(error) => {
                        fault = Fault::of_connect(&error);
                        tracing::warn!(
                            origin = origin.settings.name,
                            server = server.settings.authority,
                            address = %peer.address(),
                            reason = fault.label(),
                            %error,
                            "no connection to an origin server"
                        );
                    }
                }
            }
        }
        Err(fault)
    }

    /// Keeps a connection whose answer was read to its end for the next request.
    pub fn release(&self, connection: Connection) {
        let Connection { answer, writer, pool_key, idle_timeout, .. } = connection;
        let (stream, unread) = transport::join(answer.reader, writer);
        // Bytes behind the answer belong to no request: whose would they be?
        if unread.is_empty() {
            self.idle.put(pool_key, stream, idle_timeout);
        }
    }
}

/// A file to take root certificates from instead of the system's. Pingora panics over roots that
/// it cannot load, so they are tried before; where no origin speaks TLS it gets none to load.
fn roots(origins: &[Arc<Origin>]) -> io::Result<Option<String>> {
    let needs_roots = origins.iter().flat_map(|origin| &origin.servers).any(|server| server.tls);
    if !needs_roots {
        return Ok(Some("/dev/null".into()));
    }
    let loaded = load_platform_certs_incl_env_into_store(&mut RootCertStore::empty());
    let named = |error| io::Error::other(format!("root certificates for https origins: {error}"));
    loaded.map_err(named).map(|()| None)
}

impl Server {
    /// What to connect to, one for each address.
    async fn peers(&self, origin: &Origin) -> Vec<HttpPeer> {
        let addresses = match self.settings.host.parse::<IpAddr>() {
            Ok(address) => vec![(address, self.settings.port).into()],
            Err(_) => self.look_up(origin.connect_timeout).await,
        };
        let peer = |address| {
            // A certificate is made out to a name; an address is looked for in it likewise.
            let mut peer = HttpPeer::new(address, self.settings.tls, self.settings.host.clone());
            peer.options.connection_timeout = Some(origin.connect_timeout);
            peer.options.total_connection_timeout = Some(origin.connect_timeout);
            peer
        };
        addresses.into_iter().map(peer).collect()
    }

    async fn look_up(&self, within: Duration) -> Vec<SocketAddr> {
        let mut known = self.addresses.lock().await;
        if known.believed_until.is_some_and(|until| Instant::now() < until) {
            return known.found.clone();
        }
        let name = (self.settings.host.as_str(), self.settings.port);
        let looked_up = match tokio::time::timeout(within, tokio::net::lookup_host(name)).await {
            Ok(result) => result,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let lasts = match looked_up {
            Ok(found) => {
                known.found = found.collect();
                ADDRESSES_LAST
            }
            // Addresses that worked are better than none.
            Err(error) => {
                tracing::warn!(host = self.settings.host, %error, "no address for an origin server");
                FAILURE_LASTS
            }
        };
        known.believed_until = Some(Instant::now() + lasts);
        known.found.clone()
    }
}

impl Connection {
    fn new(
        stream: Stream,
        is_reused: bool,
        peer: &HttpPeer,
        origin: &Origin,
        server: &Server,
    ) -> Self {
        let (reader, writer) = transport::split(stream, BytesMut::new(), origin.read_timeout);
        Self {
            answer: Answer { reader, interim_heads: 0 },
            writer,
            authority: server.settings.authority.clone(),
            is_reused,
            idle_timeout: origin.idle_timeout,
            pool_key: peer.reuse_hash(),
        }
    }
}

impl Connection {
    /// Keeps the connection no longer than the origin says that it will.
    pub fn heed(idle_timeout: &mut Duration, head: &ResponseHead) {
        if let Some(kept) = head.kept_for() {
            *idle_timeout = (*idle_timeout).min(kept.saturating_sub(CLOSE_TAKES));
        }
    }
}

impl Answer {
    /// The next head, interim ones included. Takes as long as it takes: the caller knows when the
    /// clock begins to run.
    pub async fn read_head(&mut self, method: &Method) -> Result<ResponseHead, Fault> {
        loop {
            let parsed = response::parse(&mut self.reader.buf, &HeadLimits::OF_ANSWERS, method);
            if let Some(head) = parsed.map_err(Fault::Garbage)? {
                self.interim_heads += usize::from(head.is_interim());
                if self.interim_heads > INTERIM_HEADS_MAX {
                    return Err(Fault::Garbage("there is no end of interim answers"));
                }
                return Ok(head);
            }
            let has_begun = self.interim_heads > 0 || !self.reader.buf.is_empty();
            match self.reader.fill(Duration::MAX).await {
                Ok(read) if read > 0 => {}
                _ if has_begun => return Err(Fault::Truncated),
                _ => return Err(Fault::Closed),
            }
        }
    }
}
