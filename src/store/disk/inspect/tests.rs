use super::*;
use crate::store::disk::format::{SEGMENT_HEAD_BYTES, SUPERBLOCK_BYTES, TRAILER_BYTES};
use crate::store::disk::{CHUNK_BYTES, Disk, NOT_WRITTEN, Options};
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A tier on a folder.
struct Tier {
    disk: Arc<Disk>,
    folder: TempDir,
    runtime: Runtime,
}

impl Tier {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = Runtime::new().expect("a runtime");
        let disk = Self::open(folder.path());
        Self { disk, folder, runtime }
    }

    fn open(path: &Path) -> Arc<Disk> {
        let folder = Arc::new(LocalFolder::new(path));
        Disk::open(folder, &Options { bytes: 64 << 20 }).expect("opened")
    }

    /// With these entries, whose bodies are their keys many times over; closed.
    fn with(keys: &[&str]) -> Self {
        let tier = Self::new();
        keys.iter().for_each(|key| tier.put(key, &body_of(key)));
        tier.disk.close();
        tier
    }

    fn put(&self, key: &str, body: &[u8]) {
        let content = Content {
            tags: Bytes::from_static(b"tag\n"),
            head: Bytes::from_static(b"head"),
            body: Bytes::copy_from_slice(body),
            asked: 7,
        };
        let receipt = Arc::new(AtomicU32::new(NOT_WRITTEN));
        assert!(self.disk.put(key.as_bytes(), content, &receipt), "the writer takes it");
        self.runtime.block_on(self.disk.settled());
    }

    fn remove(&self, key: &str) {
        assert!(self.disk.remove(key.as_bytes()));
        assert!(self.runtime.block_on(self.disk.removals_written()));
    }

    fn inspect(&self) -> Inspected {
        Inspected::open(self.folder.path()).expect("a store")
    }

    fn keys(&self) -> Vec<String> {
        keys(&self.inspect())
    }

    /// What verify says, each with its place.
    fn problems(&self) -> Vec<Problem> {
        verified(&self.inspect()).1
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path(name)).expect("read");
        change(&mut bytes);
        fs::write(self.path(name), bytes).expect("written");
    }
}

fn body_of(key: &str) -> Vec<u8> {
    key.as_bytes().repeat(1000)
}

fn keys(store: &Inspected) -> Vec<String> {
    let text = |entry: EntryView| String::from_utf8(entry.key.to_vec()).expect("text");
    store.entries().map(text).collect()
}

fn verified(store: &Inspected) -> (Progress, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut see = |seen| {
        if let Seen::Problem(problem) = seen {
            problems.push(problem);
        }
        Ok(())
    };
    let progress = store.verify(&mut see).expect("verified");
    assert_eq!(progress.problems, problems.len() as u64);
    (progress, problems)
}

fn body(store: &Inspected, key: &str) -> Option<Bytes> {
    store.entry(key.as_bytes()).expect("looked up").map(|(_, content)| content.body)
}

const SEGMENT: &str = "seg-00000001";

#[test]
fn an_entry_is_shown_as_it_was_put() {
    let tier = Tier::with(&["a", "b"]);
    let store = tier.inspect();
    assert_eq!(keys(&store), ["a", "b"]);
    let (view, content) = store.entry(b"b").expect("looked up").expect("there");
    assert_eq!(view, store.entries().nth(1).expect("the second"));
    assert_eq!((&view.tags[..], &view.head[..], view.asked), (&b"tag\n"[..], &b"head"[..], 7));
    assert_eq!((view.segment, view.body_bytes), (1, 1000));
    let (tags, head) = (Bytes::from_static(b"tag\n"), Bytes::from_static(b"head"));
    assert_eq!(content, Content { tags, head, body: body_of("b").into(), asked: 7 });
    assert!(body(&store, "c").is_none());
    let [segment] = store.segments() else { panic!("one segment") };
    assert!(segment.is_sealed && segment.sealed.is_some());
    assert_eq!((segment.records, segment.entries, segment.chunks), (2, 2, 0));
    assert!(segment.created > 0 && segment.written >= segment.created);
    assert!(segment.live_bytes < segment.file_bytes && segment.live_bytes > 2000);
    assert!(store.problems().is_empty());
    let (progress, problems) = verified(&store);
    assert_eq!(problems, []);
    assert_eq!((progress.segments, progress.segments_all, progress.records), (1, 1, 2));
    let head = SEGMENT_HEAD_BYTES as u64;
    assert_eq!(progress.bytes + head, segment.file_bytes, "every byte was compared");
}

