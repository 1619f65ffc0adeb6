//! The operator's listener. It answers during the drain, too, and ends with the process.
//!
//! | route | answer |
//! |---|---|
//! | `GET /healthz` | 200: the process lives |
//! | `GET /readyz` | 200: it takes requests, and a line about each thing that it does without; 503: it is shutting down |
//! | `GET /metrics` | every counter, as Prometheus reads it |
//! | `POST /purge` | makes what the body names forgotten, on parents first: a receipt; 202: not yet on all |
//! | `GET /purges`, `GET /purges/{id}` | the receipts, `?limit=` |
//! | `GET /objects` | what is stored, `?prefix=`, `?tag=` or `?host=`, and `limit=` |
//! | `GET /origins` | how the origins and their servers are, and why |
//!
//! The first three are open, the others need the operator's token, and answer in JSON. HEAD is
//! answered like GET. What a client may cost is bounded: connections, and the time to bring a
//! request, to have it done, and to take its answer.

mod answer;
mod body;
pub mod gatekeeper;
mod objects;
mod origins;
mod purges;
mod query;
pub mod token;
mod wish;

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::rules::site::SiteMap;
use crate::store::disk::{Disk, Health};
use crate::upstream::{HOPS, PurgeWay, WAY};
use answer::Answer;
use async_trait::async_trait;
use gatekeeper::{Entry, Gatekeeper};
use http::Method;
use http::header::AUTHORIZATION;
use pingora::apps::{HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use query::Query;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at one time; more are closed without a word.
const CONNECTIONS_MAX: usize = 64;
/// From the end of one answer to the last byte of the next head, absolute. Longer than Prometheus
/// waits between two scrapes where nothing else is said.
const REQUEST_WITHIN: Duration = Duration::from_secs(90);

const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const ROUTES: &str = "There is nothing here. What there is: /healthz, /readyz, /metrics, and with \
                      the operator's token POST /purge, /purges, /purges/{id}, /objects, \
                      /origins\n";

/// What the operator may ask.
pub struct Admin {
    metrics: Arc<Metrics>,
    engine: Arc<Engine>,
    sites: Arc<SiteMap>,
    gatekeeper: Arc<Gatekeeper>,
    disk: Option<Arc<Disk>>,
    /// `true` once shutdown has begun.
    stopping: ShutdownWatch,
    places: Semaphore,
}

/// What is asked for.
enum Route {
    /// By anybody.
    Open(Open),
    /// By who brings the token.
    Guarded(Guarded),
}

enum Open {
    Health,
    Readiness,
    Metrics,
}

enum Guarded {
    Purge,
    Purges,
    Receipt(String),
    Objects,
    Origins,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/healthz" => Self::Open(Open::Health),
            "/readyz" => Self::Open(Open::Readiness),
            "/metrics" => Self::Open(Open::Metrics),
            "/purge" => Self::Guarded(Guarded::Purge),
            "/purges" => Self::Guarded(Guarded::Purges),
            "/objects" => Self::Guarded(Guarded::Objects),
            "/origins" => Self::Guarded(Guarded::Origins),
            _ => {
                let id = path.strip_prefix("/purges/")?;
                let is_one = !id.is_empty() && !id.contains('/');
                return is_one.then(|| Self::Guarded(Guarded::Receipt(id.to_owned())));
            }
        })
    }

    /// The methods as Allow lists them.
    fn allowed(&self) -> &'static str {
        if matches!(self, Self::Guarded(Guarded::Purge)) { "POST" } else { "GET, HEAD" }
    }

    fn takes(&self, method: &Method) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method.as_str())
    }
}

impl Admin {
    /// `stopping` becomes `true` when shutdown begins.
    pub fn new(
        metrics: Arc<Metrics>,
        engine: Arc<Engine>,
        sites: Arc<SiteMap>,
        gatekeeper: Arc<Gatekeeper>,
        disk: Option<Arc<Disk>>,
        stopping: ShutdownWatch,
    ) -> Self {
        let places = Semaphore::new(CONNECTIONS_MAX);
        Self { metrics, engine, sites, gatekeeper, disk, stopping, places }
    }

    /// It takes requests also without its disk, and has what is stored to give without its origins:
    /// a balancer has to know of the first line alone, a person of all.
    fn readiness(&self) -> String {
        let disk = match self.disk.as_ref().map(|disk| disk.health()) {
            None | Some(Health::Good) => String::new(),
            Some(Health::Recovering) => "recovering: disk\n".to_owned(),
            Some(Health::Degraded(reason)) => format!("degraded: disk: {reason}\n"),
        };
        let origins = self.engine.upstream().troubles();
        let origins = origins.iter().map(|trouble| format!("degraded: {trouble}\n"));
        std::iter::once("ready\n".to_owned()).chain([disk]).chain(origins).collect()
    }

