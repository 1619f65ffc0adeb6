//! A body on its way from one side to the other, and what happens beside it: an origin may answer
//! before it has the whole request, a client may leave before it has its answer.

use super::client::Reply;
use crate::engine::Posted;
use crate::rules::forwarding;
use crate::transport::{ReadError, Sink, Source, WriteError};
use crate::wire::body::Frame;
use crate::wire::fields::Fields;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

/// Which side ended a body early.
pub(super) enum PumpError {
    Read(ReadError),
    Write(WriteError),
}

/// Carries the body behind `head` from one side to the other.
pub(super) async fn pump(
    from: &mut impl Source,
    to: &mut impl Sink,
    head: &Fields,
) -> Result<(), PumpError> {
    while let Some(mut frame) = from.next().await.map_err(PumpError::Read)? {
        if let Frame::Trailers(trailers) = &mut frame {
            forwarding::trailers(trailers, head);
        }
        to.frame(&frame).await.map_err(PumpError::Write)?;
        if let Frame::Trailers(_) = frame {
            return Ok(());
        }
    }
    to.end().await.map_err(PumpError::Write)
}

/// The request body on its way, while other things happen.
pub(super) struct Upload<'p, F> {
    future: Pin<&'p mut F>,
    pub(super) state: UploadState,
    response_timeout: Duration,
    /// When the origin must have answered: set when it has the whole request.
    deadline: Option<tokio::time::Instant>,
    /// The client sends nothing before an interim answer; whether it does all the same.
    waits_for_continue: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UploadState {
    Running,
    Done,
    /// The origin takes no more, or the client sends no more. There may be an answer all the same.
    GivenUp,
}

/// Why there was no answer to wait for any longer.
pub(super) enum Interruption {
    /// The client's body could not be read.
    Client(ReadError),
    /// The client broke the connection.
    Gone,
    /// The request was out and nothing came for too long.
    Silence,
}

impl<'p, F: Future<Output = Result<(), PumpError>>> Upload<'p, F> {
    pub(super) fn new(future: Pin<&'p mut F>, response_timeout: Duration) -> Self {
        let (deadline, waits_for_continue) = (None, None);
        let state = UploadState::Running;
        Self { future, state, response_timeout, deadline, waits_for_continue }
    }

    /// A client that waits for the origin's word sends nothing until then, so the clock runs.
    pub(super) fn waits_for_continue(&mut self, has_begun: Arc<AtomicBool>) {
        self.waits_for_continue = Some(has_begun);
        self.start_clock();
    }

    pub(super) fn was_continued(&mut self) {
        if self.waits_for_continue.take().is_some() && self.state == UploadState::Running {
            self.deadline = None;
        }
    }

    pub(super) fn ends_as(&mut self, state: UploadState) {
        self.state = state;
        self.start_clock();
    }

    fn start_clock(&mut self) {
        self.deadline = tokio::time::Instant::now().checked_add(self.response_timeout);
    }

    fn has_ended(&mut self, result: Result<(), PumpError>) -> Result<(), ReadError> {
        match result {
            Ok(()) => self.ends_as(UploadState::Done),
            Err(PumpError::Write(_)) => self.ends_as(UploadState::GivenUp),
            Err(PumpError::Read(error)) => return Err(error),
        }
        Ok(())
    }

    /// Waits for an answer while the upload goes on. The clock runs only when the origin has the
    /// whole request: nobody has to answer a question that is still being asked. `gone` ends when
    /// the client has.
    pub(super) async fn until_answered<T>(
        &mut self,
        answer: impl Future<Output = T>,
        gone: impl Future<Output = ()>,
    ) -> Result<T, Interruption> {
        let (mut answer, mut gone) = (pin!(answer), pin!(gone));
        loop {
            tokio::select! {
                ended = self.future.as_mut(), if self.state == UploadState::Running => {
                    self.has_ended(ended).map_err(Interruption::Client)?;
                }
                answer = answer.as_mut() => {
                    // Whether the client can stay depends on an upload that may just have ended.
                    let once = poll_fn(|cx| Poll::Ready(self.future.as_mut().poll(cx)));
                    if self.state == UploadState::Running && let Poll::Ready(ended) = once.await {
                        self.has_ended(ended).map_err(Interruption::Client)?;
                    }
                    return Ok(answer);
                }
                () = until(self.deadline) => {
                    let has_begun = self.waits_for_continue.take();
                    let sends_all_the_same = has_begun.is_some_and(|it| it.load(Ordering::Relaxed));
                    if self.state == UploadState::Running && sends_all_the_same {
                        self.deadline = None;
                        continue;
                    }
                    return Err(Interruption::Silence);
                }
                () = gone.as_mut(), if self.state != UploadState::Running => {
                    return Err(Interruption::Gone);
                }
            }
        }
    }

    /// Goes on to the end of the upload, or until one of the sides has enough.
    pub(super) async fn finish(&mut self) {
        if self.state == UploadState::Running {
            let ended = self.future.as_mut().await;
            if self.has_ended(ended).is_err() {
                self.state = UploadState::GivenUp;
            }
        }
    }

    /// Carries the body of the answer behind `head` to the client while the upload goes on, and shows
    /// it to whoever keeps it. A client that stops sending has heard enough (RFC 9112, section 9.5);
    /// it gets the rest of its answer all the same. One that has gone ends it, however long the
    /// origin pauses.
    pub(super) async fn beside_answer(
        &mut self,
        from: &mut impl Source,
        to: &mut impl Reply,
        head: &Fields,
        mut keep: Option<&mut Posted>,
    ) -> Result<(), PumpError> {
        while let Some(mut frame) =
            self.beside(from.next(), to.gone()).await?.map_err(PumpError::Read)?
        {
            if let (Frame::Data(data), Some(keep)) = (&frame, &mut keep) {
                keep.push(data);
            }
            if let Frame::Trailers(trailers) = &mut frame {
                forwarding::trailers(trailers, head);
            }
            self.beside(to.frame(&frame), pending()).await?.map_err(PumpError::Write)?;
            if let Frame::Trailers(_) = frame {
                return Ok(());
            }
        }
        self.beside(to.end(), pending()).await?.map_err(PumpError::Write)
    }

    /// Does `step` to its end while the upload goes on, or until the client has gone. What is read of
    /// the client tells that too, and who reads is not disturbed: `gone` is asked only where nobody
    /// does.
    async fn beside<T>(
        &mut self,
        step: impl Future<Output = T>,
        gone: impl Future<Output = ()>,
    ) -> Result<T, PumpError> {
        let left = || PumpError::Write(WriteError::Io(io::ErrorKind::ConnectionReset.into()));
        let (mut step, mut gone) = (pin!(step), pin!(gone));
        loop {
            tokio::select! {
                biased;
                ended = self.future.as_mut(), if self.state == UploadState::Running => {
                    match self.has_ended(ended) {
                        Ok(()) => {}
                        Err(ReadError::Io(_)) => return Err(left()),
                        Err(_) => self.state = UploadState::GivenUp,
                    }
                }
                done = step.as_mut() => return Ok(done),
                () = gone.as_mut(), if self.state != UploadState::Running => return Err(left()),
            }
        }
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => pending().await,
    }
}
