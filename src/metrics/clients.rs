//! The series about clients: their connections, and what they are not given.

use super::{counters, registered};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Registry};

/// Why a connection gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There are as many as there may be.
    Full,
    /// There are as many of this client network as there may be.
    Client,
    /// It does not begin with a good PROXY header in time, and must.
    ProxyHeader,
    /// It comes from no trusted proxy, and nobody else may speak the PROXY protocol.
    NotTrusted,
}

/// Why a client was waited for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nothing was asked for too long.
    Idle,
    /// Nothing was asked for a while, and others needed the place.
    Crowded,
    /// A head did not arrive in time.
    HeaderTimeout,
    /// A body stopped, or came too slowly.
    BodyTimeout,
    /// An answer was not taken, or too slowly.
    WriteTimeout,
}

/// What a client network has too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests at one time.
    Requests,
    /// Requests a second.
    Rate,
}

impl Refused {
    /// In the order of the variants.
    const LABELS: [&str; 4] = ["full", "client", "proxy_header", "not_trusted"];
}

impl Closed {
    /// In the order of the variants.
    const LABELS: [&str; 5] =
        ["idle", "crowded", "header_timeout", "body_timeout", "write_timeout"];

    /// What an error of a request is here, if it is about a client that was too slow.
    pub(super) fn of_error(reason: &str) -> Option<Self> {
        match reason {
            "head_timeout" => Some(Self::HeaderTimeout),
            "body_timeout" => Some(Self::BodyTimeout),
            "client_stalled" => Some(Self::WriteTimeout),
            _ => None,
        }
    }
}

impl Limit {
    /// In the order of the variants.
    const LABELS: [&str; 2] = ["requests", "rate"];
}

/// Theirs.
#[derive(Clone)]
pub(super) struct ClientSeries {
    pub(super) connections: IntGauge,
    refused: [IntCounter; Refused::LABELS.len()],
    closed: [IntCounter; Closed::LABELS.len()],
    limited_by_site: IntCounterVec,
    /// By the site's position.
    limited: Vec<[IntCounter; Limit::LABELS.len()]>,
}

impl ClientSeries {
    pub(super) fn of(registry: &Registry, sites: &[String]) -> Self {
        let by_reason = |name, help| counters(registry, name, help, &["reason"]);
        let refused = by_reason(
            "brim_connections_refused_total",
            "Connections that were given no place, by why.",
        );
        let closed = by_reason(
            "brim_connections_closed_total",
            "Clients that were waited for long enough, by what for; a stream of HTTP/2 counts as one.",
        );
        let limited = counters(
            registry,
            "brim_limited_total",
            "Requests answered with 429, by site and by what their client network had too much of.",
            &["site", "limit"],
        );
        Self {
            connections: registered(
                registry,
                IntGauge::new("brim_connections", "Connections of clients that are open."),
            ),
            refused: with_reasons(&refused, Refused::LABELS),
            closed: with_reasons(&closed, Closed::LABELS),
            limited: limited_of(&limited, sites),
            limited_by_site: limited,
        }
    }

    /// The same in the view of another configuration.
    pub(super) fn of_other_sites(&self, sites: &[String]) -> Self {
        Self { limited: limited_of(&self.limited_by_site, sites), ..self.clone() }
    }

    pub(super) fn refused(&self, why: Refused) {
        self.refused[why as usize].inc();
    }

    pub(super) fn closed(&self, why: Closed) {
        self.closed[why as usize].inc();
    }

    pub(super) fn limited(&self, site: usize, limit: Limit) {
        self.limited.get(site).inspect(|by_limit| by_limit[limit as usize].inc());
    }
}

fn limited_of(limited: &IntCounterVec, sites: &[String]) -> Vec<[IntCounter; Limit::LABELS.len()]> {
    let of_site = |site: &String| {
        Limit::LABELS.map(|limit| limited.with_label_values(&[site.as_str(), limit]))
    };
    sites.iter().map(of_site).collect()
}

fn with_reasons<const COUNT: usize>(
    counters: &IntCounterVec,
    reasons: [&str; COUNT],
) -> [IntCounter; COUNT] {
    reasons.map(|reason| counters.with_label_values(&[reason]))
}
