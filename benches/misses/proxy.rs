//! The proxies as processes: their configuration, the processor time that they take, and that they
//! rest while another one is measured.

use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// All of what a proxy keeps. Little enough that every round makes each of them evict.
const CACHE_MIB: usize = 32;
const START_TAKES_MAX: Duration = Duration::from_secs(10);
/// /proc counts processor time in these, whatever the kernel's own ticks are.
const TICKS_PER_SECOND: f64 = 100.0;

/// One that was started, with all its processes; they end when it is dropped.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    /// Of the program, in its own words.
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    child: Child,
}

/// What is needed to start one.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    program: PathBuf,
    version_argument: &'static str,
    arguments: Vec<String>,
    file_name: &'static str,
    configuration: String,
    address: SocketAddr,
}

impl Recipe {
    /// Everything in memory, as it comes.
    pub(crate) fn brim(folder: &Path, origin: SocketAddr) -> Self {
        Self::brim_that("Brim", "brim.toml", folder, origin, "")
    }

    /// With a disk tier, beside which nginx's files are.
    pub(crate) fn brim_with_disk(folder: &Path, origin: SocketAddr) -> Self {
        let path = folder.join("segments");
        let disk = format!("[cache.disk]\npath = {path:?}\nsize = \"{CACHE_MIB}MiB\"\n");
        Self::brim_that("Brim with disk tier", "brim_with_disk.toml", folder, origin, &disk)
    }

    fn brim_that(
        name: &'static str,
        file_name: &'static str,
        folder: &Path,
        origin: SocketAddr,
        disk: &str,
    ) -> Self {
        let (address, admin) = (free_address(), free_address());
        let configuration = format!(
            "[server]\nhttp = [\"{address}\"]\nadmin = \"{admin}\"\nthreads = 1\n\
             [log]\naccess = \"off\"\nlevel = \"error\"\n\
             [cache.memory]\nsize = \"{CACHE_MIB}MiB\"\n{disk}\
             [[origin]]\nname = \"origin\"\nservers = [\"http://{origin}\"]\n\
             [[site]]\nhosts = [\"*\"]\norigin = \"origin\"\n"
        );
        Self {
            name,
            program: env!("CARGO_BIN_EXE_brim").into(),
            version_argument: "--version",
            arguments: vec!["run".into(), "--config".into(), text(&folder.join(file_name))],
            file_name,
            configuration,
            address,
        }
    }

