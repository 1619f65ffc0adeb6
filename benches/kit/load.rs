//! Clients that each keep one connection and ask for one URL after the other.

use crate::kind::Kind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Heads and bodies are read through it; large enough for the whole of either size.
const BUFFER_BYTES: usize = 72 * 1024;

/// What is asked for, and where.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) size: usize,
}

/// URLs that nobody has asked for yet, for all clients together.
#[derive(Clone, Default)]
pub(crate) struct Unique(Arc<AtomicU64>);

impl Unique {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// So many clients until that time, each for what `unique` says next. How many answers came.
pub(crate) async fn run(target: Target, clients: usize, unique: &Unique, time: Duration) -> u64 {
    let until = Instant::now() + time;
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let unique = unique.clone();
        running.spawn(async move {
            let mut client = Client::new(target);
            while Instant::now() < until {
                client.get(unique.next()).await;
            }
            client.answers
        });
    }
    running.join_all().await.into_iter().sum()
}

/// One client asks for these, one after the other.
pub(crate) async fn ask_again(target: Target, ids: std::ops::Range<u64>) {
    let mut client = Client::new(target);
    for id in ids {
        client.get(id).await;
    }
}

/// So many clients at once for one URL. How long until the last of them had it.
pub(crate) async fn crowd(target: Target, clients: usize, unique: &Unique) -> Duration {
    let id = unique.next();
    let everybody = Arc::new(tokio::sync::Barrier::new(clients + 1));
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let everybody = everybody.clone();
        running.spawn(async move {
            let mut client = Client::new(target);
            client.connect().await;
            everybody.wait().await;
            client.get(id).await;
        });
    }
    everybody.wait().await;
    let begun = Instant::now();
    running.join_all().await;
    begun.elapsed()
}

struct Client {
    target: Target,
    stream: Option<TcpStream>,
    buffer: Box<[u8]>,
    answers: u64,
}

impl Client {
    fn new(target: Target) -> Self {
        Self { target, stream: None, buffer: vec![0; BUFFER_BYTES].into(), answers: 0 }
    }

    async fn connect(&mut self) {
        let stream = TcpStream::connect(self.target.address).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        self.stream = Some(stream);
    }

    /// A benchmark over wrong answers is none: whatever is not the whole content ends it.
    async fn get(&mut self, id: u64) {
        if self.stream.is_none() {
            self.connect().await;
        }
        let prefix = self.target.kind.path_prefix(self.target.size);
        let request = format!("GET {prefix}{id} HTTP/1.1\r\nHost: bench.test\r\n\r\n");
        let stream = self.stream.as_mut().expect("connected");
        stream.write_all(request.as_bytes()).await.expect("a request written");
        let mut filled = 0;
        let (head, length) = loop {
            let read = stream.read(&mut self.buffer[filled..]).await.expect("an answer");
            assert!(read > 0, "the connection to {} was closed", self.target.address);
            filled += read;
            let Some(end) = memchr::memmem::find(&self.buffer[..filled], b"\r\n\r\n") else {
                continue;
            };
            let head = &self.buffer[..end];
            assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(head));
            break (end + 4, content_length(head).expect("a Content-Length"));
        };
        assert_eq!(length, self.target.size, "the length of the content");
        let mut missing = (head + length).checked_sub(filled).expect("no more than the content");
        while missing > 0 {
            let read = stream.read(&mut self.buffer).await.expect("the content");
            assert!(read > 0, "the content ends too early");
            missing = missing.checked_sub(read).expect("no more than the content");
        }
        self.answers += 1;
    }
}

pub(crate) fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length?.1.trim().parse().ok()
}
