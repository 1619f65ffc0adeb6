//! Making things forgotten: what is stored, and what was already on its way.

use super::body::Body;
use super::handover::Forgotten;
use super::in_flight::{Fill, Need, Wanted};
use super::ledger::Claim;
use super::object::{Head, HeadParts, Object};
use super::{Change, Configured, Engine};
use crate::config::Site;
use crate::rules::cache_control::{Demands, Directives};
use crate::rules::key::{self, Key};
use crate::rules::policy;
use crate::rules::storing::{self, Asked, Received};
use crate::rules::vary::Variant;
use crate::wire::authority;
use crate::wire::fields::Fields;
use crate::wire::request::RequestHead;
use crate::wire::response::ResponseHead;
use bytes::Bytes;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use url::Url;

/// An answer waits no longer for what it made out of date to be written down.
const WRITTEN_WITHIN: Duration = Duration::from_millis(250);

/// Methods that change nothing (RFC 9110, section 9.2.1, and the registry of methods). Whatever is
/// not known to be safe is not.
const SAFE: &[&str] = &["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH"];

/// Whether a method changes nothing.
pub fn is_safe(method: &Method) -> bool {
    SAFE.contains(&method.as_str())
}

/// A request that was passed on, and the head of its answer.
pub struct Passed<'a> {
    /// The client's.
    pub head: &'a RequestHead,
    /// What is in force for it.
    pub configured: &'a Arc<Configured>,
    /// Whose it is.
    pub site: &'a Arc<Site>,
    /// What it asked for.
    pub key: &'a Key,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The peer is a proxy whose word is taken.
    pub peer_is_trusted: bool,
    /// It told the origin more than the key knows: the answer is for this client.
    pub tells_more: bool,
    /// The origin's.
    pub answer: &'a ResponseHead,
    /// From one to the other.
    pub delay: Duration,
    /// `Engine::moment` of when it was sent.
    pub asked: u64,
}

impl Engine {
    /// Forgets everything under a key (RFC 9111, section 4.4). A fill that is on its way for it goes
    /// to those who wait already and is not kept.
    pub fn invalidate(&self, key: &Key) {
        self.in_flight.doom(key.as_bytes(), || {
            self.store.remove(key.as_bytes());
        });
        self.handover.note(|| Forgotten::Key(key.as_bytes().into()));
    }

    /// Waits until what was invalidated before cannot come back by the end of this process, nor from
    /// parents; not for long, if the disk or they are in trouble.
    pub async fn invalidations_written(&self, configured: &Configured) {
        let written = async {
            let _ = tokio::time::timeout(WRITTEN_WITHIN, self.handover.told()).await;
            if let Some(disk) = self.store.disk() {
                let _ = tokio::time::timeout(WRITTEN_WITHIN, disk.removals_written()).await;
            }
        };
        tokio::join!(written, self.parents_told(configured, WRITTEN_WITHIN));
    }

    /// What a passed request changed: after an unsafe one that succeeded, its URL and those that the
    /// answer names on the same host are out of date. An answer to POST that says that it is what
    /// its URL has from now on is the new state, to be stored as it comes.
    pub fn passed(self: &Arc<Self>, passed: &Passed<'_>) -> Option<Posted> {
        if is_safe(&passed.head.method) || !(200..400).contains(&passed.answer.status) {
            return None;
        }
        let mut outdated = vec![passed.key.clone()];
        let mut is_own_content = false;
        for name in ["location", "content-location"] {
            for reference in passed.answer.fields.all(name) {
                let Some(named) = passed.named(reference) else { continue };
                if named != *passed.key {
                    outdated.push(named);
                } else if name == "content-location" {
                    is_own_content = true;
                }
            }
        }
        self.outdate_at_parents(passed.configured, passed.site, &outdated);
        outdated.iter().for_each(|key| self.invalidate(key));
        let is_post = passed.head.method == Method::POST && passed.answer.status == 200;
        if is_post && is_own_content { self.posted(passed) } else { None }
    }

