//! What must hold for any bytes whatever. `cargo fuzz` searches with these for as long as it is
//! let; the same functions run on mutated seeds for a bounded time inside the tests.

use brim::wire::body::{Decoder, Encoding, Frame, Sender, Step};
use brim::wire::request::{BadRequest, Parser, RequestHead};
use brim::wire::{Framing, HeadLimits, response};
use bytes::BytesMut;

/// A request head is read in one way only: the same however it is cut into packets, without a
/// line that other parsers would end elsewhere, and as another parser reads it.
pub(crate) fn request_head(data: &[u8]) {
    let limits = HeadLimits::default();
    let mut whole = BytesMut::from(data);
    let at_once = Parser::default().next(&mut whole, &limits);
    let in_pieces = arrive_in_pieces(data, &limits);
    match (&at_once, &in_pieces) {
        (Ok(Some(a)), Ok(Some(b))) => assert_same(a, b),
        // A refusal may come earlier, and for another reason, when fewer bytes are there yet.
        (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
        _ => panic!("at once {at_once:?}, in pieces {in_pieces:?}"),
    }
    let Ok(Some(head)) = at_once else { return };
    let used = data.len() - whole.len();
    assert_eq!(whole, data[used..], "what follows the head stays as it was");
    second_opinion(&data[..used], &head);
    assert!(matches!(head.framing, Framing::Empty | Framing::Length(_) | Framing::Chunked));
    assert!(head.target() == "*" || head.target().starts_with('/'));
    assert!(head.target().bytes().all(|byte| byte.is_ascii_graphic()));
    assert_eq!(head.authority().is_some(), head.authority_text().is_some());
    for (name, value) in head.fields.iter() {
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
        assert!(!value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }
}

/// Feeds one byte more each time, as the slowest client would.
fn arrive_in_pieces(data: &[u8], limits: &HeadLimits) -> Result<Option<RequestHead>, BadRequest> {
    let mut parser = Parser::default();
    let mut buf = BytesMut::new();
    for byte in data {
        buf.extend_from_slice(&[*byte]);
        match parser.next(&mut buf, limits) {
            Ok(None) => {}
            done => return done,
        }
    }
    Ok(None)
}

fn assert_same(a: &RequestHead, b: &RequestHead) {
    assert_eq!(a.method, b.method);
    assert_eq!(a.target(), b.target());
    assert_eq!(a.authority_text(), b.authority_text());
    assert_eq!((a.version, a.framing, a.persistent), (b.version, b.framing, b.persistent));
    assert!(a.fields.iter().eq(b.fields.iter()));
}

/// httparse by itself, which is more lenient, must agree on every field of what was accepted.
fn second_opinion(text: &[u8], head: &RequestHead) {
    assert!(text.ends_with(b"\r\n\r\n"));
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(text[at - 1], b'\r', "a bare LF"),
            b'\r' => assert_eq!(text[at + 1], b'\n', "a bare CR"),
            _ => {}
        }
    }
    let mut lines = vec![httparse::EMPTY_HEADER; 1024];
    let mut parsed = httparse::Request::new(&mut lines);
    assert_eq!(parsed.parse(text), Ok(httparse::Status::Complete(text.len())));
    assert_eq!(parsed.method, Some(head.method.as_str()));
    let fields = parsed.headers.iter().map(|line| (line.name, line.value));
    assert!(fields.eq(head.fields.iter()));
    let count = |name: &str| head.fields.all(name).count();
    assert!(count("content-length") <= 1 && count("host") <= 1);
    assert!(count("content-length") == 0 || count("transfer-encoding") == 0);
}

/// A response head is the same however it is cut into packets, and its framing is one of those
/// that the RFC knows.
pub(crate) fn response_head(data: &[u8]) {
    let limits = HeadLimits::default();
    for method in [http::Method::GET, http::Method::HEAD] {
        let at_once = response::parse(&mut BytesMut::from(data), &limits, &method);
        let mut buf = BytesMut::new();
        let mut in_pieces = Ok(None);
        for byte in data {
            buf.extend_from_slice(&[*byte]);
            in_pieces = response::parse(&mut buf, &limits, &method);
            if !matches!(in_pieces, Ok(None)) {
                break;
            }
        }
        match (&at_once, &in_pieces) {
            (Ok(Some(a)), Ok(Some(b))) => {
                assert_eq!(
                    (a.status, a.framing, a.persistent),
                    (b.status, b.framing, b.persistent)
                );
                assert!(a.reason() == b.reason() && a.fields.iter().eq(b.fields.iter()));
            }
            (Ok(None), Ok(None)) | (Err(_), Err(_)) => {}
            _ => panic!("at once {at_once:?}, in pieces {in_pieces:?}"),
        }
        let Ok(Some(head)) = at_once else { continue };
        assert!((100..600).contains(&head.status));
        assert!(!head.reason().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        if method == http::Method::HEAD || matches!(head.status, 100..200 | 204 | 304) {
            assert_eq!(head.framing, Framing::Empty);
        }
        assert!(head.framing != Framing::UntilClose || !head.persistent);
    }
}

/// A chunked body is the same body however it is cut into packets, and what is written for it is
/// read back as the same.
pub(crate) fn chunked_body(data: &[u8]) {
    for sender in [Sender::Client, Sender::Origin] {
        let at_once = decode(data, data.len().max(1), sender);
        let in_pieces = decode(data, 1, sender);
        assert_eq!(at_once, in_pieces, "cut differently");
        let Ok((body, trailers, true, _)) = at_once else { continue };
        let mut again = Vec::new();
        if !body.is_empty() {
            let bytes = bytes::Bytes::from(body.clone());
            let (before, after) = Encoding::Chunked.around(&bytes);
            again.extend_from_slice(&before);
            again.extend_from_slice(&bytes);
            again.extend_from_slice(after);
        }
        again.extend_from_slice(b"0\r\n");
        for (name, value) in &trailers {
            again.extend_from_slice(format!("{name}: ").as_bytes());
            again.extend_from_slice(value);
            again.extend_from_slice(b"\r\n");
        }
        again.extend_from_slice(b"\r\n");
        assert_eq!(decode(&again, again.len(), sender), Ok((body, trailers, true, 0)));
    }
}

/// Content, trailers, whether it ended, and how many bytes were left.
type Decoded = (Vec<u8>, Vec<(String, Vec<u8>)>, bool, usize);

fn decode(data: &[u8], piece: usize, sender: Sender) -> Result<Decoded, ()> {
    let mut decoder = Decoder::new(Framing::Chunked, sender, HeadLimits::default());
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    let mut buf = BytesMut::new();
    let mut pieces = data.chunks(piece);
    loop {
        match decoder.step(&mut buf).map_err(|_| ())? {
            Step::Frame(Frame::Data(data)) => {
                assert!(!data.is_empty());
                body.extend_from_slice(&data);
            }
            Step::Frame(Frame::Trailers(fields)) => {
                assert!(!fields.is_empty());
                trailers.extend(fields.iter().map(|(n, v)| (n.to_owned(), v.to_vec())));
            }
            Step::Done => {
                let left = buf.len() + pieces.map(<[u8]>::len).sum::<usize>();
                return Ok((body, trailers, true, left));
            }
            Step::More => match pieces.next() {
                Some(piece) => buf.extend_from_slice(piece),
                None => return Ok((body, trailers, false, buf.len())),
            },
        }
    }
}
