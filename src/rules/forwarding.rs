//! What passes from one side to the other: which fields the origin sees of a request, which the
//! client sees of a response, and what this server says about itself in both.

use super::cache_control::{SURROGATE, split_unquoted};
use super::cache_status::CACHE_STATUS;
use super::conditional::CONDITIONS;
use super::https;
use super::loops::{self, Identity};
use super::vary;
use crate::wire::fields::Fields;
use crate::wire::names;
use crate::wire::request::RequestHead;
use crate::wire::response::ResponseHead;
use crate::wire::{Framing, Version};
use http::Method;
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::SystemTime;

/// One request's way through this server.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// Who holds the connection.
    pub peer: IpAddr,
    /// The peer is a proxy whose word about the client is taken.
    pub peer_is_trusted: bool,
    /// `http` or `https`, as the connection is.
    pub scheme: &'static str,
    /// The Host that the origin shall see.
    pub host: &'a str,
    /// The certificate that the client has shown on this connection, as Client-Cert says it.
    pub client_certificate: Option<&'a str>,
    /// Misleading fields that the site passes on all the same.
    pub allowed: &'a [String],
    /// This server.
    pub identity: &'a Identity,
    /// Lines that tell what the request is called: X-Request-Id, and its place in a trace.
    pub about_request: &'a [u8],
}

/// The head that the origin receives.
pub fn request_head(head: &RequestHead, hop: &Hop<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    put(&mut out, &[head.method.as_str(), " ", head.target(), " HTTP/1.1\r\nHost: ", hop.host]);
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.fields.iter().filter(|(name, _)| goes_to_origin(name, head, hop)) {
        field(&mut out, name, value);
    }
    if let Some(left) = forwards_left(head) {
        put(&mut out, &["Max-Forwards: ", &left.saturating_sub(1).to_string(), "\r\n"]);
    }
    match head.framing {
        Framing::Length(length) => {
            put(&mut out, &["Content-Length: ", &length.to_string(), "\r\n"])
        }
        Framing::Chunked => put(&mut out, &["Transfer-Encoding: chunked\r\n"]),
        Framing::Empty | Framing::UntilClose => {}
    }
    own_name(&mut out, head, hop);
    connection_options(&mut out, head);
    let host = head.authority_text().unwrap_or(hop.host);
    forwarding_fields(&mut out, hop, &Believed::all(head, hop, host));
    client_certificate(&mut out, head, hop);
    out.extend_from_slice(hop.about_request);
    out.extend_from_slice(b"\r\n");
    out
}

/// Fields that tell of a client's certificate (RFC 9440).
const CLIENT_CERTIFICATE: &[&str] = &["Client-Cert", "Client-Cert-Chain"];

/// Only for the client's own answer: what a fill brings is for everybody. A trusted proxy that knows
/// of a certificate means that of its client, and not the one of its own.
fn client_certificate(out: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>) {
    let mut is_told = false;
    for name in CLIENT_CERTIFICATE {
        for value in head.fields.all(name).filter(|_| hop.peer_is_trusted) {
            field(out, name, value);
            is_told = true;
        }
    }
    if let Some(value) = hop.client_certificate.filter(|_| !is_told) {
        put(out, &["Client-Cert: ", value, "\r\n"]);
    }
}

/// Whether the origin is told more when such a request is passed than the key knows and others may
/// know: of a certificate, or of another host in Forwarded.
pub fn tells_more(fields: &Fields, own_certificate: Option<&str>, peer_is_trusted: bool) -> bool {
    let is_told = |name: &&str| fields.first(name).is_some();
    let names_host = |element| https::parameters(element, b"host").next().is_some();
    own_certificate.is_some()
        || peer_is_trusted
            && (CLIENT_CERTIFICATE.iter().any(is_told)
                || fields.tokens("forwarded").any(names_host))
}

/// What a fill asks, where that is not what its first client asked.
#[derive(Clone, Copy, Debug)]
pub struct FillRequest<'a> {
    /// GET or HEAD.
    pub method: &'a Method,
    /// Path and query of the key.
    pub target: &'a str,
    /// The host of the key, where the client named one.
    pub host: &'a str,
    /// The client's conditions and range go on as they are.
    pub keeps_conditions: bool,
    /// The client's range goes on as it is.
    pub keeps_range: bool,
    /// So does what it says about content codings.
    pub keeps_codings: bool,
    /// Conditions and a range of our own.
    pub own: &'a [(&'a str, &'a [u8])],
}

