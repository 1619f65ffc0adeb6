//! What can be said behind `brim dev`.

use crate::commands::dev::{self, Options};
use crate::config::{Authority, HostHeader};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub(super) struct Dev {
    /// The development server; a port alone is one of this machine.
    #[arg(value_name = "URL", value_parser = dev::target)]
    origin: dev::Target,
    /// Where to listen [default: 127.0.0.1:8080, or the next port that is free].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Listen with TLS and HTTP/2, too, with a certificate that an authority of this machine signs
    /// [default: 127.0.0.1:8443, or the next port that is free].
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, require_equals = true)]
    https: Option<Option<SocketAddr>>,
    /// Where metrics are, and purges are taken [default: 127.0.0.1:9180, or the next port that is free].
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Another name for the certificate, such as app.test.
    #[arg(long, value_name = "NAME", requires = "https", value_parser = local_name)]
    https_name: Vec<String>,
    /// The Host that the development server sees: the client's or its own [default: the client's, where
    /// the server is on this machine].
    #[arg(long, value_name = "WHOSE")]
    host_header: Option<Whose>,
    /// Try how it is for users: latency=80ms (a round trip to them), slow-origin[=2s], bandwidth=100KB
    /// (a second, of the origin), error=10% (of the origin's answers), origin-down[=30s] (after so long).
    #[arg(long, value_name = "WHAT", value_parser = dev::simulated)]
    simulate: Vec<dev::Simulated>,
    /// Purge what changes below this folder, which is served at / or at the path behind `=`.
    #[arg(long, value_name = "DIR[=/PATH]")]
    watch: Vec<dev::Watched>,
    /// How long answers are kept that do not say it themselves.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// No colours; nor are there any where NO_COLOR is set, or off a terminal.
    #[arg(long)]
    no_color: bool,
    /// For machines: the lines of the access log, and everything else on standard error.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Whose {
    Client,
    Origin,
}

impl Dev {
    pub(super) fn run(self) -> ExitCode {
        dev::dev(Options {
            origin: self.origin,
            listen: self.listen,
            https: self.https,
            admin: self.admin,
            https_names: self.https_name,
            host_header: self.host_header.map(|whose| match whose {
                Whose::Client => HostHeader::Client,
                Whose::Origin => HostHeader::Origin,
            }),
            simulated: self.simulate,
            watched: self.watch,
            ttl: self.ttl,
            may_colour: !self.no_color,
            is_json: self.json,
        })
    }
}

fn local_name(text: &str) -> Result<String, String> {
    if Authority::may_sign(text) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("the local authority signs only for names below localhost, test, local, internal and \
         home.arpa, and for loopback and private addresses"
        .to_owned())
}
