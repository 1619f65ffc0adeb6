//! What was purged by rule, and when. An object remembers when its origin was asked for it; whoever
//! uses it compares the two. A purge costs the same however much is stored, and an object that was
//! compared with the newest rule is not compared again.
//!
//! Keys begin with whose they are, ended by a line feed; tags are each ended by one.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

/// Of more rules than these, or bytes of them, the older half becomes one about everything.
const RULES_MAX: usize = 256 * 1024;
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Of a small disk, no more than this share: its log keeps them, too.
const DISK_SHARE: u64 = 32;
/// What a rule takes besides its name.
const RULE_BYTES: usize = 96;

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This key.
    Key(Box<[u8]>),
    /// Every key that begins like this.
    Prefix(Box<[u8]>),
    /// What has this tag: of one owner, whose name stands before a line feed, or, with nothing
    /// before it, of all.
    Tag(Box<[u8]>),
}

impl Scope {
    /// The key, prefix or tag.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Key(name) | Self::Prefix(name) | Self::Tag(name) => name,
        }
    }
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Stays,
    /// It counts as stale, since then and by that purge.
    Stale(SystemTime, u64),
    /// It is gone, by that purge.
    Gone(u64),
}

/// A rule: what its scope is about is gone, or stale, if it was asked for before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is about.
    pub scope: Scope,
    /// Its number among everything that is numbered.
    pub sequence: u64,
    /// When it was made, if it makes stale; `None`: gone.
    pub stale_since: Option<SystemTime>,
}

/// The newest of both kinds for one scope; 0: none.
#[derive(Clone, Copy)]
struct Newest {
    gone: u64,
    stale: u64,
    since: SystemTime,
}

#[derive(Default)]
struct Table {
    keys: HashMap<Box<[u8]>, Newest>,
    prefixes: BTreeMap<Box<[u8]>, Newest>,
    tags: HashMap<Box<[u8]>, Newest>,
    bytes: usize,
    loads: u64,
}

/// All rules, and the numbers of what happens.
pub struct Purges {
    bytes_max: usize,
    sequence: AtomicU64,
    newest: AtomicU64,
    table: RwLock<Table>,
}

impl Default for Purges {
    fn default() -> Self {
        Self {
            bytes_max: BYTES_MAX,
            sequence: AtomicU64::new(0),
            newest: AtomicU64::new(0),
            table: RwLock::default(),
        }
    }
}

impl Purges {
    /// None yet, for a disk with so much room.
    pub(super) fn of_disk(capacity: u64) -> Self {
        let bytes_max = BYTES_MAX.min((capacity / DISK_SHARE) as usize);
        Self { bytes_max, ..Self::default() }
    }

