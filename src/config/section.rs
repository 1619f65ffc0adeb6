//! One table of the file while it is read. Every problem is collected, none stops the reading, and
//! a key that nobody asked for is a problem too.

use serde::Serialize;
use std::cell::RefCell;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Something to tell the person who wrote the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// The file's name.
    pub file: String,
    /// 1 for the first line.
    pub line: usize,
    /// Dotted, with positions: `site[0].rule[1].ttl`. Empty for the file as a whole.
    pub key: String,
    /// What is wrong, what was expected.
    pub message: String,
    /// The file can be used all the same.
    #[serde(skip)]
    pub is_warning: bool,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if self.is_warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// Where problems go.
pub(super) struct Report<'t> {
    file: &'t str,
    text: &'t str,
    root: &'t DeTable<'t>,
    problems: RefCell<Vec<Problem>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t str, root: &'t DeTable<'t>) -> Self {
        Self { file, text, root, problems: RefCell::default() }
    }

    pub(super) fn add(&self, at: Range<usize>, key: String, message: String, is_warning: bool) {
        let before = &self.text.as_bytes()[..at.start.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let file = self.file.to_owned();
        self.problems.borrow_mut().push(Problem { file, line, key, message, is_warning });
    }

    /// A warning about a value.
    pub(super) fn warn<T>(&self, found: &Found<T>, message: &str) {
        self.add(found.at.clone(), found.key.clone(), message.to_owned(), true);
    }

    /// A problem of a value that could be read.
    pub(super) fn refuse<T>(&self, found: &Found<T>, message: String) {
        self.add(found.at.clone(), found.key.clone(), message, false);
    }

    /// A problem of the first place where a dotted key stands, if it does.
    pub(super) fn add_about(&self, key: &str, message: &str, is_warning: bool) {
        let mut at = None;
        let mut tables = vec![self.root];
        for part in key.split('.') {
            let found = tables.iter().flat_map(|table| table.iter());
            let Some((_, value)) = found.into_iter().find(|(name, _)| name.get_ref() == part)
            else {
                return;
            };
            at = Some(value.span());
            tables = match value.get_ref() {
                DeValue::Table(table) => vec![table],
                DeValue::Array(list) => {
                    list.iter().filter_map(|item| item.get_ref().as_table()).collect()
                }
                _ => Vec::new(),
            };
        }
        self.add(at.unwrap_or(0..0), key.to_owned(), message.to_owned(), is_warning);
    }

    /// In the order of the file.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }
}

/// A value with its place and name, for checks that come later.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) at: Range<usize>,
    pub(super) key: String,
}

/// A list with the places of its items.
pub(super) type FoundList<T> = Found<Vec<Found<T>>>;

impl<T> FoundList<T> {
    /// The items without their places.
    pub(super) fn values(self) -> Vec<T> {
        self.value.into_iter().map(|item| item.value).collect()
    }
}

/// A table being read. A missing table reads like an empty one.
pub(super) struct Section<'t> {
    report: &'t Report<'t>,
    path: String,
    at: Range<usize>,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

/// Reads a value, or says what was expected instead.
pub(super) type Read<T> = fn(&DeValue<'_>) -> Result<T, String>;

/// Reads an item that is a table. `None`: it has said what is wrong with it.
pub(super) type ReadTable<'t, T> = fn(Section<'t>) -> Option<T>;

impl<'t> Section<'t> {
    pub(super) fn root(report: &'t Report<'t>, table: &'t Spanned<DeTable<'t>>) -> Self {
        Self::new(report, String::new(), 0..0, Some(table.get_ref()))
    }

    fn new(
        report: &'t Report<'t>,
        path: String,
        at: Range<usize>,
        table: Option<&'t DeTable<'t>>,
    ) -> Self {
        Self { report, path, at, table, known: Vec::new() }
    }

    /// The value of a key that may be left out.
    pub(super) fn optional<T>(&mut self, key: &'static str, read: Read<T>) -> Option<T> {
        self.found(key, read).map(|found| found.value)
    }

    /// The value of a key with a default.
    pub(super) fn or<T>(&mut self, key: &'static str, default: T, read: Read<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(&mut self, key: &'static str, read: Read<T>) -> Option<Found<T>> {
        if self.entry(key).is_none() {
            self.known.push(key);
            self.problem(self.at.clone(), self.path.clone(), format!("`{key}` is missing"));
            return None;
        }
        self.found(key, read)
    }

    /// The value of a key with its place.
    pub(super) fn found<T>(&mut self, key: &'static str, read: Read<T>) -> Option<Found<T>> {
        self.known.push(key);
        let entry = self.entry(key)?;
        let (key, at) = (self.name(key), entry.span());
        match read(entry.get_ref()) {
            Ok(value) => Some(Found { value, at, key }),
            Err(expected) => {
                self.problem(at, key, format!("expected {expected}"));
                None
            }
        }
    }

    /// A list: each bad item is a problem of its own, the good ones are there for later checks.
    pub(super) fn list<T>(&mut self, key: &'static str, read: Read<T>) -> Option<FoundList<T>> {
        self.items(key, read, None)
    }

