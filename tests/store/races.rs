//! Changes at the same time. What happens first is decided by gates, or does not matter: what is
//! promised has to hold either way.

use crate::faulty_folder::{FaultyFolder, Op};
use crate::kit::{LARGE, PATIENCE, SMALL, Version, get, key, open_good, put, rounds, seed};
use brim::store::disk::Disk;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn version(key: usize, number: u32) -> Version {
    Version { key, number, body_bytes: 3000 }
}

async fn none_is_there(disk: &Disk, keys: usize) {
    for number in 0..keys {
        assert!(!disk.has(&key(number)), "{number} is there");
        assert_eq!(get(disk, number).await, None, "{number} is there");
    }
}

#[tokio::test]
async fn what_is_removed_while_it_waits_to_be_written_is_gone_at_once_and_for_good() {
    const KEYS: usize = 2000;
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    let held = folder.hold(&[Op::Write], "seg-");
    for number in 0..KEYS {
        assert!(put(&disk, version(number, 1)));
    }
    held.wait_for(1);
    for number in 0..KEYS {
        assert!(disk.remove(&key(number)), "it was on its way");
        assert_eq!(get(&disk, number).await, None);
        assert!(!disk.remove(&key(number)), "it is gone already");
    }
    held.let_go();
    disk.settled().await;
    none_is_there(&disk, KEYS).await;
    assert!(disk.removals_written().await);
    let killed = folder.copy();
    disk.close();
    for folder in [killed, folder.copy()] {
        let disk = open_good(&folder, LARGE);
        none_is_there(&disk, KEYS).await;
        disk.close();
    }
}

#[tokio::test]
async fn remove_then_get_is_a_miss_however_busy_the_writer_is() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    for round in 0..3 {
        for number in 0..1000 {
            put(&disk, version(number, round));
            if number % 3 == 0 {
                tokio::task::yield_now().await;
            }
            disk.remove(&key(number));
            assert_eq!(get(&disk, number).await, None);
        }
    }
    disk.settled().await;
    none_is_there(&disk, 1000).await;
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    none_is_there(&disk, 1000).await;
    disk.close();
}

#[tokio::test]
async fn the_last_of_many_puts_that_wait_together_is_the_one_that_stays() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    let held = folder.hold(&[Op::Write], "seg-");
    for number in 1..=40 {
        for key in 0..20 {
            assert!(put(&disk, version(key, number)));
            assert!(disk.has(&super::kit::key(key)), "it is going to be one");
        }
        if number == 20 {
            held.wait_for(1);
        }
    }
    held.let_go();
    disk.settled().await;
    for key in 0..20 {
        assert_eq!(get(&disk, key).await, Some(version(key, 40)));
    }
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    for key in 0..20 {
        assert_eq!(get(&disk, key).await, Some(version(key, 40)));
    }
    disk.close();
}

#[tokio::test]
async fn a_value_put_after_a_removal_stays_although_both_wait() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    for key in 0..50 {
        assert!(put(&disk, version(key, 1)));
    }
    disk.settled().await;
    let held = folder.hold(&[Op::Write], "");
    for key in 0..50 {
        assert!(disk.remove(&super::kit::key(key)));
        assert!(put(&disk, version(key, 2)));
    }
    held.let_go();
    disk.settled().await;
    assert!(disk.removals_durable().await);
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    for key in 0..50 {
        assert_eq!(get(&disk, key).await, Some(version(key, 2)));
    }
    disk.close();
}

/// Threads put and remove the same keys; what there is when all are done is what is found after a
/// clean end and after a kill, too.
#[test]
fn memory_and_disk_agree_on_who_was_last() {
    const KEYS: usize = 8;
    let seed = seed(21);
    for round in 0..rounds(15) as u64 {
        let folder = FaultyFolder::default();
        let disk = open_good(&folder, LARGE);
        let start = Barrier::new(3);
        thread::scope(|scope| {
            for thread in 0..3_u32 {
                let (disk, start) = (&disk, &start);
                let mut random = fastrand::Rng::with_seed(seed + round * 3 + u64::from(thread));
                scope.spawn(move || {
                    start.wait();
                    for number in 0..150 {
                        let at = random.usize(..KEYS);
                        if random.u8(..3) == 0 {
                            disk.remove(&key(at));
                        } else {
                            put(disk, version(at, thread * 1000 + number));
                        }
                    }
                });
            }
        });
        block_on(async {
            disk.settled().await;
            assert!(disk.removals_written().await);
            let mut there = Vec::new();
            for number in 0..KEYS {
                there.push(get(&disk, number).await);
            }
            let killed = folder.copy();
            disk.close();
            for folder in [killed, folder.copy()] {
                let disk = open_good(&folder, LARGE);
                for (number, there) in there.iter().enumerate() {
                    assert_eq!(get(&disk, number).await, *there, "key {number}, round {round}");
                }
                disk.close();
            }
        });
    }
}

/// Puts things that nobody asks for until so many segments are gone.
async fn churn(disk: &Disk, first: usize, segments: u32) {
    let floor = disk.floor();
    let mut number = first;
    let deadline = Instant::now() + PATIENCE;
    while disk.floor() < floor + segments {
        assert!(Instant::now() < deadline, "nothing makes room");
        while !disk.has_room().await {}
        put(disk, Version { key: number, number: 1, body_bytes: 60_000 });
        number += 1;
        tokio::task::yield_now().await;
    }
}

