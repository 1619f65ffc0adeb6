//! What both sides are asked to do, and the objects that it is done with.

use bytes::Bytes;

/// What one read of a body brings at most.
pub(crate) const PIECE_BYTES: usize = 128 * 1024;

/// Objects of one size.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// 4 KiB, kept in one piece.
    Small,
    /// 1 MiB, read piece by piece.
    Large,
}

impl Size {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => 4096,
            Self::Large => 1024 * 1024,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "4 KiB",
            Self::Large => "1 MiB",
        }
    }

    /// The key of an object.
    pub(crate) fn key(self, number: u64) -> Vec<u8> {
        let kind = if self == Self::Small { "assets" } else { "videos" };
        format!("main\nwww.example.com\n/{kind}/{number:08x}.js").into_bytes()
    }

    /// A body that says whose it is.
    pub(crate) fn body(self, number: u64) -> Vec<u8> {
        let mut body = vec![b'b'; self.bytes()];
        body[..8].copy_from_slice(&number.to_le_bytes());
        body
    }
}

/// One way to keep objects.
pub(crate) trait Store: Clone + Send + Sync + 'static {
    /// Reads an object. Whether it was there, and the right one.
    fn read(&self, size: Size, number: u64) -> impl Future<Output = bool> + Send;

    /// Writes one; waits while there is too much to do.
    fn write(&self, size: Size, number: u64) -> impl Future<Output = ()> + Send;

    /// Waits until all is written.
    fn settled(&self) -> impl Future<Output = ()> + Send;
}

/// As long as response heads are.
pub(crate) fn head() -> Bytes {
    Bytes::from_static(&[b'h'; 256])
}

/// Whether a body, or the front of it, is this object's.
pub(crate) fn is_of(body: &[u8], number: u64) -> bool {
    body.get(..8) == Some(&number.to_le_bytes())
}
