//! Purges that have come from other Brims lately. Where many name each other as parents, each purge
//! comes by many ways: it is brought further only once.

use crate::rules::purging::Wish;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

const KNOWN_MAX: usize = 1000;

/// Purges by their names, the oldest first, and what was asked for: another Brim may ask for more
/// under the same name, if its sites are others.
#[derive(Default)]
pub(super) struct Known(VecDeque<(Box<str>, u64)>);

impl Known {
    /// Whether it was not here before.
    pub(super) fn add(&mut self, name: &str, wish: &Wish) -> bool {
        let mut hasher = DefaultHasher::new();
        wish.hash(&mut hasher);
        let wish = hasher.finish();
        if self.0.iter().any(|(known, of)| **known == *name && *of == wish) {
            return false;
        }
        if self.0.len() == KNOWN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((name.into(), wish));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_known_by_its_name_and_by_what_it_is_about() {
        let (all, none) = (Wish { all: true, ..Wish::default() }, Wish::default());
        let mut known = Known::default();
        assert!(known.add("a", &all) && known.add("a", &none) && known.add("b", &all));
        assert!(!known.add("a", &all) && !known.add("b", &all));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut known = Known::default();
        for number in 0..=KNOWN_MAX {
            assert!(known.add(&number.to_string(), &Wish::default()));
        }
        assert_eq!(known.0.len(), KNOWN_MAX);
        assert!(known.add("0", &Wish::default()) && !known.add("2", &Wish::default()));
    }
}
