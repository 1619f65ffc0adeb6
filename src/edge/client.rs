//! The client's side of one request, whatever it speaks: where the request's body comes from, and
//! where the answer goes.

use crate::access_log::Sent;
use crate::engine::Pieces;
use crate::transport::{ReadError, Sink, Source, WriteError};
use crate::upstream::Connection;
use crate::wire::Framing;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How an answer ended.
pub(super) enum Ended {
    /// It is out; whether the client can ask again on its connection.
    Sent(bool),
    /// So is a 101: from here on the bytes are not HTTP.
    Switched(Box<Connection>),
    /// The client got less than a whole answer, or nothing.
    Broken(&'static str),
    /// The same, of an answer whose end would be the connection's.
    Reset(&'static str),
    /// The edge's own answer could not be sent; the record says what it was.
    Cut,
}

impl From<WriteError> for Ended {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stalled => Self::Broken("client_stalled"),
            WriteError::Io(_) => Self::Broken("client_gone"),
        }
    }
}

impl Ended {
    /// An answer of the edge's own that could not be sent.
    pub(super) fn of_own(error: WriteError) -> Self {
        match error {
            WriteError::Stalled => error.into(),
            WriteError::Io(_) => Self::Cut,
        }
    }
}

/// Where an answer goes.
pub(super) trait Reply: Sink {
    /// Sends an interim head (1xx).
    fn interim(&mut self, head: &[u8]) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Begins the answer with this head, in the words of HTTP/1.1. It waits for what comes behind
    /// it: until then another one can take its place.
    fn begin(&mut self, head: Vec<u8>, framing: Framing);

    /// Adds bytes of the content, which wait as the head does.
    fn add(&mut self, content: &[u8]);

    /// Sends what waits.
    fn flush(&mut self) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Sends what waits and these pieces of the content behind it.
    fn pieces(&mut self, pieces: &Pieces) -> impl Future<Output = Result<(), WriteError>> + Send;

    /// Ends when the client has gone. One that has only finished sending still wants its answer.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;

    /// Bytes handed to the client so far.
    fn sent_bytes(&self) -> u64;

    /// All that is known of them.
    fn sent(&self) -> Sent;
}

/// Where the body of a request comes from.
pub(super) trait RequestBody: Source {
    /// Reads what has already arrived, within bounds, or waits up to `patience` for the first of
    /// it, so that a malformed body is known before anybody upstream has seen its head.
    fn look_ahead(
        &mut self,
        patience: Duration,
    ) -> impl Future<Output = Result<(), ReadError>> + Send;

    /// Becomes true with the first piece that is handed out.
    fn has_begun(&self) -> Arc<AtomicBool>;

    /// Forgets what is there of it. Whether that was the rest of it.
    fn skip(&mut self) -> impl Future<Output = bool> + Send;
}
