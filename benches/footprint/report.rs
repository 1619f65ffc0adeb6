//! What was seen, as tables on the screen and in a file.

use crate::table::{self, Goal};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

/// One table.
pub(crate) struct Table {
    title: String,
    /// The first names the columns.
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![columns.iter().map(ToString::to_string).collect()] }
    }

    pub(crate) fn row(&mut self, name: &str, cells: &[String]) {
        self.rows.push([&[name.to_owned()], cells].concat());
    }
}

/// All of them.
pub(crate) struct Report {
    began: SystemTime,
    parts: Vec<(Table, Vec<Goal>)>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { began: SystemTime::now(), parts: Vec::new() }
    }

    /// Shown at once, and kept.
    pub(crate) fn add(&mut self, table: Table, goals: Vec<Goal>) {
        table::print(&table.title, &table.rows);
        self.parts.push((table, goals));
    }

    pub(crate) fn print(&self) {
        let goals = self.parts.iter().flat_map(|(_, goals)| goals);
        let rows = std::iter::once(["goal", "wanted", "seen", ""].map(str::to_owned).to_vec());
        table::print("Goals", &rows.chain(goals.map(goal_row)).collect::<Vec<_>>());
    }

    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        let mut text = String::new();
        self.tell(&mut text).map_err(io::Error::other)?;
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, text)
    }

    fn tell(&self, text: &mut String) -> std::fmt::Result {
        let date = httpdate::fmt_http_date(self.began);
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let arguments: Vec<String> =
            std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
        writeln!(text, "# What Brim takes\n")?;
        writeln!(
            text,
            "Written by `make bench-footprint{}` on {date}: a release build of Brim {} ({}), {}, \
             Linux {}, {processors} processors. `benches/README.md` says how it is measured.\n",
            if arguments.is_empty() {
                String::new()
            } else {
                format!(" BENCH=\"{}\"", arguments.join(" "))
            },
            env!("CARGO_PKG_VERSION"),
            said_by("git", &["describe", "--always", "--dirty"]),
            said_by("rustc", &["--version"]),
            said_by("uname", &["-r"]),
        )?;
        let mut goals = vec![["goal", "wanted", "seen", ""].map(str::to_owned).to_vec()];
        goals.extend(self.parts.iter().flat_map(|(_, goals)| goals).map(goal_row));
        markdown(text, &goals)?;
        for (table, _) in &self.parts {
            writeln!(text, "\n## {}\n", table.title)?;
            markdown(text, &table.rows)?;
        }
        Ok(())
    }
}

fn goal_row(goal: &Goal) -> Vec<String> {
    let verdict = if goal.is_met { "met" } else { "MISSED" };
    vec![goal.what.clone(), goal.wanted.clone(), goal.seen.clone(), verdict.to_owned()]
}

fn markdown(text: &mut String, rows: &[Vec<String>]) -> std::fmt::Result {
    for (number, row) in rows.iter().enumerate() {
        writeln!(text, "| {} |", row.join(" | "))?;
        if number == 0 {
            writeln!(text, "|{}", "---|".repeat(row.len()))?;
        }
    }
    Ok(())
}

/// The first line of what a program says of itself.
fn said_by(program: &str, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    said.unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

/// So many, in the unit that fits.
pub(crate) fn bytes(count: f64) -> String {
    match count.abs() {
        at_least if at_least >= 10.0 * 1024.0 * 1024.0 => {
            format!("{:.1} MiB", count / 1024.0 / 1024.0)
        }
        at_least if at_least >= 4096.0 => format!("{:.1} KiB", count / 1024.0),
        _ => format!("{count:.0} B"),
    }
}
