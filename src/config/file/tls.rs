//! `[[certificate]]` and `[server.tls]`, and whether they go together with listeners and sites.

use super::super::pem;
use super::super::section::{Found, Report, Section};
use super::super::values;
use super::super::{Certificate, ClientAuth, Hsts, Identity, Listener, Tls};
use super::origin::pem_file;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Time enough to notice, and to do something about it.
const EXPIRES_SOON_SECONDS: i64 = 30 * 86400;

/// A certificate as far as it could be read.
pub(super) struct ReadCertificate {
    place: Found<()>,
    pub(super) certificate: Option<Certificate>,
    identity: Option<Identity>,
}

/// Each with its files, which have to be good already.
pub(super) fn certificates(sections: Vec<Section<'_>>, folder: &Path) -> Vec<ReadCertificate> {
    let now = SystemTime::now();
    sections.into_iter().map(|section| certificate(section, folder, now)).collect()
}

fn certificate(mut section: Section<'_>, folder: &Path, now: SystemTime) -> ReadCertificate {
    let place = section.place();
    let names = section.list("self_signed", values::CERTIFICATE_NAME);
    let (cert, key) = (section.found("cert", values::PATH), section.found("key", values::PATH));
    for key in ["cert", "key"].into_iter().filter(|key| names.is_none() && !section.has(key)) {
        section.missing(key);
    }
    let mut certificate = None;
    if let Some(names) = &names {
        for other in [&cert, &key].into_iter().flatten() {
            let message = "there is nothing to read where a certificate is made: `self_signed`";
            section.refuse(other, message.to_owned());
        }
        if names.value.is_empty() && section.length("self_signed") == 0 {
            section.refuse(names, "expected at least one".to_owned());
        }
        let good: Vec<_> = names.value.iter().map(|found| found.value.clone()).collect();
        certificate = Some(Certificate::SelfSigned(good)).filter(|_| !names.value.is_empty());
    } else if let (Some(cert), Some(key)) = (&cert, &key) {
        certificate = Some(Certificate::Files {
            name: cert.value.display().to_string(),
            cert: folder.join(&cert.value),
            key: folder.join(&key.value),
        });
    }
    let loaded = certificate.as_ref().map(Certificate::load);
    let identity = match loaded {
        Some(Err(unusable)) => {
            let about = match unusable.key {
                "cert" => cert.as_ref(),
                "key" => key.as_ref(),
                _ => None,
            };
            match about {
                Some(found) => section.refuse(found, unusable.message),
                None => section.problem_of_table(unusable.message),
            }
            None
        }
        Some(Ok(identity)) => {
            if let Some(cert) = &cert {
                warn_of_its_days(&section, cert, &identity, now);
            }
            Some(identity)
        }
        None => None,
    };
    section.finish();
    ReadCertificate { place, certificate, identity }
}

fn warn_of_its_days<T>(
    section: &Section<'_>,
    cert: &Found<T>,
    identity: &Identity,
    now: SystemTime,
) {
    let (left, expiry) = (identity.expires_in_seconds(now), identity.expiry());
    if identity.is_of_the_future(now) {
        section.warn(cert, "the certificate is not valid yet");
    }
    if left < 0 {
        section.warn(cert, &format!("the certificate has expired: {expiry}"));
    } else if left < EXPIRES_SOON_SECONDS {
        let days = left / 86400 + 1;
        section.warn(cert, &format!("the certificate expires within {days} days: {expiry}"));
    }
    if identity.names.is_empty() && identity.addresses.is_empty() {
        section.warn(cert, "the certificate is made out to nobody: it has no subjectAltName");
    }
}

