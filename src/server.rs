//! Starts everything and stops it: sockets, threads, signals.
//!
//! Sockets are bound before Pingora's services start, because a service that cannot bind would
//! leave a process that is alive and deaf. The services listen to our own shutdown signal instead
//! of Pingora's, because Pingora waits a fixed time after it and then drops what still runs; ours
//! ends when the last request has, or when its time is over. The operator's listener is stopped after
//! that, and nobody waits for its connections. `upgrading` has
//! another process take over, `reload` another configuration.

mod channel;
mod heard;
pub mod notify;
mod predecessor;
mod program;
mod reload;
mod sockets;
mod successor;
mod upgrading;
mod workers;

pub use program::Program;
pub use reload::ConfigFile;

use crate::access_log::AccessLog;
use crate::admin::gatekeeper::Gatekeeper;
use crate::admin::reload::{Reloads, Wish};
use crate::admin::upgrade::Asking;
use crate::admin::{Admin, Succession};
use crate::config::{self, DiskCache, Settings};
use crate::edge::{Door, Tls};
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::store::disk::local::LocalFolder;
use crate::store::disk::{Disk, Options};
use async_trait::async_trait;
use heard::Heard;
use pingora::apps::ServerApp;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use predecessor::Predecessor;
use reload::{Reloader, Reloading};
use sockets::Sockets;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use successor::{Heritage, Successor};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use upgrading::Upgrading;
use workers::{Drain, LAST_WORDS_WITHIN, Workers};

/// The services that another process takes over, by the names that both know.
const EDGE: &str = "edge";
const ADMIN: &str = "admin";

/// When another process has taken over, connections that ask for nothing stay so long: a request that
/// is on its way is answered.
const LINGERS_FOR: Duration = Duration::from_secs(2);

/// A process that takes over waits so long until it knows what is on the disk, while the old one
/// answers.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// A server that has not started.
pub struct Brim {
    server: Server,
    /// Of each service that serves clients.
    threads: usize,
    workers: Workers,
    running: TaskTracker,
    ends: Ends,
    shutdown_timeout: watch::Sender<Duration>,
    sockets: Sockets,
    /// Becomes `true` when connections are to be accepted.
    open: watch::Sender<bool>,
    /// Where operators ask for another process, and who hears them.
    upgrades: (mpsc::Sender<Asking>, Upgrading),
    /// What another process that takes over is started as; `None`: nobody can.
    program: Option<Program>,
    /// How long that may take to be ready.
    takeover_timeout: Duration,
    predecessor: Option<Predecessor>,
    /// What others than the operator's listener need of it.
    engine: Option<Arc<Engine>>,
    /// How many there may be from clients.
    connections: usize,
    /// The cache's disk tier, to be closed when everything has ended.
    disk: Option<Arc<Disk>>,
    /// What the operator's listener tells of.
    cache: Option<Cache>,
    /// What the configuration is about.
    entrance: Option<Entrance>,
}

/// What ends when, each at `true`.
#[derive(Default)]
struct Ends {
    /// No new connections, and those that there are end with the answer that is being given.
    stop: watch::Sender<bool>,
    /// The process is shutting down, and nobody takes over.
    shutdown: watch::Sender<bool>,
    /// Another process listens for operators.
    handed_over: watch::Sender<bool>,
    /// Connections that ask for nothing end, too.
    leave: watch::Sender<bool>,
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
    /// There is a file to read again.
    has_file: bool,
}

impl Brim {
    /// A server without anything to serve; `threads` for each thing, 0 for one per core.
    pub fn new(threads: usize, shutdown_timeout: Duration) -> Self {
        raise_open_file_limit();
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { cores() } else { threads };
        let conf = ServerConf {
            threads,
            // We have waited ourselves.
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(LAST_WORDS_WITHIN.as_secs()),
            ..ServerConf::default()
        };
        Self {
            server: Server::new_with_opt_and_conf(None, conf),
            threads,
            workers: Workers::new(),
            running: TaskTracker::new(),
            ends: Ends::default(),
            shutdown_timeout: watch::Sender::new(shutdown_timeout),
            sockets: Sockets::default(),
            open: watch::Sender::new(false),
            upgrades: Upgrading::new(),
            program: None,
            takeover_timeout: config::TAKEOVER_TIMEOUT,
            predecessor: None,
            engine: None,
            connections: 0,
            disk: None,
            cache: None,
            entrance: None,
        }
    }

    /// Another process may take over from this one, started as this program; and if this one was
    /// started to take over from another, it does. To be called before anything is added.
    pub fn take_part_in_upgrades(&mut self, program: Program) -> io::Result<()> {
        self.program = Some(program);
        if let Some((predecessor, inherited)) = Predecessor::find()? {
            self.predecessor = Some(predecessor);
            self.sockets = Sockets::inheriting(inherited);
        }
        Ok(())
    }

