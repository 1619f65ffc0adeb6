//! What was purged by rule, on the disk: entries of the log bit by bit, and what is in force after any
//! end of the process or the machine.

use crate::crash::{Kind, Replay};
use crate::faulty_folder::{EIO, Event, FaultyFolder, Op};
use crate::kit::{LARGE, key, open, open_good, rounds, seed, wait_until, wait_until_good};
use brim::store::disk::format::{
    Bad, FooterEntry, LogEntry, NAME_BYTES_MAX, TRAILER_BYTES, Trailer, encode_footer,
};
use brim::store::disk::{Content, Disk, Receipt};
use brim::store::purges::{Fate, Rule, Scope};
use bytes::Bytes;
use crc32c::crc32c;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn at(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

type Name = Box<[u8]>;

const SCOPES: [fn(Name) -> Scope; 3] = [Scope::Prefix, Scope::Tag, Scope::Key];

fn encoded(entry: &LogEntry) -> Vec<u8> {
    let mut bytes = Vec::new();
    entry.encode(&mut bytes);
    bytes
}

/// Rules of each kind, hard and soft, and notes, with names of this length.
fn entries(name_bytes: usize) -> Vec<LogEntry> {
    let name: Vec<u8> = (0..name_bytes).map(|at| at as u8 ^ 0xa5).collect();
    let mut all = vec![LogEntry::Note { sequence: 77, text: name.clone().into() }];
    for scope in SCOPES {
        for stale_since in [None, Some(at(1)), Some(at(1_763_731_356_789)), Some(at((1 << 48) - 1))]
        {
            let scope = scope(name.clone().into());
            all.push(LogEntry::Rule(Rule { scope, sequence: u64::MAX - 3, stale_since }));
        }
    }
    all
}

#[test]
fn a_rule_or_note_is_read_as_it_was_written_whatever_its_length() {
    for name_bytes in (0..34).chain([NAME_BYTES_MAX - 1, NAME_BYTES_MAX]) {
        for entry in entries(name_bytes) {
            let bytes = encoded(&entry);
            assert_eq!(bytes.len(), 24 + name_bytes.next_multiple_of(8));
            assert_eq!(LogEntry::parse(&bytes), Ok((entry.clone(), bytes.len())));
            assert_eq!(entry.text_bytes(), name_bytes);
            // What follows is none of its business.
            let two = [&bytes[..], &bytes[..]].concat();
            assert_eq!(LogEntry::parse(&two), Ok((entry, bytes.len())));
        }
    }
}

#[test]
fn a_rule_or_note_with_any_bit_flipped_or_cut_short_is_refused() {
    for entry in entries(13).into_iter().chain(entries(8)) {
        let bytes = encoded(&entry);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let bad = LogEntry::parse(&flipped).expect_err("it is not what was written");
            assert!(bad != Bad::Short, "{entry:?} with bit {bit} seems cut short by a crash");
        }
        for cut in 0..bytes.len() {
            assert!(LogEntry::parse(&bytes[..cut]).is_err(), "{entry:?} cut at {cut}");
        }
    }
}

/// An entry with this kind and payload that nobody else would write.
fn forged(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&99_u64.to_le_bytes());
    bytes[16] = kind;
    bytes[23] =
        if kind > 2 { bytes[4..23].iter().fold(0, |parity, byte| parity ^ byte) } else { 0 };
    bytes.extend_from_slice(payload);
    bytes.resize(24 + payload.len().next_multiple_of(8), 0);
    let checksum = crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn an_entry_of_an_unknown_kind_means_everything() {
    for kind in 7..=u8::MAX {
        for payload in [&b""[..], b"abc", &[7; 800]] {
            let bytes = forged(kind, payload);
            let all = (LogEntry::All { sequence: 99 }, bytes.len());
            assert_eq!(LogEntry::parse(&bytes), Ok(all), "{kind}");
        }
    }
    assert_eq!(LogEntry::parse(&forged(0, b"")), Err(Bad::Value));
}

