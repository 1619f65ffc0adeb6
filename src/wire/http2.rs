//! Heads and trailers in the language of HTTP/2 (RFC 9113, section 8).
//!
//! There is one judge of what clients and origins send, and he reads HTTP/1.1: what comes over
//! HTTP/2 is written as such for him. What they are sent is written in HTTP/1.1, too, and is said
//! otherwise here.

use super::authority;
use super::body::{self, BadBody, Sender};
use super::fields::{FIELDS_CEILING, Fields};
use super::request::{self, BadRequest, RequestHead};
use super::response::{self, Garbage, ResponseHead};
use super::{Framing, HeadLimits, names};
use bytes::{BufMut, Bytes, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use std::mem::MaybeUninit;

/// Secrets that tables which outlive the request are not to hold (RFC 7541, section 7.1).
const SECRET: [&str; 2] = ["authorization", "cookie"];

/// Room for as many fields as most answers have.
const FIELDS_USUAL: usize = 12;

/// A request's head, as it was written for HTTP/1.1. `None` where it cannot be said in HTTP/2.
pub fn say_request(head: &[u8], is_tls: bool) -> Option<Request<()>> {
    let mut lines = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
    let mut parsed = httparse::Request::new(&mut []);
    let status = httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut parsed, head, &mut lines)
        .ok()?;
    if status.is_partial() {
        return None;
    }
    let mut authority = None;
    let mut fields = HeaderMap::with_capacity(parsed.headers.len());
    for field in parsed.headers.iter() {
        if field.name.eq_ignore_ascii_case("host") {
            authority = Authority::try_from(field.value).ok();
        } else if is_sent(field) {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            let mut value = HeaderValue::from_bytes(field.value).ok()?;
            value.set_sensitive(SECRET.contains(&name.as_str()));
            fields.append(name, value);
        }
    }
    let scheme = if is_tls { Scheme::HTTPS } else { Scheme::HTTP };
    let uri =
        Uri::builder().scheme(scheme).authority(authority?).path_and_query(path(parsed.path?)?);
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(parsed.method?.as_bytes()).ok()?;
    *request.uri_mut() = uri.build().ok()?;
    *request.headers_mut() = fields;
    Some(request)
}

/// Neither about the connection nor said otherwise (RFC 9113, section 8.2.2).
fn is_sent(field: &httparse::Header<'_>) -> bool {
    if field.name.eq_ignore_ascii_case("te") {
        return field.value.eq_ignore_ascii_case(b"trailers");
    }
    field.name.eq_ignore_ascii_case("content-length") || !names::is_hop_by_hop(field.name)
}

/// Bytes that are in no URL, but in HTTP/1.1 requests, are percent-encoded: a `:path` has to be one.
fn path(target: &str) -> Option<PathAndQuery> {
    let is_odd = |byte: &u8| matches!(byte, b'<' | b'>' | b'`' | b'"');
    if !target.bytes().any(|byte| is_odd(&byte)) {
        return PathAndQuery::try_from(target).ok();
    }
    let mut encoded = String::with_capacity(target.len() + 16);
    for character in target.chars() {
        match u8::try_from(character).ok().filter(is_odd) {
            Some(byte) => encoded.push_str(&format!("%{byte:02X}")),
            None => encoded.push(character),
        }
    }
    PathAndQuery::try_from(encoded).ok()
}

/// The head of an answer to this method.
pub fn read_response(
    status: StatusCode,
    fields: &HeaderMap,
    method: &Method,
) -> Result<ResponseHead, Garbage> {
    let mut bytes = BytesMut::with_capacity(1024);
    bytes.put_slice(b"HTTP/1.1 ");
    bytes.put_slice(status.as_str().as_bytes());
    bytes.put_slice(b" \r\n");
    write(&mut bytes, fields);
    match response::parse(&mut bytes, &HeadLimits::OF_ANSWERS, method)? {
        Some(head) => Ok(head.over_http2()),
        None => Err("the head is malformed"),
    }
}

