//! The command line as a newcomer meets it.

use crate::kit::Command;

#[test]
fn help_shows_the_commands_with_examples() {
    let help = Command::run(&["--help"]);
    assert_eq!(help.code, Some(0));
    for part in [
        "run",
        "check",
        "demo",
        "purge",
        "explain",
        "store",
        "completions",
        "Examples:",
        "Exit codes",
    ] {
        assert!(help.stdout.contains(part), "{part} in {}", help.stdout);
    }
    for command in ["run", "check", "demo", "purge", "explain", "store", "completions"] {
        let help = Command::run(&[command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Example"), "{command}: {}", help.stdout);
    }
    for command in ["stat", "verify", "ls", "dump"] {
        let help = Command::run(&["store", command, "--help"]);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Example"), "{command}: {}", help.stdout);
    }
}

#[test]
fn the_version_is_the_packages() {
    let version = Command::run(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.stdout, format!("brim {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_exits_with_two() {
    for arguments in [
        &["serve"][..],
        &[],
        &["run", "--confg", "x"],
        &["demo", "--origin", "ftp://a"],
        &["demo", "--origin", "http://a/path"],
        &["demo", "--listen", "8080"],
        &["store"],
        &["store", "stat"],
        &["store", "repair", "--path", "."],
        &["store", "dump", "--path", "."],
        &["explain"],
        &["explain", "a", "b"],
        &["explain", "a", "-H"],
        &["purge"],
        &["purge", "--soft", "--wait"],
        &["purge", "--url"],
        &["purge", "--tag", "a", "--all-queries"],
        &["purge", "--all", "--admin", "https://127.0.0.1:9180"],
        &["purge", "--all", "--admin", "127.0.0.1:9180"],
    ] {
        let finished = Command::run(arguments);
        assert_eq!(finished.code, Some(2), "{arguments:?}");
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn shells_can_complete() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Command::run(&["completions", shell]);
        assert_eq!(script.code, Some(0), "{shell}");
        assert!(script.stdout.contains("brim") && script.stdout.contains("check"), "{shell}");
    }
}
