//! Sites that want to be asked over TLS only.

use crate::wire::fields::Fields;
use crate::wire::request::RequestHead;

/// Whether the client came over TLS to a trusted proxy, which says so in X-Forwarded-Proto or
/// Forwarded. To send it there again would lead nowhere.
pub fn is_told(fields: &Fields, peer_is_trusted: bool) -> bool {
    let is_https = |value: &[u8]| value.eq_ignore_ascii_case(b"https");
    let parameter = |parameter: &[u8]| {
        let mut parts = parameter.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        let is_proto = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"proto"));
        let value = parts.next().unwrap_or_default();
        let quoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        is_proto && is_https(quoted.unwrap_or(value))
    };
    let mut elements = fields.tokens("forwarded").flat_map(|one| one.split(|byte| *byte == b';'));
    peer_is_trusted && (fields.tokens("x-forwarded-proto").any(is_https) || elements.any(parameter))
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