/// Wanted values are written again when their segment goes, while others remove them.
#[test]
fn what_is_removed_while_it_is_being_written_again_stays_gone() {
    const KEYS: usize = 300;
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, SMALL);
    let is_over = AtomicBool::new(false);
    let seed = seed(22);
    thread::scope(|scope| {
        scope.spawn(|| {
            block_on(churn(&disk, 10_000, 2 * rounds(4) as u32));
            is_over.store(true, Ordering::SeqCst);
        });
        for thread in 0..2 {
            let (disk, is_over) = (&disk, &is_over);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + thread as u64);
                let own = |random: &mut fastrand::Rng| random.usize(..KEYS / 2) * 2 + thread;
                let mut number = 0;
                block_on(async {
                    let mut latest = vec![None; KEYS];
                    while !is_over.load(Ordering::SeqCst) {
                        let at = own(&mut random);
                        number += 1;
                        if random.u8(..4) == 0 {
                            put(disk, version(at, number));
                            latest[at] = Some(number);
                        } else if random.u8(..2) == 0 {
                            disk.remove(&key(at));
                            latest[at] = None;
                        }
                        for at in [at, own(&mut random)] {
                            let got = get(disk, at).await.map(|version| version.number);
                            assert!(got.is_none() || got == latest[at], "{got:?} {:?}", latest[at]);
                        }
                    }
                    for at in (0..KEYS).filter(|at| at % 2 == thread) {
                        disk.remove(&key(at));
                    }
                    assert!(disk.removals_written().await);
                });
            });
        }
    });
    block_on(async {
        none_is_there(&disk, KEYS).await;
        let killed = folder.copy();
        disk.settled().await;
        none_is_there(&disk, KEYS).await;
        disk.close();
        for folder in [killed, folder.copy()] {
            let disk = open_good(&folder, SMALL);
            none_is_there(&disk, KEYS).await;
            disk.close();
        }
    });
    assert!(folder.file_bytes_max() <= SMALL);
}

/// The rewriting is stopped right before it reaches the disk.
#[tokio::test]
async fn a_removal_beats_the_rewriting_that_is_about_to_be_written() {
    const KEYS: usize = 20;
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, SMALL);
    for number in 0..KEYS {
        put(&disk, version(number, 1));
    }
    disk.settled().await;
    let mut gone = 0;
    let mut filler = 1000;
    while gone < KEYS {
        for number in gone..KEYS {
            let got = get(&disk, number).await;
            assert_eq!(got, Some(version(number, 1)), "wanted, but not kept");
        }
        let held = folder.hold(&[Op::Write], "seg-");
        for _ in 0..10 {
            put(&disk, Version { key: filler, number: 1, body_bytes: 90_000 });
            filler += 1;
        }
        held.wait_for(1);
        if filler > 1300 {
            disk.remove(&key(gone));
            assert_eq!(get(&disk, gone).await, None);
            gone += 1;
        }
        folder.heal();
        held.let_go();
        disk.settled().await;
        for number in 0..gone {
            assert_eq!(get(&disk, number).await, None, "{number} is back");
        }
    }
    disk.close();
    let disk = open_good(&folder.copy(), SMALL);
    none_is_there(&disk, KEYS).await;
    disk.close();
}

#[test]
fn readers_beside_eviction_get_the_right_thing_or_nothing() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, SMALL);
    let (is_over, newest, read) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            block_on(async {
                let floor = disk.floor();
                let deadline = Instant::now() + PATIENCE;
                while disk.floor() < floor + 8 {
                    assert!(Instant::now() < deadline, "nothing makes room");
                    while !disk.has_room().await {}
                    let number = newest.load(Ordering::SeqCst) + 1;
                    put(&disk, Version { key: number as usize, number: 1, body_bytes: 50_000 });
                    newest.store(number, Ordering::SeqCst);
                }
                is_over.store(true, Ordering::SeqCst);
            });
        });
        for thread in 0..2 {
            let (disk, is_over, newest, read) = (&disk, &is_over, &newest, &read);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                block_on(async {
                    while !is_over.load(Ordering::SeqCst) {
                        let newest = newest.load(Ordering::SeqCst);
                        // The oldest that there may be more often than others.
                        let number = newest.saturating_sub(random.u32(..400));
                        if get(disk, number as usize).await.is_some() {
                            read.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            });
        }
    });
    assert!(read.load(Ordering::SeqCst) > 0);
    assert_eq!(disk.stats().corrupt, 0, "what went away is not what was damaged");
    disk.close();
}

/// A reader is stopped in the middle, and its segment goes.
#[test]
fn a_reader_whose_segment_goes_meanwhile_gets_the_right_thing_or_nothing() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, SMALL);
    let wanted = Version { key: 1, number: 1, body_bytes: 200_000 };
    assert!(put(&disk, wanted));
    block_on(disk.settled());
    let segment = folder.find(&key(1)).remove(0).0;
    let held = folder.hold_one(&[Op::Read], &segment);
    folder.make_reads_wait(3);
    thread::scope(|scope| {
        let reader = scope.spawn(|| block_on(get(&disk, 1)));
        held.wait_for(1);
        // Eviction reads the same file, and goes on.
        block_on(async {
            for number in 100..500 {
                while !disk.has_room().await {}
                put(&disk, Version { key: number, number: 1, body_bytes: 60_000 });
            }
        });
        held.let_go();
        let got = reader.join().expect("a reader");
        assert!(got.is_none() || got == Some(wanted), "{got:?}");
    });
    assert_eq!(disk.stats().corrupt, 0);
    disk.close();
}

#[test]
fn sequences_are_unique_and_grow_for_all_threads() {
    let folder = FaultyFolder::default();
    let mut largest = 0;
    for _ in 0..3 {
        let disk = open_good(&folder, LARGE);
        let mut all: Vec<u64> = thread::scope(|scope| {
            let draw = || (0..1000).map(|_| disk.next_sequence()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("numbers")).collect()
        });
        assert!(all.iter().all(|number| *number > largest));
        largest = all.iter().copied().max().unwrap_or(0);
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 3000);
        disk.close();
    }
}
