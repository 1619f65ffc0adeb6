//! Files with certificates and keys (PEM, RFC 7468), looked at before anybody needs them.

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// The certificates of a file, or what was expected instead.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_file_iter(path);
    match certificates.and_then(Iterator::collect::<Result<Vec<_>, _>>) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(refusal("certificates in PEM", path, &Error::NoItemsFound)),
        Err(error) => Err(refusal("certificates in PEM", path, &error)),
    }
}

/// The key of a file that can be read without a password, or what was expected instead.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let key = PrivateKeyDer::from_pem_file(path);
    key.map_err(|error| {
        let what = "a private key in PEM, not encrypted";
        if is_encrypted(path) {
            return format!("expected a file with {what}; {} is encrypted", path.display());
        }
        refusal(what, path, &error)
    })
}

/// As RFC 7468 (section 11) or RFC 1421 (section 4.6.1.1) mark it.
fn is_encrypted(path: &Path) -> bool {
    let marks = ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"];
    std::fs::read(path).is_ok_and(|bytes| {
        let text = String::from_utf8_lossy(&bytes);
        text.lines().any(|line| marks.contains(&line.trim_end()))
    })
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
