//! The way to a running edge: where its admin listener is, the token for it, and what it answers.

use crate::admin::token;
use crate::config::{self, Place, Settings, values};
use http::{Method, Request};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// Longer than the edge takes in any case.
const ANSWERED_WITHIN: Duration = Duration::from_secs(120);

/// What the command line says about the edge.
pub(crate) struct Door {
    /// The edge's configuration; read only for what is not said.
    pub(crate) config: PathBuf,
    /// `host:port`.
    pub(crate) admin: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
}

/// What the edge has answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// All that it takes.
pub(super) struct Key {
    /// `host:port`.
    pub(super) admin: String,
    pub(super) token: String,
    /// Where the token was found.
    pub(super) source: String,
}

impl Key {
    /// Asks the edge for a path, with something in JSON where there is a body.
    pub(super) fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&str>,
    ) -> Result<Answer, String> {
        let agent = agent(ANSWERED_WITHIN);
        let unreachable = |error: ureq::Error| {
            let why = match error {
                ureq::Error::Io(error) if error.kind() == ErrorKind::ConnectionRefused => format!(
                    "{error}; where `server.admin` has changed since the edge started, --admin names \
                     the address from before"
                ),
                ureq::Error::Io(error) => error.to_string(),
                error => error.to_string(),
            };
            format!("no answer from the edge's admin listener at {}: {why}", self.admin)
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.admin))
            .header("Authorization", format!("Bearer {}", self.token));
        let answered = match body {
            Some(body) => {
                let request = request.header("Content-Type", "application/json");
                agent.run(request.body(body).map_err(|error| error.to_string())?)
            }
            None => agent.run(request.body(()).map_err(|error| error.to_string())?),
        };
        let mut response = answered.map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string().map_err(unreachable)?;
        Ok(Answer { status, body })
    }
}

impl Door {
    /// What the command line says, then the environment, then the configuration.
    pub(super) fn key(&self) -> Result<Key, String> {
        let of_environment = match self.token_file {
            Some(_) => None,
            None => token::of_environment().map_err(|error| error.to_string())?,
        };
        let needs_configuration =
            self.admin.is_none() || (self.token_file.is_none() && of_environment.is_none());
        let settings = needs_configuration.then(|| self.settings()).transpose()?;
        let admin = match (&self.admin, &settings) {
            (Some(admin), _) => admin.clone(),
            (None, settings) => self.admin_of(settings.as_ref())?,
        };
        if let Some(token) = of_environment {
            return Ok(Key { admin, token, source: token::VARIABLE.to_owned() });
        }
        let configured = settings.map(|settings| settings.server.admin_token_file);
        let file = self.token_file.clone().or(configured).unwrap_or_default();
        let token = read_token(&file)?;
        Ok(Key { admin, token, source: file.display().to_string() })
    }

    /// Where the edge is asked for what everybody may know.
    pub(super) fn open_address(&self) -> Result<String, String> {
        match &self.admin {
            Some(admin) => Ok(admin.clone()),
            None => self.admin_of(Some(&self.settings()?)),
        }
    }

    fn settings(&self) -> Result<Settings, String> {
        let file = self.config.display();
        let checked = config::load(&self.config).map_err(|error| {
            format!("{file}: cannot be read: {error}; --config names another one, --admin and --token-file do without")
        })?;
        checked
            .settings
            .ok_or_else(|| format!("{file} is not good: brim check --config {file} tells why"))
    }

    fn admin_of(&self, settings: Option<&Settings>) -> Result<String, String> {
        let address = settings.and_then(|settings| settings.server.admin).unwrap_or(config::ADMIN);
        if address.port() == 0 {
            let file = self.config.display();
            return Err(format!("server.admin of {file} is any free port: --admin names it"));
        }
        Ok(reachable(address).to_string())
    }
}

/// Says why a command failed. Whoever listens in an edge's place may have sent some of it: nothing
/// of that is more than text to the terminal.
pub(super) fn failed(message: &str) -> ExitCode {
    let lines: Vec<String> = message.lines().map(printable).collect();
    eprintln!("brim: {}", lines.join("\n"));
    ExitCode::FAILURE
}

/// The same with everything escaped that a terminal may take for more than text.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter == ' ' || letter.is_ascii_graphic() {
            out.push(letter);
        } else {
            out.extend(letter.escape_unicode());
        }
    }
    out
}

/// Who asks an edge.
pub(super) fn agent(answered_within: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_connect(Some(CONNECTED_WITHIN))
        .timeout_global(Some(answered_within))
        .http_status_as_error(false)
        // The token goes to the edge alone.
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("brim/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// Where a listener on this machine is met.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn read_token(file: &Path) -> Result<String, String> {
    token::of_file(file).map(|found| found.token).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{error}; brim run makes it"),
        ErrorKind::PermissionDenied => {
            format!("{error}; whoever may not read it can set {}", token::VARIABLE)
        }
        _ => error.to_string(),
    })
}

/// What `--admin` takes: `http://host:port`.
pub(crate) fn admin_address(text: &str) -> Result<String, String> {
    let expected = || "an admin listener, such as \"http://127.0.0.1:9180\"".to_owned();
    let server = values::origin_server(text).map_err(|_| expected())?;
    let is_there = !server.tls && matches!(server.place, Place::Net(..));
    if is_there { Ok(server.authority) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_text_reaches_a_terminal() {
        let text = "a\x1b[31m\u{9b}1m\u{202e}\u{7}\r\n\u{e9}b";
        let told = printable(text);
        assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{told}");
        assert_eq!(told, "a\\u{1b}[31m\\u{9b}1m\\u{202e}\\u{7}\\u{d}\\u{a}\\u{e9}b");
    }

    #[test]
    fn an_address_of_every_interface_is_met_on_this_machine() {
        for (told, met) in [
            ("0.0.0.0:9180", "127.0.0.1:9180"),
            ("[::]:9180", "[::1]:9180"),
            ("10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(reachable(told.parse().expect("an address")).to_string(), met);
        }
    }

    #[test]
    fn an_admin_listener_is_an_address_without_tls() {
        assert_eq!(admin_address("http://[::1]:9180/"), Ok("[::1]:9180".to_owned()));
        assert_eq!(admin_address("http://edge"), Ok("edge".to_owned()));
        for bad in ["https://edge", "edge:9180", "http://edge/purge", "http://u:p@edge"] {
            assert!(admin_address(bad).is_err(), "{bad}");
        }
    }
}
