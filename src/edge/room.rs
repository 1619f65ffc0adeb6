//! Room for a head, and a small content behind it: each thread has some that is used again and again.

use std::cell::Cell;

/// What there is room for.
const BYTES: usize = 8 * 1024;

thread_local! {
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Empty room, this thread's own if nobody has it.
pub(super) fn take() -> Vec<u8> {
    let room = SPARE.take();
    if room.capacity() == 0 { Vec::with_capacity(BYTES) } else { room }
}

/// Gives it to whoever needs some next. What has become large is let go of.
pub(super) fn give_back(mut room: Vec<u8>) {
    if (BYTES..=2 * BYTES).contains(&room.capacity()) {
        room.clear();
        SPARE.set(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room that no other has the size of, so that it is known again.
    fn marked() -> Vec<u8> {
        Vec::with_capacity(BYTES + 1)
    }

    #[test]
    fn room_is_used_again_without_what_was_left_in_it() {
        let mut room = marked();
        room.extend_from_slice(b"of somebody else");
        give_back(room);
        let again = take();
        assert_eq!((again.capacity(), again.len()), (BYTES + 1, 0));
    }

    #[test]
    fn who_had_no_room_takes_none_away() {
        give_back(marked());
        give_back(Vec::new());
        assert_eq!(take().capacity(), BYTES + 1);
    }

    #[test]
    fn a_large_head_does_not_keep_its_memory() {
        let mut large = take();
        large.resize(2 * BYTES + 1, b'x');
        give_back(large);
        assert_eq!(take().capacity(), BYTES);
    }
}
