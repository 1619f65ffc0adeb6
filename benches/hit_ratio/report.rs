//! What was seen, as people read it.

use std::collections::BTreeMap;
use std::fmt::Write;

pub(crate) const MEMORY: &str = "Brim, memory";
pub(crate) const BOTH: &str = "Brim, both tiers";
/// Those that do not know what is to come, and that Brim is to be ahead of.
const RIVALS: [&str; 4] = ["LRU", "S3-FIFO", "W-TinyLFU", "GDSF"];
/// Others of which the simulator's authors, or others, think well.
const OTHERS: [&str; 3] = ["SIEVE", "ARC", "LHD"];
/// Those that know everything.
const ORACLES: [&str; 2] = ["Belady", "Belady-size"];

/// Shares of what counts that were hits.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ratio {
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
}

/// What a kind of requests came to at one size.
pub(crate) struct Row {
    kind: &'static str,
    share: f64,
    pub(crate) bytes: u64,
    ratios: BTreeMap<String, Ratio>,
    /// Records written to the disk tier for each request.
    pub(crate) writes: f64,
}

impl Row {
    pub(crate) fn new(kind: &'static str, share: f64, bytes: u64) -> Self {
        Self { kind, share, bytes, ratios: BTreeMap::new(), writes: 0.0 }
    }

    pub(crate) fn add(&mut self, who: &str, ratio: Ratio) {
        self.ratios.insert(who.to_owned(), ratio);
    }
}

fn everybody() -> impl Iterator<Item = &'static str> {
    [MEMORY, BOTH].into_iter().chain(RIVALS).chain(OTHERS).chain(ORACLES)
}

pub(crate) fn of(rows: &[Row], version: &str, requests: u64, seed: u64) -> String {
    let now = jiff::Zoned::now();
    let mut text = format!(
        "# Hit ratios at equal bytes\n\n{}, Brim {}, libCacheSim {version}, seed {seed}; {requests} \
         requests of each kind, of which the second half counts. To repeat it: `make bench-hit-ratio`.\n",
        now.strftime("%-d %B %Y"),
        env!("CARGO_PKG_VERSION"),
    );
    text += INTRODUCTION;
    for (title, of) in [
        ("Requests that were hits, %", (|ratio: &Ratio| ratio.requests) as fn(&Ratio) -> f64),
        ("Bytes that were hits, %", |ratio| ratio.bytes),
    ] {
        table(&mut text, title, rows, of);
    }
    goals(&mut text, rows);
    text
}

const INTRODUCTION: &str = "
Every cache has so many bytes, a share of all bytes that are ever asked for. Of those, Brim's memory tier
pays for keys and for all that it needs for itself; the policies pay for objects alone. Of two tiers memory
is a tenth, and the disk tier, whose files have to fit with all that is in them, the rest; what is in both
counts twice. Belady and Belady-size know what is to come. Brim draws by lot, so that its figures differ a
little from run to run.
";

fn table(text: &mut String, title: &str, rows: &[Row], of: fn(&Ratio) -> f64) {
    let _ = writeln!(text, "\n## {title}\n");
    let names: Vec<&str> = everybody().collect();
    let _ = writeln!(text, "| requests | size | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(names.len()));
    let mut line = |first: &str, size: &str, values: &dyn Fn(&str) -> Option<f64>| {
        let cell =
            |who: &&str| values(who).map_or(String::new(), |value| format!("{:.1}", value * 100.0));
        let cells: Vec<String> = names.iter().map(cell).collect();
        let _ = writeln!(text, "| {first} | {size} | {} |", cells.join(" | "));
    };
    for row in rows {
        let size = format!("{:.0} %, {} MiB", row.share * 100.0, row.bytes >> 20);
        line(row.kind, &size, &|who| row.ratios.get(who).map(of));
    }
    line("**mean**", "", &|who| mean(rows, who, of));
}

fn mean(rows: &[Row], who: &str, of: fn(&Ratio) -> f64) -> Option<f64> {
    let all: Vec<f64> = rows.iter().filter_map(|row| row.ratios.get(who).map(of)).collect();
    (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
}

fn goals(text: &mut String, rows: &[Row]) {
    *text += "\n## Goals\n\n| goal | wanted | seen | |\n|---|---|---|---|\n";
    let of = |ratio: &Ratio| ratio.requests;
    let best = RIVALS.into_iter().chain(OTHERS).filter_map(|who| Some((mean(rows, who, of)?, who)));
    let best = best.max_by(|one, other| one.0.total_cmp(&other.0));
    if let Some((limit, rival)) = best {
        for who in [MEMORY, BOTH] {
            let seen = mean(rows, who, of).unwrap_or(0.0);
            let verdict = if seen > limit { "met" } else { "MISSED" };
            let (limit, seen) = (limit * 100.0, seen * 100.0);
            let _ = writeln!(
                text,
                "| {who}: mean of the requests that were hits | above {limit:.1} % ({rival}) | {seen:.1} % | {verdict} |"
            );
        }
    }
    let writes = rows.iter().map(|row| row.writes).fold(0.0, f64::max) * 100.0;
    let _ = writeln!(
        text,
        "\nThe disk tier was written to at most {writes:.1} times for 100 requests."
    );
}
