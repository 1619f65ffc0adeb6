//! Connections to origin servers: pooled ones first, servers in turn, the next where one fails.

use super::Fault;
use crate::config::{Origin, OriginServer};
use crate::transport::{self, Reader, Writer};
use crate::wire::HeadLimits;
use crate::wire::response::{self, ResponseHead};
use bytes::BytesMut;
use http::Method;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::upstreams::peer::{HttpPeer, Peer};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Idle connections kept over all origins.
const IDLE_CONNECTIONS_MAX: usize = 4096;
/// How long the addresses of a name are believed.
const ADDRESSES_LAST: Duration = Duration::from_secs(30);
/// Interim heads (1xx) before the final one of an answer.
const INTERIM_HEADS_MAX: usize = 32;

/// All origins and the connections to them.
pub struct Upstream {
    connector: TransportConnector,
    origins: Vec<OriginState>,
}

struct OriginState {
    settings: Arc<Origin>,
    servers: Vec<Server>,
    turn: AtomicUsize,
}

struct Server {
    settings: OriginServer,
    addresses: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
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
    pool_key: u64,
    idle_timeout: Duration,
}

/// What an origin sends on one connection in answer to one request.
pub struct Answer {
    /// The bytes behind the heads that were taken off.
    pub reader: Reader,
    interim_heads: usize,
}

impl Upstream {
    /// Nothing is connected yet.
    pub fn new(origins: &[Arc<Origin>]) -> Self {
        let origins = origins.iter().map(|settings| OriginState {
            settings: settings.clone(),
            servers: settings
                .servers
                .iter()
                .map(|server| Server { settings: server.clone(), addresses: Mutex::default() })
                .collect(),
            turn: AtomicUsize::new(0),
        });
        Self {
            connector: TransportConnector::new(Some(ConnectorOptions::new(IDLE_CONNECTIONS_MAX))),
            origins: origins.collect(),
        }
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
            for address in server.addresses().await {
                match self.connect_to(&origin.settings, &server.settings, address, fresh).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => {
                        fault = Fault::of_connect(&error);
                        tracing::warn!(
                            origin = origin.settings.name,
                            server = server.settings.authority,
                            %address,
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

    async fn connect_to(
        &self,
        origin: &Origin,
        server: &OriginServer,
        address: SocketAddr,
        fresh: bool,
    ) -> pingora::Result<Connection> {
        // A certificate is made out to a name; an address is looked for among its subjects too.
        let mut peer = HttpPeer::new(address, server.tls, server.host.clone());
        peer.options.connection_timeout = Some(origin.connect_timeout);
        peer.options.total_connection_timeout = Some(origin.connect_timeout);
        let pool_key = peer.reuse_hash();
        let pooled = if fresh { None } else { self.connector.reused_stream(&peer).await };
        let is_reused = pooled.is_some();
        let stream = match pooled {
            Some(stream) => stream,
            None => self.connector.new_stream(&peer).await?,
        };
        let (reader, writer) = transport::split(stream, BytesMut::new(), origin.read_timeout);
        Ok(Connection {
            answer: Answer { reader, interim_heads: 0 },
            writer,
            authority: server.authority.clone(),
            is_reused,
            pool_key,
            idle_timeout: origin.idle_timeout,
        })
    }

    /// Keeps a connection whose answer was read to its end for the next request.
    pub fn release(&self, connection: Connection) {
        let Connection { answer, writer, pool_key, idle_timeout, .. } = connection;
        let (stream, unread) = transport::join(answer.reader, writer);
        // Bytes behind the answer belong to no request: whose would they be?
        if unread.is_empty() {
            self.connector.release_stream(stream, pool_key, Some(idle_timeout));
        }
    }
}

impl Server {
    async fn addresses(&self) -> Vec<SocketAddr> {
        if let Ok(address) = self.settings.host.parse::<IpAddr>() {
            return vec![(address, self.settings.port).into()];
        }
        let known = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((found_at, addresses)) = &known
            && found_at.elapsed() < ADDRESSES_LAST
        {
            return addresses.clone();
        }
        match tokio::net::lookup_host((self.settings.host.as_str(), self.settings.port)).await {
            Ok(found) => {
                let addresses: Vec<_> = found.collect();
                let mut known = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Some((Instant::now(), addresses.clone()));
                addresses
            }
            Err(error) => {
                tracing::warn!(host = self.settings.host, %error, "no address for an origin server");
                // An address that worked is better than none.
                known.map(|(_, addresses)| addresses).unwrap_or_default()
            }
        }
    }
}

impl Answer {
    /// The next head, interim ones included. Takes as long as it takes: the caller knows when the
    /// clock begins to run.
    pub async fn read_head(
        &mut self,
        method: &Method,
        limits: &HeadLimits,
    ) -> Result<ResponseHead, Fault> {
        loop {
            let parsed = response::parse(&mut self.reader.buf, limits, method);
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
