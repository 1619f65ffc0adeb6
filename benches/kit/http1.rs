//! A client that speaks HTTP/1.1 and does as little as it can, so that what is counted is the edge's.

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// One connection.
pub(crate) struct Http1 {
    stream: DuplexStream,
    answer: BytesMut,
}

impl Http1 {
    pub(super) fn new(stream: DuplexStream) -> Self {
        Self { stream, answer: BytesMut::new() }
    }

    /// The whole answer, whose content has this length.
    pub(crate) async fn ask(&mut self, request: &[u8], length: usize) -> &[u8] {
        self.answer.clear();
        self.stream.write_all(request).await.expect("sent");
        let mut whole = usize::MAX;
        while self.answer.len() < whole {
            let read = self.stream.read_buf(&mut self.answer).await.expect("an answer");
            assert!(read > 0, "the edge closed the connection");
            if whole == usize::MAX
                && let Some(end) = memchr::memmem::find(&self.answer, b"\r\n\r\n")
            {
                whole = end + 4 + length;
            }
        }
        assert_eq!(self.answer.len(), whole, "more than one answer");
        &self.answer
    }
}
