//! `edge.toml` as the documentation that it is: tables, keys, what each is set to, and the comments.
//!
//! A key that is commented out is documented like any other. A comment right above a table or a key
//! is about it, as is the one behind it; what stands apart is about nothing.

use toml::de::{DeTable, DeValue};

/// The file as it is shipped.
const SHIPPED: &str = include_str!("../../edge.toml");

/// What the file says, table by table.
pub(super) struct Sample {
    /// What it says about itself.
    pub(super) preface: String,
    pub(super) tables: Vec<Table>,
}

/// `[path]` or `[[path]]`.
pub(super) struct Table {
    pub(super) path: String,
    pub(super) is_left_out: bool,
    pub(super) comment: String,
    pub(super) keys: Vec<Key>,
}

/// `name = value # comment`
pub(super) struct Key {
    pub(super) name: String,
    /// As it is written.
    pub(super) value: String,
    pub(super) is_left_out: bool,
    pub(super) comment: String,
}

impl Sample {
    pub(super) fn shipped() -> Self {
        Self::of(SHIPPED)
    }

    pub(super) fn table(&self, path: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.path == path)
    }

    pub(super) fn key(&self, path: &str) -> Option<&Key> {
        let (table, name) = path.rsplit_once('.')?;
        self.table(table)?.keys.iter().find(|key| key.name == name)
    }

    fn of(text: &str) -> Self {
        let mut sample = Self { preface: String::new(), tables: Vec::new() };
        let mut current = None;
        let mut above = String::new();
        for line in text.lines() {
            let (is_left_out, said) = match line.strip_prefix('#') {
                Some(rest) => (true, rest.trim()),
                None => (false, line.trim()),
            };
            if let Some(mut table) = table(said) {
                table.is_left_out = is_left_out;
                join(&mut above, &table.comment);
                table.comment = std::mem::take(&mut above);
                current = Some(sample.at(table));
            } else if let (Some(mut key), Some(position)) = (key(said), current) {
                let table: &mut Table = &mut sample.tables[position];
                key.is_left_out = is_left_out;
                join(&mut above, &key.comment);
                key.comment = std::mem::take(&mut above);
                if !table.keys.iter().any(|known| known.name == key.name) {
                    table.keys.push(key);
                }
            } else if said.is_empty() && !is_left_out {
                let apart = std::mem::take(&mut above);
                if sample.tables.is_empty() {
                    join(&mut sample.preface, &apart);
                }
            } else {
                join(&mut above, said);
            }
        }
        sample
    }

    /// Where a table is. Of a list, several may be shown: they are one.
    fn at(&mut self, table: Table) -> usize {
        match self.tables.iter().position(|known| known.path == table.path) {
            Some(known) => known,
            None => {
                self.tables.push(table);
                self.tables.len() - 1
            }
        }
    }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

fn table(line: &str) -> Option<Table> {
    let (is_list, rest) = match line.strip_prefix("[[") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix('[')?),
    };
    let (path, rest) = rest.split_once(if is_list { "]]" } else { "]" })?;
    let comment = comment(rest)?;
    let is_path = path.split('.').all(is_name);
    let table = || Table {
        path: path.to_owned(),
        is_left_out: false,
        comment: comment.to_owned(),
        keys: Vec::new(),
    };
    is_path.then(table)
}

fn key(line: &str) -> Option<Key> {
    let (name, _) = line.split_once(" = ").filter(|(name, _)| is_name(name))?;
    // Prose may look like it, but is no TOML.
    let parsed = DeTable::parse(line).ok()?;
    let (_, value) = parsed.get_ref().iter().next()?;
    let at = value.span();
    Some(Key {
        name: name.to_owned(),
        value: line[at.clone()].to_owned(),
        is_left_out: false,
        comment: comment(&line[at.end..])?.to_owned(),
    })
}

/// The comment at the end of a line that has nothing else left.
fn comment(rest: &str) -> Option<&str> {
    let rest = rest.trim();
    if rest.is_empty() { Some("") } else { rest.strip_prefix('#').map(str::trim) }
}

fn is_name(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !text.is_empty() && text.bytes().all(is_good)
}

impl Key {
    /// Does something with the value as TOML understands it.
    pub(super) fn read<T>(&self, read: impl FnOnce(&DeValue<'_>) -> T) -> Option<T> {
        DeValue::parse(&self.value).ok().map(|value| read(value.get_ref()))
    }
}
