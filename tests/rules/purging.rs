//! What a wish means: which keys, beginnings of keys, and tags.

use crate::kit::properties;
use brim::config;
use brim::rules::key::Key;
use brim::rules::purging::{self, Targets, Wish, targets};
use brim::rules::site::SiteMap;
use brim::wire::authority;
use proptest::prelude::*;
use std::path::Path;

/// Sites with these hosts, each with lines of its own.
fn sites(all: &[(&str, &str)]) -> SiteMap {
    let mut text = "[[origin]]\nname = 'o'\nservers = ['http://127.0.0.1:1']\n".to_owned();
    for (hosts, lines) in all {
        text += &format!("[[site]]\nhosts = [{hosts}]\norigin = 'o'\n{lines}\n");
    }
    let checked = config::check(&text, "test", Path::new(""));
    let settings = checked.settings.unwrap_or_else(|| panic!("{:?}", checked.problems));
    SiteMap::new(&settings.sites)
}

fn usual() -> SiteMap {
    sites(&[
        ("'a.test', 'b.test'", ""),
        ("'*.wild.test', 'xn--mnchen-3ya.test'", ""),
        ("'[::1]', '127.0.0.1'", ""),
        ("'none.test'", "[site.key]\nquery = 'none'"),
        ("'sorted.test'", "[site.key]\nsort_query = true"),
    ])
}

fn texts(list: &[Box<[u8]>]) -> Vec<String> {
    let text = |key: &[u8]| String::from_utf8_lossy(key).replace('\n', "|");
    let mut texts: Vec<_> = list.iter().map(|key| text(key)).collect();
    texts.sort();
    texts
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|&item| item.to_owned()).collect()
}

fn urls(items: &[&str]) -> Wish {
    Wish { urls: strings(items), ..Wish::default() }
}

fn prefixes(items: &[&str]) -> Wish {
    Wish { prefixes: strings(items), ..Wish::default() }
}

fn hosts(items: &[&str]) -> Wish {
    Wish { hosts: strings(items), ..Wish::default() }
}

fn tags(items: &[&str]) -> Wish {
    Wish { tags: strings(items), ..Wish::default() }
}

/// Keys of a URL, less those of the host with a dot behind it, which are always there.
#[track_caller]
fn keys(url: &str) -> Vec<String> {
    let targets = targets(&urls(&[url]), &usual()).expect("good");
    assert!(targets.prefixes.is_empty() && targets.tags.is_empty());
    texts(&targets.keys)
}

#[test]
fn a_url_is_what_a_request_for_it_is_stored_under() {
    for (url, expected) in [
        ("http://a.test/x?y=1", &["a.test|a.test|/x?y=1"][..]),
        ("a.test/x", &["a.test|a.test|/x"]),
        ("A.Test:80", &["a.test|a.test|/"]),
        ("HTTP://b.test:8080?q", &["a.test|b.test:8080|/?q"]),
        // Whoever ends TLS in front may name its port.
        ("https://a.test/x", &["a.test|a.test:443|/x", "a.test|a.test|/x"]),
        ("https://a.test:443/x", &["a.test|a.test:443|/x", "a.test|a.test|/x"]),
        // A parent that is asked over the other scheme leaves it out.
        ("https://a.test:80/x", &["a.test|a.test:80|/x", "a.test|a.test|/x"]),
        ("http://a.test:443/x", &["a.test|a.test:443|/x", "a.test|a.test|/x"]),
        ("http://a.test./x", &["a.test|a.test|/x"]),
        ("http://x.y.wild.test/", &["*.wild.test|x.y.wild.test|/"]),
        ("http://127.0.0.1/", &["[::1]|127.0.0.1|/"]),
        ("http://[::1]:81/", &["[::1]|[::1]:81|/"]),
        // Names in other scripts, as browsers and as resolvers spell them.
        ("http://münchen.test/", &["*.wild.test|xn--mnchen-3ya.test|/"]),
        ("http://MÜNCHEN.test:81/", &["*.wild.test|xn--mnchen-3ya.test:81|/"]),
        ("http://a.test/x#part", &["a.test|a.test|/x"]),
        ("http://a.test/x?#", &["a.test|a.test|/x?"]),
        ("http://a.test/%7Ex%2f", &["a.test|a.test|/~x%2F"]),
        ("http://a.test/ä b", &["a.test|a.test|/%C3%A4%20b"]),
        // As curl --path-as-is sends it, and as browsers do.
        ("http://a.test/x/../y", &["a.test|a.test|/x/../y", "a.test|a.test|/y"]),
        ("http://a.test/{x}", &["a.test|a.test|/%7Bx%7D", "a.test|a.test|/{x}"]),
        ("http://a.test/x\\y", &["a.test|a.test|/x/y", "a.test|a.test|/x\\y"]),
        ("http://a.test\\x", &["a.test|a.test|/x"]),
        ("http://a.test/x?u=http://c.test/", &["a.test|a.test|/x?u=http://c.test/"]),
        ("a.test/x?u=http://c.test/", &["a.test|a.test|/x?u=http://c.test/"]),
        ("http://none.test/x?y", &["none.test|none.test|/x"]),
        ("http://sorted.test/x?b&a", &["sorted.test|sorted.test|/x?a&b"]),
    ] {
        assert_eq!(keys(url), expected, "{url}");
    }
}

