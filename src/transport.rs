//! One connection, either side's: two halves that read and write with limits of time, and bodies
//! over them.

use crate::wire::body::{BadBody, Decoder, Encoding, Frame, Step};
use bytes::BytesMut;
use pingora::protocols::Stream;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

/// Room made for one read while a body flows.
const READ_BYTES: usize = 64 * 1024;

/// Why nothing more could be read.
#[derive(Debug)]
pub enum ReadError {
    /// Nothing came for this long.
    Stalled,
    /// The other side closed in the middle of a message.
    Closed,
    /// The connection broke.
    Io(io::Error),
    /// What came cannot be read in one way only.
    Bad(BadBody),
}

/// Why nothing more could be written.
#[derive(Debug)]
pub enum WriteError {
    /// Nothing was taken for this long.
    Stalled,
    /// The connection broke.
    Io(io::Error),
}

/// The receiving half with what was received and not yet used.
#[derive(Debug)]
pub struct Reader {
    half: ReadHalf<Stream>,
    /// Bytes that arrived.
    pub buf: BytesMut,
}

/// The sending half.
#[derive(Debug)]
pub struct Writer {
    half: WriteHalf<Stream>,
    stall_timeout: Duration,
    /// Bytes handed to the other side so far.
    pub sent_bytes: u64,
}

/// Splits a connection so that both directions can move at once. `buf` was read before.
pub fn split(stream: Stream, buf: BytesMut, write_stall_timeout: Duration) -> (Reader, Writer) {
    let (read, write) = tokio::io::split(stream);
    let writer = Writer { half: write, stall_timeout: write_stall_timeout, sent_bytes: 0 };
    (Reader { half: read, buf }, writer)
}

/// The connection whole again, with the bytes that nobody used.
pub fn join(reader: Reader, writer: Writer) -> (Stream, BytesMut) {
    (reader.half.unsplit(writer.half), reader.buf)
}

impl Reader {
    /// Waits for more bytes and appends them; 0 when the other side has closed.
    pub async fn fill(&mut self, stall_timeout: Duration) -> Result<usize, ReadError> {
        self.buf.reserve(READ_BYTES);
        match timeout(stall_timeout, self.half.read_buf(&mut self.buf)).await {
            Ok(Ok(read)) => Ok(read),
            Ok(Err(error)) => Err(ReadError::Io(error)),
            Err(_) => Err(ReadError::Stalled),
        }
    }

    /// Reads and forgets until the other side closes, within bounds. A connection that is closed
    /// with bytes unread is reset, and the reset can destroy the answer on its way.
    pub async fn drain(&mut self, bytes_max: usize, within: Duration) {
        let mut drained = 0;
        let _ = timeout(within, async {
            while drained < bytes_max {
                self.buf.clear();
                match self.fill(within).await {
                    Ok(read) if read > 0 => drained += read,
                    _ => break,
                }
            }
        })
        .await;
    }
}

impl Writer {
    /// Writes all parts, in one system call where the other side takes them.
    pub async fn write(&mut self, parts: &[&[u8]]) -> Result<(), WriteError> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = &mut slices[..];
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        while left > 0 {
            let written = in_time(self.stall_timeout, self.half.write_vectored(slices)).await?;
            if written == 0 {
                return Err(WriteError::Io(io::ErrorKind::WriteZero.into()));
            }
            left -= written;
            self.sent_bytes += written as u64;
            IoSlice::advance_slices(&mut slices, written);
        }
        in_time(self.stall_timeout, self.half.flush()).await
    }

    /// Writes one piece of a body; trailers end it.
    pub async fn write_frame(&mut self, frame: &Frame, as_: Encoding) -> Result<(), WriteError> {
        match frame {
            Frame::Data(data) => {
                let (before, after) = as_.around(data);
                self.write(&[&before, data, after]).await
            }
            Frame::Trailers(fields) => self.write(&[&as_.end(Some(fields))]).await,
        }
    }

    /// Tells the other side that nothing more will come.
    pub async fn shutdown(&mut self) {
        let _ = in_time(self.stall_timeout, self.half.shutdown()).await;
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, WriteError> {
    match timeout(limit, work).await {
        Ok(result) => result.map_err(WriteError::Io),
        Err(_) => Err(WriteError::Stalled),
    }
}

/// A body as it arrives.
#[derive(Debug)]
pub struct BodyReader {
    decoder: Decoder,
    stall_timeout: Duration,
    ahead: VecDeque<Frame>,
}

impl BodyReader {
    /// A body that `decoder` frames.
    pub fn new(decoder: Decoder, stall_timeout: Duration) -> Self {
        Self { decoder, stall_timeout, ahead: VecDeque::new() }
    }

    /// Whether everything was read and handed out.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done() && self.ahead.is_empty()
    }

    /// The next piece, or `None` at the end.
    pub async fn next(&mut self, from: &mut Reader) -> Result<Option<Frame>, ReadError> {
        if let Some(frame) = self.ahead.pop_front() {
            return Ok(Some(frame));
        }
        loop {
            match self.decoder.step(&mut from.buf).map_err(ReadError::Bad)? {
                Step::Frame(frame) => return Ok(Some(frame)),
                Step::Done => return Ok(None),
                Step::More => {}
            }
            if from.fill(self.stall_timeout).await? == 0 && !self.decoder.end_of_stream() {
                return Err(ReadError::Closed);
            }
        }
    }

    /// Reads everything that has already arrived, or waits up to `patience` for the first of it,
    /// so that a malformed body is known before anybody upstream has seen its head.
    pub async fn look_ahead(
        &mut self,
        from: &mut Reader,
        patience: Duration,
    ) -> Result<(), ReadError> {
        let mut waited = false;
        loop {
            match self.decoder.step(&mut from.buf).map_err(ReadError::Bad)? {
                Step::Frame(frame) => self.ahead.push_back(frame),
                Step::Done => return Ok(()),
                Step::More if waited || !self.ahead.is_empty() => return Ok(()),
                Step::More => {}
            }
            if !self.ahead.is_empty() {
                continue;
            }
            waited = true;
            match from.fill(patience).await {
                Ok(0) => return Err(ReadError::Closed),
                // A client may wait for the answer to begin before it sends more.
                Ok(_) | Err(ReadError::Stalled) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
