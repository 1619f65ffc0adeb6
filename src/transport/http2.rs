//! Content into a stream of HTTP/2, no faster than the other side takes it.

use super::{Patience, WriteError};
use bytes::Bytes;
use h2::SendStream;
use std::future::poll_fn;
use std::io;

/// Sends content.
pub async fn send(
    stream: &mut SendStream<Bytes>,
    mut data: Bytes,
    patience: &mut Patience,
) -> Result<(), WriteError> {
    while !data.is_empty() {
        let room = patience.wait(room_for(stream, data.len())).await;
        let room = room.ok_or(WriteError::Stalled)??;
        let piece = data.split_to(room.min(data.len()));
        patience.moved(piece.len());
        stream.send_data(piece, false).map_err(not_sent)?;
    }
    Ok(())
}

/// Waits until some of so many bytes may be sent.
pub async fn room_for(stream: &mut SendStream<Bytes>, bytes: usize) -> Result<usize, WriteError> {
    stream.reserve_capacity(bytes);
    loop {
        let room = stream.capacity();
        if room > 0 {
            return Ok(room);
        }
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(not_sent(error)),
            None => return Err(gone()),
        }
    }
}

/// What the library could not send.
pub fn not_sent(error: h2::Error) -> WriteError {
    WriteError::Io(io::Error::other(error))
}

/// There is nothing to send on any more.
pub fn gone() -> WriteError {
    WriteError::Io(io::ErrorKind::BrokenPipe.into())
}
