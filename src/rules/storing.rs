//! Whether an answer may be kept, and on which terms it may be used (RFC 9111, section 3).

use super::cache_control::{Directives, delta_seconds};
use super::{date, tags};
use crate::wire::fields::Fields;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::{Duration, SystemTime};

/// What matters here of the request that provoked an answer.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Path and query.
    pub target: &'a str,
    /// `host[:port]`.
    pub host: &'a str,
    /// It carries credentials.
    pub has_authorization: bool,
    /// It says `no-store`.
    pub forbids_storing: bool,
    /// The origin was asked in another spelling than the key's.
    pub is_spelled_otherwise: bool,
    /// Its head is unlikely to be the reason of an error.
    pub is_ordinary: bool,
}

/// What the operator says about answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Instead of whatever time the origin gives.
    pub ttl: Option<Duration>,
    /// Where the origin gives none.
    pub default_ttl: Option<Duration>,
    /// The same for answers that say that there is nothing.
    pub negative_ttl: Option<Duration>,
    /// Instead of the origin's `stale-while-revalidate`.
    pub while_revalidate: Option<Duration>,
    /// Instead of the origin's `stale-if-error`.
    pub if_error: Option<Duration>,
    /// Guess a time from Last-Modified.
    pub heuristics: bool,
    /// Keep an answer with Set-Cookie, without that field, as soon as it has an explicit time.
    pub strips_set_cookie: bool,
    /// Keep nothing whose Content-Type is not what the path's extension promises.
    pub guards_deception: bool,
    /// The key tells `http` from `https`.
    pub keys_scheme: bool,
}

/// Who says how long an answer is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// `ttl` of a rule.
    Ttl,
    /// `s-maxage`
    SMaxage,
    /// `max-age`
    MaxAge,
    /// `Expires`
    Expires,
    /// `default_ttl` of a rule.
    DefaultTtl,
    /// `negative_ttl` of a rule.
    NegativeTtl,
    /// A tenth of the time since Last-Modified.
    Guess,
    /// Nobody, but it can be confirmed.
    Nobody,
}

/// How a stored answer may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// When its age was 0.
    pub born: SystemTime,
    /// How old it may be without asking the origin.
    pub lifetime: Duration,
    /// Not once without asking (`no-cache`).
    pub must_validate: bool,
    /// Never past its time.
    pub forbids_stale: bool,
    /// How long past its time it may be used while it is being refreshed.
    pub while_revalidate: Duration,
    /// The same while the origin is in trouble; `None` where nobody said anything.
    pub if_error: Option<Duration>,
}

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The response says so.
    NoStore,
    /// It is for one user.
    Private,
    /// The request had credentials, and the response does not say that others may see it.
    Authorization,
    /// It sets a cookie.
    SetCookie,
    /// It depends on things that are not in a request.
    VaryAny,
    /// Its status is not one to keep, or not understood.
    Status,
    /// It has neither a time nor anything to ask again with.
    NoFreshness,
    /// The request says so.
    RequestNoStore,
    /// An error that the request's own head may have provoked.
    ProvokedError,
    /// It is not what its URL pretends to be.
    Deception,
    /// A redirect to the same URL with another scheme, which the key does not tell apart.
    SchemeRedirect,
    /// A part of something, and which part cannot be told.
    PartialUnclear,
    /// The request is signed in a spelling that is not the key's.
    Signed,
    /// More than a share of the cache.
    TooLarge,
    /// More names than can be remembered: it could not be purged by all of them.
    Tags,
    /// It goes on for as long as somebody listens.
    EventStream,
}

impl Refusal {
    /// All of them, in the order of the variants.
    pub const ALL: [Self; 16] = [
        Self::NoStore,
        Self::Private,
        Self::Authorization,
        Self::SetCookie,
        Self::VaryAny,
        Self::Status,
        Self::NoFreshness,
        Self::RequestNoStore,
        Self::ProvokedError,
        Self::Deception,
        Self::SchemeRedirect,
        Self::PartialUnclear,
        Self::Signed,
        Self::TooLarge,
        Self::Tags,
        Self::EventStream,
    ];

