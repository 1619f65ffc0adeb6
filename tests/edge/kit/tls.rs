//! Certificates of the tests' own authorities, and clients that speak TLS.

use super::client::{Response, read_response};
use super::{Brim, PATIENCE};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, RootCertStore,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Nothing on the machine makes keys of this kind; it secures nothing but tests.
const RSA_KEY: &str = include_str!("rsa.key");

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// A certificate to be.
pub(crate) struct Order<'a> {
    pub(crate) names: &'a [&'a str],
    pub(crate) is_rsa: bool,
    /// From now on, before and after; in days.
    pub(crate) valid: (i64, i64),
}

impl Default for Order<'_> {
    fn default() -> Self {
        Self { names: &["a.test"], is_rsa: false, valid: (-1, 90) }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// A certificate of three months.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_as(&Order { names, ..Order::default() })
    }

    pub(crate) fn issue_as(&self, order: &Order<'_>) -> Issued {
        let key = match order.is_rsa {
            true => KeyPair::from_pem(RSA_KEY),
            false => KeyPair::generate(),
        };
        let key = key.expect("a key");
        let names: Vec<_> = order.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        let day = |days: i64| {
            let distance = Duration::from_secs(days.unsigned_abs() * 86400);
            let now = SystemTime::now();
            if days < 0 { now - distance } else { now + distance }
        };
        (params.not_before, params.not_after) =
            (day(order.valid.0).into(), day(order.valid.1).into());
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        Issued { der: certificate.der().clone(), cert: certificate.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A client that trusts whom it has signed.
    pub(crate) fn trusting_client(&self) -> TlsClients {
        TlsClients::trusting(self.der())
    }
}

impl Issued {
    /// Writes both files, and names them as `[[certificate]]` does.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> String {
        let (cert, key) = self.files(folder, name);
        std::fs::write(&cert, &self.cert).expect("written");
        std::fs::write(&key, &self.key).expect("written");
        format!("[[certificate]]\ncert = '{}'\nkey = '{}'\n", cert.display(), key.display())
    }

    pub(crate) fn files(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")))
    }
}

/// Clients of one configuration: they know each other's sessions.
#[derive(Clone)]
pub(crate) struct TlsClients(ClientConfig);

impl TlsClients {
    pub(crate) fn trusting(root: CertificateDer<'static>) -> Self {
        Self::with(root, rustls::ALL_VERSIONS, None)
    }

    /// Those of one version of TLS.
    pub(crate) fn of_version(
        root: CertificateDer<'static>,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        Self::with(root, &[version], None)
    }

    /// Those that can judge these signatures only.
    pub(crate) fn judging(root: CertificateDer<'static>, schemes: &[SignatureScheme]) -> Self {
        let mut clients = Self::trusting(root.clone());
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider());
        let verifier = verifier.build().expect("a verifier");
        let judge = Judge { verifier: Some(verifier), schemes: schemes.to_vec() };
        clients.0.dangerous().set_certificate_verifier(Arc::new(judge));
        clients
    }

    /// Those that believe everybody.
    pub(crate) fn trusting_anybody() -> Self {
        let schemes = provider().signature_verification_algorithms.supported_schemes();
        let judge = Arc::new(Judge { verifier: None, schemes });
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions");
        Self(builder.dangerous().with_custom_certificate_verifier(judge).with_no_client_auth())
    }

    /// Those that show this certificate.
    pub(crate) fn showing(
        root: CertificateDer<'static>,
        version: &'static SupportedProtocolVersion,
        own: &Issued,
    ) -> Self {
        Self::with(root, &[version], Some(own))
    }

    fn with(
        root: CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Issued>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        Self(match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                use rustls::pki_types::pem::PemObject;
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![own.der.clone()], key).expect("a pair")
            }
        })
    }

    /// Offers these protocols, the preferred first.
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// A connection that asks for this name; an address is asked for without one.
    #[track_caller]
    pub(crate) fn connect(&self, address: SocketAddr, name: &str) -> TlsClient {
        self.try_connect(address, name).expect("a handshake")
    }

    /// The same, or why the handshake came to nothing.
    pub(crate) fn try_connect(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsClient> {
        let mut socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut connection =
            ClientConnection::new(Arc::new(self.0.clone()), name).map_err(std::io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(TlsClient { stream: BufReader::new(StreamOwned::new(connection, socket)) })
    }

    /// The certificate that is shown to whoever asks for this name.
    #[track_caller]
    pub(crate) fn shown(&self, address: SocketAddr, name: &str) -> CertificateDer<'static> {
        self.connect(address, name).shown()
    }

    /// An answer on a connection of its own; what the edge refuses after its handshake is `None`.
    pub(crate) fn ask(&self, address: SocketAddr, name: &str, request: &str) -> Option<Response> {
        self.try_connect(address, name).ok()?.try_ask(request)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// One connection over TLS.
pub(crate) struct TlsClient {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl TlsClient {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("sent");
    }

    /// Sends a request and reads the answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        read_response(&mut self.stream, true)
    }

    /// The same for HEAD.
    pub(crate) fn ask_head(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request);
        read_response(&mut self.stream, false)
    }

    /// The same, if the edge lets it.
    pub(crate) fn try_ask(&mut self, request: &str) -> Option<Response> {
        self.stream.get_mut().write_all(request.as_bytes()).ok()?;
        let mut first = [0];
        self.stream.read_exact(&mut first).ok()?;
        Some(read_response(&mut (&first[..]).chain(&mut self.stream), true))
    }

    pub(crate) fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    /// The rest of an answer of which these bytes were read.
    pub(crate) fn answer_behind(&mut self, first: &[u8]) -> Response {
        read_response(&mut first.chain(&mut self.stream), true)
    }

    /// The edge's certificate.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        let shown = self.connection().peer_certificates().expect("certificates");
        shown[0].clone().into_owned()
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.connection().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn connection(&self) -> &ClientConnection {
        &self.stream.get_ref().conn
    }
}

/// Judges like everybody, but not every signature; or believes all.
#[derive(Debug)]
struct Judge {
    verifier: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.verifier {
            Some(verifier) => {
                verifier.verify_server_cert(certificate, intermediates, name, ocsp, now)
            }
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

impl Brim {
    /// An edge for every host over TLS and without, in front of one origin, with these certificates
    /// and more lines for `[server]` and `[[site]]`.
    pub(crate) fn over_tls(
        origin: SocketAddr,
        certificates: &str,
        server: &str,
        site: &str,
    ) -> Self {
        Self::configured(&format!(
            "[server]\nhttp = ['127.0.0.1:0']\nhttps = ['127.0.0.1:0']\n{server}\n{certificates}\n\
             [[origin]]\nname = 'o'\nservers = ['http://{origin}']\n\
             [[site]]\nhosts = ['*']\norigin = 'o'\n{site}\n"
        ))
    }
}
