//! What must hold for any bytes whatever. `cargo fuzz` searches with these for as long as it is
//! let; the same functions run on mutated seeds for a bounded time inside the tests.

use brim::config::{self, Query, Site};
use brim::rules::cache_control::Demands;
use brim::rules::conditional::{self, Condition};
use brim::rules::forwarding::{self, Hop};
use brim::rules::freshness::{Trouble, Use};
use brim::rules::key::Key;
use brim::rules::loops::{self, Identity, Looped};
use brim::rules::purging::{Wish, targets};
use brim::rules::range::{self, Resolved};
use brim::rules::site::SiteMap;
use brim::rules::storing::{self, Asked, Policy, Received};
use brim::rules::vary::{self, Variant};
use brim::wire::body::{Decoder, Encoding, Frame, Sender, Step};
use brim::wire::fields::{Composer, Fields};
use brim::wire::proxy;
use brim::wire::request::{BadRequest, Parser, RequestHead};
use brim::wire::{Framing, HeadLimits, http2, names, response};
use bytes::BytesMut;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A request head is read in one way only: the same however it is cut into packets, without a
/// line that other parsers would end elsewhere, and as another parser reads it.
pub(crate) fn request_head(data: &[u8]) {
    let limits = HeadLimits::default();
    let mut whole = BytesMut::from(data);
    let at_once = Parser::default().next(&mut whole, &limits);
    let in_pieces = arrive_in_pieces(data, &limits);
    match (&at_once, &in_pieces) {
        (Ok(Some(a)), Ok(Some(b))) => assert_same(a, b),
        // A refusal may come earlier, and for another reason, when fewer bytes are there yet.
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        _ => panic!("at once {at_once:?}, in pieces {in_pieces:?}"),
    }
    let Ok(Some(head)) = at_once else { return };
    let used = data.len() - whole.len();
    assert_eq!(whole, data[used..], "what follows the head stays as it was");
    second_opinion(&data[..used], &head);
    assert!(matches!(head.framing, Framing::Empty | Framing::Length(_) | Framing::Chunked));
    assert!(head.target() == "*" || head.target().starts_with('/'));
    assert!(head.target().bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(head.authority().is_some(), head.authority_text().is_some());
    for (name, value) in head.fields.iter() {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }
}

/// Feeds one byte more each time, as the slowest client would.
fn arrive_in_pieces(data: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, BadRequest> {
    let mut parser = Parser::default();
    let mut buf = BytesMut::new();
    for byte in data {
        buf.extend_from_slice(&[*byte]);
        match parser.next(&mut buf, limits) {
            Ok(None) => {}
            done => return done,
        }
    }
    Ok(None)
}

fn assert_same(a: &RequestHead, b: &RequestHead) {
    assert_eq!(a.method, b.method);
    assert_eq!(a.target(), b.target());
    assert_eq!(a.authority_text(), b.authority_text());
    assert_eq!((a.version, a.framing, a.persistent), (b.version, b.framing, b.persistent));
    assert!(a.fields.iter().eq(b.fields.iter()));
}

/// httparse by itself, which is more lenient, must agree on every field of what was accepted.
fn second_opinion(text: &[u8], head: &RequestHead) {
    assert!(text.ends_with(b"\r\n\r\n"));
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(text[at - 1], b'\r', "a bare LF"),
            b'\r' => assert_eq!(text[at + 1], b'\n', "a bare CR"),
            _ => {}
        }
    }
    let mut lines = vec![httparse::EMPTY_HEADER; 1024];
    let mut parsed = httparse::Request::new(&mut lines);
    assert_eq!(parsed.parse(text), Ok(httparse::Status::Complete(text.len())));
    assert_eq!(parsed.method, Some(head.method.as_str()));
    let fields = parsed.headers.iter().map(|line| (line.name, line.value));
    assert!(fields.eq(head.fields.iter()));
    let count = |name: &str| head.fields.all(name).count();
    assert!(count("content-length") <= 1 && count("host") <= 1);
    assert!(count("content-length") == 0 || count("transfer-encoding") == 0);
}

