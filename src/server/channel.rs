//! What the old and the new process of an upgrade tell each other: one JSON value a message over a
//! pair of sockets that keeps messages apart, with listening sockets beside the first ones.
//!
//! | old to new | meaning |
//! |---|---|
//! | `greeting` | who it is, and which protocol this is: another one is refused |
//! | `sockets` | some of its listening sockets, and what each is for |
//! | `all_sockets` | those were all |
//! | `disk_is_free` | what it has of the disk is written and durable, its lock is given back |
//! | `forget` | what a request has made out of date that ends in the old process (`key` missing: everything) |
//! | `retired` | it uses nothing stored for requests that come from now on |
//!
//! | new to old | meaning |
//! |---|---|
//! | `ready` | its configuration is good, its sockets are open |
//! | `accepting` | it has the disk and takes connections |
//! | `forgotten` | it has forgotten that |

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sockopt,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Changed when a process that knows only the one before would misunderstand.
pub(super) const PROTOCOL: u32 = 1;
/// Sockets in one message; the system takes not many more.
pub(super) const SOCKETS_AT_ONCE: usize = 64;
/// Of a message. A key of this length, whose bytes may take two each, fits.
const MESSAGE_BYTES_MAX: usize = 200 * 1024;
/// Longer keys are not told; everything is forgotten instead.
pub(super) const KEY_BYTES_MAX: usize = 64 * 1024;

/// What the old process tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "tells")]
pub(super) enum ToNew {
    Greeting { protocol: u32, version: String, upgrades: Upgrades },
    Sockets { sockets: Vec<Name> },
    AllSockets,
    DiskIsFree,
    Forget { number: u64, key: Option<String> },
    Retired,
}

/// What the new process tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "tells")]
pub(super) enum ToOld {
    Ready { version: String },
    Accepting,
    Forgotten { number: u64 },
}

/// How many there have been, so that counting goes on.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Upgrades {
    pub(super) good: u64,
    pub(super) failed: u64,
}

/// What a socket is for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Name {
    pub(super) service: String,
    pub(super) configured: SocketAddr,
}

/// One end.
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// One end, and the other for another process.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        for end in [&ours, &theirs] {
            sockopt::set_socket_send_buffer_size(end, 2 * MESSAGE_BYTES_MAX)?;
        }
        Ok((Self(ours), theirs))
    }

    /// An end that came from another process.
    pub(super) fn of(end: OwnedFd) -> io::Result<Self> {
        let is_one = sockopt::socket_type(&end)? == SocketType::SEQPACKET;
        if is_one { Ok(Self(end)) } else { Err(ErrorKind::InvalidInput.into()) }
    }

    pub(super) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, &[])
    }

    /// At most `SOCKETS_AT_ONCE`.
    pub(super) fn send_with(
        &self,
        message: &impl Serialize,
        sockets: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message).map_err(io::Error::other)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        // Whoever has gone is an error, and no signal.
        let flags = SendFlags::NOSIGNAL;
        net::sendmsg(&self.0, &[IoSlice::new(&text)], &mut beside, flags)?;
        Ok(())
    }

    /// The next message, and the sockets beside it. `UnexpectedEof`: the other process has gone;
    /// `TimedOut`: nothing came until then.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        until: Option<Instant>,
    ) -> io::Result<(T, Vec<OwnedFd>)> {
        let mut text = vec![0; MESSAGE_BYTES_MAX];
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(ErrorKind::TimedOut.into());
            }
            sockopt::set_socket_timeout(&self.0, sockopt::Timeout::Recv, left)?;
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC;
            let received =
                net::recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut beside, flags);
            match received.map_err(io::Error::from) {
                Ok(received) if received.bytes == 0 => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(received) => {
                    let sockets = beside.drain().flat_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(sockets) => sockets.collect(),
                        _ => Vec::new(),
                    });
                    let sockets = sockets.collect();
                    let message = text.get(..received.bytes).unwrap_or_default();
                    return Ok((serde_json::from_slice(message)?, sockets));
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // The end of a process that has not read everything.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A key, whatever its bytes are, as JSON has it: a character for each byte.
pub(super) fn text_of(key: &[u8]) -> String {
    key.iter().map(|byte| char::from(*byte)).collect()
}

/// The other way; `None`: it is no key's text.
pub(super) fn key_of(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().expect("a pair");
        (ours, Channel::of(theirs).expect("a channel"))
    }

    #[test]
    fn messages_arrive_one_by_one_with_their_sockets() {
        let (old, new) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address");
        let name = Name { service: "edge".into(), configured: address };
        old.send(&ToNew::DiskIsFree).expect("sent");
        old.send_with(&ToNew::Sockets { sockets: vec![name] }, &[listener.as_fd()]).expect("sent");
        drop((old, listener));
        let (first, none) = new.receive::<ToNew>(None).expect("a message");
        assert!(matches!(first, ToNew::DiskIsFree) && none.is_empty());
        let (second, mut sockets) = new.receive::<ToNew>(None).expect("a message");
        assert!(matches!(second, ToNew::Sockets { sockets } if sockets[0].configured == address));
        let inherited = TcpListener::from(sockets.remove(0));
        assert_eq!(inherited.local_addr().expect("an address"), address);
        let error = new.receive::<ToNew>(None).expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_longest_key_of_any_bytes_fits_into_a_message() {
        let (old, new) = pair();
        let bytes: Vec<u8> = (0..KEY_BYTES_MAX).map(|n| (n % 223 + 33) as u8).collect();
        let key = Some(text_of(&bytes));
        old.send(&ToNew::Forget { number: u64::MAX, key }).expect("sent");
        let (message, _) = new.receive::<ToNew>(None).expect("a message");
        let ToNew::Forget { key: Some(key), .. } = message else { panic!("{message:?}") };
        assert_eq!(key_of(&key), Some(bytes));
        assert_eq!(key_of("\u{100}"), None);
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_nobody_is_waited_for_beyond_the_time() {
        let (old, new) = pair();
        old.send(&serde_json::json!({"tells": "something_new"})).expect("sent");
        assert!(new.receive::<ToNew>(None).is_err());
        let error = new.receive::<ToNew>(Some(Instant::now() + Duration::from_millis(5)));
        assert_eq!(error.expect_err("nothing came").kind(), ErrorKind::TimedOut);
    }
}
