//! The same as a plot: a panel for each row, a bar for each contestant, as long as its answers per
//! second are beside the best peer's.

use crate::contestants::Who;
use crate::report::thousands;
use crate::rows::Beside;
use crate::seen::{Measured, Seen};
use crate::table::median;
use std::fmt::Write as _;

const COLUMNS: usize = 2;
const PANEL_WIDTH: usize = 470;
const MARGIN: usize = 24;
const GAP: usize = 28;
const HEADER: usize = 84;
const TITLE: usize = 40;
const BAR: usize = 20;
const NAME_WIDTH: usize = 122;
/// For a bar as long as the longest of its panel.
const BAR_WIDTH: f64 = 236.0;

/// Light as it comes, dark where that is preferred: the ground is drawn, too.
const STYLE: &str = "
  svg { color-scheme: light dark }
  .ground { fill: #ffffff } .panel { fill: #f6f8fa }
  text { font: 12px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328 }
  .headline { font-size: 19px; font-weight: 600 } .title { font-size: 13px; font-weight: 600 }
  .quiet { fill: #59636e } .strong { font-weight: 600 } .missed { fill: #bc4c00 } .met { fill: #1a7f37 }
  .brim { fill: #0969da } .peer { fill: #9aa4af } .bare { fill: none; stroke: #59636e; stroke-dasharray: 3 2 }
  .with-logs { opacity: .5 } .best { stroke: #59636e; stroke-dasharray: 2 3 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } .panel { fill: #161b22 } text { fill: #e6edf3 }
    .quiet { fill: #9198a1 } .missed { fill: #f0883e } .met { fill: #3fb950 }
    .brim { fill: #4493f8 } .peer { fill: #656d76 } .bare, .best { stroke: #9198a1 }
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
         <text class=\"quiet\" x=\"{MARGIN}\" y=\"60\">Medians of rounds that take turns; the ratio is to the best peer \
         of the panel (dotted line). Narrow bars: with access logs.</text>\n{body}</svg>\n"
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

    fn bars(&self) -> usize {
        self.first().seen.len()
    }

    fn height(&self) -> usize {
        TITLE + self.bars() * BAR + 14
    }

    fn draw(&self, body: &mut String, height: usize) {
        let first = self.first();
        let _ = writeln!(
            body,
            "<rect class=\"panel\" width=\"{PANEL_WIDTH}\" height=\"{height}\" rx=\"8\"/>"
        );
        let _ = writeln!(
            body,
            "<text class=\"title\" x=\"14\" y=\"24\">{}</text>",
            escaped(first.row.title)
        );
        self.draw_goal(body);
        let both = [self.without, self.with];
        let rates = both.iter().flatten().flat_map(|measured| &measured.seen).map(rate);
        let longest = rates.fold(f64::MIN_POSITIVE, f64::max);
        for (position, seen) in first.seen.iter().enumerate() {
            let top = TITLE + position * BAR;
            self.draw_bar(body, seen, top, BAR_WIDTH / longest);
        }
        let peers: Vec<Who> =
            first.seen.iter().map(|seen| seen.who).filter(|who| who.is_peer()).collect();
        if let Some(best) = first.best_of(&peers) {
            let x = NAME_WIDTH as f64 + rate(best) * BAR_WIDTH / longest;
            let (from, to) = (TITLE - 3, TITLE + self.bars() * BAR);
            let _ = writeln!(body, "<path class=\"best\" d=\"M{x:.1} {from}V{to}\"/>");
        }
    }

    /// The first goal, which is the one beside peers.
    fn draw_goal(&self, body: &mut String) {
        let first = self.first();
        let verdicts = first.verdicts();
        let Some(verdict) = verdicts.iter().find(|v| matches!(v.goal.beside, Beside::BestOf(_)))
        else {
            return;
        };
        let (class, word) = if verdict.is_met() { ("met", "met") } else { ("missed", "MISSED") };
        let _ = writeln!(
            body,
            "<text class=\"{class} strong\" x=\"{}\" y=\"24\" text-anchor=\"end\">{:.2} x, goal {:.2}: {word}</text>",
            PANEL_WIDTH - 14,
            verdict.ratio,
            verdict.goal.limit
        );
    }

    fn draw_bar(&self, body: &mut String, seen: &Seen, top: usize, scale: f64) {
        let (class, weight) = match seen.who {
            who if who.is_brim() => ("brim", "strong"),
            Who::Bare => ("bare", "quiet"),
            _ => ("peer", ""),
        };
        let text = top + 13;
        let _ = writeln!(
            body,
            "<text class=\"{weight}\" x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>",
            NAME_WIDTH - 8,
            escaped(seen.who.name())
        );
        let with = self.with.filter(|_| self.without.is_some());
        let with = with.and_then(|with| with.seen.iter().find(|other| other.who == seen.who));
        let thickness = if with.is_some() { 9 } else { 14 };
        let length = rate(seen) * scale;
        let bar = |class: &str, top: usize, length: f64, thickness: usize| {
            format!(
                "<rect class=\"{class}\" x=\"{NAME_WIDTH}\" y=\"{top}\" width=\"{length:.1}\" height=\"{thickness}\" rx=\"2\"/>\n"
            )
        };
        *body += &bar(class, top + 2, length, thickness);
        if let Some(with) = with {
            *body += &bar(&format!("{class} with-logs"), top + 12, rate(with) * scale, 4);
        }
        let x = NAME_WIDTH as f64 + length.max(with.map_or(0.0, |with| rate(with) * scale)) + 6.0;
        let _ = writeln!(
            body,
            "<text class=\"{weight}\" x=\"{x:.1}\" y=\"{text}\">{}/s</text>",
            thousands(rate(seen))
        );
    }
}

fn rate(seen: &Seen) -> f64 {
    median(&seen.rates)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
