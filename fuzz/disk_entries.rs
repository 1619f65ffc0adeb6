//! What must hold for any bytes whatever that the disk tier finds in its files; used as `entries.rs`
//! is. As checksums keep most inputs from everything behind them, each is also tried with them put
//! right.

use brim::store::disk::format::{
    Bad, FOOTER_ENTRY_BYTES, FooterEntry, LOG_HEAD_BYTES, LogEntry, NAME_BYTES_MAX, PART_BYTES_MAX,
    RECORD_BYTES_MAX, RECORD_HEAD_BYTES, Record, RecordHead, SEGMENT_HEAD_BYTES, SUPERBLOCK_BYTES,
    SegmentHead, Superblock, TRAILER_BYTES, Trailer, WholeRecord, encode_footer, encode_log_head,
    footer_bytes, parse_footer_entries, parse_log_head,
};
use bytes::Bytes;
use crc32c::crc32c;

/// A record that is taken for good is written as the same bytes, and with one bit changed it is
/// not taken for good any more.
pub(crate) fn disk_record(data: &[u8]) {
    whole_record(data);
    let mut repaired = data.to_vec();
    let Some(head) = repaired.get_mut(..RECORD_HEAD_BYTES) else { return };
    repair(head, 4, 8);
    if let Ok(head) = RecordHead::parse(&repaired)
        && let Some(meta) = repaired[RECORD_HEAD_BYTES..].get(..head.meta_bytes())
    {
        let head = RecordHead { meta_checksum: crc32c(meta), ..head };
        repaired[..RECORD_HEAD_BYTES].copy_from_slice(&head.encode());
    }
    whole_record(&repaired);
    made_record(data);
}

fn whole_record(data: &[u8]) {
    if let Ok(head) = RecordHead::parse(data) {
        assert_eq!(head.encode(), data[..RECORD_HEAD_BYTES], "another way to say the same");
        assert!(head.key_bytes as usize <= NAME_BYTES_MAX);
        assert!(head.tags_bytes as usize <= NAME_BYTES_MAX);
        assert!(head.head_bytes as usize <= PART_BYTES_MAX);
        assert!(head.body_bytes as usize <= PART_BYTES_MAX);
        assert!(head.record_bytes() <= RECORD_BYTES_MAX);
    }
    let bytes = Bytes::copy_from_slice(data);
    let Ok(whole) = WholeRecord::parse(&bytes) else { return };
    assert_eq!(whole.meta.key.len(), whole.head.key_bytes as usize);
    assert_eq!(whole.body.len(), whole.head.body_bytes as usize);
    let record = Record {
        hash: whole.head.hash,
        sequence: whole.head.sequence,
        asked: whole.head.asked,
        key: &whole.meta.key,
        tags: &whole.meta.tags,
        head: &whole.meta.head,
        body: std::slice::from_ref(&whole.body),
        segment: whole.head.segment,
        written_at: whole.head.written_at,
    };
    assert_eq!(record.record_bytes(), whole.head.record_bytes());
    let mut again = Vec::new();
    record.encode(&mut again);
    let end = whole.head.body_at() + whole.body.len();
    assert!(again[..end] == data[..end], "another way to say the same");
}

