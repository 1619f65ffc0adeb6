//! One request and its answer on a connection that others use at the same time.

use super::INTERIM_HEADS_MAX;
use crate::transport::http2::{gone, not_sent, send};
use crate::transport::{Patience, ReadError, WriteError};
use crate::upstream::Fault;
use crate::wire::body::{Frame, Sender};
use crate::wire::response::ResponseHead;
use crate::wire::{Framing, HeadLimits, http2};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::response::Parts;
use http::{Method, Response};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What an origin receives.
pub(in crate::upstream) struct Outgoing {
    state: Sending,
    patience: Patience,
}

enum Sending {
    Nothing(SendRequest<Bytes>),
    Body(SendStream<Bytes>),
    /// The request has ended, or could not be sent.
    Over,
}

/// What it sends.
pub(in crate::upstream) struct Incoming {
    state: Receiving,
    read_timeout: Duration,
    framing: Framing,
    /// Of the length that was announced.
    left: u64,
    /// Handed out, and with the next call known to have been taken.
    handed_out: usize,
}

enum Receiving {
    Nothing,
    Head(ResponseFuture),
    /// There were interim heads. Whoever takes the others goes on when nobody waits for them here.
    Heads(mpsc::Receiver<Result<Head, h2::Error>>),
    Body(RecvStream),
    /// There will be no answer.
    Failed(Fault),
    /// Everything came.
    Over,
}

/// Both halves of a request that may be sent now.
pub(in crate::upstream) fn halves(
    requests: SendRequest<Bytes>,
    read_timeout: Duration,
) -> (Outgoing, Incoming) {
    let outgoing = Outgoing { state: Sending::Nothing(requests), patience: read_timeout.into() };
    let (state, framing) = (Receiving::Nothing, Framing::Empty);
    (outgoing, Incoming { state, read_timeout, framing, left: 0, handed_out: 0 })
}

impl Outgoing {
    /// Sends this head of a request whose body has this framing. Whether that was possible; if not,
    /// `answer` says why.
    pub(in crate::upstream) fn ask(
        &mut self,
        answer: &mut Incoming,
        head: &[u8],
        framing: Framing,
        is_tls: bool,
    ) -> bool {
        let Sending::Nothing(mut requests) = std::mem::replace(&mut self.state, Sending::Over)
        else {
            return false;
        };
        let asked = match http2::say_request(head, is_tls) {
            Some(request) => requests.send_request(request, !framing.has_body()),
            None => {
                answer.state = Receiving::Failed(Fault::Garbage("HTTP/2 cannot say what is asked"));
                return false;
            }
        };
        match asked {
            Ok((response, body)) => {
                answer.state = Receiving::Head(response);
                if framing.has_body() {
                    self.state = Sending::Body(body);
                }
                true
            }
            // Nothing went out: the connection has ended, or is about to.
            Err(_) => {
                answer.state = Receiving::Failed(Fault::NotTaken);
                false
            }
        }
    }

    /// Sends a piece of the body; trailers end it.
    pub(in crate::upstream) async fn frame(&mut self, frame: &Frame) -> Result<(), WriteError> {
        let Sending::Body(body) = &mut self.state else { return Err(gone()) };
        match frame {
            Frame::Data(data) => send(body, data.clone(), &mut self.patience).await,
            Frame::Trailers(fields) => {
                let sent = body.send_trailers(http2::say_trailers(fields));
                self.state = Sending::Over;
                sent.map_err(not_sent)
            }
        }
    }

    /// Ends the body without trailers.
    pub(in crate::upstream) fn end(&mut self) -> Result<(), WriteError> {
        let Sending::Body(mut body) = std::mem::replace(&mut self.state, Sending::Over) else {
            return Err(gone());
        };
        body.send_data(Bytes::new(), true).map_err(not_sent)
    }
}

impl Incoming {
    /// The next head, interim ones included; `has_begun` when there was one before.
    pub(in crate::upstream) async fn head(
        &mut self,
        method: &Method,
        has_begun: bool,
    ) -> Result<ResponseHead, Fault> {
        let came = match &mut self.state {
            Receiving::Head(response) => poll_fn(|context| poll_head(response, context)).await,
            Receiving::Heads(heads) => heads.recv().await.ok_or(Fault::Closed)?,
            Receiving::Failed(fault) => return Err(*fault),
            Receiving::Nothing | Receiving::Body(_) | Receiving::Over => return Err(Fault::Closed),
        };
        let (Parts { status, headers, .. }, body) = match came {
            Ok(came) => came,
            Err(error) => {
                let fault = fault_before_head(&error, has_begun);
                self.state = Receiving::Failed(fault);
                return Err(fault);
            }
        };
        let mut head = http2::read_response(status, &headers, method).map_err(Fault::Garbage)?;
        if let Some(body) = body {
            if head.framing == Framing::UntilClose && body.is_end_stream() {
                head.framing = Framing::Length(0);
            }
            self.state = Receiving::Body(body);
        } else {
            self.takes_heads();
        }
        Ok(head)
    }

