//! Requests that come round again. Each server adds itself to CDN-Loop (RFC 8586) and to Via
//! (RFC 9110, section 7.6.3) of whatever it asks upstream, and looks for itself there before it does
//! anything else with a request: one that waited for its own fill would wait for ever.

use crate::wire::fields::Fields;

/// How servers of this kind call themselves there.
const NAME: &str = "brim";
const CDN_LOOP: &str = "cdn-loop";
/// More of them in a row are a mistake, also where none has been here before: a server that is
/// started again, or one of many behind one address, does not know itself.
const SERVERS_MAX: usize = 8;
/// Far more than the way of any honest request takes. It may not be shortened (RFC 8586, section 2).
const BYTES_MAX: usize = 1024;

/// What tells this process from all others. Only those who are asked upstream get to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Box<str>);

impl Identity {
    /// Nobody can guess it if the bytes are random.
    pub fn new(random: [u8; 8]) -> Self {
        Self(format!("{:016x}", u64::from_be_bytes(random)).into())
    }

    /// Sixteen hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a request goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looped {
    /// It was here before.
    Here,
    /// It has been through too many servers of this kind.
    TooManyServers,
    /// It tells of a way that nobody needs.
    TooLong,
}

impl Looped {
    /// The sentence that the client gets.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Here => {
                "the request was here before; what its site asks leads back to this server"
            }
            Self::TooManyServers => "the request has come through too many servers of this kind",
            Self::TooLong => "the request's CDN-Loop is too long",
        }
    }
}

/// Whether a request may go on, whoever sent it. What this finds does not depend on how the fields
/// are to be read: a quote that is never closed hides nothing.
pub fn check(request: &Fields, identity: &Identity) -> Result<(), Looped> {
    let is_own = |value: &[u8]| memchr::memmem::find(value, identity.0.as_bytes()).is_some();
    if request.all(CDN_LOOP).chain(request.all("via")).any(is_own) {
        return Err(Looped::Here);
    }
    let servers = request.tokens(CDN_LOOP).filter(|member| is_of_this_kind(member)).count();
    let bytes: usize = request.all(CDN_LOOP).map(<[u8]>::len).sum();
    match (servers, bytes) {
        (servers, _) if servers > SERVERS_MAX => Err(Looped::TooManyServers),
        (_, bytes) if bytes > BYTES_MAX => Err(Looped::TooLong),
        _ => Ok(()),
    }
}

/// The CDN-Loop of a request that is sent on: as it came, and this server behind it.
pub fn continued(request: &Fields, identity: &Identity) -> Vec<u8> {
    let mut way = Vec::with_capacity(64);
    for before in request.all(CDN_LOOP).filter(|before| !before.is_empty()) {
        way.extend_from_slice(before);
        way.extend_from_slice(b", ");
    }
    for part in [NAME, ";id=", identity.as_str()] {
        way.extend_from_slice(part.as_bytes());
    }
    way
}

/// A member without its parameters.
fn is_of_this_kind(member: &[u8]) -> bool {
    let id = member.split(|byte| *byte == b';').next().unwrap_or_default();
    id.trim_ascii().eq_ignore_ascii_case(NAME.as_bytes())
}
