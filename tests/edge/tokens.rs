//! The operator's token: where it comes from, and that nobody is reachable without one.

use crate::kit::{Brim, Client, Command, Finished, Origin};
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const GIVEN: (&str, &str) = ("BRIM_ADMIN_TOKEN", " from-the-environment\n");

/// The status of a question that takes this token.
fn status_with(brim: &Brim, token: &str) -> u16 {
    let request =
        format!("GET /purges HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n");
    Client::connect(brim.admin()).ask(request).status
}

fn settings(server: &str) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{server}\n[[origin]]\nname = 'o'\n\
         servers = ['http://127.0.0.1:9']\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    )
}

/// `brim run` that should not come to listen, in this folder.
fn failed_start(folder: &Path, server: &str, environment: &[(&str, &str)]) -> Finished {
    let file = folder.join("edge.toml");
    fs::write(&file, settings(server)).expect("written");
    let arguments = ["run", "--config", file.to_str().expect("a path")];
    let finished = Command::run_with(&arguments, environment);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    finished
}

#[test]
fn the_first_run_makes_a_token_and_the_next_one_uses_it() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let token = brim.token();
    assert!(token.len() == 64 && token.bytes().all(|c| c.is_ascii_hexdigit()), "{token}");
    let file = brim.folder().join("admin.token");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(&file).expect("a token"), format!("{token}\n"));
    assert_eq!((status_with(&brim, &token), status_with(&brim, "x")), (200, 401));
    assert!(brim.error_log_so_far("token").is_none() && brim.error_log_so_far(&token).is_none());

    let brim = brim.again_after(Signal::TERM);
    assert_eq!((brim.token(), status_with(&brim, &token)), (token, 200));
}

#[test]
fn the_environment_comes_before_the_file_and_needs_none() {
    let text = settings("admin = '127.0.0.1:0'");
    let brim = Brim::configured_with(&text, &[GIVEN]);
    assert!(!brim.folder().join("admin.token").exists());
    assert_eq!(status_with(&brim, "from-the-environment"), 200);
    // An empty one is none.
    let brim = Brim::configured_with(&text, &[(GIVEN.0, " ")]);
    assert_eq!(status_with(&brim, &brim.token()), 200);

    let folder = tempfile::tempdir().expect("a folder");
    let refused =
        failed_start(folder.path(), "admin = '127.0.0.1:0'", &[(GIVEN.0, "two secret words")]);
    let expected = "brim: BRIM_ADMIN_TOKEN holds characters that no token has";
    assert!(refused.stderr.starts_with(expected), "{}", refused.stderr);
    assert!(!refused.stderr.contains("secret"));
}

#[test]
fn a_token_file_that_others_may_read_is_used_and_warned_of() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let file = brim.folder().join("admin.token");
    fs::write(&file, "  mine \n").expect("written");
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("set");
    let brim = brim.again_after(Signal::TERM);
    assert_eq!(status_with(&brim, "mine"), 200);
    let warning = brim.error_log_so_far("others than its owner").expect("a warning");
    assert!(warning.contains(" WARN ") && warning.contains("admin.token"), "{warning}");
}

#[test]
fn a_file_that_holds_no_token_fails_the_start_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("admin.token");
    let long = "x".repeat(5000);
    for (content, why) in
        [("", "is empty"), (" \n", "is empty"), ("a b", "holds characters"), (&long, "is too long")]
    {
        fs::write(&file, content).expect("written");
        let refused = failed_start(folder.path(), "admin = '127.0.0.1:0'", &[]);
        let start = format!("brim: the token file {} {why}", file.display());
        assert!(refused.stderr.starts_with(&start), "{}", refused.stderr);
    }
    let server = "admin = '127.0.0.1:0'\nadmin_token_file = '.'";
    let refused = failed_start(folder.path(), server, &[]);
    assert!(refused.stderr.contains("Is a directory"), "{}", refused.stderr);
}

#[test]
fn without_a_place_for_a_token_the_edge_serves_and_nobody_purges() {
    let server = "admin = '127.0.0.1:0'\nadmin_token_file = 'nowhere/admin.token'";
    let brim = Brim::configured(&settings(server));
    let warning = brim.error_log("nobody can purge");
    assert!(warning.contains(" WARN ") && warning.contains("nowhere/admin.token"), "{warning}");
    for token in ["", "x"] {
        assert_eq!(status_with(&brim, token), 401);
    }
    assert_eq!(Client::connect(brim.admin()).ask(crate::kit::get("/healthz")).status, 200);
}

#[test]
fn other_machines_find_no_listener_without_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    for address in ["0.0.0.0:0", "[::]:0"] {
        let server = format!("admin = '{address}'\nadmin_token_file = 'nowhere/admin.token'");
        let refused = failed_start(folder.path(), &server, &[]);
        let last = refused.stderr.lines().last().expect("a line");
        let start = format!("brim: server.admin {address} can be reached by other machines");
        assert!(last.starts_with(&start), "{last}");
        for part in ["nowhere/admin.token", "No such file", "BRIM_ADMIN_TOKEN"] {
            assert!(last.contains(part), "{last}");
        }
    }
    // With one, they do.
    let brim = Brim::configured(&settings("admin = '0.0.0.0:0'"));
    assert_eq!(brim.admin().ip().to_string(), "0.0.0.0");
}

#[test]
fn only_run_makes_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    fs::write(&file, settings("")).expect("written");
    let checked = Command::run(&["check", "--config", file.to_str().expect("a path")]);
    assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);

    let demo = Brim::demo(&[]);
    assert_eq!(fs::read_dir(demo.folder()).expect("a folder").count(), 0);
}
