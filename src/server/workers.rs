//! The threads that serve clients. Each has a runtime of its own and accepts for itself, and a
//! connection stays where it was accepted.
//!
//! In a runtime whose threads take work from each other, each thread has 256 places for what is ready;
//! what is beyond waits where every thread looks once in many turns. With a thousand clients that want
//! something at the same time, some wait thirty times as long as the others. Here all stand in one line.

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::ListenerConfig;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// What is cut off at the end has so long to say so in the log.
pub(super) const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// A connection that was accepted is counted by its own task. The task needs a moment to start.
const TASKS_START_WITHIN: Duration = Duration::from_millis(50);

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

    /// Has so many threads serve, each through sockets of its own, which are the same as these; where
    /// they are bound.
    pub(super) fn serve<A>(
        &self,
        name: &str,
        app: &Arc<A>,
        sockets: &[TcpListener],
        drain: &Drain,
        threads: usize,
    ) -> io::Result<Vec<SocketAddr>>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let bound: io::Result<Vec<_>> = sockets.iter().map(TcpListener::local_addr).collect();
        let bound = bound?;
        for _ in 0..threads {
            let mut service = Service::new(name.to_owned(), Shared(app.clone()));
            let fds = ListenFds::new(Fds::new().into());
            for (socket, address) in sockets.iter().zip(&bound) {
                let address = address.to_string();
                // Requests are buffered where they are read; another buffer below would only be copied.
                let listener = ListenerConfig::tcp(address.clone());
                let listener = listener.l4_buffer(L4BufferSettings::unbuffered());
                service.endpoints().add_listener(listener);
                // The listener made from the descriptor owns it from here on.
                fds.lock().add(address, socket.try_clone()?.into_raw_fd());
            }
            self.start(name, drain.clone().serve(service, fds))?;
        }
        Ok(bound)
    }

    /// A thread that does this, and then everything that was begun by it until the end.
    fn start(&self, name: &str, work: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
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

/// What serves, in each of its threads.
struct Shared<A>(Arc<A>);

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Shared<A> {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.0.process_new(stream, shutdown).await
    }
}

/// When a service begins and ends.
#[derive(Clone)]
pub(super) struct Drain {
    pub(super) stop: ShutdownWatch,
    /// How it takes part in the wait for what still runs; `None`: it serves to the end, and its
    /// connections are not waited for.
    pub(super) running: Option<TaskTracker>,
    pub(super) open: ShutdownWatch,
}

impl Drain {
    /// One thread's share of a service.
    async fn serve<A>(self, mut service: Service<Shared<A>>, fds: ListenFds)
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let Self { stop, running, mut open } = self;
        let _accepting = running.as_ref().map(TaskTracker::token);
        if open.wait_for(|open| *open).await.is_err() {
            // It never began.
            return;
        }
        service.start_service(Some(fds), stop, 1).await;
        tokio::time::sleep(TASKS_START_WITHIN).await;
    }
}

#[cfg(test)]
mod tests;