    /// Whoever takes over has everything that can fail behind it before it is given the disk.
    fn wait_for_disk(&mut self, settings: &Settings) -> io::Result<()> {
        let Some(predecessor) = &self.predecessor else { return Ok(()) };
        for listener in &settings.server.listeners {
            self.sockets.prepare(EDGE, listener.address)?;
        }
        match settings.server.admin {
            Some(admin) => self.sockets.prepare(ADMIN, admin)?,
            // Nobody has asked for the default address. If it cannot be had, that is told later.
            None => drop(self.sockets.prepare(ADMIN, config::ADMIN)),
        }
        predecessor.wait_for_disk()
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
        self.takeover_timeout = settings.server.takeover_timeout;
        let settings = Arc::new(settings);
        let tls = Tls::open(&settings, log.metrics().clone())?;
        self.wait_for_disk(&settings)?;
        self.disk = settings.cache.disk.as_ref().map(open_disk).transpose()?;
        let token = gatekeeper.token().map(str::to_owned);
        let engine = Engine::new(&settings, token, self.disk.clone(), log.metrics().clone())?;
        self.engine = Some(engine.clone());
        if let Some(predecessor) = &self.predecessor
            && let Some(purges) = engine.hold_purges_at_start()
        {
            predecessor.listen(engine.clone(), purges)?;
        }
        self.server.add_service(background_service("upstream", Upkeep(engine.clone())));
        let (running, keeper) = (self.running.clone(), Arc::new(gatekeeper.of_another_door()));
        if let Some(tls) = &tls {
            let mut service = background_service("certificates", Certificates(tls.clone()));
            service.threads = Some(1);
            self.server.add_service(service);
        }
        let door = Arc::new(Door::new(settings, engine.clone(), keeper, log, tls, running));
        self.cache = Some(Cache { engine, gatekeeper });
        let (drain, threads) = (self.drain(), self.threads);
        let bound = self.serve(EDGE, &door, &addresses, &drain, threads)?;
        door.is_bound_to(&bound);
        door.leaves_with(self.ends.leave.subscribe());
        let (reloads, wishes) = Reloads::new();
        self.entrance = Some(Entrance { door, reloads, wishes, has_file: false });
        Ok(bound)
    }

    /// Has the edge apply its file again when somebody asks for that, and its log opened again at SIGHUP.
    pub fn add_reloading(&mut self, file: ConfigFile, log: AccessLog) {
        let Some(entrance) = &mut self.entrance else { return };
        entrance.has_file = true;
        // Nobody else fulfils wishes.
        let wishes = std::mem::replace(&mut entrance.wishes, Reloads::new().1);
        let progress = entrance.reloads.progress().clone();
        let (door, shutdown_timeout) = (entrance.door.clone(), self.shutdown_timeout.clone());
        let reloader = Reloader { file, door, log, shutdown_timeout, wishes, progress };
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
        let (stopping, running) = (self.ends.shutdown.subscribe(), self.running.clone());
        let succession = Succession {
            upgrades: self.upgrades.0.clone(),
            is_over: self.ends.handed_over.subscribe(),
            leave: self.ends.leave.subscribe(),
        };
        let app = Admin::new(metrics, engine, gatekeeper, disk, reloads, stopping, running)
            .with_succession(succession);
        let open = self.open.subscribe();
        let drain = Drain { stop: self.ends.handed_over.subscribe(), running: None, open };
        let bound = self.serve(ADMIN, &Arc::new(app), &[address], &drain, 1)?;
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
        let (drain, threads) = (self.drain(), self.threads);
        self.serve(name, &Arc::new(app), addresses, &drain, threads)
    }

    /// Adds work that nobody waits for at the end.
    pub fn add_work(&mut self, name: &str, work: impl BackgroundService + Send + Sync + 'static) {
        let mut service = background_service(name, work);
        service.threads = Some(1);
        self.server.add_service(service);
    }

    /// Has threads serve at these addresses; where they came to be bound.
    fn serve<A>(
        &mut self,
        name: &str,
        app: &Arc<A>,
        addresses: &[SocketAddr],
        drain: &Drain,
        threads: usize,
    ) -> io::Result<Vec<SocketAddr>>
    where
        A: ServerApp + Send + Sync + 'static,
    {
        let opened = addresses.iter().map(|address| self.sockets.open(name, *address));
        let sockets = opened.collect::<io::Result<Vec<_>>>()?;
        self.workers.serve(name, app, &sockets, drain, threads)
    }

    fn drain(&self) -> Drain {
        let (stop, open) = (self.ends.stop.subscribe(), self.open.subscribe());
        Drain { stop, running: Some(self.running.clone()), open }
    }

