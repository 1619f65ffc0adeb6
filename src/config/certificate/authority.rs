//! A certificate authority of this machine's user, made once: browsers that are told to believe it
//! believe every certificate that is made for a run.
//!
//! Whoever has its key can pretend to be what it may sign for. So nobody else may read the file, and
//! it may sign only for names that mean this machine or its neighbours, which the certificate itself
//! says (RFC 5280, section 4.2.1.10).

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SigningKey,
};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use x509_parser::pem::parse_x509_pem;

/// Long enough to be trusted once and forgotten.
const GOOD_FOR: Duration = Duration::from_secs(10 * 365 * 86400);
/// Clients whose clocks are behind.
const GOOD_SINCE: Duration = Duration::from_secs(86400);
/// Bits of those who do not own the file.
const OTHERS: u32 = 0o077;
const RANDOM_BYTES: usize = 4;

/// What it may sign for: these names, and names below them, which nobody on the Internet has (RFC
/// 6761, RFC 6762, RFC 8375, and `internal` by ICANN's word).
const NAMES: &[&str] = &["localhost", "test", "local", "internal", "home.arpa"];
/// Loopback, link-local and private addresses.
const NETWORKS: &[(&str, u8)] = &[
    ("127.0.0.0", 8),
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("::1", 128),
    ("fc00::", 7),
    ("fe80::", 10),
];

/// Where it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Authority {
    /// Its certificate, in PEM: for those who are to believe it.
    pub cert: PathBuf,
    /// Its key, in PEM: for nobody else.
    key: PathBuf,
}

impl Authority {
    /// The one in this folder, made if there is none, and whether it was. An error names the file.
    pub fn of(folder: &Path) -> io::Result<(Self, bool)> {
        let authority = Self {
            cert: folder.join("local-authority.pem"),
            key: folder.join("local-authority-key.pem"),
        };
        let named = |error| of_file(folder, error);
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(named)?;
        // Of two that start at one time, one makes it.
        let lock = File::create(folder.join("local-authority.lock")).map_err(named)?;
        lock.lock().map_err(named)?;
        let is_new = !authority.cert.exists();
        if is_new {
            authority.make()?;
        }
        authority.issuer().map_err(|error| io::Error::other(error.to_string()))?;
        Ok((authority, is_new))
    }

    /// Whether certificates for this name or address are believed by whoever believes it.
    pub fn may_sign(name: &str) -> bool {
        if let Ok(address) = name.parse::<IpAddr>() {
            return NETWORKS.iter().any(|(network, bits)| {
                format!("{network}/{bits}")
                    .parse::<ipnet::IpNet>()
                    .is_ok_and(|network| network.contains(&address))
            });
        }
        let name = name.to_ascii_lowercase();
        // Clients refuse a wildcard right below the last label, and the whole certificate with it.
        if name.strip_prefix("*.").is_some_and(|parent| !parent.contains('.')) {
            return false;
        }
        NAMES.iter().any(|known| {
            name.strip_suffix(known).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }

    fn make(&self) -> io::Result<()> {
        let (cert, key) = new_pair().map_err(io::Error::other)?;
        // What a start that was cut short has left of a key belongs to no certificate.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.key)
            .map_err(|error| of_file(&self.key, error))?;
        file.write_all(key.as_bytes()).and_then(|()| file.sync_all())?;
        // It is there as a whole, or not at all.
        let unfinished = self.cert.with_extension("new");
        std::fs::write(&unfinished, cert)
            .and_then(|()| std::fs::rename(&unfinished, &self.cert))
            .map_err(|error| of_file(&self.cert, error))
    }

    /// Signs for the key of somebody who is no authority.
    pub(super) fn sign(
        &self,
        mut params: CertificateParams,
        key: &KeyPair,
    ) -> Result<rcgen::Certificate, Box<dyn std::error::Error>> {
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.signed_by(key, &self.issuer()?)?)
    }

    fn issuer(&self) -> Result<Issuer<'static, impl SigningKey>, Box<dyn std::error::Error>> {
        let remedy = "remove both files of the local authority, and it is made anew";
        let unusable = |path: &Path, why: &dyn std::fmt::Display| {
            io::Error::other(format!("{}: {why}; {remedy}", path.display()))
        };
        let read =
            |path: &Path| std::fs::read_to_string(path).map_err(|error| unusable(path, &error));
        let (cert, key_text) = (read(&self.cert)?, read(&self.key)?);
        if std::fs::metadata(&self.key)?.mode() & OTHERS != 0 {
            let path = self.key.display();
            let why =
                "others than its owner may use it; remove it, and trust its certificate no more";
            return Err(format!("the local authority's key {path}: {why}").into());
        }
        let (_, pem) =
            parse_x509_pem(cert.as_bytes()).map_err(|error| unusable(&self.cert, &error))?;
        let parsed = pem.parse_x509().map_err(|error| unusable(&self.cert, &error))?;
        if !parsed.validity().is_valid() {
            return Err(unusable(&self.cert, &"it has expired").into());
        }
        let key = KeyPair::from_pem(&key_text).map_err(|error| unusable(&self.key, &error))?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(unusable(&self.key, &"it is not the key of the certificate").into());
        }
        Issuer::from_ca_cert_pem(&cert, key).map_err(|error| unusable(&self.cert, &error).into())
    }
}

