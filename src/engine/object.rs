//! A stored response, ready to be sent, and all those that are kept for one key.

use super::body::{Body, Chunks, Hold};
use crate::outcome::Tier;
use crate::rules::cache_status::{self, CACHE_STATUS};
use crate::rules::forwarding;
use crate::rules::packed::PackedTerms;
use crate::rules::storing::{Refusal, Terms};
use crate::rules::tags::{self, TooMany};
use crate::rules::vary::Variant;
use crate::store::disk::Receipt;
use crate::store::memory::Weighed;
use crate::wire::fields::{Composer, Fields};
use crate::wire::names;
use crate::wire::response::ResponseHead;
use bytes::Bytes;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// Objects kept for one key, for different request fields.
const VARIANTS_MAX: usize = 64;
/// Allocations and counters of an object.
const OBJECT_BYTES: usize = size_of::<Object>() + size_of::<Head>() + 96;

/// The head of a response as this server sends it on, less what each answer says anew: length,
/// part, Age, Cache-Status.
#[derive(Clone, Debug)]
pub struct Head {
    /// The final status.
    pub status: u16,
    /// The field lines; `bytes` has the status line, too.
    pub fields: Fields,
    /// What the request said where it matters.
    pub variant: Variant,
    /// What the site adds to the key from the request.
    pub additions: Box<[u8]>,
    /// `terms` and `extras` read them.
    terms: Result<PackedTerms, Refusal>,
    extras: Option<Box<Extras>>,
}

/// What few heads have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extras {
    /// Names that it can be purged by, each ended by a line feed.
    pub tags: Bytes,
    /// What caches that ask here are told besides the tags: the origin's Surrogate-Control, each line
    /// with its end. And the names in its own words where they are too many, so that nobody keeps
    /// it without.
    pub for_caches: Bytes,
    /// What caches behind this one have told in Cache-Status.
    pub told_before: Bytes,
    /// When a purge made it stale: for people, and not known any more after a time on the disk.
    pub made_stale: Option<SystemTime>,
}

static NO_EXTRAS: Extras = Extras {
    tags: Bytes::new(),
    for_caches: Bytes::new(),
    told_before: Bytes::new(),
    made_stale: None,
};

/// A stored response.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its head.
    pub head: Arc<Head>,
    /// Its content, or the parts of it that have come.
    pub body: Body,
    /// The number of the moment in which the origin was asked for it.
    pub asked: u64,
}

/// Everything that is kept for one key, newest first. What is changed is another one.
#[derive(Debug, Default)]
pub(super) struct Variants {
    /// Never empty in the store.
    pub objects: SmallVec<[Arc<Object>; 1]>,
    /// Where it was written, if anybody has asked.
    pub receipt: OnceLock<Receipt>,
    /// Compared with all purges up to this number.
    pub compared: AtomicU64,
}

/// What a new head is made of.
pub struct HeadParts<'a> {
    /// The origin's head.
    pub response: &'a ResponseHead,
    /// Of the request that it answers.
    pub request: &'a Fields,
    /// What the site adds to the key.
    pub additions: &'a [u8],
    /// The verdict on it.
    pub terms: Result<Terms, Refusal>,
    /// Names that are not kept, in lower case.
    pub withheld: &'a [Cow<'static, str>],
    /// When it came.
    pub now: SystemTime,
}

/// What a head is that was stored.
pub(super) struct StoredHead {
    pub(super) status: u16,
    pub(super) bytes: Bytes,
    pub(super) variant: Variant,
    pub(super) additions: Box<[u8]>,
    pub(super) terms: Terms,
    pub(super) extras: Extras,
}

