//! `brim store verify`: everything against its checksums.

use super::{Out, counted, key_text};
use crate::store::disk::inspect::{Inspected, Problem, Progress, Seen};
use bytesize::ByteSize;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between two signs of life.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

pub(super) fn verify(store: &Inspected, out: &mut Out<'_>) -> io::Result<ExitCode> {
    let mut shown = Shown::new();
    let verified = store.verify(&mut |seen| match seen {
        Seen::Progress(progress) => {
            shown.update(&progress);
            Ok(())
        }
        Seen::Problem(problem) => {
            shown.clear();
            writeln!(out, "{}", line(&problem))
        }
    });
    shown.clear();
    let Progress { segments, records, bytes, problems, .. } = verified?;
    writeln!(
        out,
        "{}, {} and {} read: {}",
        counted(segments, "segment", "segments"),
        counted(records, "record", "records"),
        ByteSize(bytes),
        if problems == 0 {
            "all good".to_owned()
        } else {
            counted(problems, "problem", "problems")
        },
    )?;
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(problem: &Problem) -> String {
    let key = problem.key.as_ref().map(|key| format!(" ({})", key_text::shown(key)));
    let mut file = String::new();
    key_text::escape(&mut file, problem.file.as_bytes());
    format!("{file}:{}: {}{}", problem.offset, problem.reason, key.unwrap_or_default())
}

/// A line on a terminal that is written over and over.
struct Shown {
    is_terminal: bool,
    last: Option<Instant>,
}

impl Shown {
    fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal(), last: None }
    }

    fn update(&mut self, progress: &Progress) {
        if !self.is_terminal || self.last.is_some_and(|last| last.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        self.last = Some(Instant::now());
        let (done, all) = (progress.segments, progress.segments_all);
        // A terminal that is gone takes nothing from the result.
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{done} of {} read, {}",
            counted(all, "segment", "segments"),
            ByteSize(progress.bytes)
        );
    }

    fn clear(&self) {
        if self.last.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
