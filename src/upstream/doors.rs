//! Admin listeners of parents: what is purged here has to be purged there, too. A parent that owes
//! that to us is not asked for anything else.

use super::Upstream;
use super::server::Server;
use crate::config::{Origin, OriginServer};
use crate::transport::{self, BodyReader, Reader};
use crate::wire::HeadLimits;
use crate::wire::body::{Decoder, Frame, Sender};
use crate::wire::response::{self, ResponseHead};
use bytes::BytesMut;
use http::Method;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// How many Brims a purge has come through: those that name each other as parents would never end.
pub const HOPS: &str = "Brim-Purge-Hops";
/// More than anybody needs.
pub const HOPS_MAX: u32 = 8;

/// A receipt is far smaller.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The admin listener of one server.
pub(super) struct Door {
    server: Server,
    is_owed: AtomicBool,
}

/// One of all origins' doors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentDoor {
    /// Position of its origin, and its own among its servers.
    server: (usize, usize),
    /// As the configuration names it.
    pub url: String,
    /// Origins whose answers may come from there, by their positions.
    pub origins: Vec<usize>,
}

/// What is answered there.
pub struct DoorAnswer {
    /// Its status.
    pub status: u16,
    /// Its content.
    pub body: Vec<u8>,
}

impl Door {
    pub(super) fn new(settings: OriginServer) -> Self {
        let name = settings.to_string();
        Self { server: Server::new(settings, name), is_owed: AtomicBool::new(false) }
    }

    /// It may have what was purged here.
    pub(super) fn is_owed(&self) -> bool {
        self.is_owed.load(Ordering::SeqCst)
    }
}

impl Upstream {
    /// Doors of all servers that are Brims themselves.
    pub fn doors(&self) -> Vec<ParentDoor> {
        let doors = self.pools.iter().flat_map(|pool| {
            let origins = self.served_by(pool.position);
            pool.doors.iter().enumerate().map(move |(position, door)| ParentDoor {
                server: (pool.position, position),
                url: door.server.settings.url(),
                origins: origins.clone(),
            })
        });
        doors.collect()
    }

    fn served_by(&self, pool: usize) -> Vec<usize> {
        let is_served = |origin: &Origin| {
            let fallback = origin.fallback.as_ref().map(|fallback| fallback.origin);
            [origin.parent, fallback].contains(&Some(pool))
        };
        let others = self.pools.iter().filter(|other| is_served(&other.settings));
        others.map(|other| other.position).chain([pool]).collect()
    }

    /// Whether a server is asked for nothing, because it may have what was purged here. In force for
    /// everybody who asks afterwards.
    pub fn keep_out(&self, door: &ParentDoor, is_owed: bool) {
        let (pool, position) = door.server;
        self.pools[pool].doors[position].is_owed.store(is_owed, Ordering::SeqCst);
    }

    /// Asks for a purge. An error says why there is no answer.
    pub async fn ask_for_purge(
        &self,
        door: &ParentDoor,
        wish: &[u8],
        hops: u32,
        within: Duration,
    ) -> Result<DoorAnswer, String> {
        let asking = self.ask_at_door(door, wish, hops);
        timeout(within, asking).await.unwrap_or_else(|_| Err(format!("no answer in {within:?}")))
    }

    async fn ask_at_door(
        &self,
        door: &ParentDoor,
        wish: &[u8],
        hops: u32,
    ) -> Result<DoorAnswer, String> {
        let Some(token) = &self.token else {
            return Err("there is no operator's token to bring".to_owned());
        };
        let pool = &self.pools[door.server.0];
        let server = &pool.doors[door.server.1].server;
        let dialled = server.dial(&pool.settings, pool.tls.as_ref(), true).await;
        let dialled = match dialled {
            Ok(dialled) => dialled,
            Err(not_connected) => {
                server.doubt();
                return Err(not_connected.reason);
            }
        };
        let stall = pool.settings.read_timeout;
        let (mut reader, mut writer) = transport::split(dialled.stream, BytesMut::new(), stall);
        let head = format!(
            "POST /purge HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             {HOPS}: {hops}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            server.settings.authority,
            wish.len(),
        );
        // Who refuses may do so before it has read everything: reading shows.
        let _ = writer.write(&[head.as_bytes(), wish]).await;
        let head = read_head(&mut reader).await?;
        let body = read_body(&mut reader, &head, stall).await?;
        Ok(DoorAnswer { status: head.status, body })
    }
}

async fn read_head(reader: &mut Reader) -> Result<ResponseHead, String> {
    loop {
        let parsed = response::parse(&mut reader.buf, &HeadLimits::OF_ANSWERS, &Method::POST);
        match parsed.map_err(str::to_owned)? {
            Some(head) if head.is_interim() => {}
            Some(head) => return Ok(head),
            None => match reader.fill(Duration::MAX).await {
                Ok(read) if read > 0 => {}
                _ => return Err("it closed without an answer".to_owned()),
            },
        }
    }
}

async fn read_body(
    reader: &mut Reader,
    head: &ResponseHead,
    stall: Duration,
) -> Result<Vec<u8>, String> {
    let decoder = Decoder::new(head.framing, Sender::Origin, HeadLimits::OF_ANSWERS);
    let mut body = BodyReader::new(decoder, stall);
    let mut content = Vec::new();
    loop {
        match body.next(reader).await {
            Ok(Some(Frame::Data(data))) if content.len() + data.len() <= ANSWER_BYTES_MAX => {
                content.extend_from_slice(&data);
            }
            Ok(Some(Frame::Data(_))) => return Err("its answer is too long".to_owned()),
            Ok(Some(Frame::Trailers(_))) => {}
            Ok(None) => return Ok(content),
            Err(_) => return Err("its answer broke off".to_owned()),
        }
    }
}
