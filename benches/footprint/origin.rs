//! The origin: a thread that answers `/<bytes>/<anything>` with so many bytes, which may be kept for
//! long.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// More than the edge sends here.
const REQUEST_BYTES_MAX: usize = 4096;

/// Listens as long as the process lives.
pub(crate) fn start() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = crate::runtime()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut request = [0; REQUEST_BYTES_MAX];
    let (mut filled, mut answer) = (0, (0, Vec::new()));
    loop {
        match stream.read(&mut request[filled..]).await {
            Ok(read) if read > 0 => filled += read,
            _ => return,
        }
        // Nobody pipelines here: a whole head is all that there is.
        if !request[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        let Some(bytes) = wanted_bytes(&request[..filled]) else { return };
        if answer.0 != bytes || answer.1.is_empty() {
            answer = (bytes, answer_of(bytes));
        }
        if stream.write_all(&answer.1).await.is_err() {
            return;
        }
        filled = 0;
    }
}

fn wanted_bytes(request: &[u8]) -> Option<usize> {
    let target = request.strip_prefix(b"GET /")?;
    let digits = target.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// With the fields that a file server sends.
fn answer_of(bytes: usize) -> Vec<u8> {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {bytes}\r\nETag: \"5f3-{bytes}\"\r\nLast-Modified: {date}\r\n\
         Cache-Control: max-age=86400\r\n\r\n"
    )
    .into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    answer
}
