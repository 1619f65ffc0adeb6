//! The process that takes over from this one: it is started, given the sockets and then the disk,
//! and this one goes on as if nothing had happened until the other accepts.
//!
//! Pingora has a way of its own for this: sockets travel through a path in the file system that two
//! processes started by somebody else have to agree on, the old one leaves after fixed times whether
//! or not the new one works, and there is no word about a disk. Here the new process is a child,
//! and each step waits for the other side.
//!
//! The steps, and why nothing is lost or comes back between them:
//!
//! 1. The child gets copies of the listening sockets: connections that nobody has accepted wait in
//!    them, whoever accepts them in the end. It reads its configuration, opens what is missing, and
//!    says that it is `ready`. Until here nothing has changed for this process.
//! 2. Purges wait from now on: those that were made are durable. The disk is closed for writing, and
//!    unlocked. This process goes on to accept and to answer, from memory and open segments.
//! 3. The child takes the disk in use: the purge log is all there. When it knows what it has, it
//!    accepts, and says so. If it ends before, this process takes the disk back.
//! 4. Only now this process stops accepting. Clients with open connections have a moment to send the
//!    request that was on its way, which is answered as the last one. Then nothing stored is used for
//!    requests any more, and the child is told that it may purge: nobody can be given here what is
//!    purged there.

use super::channel::{
    Channel, KEY_BYTES_MAX, Name, PROTOCOL, SOCKETS_AT_ONCE, ToNew, ToOld, Upgrades, text_of,
};
use super::predecessor::VARIABLE;
use super::program::Program;
use super::sockets::Socket;
use crate::engine::{Engine, Forgotten, Heir, PurgesHeld};
use crate::metrics::Metrics;
use crate::store::disk::Disk;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// A purge that is being made is durable by then, or never will be.
const PURGES_END_WITHIN: Duration = Duration::from_secs(15);
/// From when it may have the disk until it accepts, at least: this process can write nothing then.
const ACCEPTS_WITHIN: Duration = Duration::from_secs(30);
const CALLED_OFF: &str = "this process is ending";

/// What there is to hand over, and how.
pub(super) struct Heritage {
    pub(super) program: Program,
    within: Duration,
    sockets: Mutex<Vec<Socket>>,
    engine: Arc<Engine>,
    disk: Option<Arc<Disk>>,
    child: Mutex<Expected>,
}

/// The new process, as long as it is not known whether it takes over.
#[derive(Default)]
struct Expected {
    child: Option<Child>,
    /// Nobody is to take over any more.
    is_called_off: bool,
}

/// The process that has taken over.
pub(super) struct Successor {
    pub(super) pid: u32,
    pub(super) version: String,
    channel: Arc<Channel>,
    engine: Arc<Engine>,
}

/// What has been done that is to be undone if it fails.
#[derive(Default)]
struct Closed {
    purges: Option<PurgesHeld>,
    heir: Option<Arc<Heir>>,
}

impl Heritage {
    /// `within` is how long a new process may take.
    pub(super) fn new(
        program: Program,
        within: Duration,
        sockets: Vec<Socket>,
        engine: Arc<Engine>,
        disk: Option<Arc<Disk>>,
    ) -> Self {
        Self {
            program,
            within,
            sockets: Mutex::new(sockets),
            engine,
            disk,
            child: Mutex::default(),
        }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        self.engine.metrics()
    }

    /// Nobody here listens any more.
    pub(super) fn close_sockets(&self) {
        self.sockets().clear();
    }

