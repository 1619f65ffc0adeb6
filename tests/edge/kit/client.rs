//! A client that sends the very bytes it is told to.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// One connection to the edge.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

/// One answer, taken apart.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Status line and fields as they came.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// Field lines behind a chunked body.
    pub(crate) trailers: String,
    /// Whether the body came to its end.
    pub(crate) is_whole: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("connected")
    }

    /// `None` if nobody listens there any more.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_write_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        Some(Self { stream: BufReader::new(stream) })
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("sent");
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Ends the sending side only.
    pub(crate) fn finish(&mut self) {
        self.stream.get_ref().shutdown(Shutdown::Write).expect("shut down");
    }

    /// Sends a request and reads the answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.answer()
    }

    /// The answer to anything but HEAD.
    pub(crate) fn answer(&mut self) -> Response {
        read_response(&mut self.stream, true)
    }

    /// The same, if the edge lives to give it: `None` if it does not come, or not as a whole.
    pub(crate) fn try_answer(&mut self) -> Option<Response> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.stream.read_until(b'\n', &mut head).ok()? == 0 {
                return None;
            }
        }
        Some(self.answer_behind(head)).filter(|answer| answer.is_whole)
    }

    /// Sends a HEAD request and reads the answer.
    pub(crate) fn ask_head(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        self.answer_without_body()
    }

    pub(crate) fn answer_without_body(&mut self) -> Response {
        read_response(&mut self.stream, false)
    }

    pub(crate) fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    /// An answer of which these bytes were read already.
    pub(crate) fn answer_behind(&mut self, first: Vec<u8>) -> Response {
        read_response(&mut (&first[..]).chain(&mut self.stream), true)
    }

    /// Breaks the connection.
    pub(crate) fn reset(self) {
        let linger = Some(std::time::Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(self.stream.get_ref(), linger).expect("set");
    }

    /// Everything until the edge closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("the edge does not close: {error}"),
        }
    }

    /// Asserts that the edge closes without another byte.
    pub(crate) fn is_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "unexpected bytes: {}", String::from_utf8_lossy(&rest));
    }

    pub(crate) fn stream(&mut self) -> &mut BufReader<TcpStream> {
        &mut self.stream
    }
}

impl Response {
    /// The value of the first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields(name).into_iter().next()
    }

    pub(crate) fn fields(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// What the edge says that it did (RFC 9211), less the seconds.
    pub(crate) fn told(&self) -> String {
        let told = self.field("cache-status").unwrap_or_default();
        let parts: Vec<&str> = told.split("; ").filter(|part| !part.starts_with("ttl=")).collect();
        parts.join("; ")
    }

    /// A whole number in a field, or behind `name=` in Cache-Status.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        if let Some(number) = self.field(name) {
            return number.parse().ok();
        }
        let told = self.field("cache-status")?;
        told.split("; ").find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads one answer off any stream; `has_body` is false for the answer to HEAD.
pub(crate) fn read_response(stream: &mut impl BufRead, has_body: bool) -> Response {
    let head = read_until_empty_line(stream);
    let status = head.get(9..12).and_then(|code| code.parse().ok());
    let status: u16 = status.unwrap_or_else(|| panic!("not a response: {head:?}"));
    let mut response =
        Response { status, head, body: Vec::new(), trailers: String::new(), is_whole: true };
    if !has_body || status < 200 || status == 204 || status == 304 {
        return response;
    }
    if response.field("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        read_chunks(stream, &mut response);
    } else if let Some(length) = response.field("content-length") {
        let length: u64 = length.parse().expect("a length");
        let read = stream.take(length).read_to_end(&mut response.body);
        response.is_whole = read.is_ok() && response.body.len() as u64 == length;
    } else {
        stream.read_to_end(&mut response.body).expect("a body");
    }
    response
}

fn read_until_empty_line(stream: &mut impl BufRead) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = stream.read_until(b'\n', &mut head).expect("a head");
        assert!(read > 0, "the head ends early: {:?}", String::from_utf8_lossy(&head));
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn read_chunks(stream: &mut impl BufRead, response: &mut Response) {
    loop {
        let mut line = String::new();
        let size = match stream.read_line(&mut line) {
            Ok(read) if read > 0 => usize::from_str_radix(line.trim(), 16).expect("a chunk size"),
            _ => {
                response.is_whole = false;
                return;
            }
        };
        if size == 0 {
            break;
        }
        let before = response.body.len();
        let read = stream.take(size as u64).read_to_end(&mut response.body);
        if read.is_err() || response.body.len() < before + size {
            response.is_whole = false;
            return;
        }
        let mut end = [0; 2];
        response.is_whole = stream.read_exact(&mut end).is_ok() && end == *b"\r\n";
        if !response.is_whole {
            return;
        }
    }
    loop {
        let mut line = String::new();
        let read = stream.read_line(&mut line).expect("trailers");
        response.is_whole = read > 0;
        if read == 0 || line == "\r\n" {
            return;
        }
        response.trailers.push_str(&line);
    }
}
