//! `edge.toml` as a page to read: the reference of its keys, in Markdown.

use super::known::{Known, Without};
use super::notes::{Holds, Note};
use std::fmt::Write;

const HEAD: &str = "\
# The configuration: `edge.toml`

<!-- Generated out of edge.toml and the code that reads it: `brim schema --markdown`. -->

";

const VALUES: &str = "\
## Values

What the tables above call by a name, with examples:

";

pub(super) fn reference(known: &Known) -> String {
    let mut page = HEAD.to_owned();
    let _ = writeln!(page, "{}\n", known.sample.preface);
    let _ = writeln!(
        page,
        "A key that is not in these tables is an error that names the nearest one. Editors know \
         them, too: see [`brim schema`](../README.md#using-it).\n"
    );
    let tables = tables(known);
    for (path, note) in &tables {
        let _ = writeln!(page, "- [`{}`](#{})", heading(path, note), anchor(path));
    }
    page.push('\n');
    let mut values = Vec::new();
    for (path, note) in &tables {
        table(&mut page, known, path, note, &mut values);
    }
    page += VALUES;
    values.sort_unstable();
    values.dedup();
    for expected in values {
        let _ = writeln!(page, "- {}", cell(&expected));
    }
    page
}

/// Those that have a heading, in the order of `edge.toml`.
fn tables(known: &Known) -> Vec<(&str, &Note)> {
    let is_table = |note: &&Note| matches!(note.holds, Holds::Table | Holds::Tables);
    let tables = known.notes.iter().filter(is_table).map(|note| (note.path.as_str(), note));
    // What only holds other tables needs no words.
    let has_keys = |(path, _): &(&str, &Note)| {
        known.within(path).any(|(_, note)| !matches!(note.holds, Holds::Table | Holds::Tables))
    };
    let mut tables: Vec<_> = tables.filter(has_keys).collect();
    let place = |path: &str| known.sample.tables.iter().position(|table| table.path == path);
    tables.sort_by_key(|(path, _)| place(path).unwrap_or(usize::MAX));
    tables
}

fn heading(path: &str, note: &Note) -> String {
    match note.holds {
        Holds::Tables => format!("[[{path}]]"),
        _ => format!("[{path}]"),
    }
}

/// Of a heading: what is no letter is left out.
fn anchor(path: &str) -> String {
    path.replace('.', "")
}

fn table(page: &mut String, known: &Known, path: &str, note: &Note, values: &mut Vec<String>) {
    let _ = writeln!(page, "## `{}`\n", heading(path, note));
    let comment = known.comment(note);
    if !comment.is_empty() {
        let _ = writeln!(page, "{}\n", sentence(comment));
    }
    page.push_str("| key | without it | meaning | value |\n|---|---|---|---|\n");
    rows(page, known, path, path, values);
    page.push('\n');
}

/// The rows of a table, in the order of `edge.toml`; those of tables that stand for a value come right
/// behind it.
fn rows(page: &mut String, known: &Known, table: &str, path: &str, values: &mut Vec<String>) {
    let keys = known.sample.table(path).map_or(&[][..], |table| &table.keys);
    let place = |name: &str| keys.iter().position(|key| key.name == name).unwrap_or(usize::MAX);
    let mut notes: Vec<_> = known.within(path).collect();
    notes.sort_by_key(|(name, _)| place(name));
    for (_, note) in notes {
        let (told, is_list) = match &note.holds {
            Holds::Value(told) => (told, false),
            Holds::List(told) => (told, true),
            Holds::Table | Holds::Tables => continue,
        };
        let without = match known.without(note, told) {
            Without::Needed => "needed".to_owned(),
            Without::Default(value) => format!("`{value}`"),
            Without::Nothing => String::new(),
        };
        let (short, has_more) = match told.expected.split_once(", such as") {
            Some((short, _)) => (short, true),
            None => (told.expected.as_str(), false),
        };
        if has_more {
            values.push(told.expected.clone());
        }
        let has_tables = known.within(&note.path).next().is_some();
        let value = match (is_list, has_tables) {
            (false, false) => short.to_owned(),
            (false, true) => format!("{short}, or a table"),
            (true, false) => format!("a list, each {short}"),
            (true, true) => format!("a list, each {short} or a table"),
        };
        let name = note.path[table.len()..].trim_start_matches('.');
        let mut meaning = known.comment(note).to_owned();
        if let (Without::Needed | Without::Nothing, Some(key)) =
            (known.without(note, told), known.sample.key(&note.path))
        {
            let before = if meaning.is_empty() { "" } else { "; " };
            let _ = write!(meaning, "{before}such as `{}`", key.value);
        }
        let _ = writeln!(
            page,
            "| <a id=\"{}\"></a>`{name}` | {} | {} | {} |",
            note.path.replace('.', "-"),
            cell(&without),
            cell(&meaning),
            cell(&value)
        );
        rows(page, known, table, &note.path, values);
    }
}

/// What would end a cell is written otherwise, and what would mean something, outside of code.
fn cell(text: &str) -> String {
    let mut cell = String::new();
    let mut is_code = false;
    for letter in text.chars() {
        is_code ^= letter == '`';
        if letter == '|' || !is_code && matches!(letter, '*' | '<') {
            cell.push('\\');
        }
        cell.push(letter);
    }
    cell
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let end = if text.ends_with(['.', '!', '?', ':']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}
