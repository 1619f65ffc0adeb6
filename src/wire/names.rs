//! Which field names have a meaning of their own for whoever carries a message.

/// Fields of one connection, never forwarded (RFC 9110, section 7.6.1), and those that frame a
/// message, which every hop writes anew.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Fields that make origins believe in another client, URL, host or method than the one that the
/// cache key and the log know. Whoever may set them can poison a cache.
const MISLEADING: &[&str] = &[
    "brim-purge-hops",
    "brim-purge-way",
    "base-url",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded-for",
    "forwarded-host",
    "front-end-https",
    "host-override",
    "http-host",
    "proxy",
    "request-uri",
    "ssl-cert",
    "surrogate-capability",
    "true-client-ip",
    "uri",
    "url",
    "x-accel-mapping",
    "x-accel-redirect",
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-azure-clientip",
    "x-backend-host",
    "x-client-dn",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-custom-ip-authorization",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-forwarded",
    "x-host",
    "x-host-override",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-http-scheme",
    "x-invoke-path",
    "x-invoke-query",
    "x-matched-path",
    "x-method-override",
    "x-middleware-subrequest",
    "x-now-route-matches",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-override-url",
    "x-proxy-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-scheme",
    "x-sendfile-type",
    "x-server-name",
    "x-url-scheme",
    "x-wap-profile",
];

/// How names of such fields begin: X-Forwarded-Port and the like, and what proxies say of a client's
/// certificate to whoever believes them (Client-Cert of RFC 9440 has many older relatives).
const MISLEADING_BEGINNINGS: &[&str] = &[
    "cf-client-cert-",
    "ssl-client-",
    "x-amzn-mtls-clientcert",
    "x-client-cert",
    "x-forwarded-",
    "x-ssl-",
];

/// How long to keep a response and under which names to purge it: for caches only.
const FOR_CACHES: &[&str] =
    &["cache-tag", "edge-cache-tag", "surrogate-control", "surrogate-key", "xkey"];

/// Framing, routing, authentication, request modifiers, response control and how to read the
/// content: not in a trailer section (RFC 9110, section 6.5.1).
const FORBIDDEN_IN_TRAILERS: &[&str] = &[
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "expect",
    "expires",
    "host",
    "location",
    "max-forwards",
    "pragma",
    "range",
    "retry-after",
    "set-cookie",
    "trailer",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

/// Belongs to one connection.
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.iter().any(|known| same(name, known))
}

/// Makes origins believe things that the client may not decide.
pub fn is_misleading(name: &str) -> bool {
    is_written_by_us(name)
        || MISLEADING_BEGINNINGS.iter().any(|known| starts_with(name, known))
        || MISLEADING.iter().any(|known| same(name, known))
}

/// `Forwarded` and its informal relatives, the certificate of the client (RFC 9440, section 2.4), and
/// what the request is called.
pub fn is_written_by_us(name: &str) -> bool {
    [
        "client-cert",
        "client-cert-chain",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    ]
    .iter()
    .any(|known| same(name, known))
}

/// Not meant for clients.
pub fn is_for_caches(name: &str) -> bool {
    FOR_CACHES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Tells of the one request that was answered: not for who gets the same answer later.
pub fn is_of_one_request(name: &str) -> bool {
    ["traceparent", "traceresponse", "tracestate", "x-request-id"]
        .iter()
        .any(|known| same(name, known))
}

/// Must not come after the body.
pub fn is_forbidden_in_trailers(name: &str) -> bool {
    is_hop_by_hop(name)
        || is_misleading(name)
        || starts_with(name, "if-")
        || FORBIDDEN_IN_TRAILERS.iter().any(|known| same(name, known))
}

/// Whether two field names are one for an origin: CGI and its heirs turn `-` (and some of them `.`)
/// into `_`, so that `X_Forwarded_For` is as good as `X-Forwarded-For` there. `known` is in lower
/// case.
pub fn same(name: &str, known: &str) -> bool {
    name.len() == known.len() && starts_with(name, known)
}

fn starts_with(name: &str, known: &str) -> bool {
    name.len() >= known.len()
        && name.bytes().zip(known.bytes()).all(|(byte, known)| {
            known == if matches!(byte, b'_' | b'.') { b'-' } else { byte.to_ascii_lowercase() }
        })
}