    /// It says something about who asked and how, and nothing about what is stored already.
    pub fn is_about_request(self) -> bool {
        matches!(
            self,
            Self::Authorization | Self::RequestNoStore | Self::ProvokedError | Self::Signed
        )
    }

    /// One word for Cache-Status and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary-any",
            Self::Status => "status",
            Self::NoFreshness => "no-freshness",
            Self::RequestNoStore => "request-no-store",
            Self::ProvokedError => "provoked-error",
            Self::Deception => "deception",
            Self::SchemeRedirect => "scheme-redirect",
            Self::PartialUnclear => "partial-unclear",
            Self::Signed => "signed",
            Self::TooLarge => "too-large",
            Self::Tags => "too-many-tags",
            Self::EventStream => "event-stream",
        }
    }
}

/// When an answer came.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// When its head did.
    pub now: SystemTime,
    /// How long after it was asked for.
    pub delay: Duration,
    /// Its Age (`age_said`).
    pub age: Duration,
}

/// What a response says about its age. An Age that cannot be read is ignored; of several, the first
/// counts (RFC 9111, section 5.1).
pub fn age_said(fields: &Fields) -> Duration {
    let said = fields.tokens("age").next().and_then(delta_seconds);
    Duration::from_secs(said.unwrap_or(0))
}

/// Judges an answer.
pub fn judge(
    asked: &Asked<'_>,
    status: u16,
    fields: &Fields,
    policy: &Policy,
    received: Received,
) -> Result<Terms, Refusal> {
    judge_by(&Directives::of_response(fields), asked, status, fields, policy, received)
}

/// The same by the directives of these fields.
pub fn judge_by(
    directives: &Directives,
    asked: &Asked<'_>,
    status: u16,
    fields: &Fields,
    policy: &Policy,
    received: Received,
) -> Result<Terms, Refusal> {
    may_be_stored(asked, status, fields, directives, policy)?;
    let (lifetime, _) = lifetime(status, fields, directives, policy, received.now)?;
    // An operator's time stands in for the origin's, and for what the origin's implied.
    let insists = directives.insists_on_validation();
    // `s-maxage` implies proxy-revalidate (section 5.2.2.10).
    let forbids_stale = insists || directives.s_maxage.is_some() && policy.ttl.is_none();
    let said = |seconds: Option<u64>| seconds.filter(|_| !forbids_stale).map(Duration::from_secs);
    let ruled = |rule: Option<Duration>| rule.filter(|_| !insists);
    let while_revalidate =
        ruled(policy.while_revalidate).or(said(directives.stale_while_revalidate));
    Ok(Terms {
        born: born(fields, received),
        lifetime,
        must_validate: directives.no_cache,
        forbids_stale,
        while_revalidate: while_revalidate.unwrap_or_default(),
        if_error: ruled(policy.if_error).or(said(directives.stale_if_error)),
    })
}

/// How long an answer is good that may be stored, and who says so.
pub fn clock(
    status: u16,
    fields: &Fields,
    policy: &Policy,
    now: SystemTime,
) -> Option<(Duration, Clock)> {
    lifetime(status, fields, &Directives::of_response(fields), policy, now).ok()
}

/// Names of the fields that are never kept, in lower case, besides those of one connection.
pub fn withheld(fields: &Fields) -> Vec<Cow<'static, str>> {
    withheld_by(Directives::of_response(fields))
}

/// The same by their directives.
pub fn withheld_by(directives: Directives) -> Vec<Cow<'static, str>> {
    let named = directives.withheld_fields.into_iter().map(Cow::Owned);
    std::iter::once(Cow::Borrowed("set-cookie")).chain(named).collect()
}

