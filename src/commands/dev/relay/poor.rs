//! An origin that is slow, breaks or goes down.
//!
//! The edge sends one request after the other on an HTTP/1.1 connection, so that a piece that begins
//! like a request is one. What passes inside TLS cannot be seen: there each turn of the conversation
//! counts as a request.

use super::super::origin::addresses;
use super::super::simulate::Weather;
use super::PIECE_BYTES;
use crate::config::{OriginServer, Place};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

const BROKEN: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n\
    Content-Length: 37\r\nConnection: close\r\n\r\nan error that brim dev has simulated\n";
const METHOD_BYTES_MAX: usize = 16;

pub(super) struct Poor {
    server: OriginServer,
    weather: Weather,
    requests: AtomicU64,
    down: watch::Sender<bool>,
}

/// What the two directions of a connection know of each other.
#[derive(Default)]
struct Turn {
    /// Something was asked, and nothing of an answer has come.
    is_asked: AtomicBool,
    /// What was asked is answered here.
    breaks: Notify,
}

impl Poor {
    pub(super) fn new(server: OriginServer, weather: Weather) -> Self {
        let down = watch::Sender::new(false);
        Self { server, weather, requests: AtomicU64::new(0), down }
    }

    /// Nobody has a connection any more.
    pub(super) fn goes_down(&self) {
        self.down.send_replace(true);
    }

    /// Carries one connection of the edge.
    pub(super) async fn carry(&self, edge: TcpStream) {
        let mut down = self.down.subscribe();
        tokio::select! {
            _ = self.pass(edge) => {}
            _ = down.wait_for(|down| *down) => {}
        }
    }

    async fn pass(&self, edge: TcpStream) -> io::Result<()> {
        match &self.server.place {
            Place::Net(host, port) => {
                let (host, port) = (host.clone(), *port);
                let found = tokio::task::spawn_blocking(move || addresses(&host, port)).await;
                let origin = super::connect(&found.map_err(io::Error::other)?).await?;
                self.both_ways(edge, origin).await
            }
            Place::Unix(path) => self.both_ways(edge, UnixStream::connect(path).await?).await,
        }
    }

    async fn both_ways(
        &self,
        edge: TcpStream,
        origin: impl AsyncRead + AsyncWrite,
    ) -> io::Result<()> {
        let (from_edge, to_edge) = edge.into_split();
        let (from_origin, to_origin) = split(origin);
        let turn = Turn::default();
        // Whoever breaks the connection breaks it for both.
        tokio::try_join!(
            self.ask(from_edge, to_origin, &turn),
            self.answer(from_origin, to_edge, &turn),
        )
        .map(|((), ())| ())
    }

    async fn ask(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        turn: &Turn,
    ) -> io::Result<()> {
        let mut buf = vec![0; PIECE_BYTES];
        loop {
            let read = from.read(&mut buf).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            if self.server.tls || begins_request(&buf[..read]) {
                if self.breaks() {
                    turn.breaks.notify_one();
                    return Ok(());
                }
                turn.is_asked.store(true, Ordering::Release);
            }
            to.write_all(&buf[..read]).await?;
        }
    }

    async fn answer(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        turn: &Turn,
    ) -> io::Result<()> {
        let Weather { slow, bandwidth, .. } = self.weather;
        // A tenth of a second's worth, so that it comes as a stream.
        let piece_bytes = bandwidth.map_or(PIECE_BYTES as u64, |bytes| bytes / 10);
        let mut buf =
            vec![0; usize::try_from(piece_bytes).unwrap_or(usize::MAX).clamp(1, PIECE_BYTES)];
        loop {
            let read = tokio::select! {
                read = from.read(&mut buf) => read?,
                () = turn.breaks.notified() => {
                    to.write_all(BROKEN.as_bytes()).await?;
                    to.shutdown().await?;
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            };
            if turn.is_asked.swap(false, Ordering::AcqRel)
                && let Some(delay) = slow
            {
                sleep(delay).await;
            }
            if read == 0 {
                return to.shutdown().await;
            }
            if let Some(bytes) = bandwidth {
                sleep(Duration::from_secs_f64(read as f64 / bytes as f64)).await;
            }
            to.write_all(&buf[..read]).await?;
        }
    }

    /// Evenly spread, and the same each time: of ten requests with 10 %, the tenth.
    fn breaks(&self) -> bool {
        let Some(percent) = self.weather.error_percent.map(u64::from) else { return false };
        let before = self.requests.fetch_add(1, Ordering::Relaxed);
        (before + 1) * percent / 100 > before * percent / 100
    }
}

/// A method and a space, as no frame of a WebSocket from the edge's side begins.
fn begins_request(piece: &[u8]) -> bool {
    let method = piece.iter().take(METHOD_BYTES_MAX).take_while(|byte| byte.is_ascii_uppercase());
    let bytes = method.count();
    bytes >= 3 && piece.get(bytes) == Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_from_what_follows_one() {
        for request in ["GET / HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n"] {
            assert!(begins_request(request.as_bytes()), "{request}");
        }
        for other in ["", "GET", "get / ", "\u{1}ABC ", "{\"a\":1}", "A B"] {
            assert!(!begins_request(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn errors_are_spread_evenly() {
        let server = crate::config::values::origin_server("http://a.test").expect("an origin");
        let weather = Weather { error_percent: Some(25), ..Weather::default() };
        let poor = Poor::new(server, weather);
        let broken: Vec<bool> = (0..8).map(|_| poor.breaks()).collect();
        assert_eq!(broken, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn the_answer_in_its_place_is_as_long_as_it_says() {
        let body = BROKEN.split_once("\r\n\r\n").expect("a head").1;
        assert!(BROKEN.contains(&format!("Content-Length: {}\r\n", body.len())), "{}", body.len());
    }
}