/// Cuts the input into the parts of a record, and changes one bit of what is written.
fn made_record(data: &[u8]) {
    let [key_bytes, tags_bytes, head_bytes, cut, flip_low, flip_high, rest @ ..] = data else {
        return;
    };
    let mut rest = rest;
    let mut take = |bytes: u8| {
        let (part, left) = rest.split_at(rest.len().min(usize::from(bytes)));
        rest = left;
        part
    };
    let (key, tags, head) = (take(*key_bytes), take(*tags_bytes), take(*head_bytes));
    // Long enough for several blocks.
    let body = rest.repeat(1 + usize::from(*cut) * 8);
    let body = Bytes::from(body[..body.len().min(200_000)].to_vec());
    let piece = body.len() * usize::from(*cut) / 256;
    let body = [body.slice(..piece), body.slice(piece..)];
    let record = Record {
        hash: u64::from(*flip_low),
        sequence: 7,
        asked: 5,
        key,
        tags,
        head,
        body: &body,
        segment: 3,
        written_at: 1,
    };
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    assert_eq!(bytes.len() as u64, record.record_bytes());
    let whole = WholeRecord::parse(&Bytes::from(bytes.clone())).expect("as it was written");
    assert!(whole.meta.key == key && whole.meta.tags == tags && whole.meta.head == head);
    assert!(whole.body == [&body[0][..], &body[1][..]].concat());
    let end = whole.head.body_at() + whole.body.len();
    let flip = (usize::from(*flip_high) << 8 | usize::from(*flip_low)) * 3 % end;
    let cut_short = Bytes::copy_from_slice(&bytes[..flip]);
    assert!(WholeRecord::parse(&cut_short).is_err(), "cut at {flip}");
    bytes[flip] ^= 1 << (cut & 7);
    assert!(WholeRecord::parse(&Bytes::from(bytes)).is_err(), "a bit at {flip}");
}

/// The entries of a footer lie in order and apart from each other, in front of it.
pub(crate) fn disk_footer(data: &[u8]) {
    footer(data);
    let Some(trailer_at) = data.len().checked_sub(TRAILER_BYTES) else { return };
    let mut repaired = data.to_vec();
    let count = (trailer_at / FOOTER_ENTRY_BYTES) as u32;
    let entries = trailer_at - count as usize * FOOTER_ENTRY_BYTES;
    let checksum = crc32c(&repaired[entries..trailer_at]);
    let trailer = &mut repaired[trailer_at..];
    trailer[4..8].copy_from_slice(&checksum.to_le_bytes());
    trailer[8..12].copy_from_slice(&count.to_le_bytes());
    repair(trailer, 0, 8);
    footer(&repaired);
}

fn footer(data: &[u8]) {
    let Some(trailer_at) = data.len().checked_sub(TRAILER_BYTES) else {
        assert_eq!(Trailer::parse(data), Err(Bad::Short));
        return;
    };
    let Ok(trailer) = Trailer::parse(&data[trailer_at..]) else { return };
    let Some(begin) = trailer_at.checked_sub(trailer.entries_bytes()) else { return };
    // As if there were a segment before it.
    for records_end in [begin as u64, 1 << 20, u64::MAX] {
        let entries = &data[begin..trailer_at];
        let Ok(entries) = parse_footer_entries(&trailer, entries, records_end) else { continue };
        assert_eq!(entries.len(), trailer.entries as usize);
        let mut free_from = SEGMENT_HEAD_BYTES as u64;
        for FooterEntry { offset, length, .. } in &entries {
            assert!(*offset >= free_from && *length >= RECORD_HEAD_BYTES as u64);
            free_from = offset + length;
            assert!(free_from <= records_end && offset % 64 == 0 && length % 64 == 0);
        }
        let again = encode_footer(trailer.id, trailer.sealed, trailer.asked_min, &entries);
        assert_eq!(again.len() as u64, footer_bytes(entries.len()));
        assert!(again[..trailer.entries_bytes()] == data[begin..trailer_at]);
        let again = Trailer::parse(&again[trailer.entries_bytes()..]).expect("as it was written");
        assert_eq!(
            (again.entries, again.id, again.sealed, again.entries_checksum),
            (trailer.entries, trailer.id, trailer.sealed, trailer.entries_checksum)
        );
    }
}

