//! Which certificate a client is shown: by the name that it asks for, and by the signatures that it
//! can judge.

use crate::config::Identity;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::collections::HashMap;
use std::sync::Arc;

/// All certificates by the names that they are made out to.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// `*.example.org` among them. Those for one name in the order of preference.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For clients that ask for no name, or for an unknown one.
    default: Vec<Arc<CertifiedKey>>,
}

impl Choice {
    /// The first one is the default, together with others of its names.
    pub(super) fn new(identities: &[Arc<Identity>]) -> Self {
        let mut by_name: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for identity in identities {
            for name in &identity.names {
                by_name.entry(name.clone()).or_default().push(identity.certified.clone());
            }
        }
        for same in by_name.values_mut() {
            same.sort_by_key(|certified| preference(certified.key.algorithm()));
        }
        let default = identities.first().map_or_else(Vec::new, |first| {
            let same = first.names.first().and_then(|name| by_name.get(name));
            same.cloned().unwrap_or_else(|| vec![first.certified.clone()])
        });
        Self { by_name, default }
    }

    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = name else { return &self.default };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let exact = self.by_name.get(&name);
        // It stands for one label (RFC 9525, section 6.3).
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        exact.or_else(wildcard).unwrap_or(&self.default)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let all = self.of(name);
        let can_judge = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(schemes).is_some();
        // Whoever can judge none of them is told so by the handshake.
        all.iter().find(can_judge).or(all.first()).cloned()
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

/// Signing with RSA costs many times as much.
fn preference(algorithm: SignatureAlgorithm) -> u8 {
    match algorithm {
        SignatureAlgorithm::ECDSA => 0,
        SignatureAlgorithm::ED25519 => 1,
        _ => 2,
    }
}
