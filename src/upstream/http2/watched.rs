//! What comes over a connection, with an eye on frames that bring nothing: the library counts them
//! over the life of a connection and ends it where there are too many, but shows them to nobody.

use super::Usage;
use crate::wire::frames::{DATA, END_STREAM, Frames, PADDED, Piece};
use pingora::protocols::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The longest padding, and its length. That there may be a byte beside it makes no odds here.
const PADDING_BYTES_MAX: usize = 256;

/// A stream that is watched.
pub(super) struct Watched {
    stream: Stream,
    usage: Arc<Usage>,
    frames: Frames,
}

/// How many of the frames that begin in these bytes bring nothing.
fn empty_in(frames: &mut Frames, mut bytes: &[u8]) -> usize {
    let mut empty = 0;
    while let Some(Piece { frame, begins, .. }) = frames.next(&mut bytes) {
        let is_padding = frame.flags & PADDED != 0 && frame.len <= PADDING_BYTES_MAX;
        let is_nothing = frame.len == 0 || is_padding;
        let is_empty = frame.kind == DATA && frame.flags & END_STREAM == 0 && is_nothing;
        empty += usize::from(begins && is_empty);
    }
    empty
}

impl Watched {
    pub(super) fn new(stream: Stream, usage: Arc<Usage>) -> Self {
        Self { stream, usage, frames: Frames::default() }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buf))?;
        let empty = empty_in(&mut self.frames, &buf.filled()[before..]);
        if empty > 0 {
            self.usage.got_nothing(empty);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u8::try_from(payload.len()).expect("short");
        [&[0, 0, len, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_that_bring_nothing_are_counted_wherever_they_are_cut() {
        let bytes = [
            frame(4, 0, b""),
            frame(DATA, 0, b"0123456789"),
            frame(DATA, 0, b""),
            frame(DATA, PADDED, &[2, 0, 0]),
            frame(DATA, 0, b"\0\0\0\0\0\0\0\0\0\0\0\0"),
            frame(DATA, END_STREAM, b""),
            frame(DATA, 0, b""),
        ]
        .concat();
        for size in 1..=bytes.len() {
            let mut frames = Frames::default();
            let empty: usize = bytes.chunks(size).map(|part| empty_in(&mut frames, part)).sum();
            assert_eq!(empty, 3, "{size}");
        }
    }
}