    /// Has a new process take over; ends when that accepts. An error says why it does not, and this
    /// process has everything that it had. To be called by a thread that may wait.
    pub(super) fn pass_on(&self, handle: &Handle) -> Result<Successor, String> {
        let until = Instant::now() + self.within;
        let (channel, pid) = self.start().map_err(|error| {
            format!("{} could not be started: {error}", self.program.path.display())
        })?;
        let mut closed = Closed::default();
        let passed = self.greet(&channel, until).and_then(|version| {
            self.close(handle, &channel, until, &mut closed)?;
            self.wait_until_it_accepts(&channel, until, &closed)?;
            Ok(version)
        });
        match passed {
            Ok(version) if self.is_settled() => {
                // Not before it is certain, and before it is known to anybody.
                closed.purges.into_iter().for_each(PurgesHeld::refuse);
                self.hear_of_forgotten(&channel, closed.heir);
                let engine = self.engine.clone();
                Ok(Successor { pid, version, channel, engine })
            }
            failed => {
                let why = failed.err().unwrap_or(Failure::Ours(CALLED_OFF));
                let why = self.end_child(why);
                self.undo(closed);
                Err(why)
            }
        }
    }

    /// Ends the new process, if it has not yet taken over, and one that is about to be started.
    pub(super) fn call_off(&self) {
        let mut expected = self.child();
        expected.is_called_off = true;
        expected.end();
    }

    /// The new process is nobody's any more, unless it was called off.
    fn is_settled(&self) -> bool {
        let mut expected = self.child();
        if !expected.is_called_off {
            expected.child = None;
        }
        !expected.is_called_off
    }

    fn start(&self) -> io::Result<(Arc<Channel>, u32)> {
        let (channel, theirs) = Channel::pair()?;
        // Its errors go where those of this process go.
        let child = Command::new(&self.program.path)
            .args(&self.program.arguments)
            .env(VARIABLE, std::process::id().to_string())
            .stdin(Stdio::from(theirs))
            .spawn()?;
        let pid = child.id();
        let mut expected = self.child();
        expected.child = Some(child);
        if expected.is_called_off {
            expected.end();
        }
        Ok((Arc::new(channel), pid))
    }

    /// Gives it the sockets, and waits until it is ready. Its version.
    fn greet(&self, channel: &Channel, until: Instant) -> Result<String, Failure> {
        let (good, failed) = self.metrics().upgrades();
        let (upgrades, version) = (Upgrades { good, failed }, env!("CARGO_PKG_VERSION").to_owned());
        channel.send(&ToNew::Greeting { protocol: PROTOCOL, version, upgrades })?;
        for sockets in self.sockets().chunks(SOCKETS_AT_ONCE) {
            let name = |socket: &Socket| {
                let (service, configured) = (socket.service.clone(), socket.configured);
                Name { service, configured }
            };
            let names = sockets.iter().map(name).collect();
            let copies: Vec<_> = sockets.iter().map(|socket| socket.listener.as_fd()).collect();
            channel.send_with(&ToNew::Sockets { sockets: names }, &copies)?;
        }
        channel.send(&ToNew::AllSockets)?;
        match channel.receive(Some(until))?.0 {
            ToOld::Ready { version } => Ok(version),
            other => Err(Failure::unexpected(&other)),
        }
    }

    /// Steps back from the disk.
    fn close(
        &self,
        handle: &Handle,
        channel: &Arc<Channel>,
        until: Instant,
        closed: &mut Closed,
    ) -> Result<(), Failure> {
        let left = until.saturating_duration_since(Instant::now());
        if let Some(disk) = &self.disk
            && !handle.block_on(disk.recovered(left))
        {
            return Err(Failure::Ours("it is still being found out what the disk holds"));
        }
        let held =
            handle.block_on(async { timeout(PURGES_END_WITHIN, self.engine.hold_purges()).await });
        let Ok(purges) = held else {
            return Err(Failure::Ours("the purges that are being made do not end"));
        };
        closed.purges = Some(purges);
        let heir = self.engine.appoint_heir();
        closed.heir = Some(heir.clone());
        if let Some(disk) = &self.disk
            && !disk.hand_over()
        {
            return Err(Failure::Ours("the disk does not take what was removed"));
        }
        channel.send(&ToNew::DiskIsFree)?;
        let channel = channel.clone();
        std::thread::Builder::new().name("heir".to_owned()).spawn(move || {
            tell_of_forgotten(&channel, &heir);
        })?;
        Ok(())
    }

