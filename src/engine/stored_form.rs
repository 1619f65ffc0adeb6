//! What is kept for a key as the disk tier keeps it: one head with everything about all variants,
//! one body with the small contents behind each other. Larger ones lie in chunks, which the head
//! names. The first byte of the head is the version of this form; what is of another one, or is
//! not understood, is a miss.

use super::body::{Body, Chunks};
use super::object::{Extras, Head, Object, StoredHead, Variants};
use crate::rules::storing::Terms;
use crate::rules::vary::Variant;
use crate::store::Value;
use crate::store::disk::format::NAME_BYTES_MAX;
use crate::store::disk::{Content, Disk, Receipt};
use crate::store::purges::{Fate, Purges};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const VERSION: u8 = 3;
/// Larger contents lie in chunks.
const INLINE_BYTES_MAX: u64 = 16 * 1024;
/// All small contents of a key together, besides those that are never anywhere else; a change of one
/// variant writes all of them again.
const INLINE_BYTES_MAX_IN_ALL: u64 = 64 * 1024;
/// All heads of a key together. The oldest variants are left out for it.
const HEAD_BYTES_MAX: usize = 512 * 1024;

#[derive(Serialize, Deserialize)]
struct StoredObject<'a> {
    status: u16,
    head: &'a [u8],
    variant: Variant,
    additions: Box<[u8]>,
    terms: Terms,
    tags: &'a [u8],
    for_caches: &'a [u8],
    told_before: &'a [u8],
    asked: u64,
    total: u64,
    lies: Lies,
}

/// A chunk that is in memory only.
pub(super) struct Unwritten {
    pub(super) generation: u64,
    pub(super) number: u32,
    pub(super) pieces: Vec<Bytes>,
}

/// Where a content is.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Lies {
    /// Next in the entry's own body.
    Inline,
    /// In the chunks of this generation.
    InChunks(u64),
}

impl Variants {
    /// The chunks that have to be written before `to_disk` tells everything. All contents that are
    /// not small have a place afterwards.
    pub(super) fn unwritten(&self, disk: &Arc<Disk>) -> Vec<Unwritten> {
        let mut inline_bytes = 0;
        let mut unwritten = Vec::new();
        for body in self.objects.iter().map(|object| &object.body) {
            if is_inline(body, &mut inline_bytes) {
                continue;
            }
            let mut in_memory = body.chunks_in_memory();
            if let Some(chunks) = body.chunks() {
                in_memory.retain(|(number, _)| !disk.has_chunk(chunks.generation(), *number));
            }
            if !in_memory.is_empty() {
                let Some(chunks) = body.lies_in(Chunks::new(disk)) else { continue };
                let generation = chunks.generation();
                let chunk = |(number, pieces)| Unwritten { generation, number, pieces };
                unwritten.extend(in_memory.into_iter().map(chunk));
            }
        }
        unwritten
    }
}

impl Value for Variants {
    fn receipt(&self) -> &Receipt {
        self.receipt.get_or_init(Receipt::default)
    }

    fn asked(&self) -> u64 {
        self.compared.load(Ordering::Relaxed)
    }

    /// `None` if there is nothing in it that could be found again.
    fn to_disk(&self) -> Option<Content> {
        let (mut head, mut body, mut tags) = (vec![VERSION], Vec::new(), BTreeSet::new());
        let mut inline_bytes = 0;
        let mut tags_bytes = 0;
        let mut asked = u64::MAX;
        for object in &self.objects {
            let lies = if is_inline(&object.body, &mut inline_bytes) {
                Lies::Inline
            } else if let Some(chunks) = object.body.chunks() {
                Lies::InChunks(chunks.generation())
            } else {
                continue;
            };
            let Ok(terms) = object.head.terms() else { continue };
            let extras = object.head.extras();
            let stored = StoredObject {
                status: object.head.status,
                head: object.head.bytes(),
                variant: object.head.variant.clone(),
                additions: object.head.additions.clone(),
                terms,
                tags: &extras.tags,
                for_caches: &extras.for_caches,
                told_before: &extras.told_before,
                asked: object.asked,
                total: object.body.total(),
                lies,
            };
            let Ok(bytes) = postcard::to_stdvec(&stored) else { continue };
            let has_room = head.len() + bytes.len() <= HEAD_BYTES_MAX;
            let new_tags = extras.tags.split_inclusive(|byte| *byte == b'\n');
            let new_tags: Vec<&[u8]> = new_tags.filter(|tag| !tags.contains(tag)).collect();
            tags_bytes += new_tags.iter().map(|tag| tag.len()).sum::<usize>();
            if !has_room || tags_bytes > NAME_BYTES_MAX {
                break;
            }
            tags.extend(new_tags);
            head.extend_from_slice(&bytes);
            asked = asked.min(object.asked);
            if matches!(lies, Lies::Inline) {
                let mut part = 0..object.body.total();
                while part.start < part.end {
                    let pieces = object.body.take(&mut part)?;
                    pieces.iter().flatten().for_each(|piece| body.extend_from_slice(piece));
                }
            }
        }
        // What it was compared with does not concern it any more.
        let asked = asked.max(self.compared.load(Ordering::Relaxed));
        let content = Content {
            tags: Vec::from_iter(tags).concat().into(),
            head: head.into(),
            body: body.into(),
            asked,
        };
        (content.head.len() > 1).then_some(content)
    }

