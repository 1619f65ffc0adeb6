//! The way of one request from server to server until one of them answers.

use super::dial::{Dialled, NotConnected};
use super::exchange::{Connection, Destination};
use super::http2::opening::{self, Found};
use super::pool::Pool;
use super::server::Peer;
use super::{Fault, Upstream};
use crate::config::Http2;
use crate::transport;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What is asked.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// Position of the origin.
    pub origin: usize,
    /// What it is about: the key that chooses among servers, and parents.
    pub key: &'a [u8],
    /// Parents are asked first.
    pub through_parent: bool,
    /// To ask twice is not to ask for more, and nothing of the question is used up by asking.
    pub is_repeatable: bool,
    /// It asks for another protocol.
    pub needs_http1: bool,
    /// It is one of the requests that the origin has at one time. Who sends a body, or another
    /// protocol, takes as long as it likes: nobody else is to wait for that.
    pub takes_place: bool,
    /// For the log.
    pub method: &'a str,
    /// For the log.
    pub target: &'a str,
}

/// Whom to ask again, and the connection on which he has failed: only later ones will do.
#[derive(Clone, Copy)]
struct Anew {
    server: usize,
    connection: u64,
}

/// What a way is at.
#[derive(Clone, Copy)]
enum Step {
    /// In between.
    None,
    /// It waits for its turn.
    Waiting,
    /// It has nothing of a server yet: of which pool, and which.
    Connecting(usize, usize),
}

/// From server to server.
pub struct Way<'a> {
    upstream: &'a Upstream,
    asking: Asking<'a>,
    /// Whose servers are still to be asked, the next at the end.
    pools: Vec<usize>,
    /// Of the pool that is asked now.
    tried: Vec<usize>,
    /// A server whose pooled connection was dead, or that refused the request, is asked again on a
    /// new one.
    anew: Option<Anew>,
    /// Who did not take the request has been asked anew already.
    refused: Option<usize>,
    /// The last server got nothing of it: to ask another one is not to ask for more.
    is_next_free: bool,
    /// Nobody else can be asked: what the request consists of is gone.
    is_used_up: bool,
    deadline: Option<Instant>,
    step: Step,
    fault: Fault,
    /// The status of an answer that a better one was looked for.
    declined: Option<u16>,
}

impl Upstream {
    /// The way of a question.
    pub fn way<'a>(&'a self, asking: Asking<'a>) -> Way<'a> {
        let settings = self.settings(asking.origin);
        let fallback = settings.fallback.as_ref().map(|fallback| fallback.origin);
        let parent = settings.parent.filter(|_| asking.through_parent);
        let pools = fallback.into_iter().chain([asking.origin]).chain(parent).collect();
        Way {
            upstream: self,
            asking,
            pools,
            tried: Vec::new(),
            anew: None,
            refused: None,
            is_next_free: false,
            is_used_up: false,
            deadline: settings.total_timeout.map(|timeout| Instant::now() + timeout),
            step: Step::None,
            fault: Fault::Down,
            declined: None,
        }
    }
}

impl<'a> Way<'a> {
    /// A connection to the next server.
    pub async fn next(&mut self) -> Result<Connection, Fault> {
        let Some(deadline) = self.deadline else { return self.next_in_time().await };
        // What is left of no time is nobody's fault.
        if self.is_overdue() {
            return Err(Fault::Overtime);
        }
        match timeout_at(deadline, self.next_in_time()).await {
            Ok(next) => next,
            Err(_) => Err(self.ran_out()),
        }
    }

    fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// The time for the whole was over before anybody was asked.
    fn ran_out(&mut self) -> Fault {
        match std::mem::replace(&mut self.step, Step::None) {
            Step::Waiting => return Fault::Busy,
            // The first has had all the time that there was.
            Step::Connecting(pool, server) if self.tried.len() <= 1 => {
                let fault = Fault::ConnectTimeout;
                let reason = "no connection within `total_timeout`".to_owned();
                let not_connected = NotConnected::new(fault, reason);
                self.not_connected(&self.upstream.pools[pool], server, &not_connected);
            }
            Step::Connecting(..) | Step::None => {}
        }
        Fault::Overtime
    }

