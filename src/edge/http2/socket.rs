//! A connection's socket, which gathers what leaves: the answers of one turn of the connection's task
//! go out together, in as few records and system calls as they need.
//!
//! What is gathered is a batch at most, and counts as not having left.

use super::outbox::{Leaving, Outbox};
use super::watch::Watch;
use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one record of TLS carries (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 16 * 1024;
/// What leaves at one time where there is so much.
const BATCH_BYTES: usize = 2 * RECORD_BYTES;
/// What the library hands over at one time comes in two parts.
const PARTS_MAX: usize = 4;

pub(super) struct Socket<S = Stream> {
    stream: S,
    watch: Arc<Watch>,
    leaving: Leaving,
    gathered: BytesMut,
    /// Until its end nothing leaves but whole batches.
    is_turn: bool,
    /// What went wrong at the end of the last one.
    broken: Option<io::Error>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(stream: S, watch: Arc<Watch>, outbox: Arc<Outbox>) -> Self {
        let (leaving, gathered) = (Leaving::new(outbox), BytesMut::new());
        Self { stream, watch, leaving, gathered, is_turn: false, broken: None }
    }

    pub(super) fn begin_turn(&mut self) {
        self.is_turn = true;
    }

    /// Whatever is there leaves. The task hears of it if that is not possible now.
    pub(super) fn end_turn(&mut self, context: &mut Context<'_>) {
        self.is_turn = false;
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            self.broken = Some(error);
            context.waker().wake_by_ref();
        }
    }

    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }

    pub(super) fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        let parts = &parts[..parts.len().min(PARTS_MAX)];
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        loop {
            let all = self.gathered.len() + bytes;
            if all < BATCH_BYTES {
                self.gather(parts, 0);
                return Poll::Ready(Ok(bytes));
            }
            // Records that are full: what is beyond waits for more.
            let whole = all - all % RECORD_BYTES;
            let before = self.gathered.len();
            let taken = ready!(self.hand_on(context, parts, whole))?;
            let Some(of_parts) = taken.checked_sub(before) else { continue };
            if taken == whole {
                self.gather(parts, of_parts);
                return Poll::Ready(Ok(bytes));
            }
            if of_parts > 0 {
                return Poll::Ready(Ok(of_parts));
            }
        }
    }

    /// Keeps what comes after so many bytes of these parts.
    fn gather(&mut self, parts: &[IoSlice<'_>], mut after: usize) {
        self.gathered.reserve(BATCH_BYTES.saturating_sub(self.gathered.len()));
        for part in parts {
            let skipped = after.min(part.len());
            after -= skipped;
            self.gathered.extend_from_slice(&part[skipped..]);
        }
    }

    /// So much of what is gathered and of these parts leaves, or less.
    fn hand_on(
        &mut self,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
        bytes: usize,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); PARTS_MAX + 1];
        let (mut left, all) = (bytes, [&*self.gathered].into_iter());
        for (slice, part) in slices.iter_mut().zip(all.chain(parts.iter().map(|part| &**part))) {
            let taken = left.min(part.len());
            left -= taken;
            *slice = IoSlice::new(&part[..taken]);
        }
        let slices = &slices[..=parts.len()];
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch.wrote(&written);
        let taken = ready!(written)?;
        if taken == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.leaving.took(slices.iter().map(|part| &**part), taken);
        self.gathered.advance(taken.min(self.gathered.len()));
        Poll::Ready(Ok(taken))
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        if self.is_turn {
            return Poll::Ready(Ok(()));
        }
        self.poll_empty(context)
    }

    fn poll_empty(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            ready!(self.hand_on(context, &[], self.gathered.len()))?;
        }
        // Connections that rest are many.
        self.gathered = BytesMut::new();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames::DATA;
    use std::task::Waker;

    /// Takes no more than so much at one time, and every other time nothing.
    struct Slow {
        bytes_max: usize,
        is_ready: bool,
        written: Vec<Vec<u8>>,
    }

    impl AsyncRead for Slow {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.bytes_max < usize::MAX {
                self.is_ready = !self.is_ready;
            }
            if !self.is_ready {
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.bytes_max);
            self.written.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
            self.poll_write(context, &parts.concat())
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn socket(bytes_max: usize) -> Socket<Slow> {
        let stream = Slow { bytes_max, is_ready: true, written: Vec::new() };
        Socket::new(stream, Watch::new(), Outbox::new())
    }

    fn frame(len: usize, seed: usize) -> Vec<u8> {
        let [_, high, middle, low] = (len as u32).to_be_bytes();
        let payload = (0..len).map(|at| (at * 7 + seed) as u8).collect();
        [vec![high, middle, low, DATA, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn small_answers_of_one_turn_leave_together_and_large_ones_in_full_records() {
        let mut context = Context::from_waker(Waker::noop());
        let mut socket = socket(usize::MAX);
        for (len, count, expected) in
            [(1000, 16, vec![16 * 1009]), (16384, 5, vec![2 * RECORD_BYTES; 2])]
        {
            socket.begin_turn();
            for seed in 0..count {
                let frame = frame(len, seed);
                let (head, payload) = frame.split_at(9);
                let parts = [IoSlice::new(head), IoSlice::new(payload)];
                let taken = socket.poll_write(&mut context, &parts);
                assert!(matches!(taken, Poll::Ready(Ok(taken)) if taken == frame.len()));
                assert!(socket.poll_flush(&mut context).is_ready());
            }
            socket.end_turn(&mut context);
            let mut written: Vec<usize> =
                socket.stream.written.drain(..).map(|w| w.len()).collect();
            let all: usize = written.iter().sum();
            assert_eq!(all, count * (len + 9));
            written.truncate(expected.len());
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn everything_leaves_in_order_however_little_the_socket_takes() {
        let mut context = Context::from_waker(Waker::noop());
        for bytes_max in [700, 9999, 16384, 20_000, usize::MAX] {
            let mut socket = socket(bytes_max);
            let mut all = Vec::new();
            for (seed, len) in [0, 3, 16384, 9, 16375, 40_000, 200].into_iter().enumerate() {
                let frame = frame(len, seed);
                all.extend_from_slice(&frame);
                let mut left = &frame[..];
                socket.begin_turn();
                while !left.is_empty() {
                    let (one, other) = left.split_at(left.len() / 3);
                    let parts = [IoSlice::new(one), IoSlice::new(other)];
                    if let Poll::Ready(taken) = socket.poll_write(&mut context, &parts) {
                        left = &left[taken.expect("the socket is well")..];
                    }
                }
                assert!(socket.gathered.len() < BATCH_BYTES, "no more is kept");
                socket.end_turn(&mut context);
            }
            while socket.poll_flush(&mut context).is_pending() {}
            assert_eq!(socket.stream.written.concat(), all, "{bytes_max} at one time");
        }
    }
}
