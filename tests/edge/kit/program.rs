//! The program under test, as a process of its own.

use super::successors::{self, Successors};
use super::{Client, Operator, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;
use tempfile::TempDir;

/// A run of `brim` that ends by itself.
pub(crate) struct Command;

/// What such a run said.
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Command {
    pub(crate) fn run(arguments: &[&str]) -> Finished {
        Self::run_with(arguments, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_brim"))
            .args(arguments)
            .env_remove("BRIM_ADMIN_TOKEN")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .expect("brim starts");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// `brim run`, listening; ended when dropped.
pub(crate) struct Brim {
    child: Child,
    address: SocketAddr,
    stdout: Lines,
    stderr: Lines,
    folder: TempDir,
    pub(super) successors: Successors,
}

impl Brim {
    /// An edge for every host in front of one origin.
    pub(crate) fn in_front_of(origin: SocketAddr) -> Self {
        Self::with(origin, "", "")
    }

    /// The same with more lines for `[server.limits]` and for `[[site]]`.
    pub(crate) fn with(origin: SocketAddr, limits: &str, site: &str) -> Self {
        Self::configured(&format!(
            "[server]\nhttp = ['127.0.0.1:0']\n[server.limits]\n{limits}\n\
             [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
             [[site]]\nhosts = ['*']\norigin = 'o'\n{site}\n"
        ))
    }

    /// The same for clients that speak HTTP/2, or HTTP/1.1.
    pub(crate) fn http2(origin: SocketAddr, limits: &str, site: &str) -> Self {
        Self::configured(&format!(
            "[server]\nhttp = [{{ address = '127.0.0.1:0', h2c = true }}]\n[server.limits]\n\
             {limits}\n[[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
             [[site]]\nhosts = ['*']\norigin = 'o'\n{site}\n"
        ))
    }

    /// `brim run` with this configuration, which listens on one port.
    pub(crate) fn configured(text: &str) -> Self {
        Self::configured_exactly(&with_admin(text))
    }

    /// The same, also where it leaves the operator's listener at its default.
    pub(crate) fn configured_exactly(text: &str) -> Self {
        Self::configured_with(text, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn configured_with(text: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("edge.toml");
        std::fs::write(&file, text).expect("written");
        Self::spawn(folder, &["run", "--config", path_text(&file)], environment)
    }

    /// The same, run from a copy of the binary in its folder.
    pub(crate) fn of_binary(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("edge.toml");
        std::fs::write(&file, with_admin(text)).expect("written");
        successors::copy_binary(folder.path());
        let binary = folder.path().join("brim");
        let arguments = ["run", "--config", path_text(&file)];
        Self::spawn_binary(path_text(&binary), folder, &arguments, &[])
    }

    /// An edge for every host in front of one origin, with a disk tier of 256 MiB in its folder and
    /// this much memory.
    pub(crate) fn with_disk(origin: SocketAddr, memory: &str) -> Self {
        Self::configured(&format!(
            "[server]\nhttp = ['127.0.0.1:0']\n[cache.memory]\nsize = '{memory}'\n\
             [cache.disk]\npath = 'disk'\nsize = '256MiB'\n\
             [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
             [[site]]\nhosts = ['*']\norigin = 'o'\n"
        ))
    }

    /// Ended by this signal, and started again in the same folder.
    pub(crate) fn again_after(mut self, signal: Signal) -> Self {
        self.signal(signal);
        self.wait();
        self.again()
    }

    /// Started again in the folder of one that has ended.
    pub(crate) fn again(mut self) -> Self {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        let file = folder.path().join("edge.toml");
        let arguments = ["run", "--config", path_text(&file)];
        Self::spawn(folder, &arguments, &[])
    }

    /// The same, with this certificate authority and no other.
    pub(crate) fn trusting(authority: &str, text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, roots) = (folder.path().join("edge.toml"), folder.path().join("roots.pem"));
        std::fs::write(&file, with_admin(text)).expect("written");
        std::fs::write(&roots, authority).expect("written");
        let arguments = ["run", "--config", path_text(&file)];
        Self::spawn(folder, &arguments, &[("SSL_CERT_FILE", path_text(&roots))])
    }

    /// `brim demo` on a free port.
    pub(crate) fn demo(arguments: &[&str]) -> Self {
        Self::demo_with(arguments, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn demo_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments = [&["demo", "--listen", "127.0.0.1:0"], arguments].concat();
        Self::spawn(folder, &arguments, environment)
    }

    /// `brim dev` on free ports, which keeps its data in its folder.
    pub(crate) fn dev(origin: &str, arguments: &[&str]) -> Self {
        Self::dev_in(tempfile::tempdir().expect("a folder"), origin, arguments)
    }

    /// The same with the folder of one that has ended.
    pub(crate) fn dev_again(mut self, origin: &str, arguments: &[&str]) -> Self {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        Self::dev_in(folder, origin, arguments)
    }

    fn dev_in(folder: TempDir, origin: &str, arguments: &[&str]) -> Self {
        let data = path_text(folder.path()).to_owned();
        let usual = ["dev", origin, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        Self::spawn(
            folder,
            &[&usual, arguments].concat(),
            &[("XDG_DATA_HOME", &data), ("TMPDIR", &data)],
        )
    }

    /// `brim dev` at the first port that is free.
    pub(crate) fn dev_anywhere(folder: TempDir, origin: &str) -> Self {
        Self::spawn(folder, &["dev", origin, "--admin", "127.0.0.1:0"], &[])
    }

    /// Where `brim dev` listens with TLS.
    pub(crate) fn dev_https(&self) -> SocketAddr {
        let line = self.stdout.wait_for(" is at http://");
        let address = line.rsplit("https://").next().and_then(|url| url.split('/').next());
        address.and_then(|address| address.parse().ok()).expect("an address")
    }

    /// An edge whose output is read up to the address it names, and no further.
    pub(crate) fn unread(origin: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("edge.toml");
        let text = format!(
            "[server]\nhttp = ['127.0.0.1:0']\nshutdown_timeout = '1s'\n[[origin]]\nname = 'o'\n\
             servers = ['http://{origin}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
        );
        std::fs::write(&file, with_admin(&text)).expect("written");
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_brim"))
            .args(["run", "--config", path_text(&file)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("brim starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        while !line.contains("listening address=") {
            line.clear();
            assert!(stderr.read_line(&mut line).expect("a line") > 0, "no address");
        }
        let address = line.trim().rsplit('=').next().expect("an address");
        let address = address.parse().expect("an address");
        // Kept open by the child, read by nobody.
        let stdout = Lines::unread(child.stdout.take().expect("piped"));
        let stderr = Lines::unread(stderr.into_inner());
        Self { child, address, stdout, stderr, folder, successors: Successors::default() }
    }

    fn spawn(folder: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        Self::spawn_binary(env!("CARGO_BIN_EXE_brim"), folder, arguments, environment)
    }

    fn spawn_binary(
        binary: &str,
        folder: TempDir,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let mut child = std::process::Command::new(binary)
            .args(arguments)
            .env_remove("BRIM_ADMIN_TOKEN")
            .envs(environment.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("brim starts");
        let stdout = Lines::of(child.stdout.take().expect("piped"));
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        let line = match arguments[0] {
            "dev" if arguments.contains(&"--json") => stderr.wait_for(" is at http://"),
            "demo" | "dev" => stdout.wait_for(" is at http://"),
            _ => stderr.wait_for("listening address="),
        };
        let address = line.split(['/', '=', ',', ' ']).find_map(|word| word.parse().ok());
        let address = address.expect("an address");
        Self { child, address, stdout, stderr, folder, successors: Successors::default() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens with TLS: the last of its listeners.
    pub(crate) fn https(&self) -> SocketAddr {
        // Behind all others.
        self.stderr.wait_for("admin listener address=");
        let lines = self.stderr.all();
        let line = lines.iter().rfind(|line| line.contains(" listening address="));
        let address = line.and_then(|line| line.rsplit('=').next()?.trim().parse().ok());
        address.expect("an address")
    }

    /// Lines of the error log with this text so far.
    pub(crate) fn error_log_count(&self, text: &str) -> usize {
        self.stderr.all().iter().filter(|line| line.contains(text)).count()
    }

    /// Where the operator's listener is.
    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.stderr.wait_for("admin listener address=");
        let address = line.rsplit('=').next().and_then(|address| address.trim().parse().ok());
        address.expect("an address")
    }

    /// The operator's token, from the file that the edge made.
    pub(crate) fn token(&self) -> String {
        let text = std::fs::read_to_string(self.folder().join("admin.token")).expect("a token");
        text.trim().to_owned()
    }

    /// Who knows it.
    pub(crate) fn operator(&self) -> Operator {
        Operator { admin: self.admin(), token: self.token() }
    }

    /// Who knows the token that the edge has from elsewhere.
    pub(crate) fn operator_with(&self, token: &str) -> Operator {
        Operator { admin: self.admin(), token: token.to_owned() }
    }

    /// What a series of the metrics says now; 0 where there is none.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = Client::connect(self.admin()).ask(super::get("/metrics")).text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a number"))
    }

    /// Waits until a series says at least so much.
    pub(crate) fn wait_for_metric(&self, series: &str, at_least: u64) {
        self.wait_until(series, |value| value >= at_least);
    }

    /// Waits until a series says what it should.
    pub(crate) fn wait_until(&self, series: &str, is_so: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self.metric(series)) {
            assert!(Instant::now() < deadline, "{series} stays at {}", self.metric(series));
            std::thread::yield_now();
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// The first line of the error log with this text, waited for.
    pub(crate) fn error_log(&self, text: &str) -> String {
        self.stderr.wait_for(text)
    }

    /// The same, if it is there already.
    pub(crate) fn error_log_so_far(&self, text: &str) -> Option<String> {
        self.stderr.find(text)
    }

    /// The first line on standard output with this text, if it is there already.
    pub(crate) fn printed_so_far(&self, text: &str) -> Option<String> {
        self.stdout.find(text)
    }

    /// Lines on standard output with this text so far.
    pub(crate) fn printed_count(&self, text: &str) -> usize {
        self.stdout.all().iter().filter(|line| line.contains(text)).count()
    }

    /// The first line of the access log with this text, waited for.
    pub(crate) fn access_log(&self, text: &str) -> String {
        self.stdout.wait_for(text)
    }

    /// Puts another configuration in the place of its own.
    pub(crate) fn rewrite(&self, text: &str) {
        let (new, file) = (self.folder().join("new.toml"), self.folder().join("edge.toml"));
        std::fs::write(&new, with_admin(text)).expect("written");
        std::fs::rename(new, file).expect("swapped");
    }

    /// The same, which it is to apply: what it answers.
    pub(crate) fn reload(&self, text: &str) -> super::Response {
        self.rewrite(text);
        self.operator().ask("POST", "/reload", "")
    }

    /// The same where it is good: what the operator is told.
    #[track_caller]
    pub(crate) fn reloaded(&self, text: &str) -> serde_json::Value {
        let answer = self.reload(text);
        assert_eq!(answer.status, 200, "{}", answer.text());
        super::operator::json_of(&answer)
    }

    /// Highest memory use so far.
    pub(crate) fn peak_rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("proc");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("VmHWM");
        let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kib * 1024
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("signalled");
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::yield_now();
        }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("waited").is_none()
    }
}

impl Drop for Brim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.successors.end(self.folder.path());
        if std::thread::panicking() {
            eprintln!("--- standard error of brim\n{}", self.stderr.all().join("\n"));
        }
    }
}

/// Tests run side by side: an operator's listener that stands nowhere else gets a free port.
fn with_admin(text: &str) -> String {
    if text.contains("\nadmin = ") {
        return text.to_owned();
    }
    assert!(text.contains("[server]\n"), "no place for `admin` in {text}");
    text.replacen("[server]\n", "[server]\nadmin = '127.0.0.1:0'\n", 1)
}

fn path_text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// The lines that a process has printed.
struct Lines {
    seen: Arc<(Mutex<Vec<String>>, Condvar)>,
    /// Holds a pipe open that nobody reads.
    _unread: Option<Box<dyn Read + Send>>,
}

impl Lines {
    fn of(source: impl Read + Send + 'static) -> Self {
        let seen = Arc::<(Mutex<Vec<String>>, Condvar)>::default();
        let shared = seen.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                let Ok(line) = line else { break };
                shared.0.lock().expect("lines").push(line);
                shared.1.notify_all();
            }
        });
        Self { seen, _unread: None }
    }

    fn unread(source: impl Read + Send + 'static) -> Self {
        Self { seen: Arc::default(), _unread: Some(Box::new(source)) }
    }

    fn all(&self) -> Vec<String> {
        self.seen.0.lock().expect("lines").clone()
    }

    fn find(&self, text: &str) -> Option<String> {
        self.all().into_iter().find(|line| line.contains(text))
    }

    fn wait_for(&self, text: &str) -> String {
        let lines = self.seen.0.lock().expect("lines");
        let is_missing = |lines: &mut Vec<String>| !lines.iter().any(|line| line.contains(text));
        let (lines, waited) =
            self.seen.1.wait_timeout_while(lines, PATIENCE, is_missing).expect("lines");
        let found = lines.iter().find(|line| line.contains(text)).cloned();
        assert!(!waited.timed_out(), "no line with {text:?} in {lines:#?}");
        found.expect("found")
    }
}
