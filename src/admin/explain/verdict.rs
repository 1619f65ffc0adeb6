//! What a request would get, in words: why, by which rule, and what to change.

use super::told::cut;
use super::told::{Verdict, duration, sentence};
use crate::config::Site;
use crate::engine::{Explained, Fetch, Head, Object, Prospect, Remembered, Request};
use crate::outcome::glossary::{self, Topic};
use crate::outcome::{Forward, Outcome, Staleness};
use crate::rules::bypass::Bypass;
use crate::rules::cache_control::{Directives, GOVERNING};
use crate::rules::cache_status::Story;
use crate::rules::freshness::IF_UNREACHABLE;
use crate::rules::storing::{self, Clock, Refusal, Terms};
use crate::wire::fields::Fields;
use std::time::{Duration, SystemTime};

/// What a verdict is made of.
pub(super) struct Context<'a> {
    pub(super) request: &'a Request<'a>,
    /// The position of the rule that counts.
    pub(super) rule: Option<usize>,
    pub(super) explained: &'a Explained,
}

/// Who says how long an answer is good.
pub(super) struct ClockTold {
    /// `max-age=60 of Cache-Control`
    pub(super) what: String,
    /// The RFC or the key.
    pub(super) by: String,
    /// How to have it kept longer.
    pub(super) longer: &'static str,
}

pub(super) fn of_no_site(host: &str, nearest: Option<&str>) -> Verdict {
    let because = match host {
        "" => "the request names no host, and no site answers for \"*\"".to_owned(),
        host => format!("no site answers for \"{host}\""),
    };
    let change = match nearest {
        Some(nearest) => {
            format!("Was \"{nearest}\" meant? If not, add the host to hosts of a [[site]].")
        }
        None => "Add the host to hosts of a [[site]]; \"*\" answers for any.".to_owned(),
    };
    let verdict = Verdict::own(421, "no_site", &because);
    Verdict { by: "hosts of [[site]]".to_owned(), change, ..verdict }
}

pub(super) fn of_redirect() -> Verdict {
    let story = Story { detail: Some("https"), ..Story::new(Outcome::Edge) };
    Verdict {
        status: Some(308),
        by: "redirect_to_https = true of [[site]]".to_owned(),
        change: "Ask with https://, and use that in links.".to_owned(),
        ..Verdict::with(&story, b"", "the site is served over TLS only: clients are sent there")
    }
}

pub(super) fn of_bypass(bypass: Bypass, site: &Site, rule: Option<usize>) -> Verdict {
    let story = Story { detail: bypass.detail(), ..Story::new(Outcome::Pass(bypass.forward())) };
    let word = match bypass.detail() {
        Some(detail) => glossary::of(Topic::Bypass, detail),
        None => glossary::of(Topic::Forward, Forward::Method.label()),
    };
    let means = word.map_or("", |word| word.means).replace('`', "");
    let verdict = Verdict::with(&story, b"", &means);
    let (by, change) = word.map_or(("", ""), |word| (word.by, word.remedy));
    let by = match (bypass, rule.and_then(|rule| site.rules.get(rule).zip(Some(rule)))) {
        (Bypass::Rule, Some((said, rule))) => {
            format!("cache = false of [[site.rule]] {} (path \"{}\")", rule + 1, said.path)
        }
        _ => by.replace('`', ""),
    };
    Verdict { by, change: sentence(change), ..verdict }
}

