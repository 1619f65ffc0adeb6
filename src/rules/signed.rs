//! Requests whose sender has signed them for the origin: object storage checks every byte that a
//! signature covers, so that nothing of it may be spelled another way.

use super::conditional::CONDITIONS;
use crate::wire::request::RequestHead;

/// What a signature covers, as far as a cache would change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Conditions or a range that the request has.
    pub covers_conditions: bool,
}

/// Whether a request looks signed: it has credentials, or its query has a signature. Which of the
/// many schemes it is does not matter; being too careful costs a stored copy.
pub fn signed(head: &RequestHead) -> Option<Signed> {
    let authorization = head.fields.first("authorization");
    let query = head.target().split_once('?').map(|(_, query)| query).unwrap_or_default();
    let has_signature = query.split('&').any(|parameter| {
        let name = parameter.split('=').next().unwrap_or_default().to_ascii_lowercase();
        name.contains("signature") || matches!(name.as_str(), "sig" | "sign")
    });
    if authorization.is_none() && !has_signature {
        return None;
    }
    // `SignedHeaders=host;range` in either place; separators may be escaped.
    let covered = [query.as_bytes(), authorization.unwrap_or_default()].concat();
    let covered = String::from_utf8_lossy(&covered).to_ascii_lowercase();
    let list = covered.split("signedheaders=").nth(1).unwrap_or_default();
    let list = list.split(['&', ',']).next().unwrap_or_default();
    let covers = |name: &&&str| head.fields.first(name).is_some() && list.contains(**name);
    let covers_conditions = CONDITIONS.iter().chain(&["range"]).any(|name| covers(&name));
    Some(Signed { covers_conditions })
}
