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

/// Of requests, in one wish: each may have to be tried alone, and be a debt of its own then.
const URLS_AT_ONCE: usize = 64;

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
    /// Nobody has wished for it: requests have made these URLs out of date.
    #[serde(default)]
    pub(super) is_of_requests: bool,
}

#[derive(Default)]
pub(super) struct Debts {
    owed: VecDeque<Debt>,
    last_number: u64,
    /// The number of the last one that somebody was given to ask for.
    last_given: u64,
}

impl Debts {
    pub(super) fn add(&mut self, id: &str, wish: &Wish, hops: u32) {
        let (ids, wish) = (vec![id.to_owned()], wish.clone());
        self.put(Debt { number: 0, wish, hops, ids, is_of_requests: false });
    }

    /// URLs that a request has made out of date. Those that nobody has been asked for yet become one
    /// wish: there may be many such requests while a parent answers one question.
    pub(super) fn add_of_request(&mut self, wish: Wish) {
        let last_given = self.last_given;
        let last = self.owed.back_mut().filter(|last| {
            last.is_of_requests
                && last.number > last_given
                && last.wish.all_queries == wish.all_queries
                && last.wish.urls.len() + wish.urls.len() <= URLS_AT_ONCE
        });
        if let Some(last) = last {
            last.wish.urls.extend(wish.urls);
            last.wish.urls.sort_unstable();
            last.wish.urls.dedup();
            return self.stay_bounded();
        }
        self.put(Debt { number: 0, wish, hops: 0, ids: Vec::new(), is_of_requests: true });
    }

    /// Those from before this start.
    pub(super) fn restore(&mut self, owed: Vec<Debt>) {
        owed.into_iter().for_each(|debt| self.put(debt));
    }

    fn put(&mut self, mut new: Debt) {
        // Parents that name each other would have more and more of the same. A question that is on its
        // way is from before this one: its answer does not pay it.
        let is_same = |debt: &Debt| debt.wish == new.wish;
        let same = self.owed.iter().position(is_same).and_then(|place| self.owed.remove(place));
        if let Some(Debt { mut ids, hops, is_of_requests, .. }) = same {
            let is_new = |id: &String| !ids.contains(id);
            let news: Vec<String> = new.ids.into_iter().filter(is_new).collect();
            ids.extend(news);
            (new.ids, new.hops) = (ids, hops.min(new.hops));
            new.is_of_requests &= is_of_requests;
        }
        new.number = self.next_number();
        self.owed.push_back(new);
        self.stay_bounded();
    }

