//! A client that speaks HTTP/2 and does as little as it can, so that what is counted is the edge's: one
//! request at a time, whose head, after the first, is all in the edge's table of fields already
//! (RFC 7541), as it is where browsers ask for much on one connection.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const FRAME_HEAD_BYTES: usize = 9;

/// A window that no answer fills (RFC 9113, section 6.9.1), and what a connection's has at first.
const WINDOW_BYTES: u32 = (1 << 31) - 1;
const WINDOW_BYTES_AT_FIRST: u32 = 65_535;
/// The connection's is opened again after so much.
const WINDOW_OPENED_AFTER: u32 = 1 << 30;

/// GET and http in HPACK's static table (RFC 7541, appendix A), and the name of the target, which is to
/// be kept in the table of the connection.
const BEGINNING: [u8; 3] = [0x82, 0x86, 0x44];
/// Four more fields that are, by the names that they have in the static table.
const KEPT: [(u8, &str); 4] =
    [(0x41, "www.example.com"), (0x7a, "curl/8.14.1"), (0x53, "*/*"), (0x50, "gzip, br")];
/// The same, and the target and those four where they are then: the latest comes first.
const REPEATED: [u8; 7] = [0x82, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];

/// One connection, on which one thing is asked for.
pub(crate) struct Http2 {
    stream: DuplexStream,
    received: BytesMut,
    next_stream: u32,
    /// Since the window was opened.
    taken: u32,
}

impl Http2 {
    pub(super) async fn new(mut stream: DuplexStream, target: &str) -> Self {
        let windows = [&[0, 4][..], &WINDOW_BYTES.to_be_bytes()].concat();
        let more = (WINDOW_BYTES - WINDOW_BYTES_AT_FIRST).to_be_bytes();
        let greeting = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(SETTINGS, 0, 0, &windows),
            frame(WINDOW_UPDATE, 0, 0, &more),
        ];
        stream.write_all(&greeting.concat()).await.expect("sent");
        let mut client = Self { stream, received: BytesMut::new(), next_stream: 1, taken: 0 };
        let mut block = [&BEGINNING[..], &[target.len() as u8], target.as_bytes()].concat();
        for (name, value) in KEPT {
            block.extend_from_slice(&[name, value.len() as u8]);
            block.extend_from_slice(value.as_bytes());
        }
        client.ask_for(&block).await;
        client
    }

    /// The bytes of the content.
    pub(crate) async fn ask(&mut self) -> usize {
        self.ask_for(&REPEATED).await
    }

    async fn ask_for(&mut self, block: &[u8]) -> usize {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut head = [0; 256];
        let request = frame_into(&mut head, HEADERS, END_STREAM | END_HEADERS, stream, block);
        self.stream.write_all(request).await.expect("sent");
        let mut content = 0;
        loop {
            let (kind, flags, of, length) = self.next_frame().await;
            match kind {
                DATA => content += length,
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, &[]).await,
                PING if flags & ACK == 0 => {
                    let told: [u8; 8] = self.received[..8].try_into().expect("eight bytes");
                    self.send(PING, ACK, &told).await;
                }
                HEADERS | SETTINGS | PING | WINDOW_UPDATE => {}
                GOAWAY => panic!("the edge ends the connection"),
                other => panic!("a frame of type {other}"),
            }
            self.received.advance(length);
            if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                assert_eq!(of, stream, "an answer to something else");
                break;
            }
        }
        self.taken += content as u32;
        if self.taken > WINDOW_OPENED_AFTER {
            let taken = std::mem::take(&mut self.taken);
            self.send(WINDOW_UPDATE, 0, &taken.to_be_bytes()).await;
        }
        content
    }

    /// Type, flags, stream and length of the next frame, whose payload is what was received next.
    async fn next_frame(&mut self) -> (u8, u8, u32, usize) {
        self.fill(FRAME_HEAD_BYTES).await;
        let [a, b, c, kind, flags, stream @ ..] =
            *self.received.first_chunk::<FRAME_HEAD_BYTES>().expect("filled");
        self.received.advance(FRAME_HEAD_BYTES);
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.fill(length).await;
        (kind, flags, u32::from_be_bytes(stream), length)
    }

    async fn fill(&mut self, bytes: usize) {
        if self.received.is_empty() {
            self.received.clear();
        }
        while self.received.len() < bytes {
            self.received.reserve(bytes - self.received.len());
            let read = self.stream.read_buf(&mut self.received).await.expect("an answer");
            assert!(read > 0, "the edge closed the connection");
        }
    }

    async fn send(&mut self, kind: u8, flags: u8, payload: &[u8]) {
        let sent = self.stream.write_all(&frame(kind, flags, 0, payload)).await;
        sent.expect("sent");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut room = [0; 256];
    frame_into(&mut room, kind, flags, stream, payload).to_vec()
}

fn frame_into<'a>(
    room: &'a mut [u8; 256],
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &[u8],
) -> &'a [u8] {
    let end = FRAME_HEAD_BYTES + payload.len();
    room[..3].copy_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    (room[3], room[4]) = (kind, flags);
    room[5..FRAME_HEAD_BYTES].copy_from_slice(&stream.to_be_bytes());
    room[FRAME_HEAD_BYTES..end].copy_from_slice(payload);
    &room[..end]
}
