//! What of a record goes into a trace, named as OpenTelemetry names it.

use super::record::Record;
use crate::outcome::Outcome;
use crate::trace::Span;
use crate::wire::Version;

/// The span of the request as a whole.
pub(super) fn told(mut span: Span, record: &Record<'_>) -> Span {
    span.took(record.duration.unwrap_or_default());
    if let Some(head) = record.head {
        let method = head.method.as_str();
        // Methods of clients' own making would be names without end.
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PURGE", "BAN"];
        let is_known = known.contains(&method);
        span.name = if is_known { method } else { "HTTP" }.to_owned();
        span.says("http.request.method", if is_known { method } else { "_OTHER" });
        if !is_known {
            span.says("http.request.method_original", method);
        }
        let (path, query) = match head.target().split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (head.target(), None),
        };
        span.says("url.path", path);
        if let Some(query) = query {
            span.says("url.query", query);
        }
        if let Some(authority) = head.authority() {
            span.says("server.address", authority.host);
        }
        span.says(
            "network.protocol.version",
            match head.version {
                Version::Http10 => "1.0",
                Version::Http11 => "1.1",
                Version::Http2 => "2",
            },
        );
        if let Some(agent) = head.fields.first("user-agent") {
            span.says("user_agent.original", String::from_utf8_lossy(agent));
        }
    }
    if record.status > 0 {
        span.counts("http.response.status_code", record.status);
    }
    span.says("client.address", record.client.to_string());
    span.says("brim.outcome", record.outcome.label());
    for (name, word) in [
        ("brim.reason", record.outcome.reason()),
        ("brim.detail", record.detail),
        ("brim.tier", record.tier.map(|tier| tier.label())),
        ("brim.site", record.site.map(|site| site.name.as_str())),
    ] {
        if let Some(word) = word {
            span.says(name, word);
        }
    }
    if let Some(trail) = record.trail {
        let mut id = Vec::new();
        trail.id().write(&mut id);
        span.says("brim.request_id", String::from_utf8_lossy(&id));
    }
    // What a client does wrong is no error of a server (4xx).
    let is_ours = match record.outcome {
        Outcome::Error(reason) => (!(400..500).contains(&record.status)).then_some(reason),
        _ => None,
    };
    span.is_error = record.status >= 500 || is_ours.is_some();
    if span.is_error {
        span.says("error.type", is_ours.map_or_else(|| record.status.to_string(), str::to_owned));
    }
    span
}
