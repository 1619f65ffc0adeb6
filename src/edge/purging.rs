//! PURGE and BAN on the front door: who may, what is named, and what they are told.
//!
//! Neither is ever passed on, whoever sends it: an origin may be a cache that takes purges from this
//! server's address. A site's clients purge objects of their own site only.

use super::own::{Own, Page, SOON};
use super::shape::Story;
use crate::access_log::Record;
use crate::admin::gatekeeper::{Entry, Gatekeeper};
use crate::config::Site;
use crate::engine::{Configured, Engine, Order};
use crate::outcome::Outcome;
use crate::rules::purging::{self, BAN, Shares, Targets, Wish};
use crate::rules::tags::{self, TooMany};
use crate::upstream::PurgeWay;
use crate::wire::request::RequestHead;
use std::net::IpAddr;
use std::sync::Arc;

/// Fields that ask for objects to become stale instead of gone.
const SOFT: &[&str] = &["soft-purge", "fastly-soft-purge"];

/// It is not known here what the new process does.
const HANDED_OVER: &str = "nothing was purged: a new process takes over, which has to be asked";

/// One request for a purge.
pub(super) struct Asked<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) configured: &'a Arc<Configured>,
    pub(super) gatekeeper: &'a Gatekeeper,
    pub(super) head: &'a RequestHead,
    pub(super) site: &'a Site,
    pub(super) scheme: &'static str,
    pub(super) client: IpAddr,
    /// Nobody else can have that address.
    pub(super) client_is_certain: bool,
}

impl Asked<'_> {
    /// Ends when the purge is in force.
    pub(super) async fn answer(&self, record: &mut Record<'_>) -> Result<Page<'static>, Own> {
        self.is_permitted()?;
        let (wish, targets) = match self.named() {
            Ok(named) => named,
            Err(why) => {
                let outcome = Outcome::Error("bad_purge");
                (record.status, record.outcome) = (400, outcome);
                return Ok(Page::of_sentence(400, &why, Story::new(outcome)));
            }
        };
        let by = format!("front door {}", self.client);
        let shares = self.shares(&wish);
        let (wish, targets, shares, by) = (&wish, &targets, &shares, &*by);
        let way = &PurgeWay::default();
        let configured = self.configured;
        let order = Order { wish, targets, shares, configured, by, way };
        let purged = self.engine.purge(&order).await;
        let Ok(receipt) = purged else {
            let outcome = Outcome::Error("handed_over");
            (record.status, record.outcome) = (503, outcome);
            let page = Page::of_sentence(503, HANDED_OVER, Story::new(outcome));
            return Ok(Page { lines: SOON.into(), ..page });
        };
        let (status, outcome, lines) = match receipt.durable {
            true => (receipt.status(), Outcome::Edge, ""),
            false => (503, Outcome::Error("purge_not_durable"), SOON),
        };
        (record.status, record.outcome) = (status, outcome);
        let body = serde_json::to_string(&receipt).expect("a receipt is plain data") + "\n";
        let (content_type, story) = ("application/json", Story::new(outcome));
        Ok(Page { status, content_type, lines: lines.into(), body: body.into(), story })
    }

    /// What parents are asked for. Without a host a parent knows the URL by a name of its own; and
    /// JSON has no words for a tag that is no UTF-8, of which here only the replacement is left.
    fn shares(&self, wish: &Wish) -> Shares {
        let is_nameless = wish.tags.is_empty() && self.head.authority().is_none();
        let is_unsayable = |tag: &String| tag.contains(char::REPLACEMENT_CHARACTER);
        let means_all = is_nameless || wish.tags.iter().any(is_unsayable);
        let all = Wish { all: true, soft: wish.soft, ..Wish::default() };
        Shares::of_site(if means_all { &all } else { wish }, self.site)
    }

    fn is_permitted(&self) -> Result<(), Own> {
        let rules = self.site.purge.as_ref().ok_or(Own::NoPurges)?;
        let is_from = |network: &ipnet::IpNet| network.contains(&self.client);
        if self.client_is_certain && rules.networks.iter().any(is_from) {
            return Ok(());
        }
        if !rules.token {
            return Err(Own::PurgeDenied);
        }
        let mut lines = self.head.fields.all("authorization");
        let authorization = lines.next().filter(|_| lines.next().is_none());
        match self.gatekeeper.admit(authorization, self.client) {
            Entry::Granted => Ok(()),
            Entry::Denied => Err(Own::TokenNeeded),
            Entry::TooMany(wait) => Err(Own::TooManyTokens(wait)),
        }
    }

    fn named(&self) -> Result<(Wish, Targets), String> {
        let fields = &self.head.fields;
        let is_told = |name: &&str| fields.all(name).any(|value| value == b"1");
        let soft = SOFT.iter().any(is_told);
        let tags = tags::of_purge(fields).map_err(|TooMany| "the tags are too many or too long")?;
        if let Some(named) = tags {
            // An empty field is a mistake, and not a wish for all that the URL stands for.
            if named.tags.is_empty() {
                return Err("a field for tags names none".to_owned());
            }
            let text = String::from_utf8_lossy(&named.tags);
            let tags = text.lines().map(str::to_owned).collect();
            let targets = purging::tags_of_site(self.site, &named.tags);
            return Ok((Wish { tags, soft: soft || named.is_soft, ..Wish::default() }, targets));
        }
        let (authority, target) = (self.head.authority(), self.head.target());
        let host = self.head.authority_text().unwrap_or_default();
        let named = vec![format!("{}://{host}{target}", self.scheme)];
        if self.head.method.as_str() == BAN {
            let targets = purging::prefix_of_site(self.site, self.scheme, authority, target)?;
            return Ok((Wish { prefixes: named, soft, ..Wish::default() }, targets));
        }
        let targets = purging::url_of_site(self.site, self.scheme, authority, target)?;
        Ok((Wish { urls: named, soft, ..Wish::default() }, targets))
    }
}
