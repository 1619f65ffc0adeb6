//! What is measured: each row of the goals, with who takes part and what is wanted of Brim.

use crate::contestants::Who;
use Who::{Bare, Brim, BrimWithDisk, HaProxy, Nginx, NginxSendfile, TrafficServer, Varnish};

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

/// Everybody who can answer HTTP/1.1 without TLS, and their practical limit.
const ALL: &[Who] = &[Brim, Nginx, NginxSendfile, HaProxy, Varnish, TrafficServer, Bare];
const ALL_BUT_BARE: &[Who] = &[Brim, Nginx, NginxSendfile, HaProxy, Varnish, TrafficServer];
/// Varnish has no TLS.
const WITH_TLS: &[Who] = &[Brim, Nginx, NginxSendfile, HaProxy, TrafficServer];
/// Those whose objects are on a disk, whatever is in memory.
const WITH_FILES: &[Who] = &[BrimWithDisk, Nginx, NginxSendfile];
/// How the contents leave makes no difference to a miss of 1 KiB.
const STORING: &[Who] = &[Brim, BrimWithDisk, Nginx, HaProxy, Varnish, TrafficServer];

const BEST_PEER: Beside = Beside::BestOf(&[Nginx, NginxSendfile, HaProxy, Varnish, TrafficServer]);
const NGINX: Beside = Beside::BestOf(&[Nginx, NginxSendfile]);

pub(crate) struct Row {
    /// As `--rows` takes it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Of each object, in bytes.
    pub(crate) size: usize,
    pub(crate) wanted: Wanted,
    pub(crate) way: Way,
    pub(crate) connections: usize,
    pub(crate) found: Found,
    pub(crate) contestants: &'static [Who],
    pub(crate) goals: &'static [Goal],
}

/// Which objects are asked for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wanted {
    One,
    /// One of so many, the n-th most popular n^-exponent times as often as the first.
    Zipf {
        objects: u64,
        exponent: f64,
    },
}

impl Wanted {
    pub(crate) fn objects(self) -> u64 {
        match self {
            Self::One => 1,
            Self::Zipf { objects, .. } => objects,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Plain,
    Tls,
    /// Over TLS, with so many requests at one time on each connection.
    Http2 {
        streams: usize,
    },
}

/// Where answers come from.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Found {
    InMemory,
    /// Brim's memory tier is too small for what is asked for.
    OnDisk,
    /// Nobody asked for it before: from the origin, and they are stored.
    AtTheOrigin,
}

#[derive(Clone, Copy)]
pub(crate) struct Goal {
    pub(crate) limit: f64,
    pub(crate) beside: Beside,
}

#[derive(Clone, Copy)]
pub(crate) enum Beside {
    /// Answers per second, at least `limit` times those of the fastest of these.
    BestOf(&'static [Who]),
    /// The time within which 99 of 100 answers came, at most `limit` times the shortest of these.
    LatencyOf(&'static [Who]),
}

const fn at_least(limit: f64, beside: Beside) -> Goal {
    Goal { limit, beside }
}

const SMALL: &[Goal] = &[at_least(1.25, BEST_PEER), at_least(0.85, Beside::BestOf(&[Bare]))];
const CROWDED: &[Goal] = &[
    at_least(1.25, BEST_PEER),
    Goal {
        limit: 1.0,
        beside: Beside::LatencyOf(&[Nginx, NginxSendfile, HaProxy, Varnish, TrafficServer]),
    },
];
const LEVEL: &[Goal] = &[at_least(1.0, BEST_PEER)];

/// Hits on one object out of memory, HTTP/1.1, 64 connections; the others differ from it.
const HIT: Row = Row {
    name: "",
    title: "",
    size: KIB,
    wanted: Wanted::One,
    way: Way::Plain,
    connections: 64,
    found: Found::InMemory,
    contestants: ALL,
    goals: SMALL,
};
const CROWDED_HIT: Row = Row { connections: 1000, goals: CROWDED, ..HIT };
const LARGE_HIT: Row = Row { contestants: ALL_BUT_BARE, goals: LEVEL, ..HIT };
const TLS_HIT: Row = Row { way: Way::Tls, contestants: WITH_TLS, ..LARGE_HIT };
const DISK_HIT: Row =
    Row { found: Found::OnDisk, contestants: WITH_FILES, goals: &[at_least(1.0, NGINX)], ..HIT };
const SMALL_HTTP2: &[Goal] = &[at_least(1.2, NGINX)];
const LARGE_HTTP2: &[Goal] = &[at_least(1.0, NGINX)];

pub(crate) const ROWS: &[Row] = &[
    Row { name: "hit-1k", title: "hit, 1 KiB, 64 connections", ..HIT },
    Row { name: "hit-10k", title: "hit, 10 KiB, 64 connections", size: 10 * KIB, ..HIT },
    Row { name: "crowd-1k", title: "hit, 1 KiB, 1,000 connections", ..CROWDED_HIT },
    Row {
        name: "crowd-10k",
        title: "hit, 10 KiB, 1,000 connections",
        size: 10 * KIB,
        ..CROWDED_HIT
    },
    Row { name: "hit-100k", title: "hit, 100 KiB", size: 100 * KIB, ..LARGE_HIT },
    Row { name: "hit-1m", title: "hit, 1 MiB", size: MIB, ..LARGE_HIT },
    Row {
        name: "zipf-4k",
        title: "hit, 20,000 objects of 4 KiB, Zipf 0.9",
        size: 4 * KIB,
        wanted: Wanted::Zipf { objects: 20_000, exponent: 0.9 },
        goals: &[at_least(1.2, BEST_PEER)],
        ..LARGE_HIT
    },
    Row { name: "tls-1k", title: "hit over TLS, 1 KiB", ..TLS_HIT },
    Row {
        name: "tls-100k",
        title: "hit over TLS, 100 KiB",
        size: 100 * KIB,
        goals: LARGE_HTTP2,
        ..TLS_HIT
    },
    Row {
        name: "h2-1k",
        title: "hit over HTTP/2, 1 KiB, one stream each",
        way: Way::Http2 { streams: 1 },
        goals: SMALL_HTTP2,
        ..TLS_HIT
    },
    Row {
        name: "h2-1k-streams",
        title: "hit over HTTP/2, 1 KiB, 10 streams each",
        way: Way::Http2 { streams: 10 },
        goals: SMALL_HTTP2,
        ..TLS_HIT
    },
    Row {
        name: "h2-100k",
        title: "hit over HTTP/2, 100 KiB, one stream each",
        size: 100 * KIB,
        way: Way::Http2 { streams: 1 },
        goals: LARGE_HTTP2,
        ..TLS_HIT
    },
    Row {
        name: "disk-4k",
        title: "hit on the disk, 4 KiB",
        size: 4 * KIB,
        wanted: Wanted::Zipf { objects: 20_000, exponent: 0.0 },
        ..DISK_HIT
    },
    Row {
        name: "disk-1m",
        title: "hit on the disk, 1 MiB",
        size: MIB,
        wanted: Wanted::Zipf { objects: 500, exponent: 0.0 },
        ..DISK_HIT
    },
    Row {
        name: "miss-1k",
        title: "miss, 1 KiB, stored",
        found: Found::AtTheOrigin,
        contestants: STORING,
        goals: &[at_least(1.0, Beside::BestOf(&[Nginx, NginxSendfile, TrafficServer]))],
        ..HIT
    },
];
