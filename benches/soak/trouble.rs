//! Clients that do not behave: slow ones, idle ones, those that break off, and those that flood.
//!
//! Each act is bounded in time and traffic. Where the edge has to lose its patience, it is looked
//! whether it did.

mod http2;

use crate::client::head;
use crate::doors::{Doors, Manner, connect};
use crate::edge::PATIENCE;
use crate::origin::BREAKS_OFF;
use crate::question::{HOST, Question};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// More than any act takes.
const ACT_TAKES_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);
/// Between the pieces of those who are slow.
const SLOW_PIECE: Duration = Duration::from_millis(100);
/// More than the sockets of both sides hold.
const LARGE_BYTES: usize = 6 * 1024 * 1024;
/// How much later than its patience says the edge may give up, on a machine that is busy.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(8);

const RESETS: Manner = Manner { resets: true, has_little_room: false };
const HAS_LITTLE_ROOM: Manner = Manner { resets: true, has_little_room: true };

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Silence,
    SlowHead,
    HalfHead,
    SlowBody,
    StalledBody,
    SlowReader,
    StalledReader,
    ResetMidAnswer,
    ResetBeforeAnswer,
    ResetMidUpload,
    BrokenOrigin,
    Nonsense,
    HalfHandshake,
    Http2Silence,
    Http2SlowHead,
    Http2StalledReader,
    Http2Cancels,
    Http2MidUpload,
    Http2Cut,
    Http2RapidReset,
    Http2Pings,
}

/// Each, and how many clients do it at one time.
const ALL: [(Trouble, usize); 21] = [
    (Trouble::Silence, 40),
    (Trouble::SlowHead, 20),
    (Trouble::HalfHead, 20),
    (Trouble::SlowBody, 10),
    (Trouble::StalledBody, 10),
    (Trouble::SlowReader, 10),
    (Trouble::StalledReader, 10),
    (Trouble::ResetMidAnswer, 4),
    (Trouble::ResetBeforeAnswer, 4),
    (Trouble::ResetMidUpload, 4),
    (Trouble::BrokenOrigin, 2),
    (Trouble::Nonsense, 2),
    (Trouble::HalfHandshake, 20),
    (Trouble::Http2Silence, 10),
    (Trouble::Http2SlowHead, 10),
    (Trouble::Http2StalledReader, 10),
    (Trouble::Http2Cancels, 4),
    (Trouble::Http2MidUpload, 4),
    (Trouble::Http2Cut, 4),
    (Trouble::Http2RapidReset, 1),
    (Trouble::Http2Pings, 1),
];

/// How often one of them was done, and how often the edge let it go on.
#[derive(Default)]
pub(crate) struct Acts {
    pub(crate) done: AtomicU64,
    pub(crate) suffered: AtomicU64,
    /// It could not be done: no connection, say.
    pub(crate) failed: AtomicU64,
}

/// All that was done, by name.
#[derive(Default)]
pub(crate) struct Diary([Acts; ALL.len()]);

impl Diary {
    pub(crate) fn all(&self) -> impl Iterator<Item = (String, &Acts)> {
        ALL.iter().zip(&self.0).map(|((trouble, _), acts)| (format!("{trouble:?}"), acts))
    }

    pub(crate) fn suffered(&self) -> u64 {
        self.0.iter().map(|acts| acts.suffered.load(Ordering::Relaxed)).sum()
    }

    /// Kinds that were done at least once.
    pub(crate) fn kinds_done(&self) -> usize {
        self.0.iter().filter(|acts| acts.done.load(Ordering::Relaxed) > 0).count()
    }
}

pub(crate) const KINDS: usize = ALL.len();

/// Starts all of them; each ends after this time, when its act is over.
pub(crate) fn start(
    running: &mut JoinSet<()>,
    doors: &Arc<Doors>,
    diary: &Arc<Diary>,
    until: Instant,
) {
    for (position, (trouble, clients)) in ALL.into_iter().enumerate() {
        for _ in 0..clients {
            let (diary, doors) = (diary.clone(), doors.clone());
            running.spawn(async move {
                let acts = &diary.0[position];
                while Instant::now() < until {
                    let counted = match timeout(ACT_TAKES_MAX, trouble.act(&doors)).await {
                        Ok(Ok(true)) => &acts.done,
                        Ok(Ok(false)) | Err(_) => &acts.suffered,
                        Ok(Err(_)) => &acts.failed,
                    };
                    counted.fetch_add(1, Ordering::Relaxed);
                    sleep(PAUSE).await;
                }
            });
        }
    }
}

