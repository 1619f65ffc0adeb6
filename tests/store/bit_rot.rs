//! Bytes that are not what was written.

use crate::faulty_folder::FaultyFolder;
use crate::kit::{
    LARGE, Version, get, key, open, open_good, put, put_chunk, read_chunk, wait_until_degraded,
    wait_until_good,
};
use brim::store::disk::{Disk, Health};
use std::sync::Arc;

const HEAD_BYTES: u64 = 64;

fn version(key: usize) -> Version {
    Version { key, number: 9, body_bytes: 150_000 }
}

/// A tier with some values that are written, the third of which is of interest.
async fn filled() -> (FaultyFolder, Arc<Disk>) {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    for key in 0..6 {
        assert!(put(&disk, version(key)));
    }
    disk.settled().await;
    (folder, disk)
}

/// The file and the offset of the record of a key: its key comes right after its first 64 bytes.
fn record_of(folder: &FaultyFolder, number: usize) -> (String, u64) {
    let mut found = folder.find(&key(number));
    assert_eq!(found.len(), 1, "{found:?}");
    let (name, at) = found.remove(0);
    (name, at - HEAD_BYTES)
}

/// A bit at this offset of the record flips, while the tier runs.
async fn flipped_is_a_miss_counted_once(at: u64) {
    let (folder, disk) = filled().await;
    let (name, record) = record_of(&folder, 2);
    folder.flip(&name, record + at);
    assert!(disk.has(&key(2)));
    assert_eq!(get(&disk, 2).await, None, "offset {at}");
    assert!(!disk.has(&key(2)), "it is known by now");
    assert_eq!(get(&disk, 2).await, None);
    assert_eq!(disk.stats().corrupt, 1);
    for other in [0, 1, 3, 4, 5] {
        assert_eq!(get(&disk, other).await, Some(version(other)));
    }
    // Nor does it come back when the bit flips back.
    folder.flip(&name, record + at);
    assert_eq!(get(&disk, 2).await, None);
    assert!(put(&disk, version(2)));
    disk.settled().await;
    assert_eq!(get(&disk, 2).await, Some(version(2)));
    assert_eq!(disk.health(), Health::Good);
    disk.close();
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_first_64_bytes_of_a_record_is_a_miss() {
    for at in 0..HEAD_BYTES {
        flipped_is_a_miss_counted_once(at).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_in_key_tags_or_head_is_a_miss() {
    let content = version(2).content();
    let key_bytes = key(2).len() as u64;
    let tags_at = HEAD_BYTES + key_bytes;
    let head_at = tags_at + content.tags.len() as u64;
    let checksums_at = head_at + content.head.len() as u64;
    for at in [HEAD_BYTES, tags_at - 1, tags_at, head_at, checksums_at, checksums_at + 5] {
        flipped_is_a_miss_counted_once(at).await;
    }
}

#[tokio::test]
async fn a_flipped_bit_in_any_block_of_a_body_is_a_miss() {
    let content = version(2).content();
    let names = key(2).len() + content.tags.len() + content.head.len();
    let body_at = HEAD_BYTES + names as u64 + 3 * 4;
    for at in [0, 65_535, 65_536, 131_071, 131_072, 149_999] {
        flipped_is_a_miss_counted_once(body_at + at).await;
    }
}

#[tokio::test]
async fn a_record_in_the_place_of_another_is_a_miss() {
    let (folder, disk) = filled().await;
    let (name, from) = record_of(&folder, 1);
    let (other, to) = record_of(&folder, 2);
    let bytes = folder.content(&name)[from as usize..from as usize + 150_000].to_vec();
    folder.overwrite(&other, to, &bytes);
    assert_eq!(get(&disk, 2).await, None);
    assert_eq!(disk.stats().corrupt, 1);
    assert_eq!(get(&disk, 1).await, Some(version(1)));
    disk.close();
}

#[tokio::test]
async fn only_the_blocks_that_are_read_have_to_be_good() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    let generation = disk.new_generation();
    assert!(put_chunk(&disk, generation, 3, 400_000));
    disk.settled().await;
    let wanted = crate::kit::pattern(generation, 3, 200_000..200_016);
    let (name, at) = folder.find(&wanted).remove(0);
    folder.flip(&name, at);
    assert_eq!(read_chunk(&disk, generation, 3, 0..196_608).await, Some(()));
    assert_eq!(read_chunk(&disk, generation, 3, 262_144..400_000).await, Some(()));
    assert_eq!(disk.stats().corrupt, 0);
    assert_eq!(read_chunk(&disk, generation, 3, 196_608..262_144).await, None);
    assert_eq!(disk.stats().corrupt, 1);
    assert!(!disk.has_chunk(generation, 3), "to be fetched again");
    assert!(put_chunk(&disk, generation, 3, 400_000));
    disk.settled().await;
    assert_eq!(read_chunk(&disk, generation, 3, 0..400_000).await, Some(()));
    disk.close();
}

#[tokio::test]
async fn reads_that_end_too_early_are_misses_and_never_wrong() {
    let (folder, disk) = filled().await;
    folder.cut_reads_short(77);
    for round in 0..20 {
        for key in 0..6 {
            if let Some(got) = get(&disk, key).await {
                assert_eq!(got, version(key), "round {round}");
            }
        }
    }
    disk.close();
}

/// Closes, changes something, opens, and gives what is there.
async fn after(change: impl Fn(&FaultyFolder)) -> (FaultyFolder, Arc<Disk>, Vec<usize>) {
    let (folder, disk) = filled().await;
    disk.close();
    let folder = folder.copy();
    change(&folder);
    let disk = open_good(&folder, LARGE);
    let mut there = Vec::new();
    for key in 0..6 {
        if let Some(got) = get(&disk, key).await {
            assert_eq!(got, version(key));
            there.push(key);
        }
    }
    (folder, disk, there)
}

fn segment_names(folder: &FaultyFolder) -> Vec<String> {
    folder.file_names().into_iter().filter(|name| name.starts_with("seg-")).collect()
}

#[tokio::test]
async fn a_damaged_footer_is_made_up_for_by_reading_the_segment() {
    for back in [1, 8, 60, 64, 70, 64 + 24 * 6] {
        let (_, disk, there) = after(|folder| {
            let name = &segment_names(folder)[0];
            folder.flip(name, folder.content(name).len() as u64 - back);
        })
        .await;
        assert_eq!(there, [0, 1, 2, 3, 4, 5], "{back} from the end");
        disk.close();
    }
}

#[tokio::test]
async fn a_segment_cut_short_anywhere_gives_what_is_whole() {
    let (folder, disk) = filled().await;
    disk.close();
    let name = segment_names(&folder).remove(0);
    let records: Vec<u64> = (0..6).map(|key| record_of(&folder, key).1).collect();
    let all = folder.content(&name).len() as u64;
    for cut in [0, 1, 63, 64, 100, records[2], records[2] + 70, records[5] + 1000, all - 1] {
        let folder = folder.copy();
        folder.cut(&name, cut);
        let disk = open_good(&folder, LARGE);
        for (number, record) in records.iter().enumerate() {
            let has_end = cut >= record + 150_400;
            let got = get(&disk, number).await;
            assert!(got.is_none() || got == Some(version(number)));
            assert!(got.is_some() || !has_end, "{number} of a segment cut at {cut}");
        }
        assert!(put(&disk, version(7)));
        disk.settled().await;
        assert_eq!(get(&disk, 7).await, Some(version(7)));
        disk.close();
    }
}

#[tokio::test]
async fn rot_while_nobody_looks_is_found_by_the_first_read_after_the_start() {
    let (folder, disk) = filled().await;
    let (name, record) = record_of(&folder, 4);
    disk.close();
    let folder = folder.copy();
    folder.flip(&name, record + 100_000);
    let disk = open_good(&folder, LARGE);
    assert_eq!(get(&disk, 4).await, None);
    assert_eq!(disk.stats().corrupt, 1);
    assert_eq!(get(&disk, 3).await, Some(version(3)));
    disk.close();
}

/// Everything in the folder, to see that it was not touched.
fn all(folder: &FaultyFolder) -> Vec<(String, Vec<u8>)> {
    let names = folder.file_names();
    names.into_iter().map(|name| (name.clone(), folder.content(&name))).collect()
}

#[tokio::test]
async fn a_superblock_of_an_unknown_version_is_left_alone_with_all_the_rest() {
    let (folder, disk) = filled().await;
    disk.close();
    let folder = folder.copy();
    folder.overwrite("brim.store", 8, &7_u32.to_le_bytes());
    let before = all(&folder);
    let disk = open(&folder, LARGE);
    wait_until_degraded(&disk);
    let Health::Degraded(reason) = disk.health() else { panic!("degraded") };
    assert!(reason.contains('7'), "which version: {reason}");
    assert_eq!(get(&disk, 2).await, None);
    assert!(!put(&disk, version(1)), "there is nowhere to put it");
    disk.remove(&key(2));
    disk.settled().await;
    disk.close();
    assert!(all(&folder) == before, "something was changed");
}

#[tokio::test]
async fn a_damaged_superblock_loses_nothing_that_could_be_repaired_by_hand() {
    for at in [0, 10, 13, 20, 40] {
        let (folder, disk) = filled().await;
        disk.close();
        let folder = folder.copy();
        folder.flip("brim.store", at);
        let before = all(&folder);
        let disk = open(&folder, LARGE);
        wait_until_degraded(&disk);
        assert!(!put(&disk, version(1)));
        disk.close();
        assert!(all(&folder) == before, "offset {at}: something was changed");
    }
}

#[tokio::test]
async fn a_folder_that_was_emptied_by_hand_is_used_again() {
    let folder = FaultyFolder::default();
    folder
        .put_file("brim.store", b"BrimStor\x07\0\0\0 and something that nobody knows yet........");
    let disk = open(&folder, LARGE);
    wait_until_degraded(&disk);
    folder.lose("brim.store");
    wait_until_good(&disk);
    assert!(put(&disk, version(1)));
    disk.settled().await;
    assert_eq!(get(&disk, 1).await, Some(version(1)));
    disk.close();
}

#[tokio::test]
async fn a_segment_of_an_unknown_version_is_left_alone() {
    let (folder, disk) = filled().await;
    disk.close();
    let folder = folder.copy();
    let name = segment_names(&folder).remove(0);
    folder.overwrite(&name, 8, &2_u32.to_le_bytes());
    let before = folder.content(&name);
    let disk = open(&folder, LARGE);
    let mut there = 0;
    for key in 0..6 {
        there += usize::from(get(&disk, key).await.is_some());
    }
    assert_eq!(there, 0, "nobody knows what they mean");
    for number in 10..40 {
        put(&disk, version(number));
    }
    disk.settled().await;
    disk.close();
    assert!(folder.content(&name) == before, "it was changed");
}

#[tokio::test]
async fn a_purge_log_of_an_unknown_version_is_left_alone_and_brings_nothing_back() {
    let (folder, disk) = filled().await;
    assert!(disk.remove(&key(2)));
    assert!(disk.removals_durable().await);
    disk.close();
    let folder = folder.copy();
    folder.overwrite("purge.log", 8, &2_u32.to_le_bytes());
    let before = folder.content("purge.log");
    let disk = open(&folder, LARGE);
    wait_until_degraded(&disk);
    assert_eq!(get(&disk, 2).await, None);
    disk.close();
    assert!(folder.content("purge.log") == before, "it was changed");
}

#[tokio::test]
async fn a_damaged_purge_log_brings_nothing_back() {
    let (folder, disk) = filled().await;
    for number in [1, 2, 4] {
        assert!(disk.remove(&key(number)));
        assert!(disk.removals_durable().await);
    }
    disk.close();
    let bytes = folder.content("purge.log").len() as u64;
    for at in 0..bytes {
        // The version is another test's: then nobody knows what it means.
        if (8..12).contains(&at) {
            continue;
        }
        let folder = folder.copy();
        folder.flip("purge.log", at);
        let disk = open(&folder, LARGE);
        for number in [1, 2, 4] {
            assert_eq!(get(&disk, number).await, None, "{number} is back: offset {at}");
        }
        disk.close();
        // Nor later, when the log was repaired.
        let disk = open(&folder.copy(), LARGE);
        for number in [1, 2, 4] {
            assert_eq!(get(&disk, number).await, None, "{number} is back: offset {at}");
        }
        disk.close();
    }
}

#[tokio::test]
async fn a_lost_purge_log_brings_nothing_back() {
    let (folder, disk) = filled().await;
    assert!(disk.remove(&key(2)));
    assert!(disk.removals_durable().await);
    disk.close();
    let folder = folder.copy();
    folder.lose("purge.log");
    let disk = open(&folder, LARGE);
    assert_eq!(get(&disk, 2).await, None);
    wait_until_good(&disk);
    assert_eq!(get(&disk, 2).await, None);
    disk.close();
}

#[tokio::test]
async fn files_of_others_in_the_folder_stay() {
    let folder = FaultyFolder::default();
    folder.put_file("notes.txt", b"mine");
    folder.put_file("seg-7", b"not a name of ours");
    let disk = open_good(&folder, LARGE);
    assert!(put(&disk, version(1)));
    disk.settled().await;
    disk.close();
    assert_eq!(folder.content("notes.txt"), b"mine");
    assert_eq!(folder.content("seg-7"), b"not a name of ours");
}
