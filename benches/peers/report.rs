//! What was seen, as Markdown with its plot beside it.

use crate::contestants::Who;
use crate::rows::Beside;
use crate::seen::{Measured, Seen, Verdict, ratio};
use crate::table::{self, median};
use crate::trial::Trial;
use crate::{Options, plot};
use std::fmt::Write as _;
use std::io;
use std::path::Path;

/// Written anew with every row that is done: what was seen until an end that comes early is kept.
pub(crate) fn write(options: &Options, trial: &Trial, measured: &[Measured]) -> io::Result<()> {
    std::fs::create_dir_all(&options.results)?;
    std::fs::write(options.results.join("peers.md"), markdown(options, trial, measured))?;
    std::fs::write(options.results.join("peers.svg"), plot::svg(measured))
}

pub(crate) fn print_goals(measured: &[Measured]) {
    let mut rows = vec![table::row(&[&"goal", &"wanted", &"seen", &""])];
    for measured in measured {
        let logs = if measured.writes_log { ", with logs" } else { "" };
        for verdict in measured.verdicts() {
            let what = format!("{}{logs}", measured.row.title);
            let seen = format!("{:.2} x {}", verdict.ratio, verdict.beside.name());
            rows.push(table::row(&[&what, &wanted(&verdict), &seen, &word(&verdict)]));
        }
    }
    table::print("Goals", &rows);
}

fn markdown(options: &Options, trial: &Trial, measured: &[Measured]) -> String {
    let mut text = "# Brim beside its peers\n\n".to_owned();
    text += &setting(options, trial);
    text += "\n![Answers per second of the best peer's, row by row](peers.svg)\n\n## Goals\n\n";
    text += &goals(measured);
    text += "\nProcessor time for a hit among ten million objects, memory for a connection and for an object, \
             and the time to the first answer have no peers here: benches/footprint measures them.\n\n\
             ## Every row\n\n\
             Answers per second are the median of the rounds, with the least and the most; \"of the best peer\" is the \
             median of the ratios round by round, the processor time is for each answer, of all processes of a \
             contestant, and \"load busy\" the share of its processor that the load generator took: near 100 % a \
             contestant could have answered more than it was asked.\n";
    for measured in measured {
        text += &of_row(measured);
    }
    if !trial.notes.is_empty() {
        text += "\n## Notes\n\n";
        for note in &trial.notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    text
}

fn setting(options: &Options, trial: &Trial) -> String {
    let today = jiff::Zoned::now().strftime("%-d %B %Y").to_string();
    let kernel = read_line("/proc/sys/kernel/osrelease");
    let (model, count) = processors();
    let mut text = format!(
        "{today}; Linux {kernel}; {count} processors, {model}. One thread and one processor for each \
         contestant, another processor for the load and the origin. {rounds} rounds of {time} s each, in which all take \
         turns; who is not measured is stopped. Hits: the origin is not asked while they are measured. With access \
         logs: buffered, everybody the combined format (HAProxy: its own, over a ring to a reader on the processor of the load; \
         Varnish: a varnishncsa on its own processor). Contents are compared before each row.\n\n",
        rounds = options.rounds(),
        time = options.time,
    );
    for (name, version) in &trial.versions {
        if *name != Who::Bare.name() {
            let _ = writeln!(text, "- {name}: {version}");
        }
    }
    let _ = writeln!(
        text,
        "- {}: a `ServerApp` that reads, looks up and writes the bytes that Brim answers, and does nothing else\n\n\
         {} and {0} are built {}. To repeat it: `make bench-peers`.",
        Who::Bare.name(),
        Who::Brim.name(),
        options.built,
    );
    text
}

fn goals(measured: &[Measured]) -> String {
    let mut text = "| work | access logs | Brim | beside | theirs | ratio | goal | |\n\
                    |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for measured in measured {
        let logs = if measured.writes_log { "on" } else { "off" };
        let Some(brim) = measured.brim() else { continue };
        for verdict in measured.verdicts() {
            let beside = measured.seen.iter().find(|seen| seen.who == verdict.beside);
            let value = |seen: &Seen| match verdict.goal.beside {
                Beside::BestOf(_) => format!("{}/s", thousands(median(&seen.rates))),
                Beside::LatencyOf(_) => format!("p99 {:.1} ms", median(&seen.p99s) * 1e3),
            };
            let _ = writeln!(
                text,
                "| {} | {logs} | {} | {} | {} | {:.2} | {} | {} |",
                measured.row.title,
                value(brim),
                verdict.beside.name(),
                beside.map(value).unwrap_or_default(),
                verdict.ratio,
                wanted(&verdict),
                word(&verdict),
            );
        }
    }
    text
}

fn of_row(measured: &Measured) -> String {
    let logs = if measured.writes_log { "on" } else { "off" };
    let mut text = format!("\n### {}, access logs {logs}\n\n", measured.row.title);
    text += "| | per second | least | most | of the best peer | us of processor | of the best peer | p99, ms | load busy |\n\
             |---|---|---|---|---|---|---|---|---|\n";
    let peers: Vec<Who> =
        measured.seen.iter().map(|seen| seen.who).filter(|who| who.is_peer()).collect();
    let best = measured.best_of(&peers);
    for seen in &measured.seen {
        let least = seen.rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = seen.rates.iter().copied().fold(0.0, f64::max);
        let of_best = |values: fn(&Seen) -> &Vec<f64>| {
            best.map_or(String::new(), |best| format!("{:.2}", ratio(values(seen), values(best))))
        };
        let p99 = match seen.p99s.is_empty() {
            true => String::new(),
            false => format!("{:.2}", median(&seen.p99s) * 1e3),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} | {} | {p99} | {:.0} % |",
            seen.who.name(),
            thousands(median(&seen.rates)),
            thousands(least),
            thousands(most),
            of_best(|seen| &seen.rates),
            median(&seen.times) * 1e6,
            of_best(|seen| &seen.times),
            median(&seen.load_busy) * 100.0,
        );
    }
    text
}

fn wanted(verdict: &Verdict) -> String {
    let limit = verdict.goal.limit;
    match verdict.goal.beside {
        Beside::BestOf(_) => format!("at least {limit:.2}"),
        Beside::LatencyOf(_) => format!("at most {limit:.2}"),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    if verdict.is_met() { "met" } else { "MISSED" }
}

/// 12,345
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn read_line(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Their model, and how many there are, whichever of them this process may use.
fn processors() -> (String, usize) {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let values = told.lines().filter_map(|line| line.split_once(':'));
    let named = |wanted: &'static str| {
        values.clone().filter(move |(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
    };
    let model = named("model name").next().unwrap_or(std::env::consts::ARCH).to_owned();
    (model, named("processor").count())
}