#[test]
fn all_queries_of_a_url_are_its_path_with_and_without_one() {
    let wish = Wish { all_queries: true, ..urls(&["http://a.test/x?y"]) };
    let targets = targets(&wish, &usual()).expect("good");
    assert_eq!(texts(&targets.keys), ["a.test|a.test|/x"]);
    assert_eq!(texts(&targets.prefixes), ["a.test|a.test|/x?"]);
}

#[test]
fn a_prefix_is_one_of_the_url() {
    for (prefix, expected) in [
        ("http://a.test", &["a.test|a.test|/"][..]),
        ("http://a.test/", &["a.test|a.test|/"]),
        ("a.test/img", &["a.test|a.test|/img"]),
        ("https://a.test/img", &["a.test|a.test:443|/img", "a.test|a.test|/img"]),
        // Never shortened.
        ("http://a.test/.", &["a.test|a.test|/."]),
        ("http://a.test/x/..", &["a.test|a.test|/x/.."]),
        ("http://a.test/ä", &["a.test|a.test|/%C3%A4"]),
        // What breaks an escape, and with it the path's spelling, may come later.
        ("http://a.test/%7ex", &["a.test|a.test|/%7ex", "a.test|a.test|/~x"]),
        ("http://a.test/%zz%7e", &["a.test|a.test|/%zz%7e"]),
        ("http://a.test/%%4", &["a.test|a.test|/%%4"]),
        ("http://a.test/%7ex?%7", &["a.test|a.test|/%7ex?%7", "a.test|a.test|/~x?%7"]),
        ("http://a.test/%4?x", &["a.test|a.test|/%4?x"]),
        ("http://a.test?x", &["a.test|a.test|/?x"]),
        ("http://none.test/x", &["none.test|none.test|/x"]),
    ] {
        let targets = targets(&prefixes(&[prefix]), &usual()).expect("good");
        assert!(targets.keys.is_empty() && targets.tags.is_empty());
        assert_eq!(texts(&targets.prefixes), expected, "{prefix}");
    }
}

#[test]
fn a_host_is_all_that_is_stored_for_it() {
    for (host, expected) in [
        ("a.test", &["a.test|a.test:", "a.test|a.test|"][..]),
        ("B.test.", &["a.test|b.test:", "a.test|b.test|"]),
        ("a.test:80", &["a.test|a.test:80|", "a.test|a.test|"]),
        ("a.test:443", &["a.test|a.test:443|", "a.test|a.test|"]),
        ("a.test:8080", &["a.test|a.test:8080|"]),
        ("x.wild.test", &["*.wild.test|x.wild.test:", "*.wild.test|x.wild.test|"]),
        ("münchen.test:81", &["*.wild.test|xn--mnchen-3ya.test:81|"]),
        ("[::1]", &["[::1]|[::1]:", "[::1]|[::1]|"]),
        ("[::1]:81", &["[::1]|[::1]:81|"]),
        ("[0::0:1]:81", &["[::1]|[::1]:81|"]),
    ] {
        let targets = targets(&hosts(&[host]), &usual()).expect("good");
        assert_eq!(texts(&targets.prefixes), expected, "{host}");
    }
}

#[test]
fn tags_mean_all_sites_and_all_means_everything() {
    let tagged = targets(&tags(&["b", "a b", "ä", "b"]), &usual()).expect("good");
    assert_eq!(texts(&tagged.tags), ["|a b", "|b", "|ä"]);
    let wish = Wish { all: true, ..urls(&["http://a.test/"]) };
    let everything = Targets { prefixes: vec![Box::default()], ..Targets::default() };
    assert_eq!(targets(&wish, &usual()), Ok(everything.clone()));
    let wish = Wish { all: true, ..Wish::default() };
    assert_eq!(targets(&wish, &usual()), Ok(everything));
}

