//! The one thread that writes: it takes what was put, appends it to the active segment, makes slots
//! of it, seals what is full and makes room. It also takes the folder in use, and when there is
//! trouble, tries again until it is over.
//!
//! A slot appears only after its record was written, and only if nobody has removed or put the same
//! meanwhile: the ticket in the index says so.

use super::NOT_WRITTEN;
use super::eviction::Evacuation;
use super::files::File;
use super::format::{
    ALIGNMENT, FooterEntry, Record, SEGMENT_HEAD_BYTES, SEGMENT_RECORDS_MAX, SegmentHead,
    WholeRecord, footer_bytes, is_entry, segment_name,
};
use super::index::{Location, SEGMENT_ID_END};
use super::mounting::{is_recovered, mount, recover};
use super::purge_log;
use super::queue::{Job, Owed};
use super::segment::{self, Oldest, Segment};
use super::tier::{Mount, Part, State, Tier, now};
use crate::store::purges::Fate;
use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Written at once.
const BUFFER_BYTES: usize = 1024 * 1024;
const TICK: Duration = Duration::from_secs(1);
/// How often counts of hits are written.
const HITS_EVERY: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Names of the file with the hits of each segment, a line for each: its number, and how many.
pub(super) const HITS: &str = "hits";
const NEW_HITS: &str = "hits.new";

pub(super) struct Writer {
    tier: Arc<Tier>,
    /// Segments from before the start, of which nothing is known yet.
    unknown: Option<Vec<u32>>,
    active: Option<Active>,
    evacuation: Option<Evacuation>,
    /// When to try again after trouble, and how long to wait the next time.
    retry_at: Instant,
    retry_after: Duration,
    hits_written: Instant,
}

/// The segment that is written to.
struct Active {
    segment: Arc<Segment>,
    /// Where the buffer is going to be written.
    end: u64,
    buffer: Vec<u8>,
    entries: Vec<FooterEntry>,
    waiting: Vec<Waiting>,
}

/// A record in the buffer.
struct Waiting {
    hash: u64,
    location: Location,
    origin: Source,
}

/// Where a record comes from.
enum Source {
    Put {
        ticket: u64,
        receipt: Owed,
        claimed: u64,
    },
    /// Written again from there.
    Evacuated(Location),
}

impl Writer {
    /// The folder is claimed already.
    pub(super) fn new(tier: Arc<Tier>) -> Self {
        let now = Instant::now();
        Self {
            tier,
            unknown: None,
            active: None,
            evacuation: None,
            retry_at: now,
            retry_after: TICK,
            hits_written: now,
        }
    }

    /// Takes the folder in use, or notes why not.
    pub(super) fn begin(&mut self, claimed: io::Result<()>) {
        let begun = claimed.and_then(|()| self.mount());
        self.heed(begun.inspect_err(|_| self.tier.folder.release()));
    }

    /// Takes the folder in use that another process has had.
    pub(super) fn begin_anew(&mut self) {
        self.unmount();
        self.begin(self.tier.folder.claim());
    }

    /// The thread. After a panic nobody knows what of the tier is half done: everything is found out
    /// anew, as after a crash.
    pub(super) fn run_on(self) {
        let (tier, mut retry_after, mut writer) = (self.tier.clone(), TICK, self);
        while catch_unwind(AssertUnwindSafe(|| writer.run())).is_err() {
            writer = Self::new(tier.clone());
            writer.retry_after = retry_after;
            writer.unmount();
            writer.heed(Err(io::Error::other("its writer broke off")));
            retry_after = writer.retry_after;
        }
    }

    fn run(mut self) {
        self.recover();
        let mut tick_at = Instant::now() + TICK;
        loop {
            let (jobs, is_last) = self.tier.queue.take(tick_at);
            self.take(jobs);
            if Instant::now() >= tick_at {
                self.tick();
                tick_at = Instant::now() + TICK;
            }
            if is_last {
                return self.end();
            }
        }
    }

