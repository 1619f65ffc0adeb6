//! Whether the cache may have a say in a request at all.

use super::key::Key;
use super::policy;
use super::storing::Policy;
use crate::config::Site;
use crate::outcome::Forward;
use crate::wire::request::RequestHead;
use http::Method;

/// Whether it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// It has, and this is what the operator says about its path.
    Cache(Policy),
    /// It has none.
    Around(Bypass),
}

/// Why the cache has no say in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// Only GET and HEAD are answered from a cache.
    Method,
    /// It asks for another protocol.
    Upgrade,
    /// It has content.
    RequestBody,
    /// A rule of the site says `cache = false`.
    Rule,
    /// Another process has the cache by now.
    HandedOver,
}

/// Looks at a request of a site; its key has been written.
pub fn say(head: &RequestHead, site: &Site, key: &Key) -> Say {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Say::Around(Bypass::Method);
    }
    // What an upgrade or a request's content leads to is nobody else's (RFC 9110, section 9.3.1).
    if head.upgrade {
        return Say::Around(Bypass::Upgrade);
    }
    if head.framing.has_body() {
        return Say::Around(Bypass::RequestBody);
    }
    policy::of_path(site, key.path()).map_or(Say::Around(Bypass::Rule), Say::Cache)
}

impl Bypass {
    /// The `fwd` of Cache-Status.
    pub fn forward(self) -> Forward {
        if self == Self::Method { Forward::Method } else { Forward::Bypass }
    }

    /// The `detail` of Cache-Status, where `fwd` does not say everything.
    pub fn detail(self) -> Option<&'static str> {
        match self {
            Self::Method => None,
            Self::Upgrade => Some("upgrade"),
            Self::RequestBody => Some("request-body"),
            Self::Rule => Some("rule"),
            Self::HandedOver => Some("handed-over"),
        }
    }
}
