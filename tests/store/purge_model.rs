//! Purges beside a model that knows of each value whether it may still be given out, through everything
//! that happens to records: written again, replaced, removed, evicted, found again after the end.

use crate::faulty_folder::FaultyFolder;
use crate::kit::{LARGE, SMALL, key, open_good, pattern, rounds, seed};
use brim::store::disk::{Content, Disk, Entry, Receipt};
use brim::store::purges::{Fate, Scope};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const KEYS: usize = 150;
const TAGS: usize = 9;

/// A value that was put, or is on its way from its origin.
#[derive(Clone, Debug)]
struct Value {
    key: usize,
    asked: u64,
    is_gone: bool,
    is_stale: bool,
    /// Removed, or replaced by what was found after that.
    is_over: bool,
}

impl Value {
    fn tags(&self, number: usize) -> String {
        format!("all\ntag-{}\n{}", self.key % TAGS, ["odd\n", ""][number % 2])
    }

    fn is_about(&self, number: usize, scope: &Scope) -> bool {
        match scope {
            Scope::Key(name) => **name == *key(self.key),
            Scope::Prefix(name) => key(self.key).starts_with(name),
            Scope::Tag(name) => {
                let tag = name.strip_prefix(b"site\n").or_else(|| name.strip_prefix(b"\n"));
                let tags = self.tags(number);
                tag.is_some_and(|tag| tags.split_terminator('\n').any(|own| own.as_bytes() == tag))
            }
        }
    }
}

struct Model {
    folder: FaultyFolder,
    disk: Arc<Disk>,
    bytes: u64,
    random: fastrand::Rng,
    body_bytes_max: usize,
    /// By number, which is in the head.
    values: Vec<Value>,
    /// What may be found for a key.
    current: BTreeMap<usize, usize>,
    under_way: Vec<usize>,
    /// When everything was removed the last time.
    emptied_at: u64,
    live: usize,
    dead: usize,
    raised: usize,
    retired: usize,
}

impl Model {
    fn new(seed: u64, bytes: u64, body_bytes_max: usize) -> Self {
        let folder = FaultyFolder::default();
        let disk = open_good(&folder, bytes);
        Self {
            folder,
            disk,
            bytes,
            random: fastrand::Rng::with_seed(seed),
            body_bytes_max,
            values: Vec::new(),
            current: BTreeMap::new(),
            under_way: Vec::new(),
            emptied_at: 0,
            live: 0,
            dead: 0,
            raised: 0,
            retired: 0,
        }
    }

    async fn step(&mut self) {
        // The low numbers more often.
        let key = self.random.usize(..KEYS).min(self.random.usize(..KEYS));
        match self.random.u16(..1000) {
            0..225 => self.ask(key),
            225..480 => self.answer(),
            480..860 => self.get(key).await,
            860..930 => self.purge(),
            930..955 => self.remove(key),
            955..956 => self.remove_all(),
            956..985 => self.retire(),
            985..992 => self.disk.settled().await,
            992..996 => self.reopen().await,
            _ => self.crash().await,
        }
        while !self.disk.has_room().await {}
    }

    /// The origin is asked for something.
    fn ask(&mut self, key: usize) {
        let asked = self.disk.next_sequence();
        let value = Value { key, asked, is_gone: false, is_stale: false, is_over: false };
        self.under_way.push(self.values.len());
        self.values.push(value);
    }

    /// It has answered; what was purged meanwhile is not stored, or as stale.
    fn answer(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let number = self.under_way.swap_remove(self.random.usize(..self.under_way.len()));
        let value = self.values[number].clone();
        let (bytes, tags) = (key(value.key), value.tags(number));
        let fate = self.disk.purges().fate(&bytes, tags.as_bytes(), value.asked);
        self.compare(number, fate, false);
        if !matches!(fate, Fate::Gone(_)) {
            let is_stale = matches!(fate, Fate::Stale(..));
            self.put(number, value.asked, is_stale);
        }
    }

