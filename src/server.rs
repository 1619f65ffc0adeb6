//! Starts everything and stops it: sockets, threads, signals.
//!
//! Sockets are bound before Pingora's services start, because a service that cannot bind would
//! leave a process that is alive and deaf. The services listen to our own shutdown signal instead
//! of Pingora's, because Pingora waits a fixed time after it and then drops what still runs; ours
//! ends when the last request has, or when its time is over. The operator's listener is stopped by
//! Pingora's signal, which comes after that, and nobody waits for its connections.
//!
//! `reload` has another configuration take the place of the one in force.

mod reload;

pub use reload::ConfigFile;

use crate::access_log::AccessLog;
use crate::admin::Admin;
use crate::admin::gatekeeper::Gatekeeper;
use crate::admin::reload::{Reloads, Wish};
use crate::config::{DiskCache, Settings};
use crate::edge::{Door, Tls};
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::store::disk::local::LocalFolder;
use crate::store::disk::{Disk, Options};
use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::listeners::ListenerConfig;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::configuration::ServerConf;
use pingora::server::{
    ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora::services::Service as PingoraService;
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service as ListeningService;
use reload::{Reloader, Reloading};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

/// A connection that was accepted is counted by its own task. The task needs a moment to start.
const TASKS_START_WITHIN: Duration = Duration::from_millis(50);

/// Connections that wait to be accepted. Pingora raises it when it takes the socket over.
const LISTEN_BACKLOG: i32 = 1024;

/// A server that has not started.
pub struct Brim {
    server: Server,
    running: TaskTracker,
    stop: watch::Sender<bool>,
    shutdown_timeout: watch::Sender<Duration>,
    /// How many there may be from clients.
    connections: usize,
    /// The cache's disk tier, to be closed when everything has ended.
    disk: Option<Arc<Disk>>,
    /// What the operator's listener tells of.
    cache: Option<Cache>,
    /// What the configuration is about.
    entrance: Option<Entrance>,
}

struct Cache {
    engine: Arc<Engine>,
    gatekeeper: Arc<Gatekeeper>,
}

/// The way in, which another configuration may change.
struct Entrance {
    door: Arc<Door>,
    reloads: Reloads,
    wishes: mpsc::Receiver<Wish>,
}

impl Brim {
    /// A server without anything to serve; `threads` for each thing, 0 for one per core.
    pub fn new(threads: usize, shutdown_timeout: Duration) -> Self {
        raise_open_file_limit();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let conf = ServerConf {
            threads,
            // We have waited ourselves; what is cut off then has a moment to say so in the log.
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(1),
            ..ServerConf::default()
        };
        Self {
            server: Server::new_with_opt_and_conf(None, conf),
            running: TaskTracker::new(),
            stop: watch::Sender::new(false),
            shutdown_timeout: watch::Sender::new(shutdown_timeout),
            connections: 0,
            disk: None,
            cache: None,
            entrance: None,
        }
    }

    /// Adds the edge; where its sockets came to be bound. An error names the address.
    pub fn add_edge(
        &mut self,
        settings: Settings,
        gatekeeper: Arc<Gatekeeper>,
        log: AccessLog,
    ) -> io::Result<Vec<SocketAddr>> {
        let listeners = settings.server.listeners.iter();
        let addresses: Vec<_> = listeners.map(|listener| listener.address).collect();
        self.connections = settings.server.limits.connections;
        self.disk = settings.cache.disk.as_ref().map(open_disk).transpose()?;
        let settings = Arc::new(settings);
        let token = gatekeeper.token().map(str::to_owned);
        let engine = Engine::new(&settings, token, self.disk.clone(), log.metrics().clone())?;
        self.server.add_service(background_service("upstream", Upkeep(engine.clone())));
        let (running, keeper) = (self.running.clone(), Arc::new(gatekeeper.of_another_door()));
        let tls = Tls::open(&settings, log.metrics().clone())?;
        if let Some(tls) = &tls {
            let mut service = background_service("certificates", Certificates(tls.clone()));
            service.threads = Some(1);
            self.server.add_service(service);
        }
        let door = Arc::new(Door::new(settings, engine.clone(), keeper, log, tls, running));
        self.cache = Some(Cache { engine, gatekeeper });
        let app = SharedDoor(door.clone());
        let (service, bound) = Bound::new("edge", app, &addresses, Some(self.drain()))?;
        door.is_bound_to(&bound);
        self.server.add_service(service);
        let (reloads, wishes) = Reloads::new();
        self.entrance = Some(Entrance { door, reloads, wishes });
        Ok(bound)
    }

    /// Has the edge apply its file again when somebody asks for that, and its log opened again at SIGHUP.
    pub fn add_reloading(&mut self, file: ConfigFile, log: AccessLog) {
        let Some(entrance) = &mut self.entrance else { return };
        // Nobody else fulfils wishes.
        let wishes = std::mem::replace(&mut entrance.wishes, Reloads::new().1);
        let (door, shutdown_timeout) = (entrance.door.clone(), self.shutdown_timeout.clone());
        let reloader = Reloader { file, door, log, shutdown_timeout, wishes };
        let mut service = background_service("reloads", Reloading::new(reloader));
        service.threads = Some(1);
        self.server.add_service(service);
    }

    /// Adds the operator's listener, after the edge that it tells of; where its socket came to be
    /// bound. An error names the address.
    pub fn add_admin(
        &mut self,
        address: SocketAddr,
        metrics: Arc<Metrics>,
    ) -> io::Result<SocketAddr> {
        let (Some(Cache { engine, gatekeeper }), Some(Entrance { reloads, .. })) =
            (self.cache.take(), &self.entrance)
        else {
            return Err(io::Error::other("there is no edge to tell of"));
        };
        let (disk, reloads) = (self.disk.clone(), reloads.clone());
        let (stopping, running) = (self.stop.subscribe(), self.running.clone());
        let app = Admin::new(metrics, engine, gatekeeper, disk, reloads, stopping, running);
        let (mut admin, bound) = Bound::new("admin", app, &[address], None)?;
        admin.service.threads = Some(1);
        self.server.add_service(admin);
        Ok(bound.first().copied().unwrap_or(address))
    }

    /// Adds another service to the process; where its sockets came to be bound.
    pub fn add<A>(
        &mut self,
        name: &str,
        app: A,
        addresses: &[SocketAddr],
    ) -> io::Result<Vec<SocketAddr>>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let (service, bound) = Bound::new(name, app, addresses, Some(self.drain()))?;
        self.server.add_service(service);
        Ok(bound)
    }

    fn drain(&self) -> Drain {
        Drain { stop: self.stop.subscribe(), running: self.running.clone() }
    }

    /// Serves until SIGTERM or SIGINT, then until what runs has finished or its time is over.
    /// `ready` is called when both are handled: whoever is told may send one.
    pub fn run(self, ready: impl FnOnce() + Send + 'static) {
        // Not earlier: a start that fails says why, and nothing else.
        tell_of_few_files(self.connections);
        let signals = Signals {
            ready: Mutex::new(Some(Box::new(ready))),
            stop: self.stop,
            running: self.running,
            shutdown_timeout: self.shutdown_timeout,
            reloads: self.entrance.map(|entrance| entrance.reloads),
        };
        self.server.run(RunArgs { shutdown_signal: Box::new(signals) });
        if let Some(disk) = self.disk {
            disk.close();
        }
    }
}

