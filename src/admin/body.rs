//! The body of an operator's request, within limits.

use super::answer::Answer;
use http::Version;
use http::header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use pingora::Result;
use pingora::protocols::http::ServerSession;
use std::time::Duration;
use tokio::time::timeout;

/// Thousands of URLs.
pub(super) const BYTES_MAX: usize = 1024 * 1024;
/// From the head to the last byte of the body.
const WITHIN: Duration = Duration::from_secs(10);

/// All of it, or the answer that says why not.
pub(super) async fn read(session: &mut ServerSession) -> Result<Vec<u8>, Answer> {
    let headers = &session.req_header().headers;
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let is_list = headers.get(CONTENT_LENGTH).is_some_and(|told| told.as_bytes().contains(&b','));
    if lengths > 1 || is_list || lengths > 0 && headers.contains_key(TRANSFER_ENCODING) {
        // RFC 9112, section 6.3: it could be read in two ways.
        session.set_keepalive(None);
        return Err(Answer::error(400, "the body's length is told in more than one way"));
    }
    let length = session.get_header(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|n| n > BYTES_MAX) {
        return Err(too_large());
    }
    match timeout(WITHIN, read_all(session)).await {
        Ok(Ok(Some(body))) => Ok(body),
        Ok(Ok(None)) => Err(too_large()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the body of an admin request could not be read");
            session.set_keepalive(None);
            Err(Answer::error(400, "the body could not be read"))
        }
        Err(_) => {
            session.set_keepalive(None);
            let message = format!("the body did not come within {} s", WITHIN.as_secs());
            Err(Answer::error(408, &message))
        }
    }
}

/// `None`: it is too large.
async fn read_all(session: &mut ServerSession) -> Result<Option<Vec<u8>>> {
    if expects_to_be_asked(session) && !session.is_body_empty() {
        // To Pingora this is an answer before the end of the body, after which it would close.
        session.set_close_on_response_before_downstream_finish(false);
        session.write_continue_response().await?;
        session.set_close_on_response_before_downstream_finish(true);
    }
    let mut body = Vec::new();
    while let Some(piece) = session.read_request_body().await? {
        if body.len() + piece.len() > BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

/// RFC 9110, section 10.1.1.
fn expects_to_be_asked(session: &ServerSession) -> bool {
    session.req_header().version == Version::HTTP_11
        && session
            .get_header(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn too_large() -> Answer {
    let message = format!("the body is larger than {} MiB", BYTES_MAX >> 20);
    Answer::error(413, &message)
}
