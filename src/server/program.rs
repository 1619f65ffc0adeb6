//! What this process was started as.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// An executable, by the path that it is found at, and its arguments. Whatever is found there later
/// is the new binary; where a link stands there, it is followed anew each time.
#[derive(Debug)]
pub struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

impl Program {
    /// To be asked at the start: what was running may not be there any more later.
    pub fn of_this_process() -> io::Result<Self> {
        let mut arguments = env::args_os();
        let name = PathBuf::from(arguments.next().unwrap_or_default());
        let path = match name.components().count() {
            0 => env::current_exe()?,
            1 if !name.is_absolute() => {
                let folders = env::var_os("PATH").unwrap_or_default();
                let found = env::split_paths(&folders).map(|folder| folder.join(&name));
                found.into_iter().find(|path| is_this(path)).map_or_else(env::current_exe, Ok)?
            }
            _ => name,
        };
        let path = std::path::absolute(path)?;
        // Whoever started it may have called it whatever they liked.
        let path = if is_this(&path) { path } else { env::current_exe()? };
        Ok(Self { path, arguments: arguments.collect() })
    }
}

/// Whether this is found there.
fn is_this(path: &Path) -> bool {
    let real = env::current_exe().and_then(std::fs::canonicalize);
    matches!((real, std::fs::canonicalize(path)), (Ok(real), Ok(path)) if real == path)
}