/// Certificate and key, in PEM.
fn new_pair() -> Result<(String, String), Box<dyn std::error::Error + Send + Sync>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let user: String = std::env::var("USER").unwrap_or_default();
    let user: String = user.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    // Somebody with several machines, or one anew, has to know them apart.
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let number: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = format!("Brim local authority {user} {number}").replace("  ", " ");
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Brim, for development only");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let names = NAMES.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned()));
    let networks = NETWORKS.iter().filter_map(|(network, bits)| {
        let subnet = CidrSubnet::from_addr_prefix(network.parse().ok()?, *bits);
        Some(GeneralSubtree::IpAddress(subnet))
    });
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.chain(networks).collect(),
        excluded_subtrees: Vec::new(),
    });
    let now = SystemTime::now();
    params.not_before = (now - GOOD_SINCE).into();
    params.not_after = (now + GOOD_FOR).into();
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn of_file(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_for_this_machine_and_its_neighbours_only() {
        for near in [
            "localhost",
            "*.app.localhost",
            "App.Test",
            "nas.local",
            "127.0.0.1",
            "::1",
            "10.1.2.3",
        ] {
            assert!(Authority::may_sign(near), "{near}");
        }
        for far in
            ["example.com", "notlocalhost", "localhost.com", "8.8.8.8", "2001:db8::1", "*.test", ""]
        {
            assert!(!Authority::may_sign(far), "{far}");
        }
    }

    #[test]
    fn it_is_made_once_and_its_key_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("data/brim");
        let (first, is_new) = Authority::of(&inside).expect("made");
        assert!(is_new);
        assert_eq!(std::fs::metadata(&first.key).expect("there").mode() & 0o777, 0o600);
        let text = std::fs::read(&first.cert).expect("there");
        let (second, is_new) = Authority::of(&inside).expect("read");
        assert_eq!((first.clone(), false), (second, is_new));
        assert_eq!(std::fs::read(&first.cert).expect("there"), text);
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_another_one_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let (authority, _) = Authority::of(folder.path()).expect("made");
        let mode = |mode| std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(&authority.key, mode(0o644)).expect("set");
        let error = Authority::of(folder.path()).expect_err("exposed").to_string();
        assert!(error.contains("others than its owner may use it"), "{error}");
        std::fs::set_permissions(&authority.key, mode(0o600)).expect("set");
        let other = KeyPair::generate().expect("a key").serialize_pem();
        std::fs::write(&authority.key, other).expect("written");
        let error = Authority::of(folder.path()).expect_err("no pair").to_string();
        assert!(error.contains("not the key of the certificate"), "{error}");
    }
}
