//! What somebody asks about, as the client would send it.

use crate::admin::query::Query;
use crate::rules::purging::{AskedFor, asked_for};
use crate::wire::HeadLimits;
use crate::wire::request::{BadRequest, Parser, RequestHead};
use bytes::BytesMut;
use http::{HeaderName, Method};

/// A request that nobody has sent.
pub(super) struct Asked {
    /// As it is written.
    pub(super) method: String,
    pub(super) scheme: &'static str,
    authority: String,
    target: String,
    /// Read as a client's is.
    pub(super) head: Result<RequestHead, BadRequest>,
    /// The origin is to be asked, too.
    pub(super) fetches: bool,
}

impl Asked {
    /// What is asked for.
    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.authority, self.target)
    }
}

/// A head beyond these limits is one that the edge refuses.
pub(super) fn read(query: &Query<'_>, limits: &HeadLimits) -> Result<Asked, String> {
    let url = query.value("url").ok_or("`url` is missing: which URL?")?;
    let AskedFor { scheme, mut authority, target } = asked_for(url)?;
    let method = query.value("method").unwrap_or("GET");
    if Method::from_bytes(method.as_bytes()).is_err() {
        return Err("`method` is not a method".to_owned());
    }
    let fetches = match query.value("fetch") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err("`fetch`: expected true or false".to_owned()),
    };
    let mut lines = String::new();
    for line in query.values("header") {
        let (name, value) = field(line)?;
        if name.eq_ignore_ascii_case("host") {
            value.clone_into(&mut authority);
        } else {
            lines += &format!("{name}: {value}\r\n");
        }
    }
    let text = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{lines}\r\n");
    let head = Parser::default().next(&mut BytesMut::from(text.as_bytes()), limits);
    // There is an end to it: to need more would be to have read it in another way.
    let head = head.and_then(|head| head.ok_or(BadRequest::RequestLine));
    Ok(Asked { method: method.to_owned(), scheme, authority, target, head, fetches })
}

/// `Name: value`, on one line.
fn field(line: &str) -> Result<(&str, &str), String> {
    let expected = || "`header`: expected \"Name: value\"".to_owned();
    let (name, value) = line.split_once(':').ok_or_else(expected)?;
    let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
    let is_value = !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t');
    if is_name && is_value { Ok((name, value.trim())) } else { Err(expected()) }
}
