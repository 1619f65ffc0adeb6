//! Field lines: in the order and the spelling in which they arrived, as views into one buffer.

use bytes::Bytes;

/// The most field lines any head may have, whatever the configuration says.
pub const FIELDS_CEILING: usize = 1024;

/// The fields of one head or trailer section. Cloning shares the bytes.
#[derive(Clone, Default)]
pub struct Fields {
    bytes: Bytes,
    spans: Vec<Span>,
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

#[derive(Clone, Copy)]
struct Span {
    name: (u32, u32),
    value: (u32, u32),
}

impl Fields {
    /// All fields as (name, value); names as spelled by the sender.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.spans.iter().map(|span| (self.name(span), self.slice(span.value)))
    }

    /// The values of every line of this name, in order.
    #[inline]
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let may_have = self.names.may_have(name.as_bytes());
        let spans = if may_have { &self.spans[..] } else { &[] };
        let named = move |span: &&Span| self.slice(span.name).eq_ignore_ascii_case(name.as_bytes());
        spans.iter().filter(named).map(|span| self.slice(span.value))
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

    /// Number of field lines.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Keeps the fields whose name `keep` accepts.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.retain(|span| keep(self.name(span)));
        self.spans = spans;
    }

    /// `parsed` must borrow from `bytes`: the result refers to the same places.
    pub(crate) fn from_parsed(bytes: &Bytes, parsed: &[httparse::Header<'_>]) -> Self {
        let spans = parsed.iter().map(|field| Span {
            name: place(bytes, field.name.as_bytes()),
            value: place(bytes, field.value),
        });
        Self::new(bytes.clone(), spans.collect())
    }

    fn new(bytes: Bytes, spans: Vec<Span>) -> Self {
        let mut names = Names::default();
        for Span { name: (from, to), .. } in &spans {
            names.add(&bytes[*from as usize..*to as usize]);
        }
        Self { bytes, spans, names }
    }

    /// The fields of a start line and field lines as `Composer` writes them; `None` for anything
    /// else.
    pub fn of_lines(bytes: &Bytes) -> Option<Self> {
        let mut ends = memchr::memmem::find_iter(bytes, b"\r\n");
        let mut from = ends.next()? + 2;
        let mut spans = Vec::new();
        for end in ends {
            let line = bytes.get(from..end)?;
            let colon = memchr::memmem::find(line, b": ")?;
            std::str::from_utf8(&line[..colon]).ok()?;
            spans.push(Span {
                name: place(bytes, &line[..colon]),
                value: place(bytes, &line[colon + 2..]),
            });
            from = end + 2;
        }
        spans.shrink_to_fit();
        (from == bytes.len()).then(|| Self::new(bytes.clone(), spans))
    }

    fn name(&self, span: &Span) -> &str {
        // httparse accepts nothing but tchar in a name, so this is always ASCII.
        std::str::from_utf8(self.slice(span.name)).unwrap_or("")
    }

    fn slice(&self, (from, to): (u32, u32)) -> &[u8] {
        &self.bytes[from as usize..to as usize]
    }
}

/// A head that is being written: a start line and fields, of which both the bytes and the views are
/// wanted.
#[derive(Default)]
pub struct Composer {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Composer {
    /// Begins with this line.
    pub fn new(start_line: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1024);
        bytes.extend_from_slice(start_line);
        bytes.extend_from_slice(b"\r\n");
        Self { bytes, spans: Vec::new() }
    }

    /// Adds a field line.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let mut put = |part: &[u8]| {
            let from = self.bytes.len() as u32;
            self.bytes.extend_from_slice(part);
            (from, self.bytes.len() as u32)
        };
        let name = put(name.as_bytes());
        put(b": ");
        let value = put(value);
        put(b"\r\n");
        self.spans.push(Span { name, value });
    }

    /// The fields, with the bytes that they lie in: without the empty line at the end.
    pub fn finish(mut self) -> Fields {
        self.spans.shrink_to_fit();
        Fields::new(self.bytes.into_boxed_slice().into(), self.spans)
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
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
        && memchr::memchr_iter(b'\r', head)
            .all(|at| head.get(at + 1).is_none_or(|next| *next == b'\n'))
}