fn may_be_stored(
    asked: &Asked<'_>,
    status: u16,
    fields: &Fields,
    directives: &Directives,
    policy: &Policy,
) -> Result<(), Refusal> {
    if asked.forbids_storing {
        return Err(Refusal::RequestNoStore);
    }
    if asked.is_spelled_otherwise {
        return Err(Refusal::Signed);
    }
    // Loop Detected is about the way that the request came, which its sender may have made up.
    if status == 508 {
        return Err(Refusal::ProvokedError);
    }
    // The last two are about a condition or a range, which no key knows.
    if status < 200 || matches!(status, 304 | 412 | 416) {
        return Err(Refusal::Status);
    }
    // `must-understand` outranks `no-store` where the status is understood (section 5.2.2.3).
    if directives.must_understand {
        if !is_understood(status) {
            return Err(Refusal::Status);
        }
    } else if directives.no_store {
        return Err(Refusal::NoStore);
    }
    if directives.private {
        return Err(Refusal::Private);
    }
    let is_for_all = directives.public || directives.s_maxage.is_some();
    if asked.has_authorization && !(is_for_all || directives.must_revalidate) {
        return Err(Refusal::Authorization);
    }
    let may_strip = policy.strips_set_cookie && directives.max_age.is_some();
    if fields.first("set-cookie").is_some() && !is_for_all && !may_strip {
        return Err(Refusal::SetCookie);
    }
    // Each listener has one of its own, from where it begins to listen.
    if status == 200 && is_event_stream(fields) {
        return Err(Refusal::EventStream);
    }
    if fields.tokens("vary").any(|name| cannot_be_compared(name, policy)) {
        return Err(Refusal::VaryAny);
    }
    if status >= 400 && !asked.is_ordinary {
        return Err(Refusal::ProvokedError);
    }
    if !policy.keys_scheme && (300..400).contains(&status) && changes_scheme_only(asked, fields) {
        return Err(Refusal::SchemeRedirect);
    }
    if policy.guards_deception && status < 300 && deceives(asked.target, fields) {
        return Err(Refusal::Deception);
    }
    tags::of(fields).map(drop).map_err(|tags::TooMany| Refusal::Tags)
}

fn is_event_stream(fields: &Fields) -> bool {
    const NAME: &[u8] = b"text/event-stream";
    fields.first("content-type").is_some_and(|value| {
        let (name, rest) = value.split_at(NAME.len().min(value.len()));
        name.eq_ignore_ascii_case(NAME) && matches!(rest.first(), None | Some(b';' | b' ' | b'\t'))
    })
}

/// Fields that this server writes into each request are not in the client's to be compared.
fn cannot_be_compared(name: &[u8], policy: &Policy) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    is("*")
        || is("cdn-loop")
        || is("client-cert")
        || is("client-cert-chain")
        || is("forwarded")
        || is("via")
        || is("x-forwarded-for")
        || is("x-forwarded-proto") && !policy.keys_scheme
}

/// A redirect to the very URL that was asked for, which only another scheme can make another one.
/// Kept, it would lead those who follow it round in circles.
fn changes_scheme_only(asked: &Asked<'_>, fields: &Fields) -> bool {
    let location = fields.first("location").and_then(|value| std::str::from_utf8(value).ok());
    let url = location.and_then(|location| location.split_once("://")).map(|(_, rest)| rest);
    url.is_some_and(|url| {
        // Clients keep the fragment to themselves.
        let url = url.split('#').next().unwrap_or_default();
        let (host, target) = url.split_at(url.find(['/', '?']).unwrap_or(url.len()));
        let name = |host: &str| {
            let name = host.split(':').next().unwrap_or_default();
            name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
        };
        name(host) == name(asked.host)
            && (target == asked.target || asked.target.strip_prefix('/') == Some(target))
    })
}

