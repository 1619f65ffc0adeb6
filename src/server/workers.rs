//! The threads that serve clients. Each has a runtime of its own and accepts for itself, and a
//! connection stays where it was accepted.
//!
//! In a runtime whose threads take work from each other, each thread has 256 places for what is ready;
//! what is beyond waits where every thread looks once in many turns. With a thousand clients that want
//! something at the same time, some wait thirty times as long as the others. Here all stand in one line.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::watch;

/// What is cut off at the end has so long to say so in the log.
pub(super) const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Of two turns one begins with what other threads have made ready.
const TURNS: u32 = 2;

pub(super) struct Workers {
    is_over: watch::Sender<bool>,
    /// Each thread has one, and says nothing.
    running: mpsc::Sender<()>,
    ended: mpsc::Receiver<()>,
}

impl Workers {
    pub(super) fn new() -> Self {
        let (running, ended) = mpsc::channel();
        Self { is_over: watch::Sender::new(false), running, ended }
    }

    /// A thread that does this, and then everything that was begun by it until the end.
    pub(super) fn start(
        &self,
        name: &str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let runtime =
            Builder::new_current_thread().enable_all().global_queue_interval(TURNS).build()?;
        let (mut is_over, running) = (self.is_over.subscribe(), self.running.clone());
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = is_over.wait_for(|over| *over) => return,
                    () = work => {}
                }
                let _ = is_over.wait_for(|over| *over).await;
            });
            runtime.shutdown_timeout(LAST_WORDS_WITHIN);
            drop(running);
        })?;
        Ok(())
    }

    /// Ends what still runs; a thread that does not end is left behind.
    pub(super) fn end(self) {
        let Self { is_over, running, ended } = self;
        is_over.send_replace(true);
        drop(running);
        // An answer that nobody gives: they are gone, or it is too late.
        let _ = ended.recv_timeout(2 * LAST_WORDS_WITHIN);
    }
}