    /// nginx knows no cache without files: they are where `folder` is. The manager, which evicts,
    /// may do all that there is to do; its own limits let the cache grow past its size.
    pub(crate) fn nginx(folder: &Path, origin: SocketAddr) -> Option<Self> {
        let address = free_address();
        let dir = folder.display();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("    {what}_temp_path {dir}/temporary;\n"))
            .concat();
        let configuration = format!(
            "{user}\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log error;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n    access_log off;\n    sendfile on;\n    keepalive_requests 100000000;\n{temporary}\
             \x20   proxy_cache_path {dir}/files levels=1:2 keys_zone=kept:16m max_size={CACHE_MIB}m \
             inactive=1h use_temp_path=off manager_files=100000 manager_threshold=1s;\n\
             \x20   upstream origin {{ server {origin}; keepalive 1024; keepalive_requests 100000000; }}\n\
             \x20   proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n\
             \x20   proxy_set_header Host $host;\n    proxy_buffers 16 8k;\n\
             \x20   server {{\n        listen {address};\n\
             \x20       location / {{ proxy_pass http://origin; }}\n\
             \x20       location /kept/ {{ proxy_pass http://origin; proxy_cache kept; }}\n\
             \x20       location /crowd/ {{ proxy_pass http://origin; proxy_cache kept; }}\n\
             \x20       location /locked/ {{ proxy_pass http://origin; proxy_cache kept; proxy_cache_lock on; }}\n\
             \x20   }}\n}}\n"
        );
        let arguments = ["-p", &text(folder), "-c", &text(&folder.join("nginx.conf"))];
        Some(Self {
            name: "nginx",
            program: program("nginx")?,
            version_argument: "-v",
            arguments: arguments.into_iter().chain(["-g", "daemon off;"]).map(Into::into).collect(),
            file_name: "nginx.conf",
            configuration,
            address,
        })
    }

    pub(crate) fn haproxy(folder: &Path, origin: SocketAddr) -> Option<Self> {
        let address = free_address();
        let backend = format!("http-reuse always\n    server origin {origin} pool-max-conn 1024\n");
        let configuration = format!(
            "global\n    nbthread 1\n    maxconn 4096\n\
             defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
             cache kept\n    total-max-size {CACHE_MIB}\n    max-object-size 131072\n    max-age 3600\n\
             frontend clients\n    bind {address}\n    use_backend passed if {{ path_beg /passed/ }}\n    default_backend kept\n\
             backend passed\n    {backend}\
             backend kept\n    http-request cache-use kept\n    http-response cache-store kept\n    {backend}"
        );
        Some(Self {
            name: "HAProxy",
            program: program("haproxy")?,
            version_argument: "-v",
            arguments: vec!["-db".into(), "-f".into(), text(&folder.join("haproxy.cfg"))],
            file_name: "haproxy.cfg",
            configuration,
            address,
        })
    }

    /// Starts it, on this processor if one is named, and waits until it listens.
    pub(crate) fn start(self, folder: &Path, processor: Option<usize>) -> io::Result<Proxy> {
        std::fs::write(folder.join(self.file_name), &self.configuration)?;
        let version = version(&self.program, self.version_argument)?;
        let mut command = match processor {
            None => Command::new(&self.program),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(processor.to_string()).arg(&self.program);
                command
            }
        };
        let output = || std::fs::File::options().create(true).append(true).open(folder.join("log"));
        let command = command.args(&self.arguments).stdin(Stdio::null());
        let child = command.stdout(output()?).stderr(output()?).spawn()?;
        let mut proxy = Proxy { name: self.name, version, address: self.address, child };
        let begun = Instant::now();
        while TcpStream::connect(proxy.address).is_err() {
            let has_ended = proxy.child.try_wait()?.is_some();
            if has_ended || begun.elapsed() > START_TAKES_MAX {
                let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("it does not listen: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(proxy)
    }
}

impl Proxy {
    /// Takes no processor time until `resume`, whatever it had still to do.
    pub(crate) fn rest(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// In seconds, of all its processes, in user space and in the kernel.
    pub(crate) fn processor_time(&self) -> f64 {
        self.family().into_iter().map(processor_time).sum()
    }

    fn signal(&self, signal: Signal) {
        for pid in self.family() {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// The process and its children.
    fn family(&self) -> Vec<i32> {
        let own = i32::try_from(self.child.id()).expect("a process");
        let folders = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
        let is_child = |pid: &i32| stat(*pid).is_some_and(|stat| stat.parent == own);
        pids.filter(is_child).chain([own]).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.resume();
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > START_TAKES_MAX {
                self.signal(Signal::KILL);
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Stat {
    parent: i32,
    ticks: u64,
}

/// What the kernel tells of a process; `None`: it has ended.
fn stat(pid: impl Display) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, can contain anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |position: usize| fields.get(position)?.parse::<u64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)? })
}

/// In seconds.
pub(crate) fn processor_time(pid: impl Display) -> f64 {
    let ticks = stat(pid).map_or(0, |stat| stat.ticks);
    ticks as f64 / TICKS_PER_SECOND
}

/// In seconds, of all processes and processors since the machine was started.
pub(crate) fn processor_time_of_all() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
    // User, nice, system; idle and waiting; interrupts; stolen by the host.
    let busy = [0, 1, 2, 5, 6, 7].map(|position| numbers.get(position).copied().unwrap_or(0));
    busy.iter().sum::<u64>() as f64 / TICKS_PER_SECOND
}

/// Free when it was looked for.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address")
}

/// Where it is; the search path of ordinary users leaves out where servers are.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let servers = ["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(servers);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn version(program: &Path, argument: &str) -> io::Result<String> {
    let output = Command::new(program).arg(argument).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().next().unwrap_or_default().replace("nginx version: ", ""))
}

fn text(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}
