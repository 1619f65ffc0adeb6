//! The origin: answers by the path, on a thread of its own.

use crate::question::{CONTENT_BYTES_MAX, content};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// How long it takes over `/slow`.
const SLOW: Duration = Duration::from_millis(300);
const PURGED_BY_TAG: u64 = 8;

/// Whatever is asked for below it breaks off, of which the edge complains.
pub(crate) const BREAKS_OFF: &str = "/broken/";

/// Listens until the process ends.
pub(crate) fn start() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    // Whoever leaves early is no matter here.
                    tokio::spawn(serve(stream));
                }
            }
        });
    });
    address
}

async fn serve(stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = BufReader::with_capacity(64 * 1024, stream);
    loop {
        let (mut head, mut line) = (String::new(), String::new());
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            head += &line;
        }
        let target = head.split(' ').nth(1)?;
        if head.starts_with("POST") {
            let bytes = take_body(&mut stream, &head).await?.to_string();
            let length = bytes.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{bytes}");
            stream.write_all(answer.as_bytes()).await.ok()?;
            continue;
        }
        let (kind, bytes, id) = parts(target)?;
        let bytes = bytes.min(CONTENT_BYTES_MAX);
        if kind == "slow" {
            tokio::time::sleep(SLOW).await;
        }
        let cache_control = if kind == "passed" { "no-store" } else { "max-age=3600" };
        let (tag, part) = (id % PURGED_BY_TAG, range(&head, bytes));
        let (status, content_range) = match &part {
            Some(part) => {
                let (first, last) = (part.start, part.end - 1);
                ("206 Partial Content", format!("Content-Range: bytes {first}-{last}/{bytes}\r\n"))
            }
            None => ("200 OK", String::new()),
        };
        let part = part.unwrap_or(0..bytes);
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nCache-Control: {cache_control}\r\n{content_range}\
             ETag: \"{id}\"\r\nCache-Tag: tag-{tag}\r\n\r\n",
            part.len()
        );
        let sent = if kind == "broken" { part.start..part.start + part.len() / 2 } else { part };
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.write_all(content(id, sent)).await.ok()?;
        if kind == "broken" {
            return None;
        }
    }
}

/// `/kind/bytes/id`
fn parts(target: &str) -> Option<(&str, usize, u64)> {
    let mut parts = target.strip_prefix('/')?.split('/');
    Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What a head says under this name.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let is_it = |(known, _): &(&str, &str)| known.eq_ignore_ascii_case(name);
    head.lines().filter_map(|line| line.split_once(": ")).find(is_it).map(|(_, value)| value)
}

/// The part that is asked for, if it is one; what there is never changes, so that `If-Range` holds.
fn range(head: &str, bytes: usize) -> Option<Range<usize>> {
    let (first, last) = field(head, "range")?.strip_prefix("bytes=")?.split_once('-')?;
    let first = first.parse().ok()?;
    let end = if last.is_empty() { bytes } else { last.parse::<usize>().ok()?.checked_add(1)? };
    (first < end.min(bytes)).then(|| first..end.min(bytes))
}

/// Reads a whole body; how long it was.
async fn take_body(stream: &mut BufReader<TcpStream>, head: &str) -> Option<u64> {
    if let Some(length) = field(head, "content-length") {
        let length = length.parse().ok()?;
        return (take(stream, length).await? == length).then_some(length);
    }
    field(head, "transfer-encoding")?;
    let mut bytes = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let chunk = u64::from_str_radix(line.trim_end(), 16).ok()?;
        // A chunk, or the end of a body without trailers, ends with an empty line.
        if take(stream, chunk + 2).await? < chunk + 2 {
            return None;
        }
        bytes += chunk;
        if chunk == 0 {
            return Some(bytes);
        }
    }
}

async fn take(stream: &mut BufReader<TcpStream>, bytes: u64) -> Option<u64> {
    tokio::io::copy(&mut stream.take(bytes), &mut tokio::io::sink()).await.ok()
}
