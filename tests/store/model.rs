//! The tier beside a plain map. It may lose, and has to say so in its counters; it must never give
//! anything that the map does not have.

use crate::faulty_folder::FaultyFolder;
use crate::kit::{
    LARGE, MIB, SMALL, Version, get, key, open_good, put, put_chunk, read_chunk, rounds, seed,
    wait_until,
};
use brim::store::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

struct Model {
    folder: FaultyFolder,
    disk: Arc<Disk>,
    bytes: u64,
    random: fastrand::Rng,
    keys: usize,
    body_bytes_max: usize,
    entries: BTreeMap<usize, Version>,
    chunks: BTreeMap<(u64, u32), u64>,
    generations: Vec<u64>,
    next_version: u32,
    sequence: u64,
    /// Found missing since the tier was opened.
    lost: u64,
    /// Since the last time that everything put was known to be written.
    unsettled: BTreeSet<usize>,
}

impl Model {
    fn new(seed: u64, bytes: u64, keys: usize, body_bytes_max: usize) -> Self {
        let folder = FaultyFolder::default();
        let disk = open_good(&folder, bytes);
        let generations = vec![disk.new_generation()];
        Self {
            folder,
            disk,
            bytes,
            random: fastrand::Rng::with_seed(seed),
            keys,
            body_bytes_max,
            entries: BTreeMap::new(),
            chunks: BTreeMap::new(),
            generations,
            next_version: 0,
            sequence: 0,
            lost: 0,
            unsettled: BTreeSet::new(),
        }
    }

    async fn step(&mut self) {
        let key = self.random.usize(..self.keys).min(self.random.usize(..self.keys));
        match self.random.u16(..1000) {
            0..330 => self.put(key),
            330..420 => self.remove(key),
            420..800 => self.get(key).await,
            800..850 => self.put_chunk(),
            850..920 => self.read_chunk().await,
            920..980 => self.settle().await,
            980..985 => self.reopen(self.bytes).await,
            _ => {
                let next = self.disk.next_sequence();
                assert!(next > self.sequence, "{next} after {}", self.sequence);
                self.sequence = next;
            }
        }
        while !self.disk.has_room().await {}
    }

    fn put(&mut self, key: usize) {
        self.next_version += 1;
        let body_bytes = self.random.usize(..=self.body_bytes_max);
        let version = Version { key, number: self.next_version, body_bytes };
        if put(&self.disk, version) {
            self.entries.insert(key, version);
        } else {
            assert!(!self.disk.has(&super::kit::key(key)), "the one before has to be gone");
            self.entries.remove(&key);
        }
        self.unsettled.insert(key);
    }

    fn remove(&mut self, number: usize) {
        let was_there = self.disk.remove(&key(number));
        let should_be = self.entries.remove(&number).is_some();
        assert!(!was_there || should_be, "there was nothing to remove");
        self.lost += u64::from(should_be && !was_there);
        assert!(!self.disk.has(&key(number)) && self.disk.place(&key(number)).is_none());
        self.unsettled.remove(&number);
    }

    async fn get(&mut self, number: usize) {
        let got = get(&self.disk, number).await;
        let Some(wanted) = self.entries.get(&number).copied() else {
            assert_eq!(got, None, "nobody has put it, or it was removed");
            return;
        };
        match got {
            Some(version) => assert_eq!(version, wanted, "an old value"),
            None if self.unsettled.contains(&number) => {}
            None => {
                self.entries.remove(&number);
                self.lost += 1;
            }
        }
    }

    fn put_chunk(&mut self) {
        if self.random.u8(..8) == 0 {
            let generation = self.disk.new_generation();
            assert!(self.generations.iter().all(|other| *other != generation));
            self.generations.push(generation);
        }
        let generation = *self.random.choice(&self.generations).expect("one");
        let number = self.random.u32(..6);
        // As long as ever: chunks of a body do not change.
        let bytes = ((generation % 1009 * 31 + u64::from(number)) * 65_537)
            % (4 * self.body_bytes_max as u64).min(MIB)
            + 1;
        if put_chunk(&self.disk, generation, number, bytes) {
            self.chunks.insert((generation, number), bytes);
        }
    }

