//! `brim schema`: every key that a configuration may have, for editors and for people.

use crate::config;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

pub(crate) fn schema(as_markdown: bool) -> ExitCode {
    let text = if as_markdown { config::reference() } else { config::schema() };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brim: {error}");
            ExitCode::FAILURE
        }
    }
}