/// A response head is the same however it is cut into packets, and its framing is one of those
/// that the RFC knows.
pub(crate) fn response_head(data: &[u8]) {
    let limits = HeadLimits::default();
    for method in [http::Method::GET, http::Method::HEAD] {
        let at_once = response::parse(&mut BytesMut::from(data), &limits, &method);
        let mut buf = BytesMut::new();
        let mut in_pieces = Ok(None);
        for byte in data {
            buf.extend_from_slice(&[*byte]);
            in_pieces = response::parse(&mut buf, &limits, &method);
            if !matches!(in_pieces, Ok(None)) {
                break;
            }
        }
        match (&at_once, &in_pieces) {
            (Ok(Some(a)), Ok(Some(b))) => {
                assert_eq!(
                    (a.status, a.framing, a.persistent),
                    (b.status, b.framing, b.persistent)
                );
                assert!(a.reason() == b.reason() && a.fields.iter().eq(b.fields.iter()));
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
            _ => panic!("at once {at_once:?}, in pieces {in_pieces:?}"),
        }
        let Ok(Some(head)) = at_once else { continue };
        assert!((100..600).contains(&head.status));
        assert!(!head.reason().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        if method == http::Method::HEAD || matches!(head.status, 100..200 | 204 | 304) {
            assert_eq!(head.framing, Framing::Empty);
        }
        assert!(head.framing != Framing::UntilClose || !head.persistent);
    }
}

/// A chunked body is the same body however it is cut into packets, and what is written for it is
/// read back as the same.
pub(crate) fn chunked_body(data: &[u8]) {
    for sender in [Sender::Client, Sender::Origin] {
        let at_once = decode(data, data.len().max(1), sender);
        let in_pieces = decode(data, 1, sender);
        assert_eq!(at_once, in_pieces, "cut differently");
        let Ok((body, trailers, true, _)) = at_once else { continue };
        let mut again = Vec::new();
        if !body.is_empty() {
            let bytes = bytes::Bytes::from(body.clone());
            let (before, after) = Encoding::Chunked.around(bytes.len());
            again.extend_from_slice(&before);
            again.extend_from_slice(&bytes);
            again.extend_from_slice(after);
        }
        again.extend_from_slice(b"0\r\n");
        for (name, value) in &trailers {
            again.extend_from_slice(format!("{name}: ").as_bytes());
            again.extend_from_slice(value);
            again.extend_from_slice(b"\r\n");
        }
        again.extend_from_slice(b"\r\n");
        assert_eq!(decode(&again, again.len(), sender), Ok((body, trailers, true, 0)));
    }
}

/// Content, trailers, whether it ended, and how many bytes were left.
type Decoded = (Vec<u8>, Vec<(String, Vec<u8>)>, bool, usize);

fn decode(data: &[u8], piece: usize, sender: Sender) -> Result<Decoded, ()> {
    let mut decoder = Decoder::new(Framing::Chunked, sender, HeadLimits::default());
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    let mut buf = BytesMut::new();
    let mut pieces = data.chunks(piece);
    loop {
        match decoder.step(&mut buf).map_err(|_| ())? {
            Step::Frame(Frame::Data(data)) => {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
            Step::Frame(Frame::Trailers(fields)) => {
                assert!(!fields.is_empty());
                trailers.extend(fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec())));
            }
            Step::Done => {
                let left = buf.len() + pieces.map(<[u8]>::len).sum::<usize>();
                return Ok((body, trailers, true, left));
            }
            Step::More => match pieces.next() {
                Some(piece) => buf.extend_from_slice(piece),
                None => return Ok((body, trailers, false, buf.len())),
            },
        }
    }
}

/// What is sent to an origin for a request is one head, which says what the client asked for and
/// nothing that the client may not say.
pub(crate) fn forwarded_request(data: &[u8]) {
    let read = |bytes: &[u8]| {
        let limits =
            HeadLimits { head_bytes_max: 1 << 20, fields_max: 1024, ..HeadLimits::default() };
        let mut buf = BytesMut::from(bytes);
        let head = Parser::default().next(&mut buf, &limits).ok().flatten();
        head.filter(|_| buf.is_empty())
    };
    let limits = HeadLimits { fields_max: 100, ..HeadLimits::default() };
    let Ok(Some(head)) = Parser::default().next(&mut BytesMut::from(data), &limits) else { return };
    let identity = Identity::new([7; 8]);
    let host = head.authority_text().unwrap_or("origin.test").to_ascii_lowercase();
    for peer_is_trusted in [false, true] {
        let peer = "2001:db8::7".parse().expect("an address");
        let (scheme, allowed) = ("http", &[][..]);
        let (host, identity) = (&*host, &identity);
        let (client_certificate, about_request) = (None, &b"X-Request-Id: ours\r\n"[..]);
        let hop = Hop {
            peer,
            peer_is_trusted,
            scheme,
            host,
            client_certificate,
            allowed,
            identity,
            about_request,
        };
        let text = forwarding::request_head(&head, &hop);
        let sent = read(&text).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&text)));
        second_opinion(&text, &sent);
        assert_eq!((sent.method.as_str(), sent.target()), (head.method.as_str(), head.target()));
        assert_eq!((sent.framing, sent.upgrade), (head.framing, head.upgrade));
        assert_eq!(sent.authority_text(), Some(host));
        assert_forwarded(&head, &sent, &hop);
        let method = http::Method::GET;
        let fill = forwarding::FillRequest {
            method: &method,
            target: head.target(),
            host,
            keeps_conditions: false,
            keeps_range: false,
            keeps_codings: false,
            own: &[("If-None-Match", b"\"a\"")],
        };
        if head.upgrade || head.framing.has_body() || head.target() == "*" {
            continue;
        }
        let text = forwarding::fill_request_head(&head, &hop, &fill);
        let sent = read(&text).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&text)));
        assert_eq!((sent.method.as_str(), sent.framing), ("GET", Framing::Empty));
        assert!(sent.fields.all("if-none-match").eq([&b"\"a\""[..]]));
        for name in ["range", "if-range", "if-match", "if-modified-since", "content-type", "expect"]
        {
            assert!(sent.fields.first(name).is_none(), "{name}");
        }
        assert_forwarded(&head, &sent, &hop);
    }
}

