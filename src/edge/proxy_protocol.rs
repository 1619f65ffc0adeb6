//! Who is behind a trusted proxy that speaks the PROXY protocol, read off the connection before
//! anything else.

use crate::wire::proxy::{self, BadHeader, Step};
use std::net::IpAddr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Why there is no header.
#[derive(Debug)]
pub(super) enum NoHeader {
    Bad(BadHeader),
    /// The connection ended first.
    Ended,
}

impl NoHeader {
    pub(super) fn explain(&self) -> &'static str {
        match self {
            Self::Bad(bad) => bad.explain(),
            Self::Ended => "it ended before its PROXY header",
        }
    }
}

/// Reads the header and not a byte more: what follows is a handshake, or a request. `None`: whoever
/// holds the connection is the client.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<IpAddr>, NoHeader> {
    let mut bytes = Vec::new();
    loop {
        let missing = match proxy::read(&bytes).map_err(NoHeader::Bad)? {
            Step::Done(client) => return Ok(client),
            Step::More(missing) => missing,
        };
        // Judged with every packet: who speaks something else is not waited for.
        let before = bytes.len();
        bytes.resize(before + missing, 0);
        let read = stream.read(&mut bytes[before..]).await.unwrap_or(0);
        if read == 0 {
            return Err(NoHeader::Ended);
        }
        bytes.truncate(before + read);
    }
}
