//! What every word means that the access log, Cache-Status and metrics use, which rule it comes
//! from, and what to do about it: once, for `brim explain` and for docs/reasons.md.

use std::fmt::Write;

/// Where a word stands, so that the same one may mean two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// `outcome` of the log.
    Outcome,
    /// `fwd` of Cache-Status, `reason` of the log.
    Forward,
    /// Why something past its time was used.
    Staleness,
    /// Why the cache had no say in a request.
    Bypass,
    /// Why an answer was not kept.
    NotKept,
    /// Why the edge answered itself.
    Edge,
    /// What went wrong with the client.
    Client,
    /// What went wrong with the origin.
    Origin,
}

/// A word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Where it stands.
    pub topic: Topic,
    /// Itself.
    pub word: &'static str,
    /// What it means, in a sentence.
    pub means: &'static str,
    /// The section of an RFC, or the key of the configuration, that it comes from.
    pub by: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Topic {
    /// In the order of the page.
    pub const ALL: [Self; 8] = [
        Self::Outcome,
        Self::Forward,
        Self::Staleness,
        Self::Bypass,
        Self::NotKept,
        Self::Edge,
        Self::Client,
        Self::Origin,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Forward => "fwd",
            Self::Staleness => "stale",
            Self::Bypass => "bypass",
            Self::NotKept => "not-kept",
            Self::Edge => "edge",
            Self::Client => "client",
            Self::Origin => "origin",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Outcome => "What became of a request",
            Self::Forward => "Why the origin was asked",
            Self::Staleness => "Why something past its time was used",
            Self::Bypass => "Why the cache had no say",
            Self::NotKept => "Why an answer was not kept",
            Self::Edge => "Why the edge answered itself",
            Self::Client => "What went wrong with the client",
            Self::Origin => "What went wrong with the origin",
        }
    }

    fn introduction(self) -> &'static str {
        match self {
            Self::Outcome => "`outcome` of the access log and of `brim_requests_total`.",
            Self::Forward => "`fwd` of Cache-Status, `reason` of the access log.",
            Self::Staleness => "`detail` of Cache-Status, `reason` of the access log.",
            Self::Bypass => "`detail` beside `fwd=bypass`.",
            Self::NotKept => "`detail` of Cache-Status and of the access log.",
            Self::Edge => {
                "`reason` of the access log where the outcome is `error`, and `detail` of \
                 Cache-Status."
            }
            Self::Client => "`reason` of the access log where the outcome is `error`.",
            Self::Origin => {
                "`reason` of the access log where the outcome is `error`, `detail` of Cache-Status, \
                 and `reason` in the error log. The client gets 502, 503 or 504."
            }
        }
    }
}

impl Word {
    /// Where the page has it.
    pub fn link(&self) -> String {
        format!("docs/reasons.md#{}", self.anchor())
    }

    fn anchor(&self) -> String {
        format!("{}-{}", self.topic.name(), self.word)
    }
}

/// A word of a topic.
pub fn of(topic: Topic, word: &str) -> Option<&'static Word> {
    words().find(|known| known.topic == topic && known.word == word)
}

/// All of them.
pub fn words() -> impl Iterator<Item = &'static Word> {
    WORDS.iter().chain(ERRORS)
}

/// The text of docs/reasons.md.
pub fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    for topic in Topic::ALL {
        // Writing to a string does not fail.
        let _ = write!(page, "\n## {}\n\n{}\n\n", topic.title(), topic.introduction());
        page += "| word | what it means | by | what to do |\n|---|---|---|---|\n";
        for word in words().filter(|word| word.topic == topic) {
            let Word { word: text, means, by, remedy, .. } = word;
            let anchor = word.anchor();
            let _ =
                writeln!(page, "| <a id=\"{anchor}\"></a>`{text}` | {means} | {by} | {remedy} |");
        }
    }
    page
}

const INTRODUCTION: &str = "\
# Reasons

Every word with which Brim says what became of a request and why: in `Cache-Status`, in the access
log, in metrics, and in what `brim explain URL` tells. This page is made from the code
(`src/outcome/glossary.rs`); a test says how when the two differ.
";

mod errors;

use errors::ERRORS;

const fn word(
    topic: Topic,
    word: &'static str,
    means: &'static str,
    by: &'static str,
    remedy: &'static str,
) -> Word {
    Word { topic, word, means, by, remedy }
}

