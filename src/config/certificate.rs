//! `[[certificate]]` and `[server.tls]`: who the edge is to clients over TLS, and whom it believes.
//!
//! A certificate and its key are read and judged together, here only: at the start, by `brim check`,
//! and each time the files change.

mod authority;

pub use authority::Authority;

use super::pem;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// Longer ones are refused by some clients, whoever signed them.
const SELF_SIGNED_FOR: Duration = Duration::from_secs(365 * 86400);
/// What is said of a key that is none of these.
const KEYS_USED: &str = "no key that can be used here: RSA of 2048 to 4096 bits, ECDSA on P-256 or \
                         P-384, or Ed25519";
/// Clients whose clocks are behind.
const SELF_SIGNED_SINCE: Duration = Duration::from_secs(86400);

/// `[[certificate]]`
#[derive(Clone, Debug, PartialEq)]
pub enum Certificate {
    /// `cert` and `key`
    Files {
        /// `cert` as the file says it: how metrics and logs call the certificate.
        name: String,
        /// PEM chain.
        cert: PathBuf,
        /// PEM key.
        key: PathBuf,
    },
    /// `self_signed`: made at the start for these names and addresses, and kept nowhere.
    SelfSigned(Vec<String>),
    /// The same, signed by an authority of this machine. No key of the file says it: `brim dev` does.
    Signed {
        /// Names and addresses.
        names: Vec<String>,
        /// Who signs.
        by: Authority,
    },
}

/// `[server.tls]`
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// TLS 1.2 is spoken, too.
    pub has_tls12: bool,
    /// `client_ca` and `client_auth`; `None`: clients are asked for no certificate.
    pub client_auth: Option<ClientAuth>,
}

/// Which certificates of clients are good.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAuth {
    /// PEM certificates of those who may have signed them.
    pub ca: PathBuf,
    /// Whoever has none is not spoken to.
    pub is_required: bool,
}

/// A certificate with its key, which fits.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Chain and key.
    pub certified: Arc<CertifiedKey>,
    /// DNS names in lower case, `*.example.org` among them.
    pub names: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// When it becomes valid; seconds from 1970 on.
    pub not_before: i64,
    /// When it has expired.
    pub not_after: i64,
}

/// Why there is no identity: the key of the configuration that it is about, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// `cert`, `key` or `self_signed`.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
}

impl Certificate {
    /// How metrics and logs call it.
    pub fn name(&self) -> String {
        match self {
            Self::Files { name, .. } => name.clone(),
            Self::SelfSigned(names) => format!("self-signed: {}", names.join(", ")),
            Self::Signed { names, .. } => format!("signed here: {}", names.join(", ")),
        }
    }

    /// The files that it is made of.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Files { cert, key, .. } => vec![cert, key],
            Self::SelfSigned(_) | Self::Signed { .. } => Vec::new(),
        }
    }

    /// Reads it, or makes it.
    pub fn load(&self) -> Result<Identity, Unusable> {
        let (cert, key) = match self {
            Self::Files { cert, key, .. } => (cert, key),
            Self::SelfSigned(names) => return made(names, None),
            Self::Signed { names, by } => return made(names, Some(by)),
        };
        let about_cert = |message| Unusable { key: "cert", message };
        let chain = pem::certificates(cert).map_err(about_cert)?;
        let private = pem::private_key(key).map_err(|message| Unusable { key: "key", message })?;
        identity(chain, private).map_err(|wrong| match wrong {
            Wrong::Certificate(why) => about_cert(format!("{}: {why}", cert.display())),
            Wrong::Key(why) => {
                Unusable { key: "key", message: format!("{}: {why}", key.display()) }
            }
            Wrong::Pair => {
                let message = format!("not the key of {}", cert.display());
                Unusable { key: "key", message }
            }
        })
    }
}

impl ClientAuth {
    /// Who judges the certificates of clients.
    pub fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let named = |error: String| format!("{}: {error}", self.ca.display());
        let mut roots = RootCertStore::empty();
        for certificate in pem::certificates(&self.ca)? {
            roots.add(certificate).map_err(|error| named(error.to_string()))?;
        }
        let provider = Arc::new(ring::default_provider());
        let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        let builder = if self.is_required { builder } else { builder.allow_unauthenticated() };
        builder.build().map(|built| built as _).map_err(|error| named(error.to_string()))
    }
}

impl Identity {
    /// Whether a client that looks for this host finds it in the certificate. A name without its dot
    /// at the end, in lower case; `*.example.org` is found where the certificate says just that.
    pub fn covers(&self, host: &str) -> bool {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Ok(address) = address {
            return self.addresses.contains(&address);
        }
        // A wildcard stands for one label.
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.iter().any(|name| name == host || Some(name) == wildcard.as_ref())
    }

    /// Seconds until it has expired; below 0 after that.
    pub fn expires_in_seconds(&self, now: SystemTime) -> i64 {
        self.not_after.saturating_sub(seconds(now))
    }

    /// It is not valid yet.
    pub fn is_of_the_future(&self, now: SystemTime) -> bool {
        self.not_before > seconds(now)
    }

    /// When it has expired, for people.
    pub fn expiry(&self) -> String {
        let time = ASN1Time::from_timestamp(self.not_after);
        time.map_or_else(|_| self.not_after.to_string(), |time| time.to_string())
    }
}

fn seconds(now: SystemTime) -> i64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn made(names: &[String], by: Option<&Authority>) -> Result<Identity, Unusable> {
    let unusable = |why: String| Unusable {
        key: "self_signed",
        message: format!("no certificate can be made: {why}"),
    };
    let signed = || -> Result<_, Box<dyn std::error::Error>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        let name = names.first().map_or("localhost", String::as_str);
        let signer = if by.is_some() { "" } else { ", signed by Brim itself" };
        params.distinguished_name.push(DnType::CommonName, format!("{name}{signer}"));
        let now = SystemTime::now();
        params.not_before = (now - SELF_SIGNED_SINCE).into();
        params.not_after = (now + SELF_SIGNED_FOR).into();
        let certificate = match by {
            Some(authority) => authority.sign(params, &key)?,
            None => params.self_signed(&key)?,
        };
        Ok((certificate, key))
    };
    let (certificate, key) = signed().map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    identity(vec![certificate.der().clone()], key).map_err(|wrong| match wrong {
        Wrong::Certificate(why) | Wrong::Key(why) => unusable(why),
        Wrong::Pair => unusable("its key is another one's".to_owned()),
    })
}

/// Which part of a pair is wrong.
enum Wrong {
    Certificate(String),
    Key(String),
    Pair,
}

fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Identity, Wrong> {
    let about_certificate = |error: &dyn std::fmt::Display| Wrong::Certificate(error.to_string());
    let leaf = chain.first().ok_or_else(|| about_certificate(&"no certificate"))?.clone();
    let (_, parsed) =
        X509Certificate::from_der(&leaf).map_err(|error| about_certificate(&error))?;
    let alternatives =
        parsed.subject_alternative_name().map_err(|error| about_certificate(&error))?;
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for name in alternatives.iter().flat_map(|found| &found.value.general_names) {
        match name {
            GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    let validity = parsed.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let signer =
        ring::sign::any_supported_type(&key).map_err(|_| Wrong::Key(KEYS_USED.to_owned()))?;
    let certified = CertifiedKey::new(chain, signer);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => return Err(Wrong::Pair),
        Err(error) => return Err(about_certificate(&error)),
    }
    Ok(Identity { certified: Arc::new(certified), names, addresses, not_before, not_after })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}