fn assert_forwarded(head: &RequestHead, sent: &RequestHead, hop: &Hop<'_>) {
    let only = |name: &str| {
        let mut lines = sent.fields.iter().filter(|(known, _)| names::same(known, name));
        let line = lines.next().map(|(_, value)| value.to_vec());
        assert!(lines.next().is_none(), "{name} is told twice");
        line.unwrap_or_else(|| panic!("there is no {name}"))
    };
    let peer = hop.peer.to_string();
    let forwarded_for = only("x-forwarded-for");
    assert!(forwarded_for.ends_with(peer.as_bytes()));
    assert!(hop.peer_is_trusted || forwarded_for == peer.as_bytes());
    assert!(hop.peer_is_trusted || only("x-forwarded-proto") == hop.scheme.as_bytes());
    let element = format!("for=\"[{peer}]\"");
    let forwarded = only("forwarded");
    assert!(memchr::memmem::find(&forwarded, element.as_bytes()).is_some());
    assert!(hop.peer_is_trusted || forwarded.starts_with(element.as_bytes()));
    assert!(memchr::memmem::find(&only("cdn-loop"), hop.identity.as_str().as_bytes()).is_some());
    only("host");
    assert_eq!(only("x-request-id"), b"ours");
    only("x-forwarded-host");
    only("surrogate-capability");
    assert_eq!(loops::check(&sent.fields, hop.identity), Err(Looped::Here));
    // Nothing comes from the client that is of its connection only, or makes origins believe.
    let written = ["connection", "te", "upgrade", "content-length", "transfer-encoding"];
    for (name, value) in sent.fields.iter() {
        let is_kept = head.fields.iter().any(|line| line == (name, value));
        let is_ours = names::is_written_by_us(name) || names::same(name, "surrogate-capability");
        assert!(!names::is_misleading(name) || is_ours, "{name}");
        assert!(!names::is_hop_by_hop(name) || written.iter().any(|n| names::same(name, n)));
        let is_named =
            head.fields.tokens("connection").any(|n| n.eq_ignore_ascii_case(name.as_bytes()));
        let own = ["host", "cdn-loop", "via", "max-forwards", "connection", "te", "upgrade"];
        let is_own = own.iter().any(|n| names::same(name, n));
        assert!(
            !(is_kept && is_named) || is_ours || is_own || names::is_hop_by_hop(name),
            "{name}"
        );
    }
}

