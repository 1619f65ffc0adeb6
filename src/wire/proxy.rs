//! The PROXY protocol, versions 1 and 2: what a balancer says of a connection before its first byte
//! (`proxy-protocol.txt` of HAProxy).
//!
//! Written here because whoever reads it must never take a byte that belongs to what follows, which
//! may be a TLS handshake: the reader has to be told how many bytes must still come at least, and
//! the crates for it want the whole header, or more, in a buffer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The longest line of version 1, with its end (section 2.1).
const LINE_BYTES_MAX: usize = 107;
/// `PROXY UNKNOWN` and the end of the line: no line is shorter, and no header of version 2.
const LINE_BYTES_MIN: usize = 15;
/// The longest header of version 2 that is read. Additions to the addresses are few and small.
const HEADER_BYTES_MAX: usize = 4096;
/// Signature, command, family, length (section 2.2).
const FIXED_BYTES: usize = 16;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE_START: &[u8; 6] = b"PROXY ";

/// What is known of a header after some of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// At least so many bytes must still come, and all of them are the header's.
    More(usize),
    /// This is all of it. `None`: whoever holds the connection speaks for itself, or for somebody who
    /// has no address.
    Done(Option<IpAddr>),
}

/// Why it is not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// It begins like something else.
    Missing,
    /// It is longer than it may be.
    TooLong,
    /// It says what none says.
    Malformed,
}

impl BadHeader {
    /// In words.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Missing => "it does not begin with a PROXY header",
            Self::TooLong => "its PROXY header is too long",
            Self::Malformed => "its PROXY header is malformed",
        }
    }
}

/// Judges what has come of a header, which is never more than was asked for.
pub fn read(bytes: &[u8]) -> Result<Step, BadHeader> {
    let begins_like = |start: &[u8]| bytes.iter().zip(start).all(|(found, known)| found == known);
    if begins_like(LINE_START) {
        return line(bytes);
    }
    if begins_like(SIGNATURE) {
        return binary(bytes);
    }
    Err(BadHeader::Missing)
}

fn line(bytes: &[u8]) -> Result<Step, BadHeader> {
    if bytes.len() < LINE_BYTES_MIN {
        return Ok(Step::More(LINE_BYTES_MIN - bytes.len()));
    }
    let end = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let (text, missing) = match &bytes[end..] {
        b"\r\n" => (&bytes[..end], 0),
        b"\r" => (&bytes[..end], 1),
        b"" => (bytes, 2),
        _ => return Err(BadHeader::Malformed),
    };
    if bytes.len() + missing > LINE_BYTES_MAX {
        return Err(BadHeader::TooLong);
    }
    if missing > 0 {
        return Ok(Step::More(missing));
    }
    let text = std::str::from_utf8(text).map_err(|_| BadHeader::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let client = match words.next() {
        // What it says besides is to be ignored.
        Some("UNKNOWN") => return Ok(Step::Done(None)),
        Some("TCP4") => addresses::<Ipv4Addr>(&mut words).map(IpAddr::V4),
        Some("TCP6") => addresses::<Ipv6Addr>(&mut words).map(IpAddr::V6),
        _ => None,
    };
    let client = client.filter(|_| words.next().is_none()).ok_or(BadHeader::Malformed)?;
    Ok(Step::Done(Some(client.to_canonical())))
}

/// Source, destination and their ports; the first is the client's.
fn addresses<'a, A: FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<A> {
    let client = words.next()?.parse::<A>().ok()?;
    words.next()?.parse::<A>().ok()?;
    for _ in 0..2 {
        let port = words.next()?;
        let is_plain = port == "0" || !port.starts_with(['0', '+']);
        port.parse::<u16>().ok().filter(|_| is_plain)?;
    }
    Some(client)
}

fn binary(bytes: &[u8]) -> Result<Step, BadHeader> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Step::More(FIXED_BYTES - bytes.len()));
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadHeader::Malformed),
    };
    // What LOCAL says of addresses is to be ignored; families and transports beyond those that are
    // known are to be refused.
    let addresses_bytes = match (is_local, family >> 4, family & 0xf) {
        (true, _, _) | (false, 0, 0..=2) => 0,
        (false, 1, 0..=2) => 12,
        (false, 2, 0..=2) => 36,
        (false, 3, 0..=2) => 216,
        _ => return Err(BadHeader::Malformed),
    };
    if length < addresses_bytes {
        return Err(BadHeader::Malformed);
    }
    if FIXED_BYTES + length > HEADER_BYTES_MAX {
        return Err(BadHeader::TooLong);
    }
    match length.saturating_sub(rest.len()) {
        0 => {}
        missing => return Ok(Step::More(missing)),
    }
    // A client of another kind than TCP is none of this connection.
    let client = match family {
        _ if is_local => None,
        0x11 => rest.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        0x21 => rest.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    };
    Ok(Step::Done(client.map(|client| client.to_canonical())))
}
