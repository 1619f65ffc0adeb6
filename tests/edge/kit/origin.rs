//! An origin in the test's own process that does what it is told to, connection by connection.

use super::{OK, PATIENCE};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};

/// A listening origin. Its threads end with the test's process.
pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
    asked: Condvar,
}

/// One connection as the origin sees it.
pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
    state: Arc<State>,
}

impl Origin {
    /// Runs `behave` for each connection, on a thread of its own.
    pub(crate) fn start(behave: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").expect("bound"), behave)
    }

    /// The same where somebody listens already.
    pub(crate) fn start_on(
        listener: TcpListener,
        behave: impl Fn(&mut Peer) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let (behave, shared) = (Arc::new(behave), state.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                shared.connections.fetch_add(1, Ordering::SeqCst);
                stream.set_read_timeout(Some(PATIENCE)).expect("set");
                stream.set_nodelay(true).expect("set");
                let mut peer = Peer { stream: BufReader::new(stream), state: shared.clone() };
                let behave = behave.clone();
                std::thread::spawn(move || behave(&mut peer));
            }
        });
        Self { address, state }
    }

    /// Gives every request (without a body) the same answer, on connections that stay.
    pub(crate) fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |peer| {
            while peer.head().is_some() {
                peer.send(&answer);
            }
        })
    }

    /// Gives each request (bodies are read and forgotten) the answer that its head and its number,
    /// from 0 on, call for.
    pub(crate) fn serving(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Self {
        let count = AtomicUsize::new(0);
        Self::start(move |peer| {
            while let Some(head) = peer.head() {
                peer.body_of(&head);
                peer.send(answer(&head, count.fetch_add(1, Ordering::SeqCst)));
            }
        })
    }

    /// Takes requests with Content-Length or chunked bodies and answers `ok` to each.
    pub(crate) fn ok() -> Self {
        Self::start(|peer| {
            while let Some(head) = peer.head() {
                peer.body_of(&head);
                peer.send(OK);
            }
        })
    }

    /// Answers when it is told to, and says when it was asked.
    pub(crate) fn waiting() -> (Self, Sender<()>, Receiver<()>) {
        let (answer, may_answer) = channel();
        let (asked, was_asked) = channel();
        let both = Mutex::new((may_answer, asked));
        let origin = Self::start(move |peer| {
            while peer.head().is_some() {
                let both = both.lock().expect("lock");
                both.1.send(()).expect("the test listens");
                let _ = both.0.recv();
                peer.send(OK);
            }
        });
        (origin, answer, was_asked)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The request heads received so far, as they came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.heads.lock().expect("heads").clone()
    }

    /// How many requests it got so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.heads.lock().expect("heads").len()
    }

    /// The last request head received.
    pub(crate) fn last_head(&self) -> String {
        self.heads().pop().expect("a head")
    }

    /// Waits until it has got so many requests.
    pub(crate) fn wait_for_requests(&self, count: usize) {
        let heads = self.state.heads.lock().expect("heads");
        let is_missing = |heads: &mut Vec<String>| heads.len() < count;
        let waited = self.state.asked.wait_timeout_while(heads, PATIENCE, is_missing);
        let (heads, waited) = waited.expect("heads");
        assert!(!waited.timed_out(), "{heads:#?}");
    }

    /// The only head received.
    pub(crate) fn only_head(&self) -> String {
        let heads = self.heads();
        assert_eq!(heads.len(), 1, "{heads:#?}");
        heads[0].clone()
    }
}

impl Peer {
    /// The next head, or `None` when the edge has closed.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.stream.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        self.state.heads.lock().expect("heads").push(head.clone());
        self.state.asked.notify_all();
        Some(head)
    }

    /// How many heads the origin has received, this connection's last one included.
    pub(crate) fn count_head(&self) -> usize {
        self.state.heads.lock().expect("heads").len()
    }

    /// The body of a request with this head, as content.
    pub(crate) fn body_of(&mut self, head: &str) -> Vec<u8> {
        let lower = head.to_ascii_lowercase();
        let field = |name: &str| {
            let line = lower.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim().to_owned())
        };
        if field("transfer-encoding:").is_some() {
            return self.chunks().0;
        }
        let length = field("content-length:").map_or(0, |length| length.parse().expect("a length"));
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        body
    }

    /// A chunked body: its content and its trailer lines.
    pub(crate) fn chunks(&mut self) -> (Vec<u8>, String) {
        let mut response = super::read_response(
            &mut b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n"
                .chain(&mut self.stream as &mut dyn BufRead),
            true,
        );
        assert!(response.is_whole, "a whole body");
        (std::mem::take(&mut response.body), response.trailers)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The edge may have left; what it saw is what the test asserts.
        let _ = self.stream.get_mut().write_all(bytes.as_ref());
    }

    /// Whether everything could be written.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    pub(crate) fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    /// Everything up to and with these bytes.
    pub(crate) fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            bytes.extend(self.read_exactly(1));
        }
        bytes
    }

    /// Sends back whatever comes, until the edge closes.
    pub(crate) fn echo(&mut self) {
        let mut back = self.stream.get_ref().try_clone().expect("cloned");
        let _ = std::io::copy(&mut self.stream, &mut back);
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// Everything until the edge closes or breaks the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }
}