/// The head of a fill's request. What the key does not hold and an origin could echo is not in it:
/// the Host is the key's, and X-Forwarded-Host and Forwarded with it. The addresses of whoever asked
/// first are told, and whether that was over TLS, where the key does not know it.
pub fn fill_request_head(head: &RequestHead, hop: &Hop<'_>, fill: &FillRequest<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let method = fill.method.as_str();
    put(&mut out, &[method, " ", fill.target, " HTTP/1.1\r\nHost: ", hop.host, "\r\n"]);
    let is_condition = |name: &str| CONDITIONS.iter().any(|known| name.eq_ignore_ascii_case(known));
    for (name, value) in head.fields.iter().filter(|(name, _)| goes_to_origin(name, head, hop)) {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let is_about_content =
            name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("content-"));
        // There is no content for it to be about.
        let is_replaced = is_about_content
            || is("expect")
            || is("accept-encoding") && !fill.keeps_codings
            || is("range") && !(fill.keeps_conditions || fill.keeps_range)
            || is("if-range") && !(fill.keeps_conditions || fill.keeps_range)
            || is_condition(name) && !is("if-range") && !fill.keeps_conditions;
        // What is signed may cover it.
        if is("cache-control") && !fill.keeps_codings {
            demands(&mut out, name, value);
        } else if !is_replaced {
            field(&mut out, name, value);
        }
    }
    // Clients spell in many ways what makes no difference to the answer.
    let codings = vary::accept_encoding(&head.fields).filter(|_| !fill.keeps_codings);
    if let Some(codings) = codings {
        put(&mut out, &["Accept-Encoding: ", &codings, "\r\n"]);
    }
    for (name, value) in fill.own {
        field(&mut out, name, value);
    }
    own_name(&mut out, head, hop);
    connection_options(&mut out, head);
    let host = if fill.host.is_empty() { hop.host } else { fill.host };
    forwarding_fields(&mut out, hop, &Believed::for_all(head, hop, host));
    out.extend_from_slice(hop.about_request);
    out.extend_from_slice(b"\r\n");
    out
}

/// A line of the client's Cache-Control, less what is judged here, where it is known what is stored:
/// it is no answer for all to say that a parent has none, or an old one. The rest goes on, so that
/// who wants it new or not kept is heard everywhere (RFC 9111, section 5.2).
fn demands(out: &mut Vec<u8>, name: &str, line: &[u8]) {
    let is_judged_here = |member: &&[u8]| {
        let directive = member.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        [&b"only-if-cached"[..], b"max-stale"]
            .iter()
            .any(|known| directive.eq_ignore_ascii_case(known))
    };
    if !split_unquoted(line, b',').any(|member| is_judged_here(&member)) {
        return field(out, name, line);
    }
    let left: Vec<&[u8]> =
        split_unquoted(line, b',').filter(|member| !is_judged_here(member)).collect();
    if !left.is_empty() {
        field(out, name, left.join(&b","[..]).trim_ascii());
    }
}

fn goes_to_origin(name: &str, head: &RequestHead, hop: &Hop<'_>) -> bool {
    let is = |known: &str| names::same(name, known);
    if names::is_hop_by_hop(name) || named_by_connection(name, &head.fields) {
        return false;
    }
    if names::is_misleading(name) {
        return hop.allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    }
    // Written anew (Host, CDN-Loop, Max-Forwards, the place in a trace), or not to be believed: of anybody who is not a
    // trusted proxy (Via), of a 1.0 client (Expect).
    !(is("host")
        || is("cdn-loop")
        || is("traceparent")
        || is("tracestate")
        || is("via") && !hop.peer_is_trusted
        || is("expect") && !head.expects_continue
        || is("max-forwards") && forwards_left(head).is_some())
}

/// Who asks, and by which way.
fn own_name(out: &mut Vec<u8>, head: &RequestHead, hop: &Hop<'_>) {
    put(out, &["Surrogate-Capability: ", SURROGATE, "=\"Surrogate/1.0\"\r\n"]);
    field(out, "CDN-Loop", &loops::continued(&head.fields, hop.identity));
    put(out, &["Via: ", head.version.via(), " (", hop.identity.as_str(), ")\r\n"]);
}

/// How many more servers may forward this OPTIONS (RFC 9110, section 7.6.2); other methods and
/// unreadable values have no such limit.
pub fn forwards_left(head: &RequestHead) -> Option<u64> {
    let value = head.fields.first("max-forwards").filter(|_| head.method == Method::OPTIONS)?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn named_by_connection(name: &str, fields: &Fields) -> bool {
    fields.tokens("connection").any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
}

fn connection_options(out: &mut Vec<u8>, head: &RequestHead) {
    let wants_trailers = head.fields.tokens("te").any(|t| t.eq_ignore_ascii_case(b"trailers"));
    match (head.upgrade, wants_trailers) {
        (true, false) => put(out, &["Connection: upgrade\r\n"]),
        (false, true) => put(out, &["Connection: TE\r\nTE: trailers\r\n"]),
        (true, true) => put(out, &["Connection: upgrade, TE\r\nTE: trailers\r\n"]),
        (false, false) => {}
    }
    if head.upgrade {
        for protocol in head.fields.all("upgrade") {
            field(out, "Upgrade", protocol);
        }
    }
}

/// What is told to an origin of the way that a request has come.
struct Believed<'a> {
    scheme: &'static str,
    host: Cow<'a, str>,
    /// X-Forwarded-For as it came.
    addresses: String,
    /// Forwarded as it came.
    elements: String,
}