impl Head {
    /// The head of an answer as it came, and the lines that only the first client gets.
    pub fn new(parts: &HeadParts<'_>) -> (Self, Bytes) {
        let response = parts.response;
        let is_kept = parts.terms.is_ok();
        let is_part = response.status == 206;
        // A part is kept as a part of the whole.
        let mut composer = if is_part && is_kept {
            Composer::new(b"HTTP/1.1 200 OK")
        } else {
            Composer::new(&start_line(response))
        };
        let tags = tags::of(&response.fields);
        let (mut once, mut for_caches) = (Vec::new(), Vec::new());
        for (name, value) in response.fields.iter() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let is_told_anew =
                is_kept && is("age") || is_part && is("content-range") || is(CACHE_STATUS);
            if is_told_anew || !forwarding::goes_on(name, &response.fields) {
                continue;
            }
            if names::is_for_caches(name) {
                if tags.is_err() || is("surrogate-control") {
                    put_line(&mut for_caches, name, value);
                }
                continue;
            }
            let is_withheld = || {
                names::is_of_one_request(name) || parts.withheld.iter().any(|withheld| is(withheld))
            };
            if is_kept && is_withheld() {
                put_line(&mut once, name, value);
            } else {
                composer.add(name, value);
            }
        }
        // Who demands an upgrade says to what (RFC 9110, section 15.5.22).
        for protocol in response.fields.all("upgrade").filter(|_| response.status == 426) {
            composer.add("Upgrade", protocol);
        }
        if response.fields.first("date").is_none() {
            // RFC 9110, section 6.6.1.
            composer.add("Date", httpdate::fmt_http_date(parts.now).as_bytes());
        }
        composer.add("Via", response.via().as_bytes());
        let head = Self {
            status: if is_part && is_kept { 200 } else { response.status },
            fields: composer.finish(),
            variant: Variant::new(&response.fields, parts.request),
            additions: parts.additions.into(),
            terms: parts.terms.map(PackedTerms::from),
            extras: Extras {
                // With too many it is not kept.
                tags: tags.unwrap_or_default(),
                for_caches: for_caches.into(),
                told_before: cache_status::told_before(&response.fields),
                made_stale: None,
            }
            .kept(),
        };
        (head, once.into())
    }

    /// This head with the fields of a newer one in the place of its own (RFC 9111, section 3.2);
    /// both have gone through `new`. Fields about the stored bytes stay with them, and a Vary that
    /// the newer one leaves out goes on to count. The terms are the newer one's.
    #[must_use]
    pub fn updated(&self, newer: &Self, request: &Fields) -> Self {
        let line_end = memchr::memchr(b'\r', self.bytes()).unwrap_or(0);
        let mut composer = Composer::new(&self.bytes()[..line_end]);
        let is_about_bytes = |name: &str| {
            ["content-encoding", "content-range"].iter().any(|kept| name.eq_ignore_ascii_case(kept))
        };
        for (name, value) in self.fields.iter() {
            if newer.fields.first(name).is_none() || is_about_bytes(name) {
                composer.add(name, value);
            }
        }
        for (name, value) in newer.fields.iter().filter(|(name, _)| !is_about_bytes(name)) {
            composer.add(name, value);
        }
        let fields = composer.finish();
        let variant = Variant::new(&fields, request);
        let additions = newer.additions.clone();
        let (own, newer_extras) = (self.extras(), newer.extras());
        let of_both = if newer_extras.for_caches.is_empty() { own } else { newer_extras };
        let for_caches = of_both.for_caches.clone();
        let extras = Extras { for_caches, made_stale: None, ..newer_extras.clone() }.kept();
        let (status, terms) = (self.status, newer.terms);
        Self { status, fields, variant, additions, terms, extras }.with_tags_of(self)
    }

    /// The same, also to be purged by the names of another one, whose content goes on in this; not
    /// to be kept if that is too many.
    #[must_use]
    pub(super) fn with_tags_of(self, other: &Self) -> Self {
        match tags::united(&self.extras().tags, &other.extras().tags) {
            Ok(tags) => Self { extras: Extras { tags, ..self.extras().clone() }.kept(), ..self },
            Err(TooMany) => Self { terms: Err(Refusal::Tags), ..self },
        }
    }

    /// A head that was stored; `None` if its bytes are no head.
    pub(super) fn stored(stored: StoredHead) -> Option<Self> {
        let StoredHead { status, bytes, variant, additions, terms, extras } = stored;
        let (fields, terms) = (Fields::of_lines(&bytes)?, Ok(terms.into()));
        let extras = extras.kept();
        Some(Self { status, fields, variant, additions, terms, extras })
    }

    /// The same, stale since that moment if it was not before.
    #[must_use]
    pub(super) fn stale_since(&self, since: SystemTime) -> Self {
        let terms = self.terms().map(|terms| terms.ended_at(since));
        let extras = Extras { made_stale: Some(since), ..self.extras().clone() }.kept();
        Self { extras, ..self.clone() }.on_terms(terms)
    }

    /// The same on other terms.
    #[must_use]
    pub(super) fn on_terms(self, terms: Result<Terms, Refusal>) -> Self {
        Self { terms: terms.map(PackedTerms::from), ..self }
    }

    /// How it may be used, or why it is not kept.
    pub fn terms(&self) -> Result<Terms, Refusal> {
        self.terms.map(Terms::from)
    }

    /// What few heads have.
    pub fn extras(&self) -> &Extras {
        self.extras.as_deref().unwrap_or(&NO_EXTRAS)
    }

    /// Status line and field lines, each with its end.
    pub fn bytes(&self) -> &Bytes {
        self.fields.bytes()
    }

    /// The field lines alone.
    pub fn field_lines(&self) -> &[u8] {
        let line_end = memchr::memchr(b'\n', self.bytes()).map_or(0, |at| at + 1);
        &self.bytes()[line_end..]
    }

    /// With what only caches are told of how it may be kept.
    pub fn fields_for_caches(&self) -> Cow<'_, Fields> {
        let for_caches = &self.extras().for_caches;
        if for_caches.is_empty() {
            return Cow::Borrowed(&self.fields);
        }
        let lines = Bytes::from([&self.bytes()[..], for_caches].concat());
        Fields::of_lines(&lines).map_or(Cow::Borrowed(&self.fields), Cow::Owned)
    }

    /// How it may be used; never kept without.
    pub fn kept_terms(&self) -> Option<Terms> {
        self.terms().ok()
    }

    /// Whether it answers a request with these fields and these additions to the key.
    pub fn answers(&self, request: &Fields, additions: &[u8]) -> bool {
        *self.additions == *additions
            && self.variant.matches(request, self.fields.first("content-language"))
    }
}