/// `[server.tls]`
pub(super) fn tls(mut section: Section<'_>, folder: &Path) -> Tls {
    let has_tls12 = section.or("min_version", true, values::ALLOWS_TLS12);
    let ca = pem_file(&mut section, "client_ca", folder, |path| pem::certificates(path).map(drop));
    let (is_required, said) = section.or_found("client_auth", true, values::IS_REQUIRED);
    if let (Some(found), false) = (&said, section.has("client_ca")) {
        let message = "needs `client_ca`: who may have signed the certificates of clients";
        section.refuse(found, message.to_owned());
    }
    section.finish();
    let client_auth = ca.map(|ca| ClientAuth { ca: ca.value, is_required });
    Tls { has_tls12, client_auth }
}

/// `"365d"`, or a table.
pub(super) fn hsts(section: &mut Section<'_>) -> Option<Hsts> {
    let alone = |section: &Section<'_>, max_age: Found<Duration>| {
        warn_of_forgetting(section, &max_age);
        Hsts::new(max_age.value, false, false)
    };
    section.found_or_table("hsts", values::HSTS_AGE, alone, hsts_table)
}

fn hsts_table(mut table: Section<'_>) -> Option<Hsts> {
    let max_age = table.required("max_age", values::HSTS_AGE);
    if let Some(max_age) = &max_age {
        warn_of_forgetting(&table, max_age);
    }
    let include_subdomains = table.or("include_subdomains", false, values::BOOLEAN);
    let (preload, said) = table.or_found("preload", false, values::BOOLEAN);
    let is_long = max_age.as_ref().is_none_or(|found| found.value.as_secs() >= 365 * 86400);
    if let Some(said) = said.filter(|_| preload && !(include_subdomains && is_long)) {
        let message = "lists that browsers come with take only a `max_age` of at least 365d with \
                       `include_subdomains = true`";
        table.warn(&said, message);
    }
    table.finish();
    max_age.map(|found| Hsts::new(found.value, include_subdomains, preload))
}

fn warn_of_forgetting(section: &Section<'_>, max_age: &Found<Duration>) {
    if max_age.value.is_zero() {
        section.warn(max_age, "browsers forget that the site is to be asked over TLS only");
    }
}

/// What a site says about TLS.
pub(super) struct Wishes<'r> {
    pub(super) hosts: &'r [Found<String>],
    /// Where the keys stand, if they do.
    pub(super) redirect: Option<&'r Found<bool>>,
    pub(super) has_hsts: Option<&'r Found<()>>,
}

/// Listeners need certificates, and the other way round.
pub(super) fn check<'r>(
    report: &Report<'_>,
    listeners: &[Listener],
    has_trusted_proxies: bool,
    certificates: &[ReadCertificate],
    sites: impl Iterator<Item = Wishes<'r>>,
) {
    let is_spoken = listeners.iter().any(|listener| listener.tls);
    const NOBODY: &str = "does nothing: there is no listener in `server.https`";
    if is_spoken && certificates.is_empty() {
        let message =
            "needs at least one [[certificate]]; `self_signed = [\"localhost\"]` makes one";
        report.add_about("server.https", message, false);
    }
    if !is_spoken {
        certificates.iter().take(1).for_each(|read| report.warn(&read.place, NOBODY));
        report.add_about("server.tls.client_ca", NOBODY, true);
    }
    let identities = certificates.iter().map(|read| read.identity.as_ref());
    let identities = identities.collect::<Option<Vec<_>>>().filter(|all| !all.is_empty());
    for site in sites {
        if let Some(found) = site.has_hsts.filter(|_| !is_spoken) {
            report.warn(found, NOBODY);
        }
        let is_circle = !(is_spoken || has_trusted_proxies);
        if let Some(found) = site.redirect.filter(|found| found.value && is_circle) {
            let message = "there is no listener in `server.https`, and nobody in \
                           `server.trusted_proxies` who could say that the client came over TLS";
            report.warn(found, message);
        }
        let Some(identities) = identities.as_ref().filter(|_| is_spoken) else { continue };
        for host in site.hosts.iter().filter(|host| host.value != "*") {
            if !identities.iter().any(|identity| identity.covers(&host.value)) {
                report.warn(
                    host,
                    "no [[certificate]] is made out to it; clients over TLS refuse the first",
                );
            }
        }
    }
}
