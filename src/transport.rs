//! One connection, either side's: two halves that read and write with limits of time, and bodies
//! over them.

pub mod http2;
mod patience;

pub use patience::Patience;

use crate::wire::body::{BadBody, Decoder, Encoding, Frame, Step};
use crate::wire::fields::Fields;
use bytes::{Bytes, BytesMut};
use pingora::protocols::Stream;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Room for one read: little while little comes, more while reads fill it.
const ROOM_BYTES_MIN: usize = 4 * 1024;
const ROOM_BYTES_MAX: usize = 64 * 1024;
/// Pieces smaller than this are put together, so that a body in tiny chunks does not cost a system
/// call and a packet for each.
const SMALL_PIECE_BYTES: usize = 4 * 1024;
/// What may still be sent after the last answer on a connection, before it is cut off.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;
const DRAINED_FOR_MAX: Duration = Duration::from_secs(2);
/// What a look ahead may hold of a body.
const AHEAD_BYTES_MAX: usize = 64 * 1024;
/// How often a connection is looked at whose other side has finished sending.
const RESET_LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);

/// Parts that one system call takes.
const PARTS_MAX: usize = 16;

/// Why nothing more could be read.
#[derive(Debug)]
pub enum ReadError {
    /// Nothing came for this long, or too little for longer.
    Stalled,
    /// There was a time for all of it, and it is over.
    Overtime,
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
    /// Nothing was taken for this long, or too little for longer.
    Stalled,
    /// The connection broke.
    Io(io::Error),
}

/// Where a body comes from.
pub trait Source: Send {
    /// The next piece, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Frame>, ReadError>> + Send;
}

/// Where a body goes.
pub trait Sink: Send {
    /// Takes a piece; trailers end the body.
    fn frame(&mut self, frame: &Frame) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Ends a body without trailers.
    fn end(&mut self) -> impl Future<Output = Result<(), WriteError>> + Send;
}

/// The receiving half with what was received and not yet used.
#[derive(Debug)]
pub struct Reader {
    half: ReadHalf<Stream>,
    /// The number of its descriptor.
    descriptor: RawFd,
    room: usize,
    /// Bytes that arrived.
    pub buf: BytesMut,
}

/// The sending half, or a whole connection that is only written to for a while.
#[derive(Debug)]
pub struct Writer<W = WriteHalf<Stream>> {
    half: W,
    /// How long the other side is waited for.
    pub patience: Patience,
    /// Bytes handed to the other side so far.
    pub sent_bytes: u64,
    /// When the first of them were.
    pub first_sent: Option<std::time::Instant>,
}

/// Reads what has come, or waits for it; 0 when the other side has closed. Nothing is held for it as long
/// as nothing comes: most connections wait most of the time, each without any room of its own.
pub async fn read_when_it_comes(stream: &mut Stream, buf: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|context| {
        let mut room = [MaybeUninit::uninit(); ROOM_BYTES_MIN];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(context, &mut read))?;
        buf.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
    .await
}

/// Splits a connection so that both directions can move at once. `buf` was read before.
pub fn split(
    stream: Stream,
    buf: BytesMut,
    write_patience: impl Into<Patience>,
) -> (Reader, Writer) {
    let descriptor = stream.id();
    let (half, write) = tokio::io::split(stream);
    let writer = Writer::new(write, write_patience);
    (Reader { half, descriptor, room: ROOM_BYTES_MIN, buf }, writer)
}

/// The connection whole again, with the bytes that nobody used.
pub fn join(reader: Reader, writer: Writer) -> (Stream, BytesMut) {
    // Connections idle for long; the room that a body needed does not idle with them.
    let buf = if reader.buf.is_empty() { BytesMut::new() } else { reader.buf };
    (reader.half.unsplit(writer.half), buf)
}

/// Closes after the last answer: says so, then reads a little of what the other side may still be
/// sending. A connection closed with bytes unread is reset, and the reset can overtake the answer.
pub async fn close(mut reader: Reader, mut writer: Writer) {
    let _ = timeout(DRAINED_FOR_MAX, writer.half.shutdown()).await;
    let mut drained = 0;
    let drain = async {
        while drained < DRAINED_BYTES_MAX {
            reader.buf.clear();
            match reader.fill(DRAINED_FOR_MAX).await {
                Ok(read) if read > 0 => drained += read,
                _ => break,
            }
        }
    };
    let _ = timeout(DRAINED_FOR_MAX, drain).await;
}

/// Breaks the connection with a reset. An answer that ends with its connection looks whole after
/// an orderly close.
#[allow(unsafe_code, reason = "Pingora's streams lend their descriptor as a number only")]
pub fn reset(reader: Reader, writer: Writer) {
    let (stream, _) = join(reader, writer);
    // SAFETY: the descriptor belongs to `stream`, which lives until the end of this function.
    let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(stream.id()) };
    // Where the option cannot be set there is nothing better than the close that follows.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
    drop(stream);
}

