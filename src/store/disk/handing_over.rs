//! The folder changes hands while requests are answered: from this process to another one, and back
//! if that fails.
//!
//! What was handed over is still read here: segments are open, sealed, and never written again by
//! anybody. Nothing is written here any more. What is removed meanwhile is so in memory alone, and
//! whoever removes tells the other process.

use super::tier::State;
use super::writer::Writer;
use super::{Disk, Threads};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

impl Disk {
    /// Waits until it is known what the folder holds, if that is still being found out; `false` if
    /// it takes longer than this.
    pub async fn recovered(&self, within: Duration) -> bool {
        let mut state = self.tier.state.subscribe();
        let known = state.wait_for(|state| *state != State::Recovering);
        timeout(within, known).await.is_ok()
    }

    /// Writes everything down, seals, makes removals durable and gives the folder back, but goes on
    /// to read what is in it. `false`: not everything that was removed could be made durable.
    #[must_use]
    pub fn hand_over(&self) -> bool {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, log }) = threads else { return false };
        let tier = &self.tier;
        tier.is_lent.store(true, Ordering::SeqCst);
        tier.is_stopping.store(true, Ordering::Relaxed);
        tier.queue.close();
        // A thread that panicked has said so.
        let _ = writer.join();
        tier.log.close();
        let has_broken = log.join().is_err();
        // Without a folder nothing has been acknowledged.
        let is_durable = tier.log.give_up() || tier.mount().state == State::Absent;
        tier.folder.release();
        is_durable && !has_broken
    }

    /// The other process has ended, or never began: takes the folder in use again, as at a start.
    /// What was removed here meanwhile does not come back: if there is such, nothing does.
    pub fn take_back(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.is_some() {
            return;
        }
        let tier = &self.tier;
        tier.is_stopping.store(false, Ordering::Relaxed);
        tier.queue.reopen();
        tier.log.reopen();
        let mut writer = Writer::new(tier.clone());
        writer.begin_anew();
        tier.is_lent.store(false, Ordering::SeqCst);
        *threads = Threads::start(tier, writer);
        if threads.is_none() {
            tracing::error!("the disk tier could not be taken back: no thread could be started");
        }
    }
}
