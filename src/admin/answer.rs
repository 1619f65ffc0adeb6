//! What the operator is answered, and how it is sent.

use serde::Serialize;
use std::time::{Duration, SystemTime};

/// From the first byte of an answer to its last.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// The same where it may be long and its reader is known.
const LONG_SENT_WITHIN: Duration = Duration::from_secs(90);
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Everything of it but what all have.
pub(super) struct Answer {
    pub(super) status: u16,
    content_type: &'static str,
    pub(super) body: String,
    field: Option<(&'static str, String)>,
    /// How long its reader may take for it.
    pub(super) within: Duration,
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

    /// As it is sent, to HEAD without its content.
    pub(super) fn bytes(&self, wants_body: bool, persistent: bool, now: SystemTime) -> Vec<u8> {
        let Self { status, content_type, body, field, .. } = self;
        let code = http::StatusCode::from_u16(*status).ok();
        let reason = code.and_then(|code| code.canonical_reason()).unwrap_or_default();
        let connection = if persistent { "" } else { "Connection: close\r\n" };
        let field = field.as_ref().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\nDate: {}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {}\r\nCache-Control: no-store\r\n{}{connection}\r\n",
            httpdate::fmt_http_date(now),
            body.len(),
            field.unwrap_or_default(),
        );
        [head.as_bytes(), if wants_body { body.as_bytes() } else { b"" }].concat()
    }
}