/// When it is.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// The fields of a response head, which stand for those of its request as well.
fn fields_of(data: &[u8]) -> Option<(u16, Fields)> {
    let method = http::Method::HEAD;
    let head = response::parse(&mut BytesMut::from(data), &HeadLimits::default(), &method);
    head.ok().flatten().map(|head| (head.status, head.fields))
}

/// An answer that is kept may be kept as far as a simple reader can tell, and is at no time used
/// against its terms.
pub(crate) fn judged_response(data: &[u8]) {
    let Some((status, fields)) = fields_of(data) else { return };
    let demands = Demands::of_request(&fields);
    let age = storing::age_said(&fields);
    let variant = Variant::new(&fields, &fields);
    assert!(variant.matches(&fields, fields.first("content-language")));
    let codings = vary::accept_encoding(&fields);
    assert!(codings.is_none_or(|codings| !codings.is_empty()));
    assert!(storing::withheld(&fields).iter().any(|name| name == "set-cookie"));
    for flags in 0..16_u8 {
        let is = |bit: u8| flags & (1 << bit) != 0;
        let asked = Asked {
            target: "/a.css",
            host: "a.test",
            has_authorization: is(0),
            forbids_storing: false,
            is_spelled_otherwise: false,
            is_ordinary: is(1),
        };
        let policy = Policy {
            ttl: is(2).then(|| Duration::from_secs(9)),
            heuristics: is(3),
            guards_deception: is(1),
            ..Policy::default()
        };
        let received = Received { now: now(), delay: Duration::from_secs(flags.into()), age };
        let Ok(terms) = storing::judge(&asked, status, &fields, &policy, received) else {
            continue;
        };
        assert_may_be_kept(status, &fields, is(0));
        assert!(terms.born <= now() && terms.age(now()) >= age);
        assert_eq!(policy.ttl.filter(|_| status == 200).unwrap_or(terms.lifetime), terms.lifetime);
        for after in [0, 1, 60, 1 << 20, 1 << 40] {
            for at in [now() + Duration::from_secs(after), now() - Duration::from_secs(after >> 16)]
            {
                let is_fresh = terms.age(at) < terms.lifetime;
                let used = terms.usable(&demands, at);
                let is_served =
                    !matches!(used, Use::AfterValidation | Use::AfterValidationByRequest);
                assert!(!(is_served && (terms.must_validate || demands.no_cache)));
                assert!(used != Use::Fresh || is_fresh);
                assert!(is_fresh || !is_served || !terms.forbids_stale);
                for trouble in [Trouble::Unreachable, Trouble::ServerError] {
                    let stands_in = terms.may_stand_in(trouble, at);
                    assert!(!stands_in || is_fresh || !terms.forbids_stale);
                }
            }
        }
    }
}

/// A second opinion, where what is said is so plain that no parser can take it otherwise.
fn assert_may_be_kept(status: u16, fields: &Fields, has_authorization: bool) {
    assert!(status >= 200 && status != 304);
    let is_any =
        |line: &[u8]| line.split(|byte| *byte == b',').any(|name| name.trim_ascii() == b"*");
    assert!(!fields.all("vary").any(is_any));
    let is_plain = fields.first("cdn-cache-control").is_none()
        && fields.first("surrogate-control").is_none()
        && !fields.all("cache-control").any(|line| line.contains(&b'"'));
    if !is_plain {
        return;
    }
    let says = |wanted: &str| {
        fields.tokens("cache-control").any(|member| {
            let name = member.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
        })
    };
    let says_alone = |wanted: &str| {
        fields.tokens("cache-control").any(|member| member.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    assert!(!says_alone("private"));
    assert!(!says("no-store") || says("must-understand"));
    let is_for_all = says("public") || says("s-maxage");
    assert!(!has_authorization || is_for_all || says("must-revalidate"));
    assert!(fields.first("set-cookie").is_none() || is_for_all);
}

/// What a path says: each byte, and whether it has to be escaped to mean that. One with a broken
/// escape says its bytes.
pub(crate) fn meaning(path: &[u8]) -> Vec<(u8, bool)> {
    let digit = |at: usize| char::from(*path.get(at).unwrap_or(&b'%')).to_digit(16);
    let mut said = Vec::new();
    let mut at = 0;
    while at < path.len() {
        if path[at] != b'%' {
            said.push((path[at], false));
            at += 1;
            continue;
        }
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
            return path.iter().map(|byte| (*byte, false)).collect();
        };
        let byte = (high * 16 + low) as u8;
        said.push((byte, !(byte.is_ascii_alphanumeric() || b"-_~".contains(&byte))));
        at += 3;
    }
    said
}

/// Sites with every kind of query policy.
fn sites() -> &'static [Site] {
    static SITES: OnceLock<Vec<Site>> = OnceLock::new();
    SITES.get_or_init(|| {
        let mut text = "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n".to_owned();
        for (at, lines) in [
            "",
            "query = 'none'",
            "query = { deny = ['@tracking', 'a'] }",
            "query = { allow = ['a', 'b*'] }\nsort_query = true",
            "sort_query = true",
        ]
        .iter()
        .enumerate()
        {
            text +=
                &format!("[[site]]\nhosts = ['{at}.test']\norigin = 'o'\n[site.key]\n{lines}\n");
        }
        let settings = config::check(&text, "sites", Path::new("")).settings.expect("good");
        settings.sites.iter().map(|site| Site::clone(site)).collect()
    })
}

