//! What lies between the requests of a connection and its socket: no more than so much at one time,
//! however many they are, and an answer is over only when all of it has left.

use crate::transport::Patience;
use crate::wire::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Piece};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use tokio::sync::Semaphore;

/// Content of one connection that has not left. The socket has a buffer of its own behind it: this
/// has to last from one turn of the connection's task to the next.
const UNSENT_BYTES_MAX: usize = 512 * 1024;
/// What a stream hands over at one time, which is a frame: a hundred streams that share a slow line
/// get their turn before anybody takes them for stalled.
pub(super) const PIECE_BYTES_MAX: usize = 16 * 1024;

/// What of a connection's answers has not left.
pub(super) struct Outbox {
    /// A permit for each byte that there is room for.
    room: Semaphore,
    /// All that the socket took.
    taken_bytes: AtomicU64,
    unsent: Mutex<Unsent>,
}

#[derive(Default)]
struct Unsent {
    /// Nothing leaves any more.
    is_closed: bool,
    /// By the numbers of their streams, which grow.
    answers: Vec<(u32, Answer)>,
}

impl Unsent {
    fn place(&self, stream: u32) -> Result<usize, usize> {
        self.answers.binary_search_by_key(&stream, |(stream, _)| *stream)
    }

    fn answer(&mut self, stream: u32) -> Option<&mut Answer> {
        let place = self.place(stream).ok()?;
        self.answers.get_mut(place).map(|(_, answer)| answer)
    }

    fn begin(&mut self, stream: u32) {
        match self.place(stream) {
            Ok(place) => self.answers[place].1 = Answer::default(),
            Err(place) => self.answers.insert(place, (stream, Answer::default())),
        }
    }

    fn end(&mut self, stream: u32) -> Option<Answer> {
        let place = self.place(stream).ok()?;
        Some(self.answers.remove(place).1)
    }
}

#[derive(Default)]
struct Answer {
    bytes: usize,
    /// Its end has left, too.
    is_out: bool,
    waiting: Option<Waker>,
}

impl Outbox {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            room: Semaphore::new(UNSENT_BYTES_MAX),
            taken_bytes: AtomicU64::new(0),
            unsent: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Unsent> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer on this stream.
    pub(super) fn share(self: &Arc<Self>, stream: u32) -> Share {
        self.lock().begin(stream);
        Share { outbox: self.clone(), stream }
    }

    /// Nothing leaves any more.
    pub(super) fn close(&self) {
        self.room.close();
        let mut unsent = self.lock();
        unsent.is_closed = true;
        for (_, answer) in &mut unsent.answers {
            if let Some(waker) = answer.waiting.take() {
                waker.wake();
            }
        }
    }
}

/// What one stream has in it, until it is dropped: with that, what has not left never does.
pub(super) struct Share {
    outbox: Arc<Outbox>,
    stream: u32,
}

impl Share {
    /// Waits for room for so much content, which is then handed over; no more than
    /// `PIECE_BYTES_MAX`. `None` where the client has taken nothing for too long.
    pub(super) async fn grow(&self, bytes: usize, patience: &mut Patience) -> Option<()> {
        let room = self.outbox.room.acquire_many(bytes as u32);
        // Whoever hands something over hears that the connection is closed.
        if let Ok(room) = self.wait(patience, room).await? {
            room.forget();
            if let Some(answer) = self.outbox.lock().answer(self.stream) {
                answer.bytes += bytes;
            }
        }
        Some(())
    }

    /// Waits until all of it has left; whether it has. Before, the connection may end.
    pub(super) async fn is_out(&self) -> bool {
        poll_fn(|context| {
            let mut unsent = self.outbox.lock();
            let is_closed = unsent.is_closed;
            match unsent.answer(self.stream) {
                Some(answer) if !answer.is_out && !is_closed => {
                    answer.waiting = Some(context.waker().clone());
                    Poll::Pending
                }
                answer => Poll::Ready(answer.is_some_and(|answer| answer.is_out)),
            }
        })
        .await
    }

    /// Whether all of it has left.
    pub(super) fn has_left(&self) -> bool {
        self.outbox.lock().answer(self.stream).is_none_or(|answer| answer.is_out)
    }

    /// Content that has not left.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.outbox.lock().answer(self.stream).map_or(0, |answer| answer.bytes)
    }

    /// Waits for something that comes when the client takes what is before it, too: as long as it
    /// takes anything, it is not this stream that it lets wait.
    pub(super) async fn wait<T>(
        &self,
        patience: &mut Patience,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let before = self.outbox.taken_bytes.load(Ordering::Relaxed);
            let done = patience.wait(work.as_mut()).await;
            let taken = self.outbox.taken_bytes.load(Ordering::Relaxed) - before;
            patience.moved(taken as usize);
            if done.is_some() || taken == 0 {
                return done;
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(answer) = self.outbox.lock().end(self.stream) {
            self.outbox.room.add_permits(answer.bytes);
        }
    }
}

/// Reads the frames that leave, of which each piece comes once.
pub(super) struct Leaving {
    outbox: Arc<Outbox>,
    frames: Frames,
    /// The frame that is being read is the last of its stream, or of the head that is.
    ends: bool,
}

