//! An origin that speaks HTTP/2 and does what it is told to, request by request.

use super::PATIENCE;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::request::Parts;
use http::{HeaderMap, Response};
use pingora::tls::TlsAcceptor;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A listening origin. It ends with the test's process.
pub(crate) struct Http2Origin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    closed: AtomicUsize,
    connections_http1: AtomicUsize,
    heads: Mutex<Vec<Parts>>,
    asked: Condvar,
}

/// One request.
pub(crate) struct Call {
    /// Its number among all of the origin, from 0 on.
    pub(crate) number: usize,
    /// Its connection's.
    pub(crate) connection: usize,
    pub(crate) head: Parts,
    pub(crate) body: RecvStream,
    pub(crate) answer: SendResponse<Bytes>,
    orders: UnboundedSender<Order>,
}

/// What becomes of a connection.
enum Order {
    /// It takes no more requests.
    GoAway,
    /// It ends now, with this GOAWAY.
    End(Reason),
    /// It is closed without a word.
    Cut,
    /// It stays as it is.
    Freeze,
}

type Behaviour = Arc<dyn Fn(Call) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Http2Origin {
    /// Without TLS: the edge has to know.
    pub(crate) fn start<F: Future<Output = ()> + Send + 'static>(
        behave: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::with(None, None, behave)
    }

    /// With TLS, or with so many streams on each connection.
    pub(crate) fn with<F: Future<Output = ()> + Send + 'static>(
        tls: Option<TlsAcceptor>,
        streams_max: Option<u32>,
        behave: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        listener.set_nonblocking(true).expect("set");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let behave: Behaviour = Arc::new(move |call| Box::pin(behave(call)));
        let shared = state.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).expect("set");
                    let (tls, state, behave) = (tls.clone(), shared.clone(), behave.clone());
                    tokio::spawn(async move {
                        match tls {
                            None => serve(stream, streams_max, &state, behave).await,
                            Some(tls) => {
                                let Ok(stream) = tls.accept(stream).await else { return };
                                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                                    serve(stream, streams_max, &state, behave).await;
                                } else {
                                    state.connections_http1.fetch_add(1, Ordering::SeqCst);
                                    serve_http1(stream).await;
                                }
                            }
                        }
                        state.closed.fetch_add(1, Ordering::SeqCst);
                    });
                }
            });
        });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections on which HTTP/2 began.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Connections on which the edge wanted nothing but HTTP/1.1.
    pub(crate) fn connections_http1(&self) -> usize {
        self.state.connections_http1.load(Ordering::SeqCst)
    }

    /// Connections that have ended.
    pub(crate) fn closed(&self) -> usize {
        self.state.closed.load(Ordering::SeqCst)
    }

    /// How many requests it got so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.heads.lock().expect("heads").len()
    }

    /// The last request's head.
    pub(crate) fn last_head(&self) -> Parts {
        self.state.heads.lock().expect("heads").last().expect("a head").clone()
    }

    /// Waits until it has got so many requests.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        let heads = self.state.heads.lock().expect("heads");
        let is_missing = |heads: &mut Vec<Parts>| heads.len() < count;
        let waited = self.state.asked.wait_timeout_while(heads, PATIENCE, is_missing);
        let (heads, waited) = waited.expect("heads");
        assert!(!waited.timed_out(), "{heads:#?}");
    }
}