    fn put(&mut self, number: usize, asked: u64, is_stale: bool) {
        let Value { key: of, .. } = self.values[number];
        let body_bytes = number * 7919 % self.body_bytes_max;
        let content = Content {
            tags: self.values[number].tags(number).into(),
            head: format!("{number} {is_stale}").into(),
            body: pattern(of as u64, number as u32, 0..body_bytes as u64),
            asked,
        };
        if self.disk.put(&key(of), content, &Receipt::default()) {
            if let Some(before) = self.current.insert(of, number).filter(|at| *at != number) {
                self.values[before].is_over = true;
            }
        } else {
            self.end(of);
        }
    }

    fn end(&mut self, key: usize) {
        if let Some(number) = self.current.remove(&key) {
            self.values[number].is_over = true;
        }
    }

    async fn get(&mut self, of: usize) {
        let Some(entry) = self.disk.get(&key(of)).await else { return };
        let (number, is_stale) = self.read(of, &entry);
        assert_eq!(self.current.get(&of), Some(&number), "an old value of {of}");
        // First, as whoever compares does.
        let newest = self.disk.purges().newest();
        let fate = self.fate(of, &entry);
        match (fate, self.random.u8(..4)) {
            (Fate::Gone(_), 0..2) => self.disk.forget(&key(of), entry.place),
            (Fate::Stays, 0) => self.put(number, entry.content.asked.max(newest), is_stale),
            (Fate::Stale(..), 0) => self.put(number, newest, true),
            _ => {}
        }
    }

    fn fate(&self, of: usize, entry: &Entry) -> Fate {
        self.disk.purges().fate(&key(of), &entry.content.tags, entry.content.asked)
    }

    /// What an entry is, and whether that is all right.
    fn read(&mut self, of: usize, entry: &Entry) -> (usize, bool) {
        let head = std::str::from_utf8(&entry.content.head).expect("a head that was put");
        let (number, is_stale) = head.split_once(' ').expect("two words");
        let (number, is_stale) = (number.parse().expect("a number"), is_stale == "true");
        let value: &Value = &self.values[number];
        assert_eq!(value.key, of, "the value of another key");
        assert!(!value.is_over, "{number} was removed: {value:?}");
        assert!(entry.content.asked >= value.asked, "{number} was asked for at {value:?}");
        self.raised += usize::from(entry.content.asked > value.asked);
        let fate = self.fate(of, entry);
        self.compare(number, fate, is_stale);
        (number, is_stale)
    }

    /// `fate` is what the purges that there were make of it, no more and no less.
    fn compare(&mut self, number: usize, fate: Fate, is_stale: bool) {
        let value = &self.values[number];
        let is_gone = matches!(fate, Fate::Gone(_));
        let is_stale = is_stale || matches!(fate, Fate::Stale(..));
        assert_eq!(is_gone, value.is_gone, "{number}: {fate:?}, {value:?}");
        assert!(is_gone || is_stale == value.is_stale, "{number}: {fate:?}, {value:?}");
        self.dead += usize::from(is_gone);
        self.live += usize::from(!is_gone);
    }

    fn scope(&mut self) -> Scope {
        let number = self.random.usize(..KEYS);
        let name = match self.random.u8(..20) {
            0..6 => return Scope::Key(key(number).into()),
            6..11 => format!("site\nhost.test\n/the/path/of/{number}"),
            11..13 => format!("site\nhost.test\n/the/path/of/{}", number % 10),
            13..17 => return Scope::Tag(format!("site\ntag-{}", number % TAGS).as_bytes().into()),
            17 => return Scope::Tag(b"\nodd"[..].into()),
            18 => return Scope::Tag(b"other\nall"[..].into()),
            _ if self.random.u8(..4) == 0 => return Scope::Prefix(Box::default()),
            _ => "elsewhere\n".to_owned(),
        };
        Scope::Prefix(name.into_bytes().into())
    }

