//! Files with certificates and keys (PEM, RFC 7468), looked at before anybody needs them.

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// The certificates of a file, or what was expected instead.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path);
    match certificates.and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refusal("certificates in PEM", path, &Error::NoItemsFound)),
        Err(error) => Err(refusal("certificates in PEM", path, &error)),
    }
}

/// The key of a file that can be read without a password, or what was expected instead.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let key = PrivateKeyDer::from_pem_file(path);
    key.map_err(|error| refusal("a private key in PEM, not encrypted", path, &error))
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
