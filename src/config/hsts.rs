//! `hsts`: what answers over TLS say about the next visit (RFC 6797).

use super::Site;
use std::time::Duration;

/// For how long clients that know a site over TLS come back over TLS only.
#[derive(Clone, Debug, PartialEq)]
pub struct Hsts {
    line: String,
}

impl Hsts {
    /// For this long; for all names below the site's, too; browsers may know it from the start.
    pub(super) fn new(max_age: Duration, include_subdomains: bool, preload: bool) -> Self {
        let mut line = format!("Strict-Transport-Security: max-age={}", max_age.as_secs());
        for (is_said, directive) in
            [(include_subdomains, "; includeSubDomains"), (preload, "; preload")]
        {
            line += if is_said { directive } else { "" };
        }
        Self { line: line + "\r\n" }
    }
}

impl Site {
    /// The field line, with its end, that answers over this scheme have; empty where they have none.
    /// Only TLS can vouch for it (RFC 6797, section 7.2).
    pub fn hsts_line(&self, scheme: &str) -> &[u8] {
        let hsts = self.hsts.as_ref().filter(|_| scheme == "https");
        hsts.map_or(&[], |hsts| hsts.line.as_bytes())
    }
}
