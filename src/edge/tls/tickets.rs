//! Sessions that clients keep for us.

use rustls::crypto::ring;
use rustls::server::ProducesTickets;
use std::io;
use std::sync::Arc;

/// A session holds the chain that the client has shown, with whatever is in it. One that is longer is
/// not resumed: it would be sent back and forth, and a ticket ends at 64 KiB (RFC 8446, section 4.6.1).
const SESSION_BYTES_MAX: usize = 16 * 1024;

/// Tickets that only their maker can read, good for 6 to 12 hours.
#[derive(Debug)]
pub(super) struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// With a key of its own.
    pub(super) fn made() -> io::Result<Arc<dyn ProducesTickets>> {
        let maker = ring::Ticketer::new().map_err(io::Error::other)?;
        Ok(Arc::new(Self(maker)))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        (session.len() <= SESSION_BYTES_MAX).then(|| self.0.encrypt(session)).flatten()
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_come_back_as_they_were_but_not_to_others_and_not_if_they_are_too_long() {
        let (tickets, others) = (Tickets::made().expect("made"), Tickets::made().expect("made"));
        let longest = vec![7; SESSION_BYTES_MAX];
        let ticket = tickets.encrypt(&longest).expect("a ticket");
        assert_eq!(tickets.decrypt(&ticket), Some(longest.clone()));
        assert_eq!(others.decrypt(&ticket), None);
        assert_eq!(tickets.encrypt(&[&longest[..], &[7]].concat()), None);
    }
}