    async fn read_chunk(&mut self) {
        let generation = *self.random.choice(&self.generations).expect("one");
        let number = self.random.u32(..6);
        let Some(bytes) = self.chunks.get(&(generation, number)).copied() else {
            assert!(!self.disk.has_chunk(generation, number));
            assert_eq!(read_chunk(&self.disk, generation, number, 0..1).await, None);
            return;
        };
        let from = self.random.u64(..bytes);
        let to = self.random.u64(from + 1..=bytes);
        let _ = read_chunk(&self.disk, generation, number, from..to).await;
    }

    async fn settle(&mut self) {
        self.disk.settled().await;
        self.unsettled.clear();
        let stats = self.disk.stats();
        // Chunks that made room are counted with the entries, or are not: it is at most so many.
        let known = (self.entries.len() + self.chunks.len()) as u64;
        assert!(stats.entries + stats.chunks <= known, "{stats:?}, but only {known} were put");
        assert_eq!(stats.corrupt, 0);
        assert!(self.folder.file_bytes_max() <= self.bytes, "{stats:?}");
        assert!(self.lost <= stats.evicted + stats.dropped, "{} lost: {stats:?}", self.lost);
    }

    /// Finds everything missing now, so that what opening loses is known.
    async fn look_at_all(&mut self) -> Vec<(usize, Version)> {
        self.settle().await;
        for number in self.entries.keys().copied().collect::<Vec<_>>() {
            self.get(number).await;
        }
        self.settle().await;
        self.entries.iter().map(|(key, version)| (*key, *version)).collect()
    }

    async fn reopen(&mut self, bytes: u64) {
        let before = self.look_at_all().await;
        self.disk.close();
        let has_shrunk = bytes < self.bytes;
        self.folder = self.folder.copy();
        self.disk = open_good(&self.folder, bytes);
        self.bytes = bytes;
        let shown = || format!("{} bytes are {}", bytes, self.folder.file_bytes());
        wait_until(|| self.folder.file_bytes() <= bytes, shown);
        self.folder.measure_anew();
        self.lost = 0;
        for (key, version) in before {
            match get(&self.disk, key).await {
                Some(got) => assert_eq!(got, version, "an old value after opening"),
                None if has_shrunk => drop(self.entries.remove(&key)),
                None => panic!("{version:?} was lost by closing and opening"),
            }
        }
    }
}

async fn run(usual: u64, bytes: u64, keys: usize, body_bytes_max: usize, steps: usize) {
    let seed = seed(usual);
    for round in 0..rounds(1) as u64 {
        let mut model = Model::new(seed + round, bytes, keys, body_bytes_max);
        for _ in 0..steps {
            model.step().await;
        }
        model.settle().await;
        model.disk.close();
    }
}

#[tokio::test]
async fn a_tier_with_room_for_all_is_as_good_as_a_map() {
    run(11, LARGE, 60, 9000, 3000).await;
}

#[tokio::test]
async fn a_tier_that_is_too_small_loses_some_but_gives_nothing_wrong_or_old() {
    run(12, SMALL, 300, 250_000, 1500).await;
}

#[tokio::test]
async fn reads_that_have_to_wait_for_the_device_find_the_same() {
    let seed = seed(13);
    let mut model = Model::new(seed, LARGE, 30, 200_000);
    model.folder.make_reads_wait(seed);
    for _ in 0..400 {
        // Opening makes another folder: this one has no fault.
        model.step().await;
    }
    model.settle().await;
    model.disk.close();
}

#[tokio::test]
async fn another_capacity_at_each_start_keeps_what_fits_and_never_the_wrong_thing() {
    let seed = seed(14);
    let mut model = Model::new(seed, LARGE, 200, 250_000);
    for bytes in [SMALL, LARGE, 40 * MIB, 24 * MIB, SMALL, 100 * MIB] {
        for _ in 0..200 {
            model.step().await;
        }
        model.reopen(bytes).await;
    }
    model.disk.close();
}