const WORDS: &[Word] = &[
    word(
        Topic::Outcome,
        "hit",
        "a stored answer that is still good; the origin was not asked",
        "RFC 9111, section 4",
        "nothing; a longer `s-maxage` or a rule's `ttl` keeps it a hit for longer",
    ),
    word(
        Topic::Outcome,
        "stale",
        "a stored answer past its time that may still be used; `reason` says by what permission",
        "RFC 9111, section 4.2.4",
        "nothing; it is refreshed behind the client, or the origin is in trouble",
    ),
    word(
        Topic::Outcome,
        "miss",
        "fetched from the origin; `reason` says why, `stored` in Cache-Status whether it is kept",
        "RFC 9211, section 2.2",
        "see its `reason`, and its `detail` if it was not kept",
    ),
    word(
        Topic::Outcome,
        "revalidated",
        "stored, and the origin has just confirmed it with 304",
        "RFC 9111, section 4.3",
        "give it a longer time where that is asked too often, or `stale-while-revalidate`",
    ),
    word(
        Topic::Outcome,
        "pass",
        "carried to the origin and back past the cache",
        "RFC 9211, section 2.2",
        "see its `reason` and `detail`",
    ),
    word(
        Topic::Outcome,
        "edge",
        "answered by the edge itself, as the protocol demands or after a purge",
        "RFC 9110",
        "nothing; `detail` says what it was",
    ),
    word(
        Topic::Outcome,
        "error",
        "there was no good answer; `reason` says why",
        "the reason's",
        "see its `reason`",
    ),
    word(
        Topic::Forward,
        "uri-miss",
        "nothing is stored for this URL",
        "RFC 9211, section 2.2",
        "nothing for a first request; if it stays so, look whether the answer is kept, and whether \
         its query differs each time (`site.key.query`)",
    ),
    word(
        Topic::Forward,
        "vary-miss",
        "answers are stored for this URL, but for other request fields",
        "RFC 9111, section 4.1",
        "have the origin name fewer fields in `Vary`: `Cookie` and `User-Agent` there make nearly \
         every client another one",
    ),
    word(
        Topic::Forward,
        "partial",
        "some of it is stored, and some of what is asked for is not",
        "RFC 9111, section 3.3",
        "nothing; what is missing is fetched and kept with the rest",
    ),
    word(
        Topic::Forward,
        "stale",
        "what is stored is past its time, or has to be confirmed each time (`no-cache`)",
        "RFC 9111, section 4.2",
        "raise `s-maxage` or set a rule's `ttl`; `stale-while-revalidate` answers at once meanwhile",
    ),
    word(
        Topic::Forward,
        "request",
        "the client wants it from the origin: `no-cache`, `no-store`, `max-age`, `min-fresh`, \
         `If-Match`",
        "RFC 9111, section 5.2.1",
        "nothing; browsers send this when a page is reloaded by force. Without it, it is a hit",
    ),
    word(
        Topic::Forward,
        "bypass",
        "it is known not to be for the cache: by a rule, by what the request is, or because the last \
         answer was not to be kept",
        "RFC 9211, section 2.2",
        "see its `detail`",
    ),
    word(
        Topic::Forward,
        "method",
        "only GET and HEAD are answered from the cache",
        "RFC 9110, section 9.2.3",
        "use GET for what only reads",
    ),
    word(
        Topic::Staleness,
        "stale-while-revalidate",
        "past its time, and being refreshed behind the client",
        "RFC 5861, section 3; `stale_while_revalidate` of a rule",
        "nothing; this is as fast as a hit",
    ),
    word(
        Topic::Staleness,
        "stale-if-error",
        "past its time, and the origin is in trouble",
        "RFC 5861, section 4; `stale_if_error` of a rule",
        "look after the origin: `GET /origins` of the admin listener tells how its servers are",
    ),
    word(
        Topic::Staleness,
        "max-stale",
        "past its time, and the client does not mind",
        "RFC 9111, section 5.2.1.2",
        "nothing",
    ),
    word(
        Topic::Bypass,
        "upgrade",
        "the request asks for another protocol, such as WebSocket",
        "RFC 9110, section 7.8",
        "nothing; such a connection is one client's",
    ),
    word(
        Topic::Bypass,
        "request-body",
        "a GET or HEAD with content",
        "RFC 9110, section 9.3.1",
        "send what selects the answer in the URL",
    ),
    word(
        Topic::Bypass,
        "rule",
        "the first rule that matches the path says `cache = false`",
        "`cache` of `[[site.rule]]`",
        "narrow the rule's `path`, or put another rule in front of it",
    ),
    word(
        Topic::Bypass,
        "handed-over",
        "another process has taken over, and the cache with it; the connection ends with this answer",
        "an upgrade, `brim upgrade`",
        "nothing; the next request is for the new process",
    ),
    word(
        Topic::NotKept,
        "event-stream",
        "it has no end (`text/event-stream`), and each listener has one of its own",
        "HTML, section 9.2",
        "nothing; what is to be kept needs another Content-Type",
    ),
    word(
        Topic::NotKept,
        "no-store",
        "the answer says `no-store`",
        "RFC 9111, section 5.2.2.5",
        "have the origin leave `no-store` out and say `s-maxage`, or say so to the edge alone in \
         `CDN-Cache-Control`",
    ),
    word(
        Topic::NotKept,
        "private",
        "the answer says `private`: it is for one user",
        "RFC 9111, section 5.2.2.7",
        "if it is the same for all, have the origin say `public` with `s-maxage` instead",
    ),
    word(
        Topic::NotKept,
        "authorization",
        "the request has `Authorization`, and the answer does not say that others may see it",
        "RFC 9111, section 3.5",
        "do not send credentials for it, or have the origin say `public` or `s-maxage`",
    ),
    word(
        Topic::NotKept,
        "set-cookie",
        "the answer sets a cookie, which may be one user's",
        "RFC 9111, section 7.3; `strip_set_cookie` of `[[site]]`",
        "do not set cookies on what is to be cached. Where the answer is the same for all: `public` \
         or `s-maxage`, or `strip_set_cookie = true` with `max-age`, keep it without the cookie, which only the first client gets",
    ),
    word(
        Topic::NotKept,
        "vary-any",
        "the answer depends on what no key can hold: `Vary: *`, or a field that the edge writes \
         itself",
        "RFC 9111, section 4.1",
        "have the origin name the fields in `Vary` that really make a difference",
    ),
    word(
        Topic::NotKept,
        "status",
        "an answer with this status is not to be kept, or not understood",
        "RFC 9111, section 3",
        "nothing, usually",
    ),
    word(
        Topic::NotKept,
        "no-freshness",
        "the answer has neither a time nor anything to be confirmed with",
        "RFC 9111, sections 3 and 4.2.2; `default_ttl` and `negative_ttl` of `[[site.rule]]`",
        "have the origin say `Cache-Control: s-maxage=60`, or an `ETag`; or set a rule's \
         `default_ttl` (for 404 and 410 `negative_ttl`)",
    ),
    word(
        Topic::NotKept,
        "request-no-store",
        "the request says `no-store`",
        "RFC 9111, section 5.2.1.5",
        "nothing; requests without it can be kept",
    ),
    word(
        Topic::NotKept,
        "provoked-error",
        "an error that an oversized or odd request may have provoked, and others would not get",
        "RFC 9111, section 7.1",
        "nothing; ask without oversized fields",
    ),
    word(
        Topic::NotKept,
        "deception",
        "the Content-Type is not what the extension in the URL promises: `/account/x.css` may be \
         `/account`",
        "`deception_guard` of `[[site]]`",
        "have the origin answer unknown paths with 404, and with the right Content-Type; \
         `deception_guard = false` if it is meant so",
    ),
    word(
        Topic::NotKept,
        "scheme-redirect",
        "a redirect to the same URL with another scheme, which the key does not tell apart: kept, it \
         would lead in circles",
        "`scheme` of `[site.key]`",
        "let the edge redirect (`redirect_to_https`), or set `scheme = true`",
    ),
    word(
        Topic::NotKept,
        "partial-unclear",
        "a part of something, and nobody can tell which part",
        "RFC 9111, section 3.3",
        "have the origin send a good Content-Range",
    ),
    word(
        Topic::NotKept,
        "signed",
        "the request is signed in a spelling of the URL that is not the key's",
        "RFC 9111, section 3.5",
        "sign the spelling that the key has, or leave the signature to the edge's own network",
    ),
    word(
        Topic::NotKept,
        "too-large",
        "more than one object may take (a quarter of the memory, half of a disk tier), or more than there \
         is room for at the moment",
        "`cache.memory.size`, `[cache.disk]`",
        "give the cache a disk tier, or more memory",
    ),
    word(
        Topic::NotKept,
        "too-many-tags",
        "it has more tags than it could be purged by",
        "`Surrogate-Key`, `Cache-Tag`",
        "have the origin send fewer or shorter tags",
    ),
];