impl Leaving {
    pub(super) fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox, frames: Frames::default(), ends: false }
    }

    /// So much of these parts was taken.
    pub(super) fn took<'b>(&mut self, parts: impl Iterator<Item = &'b [u8]>, bytes: usize) {
        let outbox = self.outbox.clone();
        outbox.taken_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let (mut unsent, mut left) = (outbox.lock(), bytes);
        for part in parts {
            let taken = left.min(part.len());
            left -= taken;
            let mut part = &part[..taken];
            while let Some(piece) = self.frames.next(&mut part) {
                self.left(piece, &mut unsent);
            }
        }
    }

    /// This has left, and perhaps a frame with it.
    fn left(&mut self, Piece { frame, begins, bytes, ends }: Piece, unsent: &mut Unsent) {
        if begins && matches!(frame.kind, DATA | HEADERS) {
            self.ends = frame.flags & END_STREAM != 0;
        }
        let is_last = match frame.kind {
            DATA => true,
            HEADERS | CONTINUATION => frame.flags & END_HEADERS != 0,
            _ => return,
        };
        let Some(answer) = unsent.answer(frame.stream) else { return };
        if frame.kind == DATA {
            let content = bytes.min(answer.bytes);
            answer.bytes -= content;
            self.outbox.room.add_permits(content);
        }
        if ends && is_last && self.ends {
            answer.is_out = true;
            if let Some(waker) = answer.waiting.take() {
                waker.wake();
            }
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.outbox.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::task::yield_now;

    fn frame(kind: u8, flags: u8, stream: u32, len: usize) -> Vec<u8> {
        let [_, high, middle, low] = (len as u32).to_be_bytes();
        [&[high, middle, low, kind, flags], &stream.to_be_bytes()[..], &vec![0; len]].concat()
    }

    fn patience() -> Patience {
        Patience::new(Duration::from_secs(10), 0)
    }

    #[tokio::test]
    async fn what_leaves_makes_room_however_it_is_cut() {
        let all = [
            frame(4, 0, 0, 12),
            frame(HEADERS, 0, 1, 30),
            frame(CONTINUATION, END_HEADERS, 1, 5),
            frame(DATA, 0, 1, 1000),
            frame(HEADERS, END_STREAM, 3, 20),
            frame(CONTINUATION, END_HEADERS, 3, 5),
            frame(DATA, 0, 5, 100),
            frame(DATA, 0, 1, 0),
            frame(DATA, END_STREAM, 1, 500),
        ]
        .concat();
        for len in [1, 2, 7, 100, all.len()] {
            let outbox = Outbox::new();
            let (one, three, mut leaving) =
                (outbox.share(1), outbox.share(3), Leaving::new(outbox.clone()));
            one.grow(1500, &mut patience()).await.expect("room");
            let (last, before) = all.split_last().expect("bytes");
            for piece in before.chunks(len) {
                let (left, right) = piece.split_at(piece.len() / 2);
                leaving.took([left, right].into_iter(), piece.len());
            }
            assert!(three.is_out().await);
            assert_eq!(one.unsent_bytes(), 1, "in pieces of {len}");
            // The socket may take less than it was given.
            leaving.took([&[*last, *last][..]].into_iter(), 1);
            assert!(one.is_out().await);
            assert_eq!(outbox.room.available_permits(), UNSENT_BYTES_MAX);
        }
    }

    #[tokio::test]
    async fn streams_that_are_broken_off_give_their_room_back() {
        let outbox = Outbox::new();
        let mut leaving = Leaving::new(outbox.clone());
        for stream in (1..2000).step_by(2) {
            let share = outbox.share(stream);
            for _ in 0..4 {
                share.grow(PIECE_BYTES_MAX, &mut patience()).await.expect("room");
            }
            let sent = frame(DATA, 0, stream, PIECE_BYTES_MAX);
            let (before, after) = sent.split_at(100);
            leaving.took([before].into_iter(), before.len());
            drop(share);
            // The library had begun with it.
            leaving.took([after].into_iter(), after.len());
        }
        assert_eq!(outbox.room.available_permits(), UNSENT_BYTES_MAX);
        assert!(outbox.lock().answers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_waits_for_room_as_long_as_the_client_takes_anything() {
        let outbox = Outbox::new();
        let (large, small) = (outbox.share(1), outbox.share(3));
        for _ in 0..UNSENT_BYTES_MAX / PIECE_BYTES_MAX {
            large.grow(PIECE_BYTES_MAX, &mut patience()).await.expect("room");
        }
        let mut leaving = Leaving::new(outbox.clone());
        let waiting = tokio::spawn(async move { small.grow(1, &mut patience()).await });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(7)).await;
            leaving.took([&frame(6, 0, 0, 8)[..]].into_iter(), 17);
            assert!(!waiting.is_finished());
        }
        assert_eq!(waiting.await.expect("no panic"), None, "then it took nothing");
        drop(large);
        assert_eq!(outbox.room.available_permits(), UNSENT_BYTES_MAX);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_connection_that_has_ended() {
        let outbox = Outbox::new();
        let (share, leaving) = (outbox.share(1), Leaving::new(outbox.clone()));
        let waiting = tokio::spawn(async move { share.is_out().await });
        yield_now().await;
        drop(leaving);
        assert!(!waiting.await.expect("no panic"));
        assert!(outbox.share(3).grow(1, &mut patience()).await.is_some());
        assert!(!outbox.share(5).is_out().await);
    }
}
