//! Whether a client came over TLS, and where it goes if a site wants that of it.

use crate::config::Site;
use crate::wire::fields::Fields;
use crate::wire::request::RequestHead;

/// `http` or `https`, as the client has asked for. A trusted proxy says how its client came, in
/// X-Forwarded-Proto or Forwarded; `own` is how the connection here is. One way for all who want to
/// know: what is told to an origin, what the key knows and who is sent to TLS are never two things.
pub fn scheme(fields: &Fields, peer_is_trusted: bool, own: &'static str) -> &'static str {
    if !peer_is_trusted {
        return own;
    }
    // Of several hops, one over TLS is enough: to send its client there again would lead nowhere.
    if is_told(fields, b"https") {
        "https"
    } else if is_told(fields, b"http") {
        "http"
    } else {
        own
    }
}

fn is_told(fields: &Fields, scheme: &[u8]) -> bool {
    let is_it = |value: &[u8]| value.eq_ignore_ascii_case(scheme);
    let mut elements = fields.tokens("forwarded");
    fields.tokens("x-forwarded-proto").any(is_it)
        || elements.any(|element| parameters(element, b"proto").any(is_it))
}

/// The values of a parameter in an element of Forwarded (RFC 7239, section 4).
pub(super) fn parameters<'a>(element: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    element.split(|byte| *byte == b';').filter_map(move |parameter| {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        let is_it = parts.next().is_some_and(|told| told.eq_ignore_ascii_case(name));
        let value = parts.next().filter(|_| is_it)?;
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(quoted.unwrap_or(value))
    })
}

/// Whether a client is sent to where there is TLS.
pub fn is_demanded(site: &Site, fields: &Fields, peer_is_trusted: bool, own: &'static str) -> bool {
    site.redirect_to_https && scheme(fields, peer_is_trusted, own) != "https"
}

/// The same URL over TLS; `None` where the client names no host.
pub fn location(head: &RequestHead, port: u16) -> Option<String> {
    let host = head.authority()?.host;
    // Of OPTIONS *, which is about the host itself.
    let target = if head.target() == "*" { "/" } else { head.target() };
    Some(match port {
        443 => format!("https://{host}{target}"),
        _ => format!("https://{host}:{port}{target}"),
    })
}
