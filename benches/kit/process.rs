//! The proxies as processes: the processor time that they take, and that they rest while another one
//! is measured.

use crate::machine;
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const START_TAKES_MAX: Duration = Duration::from_secs(20);

/// One that was started, with all its processes; they end when it is dropped.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    /// Of the program, in its own words.
    pub(crate) version: String,
    pub(crate) address: SocketAddr,
    child: Child,
    companion: Option<Child>,
}

/// What is needed to start one.
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) version_argument: &'static str,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Written before it is started, by their names in its folder.
    pub(crate) files: Vec<(&'static str, String)>,
    pub(crate) address: SocketAddr,
    /// A program that works beside it, such as one that writes its log; started behind it.
    pub(crate) companion: Option<(PathBuf, Vec<String>)>,
}

impl Recipe {
    /// With nothing beside the program.
    pub(crate) fn new(name: &'static str, program: PathBuf, address: SocketAddr) -> Self {
        Self {
            name,
            program,
            version_argument: "--version",
            arguments: Vec::new(),
            environment: Vec::new(),
            files: Vec::new(),
            address,
            companion: None,
        }
    }

    /// Starts it, on this processor if one is named, and waits until it listens.
    pub(crate) fn start(self, folder: &Path, processor: Option<usize>) -> io::Result<Proxy> {
        for (name, content) in &self.files {
            std::fs::write(folder.join(name), content)?;
        }
        let version = version(&self.program, self.version_argument)?;
        let child = self.spawn(&self.program, &self.arguments, folder, processor)?;
        let (name, address) = (self.name, self.address);
        let mut proxy = Proxy { name, version, address, child, companion: None };
        let begun = Instant::now();
        while TcpStream::connect(proxy.address).is_err() {
            let has_ended = proxy.child.try_wait()?.is_some();
            if has_ended || begun.elapsed() > START_TAKES_MAX {
                let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("it does not listen: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some((program, arguments)) = &self.companion {
            proxy.companion = Some(self.spawn(program, arguments, folder, processor)?);
        }
        Ok(proxy)
    }

    fn spawn(
        &self,
        program: &Path,
        arguments: &[String],
        folder: &Path,
        processor: Option<usize>,
    ) -> io::Result<Child> {
        let mut command = match processor {
            None => Command::new(program),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.arg("-c").arg(processor.to_string()).arg(program);
                command
            }
        };
        command.args(arguments).envs(self.environment.iter().cloned());
        let output = || std::fs::File::options().create(true).append(true).open(folder.join("log"));
        command.stdin(Stdio::null()).stdout(output()?).stderr(output()?).spawn()
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
        self.family().into_iter().map(machine::processor_time).sum()
    }

    fn signal(&self, signal: Signal) {
        for pid in self.family() {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// The process and its children, and the one that works beside it.
    fn family(&self) -> Vec<i32> {
        let pid = |child: &Child| i32::try_from(child.id()).expect("a process");
        let own = pid(&self.child);
        let folders = std::fs::read_dir("/proc").expect("/proc").flatten();
        let pids = folders.filter_map(|folder| folder.file_name().to_str()?.parse().ok());
        let is_child = |pid: &i32| machine::stat(*pid).is_some_and(|stat| stat.parent == own);
        pids.filter(is_child).chain([own]).chain(self.companion.as_ref().map(pid)).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.resume();
        self.signal(Signal::TERM);
        let begun = Instant::now();
        let has_ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        while !has_ended(&mut self.child) || self.companion.as_mut().is_some_and(|c| !has_ended(c))
        {
            if begun.elapsed() > START_TAKES_MAX {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Free when it was looked for.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("its address")
}

fn version(program: &Path, argument: &str) -> io::Result<String> {
    let output = Command::new(program).arg(argument).output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().next().unwrap_or_default().replace("nginx version: ", ""))
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a path that is text").to_owned()
}