    fn purge(&mut self) {
        let scopes: Vec<Scope> = (0..self.random.usize(1..3)).map(|_| self.scope()).collect();
        let since = self.random.bool().then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(9));
        let sequence = self.disk.purge(&scopes, since);
        for (number, value) in self.values.iter_mut().enumerate() {
            assert!(value.asked < sequence);
            if scopes.iter().any(|scope| value.is_about(number, scope)) {
                match since {
                    None => value.is_gone = true,
                    Some(_) => value.is_stale = true,
                }
            }
        }
    }

    fn remove(&mut self, of: usize) {
        self.disk.remove(&key(of));
        self.end(of);
    }

    fn remove_all(&mut self) {
        self.disk.remove_all();
        self.emptied_at = self.disk.next_sequence();
        (0..KEYS).for_each(|key| self.end(key));
    }

    fn retire(&mut self) {
        let before = self.disk.purges().len();
        let under_way = self.under_way.iter().map(|number| self.values[*number].asked).min();
        let oldest = self.disk.oldest_asked().min(under_way.unwrap_or(u64::MAX));
        self.disk.purges().retire(oldest, self.disk.purges().loads());
        self.retired += before - self.disk.purges().len();
    }

    async fn reopen(&mut self) {
        self.disk.settled().await;
        self.disk.close();
        self.again(self.folder.copy()).await;
    }

    /// Of what was not written, older values are found again, as long as nobody has removed them.
    async fn crash(&mut self) {
        if self.random.bool() {
            self.disk.settled().await;
        }
        assert!(self.disk.removals_written().await);
        let folder = self.folder.copy();
        self.disk.close();
        self.again(folder).await;
    }

    async fn again(&mut self, folder: FaultyFolder) {
        self.folder = folder;
        self.disk = open_good(&self.folder, self.bytes);
        // Whoever was asked is asked anew.
        self.under_way.clear();
        for of in 0..KEYS {
            let there = self.disk.get(&key(of)).await;
            let Some(number) = self.current.get(&of).copied() else {
                self.old(of, there.as_ref());
                continue;
            };
            let found = there.as_ref().map(number_of);
            if let Some(there) = there.as_ref().filter(|_| found == Some(number)) {
                // It was asked for before everything was removed, and put after it: from the next
                // start on nobody can tell whether it was compared with what was purged until then.
                self.values[number].is_gone |= there.content.asked < self.emptied_at;
                self.read(of, there);
            } else {
                self.old(of, there.as_ref());
            }
        }
        assert!(self.folder.file_bytes() <= self.bytes);
    }

    /// A value that was replaced by one that is lost; it is what is there from now on.
    fn old(&mut self, of: usize, entry: Option<&Entry>) {
        self.current.remove(&of);
        let Some(entry) = entry else { return };
        let number = number_of(entry);
        let fate = self.fate(of, entry);
        let value = &self.values[number];
        assert!(!value.is_gone || matches!(fate, Fate::Gone(_)), "{number} is back: {value:?}");
        // Whether it was removed is the business of other tests.
        self.disk.remove(&key(of));
    }
}

fn number_of(entry: &Entry) -> usize {
    let head = std::str::from_utf8(&entry.content.head).expect("a head that was put");
    head.split_once(' ').and_then(|(number, _)| number.parse().ok()).expect("a number")
}

/// How often something came to pass, in all rounds.
#[derive(Debug, Default)]
struct Seen {
    live: usize,
    dead: usize,
    raised: usize,
    retired: usize,
}

async fn run(usual: u64, bytes: u64, body_bytes_max: usize, steps: usize) -> Seen {
    let seed = seed(usual);
    let mut seen = Seen::default();
    for round in 0..rounds(1) as u64 {
        let mut model = Model::new(seed + round, bytes, body_bytes_max);
        for _ in 0..steps {
            model.step().await;
        }
        model.disk.close();
        seen.live += model.live;
        seen.dead += model.dead;
        seen.raised += model.raised;
        seen.retired += model.retired;
    }
    println!("{seen:?}");
    seen
}

#[tokio::test]
async fn what_was_purged_is_what_the_model_says_and_nothing_else() {
    let seen = run(31, LARGE, 3000, 4000).await;
    assert!(seen.live > 0 && seen.dead > 0, "{seen:?}");
}

#[tokio::test]
async fn records_that_are_written_again_forget_no_purge_and_invent_none() {
    let seen = run(32, SMALL, 290_000, 4000).await;
    assert!(seen.live > 0 && seen.dead > 0 && seen.raised > 0, "{seen:?}");
}

