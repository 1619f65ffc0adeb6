//! Checked settings: what `edge.toml` means. Whatever is here was found good; the rest of the house
//! asks no questions about it.
//!
//! `file` knows the keys of the file with their defaults, `section` reads a table of it and
//! collects every problem instead of stopping at the first, `values` reads single values. What they
//! know is `known`, beside what the shipped `edge.toml` says about it (`sample`): editors get it as a
//! `schema`, people as a `reference`.

mod certificate;
mod changes;
mod file;
mod hsts;
mod kind;
mod known;
mod log;
mod notes;
mod origin;
pub mod pem;
mod reference;
mod restart;
mod sample;
mod schema;
mod section;
pub mod values;
mod watched;

pub use certificate::{Authority, Certificate, ClientAuth, Identity, Tls, Unusable};
pub use changes::{Change, Document};
pub use hsts::Hsts;
pub use log::{
    AccessLog, Collector, ErrorFormat, Levels, Log, LogFormat, LogPiece, LogValue, Parents, Trace,
};
pub use origin::{
    Balance, ClientCertificate, Ejection, Fallback, HealthCheck, Http2, Origin, OriginServer,
    OriginTls, Place,
};
pub use restart::keep_what_needs_restart;
pub use section::Problem;
pub(crate) use section::nearest;
pub use watched::Watched;

use crate::wire::HeadLimits;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long running requests may take to finish at shutdown, where nothing else is said.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a new process may take to be ready to take over, where nothing else is said.
pub const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the operator's listener is, where nothing else is said and nobody else is there.
pub const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

/// Everything `edge.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[trace]`
    pub trace: Trace,
    /// `[cache]`
    pub cache: Cache,
    /// `[[certificate]]`
    pub certificates: Vec<Certificate>,
    /// `[[origin]]`
    pub origins: Vec<Arc<Origin>>,
    /// `[[site]]`
    pub sites: Vec<Arc<Site>>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// `http` and `https`: where clients come in.
    pub listeners: Vec<Listener>,
    /// The operator's listener, which has to be opened; `None`: at `ADMIN`, if that can be had.
    pub admin: Option<SocketAddr>,
    /// Worker threads; 0 for one per core.
    pub threads: usize,
    /// Where the operator's token is kept.
    pub admin_token_file: PathBuf,
    /// The port that clients are sent to where they came without TLS; `None`: that of the first TLS
    /// listener.
    pub https_port: Option<u16>,
    /// `[server.tls]`
    pub tls: Tls,
    /// Proxies whose word about the client is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// The file is applied again when it changes.
    pub reload_on_change: bool,
    /// Answers carry the id of their request.
    pub request_id: bool,
    /// How long running requests may take to finish at shutdown.
    pub shutdown_timeout: Duration,
    /// How long a new process may take to be ready to take over.
    pub takeover_timeout: Duration,
    /// `[server.limits]`
    pub limits: Limits,
    /// Clients there are never limited (`server.limits.allow`).
    pub never_limited: Vec<IpNet>,
}

/// Where clients come in.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// Over TLS.
    pub tls: bool,
    /// Connections begin with a PROXY header, which tells who the client is.
    pub proxy_protocol: bool,
    /// HTTP/2 without TLS, by prior knowledge.
    pub h2c: bool,
}

impl Listener {
    /// One with nothing special about it.
    pub fn new(address: SocketAddr, tls: bool) -> Self {
        Self { address, tls, proxy_protocol: false, h2c: false }
    }
}

/// `[server.limits]`
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// From the first byte of a head to its last, absolute.
    pub header_timeout: Duration,
    /// For the whole TLS handshake of a client, absolute.
    pub tls_timeout: Duration,
    /// Between requests on one connection.
    pub idle_timeout: Duration,
    /// No byte of a request body for this long.
    pub body_timeout: Duration,
    /// No byte taken by the client for this long.
    pub write_timeout: Duration,
    /// No byte in either direction of an upgraded connection for this long.
    pub upgrade_idle_timeout: Duration,
    /// What a head may cost.
    pub head: HeadLimits,
    /// Bytes a second that must come of a body, and be taken of an answer, on average; 0: any.
    pub rate_min: u64,
    /// Connections at one time.
    pub connections: usize,
    /// Requests at one time on one connection that speaks HTTP/2.
    pub streams: usize,
    /// The same of one client network; 0: any.
    pub connections_per_client: usize,
    /// Fetches from origins for the cache at one time.
    pub fills: usize,
}

/// `[cache]`
#[derive(Clone, Debug, PartialEq)]
pub struct Cache {
    /// `[cache.memory] size`
    pub memory_bytes: u64,
    /// `[cache.disk]`, if there is one.
    pub disk: Option<DiskCache>,
}