impl<'a> Believed<'a> {
    /// Nobody but the peer is believed.
    fn nothing(hop: &Hop<'_>, host: &'a str) -> Self {
        let (addresses, elements) = (String::new(), String::new());
        Self { scheme: hop.scheme, host: Cow::Borrowed(host), addresses, elements }
    }

    /// All that a trusted proxy says. `host` is the client's own word.
    fn all(head: &RequestHead, hop: &Hop<'_>, host: &'a str) -> Self {
        if !hop.peer_is_trusted {
            return Self::nothing(hop, host);
        }
        let told = |name| {
            let values: Vec<&[u8]> = head.fields.all(name).collect();
            String::from_utf8_lossy(&values.join(&b", "[..])).into_owned()
        };
        let told_host = told("x-forwarded-host");
        let (addresses, mut elements) = (told("x-forwarded-for"), told("forwarded"));
        // A trusted proxy that speaks only the informal fields is heard in the formal one too.
        if elements.is_empty() {
            elements = nodes(&readable(addresses.split(',').map(str::as_bytes)));
        }
        Self {
            scheme: https::scheme(&head.fields, hop.peer_is_trusted, hop.scheme),
            host: if told_host.is_empty() { Cow::Borrowed(host) } else { Cow::Owned(told_host) },
            addresses,
            elements,
        }
    }

    /// What of it may be told for everybody's sake: the host that is in the key, and addresses, with
    /// nothing else that a client could have written beside them.
    fn for_all(head: &RequestHead, hop: &Hop<'_>, host: &'a str) -> Self {
        if !hop.peer_is_trusted {
            return Self::nothing(hop, host);
        }
        let told = Self::all(head, hop, host);
        let addresses = readable(told.addresses.split(',').map(str::as_bytes));
        let elements = told.elements.split(',').map(str::as_bytes);
        let nodes_told = readable(elements.flat_map(|element| https::parameters(element, b"for")));
        let addresses_told: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        // The key knows any other host (`key::additions`), but not how it is spelled.
        let is_in_key = told.host.eq_ignore_ascii_case(host);
        Self {
            host: if is_in_key { Cow::Borrowed(host) } else { told.host },
            addresses: addresses_told.join(", "),
            elements: nodes(&nodes_told),
            ..told
        }
    }
}

fn forwarding_fields(out: &mut Vec<u8>, hop: &Hop<'_>, believed: &Believed<'_>) {
    let Believed { scheme, host, addresses, elements } = believed;
    let peer = hop.peer.to_string();
    let begin = |out: &mut Vec<u8>, name: &str, before: &str| {
        put(out, &[name, ": ", before, if before.is_empty() { "" } else { ", " }]);
    };
    begin(out, "X-Forwarded-For", addresses);
    put(out, &[&peer, "\r\nX-Forwarded-Proto: ", scheme, "\r\nX-Forwarded-Host: ", host, "\r\n"]);
    begin(out, "Forwarded", elements);
    match hop.peer {
        IpAddr::V4(_) => put(out, &["for=", &peer]),
        IpAddr::V6(_) => put(out, &["for=\"[", &peer, "]\""]),
    }
    put(out, &[";host=\""]);
    out.extend(host.bytes().filter(|byte| !matches!(byte, b'"' | b'\\')));
    put(out, &["\";proto=", scheme, "\r\n"]);
}

/// Those members of a list of addresses that are some.
fn readable<'a>(members: impl Iterator<Item = &'a [u8]>) -> Vec<IpAddr> {
    members.filter_map(address).collect()
}

/// Elements of Forwarded for these addresses.
fn nodes(addresses: &[IpAddr]) -> String {
    let elements: Vec<_> = addresses.iter().map(|one| format!("for={}", node(*one))).collect();
    elements.join(", ")
}

/// An address as proxies write it, some of them with the port, and IPv6 in brackets. An IPv4 address
/// in IPv6 is that IPv4 address.
fn address(member: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(member).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let alone = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    let with_port = || text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    alone.or_else(with_port).map(|address| address.to_canonical())
}

/// An address as Forwarded wants it (RFC 7239, section 6).
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

/// Leaves out the trailers that the head of the same message names as those of one connection
/// (RFC 9110, section 7.6.1).
pub fn trailers(trailers: &mut Fields, head: &Fields) {
    trailers.retain(|name| !named_by_connection(name, head));
}

