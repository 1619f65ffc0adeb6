//! The README's first screen: whoever types it sees what it shows.

use crate::kit::{Brim, Client, Origin, ok_with};
use brim::config;
use std::path::Path;

fn readme() -> String {
    std::fs::read_to_string("README.md").expect("the README")
}

/// What is between fences of this kind on the first screen, or anywhere.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let parts = text.split("```").skip(1).step_by(2);
    parts
        .filter_map(|part| part.strip_prefix(kind)?.strip_prefix('\n'))
        .map(str::to_owned)
        .collect()
}

/// Times go by, and addresses differ.
fn without_digits(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// Does what a `curl` of the README does, and what its `grep` leaves of the answer.
fn curl(brim: &Brim, words: &[&str]) -> String {
    let method = match words.iter().position(|word| *word == "-X") {
        Some(position) => words[position + 1],
        None => "GET",
    };
    let url = words.iter().find(|word| word.starts_with("http://")).expect("a URL");
    let (host, path) = url["http://".len()..].split_once('/').expect("a path");
    assert_eq!(host, "127.0.0.1:8080", "where `make run` listens");
    let answer = Client::connect(brim.address())
        .ask(format!("{method} /{path} HTTP/1.1\r\nHost: {}\r\n\r\n", brim.address()));
    assert_eq!(answer.status, 200, "{url}: {answer:?}");
    let status = answer.head.lines().find(|line| line.starts_with("Cache-Status: "));
    if words.contains(&"grep") { status.unwrap_or_default().to_owned() } else { answer.text() }
}

#[test]
fn the_first_screen_shows_what_happens() {
    let readme = readme();
    let (screen, _) = readme.split_once("\n## Using it\n").expect("what comes after it");
    assert!(screen.lines().count() <= 45, "the first screen is one");
    let origin = Origin::answering(ok_with("Cache-Control: max-age=60\r\n", "page"));
    let mut brim = None;
    let mut seen = Vec::new();
    for block in blocks(screen, "console") {
        let mut lines = block.lines().peekable();
        while let Some(line) = lines.next() {
            let command = line.strip_prefix("$ ").expect("a command, and then what it prints");
            let words: Vec<&str> =
                command.split(" # ").next().unwrap_or_default().split_whitespace().collect();
            match words.as_slice() {
                ["make", "run"] => brim = Some(Brim::demo(&[])),
                ["make", "run", origin_is] => {
                    assert!(origin_is.starts_with("ORIGIN=http://"), "{command}");
                    let url = format!("http://{}", origin.address());
                    brim = Some(Brim::demo(&["--origin", &url]));
                }
                ["curl", ..] => {
                    let printed = curl(brim.as_ref().expect("`make run` comes first"), &words);
                    let shown = lines.next_if(|line| !line.starts_with("$ ")).unwrap_or_default();
                    let mut left = without_digits(&printed);
                    for part in without_digits(shown).split("..").map(str::trim) {
                        let from = left.find(part);
                        let from = from.unwrap_or_else(|| panic!("{command}\n{printed}\n{shown}"));
                        left.drain(..from + part.len());
                    }
                    seen.push(printed);
                }
                _ => panic!("who knows what {command:?} does?"),
            }
        }
    }
    let position = |text: &str| seen.iter().position(|line| line.contains(text));
    let (miss, hit, purge) = (position("; stored"), position("; hit;"), position("\"objects\":"));
    assert!(miss.is_some() && miss < hit && hit < purge, "a miss, a hit, a purge: {seen:#?}");
    let after = seen.iter().skip(purge.unwrap_or_default());
    assert!(after.into_iter().any(|line| line.contains("; stored")), "a miss again: {seen:#?}");
}

#[test]
fn make_run_is_the_demo_where_the_readme_says() {
    let makefile = std::fs::read_to_string("Makefile").expect("a Makefile");
    for part in ["LISTEN ?= 127.0.0.1:8080", "brim demo --listen $(LISTEN)", "--origin $(ORIGIN)"] {
        assert!(makefile.contains(part), "{part}");
    }
}

#[test]
fn every_configuration_that_is_shown_is_a_good_one() {
    let mut pages = vec!["README.md".into()];
    let entries = std::fs::read_dir("docs").expect("a folder");
    pages.extend(entries.map(|entry| entry.expect("an entry").path()));
    let mut count = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("text");
        for block in blocks(&text, "toml") {
            let mut shown = block.clone();
            // Parts of a file: whatever they leave out.
            if !shown.contains("[[origin]]") {
                shown += "\n[[origin]]\nname = \"main\"\nservers = [\"http://127.0.0.1:3000\"]\n";
            }
            if !shown.contains("[[site]]") {
                shown += "\n[[site]]\nhosts = [\"*\"]\norigin = \"main\"\n";
            }
            let checked = config::check(&shown, "shown", Path::new(""));
            let is_wrong = |problem: &&config::Problem| {
                let is_about_files = ["certificate", "server.https", "server.tls"];
                let is_about_files = is_about_files.iter().any(|key| problem.key.starts_with(key));
                !problem.is_warning && !is_about_files
            };
            let problems: Vec<_> = checked.problems.iter().filter(is_wrong).collect();
            assert!(problems.is_empty(), "{}: {problems:#?}\n{shown}", page.display());
            count += 1;
        }
    }
    assert!(count > 3, "{count} configurations");
}
