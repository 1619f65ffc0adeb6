use super::*;
use std::sync::Mutex;
use std::thread;

struct Bytes(usize);

/// A value of this size counts as being read.
const BEING_READ: usize = 100_001;

impl Weighed for Bytes {
    fn weight(&self) -> usize {
        self.0
    }

    fn is_being_read(&self) -> bool {
        self.0 == BEING_READ
    }
}

/// What `gone` was told: the size, and why.
type Told = Arc<Mutex<Vec<(usize, Gone)>>>;

fn tier(bytes: u64) -> (Memory<Bytes>, Told) {
    let told = Told::default();
    let tell = told.clone();
    let memory = Memory::new(bytes, move |value: &Bytes, why| {
        tell.lock().expect("told").push((value.0, why));
    });
    (memory, told)
}

fn key(number: u64) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

fn insert(memory: &Memory<Bytes>, number: u64, bytes: usize) {
    memory.insert(&key(number), Arc::new(Bytes(bytes)));
}

#[test]
fn there_is_never_more_than_there_is_room_for_whoever_comes_at_the_same_time() {
    let (memory, told) = tier(1 << 20);
    let inserted = 4 * 4_000;
    thread::scope(|scope| {
        for thread in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for number in 0..4_000 {
                    insert(
                        memory,
                        (thread << 32) | (number % 3_000),
                        100 + (number as usize * 37) % 9_000,
                    );
                    assert!(memory.bytes() <= 1 << 20);
                    memory.get(&key((thread << 32) | (number / 2)));
                    if number % 16 == 0 {
                        memory.remove(&key(thread << 32 | (number / 3)));
                    }
                }
            });
        }
    });
    let (mut entries, mut bytes) = (0, 0);
    memory.each(|key, value| {
        entries += 1;
        bytes += (ENTRY_BYTES + key.len() + value.0).next_multiple_of(WEIGHT_UNIT as usize);
        true
    });
    assert_eq!((memory.entries(), memory.bytes()), (entries, bytes as u64));
    // Of what was replaced nothing is told.
    let told = told.lock().expect("told").len() as u64;
    assert!(told + entries <= inserted && told > 0, "{told} and {entries}");
}

#[test]
fn what_is_asked_for_again_and_again_stays_when_much_else_comes() {
    let (memory, _) = tier(1 << 20);
    (0..10).for_each(|number| insert(&memory, number, 4_000));
    for other in 0..10_000 {
        memory.get(&key(other % 10));
        insert(&memory, 1_000 + other, 4_000);
    }
    assert!((0..10).all(|number| memory.has(&key(number))));
}

#[test]
fn what_was_wanted_makes_room_in_time_when_nobody_wants_it_any_more() {
    let (memory, _) = tier(1 << 20);
    (0..200).for_each(|number| insert(&memory, number, 4_000));
    (0..200 * 50).for_each(|number| drop(memory.get(&key(number % 200))));
    for other in 0..200_000 {
        insert(&memory, 1_000 + other, 4_000);
        memory.get(&key(1_000 + other));
    }
    let left = (0..200).filter(|number| memory.has(&key(*number))).count();
    assert!(left < 20, "{left} of 200");
}

#[test]
fn of_values_that_come_once_and_are_equally_large_the_latest_are_there() {
    let (memory, _) = tier(16 << 20);
    (0..2_000).for_each(|number| insert(&memory, number, 64 * 1024));
    let latest = (1_900..2_000).filter(|number| memory.has(&key(*number))).count();
    assert!(latest >= 97, "{latest} of the latest 100");
}

#[test]
fn small_values_that_are_asked_for_do_not_go_for_one_large_value() {
    let (memory, told) = tier(1 << 20);
    (0..200).for_each(|number| insert(&memory, number, 4_000));
    (0..1_000).for_each(|number| drop(memory.get(&key(number % 200))));
    let before = memory.entries();
    insert(&memory, 1_000, 300_000);
    assert!(!memory.has(&key(1_000)));
    assert!(memory.entries() + 5 > before);
    assert_eq!(told.lock().expect("told").last(), Some(&(300_000, Gone::Refused)));
    // But it is remembered: if it is asked for again and again, it comes in.
    (0..200).for_each(|_| insert(&memory, 1_000, 300_000));
    assert!(memory.has(&key(1_000)));
}

