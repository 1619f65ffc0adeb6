//! The memory tier: what a hit costs, on one thread and on two, and a value that comes while it is full.
//!
//! `cargo bench` prints the times; compare medians of one run, not across machines.

use brim::store::memory::{Memory, Weighed};
use divan::Bencher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const VALUE_BYTES: usize = 4096;

struct Value;

impl Weighed for Value {
    fn weight(&self) -> usize {
        VALUE_BYTES
    }
}

fn main() {
    divan::main();
}

fn key(number: u64) -> Vec<u8> {
    format!("h\nwww.example.com\n/assets/object-{number}.css").into_bytes()
}

fn filled(entries: u64) -> Memory<Value> {
    let memory = Memory::new(entries * 8192, |_, _| {});
    (0..entries).for_each(|number| memory.insert(&key(number), Arc::new(Value)));
    memory
}

/// One value that everybody asks for.
#[divan::bench(threads = [1, 2])]
fn get_the_same(bencher: Bencher) {
    let (memory, key) = (filled(1000), key(7));
    bencher.bench(|| memory.get(&key).is_some());
}

/// One of so many after the other.
#[divan::bench(args = [1_000, 100_000], threads = [1, 2])]
fn get_any(bencher: Bencher, entries: u64) {
    let memory = filled(entries);
    let keys: Vec<Vec<u8>> = (0..entries).map(key).collect();
    let next = AtomicU64::new(0);
    bencher
        .with_inputs(|| &keys[next.fetch_add(7919, Ordering::Relaxed) as usize % keys.len()])
        .bench_refs(|key| memory.get(key).is_some());
}

/// Each for the first time, another one has to go.
#[divan::bench(threads = [1, 2])]
fn insert_while_full(bencher: Bencher) {
    let memory = Memory::new(20_000 * VALUE_BYTES as u64, |_, _| {});
    (0..30_000).for_each(|number| memory.insert(&key(number), Arc::new(Value)));
    let next = AtomicU64::new(1 << 32);
    bencher
        .with_inputs(|| key(next.fetch_add(1, Ordering::Relaxed)))
        .bench_refs(|key| memory.insert(key, Arc::new(Value)));
}
