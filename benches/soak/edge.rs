//! Brim as a process: its configuration, what it takes of the machine, and what it writes of panics.

use crate::Options;
use crate::client::Http1;
use crate::doors::{Doors, Manner, connect};
use crate::origin;
use crate::question::HOST;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const START_TAKES_MAX: Duration = Duration::from_secs(10);
const END_TAKES_MAX: Duration = Duration::from_secs(20);
/// Lines of the error log that are shown, if it comes to that.
const LINES_MAX: usize = 20;
/// What it writes of ordinary things, and of what is done to it on purpose.
const EXPECTED: [&str; 3] = [" INFO ", origin::BREAKS_OFF, "recv_reset; remotely-reset"];
/// How long it waits for clients that do nothing, so that a run of minutes sees many of them.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

const TIMEOUTS: [&str; 5] =
    ["tls_timeout", "header_timeout", "idle_timeout", "body_timeout", "write_timeout"];

/// The program, listening; it ends when this is dropped.
pub(crate) struct Edge {
    pub(crate) doors: Arc<Doors>,
    admin: SocketAddr,
    token: String,
    child: Child,
    written: Arc<Mutex<Written>>,
}

/// What it tells of itself at the start.
struct Started {
    plain: SocketAddr,
    secured: SocketAddr,
    admin: SocketAddr,
    token: String,
}

impl Started {
    /// In the order in which it writes them.
    fn read(begun: &Receiver<String>, folder: &Path) -> io::Result<Self> {
        let plain = address(begun, " listening address=")?;
        let secured = address(begun, " listening address=")?;
        let admin = address(begun, "admin listener address=")?;
        let token = std::fs::read_to_string(folder.join("admin.token"))?.trim().to_owned();
        Ok(Self { plain, secured, admin, token })
    }
}

/// What it has written to its error log.
#[derive(Default)]
struct Written {
    panics: usize,
    last: Vec<String>,
}

/// What it takes.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) rss_bytes: u64,
    pub(crate) descriptors: usize,
    pub(crate) sockets: usize,
    pub(crate) threads: u64,
}

impl Edge {
    pub(crate) fn start(options: &Options, folder: &Path, origin: SocketAddr) -> io::Result<Self> {
        let certified = rcgen::generate_simple_self_signed([HOST.to_owned()]);
        let certified = certified.map_err(io::Error::other)?;
        let certificate = certified.cert.der().clone();
        std::fs::write(folder.join("cert.pem"), certified.cert.pem())?;
        std::fs::write(folder.join("key.pem"), certified.signing_key.serialize_pem())?;
        let file = folder.join("edge.toml");
        std::fs::write(&file, configuration(origin, &options.log_format))?;
        let mut child = Command::new(&options.brim)
            .args(["run", "--config"])
            .arg(&file)
            .env_remove("BRIM_ADMIN_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().ok_or_else(|| io::Error::other("no error log"))?;
        let (lines, begun) = channel();
        let written = Arc::new(Mutex::new(Written::default()));
        let kept = written.clone();
        std::thread::spawn(move || read(BufReader::new(stderr), &kept, &lines));
        let started = Started::read(&begun, folder).and_then(|started| {
            let doors = Doors::new(started.plain, started.secured, certificate)?;
            Ok((started, Arc::new(doors)))
        });
        match started {
            Ok((Started { admin, token, .. }, doors)) => {
                Ok(Self { doors, admin, token, child, written })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Whether it does not run any more.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn panics(&self) -> usize {
        self.written().panics
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.written().last.clone()
    }

    pub(crate) fn taken(&self) -> io::Result<Taken> {
        let process = Path::new("/proc").join(self.child.id().to_string());
        let status = std::fs::read_to_string(process.join("status"))?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let open: Vec<_> = std::fs::read_dir(process.join("fd"))?.flatten().collect();
        let is_socket = |place: &std::fs::DirEntry| {
            std::fs::read_link(place.path())
                .is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        Ok(Taken {
            rss_bytes: number("VmRSS:") * 1024,
            descriptors: open.len(),
            sockets: open.iter().filter(|place| is_socket(place)).count(),
            threads: number("Threads:"),
        })
    }

    /// What its metrics say.
    pub(crate) async fn metrics(&self) -> io::Result<String> {
        let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\n\r\n";
        let stream = connect(self.admin, Manner::default()).await?;
        let answer = Http1::over(stream).send(request, b"").await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Where purges are sent, and the fields that they need.
    pub(crate) fn operator(&self) -> (SocketAddr, String) {
        (self.admin, format!("Authorization: Bearer {}\r\n", self.token))
    }

    /// Asks it to end. Whether it did so in time, with a good exit status.
    pub(crate) fn ends_well(&mut self) -> bool {
        self.signal(Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < END_TAKES_MAX {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Ok(Some(status)) => return status.success(),
                Err(_) => return false,
            }
        }
        false
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, signal);
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if !self.has_ended() && !self.ends_well() {
            self.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn configuration(asked: SocketAddr, log_format: &str) -> String {
    let seconds = PATIENCE.as_secs();
    let mut limits = String::new();
    for name in TIMEOUTS {
        // Writing to a string does not fail.
        let _ = writeln!(limits, "{name} = \"{seconds}s\"");
    }
    format!(
        "[server]\nhttp = [{{ address = \"127.0.0.1:0\", h2c = true }}]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n\
         shutdown_timeout = \"10s\"\n[server.limits]\n{limits}\
         [[certificate]]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
         [log]\nformat = \"{log_format}\"\nlevel = \"info\"\n\
         [cache.memory]\nsize = \"32MiB\"\n[cache.disk]\npath = \"disk\"\nsize = \"64MiB\"\n\
         [[origin]]\nname = \"origin\"\nservers = [\"http://{asked}\"]\nidle_timeout = \"3s\"\n\
         [origin.ejection]\nfailures = 0\n\
         [[site]]\nhosts = [\"*\"]\norigin = \"origin\"\n"
    )
}

/// The address that stands behind `wanted`, once it has been written.
fn address(lines: &Receiver<String>, wanted: &str) -> io::Result<SocketAddr> {
    let begun = Instant::now();
    while let Ok(line) = lines.recv_timeout(START_TAKES_MAX.saturating_sub(begun.elapsed())) {
        let address =
            line.split(wanted).nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        if let Some(address) = address {
            return Ok(address);
        }
    }
    Err(io::Error::other(format!("it did not say \"{}\"", wanted.trim())))
}

fn read(log: impl BufRead, written: &Mutex<Written>, begun: &Sender<String>) {
    for line in log.lines().map_while(Result::ok) {
        let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
        written.panics += usize::from(line.contains("panicked at"));
        if line.contains("address=") {
            // Nobody listens after the start.
            let _ = begun.send(line);
        } else if !EXPECTED.iter().any(|expected| line.contains(expected)) {
            written.last.push(line);
            if written.last.len() > LINES_MAX {
                written.last.remove(0);
            }
        }
    }
}
