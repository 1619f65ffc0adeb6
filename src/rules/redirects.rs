//! Redirects of an origin to its own address, which clients of this server may not know or reach.

use crate::config::{OriginServer, Place};
use crate::wire::fields::{Composer, Fields};
use std::net::IpAddr;

/// Names of this machine. A server that has one of them has them all.
const LOOPBACK: &[&str] = &["localhost", "127.0.0.1", "[::1]", "0.0.0.0"];

/// Makes a Location at this server one at whatever server the client has asked (RFC 9110, section
/// 10.2.2).
pub fn stay(fields: &mut Fields, server: &OriginServer) {
    let location = fields.first("location").and_then(|value| std::str::from_utf8(value).ok());
    let Some(target) = location.and_then(|location| own_target(location, server)) else { return };
    let mut composer = Composer::default();
    for (name, value) in fields.iter() {
        let is_it = name.eq_ignore_ascii_case("location");
        composer.add(name, if is_it { target.as_bytes() } else { value });
    }
    *fields = composer.finish();
}

/// Path, query and fragment of a URL at this server; `None` for any other.
fn own_target(location: &str, server: &OriginServer) -> Option<String> {
    let (scheme, rest) = location.split_once("://")?;
    let (own_scheme, default_port) = if server.tls { ("https", 443) } else { ("http", 80) };
    if !scheme.eq_ignore_ascii_case(own_scheme) {
        return None;
    }
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (host, port) = split(authority, default_port)?;
    let (own_host, own_port) = split(&server.authority, default_port)?;
    let is_same = host.eq_ignore_ascii_case(own_host)
        || is_loopback(host) && is_loopback(own_host) && matches!(server.place, Place::Net(..));
    // Two slashes, or what browsers take for them, would begin another authority.
    let is_path = !target.get(1..).is_some_and(|rest| {
        rest.starts_with(|letter: char| matches!(letter, '/' | '\\') || letter.is_ascii_control())
    });
    let slash = if target.starts_with('/') { "" } else { "/" };
    (is_same && port == own_port && is_path).then(|| format!("{slash}{target}"))
}

fn split(authority: &str, default_port: u16) -> Option<(&str, u16)> {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => Some((host, port.parse().ok()?)),
        _ => Some((authority, default_port)),
    }
}

fn is_loopback(host: &str) -> bool {
    LOOPBACK.iter().any(|known| host.eq_ignore_ascii_case(known))
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::own_target;
    use crate::config::values::origin_server;

    fn target(location: &str, origin: &str) -> Option<String> {
        own_target(location, &origin_server(origin).expect("an origin"))
    }

    #[test]
    fn a_redirect_to_the_origin_itself_has_no_host_any_more() {
        const DEV: &str = "http://localhost:5173";
        for (location, left) in [
            ("http://localhost:5173/x?y#z", "/x?y#z"),
            ("HTTP://LOCALHOST:5173", "/"),
            ("http://127.0.0.1:5173/x", "/x"),
            ("http://[::1]:5173?x", "/?x"),
        ] {
            assert_eq!(target(location, DEV).as_deref(), Some(left), "{location}");
        }
        assert_eq!(target("https://a.test:443/x", "https://a.test").as_deref(), Some("/x"));
    }

    #[test]
    fn any_other_redirect_stays_what_it_is() {
        for location in [
            "/x",
            "//localhost:5173/x",
            "https://localhost:5173/x",
            "http://localhost:51730/x",
            "http://localhost:5173@evil.test/x",
            "http://localhost/x",
            "http://a.test:5173/x",
            "http://localhost:5173//evil.test/x",
            "http://localhost:5173/\\evil.test/x",
            "http://localhost:5173/\t/evil.test/x",
        ] {
            assert_eq!(target(location, "http://localhost:5173"), None, "{location}");
        }
        assert_eq!(target("http://127.0.0.1/x", "http://a.test"), None);
    }
}
