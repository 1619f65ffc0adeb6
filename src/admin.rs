//! The operator's listener. It answers during the drain, too, and ends with the process, or when a new
//! one takes over.
//!
//! | route | answer |
//! |---|---|
//! | `GET /healthz` | 200: the process lives |
//! | `GET /readyz` | 200: it takes requests, and a line about each thing that it does without; 503: it is shutting down |
//! | `GET /metrics` | every counter, as Prometheus reads it |
//! | `POST /purge` | makes what the body names forgotten, on parents first: a receipt; 202: not yet on all |
//! | `GET /purges`, `GET /purges/{id}` | the receipts, `?limit=` |
//! | `GET /objects` | what is stored, `?prefix=`, `?tag=` or `?host=`, and `limit=` |
//! | `GET /log-level`, `PUT /log-level` | how loud the error log is, `{"level":"info,brim::upstream=debug"}` |
//! | `GET /explain` | what a request would get, and why: `?url=`, `header=` (again and again), `method=`, `fetch=true` |
//! | `GET /origins` | how the origins and their servers are, and why |
//! | `POST /reload` | reads the configuration again: what has changed; 422: everything that is wrong with it |
//! | `POST /upgrade` | has a new process take over: its number and version, or why it did not |
//!
//! The first three are open, the others need the operator's token, and answer in JSON. HEAD is
//! answered like GET. What a client may cost is bounded: connections, and the time to bring a
//! request, to have it done, and to take its answer.

mod answer;
mod connection;
pub mod explain;
pub mod gatekeeper;
mod log_level;
mod objects;
mod origins;
mod places;
mod purges;
mod query;
pub mod reload;
pub mod token;
pub mod upgrade;
mod wish;

use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::store::disk::{Disk, Health};
use crate::upstream::{HOPS, PurgeWay, WAY};
use answer::Answer;
use async_trait::async_trait;
use connection::Asked;
use gatekeeper::{Entry, Gatekeeper};
use http::Method;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use places::Places;
use query::Query;
use reload::Reloads;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use upgrade::Asking;

/// Connections at one time.
const CONNECTIONS_MAX: usize = 64;
/// From the end of one answer to the first byte of the next head. Longer than Prometheus waits
/// between two scrapes where nothing else is said.
const REQUEST_WITHIN: Duration = Duration::from_secs(90);

/// A purge of thousands of URLs.
const BODY_BYTES_MAX: usize = 1024 * 1024;

const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const ROUTES: &str = "There is nothing here. What there is: /healthz, /readyz, /metrics, and with \
                      the operator's token POST /purge, /purges, /purges/{id}, /objects, \
                      /explain, /origins, /log-level, POST /reload, POST /upgrade\n";

/// What the operator may ask.
pub struct Admin {
    metrics: Arc<Metrics>,
    engine: Arc<Engine>,
    gatekeeper: Arc<Gatekeeper>,
    disk: Option<Arc<Disk>>,
    reloads: Reloads,
    /// `true` once shutdown has begun.
    stopping: ShutdownWatch,
    places: Places,
    /// What shutdown waits for.
    running: TaskTracker,
    /// `None`: no other process takes over from this one.
    succession: Option<Succession>,
}

/// How another process takes over.
pub struct Succession {
    /// Where it is asked for.
    pub upgrades: mpsc::Sender<Asking>,
    /// `true` once another process listens here: connections end after their answer.
    pub is_over: ShutdownWatch,
    /// `true` once those that ask for nothing are to end, too.
    pub leave: ShutdownWatch,
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
    Explain,
    Origins,
    Reload,
    LogLevel,
    Upgrade,
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
            "/explain" => Self::Guarded(Guarded::Explain),
            "/origins" => Self::Guarded(Guarded::Origins),
            "/reload" => Self::Guarded(Guarded::Reload),
            "/log-level" => Self::Guarded(Guarded::LogLevel),
            "/upgrade" => Self::Guarded(Guarded::Upgrade),
            _ => {
                let id = path.strip_prefix("/purges/")?;
                let is_one = !id.is_empty() && !id.contains('/');
                return is_one.then(|| Self::Guarded(Guarded::Receipt(id.to_owned())));
            }
        })
    }

    /// The methods as Allow lists them.
    fn allowed(&self) -> &'static str {
        match self {
            Self::Guarded(Guarded::Purge | Guarded::Reload | Guarded::Upgrade) => "POST",
            Self::Guarded(Guarded::LogLevel) => "GET, HEAD, PUT",
            _ => "GET, HEAD",
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.allowed().split(", ").any(|allowed| allowed == method.as_str())
    }
}

impl Admin {
    /// `stopping` becomes `true` when shutdown begins, which waits for what is `running`.
    pub fn new(
        metrics: Arc<Metrics>,
        engine: Arc<Engine>,
        gatekeeper: Arc<Gatekeeper>,
        disk: Option<Arc<Disk>>,
        reloads: Reloads,
        stopping: ShutdownWatch,
        running: TaskTracker,
    ) -> Self {
        let places = Places::new(CONNECTIONS_MAX);
        let succession = None;
        Self { metrics, engine, gatekeeper, disk, reloads, stopping, places, running, succession }
    }