    fn end(mut self) {
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "the last segment of the disk tier could not be sealed");
            self.drop_active();
        }
        self.write_hits();
    }

    fn mount(&mut self) -> io::Result<()> {
        self.unknown = Some(mount(&self.tier)?);
        Ok(())
    }

    /// Finds out what there is; what is put meanwhile waits in the queue.
    fn recover(&mut self) {
        let Some(ids) = self.unknown.take() else { return };
        let is_all = recover(&self.tier, ids);
        for (id, hits) in self.read_hits() {
            if let Some(segment) = self.tier.segments.get(id) {
                segment.hits.fetch_add(hits, Ordering::Relaxed);
            }
        }
        let trimmed = self.make_free(0);
        is_recovered(&self.tier, is_all);
        self.heed(trimmed);
    }

    /// The folder is not there any more, or another one is.
    fn unmount(&mut self) {
        self.drop_active();
        self.evacuation = None;
        let mut mount = self.tier.mount_mut();
        *mount = Mount { state: State::Absent, seed: [0; 16], is_partial: false, all_before: 0 };
        self.tier.log.detach();
        self.tier.index.clear(false, || 0);
        self.tier.segments.replace(Vec::new());
        self.tier.queue.forget_taken();
        drop(mount);
        self.tier.note_floor();
        self.tier.state.send_replace(State::Absent);
        self.tier.folder.release();
    }

    fn heed(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => self.tier.set_fault(Part::Writer, None),
            Err(error) => {
                self.drop_active();
                self.tier.set_fault(Part::Writer, Some(error.to_string()));
                self.retry_at = Instant::now() + self.retry_after;
                self.retry_after = (self.retry_after * 2).min(RETRY_MAX);
            }
        }
    }

    fn tick(&mut self) {
        let is_mounted = self.tier.mount().state != State::Absent;
        if is_mounted && !self.tier.folder.is_in_place() {
            self.unmount();
            self.heed(Err(io::Error::new(ErrorKind::NotFound, "the folder is gone")));
        }
        if self.tier.has_fault() && Instant::now() >= self.retry_at {
            let tried = self.try_again();
            self.heed(tried);
            self.recover();
        }
        if self.hits_written.elapsed() >= HITS_EVERY {
            self.write_hits();
        }
    }

    fn try_again(&mut self) -> io::Result<()> {
        if self.tier.mount().state == State::Absent {
            let claimed = self.tier.folder.claim();
            let mounted = claimed.and_then(|()| self.mount());
            return mounted.inspect_err(|_| self.tier.folder.release());
        }
        if self.active.is_none() {
            self.active = Some(self.new_active()?);
        }
        Ok(())
    }

    fn take(&mut self, jobs: VecDeque<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut jobs = jobs.into_iter();
        // Until it is time to try again nothing is tried: to make room where there is none would cost
        // what is there.
        let is_tried = self.active.is_some() || Instant::now() >= self.retry_at;
        while is_tried && let Some(job) = jobs.next() {
            if let Err(error) = self.append(job) {
                self.heed(Err(error));
                break;
            }
        }
        for job in jobs {
            self.drop_job(job.hash, job.ticket, job.receipt, job.claimed);
        }
        if let Err(error) = self.flush() {
            self.heed(Err(error));
        }
    }

    fn drop_job(&self, hash: u64, ticket: u64, receipt: Owed, claimed: u64) {
        self.tier.drop_job(hash, ticket, receipt);
        self.tier.queue.finish(1, claimed);
    }

    /// Adds a record to the buffer.
    fn append(&mut self, job: Job) -> io::Result<()> {
        let Job { hash, ticket, asked, key, tags, head, body, receipt, claimed } = job;
        let record = |segment| Record {
            hash,
            sequence: ticket,
            asked,
            key: &key,
            tags: &tags,
            head: &head,
            body: &body,
            segment,
            written_at: now() as u32,
        };
        let has_room = self.make_room(record(0).record_bytes());
        if let Err(error) = has_room {
            self.drop_job(hash, ticket, receipt, claimed);
            return Err(error);
        }
        let Some(active) = &mut self.active else {
            self.drop_job(hash, ticket, receipt, claimed);
            return Ok(());
        };
        // Before the index is asked: what is removed from now on is larger, and stays in the log.
        active.segment.sequence_min.fetch_min(ticket, Ordering::SeqCst);
        if is_entry(hash) {
            active.segment.asked_min.fetch_min(asked, Ordering::SeqCst);
        }
        if self.tier.index.shard(hash).ticket(hash) != Some(ticket) {
            receipt.settle(NOT_WRITTEN);
            self.tier.queue.finish(1, claimed);
            return Ok(());
        }
        active.push(&record(active.segment.id), Source::Put { ticket, receipt, claimed });
        self.step()
    }

    /// Sees to it that there is a segment with room for a record.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.active.as_ref().is_some_and(|active| active.has_room(bytes, &self.tier)) {
            return Ok(());
        }
        self.seal()?;
        self.active = Some(self.new_active()?);
        Ok(())
    }

    /// Writes what is in the buffer, makes slots of it, and goes on with making room.
    fn step(&mut self) -> io::Result<()> {
        self.flush_if_full()?;
        let Some(active) = &self.active else { return Ok(()) };
        let progress = active.next() as f64 / self.tier.segment_bytes as f64;
        self.evacuate(progress)
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        let is_full =
            self.active.as_ref().is_some_and(|active| active.buffer.len() >= BUFFER_BYTES);
        if is_full { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        if active.waiting.is_empty() {
            return Ok(());
        }
        active.segment.file.write(&active.buffer, active.end)?;
        self.retry_after = TICK;
        active.end += active.buffer.len() as u64;
        active.buffer.clear();
        let (mut jobs, mut bytes) = (0, 0);
        for waiting in active.waiting.drain(..) {
            let Waiting { hash, location, origin } = waiting;
            let mut shard = self.tier.index.shard(hash);
            match origin {
                Source::Put { ticket, receipt, claimed } => {
                    let is_wanted = shard.ticket(hash) == Some(ticket);
                    if is_wanted {
                        shard.take_ticket(hash);
                        shard.insert(hash, location, 0);
                    }
                    let written = if is_wanted { location.segment() } else { NOT_WRITTEN };
                    receipt.settle(written);
                    (jobs, bytes) = (jobs + 1, bytes + claimed);
                }
                Source::Evacuated(from) => {
                    if let Some(touched) = shard.touched_at(hash, from) {
                        shard.insert(hash, location, touched.saturating_sub(1));
                    }
                }
            }
            self.tier.counters.written.fetch_add(1, Ordering::Relaxed);
        }
        self.tier.queue.finish(jobs, bytes);
        Ok(())
    }

    /// Goes on with taking the oldest segment away, up to this share of it.
    fn evacuate(&mut self, progress: f64) -> io::Result<()> {
        while let Some(evacuation) = &mut self.evacuation {
            let Some(active) = &self.active else { return Ok(()) };
            let Some((entry, from)) = evacuation.next_wanted(&self.tier, progress) else {
                return Ok(());
            };
            if !active.has_room(entry.length, &self.tier) {
                return Ok(());
            }
            let sequence = self.tier.draw();
            active.segment.sequence_min.fetch_min(sequence, Ordering::SeqCst);
            // After the sequence was drawn: what removes it from now on has a larger one.
            if self.tier.index.shard(entry.hash).touched_at(entry.hash, from).is_none() {
                continue;
            }
            let Some(record) = self.tier.read_again(evacuation.segment(), entry.hash, from) else {
                continue;
            };
            evacuation.is_written_again(entry.length);
            self.append_again(entry.hash, sequence, &record, from)?;
        }
        Ok(())
    }

    fn append_again(
        &mut self,
        hash: u64,
        sequence: u64,
        record: &WholeRecord,
        from: Location,
    ) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let WholeRecord { head, meta, body } = record;
        // What no rule is about was, as far as rules go, asked for now: they need not be kept for it.
        let newest = self.tier.purges.newest();
        let fate = self.tier.purges.fate(&meta.key, &meta.tags, head.asked);
        let asked = if fate == Fate::Stays { head.asked.max(newest) } else { head.asked };
        if is_entry(hash) {
            active.segment.asked_min.fetch_min(asked, Ordering::SeqCst);
        }
        let again = Record {
            hash,
            sequence,
            asked,
            key: &meta.key,
            tags: &meta.tags,
            head: &meta.head,
            body: std::slice::from_ref(body),
            segment: active.segment.id,
            written_at: now() as u32,
        };
        active.push(&again, Source::Evacuated(from));
        self.flush_if_full()
    }

    /// Ends the active segment.
    fn seal(&mut self) -> io::Result<()> {
        self.flush()?;
        let Some(active) = self.active.take() else { return Ok(()) };
        let Active { segment, end, entries, .. } = active;
        if entries.is_empty() {
            remove_file(&self.tier, &segment)?;
            self.tier.segments.remove(segment.id);
            return Ok(());
        }
        let asked_min = segment.asked_min.load(Ordering::SeqCst);
        let all = segment::seal(&*segment.file, segment.id, end, &entries, asked_min, now())?;
        segment.file_bytes.store(all, Ordering::Relaxed);
        segment.file.sync()
    }

    /// After an error nobody knows what of the buffer was written: the segment is left as it is, for
    /// those records that have slots, and to be sealed at the next start.
    fn drop_active(&mut self) {
        let Some(active) = self.active.take() else { return };
        let is_empty = active.end == SEGMENT_HEAD_BYTES as u64;
        for Waiting { hash, origin, .. } in active.waiting {
            match origin {
                Source::Put { ticket, receipt, claimed } => {
                    self.drop_job(hash, ticket, receipt, claimed);
                }
                // There may be two of it now, of which only one has the slot.
                Source::Evacuated(from) => self.tier.remove_unread(hash, from),
            }
        }
        // Not one for each try: they would drive out what is good.
        if is_empty && remove_file(&self.tier, &active.segment).is_ok() {
            self.tier.segments.remove(active.segment.id);
            self.tier.note_floor();
        }
    }

    fn new_active(&mut self) -> io::Result<Active> {
        self.finish_evacuation()?;
        let bytes = self.tier.segment_bytes;
        self.make_free(bytes)?;
        let id = self.tier.next_segment.fetch_add(1, Ordering::SeqCst);
        if id >= SEGMENT_ID_END {
            return Err(io::Error::other("all numbers of segments are used up"));
        }
        let file = loop {
            match self.tier.folder.create(&segment_name(id), bytes) {
                Ok(file) => break file,
                // Somebody else fills the device: this tier lives with less.
                Err(error) if error.kind() == ErrorKind::StorageFull && self.begin_evacuation() => {
                    self.finish_evacuation()?;
                }
                Err(error) => return Err(error),
            }
        };
        let segment = Arc::new(Segment::new(id, file, bytes, Oldest::OF_NOTHING));
        let head = SegmentHead { id, created: now() }.encode();
        let begun = segment.file.write(&head, 0).and_then(|()| self.tier.folder.sync());
        begun.inspect_err(|_| {
            // If this does not work either, the next start takes it away.
            let _ = self.tier.folder.remove(&segment.name());
        })?;
        self.tier.segments.insert(segment.clone());
        self.tier.note_floor();
        let end = SEGMENT_HEAD_BYTES as u64;
        // What the next one is going to need is made free while this one fills.
        if self.tier.missing(bytes) > 0 {
            self.begin_evacuation_but_of(Some(id));
        }
        let (buffer, entries, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Active { segment, end, buffer, entries, waiting })
    }

    /// Begins to take the oldest segment away, while none is written to; whether there is one.
    fn begin_evacuation(&mut self) -> bool {
        self.begin_evacuation_but_of(None)
    }

    fn begin_evacuation_but_of(&mut self, active: Option<u32>) -> bool {
        let oldest = self.tier.segments.oldest().filter(|oldest| Some(oldest.id) != active);
        let Some(oldest) = oldest.filter(|_| self.evacuation.is_none()) else {
            return false;
        };
        self.evacuation = Some(Evacuation::of(oldest));
        true
    }

    /// Takes away what is left of it. The file goes first: a record that is on the disk has its slot.
    fn finish_evacuation(&mut self) -> io::Result<()> {
        let Some(evacuation) = &mut self.evacuation else { return Ok(()) };
        remove_file(&self.tier, evacuation.segment())?;
        let evicted = evacuation.drop_rest(&self.tier);
        self.tier.counters.evicted.fetch_add(evicted, Ordering::Relaxed);
        self.tier.segments.remove(evacuation.segment().id);
        self.tier.note_floor();
        self.evacuation = None;
        Ok(())
    }

    /// Takes the oldest segments away until there is room for so much.
    fn make_free(&mut self, bytes: u64) -> io::Result<()> {
        while self.tier.missing(bytes) > 0 {
            if !self.begin_evacuation() {
                return Err(io::Error::new(ErrorKind::StorageFull, "there is no room in its size"));
            }
            self.finish_evacuation()?;
        }
        Ok(())
    }

    fn read_hits(&self) -> HashMap<u32, u64> {
        self.tier.folder.open(HITS).map(|file| read_hits(&*file)).unwrap_or_default()
    }

    fn write_hits(&mut self) {
        self.hits_written = Instant::now();
        let state = self.tier.mount().state;
        if state != State::Known || self.tier.has_fault() {
            return;
        }
        let line = |segment: Arc<Segment>| {
            format!("{} {}\n", segment.id, segment.hits.load(Ordering::Relaxed))
        };
        let text: String = self.tier.segments.all().into_iter().map(line).collect();
        let bytes = text.as_bytes();
        if let Err(error) = purge_log::replace(&*self.tier.folder, HITS, NEW_HITS, bytes, false) {
            tracing::debug!(%error, "counts of hits could not be written");
        }
    }
}

