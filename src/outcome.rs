//! What became of a request: one closed vocabulary for the access log, metrics and Cache-Status. What each word
//! means is in `glossary`.

pub mod glossary;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A stored answer that may be used now.
    Hit,
    /// A stored answer past its time that may still be used.
    Stale(Staleness),
    /// Fetched from the origin, alone or together with others.
    Miss(Forward),
    /// A stored answer that the origin has just confirmed, and why it was asked.
    Revalidated(Forward),
    /// Carried to the origin and back: not an answer to keep.
    Pass(Forward),
    /// Answered here without an origin, as the protocol demands, or after a purge.
    Edge,
    /// No good answer; why, in one word.
    Error(&'static str),
}

/// Why a request went to the origin (the `fwd` of RFC 9211, section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Nothing is stored for the URL.
    UriMiss,
    /// Something is, for other request fields.
    VaryMiss,
    /// Other parts of it are.
    Partial,
    /// What is stored is too old.
    Stale,
    /// The client asked for it.
    Request,
    /// This is not to be stored: a rule, or an earlier answer, says so.
    Bypass,
    /// The method cannot be answered from a cache.
    Method,
}

/// Why a stored answer may be used past its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// It is being refreshed (RFC 5861, section 3).
    WhileRevalidate,
    /// The origin is in trouble (RFC 5861, section 4).
    IfError,
    /// The client asked for it with `max-stale`.
    MaxStale,
}

/// Where what is stored was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// In memory.
    Memory,
    /// On the disk.
    Disk,
}

impl Tier {
    /// In the order of the variants.
    pub const LABELS: [&str; 2] = ["memory", "disk"];

    /// What metrics and logs call it.
    pub fn label(self) -> &'static str {
        Self::LABELS[self as usize]
    }
}

impl Outcome {
    /// Every label, in the order of `index`.
    pub const LABELS: [&str; 7] = ["hit", "stale", "miss", "revalidated", "pass", "edge", "error"];

    /// The position of the kind in `LABELS`.
    pub fn index(self) -> usize {
        match self {
            Self::Hit => 0,
            Self::Stale(_) => 1,
            Self::Miss(_) => 2,
            Self::Revalidated(_) => 3,
            Self::Pass(_) => 4,
            Self::Edge => 5,
            Self::Error(_) => 6,
        }
    }

    /// The kind.
    pub fn label(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Why, in one word.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Stale(staleness) => Some(staleness.label()),
            Self::Miss(forward) | Self::Revalidated(forward) | Self::Pass(forward) => {
                Some(forward.label())
            }
            Self::Error(reason) => Some(reason),
            Self::Hit | Self::Edge => None,
        }
    }
}

impl Forward {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::UriMiss,
        Self::VaryMiss,
        Self::Partial,
        Self::Stale,
        Self::Request,
        Self::Bypass,
        Self::Method,
    ];

    /// As RFC 9211 spells it.
    pub fn label(self) -> &'static str {
        match self {
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Partial => "partial",
            Self::Stale => "stale",
            Self::Request => "request",
            Self::Bypass => "bypass",
            Self::Method => "method",
        }
    }
}

impl Staleness {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::WhileRevalidate, Self::IfError, Self::MaxStale];

    /// Named after the directive that allows it.
    pub fn label(self) -> &'static str {
        match self {
            Self::WhileRevalidate => "stale-while-revalidate",
            Self::IfError => "stale-if-error",
            Self::MaxStale => "max-stale",
        }
    }
}