#[test]
fn a_tier_at_work_is_seen_as_it_is_at_the_moment() {
    let tier = Tier::new();
    assert_eq!(tier.inspect().segments(), []);
    assert_eq!(tier.problems(), []);
    for key in ["a", "b", "c"] {
        tier.put(key, &body_of(key));
    }
    tier.put("a", b"another");
    tier.remove("b");
    let store = tier.inspect();
    assert_eq!(keys(&store), ["c", "a"]);
    assert_eq!(body(&store, "a").expect("there"), &b"another"[..]);
    assert!(body(&store, "b").is_none());
    let [segment] = store.segments() else { panic!("one segment") };
    assert!(!segment.is_sealed);
    assert_eq!((segment.records, segment.entries), (4, 2));
    let (progress, problems) = verified(&store);
    assert_eq!((progress.records, problems), (4, vec![]));
    tier.put("b", b"again");
    assert_eq!(tier.keys(), ["c", "a", "b"]);
}

#[test]
fn what_recovery_would_find_is_what_is_seen() {
    let tier = Tier::new();
    for round in 0..3 {
        for number in 0..200_u32 {
            if (number + round) % 3 > 0 {
                tier.put(&format!("key {number}"), &vec![b'x'; (number * 97) as usize]);
            }
        }
        for number in (round..200).step_by(7) {
            tier.disk.remove(format!("key {number}").as_bytes());
        }
    }
    assert!(tier.runtime.block_on(tier.disk.removals_written()));
    let store = tier.inspect();
    let mut seen = keys(&store);
    seen.sort();
    let has = |number: &u32| tier.disk.has(format!("key {number}").as_bytes());
    let mut has: Vec<String> = (0..200).filter(has).map(|number| format!("key {number}")).collect();
    has.sort();
    assert_eq!(seen, has);
    let stats = tier.disk.stats();
    let live: u64 = store.segments().iter().map(|segment| segment.live_bytes).sum();
    assert_eq!(live, stats.live_bytes);
    tier.disk.close();
    let disk = Tier::open(tier.folder.path());
    tier.runtime.block_on(disk.get(b"anything"));
    let mut after = tier.keys();
    after.sort();
    assert_eq!(after, seen);
    disk.close();
}

#[test]
fn chunks_are_counted_and_read() {
    let tier = Tier::new();
    let generation = tier.disk.new_generation();
    let chunk = |byte| Bytes::from(vec![byte; CHUNK_BYTES as usize]);
    for number in 0..6 {
        let pieces = vec![chunk(b'0' + number as u8)];
        assert!(tier.disk.put_chunk(generation, number, pieces));
        tier.runtime.block_on(tier.disk.settled());
    }
    let store = tier.inspect();
    assert_eq!(store.segments().iter().map(|segment| segment.chunks).sum::<u64>(), 6);
    assert!(store.segments().len() > 1, "more than one segment holds");
    assert_eq!(store.read_chunk(generation, 4).expect("read"), Some(chunk(b'4')));
    assert_eq!(store.read_chunk(generation, 6).expect("read"), None);
    assert_eq!(store.entries().count(), 0);
    assert_eq!(tier.problems(), []);
}

#[test]
fn a_segment_that_goes_away_meanwhile_is_no_fault() {
    let tier = Tier::new();
    let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES as usize]);
    tier.put("a", b"first");
    for number in 0..4 {
        assert!(tier.disk.put_chunk(1, number, vec![chunk.clone()]));
        tier.runtime.block_on(tier.disk.settled());
    }
    tier.put("b", b"second");
    let store = tier.inspect();
    assert_eq!(store.segments().len(), 2);
    fs::remove_file(tier.path(SEGMENT)).expect("removed");
    assert_eq!(body(&store, "a"), None);
    assert_eq!(store.read_chunk(1, 0).expect("read"), None);
    assert_eq!(keys(&store), ["b"]);
    assert_eq!(verified(&store).1, []);
    assert_eq!(body(&store, "b").expect("there"), &b"second"[..]);
}

#[test]
fn what_is_written_again_meanwhile_is_found() {
    let tier = Tier::with(&["a"]);
    let store = tier.inspect();
    let disk = Tier::open(tier.folder.path());
    let content = Content { body: Bytes::from_static(b"moved"), ..Content::default() };
    assert!(disk.put(b"a", content, &Arc::new(AtomicU32::new(NOT_WRITTEN))));
    tier.runtime.block_on(disk.settled());
    fs::remove_file(tier.path(SEGMENT)).expect("removed");
    assert_eq!(body(&store, "a").expect("there"), &b"moved"[..]);
}