impl Extras {
    fn kept(self) -> Option<Box<Self>> {
        (self != NO_EXTRAS).then(|| Box::new(self))
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.tags.len() + self.for_caches.len() + self.told_before.len()
    }
}

fn put_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
}

fn start_line(response: &ResponseHead) -> Vec<u8> {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    let status = response.status;
    let digits = [digit(status / 100), digit(status / 10), digit(status)];
    [b"HTTP/1.1 ", &digits[..], b" ", response.reason()].concat()
}

impl Object {
    /// Its content lies on the disk in chunks, any of which may be missing.
    pub fn is_in_chunks(&self) -> bool {
        self.body.chunks().is_some()
    }

    /// Where its content is.
    pub fn tier(&self) -> Tier {
        if self.body.is_in_memory() { Tier::Memory } else { Tier::Disk }
    }

    /// What it takes, wherever its content lies.
    pub(super) fn stored_bytes(&self) -> u64 {
        (self.weight() - self.body.weight()) as u64 + self.body.total()
    }

    pub(super) fn weight(&self) -> usize {
        let head = &self.head;
        let known = head.fields.weight() + head.variant.weight() + head.additions.len();
        let extras = head.extras.as_ref().map_or(0, |extras| extras.weight());
        OBJECT_BYTES + known + extras + self.body.weight()
    }
}

