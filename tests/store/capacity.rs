//! How much there is room for, what makes room, and the limits of what is put.

use crate::crash::{Kind, Replay};
use crate::faulty_folder::{Event, FaultyFolder};
use crate::kit::{LARGE, MIB, SMALL, Version, get, key, open_good, put, put_chunk, read_chunk};
use brim::store::disk::{CHUNK_BYTES, Content, Disk, NOT_WRITTEN, Receipt, UNDER_WAY};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn version(key: usize) -> Version {
    Version { key, number: 3, body_bytes: 100_000 }
}

async fn put_many(disk: &Disk, keys: std::ops::Range<usize>) {
    for key in keys {
        while !disk.has_room().await {}
        assert!(put(disk, version(key)));
    }
    disk.settled().await;
}

async fn there(disk: &Disk, keys: std::ops::Range<usize>) -> Vec<usize> {
    let mut there = Vec::new();
    for key in keys {
        if let Some(got) = get(disk, key).await {
            assert_eq!(got, version(key));
            there.push(key);
        }
    }
    there
}

#[tokio::test]
async fn the_files_are_never_larger_than_the_capacity_and_hold_most_of_it() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, 40 * MIB);
    put_many(&disk, 0..1000).await;
    let stats = disk.stats();
    assert!(folder.file_bytes_max() <= 40 * MIB);
    assert!(stats.file_bytes >= folder.file_bytes() && stats.file_bytes <= 40 * MIB, "{stats:?}");
    assert_eq!(stats.entries + stats.evicted, 1000, "{stats:?}");
    assert_eq!(stats.written, 1000, "nothing was wanted: {stats:?}");
    assert!(stats.live_bytes > 24 * MIB, "{stats:?}");
    let there = there(&disk, 0..1000).await;
    let newest: Vec<usize> = (1000 - there.len()..1000).collect();
    assert_eq!(there, newest, "the oldest make room");
    assert_eq!(there.len() as u64, stats.entries);
    disk.close();
}

#[tokio::test]
async fn what_is_wanted_stays_and_what_is_not_goes() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, SMALL);
    put_many(&disk, 0..10).await;
    for round in 0..40 {
        assert_eq!(there(&disk, 0..5).await, [0, 1, 2, 3, 4], "round {round}");
        put_many(&disk, 100 + round * 10..110 + round * 10).await;
    }
    assert!(there(&disk, 5..10).await.is_empty());
    assert!(disk.stats().written > 410, "written again");
    assert!(folder.file_bytes_max() <= SMALL);
    disk.close();
}

#[tokio::test]
async fn a_larger_capacity_keeps_all_and_takes_more() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, SMALL);
    put_many(&disk, 0..90).await;
    let before = there(&disk, 0..90).await;
    disk.close();
    let disk = open_good(&folder, LARGE);
    assert_eq!(there(&disk, 0..90).await, before);
    put_many(&disk, 1000..1200).await;
    assert_eq!(there(&disk, 1000..1200).await.len(), 200);
    assert_eq!(there(&disk, 0..90).await, before);
    disk.close();
}

#[tokio::test]
async fn a_smaller_capacity_keeps_the_newest_that_fit() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    put_many(&disk, 0..400).await;
    disk.close();
    let disk = open_good(&folder, SMALL);
    assert!(put(&disk, version(400)));
    disk.settled().await;
    assert!(folder.file_bytes() <= SMALL, "{}", folder.file_bytes());
    let there = there(&disk, 0..401).await;
    assert!(there.len() > 40, "{there:?}");
    assert_eq!(there, (401 - there.len()..401).collect::<Vec<_>>());
    disk.close();
}

#[tokio::test]
async fn every_size_up_to_the_limits_is_kept_whole() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    let sizes = [0, 1, 63, 64, 65, 65_535, 65_536, 65_537, 131_072, 1_048_575, 1_048_576];
    for (key, body_bytes) in sizes.into_iter().enumerate() {
        assert!(put(&disk, Version { key, number: 1, body_bytes }));
    }
    let generation = disk.new_generation();
    for (number, bytes) in (0_u32..).zip([1, 65_536, 65_537, CHUNK_BYTES - 1, CHUNK_BYTES]) {
        while !disk.has_room().await {}
        assert!(put_chunk(&disk, generation, number, bytes));
    }
    disk.settled().await;
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    for (key, body_bytes) in sizes.into_iter().enumerate() {
        let got = get(&disk, key).await;
        assert_eq!(got, Some(Version { key, number: 1, body_bytes }));
    }
    for (number, bytes) in (0_u32..).zip([1, 65_536, 65_537, CHUNK_BYTES - 1, CHUNK_BYTES]) {
        assert!(disk.has_chunk(generation, number));
        assert_eq!(read_chunk(&disk, generation, number, 0..bytes).await, Some(()));
        assert_eq!(read_chunk(&disk, generation, number, bytes - 1..bytes).await, Some(()));
        let beyond = disk.read_chunk(generation, number, bytes..bytes + 10).await;
        assert!(beyond.is_none(), "there is nothing");
        assert!(!disk.has_chunk(generation + 1, number));
    }
    disk.close();
}

