//! The numbers that were written down, and how those of a run compare.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};
use std::io;
use std::path::Path;
use toml::de::DeTable;

/// Instructions differ a little from one run to the next (where things lie in a table, what a clock says) and
/// from one machine to the next, and more from one compiler to the next.
const TOLERANCE: f64 = 0.03;
const TOLERANCE_OTHER_COMPILER: f64 = 0.10;
/// So much less is worth to be written down.
const IMPROVEMENT: f64 = 0.05;
/// One allocation in twenty operations: the memory tier does some of its work when time has passed.
const ALLOCATIONS: f64 = 0.05;
/// The same in bytes, or a share of them.
const BYTES: f64 = 16.0;
const BYTES_SHARE: f64 = 0.005;

/// What one operation takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
}

impl Cost {
    /// The least of each: what comes on top is something else's.
    pub(crate) fn least(rounds: &[Self]) -> Self {
        let least = |of: fn(&Self) -> f64| rounds.iter().map(of).fold(f64::MAX, f64::min);
        Self {
            instructions: least(|cost| cost.instructions),
            allocations: least(|cost| cost.allocations),
            bytes: least(|cost| cost.bytes),
        }
    }
}

/// What was written down.
pub(crate) struct Expected {
    pub(crate) compiler: String,
    pub(crate) costs: BTreeMap<String, Cost>,
}

impl Expected {
    pub(crate) fn read(file: &Path) -> Self {
        Self::parse(&std::fs::read_to_string(file).unwrap_or_default())
    }

    pub(crate) fn parse(text: &str) -> Self {
        let table = DeTable::parse(text).expect("good TOML").into_inner();
        let mut expected = Self { compiler: String::new(), costs: BTreeMap::new() };
        for (name, value) in &table {
            let value = value.get_ref();
            if let Some(compiler) = value.as_str() {
                compiler.clone_into(&mut expected.compiler);
                continue;
            }
            let number = |key: &str| {
                let value = value.get(key)?.get_ref();
                let text = value.as_float().map(|number| number.as_str());
                text.or_else(|| Some(value.as_integer()?.as_str()))?.parse().ok()
            };
            let number = |key| number(key).unwrap_or_else(|| panic!("no good {key} of {name:?}"));
            let cost = Cost {
                instructions: number("instructions"),
                allocations: number("allocations"),
                bytes: number("bytes"),
            };
            expected.costs.insert(name.get_ref().to_string(), cost);
        }
        expected
    }

    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        std::fs::write(file, self.to_text())
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = "# What one operation takes. `make bench-guard` compares, and with\n\
            # BENCH=\"--update\" writes these numbers.\n"
            .to_owned();
        let _ = writeln!(text, "compiler = \"{}\"", self.compiler);
        for (name, Cost { instructions, allocations, bytes }) in &self.costs {
            let _ = writeln!(
                text,
                "\n[{name}]\ninstructions = {instructions:.0}\nallocations = {allocations:.2}\nbytes = {bytes:.0}"
            );
        }
        text
    }
}

/// What there is to be said of an operation.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Worse(String),
    Better(String),
    Unknown(String),
}

impl Verdict {
    pub(crate) fn is_failure(&self) -> bool {
        !matches!(self, Self::Better(_))
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worse(what) => write!(f, "FAILED {what}"),
            Self::Better(what) => write!(f, "better {what}"),
            Self::Unknown(name) => write!(f, "FAILED {name}: no numbers are written down"),
        }
    }
}

/// What can be done about it.
pub(crate) fn advice(verdicts: &[Verdict]) -> &'static str {
    if verdicts.iter().any(Verdict::is_failure) {
        "BENCH=\"--profile OPERATION\" shows where instructions go. Numbers that have to be are written \
         down with BENCH=\"--update\"."
    } else if verdicts.is_empty() {
        "As it was written down."
    } else {
        "Write the better numbers down, with BENCH=\"--update\", so that they stay."
    }
}

/// Compares one operation with what was written down.
pub(crate) fn judge(
    name: &str,
    before: Option<Cost>,
    seen: Cost,
    is_same_compiler: bool,
) -> Vec<Verdict> {
    let Some(before) = before else { return vec![Verdict::Unknown(name.to_owned())] };
    let tolerance = if is_same_compiler { TOLERANCE } else { TOLERANCE_OTHER_COMPILER };
    let instructions = |share: f64| share * before.instructions;
    let bytes = BYTES.max(BYTES_SHARE * before.bytes);
    // What, what it was and is, and by how much it may be more, or less without being worth a word.
    let compared = [
        (
            "instructions",
            before.instructions,
            seen.instructions,
            instructions(tolerance),
            instructions(IMPROVEMENT),
        ),
        ("allocations", before.allocations, seen.allocations, ALLOCATIONS, ALLOCATIONS),
        ("bytes", before.bytes, seen.bytes, bytes, bytes),
    ];
    let verdict = |(what, before, seen, more, less): (&str, f64, f64, f64, f64)| {
        let told = format!("{name}: {what}, {} in the place of {}", shown(seen), shown(before));
        if seen > before + more {
            Some(Verdict::Worse(told))
        } else if seen < before - less {
            Some(Verdict::Better(told))
        } else {
            None
        }
    };
    compared.into_iter().filter_map(verdict).collect()
}

/// A number with two decimals where it has any.
fn shown(number: f64) -> String {
    let text = format!("{number:.2}");
    text.strip_suffix(".00").map(str::to_owned).unwrap_or(text)
}

/// One operation, for people.
pub(crate) fn line(name: &str, before: Option<Cost>, seen: Cost) -> String {
    let change = |of: fn(&Cost) -> f64, digits: usize| {
        let seen = format!("{:.digits$}", of(&seen));
        let before = before.map(|before| format!("{:.digits$}", of(&before)));
        match before.filter(|before| *before != seen) {
            Some(before) => format!("{before} -> {seen}"),
            None => seen,
        }
    };
    format!(
        "{name:<24} {:>18} instructions {:>16} allocations {:>16} bytes",
        change(|cost| cost.instructions, 0),
        change(|cost| cost.allocations, 2),
        change(|cost| cost.bytes, 0)
    )
}

/// How far apart several rounds are.
pub(crate) fn spread(rounds: &[Cost]) -> String {
    let share = |of: fn(&Cost) -> f64| {
        let most = rounds.iter().map(of).fold(f64::MIN, f64::max);
        let least = rounds.iter().map(of).fold(f64::MAX, f64::min);
        format!("{} to {}", shown(least), shown(most))
    };
    format!(
        "    of {} rounds: instructions {}, allocations {}, bytes {}",
        rounds.len(),
        share(|cost| cost.instructions),
        share(|cost| cost.allocations),
        share(|cost| cost.bytes)
    )
}
