//! Taking the oldest segment away: what was read since it was written is written again, at most half
//! of it, and the rest goes.

use super::format::{FooterEntry, is_entry};
use super::index::Location;
use super::mounting::entries_of;
use super::segment::Segment;
use super::tier::Tier;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The segment on its way out.
pub(super) struct Evacuation {
    segment: Arc<Segment>,
    /// Empty if they cannot be read; `is_known` tells.
    entries: Vec<FooterEntry>,
    is_known: bool,
    /// Of the entries that have been looked at.
    next: usize,
    written_again: u64,
}

impl Evacuation {
    pub(super) fn of(segment: Arc<Segment>) -> Self {
        let entries = entries_of(&segment);
        let is_known = entries.is_ok();
        Self { segment, entries: entries.unwrap_or_default(), is_known, next: 0, written_again: 0 }
    }

    pub(super) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// The next record that was read since, in this share of it: what is read later is looked at
    /// later.
    pub(super) fn next_wanted(
        &mut self,
        tier: &Tier,
        progress: f64,
    ) -> Option<(FooterEntry, Location)> {
        let end = (self.entries.len() as f64 * progress) as usize;
        while let Some(entry) = self.entries.get(self.next).filter(|_| self.next < end) {
            self.next += 1;
            let from = Location::of(self.segment.id, entry);
            let touched = tier.index.shard(entry.hash).touched_at(entry.hash, from);
            let has_room = self.written_again + entry.length
                <= self.segment.file_bytes.load(Ordering::Relaxed) / 2;
            match touched {
                Some(1..) if has_room => return Some((*entry, from)),
                _ => {}
            }
        }
        None
    }

    pub(super) fn is_written_again(&mut self, bytes: u64) {
        self.written_again += bytes;
    }

    /// Takes away all slots that still point to it. How many entries there were.
    pub(super) fn drop_rest(&mut self, tier: &Tier) -> u64 {
        if !self.is_known {
            return tier.index.drop_segment(self.segment.id);
        }
        let mut evicted = 0;
        for entry in std::mem::take(&mut self.entries) {
            let from = Location::of(self.segment.id, &entry);
            let mut shard = tier.index.shard(entry.hash);
            if shard.location(entry.hash) == Some(from) {
                shard.take(entry.hash);
                evicted += u64::from(is_entry(entry.hash));
            }
        }
        evicted
    }
}