/// Section 4.2.1, and what the operator says.
fn lifetime(
    status: u16,
    fields: &Fields,
    directives: &Directives,
    policy: &Policy,
    now: SystemTime,
) -> Result<(Duration, Clock), Refusal> {
    // The operator's times are about what is there; errors would outlive their reason.
    let says_something = matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308);
    if let Some(ttl) = policy.ttl.filter(|_| says_something) {
        return Ok((ttl, Clock::Ttl));
    }
    let date = || date::of_field(fields, "date", now).unwrap_or(now);
    let said = directives.s_maxage.map(|seconds| (seconds, Clock::SMaxage));
    if let Some((seconds, clock)) = said.or(directives.max_age.map(|age| (age, Clock::MaxAge))) {
        return Ok((Duration::from_secs(seconds), clock));
    }
    if !directives.is_targeted && fields.first("expires").is_some() {
        let expires = date::of_field(fields, "expires", now);
        // One that cannot be read has passed (section 5.3).
        let left = expires.map_or(0, |expires| date::seconds_between(date(), expires));
        let left = Duration::from_secs(left.try_into().unwrap_or(0)).min(LONGEST);
        return Ok((left, Clock::Expires));
    }
    let by_rule = match status {
        404 | 405 | 410 | 414 | 501 => policy.negative_ttl.map(|ttl| (ttl, Clock::NegativeTtl)),
        _ if says_something => policy.default_ttl.map(|ttl| (ttl, Clock::DefaultTtl)),
        _ => None,
    };
    let can_be_guessed = is_heuristic(status) || directives.public;
    if let Some(ruled) = by_rule.filter(|_| !directives.no_cache) {
        return Ok(ruled);
    }
    let modified = date::of_field(fields, "last-modified", now);
    let guess = modified.filter(|_| policy.heuristics && can_be_guessed).map(|modified| {
        let unchanged_for = date::seconds_between(modified, date()).max(0);
        Duration::from_secs((unchanged_for / 10).unsigned_abs()).min(GUESS_MAX)
    });
    let can_be_asked_again =
        fields.first("etag").is_some() || modified.is_some() || directives.no_cache;
    match guess {
        Some(guess) => Ok((guess, Clock::Guess)),
        None if can_be_asked_again && can_be_guessed => Ok((Duration::ZERO, Clock::Nobody)),
        None => Err(Refusal::NoFreshness),
    }
}

/// No time of terms is longer: 544 years.
pub const LONGEST: Duration = Duration::from_secs((1 << 34) - 1);

/// The most that is guessed from Last-Modified (section 4.2.2).
const GUESS_MAX: Duration = Duration::from_secs(86400);

/// Section 4.2.3.
fn born(fields: &Fields, received: Received) -> SystemTime {
    let Received { now, delay, age } = received;
    let apparent = date::of_field(fields, "date", now)
        .map_or(0, |date| date::seconds_between(date, now).max(0).unsigned_abs());
    let age = age.saturating_add(delay).max(Duration::from_secs(apparent));
    now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn is_understood(status: u16) -> bool {
    is_heuristic(status) || matches!(status, 302 | 303 | 307)
}

/// Heuristically cacheable (RFC 9110, section 15.1).
fn is_heuristic(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Extensions that promise a static file, and how its Content-Type begins. An origin that ignores
/// what follows a path would let `/account/x.css` be kept for everybody (web cache deception).
const PROMISES: &[(&[&str], &[&str])] = &[
    (&["css"], &["text/css"]),
    (&["js", "mjs"], &["text/javascript", "application/javascript", "application/x-javascript"]),
    (&["json", "map"], &["application/", "text/json"]),
    (&["png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "bmp", "svg"], &["image/"]),
    (
        &["woff", "woff2", "ttf", "otf", "eot"],
        &["font/", "application/font", "application/x-font", "application/vnd.ms-fontobject"],
    ),
    (&["mp4", "webm", "mov", "m4v"], &["video/"]),
    (&["mp3", "ogg", "wav", "m4a", "flac"], &["audio/", "application/ogg", "video/ogg"]),
    (&["pdf"], &["application/pdf"]),
    (&["zip", "gz", "tar", "tgz", "rar", "7z"], &["application/"]),
    (&["txt"], &["text/plain"]),
    (&["xml", "rss", "atom"], &["application/", "text/xml"]),
    (&["csv"], &["text/csv", "application/csv"]),
    (&["wasm"], &["application/wasm"]),
];

fn deceives(target: &str, fields: &Fields) -> bool {
    let path = target.split('?').next().unwrap_or_default();
    // An escaped dot is a dot to the origin; keys spell it in one way.
    let file = path.rsplit('/').next().unwrap_or_default().replace("%2E", ".");
    let Some((_, extension)) = file.rsplit_once('.') else { return false };
    let is_it = |known: &&str| extension.eq_ignore_ascii_case(known);
    let Some((_, types)) = PROMISES.iter().find(|(known, _)| known.iter().any(is_it)) else {
        return false;
    };
    let told = fields.first("content-type").unwrap_or_default().to_ascii_lowercase();
    // A generic type promises nothing and shows nothing.
    !(types.iter().any(|known| told.starts_with(known.as_bytes()))
        || told.starts_with(b"application/octet-stream"))
}