    /// Serves until SIGTERM or SIGINT, or until another process has taken over, then until what runs
    /// has finished or its time is over. `ready` is called when signals are handled: whoever is told
    /// may send one.
    pub fn run(self, ready: impl FnOnce() + Send + 'static) {
        // Not earlier: a start that fails says why, and nothing else.
        tell_of_few_files(self.connections);
        let sockets = self.sockets.into_shared();
        let (_asking, mut upgrading) = self.upgrades;
        if let (Some(program), Some(engine)) = (self.program, self.engine.clone()) {
            let (within, disk) = (self.takeover_timeout, self.disk.clone());
            let heritage = Heritage::new(program, within, sockets, engine, disk);
            upgrading.heritage = Some(Arc::new(heritage));
        } else {
            // A copy would keep a listener open beyond its service.
            drop(sockets);
        }
        let signals = Signals {
            ready: Mutex::new(Some(Box::new(ready))),
            ends: self.ends,
            running: self.running,
            shutdown_timeout: self.shutdown_timeout,
            reloads: self.entrance.filter(|it| it.has_file).map(|it| it.reloads),
            open: self.open,
            upgrading,
            predecessor: self.predecessor,
            engine: self.engine,
            disk: self.disk.clone(),
        };
        self.server.run(RunArgs { shutdown_signal: Box::new(signals) });
        self.workers.end();
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
    ends: Ends,
    running: TaskTracker,
    shutdown_timeout: watch::Sender<Duration>,
    /// `None`: there is nothing to read again, and SIGHUP ends the process as it ends any other whose
    /// terminal is closed.
    reloads: Option<Reloads>,
    open: watch::Sender<bool>,
    upgrading: Upgrading,
    predecessor: Option<Predecessor>,
    engine: Option<Arc<Engine>>,
    disk: Option<Arc<Disk>>,
}

impl Signals {
    /// Begins to accept; where another process has done so before, not before nothing is missing here.
    async fn open(&self) {
        if self.predecessor.is_some()
            && let Some(disk) = &self.disk
            && !disk.recovered(KNOWN_WITHIN).await
        {
            tracing::info!("requests are taken before it is known what the disk holds");
        }
        self.open.send_replace(true);
        if let Some(ready) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take() {
            ready();
        }
        if let Some(predecessor) = &self.predecessor {
            let before = predecessor.is_relieved();
            self.engine.iter().for_each(|engine| {
                engine.metrics().took_over(before.good, before.failed);
            });
        }
        notify::ready(self.predecessor.is_some());
    }

    /// The process ends, and nobody takes over.
    async fn shut_down(&self) {
        tracing::info!("shutting down: no new connections, waiting for running requests");
        notify::stopping();
        self.upgrading.call_off().await;
        self.upgrading.close_sockets();
        self.ends.shutdown.send_replace(true);
        self.ends.stop.send_replace(true);
        self.ends.leave.send_replace(true);
        self.running.close();
    }

    /// Another process accepts: this one does not any more.
    fn step_back(&self, successor: &Successor) {
        notify::main_process(successor.pid);
        self.ends.stop.send_replace(true);
        self.ends.handed_over.send_replace(true);
        self.upgrading.close_sockets();
        if self.reloads.iter().any(|reloads| reloads.progress().ends()) {
            tracing::info!(
                "the configuration was read again meanwhile, as it is by the new process"
            );
            successor.read_configuration_again();
        }
    }

    /// Requests that are on their way on connections that are open are taken for a moment.
    async fn hand_over(&self, successor: &Successor) {
        self.running.close();
        let lingers = tokio::time::sleep(LINGERS_FOR.min(*self.shutdown_timeout.borrow()));
        tokio::select! {
            () = self.running.wait() => {}
            () = lingers => {}
        }
        self.ends.leave.send_replace(true);
        successor.let_it_purge();
    }

    /// Waits for what still runs, until its time is over or somebody insists.
    async fn finish(&self, successor: Option<&Successor>, heard: &mut Heard) {
        let finished = async {
            match successor {
                Some(successor) => self.hand_over(successor).await,
                None => self.shut_down().await,
            }
            self.running.wait().await;
        };
        let insisted = async {
            if successor.is_some() {
                // Nobody has asked this process to end yet, and it is ending.
                heard.end().await;
                tracing::info!("shutting down: running requests are waited for already");
            }
            heard.end().await;
        };
        let shutdown_timeout = *self.shutdown_timeout.borrow();
        tokio::select! {
            () = finished => tracing::info!("all requests have finished"),
            () = tokio::time::sleep(shutdown_timeout) => {
                let connections = self.running.len();
                tracing::warn!(connections, "the time for running requests is over");
            }
            () = insisted => tracing::warn!("a second signal: not waiting any longer"),
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let (mut heard, upgrade) = match (Heard::new(self.reloads.as_ref()), Upgrading::signal()) {
            (Ok(heard), Ok(upgrade)) => (heard, upgrade),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "signals cannot be handled");
                return ShutdownSignal::FastShutdown;
            }
        };
        self.open().await;
        let reloads = self.reloads.as_ref();
        let begun = || reloads.iter().for_each(|all| all.progress().is_read_elsewhere());
        let successor = tokio::select! {
            () = heard.end() => None,
            successor = self.upgrading.taken_over(upgrade, begun, |to| self.step_back(to)) => {
                Some(successor)
            }
        };
        self.finish(successor.as_ref(), &mut heard).await;
        self.ends.handed_over.send_replace(true);
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
