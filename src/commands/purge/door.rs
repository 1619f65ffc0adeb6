//! Where the edge's admin listener is, and the token for it.

use crate::admin::token;
use crate::config::{self, Place, Settings, values};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What the command line says about the edge.
pub(crate) struct Door {
    /// The edge's configuration; read only for what is not said.
    pub(crate) config: PathBuf,
    /// `host:port`.
    pub(crate) admin: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
}

/// All that it takes.
pub(super) struct Key {
    /// `host:port`.
    pub(super) admin: String,
    pub(super) token: String,
    /// Where the token was found.
    pub(super) source: String,
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
