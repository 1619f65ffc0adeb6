//! Brim as a process: its configuration, and what it takes of the machine.

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const START_TAKES_MAX: Duration = Duration::from_secs(30);
const END_TAKES_MAX: Duration = Duration::from_secs(30);
/// The name in its certificate.
pub(crate) const HOST: &str = "footprint.test";

/// What is to be started.
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    pub(crate) origin: SocketAddr,
    pub(crate) memory: String,
    /// The size of the disk tier.
    pub(crate) disk: Option<String>,
    /// 0: as it comes.
    pub(crate) threads: usize,
    /// The processor that it has for itself.
    pub(crate) processor: Option<usize>,
}

impl Plan {
    /// As it comes: memory only, a thread for each processor.
    pub(crate) fn new(folder: &Path, origin: SocketAddr) -> Self {
        let (folder, memory) = (folder.into(), "256MiB".to_owned());
        Self { folder, origin, memory, disk: None, threads: 0, processor: None }
    }
}

/// The program; it ends when this is dropped.
pub(crate) struct Edge {
    pub(crate) plain: SocketAddr,
    pub(crate) secured: SocketAddr,
    admin: SocketAddr,
    pub(crate) certificate: pingora::tls::CertificateDer<'static>,
    child: Child,
    pub(crate) launched: Instant,
}

impl Edge {
    /// Started, and not waited for.
    pub(crate) fn launch(plan: &Plan) -> io::Result<Self> {
        let certified = rcgen::generate_simple_self_signed([HOST.to_owned()]);
        let certified = certified.map_err(io::Error::other)?;
        let folder = &plan.folder;
        std::fs::write(folder.join("cert.pem"), certified.cert.pem())?;
        std::fs::write(folder.join("key.pem"), certified.signing_key.serialize_pem())?;
        let [plain, secured, admin] = free_addresses()?;
        let file = folder.join("edge.toml");
        std::fs::write(&file, configuration(plan, [plain, secured, admin]))?;
        let program = env!("CARGO_BIN_EXE_brim");
        let mut command = match plan.processor {
            None => Command::new(program),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(processor.to_string()).arg(program);
                command
            }
        };
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log"))?;
        command.arg("run").arg("--config").arg(&file).env_remove("BRIM_ADMIN_TOKEN");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let launched = Instant::now();
        let child = command.spawn()?;
        let certificate = certified.cert.der().clone();
        Ok(Self { plain, secured, admin, certificate, child, launched })
    }

    /// Started, and ready.
    pub(crate) fn start(plan: &Plan) -> io::Result<Self> {
        let mut edge = Self::launch(plan)?;
        let begun = Instant::now();
        while TcpStream::connect(edge.plain).is_err() || TcpStream::connect(edge.admin).is_err() {
            if edge.child.try_wait()?.is_some() || begun.elapsed() > START_TAKES_MAX {
                let said = std::fs::read_to_string(plan.folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("it does not listen: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(edge)
    }

    /// Memory of the process that is resident and in no file: heap and stacks.
    pub(crate) fn memory_bytes(&self) -> io::Result<u64> {
        let status = std::fs::read_to_string(self.place("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("no RssAnon"))
    }

    /// Seconds of processor time so far, in user space and in the kernel.
    pub(crate) fn processor_seconds(&self) -> io::Result<f64> {
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(self.place("task"))? {
            // A thread may have ended.
            let told = std::fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += told.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(nanoseconds as f64 / 1e9)
    }

    /// A number of its metrics.
    pub(crate) fn metric(&self, name: &str) -> io::Result<f64> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let value = answer.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| io::Error::other(format!("no metric {name}")))
    }

    /// It has this processor from here on.
    pub(crate) fn pin(&self, processor: usize) {
        pin(self.child.id(), processor);
    }

    /// It takes no processor time until `resume`.
    pub(crate) fn rest(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn place(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(file)
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.resume();
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > END_TAKES_MAX {
                self.signal(Signal::KILL);
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn configuration(plan: &Plan, [plain, secured, admin]: [SocketAddr; 3]) -> String {
    let Plan { origin, memory, threads, .. } = plan;
    let mut text = format!(
        "[server]\nhttp = [{{ address = \"{plain}\", h2c = true }}]\nhttps = [\"{secured}\"]\n\
         admin = \"{admin}\"\nthreads = {threads}\nshutdown_timeout = \"1s\"\n\
         [server.limits]\nidle_timeout = \"10m\"\n\
         [[certificate]]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
         [log]\naccess = \"off\"\nlevel = \"error\"\n\
         [cache.memory]\nsize = \"{memory}\"\n\
         [[origin]]\nname = \"origin\"\nservers = [\"http://{origin}\"]\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"origin\"\n"
    );
    if let Some(disk) = &plan.disk {
        // Writing to a string does not fail.
        let _ = write!(text, "[cache.disk]\npath = \"disk\"\nsize = \"{disk}\"\n");
    }
    text
}

/// Free when they were looked for.
fn free_addresses<const COUNT: usize>() -> io::Result<[SocketAddr; COUNT]> {
    let bind = |_| TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    // All at once, so that none comes twice.
    let listeners: [TcpListener; COUNT] = std::array::from_fn(bind);
    Ok(listeners.map(|listener| listener.local_addr().expect("its address")))
}

/// As many descriptors as may be; the edge does the same for itself.
pub(crate) fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// One for the edge and one for clients and origin, if there are two and they can be chosen.
pub(crate) fn processors() -> Option<[usize; 2]> {
    // Once a processor was chosen for this process, there seems to be one only.
    static FOUND: OnceLock<Option<[usize; 2]>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let taskset = Command::new("taskset").arg("--version").stdout(Stdio::null()).status();
        (count > 1 && taskset.is_ok_and(|status| status.success())).then_some([0, 1])
    })
}

/// All threads of this process, from here on.
pub(crate) fn pin_myself(processor: usize) {
    pin(std::process::id(), processor);
}

fn pin(process: u32, processor: usize) {
    let mut command = Command::new("taskset");
    command.args(["-a", "-cp", &processor.to_string(), &process.to_string()]);
    let _ = command.stdout(Stdio::null()).status();
}