#[test]
fn a_name_that_is_too_long_is_refused_before_it_is_waited_for() {
    for kind in 3..=u8::MAX {
        let bytes = forged(kind, &vec![1; NAME_BYTES_MAX + 1]);
        assert_eq!(LogEntry::parse(&bytes), Err(Bad::Value), "{kind}");
        assert_eq!(LogEntry::parse(&bytes[..24]), Err(Bad::Value), "{kind}");
    }
}

#[test]
fn a_moment_is_kept_in_milliseconds_and_never_becomes_none() {
    let rule = |since| Rule { scope: Scope::Tag(b"t"[..].into()), sequence: 5, stale_since: since };
    let micros = SystemTime::UNIX_EPOCH + Duration::from_micros(1_763_731_356_789_999);
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_secs(4);
    for (written, read) in [
        (micros, at(1_763_731_356_789)),
        (SystemTime::UNIX_EPOCH, at(1)),
        (before_1970, at(1)),
        (SystemTime::UNIX_EPOCH + Duration::from_nanos(5), at(1)),
    ] {
        let bytes = encoded(&LogEntry::Rule(rule(Some(written))));
        let read = LogEntry::Rule(rule(Some(read)));
        assert_eq!(LogEntry::parse(&bytes).map(|(entry, _)| entry), Ok(read));
    }
}

#[test]
fn a_trailer_says_when_the_oldest_was_asked_for_and_no_bit_of_it_may_differ() {
    let entry = FooterEntry { hash: 2, sequence: 9, offset: 64, length: 128 };
    for asked_min in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
        let bytes = encode_footer(3, 44, asked_min, &[entry]);
        let trailer = &bytes[bytes.len() - TRAILER_BYTES..];
        let read = Trailer::parse(trailer).expect("good");
        assert_eq!((read.asked_min, read.sealed, read.id), (asked_min, 44, 3));
        for bit in 40 * 8..48 * 8 {
            let mut flipped = trailer.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::parse(&flipped), Err(Bad::Checksum));
        }
    }
}

fn prefix(name: &str) -> Scope {
    Scope::Prefix(name.as_bytes().into())
}

fn tag(name: &str) -> Scope {
    Scope::Tag(name.as_bytes().into())
}

fn whole(number: usize) -> Scope {
    Scope::Key(key(number).into())
}

/// Puts something that its origin was asked for now.
fn put(disk: &Disk, number: usize, tags: &'static str) {
    assert!(is_put(disk, number, tags));
}

fn is_put(disk: &Disk, number: usize, tags: &'static str) -> bool {
    let asked = disk.next_sequence();
    let (tags, head) = (Bytes::from(tags), number.to_string().into());
    let content = Content { tags, head, body: Bytes::new(), asked };
    disk.put(&key(number), content, &Receipt::default())
}

/// What became of what lies there; `None`: nothing lies there.
async fn fate(disk: &Disk, number: usize) -> Option<Fate> {
    let Content { tags, asked, .. } = disk.get(&key(number)).await?.content;
    Some(disk.purges().fate(&key(number), &tags, asked))
}

async fn is_live(disk: &Disk, number: usize) -> bool {
    fate(disk, number).await == Some(Fate::Stays)
}

