//! Devices and folders that fail, and come back.

use crate::crash::{Kind, Replay};
use crate::faulty_folder::{EACCES, EAGAIN, EIO, ENOSPC, EROFS, Event, FaultyFolder, Op};
use crate::kit::{
    LARGE, MIB, Version, get, key, open, open_good, put, read_chunk, wait_until,
    wait_until_degraded, wait_until_good,
};
use brim::store::disk::{Disk, Health, NOT_WRITTEN, OpenError, Options, Receipt, UNDER_WAY};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

fn version(key: usize, number: u32) -> Version {
    Version { key, number, body_bytes: 20_000 }
}

async fn filled() -> (FaultyFolder, Arc<Disk>) {
    let folder = FaultyFolder::default();
    folder.record();
    let disk = open_good(&folder, LARGE);
    for key in 0..6 {
        assert!(put(&disk, version(key, 1)));
    }
    disk.settled().await;
    (folder, disk)
}

/// It stores, reads, removes and acknowledges.
async fn works(disk: &Disk) {
    wait_until_good(disk);
    for number in 100..103 {
        assert!(put(disk, version(number, 5)));
    }
    disk.settled().await;
    for number in 100..103 {
        assert_eq!(get(disk, number).await, Some(version(number, 5)));
        assert!(disk.remove(&key(number)));
        assert_eq!(get(disk, number).await, None);
    }
    assert!(disk.removals_written().await);
    assert!(disk.removals_durable().await);
    assert_eq!(disk.health(), Health::Good);
}

#[tokio::test]
async fn a_folder_that_another_process_has_is_refused() {
    let (folder, disk) = filled().await;
    let second = Disk::open(Arc::new(folder.clone()), &Options { bytes: LARGE });
    assert!(matches!(second.map(drop), Err(OpenError::InUse)));
    works(&disk).await;
    disk.close();
    let again = open_good(&folder, LARGE);
    assert_eq!(get(&again, 3).await, Some(version(3, 1)));
    again.close();
}

/// Breaks the folder while the tier runs, and mends it.
async fn writes_fail_for_a_while(errno: i32, ops: &'static [Op], prefix: &str) {
    let (folder, disk) = filled().await;
    folder.fail(ops, prefix, errno);
    // More than a segment, so that it needs a new one, too.
    let receipt = Receipt::default();
    for number in 0..3 {
        disk.put(&key(number), version(number, 2).content(), &receipt);
    }
    for number in 50..120 {
        put(&disk, Version { key: number, number: 2, body_bytes: 100_000 });
    }
    disk.settled().await;
    wait_until_degraded(&disk);
    let Health::Degraded(reason) = disk.health() else { panic!("degraded") };
    assert!(!reason.is_empty() && !reason.contains('\n'), "{reason}");
    assert!(disk.stats().dropped > 0);
    assert!(!put(&disk, version(7, 2)), "at once, and without a queue that fills up");
    assert!(!disk.has_room().await);
    for number in 3..6 {
        assert_eq!(get(&disk, number).await, Some(version(number, 1)), "what is there is read");
    }
    for number in 0..3 {
        let got = get(&disk, number).await;
        assert!(got.is_none() || got == Some(version(number, 2)), "an old value: {got:?}");
    }
    folder.heal();
    works(&disk).await;
    let there = [get(&disk, 0).await, get(&disk, 1).await, get(&disk, 2).await];
    disk.close();
    let folder = folder.copy();
    let disk = open_good(&folder, LARGE);
    for (number, there) in there.into_iter().enumerate() {
        assert_eq!(get(&disk, number).await, there, "what was dropped stays gone");
        assert_ne!(there, Some(version(number, 1)));
    }
    for number in 3..6 {
        assert_eq!(get(&disk, number).await, Some(version(number, 1)));
    }
    disk.close();
}

#[tokio::test]
async fn a_device_that_cannot_write_degrades_the_tier_until_it_can() {
    writes_fail_for_a_while(EIO, &[Op::Write], "seg-").await;
}

#[tokio::test]
async fn a_device_without_room_degrades_the_tier_until_there_is_some() {
    writes_fail_for_a_while(ENOSPC, &[Op::Write, Op::Create, Op::SetBytes], "seg-").await;
}

#[tokio::test]
async fn a_folder_that_becomes_read_only_degrades_the_tier_until_it_can_be_written() {
    const CHANGING: &[Op] = &[
        Op::Create,
        Op::Write,
        Op::SetBytes,
        Op::Rename,
        Op::Remove,
        Op::SyncFile,
        Op::SyncFolder,
    ];
    writes_fail_for_a_while(EROFS, CHANGING, "").await;
}

