//! Clients without TLS at sites that want it.

use super::current::Edge;
use super::door::Visitor;
use super::own::{Own, Page};
use super::shape::Story;
use crate::config::Site;
use crate::outcome::Outcome;
use crate::rules::https;
use crate::wire::request::{BadRequest, RequestHead};

impl Edge {
    /// Where a client is sent instead of being answered; `None`: nowhere.
    pub(super) fn redirect(
        &self,
        head: &RequestHead,
        site: &Site,
        visitor: &Visitor,
        peer_is_trusted: bool,
    ) -> Option<Result<Page<'static>, Own>> {
        if !https::is_demanded(site, &head.fields, peer_is_trusted, visitor.scheme) {
            return None;
        }
        let Some(location) = https::location(head, self.https_port()) else {
            return Some(Err(Own::BadRequest(BadRequest::HostMissing)));
        };
        let story = Story { detail: Some("https"), ..Story::new(Outcome::Edge) };
        // It keeps method and body (RFC 9110, section 15.4.9).
        let page = Page::of_sentence(308, "this site is served over TLS only", story);
        Some(Ok(Page { lines: format!("Location: {location}\r\n").into(), ..page }))
    }
}
