use super::*;
use crate::engine::object::HeadParts;
use crate::wire::fields::{Composer, Fields};
use crate::wire::{HeadLimits, response};
use bytes::BytesMut;
use http::Method;
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

fn fields(lines: &[(&str, &[u8])]) -> Fields {
    let mut composer = Composer::new(b"");
    lines.iter().for_each(|(name, value)| composer.add(name, value));
    composer.finish()
}

fn object(request: &[(&str, &[u8])], value: &[u8], body: Vec<u8>) -> Arc<Object> {
    let mut bytes = BytesMut::from(&b"HTTP/1.1 200 OK\r\nVary: X-Kind, Accept-Encoding\r\n"[..]);
    bytes.extend_from_slice(b"Cache-Status: far; hit\r\nSurrogate-Control: max-age=1\r\n");
    bytes.extend_from_slice(&[b"X-Value: ", value, b"\r\n\r\n"].concat());
    let response = response::parse(&mut bytes, &HeadLimits::OF_ANSWERS, &Method::GET);
    let response = response.expect("a good head").expect("a whole head");
    let terms = Terms {
        born: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789),
        lifetime: Duration::from_secs(600),
        must_validate: false,
        forbids_stale: true,
        while_revalidate: Duration::from_millis(1500),
        if_error: Some(Duration::from_secs(1 << 31)),
    };
    let (head, _) = Head::new(&HeadParts {
        response: &response,
        request: &fields(request),
        additions: b"added\n",
        terms: Ok(terms),
        withheld: &[],
        now: SystemTime::UNIX_EPOCH,
    });
    let body = Body::new(body.len() as u64, 0, vec![body.into()]);
    Arc::new(Object { head: Arc::new(head), body, asked: 42 })
}

fn content(body_of: &Kept) -> &[u8] {
    match &body_of.body {
        KeptBody::Inline(bytes) => bytes,
        KeptBody::InChunks(_) => panic!("in chunks"),
    }
}

#[test]
fn what_is_kept_is_read_back_as_it_was() {
    let objects = vec![
        object(&[("X-Kind", b"a, b"), ("Accept-Encoding", b"gzip")], b"\xc3\xa9", b"one".to_vec()),
        object(&[("X-Kind", b"c")], b"", Vec::new()),
        object(&[], b"a: b", vec![7; 16 * 1024]),
    ];
    let entry = Variants::of(objects.clone()).to_disk().expect("an entry");
    assert_eq!(entry.asked, 42);
    let kept = read(&entry).expect("understood");
    assert_eq!(kept.len(), objects.len());
    for (kept, object) in kept.iter().zip(&objects) {
        let (read, head) = (&kept.head, &object.head);
        assert_eq!((read.status, read.bytes()), (head.status, head.bytes()));
        assert_eq!((&read.variant, &read.additions), (&head.variant, &head.additions));
        assert_eq!(read.extras().for_caches, "Surrogate-Control: max-age=1\r\n");
        assert_eq!(
            (&read.extras().for_caches, &read.extras().tags),
            (&head.extras().for_caches, &head.extras().tags)
        );
        assert_eq!(
            (&read.extras().told_before[..], head.extras().told_before.len()),
            (&b"far; hit"[..], 8)
        );
        assert!(read.terms().expect("kept") == head.terms().expect("kept"));
        assert!(read.fields.iter().eq(head.fields.iter()));
        assert_eq!(kept.asked, 42);
        let mut part = 0..object.body.total();
        let mut bytes = Vec::new();
        while part.start < part.end {
            let pieces = object.body.take(&mut part).expect("here");
            pieces.iter().flatten().for_each(|piece| bytes.extend_from_slice(piece));
        }
        assert_eq!(content(kept), bytes);
    }
}

#[test]
fn what_is_large_or_has_no_place_is_left_out() {
    let small = object(&[("X-Kind", b"a")], b"", b"small".to_vec());
    let large = object(&[("X-Kind", b"b")], b"", vec![1; 16 * 1024 + 1]);
    assert_eq!(Variants::of(vec![large.clone()]).to_disk(), None);
    let entry = Variants::of(vec![large, small]).to_disk().expect("an entry");
    let kept = read(&entry).expect("understood");
    assert_eq!((kept.len(), content(&kept[0])), (1, &b"small"[..]));
}

proptest! {
    #[test]
    fn bytes_that_nobody_wrote_are_understood_or_refused(
        at in 0..2_000_usize, byte: u8, cut in 0..2_000_usize
    ) {
        let objects = vec![object(&[("X-Kind", b"a")], b"v", b"body".to_vec())];
        let entry = Variants::of(objects).to_disk().expect("an entry");
        let mut head = entry.head.to_vec();
        let at = at % head.len();
        head[at] = byte;
        let _ = read(&Content { head: head.clone().into(), ..entry.clone() });
        head.truncate(cut % head.len());
        let cut_head = Content { head: head.into(), ..entry.clone() };
        prop_assert!(read(&cut_head).is_none());
        let cut_body = Content { body: entry.body.slice(..cut % entry.body.len()), ..entry };
        prop_assert!(read(&cut_body).is_none());
    }
}