#[test]
fn what_means_nothing_is_named() {
    let long = format!("http://a.test/{}", "x".repeat(48 * 1024));
    let long_tag = "x".repeat(1025);
    let star = "\"*\" stands for no host here: name the hosts one by one, or use a tag";
    let nothing = "nothing is named: urls, prefixes, tags, hosts or all";
    let scattered = "its site does not keep queries as they come (site.key), so that a prefix ends \
                     before the \"?\"";
    let escape = "it ends within an escape: `%` and two digits";
    for (wish, expected) in [
        (Wish::default(), nothing.to_owned()),
        (Wish { soft: true, all_queries: true, ..Wish::default() }, nothing.to_owned()),
        (tags(&vec!["x"; 1001]), "1001 items are too many: at most 1000 at once".to_owned()),
        (
            urls(&["http://a.test/", "http://x.test/"]),
            "urls[1]: no site answers for \"x.test\"".into(),
        ),
        (urls(&[""]), "urls[0]: empty".into()),
        (urls(&[&long]), "urls[0]: longer than 48 KiB".into()),
        (urls(&["http://a.test/\n"]), "urls[0]: holds a control character".into()),
        (urls(&[" http://a.test/"]), "urls[0]: begins or ends with a space".into()),
        (urls(&["/x"]), "urls[0]: names no host".into()),
        (urls(&["http:///a.test/"]), "urls[0]: names no host".into()),
        (
            urls(&["ftp://a.test/"]),
            "urls[0]: \"ftp\" is not a scheme that is served: http or https".into(),
        ),
        (urls(&["http://me@a.test/"]), "urls[0]: a URL with a user is not understood".into()),
        (urls(&["http://a.test:x/"]), "urls[0]: \"a.test:x\" is not a host".into()),
        (urls(&["http://a.test:70000/"]), "urls[0]: \"a.test:70000\" is not a host".into()),
        (urls(&["http://a..test/"]), "urls[0]: \"a..test\" is not a host".into()),
        (urls(&["http://a test/"]), "urls[0]: \"a test\" is not a host".into()),
        (urls(&["http://*.wild.test/"]), format!("urls[0]: {star}")),
        (
            prefixes(&["http://a.test/x/*"]),
            "prefixes[0]: a prefix needs no \"*\": write \"http://a.test/x/\"".into(),
        ),
        (
            prefixes(&["http://a.test/#x"]),
            "prefixes[0]: a prefix with a fragment is about nothing: clients do not send it".into(),
        ),
        (prefixes(&["http://none.test/x?y"]), format!("prefixes[0]: {scattered}")),
        (prefixes(&["http://sorted.test/x?y"]), format!("prefixes[0]: {scattered}")),
        (prefixes(&["http://a.test/%"]), format!("prefixes[0]: {escape}")),
        (prefixes(&["http://a.test/%41%4"]), format!("prefixes[0]: {escape}")),
        (prefixes(&["http://a.test\\x"]), "prefixes[0]: expected a path behind the host".into()),
        (tags(&["a", ""]), "tags[1]: empty".into()),
        (tags(&[&long_tag]), "tags[0]: longer than 1024 bytes".into()),
        (tags(&["a\nb"]), "tags[0]: holds a control character".into()),
        (tags(&["a "]), "tags[0]: begins or ends with a space".into()),
        (hosts(&["*.wild.test"]), format!("hosts[0]: {star}")),
        (hosts(&["*"]), format!("hosts[0]: {star}")),
        (hosts(&["http://a.test"]), "hosts[0]: \"http://a.test\" is not a host".into()),
        (hosts(&["a.test/x"]), "hosts[0]: \"a.test/x\" is not a host".into()),
        (hosts(&["c.test"]), "hosts[0]: no site answers for \"c.test\"".into()),
    ] {
        assert_eq!(targets(&wish, &usual()), Err(expected), "{wish:?}");
    }
}

