//! `brim explain` as a person, and as a script, uses it.

use crate::kit::{Brim, Client, Command, Finished, Origin, get, ok_with};
use serde_json::Value;

fn explain(brim: &Brim, arguments: &[&str]) -> Finished {
    let admin = format!("http://{}", brim.admin());
    let file = brim.folder().join("admin.token");
    let file = file.to_str().expect("a path");
    let edge = ["--admin", &admin, "--token-file", file];
    Command::run(&[&["explain"], arguments, &edge].concat())
}

fn brim() -> (Origin, Brim) {
    let fields = "Cache-Control: max-age=60\r\nETag: \"\u{9b}31m\"\r\nSurrogate-Key: a b\r\n";
    let origin = Origin::answering(ok_with(fields, "body"));
    let brim = Brim::in_front_of(origin.address());
    (origin, brim)
}

#[test]
fn the_verdict_comes_first_and_the_rest_is_aligned() {
    let (_origin, brim) = brim();
    Client::connect(brim.address()).ask(get("/a?b"));
    let told = explain(&brim, &["a.test/a?b"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(lines[0], "hit", "{}", told.stdout);
    assert!(lines[1].starts_with("  because it is stored, 0s old, and good for"), "{lines:#?}");
    for line in [
        "  by      RFC 9111, section 4.2; RFC 9111, section 5.2.2.1",
        "  more    docs/reasons.md#outcome-hit",
        "request   GET http://a.test/a?b",
        "site      * (host \"*\"), origin o",
        "rule      none matches",
        "key       * a.test/a?b",
        "          tags: a, b",
        "          ETag: \"\\u{9b}31m\"",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:#?}");
    }
    let is_plain = |letter: char| letter == '\n' || (' '..='~').contains(&letter);
    assert!(told.stdout.chars().all(is_plain), "{}", told.stdout);
}

#[test]
fn fields_method_and_host_can_be_named() {
    let (origin, brim) = brim();
    let lines = ["http://127.0.0.1/a", "-H", "Host: b.test", "--header", "Authorization: Basic x"];
    let told = explain(&brim, &[&lines[..], &["--json", "--fetch"]].concat());
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let told: Value = serde_json::from_str(&told.stdout).expect("JSON");
    assert_eq!(told["request"]["url"], "http://b.test/a");
    assert_eq!(told["fetched"]["detail"], "authorization", "{told:#}");
    assert!(origin.only_head().contains("Authorization: Basic x"));
    let told = explain(&brim, &["http://b.test/a", "--method", "POST"]);
    assert!(told.stdout.starts_with("pass (method)\n"), "{}", told.stdout);
}

#[test]
fn what_cannot_be_asked_is_said_and_fails() {
    let (_origin, brim) = brim();
    for (arguments, why) in [
        (&["ftp://a.test/"][..], "not a scheme"),
        (&["/path"], "names no host"),
        (&["a.test", "-H", "x"], "Name: value"),
        (&["a.test", "-H", "x: y\nz: a"], "Name: value"),
        (&["a.test", "--method", "A B"], "not a method"),
        (&["a.test/\x1b[31m"], "control character"),
    ] {
        let told = explain(&brim, arguments);
        assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(told.stderr.starts_with("brim: ") && told.stderr.contains(why), "{}", told.stderr);
        assert!(!told.stderr.contains('\x1b'), "{}", told.stderr);
    }
    let stranger = Origin::ok();
    let admin = format!("http://{}", stranger.address());
    let environment = [("BRIM_ADMIN_TOKEN", "x")];
    let told = Command::run_with(&["explain", "a.test", "--admin", &admin], &environment);
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("does not answer as an edge does"), "{}", told.stderr);
    let brims = format!("http://{}", brim.admin());
    let told = Command::run_with(&["explain", "a.test", "--admin", &brims], &environment);
    assert!(told.stderr.contains("does not know the token"), "{}", told.stderr);
}
