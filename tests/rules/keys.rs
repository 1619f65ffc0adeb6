use crate::entries::meaning;
use crate::kit::{fields, properties, site};
use brim::config::Site;
use brim::rules::key::{Key, additions};
use brim::wire::authority;
use proptest::prelude::*;

fn key_of(site: &Site, host: &str, target: &str) -> Key {
    let mut key = Key::default();
    key.write(site, authority::parse(host.as_bytes()), target, 80);
    key
}

fn asked(site: &Site, target: &str) -> String {
    key_of(site, "a.test", target).target().to_owned()
}

fn plain() -> Site {
    site("a.test", "")
}

fn with_key(lines: &str) -> Site {
    site("a.test", &format!("[site.key]\n{lines}"))
}

#[test]
fn paths_are_one_where_unreserved_characters_are_only_escaped() {
    let site = plain();
    for (target, expected) in [
        ("/%7Euser/%61%5F%2D%39", "/~user/a_-9"),
        ("/%7euser", "/~user"),
        ("/%c3%a9%2f", "/%C3%A9%2F"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2e%2E/b", "/a%2E%2E/b"),
        ("/a/../b/./c//d", "/a/../b/./c//d"),
        ("/%2541", "/%2541"),
        ("/%25%34%31", "/%2541"),
        ("/%00%20%3f%23%25", "/%00%20%3F%23%25"),
        ("/a+b;c=%3D", "/a+b;c=%3D"),
        ("*", "*"),
    ] {
        assert_eq!(asked(&site, target), expected, "{target}");
    }
}

#[test]
fn a_path_with_a_broken_escape_stays_as_it_is() {
    let site = plain();
    // Decoded in part, it would become an escape that nobody has sent.
    for target in ["/%%341", "/%4%31", "/%%34%31", "/%", "/a%4", "/%zz%41", "/%41%g", "/%%37%65x"] {
        assert_eq!(asked(&site, target), target);
    }
}

#[test]
fn the_query_is_kept_byte_for_byte_unless_the_site_says_otherwise() {
    let site = plain();
    for target in ["/?", "/a?%41=%7e&b", "/a?b=c&b=d&&", "/a?x=/../?y", "/a?b;c"] {
        assert_eq!(asked(&site, target), target);
    }
    assert_ne!(asked(&site, "/a"), asked(&site, "/a?"));
    assert_ne!(asked(&site, "/a?x&y"), asked(&site, "/a?y&x"));
}

#[test]
fn a_query_is_filtered_and_sorted_as_the_site_says() {
    for (lines, target, expected) in [
        ("query = 'none'", "/a?b=c", "/a"),
        ("query = 'none'", "/a?", "/a"),
        (
            "query = { allow = ['id', 'p_*'] }",
            "/?x=1&id=2&p_a=3&idx=4&id=5&p_",
            "/?id=2&p_a=3&id=5&p_",
        ),
        ("query = { allow = ['id'] }", "/?%69d=1&ID=2&i%64", "/?%69d=1&i%64"),
        ("query = { allow = ['id'] }", "/?x", "/"),
        ("query = { allow = [] }", "/?x", "/"),
        ("query = { deny = ['id'] }", "/?b=1&id=2&a=3&id&%69%64=4&id2", "/?b=1&a=3&id2"),
        ("query = { deny = ['id'] }", "/?id=1", "/"),
        ("query = { deny = ['*'] }", "/?a&b", "/"),
        (
            "query = { deny = ['@tracking', 'x'] }",
            "/?utm_source=1&a=2&gclid=3&UTM_x=4&x=5&%75tm_medium=6&mtm_=7",
            "/?a=2&UTM_x=4",
        ),
        ("sort_query = true", "/?b=2&a=9&c&b=1&a=1", "/?a=9&a=1&b=2&b=1&c"),
        ("sort_query = true\nquery = { deny = ['c'] }", "/?b=2&c&a", "/?a&b=2"),
        ("sort_query = true", "/?ab=1&a=2", "/?a=2&ab=1"),
        // Two spellings of one name are one name: their order can mean something.
        ("sort_query = true", "/?a=2&%61=1", "/?a=2&%61=1"),
        ("sort_query = true", "/?%61=1&a=2", "/?%61=1&a=2"),
    ] {
        assert_eq!(asked(&with_key(lines), target), expected, "{lines} {target}");
    }
}

#[test]
fn hosts_ports_and_sites_do_not_share_keys() {
    let (site, other) = (plain(), crate::kit::site("b.test", ""));
    let key = |site: &Site, host: &str| key_of(site, host, "/").as_bytes().to_vec();
    for host in ["b.test", "a.test:81", "a.test:8080", "[::1]", "x.a.test", ""] {
        assert_ne!(key(&site, "a.test"), key(&site, host), "{host}");
    }
    assert_ne!(key(&site, "a.test"), key(&other, "a.test"));
    assert_eq!(key(&site, "a.test"), key(&site, "A.TEST:80"));
    // An absolute name (RFC 1034, section 3.1).
    assert_eq!(key(&site, "a.test"), key(&site, "a.test."));
    assert_eq!(key(&site, "a.test:81"), key(&site, "a.test.:81"));
    assert_eq!(key_of(&site, "A.test:81", "/").host(), "a.test:81");
    assert_eq!(key_of(&site, "", "/").host(), "");
}

#[test]
fn the_place_of_a_url_does_not_depend_on_what_its_site_is_called() {
    let sites = ["a.test", "b.test"].map(|name| crate::kit::site(name, ""));
    let place = |site, host, target| key_of(site, host, target).placing().to_vec();
    assert_eq!(place(&sites[0], "a.test", "/x?y"), place(&sites[1], "A.TEST:80", "/x?y"));
    assert_ne!(place(&sites[0], "a.test", "/x"), place(&sites[0], "b.test", "/x"));
    assert_ne!(place(&sites[0], "a.test", "/x"), place(&sites[0], "a.test", "/y"));
}

#[test]
fn a_key_that_was_written_over_is_the_new_one() {
    let site = plain();
    let mut key = key_of(&site, "a-much-longer-host.test:99", "/a/much/longer?path");
    key.write(&site, authority::parse(b"a.test"), "/b", 80);
    assert_eq!(key, key_of(&site, "a.test", "/b"));
    assert_eq!((key.host(), key.target()), ("a.test", "/b"));
}

#[test]
fn a_site_that_adds_nothing_adds_nothing() {
    let request = fields(&[("Cookie", "a=b"), ("X-Device", "tv"), ("X-Forwarded-Host", "evil")]);
    assert!(additions(&plain(), &request, "http", "a.test", false).is_empty());
}

#[test]
fn what_a_site_adds_tells_requests_apart() {
    let site = with_key("headers = ['X-Device']\ncookies = ['lang']");
    let of = |lines: &[(&str, &str)]| additions(&site, &fields(lines), "http", "a.test", false);
    let different = [
        of(&[]),
        of(&[("X-Device", "")]),
        of(&[("X-Device", "tv")]),
        of(&[("X-Device", "TV")]),
        of(&[("X-Device", "tv"), ("X-Device", "tv")]),
        of(&[("Cookie", "lang=")]),
        of(&[("Cookie", "lang=en")]),
        of(&[("Cookie", "lang=de")]),
        of(&[("Cookie", "lang=en; lang=de")]),
        of(&[("Cookie", "lang=de; lang=en")]),
        of(&[("Cookie", "lang=en"), ("X-Device", "en")]),
    ];
    for (at, a) in different.iter().enumerate() {
        assert!(different[..at].iter().all(|b| a != b), "{at}");
    }
    assert_eq!(
        of(&[("Cookie", "a=b; lang=en;c=d")]),
        of(&[("Cookie", "a=b"), ("Cookie", "lang=en")])
    );
    for value in ["xlang=en", "Lang=en", "lang", "x=lang=en"] {
        assert_eq!(of(&[("Cookie", value)]), different[0], "{value}");
    }
}

#[test]
fn the_scheme_and_what_trusted_proxies_say_of_the_host_are_added() {
    let none = fields::<&str, &str>(&[]);
    let site = with_key("scheme = true");
    let of_scheme = |scheme| additions(&site, &none, scheme, "a.test", false);
    assert_ne!(of_scheme("http"), of_scheme("https"));
    for (name, value) in
        [("Forwarded", "for=192.0.2.1;proto=https"), ("X-Forwarded-Proto", "HTTPS")]
    {
        let request = fields(&[(name, value)]);
        let of = |is_trusted| additions(&site, &request, "http", "a.test", is_trusted);
        assert_eq!((of(true), of(false)), (of_scheme("https"), of_scheme("http")), "{name}");
    }
    let told = |host: &str| {
        additions(&plain(), &fields(&[("X-Forwarded-Host", host)]), "http", "a.test", true)
    };
    assert_ne!(told("a"), told("b"));
    assert_ne!(told(""), additions(&plain(), &none, "http", "a.test", true));
    assert_eq!(told("A.test"), additions(&plain(), &none, "http", "a.test", true));
    let passing = crate::kit::site("a.test", "forward = ['X-Original-URL']");
    let of = |lines: &[(&str, &str)]| additions(&passing, &fields(lines), "http", "a.test", false);
    assert_ne!(of(&[("X-Original-URL", "/a")]), of(&[("X-Original-URL", "/b")]));
    assert_ne!(of(&[("X-Original-URL", "/a")]), of(&[]));
}

/// Paths that come close to each other: few characters, in many spellings.
fn path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => proptest::sample::select(vec!["a", "A", "~", "/", ".", "-", "1", "4"]),
        4 => proptest::sample::select(vec![
            "%61", "%41", "%7E", "%7e", "%2F", "%2f", "%2E", "%2e", "%2D", "%31", "%34", "%25", "%C3", "%c3",
        ]),
        1 => proptest::sample::select(vec!["%", "%4", "%zz", "%%"]),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// Another spelling of the same path, if it is one that has several.
fn respelled(path: &str, choices: &[bool]) -> String {
    if !is_well_formed(path) {
        return path.to_owned();
    }
    let mut choices = choices.iter().cycle();
    meaning(path.as_bytes())
        .into_iter()
        .map(|(byte, is_escape)| {
            let flag = *choices.next().expect("endless");
            let is_free = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
            match (is_escape || is_free && flag, flag) {
                (true, true) => format!("%{byte:02x}"),
                (true, false) => format!("%{byte:02X}"),
                (false, _) => char::from(byte).to_string(),
            }
        })
        .collect()
}

fn is_well_formed(path: &str) -> bool {
    path.split('%')
        .skip(1)
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit()))
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 2000, ..properties() })]

    #[test]
    fn two_paths_share_a_key_exactly_when_they_mean_the_same(a in path(), b in path()) {
        let site = plain();
        let are_one = key_of(&site, "a.test", &a) == key_of(&site, "a.test", &b);
        prop_assert_eq!(are_one, meaning(a.as_bytes()) == meaning(b.as_bytes()), "{} {}", a, b);
    }

    #[test]
    fn all_spellings_of_a_path_share_a_key(
        path in path(),
        choices in proptest::collection::vec(any::<bool>(), 1..8),
    ) {
        let site = plain();
        let other = respelled(&path, &choices);
        prop_assert_eq!(asked(&site, &path), asked(&site, &other), "{} {}", path, other);
    }

    #[test]
    fn a_key_written_again_stays_what_it_is(
        path in path(),
        query in proptest::option::of("[ab%4617=&]{0,12}"),
        lines in proptest::sample::select(vec![
            "", "query = 'none'", "sort_query = true", "query = { deny = ['a*'] }",
            "query = { allow = ['a'] }\nsort_query = true",
        ]),
    ) {
        let site = with_key(lines);
        let target = query.map_or(path.clone(), |query| format!("{path}?{query}"));
        let once = asked(&site, &target);
        prop_assert_eq!(asked(&site, &once), once);
    }

    #[test]
    fn sorting_forgets_the_order_of_different_names_only(
        parameters in proptest::collection::vec(("(a|%61|b|%62|ab|B)", "[0-9]"), 0..6),
    ) {
        let site = with_key("sort_query = true");
        let text: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let sorted = asked(&site, &format!("/?{}", text.join("&")));
        let sorted: Vec<&str> = sorted.trim_start_matches("/?").split('&').collect();
        let name = |parameter: &str| {
            meaning(parameter.as_bytes()).into_iter().map(|(byte, _)| byte).take_while(|b| *b != b'=')
                .collect::<Vec<_>>()
        };
        for wanted in [b"a".as_slice(), b"b", b"ab", b"B"] {
            let before: Vec<&str> = text.iter().map(String::as_str).filter(|p| name(p) == wanted).collect();
            let after: Vec<&str> = sorted.iter().copied().filter(|p| name(p) == wanted).collect();
            prop_assert_eq!(before, after);
        }
        prop_assert!(sorted.is_sorted_by_key(|parameter| name(parameter)));
    }

    #[test]
    fn different_hosts_ports_and_sites_never_share_a_key(
        (a, b) in (
            ("[ab]{1,2}(\\.[ab])?", proptest::option::of(79..82_u16), "[ab]"),
            ("[ab]{1,2}(\\.[ab])?", proptest::option::of(79..82_u16), "[ab]"),
        ),
        path in "/[ab:.]{0,3}",
    ) {
        let key = |(host, port, name): &(String, Option<u16>, String)| {
            let text = port.map_or(host.clone(), |port| format!("{host}:{port}"));
            key_of(&site(&format!("{name}.test"), ""), &text, &path).as_bytes().to_vec()
        };
        let is_same = (&a.0, a.1.unwrap_or(80), &a.2) == (&b.0, b.1.unwrap_or(80), &b.2);
        prop_assert_eq!(key(&a) == key(&b), is_same);
    }
}