#[tokio::test]
async fn rules_and_notes_are_there_after_a_clean_close() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    for (number, tags) in
        [(0, ""), (1, "one\n"), (2, ""), (3, "one\ntwo\n"), (40, ""), (5, "two\n")]
    {
        put(&disk, number, tags);
    }
    let since = at(1_763_731_356_789);
    let by_prefix = disk.purge(&[prefix("site\nhost.test\n/the/path/of/4")], None);
    let by_tag = disk.purge(&[tag("site\none"), tag("other\ntwo")], Some(since));
    let by_key = disk.purge(&[whole(2)], None);
    disk.note_down("first".into());
    disk.note_down("second".into());
    put(&disk, 2, "");
    disk.settled().await;
    let last = disk.next_sequence();
    disk.close();
    let mut folder = folder;
    for _ in 0..2 {
        folder = folder.copy();
        let disk = open_good(&folder, LARGE);
        assert_eq!(disk.take_notes(), ["first", "second"]);
        assert!(disk.take_notes().is_empty());
        assert_eq!(disk.purges().len(), 4);
        assert_eq!(fate(&disk, 0).await, Some(Fate::Stays));
        assert_eq!(fate(&disk, 1).await, Some(Fate::Stale(since, by_tag)));
        assert_eq!(fate(&disk, 2).await, Some(Fate::Stays), "stored after it was purged");
        assert_eq!(fate(&disk, 3).await, Some(Fate::Stale(since, by_tag)));
        assert_eq!(fate(&disk, 40).await, Some(Fate::Gone(by_prefix)));
        assert_eq!(fate(&disk, 5).await, Some(Fate::Stays), "another owner's tag");
        assert!(disk.next_sequence() > by_key && disk.purges().newest() > last);
        disk.close();
    }
}

/// A rule in the history of a folder.
struct Made {
    scope: Scope,
    is_soft: bool,
    number: u64,
    /// Where it was acknowledged: written, durable.
    written: Option<usize>,
    durable: Option<usize>,
}

impl Made {
    /// What it is about, asked for right before it, is gone or stale. Or everything is gone, as it is
    /// if the end of the log is not what was written.
    fn is_in_force(&self, disk: &Disk) -> bool {
        if disk.purges().is_empty() {
            return disk.stats().entries == 0;
        }
        let (key, tags) = match &self.scope {
            Scope::Key(key) => (key.to_vec(), Vec::new()),
            Scope::Prefix(prefix) => ([prefix, &b"and more"[..]].concat(), Vec::new()),
            Scope::Tag(tag) => (b"o\nx".to_vec(), [&tag[2..], b"\n"].concat()),
        };
        match disk.purges().fate(&key, &tags, self.number - 1) {
            Fate::Gone(_) => true,
            Fate::Stale(since, _) => self.is_soft && since >= at(self.number),
            Fate::Stays => false,
        }
    }
}

fn random_scope(random: &mut fastrand::Rng, name_bytes: usize) -> Scope {
    let name =
        format!("o\n{}", "n".repeat(random.usize(0..name_bytes)) + &random.u8(0..9).to_string());
    SCOPES[random.usize(0..3)](name.into_bytes().into())
}

