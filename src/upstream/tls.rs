//! TLS to the servers of one origin: whom we believe, and who we are.

use crate::config::{Http2, Origin, OriginServer, Place, pem};
use pingora::tls::{TlsConnector, load_platform_certs_incl_env_into_store};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How connections to one origin are secured. Sessions are resumed, so it lives as long as the
/// origin does.
pub(super) struct Tls {
    connector: TlsConnector,
    connector_http1: TlsConnector,
    server_name: Option<String>,
}

impl Tls {
    /// `None` where no server speaks TLS. Fails where certificates cannot be used.
    pub(super) fn of(origin: &Origin) -> io::Result<Option<Self>> {
        if !origin.servers.iter().chain(&origin.admin).any(|server| server.tls) {
            return Ok(None);
        }
        let config = config(origin)?;
        let with_protocols = |names: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Ok(Some(Self {
            connector: with_protocols(match origin.http2 {
                Http2::Auto => &[b"h2", b"http/1.1"],
                Http2::Never => &[b"http/1.1"],
                Http2::Always => &[b"h2"],
            }),
            connector_http1: with_protocols(&[b"http/1.1"]),
            server_name: origin.tls.server_name.clone(),
        }))
    }

    pub(super) fn connector(&self, needs_http1: bool) -> &TlsConnector {
        if needs_http1 { &self.connector_http1 } else { &self.connector }
    }

    /// The name that a server is asked for and that its certificate must be made out to.
    pub(super) fn name<'a>(&'a self, server: &'a OriginServer) -> &'a str {
        let own = match &server.place {
            Place::Net(host, _) => host,
            Place::Unix(_) => &server.authority,
        };
        self.server_name.as_ref().unwrap_or(own)
    }
}

/// What tells one state of an origin's certificate files from another.
pub(super) fn files(origin: &Origin) -> u64 {
    let client = origin.tls.client.as_ref();
    let own = client.into_iter().flat_map(|client| [&client.cert, &client.key]);
    let mut hasher = DefaultHasher::new();
    origin.tls.ca.iter().chain(own).for_each(|file| std::fs::read(file).ok().hash(&mut hasher));
    hasher.finish()
}

fn config(origin: &Origin) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let settings = &origin.tls;
    let named = |error: String| io::Error::other(format!("origin \"{}\": {error}", origin.name));
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| named(error.to_string()))?;
    let builder = if settings.verify {
        builder.with_root_certificates(roots(settings.ca.as_deref()).map_err(named)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    let Some(client) = &settings.client else { return Ok(builder.with_no_client_auth()) };
    let chain = pem::certificates(&client.cert).map_err(named)?;
    let key = pem::private_key(&client.key).map_err(named)?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|error| named(format!("\"{}\" and its key: {error}", client.cert.display())))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            for certificate in pem::certificates(file)? {
                let added = roots.add(certificate);
                added.map_err(|error| format!("\"{}\": {error}", file.display()))?;
            }
        }
        None => load_platform_certs_incl_env_into_store(&mut roots)
            .map_err(|error| format!("root certificates for https: {error}"))?,
    }
    Ok(roots)
}

/// Believes every certificate, but not that somebody has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
