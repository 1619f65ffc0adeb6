//! What the operator is answered, and how it is sent.

use bytes::Bytes;
use pingora::Result;
use pingora::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use serde::Serialize;
use std::time::Duration;
use tokio::time::timeout;

/// From the first byte of an answer to its last.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// The same where it may be long and its reader is known.
const LONG_SENT_WITHIN: Duration = Duration::from_secs(90);
/// Of a body that nobody wants, so much is taken: a client that is still sending would lose the
/// answer with the connection.
const UNWANTED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The same in time.
const UNWANTED_WITHIN: Duration = Duration::from_secs(1);

const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Everything of it but what all have.
pub(super) struct Answer {
    pub(super) status: u16,
    content_type: &'static str,
    pub(super) body: String,
    field: Option<(&'static str, String)>,
    within: Duration,
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
}

impl Answer {
    pub(super) fn of_type(status: u16, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, body, field: None, within: SENT_WITHIN }
    }

    pub(super) fn plain(status: u16, body: &str) -> Self {
        Self::of_type(status, PLAIN, body.to_owned())
    }

    /// For those who have brought the token.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        // Only a map whose keys are no texts is an error.
        let body = serde_json::to_string(value).unwrap_or_default() + "\n";
        Self { within: LONG_SENT_WITHIN, ..Self::of_type(status, JSON, body) }
    }

    /// `{"error":"..."}`
    pub(super) fn error(status: u16, message: &str) -> Self {
        Self { within: SENT_WITHIN, ..Self::json(status, &Failure { error: message }) }
    }

    /// The same with a field of this status.
    pub(super) fn with(self, name: &'static str, value: impl ToString) -> Self {
        Self { field: Some((name, value.to_string())), ..self }
    }

    /// Sends it; the connection comes back if it can be used again.
    pub(super) async fn send(self, session: ServerSession) -> Option<ReusedHttpStream> {
        self.send_to(session, true).await
    }

    /// The same where the request could not be read; nobody knows what its body is.
    pub(super) async fn send_last(self, mut session: ServerSession) -> Option<ReusedHttpStream> {
        session.set_keepalive(None);
        self.send_to(session, false).await
    }

    async fn send_to(self, session: ServerSession, was_read: bool) -> Option<ReusedHttpStream> {
        match timeout(self.within, self.write(session, was_read)).await.ok()? {
            Ok(reused) => reused,
            Err(error) => {
                tracing::debug!(%error, "an admin request could not be answered");
                None
            }
        }
    }

    async fn write(
        self,
        mut session: ServerSession,
        was_read: bool,
    ) -> Result<Option<ReusedHttpStream>> {
        let mut head = ResponseHeader::build(self.status, None)?;
        head.insert_header("Content-Type", self.content_type)?;
        head.insert_header("Content-Length", self.body.len())?;
        head.insert_header("Cache-Control", "no-store")?;
        if let Some((name, value)) = self.field {
            head.insert_header(name, value)?;
        }
        session.write_response_header(Box::new(head)).await?;
        // Nothing of it is sent to HEAD.
        session.write_response_body(Bytes::from(self.body), true).await?;
        if was_read && !session.is_body_done() {
            session.finish_body().await?;
            let _ = timeout(UNWANTED_WITHIN, forget_body(&mut session)).await;
        }
        let settings = HttpPersistentSettings::for_session(&session);
        let reused = session.finish().await?;
        Ok(reused.map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings)))
    }
}

async fn forget_body(session: &mut ServerSession) {
    let mut bytes = 0;
    while let Ok(Some(piece)) = session.read_request_body().await {
        bytes += piece.len();
        if bytes > UNWANTED_BYTES_MAX {
            return;
        }
    }
}