#[tokio::test]
async fn a_full_device_leaves_the_tier_with_less() {
    let folder = FaultyFolder::default();
    folder.set_device_bytes(24 * MIB);
    let disk = open_good(&folder, LARGE);
    let (mut number, mut written) = (0, 0);
    // Twice what the device has, dropped ones not counted.
    let deadline = Instant::now() + crate::kit::PATIENCE;
    while written < 48 * MIB / 100_000 {
        assert!(Instant::now() < deadline, "{written}: {:?}", disk.health());
        let receipt = Receipt::default();
        let version = Version { key: number, number: 1, body_bytes: 100_000 };
        disk.put(&key(number), version.content(), &receipt);
        disk.settled().await;
        if receipt.load(Ordering::Acquire) == NOT_WRITTEN {
            wait_until(|| disk.is_storing(), || format!("{:?}", disk.health()));
        } else {
            assert_eq!(get(&disk, number).await, Some(version));
            written += 1;
        }
        number += 1;
    }
    wait_until_good(&disk);
    assert!(folder.file_bytes() <= 24 * MIB);
    folder.heal();
    works(&disk).await;
    disk.close();
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_at_the_start_is_used_when_it_can() {
    const CLAIM: &[Op] = &[Op::Claim];
    const NAMES: &[Op] = &[Op::Names];
    const CREATE: &[Op] = &[Op::Create];
    const WRITE: &[Op] = &[Op::Write];
    const RENAME: &[Op] = &[Op::Rename];
    const SYNC_FILE: &[Op] = &[Op::SyncFile];
    const SYNC_FOLDER: &[Op] = &[Op::SyncFolder];
    let all = [CLAIM, NAMES, CREATE, WRITE, RENAME, SYNC_FILE, SYNC_FOLDER];
    let tiers: Vec<_> = all
        .iter()
        .zip([EACCES, EIO, ENOSPC, ENOSPC, EIO, EIO, EIO])
        .map(|(ops, errno)| {
            let folder = FaultyFolder::default();
            folder.fail(ops, "", errno);
            let disk = open(&folder, LARGE);
            wait_until(|| folder.failed() > 0, || format!("{ops:?} was not tried"));
            assert!(matches!(disk.health(), Health::Degraded(_) | Health::Recovering), "{ops:?}");
            (folder, disk)
        })
        .collect();
    for (folder, disk) in &tiers {
        assert!(get(disk, 1).await.is_none());
        disk.remove(&key(1));
        folder.heal();
    }
    for (_, disk) in &tiers {
        works(disk).await;
        disk.close();
    }
}

#[tokio::test]
async fn a_read_only_folder_at_the_start_is_used_when_it_can_be_written() {
    let (folder, disk) = filled().await;
    disk.close();
    let folder = folder.copy();
    folder.make_read_only();
    let disk = open(&folder, LARGE);
    wait_until_degraded(&disk);
    assert!(!put(&disk, version(1, 2)));
    folder.heal();
    works(&disk).await;
    assert_eq!(get(&disk, 2).await, Some(version(2, 1)));
    let first = get(&disk, 1).await;
    assert!(first.is_none() || first == Some(version(1, 1)));
    disk.close();
}

#[tokio::test]
async fn what_was_removed_while_the_folder_could_not_be_used_stays_gone() {
    let (folder, disk) = filled().await;
    disk.close();
    let folder = folder.copy();
    folder.fail(&[Op::Claim], "", EACCES);
    let disk = open(&folder, LARGE);
    wait_until_degraded(&disk);
    disk.remove(&key(2));
    assert!(!disk.removals_written().await, "there is nothing to write it to");
    assert!(!disk.removals_durable().await);
    folder.heal();
    wait_until_good(&disk);
    assert_eq!(get(&disk, 2).await, None);
    assert!(disk.removals_durable().await);
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    assert_eq!(get(&disk, 2).await, None);
    disk.close();
}

#[tokio::test]
async fn a_folder_that_vanishes_is_made_anew() {
    let (folder, disk) = filled().await;
    folder.fail(&[Op::Claim], "", EACCES);
    folder.vanish();
    wait_until_degraded(&disk);
    disk.remove(&key(2));
    assert_eq!(get(&disk, 2).await, None);
    assert!(!disk.removals_durable().await, "nobody would find it again");
    folder.heal();
    works(&disk).await;
    for number in 0..6 {
        assert_eq!(get(&disk, number).await, None, "of the folder before");
        assert!(!disk.has(&key(number)));
    }
    assert!(folder.file_names().contains(&"brim.store".to_owned()));
    disk.close();
}

#[tokio::test]
async fn what_is_written_to_a_folder_that_was_moved_away_is_not_acknowledged() {
    let (folder, disk) = filled().await;
    folder.fail(&[Op::Claim], "", EACCES);
    folder.move_away();
    disk.remove(&key(2));
    assert!(!disk.removals_durable().await, "nobody would find it again");
    wait_until_degraded(&disk);
    folder.heal();
    works(&disk).await;
    assert_eq!(get(&disk, 2).await, None);
    disk.close();
}

/// What the log could not take is acknowledged only when it has it.
async fn removals_fail_for_a_while(ops: &'static [Op], errno: i32) {
    let (folder, disk) = filled().await;
    folder.fail(ops, "purge.log", errno);
    assert!(disk.remove(&key(2)));
    assert_eq!(get(&disk, 2).await, None, "in memory, at once");
    assert!(!disk.removals_durable().await);
    wait_until_degraded(&disk);
    folder.heal();
    wait_until_good(&disk);
    assert!(disk.removals_durable().await);
    let acknowledged = folder.position();
    assert!(put(&disk, version(3, 2)));
    disk.close();
    let events: Arc<[Event]> = folder.events().into();
    for kind in [Kind::ProcessDeath, Kind::PowerLoss] {
        for seed in 0..10 {
            let mut replay = Replay::new(&events, &[], seed);
            replay.advance_to(acknowledged);
            let disk = open_good(&replay.image(kind, true), LARGE);
            assert_eq!(get(&disk, 2).await, None, "{kind:?} {seed}");
            disk.close();
        }
    }
}

#[tokio::test]
async fn a_removal_that_cannot_be_written_is_not_acknowledged_until_it_is() {
    removals_fail_for_a_while(&[Op::Write], EIO).await;
}

#[tokio::test]
async fn a_removal_that_a_failed_sync_lost_is_written_again_before_it_is_acknowledged() {
    removals_fail_for_a_while(&[Op::SyncFile], EIO).await;
}

/// The new log has its name, but the folder's sync fails. Whatever is acknowledged from then on has
/// to be in the file that is found.
#[tokio::test]
async fn a_purge_log_that_was_replaced_but_not_durably_still_counts() {
    let (folder, disk) = filled().await;
    folder.fail(&[Op::SyncFolder], "", EIO);
    let mut number = 1000;
    let replaced = || folder.events().iter().filter(|event| is_new_log(event)).count();
    let at_start = replaced();
    while replaced() == at_start {
        for _ in 0..4000 {
            put(&disk, Version { key: number, number: 1, body_bytes: 0 });
            disk.remove(&key(number));
            number += 1;
        }
        disk.settled().await;
        let _ = disk.removals_written().await;
        assert!(number < 200_000, "the log grows for ever");
    }
    for number in 0..6 {
        assert!(disk.remove(&key(number)));
    }
    if disk.removals_written().await {
        let disk = open_good(&folder.copy(), LARGE);
        for number in 0..6 {
            assert_eq!(get(&disk, number).await, None, "{number} is back");
        }
        disk.close();
    }
    let durable = disk.removals_durable().await;
    if durable {
        let events: Arc<[Event]> = folder.events().into();
        for seed in 0..10 {
            let mut replay = Replay::new(&events, &[], seed);
            replay.advance_to(events.len());
            let disk = open_good(&replay.image(Kind::PowerLoss, false), LARGE);
            for number in 0..6 {
                assert_eq!(get(&disk, number).await, None, "{number} is back: {seed}");
            }
            disk.close();
        }
    }
    folder.heal();
    works(&disk).await;
    disk.close();
}

fn is_new_log(event: &Event) -> bool {
    matches!(event, Event::Rename { to, .. } if to == "purge.log")
}

#[tokio::test]
async fn a_device_that_cannot_read_makes_misses() {
    let (folder, disk) = filled().await;
    let generation = disk.new_generation();
    assert!(crate::kit::put_chunk(&disk, generation, 0, 300_000));
    disk.settled().await;
    folder.fail(&[Op::Read, Op::ReadNow], "seg-", EIO);
    for number in 0..3 {
        assert_eq!(get(&disk, number).await, None);
    }
    assert_eq!(read_chunk(&disk, generation, 0, 0..10).await, None);
    assert_eq!(disk.stats().corrupt, 0, "nobody knows what is there");
    folder.heal();
    assert_eq!(get(&disk, 5).await, Some(version(5, 1)));
    works(&disk).await;
    disk.close();
}

#[tokio::test]
async fn a_device_that_does_not_answer_makes_a_miss_after_two_seconds() {
    let (folder, disk) = filled().await;
    folder.make_reads_wait(5);
    let held = folder.hold(&[Op::Read], "seg-");
    let started = Instant::now();
    // A read that did not have to wait may still be answered.
    for _ in 0..20 {
        if get(&disk, 1).await.is_none() {
            break;
        }
    }
    let took = started.elapsed();
    assert!(took > Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    held.let_go();
    folder.heal();
    assert_eq!(get(&disk, 2).await, Some(version(2, 1)));
    disk.close();
}

#[tokio::test]
async fn a_writer_that_hangs_takes_a_bounded_amount_and_makes_nobody_wait() {
    let (folder, disk) = filled().await;
    let held = folder.hold(&[Op::Write, Op::Create], "seg-");
    assert!(put(&disk, version(40, 1)));
    held.wait_for(1);
    let started = Instant::now();
    let mut taken = 0;
    for number in 200..800 {
        let version = Version { key: number, number: 1, body_bytes: 50_000 };
        if put(&disk, version) {
            taken += 50_000;
        }
    }
    assert!(taken > 4 * MIB && taken <= 18 * MIB, "{taken}");
    assert!(!put(&disk, version(3, 2)), "full");
    assert_eq!(get(&disk, 3).await, None, "what was to be replaced is gone all the same");
    assert!(!disk.has_room().await);
    assert_eq!(get(&disk, 4).await, Some(version(4, 1)));
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(disk.stats().dropped > 0);
    held.let_go();
    folder.heal();
    disk.settled().await;
    assert_eq!(get(&disk, 3).await, None);
    assert_eq!(get(&disk, 200).await.map(|version| version.number), Some(1));
    works(&disk).await;
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    assert_eq!(get(&disk, 3).await, None, "an old value came back");
    disk.close();
}

#[tokio::test]
async fn while_recovery_runs_lookups_wait_for_a_moment_only_and_changes_count() {
    let (folder, disk) = filled().await;
    // Killed: the segment has to be read.
    let folder = {
        let copy = folder.copy();
        disk.close();
        copy
    };
    let held = folder.hold(&[Op::Read], "seg-");
    let disk = open(&folder, LARGE);
    held.wait_for(1);
    assert_eq!(disk.health(), Health::Recovering);
    let started = Instant::now();
    assert_eq!(get(&disk, 0).await, None);
    assert!(started.elapsed() < Duration::from_secs(3));
    assert!(!disk.has(&key(0)) && disk.place(&key(0)).is_none());
    disk.remove(&key(1));
    assert!(disk.removals_durable().await, "the log does not wait");
    assert!(put(&disk, version(2, 2)));
    assert!(put(&disk, version(3, 2)));
    disk.remove(&key(3));
    assert!(disk.has(&key(2)) && !disk.has(&key(3)));
    held.let_go();
    wait_until_good(&disk);
    disk.settled().await;
    let wanted = [Some(1), None, Some(2), None, Some(1), Some(1)];
    for (number, wanted) in wanted.into_iter().enumerate() {
        assert_eq!(get(&disk, number).await.map(|v| v.number), wanted, "key {number}");
    }
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    for (number, wanted) in wanted.into_iter().enumerate() {
        assert_eq!(get(&disk, number).await.map(|v| v.number), wanted, "key {number} after that");
    }
    disk.close();
}

#[tokio::test]
async fn a_closed_tier_answers_and_does_nothing() {
    let (folder, disk) = filled().await;
    disk.close();
    disk.close();
    let before = folder.position();
    assert!(!put(&disk, version(1, 2)));
    disk.remove(&key(1));
    assert_eq!(get(&disk, 1).await, None);
    disk.settled().await;
    assert!(!disk.has_room().await);
    let _ = disk.removals_written().await;
    assert_eq!(folder.position(), before, "nothing was written");
    assert!(matches!(disk.health(), Health::Degraded(_)));
}

#[tokio::test]
async fn a_writer_that_panics_finds_out_anew_what_there_is_and_goes_on() {
    for (ops, prefix) in [(&[Op::Write][..], "seg"), (&[Op::Create][..], "seg")] {
        let (folder, disk) = filled().await;
        folder.panic_at(ops, prefix);
        let receipt = Receipt::default();
        assert!(disk.put(&key(0), version(0, 2).content(), &receipt));
        for number in 50..120 {
            put(&disk, Version { key: number, number: 2, body_bytes: 100_000 });
        }
        wait_until_degraded(&disk);
        // Nobody waits for what is not going to be written.
        disk.settled().await;
        assert_ne!(receipt.load(Ordering::SeqCst), UNDER_WAY);
        assert!(!disk.has_room().await);
        folder.heal();
        works(&disk).await;
        for number in 1..6 {
            assert_eq!(get(&disk, number).await, Some(version(number, 1)), "what was written");
        }
        disk.close();
        let folder = folder.copy();
        let disk = open_good(&folder, LARGE);
        for number in 1..6 {
            assert_eq!(get(&disk, number).await, Some(version(number, 1)));
        }
        disk.close();
    }
}

#[tokio::test]
async fn a_read_that_panics_makes_a_miss() {
    let (folder, disk) = filled().await;
    folder.fail(&[Op::ReadNow], "seg", EAGAIN);
    folder.panic_at(&[Op::Read], "seg");
    for number in 0..6 {
        assert_eq!(get(&disk, number).await, None);
    }
    folder.heal();
    works(&disk).await;
    disk.close();
}
