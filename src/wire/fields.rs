//! Field lines: in the order and the spelling in which they arrived, as views into one buffer. Only
//! how long each line is is kept, as every stored head has them; what is in it is read again.

use bytes::Bytes;
use smallvec::SmallVec;

/// The most field lines any head may have, whatever the configuration says.
pub const FIELDS_CEILING: usize = 1024;

/// More than the lengths of most heads take.
const LENGTHS_USUAL: usize = 64;
/// Lengths from here on take another byte.
const MORE: usize = 128;

/// The fields of one head or trailer section. Cloning shares the bytes.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Bytes,
    /// Where the first line begins, and how long each is with its end; nothing where there is none.
    lengths: Box<[u8]>,
    names: Names,
}

/// Which names there may be: most fields that are asked for are not there, and that is found out
/// without a look at those that are.
#[derive(Clone, Copy, Default)]
struct Names(u64);

impl Names {
    fn add(&mut self, name: &[u8]) {
        self.0 |= Self::bit(name);
    }

    fn may_have(self, name: &[u8]) -> bool {
        self.0 & Self::bit(name) != 0
    }

    /// The same for each spelling of a name; worked out by the compiler where the name is known.
    #[inline(always)]
    fn bit(name: &[u8]) -> u64 {
        let [first, .., last] = name else { return 1 };
        let hash =
            name.len() as u32 ^ (u32::from(first | 0x20) * 5) ^ (u32::from(last | 0x20) * 19);
        1 << (hash % 64)
    }
}

/// A name, a colon, a value with white space around it, and the line's end (RFC 9112, section 5).
#[derive(Default)]
struct Lines<'a> {
    rest: &'a [u8],
    lengths: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let line;
        (line, self.rest) = self.rest.split_at_checked(take_length(&mut self.lengths)?)?;
        Some(line)
    }
}

/// Seven bits a byte, the lowest first; all but the last are marked.
#[inline]
fn put_length(mut length: usize, mut put: impl FnMut(u8)) {
    while length >= MORE {
        put((length % MORE + MORE) as u8);
        length /= MORE;
    }
    put(length as u8);
}

#[inline]
fn take_length(lengths: &mut &[u8]) -> Option<usize> {
    let (mut length, mut shift) = (0, 0);
    loop {
        let (byte, rest) = lengths.split_first()?;
        *lengths = rest;
        length |= (usize::from(*byte) % MORE) << shift;
        if usize::from(*byte) < MORE {
            return Some(length);
        }
        shift += 7;
    }
}

impl Fields {
    /// All fields as (name, value); names as spelled by the sender.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines().map(|line| {
            let (name, _) = line.split_at(memchr::memchr(b':', line).unwrap_or(line.len()));
            // httparse accepts nothing but tchar in a name, so this is always ASCII.
            (std::str::from_utf8(name).unwrap_or(""), value(line, name.len()))
        })
    }

    /// The values of every line of this name, in order.
    #[inline]
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let may_have = self.names.may_have(name.as_bytes());
        let lines = if may_have { self.lines() } else { Lines::default() };
        let is_named = |line: &&[u8]| {
            line.get(name.len()) == Some(&b':')
                && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        };
        lines.filter(is_named).map(|line| value(line, name.len()))
    }

    /// The value of the first line of this name.
    #[inline]
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The members of a comma-separated field of plain tokens, over all its lines, trimmed;
    /// empty members are skipped (RFC 9110, section 5.6.1.2).
    pub fn tokens<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.all(name).flat_map(split_list)
    }

    /// The bytes that they lie in, whatever else that is.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What they take, with all the bytes that they lie in.
    pub fn weight(&self) -> usize {
        self.bytes.len() + self.lengths.len()
    }

    /// Number of field lines.
    pub fn len(&self) -> usize {
        self.lines().count()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.lines().next().is_none()
    }

    /// Keeps the fields whose name `keep` accepts.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let mut kept = Composer::default();
        for (name, value) in self.iter().filter(|(name, _)| keep(name)) {
            kept.add(name, value);
        }
        *self = kept.finish();
    }

    /// `parsed` must borrow from `bytes`, which end with the empty line behind the fields: the result
    /// refers to the same places.
    pub(crate) fn from_parsed(bytes: &Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        let mut names = Names::default();
        let mut lengths = SmallVec::<[u8; LENGTHS_USUAL]>::new();
        let mut from = 0;
        for field in parsed {
            let (begins, _) = place(bytes, field.name.as_bytes());
            put_length(begins as usize - from, |byte| lengths.push(byte));
            names.add(field.name.as_bytes());
            from = begins as usize;
        }
        if !parsed.is_empty() {
            put_length(bytes.len() - from, |byte| lengths.push(byte));
        }
        Self { bytes: bytes.clone(), lengths: lengths[..].into(), names }
    }

    /// The fields of a start line and field lines as `Composer` writes them; `None` for anything
    /// else.
    pub fn of_lines(bytes: &Bytes) -> Option<Self> {
        let (mut lengths, mut names) = (Vec::new(), Names::default());
        let mut from = 0;
        for end in memchr::memmem::find_iter(bytes, b"\r\n").map(|end| end + 2) {
            if from > 0 {
                let line = bytes.get(from..end)?;
                let name = &line[..memchr::memmem::find(line, b": ")?];
                std::str::from_utf8(name).ok().filter(|name| !name.contains([':', '\n']))?;
                names.add(name);
            }
            put_length(end - from, |byte| lengths.push(byte));
            from = end;
        }
        let is_whole = from > 0 && from == bytes.len();
        is_whole.then(|| Self { bytes: bytes.clone(), lengths: lengths.into(), names })
    }

    fn lines(&self) -> Lines<'_> {
        let mut lengths = &self.lengths[..];
        let begin = take_length(&mut lengths).unwrap_or(0);
        Lines { rest: self.bytes.get(begin..).unwrap_or_default(), lengths }
    }
}

