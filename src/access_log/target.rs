//! Where lines go.

use crate::config;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An open file, or a pipe, or a terminal.
pub(super) struct Target {
    file: File,
    /// `None`: there is nothing to be opened again.
    path: Option<PathBuf>,
}

impl Target {
    /// `None` where nothing is written; an error names the file.
    pub(super) fn open(target: &config::AccessLog) -> io::Result<Option<Self>> {
        let (file, path) = match target {
            config::AccessLog::Off => return Ok(None),
            // Lines come in whole batches: what the library keeps back would only tear them.
            config::AccessLog::Stdout => {
                (File::from(io::stdout().as_fd().try_clone_to_owned()?), None)
            }
            config::AccessLog::File(path) => (open(path)?, Some(path.clone())),
        };
        Ok(Some(Self { file, path }))
    }

    /// Goes on in the file that is called so now. If that cannot be, in the one that was.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.file = open(path)?;
        }
        Ok(())
    }

    /// As much as is taken now.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    /// What to call it in a message.
    pub(super) fn name(&self) -> String {
        self.path
            .as_deref()
            .map_or_else(|| "standard output".to_owned(), |p| p.display().to_string())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let named = |error: io::Error| io::Error::other(format!("{}: {error}", path.display()));
    // A pipe that nobody reads would be waited for.
    let without_waiting = OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(without_waiting)
        .open(path)
        .map_err(named)?;
    let flags = rustix::fs::fcntl_getfl(&file).map_err(|error| named(error.into()))?;
    let flags = flags.difference(OFlags::NONBLOCK);
    rustix::fs::fcntl_setfl(&file, flags).map_err(|error| named(error.into()))?;
    Ok(file)
}