    /// The way of what is left of a content that broke off there: to others than that server, if
    /// there are any, and not to another origin. `None` where one more try cannot be afforded.
    pub fn onward(&self, broken: &Destination) -> Option<Way<'a>> {
        if self.is_overdue() || !broken.pool.affords_retry() {
            return None;
        }
        let way = self.upstream.way(self.asking);
        let is_broken = |pool: usize| Arc::ptr_eq(&self.upstream.pools[pool], &broken.pool);
        let fallback = way.fallback();
        let is_same_origin =
            |pool: &usize| (Some(*pool) == fallback) == fallback.is_some_and(is_broken);
        let pools: Vec<usize> = way.pools.iter().copied().filter(is_same_origin).collect();
        let is_next = pools.last().copied().is_some_and(is_broken);
        let tried = Vec::from_iter(Some(broken.server).filter(|_| is_next));
        let has_others = |tried: &[usize]| broken.pool.has_other(tried, std::time::Instant::now());
        let tried = if has_others(&tried) { tried } else { Vec::new() };
        Some(Way { pools, tried, is_next_free: true, deadline: self.deadline, ..way })
    }

    fn fallback(&self) -> Option<usize> {
        let settings = self.upstream.settings(self.asking.origin);
        settings.fallback.as_ref().map(|fallback| fallback.origin)
    }

    async fn next_in_time(&mut self) -> Result<Connection, Fault> {
        while let Some(&position) = self.pools.last() {
            match self.next_of(position).await {
                Ok(connection) => return Ok(connection),
                // More of the same would only reach others who are no better off.
                Err(Fault::Busy) => return Err(Fault::Busy),
                Err(fault) => {
                    self.fault = fault;
                    self.leave_pool();
                }
            }
        }
        // An answer that nobody has a better one for says more than the trouble of those who were asked
        // for that.
        Err(self.declined.map_or(self.fault, Fault::ServerError))
    }

    async fn next_of(&mut self, position: usize) -> Result<Connection, Fault> {
        let pool = &self.upstream.pools[position];
        let mut fault = None;
        let mut place = None;
        loop {
            let anew = self.anew.take();
            if anew.is_none() && !self.has_other(pool) {
                return Err(fault.unwrap_or_else(|| self.fault_of(pool)));
            }
            // Before a server is chosen: how they are may change while this waits.
            if place.is_none() && self.asking.takes_place {
                self.step = Step::Waiting;
                place = Some(pool.place().await?);
                self.step = Step::None;
            }
            let again = anew.map(|anew| anew.server);
            let Some(server) = again.or_else(|| self.pick(pool)) else {
                return Err(fault.unwrap_or_else(|| self.fault_of(pool)));
            };
            if anew.is_none() {
                self.tried.push(server);
            }
            self.step = Step::Connecting(position, server);
            let connected = self.connect(pool, server, anew).await;
            self.step = Step::None;
            match connected {
                Ok(mut connection) => {
                    connection.takes(place, self.deadline);
                    return Ok(connection);
                }
                Err(not_connected) => {
                    fault = Some(not_connected.fault);
                    self.not_connected(pool, server, &not_connected);
                }
            }
        }
    }

    /// Whether there is one more server that may be asked.
    fn has_other(&self, pool: &Pool) -> bool {
        let may_go_on = self.tried.len() <= pool.settings.retries;
        may_go_on && pool.has_other(&self.tried, std::time::Instant::now())
    }

    /// One more server, if that can be afforded.
    fn pick(&mut self, pool: &Pool) -> Option<usize> {
        let is_retry = !self.tried.is_empty();
        let is_free = std::mem::take(&mut self.is_next_free);
        if !is_retry {
            pool.earn();
        } else if !(is_free || pool.affords_retry()) {
            return None;
        }
        let server = pool.pick(self.asking.key, &self.tried, std::time::Instant::now())?;
        if is_retry {
            pool.metrics.origin_retry(pool.position);
        }
        Some(server)
    }

    /// Why there is nobody to ask; what was tried says more than what others have.
    fn fault_of(&self, pool: &Pool) -> Fault {
        if self.tried.is_empty() { pool.fault() } else { self.fault }
    }

    async fn connect(
        &self,
        pool: &Arc<Pool>,
        position: usize,
        anew: Option<Anew>,
    ) -> Result<Connection, NotConnected> {
        let server = &pool.servers[position];
        let settings = &pool.settings;
        if self.may_share(pool, position) {
            let newer_than = anew.map_or(0, |anew| anew.connection);
            let is_repeatable = self.asking.is_repeatable;
            match opening::find(pool, position, newer_than, is_repeatable).await? {
                Found::Two(taken) => {
                    let mut connection = Connection::http2(taken, pool.clone(), position);
                    connection.to.is_reused &= anew.is_none();
                    return Ok(connection);
                }
                Found::One(Some(dialled)) => {
                    return Ok(http1(pool, position, dialled));
                }
                Found::One(None) => {}
            }
        }
        // Who may close at any moment is not asked what can only be asked once.
        if self.asking.is_repeatable && anew.is_none() {
            let addresses = server.addresses(settings.connect_timeout).await;
            let addresses = addresses.iter().copied().map(Some).chain([None]);
            for address in addresses {
                let peer = Peer { server: (pool.number, position), address };
                if let Some(halves) = self.upstream.idle.take(peer) {
                    let pool = pool.clone();
                    return Ok(Connection::http1(halves, true, pool, position, peer));
                }
            }
        }
        // Large, and rarely needed: it is not to be a part of every request's task.
        Box::pin(connect_anew(pool, position, self.asking.needs_http1)).await
    }

    /// Whether a stream on an HTTP/2 connection will do, and may be had.
    fn may_share(&self, pool: &Pool, position: usize) -> bool {
        let server = &pool.servers[position];
        let may_speak_it = match pool.settings.http2 {
            Http2::Never => false,
            Http2::Auto => server.settings.tls,
            Http2::Always => true,
        };
        may_speak_it && !self.asking.needs_http1 && server.http2.are_likely()
    }

    fn not_connected(&mut self, pool: &Pool, server: usize, not_connected: &NotConnected) {
        if !not_connected.counts() {
            self.is_next_free = true;
            return;
        }
        let NotConnected { fault, reason, .. } = not_connected;
        pool.metrics.origin_answer(pool.position, None, None);
        tracing::warn!(
            origin = pool.settings.name,
            server = pool.servers[server].name,
            reason = fault.label(),
            error = reason,
            "no connection to an origin server"
        );
        pool.failed(server, *fault);
        pool.servers[server].doubt();
    }

    /// A server gave no answer. An error where nobody else can be asked, nor the same on a new
    /// connection.
    pub fn failed(&mut self, to: &Destination, fault: Fault) -> Result<(), Fault> {
        // The time for the whole was over before its own was.
        let is_overdue = fault == Fault::Silent && self.is_overdue();
        let fault = if is_overdue { Fault::Overtime } else { fault };
        self.fault = fault;
        // It closed in the moment in which it was asked, as it may.
        if fault == Fault::Closed && to.is_reused && self.asking.is_repeatable {
            self.anew = Some(Anew { server: to.server, connection: to.connection() });
            return Ok(());
        }
        let was_not_taken = fault == Fault::NotTaken && !self.is_used_up;
        // What it refuses on a connection that it is about to end it may take on another one, and
        // what it refuses because it has much to do a little later.
        if was_not_taken && self.refused.replace(to.server) != Some(to.server) {
            to.went_wrong(fault);
            self.anew = Some(Anew { server: to.server, connection: 0 });
            return Ok(());
        }
        self.note(to, fault);
        // Who was asked with what others had left of the time is not to blame for it.
        if !is_overdue || self.tried.len() <= 1 {
            to.pool.failed(to.server, fault);
        }
        let may_go_on = self.asking.is_repeatable && !fault.is_after_answer() || was_not_taken;
        if may_go_on { Ok(()) } else { Err(fault) }
    }

    /// What the request consisted of is partly gone: it cannot be sent again.
    pub fn is_used_up(&mut self) {
        self.is_used_up = true;
    }

    /// A server answered with this status, after this time. Whether that is as bad as no answer, and
    /// somebody else may have a better one.
    pub fn declines(&mut self, to: &Destination, status: u16, delay: Duration) -> bool {
        to.pool.metrics.origin_answer(to.pool.position, Some(status), Some(delay));
        to.pool.answered(to.server);
        if !self.asking.is_repeatable || self.pools.len() < 2 {
            return false;
        }
        let own = &self.upstream.pools[self.asking.origin];
        let is_bad = if Arc::ptr_eq(&to.pool, own) {
            let fallback = self.upstream.settings(self.asking.origin).fallback.as_ref();
            fallback.is_some_and(|fallback| fallback.statuses.contains(&status))
        } else {
            // A parent that has no way to the origin; what the origin itself says it passes on.
            matches!(status, 502 | 504)
        };
        if is_bad {
            self.declined = Some(status);
            self.leave_pool();
        }
        is_bad
    }

    /// The whole of an answer is here.
    pub fn is_over(&self, to: &Destination) {
        to.pool.succeeded(to.server);
    }

    /// An answer broke off.
    pub fn broke_off(&self, to: &Destination, fault: Fault) {
        self.note(to, fault);
        to.pool.failed(to.server, fault);
    }

    /// An answer was none, or broke off: in the log and in the metrics.
    fn note(&self, to: &Destination, fault: Fault) {
        to.went_wrong(fault);
        to.pool.metrics.origin_answer(to.pool.position, None, None);
        tracing::warn!(
            origin = to.settings().name,
            server = to.name(),
            method = self.asking.method,
            target = self.asking.target,
            reason = fault.label(),
            detail = fault.detail(),
            "no good answer from the origin"
        );
    }

    fn leave_pool(&mut self) {
        let left = self.pools.pop();
        if let Some(left) = left.filter(|_| !self.pools.is_empty()) {
            let left = &self.upstream.pools[left];
            left.metrics.origin_failover(left.position);
        }
        self.tried.clear();
        self.anew = None;
        self.refused = None;
    }
}