#[test]
fn a_tier_that_writes_and_evicts_can_be_read_all_the_time() {
    let tier = Tier::new();
    tier.disk.close();
    let folder = Arc::new(LocalFolder::new(tier.folder.path()));
    let disk = Disk::open(folder, &Options { bytes: 16 << 20 }).expect("opened");
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..6000_u64 {
                let key = format!("key {}", number % 2000);
                let body = Bytes::from(key.repeat(1000 + number as usize % 1000));
                let content = Content { body, ..Content::default() };
                disk.put(key.as_bytes(), content, &Arc::new(AtomicU32::new(NOT_WRITTEN)));
                if number.is_multiple_of(3) {
                    disk.remove(format!("key {}", number % 100).as_bytes());
                }
                if number.is_multiple_of(8) {
                    tier.runtime.block_on(disk.settled());
                    tier.runtime.block_on(disk.get(key.as_bytes()));
                }
            }
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_done.load(Ordering::Relaxed) {
            let store = tier.inspect();
            assert_eq!(store.problems(), []);
            assert_eq!(verified(&store).1, []);
            for entry in store.entries().step_by(20) {
                let found = store.entry(&entry.key).expect("looked up");
                assert!(found.is_none_or(|(view, _)| view.key == entry.key));
            }
        }
    });
    assert!(disk.stats().evicted > 0, "segments went away");
}

#[test]
fn nothing_in_a_folder_is_changed() {
    let tier = Tier::with(&["a", "b"]);
    let state = || {
        let names = LocalFolder::new(tier.folder.path()).names().expect("names");
        let file = |name: String| {
            let written = fs::metadata(tier.path(&name)).and_then(|data| data.modified());
            (name.clone(), written.expect("a time"), fs::read(tier.path(&name)).expect("read"))
        };
        let mut files: Vec<_> = names.into_iter().map(file).collect();
        files.sort();
        files
    };
    let before = state();
    let store = tier.inspect();
    assert_eq!(keys(&store), ["a", "b"]);
    assert!(body(&store, "a").is_some());
    assert_eq!(verified(&store).1, []);
    assert_eq!(state(), before);
}

#[test]
fn a_changed_bit_is_found_wherever_it_is() {
    let tier = Tier::with(&["first", "second", "third"]);
    let good = fs::read(tier.path(SEGMENT)).expect("read");
    let store = tier.inspect();
    let views: Vec<_> = store.entries().collect();
    for at in (0..good.len()).step_by(29) {
        tier.change(SEGMENT, |bytes| bytes[at] ^= 0x10);
        let problems = tier.problems();
        assert_eq!(problems.len(), 1, "byte {at}: {problems:?}");
        let problem = &problems[0];
        assert_eq!(problem.file, SEGMENT);
        let here = |view: &&EntryView| {
            (view.offset..view.offset + view.record_bytes).contains(&(at as u64))
        };
        if let Some(view) = views.iter().find(here) {
            assert_eq!(problem.offset, view.offset, "byte {at}");
            let front = 64 + view.key.len() + view.tags.len() + view.head.len() + 4;
            let is_after_front = at as u64 - view.offset >= front as u64;
            assert_eq!(problem.key.as_ref(), is_after_front.then_some(&view.key), "byte {at}");
        }
        fs::write(tier.path(SEGMENT), &good).expect("written");
    }
    assert_eq!(tier.problems(), []);
}

#[test]
fn a_bad_entry_takes_nothing_else_with_it() {
    let tier = Tier::with(&["first", "second", "third"]);
    let second = tier.inspect().entries().nth(1).expect("the second");
    tier.change(SEGMENT, |bytes| bytes[second.offset as usize + 200] ^= 1);
    let store = tier.inspect();
    assert_eq!(store.problems(), [], "only its body is bad");
    assert_eq!(body(&store, "second"), None);
    assert!(body(&store, "first").is_some() && body(&store, "third").is_some());
    tier.change(SEGMENT, |bytes| bytes[second.offset as usize] ^= 1);
    assert_eq!(tier.keys(), ["first", "third"]);
}

