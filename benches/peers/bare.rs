//! The practical limit of the runtime: a bare Pingora `ServerApp` that reads until a head is whole,
//! looks its target up and writes the answer. No limits, no metrics, no time-outs, no rules.

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use moka::sync::Cache;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::configuration::ServerConf;
use pingora::server::{Server, ShutdownWatch};
use pingora::services::listening::Service;
use std::io::{self, IoSlice};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HEAD_BYTES: usize = 4096;
const FIELDS_MAX: usize = 64;

struct Answer {
    head: Bytes,
    body: Bytes,
}

struct Bare {
    answers: Cache<String, Arc<Answer>>,
}

/// Never comes back. `answer` is the file of what is answered to who asks for `path`, in HTTP/1.1.
pub(crate) fn run(address: &str, path: &str, answer: &str) {
    let bytes = Bytes::from(std::fs::read(answer).expect("an answer"));
    let head_ends = memchr::memmem::find(&bytes, b"\r\n\r\n").expect("a head") + 4;
    let answer = Answer { head: bytes.slice(..head_ends), body: bytes.slice(head_ends..) };
    let answers = Cache::new(1024);
    answers.insert(path.to_owned(), Arc::new(answer));
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = Service::new("bare".into(), Bare { answers });
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever();
}

#[async_trait]
impl ServerApp for Bare {
    async fn process_new(
        self: &Arc<Self>,
        mut stream: Stream,
        _: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut read = BytesMut::with_capacity(HEAD_BYTES);
        loop {
            match self.answer_to(&read).ok()? {
                Some((head_ends, answer)) => {
                    write(&mut stream, &answer).await.ok()?;
                    read.advance(head_ends);
                }
                None => {
                    read.reserve(HEAD_BYTES);
                    if stream.read_buf(&mut read).await.ok()? == 0 {
                        return None;
                    }
                }
            }
        }
    }
}

impl Bare {
    /// With where the head ends; `None`: it is not whole yet.
    fn answer_to(&self, bytes: &[u8]) -> io::Result<Option<(usize, Arc<Answer>)>> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let status = request.parse(bytes).map_err(io::Error::other)?;
        let httparse::Status::Complete(head_ends) = status else { return Ok(None) };
        let answer = request.path.and_then(|path| self.answers.get(path));
        let answer = answer.ok_or_else(|| io::Error::other("nobody else is asked here"))?;
        Ok(Some((head_ends, answer)))
    }
}

async fn write(stream: &mut Stream, answer: &Answer) -> io::Result<()> {
    let mut slices = [IoSlice::new(&answer.head), IoSlice::new(&answer.body)];
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let written = stream.write_vectored(left).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut left, written);
    }
    stream.flush().await
}