impl Trouble {
    /// Whether the edge put an end to it, if it has to.
    async fn act(self, doors: &Doors) -> io::Result<bool> {
        let edge = doors.plain;
        match self {
            Self::Silence => goes_on_unanswered(edge, b"").await,
            Self::HalfHead => goes_on_unanswered(edge, b"GET / HTTP/1.1\r\nHost: soak").await,
            Self::SlowHead => slow_head(edge).await,
            Self::SlowBody => slow_body(edge).await,
            Self::StalledBody => {
                let head = upload(1 << 20);
                goes_on_unanswered(edge, &[head.as_bytes(), b"the beginning"].concat()).await
            }
            Self::SlowReader => slow_reader(edge).await,
            Self::StalledReader => stalled_reader(edge).await,
            Self::ResetMidAnswer => reset(edge, &head(&Question::unknown(1 << 20)), 4096).await,
            Self::ResetBeforeAnswer => {
                let id = Question::unknown(0).path.replace("/kept/0/", "/slow/1000/");
                reset(edge, &format!("GET {id} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"), 0).await
            }
            Self::ResetMidUpload => reset(edge, &(upload(1 << 20) + &"u".repeat(100_000)), 0).await,
            Self::BrokenOrigin => broken_origin(doors).await,
            Self::Nonsense => goes_on_unanswered(edge, b"\x16\x03\x01\x02\x00\r\n\r\n").await,
            // The head of a record, and how a ClientHello begins (RFC 8446, section 4).
            Self::HalfHandshake => {
                goes_on_unanswered(doors.secured, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03").await
            }
            Self::Http2Silence => goes_on_unanswered(edge, &http2::greeting()).await,
            Self::Http2SlowHead => {
                let half = http2::headers(1, http2::END_STREAM);
                goes_on_unanswered(edge, &[http2::greeting(), half].concat()).await
            }
            Self::Http2StalledReader => http2::stalled_reader(doors).await,
            Self::Http2Cancels => http2::cancels(doors).await,
            Self::Http2MidUpload => http2::breaks_off_upload(doors).await,
            Self::Http2Cut => http2::cut(doors).await,
            Self::Http2RapidReset => http2::rapid_reset(edge).await,
            Self::Http2Pings => http2::pings(edge).await,
        }
    }
}

fn upload(bytes: usize) -> String {
    format!("POST /upload HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {bytes}\r\n\r\n")
}

/// Sends this and no more. Whether the edge closes.
async fn goes_on_unanswered(edge: SocketAddr, sent: &[u8]) -> io::Result<bool> {
    let mut stream = connect(edge, Manner::default()).await?;
    stream.write_all(sent).await?;
    Ok(is_closed(&mut stream, PATIENCE + GIVES_UP_WITHIN).await)
}

/// Whether the edge closes in this time; what it says before is read.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut said = tokio::io::sink();
    timeout(within, tokio::io::copy(stream, &mut said)).await.is_ok()
}

/// A byte at a time: each is new, the head never comes.
async fn slow_head(edge: SocketAddr) -> io::Result<bool> {
    let mut stream = connect(edge, Manner::default()).await?;
    let begun = Instant::now();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").await?;
    while begun.elapsed() < PATIENCE + GIVES_UP_WITHIN {
        if stream.write_all(b"x").await.is_err() {
            return Ok(true);
        }
        if timeout(SLOW_PIECE, stream.read_u8()).await.is_ok() {
            return Ok(is_closed(&mut stream, GIVES_UP_WITHIN).await);
        }
    }
    Ok(false)
}

/// Slow, but it goes on; then the client has enough itself.
async fn slow_body(edge: SocketAddr) -> io::Result<bool> {
    let mut stream = connect(edge, RESETS).await?;
    stream.write_all(upload(1 << 20).as_bytes()).await?;
    for _ in 0..20 {
        sleep(SLOW_PIECE).await;
        stream.write_all(&[b'u'; 100]).await?;
    }
    Ok(true)
}

async fn slow_reader(edge: SocketAddr) -> io::Result<bool> {
    let mut stream = connect(edge, HAS_LITTLE_ROOM).await?;
    stream.write_all(head(&Question::kept(LARGE_BYTES, 7)).as_bytes()).await?;
    let mut piece = [0; 2048];
    for _ in 0..20 {
        sleep(SLOW_PIECE).await;
        stream.read_exact(&mut piece).await?;
    }
    Ok(true)
}

/// Takes nothing: what comes later, of what the sockets hold, is not the whole.
async fn stalled_reader(edge: SocketAddr) -> io::Result<bool> {
    let mut stream = connect(edge, HAS_LITTLE_ROOM).await?;
    stream.write_all(head(&Question::kept(LARGE_BYTES, 7)).as_bytes()).await?;
    sleep(PATIENCE * 3).await;
    let mut rest = Vec::new();
    let read = timeout(GIVES_UP_WITHIN, stream.read_to_end(&mut rest)).await;
    Ok(read.is_ok() && rest.len() < LARGE_BYTES)
}

/// Leaves with RST after so many bytes of the answer.
async fn reset(edge: SocketAddr, sent: &str, bytes: usize) -> io::Result<bool> {
    let mut stream = connect(edge, RESETS).await?;
    stream.write_all(sent.as_bytes()).await?;
    stream.read_exact(&mut vec![0; bytes]).await?;
    sleep(PAUSE).await;
    Ok(true)
}

/// What the origin does not finish is not a whole answer.
async fn broken_origin(doors: &Doors) -> io::Result<bool> {
    let path = Question::unknown(0).path.replace("/kept/0/", &format!("{BREAKS_OFF}100000/"));
    let mut client = doors.http1(true).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    Ok(client.send(&request, b"").await.map_or(true, |answer| answer.status >= 500))
}