#[test]
fn a_value_that_takes_the_place_of_another_comes_in_and_nothing_is_told_of_the_other() {
    let (memory, told) = tier(1 << 20);
    insert(&memory, 1, 1_000);
    insert(&memory, 1, 900_000);
    assert_eq!(memory.get(&key(1)).map(|value| value.0), Some(900_000));
    insert(&memory, 1, 800_000);
    assert_eq!(memory.get(&key(1)).map(|value| value.0), Some(800_000));
    assert!(told.lock().expect("told").is_empty());
    assert_eq!(memory.entries(), 1);
}

#[test]
fn what_no_room_can_be_made_for_is_not_there_and_neither_is_what_it_replaces() {
    let (memory, told) = tier(1 << 20);
    insert(&memory, 1, 1_000);
    insert(&memory, 1, 2 << 20);
    assert!(!memory.has(&key(1)));
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
    let told = told.lock().expect("told");
    assert_eq!(*told, [(1_000, Gone::Evicted), (2 << 20, Gone::Refused)]);
}

#[test]
fn what_is_removed_is_told_once_and_not_as_gone_for_others() {
    let (memory, told) = tier(1 << 20);
    insert(&memory, 1, 1_000);
    assert!(memory.remove(&key(1)));
    assert!(!memory.remove(&key(1)));
    assert_eq!(*told.lock().expect("told"), [(1_000, Gone::Removed)]);
    assert_eq!((memory.entries(), memory.bytes()), (0, 0));
}

#[test]
fn what_is_being_read_stays_and_what_comes_has_to_do_with_the_rest() {
    let (memory, told) = tier(1 << 20);
    (0..9).for_each(|number| insert(&memory, number, BEING_READ));
    let read: Vec<u64> = (0..9).filter(|number| memory.has(&key(*number))).collect();
    assert!(!read.is_empty());
    (10..1_000).for_each(|number| insert(&memory, number, 4_000));
    assert!(read.iter().all(|number| memory.has(&key(*number))));
    assert!(told.lock().expect("told").iter().all(|(bytes, _)| *bytes == 4_000));
    // Where nothing else is left to go, nothing comes in, for a time.
    let (mut full, told) = tier(1 << 20);
    let fitting = (0..20).take_while(|number| {
        insert(&full, *number, BEING_READ);
        full.has(&key(*number))
    });
    let fitting = fitting.count() as u64;
    insert(&full, 100, 200_000);
    assert_eq!((full.entries(), full.has(&key(100))), (fitting, false));
    full.begun -= SPARED_FOR;
    (0..200).for_each(|_| insert(&full, 100, 200_000));
    assert!(full.has(&key(100)));
    let told = told.lock().expect("told");
    let evicted = told.iter().filter(|told| **told == (BEING_READ, Gone::Evicted)).count() as u64;
    assert_eq!(full.entries(), fitting - evicted + 1);
}

#[test]
fn what_could_not_be_replaced_is_told_of_as_gone_like_what_was_to_replace_it() {
    let (memory, told) = tier(1 << 20);
    (0..9).for_each(|number| insert(&memory, number, BEING_READ));
    insert(&memory, 20, 1_000);
    insert(&memory, 20, 900_000);
    let told = told.lock().expect("told");
    assert_eq!(*told, [(1_000, Gone::Evicted), (900_000, Gone::Refused)]);
}

#[test]
fn whoever_is_shown_the_entries_may_change_them() {
    let (memory, _) = tier(1 << 20);
    (0..50).for_each(|number| insert(&memory, number, 1_000));
    let mut seen = 0;
    memory.each(|key, _| {
        seen += 1;
        assert!(memory.remove(key));
        seen < 40
    });
    assert_eq!((seen, memory.entries()), (40, 10));
}

#[test]
fn a_table_that_most_have_left_becomes_small_again() {
    let (memory, _) = tier(64 << 20);
    (0..20_000).for_each(|number| insert(&memory, number, 100));
    (100..20_000).for_each(|number| assert!(memory.remove(&key(number))));
    for shard in &memory.shards {
        let table = shard.read();
        assert!(table.num_buckets() <= SPARSE * table.len().max(4), "{}", table.num_buckets());
    }
    assert!((0..100).all(|number| memory.has(&key(number))));
}