    fn stay_bounded(&mut self) {
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

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// One of everything fulfils them all.
    fn merge(&mut self) {
        let number = self.next_number();
        let hops = self.owed.iter().map(|debt| debt.hops).min().unwrap_or(0);
        let ids = self.owed.drain(..).flat_map(|debt| debt.ids).collect();
        let wish = everything();
        self.owed.push_back(Debt { number, wish, hops, ids, is_of_requests: false });
    }

    /// The parent does not understand it: everything is understood. URLs of requests are tried one by
    /// one: one that it can have nothing of is no debt, and no reason to have it forget everything,
    /// or whoever may send requests could do that. Whether something else is owed instead.
    pub(super) fn refused(&mut self, number: u64) -> bool {
        let Some(place) = self.owed.iter().position(|debt| debt.number == number) else {
            return false;
        };
        if self.owed[place].wish == everything() {
            return false;
        }
        let Some(debt) = self.owed.remove(place) else { return false };
        if !debt.is_of_requests {
            self.put(Debt { wish: everything(), ..debt });
        } else if debt.wish.urls.len() > 1 {
            for url in &debt.wish.urls {
                let wish = Wish { urls: vec![url.clone()], ..debt.wish.clone() };
                self.put(Debt { wish, ..debt.clone() });
            }
        }
        true
    }

    /// The number of the newest one that there has been.
    pub(super) fn last_number(&self) -> u64 {
        self.last_number
    }

    /// The first one that comes behind this number, to be asked for.
    pub(super) fn behind(&mut self, number: u64) -> Option<Debt> {
        let debt = self.owed.iter().find(|debt| debt.number > number).cloned()?;
        self.last_given = self.last_given.max(debt.number);
        Some(debt)
    }

    /// Everything was acknowledged, as it was asked for when this was the newest number. Whose
    /// receipts tell of it; `None` if nothing was owed.
    pub(super) fn pay_up_to(&mut self, number: u64) -> Option<Vec<String>> {
        // Later ones are behind.
        let count = self.owed.partition_point(|debt| debt.number <= number);
        (count > 0).then(|| self.owed.drain(..count).flat_map(|debt| debt.ids).collect())
    }

    /// It was acknowledged. Whose receipts tell of it; `None` if something else stands for it by now.
    pub(super) fn pay(&mut self, number: u64) -> Option<Vec<String>> {
        let place = self.owed.iter().position(|debt| debt.number == number)?;
        self.owed.remove(place).map(|debt| debt.ids)
    }

    pub(super) fn has(&self, id: &str) -> bool {
        self.owed.iter().any(|debt| debt.ids.iter().any(|known| known == id))
    }

    /// Whether URLs of requests are owed that were when this was the newest number.
    pub(super) fn has_of_requests(&self, number: u64) -> bool {
        self.owed.iter().any(|debt| debt.is_of_requests && debt.number <= number)
    }

    /// Whether a purge is owed that somebody has wished for.
    pub(super) fn has_wishes(&self) -> bool {
        self.owed.iter().any(|debt| !debt.is_of_requests)
    }

    pub(super) fn count(&self) -> usize {
        self.owed.len()
    }

    pub(super) fn all(&self) -> Vec<Debt> {
        self.owed.iter().cloned().collect()
    }
}

/// What no parent can take for something else.
pub(super) fn everything() -> Wish {
    Wish { all: true, ..Wish::default() }
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
    fn a_question_from_before_a_purge_does_not_pay_it() {
        let mut debts = Debts::default();
        debts.add("1", &of_tag("a"), 2);
        let asked = debts.behind(0).expect("a debt");
        debts.add("2", &of_tag("a"), 1);
        assert_eq!(debts.pay(asked.number), None);
        let again = debts.behind(asked.number).expect("it is still owed");
        assert_eq!((again.hops, debts.count()), (1, 1));
        assert_eq!(debts.pay(again.number), Some(vec!["1".to_owned(), "2".to_owned()]));
    }

    #[test]
    fn everything_pays_what_was_owed_before_it_was_asked_for() {
        let mut debts = Debts::default();
        debts.add("1", &of_tag("a"), 0);
        debts.add("2", &of_tag("b"), 0);
        let last = debts.last_number();
        debts.add("3", &of_tag("b"), 0);
        assert_eq!(debts.pay_up_to(last), Some(vec!["1".to_owned()]));
        assert_eq!(debts.pay_up_to(last), None);
        assert!(debts.has("2") && debts.has("3"));
    }

    #[test]
    fn what_is_not_understood_becomes_everything_and_stays_that() {
        let mut debts = Debts::default();
        debts.add("1", &of_tag("a"), 0);
        let first = debts.behind(0).expect("a debt");
        assert!(debts.refused(first.number) && !debts.refused(first.number));
        let all = debts.behind(first.number).expect("a debt");
        assert_eq!((&all.wish, &all.ids), (&everything(), &vec!["1".to_owned()]));
        assert!(!debts.refused(all.number));
        assert_eq!(debts.count(), 1);
    }

    fn of_urls(urls: &[&str]) -> Wish {
        Wish { urls: urls.iter().map(|url| (*url).to_owned()).collect(), ..Wish::default() }
    }

    #[test]
    fn urls_of_many_requests_are_one_debt_until_it_is_asked_for() {
        let mut debts = Debts::default();
        debts.add_of_request(of_urls(&["b"]));
        debts.add_of_request(of_urls(&["a", "b"]));
        let asked = debts.behind(0).expect("a debt");
        assert_eq!((&asked.wish, debts.count()), (&of_urls(&["a", "b"]), 1));
        debts.add_of_request(of_urls(&["c"]));
        assert_eq!(debts.count(), 2);
        // One that cannot be understood is not the others' fault, and empties nobody.
        assert!(debts.refused(asked.number));
        let mut last = 0;
        for expected in ["c", "a", "b"] {
            let debt = debts.behind(last).expect("a debt");
            assert_eq!(debt.wish, of_urls(&[expected]));
            assert!(debts.refused(debt.number));
            last = debt.number;
        }
        assert_eq!(debts.count(), 0);
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
