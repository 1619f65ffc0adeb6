//! The certificate that everybody shows: ECDSA on P-256.

use crate::process::text;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::CertificateDer;
use std::path::Path;

/// Paths of PEM files, and what is in them.
pub(crate) struct Certificate {
    pub(crate) folder: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// One behind the other, as HAProxy wants them.
    pub(crate) both: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Certificate {
    pub(crate) fn make(folder: &Path) -> Self {
        let names = vec![crate::HOST.to_owned()];
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(names).expect("a certificate");
        let (certificate, key) = (cert.pem(), signing_key.serialize_pem());
        let write = |name: &str, content: &str| {
            let path = folder.join(name);
            std::fs::write(&path, content).expect("a file of the certificate");
            text(&path)
        };
        Self {
            folder: text(folder),
            certificate: write("certificate.pem", &certificate),
            key: write("key.pem", &key),
            both: write("both.pem", &format!("{certificate}{key}")),
            der: cert.der().clone(),
        }
    }
}