/// Puts something that its origin was asked for now.
fn put(disk: &Disk, number: usize, body_bytes: usize) {
    let asked = disk.next_sequence();
    let (tags, head) = (format!("tag-{number}\n").into(), number.to_string().into());
    let body = pattern(number as u64, 1, 0..body_bytes as u64);
    assert!(disk.put(&key(number), Content { tags, head, body, asked }, &Receipt::default()));
}

/// Fills the tier with what nobody wants until this has made room; reads those all the while.
async fn turn_over_until_gone(disk: &Disk, unwanted: usize, wanted: &[usize]) {
    for round in 0..6 {
        turn_over(disk, unwanted * 10_000 + round * 1000, wanted).await;
        if !disk.has(&key(unwanted)) {
            return;
        }
    }
    panic!("{unwanted} is there for ever");
}

/// Fills twice the tier.
async fn turn_over(disk: &Disk, from: usize, wanted: &[usize]) {
    for number in from..from + 160 {
        while !disk.has_room().await {}
        put(disk, number, 200_000);
        disk.settled().await;
        for wanted in wanted {
            drop(disk.get(&key(*wanted)).await);
        }
    }
}

#[tokio::test]
async fn a_rule_is_needed_until_what_it_is_about_has_made_room() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, SMALL);
    (0..6).for_each(|number| put(&disk, number, 1000));
    disk.settled().await;
    let (gone, stale) = (2, 4);
    let hard = disk.purge(&[Scope::Key(key(gone).into())], None);
    let since = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
    let soft = disk.purge(&[Scope::Tag(b"site\ntag-4"[..].into())], Some(since));
    let fate = async |disk: &Disk, number: usize| {
        let Content { tags, asked, .. } = disk.get(&key(number)).await?.content;
        Some((disk.purges().fate(&key(number), &tags, asked), asked >= soft))
    };
    turn_over(&disk, 1000, &[0, 1, 2, 3, 4, 5]).await;
    assert!(disk.floor() > 2, "nothing made room");
    for number in [0, 1, 3, 5] {
        let raised = fate(&disk, number).await.map(|(fate, _)| fate);
        assert_eq!(raised, Some(Fate::Stays));
    }
    assert_eq!(fate(&disk, gone).await, Some((Fate::Gone(hard), false)));
    assert_eq!(fate(&disk, stale).await, Some((Fate::Stale(since, soft), false)));
    disk.purges().retire(disk.oldest_asked(), disk.purges().loads());
    assert_eq!(disk.purges().len(), 2, "both are needed");
    // The gone one is not wanted any more.
    turn_over_until_gone(&disk, gone, &[0, 1, 3, 4, 5]).await;
    assert_eq!(fate(&disk, stale).await, Some((Fate::Stale(since, soft), false)));
    disk.purges().retire(disk.oldest_asked(), disk.purges().loads());
    assert!(disk.purges().fate(&key(stale), b"tag-4\n", hard - 1) == Fate::Stale(since, soft));
    turn_over_until_gone(&disk, stale, &[0, 1, 3, 5]).await;
    // What lies at a segment's end may make room although it is wanted.
    let mut left = 0;
    for number in [0, 1, 3, 5] {
        let fate = fate(&disk, number).await;
        assert!(fate.is_none_or(|fate| fate == (Fate::Stays, true)), "as if asked for later");
        left += usize::from(fate.is_some());
    }
    assert!(left > 0, "nothing was written again");
    assert!(disk.oldest_asked() >= soft);
    disk.purges().retire(disk.oldest_asked(), disk.purges().loads());
    assert!(disk.purges().is_empty());
    disk.close();
    // The log still has them, and they are about nothing.
    let disk = open_good(&folder.copy(), SMALL);
    for number in [0, 1, 3, 5] {
        let fate = fate(&disk, number).await;
        assert!(fate.is_none_or(|fate| fate == (Fate::Stays, true)));
    }
    assert!(disk.oldest_asked() >= soft, "the footers have said so");
    disk.purges().retire(disk.oldest_asked(), disk.purges().loads());
    assert!(disk.purges().is_empty());
    disk.close();
}