#[test]
fn a_file_that_was_cut_is_found_once() {
    let tier = Tier::with(&["first", "second", "third"]);
    let good = fs::read(tier.path(SEGMENT)).expect("read");
    for length in (1..good.len()).step_by(97).chain([64, good.len() - TRAILER_BYTES]) {
        tier.change(SEGMENT, |bytes| bytes.truncate(length));
        let problems = tier.problems();
        // With the head also what is behind it is cut.
        let expected = if length < SEGMENT_HEAD_BYTES { 1..=2 } else { 1..=1 };
        assert!(expected.contains(&problems.len()), "at {length}: {problems:?}");
        let store = tier.inspect();
        assert_eq!(store.problems(), problems, "at {length}");
        for key in keys(&store) {
            assert_eq!(body(&store, &key).expect("whole"), body_of(&key));
        }
        fs::write(tier.path(SEGMENT), &good).expect("written");
    }
}

#[test]
fn the_end_of_what_is_being_written_is_no_corruption() {
    let tier = Tier::new();
    for key in ["first", "second", "third"] {
        tier.put(key, &body_of(key));
    }
    let good = fs::read(tier.path(SEGMENT)).expect("read");
    let third = tier.inspect().entries().nth(2).expect("the third");
    let (start, end) = (third.offset as usize, (third.offset + third.record_bytes) as usize);
    for from in (start..end).step_by(61) {
        tier.change(SEGMENT, |bytes| bytes[from..end].fill(0));
        assert_eq!(tier.problems(), [], "from {from}");
        assert!(tier.keys().len() >= 2);
        fs::write(tier.path(SEGMENT), &good).expect("written");
    }
    let second = tier.inspect().entries().nth(1).expect("the second");
    for (part, reason) in [
        (0..1, "a record: not what belongs here"),
        (0..64, "zeros where a record was"),
        (100..101, "a record's body: its checksum does not match"),
    ] {
        tier.change(SEGMENT, |bytes| {
            let at = second.offset as usize;
            let part = &mut bytes[at + part.start..at + part.end];
            if part.len() > 1 { part.fill(0) } else { part[0] ^= 1 }
        });
        let problems = tier.problems();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!((problems[0].offset, &problems[0].reason[..]), (second.offset, reason));
        fs::write(tier.path(SEGMENT), &good).expect("written");
    }
}

#[test]
fn records_that_a_footer_does_not_know_are_found() {
    let tier = Tier::with(&["first", "second", "third"]);
    let footer_bytes = format::footer_bytes(3) as usize;
    let views: Vec<_> = tier.inspect().entries().collect();
    let entry = |view: &EntryView| FooterEntry {
        hash: 2,
        sequence: view.sequence,
        offset: view.offset,
        length: view.record_bytes,
    };
    tier.change(SEGMENT, |bytes| {
        bytes.truncate(bytes.len() - footer_bytes);
        bytes.extend(format::encode_footer(1, 0, u64::MAX, &[entry(&views[0]), entry(&views[2])]));
    });
    let problems = tier.problems();
    let told: Vec<_> = problems.iter().map(|it| (it.offset, &it.reason[..])).collect();
    let otherwise = "a record that the footer names otherwise";
    let unnamed = "something that the footer does not name";
    let offset = |number: usize| views[number].offset;
    assert_eq!(told, [(offset(0), otherwise), (offset(1), unnamed), (offset(2), otherwise)]);
}

#[test]
fn what_is_of_another_version_is_called_so() {
    let tier = Tier::with(&["a"]);
    let second = Tier::open(tier.folder.path());
    let content = Content { body: Bytes::from_static(b"b"), ..Content::default() };
    assert!(second.put(b"b", content, &Arc::new(AtomicU32::new(NOT_WRITTEN))));
    second.close();
    tier.change(SEGMENT, |bytes| bytes[8] = 9);
    let expected = Problem::new(SEGMENT, 0, "the segment's head: of version 9, not 1");
    assert_eq!(tier.problems(), std::slice::from_ref(&expected));
    let store = tier.inspect();
    assert_eq!(store.problems(), [expected]);
    assert_eq!(keys(&store), ["b"]);
    assert_eq!(store.segments().len(), 2);

    tier.change("purge.log", |bytes| bytes[8] = 7);
    let log = &tier.inspect().problems()[0].clone();
    assert_eq!((&log.file[..], &log.reason[..]), ("purge.log", "of version 7, not 1"));
    assert!(tier.keys().is_empty(), "what was removed is not known");

    tier.change("brim.store", |bytes| bytes[8] = 5);
    let error = Inspected::open(tier.folder.path()).err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "brim.store is of version 5, not 1");
}