/// Of a line that begins with a name of this length.
fn value(line: &[u8], name_len: usize) -> &[u8] {
    line.get(name_len + 1..).unwrap_or_default().trim_ascii()
}

/// A head that is being written: a start line and fields, of which both the bytes and the views are
/// wanted.
pub struct Composer {
    bytes: Vec<u8>,
    lengths: Vec<u8>,
    names: Names,
}

impl Default for Composer {
    /// Begins with the fields.
    fn default() -> Self {
        Self { bytes: Vec::new(), lengths: vec![0], names: Names::default() }
    }
}

impl Composer {
    /// Begins with this line.
    pub fn new(start_line: &[u8]) -> Self {
        let (mut bytes, mut lengths) = (Vec::with_capacity(1024), Vec::with_capacity(32));
        bytes.extend_from_slice(start_line);
        bytes.extend_from_slice(b"\r\n");
        put_length(bytes.len(), |byte| lengths.push(byte));
        Self { bytes, lengths, names: Names::default() }
    }

    /// Adds a field line.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let from = self.bytes.len();
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.bytes.extend_from_slice(part);
        }
        put_length(self.bytes.len() - from, |byte| self.lengths.push(byte));
        self.names.add(name.as_bytes());
    }

    /// The fields, with the bytes that they lie in: without the empty line at the end.
    pub fn finish(self) -> Fields {
        let bytes = self.bytes.into_boxed_slice().into();
        Fields { bytes, lengths: self.lengths.into(), names: self.names }
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value))))
            .finish()
    }
}

/// Where `part` lies inside `whole`, which it must borrow from. Heads are far below 4 GiB.
pub(crate) fn place(whole: &[u8], part: &[u8]) -> (u32, u32) {
    let from = part.as_ptr() as usize - whole.as_ptr() as usize;
    (from as u32, (from + part.len()) as u32)
}

/// Writes a number in decimal digits.
pub fn put_number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The trimmed, non-empty members of one comma-separated value.
pub fn split_list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether every line end is CRLF and no CR stands alone. A bare CR or LF ends a line for some
/// parsers and not for others (RFC 9112, section 2.2).
pub(crate) fn line_ends_are_crlf(head: &[u8]) -> bool {
    let mut ends = 0;
    let is_good = memchr::memchr_iter(b'\n', head).all(|at| {
        ends += 1;
        at > 0 && head[at - 1] == b'\r'
    });
    // What follows the last byte is not known yet.
    let begun = usize::from(head.last() == Some(&b'\r'));
    is_good && memchr::memchr_iter(b'\r', head).count() == ends + begun
}
