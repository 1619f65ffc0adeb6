//! The origin that everybody asks: a task for each connection on the thread of the load, answers
//! that were made beforehand, and a count of what it was asked.

use crate::kind::Kind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long an answer takes that a crowd waits for: all of the crowd have come by then.
const CROWD_WAITS: Duration = Duration::from_millis(200);
/// More than any proxy sends here.
const REQUEST_BYTES_MAX: usize = 4096;

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Origin {
    /// Listens until the runtime ends.
    pub(crate) async fn start(sizes: &[usize]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::new(AtomicU64::new(0));
        let answers: Arc<[Answer]> = sizes.iter().flat_map(|size| Answer::both(*size)).collect();
        let counted = requests.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers.clone(), counted.clone()));
            }
        });
        Self { address, requests }
    }

    /// Requests that have come so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

struct Answer {
    path_prefixes: Vec<String>,
    bytes: Vec<u8>,
}

impl Answer {
    fn both(size: usize) -> [Self; 2] {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let answer = |kinds: &[Kind], cache_control| {
            let mut bytes = format!(
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/octet-stream\r\n\
                 Content-Length: {size}\r\nETag: \"{size}\"\r\nCache-Control: {cache_control}\r\n\r\n"
            )
            .into_bytes();
            // No two places of it are alike for long: what is cut or moved is seen.
            bytes.extend((0..size).map(|position| (position % 251) as u8));
            let path_prefixes = kinds.iter().map(|kind| kind.path_prefix(size)).collect();
            Self { path_prefixes, bytes }
        };
        [
            answer(&[Kind::Kept, Kind::Crowd, Kind::Locked], "max-age=3600"),
            answer(&[Kind::Passed], "no-store"),
        ]
    }

    fn is_for(&self, request: &[u8]) -> bool {
        let is_it = |prefix: &String| {
            request.strip_prefix(b"GET ").is_some_and(|rest| rest.starts_with(prefix.as_bytes()))
        };
        self.path_prefixes.iter().any(is_it)
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<[Answer]>, requests: Arc<AtomicU64>) {
    let _ = stream.set_nodelay(true);
    let mut request = [0; REQUEST_BYTES_MAX];
    let mut filled = 0;
    loop {
        match stream.read(&mut request[filled..]).await {
            Ok(read) if read > 0 => filled += read,
            _ => return,
        }
        // Nobody pipelines here: a whole head is all that there is.
        if !request[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        requests.fetch_add(1, Ordering::Relaxed);
        let Some(answer) = answers.iter().find(|answer| answer.is_for(&request[..filled])) else {
            return;
        };
        if Kind::waits(&request[4..filled]) {
            tokio::time::sleep(CROWD_WAITS).await;
        }
        if stream.write_all(&answer.bytes).await.is_err() {
            return;
        }
        filled = 0;
    }
}
