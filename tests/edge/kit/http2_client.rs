//! A well-behaved client over HTTP/2.

use super::PATIENCE;
use bytes::Bytes;
use h2::SendStream;
use h2::client::{Builder, SendRequest};
use http::{HeaderMap, Request};
use std::net::SocketAddr;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// One connection to the edge, and the thread that moves it.
pub(crate) struct Http2Client {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Http2Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// Statuses and fields of the interim answers before it.
    pub(crate) interim: Vec<(u16, HeaderMap)>,
}

/// A request that is on its way.
pub(crate) struct Asked {
    pub(crate) body: SendStream<Bytes>,
    answer: h2::client::ResponseFuture,
}

impl Http2Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &Builder::new())
    }

    pub(crate) fn connect_with(address: SocketAddr, builder: &Builder) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (requests, connection) = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.expect("connected");
            stream.set_nodelay(true).expect("set");
            let (requests, connection) = builder.handshake(stream).await.expect("a handshake");
            (requests, tokio::spawn(connection))
        });
        Self { runtime, requests, connection }
    }

    /// A GET with nothing special about it.
    pub(crate) fn get(&self, path: &str) -> Http2Answer {
        self.ask(request("GET", path), b"")
    }

    /// Sends a request with this body, if it is not empty, and reads the answer.
    pub(crate) fn ask(&self, request: Request<()>, body: &[u8]) -> Http2Answer {
        self.try_ask(request, body).expect("an answer")
    }

    /// A GET; `None`: the edge takes no other requests on this connection, and has not looked at this
    /// one.
    pub(crate) fn get_unless_over(&self, path: &str) -> Option<Http2Answer> {
        let requests = self.requests.clone();
        let asked = self.block_on(async {
            let mut requests = requests.ready().await.ok()?;
            let (answer, body) = requests.send_request(request("GET", path), true).ok()?;
            Some(Asked { body, answer })
        });
        match self.try_answer(asked?) {
            Ok(answer) => Some(answer),
            // RFC 9113, section 6.8: whatever is beyond the last stream was not acted on.
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                None
            }
            Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    pub(crate) fn try_ask(
        &self,
        request: Request<()>,
        body: &[u8],
    ) -> Result<Http2Answer, h2::Error> {
        let mut asked = self.begin(request, body.is_empty());
        if !body.is_empty() {
            asked.body.send_data(Bytes::copy_from_slice(body), true)?;
        }
        self.try_answer(asked)
    }

    /// All of them at one time.
    pub(crate) fn get_all(&self, paths: &[String]) -> Vec<Http2Answer> {
        let asked: Vec<Asked> =
            paths.iter().map(|path| self.begin(request("GET", path), true)).collect();
        asked.into_iter().map(|asked| self.answer(asked)).collect()
    }

    /// Sends a head; the body is still to be sent.
    pub(crate) fn begin(&self, request: Request<()>, ends: bool) -> Asked {
        let requests = self.requests.clone();
        self.block_on(async {
            let mut requests = requests.ready().await.expect("a free stream");
            let (answer, body) = requests.send_request(request, ends).expect("sent");
            Asked { body, answer }
        })
    }

    pub(crate) fn answer(&self, asked: Asked) -> Http2Answer {
        self.try_answer(asked).expect("an answer")
    }

    pub(crate) fn try_answer(&self, mut asked: Asked) -> Result<Http2Answer, h2::Error> {
        self.block_on(async {
            let mut interim = Vec::new();
            while let Some(head) =
                std::future::poll_fn(|context| asked.answer.poll_informational(context)).await
            {
                let (parts, ()) = head?.into_parts();
                interim.push((parts.status.as_u16(), parts.headers));
            }
            let (parts, mut stream) = asked.answer.await?.into_parts();
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                let data = data?;
                stream.flow_control().release_capacity(data.len())?;
                body.extend_from_slice(&data);
            }
            let trailers = stream.trailers().await?;
            Ok(Http2Answer {
                status: parts.status.as_u16(),
                fields: parts.headers,
                body,
                trailers,
                interim,
            })
        })
    }

    /// Sends all of a body, as the edge takes it.
    pub(crate) fn send_all(&self, body: &mut SendStream<Bytes>, data: &[u8], piece: usize) {
        self.block_on(async {
            for piece in data.chunks(piece) {
                let mut left = Bytes::copy_from_slice(piece);
                while !left.is_empty() {
                    body.reserve_capacity(left.len());
                    let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
                    let room = room.expect("a stream").expect("room");
                    body.send_data(left.split_to(room.min(left.len())), false).expect("sent");
                }
            }
        });
    }

    /// Waits until the edge has ended the connection; how it did.
    pub(crate) fn ended(&mut self) -> Result<(), h2::Error> {
        let (runtime, connection) = (&self.runtime, &mut self.connection);
        runtime
            .block_on(async { timeout(PATIENCE, connection).await.expect("in time").expect("run") })
    }

    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(async { timeout(PATIENCE, future).await.expect("in time") })
    }
}

impl Http2Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the edge says that it did (RFC 9211), less the seconds.
    pub(crate) fn told(&self) -> String {
        let told = self.field("cache-status").unwrap_or_default();
        let parts: Vec<&str> = told.split("; ").filter(|part| !part.starts_with("ttl=")).collect();
        parts.join("; ")
    }
}

/// A request with nothing special about it.
pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    request_with(method, path, &[])
}

/// The same with more fields.
pub(crate) fn request_with(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://a.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}
