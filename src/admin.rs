//! The operator's listener. It answers during the drain, too, and ends with the process.
//!
//! | route | answer |
//! |---|---|
//! | `GET /healthz` | 200: the process lives |
//! | `GET /readyz` | 200: it takes requests, and a line about what it does without; 503: it is shutting down |
//! | `GET /metrics` | every counter, as Prometheus reads it |
//!
//! HEAD is answered like GET. What a client may cost is bounded: connections, and the time to bring
//! a request or to take its answer.

use crate::metrics::Metrics;
use crate::store::disk::{Disk, Health};
use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use pingora::Result;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at one time; more are closed without a word.
const CONNECTIONS_MAX: usize = 64;
/// From the end of one answer to the last byte of the next head, absolute. Longer than Prometheus
/// waits between two scrapes where nothing else is said.
const REQUEST_WITHIN: Duration = Duration::from_secs(90);
/// From then to the last byte of the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

const PLAIN: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const ROUTES: &str = "There is nothing here. What there is: /healthz, /readyz, /metrics\n";

/// What the operator may ask.
pub struct Admin {
    metrics: Arc<Metrics>,
    disk: Option<Arc<Disk>>,
    /// `true` once shutdown has begun.
    stopping: ShutdownWatch,
    places: Semaphore,
}

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Admin {
    /// `stopping` becomes `true` when shutdown begins.
    pub fn new(metrics: Arc<Metrics>, disk: Option<Arc<Disk>>, stopping: ShutdownWatch) -> Self {
        Self { metrics, disk, stopping, places: Semaphore::new(CONNECTIONS_MAX) }
    }

    /// It takes requests also without its disk: a balancer has to know of the first alone, a person
    /// of both.
    fn readiness(&self) -> String {
        match self.disk.as_ref().map(|disk| disk.health()) {
            None | Some(Health::Good) => "ready\n".to_owned(),
            Some(Health::Recovering) => "ready\nrecovering: disk\n".to_owned(),
            Some(Health::Degraded(reason)) => format!("ready\ndegraded: disk: {reason}\n"),
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Answer {
        let plain =
            |status, body: &str| Answer { status, content_type: PLAIN, body: body.to_owned() };
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match path {
            "/healthz" | "/readyz" | "/metrics" if !is_read => plain(405, "GET or HEAD, please\n"),
            "/healthz" => plain(200, "ok\n"),
            "/readyz" if *self.stopping.borrow() => plain(503, "shutting down\n"),
            "/readyz" => plain(200, &self.readiness()),
            "/metrics" => {
                Answer { status: 200, content_type: EXPOSITION, body: self.metrics.text() }
            }
            _ => plain(404, ROUTES),
        }
    }

    async fn serve(&self, mut session: ServerSession) -> Option<ReusedHttpStream> {
        let answer = match timeout(REQUEST_WITHIN, session.read_request()).await {
            Ok(Ok(true)) => {
                let request = session.req_header();
                self.answer(&request.method, request.uri.path())
            }
            Ok(Ok(false)) | Err(_) => return None,
            Ok(Err(error)) => {
                tracing::debug!(%error, "an admin request could not be read");
                session.set_keepalive(None);
                let body = "The request could not be read.\n".to_owned();
                Answer { status: 400, content_type: PLAIN, body }
            }
        };
        match timeout(ANSWER_WITHIN, send(session, answer)).await.ok()? {
            Ok(reused) => reused,
            Err(error) => {
                tracing::debug!(%error, "an admin request could not be answered");
                None
            }
        }
    }
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        _shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let _place = self.places.try_acquire().ok()?;
        self.serve(session).await
    }
}

/// Sends the answer; the connection comes back if it can be used again.
async fn send(mut session: ServerSession, answer: Answer) -> Result<Option<ReusedHttpStream>> {
    let mut head = ResponseHeader::build(answer.status, None)?;
    head.insert_header("Content-Type", answer.content_type)?;
    head.insert_header("Content-Length", answer.body.len())?;
    head.insert_header("Cache-Control", "no-store")?;
    if answer.status == 405 {
        head.insert_header("Allow", "GET, HEAD")?;
    }
    session.write_response_header(Box::new(head)).await?;
    // Nothing of it is sent to HEAD.
    session.write_response_body(Bytes::from(answer.body), true).await?;
    let settings = HttpPersistentSettings::for_session(&session);
    let reused = session.finish().await?;
    Ok(reused.map(|stream| ReusedHttpStream::from_reusable_stream(stream, settings)))
}
