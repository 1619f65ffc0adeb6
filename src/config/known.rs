//! Every key that there is, with what the readers know of it and what `edge.toml` says about it.

use super::file;
use super::notes::{Holds, Note, Told, Verdict};
use super::sample::{Key, Sample};

/// All of it.
pub(super) struct Known {
    pub(super) notes: Vec<Note>,
    pub(super) sample: Sample,
}

/// What holds where a key is left out.
#[derive(Debug, PartialEq)]
pub(super) enum Without<'k> {
    /// It has to be there.
    Needed,
    /// This value, as it is written in TOML.
    Default(&'k str),
    /// Something that no value says.
    Nothing,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { notes: file::notes(), sample: Sample::shipped() }
    }

    /// The keys of a table, of the tables of a list, or of the file for an empty path.
    pub(super) fn within<'k>(&'k self, path: &'k str) -> impl Iterator<Item = (&'k str, &'k Note)> {
        self.notes.iter().filter_map(move |note| Some((name_within(&note.path, path)?, note)))
    }

    pub(super) fn without<'k>(&'k self, note: &Note, told: &'k Told) -> Without<'k> {
        if note.is_required {
            return Without::Needed;
        }
        let key = self.sample.key(&note.path);
        if let Some(default) = &told.default {
            let is_shown = |key: &&Key| key.read(&told.judge) == Some(Verdict::Default);
            let shown = key.filter(is_shown).map(|key| key.value.as_str());
            return shown.or(default.written.as_deref()).map_or(Without::Nothing, Without::Default);
        }
        // A reader that works its default out by itself: it is what the file sets.
        key.filter(|key| self.is_set(key, note))
            .map_or(Without::Nothing, |key| Without::Default(&key.value))
    }

    /// Whether `edge.toml` says the key, and not only shows it.
    fn is_set(&self, key: &Key, note: &Note) -> bool {
        let table = note.path.rsplit_once('.').and_then(|(table, _)| self.sample.table(table));
        !key.is_left_out && table.is_some_and(|table| !table.is_left_out)
    }

    /// What `edge.toml` says about a key or a table.
    pub(super) fn comment(&self, note: &Note) -> &str {
        match note.holds {
            Holds::Table | Holds::Tables => {
                self.sample.table(&note.path).map_or("", |table| &table.comment)
            }
            _ => self.sample.key(&note.path).map_or("", |key| &key.comment),
        }
    }
}

#[cfg(test)]
mod tests;

fn name_within<'p>(path: &'p str, table: &str) -> Option<&'p str> {
    let name = match table {
        "" => path,
        table => path.strip_prefix(table)?.strip_prefix('.')?,
    };
    (!name.contains('.')).then_some(name)
}