fn open_disk(settings: &DiskCache) -> io::Result<Arc<Disk>> {
    let DiskCache { path, bytes } = settings;
    let folder = Arc::new(LocalFolder::new(path));
    Disk::open(folder, &Options { bytes: *bytes }).map_err(|error| {
        io::Error::other(format!("cache.disk.path \"{}\": {error}", path.display()))
    })
}

/// An IPv6 listener takes IPv6 only, so that `0.0.0.0:80` and `[::]:80` can stand side by side.
fn listen(address: &SocketAddr) -> io::Result<TcpListener> {
    use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, address)?;
    net::listen(&socket, LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// What is done about origins without being asked: goes on with what the last run has left, and checks
/// their servers, also while the last requests finish.
struct Upkeep(Arc<Engine>);

#[async_trait]
impl BackgroundService for Upkeep {
    async fn start(&self, mut pingora_stop: ShutdownWatch) {
        let Self(engine) = self;
        tokio::select! {
            () = engine.remind_parents() => {}
            () = engine.check_servers() => {}
            _ = pingora_stop.changed() => {}
        }
    }
}

/// The door, which is not the service's alone.
struct SharedDoor(Arc<Door>);

#[async_trait]
impl ServerApp for SharedDoor {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        self.0.process_new(stream, shutdown).await
    }
}

