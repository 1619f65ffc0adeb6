//! Admin listeners of parents: what is purged here has to be purged there, too. A parent that owes
//! that to us is not asked for anything else.

use super::Upstream;
use super::pool::Pool;
use crate::config::Origin;
use crate::rules::loops::Identity;
use crate::transport::{self, BodyReader, Reader};
use crate::wire::HeadLimits;
use crate::wire::body::{Decoder, Frame, Sender};
use crate::wire::response::{self, ResponseHead};
use bytes::BytesMut;
use http::Method;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How many Brims a purge has come through: those that name each other as parents would never end.
pub const HOPS: &str = "Brim-Purge-Hops";
/// More than anybody needs.
pub const HOPS_MAX: u32 = 8;

/// By which Brims it has come: its name, which begins with the identity of the first, and the
/// identities of the others.
pub const WAY: &str = "Brim-Purge-Way";
/// More than so many hops take.
const WAY_BYTES_MAX: usize = 512;

/// A listener has few places, and closes at once when they are taken: so often it is asked again, each
/// time after a longer pause.
const CLOSED_MAX: u32 = 6;
const CLOSED_PAUSE: Duration = Duration::from_millis(50);

/// A receipt is far smaller.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// One of all origins' doors.
#[derive(Clone)]
pub struct ParentDoor {
    /// Its origin's, and its own position there.
    pool: Arc<Pool>,
    position: usize,
    /// As the configuration names it.
    pub url: String,
    /// Origins whose answers may come from there, by their positions.
    pub origins: Vec<usize>,
}

/// How a purge has come here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeWay {
    /// How many Brims it has come through.
    pub hops: u32,
    through: String,
}

/// Why there is no answer.
enum NoAnswer {
    /// Nobody has begun with one.
    Closed,
    Because(String),
}

/// What is answered there.
pub struct DoorAnswer {
    /// Its status.
    pub status: u16,
    /// Its content.
    pub body: Vec<u8>,
}

impl PurgeWay {
    /// What the fields say. `None`: more than any purge needs.
    pub fn told(hops: Option<&[u8]>, through: Option<&[u8]>) -> Option<Self> {
        let text = |told| std::str::from_utf8(told).ok();
        let hops = hops.map_or(Some(0), |told| text(told)?.parse().ok())?;
        let through = through.map_or(Some(""), text)?;
        let is_known = |byte: u8| byte.is_ascii_hexdigit() || b"-, ".contains(&byte);
        let is_sound = through.len() <= WAY_BYTES_MAX && through.bytes().all(is_known);
        let way = Self { hops, through: through.to_owned() };
        (hops <= HOPS_MAX && is_sound).then_some(way)
    }

    /// Of one that begins here, but because of one that had come through so many.
    pub fn after(hops: u32) -> Self {
        Self { hops, through: String::new() }
    }

    /// How it goes on from this Brim; `id` is its name here if it has none yet.
    #[must_use]
    pub fn onward(&self, identity: &Identity, id: &str) -> Self {
        let (through, own) = (&self.through, identity.as_str());
        let through = match self.name() {
            Some(_) => format!("{through}, {own}"),
            None => format!("{own}-{id}"),
        };
        Self { hops: self.hops + 1, through }
    }

    /// The same for all who get it by some way from where it began. `None`: it begins here.
    pub fn name(&self) -> Option<&str> {
        self.through.split(',').next().filter(|name| !name.is_empty())
    }

    /// Whether it was at this Brim before.
    pub fn leads_through(&self, identity: &Identity) -> bool {
        self.through.contains(identity.as_str())
    }
}

impl ParentDoor {
    /// Whether a server is asked for nothing, because it may have what was purged here. In force for
    /// everybody who asks afterwards, at whatever origin the same server is.
    pub fn keep_out(&self, is_owed: bool) {
        self.pool.doors[self.position].set_owed(is_owed);
    }
}

