//! Taking the folder in use: superblock, purge log; and finding out what is in it, newest segments
//! first, while requests are answered already.

use super::files::File;
use super::format::{Bad, FooterEntry, SUPERBLOCK_BYTES, Superblock, segment_id, segment_name};
use super::purge_log;
use super::segment::{self, Footer, Oldest, Scanned, Segment};
use super::tier::{Mount, State, Tier, now};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The superblock's name.
pub(super) const SUPERBLOCK: &str = "brim.store";
const NEW_SUPERBLOCK: &str = "brim.store.new";
/// Threads that read footers.
const THREADS: usize = 2;

/// Takes the folder, which this process has claimed, in use. What is in it still has to be found out.
pub(super) fn mount(tier: &Tier) -> io::Result<Vec<u32>> {
    let names = tier.folder.names()?;
    let mut ids: Vec<u32> = names.iter().filter_map(|name| segment_id(name)).collect();
    ids.sort_unstable();
    let superblock = superblock(tier, &names, !ids.is_empty())?;
    tier.raise_sequence(superblock.run << super::format::RUN_SHIFT);
    let (log, removed) = purge_log::open(&*tier.folder, &names, |_| tier.draw())?;
    tier.raise_sequence(removed.sequence_max());
    let newest = ids.last().copied().unwrap_or(0);
    tier.next_segment.fetch_max(newest.saturating_add(1), Ordering::SeqCst);
    let mut mount = tier.mount_mut();
    tier.purges.load(&removed.rules());
    tier.keep_notes(removed.notes.into());
    tier.index.clear(false, || 0);
    tier.segments.replace(Vec::new());
    tier.foreign_bytes.store(0, Ordering::Relaxed);
    for (hash, sequence) in &removed.keys {
        tier.index.shard(*hash).note_removed(*hash, *sequence);
    }
    let has_unwritten = tier.log.attach(log);
    tier.note_floor();
    *mount = Mount {
        state: State::Recovering,
        seed: superblock.seed,
        is_partial: false,
        all_before: removed.all.unwrap_or(0),
    };
    drop(mount);
    tier.state.send_replace(State::Recovering);
    if has_unwritten {
        tracing::warn!("something was removed without this folder: all that is in it is forgotten");
        tier.remove_all();
        tier.log.wait_until_written();
    }
    Ok(ids)
}

/// Reads the superblock and counts this run in it; makes one in an empty folder.
fn superblock(tier: &Tier, names: &[String], has_segments: bool) -> io::Result<Superblock> {
    let folder = &*tier.folder;
    let unusable = |what: &str| Err(io::Error::new(ErrorKind::Unsupported, what.to_owned()));
    let mut known = None;
    if names.iter().any(|name| name == SUPERBLOCK) {
        let file = folder.open(SUPERBLOCK)?;
        match read_superblock(&*file)? {
            Ok(superblock) => known = Some(superblock),
            Err(bad @ (Bad::Version(_) | Bad::Foreign)) => {
                return unusable(&format!("{SUPERBLOCK} is {bad}"));
            }
            Err(bad) if has_segments => return unusable(&format!("{SUPERBLOCK} is {bad}")),
            Err(_) => {}
        }
    } else if has_segments {
        return unusable(&format!("there are segments, but no {SUPERBLOCK}"));
    }
    let mut superblock = known.unwrap_or_else(|| {
        let random = || RandomState::new().hash_one(now()).to_le_bytes();
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&random());
        seed[8..].copy_from_slice(&random());
        Superblock { seed, created: now(), run: 0 }
    });
    superblock.run += 1;
    purge_log::replace(folder, SUPERBLOCK, NEW_SUPERBLOCK, &superblock.encode(), true)?;
    folder.sync()?;
    Ok(superblock)
}

/// Reads the superblock's file.
pub(super) fn read_superblock(file: &dyn File) -> io::Result<Result<Superblock, Bad>> {
    let mut bytes = [0; SUPERBLOCK_BYTES];
    let read = file.read(&mut bytes, 0)?;
    Ok(Superblock::parse(&bytes[..read]))
}