/// A service with sockets that are bound already.
struct Bound<A> {
    service: ListeningService<A>,
    sockets: Vec<(String, TcpListener)>,
    /// `None`: it serves to the end, and its connections are not waited for.
    drain: Option<Drain>,
}

/// How a service takes part in the wait for what still runs.
struct Drain {
    stop: ShutdownWatch,
    running: TaskTracker,
}

impl<A: ServerApp + Send + Sync + 'static> Bound<A> {
    /// The service, and where its sockets came to be bound.
    fn new(
        name: &str,
        app: A,
        addresses: &[SocketAddr],
        drain: Option<Drain>,
    ) -> io::Result<(Self, Vec<SocketAddr>)> {
        let mut service = ListeningService::new(name.to_owned(), app);
        let mut sockets = Vec::new();
        let mut bound = Vec::new();
        for address in addresses {
            let named = |error| io::Error::other(format!("cannot listen on {address}: {error}"));
            let socket = listen(address).map_err(named)?;
            let address = socket.local_addr().map_err(named)?;
            // Requests are buffered where they are read; another buffer below would only be copied.
            let listener = ListenerConfig::tcp(address.to_string());
            service.endpoints().add_listener(listener.l4_buffer(L4BufferSettings::unbuffered()));
            sockets.push((address.to_string(), socket));
            bound.push(address);
        }
        Ok((Self { service, sockets, drain }, bound))
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> PingoraService for Bound<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        pingora_stop: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        let accepting =
            self.drain.as_ref().map(|drain| (drain.running.token(), drain.stop.clone()));
        let (_accepting, stop) = accepting.unzip();
        if let Some(fds) = &fds {
            for (address, socket) in self.sockets.drain(..) {
                // The listener made from the descriptor owns it from here on.
                fds.lock().add(address, socket.into_raw_fd());
            }
        }
        self.service.start_service(fds, stop.unwrap_or(pingora_stop), listeners_per_fd).await;
        tokio::time::sleep(TASKS_START_WITHIN).await;
    }

    fn name(&self) -> &str {
        self.service.name()
    }
}

/// Looks at the files of certificates. Reading them blocks nobody else: the service has a thread of
/// its own.
struct Certificates(Arc<Tls>);

#[async_trait]
impl BackgroundService for Certificates {
    async fn start(&self, mut pingora_stop: ShutdownWatch) {
        tokio::select! {
            () = self.0.watch() => {}
            _ = pingora_stop.changed() => {}
        }
    }
}

/// What ends the server.
struct Signals {
    ready: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    stop: watch::Sender<bool>,
    running: TaskTracker,
    shutdown_timeout: watch::Sender<Duration>,
    reloads: Option<Reloads>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let (mut term, mut int, mut hangup) = match signals.map(signal) {
            [Ok(term), Ok(int), Ok(hangup)] => (term, int, hangup),
            [Err(error), ..] | [_, Err(error), _] | [.., Err(error)] => {
                tracing::error!(%error, "signals cannot be handled");
                return ShutdownSignal::FastShutdown;
            }
        };
        if let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take() {
            ready();
        }
        loop {
            tokio::select! {
                _ = term.recv() => break,
                _ = int.recv() => break,
                // It ends nothing, also where there is nothing to read again.
                _ = hangup.recv() => self.reloads.iter().for_each(Reloads::signal),
            }
        }
        tracing::info!("shutting down: no new connections, waiting for running requests");
        self.stop.send_replace(true);
        self.running.close();
        let shutdown_timeout = *self.shutdown_timeout.borrow();
        tokio::select! {
            () = self.running.wait() => tracing::info!("all requests have finished"),
            () = tokio::time::sleep(shutdown_timeout) => {
                let connections = self.running.len();
                tracing::warn!(connections, "the time for running requests is over");
            }
            _ = term.recv() => tracing::warn!("a second signal: not waiting any longer"),
            _ = int.recv() => tracing::warn!("a second signal: not waiting any longer"),
        }
        ShutdownSignal::GracefulTerminate
    }
}

/// Every client may need a connection to an origin as well.
fn raise_open_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn tell_of_few_files(connections: usize) {
    use rustix::process::{Resource, getrlimit};
    let files = getrlimit(Resource::Nofile).current;
    let needed = connections as u64 * 2;
    if files.is_some_and(|files| files < needed) {
        tracing::info!(
            ?files,
            needed,
            "fewer files may be open than `server.limits.connections` can need"
        );
    }
}
