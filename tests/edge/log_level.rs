//! How loud the error log is, and that it can be changed while the edge runs.

use crate::kit::{Brim, Client, Command, Finished, NOBODY, Origin, get};
use serde_json::{Value, json};

fn log_level(brim: &Brim, arguments: &[&str]) -> Finished {
    let config = brim.folder().join("edge.toml");
    let admin = format!("http://{}", brim.admin());
    let of_edge = ["log-level", "--config", config.to_str().expect("a path"), "--admin", &admin];
    Command::run(&[&of_edge, arguments].concat())
}

#[test]
fn an_operator_makes_the_log_louder_and_quieter() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let operator = brim.operator();
    assert_eq!(operator.get("/log-level"), json!({"level": "info"}));
    // A handshake of which nothing comes is told of at this level.
    let told = "no trusted proxy";
    assert_eq!(brim.error_log_count(told), 0);
    let debug = log_level(&brim, &["debug"]);
    assert_eq!((debug.code, debug.stdout.as_str()), (Some(0), "debug\n"), "{}", debug.stderr);
    assert_eq!(operator.get("/log-level"), json!({"level": "debug"}));
    brim.error_log("the level of the error log was changed by the operator level=\"debug\"");
    let answer = operator.ask("PUT", "/log-level", r#"{"level":"error,brim::upstream=debug"}"#);
    assert_eq!(answer.status, 200);
    let shown = log_level(&brim, &[]);
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), "error,brim::upstream=debug\n"));
}

#[test]
fn what_a_single_part_says_is_heard_alone() {
    let text = format!(
        "[server]\nhttp = [{{ address = '127.0.0.1:0', proxy_protocol = true }}]\n\
         trusted_proxies = ['192.0.2.1']\n[[origin]]\nname = 'o'\nservers = ['http://{NOBODY}']\n\
         [[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    let brim = Brim::configured(&text);
    let told = "no trusted proxy, and a PROXY header is due";
    let visit = || {
        let before = brim.metric("brim_connections_refused_total{reason=\"not_trusted\"}");
        Client::connect(brim.address()).is_closed();
        brim.wait_until("brim_connections_refused_total{reason=\"not_trusted\"}", |now| {
            now > before
        });
    };
    visit();
    assert_eq!(log_level(&brim, &["info,brim::edge::door=debug"]).code, Some(0));
    visit();
    brim.error_log(told);
    assert_eq!(brim.error_log_count(told), 1);
    assert_eq!(log_level(&brim, &["debug,brim::edge=off"]).code, Some(0));
    visit();
    assert_eq!(log_level(&brim, &["info"]).code, Some(0));
    assert_eq!(brim.error_log_count(told), 1);
}

#[test]
fn only_a_level_is_taken_and_only_from_the_operator() {
    let brim = Brim::in_front_of(Origin::ok().address());
    let operator = brim.operator();
    for bad in
        ["", "{}", "debug", r#"{"level":"loud"}"#, r#"{"level":1}"#, r#"{"level":"info","x":1}"#]
    {
        let answer = operator.ask("PUT", "/log-level", bad);
        assert_eq!(answer.status, 400, "{bad}");
        let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(told["error"].as_str().is_some_and(|why| !why.is_empty()));
    }
    assert_eq!(operator.ask("PUT", "/log-level?x=1", r#"{"level":"info"}"#).status, 400);
    assert_eq!(operator.ask("DELETE", "/log-level", "").status, 405);
    let strangers = Client::connect(brim.admin()).ask(get("/log-level"));
    assert_eq!(strangers.status, 401);
    assert_eq!(operator.get("/log-level"), json!({"level": "info"}));
    let wrong = log_level(&brim, &["debgu"]);
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.stderr.contains("did you mean \"debug\"?"), "{}", wrong.stderr);
    let nobody = Command::run(&[
        "log-level",
        "info",
        "--admin",
        &format!("http://{NOBODY}"),
        "--token-file",
        "/nowhere",
    ]);
    assert_eq!(nobody.code, Some(1));
}

#[test]
fn the_error_log_can_be_json_with_levels_of_its_own() {
    let text = format!(
        "[server]\nhttp = ['127.0.0.1:0']\n[log]\nerror_format = 'json'\nlevel = 'info,brim::server=off'\n\
         [[origin]]\nname = 'o'\nservers = ['http://{NOBODY}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("edge.toml");
    std::fs::write(&file, text.replace("127.0.0.1:0", "127.0.0.77:1")).expect("written");
    let check = Command::run(&["check", "--config", file.to_str().expect("a path")]);
    assert_eq!(check.code, Some(0), "{}", check.stderr);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_brim"))
        .args(["run", "--config", file.to_str().expect("a path")])
        .env("BRIM_ADMIN_TOKEN", "x")
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("brim starts");
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).expect("a line");
    child.kill().expect("ended");
    child.wait().expect("ended");
    let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
}
