//! What was seen, as tables and goals.

use crate::ASKED_AGAIN;
use crate::kind::Kind;
use crate::process::Proxy;
use crate::table::{self, Goal};
use bytesize::ByteSize;
use std::path::Path;

/// One proxy with one kind of answers of one size, a value for each round.
pub(crate) struct Seen {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    /// Answers per second.
    pub(crate) rates: Vec<f64>,
    /// Processor time of the proxy for each answer, in seconds.
    pub(crate) times: Vec<f64>,
    /// The share of its processor that the load and the origin took.
    pub(crate) load_busy: Vec<f64>,
    /// Requests to the origin for each answer.
    pub(crate) asked_of_origin: Vec<f64>,
    /// The share of the latest objects that the origin was not asked for again.
    pub(crate) stored: Vec<f64>,
}

impl Seen {
    pub(crate) fn new(name: &'static str, kind: Kind, size: usize) -> Self {
        let (rates, times, load_busy) = (Vec::new(), Vec::new(), Vec::new());
        let (asked_of_origin, stored) = (Vec::new(), Vec::new());
        Self { name, kind, size, rates, times, load_busy, asked_of_origin, stored }
    }
}

pub(crate) fn print_setting(
    proxies: &[Proxy],
    folder: &Path,
    proxies_on: Option<usize>,
    load_on: Option<usize>,
) {
    for proxy in proxies {
        println!("{}: {}", proxy.name, proxy.version);
    }
    if let (Some(proxies_on), Some(load_on)) = (proxies_on, load_on) {
        println!("proxies on processor {proxies_on}, origin and load on processor {load_on}");
    }
    println!("files in {}", folder.display());
}

pub(crate) fn print_seen(seen: &[Seen], kind: Kind, size: usize) {
    let of_this: Vec<&Seen> = seen.iter().filter(|s| s.kind == kind && s.size == size).collect();
    let nginx = of_this.iter().find(|seen| seen.name == "nginx");
    let mut titles = vec!["", "per second", "from", "to", "of nginx", "us of processor", "from"];
    titles.extend(["to", "of nginx", "load busy", "origin asked"]);
    if kind == Kind::Kept {
        titles.push("kept");
    }
    let mut rows = vec![titles.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for seen in &of_this {
        let mut row = vec![seen.name.to_owned()];
        row.extend(spread(&seen.rates, 1.0, 0));
        row.push(ratio(&seen.rates, nginx.map(|nginx| &nginx.rates)));
        row.extend(spread(&seen.times, 1e6, 1));
        row.push(ratio(&seen.times, nginx.map(|nginx| &nginx.times)));
        row.push(percent(&seen.load_busy));
        row.push(format!("{:.3}", table::median(&seen.asked_of_origin)));
        if kind == Kind::Kept {
            row.push(percent(&seen.stored));
        }
        rows.push(row);
    }
    let what = match kind {
        Kind::Kept => format!("stored (kept: of the latest {ASKED_AGAIN}, asked for again)"),
        _ => "passed on, not stored".to_owned(),
    };
    let size = ByteSize(size as u64);
    table::print(&format!("Misses of {size}, {what}; of nginx: median of rounds"), &rows);
}

/// At least nginx's misses per second; the processor time tells the same with less noise.
pub(crate) fn goals(seen: &[Seen]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for brim in seen.iter().filter(|seen| seen.name == "Brim") {
        let is_same = |s: &&Seen| s.name == "nginx" && s.kind == brim.kind && s.size == brim.size;
        let Some(nginx) = seen.iter().find(is_same) else { continue };
        let what = format!("{}, {}", ByteSize(brim.size as u64), brim.kind.name());
        let (rate, time) = (ratios(&brim.rates, &nginx.rates), ratios(&brim.times, &nginx.times));
        let rate_of = format!("misses per second, {what}, beside nginx");
        goals.push(Goal::at_least(&rate_of, 1.0, table::median(&rate), ""));
        let time_of = format!("processor time, {what}, beside nginx");
        goals.push(Goal::at_most(&time_of, 1.0, table::median(&time), ""));
    }
    goals
}

/// Round by round: what disturbs one disturbs the other beside it.
fn ratios(values: &[f64], beside: &[f64]) -> Vec<f64> {
    values.iter().zip(beside).map(|(value, beside)| value / beside).collect()
}

fn ratio(values: &[f64], beside: Option<&Vec<f64>>) -> String {
    match beside.map(|beside| ratios(values, beside)).filter(|ratios| !ratios.is_empty()) {
        Some(ratios) => format!("{:.2}", table::median(&ratios)),
        None => String::new(),
    }
}

fn percent(values: &[f64]) -> String {
    let value = if values.is_empty() { f64::NAN } else { table::median(values) };
    if value.is_nan() { String::new() } else { format!("{:.0} %", value * 100.0) }
}

/// The median, the least and the most.
fn spread(values: &[f64], factor: f64, digits: usize) -> [String; 3] {
    if values.is_empty() {
        return Default::default();
    }
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    [table::median(values), least, most].map(|value| format!("{:.digits$}", value * factor))
}