    /// The same where items may also be tables, which have more to say.
    pub(super) fn list_with_tables<T>(
        &mut self,
        key: &'static str,
        read: Read<T>,
        read_table: ReadTable<'t, T>,
    ) -> Option<FoundList<T>> {
        self.items(key, read, Some(read_table))
    }

    /// The same for a list that must be there and not be empty.
    pub(super) fn required_list<T>(
        &mut self,
        key: &'static str,
        read: Read<T>,
    ) -> Option<FoundList<T>> {
        self.required_items(key, read, None)
    }

    /// The same for one that may hold tables.
    pub(super) fn required_list_with_tables<T>(
        &mut self,
        key: &'static str,
        read: Read<T>,
        read_table: ReadTable<'t, T>,
    ) -> Option<FoundList<T>> {
        self.required_items(key, read, Some(read_table))
    }

    fn required_items<T>(
        &mut self,
        key: &'static str,
        read: Read<T>,
        read_table: Option<ReadTable<'t, T>>,
    ) -> Option<FoundList<T>> {
        if self.entry(key).is_none() {
            self.known.push(key);
            self.problem(self.at.clone(), self.path.clone(), format!("`{key}` is missing"));
            return None;
        }
        let found = self.items(key, read, read_table)?;
        if self.length(key) == 0 {
            self.problem(found.at.clone(), found.key.clone(), "expected at least one".into());
        }
        Some(found)
    }

    fn items<T>(
        &mut self,
        key: &'static str,
        read: Read<T>,
        read_table: Option<ReadTable<'t, T>>,
    ) -> Option<FoundList<T>> {
        self.known.push(key);
        let entry = self.entry(key)?;
        let (key, at) = (self.name(key), entry.span());
        let DeValue::Array(items) = entry.get_ref() else {
            let expected = read(&DeValue::Boolean(false)).err().unwrap_or_default();
            self.problem(at, key, format!("expected a list, each {expected}"));
            return None;
        };
        let mut good = Vec::new();
        for (position, item) in items.iter().enumerate() {
            let (key, at) = (format!("{key}[{position}]"), item.span());
            let read = match (item.get_ref(), read_table) {
                (DeValue::Table(table), Some(read_table)) => {
                    Ok(read_table(Self::new(self.report, key.clone(), at.clone(), Some(table))))
                }
                (item, _) => read(item).map(Some),
            };
            match read {
                Ok(value) => good.extend(value.map(|value| Found { value, at, key })),
                Err(expected) => self.problem(at, key, format!("expected {expected}")),
            }
        }
        Some(Found { value: good, at, key })
    }

    /// How many items a list has, the bad ones too.
    pub(super) fn length(&self, key: &str) -> usize {
        let items = self.entry(key).and_then(|entry| entry.get_ref().as_array());
        items.map_or(0, |items| items.len())
    }

    /// A table inside this one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'t> {
        self.known.push(key);
        let path = self.name(key);
        match self.entry(key).map(|entry| (entry.span(), entry.get_ref())) {
            Some((at, DeValue::Table(table))) => Self::new(self.report, path, at, Some(table)),
            Some((at, _)) => {
                self.problem(at.clone(), path.clone(), format!("expected a table, [{path}]"));
                Self::new(self.report, path, at, None)
            }
            None => Self::new(self.report, path, self.at.clone(), None),
        }
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Vec<Section<'t>> {
        self.known.push(key);
        let path = self.name(key);
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let DeValue::Array(list) = entry.get_ref() else {
            self.problem(entry.span(), path.clone(), format!("expected tables, [[{path}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (position, item) in list.iter().enumerate() {
            let path = format!("{path}[{position}]");
            match item.get_ref() {
                DeValue::Table(table) => {
                    sections.push(Self::new(self.report, path, item.span(), Some(table)));
                }
                _ => self.problem(item.span(), path, "expected a table".into()),
            }
        }
        sections
    }

    /// Whether a key is there, whatever its value is worth.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// Where a key stands, if it does.
    pub(super) fn place_of(&self, key: &str) -> Option<Found<()>> {
        self.entry(key).map(|entry| Found { value: (), at: entry.span(), key: self.name(key) })
    }

    /// Whether a key holds a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| entry.get_ref().is_table())
    }

    /// Whether the table is in the file.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some()
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The table as a whole, for checks that come later.
    pub(super) fn place(&self) -> Found<()> {
        Found { value: (), at: self.at.clone(), key: self.path.clone() }
    }

    pub(super) fn problem(&self, at: Range<usize>, key: String, message: String) {
        self.report.add(at, key, message, false);
    }

    pub(super) fn warn<T>(&self, found: &Found<T>, message: &str) {
        self.report.warn(found, message);
    }

    /// A problem of a value that could be read.
    pub(super) fn refuse<T>(&self, found: &Found<T>, message: String) {
        self.report.refuse(found, message);
    }

    /// A problem of the table as a whole.
    pub(super) fn problem_of_table(&self, message: String) {
        self.refuse(&self.place(), message);
    }

    /// Names every key that nobody asked for, with the nearest one that somebody did.
    pub(super) fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            self.problem(key.span(), self.name(name), format!("unknown key; {hint}"));
        }
    }

    fn entry(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table?.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// The known word nearest to `word`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