/// Switches where it is asked to, and sends everything back; else it answers `http/1.1`.
async fn serve_http1(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::new(read);
    let mut head = String::new();
    while read.read_line(&mut head).await.is_ok_and(|read| read > 0) {
        if !head.ends_with("\r\n\r\n") {
            continue;
        }
        if head.contains("\r\nUpgrade: websocket\r\n") {
            let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                            Upgrade: websocket\r\n\r\n";
            let _ = write.write_all(switched.as_bytes()).await;
            let _ = tokio::io::copy(&mut read, &mut write).await;
            return;
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhttp/1.1";
        let _ = write.write_all(answer.as_bytes()).await;
        head.clear();
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    streams_max: Option<u32>,
    state: &Arc<State>,
    behave: Behaviour,
) {
    let mut builder = h2::server::Builder::new();
    if let Some(max) = streams_max {
        builder.max_concurrent_streams(max);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    let position = state.connections.fetch_add(1, Ordering::SeqCst);
    let (orders, mut ordered): (_, UnboundedReceiver<Order>) = unbounded_channel();
    loop {
        tokio::select! {
            accepted = connection.accept() => {
                let Some(Ok((request, answer))) = accepted else { return };
                let (head, body) = request.into_parts();
                let number = {
                    let mut heads = state.heads.lock().expect("heads");
                    heads.push(head.clone());
                    state.asked.notify_all();
                    heads.len() - 1
                };
                let orders = orders.clone();
                let call = Call { number, connection: position, head, body, answer, orders };
                tokio::spawn(behave(call));
            }
            order = ordered.recv() => match order {
                Some(Order::GoAway) => connection.graceful_shutdown(),
                Some(Order::End(reason)) => connection.abrupt_shutdown(reason),
                Some(Order::Cut) | None => return,
                Some(Order::Freeze) => std::future::pending().await,
            },
        }
    }
}

impl Call {
    /// An answer with these fields; its body is still to be sent.
    pub(crate) fn begin(&mut self, status: u16, fields: &[(&str, &str)]) -> SendStream<Bytes> {
        self.answer.send_response(head(status, fields), false).expect("sent")
    }

    /// A whole answer.
    pub(crate) fn reply(mut self, status: u16, fields: &[(&str, &str)], body: &str) {
        if body.is_empty() {
            // The edge may have left; what it saw is what the test asserts.
            let _ = self.answer.send_response(head(status, fields), true);
        } else if let Ok(mut sent) = self.answer.send_response(head(status, fields), false) {
            let _ = sent.send_data(Bytes::copy_from_slice(body.as_bytes()), true);
        }
    }

    /// A 200 that says nothing about caches.
    pub(crate) fn ok(self, body: &str) {
        self.reply(200, &[("cache-control", "no-store")], body);
    }

    pub(crate) fn inform(&mut self, status: u16, fields: &[(&str, &str)]) {
        self.answer.send_informational(head(status, fields)).expect("sent");
    }

    pub(crate) fn reset(mut self, reason: Reason) {
        self.answer.send_reset(reason);
    }

    /// The whole body of the request, and its trailers.
    pub(crate) async fn body(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut body = Vec::new();
        while let Some(data) = self.body.data().await {
            let Ok(data) = data else { return (body, None) };
            let _ = self.body.flow_control().release_capacity(data.len());
            body.extend_from_slice(&data);
        }
        (body, self.body.trailers().await.expect("trailers"))
    }

    pub(crate) fn go_away(&self) {
        self.order(Order::GoAway);
    }

    pub(crate) fn end_connection(&self, reason: Reason) {
        self.order(Order::End(reason));
    }

    pub(crate) fn cut_connection(&self) {
        self.order(Order::Cut);
    }

    pub(crate) fn freeze_connection(&self) {
        self.order(Order::Freeze);
    }

    fn order(&self, order: Order) {
        // A connection that has ended does what it is told.
        let _ = self.orders.send(order);
    }
}

fn head(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut head = Response::builder().status(status);
    for (name, value) in fields {
        head = head.header(*name, *value);
    }
    head.body(()).expect("a head")
}

/// Sends so much of a body as the edge takes, and no more; what was sent is counted.
pub(crate) async fn send_all(stream: &mut SendStream<Bytes>, data: &[u8], sent: &AtomicUsize) {
    let mut left = data;
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
        let Some(Ok(room)) = room else { return };
        let (now, later) = left.split_at(room.min(left.len()));
        if stream.send_data(Bytes::copy_from_slice(now), later.is_empty()).is_err() {
            return;
        }
        sent.fetch_add(now.len(), Ordering::SeqCst);
        left = later;
    }
}
