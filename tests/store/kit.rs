//! What the tests are made of: values that cannot be taken for others, and waiting.

use crate::faulty_folder::FaultyFolder;
use brim::store::disk::{BLOCK_BYTES, Content, Disk, Entry, Health, Options, Receipt};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No step of a test may take longer. Not waited for: whatever is awaited comes earlier.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const MIB: u64 = 1024 * 1024;
/// The smallest there is: segments have 4 MiB.
pub(crate) const SMALL: u64 = 16 * MIB;
/// Nothing has to make room in it.
pub(crate) const LARGE: u64 = 64 * MIB;

/// The seed of this run: of `BRIM_SEED`, or `usual`. A failure shows what was printed.
pub(crate) fn seed(usual: u64) -> u64 {
    let given = std::env::var("BRIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or(usual);
    println!("BRIM_SEED={seed}");
    seed
}

/// What a test repeats this often by default, and `make crash` more.
pub(crate) fn rounds(usual: usize) -> usize {
    let times = std::env::var("BRIM_CRASH_ROUNDS").ok().and_then(|times| times.parse().ok());
    usual * times.unwrap_or(1)
}

pub(crate) fn open(folder: &FaultyFolder, bytes: u64) -> Arc<Disk> {
    Disk::open(Arc::new(folder.clone()), &Options { bytes }).expect("nobody else has it")
}

/// Open, and everything that was there is known.
pub(crate) fn open_good(folder: &FaultyFolder, bytes: u64) -> Arc<Disk> {
    let disk = open(folder, bytes);
    wait_until_good(&disk);
    disk
}

pub(crate) fn wait_until_good(disk: &Disk) {
    wait_until(|| disk.health() == Health::Good, || format!("{:?}", disk.health()));
}

pub(crate) fn wait_until_degraded(disk: &Disk) {
    let is_degraded = || matches!(disk.health(), Health::Degraded(_));
    wait_until(is_degraded, || format!("{:?}", disk.health()));
}

pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool, shown: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {}", shown());
        std::thread::yield_now();
    }
}

pub(crate) fn key(number: usize) -> Vec<u8> {
    format!("site\nhost.test\n/the/path/of/{number}\n").into_bytes()
}

/// Which value of a key it is. No two values share a block of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) key: usize,
    pub(crate) number: u32,
    pub(crate) body_bytes: usize,
}

impl Version {
    pub(crate) fn content(self) -> Content {
        let Self { key, number, body_bytes } = self;
        Content {
            tags: format!("tag-{key}\nversion-{number}\n").into(),
            head: format!("{key} {number} {body_bytes}").into(),
            body: pattern(key as u64 + 1, number, 0..body_bytes as u64),
            asked: u64::from(number) * 7,
        }
    }

    /// Which value an entry says it is; everything in it has to be of that one.
    pub(crate) fn of(entry: &Entry) -> Self {
        let head = std::str::from_utf8(&entry.content.head).expect("a head that was put");
        let mut words = head.split(' ').map(|word| word.parse::<usize>().expect("a head"));
        let mut word = || words.next().expect("a head that was put");
        let version =
            Self { key: word(), number: u32::try_from(word()).expect("small"), body_bytes: word() };
        assert!(entry.content == version.content(), "{version:?} is mixed with something else");
        version
    }
}

/// Bytes of something, each 16 of which say what they are of, and where they belong.
pub(crate) fn pattern(of: u64, number: u32, part: std::ops::Range<u64>) -> Bytes {
    let mut bytes = Vec::with_capacity((part.end - part.start) as usize + 16);
    let mut at = part.start / 16 * 16;
    while at < part.end {
        bytes.extend_from_slice(&of.to_le_bytes());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&(at as u32 / 16).to_le_bytes());
        at += 16;
    }
    let from = (part.start % 16) as usize;
    Bytes::from(bytes).slice(from..from + (part.end - part.start) as usize)
}

/// The value under a key, if there is one; it has to be one of that key.
pub(crate) async fn get(disk: &Disk, number: usize) -> Option<Version> {
    let entry = disk.get(&key(number)).await?;
    let version = Version::of(&entry);
    assert_eq!(version.key, number, "the value of another key");
    Some(version)
}

pub(crate) fn put(disk: &Disk, version: Version) -> bool {
    disk.put(&key(version.key), version.content(), &Receipt::default())
}

/// Puts a chunk in pieces of uneven lengths.
pub(crate) fn put_chunk(disk: &Disk, generation: u64, number: u32, bytes: u64) -> bool {
    let whole = pattern(generation, number, 0..bytes);
    let cut = whole.len() / 3;
    disk.put_chunk(generation, number, vec![whole.slice(..cut), whole.slice(cut..)])
}

/// Reads a part of a chunk to its end. `None`: it is not there. What is there has to be right.
pub(crate) async fn read_chunk(
    disk: &Disk,
    generation: u64,
    number: u32,
    part: std::ops::Range<u64>,
) -> Option<()> {
    let mut at = part.start;
    while at < part.end {
        let piece = disk.read_chunk(generation, number, at..part.end).await?;
        assert!(!piece.is_empty() && piece.len() as u64 <= part.end - at);
        assert!(piece.len() as u64 <= 2 * BLOCK_BYTES, "nobody has to hold more than that");
        let end = at + piece.len() as u64;
        assert!(piece == pattern(generation, number, at..end), "{number} {at}..{end} is wrong");
        at = end;
    }
    Some(())
}
