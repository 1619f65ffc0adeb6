//! Why something was, or was not, answered out of the cache, and what to change. It goes by the same
//! decisions as requests do, and changes nothing; only `fetch` asks the origin.
//!
//! Everything that is asked about is untrusted: it is read as strictly as a client's request, and what
//! is told of it is JSON in ASCII, so that no byte of it reaches a terminal.

mod asked;
mod fetched;
mod stored;
pub mod told;
mod verdict;

use super::answer::Answer;
use super::query::Query;
use crate::config::Site;
use crate::engine::{Configured, Engine, Request};
use crate::outcome::Outcome;
use crate::rules::bypass::{self, Say};
use crate::rules::cache_control::Demands;
use crate::rules::key::{self, Key};
use crate::rules::purging::is_meant;
use crate::rules::{forwarding, https, loops, policy};
use crate::trace::Trail;
use crate::wire::authority::default_port;
use asked::Asked;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;
use told::{AskedTold, Explanation, HostsTold, RuleTold, SiteTold, Verdict};

/// Hosts that are listed where none is the right one.
const HOSTS_MAX: usize = 100;

/// What there is to ask, and who asks.
pub(super) struct Explainer<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) configured: &'a Arc<Configured>,
    /// Whom the origin is told of, where it is asked.
    pub(super) peer: IpAddr,
}

impl Explainer<'_> {
    /// The answer to `?url=..&header=..&method=..&fetch=true`.
    pub(super) async fn answer(&self, query: Option<&str>) -> Answer {
        let asked = Query::parse_with(query, &["url", "header", "method", "fetch"], "header");
        let limits = self.configured.head_limits();
        let mut answer = match asked.and_then(|query| asked::read(&query, limits)) {
            Ok(asked) => Answer::json(200, &self.explain(&asked).await),
            Err(message) => Answer::error(400, &message),
        };
        answer.body = in_ascii(&answer.body);
        answer
    }

    async fn explain(&self, asked: &Asked) -> Explanation {
        let about = AskedTold { method: asked.method.clone(), url: asked.url() };
        let head = match &asked.head {
            Ok(head) => head,
            Err(bad) => {
                let (status, sentence) = bad.explain();
                let verdict = Verdict::own(status, "bad_request", sentence);
                return Explanation::of(about, verdict);
            }
        };
        let authority = head.authority();
        let host = authority.map(|authority| authority.host);
        let Some((site, by)) = self.configured.sites().find_by(host) else {
            let host = host.unwrap_or_default();
            let hosts = self.hosts_beside(host);
            let verdict = verdict::of_no_site(host, hosts.nearest.as_deref());
            return Explanation { hosts: Some(hosts), ..Explanation::of(about, verdict) };
        };
        let mut explanation = Explanation::of(about, Verdict::default());
        explanation.site = Some(SiteTold {
            name: site.name.clone(),
            host: by,
            origin: self.configured.upstream().settings(site.origin).name.clone(),
            limits: limits(site),
        });
        if let Some(verdict) = self.before_the_cache(asked, head, site) {
            explanation.verdict = verdict;
            return explanation;
        }
        let mut key = Key::default();
        key.write(site, authority, head.target(), default_port(asked.scheme));
        let rule = policy::rule_of(site, key.path());
        explanation.rule = rule.map(|position| RuleTold::of(position, &site.rules[position]));
        let leads_elsewhere = policy::may_lead_elsewhere(key.path());
        explanation.no_rule_because = leads_elsewhere.then(|| {
            "an origin may take the path for another one: only rules with cache = false count"
                .to_owned()
        });
        let fields = &head.fields;
        let additions = key::additions(site, fields, asked.scheme, key.host(), false);
        explanation.key = Some(stored::key(site, head, asked.scheme, &key, &additions));
        let say = bypass::say(head, site, &key);
        let policy = match say {
            Say::Cache(policy) => policy,
            // For what is stored from before, and for what the origin would be judged by.
            Say::Around(_) => policy::of_rule(site, rule.map(|rule| &site.rules[rule])),
        };
        let now = SystemTime::now();
        let trail = Trail::new(head, false, now, None);
        let request = Request {
            head,
            configured: self.configured,
            trail: &trail,
            site,
            key: &key,
            additions,
            policy,
            demands: Demands::of_request(fields),
            peer: self.peer,
            peer_is_trusted: false,
            scheme: asked.scheme,
            now,
        };
        let explained = self.engine.explain(&request).await;
        let context = verdict::Context { request: &request, rule, explained: &explained };
        explanation.verdict = match say {
            Say::Around(bypass) => verdict::of_bypass(bypass, site, rule),
            Say::Cache(_) => context.verdict(),
        };
        stored::tell(&mut explanation, &context);
        if asked.fetches {
            explanation.fetched = Some(self.fetched(&request, say, rule).await);
        }
        explanation
    }

    /// What `edge::route` looks at before it asks whether the cache has a say, in its order.
    fn before_the_cache(
        &self,
        asked: &Asked,
        head: &crate::wire::request::RequestHead,
        site: &Site,
    ) -> Option<Verdict> {
        if let Err(looped) = loops::check(&head.fields, self.engine.identity()) {
            return Some(Verdict::own(508, "loop", looped.explain()));
        }
        if forwarding::forwards_left(head) == Some(0) {
            let because = "OPTIONS that may be forwarded no further";
            return Some(Verdict {
                by: "RFC 9110, section 7.6.2".to_owned(),
                ..Verdict::of(Outcome::Edge, because)
            });
        }
        if is_meant(&head.method) && site.purge.is_none() {
            return Some(Verdict::own(405, "purge_off", "purges are not taken here"));
        }
        if is_meant(&head.method) {
            return Some(Verdict {
                by: "site.purge".to_owned(),
                change: "Ask with GET to learn about the content.".to_owned(),
                ..Verdict::of(Outcome::Edge, "a purge is never passed on")
            });
        }
        https::is_demanded(site, &head.fields, false, asked.scheme).then(verdict::of_redirect)
    }

    fn hosts_beside(&self, host: &str) -> HostsTold {
        let mut all = self.configured.sites().hosts();
        let host = host.to_ascii_lowercase();
        let nearest = crate::config::nearest(&host, all.iter().map(String::as_str));
        let nearest = nearest.map(str::to_owned);
        let more = all.len().saturating_sub(HOSTS_MAX);
        all.truncate(HOSTS_MAX);
        HostsTold { nearest, all, more }
    }
}

fn limits(site: &Site) -> Vec<String> {
    let limits = &site.limits;
    let requests = u64::try_from(limits.requests).unwrap_or(u64::MAX);
    let said = [("requests_per_client", requests), ("rate", u64::from(limits.rate))];
    let said = said.iter().filter(|(_, limit)| *limit > 0);
    said.map(|(name, limit)| format!("{name} = {limit}")).collect()
}

/// The same JSON with every letter beyond ASCII escaped: those can only stand in strings.
fn in_ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii() && letter != '\x7f' {
            out.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::in_ascii;

    #[test]
    fn what_is_told_is_ascii_and_means_the_same() {
        let text = "a\u{9b}\u{202e}\u{1f600}\u{7f}\u{e9}";
        let json = serde_json::to_string(&[text]).expect("JSON");
        let told = in_ascii(&json);
        assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{told}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&told).expect("JSON"), [text]);
    }
}