/// Who says how long an answer with these fields is good.
pub(super) fn clock_told(
    (lifetime, clock): (Duration, Clock),
    fields: &Fields,
    site: &Site,
    rule: Option<usize>,
) -> ClockTold {
    let governing = Directives::governing(fields).0;
    let seconds = lifetime.as_secs();
    let of_rule = |key: &str| {
        let path = rule.and_then(|rule| site.rules.get(rule)).map_or("", |rule| &rule.path);
        let position = rule.map_or(0, |rule| rule + 1);
        let what = format!("{key} = \"{}\" of rule {position}", duration(lifetime));
        (what, format!("{key} of [[site.rule]] {position} (path \"{path}\")"))
    };
    let section = |section: &str| match governing {
        _ if governing == GOVERNING[0] => format!("RFC 9213, section 2.2, and RFC 9111, {section}"),
        _ if governing == GOVERNING[1] => "Surrogate-Control of the Edge Architecture".to_owned(),
        _ => format!("RFC 9111, {section}"),
    };
    let ((what, by), longer) = match clock {
        Clock::Ttl => (of_rule("ttl"), "To keep it longer, raise the ttl of the rule."),
        Clock::DefaultTtl => (of_rule("default_ttl"), "To keep it longer, raise default_ttl."),
        Clock::NegativeTtl => (of_rule("negative_ttl"), "To keep it longer, raise negative_ttl."),
        Clock::SMaxage => (
            (format!("s-maxage={seconds} of {governing}"), section("section 5.2.2.10")),
            "To keep it longer, raise s-maxage at the origin, or set a rule's ttl for its path.",
        ),
        Clock::MaxAge if governing != GOVERNING[2] => (
            (format!("max-age={seconds} of {governing}"), section("section 5.2.2.1")),
            "To keep it longer, raise that max-age at the origin, or set a rule's ttl for its path.",
        ),
        Clock::MaxAge => (
            (format!("max-age={seconds} of {governing}"), section("section 5.2.2.1")),
            "To keep it longer here, but not in browsers, have the origin say CDN-Cache-Control: \
             max-age=.. beside it, or set a rule's ttl for its path.",
        ),
        Clock::Expires => (
            ("Expires".to_owned(), "RFC 9111, section 5.3".to_owned()),
            "To keep it longer, have the origin say s-maxage, or set a rule's ttl for its path.",
        ),
        Clock::Guess => (
            (
                "a tenth of the time since Last-Modified, because nobody says how long".to_owned(),
                "RFC 9111, section 4.2.2; heuristic_freshness of [[site]]".to_owned(),
            ),
            "Have the origin say how long it is good: Cache-Control: s-maxage=.., or set a rule's \
             default_ttl.",
        ),
        Clock::Nobody => (
            (
                "nobody says how long".to_owned(),
                "RFC 9111, section 4.2.1; default_ttl of [[site.rule]]".to_owned(),
            ),
            "Have the origin say how long it is good: Cache-Control: s-maxage=.., or set a rule's \
             default_ttl.",
        ),
    };
    ClockTold { what, by, longer }
}

