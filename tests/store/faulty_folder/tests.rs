//! The judge is judged: what the folder in memory keeps and loses.

use crate::crash::{Kind, Replay};
use crate::faulty_folder::{EIO, ENOSPC, Event, FaultyFolder, Op};
use brim::store::disk::files::{File, Folder};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

/// What is in file `a` after a crash at the end, for many seeds: every outcome.
fn outcomes(folder: &FaultyFolder, kind: Kind) -> BTreeSet<Option<Vec<u8>>> {
    let events: Arc<[Event]> = folder.events().into();
    let outcome = |seed| {
        let mut replay = Replay::new(&events, &[], seed);
        replay.advance_to(events.len());
        let image = replay.image(kind, false);
        image.file_names().contains(&"a".to_owned()).then(|| image.content("a"))
    };
    (0..200).map(outcome).collect()
}

fn recording() -> FaultyFolder {
    let folder = FaultyFolder::default();
    folder.claim().expect("free");
    folder.record();
    folder
}

fn file(folder: &FaultyFolder, content: &[u8]) -> Arc<dyn File> {
    let file = folder.create("a", 0).expect("new");
    file.write(content, 0).expect("room");
    file
}

fn some(text: &[u8]) -> Option<Vec<u8>> {
    Some(text.to_vec())
}

#[test]
fn what_was_made_durable_survives_and_nothing_else_has_to() {
    let folder = recording();
    let file = file(&folder, b"one");
    let all = [None, some(b""), some(b"\0\0\0"), some(b"one")];
    assert_eq!(outcomes(&folder, Kind::PowerLoss), all.clone().into());
    assert_eq!(outcomes(&folder, Kind::ProcessDeath), [some(b"one")].into());
    file.sync().expect("good");
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [None, some(b"one")].into());
    folder.sync().expect("good");
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [some(b"one")].into());
    file.write(b"two", 0).expect("room");
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [some(b"one"), some(b"two")].into());
    folder.remove("a").expect("there");
    let all = [None, some(b"one"), some(b"two")];
    assert_eq!(outcomes(&folder, Kind::PowerLoss), all.into());
    folder.sync().expect("good");
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [None].into());
}

#[test]
fn a_failed_sync_loses_what_later_ones_do_not_bring_back() {
    let folder = recording();
    let file = file(&folder, b"one");
    file.sync().expect("good");
    folder.sync().expect("good");
    file.write(b"two", 0).expect("room");
    folder.fail(&[Op::SyncFile], "a", EIO);
    file.sync().expect_err("told to");
    folder.heal();
    file.sync().expect("good");
    assert!(outcomes(&folder, Kind::PowerLoss).contains(&some(b"one")));
    file.write(b"two", 0).expect("room");
    file.sync().expect("good");
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [some(b"two")].into());
}

#[test]
fn a_sync_covers_what_was_written_before_it_began() {
    let folder = recording();
    let file = file(&folder, b"one");
    folder.sync().expect("good");
    let held = folder.hold(&[Op::SyncFile], "a");
    std::thread::scope(|scope| {
        scope.spawn(|| file.sync().expect("good"));
        held.wait_for(1);
        file.write(b"two", 0).expect("room");
        held.let_go();
    });
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [some(b"one"), some(b"two")].into());
}

#[test]
fn a_rename_is_there_as_a_whole_or_not_at_all() {
    let folder = recording();
    let a = file(&folder, b"one");
    a.sync().expect("good");
    folder.sync().expect("good");
    let new = folder.create("b", 0).expect("new");
    new.write(b"two", 0).expect("room");
    new.sync().expect("good");
    folder.rename("b", "a").expect("there");
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [some(b"one"), some(b"two")].into());
    assert_eq!(outcomes(&folder, Kind::ProcessDeath), [some(b"two")].into());
}

#[test]
fn a_process_dies_in_the_middle_of_a_write() {
    let folder = recording();
    drop(file(&folder, b"one"));
    let events: Arc<[Event]> = folder.events().into();
    let torn = |seed| {
        let mut replay = Replay::new(&events, &[], seed);
        replay.advance_to(events.len() - 1);
        replay.image(Kind::ProcessDeath, true).content("a")
    };
    let seen: BTreeSet<_> = (0..100).map(torn).collect();
    assert_eq!(seen, [&b""[..], b"o", b"on", b"one"].map(<[u8]>::to_vec).into());
}

#[test]
fn what_was_cut_off_is_not_seen_again() {
    let folder = recording();
    let file = file(&folder, &[7; 3000]);
    file.set_bytes(100).expect("room");
    file.set_bytes(2000).expect("room");
    file.sync().expect("good");
    folder.sync().expect("good");
    let wanted = [vec![7; 100], vec![0; 1900]].concat();
    assert_eq!(outcomes(&folder, Kind::PowerLoss), [Some(wanted)].into());
}

#[test]
fn a_full_device_and_a_claimed_folder_say_so() {
    let folder = FaultyFolder::default();
    folder.claim().expect("free");
    let second = folder.claim().map_err(|error| error.kind());
    assert_eq!(second, Err(ErrorKind::ResourceBusy));
    folder.release();
    folder.claim().expect("free again");
    folder.set_device_bytes(1000);
    let full = folder.create("large", 1001).map(drop).map_err(|error| error.raw_os_error());
    assert_eq!(full, Err(Some(ENOSPC)));
    let file = folder.create("small", 900).expect("room");
    file.write(&[1; 100], 800).expect("set aside");
    assert_eq!(file.write(&[1; 200], 900).map_err(|e| e.kind()), Err(ErrorKind::StorageFull));
    folder.vanish();
    assert!(!folder.is_in_place() && folder.names().is_err());
    assert_eq!(file.read(&mut [0; 10], 0).expect("open"), 10);
    folder.claim().expect("made anew");
    assert!(folder.is_in_place() && folder.names().expect("there").is_empty());
}
