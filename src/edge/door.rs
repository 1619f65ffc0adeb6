//! From an accepted socket to a connection that speaks HTTP: whether there is a place for it, who is
//! at its other end, and over what it speaks.

use super::current::{Bound, Edge};
use super::guards::{Guards, Place, Tally};
use super::http2;
use super::own::Own;
use super::proxy_protocol;
use super::seats::{RESTS_AFTER, Seats};
use super::tls::{Insecure, Tls};
use super::vigil::Vigil;
use crate::access_log::AccessLog;
use crate::admin::gatekeeper::Gatekeeper;
use crate::config::{Limits, Listener, Settings};
use crate::engine::Engine;
use crate::metrics::{Closed, Metrics, Refused};
use crate::permits;
use arc_swap::{ArcSwap, Guard};
use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use prometheus::IntGauge;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;

/// Clients told at one time that there are too many connections.
const REFUSALS_MAX: usize = 256;

/// How long a connection that was asked to give way may take to do so.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// Where clients come in, as long as the process lives. What is said about requests may change
/// meanwhile: `edge` has it.
pub struct Door {
    current: ArcSwap<Edge>,
    /// Where a listener speaks TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// For what is about no site and no origin.
    pub(super) metrics: Arc<Metrics>,
    pub(super) running: TaskTracker,
    bound: Bound,
    places: Arc<Semaphore>,
    /// Becomes `true` when connections that ask for nothing are to end.
    leave: OnceLock<ShutdownWatch>,
    /// Clients beyond those places that are being told so.
    refusals: Semaphore,
    pub(super) seats: Seats,
    tally: Arc<Tally>,
}

/// Who is at the other end of a connection, and over what.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Who holds the connection.
    pub(super) peer: IpAddr,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// The good certificate that it has shown, as Client-Cert says it.
    pub(super) client_certificate: Option<Arc<str>>,
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        // Counted until the connection is over; shutdown waits for it.
        let running = self.running.token();
        let (door, mut shutdown) = (self.clone(), shutdown.clone());
        // A task of our own: Pingora's has room for its handshakes, more than all that is needed from
        // here on, and would keep it as long as the connection lives.
        tokio::spawn(async move {
            let _running = running;
            door.enter(stream, &mut shutdown).await;
        });
        None
    }
}

impl Door {
    /// Opened as the settings say. `running` counts the connections.
    pub fn new(
        settings: Arc<Settings>,
        engine: Arc<Engine>,
        gatekeeper: Arc<Gatekeeper>,
        log: AccessLog,
        tls: Option<Arc<Tls>>,
        running: TaskTracker,
    ) -> Self {
        let (bound, tally) = (Bound::default(), Arc::new(Tally::new()));
        let places = permits::semaphore(settings.server.limits.connections);
        let (metrics, configured) = (log.metrics().clone(), engine.configured());
        let guards = Guards::new(settings.clone(), metrics.clone(), tally.clone());
        let edge =
            Edge { settings, engine, configured, gatekeeper, log, guards, bound: bound.clone() };
        Self {
            current: ArcSwap::from_pointee(edge),
            tls,
            metrics,
            running,
            bound,
            leave: OnceLock::new(),
            places,
            refusals: Semaphore::new(REFUSALS_MAX),
            seats: Seats::default(),
            tally,
        }
    }

    /// What is in force now. Costs no lock, and nothing that another thread writes to; it is to be held
    /// for a request, and not for a connection that waits for one.
    pub(super) fn edge(&self) -> Guard<Arc<Edge>> {
        self.current.load()
    }

    /// Another one is in force from here on, and so many connections may be open.
    pub(super) fn take(&self, edge: Edge, places_before: usize, places: usize) {
        self.current.store(Arc::new(edge));
        permits::resize(&self.places, places_before, places);
    }

    /// Its listeners came to be bound to these addresses, in the order of the configuration.
    pub fn is_bound_to(&self, addresses: &[SocketAddr]) {
        // Once for each start.
        let _ = self.bound.set(addresses.to_vec());
    }

