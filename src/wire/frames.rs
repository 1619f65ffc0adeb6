//! The frames of a connection that speaks HTTP/2 (RFC 9113, section 4.1), as far as their heads tell
//! of them, wherever reads and writes cut them.

const HEAD_BYTES: usize = 9;

/// Content.
pub const DATA: u8 = 0;
/// The beginning of a block of fields.
pub const HEADERS: u8 = 1;
/// More of such a block.
pub const CONTINUATION: u8 = 9;
/// Flag of DATA and HEADERS: the last of their stream.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION: the block ends with them.
pub const END_HEADERS: u8 = 4;
/// Flag of DATA: some of it is padding.
pub const PADDED: u8 = 8;

/// What the head of a frame says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Of its payload.
    pub len: usize,
    /// Its type.
    pub kind: u8,
    /// What they mean depends on the type.
    pub flags: u8,
    /// 0: it is about the connection.
    pub stream: u32,
}

/// What comes next of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which frame it is.
    pub frame: Frame,
    /// Its head is there now; none of its payload is in this piece.
    pub begins: bool,
    /// So much of its payload.
    pub bytes: usize,
    /// The frame ends with it.
    pub ends: bool,
}

/// Where in the frames a reading is.
#[derive(Default)]
pub struct Frames {
    head: [u8; HEAD_BYTES],
    head_len: usize,
    frame: Frame,
    payload_left: usize,
}

impl Frames {
    /// Takes the next piece off the front of `bytes`; `None` when all of them were read.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Option<Piece> {
        if self.payload_left > 0 {
            let taken = self.payload_left.min(bytes.len());
            *bytes = &bytes[taken..];
            self.payload_left -= taken;
            let ends = self.payload_left == 0;
            return (taken > 0).then_some(Piece {
                frame: self.frame,
                begins: false,
                bytes: taken,
                ends,
            });
        }
        let missing = (HEAD_BYTES - self.head_len).min(bytes.len());
        self.head[self.head_len..][..missing].copy_from_slice(&bytes[..missing]);
        *bytes = &bytes[missing..];
        self.head_len += missing;
        if self.head_len < HEAD_BYTES {
            return None;
        }
        let [high, middle, low, kind, flags, stream @ ..] = self.head;
        let len = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        // The first bit means nothing.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.frame = Frame { len, kind, flags, stream };
        (self.head_len, self.payload_left) = (0, len);
        Some(Piece { frame: self.frame, begins: true, bytes: 0, ends: len == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_wherever_they_are_cut() {
        let whole = b"\0\0\x03\0\x01\x80\0\0\x05abc\0\0\0\x04\x01\0\0\0\0\0\0\x01\x08\0\0\0\0\x07x";
        let frame = |len, kind, flags, stream| Frame { len, kind, flags, stream };
        let expected = [frame(3, DATA, END_STREAM, 5), frame(0, 4, 1, 0), frame(1, 8, 0, 7)];
        for size in 1..=whole.len() {
            let (mut frames, mut begun, mut ended, mut payload) =
                (Frames::default(), Vec::new(), Vec::new(), 0);
            for mut part in whole.chunks(size) {
                while let Some(piece) = frames.next(&mut part) {
                    begun.extend(piece.begins.then_some(piece.frame));
                    ended.extend(piece.ends.then_some(piece.frame));
                    payload += piece.bytes;
                }
            }
            assert_eq!((&begun[..], &ended[..], payload), (&expected[..], &expected[..], 4));
        }
    }
}
