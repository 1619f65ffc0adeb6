//! What it costs to find what is stored.

use crate::kit::{StoredObject, request, target};
use brim::store::memory::{Memory, Weighed};
use std::sync::Arc;

/// With so many purges by rule that the object is not old enough for, of other prefixes and tags.
#[divan::bench(args = [0, 1, 10_000])]
fn stored(bencher: divan::Bencher, newer_purges: usize) {
    let stored = StoredObject::of(&request("GET", &target(1024, 0), ""));
    stored.purge_others(newer_purges);
    stored.with_look_up(|look_up| bencher.bench_local(look_up));
}

/// What the memory tier keeps here.
struct Value;

impl Weighed for Value {
    fn weight(&self) -> usize {
        1024
    }
}

/// The memory tier alone, with so many values, each of which is asked for in its turn: most are in
/// no cache of the processor.
#[divan::bench(args = [1, 1000, 1_000_000])]
fn one_of_many(bencher: divan::Bencher, values: usize) {
    let memory = Memory::new(u64::MAX, |_: &Value, _| {});
    let key = |number: usize| format!("o\nwww.example.com\n/assets/{number}.js").into_bytes();
    let keys: Vec<Vec<u8>> = (0..values).map(key).collect();
    keys.iter().for_each(|key| memory.insert(key, Arc::new(Value)));
    let mut number = 0;
    bencher.bench_local(|| {
        // A step that has no divisor in common with the number of values comes to all of them.
        number = (number + 7919) % values;
        memory.get(&keys[number])
    });
}
