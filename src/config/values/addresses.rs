//! The kinds of values that say where somebody is: addresses, networks, names and the URLs of servers.
//! What editors are told of each is as near as a pattern comes to what is read.

use super::super::kind::Text;
use super::super::{Collector, OriginServer, Place};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, SocketAddr};

/// What an IPv4 address looks like, a name, and roughly an IPv6 address: editors take more of those than
/// there are, and names with a label that is too long.
macro_rules! addresses {
    (octet) => {
        "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
    (v4) => {
        concat!(addresses!(octet), "(\\.", addresses!(octet), "){3}")
    };
    (v6) => {
        "[0-9a-fA-F:.]*:[0-9a-fA-F.]*:[0-9a-fA-F:.]*"
    };
    // The last label is no number, or it would be one of the above to some.
    (name) => {
        "([A-Za-z0-9_-]+\\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*"
    };
    (port) => {
        "0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9][0-9]|6[0-4][0-9]{3}|[1-5]?[0-9]{1,4})"
    };
}

pub(in crate::config) const ADDRESS: Text<SocketAddr> = Text {
    expected: "an address with a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"",
    pattern: concat!(
        "^(",
        addresses!(v4),
        "|\\[",
        addresses!(v6),
        "(%[0-9]+)?\\]):",
        addresses!(port),
        "$"
    ),
    read: |text| text.parse().map_err(|_| None),
};

pub(in crate::config) const NETWORK: Text<IpNet> = Text {
    expected: "an address or a network, such as \"10.0.0.0/8\" or \"::1\"",
    pattern: concat!(
        "^(",
        addresses!(v4),
        "(/(3[0-2]|[12]?[0-9]))?|",
        addresses!(v6),
        "(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?)$"
    ),
    read: |text| {
        let address = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| address()).map(as_v4).map_err(|_| None)
    },
};

/// IPv4 clients of IPv6 listeners are IPv4 clients here.
fn as_v4(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let bits = v6.prefix_len().checked_sub(96);
    let v4 = v6.addr().to_ipv4_mapped().zip(bits);
    v4.and_then(|(address, bits)| Ipv4Net::new(address, bits).ok()).map_or(network, IpNet::V4)
}

/// A name as certificates have them.
pub(in crate::config) const SERVER_NAME: Text<String> = Text {
    expected: "a name in certificates, such as \"origin.example.com\"",
    pattern: concat!("^(", addresses!(name), "\\.?|", addresses!(v4), "|", addresses!(v6), ")$"),
    read: |text| if is_server_name(text) { Ok(text.to_owned()) } else { Err(None) },
};

/// A name or an address that a certificate can be made out to.
pub(in crate::config) const CERTIFICATE_NAME: Text<String> = Text {
    expected: "a name or an address without a port, such as \"localhost\" or \"127.0.0.1\"",
    pattern: concat!(
        "^(\\*\\.)?(",
        addresses!(name),
        "\\.?|",
        addresses!(v4),
        "|",
        addresses!(v6),
        ")$"
    ),
    read: |text| {
        let is_good = is_server_name(text.strip_prefix("*.").unwrap_or(text));
        if is_good { Ok(text.to_ascii_lowercase()) } else { Err(None) }
    },
};

fn is_server_name(text: &str) -> bool {
    rustls_pki_types::ServerName::try_from(text).is_ok()
}

/// A Host field's value.
pub(in crate::config) const AUTHORITY: Text<String> = Text {
    expected: "a host, such as \"example.com\" or \"example.com:8080\"",
    pattern: concat!(
        "^(",
        addresses!(name),
        "\\.?|",
        addresses!(v4),
        "|\\[",
        addresses!(v6),
        "\\])(:",
        addresses!(port),
        ")?$"
    ),
    read: |text| match crate::wire::authority::parse(text.as_bytes()) {
        Some(_) => Ok(text.to_owned()),
        None => Err(None),
    },
};

/// An exact name, `*.` and a name, or `*`; in lower case, without a port.
pub(in crate::config) const HOST: Text<String> = Text {
    expected: "a host, such as \"example.com\", \"*.example.com\" or \"*\" (no port)",
    pattern: concat!(
        "^(\\*|(\\*\\.)?(",
        addresses!(name),
        "|",
        addresses!(v4),
        "|\\[",
        addresses!(v6),
        "\\]))$"
    ),
    read: |text| {
        let host = text.to_ascii_lowercase();
        let name = host.strip_prefix("*.").unwrap_or(&host);
        let good = crate::wire::authority::parse(name.as_bytes())
            .is_some_and(|read| read.port.is_none() && !name.ends_with('.'));
        if host == "*" || good { Ok(host) } else { Err(None) }
    },
};

/// The URL of one server. Editors do not look at its host, and take port 0, too.
pub(in crate::config) const SERVER: Text<OriginServer> = Text {
    expected: ORIGIN_EXPECTED,
    pattern: concat!(
        "^([hH][tT][tT][pP][sS]?:(//)?([^/?#@: ]+|\\[",
        addresses!(v6),
        "\\])(:",
        addresses!(port),
        ")?/?|unix:/.+)$"
    ),
    read: |text| origin_server(text).map_err(Some),
};

const ORIGIN_EXPECTED: &str = "an origin, such as \"http://127.0.0.1:3000\", \
                               \"https://example.com\" or \"unix:/run/app.sock\"";

/// `http://host:port`, nothing behind it, or `unix:/path`. Also what the command line takes for an
/// origin.
pub fn origin_server(text: &str) -> Result<OriginServer, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_server(path);
    }
    let expected = || ORIGIN_EXPECTED;
    let url = url::Url::parse(text).map_err(|_| expected())?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(expected().into()),
    };
    let has_more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    if has_more || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{} (no path, query or user: requests bring their own)", expected()));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(expected)?;
    let port = url.port_or_known_default().filter(|port| *port > 0).ok_or_else(expected)?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    // URLs allow more in a host than a Host field does here.
    crate::wire::authority::parse(authority.as_bytes()).ok_or_else(expected)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(OriginServer { tls, place: Place::Net(host, port), authority, weight: 1 })
}

fn unix_server(path: &str) -> Result<OriginServer, String> {
    let fits = path.len() <= SOCKET_PATH_BYTES_MAX && !path.contains('\0');
    if !path.starts_with('/') || path == "/" || !fits {
        return Err(format!(
            "a socket's path from the root on, such as \"unix:/run/app.sock\", of at most \
             {SOCKET_PATH_BYTES_MAX} bytes"
        ));
    }
    // As everybody calls whoever is behind a socket.
    let authority = "localhost".to_owned();
    Ok(OriginServer { tls: false, place: Place::Unix(path.into()), authority, weight: 1 })
}

/// As many as a socket's address takes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The collector's address; without a path it is asked at the one that OTLP has for it. What else is
/// wrong with an address is not told to editors.
pub(in crate::config) const COLLECTOR: Text<Collector> = Text {
    expected: "an OTLP/HTTP collector without TLS, such as \"http://127.0.0.1:4318\"",
    pattern: "^[hH][tT][tT][pP]:[^?#@]+$",
    read: |text| {
        let mut url = url::Url::parse(text).map_err(|_| None)?;
        let is_good = url.scheme() == "http"
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        if is_good { Ok(Collector { url: url.into() }) } else { Err(None) }
    },
};
