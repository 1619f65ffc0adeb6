//! `[[origin]]`, one at a time: what it says, and whether it agrees with itself.

mod joined;

pub(super) use joined::joined;

use super::{pem, secs, values};
use crate::config::section::{Found, FoundList, Section};
use crate::config::{
    Balance, ClientCertificate, Ejection, HealthCheck, Http2, Origin, OriginServer, OriginTls,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Answers that a second origin is asked after, where nothing else is said.
const FALLBACK_STATUSES: [u16; 4] = [500, 502, 503, 504];

/// An origin as far as it could be read.
pub(super) struct ReadOrigin {
    /// The table as a whole.
    place: Found<()>,
    pub(super) name: Option<Found<String>>,
    balance: Option<Found<Balance>>,
    http2: Option<Found<Http2>>,
    parent: Option<Found<String>>,
    admin: Option<FoundList<OriginServer>>,
    fallback: Option<Found<String>>,
    fallback_statuses: Vec<u16>,
    /// Where they stand, if they do.
    fallback_statuses_said: Option<Found<()>>,
    /// Nobody's parent, and without parents and a fallback so far.
    origin: Option<Origin>,
}

pub(super) fn origin(mut section: Section<'_>, folder: &Path) -> ReadOrigin {
    let name = section.required("name", values::TEXT);
    let servers = section.required_list_with_tables("servers", values::SERVER, server);
    let balance = section.found("balance", values::BALANCE);
    let http2 = section.found("http2", values::HTTP2);
    let parent = section.found("parent", values::TEXT);
    let admin = section.list("admin", values::SERVER);
    let fallback = section.found("fallback", values::TEXT);
    let (fallback_statuses, fallback_statuses_said) =
        section.list_or_found("fallback_statuses", &FALLBACK_STATUSES, values::STATUS);
    let times = times(&mut section);
    let room = room(&mut section);
    let any_tls = check_servers(&section, servers.as_ref(), admin.as_ref());
    let tls = tls(section.section("tls"), folder, any_tls);
    let health = health(section.section("health"));
    let ejection = ejection(section.section("ejection"));
    let place = section.place();
    section.finish();
    let origin = name.as_ref().zip(servers).map(|(name, servers)| Origin {
        name: name.value.clone(),
        servers: servers.values(),
        balance: balance.as_ref().map_or(Balance::RoundRobin, |found| found.value),
        parent: None,
        is_parent: false,
        admin: Vec::new(),
        fallback: None,
        connect_timeout: times.connect,
        tls_timeout: times.tls,
        response_timeout: times.response,
        read_timeout: times.read,
        total_timeout: times.total,
        idle_timeout: times.idle,
        http2: http2.as_ref().map_or(Http2::Auto, |found| found.value),
        tls,
        redirects_stay: false,
        health,
        ejection,
        retries: room.retries,
        retry_budget_percent: room.retry_budget_percent,
        requests_max: room.requests_max,
        queue_max: room.queue_max,
        queue_timeout: room.queue_timeout,
    });
    ReadOrigin {
        place,
        name,
        balance,
        http2,
        parent,
        admin,
        fallback,
        fallback_statuses,
        fallback_statuses_said,
        origin,
    }
}

/// `{ url = "http://127.0.0.1:3000", weight = 2 }`
fn server(mut section: Section<'_>) -> Option<OriginServer> {
    let server = section.required("url", values::SERVER);
    let weight = section.or("weight", 1, values::WEIGHT);
    section.finish();
    server.map(|found| OriginServer { weight, ..found.value })
}

/// Whether any of them speaks TLS, as far as is known.
fn check_servers(
    section: &Section<'_>,
    servers: Option<&FoundList<OriginServer>>,
    admin: Option<&FoundList<OriginServer>>,
) -> bool {
    refuse_repeated(section, servers, "`weight` is what gives a server more");
    refuse_repeated(section, admin, "each server has its own");
    // The bad ones count too: each has been told of already.
    let (count, doors) = (section.length("servers"), section.length("admin"));
    if let Some(admin) = admin.filter(|_| count > 0 && doors != count) {
        let expected = "expected one admin listener for each of `servers`, in the same order";
        section.refuse(admin, format!("{expected}: {count}, not {doors}"));
    }
    let is_known = servers.is_some_and(|servers| servers.value.len() == count);
    let mut all = servers.into_iter().chain(admin).flat_map(|list| &list.value);
    !is_known || all.any(|found| found.value.tls)
}

/// One server has one state: how many requests it has, how well it is.
fn refuse_repeated(section: &Section<'_>, list: Option<&FoundList<OriginServer>>, hint: &str) {
    let servers = list.map(|list| list.value.as_slice()).unwrap_or_default();
    for (position, found) in servers.iter().enumerate() {
        let same = |before: &&Found<OriginServer>| {
            (before.value.tls, &before.value.place) == (found.value.tls, &found.value.place)
        };
        if let Some(before) = servers[..position].iter().find(same) {
            let message = format!("{} is already {}; {hint}", found.value.url(), before.key);
            section.refuse(found, message);
        }
    }
}

struct Times {
    connect: Duration,
    tls: Duration,
    response: Duration,
    read: Duration,
    total: Option<Duration>,
    idle: Duration,
}

fn times(section: &mut Section<'_>) -> Times {
    let total = section.optional("total_timeout", values::DURATION_ABOVE_ZERO);
    let mut part = |key, default| {
        let found = section.found(key, values::DURATION_ABOVE_ZERO);
        let Some(found) = found else { return secs(default) };
        if total.is_some_and(|total| total < found.value) {
            section.warn(&found, "does nothing: `total_timeout` is shorter");
        }
        found.value
    };
    Times {
        connect: part("connect_timeout", 2),
        tls: part("tls_timeout", 5),
        response: part("response_timeout", 30),
        read: part("read_timeout", 30),
        total,
        idle: section.or("idle_timeout", secs(60), values::DURATION_ABOVE_ZERO),
    }
}

/// How much is asked of an origin.
struct Room {
    retries: usize,
    retry_budget_percent: u32,
    requests_max: usize,
    queue_max: usize,
    queue_timeout: Duration,
}

fn room(section: &mut Section<'_>) -> Room {
    let retries = section.or("retries", 2, values::FEW);
    let budget = section.found("retry_budget", values::PERCENT);
    let requests_max = section.or("requests", 4096, values::AT_ONE_TIME_ABOVE_ZERO);
    let queue_max = section.or("queue", 4096, values::AT_ONE_TIME);
    let queue_timeout = section.found("queue_timeout", values::DURATION_ABOVE_ZERO);
    if let Some(budget) = budget.as_ref().filter(|budget| retries == 0 && budget.value > 0) {
        section.warn(budget, "does nothing with `retries = 0`");
    }
    if let Some(time) = queue_timeout.as_ref().filter(|_| queue_max == 0) {
        section.warn(time, "does nothing with `queue = 0`");
    }
    Room {
        retries: retries as usize,
        retry_budget_percent: budget.map_or(20, |found| found.value),
        requests_max,
        queue_max,
        queue_timeout: queue_timeout.map_or(secs(10), |found| found.value),
    }
}

fn tls(mut section: Section<'_>, folder: &Path, any_tls: bool) -> OriginTls {
    if section.is_there() && !any_tls {
        section.warn(&section.place(), "does nothing: none of `servers` is https");
    }
    let server_name = section.optional("server_name", values::SERVER_NAME);
    let (verify, said) = section.or_found("verify", true, values::BOOLEAN);
    let unverified = said.as_ref().filter(|_| !verify);
    if let Some(verify) = unverified {
        section.warn(verify, "whoever is in between can read and change what passes");
    }
    let certificates = |path: &Path| pem::certificates(path).map(drop);
    let ca = pem_file(&mut section, "ca", folder, certificates);
    if let Some(ca) = ca.as_ref().filter(|_| unverified.is_some()) {
        section.warn(ca, "does nothing with `verify = false`");
    }
    let cert = pem_file(&mut section, "client_cert", folder, certificates);
    let key = pem_file(&mut section, "client_key", folder, |path| pem::private_key(path).map(drop));
    if let (Some(alone), None) | (None, Some(alone)) = (&cert, &key) {
        section.refuse(alone, "`client_cert` and `client_key` go together".to_owned());
    }
    let client =
        cert.zip(key).map(|(cert, key)| ClientCertificate { cert: cert.value, key: key.value });
    section.finish();
    OriginTls { server_name, verify, ca: ca.map(|found| found.value), client: client.map(Arc::new) }
}

/// The path of a file that has to be good already.
pub(super) fn pem_file(
    section: &mut Section<'_>,
    key: &'static str,
    folder: &Path,
    check: impl Fn(&Path) -> Result<(), String>,
) -> Option<Found<PathBuf>> {
    let mut found = section.found(key, values::PATH)?;
    found.value = folder.join(found.value);
    if let Err(message) = check(&found.value) {
        section.refuse(&found, message);
    }
    Some(found)
}

fn health(mut section: Section<'_>) -> Option<HealthCheck> {
    if !section.is_there() {
        return None;
    }
    let path = section.required("path", values::REQUEST_PATH);
    let host = section.optional("host", values::AUTHORITY);
    let interval = section.or("interval", secs(5), values::DURATION_ABOVE_ZERO);
    let (timeout, timeout_said) =
        section.or_found("timeout", secs(2).min(interval), values::DURATION_ABOVE_ZERO);
    if let Some(said) = timeout_said.filter(|_| timeout > interval) {
        section.warn(&said, "longer than `interval`: checks of one server wait for each other");
    }
    let (expect, expect_said) = section.list_or_found("expect", &[200], values::STATUS);
    if let Some(said) = expect_said.filter(|_| section.length("expect") == 0) {
        section.refuse(&said, "expected at least one".to_owned());
    }
    let healthy_after = section.or("healthy", 2, values::FEW_ABOVE_ZERO);
    let unhealthy_after = section.or("unhealthy", 3, values::FEW_ABOVE_ZERO);
    section.finish();
    path.map(|path| HealthCheck {
        path: path.value,
        host,
        interval,
        timeout,
        healthy_after,
        unhealthy_after,
        expect,
    })
}

fn ejection(mut section: Section<'_>) -> Ejection {
    let failures = section.or("failures", 5, values::FEW);
    let time = section.optional("time", values::DURATION_ABOVE_ZERO);
    let time_max = section.found("time_max", values::DURATION_ABOVE_ZERO);
    if let (Some(time), Some(time_max)) = (time, &time_max)
        && time_max.value < time
    {
        section.refuse(time_max, "expected no less than `time`, which grows up to it".to_owned());
    }
    section.finish();
    // Whichever is said draws the other one's default along.
    let time_max = time_max.map(|found| found.value);
    let time = time.unwrap_or_else(|| secs(1).min(time_max.unwrap_or(Duration::MAX)));
    Ejection { failures, time, time_max: time_max.unwrap_or_else(|| secs(60).max(time)) }
}
