use super::*;

#[test]
fn what_is_not_understood_is_shown_as_it_is() {
    let content = Content {
        tags: Bytes::from_static(b"a b\n"),
        head: Bytes::from_static(b"\xfe\x00x"),
        body: Bytes::from_static(b"body"),
        asked: 0,
    };
    let all = read(b"key", &content, &Purges::default(), SystemTime::UNIX_EPOCH);
    let [stored] = &all[..] else { panic!("one") };
    assert_eq!(stored.facts, "");
    assert_eq!(stored.head, b"tag: a\\x20b\nhead: 3 bytes: \\xfe\\x00x\nbody: 4 bytes\n");
    assert!(matches!(&stored.body, Body::Whole(body) if body == "body"));
}

#[test]
fn a_fact_is_one_line() {
    let mut out = String::new();
    escape_text(&mut out, b"a, b\r\nX: \x1b[2J");
    assert_eq!(out, "a, b\\x0d\\nX: \\x1b[2J");
}
