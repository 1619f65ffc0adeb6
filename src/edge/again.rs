//! The beginning of a request body, for an origin that says that it has not looked at it: the next
//! one gets it all the same.

use crate::transport::{ReadError, Source};
use crate::wire::body::Frame;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is kept of one body. Who refuses a request does so with its head.
const KEPT_BYTES_MAX: usize = 64 * 1024;
const KEPT_FRAMES_MAX: usize = 64;

/// What was read of a request body.
#[derive(Default)]
pub(super) struct Kept {
    frames: Vec<Frame>,
    bytes: usize,
    is_lost: Arc<AtomicBool>,
}

impl Kept {
    /// Becomes true when there is more than is kept.
    pub(super) fn is_lost(&self) -> Arc<AtomicBool> {
        self.is_lost.clone()
    }

    fn lose(&mut self) {
        self.is_lost.store(true, Ordering::Relaxed);
        self.frames.clear();
    }

    fn keep(&mut self, frame: &Frame) {
        let kept = match frame {
            // A copy: a piece would hold the buffer that it was read into.
            Frame::Data(data) if self.bytes + data.len() <= KEPT_BYTES_MAX => {
                self.bytes += data.len();
                Frame::Data(Bytes::copy_from_slice(data))
            }
            Frame::Data(_) => return self.lose(),
            Frame::Trailers(fields) => Frame::Trailers(fields.clone()),
        };
        if self.frames.len() == KEPT_FRAMES_MAX {
            return self.lose();
        }
        self.frames.push(kept);
    }

    fn get(&self, position: usize) -> Option<Frame> {
        self.frames.get(position).map(|frame| match frame {
            Frame::Data(data) => Frame::Data(data.clone()),
            Frame::Trailers(fields) => Frame::Trailers(fields.clone()),
        })
    }
}

/// A body from its beginning, whatever was read of it before.
pub(super) struct Again<'a, S> {
    kept: &'a mut Kept,
    rest: &'a mut S,
    /// Frames handed out of those that are kept.
    handed_out: usize,
    /// It may have to be sent once more.
    keeps: bool,
}

impl<'a, S> Again<'a, S> {
    /// What was kept, and the rest behind it.
    pub(super) fn new(kept: &'a mut Kept, rest: &'a mut S, keeps: bool) -> Self {
        Self { kept, rest, handed_out: 0, keeps }
    }
}

impl<S: Source> Source for Again<'_, S> {
    async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        if let Some(frame) = self.kept.get(self.handed_out) {
            self.handed_out += 1;
            return Ok(Some(frame));
        }
        let next = self.rest.next().await?;
        if let Some(frame) = &next
            && !self.kept.is_lost.load(Ordering::Relaxed)
        {
            if self.keeps {
                self.kept.keep(frame);
                self.handed_out += 1;
            } else {
                self.kept.lose();
            }
        }
        Ok(next)
    }
}