    fn wait_until_it_accepts(
        &self,
        channel: &Channel,
        until: Instant,
        closed: &Closed,
    ) -> Result<(), Failure> {
        let until = until.max(Instant::now() + ACCEPTS_WITHIN);
        loop {
            match channel.receive(Some(until))?.0 {
                ToOld::Accepting => return Ok(()),
                ToOld::Forgotten { number } => {
                    closed.heir.iter().for_each(|heir| heir.confirm(number));
                }
                other => return Err(Failure::unexpected(&other)),
            }
        }
    }

    /// Goes on to hear of what it has forgotten.
    fn hear_of_forgotten(&self, channel: &Arc<Channel>, heir: Option<Arc<Heir>>) {
        let (channel, engine) = (channel.clone(), self.engine.clone());
        let hearing = std::thread::Builder::new().name("successor".to_owned()).spawn(move || {
            while let Ok((ToOld::Forgotten { number }, _)) = channel.receive(None) {
                heir.iter().for_each(|heir| heir.confirm(number));
            }
            engine.dismiss_heir();
        });
        if let Err(error) = hearing {
            tracing::warn!(%error, "nobody hears what the new process has forgotten");
        }
    }

    /// Why it failed, with what the new process has to say.
    fn end_child(&self, why: Failure) -> String {
        let mut expected = self.child();
        expected.end();
        let ended = expected.child.take().map(|mut child| child.wait());
        drop(expected);
        match why {
            Failure::Ours(why) => why.to_owned(),
            Failure::Gone => match ended {
                Some(Ok(status)) => format!(
                    "the new process ended before it had taken over ({status}); its own messages \
                     tell why"
                ),
                _ => "the new process ended before it had taken over".to_owned(),
            },
            Failure::TooSlow => {
                format!("the new process had not taken over after {:?}, and was ended", self.within)
            }
            Failure::Strange(what) => {
                format!("the new process does not answer as it should: {what}")
            }
        }
    }

    fn undo(&self, closed: Closed) {
        let Closed { purges, heir } = closed;
        if heir.is_some() {
            if let Some(disk) = &self.disk {
                disk.take_back();
            }
            self.engine.dismiss_heir();
        }
        drop(purges);
    }

    fn sockets(&self) -> MutexGuard<'_, Vec<Socket>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn child(&self) -> MutexGuard<'_, Expected> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    fn end(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
        }
    }
}

impl Successor {
    /// It may have read its configuration before that changed: it reads it again.
    pub(super) fn read_configuration_again(&self) {
        // It is this process's child, and nobody else gets its number as long as this one lives.
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let told = pid.ok_or(Errno::SRCH).and_then(|pid| kill_process(pid, Signal::HUP));
        if let Err(error) = told {
            tracing::warn!(%error, pid = self.pid, "the new process has gone");
        }
    }

    /// Nothing stored here is used for requests any more, and the new process may purge.
    pub(super) fn let_it_purge(&self) {
        self.engine.give_up_store();
        if let Err(error) = self.channel.send(&ToNew::Retired) {
            tracing::warn!(%error, pid = self.pid, "the new process has gone");
        }
    }
}

/// Tells the new process what it has to forget, one after the other.
fn tell_of_forgotten(channel: &Channel, heir: &Heir) {
    while let Some((number, forgotten)) = heir.next() {
        let key = match &forgotten {
            Forgotten::Key(key) if key.len() <= KEY_BYTES_MAX => Some(text_of(key)),
            _ => None,
        };
        if channel.send(&ToNew::Forget { number, key }).is_err() {
            // Whoever reads finds out why.
            return;
        }
    }
}

/// Why there is no successor.
enum Failure {
    /// It has ended, or closed its side.
    Gone,
    TooSlow,
    /// It says something else than it should.
    Strange(String),
    /// This process could not do its part.
    Ours(&'static str),
}

impl Failure {
    fn unexpected(message: &ToOld) -> Self {
        Self::Strange(format!("{message:?}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => Self::Gone,
            ErrorKind::TimedOut => Self::TooSlow,
            _ => Self::Strange(error.to_string()),
        }
    }
}
