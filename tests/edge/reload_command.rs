//! `brim reload`, against the edge that it is for.

use crate::kit::{Brim, Command, Finished, Origin};

fn reload(brim: &Brim) -> Finished {
    let admin = format!("http://{}", brim.admin());
    let config = brim.folder().join("edge.toml");
    Command::run(&["reload", "--config", config.to_str().expect("a path"), "--admin", &admin])
}

fn text(origin: &Origin, lines: &str) -> String {
    format!(
        "[server]\nhttp = ['127.0.0.1:0']\n{lines}\n[[origin]]\nname = 'o'\n\
         servers = ['http://{}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n",
        origin.address()
    )
}

#[test]
fn what_has_changed_is_printed_or_everything_that_is_wrong() {
    let origin = Origin::ok();
    let brim = Brim::configured(&text(&origin, ""));
    let told = reload(&brim);
    assert_eq!((told.code, told.stdout.as_str()), (Some(0), "nothing has changed\n"));

    brim.rewrite(&text(&origin, "threads = 7\nshutdown_timeout = '3s'"));
    let told = reload(&brim);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        told.stdout,
        "server.shutdown_timeout: nothing -> \"3s\"\nserver.threads: nothing -> 7\n\
         server.threads needs a restart: the value before stays in force\n"
    );

    // The edge is asked with its own file, also where that is not good.
    brim.rewrite(&text(&origin, "threads = 'x'\nadmim = 'y'"));
    let told = reload(&brim);
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""));
    for part in ["edge.toml:4: server.threads: ", "edge.toml:5: server.admim: ", "brim: "] {
        assert!(told.stderr.contains(part), "{part}: {}", told.stderr);
    }
}

#[test]
fn who_is_not_reached_or_has_no_file_is_told_so() {
    let origin = Origin::ok();
    let brim = Brim::configured(&text(&origin, ""));
    let admin = format!("http://{}", brim.admin());
    let wrong = brim.folder().join("wrong");
    std::fs::write(&wrong, "wrong").expect("written");
    let token = wrong.to_str().expect("a path");
    let told = Command::run(&["reload", "--admin", &admin, "--token-file", token]);
    assert_eq!(told.code, Some(1));
    assert!(told.stderr.contains("does not know the token"), "{}", told.stderr);
    assert_eq!(Command::run(&["reload", "--now"]).code, Some(2));
}