/// The head of a request from a client; `ends` where nothing follows it.
///
/// Most of what makes it malformed (RFC 9113, sections 8.2 and 8.3) never comes this far, because
/// the library resets the stream.
pub fn read_request(
    request: &Request<()>,
    ends: bool,
    limits: &HeadLimits,
) -> Result<RequestHead, BadRequest> {
    let (uri, fields) = (request.uri(), request.headers());
    if request.method() == Method::CONNECT {
        // It has neither scheme nor path, and is not served in any version.
        return Err(BadRequest::MethodNotServed);
    }
    // The library forgets the scheme where there is no `:authority`.
    let scheme_is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    if !scheme_is_known && uri.authority().is_some() {
        return Err(BadRequest::Target);
    }
    // Whoever reads HTTP/1.1 takes it away (RFC 9113, section 8.2.1).
    if fields.values().any(has_space_around) {
        return Err(BadRequest::FieldLine);
    }
    let target = uri.path_and_query().ok_or(BadRequest::Target)?.as_str();
    // Whatever else an absolute target could name, it would be in `:authority`.
    if !(target.starts_with('/') || target == "*") {
        return Err(BadRequest::Target);
    }
    let mut bytes = BytesMut::with_capacity(1024);
    for part in [request.method().as_str(), " ", target, " HTTP/1.1\r\nHost: "] {
        bytes.put_slice(part.as_bytes());
    }
    bytes.put_slice(host(uri, fields)?);
    bytes.put_slice(b"\r\n");
    for (name, value) in fields {
        if name != http::header::HOST && name != http::header::COOKIE {
            put_line(&mut bytes, name, value.as_bytes());
        }
    }
    // Its crumbs are one field to everybody else (RFC 9113, section 8.2.3).
    let cookies: Vec<&[u8]> =
        fields.get_all(http::header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !cookies.is_empty() {
        put_line(&mut bytes, &http::header::COOKIE, &cookies.join(&b"; "[..]));
    }
    bytes.put_slice(b"\r\n");
    let head = request::Parser::default().next(&mut bytes, limits)?;
    let head = head.ok_or(BadRequest::FieldLine)?;
    let framing = match (head.framing, ends) {
        (Framing::Length(length), true) if length > 0 => return Err(BadRequest::LengthMalformed),
        (Framing::Empty, false) => Framing::Chunked,
        (framing, _) => framing,
    };
    Ok(head.over_http2(framing))
}

fn has_space_around(value: &HeaderValue) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_space(value.as_bytes().first()) || is_space(value.as_bytes().last())
}

/// `:authority`, or Host where there is none. Both must name the same (RFC 9113, section 8.3.1).
fn host<'a>(uri: &'a Uri, fields: &'a HeaderMap) -> Result<&'a [u8], BadRequest> {
    let mut lines = fields.get_all(http::header::HOST).iter().map(HeaderValue::as_bytes);
    let (host, repeated) = (lines.next(), lines.next());
    if repeated.is_some() {
        return Err(BadRequest::HostRepeated);
    }
    let Some(authority) = uri.authority() else { return host.ok_or(BadRequest::HostMissing) };
    let authority = authority.as_str().as_bytes();
    let read = |text| authority::parse(text).ok_or(BadRequest::HostMalformed);
    let named = read(authority)?;
    let port = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    match host.map(read).transpose()? {
        Some(host) if !authority::same(host, named, port) => Err(BadRequest::HostDisagrees),
        _ => Ok(authority),
    }
}