/// `[cache.disk]`
#[derive(Clone, Debug, PartialEq)]
pub struct DiskCache {
    /// The folder.
    pub path: PathBuf,
    /// Its capacity.
    pub bytes: u64,
}

/// `[[site]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// Its first host: how logs and metrics call it.
    pub name: String,
    /// Its own in `Settings::sites`.
    pub position: usize,
    /// Exact names, `*.example.org`, or `*`.
    pub hosts: Vec<String>,
    /// Position in `Settings::origins`.
    pub origin: usize,
    /// Which Host the origin sees.
    pub host_header: HostHeader,
    /// Misleading fields that this site passes on all the same.
    pub forward: Vec<String>,
    /// Guess how long an answer is good from its Last-Modified where nobody says it.
    pub heuristic_freshness: bool,
    /// Keep answers with Set-Cookie that have an explicit time, without that field.
    pub strip_set_cookie: bool,
    /// Keep nothing whose Content-Type is not what the path's extension promises.
    pub deception_guard: bool,
    /// Clients without TLS are sent to where there is.
    pub redirect_to_https: bool,
    /// The page that whoever navigates is shown where the origin gives no answer, instead of a
    /// sentence. No key of the file says it: `brim dev` does.
    pub trouble_page: Option<Arc<str>>,
    /// What clients over TLS are to remember.
    pub hsts: Option<Hsts>,
    /// `[site.key]`
    pub key: KeyRules,
    /// `[site.limits]`
    pub limits: SiteLimits,
    /// `[site.purge]`; `None`: nobody purges on the front door.
    pub purge: Option<SitePurge>,
    /// `[[site.rule]]`, in order.
    pub rules: Vec<Rule>,
}

/// Which Host the origin sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HostHeader {
    /// The client's, as it came.
    Client,
    /// That of the server's address.
    Origin,
}

/// `[site.key]`: what tells objects apart.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRules {
    /// Which part of the query.
    pub query: Query,
    /// Whether the order of parameters with different names means nothing.
    pub sort_query: bool,
    /// Request fields, too.
    pub headers: Vec<String>,
    /// Cookies, too.
    pub cookies: Vec<String>,
    /// `http` and `https` are two resources.
    pub scheme: bool,
}

/// `[site.limits]`: what one client network may do to a site. 0: as much as it likes.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteLimits {
    /// Requests at one time.
    pub requests: usize,
    /// Requests a second.
    pub rate: u32,
    /// As many as may come at once at that rate.
    pub burst: u32,
    /// Clients there are never limited.
    pub never_limited: Vec<IpNet>,
}

/// `[site.purge]`: who purges on the front door.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SitePurge {
    /// Clients from there.
    pub networks: Vec<IpNet>,
    /// Whoever has the operator's token.
    pub token: bool,
}

/// Which part of the query names the object.
#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    /// All of it.
    All,
    /// Nothing of it.
    None,
    /// These parameters.
    Allow(Vec<String>),
    /// All but these.
    Deny(Vec<String>),
}

/// `[[site.rule]]`: what is `None` is inherited.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// A path, `*` for any run of characters.
    pub path: String,
    /// Overrides what the origin said.
    pub ttl: Option<Duration>,
    /// Used where the origin said nothing.
    pub default_ttl: Option<Duration>,
    /// The same for 404, 405, 410, 414 and 501.
    pub negative_ttl: Option<Duration>,
    /// RFC 5861.
    pub stale_while_revalidate: Option<Duration>,
    /// RFC 5861.
    pub stale_if_error: Option<Duration>,
    /// `false`: always pass.
    pub cache: Option<bool>,
}

/// Settings, or everything that keeps the file from being used; and what is worth a word.
pub struct Checked {
    /// `None` when `problems` holds an error.
    pub settings: Option<Settings>,
    /// What the file says, in its own words.
    pub document: Document,
    /// Errors and warnings, in the order of the file.
    pub problems: Vec<Problem>,
}

/// What a file may say, as a JSON schema.
pub fn schema() -> String {
    format!("{:#}\n", schema::schema(&known::Known::new()))
}

/// The same as a page in Markdown.
pub fn reference() -> String {
    reference::reference(&known::Known::new())
}

/// Reads and checks a file.
pub fn load(path: &Path) -> std::io::Result<Checked> {
    let text = std::fs::read_to_string(path)?;
    Ok(check(&text, &path.display().to_string(), path.parent().unwrap_or(Path::new(""))))
}

/// Checks the text of a file called `name`; relative paths in it start at `folder`.
pub fn check(text: &str, name: &str, folder: &Path) -> Checked {
    file::read(text, name, folder)
}
