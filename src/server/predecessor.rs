//! The process that this one takes over from: it has started this one, gives it its sockets and
//! then its disk, and goes on until this one accepts.

use super::channel::{Channel, PROTOCOL, ToNew, ToOld, Upgrades, key_of};
use super::sockets::Socket;
use crate::engine::{Engine, Forgotten, PurgesHeld};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// In its environment, the new process finds the number of the old one, and at its standard input
/// the channel to it.
pub(super) const VARIABLE: &str = "BRIM_UPGRADE_OF";

/// The old process has all this at hand.
const GREETED_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Predecessor {
    channel: Arc<Channel>,
    pid: i32,
    version: String,
    upgrades: Upgrades,
}

impl Predecessor {
    /// The one that has started this process to have it take over, if there is such, and its
    /// listening sockets.
    pub(super) fn find() -> io::Result<Option<(Self, Vec<Socket>)>> {
        let named = std::env::var(VARIABLE).ok().and_then(|pid| pid.parse().ok());
        let Some(pid) = named else { return Ok(None) };
        let Ok(channel) = Channel::of(io::stdin().as_fd().try_clone_to_owned()?) else {
            return Ok(None);
        };
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        // The variable is inherited, too, by whatever this process may start.
        let met = if is_parent(pid) { Self::meet(channel, pid).map(Some) } else { Ok(None) };
        match met {
            // It has died: somebody has to serve. With the channel, sockets that were on their way
            // are closed, which would be in the way of new ones.
            Err(error) if !is_parent(pid) => {
                tracing::warn!(%error, pid, "the old process has gone, and has left nothing");
                Ok(None)
            }
            met => met,
        }
    }

    fn meet(channel: Channel, pid: i32) -> io::Result<(Self, Vec<Socket>)> {
        let broken = |error: io::Error| {
            io::Error::other(format!(
                "the process to take over from does not tell what it has: {error}"
            ))
        };
        let until = Some(Instant::now() + GREETED_WITHIN);
        let (version, upgrades) = match channel.receive(until).map_err(broken)?.0 {
            ToNew::Greeting { protocol: PROTOCOL, version, upgrades } => (version, upgrades),
            ToNew::Greeting { version, .. } => {
                let message = format!(
                    "the running process is brim {version}, from which this one cannot take over: \
                     start it anew"
                );
                return Err(io::Error::other(message));
            }
            _ => return Err(broken(ErrorKind::InvalidData.into())),
        };
        let mut inherited = Vec::new();
        loop {
            match channel.receive(until).map_err(broken)? {
                (ToNew::Sockets { sockets }, listeners) if sockets.len() == listeners.len() => {
                    inherited.extend(sockets.into_iter().zip(listeners).map(|(name, listener)| {
                        let listener = TcpListener::from(listener);
                        Socket { service: name.service, configured: name.configured, listener }
                    }));
                }
                (ToNew::AllSockets, _) => break,
                _ => return Err(broken(ErrorKind::InvalidData.into())),
            }
        }
        tracing::info!(pid, version, sockets = inherited.len(), "taking over from another process");
        Ok((Self { channel: Arc::new(channel), pid, version, upgrades }, inherited))
    }

    /// Tells that nothing is missing here but the disk, and waits until that is free.
    pub(super) fn wait_for_disk(&self) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let told = self.channel.send(&ToOld::Ready { version });
        match told.and_then(|()| self.channel.receive(None)) {
            Ok((ToNew::DiskIsFree, _)) => Ok(()),
            Ok(_) => Err(ErrorKind::InvalidData.into()),
            Err(error) if is_parent(self.pid) => {
                Err(io::Error::other(format!("the old process has called it off: {error}")))
            }
            // It has died, and holds nothing any more: somebody has to serve.
            Err(_) => Ok(()),
        }
    }

    /// Does what the old process tells from now on: forgets what requests make out of date that end
    /// there, and lets purges go when it uses nothing stored any more.
    pub(super) fn listen(&self, engine: Arc<Engine>, purges: PurgesHeld) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (channel, pid) = (self.channel.clone(), self.pid);
        let mut purges = Some(purges);
        std::thread::Builder::new().name("predecessor".to_owned()).spawn(move || {
            loop {
                match channel.receive(None) {
                    Ok((ToNew::Forget { number, key }, _)) => {
                        let key = key.and_then(|key| key_of(&key));
                        let forgotten = key.map_or(Forgotten::Everything, |key| {
                            Forgotten::Key(key.into_boxed_slice())
                        });
                        runtime.block_on(engine.forget(&forgotten));
                        // If it has gone, nobody waits for that.
                        let _ = channel.send(&ToOld::Forgotten { number });
                    }
                    Ok((ToNew::Retired, _)) => {
                        tracing::info!(pid, "purges are made here from now on");
                        purges = None;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        if error.kind() != ErrorKind::UnexpectedEof {
                            tracing::warn!(%error, pid, "the old process is not understood");
                        }
                        // What has gone answers nobody.
                        drop(purges);
                        return;
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Tells that this process accepts. How many upgrades there were before.
    pub(super) fn is_relieved(&self) -> Upgrades {
        if let Err(error) = self.channel.send(&ToOld::Accepting) {
            tracing::warn!(%error, pid = self.pid, "the old process has gone before its time");
        }
        tracing::info!(pid = self.pid, version = self.version, "took over from another process");
        self.upgrades
    }
}

/// Whether the process of this number has started this one, and lives.
fn is_parent(pid: i32) -> bool {
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_nonzero().get() == pid)
}
