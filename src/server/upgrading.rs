//! When another process is to take over: at SIGUSR2, and when the operator's listener is asked.

use super::successor::{Heritage, Successor};
use crate::admin::upgrade::{Asking, NotUpgraded, Upgraded};
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Operators who are told at one time that they have to wait.
const ASKING_MAX: usize = 16;

/// Who asks for it, and what there is to hand over.
pub(super) struct Upgrading {
    asked: Mutex<mpsc::Receiver<Asking>>,
    /// `None`: nobody takes over from this process.
    pub(super) heritage: Option<Arc<Heritage>>,
}

impl Upgrading {
    /// With whom to ask.
    pub(super) fn new() -> (mpsc::Sender<Asking>, Self) {
        let (asking, asked) = mpsc::channel(ASKING_MAX);
        (asking, Self { asked: Mutex::new(asked), heritage: None })
    }

    /// Handles the signal from now on.
    pub(super) fn signal() -> io::Result<Signal> {
        signal(SignalKind::user_defined2())
    }

    /// Ends when another process has taken over. Whoever has asked for it is told after `step_back`;
    /// `begun` is called before one is started.
    pub(super) async fn taken_over(
        &self,
        mut signal: Signal,
        begun: impl Fn(),
        step_back: impl Fn(&Successor),
    ) -> Successor {
        let mut asked = self.asked.lock().await;
        loop {
            let asking = tokio::select! {
                _ = signal.recv() => None,
                Some(asking) = asked.recv() => Some(asking),
            };
            let Some(heritage) = &self.heritage else {
                const WHY: &str = "nobody can take over from this process";
                tracing::warn!(why = WHY, "no new process is started");
                answer(asking, Err(NotUpgraded::Impossible(WHY)));
                continue;
            };
            // Its end would be that of the container.
            if std::process::id() == 1 {
                const WHY: &str = "the process is number 1, whose end ends all others: replace the \
                                   container instead";
                tracing::warn!(why = WHY, "no new process is started");
                answer(asking, Err(NotUpgraded::Impossible(WHY)));
                continue;
            }
            begun();
            match try_once(heritage, &mut signal, &mut asked).await {
                Ok(successor) => {
                    let Successor { pid, version, .. } = &successor;
                    let version = version.clone();
                    tracing::info!(pid, version, "a new process has taken over");
                    heritage.metrics().upgraded(true);
                    step_back(&successor);
                    answer(asking, Ok(Upgraded { pid: *pid, version }));
                    turn_away(&mut asked, "a new process has taken over").await;
                    return successor;
                }
                Err(why) => {
                    tracing::error!(why, "no new process has taken over, this one goes on");
                    heritage.metrics().upgraded(false);
                    answer(asking, Err(NotUpgraded::Failed(why)));
                }
            }
        }
    }

    /// Nobody here listens any more.
    pub(super) fn close_sockets(&self) {
        self.heritage.iter().for_each(|heritage| heritage.close_sockets());
    }

    /// The process is to end: so is one that would have taken over. Nobody waits for `taken_over` any
    /// more.
    pub(super) async fn call_off(&self) {
        self.heritage.iter().for_each(|heritage| heritage.call_off());
        turn_away(&mut *self.asked.lock().await, "this process is ending").await;
    }
}

async fn try_once(
    heritage: &Arc<Heritage>,
    signal: &mut Signal,
    asked: &mut mpsc::Receiver<Asking>,
) -> Result<Successor, String> {
    let path = heritage.program.path.display().to_string();
    tracing::info!(path, "starting a new process to take over");
    let (passed_on, mut outcome) = oneshot::channel();
    let (heritage, handle) = (heritage.clone(), Handle::current());
    let began = std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
        // Nobody hears of it where the process ends meanwhile.
        let _ = passed_on.send(heritage.pass_on(&handle));
    });
    if let Err(error) = began {
        return Err(format!("there is no thread to be had: {error}"));
    }
    loop {
        tokio::select! {
            outcome = &mut outcome => {
                return outcome.unwrap_or_else(|_| Err("the upgrade broke off".to_owned()));
            }
            _ = signal.recv() => tracing::warn!("an upgrade is under way, and no other is begun"),
            Some(asking) = asked.recv() => {
                answer(Some(asking), Err(NotUpgraded::UnderWay("an upgrade is under way")));
            }
        }
    }
}

/// Whoever waits for an answer would hold up the end of this process.
async fn turn_away(asked: &mut mpsc::Receiver<Asking>, why: &'static str) {
    asked.close();
    while let Some(late) = asked.recv().await {
        answer(Some(late), Err(NotUpgraded::UnderWay(why)));
    }
}

fn answer(asking: Option<Asking>, outcome: Result<Upgraded, NotUpgraded>) {
    if let Some(asking) = asking {
        // Whoever asked may have left.
        let _ = asking.send(outcome);
    }
}
