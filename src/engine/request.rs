//! A request, as far as the cache is concerned with it.

use super::Configured;
use super::notes::About;
use super::object::{Head, Object};
use crate::config::Site;
use crate::rules::cache_control::Demands;
use crate::rules::conditional::{self, Condition};
use crate::rules::forwarding;
use crate::rules::key::Key;
use crate::rules::range::{self, Resolved};
use crate::rules::storing::Policy;
use crate::trace::Trail;
use crate::wire::request::RequestHead;
use http::Method;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

/// A GET or HEAD that the cache may answer.
pub struct Request<'a> {
    /// As the client sent it.
    pub head: &'a RequestHead,
    /// What is in force for it.
    pub configured: &'a Arc<Configured>,
    /// Whose it is.
    pub site: &'a Arc<Site>,
    /// What it asks for.
    pub key: &'a Key,
    /// What the site adds to the key.
    pub additions: Vec<u8>,
    /// What the operator says about its path.
    pub policy: Policy,
    /// What the client says about the answer.
    pub demands: Demands,
    /// Who holds the connection.
    pub peer: IpAddr,
    /// The peer is a proxy whose word is taken.
    pub peer_is_trusted: bool,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// When it came.
    pub now: SystemTime,
    /// What it is called.
    pub trail: &'a Trail<'a>,
}

impl Request<'_> {
    pub(super) fn is_head(&self) -> bool {
        self.head.method == Method::HEAD
    }

    pub(super) fn has_authorization(&self) -> bool {
        self.head.fields.first("authorization").is_some()
    }

    /// Who asks keeps what it gets for clients of its own.
    pub fn is_child(&self) -> bool {
        forwarding::is_child(&self.head.fields, self.peer_is_trusted)
    }

    pub(super) fn about(&self, has_authorization: bool) -> About<'_> {
        About { key: self.key, additions: &self.additions, has_authorization }
    }

    /// It has a condition that only an origin can judge (RFC 9111, section 4.3.2).
    pub fn is_for_origin(&self) -> bool {
        let fields = &self.head.fields;
        ["if-match", "if-unmodified-since"].iter().any(|name| fields.first(name).is_some())
    }

    /// The Range, if there is one that means something for this method (RFC 9110, section 14.2).
    pub fn ranges(&self) -> Option<Vec<range::Asked>> {
        let value = self.head.fields.first("range").filter(|_| self.head.method == Method::GET)?;
        range::parse(value)
    }

    /// Whether a stored or arriving response with this head may answer it. One who waited for an
    /// answer that had not begun to come has had the origin asked.
    pub fn is_answered_by(&self, head: &Head, has_waited: bool, now: SystemTime) -> bool {
        let demands = if has_waited {
            Demands { no_cache: false, no_store: false, max_age: None, ..self.demands }
        } else {
            self.demands
        };
        head.answers(&self.head.fields, &self.additions)
            && head.kept_terms().is_some_and(|terms| terms.may_be_used(&demands, now))
    }

    /// The first bytes that it could take to answer and that an object does not have.
    pub(super) fn missing(&self, object: &Object) -> Option<Range<u64>> {
        let body = &object.body;
        if body.is_in_memory() || self.is_head() {
            return None;
        }
        let (fields, head) = (&self.head.fields, &object.head);
        let condition = conditional::evaluate(fields, head.status, &head.fields, self.now);
        if condition != Condition::Met {
            return None;
        }
        let applies = || conditional::range_applies(fields, &object.head.fields, self.now);
        match self.ranges().filter(|_| applies()) {
            None => body.gap(&(0..body.total())),
            Some(asked) => match range::resolve(&asked, body.total()) {
                Resolved::One(part) => body.gap(&part),
                Resolved::Several(parts) => parts.iter().find_map(|part| body.gap(part)),
                Resolved::None => None,
            },
        }
    }

    /// Whether an object has every byte that it could take to answer.
    pub fn is_covered_by(&self, object: &Object) -> bool {
        self.missing(object).is_none()
    }
}