/// A target keeps its meaning in the key, one byte more makes another key, and nothing is in it
/// that the client has not sent.
pub(crate) fn cache_key(data: &[u8]) {
    let limits = HeadLimits::default();
    let Ok(Some(head)) = Parser::default().next(&mut BytesMut::from(data), &limits) else { return };
    let target = head.target();
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    for site in sites() {
        let write = |target: &str| {
            let mut key = Key::default();
            key.write(site, head.authority(), target, 80);
            key
        };
        let key = write(target);
        assert_eq!(write(key.target()), key, "{target} becomes something else each time");
        let (key_path, key_query) =
            key.target().split_once('?').map_or((key.target(), None), |(p, q)| (p, Some(q)));
        assert_eq!(meaning(path.as_bytes()), meaning(key_path.as_bytes()));
        let sent: Vec<&str> = query.unwrap_or_default().split('&').collect();
        let mut left = sent.clone();
        for kept in key_query.into_iter().flat_map(|query| query.split('&')) {
            let at = left.iter().position(|sent| *sent == kept).expect("sent");
            left.remove(at);
        }
        match site.key.query {
            Query::All if !site.key.sort_query => assert_eq!(key_query, query),
            Query::All => assert!(left.is_empty() || query.is_none()),
            Query::None => assert_eq!(key_query, None),
            Query::Allow(_) | Query::Deny(_) => {}
        }
        assert!(key.host().bytes().all(|byte| !byte.is_ascii_uppercase()));
        assert!(key.as_bytes().starts_with(format!("{}\n{}\n", site.name, key.host()).as_bytes()));
        for (at, other) in path.bytes().enumerate().skip(1).take(40) {
            let mut near = path.as_bytes().to_vec();
            near[at] = if other == b'%' { b'2' } else { b'%' };
            let text = std::str::from_utf8(&near).expect("ASCII");
            let near_key = write(&query.map_or(text.to_owned(), |query| format!("{text}?{query}")));
            assert_eq!(
                near_key == key,
                meaning(&near) == meaning(path.as_bytes()),
                "{path} {text}"
            );
        }
    }
}

