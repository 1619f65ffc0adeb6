//! The distance between users and the edge: every byte takes half a round trip each way, and so does a
//! new connection.

use super::PIECE_BYTES;
use bytes::{Bytes, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// Pieces on their way in one direction.
const PIECES_MAX: usize = 64;

/// Carries one connection.
pub(super) async fn carry(client: TcpStream, edge: SocketAddr, rtt: Duration) {
    // The handshake of TCP, which the client has had with us already.
    sleep(rtt).await;
    let Ok(edge) = super::connect(&[edge]).await else { return };
    let ((from_client, to_client), (from_edge, to_edge)) = (client.into_split(), edge.into_split());
    let (there, back) = (rtt / 2, rtt - rtt / 2);
    // Whoever breaks the connection breaks it for both.
    let _ = tokio::try_join!(late(from_client, to_edge, there), late(from_edge, to_client, back),);
}

async fn late(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Bytes)>(PIECES_MAX);
    let read = async move {
        let mut buf = BytesMut::new();
        loop {
            buf.reserve(PIECE_BYTES);
            let read = (&mut from).take(PIECE_BYTES as u64).read_buf(&mut buf).await?;
            let piece = (Instant::now() + delay, buf.split().freeze());
            if sender.send(piece).await.is_err() || read == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            sleep_until(due).await;
            if piece.is_empty() {
                to.shutdown().await?;
            } else {
                to.write_all(&piece).await?;
            }
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|((), ())| ())
}
