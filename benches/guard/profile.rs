//! Where instructions go, out of what callgrind wrote: by function, whatever was inlined into it.

use super::COUNTED;
use std::collections::HashMap;

const FUNCTIONS_SHOWN: usize = 40;
const NAME_CHARS_MAX: usize = 120;

/// Instructions of each function: its own, and with those of what it calls.
#[derive(Default)]
struct Costs {
    own: HashMap<String, u64>,
    whole: HashMap<String, u64>,
}

/// Shows the functions that take most.
pub(super) fn show(written: &str) {
    let Costs { own, whole } = read(written);
    let total = own.values().sum();
    print("by themselves", own, total);
    print("with what they call", whole, total);
}

/// Callgrind's format: `fn=` begins a function, lines of numbers are a place in it and its cost. After
/// `cfn=` and `calls=` the next of them is the cost of what was called there. A name comes once,
/// behind its number, which stands for it from there on.
fn read(written: &str) -> Costs {
    let mut costs = Costs::default();
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut function, mut called, mut is_call) = ("", "", false);
    for line in written.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = named(&mut names, name);
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = named(&mut names, name);
        } else if line.starts_with("calls=") {
            is_call = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or(0);
            let is_own = !std::mem::take(&mut is_call);
            if is_own {
                *costs.own.entry(function.to_owned()).or_default() += cost;
            }
            if is_own || called != function {
                *costs.whole.entry(function.to_owned()).or_default() += cost;
            }
        }
    }
    costs
}

fn named<'w>(names: &mut HashMap<&'w str, &'w str>, said: &'w str) -> &'w str {
    match said.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(said).unwrap_or(&said),
    }
}

fn print(title: &str, costs: HashMap<String, u64>, total: u64) {
    println!("\n{title}, for each operation");
    let mut costs: Vec<_> = costs.into_iter().collect();
    // Whatever everything goes through, and is no part of the operation, tells nothing.
    costs.retain(|(_, cost)| *cost < total);
    costs.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    for (name, cost) in costs.iter().take(FUNCTIONS_SHOWN) {
        let each = cost / COUNTED as u64;
        let share = 100.0 * *cost as f64 / total as f64;
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        println!("{each:>9} {share:>5.1} %  {name}");
    }
}
