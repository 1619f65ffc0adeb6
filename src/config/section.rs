//! One table of the file while it is read. Every problem is collected, none stops the reading, and
//! a key that nobody asked for is a problem too.

use super::kind::Kind;
use super::notes::{Holds, Note, Told};
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
    /// While every key that is asked for is noted.
    notes: Option<RefCell<Vec<Note>>>,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t str, text: &'t str, root: &'t DeTable<'t>) -> Self {
        Self { file, text, root, problems: RefCell::default(), notes: None }
    }

    /// For an empty file that is read as if every table were there, to note what is asked for.
    pub(super) fn noting(root: &'t DeTable<'t>) -> Self {
        Self { notes: Some(RefCell::default()), ..Self::new("", "", root) }
    }

    /// What was asked for, in order.
    pub(super) fn into_notes(self) -> Vec<Note> {
        self.notes.map(RefCell::into_inner).unwrap_or_default()
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

impl<T> Found<T> {
    /// Where the value stands, without it.
    fn place(&self) -> Found<()> {
        Found { value: (), at: self.at.clone(), key: self.key.clone() }
    }
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
    pub(super) fn optional<K: Kind>(&mut self, key: &'static str, kind: K) -> Option<K::Value> {
        self.found(key, kind).map(|found| found.value)
    }

    /// The value of a key with a default.
    pub(super) fn or<K: Kind>(&mut self, key: &'static str, default: K::Value, kind: K) -> K::Value
    where
        K::Value: Clone + PartialEq,
    {
        self.or_found(key, default, kind).0
    }

    /// The same, and where it stands, if it does and is good.
    pub(super) fn or_found<K: Kind>(
        &mut self,
        key: &'static str,
        default: K::Value,
        kind: K,
    ) -> (K::Value, Option<Found<()>>)
    where
        K::Value: Clone + PartialEq,
    {
        self.note(key, false, || Holds::Value(Told::value_or(kind, default.clone())));
        let found = self.value(key, kind);
        let place = found.as_ref().map(Found::place);
        (found.map_or(default, |found| found.value), place)
    }

    /// The value of a key that must be there.
    pub(super) fn required<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
    ) -> Option<Found<K::Value>> {
        self.note(key, true, || Holds::Value(Told::value(kind)));
        if self.entry(key).is_none() {
            self.missing(key);
        }
        self.value(key, kind)
    }

    /// The value of a key with its place.
    pub(super) fn found<K: Kind>(&mut self, key: &'static str, kind: K) -> Option<Found<K::Value>> {
        self.note(key, false, || Holds::Value(Told::value(kind)));
        self.value(key, kind)
    }

    /// The same where a table may stand instead, which has more to say.
    pub(super) fn found_or_table<K: Kind, T>(
        &mut self,
        key: &'static str,
        kind: K,
        of_value: fn(&Self, Found<K::Value>) -> T,
        read_table: ReadTable<'t, T>,
    ) -> Option<T> {
        self.note(key, false, || Holds::Value(Told::value(kind)));
        if self.is_noting() {
            return read_table(self.inner(key));
        }
        match self.entry(key)?.get_ref() {
            DeValue::Table(_) => read_table(self.inner(key)),
            _ => self.value(key, kind).map(|found| of_value(self, found)),
        }
    }

    fn value<K: Kind>(&mut self, key: &'static str, kind: K) -> Option<Found<K::Value>> {
        let entry = self.entry(key)?;
        let (key, at) = (self.name(key), entry.span());
        match kind.read(entry.get_ref()) {
            Ok(value) => Some(Found { value, at, key }),
            Err(expected) => {
                self.problem(at, key, format!("expected {expected}"));
                None
            }
        }
    }

    /// A list: each bad item is a problem of its own, the good ones are there for later checks.
    pub(super) fn list<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
    ) -> Option<FoundList<K::Value>> {
        self.note(key, false, || Holds::List(Told::list(kind, 0)));
        self.items(key, kind, None)
    }

    /// The same with a default, and where it stands, if it does and is one.
    pub(super) fn list_or_found<K: Kind>(
        &mut self,
        key: &'static str,
        default: &[K::Value],
        kind: K,
    ) -> (Vec<K::Value>, Option<Found<()>>)
    where
        K::Value: Clone + PartialEq,
    {
        self.note(key, false, || Holds::List(Told::list_or(kind, default.to_vec())));
        let found = self.items(key, kind, None);
        let place = found.as_ref().map(Found::place);
        (found.map_or_else(|| default.to_vec(), Found::values), place)
    }

    /// The same where items may also be tables, which have more to say.
    pub(super) fn list_with_tables<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
        read_table: ReadTable<'t, K::Value>,
    ) -> Option<FoundList<K::Value>> {
        self.note(key, false, || Holds::List(Told::list(kind, 0)));
        self.items(key, kind, Some(read_table))
    }

    /// The same for a list that must be there and not be empty.
    pub(super) fn required_list<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
    ) -> Option<FoundList<K::Value>> {
        self.required_items(key, kind, None)
    }

    /// The same for one that may hold tables.
    pub(super) fn required_list_with_tables<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
        read_table: ReadTable<'t, K::Value>,
    ) -> Option<FoundList<K::Value>> {
        self.required_items(key, kind, Some(read_table))
    }

    fn required_items<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
        read_table: Option<ReadTable<'t, K::Value>>,
    ) -> Option<FoundList<K::Value>> {
        self.note(key, true, || Holds::List(Told::list(kind, 1)));
        if self.entry(key).is_none() {
            self.missing(key);
        }
        let found = self.items(key, kind, read_table)?;
        if self.length(key) == 0 {
            self.problem(found.at.clone(), found.key.clone(), "expected at least one".into());
        }
        Some(found)
    }

    fn items<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
        read_table: Option<ReadTable<'t, K::Value>>,
    ) -> Option<FoundList<K::Value>> {
        if let Some(read_table) = read_table.filter(|_| self.is_noting()) {
            read_table(self.inner(key));
        }
        let entry = self.entry(key)?;
        let (key, at) = (self.name(key), entry.span());
        let DeValue::Array(items) = entry.get_ref() else {
            self.problem(at, key, format!("expected a list, each {}", kind.expected()));
            return None;
        };
        let mut good = Vec::new();
        for (position, item) in items.iter().enumerate() {
            let (key, at) = (format!("{key}[{position}]"), item.span());
            let read = match (item.get_ref(), read_table) {
                (DeValue::Table(table), Some(read_table)) => {
                    Ok(read_table(Self::new(self.report, key.clone(), at.clone(), Some(table))))
                }
                (item, _) => kind.read(item).map(Some),
            };
            match read {
                Ok(value) => good.extend(value.map(|value| Found { value, at, key })),
                Err(expected) => self.problem(at, key, format!("expected {expected}")),
            }
        }
        Some(Found { value: good, at, key })
    }

    /// A key that must be there and is not.
    pub(super) fn missing(&self, key: &str) {
        self.problem(self.at.clone(), self.path.clone(), format!("`{key}` is missing"));
    }

    /// How many items a list has, the bad ones too.
    pub(super) fn length(&self, key: &str) -> usize {
        let items = self.entry(key).and_then(|entry| entry.get_ref().as_array());
        items.map_or(0, |items| items.len())
    }

    /// A table inside this one.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'t> {
        self.note(key, false, || Holds::Table);
        self.inner(key)
    }

    fn inner(&self, key: &str) -> Section<'t> {
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
        self.note(key, false, || Holds::Tables);
        self.tables(key)
    }

    /// The same where at least one is needed.
    pub(super) fn required_sections(&mut self, key: &'static str) -> Vec<Section<'t>> {
        self.note(key, true, || Holds::Tables);
        let sections = self.tables(key);
        if sections.is_empty() {
            self.problem(0..0, self.name(key), format!("at least one [[{key}]] is needed"));
        }
        sections
    }

    fn tables(&self, key: &'static str) -> Vec<Section<'t>> {
        if self.is_noting() {
            return vec![self.inner(key)];
        }
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

    /// Whether the table is in the file.
    pub(super) fn is_there(&self) -> bool {
        self.table.is_some() || self.is_noting()
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

    /// A key is known from now on, and noted while keys are.
    fn note(&mut self, key: &'static str, is_required: bool, holds: impl FnOnce() -> Holds) {
        self.known.push(key);
        if let Some(notes) = &self.report.notes {
            let note = Note { path: self.name(key), is_required, holds: holds() };
            notes.borrow_mut().push(note);
        }
    }

    fn is_noting(&self) -> bool {
        self.report.notes.is_some()
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