    /// Why the disk may not have taken a purge.
    fn why_volatile(&self) -> String {
        match self.disk.as_ref().map(|disk| disk.health()) {
            Some(Health::Degraded(reason)) => format!("the disk tier is in trouble: {reason}"),
            _ => "the disk did not take it in time".to_owned(),
        }
    }

    /// The answer to a request whose head has been read.
    async fn answer(&self, session: &mut ServerSession) -> Answer {
        let request = session.req_header();
        let Some(route) = Route::of(request.uri.path()) else {
            return Answer::plain(404, ROUTES);
        };
        let (allowed, is_allowed) = (route.allowed(), route.takes(&request.method));
        match route {
            Route::Open(_) if !is_allowed => {
                Answer::plain(405, "GET or HEAD, please\n").with("Allow", allowed)
            }
            Route::Guarded(_) if !is_allowed => {
                Answer::error(405, &format!("{allowed}, please")).with("Allow", allowed)
            }
            Route::Open(route) => self.answer_anybody(&route),
            Route::Guarded(route) => match self.admit(session) {
                Ok(peer) => self.answer_operator(session, route, peer).await,
                Err(refusal) => refusal,
            },
        }
    }

    fn answer_anybody(&self, route: &Open) -> Answer {
        match route {
            Open::Health => Answer::plain(200, "ok\n"),
            Open::Readiness if *self.stopping.borrow() => Answer::plain(503, "shutting down\n"),
            Open::Readiness => Answer::plain(200, &self.readiness()),
            Open::Metrics => Answer::of_type(200, EXPOSITION, self.metrics.text()),
        }
    }

    /// The address of an operator who has brought the token.
    fn admit(&self, session: &ServerSession) -> Result<IpAddr, Answer> {
        let address = session.client_addr().and_then(|address| address.as_inet());
        let peer = address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
        let mut brought = session.req_header().headers.get_all(AUTHORIZATION).iter();
        let authorization = match (brought.next(), brought.next()) {
            // Two could be read in two ways.
            (first, None) => first.map(|value| value.as_bytes()),
            _ => Some(&b""[..]),
        };
        match self.gatekeeper.admit(authorization, peer) {
            Entry::Granted => Ok(peer),
            Entry::Denied => {
                let message = "the operator's token is needed: Authorization: Bearer <token>";
                Err(Answer::error(401, message).with("WWW-Authenticate", "Bearer"))
            }
            Entry::TooMany(left) => {
                let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
                let message = format!("too many wrong tokens; again in {seconds} s");
                Err(Answer::error(429, &message).with("Retry-After", seconds))
            }
        }
    }

    async fn answer_operator(
        &self,
        session: &mut ServerSession,
        route: Guarded,
        peer: IpAddr,
    ) -> Answer {
        let uri = session.req_header().uri.clone();
        let told = |name| session.get_header(name).map(|told| told.as_bytes());
        let way = PurgeWay::told(told(HOPS), told(WAY));
        let (engine, sites) = (&self.engine, &self.sites);
        match route {
            Guarded::Purge => match Query::parse(uri.query(), &[]) {
                Err(message) => Answer::error(400, &message),
                Ok(_) => match body::read(session).await {
                    Err(refusal) => refusal,
                    Ok(body) => {
                        let asked = purges::Asked { body: &body, way, peer };
                        purges::purge(engine, sites, asked, || self.why_volatile()).await
                    }
                },
            },
            Guarded::Purges => purges::list(engine, uri.query()),
            Guarded::Receipt(id) => purges::one(engine, &id, uri.query()),
            Guarded::Objects => objects::list(engine, sites, uri.query()).await,
            Guarded::Origins => origins::list(engine, uri.query()),
        }
    }

    async fn serve(&self, mut session: ServerSession) -> Option<ReusedHttpStream> {
        let answer = match timeout(REQUEST_WITHIN, session.read_request()).await {
            Ok(Ok(true)) => self.answer(&mut session).await,
            Ok(Ok(false)) | Err(_) => return None,
            Ok(Err(error)) => {
                tracing::debug!(%error, "an admin request could not be read");
                let answer = Answer::plain(400, "The request could not be read.\n");
                return answer.send_last(session).await;
            }
        };
        answer.send(session).await
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
