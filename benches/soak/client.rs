//! Clients: one over HTTP/1.1 and one over HTTP/2.

use crate::question::{Answer, CONTENT_BYTES_MAX, HOST, Question};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;

const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Whatever bytes can be sent over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One connection that carries one request after the other.
pub(crate) struct Http1 {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
}

impl Http1 {
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: BytesMut::new() }
    }

    pub(crate) async fn ask(&mut self, question: &Question) -> io::Result<Answer> {
        self.send(&head(question), &vec![b'u'; question.upload_bytes]).await
    }

    /// A request as it stands, and a body for it.
    pub(crate) async fn send(&mut self, head: &str, body: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(&[head.as_bytes(), body].concat()).await?;
        let end = loop {
            let found = memchr::memmem::find(&self.buffer, b"\r\n\r\n");
            if let Some(end) = found {
                break end + 4;
            }
            let is_good = self.buffer.len() < HEAD_BYTES_MAX;
            if !is_good || self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::other("no head"));
            }
        };
        let head = String::from_utf8_lossy(&self.buffer.split_to(end)).to_ascii_lowercase();
        let field = |name: &str| {
            let value =
                head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value.map(str::to_owned)
        };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| io::Error::other("no status"))?;
        let length = field("content-length").and_then(|length| length.parse().ok());
        let length = if status == 304 { Some(0) } else { length };
        let length: usize = length.ok_or_else(|| io::Error::other("no length"))?;
        if length > CONTENT_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        while self.buffer.len() < length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::other("an answer that breaks off"));
            }
        }
        let is_hit = field("cache-status").is_some_and(|status| says_hit(&status));
        Ok(Answer { status, is_hit, body: self.buffer.split_to(length).freeze() })
    }
}

/// As it is written for HTTP/1.1.
pub(crate) fn head(question: &Question) -> String {
    let method = if question.upload_bytes > 0 { "POST" } else { "GET" };
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {HOST}\r\n", question.path);
    if question.upload_bytes > 0 {
        head += &format!("Content-Length: {}\r\n", question.upload_bytes);
    }
    if let Some((name, value)) = &question.field {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

/// One connection for many requests at one time; each clone may ask.
#[derive(Clone)]
pub(crate) struct Http2 {
    send: SendRequest<Bytes>,
}

impl Http2 {
    /// The connection goes on as long as the task that is told beside it.
    pub(crate) async fn over(stream: impl Stream + 'static) -> io::Result<(Self, JoinHandle<()>)> {
        let (send, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // Whoever asks on it sees why it has ended.
            let _ = connection.await;
        });
        Ok((Self { send }, driver))
    }

    pub(crate) async fn ask(&self, question: &Question) -> io::Result<Answer> {
        let mut upload = self.begin(question).await?;
        if question.upload_bytes > 0 {
            let body = vec![b'u'; question.upload_bytes];
            send_all(&mut upload.sent, body.into()).await?;
        }
        let (head, mut body) = upload.answer.await.map_err(io::Error::other)?.into_parts();
        let mut bytes = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data.map_err(io::Error::other)?;
            body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
            if bytes.len() + data.len() > CONTENT_BYTES_MAX {
                return Err(io::Error::other("too long"));
            }
            bytes.extend_from_slice(&data);
        }
        let cache_status = head.headers.get("cache-status").and_then(|value| value.to_str().ok());
        let is_hit = cache_status.is_some_and(says_hit);
        Ok(Answer { status: head.status.as_u16(), is_hit, body: bytes.freeze() })
    }

    /// The head alone is sent; a body is still to come, if there is one.
    pub(crate) async fn begin(&self, question: &Question) -> io::Result<Begun> {
        let method = if question.upload_bytes > 0 { "POST" } else { "GET" };
        let uri = format!("http://{HOST}{}", question.path);
        let mut request = http::Request::builder().method(method).uri(uri);
        if let Some((name, value)) = &question.field {
            request = request.header(*name, value);
        }
        let request = request.body(()).map_err(io::Error::other)?;
        let mut send = self.send.clone().ready().await.map_err(io::Error::other)?;
        let is_all = question.upload_bytes == 0;
        let (answer, sent) = send.send_request(request, is_all).map_err(io::Error::other)?;
        Ok(Begun { answer, sent })
    }
}

/// A request over HTTP/2 that is under way; dropped, it is broken off.
pub(crate) struct Begun {
    pub(crate) answer: h2::client::ResponseFuture,
    pub(crate) sent: h2::SendStream<Bytes>,
}

async fn send_all(stream: &mut h2::SendStream<Bytes>, mut body: Bytes) -> io::Result<()> {
    while !body.is_empty() {
        stream.reserve_capacity(body.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let room = room.ok_or_else(|| io::Error::other("a stream that has ended"))?;
        let part = body.split_to(room.map_err(io::Error::other)?.min(body.len()));
        stream.send_data(part, body.is_empty()).map_err(io::Error::other)?;
    }
    Ok(())
}

fn says_hit(cache_status: &str) -> bool {
    cache_status.contains("; hit") || cache_status.contains(";hit")
}