    /// A number that is larger than all before.
    pub fn draw(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Numbers are larger than this from now on.
    pub(super) fn raise(&self, to: u64) {
        self.sequence.fetch_max(to, Ordering::SeqCst);
    }

    /// The number of the newest rule. What was compared with that needs no look at the others.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }

    /// What became of an object with this key and these tags, for which its origin was asked when
    /// that number was drawn.
    pub fn fate(&self, key: &[u8], tags: &[u8], asked: u64) -> Fate {
        if self.newest() <= asked {
            return Fate::Stays;
        }
        self.read().about(key, tags).fate(asked)
    }

    /// Makes rules, where there is nobody else to be told of them.
    pub fn note(&self, scopes: &[Scope]) {
        self.make(scopes, None, |_| {});
    }

    /// Makes one rule for each scope, all with the same number. They are in force afterwards. `also`
    /// is done before, and before anything else draws a number for a rule.
    pub(super) fn make(
        &self,
        scopes: &[Scope],
        stale_since: Option<SystemTime>,
        also: impl FnOnce(u64),
    ) -> u64 {
        let mut table = self.write();
        let sequence = self.draw();
        for scope in scopes {
            table.note(scope, sequence, stale_since);
        }
        also(sequence);
        table.shrink(self.bytes_max);
        self.newest.store(sequence, Ordering::Release);
        sequence
    }

    /// Takes in rules that were made before this start.
    pub(super) fn load(&self, rules: &[Rule]) {
        let mut table = self.write();
        table.loads += 1;
        for rule in rules {
            table.note(&rule.scope, rule.sequence, rule.stale_since);
        }
        table.shrink(self.bytes_max);
        if !table.is_empty() {
            // Everything has to be compared anew.
            self.newest.store(self.draw(), Ordering::Release);
        }
    }

    /// How often rules were loaded.
    pub fn loads(&self) -> u64 {
        self.read().loads
    }

    /// Forgets the rules that nothing is old enough for: what there is was asked for no earlier than
    /// at `oldest`. That was found out after so many loads: what was loaded since is about things
    /// that were not seen.
    pub fn retire(&self, oldest: u64, loads: u64) {
        let mut table = self.write();
        if table.loads == loads {
            table.retire(oldest);
        }
    }

    /// All of them.
    pub(super) fn rules(&self) -> Vec<Rule> {
        self.read().rules()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn len(&self) -> usize {
        self.keys.len() + self.prefixes.len() + self.tags.len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn note(&mut self, scope: &Scope, sequence: u64, stale_since: Option<SystemTime>) {
        let before = self.len();
        let newest = match scope.clone() {
            Scope::Key(key) => self.keys.entry(key).or_default(),
            Scope::Prefix(prefix) => self.prefixes.entry(prefix).or_default(),
            Scope::Tag(tag) => self.tags.entry(tag).or_default(),
        };
        newest.note(sequence, stale_since);
        if self.len() > before {
            self.bytes += RULE_BYTES + scope.name().len();
        }
    }

    fn about(&self, key: &[u8], tags: &[u8]) -> Newest {
        let mut newest = Newest::default();
        if let Some(named) = self.keys.get(key) {
            newest.merge(named);
        }
        self.each_prefix(key, |prefix| newest.merge(prefix));
        if !(tags.is_empty() || self.tags.is_empty()) {
            let owner_end = memchr::memchr(b'\n', key).unwrap_or(0);
            let mut name = Vec::new();
            for tag in tags.split(|byte| *byte == b'\n').filter(|tag| !tag.is_empty()) {
                for owner in [&[][..], &key[..owner_end]] {
                    name.clear();
                    name.extend_from_slice(owner);
                    name.push(b'\n');
                    name.extend_from_slice(tag);
                    if let Some(named) = self.tags.get(&name[..]) {
                        newest.merge(named);
                    }
                }
            }
        }
        newest
    }

    /// Every prefix of a key, the longest first. The greatest name up to the key that is no prefix of
    /// it shares less with it than any prefix that is smaller: what they share is gone on with.
    fn each_prefix(&self, key: &[u8], mut see: impl FnMut(&Newest)) {
        let mut upto = Bound::Included(key);
        while let Some((name, newest)) =
            self.prefixes.range::<[u8], _>((Bound::Unbounded, upto)).next_back()
        {
            let shared = name.iter().zip(key).take_while(|(one, other)| one == other).count();
            if shared == name.len() {
                see(newest);
                upto = Bound::Excluded(&key[..shared]);
            } else {
                upto = Bound::Included(&key[..shared]);
            }
        }
    }

    fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::with_capacity(self.len());
        let mut add = |scope: Scope, newest: &Newest| {
            let rule = |sequence, stale_since| Rule { scope: scope.clone(), sequence, stale_since };
            rules.extend((newest.gone > 0).then(|| rule(newest.gone, None)));
            rules.extend((newest.stale > 0).then(|| rule(newest.stale, Some(newest.since))));
        };
        self.keys.iter().for_each(|(key, newest)| add(Scope::Key(key.clone()), newest));
        self.prefixes.iter().for_each(|(name, newest)| add(Scope::Prefix(name.clone()), newest));
        self.tags.iter().for_each(|(tag, newest)| add(Scope::Tag(tag.clone()), newest));
        rules
    }

    fn retire(&mut self, oldest: u64) {
        let bytes = &mut self.bytes;
        let mut stays = |name: &[u8], newest: &Newest| {
            let stays = newest.last() > oldest;
            if !stays {
                *bytes -= RULE_BYTES + name.len();
            }
            stays
        };
        self.keys.retain(|name, newest| stays(name, newest));
        self.prefixes.retain(|name, newest| stays(name, newest));
        self.tags.retain(|name, newest| stays(name, newest));
    }

    /// What was compared with the rules before they became one is not concerned.
    fn shrink(&mut self, bytes_max: usize) {
        if self.len() <= RULES_MAX && self.bytes <= bytes_max {
            return;
        }
        tracing::warn!("too much was purged by rule: what is older than half of the rules goes");
        let names = self.keys.values().chain(self.prefixes.values()).chain(self.tags.values());
        let mut all: Vec<Newest> = names.copied().collect();
        let half = all.len() / 2;
        let upto = all.select_nth_unstable_by_key(half, Newest::last).1.last();
        let mut one = Newest::default();
        // Of one purge all go, or none: several can be as old as the one in the middle.
        all.iter().filter(|newest| newest.last() <= upto).for_each(|newest| one.merge(newest));
        self.retire(upto);
        let everything = Scope::Prefix(Box::default());
        self.note(&everything, one.gone, None);
        self.note(&everything, one.stale, Some(one.since));
    }
}

impl Default for Newest {
    fn default() -> Self {
        Self { gone: 0, stale: 0, since: SystemTime::UNIX_EPOCH }
    }
}

impl Newest {
    fn note(&mut self, sequence: u64, stale_since: Option<SystemTime>) {
        match stale_since {
            None => self.gone = self.gone.max(sequence),
            Some(since) if sequence > self.stale => (self.stale, self.since) = (sequence, since),
            Some(_) => {}
        }
    }

    fn merge(&mut self, other: &Self) {
        self.note(other.gone, None);
        self.note(other.stale, Some(other.since));
    }

    fn last(&self) -> u64 {
        self.gone.max(self.stale)
    }

    fn fate(&self, asked: u64) -> Fate {
        if self.gone > asked {
            Fate::Gone(self.gone)
        } else if self.stale > asked {
            Fate::Stale(self.since, self.stale)
        } else {
            Fate::Stays
        }
    }
}

#[cfg(test)]
mod tests;