/// Rules are made and acknowledged, while the log's file fails now and then, as `ops` say.
async fn history(
    random: &mut fastrand::Rng,
    name_bytes: usize,
    ops: &[&'static [Op]],
) -> (Arc<[Event]>, Vec<Made>) {
    let folder = FaultyFolder::default();
    folder.record();
    let disk = open_good(&folder, LARGE);
    let mut made: Vec<Made> = Vec::new();
    let mut faults = ops.iter();
    for step in 0..90 {
        match random.u8(0..10) {
            0..5 => {
                let scopes: Vec<Scope> =
                    (0..random.usize(1..4)).map(|_| random_scope(random, name_bytes)).collect();
                let is_soft = random.bool();
                // Later rules make stale since later, so that each can be told.
                let since = is_soft.then(|| at(disk.next_sequence() + 1));
                let number = disk.purge(&scopes, since);
                for scope in scopes {
                    let (written, durable) = (None, None);
                    made.push(Made { scope, is_soft, number, written, durable });
                }
            }
            5..6 => _ = is_put(&disk, random.usize(0..9), "t\n"),
            6..7 => _ = disk.remove(&key(random.usize(0..9))),
            7..8 => disk.note_down("a note".into()),
            kind => {
                let is_durable = kind == 8;
                let is_good = match is_durable {
                    true => disk.removals_durable().await,
                    false => disk.removals_written().await,
                };
                assert!(is_good || !ops.is_empty(), "nothing failed");
                let position = folder.position();
                for made in made.iter_mut().filter(|_| is_good) {
                    made.written = made.written.or(Some(position));
                    made.durable = made.durable.or(Some(position).filter(|_| is_durable));
                }
            }
        }
        if step % 30 == 20
            && let Some(ops) = faults.next()
        {
            folder.fail(ops, "", EIO);
        }
        if step % 30 == 29 {
            folder.heal();
            wait_until_good(&disk);
        }
    }
    assert!(disk.removals_durable().await);
    let position = folder.position();
    for made in &mut made {
        made.written = made.written.or(Some(position));
        made.durable = made.durable.or(Some(position));
    }
    disk.close();
    (folder.events().into(), made)
}

/// Every rule that was acknowledged by then is in force after a crash, wherever it comes.
fn compare(
    events: &Arc<[Event]>,
    cuts: &[usize],
    made: &[Made],
    kind: Kind,
    random: &mut fastrand::Rng,
) {
    let mut replay = Replay::new(events, &[], random.u64(..));
    for cut in cuts.iter().copied() {
        replay.advance_to(cut);
        let mut folder = replay.image(kind, random.bool());
        // A second end, right after the first one was repaired, changes nothing.
        for _ in 0..2 {
            let disk = open_good(&folder, LARGE);
            for made in made {
                let acknowledged =
                    if kind == Kind::PowerLoss { made.durable } else { made.written };
                let is_needed = acknowledged.is_some_and(|position| position <= cut);
                assert!(
                    !is_needed || made.is_in_force(&disk),
                    "{kind:?} before {cut}: {:?} of {} is lost, {acknowledged:?}",
                    made.scope,
                    made.number
                );
                assert!(!is_needed || disk.next_sequence() > made.number);
            }
            disk.close();
            folder = folder.copy();
        }
    }
}

async fn outlives(kind: Kind, usual: u64, name_bytes: usize, ops: &[&'static [Op]]) {
    let seed = seed(usual);
    for round in 0..rounds(1) as u64 {
        let mut random = fastrand::Rng::with_seed(seed + round);
        let (events, made) = history(&mut random, name_bytes, ops).await;
        let is_new_log =
            |event: &&Event| matches!(event, Event::Rename { to, .. } if to == "purge.log");
        let logs = events.iter().filter(is_new_log).count();
        assert!(made.len() > 20 && (logs > 1 || name_bytes < LONG), "{} in {logs}", made.len());
        let mut cuts = Vec::from_iter(0..=events.len());
        if name_bytes == LONG {
            // Large logs take their time: those around the last new one, and the end.
            let last = events.iter().rposition(|event| is_new_log(&event)).expect("one");
            cuts.retain(|cut| last.abs_diff(*cut) < 3 || *cut == events.len());
        }
        compare(&events, &cuts, &made, kind, &mut random);
    }
}

/// The longest names, at random: with long ones the log is written anew meanwhile.
const SHORT: usize = 40;
const LONG: usize = 60_000;

#[tokio::test]
async fn a_rule_that_was_acknowledged_as_written_outlives_process_death() {
    outlives(Kind::ProcessDeath, 21, SHORT, &[]).await;
}

#[tokio::test]
async fn a_rule_that_was_acknowledged_as_durable_outlives_power_loss() {
    outlives(Kind::PowerLoss, 22, SHORT, &[]).await;
}

#[tokio::test]
async fn a_rule_outlives_any_end_while_the_log_is_written_anew() {
    outlives(Kind::ProcessDeath, 25, LONG, &[]).await;
    outlives(Kind::PowerLoss, 26, LONG, &[]).await;
}

#[tokio::test]
async fn a_log_that_fails_to_write_or_sync_acknowledges_no_rule_that_is_lost() {
    const FAULTS: [&[Op]; 2] = [&[Op::Write, Op::SyncFile], &[Op::SyncFile, Op::SyncFolder]];
    outlives(Kind::PowerLoss, 23, SHORT, &FAULTS).await;
    outlives(Kind::ProcessDeath, 24, SHORT, &FAULTS).await;
}

#[tokio::test]
async fn a_log_with_any_byte_changed_brings_nothing_back() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    for number in 0..4 {
        put(&disk, number, "one\n");
    }
    disk.settled().await;
    disk.purge(&[whole(0)], None);
    disk.note_down("a note".into());
    disk.purge(&[prefix("site\nhost.test\n/the/path/of/1")], None);
    disk.purge(&[Scope::Key(key(2).into())], Some(at(5)));
    assert!(disk.removals_durable().await);
    disk.close();
    let mut lost = Vec::new();
    for at in 12..folder.content("purge.log").len() as u64 {
        let folder = folder.copy();
        folder.flip("purge.log", at);
        let disk = open_good(&folder, LARGE);
        for number in 0..3 {
            if is_live(&disk, number).await {
                lost.push((at, number));
            }
        }
        disk.close();
    }
    assert!(lost.is_empty(), "what was purged is back: (byte, key) {lost:?}");
}

#[tokio::test]
async fn everything_stands_for_all_rules_before_it() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    put(&disk, 0, "");
    disk.settled().await;
    disk.purge(&[prefix("a"), tag("\nb"), whole(3)], None);
    disk.remove_all();
    let after = disk.purge(&[whole(0)], None);
    assert!(disk.removals_durable().await);
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    assert!(!disk.has(&key(0)));
    let (itself, newer) = (1, 1);
    assert_eq!(disk.purges().len(), itself + newer);
    assert_eq!(disk.purges().fate(&key(0), b"", after - 1), Fate::Gone(after));
    disk.close();
}

