//! The origin of what counts and times hits: `/<bytes>/<anything>` is so many bytes. It answers each
//! connection on a thread of its own, and allocates nothing while it does: allocations are counted for
//! the whole process.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::SystemTime;

/// More than the edge sends here.
const REQUEST_BYTES_MAX: usize = 4096;
/// What contents are made of.
const CONTENT_BYTES_MAX: usize = 1024 * 1024;

/// Answers until the process ends, with these lines in the head behind the length of the content.
pub(crate) fn start(fields: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve(stream, fields));
        }
    });
    address
}

fn serve(mut stream: TcpStream, fields: &'static str) {
    let _ = stream.set_nodelay(true);
    let mut answer = Answer::new(fields);
    let mut request = [0; REQUEST_BYTES_MAX];
    let mut filled = 0;
    while let Ok(read) = stream.read(&mut request[filled..]) {
        filled += read;
        if read == 0 {
            return;
        }
        if request[..filled].ends_with(b"\r\n\r\n") {
            answer.of_length(length_of(&request[..filled]));
            if stream.write_all(&answer.bytes).is_err() {
                return;
            }
            filled = 0;
        }
    }
}

/// The length that a target begins with.
fn length_of(request: &[u8]) -> usize {
    let digits = request.iter().skip_while(|byte| **byte != b'/').skip(1);
    let digits = digits.take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0')).min(CONTENT_BYTES_MAX)
}

/// The latest answer: the next one is the same as a rule.
struct Answer {
    date: String,
    fields: &'static str,
    length: Option<usize>,
    bytes: Vec<u8>,
}

impl Answer {
    fn new(fields: &'static str) -> Self {
        let date = httpdate::fmt_http_date(SystemTime::now());
        Self { date, fields, length: None, bytes: Vec::new() }
    }

    fn of_length(&mut self, length: usize) {
        if self.length == Some(length) {
            return;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nDate: {}\r\nContent-Length: {length}\r\n{}\r\n",
            self.date, self.fields
        );
        self.bytes = head.into_bytes();
        self.bytes.resize(self.bytes.len() + length, b'x');
        self.length = Some(length);
    }
}
