//! Crashes at every change of the folder, and in the middle of one.

use crate::crash::{Kind, Replay};
use crate::faulty_folder::{Event, FaultyFolder};
use crate::history::History;
use crate::kit::{LARGE, MIB, SMALL, open_good, rounds, seed};
use brim::store::disk::Disk;
use std::sync::Arc;

/// What a workload does, in shares.
struct Workload {
    keys: usize,
    steps: usize,
    body_bytes: std::ops::Range<usize>,
    chunk_bytes: std::ops::Range<u64>,
}

const MANY_SMALL: Workload =
    Workload { keys: 24, steps: 160, body_bytes: 0..3000, chunk_bytes: 1..70_000 };
/// Several times what fits into the smallest tier.
const MANY_LARGE: Workload =
    Workload { keys: 120, steps: 420, body_bytes: 0..300_000, chunk_bytes: 1..MIB + 1 };

async fn run(disk: &Disk, history: &mut History, workload: &Workload, random: &mut fastrand::Rng) {
    let mut generation = disk.new_generation();
    for _ in 0..workload.steps {
        // The low numbers more often.
        let key = random.usize(..workload.keys).min(random.usize(..workload.keys));
        match random.u8(..100) {
            0..55 => history.put(disk, key, random.usize(workload.body_bytes.clone())),
            55..67 => history.remove(disk, key),
            67..72 => {
                let bytes = random.u64(workload.chunk_bytes.clone());
                history.put_chunk(disk, generation, random.u32(..), bytes);
            }
            72..74 => generation = disk.new_generation(),
            74..82 => history.acknowledge(disk, Kind::ProcessDeath).await,
            82..86 => history.acknowledge(disk, Kind::PowerLoss).await,
            86..96 => history.settle(disk).await,
            // Wanted, so that it is written again when its segment goes.
            _ => drop(crate::kit::get(disk, key).await),
        }
        // The writer is not outrun: what it drops says nothing about crashes.
        while !disk.has_room().await {}
    }
    history.settle(disk).await;
    history.acknowledge(disk, Kind::PowerLoss).await;
}

/// Runs a workload from an empty folder to a clean end. The changes, and what was promised.
async fn recorded(
    workload: &Workload,
    bytes: u64,
    random: &mut fastrand::Rng,
) -> (Arc<[Event]>, History) {
    let folder = FaultyFolder::default();
    folder.record();
    let disk = open_good(&folder, bytes);
    let mut history = History::new(&folder, workload.keys);
    run(&disk, &mut history, workload, random).await;
    disk.close();
    assert!(folder.file_bytes_max() <= bytes, "more than it may have");
    (folder.events().into(), history)
}

/// Compares what is left after cuts with the promises. `at_most` cuts are chosen if there are more.
async fn cut(
    events: &Arc<[Event]>,
    history: &History,
    bytes: u64,
    kind: Kind,
    at_most: usize,
    random: &mut fastrand::Rng,
) {
    let mut cuts: Vec<usize> = (0..=events.len()).collect();
    random.shuffle(&mut cuts);
    cuts.truncate(at_most);
    cuts.sort_unstable();
    let mut replay = Replay::new(events, &[], random.u64(..));
    for cut in cuts {
        replay.advance_to(cut);
        for is_torn in [false, true] {
            println!("{kind:?} before {cut} {} {is_torn}", shown(events.get(cut)));
            let image = replay.image(kind, is_torn);
            // The crash may come while the one before is being repaired.
            let again = image.copy();
            image.record();
            let disk = open_good(&image, bytes);
            history.compare(&disk, cut, kind).await;
            disk.close();
            assert!(image.file_bytes() <= bytes, "more than it may have");
            if random.u8(..4) == 0 {
                cut_again(&again, &image, history, bytes, (cut, kind), random).await;
            }
        }
    }
}

/// A second crash, while or after the first one was repaired, keeps the same promises.
async fn cut_again(
    before: &FaultyFolder,
    repaired: &FaultyFolder,
    history: &History,
    bytes: u64,
    (cut, kind): (usize, Kind),
    random: &mut fastrand::Rng,
) {
    let events: Arc<[Event]> = repaired.events().into();
    let mut replay = Replay::new(&events, &before.files(), random.u64(..));
    let second = random.usize(..=events.len());
    println!("  then before {second} {}", shown(events.get(second)));
    replay.advance_to(second);
    let disk = open_good(&replay.image(kind, random.bool()), bytes);
    history.compare(&disk, cut, kind).await;
    disk.close();
}

fn shown(event: Option<&Event>) -> String {
    match event {
        Some(Event::Write { inode, at, bytes }) => format!("write {inode} {at}+{}", bytes.len()),
        Some(event) => format!("{event:?}"),
        None => "the end".into(),
    }
}

async fn small(kind: Kind, usual: u64) {
    let seed = seed(usual);
    for round in 0..rounds(1) as u64 {
        let mut random = fastrand::Rng::with_seed(seed + round);
        let (events, history) = recorded(&MANY_SMALL, LARGE, &mut random).await;
        cut(&events, &history, LARGE, kind, usize::MAX, &mut random).await;
    }
}

async fn large(kind: Kind, usual: u64) {
    let seed = seed(usual);
    for round in 0..rounds(1) as u64 {
        let mut random = fastrand::Rng::with_seed(seed + round);
        let (events, history) = recorded(&MANY_LARGE, SMALL, &mut random).await;
        let has_evicted = events.iter().any(|event| matches!(event, Event::Remove { .. }));
        assert!(has_evicted, "too little to do");
        cut(&events, &history, SMALL, kind, 40, &mut random).await;
    }
}

#[tokio::test]
async fn process_death_at_any_byte_loses_only_what_was_under_way() {
    small(Kind::ProcessDeath, 1).await;
}

#[tokio::test]
async fn power_loss_at_any_write_brings_nothing_back_that_was_durably_removed() {
    small(Kind::PowerLoss, 2).await;
}

#[tokio::test]
async fn process_death_while_segments_make_room_keeps_every_promise() {
    large(Kind::ProcessDeath, 3).await;
}

#[tokio::test]
async fn power_loss_while_segments_make_room_keeps_every_promise() {
    large(Kind::PowerLoss, 4).await;
}
