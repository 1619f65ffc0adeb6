//! Where the content of an answer comes from: out of the store, or as it arrives, and from the one to
//! the other where what is here ends.

use crate::engine::{Answer, ArrivalReader, Head, Object, Pieces, ReadEnd};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// How often one answer is gone on with after its client fell behind.
const RESTS_MAX: usize = 3;

/// Where content comes from.
pub(super) enum Content<'a> {
    Stored(Cow<'a, Arc<Object>>),
    Arriving {
        answer: Arc<Answer>,
        place: ArrivalReader,
        /// What there is before and behind it.
        object: Option<Arc<Object>>,
    },
}

impl Content<'_> {
    /// Takes what is there off the front of `part`; `None` if it has to be waited for.
    pub(super) fn ready(&mut self, part: &mut Range<u64>) -> Option<Result<Pieces, ReadEnd>> {
        match self {
            Self::Stored(object) => object.body.take(part).map(Ok),
            Self::Arriving { answer, place, object } => {
                if answer.brings(part.start) {
                    return place
                        .ready(part)
                        .filter(|taken| !matches!(taken, Err(ReadEnd::Lagged)));
                }
                let mut here = answer.part_beside(part);
                let taken = object.as_ref()?.body.take(&mut here).map(Ok);
                part.start = here.start;
                taken
            }
        }
    }

    pub(super) async fn wait(&mut self, part: &mut Range<u64>) -> Result<Pieces, ReadEnd> {
        match self {
            Self::Stored(object) => object.body.read(part).await.ok_or(ReadEnd::Lagged),
            Self::Arriving { answer, place, object } => {
                if answer.brings(part.start) {
                    return match place.next(part).await {
                        Err(ReadEnd::Lagged) => {
                            answer.arrival.read_behind(part).await.ok_or(ReadEnd::Lagged)
                        }
                        read => read,
                    };
                }
                let object = object.as_ref().ok_or(ReadEnd::Lagged)?;
                let mut here = answer.part_beside(part);
                let read = object.body.read(&mut here).await.ok_or(ReadEnd::Lagged);
                part.start = here.start;
                read
            }
        }
    }

    /// The object that it is part of, as far as there is one.
    pub(super) fn object(&self) -> Option<&Arc<Object>> {
        match self {
            Self::Stored(object) => Some(object),
            Self::Arriving { object, .. } => object.as_ref(),
        }
    }

    /// How long the whole is, where that is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Self::Stored(object) => Some(object.body.total()),
            Self::Arriving { answer, .. } => answer.total,
        }
    }

    /// The head of the response whose content it is.
    pub(super) fn head(&self) -> &Arc<Head> {
        match self {
            Self::Stored(object) => &object.head,
            Self::Arriving { answer, .. } => &answer.head,
        }
    }
}

/// How often one answer was gone on with after its client fell behind or chunks were missing.
#[derive(Default)]
pub(super) struct Rests {
    count: usize,
    last_at: Option<u64>,
}

impl Rests {
    /// What is completed for all may be gone on with as long as it gets further.
    pub(super) fn may_go_on(&mut self, content: &Content<'_>, at: u64) -> bool {
        let is_for_all = content.object().is_some_and(|object| object.is_in_chunks());
        let gets_further = self.last_at.replace(at) != Some(at);
        self.count += 1;
        self.count <= RESTS_MAX || is_for_all && gets_further
    }
}