/// A connection that nobody has used.
pub(super) async fn connect_anew(
    pool: &Arc<Pool>,
    position: usize,
    needs_http1: bool,
) -> Result<Connection, NotConnected> {
    let server = &pool.servers[position];
    let dialled = server.dial(&pool.settings, pool.tls.as_ref(), needs_http1).await?;
    if dialled.is_http2 {
        let taken = opening::begin_shared(pool, position, dialled).await?;
        return Ok(Connection::http2(taken, pool.clone(), position));
    }
    Ok(http1(pool, position, dialled))
}

/// A connection for one request only, whatever it speaks.
pub(super) async fn connect_apart(
    pool: &Arc<Pool>,
    position: usize,
) -> Result<Connection, NotConnected> {
    let server = &pool.servers[position];
    let dialled = server.dial(&pool.settings, pool.tls.as_ref(), false).await?;
    if dialled.is_http2 {
        let taken = opening::begin_apart(pool, position, dialled).await?;
        return Ok(Connection::http2(taken, pool.clone(), position));
    }
    Ok(http1(pool, position, dialled))
}

fn http1(pool: &Arc<Pool>, position: usize, dialled: Dialled) -> Connection {
    let peer = Peer { server: (pool.number, position), address: dialled.address };
    let halves = transport::split(dialled.stream, BytesMut::new(), pool.settings.read_timeout);
    Connection::http1(halves, false, pool.clone(), position, peer)
}