#[tokio::test]
async fn a_note_is_kept_when_everything_is_removed_before_it_is_written() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    let held = folder.hold(&[Op::Write], "purge.log");
    disk.note_down("under way".into());
    held.wait_for(1);
    disk.note_down("waiting".into());
    disk.purge(&[whole(0)], None);
    disk.remove_all();
    held.let_go();
    assert!(disk.removals_durable().await);
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    assert_eq!(disk.take_notes(), ["under way", "waiting"]);
    assert_eq!(disk.purges().len(), 1, "everything stands for the rules before it");
    disk.close();
}

/// More names than may wait for the log.
fn purge_too_much(disk: &Disk) {
    for number in 0..300 {
        let name = format!("{number:060000}");
        disk.purge(&[prefix(&name)], None);
    }
}

#[tokio::test]
async fn too_many_names_for_a_log_that_cannot_be_written_make_everything_forgotten() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    put(&disk, 0, "");
    put(&disk, 1, "");
    disk.settled().await;
    folder.fail(&[Op::Write], "purge.log", EIO);
    disk.purge(&[whole(0)], None);
    purge_too_much(&disk);
    assert_eq!(fate(&disk, 1).await, None, "not written, and so not remembered");
    assert!(!disk.removals_durable().await);
    folder.heal();
    wait_until_good(&disk);
    put(&disk, 2, "");
    disk.settled().await;
    assert!(disk.removals_durable().await);
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    assert_eq!((fate(&disk, 0).await, fate(&disk, 1).await), (None, None));
    assert!(is_live(&disk, 2).await);
    disk.close();
}

#[tokio::test]
async fn what_was_purged_without_the_folder_makes_everything_in_it_forgotten() {
    for is_too_much in [false, true] {
        let folder = FaultyFolder::default();
        let disk = open_good(&folder, LARGE);
        put(&disk, 0, "");
        put(&disk, 1, "");
        disk.settled().await;
        disk.close();
        let folder = folder.copy();
        folder.fail(&[Op::Claim], "", EIO);
        let disk = open(&folder, LARGE);
        if is_too_much {
            purge_too_much(&disk);
        } else {
            disk.purge(&[whole(0)], Some(at(7)));
        }
        assert!(!disk.removals_written().await && !disk.removals_durable().await);
        // Nothing is there that it could be about: it may be forgotten, but not what it was.
        disk.purges().retire(disk.oldest_asked(), disk.purges().loads());
        folder.heal();
        wait_until_good(&disk);
        assert_eq!((fate(&disk, 0).await, fate(&disk, 1).await), (None, None));
        put(&disk, 2, "");
        disk.settled().await;
        assert!(disk.removals_durable().await);
        disk.close();
        let disk = open_good(&folder.copy(), LARGE);
        assert_eq!((fate(&disk, 0).await, fate(&disk, 1).await), (None, None));
        assert!(is_live(&disk, 2).await);
        disk.close();
    }
}