    /// RFC 9110, section 9.3.3: only with an explicit time.
    fn posted(self: &Arc<Self>, passed: &Passed<'_>) -> Option<Posted> {
        let (request, answer) = (&passed.head.fields, passed.answer);
        let directives = Directives::of_response(&answer.fields);
        let has_time = directives.max_age.is_some()
            || directives.s_maxage.is_some()
            || answer.fields.first("expires").is_some();
        let is_for_others = has_time && !passed.tells_more;
        let policy = policy::of_path(passed.site, passed.key.path()).filter(|_| is_for_others)?;
        let asked = Asked {
            target: passed.key.target(),
            host: passed.key.host(),
            has_authorization: request.first("authorization").is_some(),
            forbids_storing: Demands::of_request(request).no_store,
            is_spelled_otherwise: passed.head.target() != passed.key.target()
                || passed.head.authority_text() != Some(passed.key.host()),
            is_ordinary: true,
        };
        let now = SystemTime::now();
        let age = storing::age_said(&answer.fields);
        let received = Received { now, delay: passed.delay, age };
        let terms = storing::judge(&asked, 200, &answer.fields, &policy, received).ok()?;
        let (host, is_trusted) = (passed.key.host(), passed.peer_is_trusted);
        let additions = key::additions(passed.site, request, passed.scheme, host, is_trusted);
        let (head, _) = Head::new(&HeadParts {
            response: answer,
            request,
            additions: &additions,
            terms: Ok(terms),
            withheld: &storing::withheld(&answer.fields),
            now,
        });
        let need = Need {
            wanted: Wanted::Whole,
            has_authorization: asked.has_authorization,
            additions: additions.into(),
            whence: passed.configured.upstream.number(passed.site.origin),
            expected: Variant::default(),
        };
        let (fill, _) = self.in_flight.begin_alone(passed.key.as_bytes(), need, passed.asked);
        let posted = Posted {
            engine: self.clone(),
            fill,
            key: passed.key.clone(),
            request: request.clone(),
            head: Arc::new(head),
            pieces: Vec::new(),
            claim: self.arriving.claim(self.object_bytes_max, 0),
        };
        // It may be what was purged. What is purged from here on finds it listed.
        let is_purged = self.last_purge.load(Ordering::Acquire) > passed.asked;
        (!is_purged).then_some(posted)
    }
}

impl Passed<'_> {
    /// The key of a reference in the answer, if it leads to the same host.
    fn named(&self, reference: &[u8]) -> Option<Key> {
        let (host, target) = (self.key.host(), self.key.target());
        let base = Url::parse(&format!("{}://{host}{target}", self.scheme)).ok()?;
        let url = base.join(std::str::from_utf8(reference).ok()?).ok()?;
        let is_same = url.host_str() == base.host_str()
            && (url.port_or_known_default() == base.port_or_known_default()
                || url.port().is_none());
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let mut named = Key::default();
        let port = authority::default_port(self.scheme);
        named.write(self.site, authority::parse(host.as_bytes()), &target, port);
        is_same.then_some(named)
    }
}

/// The answer to a POST that is stored while it passes.
pub struct Posted {
    engine: Arc<Engine>,
    /// Listed, so that what makes the key out of date meanwhile is noticed.
    fill: Arc<Fill>,
    key: Key,
    request: Fields,
    head: Arc<Head>,
    pieces: Vec<Bytes>,
    claim: Option<Claim>,
}

impl Posted {
    /// More of its content.
    pub fn push(&mut self, data: &Bytes) {
        let has_room = self.claim.as_mut().is_some_and(|claim| claim.grow(data.len() as u64));
        if has_room {
            self.pieces.push(Bytes::copy_from_slice(data));
        } else {
            self.claim = None;
            self.pieces.clear();
        }
    }

    /// That was all of it.
    pub fn finish(mut self) {
        let pieces = std::mem::take(&mut self.pieces);
        let total = pieces.iter().map(|piece| piece.len() as u64).sum();
        let body = Body::new(total, 0, pieces);
        let object = Object { head: self.head.clone(), body, asked: self.fill.asked };
        self.engine.in_flight.finish(&self.fill, || {
            if self.claim.is_some() {
                let change = Change { seen: None, outdated: None, request: &self.request };
                self.engine.keep(&self.key, object, &change);
            }
        });
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        self.engine.in_flight.leave(&self.fill);
    }
}