impl Reader {
    /// Whether the connection was reset, which nobody has been told yet.
    #[allow(unsafe_code, reason = "Pingora's streams lend their descriptor as a number only")]
    fn is_reset(&self) -> bool {
        // SAFETY: the descriptor belongs to the stream, which lives as long as the half of it here.
        let socket = unsafe { std::os::fd::BorrowedFd::borrow_raw(self.descriptor) };
        !matches!(rustix::net::sockopt::socket_error(socket), Ok(Ok(())))
    }

    /// So many bytes are about to come.
    pub fn expects(&mut self, bytes: u64) {
        let room = usize::try_from(bytes).unwrap_or(ROOM_BYTES_MAX).min(ROOM_BYTES_MAX);
        self.room = self.room.max(room);
    }

    /// Makes it what it was in the beginning. Connections idle for long; the room that a body needed
    /// does not idle with them.
    pub fn rests(&mut self) {
        self.buf = BytesMut::new();
        self.room = ROOM_BYTES_MIN;
    }

    /// Whether the other side has neither closed nor sent anything, which nobody asked for.
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.half).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        matches!(read, Poll::Pending)
    }

    /// Waits for more bytes and appends them; 0 when the other side has closed.
    pub async fn fill(&mut self, stall_timeout: Duration) -> Result<usize, ReadError> {
        self.fill_patiently(&mut stall_timeout.into()).await
    }

    async fn fill_patiently(&mut self, patience: &mut Patience) -> Result<usize, ReadError> {
        self.buf.reserve(self.room);
        match patience.wait(self.half.read_buf(&mut self.buf)).await {
            Some(Ok(read)) => {
                patience.moved(read);
                if read >= self.room {
                    self.room = (self.room * 4).min(ROOM_BYTES_MAX);
                }
                Ok(read)
            }
            Some(Err(error)) => Err(ReadError::Io(error)),
            None => Err(ReadError::Stalled),
        }
    }
}

/// Ends when the other side has broken the connection. One that has only finished sending still
/// wants its answer, until it breaks the connection too. What arrives meanwhile is kept, within
/// bounds, for whoever reads next.
pub async fn broken(reader: &Mutex<Reader>) {
    let mut reader = reader.lock().await;
    while reader.buf.len() < ROOM_BYTES_MAX {
        match reader.fill(Duration::MAX).await {
            Ok(0) => break,
            Ok(_) => {}
            Err(_) => return,
        }
    }
    // Reading does not tell any more.
    while !reader.is_reset() {
        tokio::time::sleep(RESET_LOOKED_FOR_EVERY).await;
    }
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes to `to`.
    pub fn new(to: W, patience: impl Into<Patience>) -> Self {
        Self { half: to, patience: patience.into(), sent_bytes: 0, first_sent: None }
    }

    /// Writes all parts, in one system call where the other side takes them.
    pub async fn write(&mut self, parts: &[&[u8]]) -> Result<(), WriteError> {
        for parts in parts.chunks(PARTS_MAX) {
            self.write_some(parts).await?;
        }
        in_time(&mut self.patience, self.half.flush()).await
    }

    async fn write_some(&mut self, parts: &[&[u8]]) -> Result<(), WriteError> {
        let mut slices = [IoSlice::new(&[]); PARTS_MAX];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        let mut slices = &mut slices[..parts.len()];
        let mut left: usize = parts.iter().map(|part| part.len()).sum();
        while left > 0 {
            let written = match slices {
                // A plain write costs the kernel a little less.
                [part] => in_time(&mut self.patience, self.half.write(part)).await?,
                _ => in_time(&mut self.patience, self.half.write_vectored(slices)).await?,
            };
            if written == 0 {
                return Err(WriteError::Io(io::ErrorKind::WriteZero.into()));
            }
            left -= written;
            self.patience.moved(written);
            self.sent_bytes += written as u64;
            self.first_sent.get_or_insert_with(std::time::Instant::now);
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }

    /// Writes one piece of a body; trailers end it.
    pub async fn write_frame(&mut self, frame: &Frame, as_: Encoding) -> Result<(), WriteError> {
        match frame {
            Frame::Data(data) => {
                let (before, after) = as_.around(data.len());
                self.write(&[&before, data, after]).await
            }
            Frame::Trailers(fields) => self.write(&[&as_.end(Some(fields))]).await,
        }
    }

    /// Tells the other side that nothing more will come.
    pub async fn shutdown(&mut self) {
        let _ = in_time(&mut self.patience, self.half.shutdown()).await;
    }
}

async fn in_time<T>(
    patience: &mut Patience,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, WriteError> {
    match patience.wait(work).await {
        Some(result) => result.map_err(WriteError::Io),
        None => Err(WriteError::Stalled),
    }
}

/// A body that is read off a connection.
pub struct Incoming<'a> {
    /// What is known of it.
    pub body: &'a mut BodyReader,
    /// The connection.
    pub reader: &'a mut Reader,
}

impl Source for Incoming<'_> {
    async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        self.body.next(self.reader).await
    }
}

