//! The glossary of reasons: every word that the code can say, and the page that is made of it.

use brim::outcome::glossary::{Topic, of, page, words};
use brim::outcome::{Forward, Outcome, Staleness};
use brim::rules::bypass::Bypass;
use brim::rules::storing::Refusal;
use brim::upstream::Fault;
use std::fs;
use std::path::{Path, PathBuf};

const REGENERATE: &str = "BRIM_WRITE_REASONS";

#[test]
fn the_page_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md");
    if std::env::var_os(REGENERATE).is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(&file, page()).expect("written");
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == page(),
        "{} is out of date: {REGENERATE}=1 cargo test --test rules reasons",
        file.display()
    );
}

#[test]
fn every_word_of_a_closed_vocabulary_is_in_the_glossary() {
    let known = |topic: Topic, word: &str| assert!(of(topic, word).is_some(), "{topic:?} {word}");
    Outcome::LABELS.iter().for_each(|word| known(Topic::Outcome, word));
    Forward::ALL.iter().for_each(|forward| known(Topic::Forward, forward.label()));
    Staleness::ALL.iter().for_each(|staleness| known(Topic::Staleness, staleness.label()));
    Refusal::ALL.iter().for_each(|refusal| known(Topic::NotKept, refusal.label()));
    Fault::ALL.iter().for_each(|fault| known(Topic::Origin, fault.label()));
    for bypass in [Bypass::Upgrade, Bypass::RequestBody, Bypass::Rule] {
        known(Topic::Bypass, bypass.detail().expect("a word"));
    }
}

#[test]
fn a_word_stands_once_in_its_topic_and_says_everything() {
    let all: Vec<_> = words().collect();
    for (position, word) in all.iter().enumerate() {
        let is_same = |other: &&&_| {
            let other: &brim::outcome::glossary::Word = other;
            other.topic == word.topic && other.word == word.word
        };
        assert_eq!(all.iter().filter(is_same).count(), 1, "{position}: {}", word.word);
        for text in [word.means, word.by, word.remedy] {
            assert!(
                !text.is_empty() && !text.ends_with('.') && !text.contains(['|', '\n']),
                "{text}"
            );
        }
    }
}

/// Words that are written down where they are said, and not in a vocabulary of their own.
#[test]
fn every_word_that_the_source_says_is_in_the_glossary() {
    let mut said = 0;
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).expect("read");
        for pattern in
            ["Error(\"", "Broken(\"", "Reset(\"", "broken(\"", "detail: Some(\"", "own(4", "own(5"]
        {
            for (at, _) in text.match_indices(pattern) {
                let rest = &text[at..];
                let Some(word) = rest.split('"').nth(1) else { continue };
                let is_word =
                    word.bytes().all(|byte| byte.is_ascii_lowercase() || b"_-".contains(&byte));
                if !is_word || word.is_empty() {
                    continue;
                }
                said += 1;
                let is_known = words().any(|known| known.word == word);
                assert!(
                    is_known,
                    "{}: \"{word}\" is not in src/outcome/glossary.rs",
                    file.display()
                );
            }
        }
    }
    assert!(said > 30, "{said}");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
