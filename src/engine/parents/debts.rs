//! Purges that one parent has not acknowledged. Bounded: where there would be too many, one of
//! everything stands for them.

use crate::rules::purging::Wish;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Purges that are owed at one time.
const DEBTS_MAX: usize = 1000;
/// Of the names in them: all of it has to fit into one note.
const BYTES_MAX: usize = 24 * 1024;
/// Receipts that are waiting; no more are kept at all.
const IDS_MAX: usize = 1000;

/// A purge that is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Debt {
    /// Later ones are larger.
    #[serde(skip)]
    pub(super) number: u64,
    pub(super) wish: Wish,
    pub(super) hops: u32,
    /// Whose receipts tell of it.
    pub(super) ids: Vec<String>,
}

#[derive(Default)]
pub(super) struct Debts {
    owed: VecDeque<Debt>,
    last_number: u64,
}

impl Debts {
    pub(super) fn add(&mut self, id: &str, wish: &Wish, hops: u32) {
        self.add_all(vec![id.to_owned()], wish, hops);
    }

    /// Those from before this start.
    pub(super) fn restore(&mut self, owed: Vec<Debt>) {
        owed.into_iter().for_each(|debt| self.add_all(debt.ids, &debt.wish, debt.hops));
    }

    fn add_all(&mut self, ids: Vec<String>, wish: &Wish, hops: u32) {
        // Parents that name each other would have more and more of the same.
        match self.owed.iter_mut().find(|debt| debt.wish == *wish) {
            Some(same) => {
                let news = ids.into_iter().filter(|id| !same.ids.contains(id)).collect::<Vec<_>>();
                same.ids.extend(news);
            }
            None => {
                self.last_number += 1;
                let (number, wish) = (self.last_number, wish.clone());
                self.owed.push_back(Debt { number, wish, hops, ids });
            }
        }
        let bytes: usize = self.owed.iter().map(|debt| bytes(&debt.wish)).sum();
        if self.owed.len() > DEBTS_MAX || bytes > BYTES_MAX {
            self.merge();
        }
        let mut too_many = self.owed.iter().map(|debt| debt.ids.len()).sum::<usize>();
        while too_many > IDS_MAX {
            let oldest = self.owed.iter_mut().find(|debt| !debt.ids.is_empty());
            oldest.into_iter().for_each(|debt| drop(debt.ids.remove(0)));
            too_many -= 1;
        }
    }

    /// One of everything fulfils them all.
    fn merge(&mut self) {
        self.last_number += 1;
        let hops = self.owed.iter().map(|debt| debt.hops).min().unwrap_or(0);
        let ids = self.owed.drain(..).flat_map(|debt| debt.ids).collect();
        let wish = Wish { all: true, ..Wish::default() };
        self.owed.push_back(Debt { number: self.last_number, wish, hops, ids });
    }

    /// The first one that comes behind this number.
    pub(super) fn behind(&self, number: u64) -> Option<Debt> {
        self.owed.iter().find(|debt| debt.number > number).cloned()
    }

    /// It was acknowledged. Whose receipts tell of it; `None` if something else stands for it by now.
    pub(super) fn pay(&mut self, number: u64) -> Option<Vec<String>> {
        let place = self.owed.iter().position(|debt| debt.number == number)?;
        self.owed.remove(place).map(|debt| debt.ids)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.owed.iter().any(|debt| debt.ids.iter().any(|known| known == id))
    }

    pub(super) fn count(&self) -> usize {
        self.owed.len()
    }

    pub(super) fn all(&self) -> Vec<Debt> {
        self.owed.iter().cloned().collect()
    }
}

/// What a wish takes in a note, nearly.
fn bytes(wish: &Wish) -> usize {
    let items = [&wish.urls, &wish.prefixes, &wish.tags, &wish.hosts];
    // Around an item there are quotes, and some characters are written as two.
    let names = items.into_iter().flatten().map(|item| 2 * item.len() + 3);
    names.sum::<usize>() + 100
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_tag(tag: &str) -> Wish {
        Wish { tags: vec![tag.to_owned()], ..Wish::default() }
    }

    #[test]
    fn debts_are_paid_one_by_one_and_in_any_order() {
        let mut debts = Debts::default();
        debts.add("1", &of_tag("a"), 0);
        debts.add("2", &of_tag("b"), 0);
        let first = debts.behind(0).expect("a debt");
        let second = debts.behind(first.number).expect("another");
        assert_eq!((&first.wish, &second.wish), (&of_tag("a"), &of_tag("b")));
        assert_eq!(debts.behind(second.number), None);
        assert_eq!(debts.pay(second.number), Some(vec!["2".to_owned()]));
        assert_eq!(debts.pay(second.number), None);
        assert!(debts.has("1") && !debts.has("2"));
    }

    #[test]
    fn the_same_is_owed_once_however_often_it_is_asked_for() {
        let mut debts = Debts::default();
        for id in ["1", "2", "1"] {
            debts.add(id, &of_tag("a"), 3);
        }
        assert_eq!(debts.count(), 1);
        assert_eq!(debts.behind(0).expect("a debt").ids, ["1", "2"]);
    }

    #[test]
    fn too_many_become_one_of_everything_that_tells_all_receipts() {
        let mut debts = Debts::default();
        let long = "x".repeat(1000);
        for number in 0..100 {
            debts.add(&number.to_string(), &of_tag(&format!("{long}{number}")), 0);
        }
        assert!(debts.count() < 25 && debts.behind(0).expect("a debt").wish.all);
        assert!((0..100).all(|number| debts.has(&number.to_string())));
        let text = serde_json::to_vec(&debts.all()).expect("JSON");
        assert!(text.len() < 60 * 1024, "{}", text.len());
    }

    #[test]
    fn a_note_has_room_for_whatever_is_owed() {
        let mut debts = Debts::default();
        for number in 0..10_000 {
            let wish = of_tag(&number.to_string());
            debts.add(&format!("{:x}", 1_795_276_800_000_000_u64 + number), &wish, 0);
            let text = serde_json::to_vec(&debts.all()).expect("JSON");
            assert!(text.len() < 60 * 1024, "{}", text.len());
        }
        assert!(debts.has(&format!("{:x}", 1_795_276_800_009_999_u64)));
        assert!(!debts.has(&format!("{:x}", 1_795_276_800_000_000_u64)));
    }
}