    /// The first interim head came.
    fn takes_heads(&mut self) {
        match std::mem::replace(&mut self.state, Receiving::Nothing) {
            Receiving::Head(response) => {
                let (taken, heads) = mpsc::channel(INTERIM_HEADS_MAX);
                tokio::spawn(take_heads(response, taken));
                self.state = Receiving::Heads(heads);
            }
            later => self.state = later,
        }
    }

    /// The body behind this head comes next.
    pub(in crate::upstream) fn begin_body(&mut self, framing: Framing) {
        self.framing = framing;
        if let Framing::Length(length) = framing {
            self.left = length;
        }
    }

    /// Whether all of the body was handed out.
    pub(in crate::upstream) fn is_done(&self) -> bool {
        match &self.state {
            Receiving::Body(_) if self.framing == Framing::Empty => true,
            Receiving::Body(body) => self.left == 0 && body.is_end_stream(),
            Receiving::Over => true,
            Receiving::Nothing
            | Receiving::Head(_)
            | Receiving::Heads(_)
            | Receiving::Failed(_) => false,
        }
    }

    /// The next piece of the body. The origin may send as much again as was taken, and no more.
    pub(in crate::upstream) async fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        let body = match &mut self.state {
            Receiving::Body(body) if self.framing != Framing::Empty => body,
            Receiving::Body(_) | Receiving::Over => return Ok(None),
            Receiving::Nothing
            | Receiving::Head(_)
            | Receiving::Heads(_)
            | Receiving::Failed(_) => {
                return Err(ReadError::Closed);
            }
        };
        loop {
            // Of a stream that has ended there is nothing to release.
            let _ = body.flow_control().release_capacity(std::mem::take(&mut self.handed_out));
            let came = timeout(self.read_timeout, body.data()).await;
            let data = match came.map_err(|_| ReadError::Stalled)? {
                Some(data) => data.map_err(read_error)?,
                None => break,
            };
            self.handed_out = data.len();
            if let Framing::Length(_) = self.framing {
                let left = self.left.checked_sub(data.len() as u64);
                self.left = left.ok_or(ReadError::Bad("it is longer than its Content-Length"))?;
            }
            if !data.is_empty() {
                return Ok(Some(Frame::Data(data)));
            }
        }
        let came = timeout(self.read_timeout, body.trailers()).await;
        let trailers = came.map_err(|_| ReadError::Stalled)?.map_err(read_error)?;
        if self.left > 0 {
            return Err(ReadError::Closed);
        }
        self.state = Receiving::Over;
        let read = |fields| http2::read_trailers(fields, Sender::Origin, &HeadLimits::OF_ANSWERS);
        let trailers = trailers.as_ref().map(read).transpose();
        let trailers = trailers.map_err(ReadError::Bad)?.filter(|fields| !fields.is_empty());
        Ok(trailers.map(Frame::Trailers))
    }
}

/// Takes heads as they come. Left to itself, the library would keep interim ones without an end
/// while whoever got the first is held up. Of too many the last are dropped: those that are kept
/// are enough to show that there are too many.
async fn take_heads(mut response: ResponseFuture, heads: mpsc::Sender<Result<Head, h2::Error>>) {
    loop {
        let came = tokio::select! {
            came = poll_fn(|context| poll_head(&mut response, context)) => came,
            () = heads.closed() => return,
        };
        if !matches!(came, Ok((_, None))) {
            // Nobody needs it who has left.
            let _ = heads.send(came).await;
            return;
        }
        let _ = heads.try_send(came);
    }
}

type Head = (Parts, Option<RecvStream>);

fn poll_head(
    response: &mut ResponseFuture,
    context: &mut Context<'_>,
) -> Poll<Result<Head, h2::Error>> {
    match response.poll_informational(context) {
        Poll::Ready(Some(interim)) => {
            return Poll::Ready(interim.map(|interim| (interim.into_parts().0, None)));
        }
        Poll::Ready(None) => {}
        Poll::Pending => return Poll::Pending,
    }
    let with_body = |response: Response<RecvStream>| {
        let (parts, body) = response.into_parts();
        (parts, Some(body))
    };
    Pin::new(response).poll(context).map_ok(with_body)
}

/// Why there is no answer to a request that was sent.
fn fault_before_head(error: &h2::Error, has_begun: bool) -> Fault {
    let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // Those which the server may have looked at go on behind its GOAWAY (RFC 9113, section 6.8).
    if error.is_remote() && (is_refused || error.is_go_away()) {
        Fault::NotTaken
    } else if !(error.is_remote() || error.is_io()) {
        Fault::Garbage("it breaks the rules of HTTP/2")
    } else if has_begun {
        Fault::Truncated
    } else if error.is_reset() {
        Fault::Reset
    } else {
        Fault::Closed
    }
}

/// Why a body does not go on. Also what breaks the rules broke off: a body that ends elsewhere than
/// it said is noticed that way.
fn read_error(error: h2::Error) -> ReadError {
    match error.into_io() {
        Some(error) => ReadError::Io(error),
        None => ReadError::Closed,
    }
}