#[tokio::test]
async fn a_log_that_is_written_anew_keeps_the_rules_that_are_needed_and_the_last_notes() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    disk.purge(&[prefix("retired"), tag("\nretired"), whole(90)], None);
    put(&disk, 0, "");
    put(&disk, 1, "one\n");
    put(&disk, 2, "");
    disk.settled().await;
    disk.purges().retire(disk.oldest_asked(), disk.purges().loads());
    assert!(disk.purges().is_empty());
    let soft = disk.purge(&[tag("site\none")], Some(at(77)));
    let hard = disk.purge(&[whole(0)], None);
    disk.purges().retire(disk.oldest_asked(), disk.purges().loads());
    assert_eq!(disk.purges().len(), 2);
    let note = |number: usize| format!("{number:04000}");
    for number in 0..400 {
        disk.note_down(note(number).into());
        if number % 50 == 49 {
            assert!(disk.removals_durable().await);
        }
    }
    let shown = || format!("{} bytes", folder.content("purge.log").len());
    wait_until(|| folder.content("purge.log").len() < 400 * 4000, shown);
    assert!(disk.removals_durable().await);
    disk.close();
    assert!(folder.find(b"retired").iter().all(|(name, _)| name != "purge.log"));
    let disk = open_good(&folder.copy(), LARGE);
    assert_eq!(disk.purges().len(), 2);
    assert_eq!(fate(&disk, 0).await, Some(Fate::Gone(hard)));
    assert_eq!(fate(&disk, 1).await, Some(Fate::Stale(at(77), soft)));
    assert!(is_live(&disk, 2).await);
    let notes = disk.take_notes();
    assert_eq!(notes, Vec::from_iter((400 - 256..400).map(note)));
    disk.close();
}

#[tokio::test]
async fn a_name_that_no_log_can_keep_makes_everything_forgotten_and_harms_no_other_rule() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    put(&disk, 0, "");
    disk.settled().await;
    let long = vec![b'x'; NAME_BYTES_MAX + 1];
    disk.purge(&[Scope::Prefix(long.clone().into())], None);
    disk.note_down(long.into());
    put(&disk, 1, "");
    put(&disk, 2, "");
    disk.settled().await;
    disk.purge(&[whole(1)], None);
    assert!(disk.removals_durable().await);
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    assert_eq!(fate(&disk, 0).await, None);
    assert!(matches!(fate(&disk, 1).await, Some(Fate::Gone(_))));
    assert!(is_live(&disk, 2).await);
    disk.close();
}

#[tokio::test]
async fn a_damaged_log_does_not_become_a_good_one_when_it_is_written_anew() {
    let folder = FaultyFolder::default();
    let disk = open_good(&folder, LARGE);
    for number in 0..3 {
        put(&disk, number, "");
    }
    disk.settled().await;
    disk.remove(&key(0));
    assert!(disk.removals_durable().await);
    folder.flip("purge.log", 30);
    let long = "x".repeat(60_000);
    for _ in 0..20 {
        disk.note_down(long.clone().into());
        assert!(disk.removals_durable().await);
    }
    let is_anew = || folder.content("purge.log").len() < 20 * long.len();
    wait_until(is_anew, || "written anew".to_owned());
    // What was removed behind the damage is not known: then nothing is there.
    assert!(!disk.has(&key(1)) && !disk.has(&key(2)));
    disk.close();
    let disk = open_good(&folder.copy(), LARGE);
    for number in 0..3 {
        assert!(!disk.has(&key(number)), "{number}");
    }
    disk.close();
}
