//! `brim purge`, against the edge that it is for and against others.

use crate::kit::{Brim, Command, Finished, Origin};
use serde_json::Value;
use std::fs;

/// `brim purge` with the configuration and the token of this edge.
fn purge(brim: &Brim, arguments: &[&str]) -> Finished {
    let admin = format!("http://{}", brim.admin());
    let config = path(brim, "edge.toml");
    let of_edge = ["purge", "--config", &config, "--admin", &admin];
    Command::run(&[&of_edge, arguments].concat())
}

fn path(brim: &Brim, name: &str) -> String {
    brim.folder().join(name).to_str().expect("a path").to_owned()
}

fn failed(finished: &Finished) -> &str {
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(1), ""), "{}", finished.stderr);
    let line = finished.stderr.strip_suffix('\n').expect("a line");
    assert!(!line.contains('\n'), "{line}");
    line.strip_prefix("brim: ").expect("our name")
}

#[test]
fn a_person_is_told_in_a_line_and_a_machine_in_json() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let told = purge(&brim, &["--url", "http://a.test/x", "http://a.test/y", "--tag", "t"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert!(told.stdout.starts_with("purged: 0 objects, 0 B (purge "), "{}", told.stdout);
    assert!(told.stdout.ends_with(")\n"), "{}", told.stdout);

    let soft = purge(&brim, &["--prefix", "http://a.test/", "--soft", "--wait"]);
    assert!(soft.stdout.starts_with("made stale: 0 objects"), "{}", soft.stdout);
    let dry = purge(&brim, &["--all", "--dry-run"]);
    assert!(dry.stdout.starts_with("would purge: "), "{}", dry.stdout);

    let wish = ["--url", "http://a.test/x", "--host", "a.test", "--all-queries", "--json"];
    let machine = purge(&brim, &wish);
    assert_eq!((machine.code, machine.stdout.lines().count()), (Some(0), 1));
    let receipt: Value = serde_json::from_str(&machine.stdout).expect("JSON");
    assert_eq!(receipt["by"], "admin 127.0.0.1");
    assert_eq!((&receipt["kinds"]["urls"], &receipt["kinds"]["hosts"]), (&1.into(), &1.into()));
    let dry = purge(&brim, &["--all", "--dry-run", "--json"]);
    let preview: Value = serde_json::from_str(&dry.stdout).expect("JSON");
    assert_eq!(preview["dry_run"], true);
}

#[test]
fn edge_and_token_are_found_without_a_configuration() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let (admin, file) = (format!("http://{}", brim.admin()), path(&brim, "admin.token"));
    let arguments = ["purge", "--all", "--config", "/nowhere/edge.toml", "--admin", &admin];
    let token = brim.token();
    let environment = [("BRIM_ADMIN_TOKEN", token.as_str())];
    assert_eq!(Command::run_with(&arguments, &environment).code, Some(0));
    let with_file = [&arguments[..], &["--token-file", &file]].concat();
    // What is said here comes before what is lying around.
    assert_eq!(Command::run_with(&with_file, &[("BRIM_ADMIN_TOKEN", "x")]).code, Some(0));

    let lost = Command::run(&arguments);
    assert!(failed(&lost).starts_with("/nowhere/edge.toml: cannot be read: "), "{}", lost.stderr);
    let proxied = [
        environment[0],
        ("http_proxy", "http://127.0.0.77:9"),
        ("ALL_PROXY", "http://127.0.0.77:9"),
    ];
    assert_eq!(Command::run_with(&arguments, &proxied).code, Some(0));
}

#[test]
fn the_admin_listener_of_the_configuration_is_asked() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let config = path(&brim, "edge.toml");
    let port = brim.admin().port();
    let any_port = Command::run(&["purge", "--all", "--config", &config]);
    assert!(failed(&any_port).contains("--admin names it"), "{}", any_port.stderr);
    for address in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}")] {
        let text = fs::read_to_string(&config).expect("a configuration");
        let admin = text.lines().find(|line| line.starts_with("admin = ")).expect("a line");
        fs::write(&config, text.replace(admin, &format!("admin = '{address}'"))).expect("written");
        let told = Command::run(&["purge", "--all", "--config", &config]);
        assert_eq!(told.code, Some(0), "{}", told.stderr);
    }
}

#[test]
fn what_fails_is_told_on_standard_error() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let wrong = brim.folder().join("wrong.token");
    let wrong = wrong.to_str().expect("a path");
    let missing = purge(&brim, &["--all", "--token-file", wrong]);
    assert!(failed(&missing).ends_with("brim run makes it"), "{}", missing.stderr);
    fs::write(wrong, "wrong\n").expect("written");
    let denied = purge(&brim, &["--all", "--token-file", wrong]);
    assert!(failed(&denied).ends_with(&format!("does not know the token of {wrong}")));
    let environment = [("BRIM_ADMIN_TOKEN", "wrong")];
    let admin = format!("http://{}", brim.admin());
    let denied = Command::run_with(&["purge", "--all", "--admin", &admin], &environment);
    assert!(failed(&denied).ends_with("does not know the token of BRIM_ADMIN_TOKEN"));

    let nobody = ["purge", "--all", "--admin", "http://127.0.0.77:9"];
    let nobody = Command::run_with(&nobody, &environment);
    let expected = "no answer from the edge's admin listener at 127.0.0.77:9: Connection refused";
    assert!(failed(&nobody).starts_with(expected), "{}", nobody.stderr);

    fs::write(path(&brim, "bad.toml"), "[server]\nadmn = 1\n").expect("written");
    let bad = Command::run(&["purge", "--all", "--config", &path(&brim, "bad.toml")]);
    assert!(failed(&bad).contains("bad.toml is not good: brim check --config "), "{}", bad.stderr);
}

#[test]
fn refusals_are_told_in_the_edges_words() {
    let environment = [("BRIM_ADMIN_TOKEN", "secret")];
    for answer in [
        "400 Bad Request",
        "503 Service Unavailable",
        "302 Found\r\nLocation: http://127.0.0.77:9/",
    ] {
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 14\r\n\r\n{{\"error\":\"no\"}}");
        let door = Origin::serving(move |_, _| answer.clone());
        let admin = format!("http://{}", door.address());
        let arguments = ["purge", "--tag", "a", "--admin", &admin];
        let told = Command::run_with(&arguments, &environment);
        assert_eq!(failed(&told), "no");
        let head = door.only_head();
        assert!(head.starts_with("POST /purge HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("authorization: bearer secret\r\n"), "{head}");
        // A machine reads the same where it reads receipts.
        let machine = Command::run_with(&[&arguments[..], &["--json"]].concat(), &environment);
        assert_eq!((machine.code, machine.stdout.as_str()), (Some(1), "{\"error\":\"no\"}\n"));
        assert_eq!(machine.stderr, "brim: no\n");
    }
    let nothing = Origin::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nnothing");
    let admin = format!("http://{}", nothing.address());
    let told = Command::run_with(&["purge", "--all", "--admin", &admin], &environment);
    assert_eq!(failed(&told), format!("{admin} answers with 404: nothing"));
    let stranger = Origin::ok();
    let admin = format!("http://{}", stranger.address());
    let told = Command::run_with(&["purge", "--all", "--admin", &admin], &environment);
    assert!(failed(&told).ends_with("does not answer as an edge does"), "{}", told.stderr);
}
