//! Tables in aligned columns, and goals with what became of them.

/// Something that was promised, and what was seen.
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) seen: String,
    pub(crate) is_met: bool,
}

impl Goal {
    /// At most so much.
    pub(crate) fn at_most(what: &str, limit: f64, seen: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            wanted: format!("at most {limit}{unit}"),
            seen: format!("{seen:.2}{unit}"),
            is_met: seen <= limit,
        }
    }

    /// At least so much.
    pub(crate) fn at_least(what: &str, limit: f64, seen: f64, unit: &str) -> Self {
        Self {
            what: what.into(),
            wanted: format!("at least {limit}{unit}"),
            seen: format!("{seen:.2}{unit}"),
            is_met: seen >= limit,
        }
    }
}

/// The first row names the columns; the first column is text, the others are numbers.
pub(crate) fn print(title: &str, rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    println!("\n{title}\n");
    for row in rows {
        let mut line = String::from(" ");
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            line += &match column {
                0 => format!(" {cell:<width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        println!("{}", line.trim_end());
    }
}

pub(crate) fn print_goals(goals: &[Goal]) {
    let mut rows = vec![["goal", "wanted", "seen", ""].map(str::to_owned).to_vec()];
    rows.extend(goals.iter().map(|goal| {
        let verdict = if goal.is_met { "met" } else { "MISSED" };
        vec![goal.what.clone(), goal.wanted.clone(), goal.seen.clone(), verdict.to_owned()]
    }));
    print("Goals", &rows);
}

/// A row of text.
pub(crate) fn row(cells: &[&dyn std::fmt::Display]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

/// The middle one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
