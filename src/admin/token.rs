//! The operator's token: where it is looked for, and how it is made. It is never printed.
//!
//! The environment comes before the file, so that a container needs no folder that it can write to.

use std::env::{self, VarError};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The variable of the environment that may hold it.
pub const VARIABLE: &str = "BRIM_ADMIN_TOKEN";

const RANDOM_BYTES: usize = 32;
/// More than anybody makes, and far less than what a wrong file may hold.
const FILE_BYTES_MAX: u64 = 4096;
const FILE_MODE: u32 = 0o600;
/// Bits of those who do not own the file.
const OTHERS: u32 = 0o077;

/// What a file says.
pub struct FromFile {
    /// The token.
    pub token: String,
    /// Not only its owner may read it, or write it.
    pub is_exposed: bool,
}

/// The token of the environment, if it has one.
pub fn of_environment() -> io::Result<Option<String>> {
    match env::var(VARIABLE) {
        Err(VarError::NotPresent) => Ok(None),
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => {
            checked(&text).map(Some).map_err(|why| io::Error::other(format!("{VARIABLE} {why}")))
        }
        Err(VarError::NotUnicode(_)) => Err(io::Error::other(format!("{VARIABLE} {UNPRINTABLE}"))),
    }
}

/// The token of a file. An error names it, and keeps its kind where it cannot be read.
pub fn of_file(path: &Path) -> io::Result<FromFile> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("the token file {}: {error}", path.display()))
    };
    let file = File::open(path).map_err(named)?;
    let mode = file.metadata().map_err(named)?.mode();
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(named)?;
    let token = if text.len() as u64 > FILE_BYTES_MAX {
        Err("is too long for one".to_owned())
    } else {
        checked(&text)
    };
    let token = token.map_err(|why| {
        let remedy = "remove it, and `brim run` makes a new one";
        io::Error::other(format!("the token file {} {why}; {remedy}", path.display()))
    })?;
    Ok(FromFile { token, is_exposed: mode & OTHERS != 0 })
}

/// The same, from a file that is made if it is not there.
pub fn of_file_or_new(path: &Path) -> io::Result<FromFile> {
    match of_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match make(path) {
            // Somebody else was faster.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => of_file(path),
            Err(error) => {
                let message = format!("the token file {}: {error}", path.display());
                Err(io::Error::new(error.kind(), message))
            }
            Ok(()) => of_file(path),
        },
        found => found,
    }
}

/// One that nobody can guess.
pub fn random() -> io::Result<String> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn make(path: &Path) -> io::Result<()> {
    let text = random()? + "\n";
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
    // Half a token would be taken for a whole one by the next start.
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

const UNPRINTABLE: &str = "holds characters that no token has: visible ASCII only, and no spaces";

/// The token in a text, without the white space around it.
fn checked(text: &str) -> Result<String, String> {
    let token = text.trim();
    if token.is_empty() {
        return Err("is empty".to_owned());
    }
    // A header field has to carry it.
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(UNPRINTABLE.to_owned());
    }
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_a_header_field_can_carry() {
        assert_eq!(checked(" a-B_9~=\n"), Ok("a-B_9~=".to_owned()));
        for bad in ["a b", "a\nb", "a\u{e9}", "a\0", "\u{7f}"] {
            assert!(checked(bad).is_err(), "{bad:?}");
        }
        assert_eq!(checked(" \n"), Err("is empty".to_owned()));
    }
}