impl Variants {
    pub(super) fn of(objects: impl IntoIterator<Item = Arc<Object>>) -> Self {
        let mut objects: SmallVec<[Arc<Object>; 1]> = objects.into_iter().collect();
        objects.shrink_to_fit();
        let asked = objects.iter().map(|object| object.asked).min().unwrap_or(0);
        Self { objects, receipt: OnceLock::new(), compared: AtomicU64::new(asked) }
    }

    /// The same, compared with all purges up to this number.
    pub(super) fn compared_up_to(self, number: u64) -> Self {
        self.compared.fetch_max(number, Ordering::Relaxed);
        self
    }

    /// Whether the content of an object lies among the chunks of one of these.
    pub(super) fn has_chunks_of(&self, new: &Object) -> bool {
        let generation = |object: &Object| object.body.chunks().map(Chunks::generation);
        let wanted = generation(new);
        wanted.is_some() && self.objects.iter().any(|object| generation(object) == wanted)
    }

    /// The object for a request: of those that answer it, the newest. Where some answers have a
    /// Vary and others do not, those without are taken for mistakes (RFC 9111, section 4.1).
    pub(super) fn select(&self, request: &Fields, additions: &[u8]) -> Option<&Arc<Object>> {
        if let [only] = &self.objects[..] {
            return Some(only).filter(|only| only.head.answers(request, additions));
        }
        let has_variants = self
            .objects
            .iter()
            .any(|object| *object.head.additions == *additions && !object.head.variant.is_empty());
        self.objects.iter().find(|object| {
            let head = &object.head;
            !(has_variants && head.variant.is_empty()) && head.answers(request, additions)
        })
    }

    /// With this object in the place of those that answer the same requests, and the ones that had
    /// to go. Together they weigh no more than one object may, so that one key with many variants
    /// does not drive out all others.
    #[must_use]
    pub(super) fn with(&self, new: Arc<Object>, bytes_max: u64) -> (Self, Vec<Arc<Object>>) {
        let mut bytes = new.weight() as u64;
        let mut objects = vec![new.clone()];
        let mut gone = Vec::new();
        for old in self.objects.iter().cloned() {
            bytes += old.weight() as u64;
            let has_room = objects.len() < VARIANTS_MAX && bytes <= bytes_max;
            if has_room && !old.is_replaced_by(&new) { &mut objects } else { &mut gone }.push(old);
        }
        (Self::of(objects), gone)
    }

    /// Without this object; `None` when nothing is left.
    pub(super) fn without(&self, old: &Arc<Object>) -> Option<Self> {
        let others = self.objects.iter().filter(|object| !object.is(old));
        let objects: Vec<_> = others.cloned().collect();
        (!objects.is_empty()).then(|| Self::of(objects))
    }
}

impl Object {
    /// Whether it is the same object, perhaps read from the disk another time.
    pub(super) fn is(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        Arc::ptr_eq(self, other)
            || self.asked != 0 && self.asked == other.asked && self.is_replaced_by(other)
    }

    /// Whether the origin was asked for it later than for another in its place.
    pub(super) fn is_newer_than(&self, other: &Self) -> bool {
        self.asked > other.asked && self.is_replaced_by(other)
    }

    /// A hold on its content, if that is large and others are at it.
    pub(super) fn hold(self: &Arc<Self>) -> Option<Hold> {
        self.body.hold(Arc::strong_count(self) > 1)
    }

    fn is_replaced_by(&self, new: &Self) -> bool {
        self.head.variant == new.head.variant && self.head.additions == new.head.additions
    }
}

impl Weighed for Variants {
    fn weight(&self) -> usize {
        self.objects.iter().map(|object| size_of::<Arc<Object>>() + object.weight()).sum()
    }

    fn is_being_read(&self) -> bool {
        self.objects.iter().any(|object| object.hold().is_some())
    }
}
