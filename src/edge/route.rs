//! Which way a request takes: answered here and now, out of the cache, or past it.

use super::client::Reply;
use super::current::Edge;
use super::door::Visitor;
use super::guards::Place;
use super::own::{Own, Page, Recipient};
use super::pass::Job;
use super::purging::Asked;
use super::serve::Exchange;
use crate::access_log::Record;
use crate::config::Site;
use crate::engine::Request;
use crate::rules::bypass::{self, Bypass, Say};
use crate::rules::cache_control::Demands;
use crate::rules::key::{self, Key};
use crate::rules::purging::is_meant;
use crate::rules::{forwarding, loops};
use crate::trace::Trail;
use crate::transport::WriteError;
use crate::wire::authority::default_port;
use crate::wire::request::RequestHead;
use pingora::server::ShutdownWatch;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// A request that has arrived.
#[derive(Clone, Copy)]
pub(super) struct Arrival<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) visitor: &'a Visitor,
    /// Who asks; behind trusted proxies, who asked them.
    pub(super) client: IpAddr,
    pub(super) now: SystemTime,
    pub(super) trail: &'a Trail<'a>,
    pub(super) shutdown: &'a ShutdownWatch,
}

/// The way that a request takes.
pub(super) enum Route<'a> {
    /// It is answered without asking anybody.
    /// With what its site says about TLS (`Site::hsts_line`).
    Ourselves(Said, &'a [u8]),
    /// The cache has a say.
    Cache(Exchange<'a>),
    /// It has none.
    Around(Job<'a>),
}

/// What the edge itself has to say.
pub(super) enum Said {
    Own(Own),
    /// Noted in the record already.
    Page(Page<'static>),
}

impl Said {
    pub(super) async fn send(
        &self,
        reply: &mut impl Reply,
        to: Recipient<'_>,
        record: &mut Record<'_>,
    ) -> Result<(), WriteError> {
        match self {
            Self::Own(own) => own.send(reply, to, record).await,
            Self::Page(page) => page.send(reply, to, record).await,
        }
    }
}

impl Edge {
    /// Who asks; behind trusted proxies, who asked them.
    pub(super) fn client_of(&self, head: &RequestHead, visitor: &Visitor) -> IpAddr {
        let trusted = &self.settings.server.trusted_proxies;
        forwarding::client_address(&head.fields, visitor.peer, trusted)
    }

    /// What a request is called on its way.
    pub(super) fn trail<'h>(
        &'h self,
        head: &'h RequestHead,
        visitor: &Visitor,
        now: SystemTime,
    ) -> Trail<'h> {
        let peer_is_trusted = self.trusts(visitor.peer);
        let answers_tell = self.settings.server.request_id;
        self.log.trail(head, peer_is_trusted, now).told_in_answers(answers_tell)
    }

    /// Finds the way, and a place that is to be held until the answer is out. Ends at once, except
    /// where the request is a purge.
    pub(super) async fn route<'a>(
        &'a self,
        arrival: Arrival<'a>,
        key: &'a mut Key,
        record: &mut Record<'a>,
    ) -> (Route<'a>, Option<Place<'a>>) {
        let site = arrival.head.authority().map(|authority| authority.host);
        let Some(site) = self.configured.sites().find(site) else {
            return (Route::Ourselves(Said::Own(Own::NoSite), b""), None);
        };
        record.site = Some(site);
        match self.guards.request(site, arrival.client) {
            Ok(place) => (self.route_to(site, arrival, key, record).await, Some(place)),
            Err(own) => {
                let hsts = site.hsts_line(arrival.visitor.scheme);
                (Route::Ourselves(Said::Own(own), hsts), None)
            }
        }
    }

    async fn route_to<'a>(
        &'a self,
        site: &'a Arc<Site>,
        arrival: Arrival<'a>,
        key: &'a mut Key,
        record: &mut Record<'_>,
    ) -> Route<'a> {
        let Arrival { head, visitor, client, now, trail, shutdown } = arrival;
        let &Visitor { peer, scheme, ref client_certificate } = visitor;
        let authority = head.authority();
        let hsts = site.hsts_line(scheme);
        if let Err(looped) = loops::check(&head.fields, self.engine.identity()) {
            return Route::Ourselves(Said::Own(Own::Looped(looped)), hsts);
        }
        if forwarding::forwards_left(head) == Some(0) {
            return Route::Ourselves(Said::Own(Own::LastStop), hsts);
        }
        let trusted = &self.settings.server.trusted_proxies;
        let (engine, configured) = (&self.engine, &self.configured);
        let gatekeeper = &*self.gatekeeper;
        if is_meant(&head.method) {
            let client_is_certain = forwarding::client_is_certain(&head.fields, peer, trusted);
            let asked = Asked {
                engine,
                configured,
                gatekeeper,
                head,
                site,
                scheme,
                client,
                client_is_certain,
            };
            let said = match asked.answer(record).await {
                Ok(page) => Said::Page(page),
                Err(own) => Said::Own(own),
            };
            return Route::Ourselves(said, hsts);
        }
        let peer_is_trusted = trail.peer_is_trusted();
        match self.redirect(head, site, visitor, peer_is_trusted) {
            None => {}
            Some(Ok(page)) => {
                (record.status, record.outcome) = (page.status, page.story.outcome);
                record.detail = page.story.detail;
                return Route::Ourselves(Said::Page(page), hsts);
            }
            Some(Err(own)) => return Route::Ourselves(Said::Own(own), hsts),
        }
        let limits = &self.settings.server.limits;
        key.write(site, authority, head.target(), default_port(scheme));
        let key = &*key;
        let bypass = match bypass::say(head, site, key) {
            Say::Cache(_) if engine.has_given_up_store() => Bypass::HandedOver,
            Say::Cache(policy) => {
                let fields = &head.fields;
                let additions = key::additions(site, fields, scheme, key.host(), peer_is_trusted);
                let demands = Demands::of_request(fields);
                let request = Request {
                    head,
                    configured,
                    site,
                    key,
                    additions,
                    policy,
                    demands,
                    peer,
                    peer_is_trusted,
                    scheme,
                    now,
                    trail,
                };
                let metrics = self.log.metrics();
                return Route::Cache(Exchange { engine, request, limits, metrics, shutdown });
            }
            Say::Around(bypass) => bypass,
        };
        Route::Around(Job {
            limits,
            engine,
            configured,
            head,
            site,
            key,
            bypass,
            peer,
            peer_is_trusted,
            scheme,
            client_certificate: client_certificate.as_deref(),
            shutdown,
            trail,
        })
    }
}