#[test]
fn a_damaged_superblock_or_log_is_said() {
    let tier = Tier::new();
    tier.put("a", b"a");
    tier.put("b", b"b");
    tier.remove("b");
    tier.disk.close();
    tier.change("brim.store", |bytes| bytes[20] ^= 1);
    let told = |tier: &Tier| tier.problems().into_iter().map(|it| it.file).collect::<Vec<_>>();
    assert_eq!(told(&tier), ["brim.store"]);
    assert_eq!(tier.keys(), ["a"], "what is there can be told without it");
    let error = tier.inspect().entry(b"a").expect_err("not without the hash's key");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    tier.change("purge.log", |bytes| *bytes.last_mut().expect("an entry") ^= 1);
    assert_eq!(told(&tier), ["brim.store", "purge.log"]);
    assert!(tier.keys().is_empty(), "something that was removed could be among them");
    for name in ["brim.store", "purge.log"] {
        fs::remove_file(tier.path(name)).expect("removed");
    }
    assert_eq!(told(&tier), ["brim.store", "purge.log"]);
    fs::remove_file(tier.path(SEGMENT)).expect("removed");
    let error = Inspected::open(tier.folder.path()).err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn a_folder_is_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = folder.path().join("gone");
    assert_eq!(Inspected::open(&gone).err().expect("an error").kind(), ErrorKind::NotFound);
    assert!(!gone.exists());
}

#[test]
fn files_that_are_no_files_of_the_tier_stop_nobody() {
    let tier = Tier::with(&["a"]);
    fs::create_dir(tier.path("seg-00000005")).expect("a folder");
    fs::write(tier.path("seg-00000006"), b"hello").expect("written");
    fs::write(tier.path("seg-00000007"), b"").expect("written");
    fs::write(tier.path("seg-99999999"), b"").expect("written");
    fs::write(tier.path("hits"), b"\xff 1\n1 3\n1\n").expect("written");
    let store = tier.inspect();
    assert_eq!(keys(&store), ["a"]);
    assert_eq!(store.segments()[0].hits, 3);
    let told: Vec<_> = verified(&store).1.into_iter().map(|problem| problem.file).collect();
    let named: Vec<&str> = told.iter().map(String::as_str).collect();
    assert!(named.contains(&"seg-00000005") && named.contains(&"seg-99999999"), "{named:?}");
    assert!(named.contains(&"seg-00000006") && !named.contains(&"seg-00000007"), "{named:?}");
}

#[test]
fn lengths_that_a_file_does_not_have_take_no_memory() {
    let tier = Tier::with(&["a"]);
    let mut trailer = format::encode_footer(1, 0, u64::MAX, &[]);
    assert_eq!(trailer.len(), TRAILER_BYTES);
    trailer[8..12].copy_from_slice(&(format::SEGMENT_RECORDS_MAX as u32).to_le_bytes());
    let checksum = crc32c::crc32c(&trailer[8..]);
    trailer[..4].copy_from_slice(&checksum.to_le_bytes());
    tier.change(SEGMENT, |bytes| {
        let at = bytes.len() - TRAILER_BYTES;
        bytes[at..].copy_from_slice(&trailer);
    });
    let problems = tier.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].reason, "the segment's footer: cut short");
    assert_eq!(tier.keys(), ["a"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hostile_bytes_are_survived(
        name in prop::sample::select(vec!["brim.store", "purge.log", SEGMENT, "hits"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let tier = hostile();
        tier.change(name, |bytes| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        });
        if let Ok(store) = Inspected::open(tier.folder.path()) {
            for key in keys_lossy(&store) {
                let _ = store.entry(&key);
            }
            let _ = store.read_chunk(1, 0);
            verified(&store);
        } else {
            prop_assert_eq!(name, "brim.store");
        }
    }
}

fn hostile() -> Tier {
    let tier = Tier::new();
    tier.put("a", b"a");
    tier.put("b", b"b");
    tier.put("c", &[b'c'; 70_000]);
    assert!(tier.disk.put_chunk(1, 0, vec![Bytes::from_static(b"chunk")]));
    tier.remove("b");
    tier.disk.close();
    assert_eq!(fs::read(tier.path("brim.store")).expect("read").len(), SUPERBLOCK_BYTES);
    tier
}

fn keys_lossy(store: &Inspected) -> Vec<Bytes> {
    store.entries().map(|entry| entry.key).collect()
}
