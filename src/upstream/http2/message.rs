//! Heads and trailers in the language of HTTP/2 (RFC 9113, section 8).
//!
//! There is one judge of what an origin sends, and he reads HTTP/1.1: what comes over HTTP/2 is
//! written as such for him.

use crate::wire::body::{self, BadBody};
use crate::wire::fields::{FIELDS_CEILING, Fields};
use crate::wire::response::{self, Garbage, ResponseHead};
use crate::wire::{HeadLimits, names};
use bytes::{BufMut, BytesMut};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use std::mem::MaybeUninit;

/// Secrets that tables which outlive the request are not to hold (RFC 7541, section 7.1).
const SECRET: [&str; 2] = ["authorization", "cookie"];

/// A request's head, as it was written for HTTP/1.1. `None` where it cannot be said in HTTP/2.
pub(super) fn request(head: &[u8], is_tls: bool) -> Option<Request<()>> {
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
pub(super) fn response(
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

/// The trailers of an answer.
pub(super) fn trailers(fields: &HeaderMap) -> Result<Fields, BadBody> {
    let mut bytes = BytesMut::with_capacity(256);
    write(&mut bytes, fields);
    body::trailers(bytes.freeze(), body::Sender::Origin, &HeadLimits::OF_ANSWERS)
}

/// The trailers of a request.
pub(super) fn sent_trailers(fields: &Fields) -> HeaderMap {
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
        bytes.put_slice(name.as_str().as_bytes());
        bytes.put_slice(b": ");
        bytes.put_slice(value.as_bytes());
        bytes.put_slice(b"\r\n");
    }
    bytes.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(head: &str) -> Request<()> {
        request(head.as_bytes(), true).expect("a head")
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
        let read = trailers(&fields).expect("trailers");
        assert_eq!(read.iter().collect::<Vec<_>>(), [("x-sum", &b"1"[..])]);
        fields.insert("x-long", HeaderValue::from_str(&"x".repeat(20_000)).expect("a value"));
        assert!(trailers(&fields).is_err());
    }
}