/// A body as it arrives.
#[derive(Debug)]
pub struct BodyReader {
    decoder: Decoder,
    patience: Patience,
    /// For whoever wants to know.
    has_begun: OnceLock<Arc<AtomicBool>>,
    /// Content read ahead, and the trailers behind it.
    ahead: BytesMut,
    trailers_ahead: Option<Fields>,
    /// Found behind what was handed out last.
    bad: Option<BadBody>,
}

impl BodyReader {
    /// A body that `decoder` frames.
    pub fn new(decoder: Decoder, patience: impl Into<Patience>) -> Self {
        let (patience, ahead) = (patience.into(), BytesMut::new());
        let has_begun = OnceLock::new();
        Self { decoder, patience, has_begun, ahead, trailers_ahead: None, bad: None }
    }

    /// Whether everything was read and handed out.
    pub fn is_done(&self) -> bool {
        self.decoder.is_done() && self.ahead.is_empty() && self.trailers_ahead.is_none()
    }

    /// Forgets what is there of the body. Whether that was the rest of it.
    pub fn skip(&mut self, from: &mut Reader) -> bool {
        self.ahead.clear();
        self.trailers_ahead = None;
        self.bad.is_none() && self.decoder.skip(&mut from.buf)
    }

    /// Becomes true with the next piece that is handed out.
    pub fn has_begun(&self) -> Arc<AtomicBool> {
        self.has_begun.get_or_init(Arc::default).clone()
    }

    /// The next piece, or `None` at the end.
    pub async fn next(&mut self, from: &mut Reader) -> Result<Option<Frame>, ReadError> {
        loop {
            match self.step(from)? {
                Step::Frame(Frame::Data(data)) => {
                    if let Some(has_begun) = self.has_begun.get() {
                        has_begun.store(true, Ordering::Relaxed);
                    }
                    return Ok(Some(self.with_followers(data, from)));
                }
                Step::Frame(frame) => return Ok(Some(frame)),
                Step::Done => return Ok(None),
                Step::More => {}
            }
            let read = from.fill_patiently(&mut self.patience).await?;
            if read == 0 && !self.decoder.end_of_stream() {
                return Err(ReadError::Closed);
            }
        }
    }

    fn step(&mut self, from: &mut Reader) -> Result<Step, ReadError> {
        if !self.ahead.is_empty() {
            return Ok(Step::Frame(Frame::Data(self.ahead.split().freeze())));
        }
        if let Some(trailers) = self.trailers_ahead.take() {
            return Ok(Step::Frame(Frame::Trailers(trailers)));
        }
        match self.bad {
            Some(bad) => Err(ReadError::Bad(bad)),
            None => self.decoder.step(&mut from.buf).map_err(ReadError::Bad),
        }
    }

    /// Puts small pieces together as long as they are there already.
    fn with_followers(&mut self, first: Bytes, from: &mut Reader) -> Frame {
        if first.len() >= SMALL_PIECE_BYTES || self.is_done() {
            return Frame::Data(first);
        }
        let mut together = BytesMut::new();
        while together.len() < SMALL_PIECE_BYTES * 4 {
            match self.step(from) {
                Ok(Step::Frame(Frame::Data(data))) => {
                    if together.is_empty() {
                        together.extend_from_slice(&first);
                    }
                    together.extend_from_slice(&data);
                }
                Ok(Step::Frame(Frame::Trailers(trailers))) => {
                    self.trailers_ahead = Some(trailers);
                    break;
                }
                Ok(Step::Done | Step::More) => break,
                Err(error) => {
                    // What came before it is good, and goes out first.
                    if let ReadError::Bad(bad) = error {
                        self.bad = Some(bad);
                    }
                    break;
                }
            }
        }
        Frame::Data(if together.is_empty() { first } else { together.freeze() })
    }

    /// Reads what has already arrived, within bounds, or waits up to `patience` for the first of
    /// it, so that a malformed body is known before anybody upstream has seen its head.
    pub async fn look_ahead(
        &mut self,
        from: &mut Reader,
        patience: Duration,
    ) -> Result<(), ReadError> {
        let mut patience = patience;
        loop {
            match self.decoder.step(&mut from.buf).map_err(ReadError::Bad)? {
                Step::Frame(Frame::Data(data)) => {
                    self.ahead.extend_from_slice(&data);
                    patience = Duration::ZERO;
                    continue;
                }
                Step::Frame(Frame::Trailers(trailers)) => {
                    self.trailers_ahead = Some(trailers);
                    return Ok(());
                }
                Step::Done => return Ok(()),
                Step::More if self.ahead.len() >= AHEAD_BYTES_MAX => return Ok(()),
                Step::More => {}
            }
            match from.fill(patience).await {
                Ok(0) => return Err(ReadError::Closed),
                Ok(_) => patience = Duration::ZERO,
                // A client may wait for the answer to begin before it sends more.
                Err(ReadError::Stalled) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