impl Upstream {
    /// Doors of all servers that are Brims themselves.
    pub fn doors(&self) -> Vec<ParentDoor> {
        let doors = self.pools.iter().enumerate().flat_map(|(origin, pool)| {
            let origins = self.served_by(origin);
            pool.doors.iter().enumerate().map(move |(position, door)| ParentDoor {
                pool: pool.clone(),
                position,
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
        let others = self.origins.iter().enumerate().filter(|(_, other)| is_served(other));
        others.map(|(other, _)| other).chain([pool]).collect()
    }

    /// Asks for a purge. An error says why there is no answer.
    pub async fn ask_for_purge(
        &self,
        door: &ParentDoor,
        wish: &[u8],
        way: &PurgeWay,
        within: Duration,
    ) -> Result<DoorAnswer, String> {
        let asking = async {
            let mut closed = 0;
            loop {
                match self.ask_at_door(door, wish, way).await {
                    Ok(answer) => return Ok(answer),
                    Err(NoAnswer::Because(why)) => return Err(why),
                    Err(NoAnswer::Closed) if closed == CLOSED_MAX => {
                        return Err("it closed without an answer".to_owned());
                    }
                    Err(NoAnswer::Closed) => {}
                }
                // It may have purged and not said so: to do that twice does no harm.
                sleep(CLOSED_PAUSE * 2_u32.pow(closed)).await;
                closed += 1;
            }
        };
        timeout(within, asking).await.unwrap_or_else(|_| Err(format!("no answer in {within:?}")))
    }

    async fn ask_at_door(
        &self,
        door: &ParentDoor,
        wish: &[u8],
        way: &PurgeWay,
    ) -> Result<DoorAnswer, NoAnswer> {
        let Some(token) = &self.token else {
            return Err(NoAnswer::Because("there is no operator's token to bring".to_owned()));
        };
        let pool = &door.pool;
        let server = &pool.doors[door.position].server;
        let dialled = server.dial(&pool.settings, pool.tls.as_ref(), true).await;
        let dialled = match dialled {
            Ok(dialled) => dialled,
            Err(not_connected) => {
                server.doubt();
                return Err(NoAnswer::Because(not_connected.reason));
            }
        };
        let stall = pool.settings.read_timeout;
        let (mut reader, mut writer) = transport::split(dialled.stream, BytesMut::new(), stall);
        let PurgeWay { hops, through } = way;
        let head = format!(
            "POST /purge HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
             {HOPS}: {hops}\r\n{WAY}: {through}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            server.settings.authority,
            wish.len(),
        );
        // Who refuses may do so before it has read everything: reading shows.
        let _ = writer.write(&[head.as_bytes(), wish]).await;
        let head = read_head(&mut reader).await?;
        let body = read_body(&mut reader, &head, stall).await.map_err(NoAnswer::Because)?;
        Ok(DoorAnswer { status: head.status, body })
    }
}

async fn read_head(reader: &mut Reader) -> Result<ResponseHead, NoAnswer> {
    loop {
        let parsed = response::parse(&mut reader.buf, &HeadLimits::OF_ANSWERS, &Method::POST);
        match parsed.map_err(|why| NoAnswer::Because(why.to_owned()))? {
            Some(head) if head.is_interim() => {}
            Some(head) => return Ok(head),
            None => match reader.fill(Duration::MAX).await {
                Ok(read) if read > 0 => {}
                _ => return Err(NoAnswer::Closed),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_tells_who_was_there() {
        let [first, second, third] = [1, 2, 3].map(|last| Identity::new([last; 8]));
        let begins = PurgeWay::told(None, None).expect("a way");
        assert_eq!((begins.hops, begins.name()), (0, None));
        let way = begins.onward(&first, "5f").onward(&second, "60");
        assert_eq!((way.hops, way.name()), (2, Some("0101010101010101-5f")));
        assert!(way.leads_through(&first) && way.leads_through(&second));
        assert!(!way.leads_through(&third));
        let told = PurgeWay::told(Some(b"2"), Some(way.through.as_bytes()));
        assert_eq!(told, Some(way));
    }

    #[test]
    fn a_way_is_as_long_as_it_may_be_and_no_longer() {
        let identity = Identity::new([255; 8]);
        let mut way = PurgeWay::default();
        for _ in 0..HOPS_MAX {
            way = way.onward(&identity, "ffffffffffffffff");
        }
        let hops = way.hops.to_string();
        let told = PurgeWay::told(Some(hops.as_bytes()), Some(way.through.as_bytes()));
        assert_eq!(told.as_ref(), Some(&way));
        for (hops, through) in [("9", ""), ("x", ""), ("-1", ""), ("1", "x"), ("1", "a\u{e9}")] {
            let told = PurgeWay::told(Some(hops.as_bytes()), Some(through.as_bytes()));
            assert_eq!(told, None, "{hops} {through}");
        }
        assert_eq!(PurgeWay::told(None, Some(&[b'a'; WAY_BYTES_MAX + 1])), None);
    }
}
