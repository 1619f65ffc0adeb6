//! `[[origin]]`: where answers come from, and how they are asked for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `[[origin]]`
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// How sites and metrics call it.
    pub name: String,
    /// Where it listens.
    pub servers: Vec<OriginServer>,
    /// How one of several servers is chosen.
    pub balance: Balance,
    /// Position in `Settings::origins` of the one whose servers are Brim parents.
    pub parent: Option<usize>,
    /// Another origin names it as its parent.
    pub is_parent: bool,
    /// Admin listeners of parents: none, or one for each server, in the same order.
    pub admin: Vec<OriginServer>,
    /// Who is asked where its servers give no good answer.
    pub fallback: Option<Fallback>,
    /// To connect.
    pub connect_timeout: Duration,
    /// For the TLS handshake behind it.
    pub tls_timeout: Duration,
    /// From the end of the request to the head of the answer.
    pub response_timeout: Duration,
    /// Between bytes, both ways.
    pub read_timeout: Duration,
    /// From the first try to the last byte of the answer; `None`: as long as it takes.
    pub total_timeout: Option<Duration>,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Where HTTP/2 is spoken.
    pub http2: Http2,
    /// `[origin.tls]`
    pub tls: OriginTls,
    /// A redirect to a server's own address leads to where the client came in. No key of the file
    /// says it: `brim dev` does.
    pub redirects_stay: bool,
    /// `[origin.health]`; `None`: nobody asks whether it is well.
    pub health: Option<HealthCheck>,
    /// `[origin.ejection]`
    pub ejection: Ejection,
    /// Servers that are asked after the first one failed.
    pub retries: usize,
    /// Retries in a hundred requests.
    pub retry_budget_percent: u32,
    /// Requests at one time.
    pub requests_max: usize,
    /// Requests that wait for their turn.
    pub queue_max: usize,
    /// How long they wait.
    pub queue_timeout: Duration,
}

/// One server of an origin.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginServer {
    /// `https`
    pub tls: bool,
    /// Where it listens.
    pub place: Place,
    /// `host[:port]` as a Host field says it.
    pub authority: String,
    /// Its share beside the others.
    pub weight: usize,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// Name or address, without brackets, and the port, also where the file leaves it to the scheme.
    Net(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// How one of several servers is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastConn,
    /// By the key of the object.
    Hash,
}

/// Where HTTP/2 is spoken to servers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Http2 {
    /// Over TLS, where the server chooses it.
    Auto,
    /// Nowhere.
    Never,
    /// Everywhere: without TLS, it is known beforehand.
    Always,
}

/// `[origin.tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct OriginTls {
    /// The name that is asked for and looked for in the certificate, instead of the server's.
    pub server_name: Option<String>,
    /// The certificate has to be good.
    pub verify: bool,
    /// Who may have signed it, instead of the system's authorities.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, for servers that ask for one.
    pub client: Option<Arc<ClientCertificate>>,
}

/// A certificate to be known by.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// `fallback` and `fallback_statuses`
#[derive(Clone, Debug, PartialEq)]
pub struct Fallback {
    /// Position in `Settings::origins`.
    pub origin: usize,
    /// Answers that are as bad as none.
    pub statuses: Vec<u16>,
}

/// `[origin.health]`
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What each server is asked for.
    pub path: String,
    /// The Host that it is asked with; `None`: the server's own.
    pub host: Option<String>,
    /// Between two checks of one server.
    pub interval: Duration,
    /// For the whole check.
    pub timeout: Duration,
    /// Good answers in a row that bring a server back.
    pub healthy_after: u32,
    /// Bad ones in a row that take it out.
    pub unhealthy_after: u32,
    /// Good answers.
    pub expect: Vec<u16>,
}

/// `[origin.ejection]`: what requests tell about a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ejection {
    /// Failures in a row that take a server out; 0: none do.
    pub failures: u32,
    /// For how long the first time; twice as long each time after that.
    pub time: Duration,
    /// But no longer than this.
    pub time_max: Duration,
}

impl Origin {
    /// How logs and metrics call its servers, in their order.
    pub fn server_names(&self) -> Vec<String> {
        let short: Vec<String> = self.servers.iter().map(OriginServer::to_string).collect();
        // The same host at another scheme's port is another server.
        let is_only = |name: &String| short.iter().filter(|other| *other == name).count() == 1;
        let name = |(name, server): (&String, &OriginServer)| {
            if is_only(name) { name.clone() } else { server.url() }
        };
        short.iter().zip(&self.servers).map(name).collect()
    }
}

impl OriginServer {
    /// As the file says it.
    pub fn url(&self) -> String {
        match &self.place {
            Place::Net(..) if self.tls => format!("https://{}", self.authority),
            Place::Net(..) => format!("http://{}", self.authority),
            Place::Unix(_) => self.to_string(),
        }
    }
}

/// As logs and metrics call it.
impl std::fmt::Display for OriginServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Net(..) => f.write_str(&self.authority),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