/// The head of an answer, as it was written for HTTP/1.1. `None` where it is none of ours.
pub fn say_response(head: Vec<u8>) -> Option<Response<()>> {
    let bytes = Bytes::from(head);
    let mut from = memchr::memchr(b'\n', &bytes)? + 1;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_bytes(bytes.get(9..12)?).ok()?;
    let mut fields = HeaderMap::with_capacity(FIELDS_USUAL);
    while let Some(len) = memchr::memchr(b'\n', &bytes[from..]) {
        let line = bytes[from..from + len].strip_suffix(b"\r")?;
        let Some(colon) = memchr::memchr(b':', line) else { break };
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        if !names::is_hop_by_hop(name.as_str()) || name == http::header::CONTENT_LENGTH {
            let value = line[colon + 1..].trim_ascii_start();
            let value = HeaderValue::from_maybe_shared(bytes.slice_ref(value)).ok()?;
            fields.append(name, value);
        }
        from += len + 1;
    }
    *response.headers_mut() = fields;
    Some(response)
}

/// The trailers of a message.
pub fn read_trailers(
    fields: &HeaderMap,
    sender: Sender,
    limits: &HeadLimits,
) -> Result<Fields, BadBody> {
    if sender == Sender::Client && fields.values().any(has_space_around) {
        return Err("a trailer field has space around its value");
    }
    let mut bytes = BytesMut::with_capacity(256);
    write(&mut bytes, fields);
    body::trailers(bytes.freeze(), sender, limits)
}

/// The same for the other side.
pub fn say_trailers(fields: &Fields) -> HeaderMap {
    let mut sent = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        let field = HeaderName::from_bytes(name.as_bytes()).ok();
        if let Some((name, value)) = field.zip(HeaderValue::from_bytes(value).ok()) {
            sent.append(name, value);
        }
    }
    sent
}

fn write(bytes: &mut BytesMut, fields: &HeaderMap) {
    for (name, value) in fields {
        put_line(bytes, name, value.as_bytes());
    }
    bytes.put_slice(b"\r\n");
}

fn put_line(bytes: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        bytes.put_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(head: &str) -> Request<()> {
        say_request(head.as_bytes(), true).expect("a head")
    }

    #[test]
    fn what_is_about_the_connection_is_not_said_and_secrets_are_marked() {
        let head = said(
            "POST /a HTTP/1.1\r\nHost: a.test:8443\r\nCookie: a=b\r\nX-A: 1\r\nX-A: 2\r\n\
             Transfer-Encoding: chunked\r\nConnection: TE\r\nTE: trailers\r\n\r\n",
        );
        assert_eq!(head.uri().to_string(), "https://a.test:8443/a");
        let names: Vec<&str> = head.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["cookie", "x-a", "te"]);
        assert!(head.headers()["cookie"].is_sensitive() && !head.headers()["x-a"].is_sensitive());
        assert_eq!(head.headers().get_all("x-a").iter().count(), 2);
        let other = said("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\nContent-Length: 3\r\n\r\n");
        assert!(!other.headers().contains_key("te"));
        assert_eq!(other.headers()["content-length"], "3");
    }

    #[test]
    fn every_target_can_be_said() {
        for (target, path) in [
            ("*", "*"),
            ("/", "/"),
            ("/?", "/?"),
            ("//a", "//a"),
            ("/a<b>`\"{}|\\^?c=\"<>`", "/a%3Cb%3E%60%22{}|\\^?c=%22%3C%3E%60"),
        ] {
            let head = said(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!(head.uri().path_and_query().map(PathAndQuery::as_str), Some(path));
        }
        let all: String = (b'!'..=b'~').filter(|byte| *byte != b'#').map(char::from).collect();
        said(&format!("GET /{all}?{all} HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"));
    }

    #[test]
    fn trailers_that_must_not_be_any_are_left_out() {
        let mut fields = HeaderMap::new();
        fields.insert("x-sum", HeaderValue::from_static("1"));
        fields.insert("content-length", HeaderValue::from_static("1"));
        let read =
            read_trailers(&fields, Sender::Origin, &HeadLimits::OF_ANSWERS).expect("trailers");
        assert_eq!(read.iter().collect::<Vec<_>>(), [("x-sum", &b"1"[..])]);
        fields.insert("x-long", HeaderValue::from_str(&"x".repeat(20_000)).expect("a value"));
        assert!(read_trailers(&fields, Sender::Origin, &HeadLimits::OF_ANSWERS).is_err());
    }
}
