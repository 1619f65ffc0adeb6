//! The same as a plot: a panel for each row, a bar for each contestant, as long as its answers per
//! second are beside the best peer's.

use crate::contestants::Who;
use crate::report::thousands;
use crate::rows::Beside;
use crate::seen::{Measured, Seen, Verdict, ratio};
use crate::table::median;
use std::fmt::Write as _;

const COLUMNS: usize = 2;
const PANEL_WIDTH: usize = 480;
const MARGIN: usize = 24;
const GAP: usize = 28;
const HEADER: usize = 84;
const TITLE: usize = 76;
const BAR: usize = 20;
const NAME_WIDTH: usize = 150;
/// For a bar as long as the longest of its panel.
const BAR_WIDTH: f64 = 190.0;

/// Light as it comes, dark where that is preferred: the ground is drawn, too.
const STYLE: &str = "
  svg { color-scheme: light dark }
  .ground { fill: #ffffff } .panel { fill: #f6f8fa }
  text { font: 12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328 }
  .headline { font-size: 19px; font-weight: 600 } .title { font-size: 13px; font-weight: 600 }
  .quiet, .quiet text { fill: #59636e } .strong, .strong text { font-weight: 600 } .missed { fill: #bc4c00 } .met { fill: #1a7f37 }
  .brim { fill: #0969da } .peer { fill: #9aa4af } .bare { fill: none; stroke: #59636e; stroke-dasharray: 3 2 }
  .with-logs { opacity: .55 } .reference { fill: none; stroke: #59636e; stroke-dasharray: 2 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .panel { fill: #161b22 } text { fill: #e6edf3 }
    .quiet, .quiet text { fill: #9198a1 } .missed { fill: #f0883e } .met { fill: #3fb950 }
    .brim { fill: #4493f8 } .peer { fill: #656d76 } .bare, .reference { stroke: #9198a1 }
  }
";

pub(crate) fn svg(measured: &[Measured]) -> String {
    let panels = panels(measured);
    let mut body = String::new();
    let mut top = HEADER;
    for line in panels.chunks(COLUMNS) {
        let height = line.iter().map(Panel::height).max().unwrap_or(0);
        for (column, panel) in line.iter().enumerate() {
            let left = MARGIN + column * (PANEL_WIDTH + GAP);
            let _ = writeln!(body, "<g transform=\"translate({left} {top})\">");
            panel.draw(&mut body, height);
            body += "</g>\n";
        }
        top += height + GAP;
    }
    let width = 2 * MARGIN + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP;
    let height = top - GAP + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\" aria-label=\"Answers per second of Brim and of its peers\">\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"headline\" x=\"{MARGIN}\" y=\"38\">Answers per second, one processor each</text>\n\
         <text class=\"quiet\" x=\"{MARGIN}\" y=\"60\">Medians of rounds that take turns. The number behind them is the ratio to whom the goal is beside \
         (dotted line). Narrow bars: with access logs.</text>\n{body}</svg>\n"
    )
}

/// One row, without access logs and with them.
struct Panel<'a> {
    without: Option<&'a Measured>,
    with: Option<&'a Measured>,
}

fn panels(measured: &[Measured]) -> Vec<Panel<'_>> {
    let mut names: Vec<&str> = Vec::new();
    for measured in measured {
        if !names.contains(&measured.row.name) {
            names.push(measured.row.name);
        }
    }
    let find = |name: &str, writes_log: bool| {
        let is_it = |m: &&Measured| m.row.name == name && m.writes_log == writes_log;
        measured.iter().find(is_it)
    };
    let panel = |name| Panel { without: find(name, false), with: find(name, true) };
    names.into_iter().map(panel).collect()
}

impl Panel<'_> {
    fn first(&self) -> &Measured {
        self.without.or(self.with).expect("a panel of something that was measured")
    }

    fn height(&self) -> usize {
        TITLE + self.first().seen.len() * BAR + 12
    }

    fn draw(&self, body: &mut String, height: usize) {
        let first = self.first();
        let title = escaped(first.row.title);
        let _ = writeln!(
            body,
            "<rect class=\"panel\" width=\"{PANEL_WIDTH}\" height=\"{height}\" rx=\"8\"/>\n\
             <text class=\"title\" x=\"14\" y=\"24\">{title}</text>"
        );
        self.draw_goals(body);
        let both = [self.without, self.with];
        let rates = both.iter().flatten().flat_map(|measured| &measured.seen).map(rate);
        let scale = BAR_WIDTH / rates.fold(f64::MIN_POSITIVE, f64::max);
        let reference = reference(first);
        if let Some(reference) = reference {
            let x = NAME_WIDTH as f64 + rate(reference) * scale;
            let (from, to) = (TITLE - 3, TITLE + first.seen.len() * BAR);
            let _ = writeln!(body, "<path class=\"reference\" d=\"M{x:.1} {from}V{to}\"/>");
        }
        for (position, seen) in first.seen.iter().enumerate() {
            self.draw_bar(body, seen, reference, TITLE + position * BAR, scale);
        }
    }

    /// What became of the goal beside peers, without access logs and with them.
    fn draw_goals(&self, body: &mut String) {
        let both = [(self.without, "logs off"), (self.with, "logs on")];
        let mut y = 43;
        for (measured, logs) in both {
            let Some(verdict) = measured.and_then(goal_beside_peers) else { continue };
            let (class, word) =
                if verdict.is_met() { ("met", "met") } else { ("missed", "MISSED") };
            let (ratio, limit) = (verdict.ratio, verdict.goal.limit);
            let beside = escaped(verdict.beside.name());
            let _ = writeln!(
                body,
                "<text class=\"{class}\" x=\"14\" y=\"{y}\">{logs}: {ratio:.2} x {beside}, goal {limit:.2}: \
                 <tspan class=\"strong\">{word}</tspan></text>"
            );
            y += 17;
        }
    }

    fn draw_bar(
        &self,
        body: &mut String,
        seen: &Seen,
        reference: Option<&Seen>,
        top: usize,
        scale: f64,
    ) {
        let (class, weight) = match seen.who {
            who if who.is_brim() => ("brim", "strong"),
            Who::Bare => ("bare", "quiet"),
            _ => ("peer", ""),
        };
        let with = self.with.filter(|_| self.without.is_some());
        let with = with.and_then(|with| with.seen.iter().find(|other| other.who == seen.who));
        let mut bar = |class: &str, top: usize, rate: f64, thickness: usize| {
            let length = rate * scale;
            let _ = writeln!(
                body,
                "<rect class=\"{class}\" x=\"{NAME_WIDTH}\" y=\"{top}\" width=\"{length:.1}\" \
                 height=\"{thickness}\" rx=\"2\"/>"
            );
        };
        bar(class, top + 2, rate(seen), if with.is_some() { 9 } else { 14 });
        if let Some(with) = with {
            bar(&format!("{class} with-logs"), top + 13, rate(with), 4);
        }
        let y = top + 13;
        let of_reference = reference.map_or(f64::NAN, |other| ratio(&seen.rates, &other.rates));
        let _ = writeln!(
            body,
            "<g class=\"{weight}\" text-anchor=\"end\"><text x=\"{}\" y=\"{y}\">{}</text>\
             <text x=\"{}\" y=\"{y}\">{}/s</text><text x=\"{}\" y=\"{y}\">{of_reference:.2}</text></g>",
            NAME_WIDTH - 8,
            escaped(seen.who.name()),
            PANEL_WIDTH - 58,
            thousands(rate(seen)),
            PANEL_WIDTH - 14,
        );
    }
}

fn goal_beside_peers(measured: &Measured) -> Option<Verdict> {
    let is_beside_peers = |verdict: &Verdict| {
        matches!(verdict.goal.beside, Beside::BestOf(_)) && verdict.beside.is_peer()
    };
    measured.verdicts().into_iter().find(is_beside_peers)
}

/// Whom the goal is beside.
fn reference(measured: &Measured) -> Option<&Seen> {
    let beside = goal_beside_peers(measured)?.beside;
    measured.seen.iter().find(|seen| seen.who == beside)
}

fn rate(seen: &Seen) -> f64 {
    median(&seen.rates)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
