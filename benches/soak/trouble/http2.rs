//! The same over HTTP/2, some of it with raw frames.

use super::{GIVES_UP_WITHIN, LARGE_BYTES, PAUSE, RESETS, is_closed};
use crate::doors::{Doors, Manner, connect};
use crate::edge::PATIENCE;
use crate::question::{HOST, Question};
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(super) const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// Requests of a client that breaks them off, or frames of one that floods, on one connection.
const CANCELLED: usize = 10;
const FLOOD: u32 = 20_000;
const FLOOD_AT_ONCE: u32 = 100;

/// The preface and empty settings (RFC 9113, section 3.4).
pub(super) fn greeting() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// A request's head; without END_HEADERS there is more to come.
pub(super) fn headers(stream: u32, flags: u8) -> Vec<u8> {
    // GET, http and / of HPACK's static table, and :authority by its name there.
    let mut block = vec![0x82, 0x86, 0x84, 0x41, HOST.len() as u8];
    block.extend(HOST.as_bytes());
    frame(HEADERS, flags, stream, &block)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens no window for what it has asked for.
pub(super) async fn stalled_reader(doors: &Doors) -> io::Result<bool> {
    let (client, driver) = doors.http2(true, RESETS).await?;
    let begun = client.begin(&Question::kept(LARGE_BYTES, 7)).await?;
    let (_, mut body) = begun.answer.await.map_err(io::Error::other)?.into_parts();
    let ended =
        timeout(PATIENCE + GIVES_UP_WITHIN, async { while let Some(Ok(_)) = body.data().await {} });
    let is_ended = ended.await.is_ok();
    driver.abort();
    Ok(is_ended)
}

/// Breaks off a few, within reason: what it asks for on the same connection then has to be answered.
pub(super) async fn cancels(doors: &Doors) -> io::Result<bool> {
    let (client, driver) = doors.http2(true, Manner::default()).await?;
    for _ in 0..CANCELLED {
        // More than its window takes at first.
        let begun = client.begin(&Question::unknown(256 * 1024)).await?;
        let (_, mut body) = begun.answer.await.map_err(io::Error::other)?.into_parts();
        body.data().await;
        drop(body);
        sleep(PAUSE).await;
    }
    let question = Question::unknown(1024);
    let answer = client.ask(&question).await?;
    driver.abort();
    Ok(question.objection(&answer).is_none())
}

pub(super) async fn breaks_off_upload(doors: &Doors) -> io::Result<bool> {
    let (client, driver) = doors.http2(true, Manner::default()).await?;
    for _ in 0..CANCELLED {
        let mut begun = client.begin(&Question::upload()).await?;
        let part = Bytes::from_static(&[b'u'; 1000]);
        begun.sent.send_data(part, false).map_err(io::Error::other)?;
        sleep(PAUSE).await;
        begun.sent.send_reset(h2::Reason::CANCEL);
    }
    driver.abort();
    Ok(true)
}

/// RST of the connection, with streams on it.
pub(super) async fn cut(doors: &Doors) -> io::Result<bool> {
    let (client, driver) = doors.http2(true, RESETS).await?;
    let mut begun = Vec::new();
    for _ in 0..CANCELLED {
        begun.push(client.begin(&Question::unknown(64 * 1024)).await?);
    }
    sleep(PAUSE).await;
    driver.abort();
    Ok(true)
}

/// Requests that are broken off as soon as they are made (CVE-2023-44487).
pub(super) async fn rapid_reset(edge: SocketAddr) -> io::Result<bool> {
    let request = |number: u32| {
        let stream = 2 * number + 1;
        let head = headers(stream, END_STREAM | END_HEADERS);
        [head, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
    };
    flood(edge, request).await
}

pub(super) async fn pings(edge: SocketAddr) -> io::Result<bool> {
    flood(edge, |number| frame(PING, 0, 0, &u64::from(number).to_be_bytes())).await
}

/// Whether the edge ends the connection before the flood does.
async fn flood(edge: SocketAddr, make: impl Fn(u32) -> Vec<u8>) -> io::Result<bool> {
    let mut stream = connect(edge, Manner::default()).await?;
    stream.write_all(&greeting()).await?;
    for first in (0..FLOOD).step_by(FLOOD_AT_ONCE as usize) {
        let frames: Vec<u8> = (first..first + FLOOD_AT_ONCE).flat_map(&make).collect();
        let written = timeout(GIVES_UP_WITHIN, stream.write_all(&frames)).await;
        // What has come is known once the runtime has looked for it.
        tokio::task::yield_now().await;
        if !matches!(written, Ok(Ok(()))) || has_ended(&stream) {
            sleep(PATIENCE).await;
            return Ok(true);
        }
    }
    Ok(is_closed(&mut stream, PATIENCE).await)
}

/// Takes what is there.
fn has_ended(stream: &TcpStream) -> bool {
    let mut taken = [0; 16 * 1024];
    loop {
        match stream.try_read(&mut taken) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}