impl Context<'_> {
    /// Who says how long something stored is good.
    pub(super) fn clock_of(&self, head: &Head) -> Option<ClockTold> {
        let (terms, fields) = (head.kept_terms()?, head.fields_for_caches());
        let Request { policy, now, site, .. } = *self.request;
        let clock = storing::clock(head.status, &fields, &policy, now)?;
        // It may be from before the rules were changed.
        let is_from_then = clock.0 == terms.lifetime || head.extras().made_stale.is_some();
        is_from_then.then(|| clock_told(clock, &fields, site, self.rule))
    }

    pub(super) fn verdict(&self) -> Verdict {
        match &self.explained.prospect {
            Prospect::Stored(object, outcome) => self.of_stored(object, *outcome),
            Prospect::OnlyIfCached => {
                let story = Story { detail: Some("only-if-cached"), ..Story::new(Outcome::Edge) };
                Verdict {
                    status: Some(504),
                    by: "RFC 9111, section 5.2.1.7".to_owned(),
                    change: "Ask without only-if-cached: the origin is asked then.".to_owned(),
                    ..Verdict::with(
                        &story,
                        b"",
                        "nothing that may be used is stored, and the \
                                                  request wants nothing else",
                    )
                }
            }
            Prospect::Failed(fault) => {
                let because =
                    format!("{} a moment ago, and is left in peace for now", fault.sentence());
                Verdict::own(fault.status(), fault.label(), &because)
            }
            Prospect::TooManyFills => {
                Verdict::own(503, "too_many_fills", "as many answers are being fetched as may be")
            }
            Prospect::Fetch(fetch) => self.of_fetch(fetch),
        }
    }

    fn of_stored(&self, object: &Object, outcome: Outcome) -> Verdict {
        let (head, now) = (&object.head, self.request.now);
        let Some(terms) = head.kept_terms() else { return Verdict::of(outcome, "") };
        let ttl = terms.seconds_left(now);
        let story = Story { ttl: Some(ttl), ..Story::new(outcome) };
        let clock = self.clock_of(head);
        let said = clock.as_ref().map_or_else(String::new, |clock| format!(" ({})", clock.what));
        let longer = clock.as_ref().map_or("", |clock| clock.longer);
        let by_clock = clock.as_ref().map_or("", |clock| &clock.by);
        let (because, by, change) = match outcome {
            Outcome::Stale(staleness) => {
                let over = self.why_over(object, &terms);
                let (permission, by) = self.permission(staleness, &terms);
                let change = match staleness {
                    Staleness::IfError => {
                        "Look after the origin: GET /origins of the admin listener tells how it is."
                    }
                    _ => longer,
                };
                (format!("{over}; {permission}"), by, change.to_owned())
            }
            _ => {
                let age = duration(Duration::from_secs(terms.age(now).as_secs()));
                let left = duration(Duration::from_secs(ttl.unsigned_abs()));
                let because = format!("it is stored, {age} old, and good for {left} more{said}");
                let by = ["RFC 9111, section 4.2", by_clock].join("; ");
                (because, by.trim_end_matches("; ").to_owned(), format!("It is cached. {longer}"))
            }
        };
        let verdict = Verdict::with(&story, &head.extras().told_before, &because);
        Verdict { by, change: change.trim_end().to_owned(), ..verdict }
    }

    /// By what permission something is used past its time.
    fn permission(&self, staleness: Staleness, terms: &Terms) -> (String, String) {
        let policy = &self.request.policy;
        let rule = self.rule.map_or(0, |rule| rule + 1);
        let while_revalidate = duration(terms.while_revalidate);
        match staleness {
            Staleness::WhileRevalidate => {
                let told = format!(
                    "it may be used for {while_revalidate} after that, while it is refreshed"
                );
                let by = match policy.while_revalidate {
                    Some(_) => {
                        format!("stale_while_revalidate = \"{while_revalidate}\" of rule {rule}")
                    }
                    None => "RFC 5861, section 3".to_owned(),
                };
                (told, by)
            }
            Staleness::IfError => {
                let allowed = terms.if_error.unwrap_or(IF_UNREACHABLE.max(terms.while_revalidate));
                let allowed = duration(allowed);
                let told = format!("the origin fails, and it may be used for {allowed} after that");
                let by = match (policy.if_error, terms.if_error) {
                    (Some(_), _) => format!("stale_if_error = \"{allowed}\" of rule {rule}"),
                    (None, Some(_)) => "RFC 5861, section 4".to_owned(),
                    (None, None) => "RFC 9111, section 4.2.4".to_owned(),
                };
                (told, by)
            }
            Staleness::MaxStale => {
                ("the request allows that".to_owned(), "RFC 9111, section 5.2.1.2".to_owned())
            }
        }
    }

    /// Why the time of something stored is over.
    fn why_over(&self, object: &Object, terms: &Terms) -> String {
        let now = self.request.now;
        if let Some(since) = self.made_stale(object) {
            let ago = now.duration_since(since).unwrap_or_default();
            return format!(
                "it is stored, but a soft purge made it stale {} ago",
                duration(Duration::from_secs(ago.as_secs()))
            );
        }
        let clock = self.clock_of(&object.head);
        let said = clock.map_or_else(String::new, |clock| format!(" ({})", clock.what));
        let over = duration(Duration::from_secs(terms.seconds_left(now).unsigned_abs()));
        format!("it is stored, but its time was over {over} ago{said}")
    }

    fn made_stale(&self, object: &Object) -> Option<SystemTime> {
        let is_it = |seen: &&crate::engine::Seen| std::ptr::eq(&*seen.object, object);
        self.explained.stored.iter().find(is_it)?.made_stale
    }

    fn of_fetch(&self, fetch: &Fetch) -> Verdict {
        let request = self.request;
        let forward = fetch.forward;
        let validator = fetch.stored.as_ref().is_some_and(|stored| {
            let fields = &stored.head.fields;
            fields.first("etag").is_some() || fields.first("last-modified").is_some()
        });
        let is_confirmed = validator && !fetch.is_private && !fetch.is_head;
        let outcome =
            if is_confirmed { Outcome::Revalidated(forward) } else { Outcome::Miss(forward) };
        let forbids = request.demands.no_store.then(|| Refusal::RequestNoStore.label());
        let story = Story { detail: forbids, is_collapsed: fetch.joins, ..Story::new(outcome) };
        let (because, by, change) = match (&fetch.stored, self.explained.remembered) {
            _ if request.demands.no_store => {
                of_refusal("the answer to this request is not kept: ", Refusal::RequestNoStore)
            }
            (Some(stored), _) => self.of_unconfirmed(stored, forward),
            (None, Some((Remembered::Refused(refusal), _))) if forward == Forward::Bypass => {
                of_refusal(
                    "nothing is stored, because the last answer was not to be kept: ",
                    refusal,
                )
            }
            (None, remembered) => self.of_nothing(forward, remembered.map(|(what, _)| what)),
        };
        let mut because = because;
        if fetch.joins {
            because += "; somebody else's fetch is on its way, and it waits for that";
        }
        if fetch.is_head {
            because += "; an answer to HEAD is not stored, one to GET may be";
        }
        let mut verdict = Verdict { by, change, ..Verdict::with(&story, b"", &because) };
        if let Some((Remembered::Refused(refusal) | Remembered::Unkept(refusal), _)) =
            self.explained.remembered
            && fetch.stored.is_none()
        {
            let word = glossary::of(Topic::NotKept, refusal.label());
            verdict.more.extend(word.map(|word| word.link()));
        }
        verdict
    }

    /// What is stored has to be confirmed first.
    fn of_unconfirmed(&self, stored: &Object, forward: Forward) -> (String, String, String) {
        let Some(terms) = stored.head.kept_terms() else { return Default::default() };
        if forward == Forward::Request {
            return self.of_demand();
        }
        if terms.must_validate {
            let because = "it is stored, but no-cache wants it confirmed before each use";
            let by = "RFC 9111, section 5.2.2.4".to_owned();
            let change = "Have the origin leave no-cache out and say s-maxage, or say so to the \
                          edge alone: CDN-Cache-Control: max-age=60.";
            return (because.to_owned(), by, change.to_owned());
        }
        let because = self.why_over(stored, &terms);
        let clock = self.clock_of(&stored.head);
        let by = clock.as_ref().map_or("", |clock| &clock.by);
        let longer = clock.as_ref().map_or("", |clock| clock.longer);
        let by = ["RFC 9111, section 4.2", by].join("; ").trim_end_matches("; ").to_owned();
        let meanwhile = "With stale-while-revalidate (or a rule's stale_while_revalidate) clients \
                         do not wait for the origin meanwhile.";
        (because, by, format!("{longer} {meanwhile}").trim_start().to_owned())
    }

    /// The client does not want what is stored as it is.
    fn of_demand(&self) -> (String, String, String) {
        let demands = &self.request.demands;
        let (what, section) = match demands {
            _ if self.request.is_for_origin() => ("If-Match or If-Unmodified-Since", ""),
            demands if demands.no_cache => ("no-cache", "4"),
            demands if demands.no_store => ("no-store", "5"),
            demands if demands.max_age.is_some() => ("max-age", "1"),
            _ => ("min-fresh", "3"),
        };
        let by = match section {
            "" => "RFC 9111, section 4.3.2".to_owned(),
            section => format!("RFC 9111, section 5.2.1.{section}"),
        };
        let because = format!("it is stored, but the request wants it from the origin: {what}");
        let change = "Ask without that. Browsers send no-cache when a page is reloaded by force.";
        (because, by, change.to_owned())
    }

    fn of_nothing(
        &self,
        forward: Forward,
        remembered: Option<Remembered>,
    ) -> (String, String, String) {
        let first = "Nothing, for a first request: the next one finds it if the answer may be \
                     kept. --fetch asks the origin and says whether it may.";
        let word = glossary::of(Topic::Forward, forward.label());
        let (by, remedy) = word.map_or(("", ""), |word| (word.by, word.remedy));
        let by = by.replace('`', "");
        match (forward, remembered) {
            (Forward::Request, _) => self.of_demand(),
            (Forward::VaryMiss, _) => {
                let names = self.names_of_vary();
                let stored = self.explained.stored.len();
                let because = match &*names {
                    "" => format!("{stored} stored for this URL, but for another key of the site"),
                    names => format!("{stored} stored for this URL, but for other {names}"),
                };
                (because, by, sentence(remedy))
            }
            (
                Forward::UriMiss,
                Some(Remembered::Unkept(refusal) | Remembered::Refused(refusal)),
            ) => of_refusal("nothing is stored: the last answer was not kept: ", refusal),
            (Forward::UriMiss, _) => {
                ("nothing is stored for this URL".to_owned(), by, first.to_owned())
            }
            _ => {
                let means = word.map_or("", |word| word.means).replace('`', "");
                (means, by, sentence(remedy))
            }
        }
    }

    /// The fields in which this request is another one than those that are answered.
    fn names_of_vary(&self) -> String {
        let fields = &self.request.head.fields;
        let mut names: Vec<String> = Vec::new();
        for seen in &self.explained.stored {
            let variant = &seen.object.head.variant;
            let own = variant.with_values_of(fields);
            for ((name, stored), (_, says)) in variant.selectors().zip(own.selectors()) {
                if stored != says && !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
        }
        cut(names.join(", "))
    }
}

pub(super) fn of_refusal(before: &str, refusal: Refusal) -> (String, String, String) {
    let word = glossary::of(Topic::NotKept, refusal.label());
    let (means, by, remedy) =
        word.map_or((refusal.label(), "", ""), |word| (word.means, word.by, word.remedy));
    (format!("{before}{}", means.replace('`', "")), by.replace('`', ""), sentence(remedy))
}
