//! What is different between two files, key by key, in the words of their authors.

use serde::Serialize;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

/// By these keys a table of a list is known, the first that it has.
const NAMES: [&str; 7] = ["name", "hosts", "cert", "self_signed", "path", "url", "address"];

/// A file as it was written: values without comments, and without what is not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document(Value);

/// A key that has another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Dotted; tables of a list by their names: `site[www.example.com].rule[/assets/*].ttl`.
    pub key: String,
    /// `None`: it was not there.
    pub old: Option<Value>,
    /// `None`: it is not there any more.
    pub new: Option<Value>,
    /// The running process goes on with what it has.
    pub needs_restart: bool,
}

impl Document {
    pub(super) fn of(table: &DeTable<'_>) -> Self {
        Self(of_table(table))
    }

    /// What `new` says that this one does not, and the other way round.
    pub fn changes_to(&self, new: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        compare(String::new(), Some(&self.0), Some(&new.0), &mut changes);
        changes
    }
}

fn of_table(table: &DeTable<'_>) -> Value {
    let entry =
        |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
            (key.get_ref().to_string(), of_value(value.get_ref()))
        };
    Value::Object(table.iter().map(entry).collect())
}

fn of_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map_or_else(|_| Value::String(number.to_string()), Value::from)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse::<f64>();
            parsed.map_or_else(|_| Value::String(number.to_string()), Value::from)
        }
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| of_value(item.get_ref())).collect(),
        DeValue::Table(table) => of_table(table),
    }
}

fn compare(key: String, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    // A table that is not there says the same as an empty one.
    let is_table = |value: Option<&Value>| value.is_none_or(Value::is_object);
    if is_table(old) && is_table(new) {
        return compare_tables(&key, old, new, changes);
    }
    let lists = [old, new].map(|list| list.map_or_else(|| Some(Vec::new()), named));
    if let [Some(old), Some(new)] = lists {
        return compare_lists(&key, &old, &new, changes);
    }
    changes.push(Change { key, old: old.cloned(), new: new.cloned(), needs_restart: false });
}

fn compare_tables(key: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    let nothing = Map::new();
    let [old, new] = [old, new].map(|table| table.and_then(Value::as_object).unwrap_or(&nothing));
    let others = new.keys().filter(|name| !old.contains_key(*name));
    for name in old.keys().chain(others) {
        let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
        compare(key, old.get(name), new.get(name), changes);
    }
}

type Named<'v> = Vec<(&'v str, &'v Value)>;

/// The tables of a list by their names; `None` where it has something else, or a name twice.
fn named(list: &Value) -> Option<Named<'_>> {
    let all = list.as_array()?.iter().map(|table| Some((name_of(table)?, table)));
    let all: Named<'_> = all.collect::<Option<_>>()?;
    let is_only = |(place, (name, _)): (usize, &(&str, &Value))| {
        all[..place].iter().all(|(other, _)| other != name)
    };
    all.iter().enumerate().all(is_only).then_some(all)
}

fn name_of(table: &Value) -> Option<&str> {
    let table = table.as_object()?;
    NAMES.iter().find_map(|key| match table.get(*key)? {
        Value::String(name) => Some(name.as_str()),
        Value::Array(names) => names.first()?.as_str(),
        _ => None,
    })
}

fn compare_lists(key: &str, old: &Named<'_>, new: &Named<'_>, changes: &mut Vec<Change>) {
    let find = |list: &Named<'_>, name: &str| {
        list.iter().find(|(other, _)| *other == name).map(|(_, table)| (*table).clone())
    };
    for (name, table) in old {
        let key = format!("{key}[{name}]");
        match find(new, name) {
            Some(now) => compare(key, Some(table), Some(&now), changes),
            None => changes.push(Change {
                key,
                old: Some((*table).clone()),
                new: None,
                needs_restart: false,
            }),
        }
    }
    for (name, table) in new.iter().filter(|(name, _)| find(old, name).is_none()) {
        let (key, new) = (format!("{key}[{name}]"), Some((*table).clone()));
        changes.push(Change { key, old: None, new, needs_restart: false });
    }
    // The first rule that matches wins, the first certificate is the default.
    let order = |list: &Named<'_>, other: &Named<'_>| -> Vec<Value> {
        let both = list.iter().filter(|(name, _)| find(other, name).is_some());
        both.map(|(name, _)| Value::from(*name)).collect()
    };
    let (before, now) = (order(old, new), order(new, old));
    if before != now {
        let (old, new) = (Some(Value::Array(before)), Some(Value::Array(now)));
        changes.push(Change { key: format!("{key} (order)"), old, new, needs_restart: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes(old: &str, new: &str) -> Vec<(String, Option<Value>, Option<Value>)> {
        let read = |text: &str| Document::of(DeTable::parse(text).expect("TOML").get_ref());
        let changes = read(old).changes_to(&read(new));
        changes.into_iter().map(|change| (change.key, change.old, change.new)).collect()
    }

    #[test]
    fn what_is_different_is_told_key_by_key() {
        let old = "[server]\nthreads = 1\nhttp = ['a']\n[cache.memory]\nsize = '1MiB'\n";
        let new =
            "[server]\nthreads = 0x2\nhttp = ['a', 'b']\n[cache.memory]\n[log]\nlevel = 'warn'\n";
        assert_eq!(
            changes(old, new),
            [
                ("cache.memory.size".to_owned(), Some(json!("1MiB")), None),
                ("server.http".to_owned(), Some(json!(["a"])), Some(json!(["a", "b"]))),
                ("server.threads".to_owned(), Some(json!(1)), Some(json!(2))),
                ("log.level".to_owned(), None, Some(json!("warn"))),
            ]
        );
        assert_eq!(changes(old, &format!("# a comment\n{old}")), []);
    }

    #[test]
    fn tables_of_a_list_are_known_by_their_names_wherever_they_stand() {
        let rule =
            |path: &str, ttl: &str| format!("[[site.rule]]\npath = '{path}'\nttl = '{ttl}'\n");
        let site = |host: &str| format!("[[site]]\nhosts = ['{host}', 'x']\n");
        let old = [site("a"), rule("/1", "1s"), rule("/2", "1s"), site("gone")].concat();
        let new = [site("new"), site("a"), rule("/2", "1s"), rule("/1", "2s")].concat();
        assert_eq!(
            changes(&old, &new),
            [
                ("site[a].rule[/1].ttl".to_owned(), Some(json!("1s")), Some(json!("2s"))),
                (
                    "site[a].rule (order)".to_owned(),
                    Some(json!(["/1", "/2"])),
                    Some(json!(["/2", "/1"]))
                ),
                ("site[gone]".to_owned(), Some(json!({"hosts": ["gone", "x"]})), None),
                ("site[new]".to_owned(), None, Some(json!({"hosts": ["new", "x"]}))),
            ]
        );
    }

    #[test]
    fn tables_without_names_of_their_own_are_one_value() {
        let twice =
            |ttl: &str| format!("rule = [{{ path = '/' }}, {{ path = '/', ttl = '{ttl}' }}]");
        let told = changes(&twice("1s"), &twice("2s"));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].0, "rule");
    }
}
