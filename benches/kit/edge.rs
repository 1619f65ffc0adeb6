//! A whole edge in one thread, for what is counted or timed one operation at a time: clients are at the
//! other end of pipes in memory, and what it does not have it gets from an origin on a thread of its
//! own, over TCP.
#![allow(
    dead_code,
    unused_imports,
    reason = "each program that has this module needs another part of it"
)]

pub(crate) mod fixed_origin;
mod http1;
mod http2;
mod stored;
mod stream;

use brim::access_log::{AccessLog, LogWriter};
use brim::admin::gatekeeper::Gatekeeper;
use brim::config::{self, Settings};
use brim::edge::Door;
use brim::engine::Engine;
use brim::metrics::Metrics;
use pingora::apps::ServerApp;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use stream::{Accepted, EDGE};
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::runtime::{self, Runtime};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

pub(crate) use http1::Http1;
pub(crate) use http2::Http2;
pub(crate) use stored::{OneSite, StoredObject, head_of};

/// What a pipe holds: an answer with the largest content, so that nobody waits for room.
const PIPE_BYTES: usize = 2 * 1024 * 1024;

/// What command-line clients send, but for the request line.
pub(crate) const CURL_FIELDS: &str = "Host: www.example.com\r\nUser-Agent: curl/8.14.1\r\n\
    Accept: */*\r\nAccept-Encoding: gzip, br\r\n";
/// The same of a browser.
pub(crate) const BROWSER_FIELDS: &str = "Host: www.example.com\r\nConnection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n\
    Referer: https://www.example.com/\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=yes\r\n";

/// What the origin says beside date and length.
const ORIGIN_FIELDS: &str = "Content-Type: text/css\r\nETag: \"1\"\r\n\
    Last-Modified: Sun, 20 Sep 2026 10:00:00 GMT\r\nVary: Accept-Encoding\r\n\
    Cache-Control: public, max-age=86400\r\n";

/// What to ask for to get a content of this length; another one for each number.
pub(crate) fn target(length: usize, number: usize) -> String {
    format!("/{length}/{number}.css")
}

/// A head for HTTP/1.1; `more` are whole lines.
pub(crate) fn request(method: &str, target: &str, more: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\n{CURL_FIELDS}{more}\r\n")
}

/// A running edge with its runtime.
pub(crate) struct Edge {
    runtime: Runtime,
    door: Arc<Door>,
    stop: watch::Sender<bool>,
    stopping: watch::Receiver<bool>,
    _log: (LogWriter, TempDir),
}

impl Edge {
    /// Everything is as it is by default, but for the access log: none, or a file.
    pub(crate) fn new(is_logged: bool) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let entered = runtime.enter();
        let folder = tempfile::tempdir().expect("a folder");
        let access = match is_logged {
            true => config::AccessLog::File(folder.path().join("access.log")),
            false => config::AccessLog::Off,
        };
        let settings = settings(fixed_origin::start(ORIGIN_FIELDS), "");
        let log = config::Log { access, ..settings.log.clone() };
        let metrics = Metrics::new(&["*".into()], &[]);
        let (log, writer) = AccessLog::open(&log, metrics.clone()).expect("a log");
        let engine = Engine::new(&settings, None, None, metrics.clone()).expect("an engine");
        let gatekeeper = Arc::new(Gatekeeper::new(None, metrics));
        let door = Door::new(settings, engine, gatekeeper, log, None, TaskTracker::new());
        door.is_bound_to(&[EDGE]);
        let (stop, stopping) = watch::channel(false);
        drop(entered);
        Self { runtime, door: Arc::new(door), stop, stopping, _log: (writer, folder) }
    }

    pub(crate) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// A new connection's other end.
    fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let (door, stopping) = (self.door.clone(), self.stopping.clone());
        let stream = Box::new(Accepted::new(server));
        self.runtime.spawn(async move { door.process_new(stream, &stopping).await });
        client
    }

    /// Has the content of this length, with number 0, in memory.
    pub(crate) fn store(&self, length: usize) {
        let request = request("GET", &target(length, 0), "");
        let mut client = self.http1();
        self.run(async {
            let is_stored = |answer: &[u8]| memchr::memmem::find(answer, b"brim; hit").is_some();
            while !is_stored(client.ask(request.as_bytes(), length).await) {}
        });
    }

    /// A client that has a connection.
    pub(crate) fn http1(&self) -> Http1 {
        Http1::new(self.connect())
    }

    /// A client that has a connection, on which both sides have said their settings, and asks for this.
    pub(crate) fn http2(&self, target: &str) -> Http2 {
        let stream = self.connect();
        self.run(Http2::new(stream, target))
    }
}

/// With one site; `more` are whole tables.
pub(crate) fn settings(origin: SocketAddr, more: &str) -> Arc<Settings> {
    let text = format!(
        "[server]\nhttp = [{{ address = '{EDGE}', h2c = true }}]\n{more}\
         [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n[[site]]\nhosts = ['*']\norigin = 'o'\n"
    );
    Arc::new(config::check(&text, "bench", Path::new("")).settings.expect("good settings"))
}