    /// Connections that ask for nothing stay until then, and not only until shutdown begins: where
    /// another process takes over, a request that is on its way already is answered, as the last one.
    pub fn leaves_with(&self, leave: ShutdownWatch) {
        // Once for each start.
        let _ = self.leave.set(leave);
    }

    /// What ends a connection that asks for nothing.
    pub(super) fn leave(&self, shutdown: &ShutdownWatch) -> ShutdownWatch {
        self.leave.get().unwrap_or(shutdown).clone()
    }

    async fn enter(self: &Arc<Self>, mut stream: Stream, shutdown: &mut ShutdownWatch) {
        let digest = stream.get_socket_digest();
        let address =
            |address: &pingora::protocols::l4::socket::SocketAddr| address.as_inet().copied();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr().and_then(address));
        let local = digest.as_ref().and_then(|digest| digest.local_addr().and_then(address));
        // An IPv4 client of an IPv6 listener is an IPv4 client.
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let metrics = &self.metrics;
        let listener = local.and_then(|local| self.edge().listener(local).cloned());
        let Some(listener) = &listener else {
            return tracing::error!(?local, "a connection through no known listener");
        };
        if listener.proxy_protocol && !self.edge().trusts(peer) {
            tracing::debug!(%peer, "no trusted proxy, and a PROXY header is due");
            return metrics.connection_refused(Refused::NotTrusted);
        }
        // Who holds the connection is the client, or somebody who is never limited. Whoever has enough
        // is turned away before anybody gives way to it.
        let Some(_place_of_peer) = self.place_of(peer) else {
            let own = Own::TooManyOfClient;
            return self.turn_away(stream, listener, peer, own, Refused::Client).await;
        };
        let Some(_place) = self.place().await else {
            let own = Own::TooManyConnections;
            return self.turn_away(stream, listener, peer, own, Refused::Full).await;
        };
        let _open = Open::new(metrics.connections());
        let (client, place_of_client) = if listener.proxy_protocol {
            let leave = &mut self.leave(shutdown);
            match self.unless_crowded(self.client(&mut stream, peer, leave)).await {
                Some(Ok(client)) => (client, self.place_of(client)),
                Some(Err(Some(why))) => return metrics.connection_refused(why),
                Some(Err(None)) | None => return,
            }
        } else {
            (peer, Some(Place::uncounted()))
        };
        let Some(_place_of_client) = place_of_client else {
            let own = Own::TooManyOfClient;
            return self.turn_away(stream, listener, client, own, Refused::Client).await;
        };
        self.speak(stream, listener, client, shutdown).await;
    }

    /// A place among the connections of this client.
    fn place_of(&self, client: IpAddr) -> Option<Place<'_>> {
        self.edge().guards.connection(&self.tally, client)
    }

    /// Finds out what is spoken, and speaks it.
    async fn speak(
        self: &Arc<Self>,
        mut stream: Stream,
        listener: &Listener,
        peer: IpAddr,
        shutdown: &mut ShutdownWatch,
    ) {
        let mut visitor = Visitor { peer, scheme: "http", client_certificate: None };
        let mut buf = BytesMut::new();
        let is_http2;
        if let Some(tls) = self.tls.as_ref().filter(|_| listener.tls) {
            let (limit, leave) = (self.limits().tls_timeout, &mut self.leave(shutdown));
            match self.unless_crowded(tls.secure(stream, limit, leave)).await {
                Some(Ok(secured)) => {
                    let client_certificate = secured.client_certificate;
                    visitor = Visitor { scheme: "https", client_certificate, ..visitor };
                    (stream, is_http2) = (secured.stream, secured.is_http2);
                }
                Some(Err(Insecure::Plain(stream))) => {
                    return self.edge().refuse(stream, buf, peer, Own::NoTls, true).await;
                }
                Some(Err(Insecure::Closed)) | None => return,
            }
        } else {
            let begins = match listener.h2c {
                true => self.begins_http2(&mut stream, &mut buf, self.leave(shutdown)).await,
                false => Some(false),
            };
            let Some(begins) = begins else { return };
            is_http2 = begins;
        }
        if is_http2 {
            // What few connections need is no part of what every idle one takes.
            Box::pin(http2::serve(self, stream, buf, visitor, shutdown)).await;
        } else {
            self.serve(stream, buf, visitor, shutdown).await;
        }
    }

    /// Whether the client begins with the preface of HTTP/2, by prior knowledge (RFC 9113, section
    /// 3.3). Ends with the first byte that shows it; `None`: it has gone, or was waited for long enough.
    async fn begins_http2(
        &self,
        stream: &mut Stream,
        buf: &mut BytesMut,
        leave: ShutdownWatch,
    ) -> Option<bool> {
        let (mut until, mut vigil) = (None, Vigil::new(leave));
        while buf.len() < http2::PREFACE.len() && http2::PREFACE.starts_with(buf) {
            let read = if buf.is_empty() {
                self.idle(stream, buf, &mut vigil).await?
            } else {
                let from_now = || Instant::now() + self.limits().header_timeout;
                let until = *until.get_or_insert_with(from_now);
                timeout_at(until, stream.read_buf(buf)).await.map_err(|_| Closed::HeaderTimeout)
            };
            match read {
                Ok(Ok(bytes)) if bytes > 0 => {}
                Ok(_) => return None,
                Err(why) => {
                    self.metrics.connection_closed(why);
                    return None;
                }
            }
        }
        Some(buf.starts_with(http2::PREFACE))
    }

    /// Does what a client may hold up. When that takes a while, it gives way to others: `None`.
    async fn unless_crowded<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        if let Ok(done) = timeout(RESTS_AFTER, work.as_mut()).await {
            return Some(done);
        }
        let mut seat = self.seats.take();
        tokio::select! {
            biased;
            done = work => Some(done),
            () = seat.is_needed() => {
                self.metrics.connection_closed(Closed::Crowded);
                None
            }
        }
    }

    /// A place, if need be that of somebody who is idle.
    async fn place(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.places.try_acquire() {
            return Some(place);
        }
        // No more wait at one time than have been asked to leave.
        if !self.seats.make_room() {
            return None;
        }
        timeout(LEAVES_WITHIN, self.places.acquire()).await.ok()?.ok()
    }

    /// Those in force now.
    pub(super) fn limits(&self) -> Limits {
        self.edge().settings.server.limits
    }

    /// Tells whoever understands it that there is no place.
    async fn turn_away(
        &self,
        stream: Stream,
        listener: &Listener,
        peer: IpAddr,
        own: Own,
        why: Refused,
    ) {
        self.metrics.connection_refused(why);
        // In a flood the rest is closed without a word, as is who would not understand it.
        if let Some(_refusal) = self.refusals.try_acquire().ok().filter(|_| !listener.tls) {
            self.edge().refuse(stream, BytesMut::new(), peer, own, true).await;
        }
    }

    /// Whom a trusted proxy's PROXY header names, or the proxy itself. An error without a reason is
    /// the end of the edge.
    async fn client(
        &self,
        stream: &mut Stream,
        peer: IpAddr,
        shutdown: &mut ShutdownWatch,
    ) -> Result<IpAddr, Option<Refused>> {
        let limit = self.limits().header_timeout;
        let read = tokio::select! {
            biased;
            read = timeout(limit, proxy_protocol::read(stream)) => read,
            _ = shutdown.wait_for(|down| *down) => return Err(None),
        };
        let why = match read {
            Ok(Ok(client)) => return Ok(client.unwrap_or(peer)),
            Ok(Err(missing)) => missing.explain(),
            Err(_) => "its PROXY header did not arrive in time",
        };
        tracing::debug!(%peer, why, "a trusted proxy did not say who its client is");
        Err(Some(Refused::ProxyHeader))
    }
}

/// A connection that is counted as open.
struct Open<'m>(&'m IntGauge);

impl<'m> Open<'m> {
    fn new(connections: &'m IntGauge) -> Self {
        connections.inc();
        Self(connections)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}