/// The client behind trusted proxies: the right-most address of X-Forwarded-For that is not one of
/// them, or the peer where there is none.
pub fn client_address(fields: &Fields, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    if !is_trusted(&peer) {
        return peer;
    }
    let told: Vec<&[u8]> = fields.tokens("x-forwarded-for").collect();
    let mut client = peer;
    for member in told.into_iter().rev() {
        let Some(told) = address(member) else { break };
        client = told;
        if !is_trusted(&client) {
            break;
        }
    }
    client
}

/// Whether that address is the client's beyond doubt. A trusted proxy that does not tell who asked it,
/// or not so that it can be read, would lend its own to everybody.
pub fn client_is_certain(fields: &Fields, peer: IpAddr, trusted: &[IpNet]) -> bool {
    if !trusted.iter().any(|network| network.contains(&peer)) {
        return true;
    }
    let mut told = fields.tokens("x-forwarded-for").peekable();
    // Many proxies tell nothing where nobody has told them to.
    told.peek().is_some() && told.all(|member| address(member).is_some())
}

/// Whether a request comes from a server of this kind that asks for its own clients, and that may
/// know how an answer is to be kept.
pub fn is_child(request: &Fields, peer_is_trusted: bool) -> bool {
    let names_us = |member: &[u8]| {
        let name = member.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(SURROGATE.as_bytes())
    };
    peer_is_trusted
        && request
            .all("surrogate-capability")
            .flat_map(|line| split_unquoted(line, b','))
            .any(names_us)
}

/// How the client is told where the body ends, and what becomes of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Onward {
    /// The client's own version.
    pub version: Version,
    /// `Length`, `Chunked` or `UntilClose` where there is a body.
    pub framing: Framing,
    /// The connection stays.
    pub persistent: bool,
    /// It keeps what it gets for clients of its own (`is_child`).
    pub is_child: bool,
}

impl Onward {
    /// What the Connection field of an answer with this status says, if anything.
    pub fn connection_option(&self, status: u16) -> Option<&'static str> {
        match (status, self.persistent, self.version) {
            (_, _, Version::Http2) => None,
            (101, _, _) | (426, true, _) => Some("upgrade"),
            (426, false, _) => Some("upgrade, close"),
            (_, false, _) => Some("close"),
            (_, true, Version::Http10) => Some("keep-alive"),
            (_, true, Version::Http11) => None,
        }
    }
}

/// Whether a field of a response with these fields is for more than this connection. It may still
/// be for caches only.
pub fn goes_on(name: &str, fields: &Fields) -> bool {
    !(names::is_hop_by_hop(name) || named_by_connection(name, fields))
}

/// The head that the client receives, with these lines besides: Cache-Status is among them, except
/// in interim answers (1xx).
pub fn response_head(
    head: &ResponseHead,
    onward: &Onward,
    now: SystemTime,
    extra: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    put(&mut out, &["HTTP/1.1 ", &head.status.to_string(), " "]);
    out.extend_from_slice(head.reason());
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.fields.iter() {
        let is_told_anew = !head.is_interim() && name.eq_ignore_ascii_case(CACHE_STATUS);
        let is_withheld = names::is_for_caches(name) && !onward.is_child;
        if goes_on(name, &head.fields) && !is_told_anew && !is_withheld {
            field(&mut out, name, value);
        }
    }
    if matches!(head.status, 101 | 426) {
        for protocol in head.fields.all("upgrade") {
            field(&mut out, "Upgrade", protocol);
        }
    }
    if head.status >= 200 {
        body_framing(&mut out, head, onward);
        // A recipient with a clock adds the Date that an origin without one could not
        // (RFC 9110, section 6.6.1).
        if head.fields.first("date").is_none() {
            put(&mut out, &["Date: ", &httpdate::fmt_http_date(now), "\r\n"]);
        }
    }
    let option = onward.connection_option(head.status).filter(|_| !head.is_interim());
    if let Some(option) = option {
        put(&mut out, &["Connection: ", option, "\r\n"]);
    }
    put(&mut out, &["Via: ", head.via(), "\r\n"]);
    out.extend_from_slice(extra);
    out.extend_from_slice(b"\r\n");
    out
}

fn body_framing(out: &mut Vec<u8>, head: &ResponseHead, onward: &Onward) {
    match onward.framing {
        Framing::Length(length) => put(out, &["Content-Length: ", &length.to_string(), "\r\n"]),
        Framing::Chunked => put(out, &["Transfer-Encoding: chunked\r\n"]),
        // HEAD and 304 tell the length of a body that is not there; 204 must not
        // (RFC 9110, section 8.6).
        Framing::Empty if head.status != 204 => {
            if let Some(length) = head.fields.tokens("content-length").next() {
                field(out, "Content-Length", length);
            }
        }
        Framing::Empty | Framing::UntilClose => {}
    }
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    put(out, &[name, ": "]);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}
