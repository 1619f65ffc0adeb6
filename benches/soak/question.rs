//! What is asked, and whether an answer is the right one: every byte of every content is told by its
//! path.

use bytes::Bytes;
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const HOST: &str = "soak.test";
/// Objects that are asked for again and again.
const POPULAR: u64 = 200;
const LARGE: u64 = 20;
const SMALL_BYTES: usize = 16 * 1024;
const LARGE_BYTES: usize = 1024 * 1024;
pub(crate) const CONTENT_BYTES_MAX: usize = 8 * 1024 * 1024;
const PERIOD: usize = 251;
pub(crate) const UPLOAD_BYTES: usize = 64 * 1024;

/// For URLs that nobody has asked for yet.
static UNIQUE: AtomicU64 = AtomicU64::new(1_000_000);

/// One request, and what it has to be answered with.
pub(crate) struct Question {
    pub(crate) path: String,
    /// Another field line, if there is one.
    pub(crate) field: Option<(&'static str, String)>,
    /// Sent with POST.
    pub(crate) upload_bytes: usize,
    status: u16,
    id: u64,
    content: Range<usize>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By its Cache-Status.
    pub(crate) is_hit: bool,
    pub(crate) body: Bytes,
}

impl Question {
    /// The one that comes next of a mixture: half of it hits.
    pub(crate) fn next(random: &mut fastrand::Rng) -> Self {
        match random.u32(0..100) {
            0..50 => Self::kept(SMALL_BYTES, random.u64(0..POPULAR)),
            50..65 => Self::unknown(SMALL_BYTES),
            65..70 => Self::unknown(16 * SMALL_BYTES),
            70..80 => Self::passed(SMALL_BYTES / 4),
            80..90 => {
                let first = random.usize(0..LARGE_BYTES);
                let end = LARGE_BYTES.min(first + random.usize(1..2 * SMALL_BYTES));
                Self::part(LARGE_BYTES, random.u64(0..LARGE), first..end)
            }
            90..95 => Self::known(SMALL_BYTES, random.u64(0..POPULAR)),
            _ => Self::upload(),
        }
    }

    /// Something that can be kept.
    pub(crate) fn kept(bytes: usize, id: u64) -> Self {
        let path = format!("/kept/{bytes}/{id}");
        Self { path, field: None, upload_bytes: 0, status: 200, id, content: 0..bytes }
    }

    /// The same, and nobody has it yet.
    pub(crate) fn unknown(bytes: usize) -> Self {
        Self::kept(bytes, UNIQUE.fetch_add(1, Ordering::Relaxed))
    }

    fn passed(bytes: usize) -> Self {
        let id = UNIQUE.fetch_add(1, Ordering::Relaxed);
        let path = format!("/passed/{bytes}/{id}");
        Self { path, ..Self::kept(bytes, id) }
    }

    fn part(bytes: usize, id: u64, content: Range<usize>) -> Self {
        let range = format!("bytes={}-{}", content.start, content.end - 1);
        let field = Some(("range", range));
        Self { field, status: 206, content, ..Self::kept(bytes, id) }
    }

    /// Somebody who has it asks whether it is still good.
    fn known(bytes: usize, id: u64) -> Self {
        let field = Some(("if-none-match", format!("\"{id}\"")));
        Self { field, status: 304, content: 0..0, ..Self::kept(bytes, id) }
    }

    pub(crate) fn upload() -> Self {
        let path = "/upload".to_owned();
        Self { path, upload_bytes: UPLOAD_BYTES, content: 0..0, ..Self::kept(0, 0) }
    }

    /// What is wrong with an answer to it.
    pub(crate) fn objection(&self, answer: &Answer) -> Option<String> {
        let wrong = |what: String| Some(format!("{} {:?}: {what}", self.path, self.field));
        if answer.status != self.status {
            return wrong(format!("{} in the place of {}", answer.status, self.status));
        }
        if self.upload_bytes > 0 {
            let taken = self.upload_bytes.to_string();
            return if answer.body == taken { None } else { wrong(format!("{:?}", answer.body)) };
        }
        if answer.body.len() != self.content.len() {
            return wrong(format!("{} bytes", answer.body.len()));
        }
        let expected = content(self.id, self.content.clone());
        if answer.body == expected { None } else { wrong("other bytes".to_owned()) }
    }
}

/// Bytes of the content with this number: any of it is a part of one pattern.
pub(crate) fn content(id: u64, part: Range<usize>) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let positions = 0..CONTENT_BYTES_MAX + PERIOD;
        positions.map(|position| (position % PERIOD) as u8).collect()
    });
    let first = (id % PERIOD as u64) as usize;
    &PATTERN[first + part.start..first + part.end]
}
