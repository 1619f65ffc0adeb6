//! `brim store`: what is in the folder of the disk tier, for operators. Read-only, also while an
//! edge uses the folder.

mod dump;
mod key_text;
mod list;
mod stat;
mod stored;
mod verify;

pub(crate) use dump::Part;

use crate::store::disk::inspect::Inspected;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// What the commands write to.
type Out<'a> = BufWriter<StdoutLock<'a>>;

pub(crate) fn stat(path: &Path, is_json: bool) -> ExitCode {
    with(path, |store, out| stat::print(path, store, is_json, seconds_now(), out))
}

pub(crate) fn verify(path: &Path) -> ExitCode {
    with(path, verify::verify)
}

pub(crate) fn ls(path: &Path, is_json: bool) -> ExitCode {
    with(path, |store, out| list::print(store, is_json, seconds_now(), out))
}

pub(crate) fn dump(path: &Path, key: &str, what: Part) -> ExitCode {
    with(path, |store, out| dump::dump(store, key, what, out))
}

/// Runs a command on a folder. Whoever reads the output may stop at any time: what is left to say
/// is not said then.
fn with(
    path: &Path,
    command: impl FnOnce(&Inspected, &mut Out<'_>) -> io::Result<ExitCode>,
) -> ExitCode {
    let store = match Inspected::open(path) {
        Ok(store) => store,
        Err(error) => {
            eprintln!("brim: {}: {}", path.display(), why_not(path, &error));
            return ExitCode::FAILURE;
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let done = command(&store, &mut out).and_then(|code| out.flush().map(|()| code));
    match done {
        Ok(code) => code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("brim: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn why_not(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound if !path.exists() => "there is no such folder".to_owned(),
        ErrorKind::NotFound => "there is no store in this folder".to_owned(),
        ErrorKind::NotADirectory => "this is no folder".to_owned(),
        _ => error.to_string(),
    }
}

fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// How long ago something was, in one unit.
fn age(then: u64, now: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        _ if then == 0 => "?".to_owned(),
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 entry`, `2 entries`.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn an_age_has_one_unit() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7200, "2h"),
            (172_800, "2d"),
            (8_640_000, "100d"),
        ] {
            assert_eq!(age(1_000_000, 1_000_000 + seconds), shown);
        }
        assert_eq!(age(0, 5), "?");
        assert_eq!(age(7, 5), "0s", "clocks go backwards");
    }
}
