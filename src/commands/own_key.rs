//! The operator's token of an edge without a configuration: of the environment, or in a file that is
//! there while the edge runs, for its owner alone.

use super::run::Token;
use crate::admin::token;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Removes its file when it is dropped.
pub(super) struct OwnKey {
    token: Token,
    /// `None`: it is the environment's, or there is none.
    file: Option<PathBuf>,
}

impl OwnKey {
    pub(super) fn new() -> io::Result<Self> {
        if let Some(token) = token::of_environment()? {
            return Ok(Self { token: Ok(token), file: None });
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        // Nobody else can have put a file there.
        let file = env::temp_dir().join(format!("brim-{:016x}.token", u64::from_ne_bytes(random)));
        Ok(match token::of_file_or_new(&file) {
            Ok(found) => Self { token: Ok(found.token), file: Some(file) },
            Err(error) => Self { token: Err(error.to_string()), file: None },
        })
    }

    pub(super) fn token(&self) -> Token {
        self.token.clone()
    }

    /// A line for the shell, of a command for this edge. The token itself is not in it.
    pub(super) fn command(&self, name: &str, argument: &str, admin: SocketAddr) -> Option<String> {
        self.token.as_ref().ok()?;
        let file = self.file.as_deref().map(|file| format!(" --token-file {}", word(file)));
        let file = file.unwrap_or_default();
        let (program, argument) = (word(&program()), word(Path::new(argument)));
        Some(format!("{program} {name} --admin http://{admin}{file} {argument}"))
    }
}

impl Drop for OwnKey {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

/// How the shell finds this program from any folder.
fn program() -> PathBuf {
    let called = PathBuf::from(env::args_os().next().unwrap_or_default());
    // Found by its name alone.
    if called.components().count() == 1 && !called.exists() {
        return called;
    }
    env::current_exe().unwrap_or(called)
}

/// One word of the shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+:@%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
