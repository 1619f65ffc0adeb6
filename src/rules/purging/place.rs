//! Hosts as people write them, and as the keys of their sites spell them.

use crate::config::Site;
use crate::rules::key::Key;
use crate::rules::site::SiteMap;
use crate::wire::authority::{self, Authority, default_port};

/// The port that plain connections leave out.
const HTTP: u16 = 80;
/// The port that TLS connections leave out.
const HTTPS: u16 = 443;

/// `host[:port]` in the spelling of keys, and whose it is.
pub(super) struct Place<'a> {
    pub(super) site: &'a Site,
    host: String,
    port: Option<u16>,
}

impl Place<'_> {
    /// What a request for a target there is stored under.
    pub(super) fn key(&self, target: &str) -> Box<[u8]> {
        // Left out is what was left out here.
        let left_out = if self.port == Some(HTTP) { HTTPS } else { HTTP };
        let authority = Authority { host: &self.host, port: self.port };
        let mut key = Key::default();
        key.write(self.site, Some(authority), target, left_out);
        key.as_bytes().into()
    }

    /// How all keys begin that name a port.
    pub(super) fn with_any_port(&self) -> Box<[u8]> {
        let mut key = self.key("").into_vec();
        key.pop();
        key.push(b':');
        key.into()
    }
}

/// The host of a request over this scheme that this site answers, with each port that its keys may
/// have.
pub(super) fn of_request<'a>(
    site: &'a Site,
    named: Option<Authority<'_>>,
    scheme: &str,
) -> Vec<Place<'a>> {
    let host = named.map_or("", |authority| authority.host).to_ascii_lowercase();
    let ports = ports(named.and_then(|authority| authority.port), default_port(scheme));
    ports.into_iter().map(|port| Place { site, host: host.clone(), port }).collect()
}

/// As keys may have the port of a URL. What one scheme leaves out, another may have named: where a
/// proxy in front ends TLS, or a parent is asked over another scheme.
fn ports(named: Option<u16>, scheme_port: u16) -> Vec<Option<u16>> {
    match named.unwrap_or(scheme_port) {
        HTTP if scheme_port == HTTP => vec![None],
        port @ (HTTP | HTTPS) => vec![None, Some(port)],
        port => vec![Some(port)],
    }
}

/// The host of a URL, where `scheme_port` stands for a missing port.
pub(super) fn of_url<'a>(
    text: &str,
    scheme_port: u16,
    sites: &'a SiteMap,
) -> Result<Vec<Place<'a>>, String> {
    let (_, named) = split_port(text)?;
    of_ports(text, &ports(named, scheme_port), sites)
}

/// `host`, or `host:port`.
pub(super) fn of_host<'a>(text: &str, sites: &'a SiteMap) -> Result<Vec<Place<'a>>, String> {
    let ports = match split_port(text)?.1 {
        None => vec![None],
        Some(port @ (HTTP | HTTPS)) => vec![None, Some(port)],
        Some(port) => vec![Some(port)],
    };
    of_ports(text, &ports, sites)
}

/// Whether a host was named without a port.
pub(super) fn names_no_port(text: &str) -> bool {
    split_port(text).is_ok_and(|(_, port)| port.is_none())
}

fn of_ports<'a>(
    text: &str,
    ports: &[Option<u16>],
    sites: &'a SiteMap,
) -> Result<Vec<Place<'a>>, String> {
    let (host, _) = split_port(text)?;
    let mut places = Vec::new();
    for host in spellings(host)? {
        let Some(site) = sites.find(Some(&host)) else { continue };
        places.extend(ports.iter().map(|&port| Place { site, host: host.clone(), port }));
    }
    if places.is_empty() { Err(format!("no site answers for \"{host}\"")) } else { Ok(places) }
}

/// Every spelling that keys can have of a host: as it is written, and as browsers read it.
fn spellings(host: &str) -> Result<Vec<String>, String> {
    if host.contains('*') {
        let why = "\"*\" stands for no host here: name the hosts one by one, or use a tag";
        return Err(why.to_owned());
    }
    let written = read_host(host);
    let read = url::Host::parse(host).ok().and_then(|host| read_host(&host.to_string()));
    let read = read.filter(|read| written.as_ref() != Some(read));
    let hosts: Vec<String> = written.into_iter().chain(read).collect();
    if hosts.is_empty() { Err(format!("\"{host}\" is not a host")) } else { Ok(hosts) }
}

/// As keys have it.
fn read_host(text: &str) -> Option<String> {
    let read = authority::parse(text.as_bytes()).filter(|read| read.port.is_none())?;
    Some(read.host.to_ascii_lowercase())
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), String> {
    if text.contains('@') {
        return Err("a URL with a user is not understood".to_owned());
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|_| is_number);
            Ok((host, Some(port.ok_or_else(|| format!("\"{text}\" is not a host"))?)))
        }
        _ => Ok((text, None)),
    }
}
