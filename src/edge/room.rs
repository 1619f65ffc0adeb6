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
