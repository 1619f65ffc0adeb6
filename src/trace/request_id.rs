//! What a request is called.

use crate::wire::fields::Fields;
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// Of what others call a request.
const TOLD_BYTES_MAX: usize = 128;

/// What a request is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// A UUID of version 7 (RFC 9562, section 5.7): later ones are larger.
    Made(u128),
    /// By a proxy that is believed.
    Told(Box<str>),
}

impl RequestId {
    /// One that nothing else is called.
    pub fn new(now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let milliseconds = since.as_millis() & 0xffff_ffff_ffff;
        let (high, low) = (u128::from(random() & 0xfff), u128::from(random()));
        let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        Self::Made(milliseconds << 80 | 0x7 << 76 | high << 64 | low)
    }

    /// What X-Request-Id says, if that is one short word which means nothing anywhere.
    pub(super) fn told(fields: &Fields) -> Option<Self> {
        let mut told = fields.all("x-request-id");
        let (Some(value), None) = (told.next(), told.next()) else { return None };
        let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(byte);
        if value.is_empty() || value.len() > TOLD_BYTES_MAX || !value.iter().all(is_good) {
            return None;
        }
        std::str::from_utf8(value).ok().map(|text| Self::Told(text.into()))
    }

    /// Adds its text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Told(text) => out.extend_from_slice(text.as_bytes()),
            Self::Made(id) => {
                // Each line of the log has one: a formatter takes several times as long.
                let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 0xf)];
                for (position, byte) in id.to_be_bytes().into_iter().enumerate() {
                    if matches!(position, 4 | 6 | 8 | 10) {
                        out.push(b'-');
                    }
                    out.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
                }
            }
        }
    }
}

/// A number that nobody else has and nobody can foresee, without asking the system for it.
pub(crate) fn random() -> u64 {
    thread_local! {
        static KEYED: RandomState = RandomState::new();
        static COUNT: Cell<u64> = const { Cell::new(0) };
    }
    let count = COUNT.replace(COUNT.get().wrapping_add(1));
    // Which thread it is, too: keys of threads may be near each other.
    KEYED.with(|keyed| keyed.hash_one((count, std::thread::current().id())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    fn text(id: &RequestId) -> String {
        let mut out = Vec::new();
        id.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn ids_are_uuids_of_version_7_and_sort_by_time() {
        let then = UNIX_EPOCH + Duration::from_millis(0x0123_4567_89ab);
        let (one, later) =
            (text(&RequestId::new(then)), text(&RequestId::new(then + Duration::from_millis(1))));
        assert_eq!(one.len(), 36);
        assert!(one.starts_with("01234567-89ab-7"), "{one}");
        assert!(b"89ab".contains(&one.as_bytes()[19]), "{one}");
        assert!(one < later);
    }

    #[test]
    fn an_id_is_written_as_rfc_9562_writes_it() {
        let id = RequestId::Made(0x0123_4567_89ab_7cde_8f01_2345_6789_abcd);
        assert_eq!(text(&id), "01234567-89ab-7cde-8f01-23456789abcd");
    }

    #[test]
    fn no_id_is_made_twice() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    let make = |_| text(&RequestId::new(UNIX_EPOCH));
                    (0..10_000).map(make).collect::<Vec<_>>()
                })
            })
            .collect();
        let ids = threads.into_iter().flat_map(|thread| thread.join().expect("ids"));
        let different: HashSet<_> = ids.collect();
        assert_eq!(different.len(), 40_000);
    }
}
