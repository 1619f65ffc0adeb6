//! The listeners of `[server]`: where clients and operators come in.

use super::values;
use crate::config::Listener;
use crate::config::kind::Text;
use crate::config::section::{Found, FoundList, Section};
use ipnet::IpNet;
use std::net::SocketAddr;

/// Those for clients, and the operator's if it is asked for.
pub(super) fn listeners(
    section: &mut Section<'_>,
    trusted_proxies: &[IpNet],
) -> (Vec<Listener>, Option<SocketAddr>) {
    let http = section.list_with_tables("http", PLAIN, plain_table);
    let https = section.list_with_tables("https", TLS, tls_table);
    let admin = section.found("admin", values::ADDRESS);
    check(section, http.as_ref(), https.as_ref(), admin.as_ref());
    for list in [&http, &https].into_iter().flatten().filter(|_| trusted_proxies.is_empty()) {
        for found in list.value.iter().filter(|found| found.value.proxy_protocol) {
            let message = "nobody may speak the PROXY protocol here: `server.trusted_proxies` names \
                           who may";
            section.refuse(found, message.to_owned());
        }
    }
    let any_v4 = Listener::new(SocketAddr::from(([0, 0, 0, 0], 8080)), false);
    let mut all = http.map_or_else(|| vec![any_v4], Found::values);
    all.extend(https.map_or_else(Vec::new, Found::values));
    (all, admin.map(|found| found.value))
}

const PLAIN: Text<Listener> = Text {
    expected: values::ADDRESS.expected,
    pattern: values::ADDRESS.pattern,
    read: |text| (values::ADDRESS.read)(text).map(|address| Listener::new(address, false)),
};

const TLS: Text<Listener> = Text {
    read: |text| (values::ADDRESS.read)(text).map(|address| Listener::new(address, true)),
    ..PLAIN
};

/// `{ address = "0.0.0.0:8080", proxy_protocol = true, h2c = true }`
fn plain_table(mut section: Section<'_>) -> Option<Listener> {
    let h2c = section.or("h2c", false, values::BOOLEAN);
    table(section, false).map(|listener| Listener { h2c, ..listener })
}

/// `{ address = "0.0.0.0:8443", proxy_protocol = true }`
fn tls_table(section: Section<'_>) -> Option<Listener> {
    table(section, true)
}

fn table(mut section: Section<'_>, tls: bool) -> Option<Listener> {
    let address = section.required("address", values::ADDRESS);
    let proxy_protocol = section.or("proxy_protocol", false, values::BOOLEAN);
    section.finish();
    address.map(|found| Listener { proxy_protocol, ..Listener::new(found.value, tls) })
}

fn check(
    section: &Section<'_>,
    http: Option<&FoundList<Listener>>,
    https: Option<&FoundList<Listener>>,
    admin: Option<&Found<SocketAddr>>,
) {
    let is_deaf = https.is_none_or(|https| https.value.is_empty());
    if let Some(http) = http.filter(|http| http.value.is_empty() && is_deaf) {
        section.refuse(http, "expected at least one listener, here or in `https`".to_owned());
    }
    let lists = [http, https].into_iter().flatten().flat_map(|list| &list.value);
    let places = lists.map(|found| (found.value.address, &found.at, &found.key));
    let admin = admin.map(|found| (found.value, &found.at, &found.key));
    let mut seen: Vec<SocketAddr> = Vec::new();
    for (address, at, key) in places.chain(admin) {
        if let Some(other) = seen.iter().find(|other| overlap(address, **other)) {
            let message = format!("{address} and {other} cannot both be listened on");
            section.problem(at.clone(), key.clone(), message);
        }
        seen.push(address);
    }
}

/// Whether one socket would take what the other is for. IPv6 listeners take IPv6 only.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