/// The superblock and the head of a segment: of an unknown version they are known as that, whatever
/// else they say; cut short they are nothing; and what is taken for good is written as the same.
pub(crate) fn disk_superblock(data: &[u8]) {
    let mut repaired = data.to_vec();
    if repaired.len() >= SUPERBLOCK_BYTES {
        repair(&mut repaired[..SUPERBLOCK_BYTES], 12, 16);
    }
    for data in [data, &repaired] {
        let superblock = Superblock::parse(data);
        let head = SegmentHead::parse(data);
        assert!(superblock.is_err() || head.is_err(), "they have different names");
        if let Ok(superblock) = superblock {
            // What is kept for later versions may be anything, and the checksum covers it.
            assert!(superblock.encode()[16..48] == data[16..48]);
            assert_eq!(Superblock::parse(&superblock.encode()), Ok(superblock));
            other_versions_are_known(&superblock.encode(), |data| Superblock::parse(data).err());
        }
        if let Ok(head) = head {
            let again = head.encode();
            assert!(again[16..20] == data[16..20] && again[24..32] == data[24..32]);
            assert_eq!(SegmentHead::parse(&head.encode()), Ok(head));
            other_versions_are_known(&head.encode(), |data| SegmentHead::parse(data).err());
        }
    }
}

fn other_versions_are_known(good: &[u8], parse: impl Fn(&[u8]) -> Option<Bad>) {
    for version in [0, 2, 7, u32::MAX] {
        let mut other = good.to_vec();
        other[8..12].copy_from_slice(&version.to_le_bytes());
        assert_eq!(parse(&other), Some(Bad::Version(version)));
    }
    for cut in 0..good.len() {
        assert!(parse(&good[..cut]).is_some(), "cut at {cut}");
    }
}

/// However a purge log is cut short, what is read is what was written, up to there; each entry
/// takes bytes; and an entry that was changed is not taken for another one.
pub(crate) fn disk_purge_log(data: &[u8]) {
    log(data);
    let mut repaired = data.to_vec();
    if repaired.len() >= LOG_HEAD_BYTES {
        repaired[..LOG_HEAD_BYTES].copy_from_slice(&encode_log_head());
        let mut at = LOG_HEAD_BYTES;
        // Each entry ends where it says, if that is in the input.
        while let Some(payload) = repaired.get(at + 4..at + 8) {
            let payload = u32::from_le_bytes([payload[0], payload[1], payload[2], payload[3]]);
            let all = 24 + (payload as usize % 64).next_multiple_of(8);
            let Some(entry) = repaired.get_mut(at..at + all) else { break };
            if entry[16] > 2 {
                entry[23] = entry[4..23].iter().fold(0, |parity, byte| parity ^ byte);
            }
            repair(entry, 0, 4);
            at += all;
        }
    }
    log(&repaired);
}

fn log(data: &[u8]) {
    if parse_log_head(data).is_err() {
        return;
    }
    let whole = log_entries(&data[LOG_HEAD_BYTES..]);
    let mut again = Vec::new();
    for (entry, _) in &whole {
        entry.encode(&mut again);
    }
    let meant: Vec<_> = whole.iter().map(|(entry, _)| entry.clone()).collect();
    let said: Vec<_> = log_entries(&again).iter().map(|(entry, _)| entry.clone()).collect();
    assert_eq!(meant, said);
    let all = LOG_HEAD_BYTES + whole.last().map_or(0, |(_, end)| *end);
    for cut in (LOG_HEAD_BYTES..all).step_by(5) {
        let left = log_entries(&data[LOG_HEAD_BYTES..cut]);
        assert!(whole.starts_with(&left) && left.len() < whole.len());
    }
    if let Some((entry, end)) = whole.first() {
        for at in 0..*end {
            let mut changed = data[LOG_HEAD_BYTES..LOG_HEAD_BYTES + end].to_vec();
            changed[at] ^= 4;
            assert!(LogEntry::parse(&changed).is_err(), "{entry:?} with a bit at {at}");
        }
    }
}

/// Each with where it ends.
fn log_entries(data: &[u8]) -> Vec<(LogEntry, usize)> {
    let (mut entries, mut at) = (Vec::new(), 0);
    while let Ok((entry, taken)) = LogEntry::parse(&data[at..]) {
        assert!(taken >= 24 && taken % 8 == 0 && at + taken <= data.len());
        at += taken;
        entries.push((entry, at));
    }
    entries
}

fn repair(bytes: &mut [u8], checksum_at: usize, from: usize) {
    if bytes.len() > from {
        let checksum = crc32c(&bytes[from..]);
        bytes[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
    }
}
