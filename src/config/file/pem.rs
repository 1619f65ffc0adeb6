//! Files with certificates and keys (PEM, RFC 7468), looked at before anybody needs them. Whether a
//! key fits its certificate shows when the server starts.

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// Whether the file has certificates, or what was expected instead.
pub(super) fn check_certificates(path: &Path) -> Result<(), String> {
    let certificates = CertificateDer::pem_file_iter(path);
    let count = certificates.and_then(|all| all.collect::<Result<Vec<_>, _>>());
    match count {
        Ok(certificates) if !certificates.is_empty() => Ok(()),
        Ok(_) => Err(refusal("certificates in PEM", path, &Error::NoItemsFound)),
        Err(error) => Err(refusal("certificates in PEM", path, &error)),
    }
}

/// Whether the file has a key that can be read without a password, or what was expected instead.
pub(super) fn check_key(path: &Path) -> Result<(), String> {
    let key = PrivateKeyDer::from_pem_file(path);
    key.map(|_| ()).map_err(|error| refusal("a private key in PEM, not encrypted", path, &error))
}

fn refusal(what: &str, path: &Path, error: &Error) -> String {
    let path = path.display();
    let reason = match error {
        Error::NoItemsFound => format!("{path} has none"),
        Error::MissingSectionEnd { .. } => format!("{path} ends too early"),
        Error::IllegalSectionStart { .. } => format!("{path} has a damaged `-----BEGIN` line"),
        Error::Io(error) => format!("{path}: {error}"),
        error => format!("{path}: {error}"),
    };
    format!("expected a file with {what}; {reason}")
}