impl Active {
    /// Where the next record goes.
    fn next(&self) -> u64 {
        self.end + self.buffer.len() as u64
    }

    fn has_room(&self, bytes: u64, tier: &Tier) -> bool {
        let entries = self.entries.len() + 1;
        let end = self.next() + bytes + footer_bytes(entries);
        end <= tier.segment_bytes && entries <= SEGMENT_RECORDS_MAX
    }

    fn push(&mut self, record: &Record<'_>, origin: Source) {
        let (offset, length) = (self.next(), record.record_bytes());
        debug_assert!(offset.is_multiple_of(ALIGNMENT), "records are aligned");
        record.encode(&mut self.buffer);
        let (hash, sequence) = (record.hash, record.sequence);
        let entry = FooterEntry { hash, sequence, offset, length };
        self.entries.push(entry);
        let location = Location::of(self.segment.id, &entry);
        self.waiting.push(Waiting { hash, location, origin });
    }
}

/// Removals that a segment's records needed are forgotten when it is certain that it does not come
/// back.
fn remove_file(tier: &Tier, segment: &Segment) -> io::Result<()> {
    match tier.folder.remove(&segment.name()) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tier.folder.sync()
}

/// What a file with hits says, if it can be read.
pub(super) fn read_hits(file: &dyn File) -> HashMap<u32, u64> {
    let mut bytes = vec![0; file.bytes().unwrap_or(0).min(1024 * 1024) as usize];
    let read = file.read(&mut bytes, 0).unwrap_or(0);
    parse_hits(&bytes[..read])
}

/// What a file with hits says; lines that say nothing are left out.
fn parse_hits(bytes: &[u8]) -> HashMap<u32, u64> {
    let text = String::from_utf8_lossy(bytes);
    let line = |line: &str| {
        let (id, hits) = line.split_once(' ')?;
        Some((id.parse().ok()?, hits.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}
