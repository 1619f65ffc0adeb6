use super::{Wanted, read, shown};
use proptest::prelude::*;

#[test]
fn a_key_is_shown_as_site_and_address() {
    let key = b"*\nwww.example.com:8080\n/a/b?c=d%20e";
    assert_eq!(shown(key), "* www.example.com:8080/a/b?c=d%20e");
    assert_eq!(shown(b"*\n\n/"), "* /", "a client that named no host");
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    assert_eq!(
        shown(b"s\nh\n/\x1b[2J\x07\x9b \xc3\xa9\\"),
        "s h/\\x1b[2J\\x07\\x9b\\x20\\xc3\\xa9\\\\"
    );
}

#[test]
fn a_key_of_another_make_is_shown_whole() {
    for (key, text) in [
        (&b"no lines"[..], "no\\x20lines"),
        (b"", ""),
        (b"a\nb/c\n/d", "a\\nb/c\\n/d"),
        (b"a\nb\nc", "a\\nb\\nc"),
    ] {
        assert_eq!(shown(key), text);
        assert_eq!(read(text).as_deref(), Some(key));
    }
}

#[test]
fn broken_escapes_name_no_key() {
    for text in ["\\", "\\x", "\\x1", "\\xzz", "\\y", "a b\\q/", "site host"] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn a_url_names_the_keys_of_every_site() {
    let wanted = Wanted::by("http://WWW.example.com/%7ea?b").expect("a URL");
    assert!(wanted.is(b"one\nwww.example.com\n/~a?b"));
    assert!(wanted.is(b"two\nwww.example.com\n/~a?b"));
    assert!(!wanted.is(b"two\nwww.example.com\n/~a?bc"));
    assert!(!wanted.is(b"two\nexample.com\n/~a?b"));
    assert!(!wanted.is(b"www.example.com"));
}

#[test]
fn the_edges_own_port_is_in_no_key() {
    let wanted = Wanted::by("http://a.test:8080/").expect("a URL");
    assert!(wanted.is(b"*\na.test\n/") && wanted.is(b"*\na.test:8080\n/"));
    let wanted = Wanted::by("https://a.test:443/").expect("a URL");
    assert!(wanted.is(b"*\na.test\n/") && !wanted.is(b"*\na.test:80\n/"));
}

#[test]
fn a_url_may_leave_out_scheme_path_and_fragment() {
    for url in ["a.test", "a.test/", "http://a.test", "https://a.test/#top"] {
        assert!(Wanted::by(url).expect(url).is(b"*\na.test\n/"), "{url}");
    }
    assert!(Wanted::by("http://a.test?q").expect("a URL").is(b"*\na.test\n/?q"));
    for url in ["ftp://a.test/", "http:///x", "http://a b/", ""] {
        assert!(Wanted::by(url).is_none(), "{url}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_plain_and_leads_back(key in proptest::collection::vec(any::<u8>(), 0..80)) {
        let text = shown(&key);
        prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert_eq!(read(&text), Some(key));
    }

    #[test]
    fn so_does_what_looks_like_a_key(key in "[a\\\\ ]{0,3}\n[b/\\\\: ]{0,3}\n/?[c/ \n\\\\\\x00]{0,5}") {
        let text = shown(key.as_bytes());
        prop_assert_eq!(read(&text), Some(key.into_bytes()));
    }

    #[test]
    fn any_text_is_read(text in "\\PC*") {
        let _ = (read(&text), Wanted::by(&text));
    }
}