    /// The same where another process may take over.
    #[must_use]
    pub fn with_succession(self, succession: Succession) -> Self {
        Self { succession: Some(succession), ..self }
    }

    /// Whether connections end after their answer: another process listens here.
    fn is_over(&self) -> bool {
        self.succession.as_ref().is_some_and(|succession| *succession.is_over.borrow())
    }

    /// Waits until connections that ask for nothing are to end.
    async fn is_left(&self) {
        let Some(Succession { is_over, leave, .. }) = &self.succession else {
            return std::future::pending().await;
        };
        // An error is the end of the process.
        let _ = is_over.clone().wait_for(|over| *over).await;
        let _ = leave.clone().wait_for(|leave| *leave).await;
    }

    /// It takes requests also without its disk, and has what is stored to give without its origins:
    /// a balancer has to know of the first line alone, a person of all.
    fn readiness(&self) -> String {
        let disk = match self.disk.as_ref().map(|disk| disk.health()) {
            None | Some(Health::Good) => String::new(),
            Some(Health::Recovering) => "recovering: disk\n".to_owned(),
            Some(Health::Degraded(reason)) => format!("degraded: disk: {reason}\n"),
        };
        let origins = self.engine.configured().upstream().troubles();
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
    async fn answer(&self, asked: &mut Asked<'_>) -> Answer {
        let Some(route) = Route::of(asked.path()) else {
            return Answer::plain(404, ROUTES);
        };
        let (allowed, is_allowed) = (route.allowed(), route.takes(&asked.head.method));
        match route {
            Route::Open(_) if !is_allowed => {
                Answer::plain(405, "GET or HEAD, please\n").with("Allow", allowed)
            }
            Route::Guarded(_) if !is_allowed => {
                Answer::error(405, &format!("{allowed}, please")).with("Allow", allowed)
            }
            Route::Open(route) => self.answer_anybody(&route),
            Route::Guarded(route) => match self.admit(asked) {
                Ok(()) => self.answer_operator(asked, route).await,
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

    /// An operator who has brought the token keeps the place, and holds up shutdown, until the answer
    /// is sent.
    fn admit(&self, asked: &mut Asked<'_>) -> Result<(), Answer> {
        let mut brought = asked.head.fields.all("authorization");
        let authorization = match (brought.next(), brought.next()) {
            // Two could be read in two ways.
            (first, None) => first,
            _ => Some(&b""[..]),
        };
        match self.gatekeeper.admit(authorization, asked.peer) {
            Entry::Granted if asked.place.keep() => {
                asked.running = Some(self.running.token());
                Ok(())
            }
            // Nobody is going to see it.
            Entry::Granted => Err(Answer::error(503, "there are too many connections")),
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

    async fn answer_operator(&self, asked: &mut Asked<'_>, route: Guarded) -> Answer {
        let (engine, query) = (&self.engine, asked.query());
        let configured = engine.configured();
        match route {
            Guarded::Purge => match Query::parse(query, &[]) {
                Err(message) => Answer::error(400, &message),
                Ok(_) => match asked.content(BODY_BYTES_MAX).await {
                    Err(refusal) => refusal,
                    Ok(body) => {
                        let told = |name| asked.head.fields.first(name);
                        let way = PurgeWay::told(told(HOPS), told(WAY));
                        let asked = purges::Asked { body: &body, way, peer: asked.peer };
                        purges::purge(engine, configured, asked, || self.why_volatile()).await
                    }
                },
            },
            Guarded::Purges => purges::list(engine, query),
            Guarded::Receipt(id) => purges::one(engine, &id, query),
            Guarded::Objects => objects::list(engine, configured.sites(), query).await,
            Guarded::Explain => {
                let configured = &configured;
                let explainer = explain::Explainer { engine, configured, peer: asked.peer };
                explainer.answer(query).await
            }
            Guarded::Origins => origins::list(engine, query),
            Guarded::Reload => reload::reload(&self.reloads, query).await,
            Guarded::LogLevel if asked.head.method == Method::PUT => {
                let query = query.map(str::to_owned);
                match asked.content(BODY_BYTES_MAX).await {
                    Err(refusal) => refusal,
                    Ok(body) => log_level::set(query.as_deref(), &body),
                }
            }
            Guarded::LogLevel => log_level::show(query),
            Guarded::Upgrade => match Query::parse(query, &[]) {
                Err(message) => Answer::error(400, &message),
                Ok(_) => {
                    let upgrades = self.succession.as_ref().map(|to| &to.upgrades);
                    upgrade::upgrade(upgrades).await
                }
            },
        }
    }
}

#[async_trait]
impl ServerApp for Admin {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        _shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.serve(stream).await;
        None
    }
}