/// Finds out what the segments hold. `ids` are those from before this start. Whether all could be
/// read.
pub(super) fn recover(tier: &Tier, mut ids: Vec<u32>) -> bool {
    // Newest first: then most of what is found is not found again.
    ids.reverse();
    let next = AtomicUsize::new(0);
    let is_partial = AtomicBool::new(false);
    let all_before = tier.mount().all_before;
    reserve(tier, &ids);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if tier.is_stopping.load(Ordering::Relaxed) {
                        is_partial.store(true, Ordering::Relaxed);
                        return;
                    }
                    if let Err(error) = recover_segment(tier, *id, all_before) {
                        let name = segment_name(*id);
                        tracing::warn!(name, %error, "a segment of the disk tier is left alone");
                        is_partial.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    !is_partial.into_inner()
}

/// What there is is known now.
pub(super) fn is_recovered(tier: &Tier, is_all: bool) {
    let mut mount = tier.mount_mut();
    mount.is_partial = !is_all;
    mount.state = State::Known;
    tier.index.forget_removed();
    drop(mount);
    tier.note_floor();
    tier.state.send_replace(State::Known);
    let held = tier.index.held();
    let (entries, chunks) = (held.entries, held.chunks);
    tracing::info!(entries, chunks, "the disk tier knows what it has");
}

/// Makes room in the index for what the footers say.
fn reserve(tier: &Tier, ids: &[u32]) {
    let entries = |id: &u32| {
        let file = tier.folder.open(&segment_name(*id)).ok()?;
        Some(segment::read_trailer(&*file, *id).ok()?.ok()??.0.entries as usize)
    };
    tier.index.reserve(ids.iter().filter_map(entries).sum());
}

fn recover_segment(tier: &Tier, id: u32, all_before: u64) -> io::Result<()> {
    let file = tier.folder.open(&segment_name(id))?;
    let bytes = file.bytes()?;
    match segment::read_head(&*file)? {
        Ok(head) if head.id == id => {}
        Ok(_) => return left_alone(tier, bytes, "it has another segment's number"),
        Err(bad @ (Bad::Version(_) | Bad::Foreign)) => {
            return left_alone(tier, bytes, &bad.to_string());
        }
        // Every record says itself where it belongs.
        Err(Bad::Short | Bad::Checksum | Bad::Value) => {}
    }
    let (entries, asked, bytes) = match footer(&*file, id)? {
        Some(Footer { entries, trailer, .. }) => (entries, trailer.asked_min, bytes),
        None => {
            let Scanned { entries, oldest, end, .. } = segment::scan_unsealed(&*file, id)?;
            if entries.is_empty() {
                return tier.folder.remove(&segment_name(id));
            }
            let all = segment::seal(&*file, id, end, &entries, oldest.asked, now())?;
            (entries, oldest.asked, all)
        }
    };
    let sequence = entries.iter().map(|entry| entry.sequence).min().unwrap_or(u64::MAX);
    let sequence_max = entries.iter().map(|entry| entry.sequence).max().unwrap_or(0);
    tier.raise_sequence(sequence_max);
    // Before its slots: who finds one finds the segment.
    tier.segments.insert(Arc::new(Segment::new(id, file, bytes, Oldest { sequence, asked })));
    tier.index.recover(id, &entries, all_before);
    Ok(())
}

fn left_alone(tier: &Tier, bytes: u64, why: &str) -> io::Result<()> {
    tier.foreign_bytes.fetch_add(bytes, Ordering::Relaxed);
    Err(io::Error::new(ErrorKind::Unsupported, why.to_owned()))
}

fn footer(file: &dyn File, id: u32) -> io::Result<Option<Footer>> {
    Ok(segment::read_footer(file, id)?.ok().flatten())
}

/// What a segment holds, from its footer or from reading it.
pub(super) fn entries_of(segment: &Segment) -> io::Result<Vec<FooterEntry>> {
    match footer(&*segment.file, segment.id)? {
        Some(footer) => Ok(footer.entries),
        None => Ok(segment::scan(&*segment.file, segment.id)?.entries),
    }
}