#[test]
fn a_site_names_its_own_objects_only() {
    let sites = usual();
    let site = sites.find(Some("none.test")).expect("a site");
    let host = authority::parse(b"None.test:80");
    let of_url = purging::url_of_site(site, "http", host, "/x?y").expect("good");
    assert_eq!(texts(&of_url.keys), ["none.test|none.test|/x"]);
    let of_prefix = purging::prefix_of_site(site, "http", host, "/%7e").expect("good");
    let beginnings = ["none.test|none.test|/%7e", "none.test|none.test|/~"];
    assert_eq!(texts(&of_prefix.prefixes), beginnings);
    assert!(purging::prefix_of_site(site, "http", host, "/x?y").is_err());
    assert!(purging::prefix_of_site(site, "http", host, "/x*").is_err());
    let of_tags = purging::tags_of_site(site, b"a b\nc\n");
    assert_eq!(texts(&of_tags.tags), ["none.test|a b", "none.test|c"]);
    // A client of HTTP/1.0 may name no host.
    let of_url = purging::url_of_site(site, "http", None, "/x").expect("good");
    assert_eq!(texts(&of_url.keys), ["none.test||/x"]);
    let long = format!("/{}", "x".repeat(60 * 1024));
    assert!(purging::url_of_site(site, "http", host, &long).is_err());
    assert!(purging::prefix_of_site(site, "http", host, &long).is_err());
}

#[test]
fn a_wish_is_read_strictly() {
    let read = |text: &str| serde_json::from_str::<Wish>(text);
    let wish = read(r#"{"urls": ["a.test/"], "soft": true}"#).expect("good");
    assert_eq!(wish, Wish { soft: true, ..urls(&["a.test/"]) });
    assert!(read(r#"{"url": ["a.test/"]}"#).is_err());
}

fn covers(targets: &Targets, key: &[u8]) -> bool {
    targets.keys.iter().any(|meant| **meant == *key)
        || targets.prefixes.iter().any(|begins| key.starts_with(begins))
}

/// Targets as clients send them, broken ones too.
fn target() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "a", "A", "~", "/", ".", "..", "/./", "\\", "-", "1", "4", "{", "*", ";", "=", "&", "?",
        "%61", "%41", "%7E", "%7e", "%2F", "%2f", "%2E", "%2e", "%25", "%C3%A4", "%", "%4", "%zz",
        "'",
    ]);
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 3000, ..properties() })]

    #[test]
    fn whatever_a_request_is_stored_under_is_covered_by_its_url_its_prefixes_and_its_host(
        host in proptest::sample::select(vec![
            "a.test", "A.TEST", "a.test.", "a.test:80", "a.test:443", "a.test:81", "b.a.test",
            "b.a.test.:81", "[::1]", "[::1]:8080", "127.0.0.1", "a_b.test",
        ]),
        target in target(),
        lines in proptest::sample::select(vec![
            "", "[site.key]\nquery = 'none'", "[site.key]\nsort_query = true",
            "[site.key]\nquery = { deny = ['a*'] }",
        ]),
        scheme in proptest::sample::select(vec!["http", "https"]),
        cut in any::<proptest::sample::Index>(),
    ) {
        let sites = sites(&[("'a.test', '*'", lines)]);
        let authority = authority::parse(host.as_bytes());
        let site = sites.find(authority.map(|authority| authority.host)).expect("a site");
        let mut key = Key::default();
        let port = authority::default_port(scheme);
        key.write(site, authority, &target, port);
        let key = key.as_bytes();

        let url = format!("{scheme}://{host}{target}");
        prop_assert!(covers(&targets(&urls(&[&url]), &sites).expect("good"), key));
        let of_request = purging::url_of_site(site, scheme, authority, &target).expect("good");
        prop_assert!(covers(&of_request, key));
        let any_query = Wish { all_queries: true, ..urls(&[&url]) };
        prop_assert!(covers(&targets(&any_query, &sites).expect("good"), key));
        prop_assert!(covers(&targets(&hosts(&[host]), &sites).expect("good"), key));

        let begins = &target[..=cut.index(target.len())];
        let of_request = purging::prefix_of_site(site, scheme, authority, begins);
        match targets(&prefixes(&[&format!("{scheme}://{host}{begins}")]), &sites) {
            Ok(meant) => {
                prop_assert!(covers(&meant, key), "{}", begins);
                // And little else.
                let mut other = Key::default();
                other.write(site, authority, "/zzz", port);
                prop_assert!(begins == "/" || !covers(&meant, other.as_bytes()), "{}", begins);
                prop_assert_eq!(of_request, Ok(meant));
            }
            // Nothing else is refused.
            Err(_) => prop_assert!(
                begins.ends_with('*')
                    || begins.contains('?') && !lines.is_empty()
                    || begins.ends_with('%')
                    || begins.len() > 1 && begins[..begins.len() - 1].ends_with('%'),
                "{}", begins
            ),
        }
    }
}