#[tokio::test]
async fn what_is_larger_than_the_limits_is_dropped_with_what_it_was_to_replace() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    let zeros = |bytes: usize| Bytes::from(vec![0; bytes]);
    let too_large = [
        Content { tags: zeros(65_537), ..Content::default() },
        Content { head: zeros(1_048_577), ..Content::default() },
        Content { body: zeros(1_048_577), ..Content::default() },
    ];
    for content in too_large {
        let receipt = Receipt::default();
        assert!(put(&disk, version(1)));
        disk.settled().await;
        assert!(!disk.put(&key(1), content, &receipt));
        assert_eq!(receipt.load(Ordering::Acquire), NOT_WRITTEN);
        assert_eq!(get(&disk, 1).await, None);
    }
    assert!(!disk.put(&[7; 65_537], Content::default(), &Receipt::default()));
    assert!(!disk.put_chunk(1, 1, vec![zeros(600_000), zeros(600_000)]));
    assert!(!disk.has_chunk(1, 1));
    assert_eq!(disk.stats().dropped, 5);
    assert!(disk.put(&[7; 65_536], Content::default(), &Receipt::default()));
    assert!(disk.put(&[], Content::default(), &Receipt::default()));
    disk.settled().await;
    assert_eq!(disk.get(&[7; 65_536]).await.map(|got| got.content), Some(Content::default()));
    assert_eq!(disk.get(&[]).await.map(|got| got.content), Some(Content::default()));
    disk.close();
}

#[tokio::test]
async fn places_and_receipts_tell_where_a_value_is_and_change_with_it() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    let receipt = Receipt::default();
    assert_eq!(receipt.load(Ordering::Acquire), NOT_WRITTEN);
    assert_eq!(disk.place(&key(1)), None);
    assert!(disk.put(&key(1), version(1).content(), &receipt));
    disk.settled().await;
    let segment = receipt.load(Ordering::Acquire);
    assert!(segment != UNDER_WAY && segment != NOT_WRITTEN && segment >= disk.floor());
    let first = disk.get(&key(1)).await.expect("written");
    assert!(!first.is_wanted);
    let second = disk.get(&key(1)).await.expect("written");
    assert!(second.is_wanted);
    assert_eq!(Some(first.place), disk.place(&key(1)));
    assert_eq!(second.place, first.place);
    assert!(put(&disk, version(1)));
    disk.settled().await;
    let third = disk.get(&key(1)).await.expect("written");
    assert_ne!(third.place, first.place, "another one after each change");
    assert!(!third.is_wanted);
    assert!(disk.remove(&key(1)));
    assert_eq!(disk.place(&key(1)), None);
    disk.close();
}

#[tokio::test]
async fn the_second_request_is_admitted() {
    let disk = open_good(&FaultyFolder::default(), LARGE);
    let refused = (0..1000).filter(|number| !disk.admits(&key(*number))).count();
    assert!(refused > 980, "{refused} of 1000 were new");
    let admitted = (0..1000).filter(|number| disk.admits(&key(*number))).count();
    assert_eq!(admitted, 1000);
    disk.close();
}

/// So many removals that the log is written anew, several times.
#[tokio::test]
async fn a_purge_log_written_anew_forgets_no_removal_that_still_counts() {
    const KEYS: usize = 45_000;
    let folder = FaultyFolder::default();
    folder.record();
    let disk = open_good(&folder, LARGE);
    let small = |key: usize| Version { key, number: 1, body_bytes: 10 };
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        for number in 0..KEYS {
            if number % 1000 == 0 {
                while !disk.has_room().await {}
                disk.settled().await;
            }
            assert!(put(&disk, small(number)));
            assert!(disk.remove(&key(number)), "round {round}");
            if number % 15_000 == 0 {
                assert!(disk.removals_durable().await);
            }
        }
        disk.settled().await;
        assert!(disk.removals_durable().await);
        acknowledged.push(folder.position());
    }
    assert!(folder.content("purge.log").len() < 3 * 1024 * 1024, "it does not grow for ever");
    put(&disk, small(KEYS));
    disk.settled().await;
    disk.close();
    let events: Arc<[Event]> = folder.events().into();
    let is_new_log =
        |event: &&Event| matches!(event, Event::Rename { to, .. } if to == "purge.log");
    assert!(events.iter().filter(is_new_log).count() > 1, "too little to do");
    for kind in [Kind::ProcessDeath, Kind::PowerLoss] {
        let mut replay = Replay::new(&events, &[], 6);
        for cut in [acknowledged[0], acknowledged[1], events.len()] {
            replay.advance_to(cut);
            let disk = open_good(&replay.image(kind, false), LARGE);
            for number in 0..KEYS {
                assert!(!disk.has(&key(number)), "{number} is back: {kind:?} {cut}");
            }
            disk.close();
        }
    }
}