/// What a purge names is refused in one line, or means keys as requests have them: nothing of a URL
/// reaches into another site, another host or another tag.
pub(crate) fn purge_wish(data: &[u8]) {
    static MAP: OnceLock<SiteMap> = OnceLock::new();
    let map = MAP.get_or_init(|| {
        let others = "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n\
                      [[site]]\nhosts = ['*']\norigin = 'o'\n";
        let settings = config::check(others, "any", Path::new("")).settings.expect("good");
        let known = sites().iter().map(|site| Arc::new(site.clone()));
        SiteMap::new(&known.chain(settings.sites).collect::<Vec<_>>())
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    let item = || vec![text.to_owned()];
    for wish in [
        Wish { urls: item(), ..Wish::default() },
        Wish { urls: item(), all_queries: true, ..Wish::default() },
        Wish { prefixes: item(), ..Wish::default() },
        Wish { hosts: item(), ..Wish::default() },
        Wish { tags: item(), ..Wish::default() },
    ] {
        let targets = match targets(&wish, map) {
            Ok(targets) => targets,
            Err(why) => {
                assert!(why.contains("[0]: ") && !why.contains('\n'), "{why}");
                continue;
            }
        };
        for key in targets.keys.iter().chain(&targets.prefixes) {
            let key = std::str::from_utf8(key).expect("text");
            let parts: Vec<&str> = key.split('\n').collect();
            assert!(!parts[1].is_empty(), "{key}");
            match wish.hosts.is_empty() {
                true => assert!(parts.len() == 3 && parts[2].starts_with('/'), "{key}"),
                false => assert!(
                    parts.len() == 3 && parts[2].is_empty()
                        || parts.len() == 2 && key.ends_with(':'),
                    "{key}"
                ),
            }
            let rest = parts[parts.len() - 1];
            assert!(rest.bytes().all(|byte| byte.is_ascii_graphic()), "{key}");
        }
        for tag in &targets.tags {
            assert_eq!(tag.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}

/// Parts lie inside the whole and apart from each other, and conditions come only from fields
/// that are there.
pub(crate) fn partial_request(data: &[u8]) {
    let Some((status, fields)) = fields_of(data) else { return };
    for value in fields.all("range") {
        let Some(asked) = range::parse(value) else { continue };
        assert!((1..=16).contains(&asked.len()));
        for total in [0, 1, 1000, u64::MAX] {
            let mut parts = match range::resolve(&asked, total) {
                Resolved::One(part) => vec![part],
                Resolved::Several(parts) => parts,
                Resolved::None => continue,
            };
            parts.sort_by_key(|part| part.start);
            assert!(parts.iter().all(|part| part.start < part.end && part.end <= total));
            assert!(parts.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
    for value in fields.all("content-range") {
        let Some(said) = range::content_range(value) else { continue };
        assert!(said.part.start < said.part.end);
        assert!(said.total.is_none_or(|total| said.part.end <= total));
    }
    let has = |names: &[&str]| names.iter().any(|name| fields.first(name).is_some());
    match conditional::evaluate(&fields, status, &fields, now()) {
        Condition::NotModified => assert!(has(&["if-none-match", "if-modified-since"])),
        Condition::Failed => assert!(has(&["if-match", "if-unmodified-since"])),
        Condition::Met => {}
    }
    let none = Composer::new(b"GET / HTTP/1.1").finish();
    assert_eq!(conditional::evaluate(&none, status, &fields, now()), Condition::Met);
    assert!(conditional::confirms(&fields, &fields), "itself");
    let own = |name: &str, value: &[u8]| {
        let mut request = Composer::new(b"GET / HTTP/1.1");
        request.add(name, value);
        request.finish()
    };
    if let Some(validator) = conditional::strong_validator(&fields, now()) {
        let is_etag = fields.first("etag").is_some();
        let applies = conditional::range_applies(&own("If-Range", validator), &fields, now());
        assert!(applies || is_etag && !validator.starts_with(b"\""));
        assert!(conditional::are_the_same_bytes(&fields, &fields, now()));
    }
    let etag = fields.first("etag").filter(|etag| {
        let opaque = etag.strip_prefix(b"W/").unwrap_or(etag);
        let inner = opaque.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        inner.is_some_and(|inner| !inner.contains(&b'"'))
    });
    if let Some(etag) = etag.filter(|_| (200..300).contains(&status)) {
        let condition = conditional::evaluate(&own("If-None-Match", etag), status, &fields, now());
        assert_eq!(condition, Condition::NotModified);
    }
}

/// A PROXY header is read to its end and not a byte further, the same however it arrives.
pub(crate) fn proxy_header(data: &[u8]) {
    let read = |step: usize| {
        let mut have = 0;
        loop {
            match proxy::read(&data[..have]) {
                Ok(proxy::Step::More(missing)) => {
                    assert!(missing > 0 && have + missing <= 4096);
                    have += missing.min(step);
                    if have > data.len() {
                        return Ok(None);
                    }
                }
                Ok(proxy::Step::Done(client)) => return Ok(Some((client, have))),
                Err(bad) => return Err(bad),
            }
        }
    };
    let (at_once, in_pieces) = (read(usize::MAX), read(1));
    match (&at_once, &in_pieces) {
        (Ok(a), Ok(b)) => assert_eq!(a, b),
        // A refusal may come earlier when fewer bytes are asked for at a time.
        (_, Err(_)) => assert!(!matches!(at_once, Ok(Some(_)))),
        (Err(_), Ok(_)) => panic!("at once {at_once:?}, in pieces {in_pieces:?}"),
    }
    let Ok(Some((client, used))) = at_once else { return };
    let is_line = data.starts_with(b"PROXY ");
    if is_line {
        let line = data[..used].strip_suffix(b"\r\n").expect("a line");
        assert!(used <= 107 && !line.iter().any(|byte| matches!(byte, b'\r' | b'\n')));
    } else {
        assert_eq!(used, 16 + usize::from(u16::from_be_bytes([data[14], data[15]])));
    }
    assert_eq!(client, client.map(|client| client.to_canonical()));
}

/// A request over HTTP/2 means the same when it is said in HTTP/1.1 and back: whatever is taken has
/// one host, no field about a connection, and no byte that begins another message. The input has the
/// method, the scheme, the authority (`-` for none), the path and the fields in a line each.
pub(crate) fn http2_request(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut part = || lines.next().unwrap_or_default();
    let (method, scheme, authority, path) = (part(), part(), part(), part());
    // What cannot be represented never comes so far.
    let mut uri = http::uri::Builder::new().path_and_query(path);
    if authority != b"-" {
        uri = uri.scheme(scheme).authority(authority);
    }
    let Ok(uri) = uri.build() else { return };
    let Ok(method) = http::Method::from_bytes(method) else { return };
    let mut request = http::Request::new(());
    (*request.method_mut(), *request.uri_mut()) = (method, uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default();
        let name = http::HeaderName::from_lowercase(&line[..colon]).ok();
        if let Some((name, value)) = name.zip(http::HeaderValue::from_bytes(value).ok()) {
            request.headers_mut().append(name, value);
        }
    }
    let ends = data.len().is_multiple_of(2);
    let Ok(head) = http2::read_request(&request, ends, &HeadLimits::default()) else { return };
    assert_eq!(&head.method, request.method());
    let said = request.uri().path_and_query().map(|path| path.as_str());
    assert_eq!(Some(head.target()), said);
    assert!(head.target() == "*" || head.target().starts_with('/'));
    assert!(head.target().bytes().all(|byte| byte.is_ascii_graphic()));
    let host = head.authority_text().expect("a host");
    assert!(!host.is_empty() && !host.contains(['@', ',', ' ', '/']), "{host}");
    assert_eq!(
        head.framing == Framing::Chunked,
        !ends && head.fields.first("content-length").is_none()
    );
    for name in ["host", "cookie", "content-length"] {
        assert!(head.fields.all(name).count() <= 1, "{name}");
    }
    for (name, value) in head.fields.iter() {
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "{name}");
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        assert!(name == "cookie" || !(is_space(value.first()) || is_space(value.last())), "{name}");
    }
}

/// The head of an answer that was written for HTTP/1.1 says the same in HTTP/2, but for what is
/// about the connection.
pub(crate) fn http2_response(data: &[u8]) {
    let limits = HeadLimits::default();
    let method = http::Method::GET;
    let mut buf = BytesMut::from(data);
    let Ok(Some(head)) = response::parse(&mut buf, &limits, &method) else { return };
    // As the edge writes it.
    let mut written = format!("HTTP/1.1 {:03} \r\n", head.status).into_bytes();
    for (name, value) in head.fields.iter() {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            written.extend_from_slice(part);
        }
    }
    written.extend_from_slice(b"\r\n");
    let said = http2::say_response(written).expect("an answer");
    assert_eq!(said.status().as_u16(), head.status);
    for name in
        ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te"]
    {
        assert!(!said.headers().contains_key(name), "{name}");
    }
    for (name, value) in said.headers() {
        assert!(head.fields.all(name.as_str()).any(|other| other == value.as_bytes()), "{name}");
    }
}