    fn of_disk(content: &Content, disk: &Arc<Disk>) -> Option<Self> {
        let object = |kept: Kept| {
            let total = kept.total;
            let body = match kept.body {
                KeptBody::Inline(bytes) => Body::new(total, 0, vec![bytes]),
                KeptBody::InChunks(generation) => {
                    Body::on_disk(total, Chunks::of(disk, generation))
                }
            };
            Arc::new(Object { head: Arc::new(kept.head), body, asked: kept.asked })
        };
        let kept = read(content)?;
        let variants = Self::of(kept.into_iter().map(object));
        variants.compared.fetch_max(content.asked, Ordering::Relaxed);
        Some(variants)
    }
}

/// One of the answers that an entry of the disk tier holds.
#[derive(Debug)]
pub struct Kept {
    /// Its head.
    pub head: Head,
    /// The number of the moment in which the origin was asked for it.
    pub asked: u64,
    /// Length of the content.
    pub total: u64,
    /// The content.
    pub body: KeptBody,
}

/// Where a content is.
#[derive(Debug, PartialEq, Eq)]
pub enum KeptBody {
    /// Here.
    Inline(Bytes),
    /// In the chunks of this generation.
    InChunks(u64),
}

/// What an entry holds, the newest first; never empty. `None` if it is not
/// understood.
pub fn read(content: &Content) -> Option<Vec<Kept>> {
    let mut inline = content.body.clone();
    let mut all = Vec::new();
    for stored in objects(&content.head)? {
        let (asked, total) = (stored.asked, stored.total);
        let head = Head::stored(StoredHead {
            status: stored.status,
            bytes: Bytes::copy_from_slice(stored.head),
            variant: stored.variant,
            additions: stored.additions,
            terms: stored.terms,
            extras: Extras {
                tags: Bytes::copy_from_slice(stored.tags),
                for_caches: Bytes::copy_from_slice(stored.for_caches),
                told_before: Bytes::copy_from_slice(stored.told_before),
                made_stale: None,
            },
        })?;
        let body = match stored.lies {
            Lies::Inline => {
                let bytes = usize::try_from(total).ok().filter(|bytes| *bytes <= inline.len())?;
                KeptBody::Inline(inline.split_to(bytes))
            }
            Lies::InChunks(generation) => KeptBody::InChunks(generation),
        };
        all.push(Kept { head, asked, total, body });
    }
    (!all.is_empty()).then_some(all)
}

/// The same of what purges have left, as a request would find it; empty if they have left nothing.
pub fn read_left(key: &[u8], content: &Content, purges: &Purges) -> Option<Vec<Kept>> {
    let left = |kept: Kept| match purges.fate(
        key,
        &kept.head.extras().tags,
        kept.asked.max(content.asked),
    ) {
        Fate::Stays => Some(kept),
        Fate::Stale(since, _) => Some(Kept { head: kept.head.stale_since(since), ..kept }),
        Fate::Gone(_) => None,
    };
    Some(read(content)?.into_iter().filter_map(left).collect())
}

/// Whether purges have left nothing of an entry. Its body need not be there.
pub fn is_gone(key: &[u8], entry: &Content, purges: &Purges) -> bool {
    let is_gone = |tags: &[u8], asked: u64| {
        matches!(purges.fate(key, tags, asked.max(entry.asked)), Fate::Gone(_))
    };
    match objects(&entry.head) {
        Some(all) => all.iter().all(|stored| is_gone(stored.tags, stored.asked)),
        None => is_gone(&entry.tags, entry.asked),
    }
}

/// `None` if they are not understood, or there are none.
fn objects(head: &[u8]) -> Option<Vec<StoredObject<'_>>> {
    let (&version, mut rest) = head.split_first()?;
    let mut all = Vec::new();
    while version == VERSION && !rest.is_empty() {
        let (stored, after) = postcard::take_from_bytes(rest).ok()?;
        rest = after;
        all.push(stored);
    }
    (!all.is_empty()).then_some(all)
}

fn is_inline(body: &Body, inline_bytes: &mut u64) -> bool {
    let has_room =
        body.total() <= INLINE_BYTES_MAX && *inline_bytes + body.total() <= INLINE_BYTES_MAX_IN_ALL;
    let is_small = body.is_small() || has_room && body.is_in_memory();
    if is_small {
        *inline_bytes += body.total();
    }
    is_small
}

#[cfg(test)]
mod tests;
