//! Somebody in between who makes things worse: in front of the edge for the distance to its users,
//! behind it for an origin that is slow, broken or down. The edge knows nothing of either.
//!
//! Bytes pass as they are, whatever they mean, in order and with bounded room.

mod far;
mod poor;

use super::screen::Screen;
use super::simulate::Weather;
use crate::config::OriginServer;
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use poor::Poor;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

const CONNECTIONS_MAX: usize = 4096;
/// Bytes that pass at one time.
const PIECE_BYTES: usize = 16 * 1024;
/// After a connection could not be accepted.
const REST: Duration = Duration::from_millis(100);

/// One that listens.
pub(super) struct Relay {
    door: Mutex<Option<Door>>,
    address: SocketAddr,
    kind: Kind,
}

enum Door {
    /// Whoever connects waits until the relay runs.
    Open(std::net::TcpListener),
    /// Nobody else answers there, and nobody is let in.
    Held(TcpSocket),
}

enum Kind {
    Far { edge: SocketAddr, rtt: Duration },
    Poor { origin: Arc<Poor>, down_after: Option<Duration>, screen: Screen },
}

impl Relay {
    /// Stands at `door`, in front of the edge.
    pub(super) fn to_edge(
        door: SocketAddr,
        edge: SocketAddr,
        rtt: Duration,
    ) -> io::Result<(Self, SocketAddr)> {
        Self::bound(door, Kind::Far { edge, rtt })
    }

    /// Stands on a port of its own, in front of the origin.
    pub(super) fn to_origin(
        server: &OriginServer,
        weather: Weather,
        screen: Screen,
    ) -> io::Result<(Self, SocketAddr)> {
        let origin = Arc::new(Poor::new(server.clone(), weather));
        let down_after = weather.down_after;
        let door = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let kind = Kind::Poor { origin, down_after, screen };
        if weather.is_down_at_once() {
            let socket = held(door)?;
            let address = socket.local_addr()?;
            return Ok((
                Self { door: Mutex::new(Some(Door::Held(socket))), address, kind },
                address,
            ));
        }
        Self::bound(door, kind)
    }

    fn bound(door: SocketAddr, kind: Kind) -> io::Result<(Self, SocketAddr)> {
        let named = |error| io::Error::other(format!("cannot listen on {door}: {error}"));
        let listener = std::net::TcpListener::bind(door).map_err(named)?;
        listener.set_nonblocking(true).map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        Ok((Self { door: Mutex::new(Some(Door::Open(listener))), address, kind }, address))
    }

    async fn accept(&self, listener: &TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            match &self.kind {
                Kind::Far { edge, rtt } => {
                    let (edge, rtt) = (*edge, *rtt);
                    tokio::spawn(async move {
                        far::carry(stream, edge, rtt).await;
                        drop(place);
                    });
                }
                Kind::Poor { origin, .. } => {
                    let origin = origin.clone();
                    tokio::spawn(async move {
                        origin.carry(stream).await;
                        drop(place);
                    });
                }
            }
        }
    }

    async fn run(&self) -> io::Result<()> {
        let door = self.door.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _held = match (door, &self.kind) {
            (
                Some(Door::Open(listener)),
                Kind::Poor { origin, down_after: Some(after), screen },
            ) => {
                let down_at = Instant::now() + *after;
                let listener = TcpListener::from_std(listener)?;
                tokio::select! { () = self.accept(&listener) => {} () = sleep_until(down_at) => {} }
                drop(listener);
                let socket = held(self.address)?;
                origin.goes_down();
                screen.event("SIMULATED", "the origin is down from here on");
                Some(socket)
            }
            (Some(Door::Open(listener)), _) => {
                self.accept(&TcpListener::from_std(listener)?).await;
                None
            }
            (Some(Door::Held(socket)), _) => Some(socket),
            (None, _) => None,
        };
        std::future::pending().await
    }
}

#[async_trait]
impl BackgroundService for Relay {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            ended = self.run() => {
                if let Err(error) = ended {
                    tracing::error!(address = %self.address, %error, "nothing is simulated any more");
                }
            }
            _ = shutdown.changed() => {}
        }
    }
}

fn held(door: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if door.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(door)?;
    Ok(socket)
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
