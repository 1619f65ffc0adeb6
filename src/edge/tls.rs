//! TLS with clients: certificates that are chosen and changed while the edge runs, and the handshake.
//!
//! A connection keeps what it was secured with; a new one gets what is there now. Nothing is kept for
//! clients that may come back: they bring their sessions themselves, in tickets that only this process
//! can read, and their certificates in them.

mod choice;
mod stream;
mod tickets;
mod watch;

use crate::config::{Certificate, ClientAuth, Identity, Settings, Unusable};
use crate::metrics::{Handshake, Metrics};
use crate::rules::client_cert;
use choice::Choice;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use pingora::tls::TlsAcceptor;
use rustls::crypto::ring;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConnection};
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig};
use rustls_pki_types::UnixTime;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use stream::TlsStream;
use tickets::Tickets;
use tokio::time::timeout;
use watch::Watched;

/// What is spoken over TLS, the preferred first.
const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Between two looks at the files.
const LOOKS_EVERY: Duration = Duration::from_secs(1);

/// Sessions that a client may resume from one connection over TLS 1.3, each once: enough for those
/// that open a second connection beside the first.
const TICKETS: usize = 2;

/// What is encrypted for a client and not taken by it yet: two records. `write_timeout` is about all of
/// it together, so that more would cut slow readers off sooner.
const ENCRYPTED_BYTES_MAX: usize = 32 * 1024;

/// How connections of clients are secured.
pub struct Tls {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    current: RwLock<Arc<Current>>,
    sources: Mutex<Sources>,
}

/// What new connections get.
struct Current {
    acceptor: TlsAcceptor,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    identities: Vec<Arc<Identity>>,
}

/// Where it comes from.
struct Sources {
    certificates: Vec<(Watched, Arc<Identity>)>,
    clients: Option<(Watched, Arc<dyn ClientCertVerifier>)>,
    tickets: Arc<dyn ProducesTickets>,
}

/// A connection over TLS.
pub(super) struct Secured {
    pub(super) stream: Stream,
    /// Both sides have agreed on HTTP/2.
    pub(super) is_http2: bool,
    /// The certificate that the client has shown and that is good, as Client-Cert says it.
    pub(super) client_certificate: Option<Arc<str>>,
}

/// Why there is none.
pub(super) enum Insecure {
    /// The client speaks without TLS. Nothing is read of what it says.
    Plain(Stream),
    /// It has gone, or nothing came of it.
    Closed,
}

impl Tls {
    /// `None` where no listener speaks TLS. An error names the file.
    pub fn open(settings: &Arc<Settings>, metrics: Arc<Metrics>) -> io::Result<Option<Arc<Self>>> {
        if !settings.server.listeners.iter().any(|listener| listener.tls) {
            return Ok(None);
        }
        let certificates = settings.certificates.iter().map(|certificate| {
            let files = certificate.files().into_iter().map(ToOwned::to_owned).collect();
            let watched = Watched::new(files);
            let loaded = certificate.load().map_err(|unusable| {
                let (name, Unusable { key, message }) = (certificate.name(), unusable);
                io::Error::other(format!("certificate \"{name}\": {key}: {message}"))
            });
            loaded.map(|identity| (watched, Arc::new(identity)))
        });
        let client_auth = settings.server.tls.client_auth.as_ref();
        let clients = client_auth.map(|auth| {
            let watched = Watched::new(vec![auth.ca.clone()]);
            let verifier = auth.verifier();
            let named = |error| io::Error::other(format!("server.tls.client_ca: {error}"));
            verifier.map_err(named).map(|verifier| (watched, verifier))
        });
        let sources = Sources {
            certificates: certificates.collect::<io::Result<_>>()?,
            clients: clients.transpose()?,
            tickets: Tickets::made()?,
        };
        let current = RwLock::new(Arc::new(sources.current(settings.server.tls.has_tls12)?));
        let sources = Mutex::new(sources);
        let settings = settings.clone();
        let tls = Arc::new(Self { settings, metrics, current, sources });
        let names: Vec<_> = tls.settings.certificates.iter().map(Certificate::name).collect();
        let told = Arc::downgrade(&tls);
        tls.metrics.set_certificates_probe(&names, move || {
            told.upgrade().map_or_else(Vec::new, |tls| tls.expiries(SystemTime::now()))
        });
        Ok(Some(tls))
    }

    fn expiries(&self, now: SystemTime) -> Vec<i64> {
        let current = self.current();
        current.identities.iter().map(|identity| identity.expires_in_seconds(now)).collect()
    }

    fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Secures a connection, within `server.limits.tls_timeout`.
    pub(super) async fn secure(
        &self,
        stream: Stream,
        shutdown: &mut ShutdownWatch,
    ) -> Result<Secured, Insecure> {
        let limit = self.settings.server.limits.tls_timeout;
        let (handshake, result) = match timeout(limit, self.shake_hands(stream, shutdown)).await {
            Ok(Ok((secured, handshake))) => (handshake, Ok(secured)),
            Ok(Err(insecure)) => (Handshake::Failed, Err(insecure)),
            Err(_) => {
                tracing::debug!("a TLS handshake took too long");
                (Handshake::Timeout, Err(Insecure::Closed))
            }
        };
        self.metrics.handshake(handshake);
        result
    }

    async fn shake_hands(
        &self,
        mut stream: Stream,
        shutdown: &mut ShutdownWatch,
    ) -> Result<(Secured, Handshake), Insecure> {
        let mut first = [0];
        let peeked = tokio::select! {
            biased;
            peeked = stream.try_peek(&mut first) => peeked,
            // Nobody waits for who says nothing.
            _ = shutdown.wait_for(|down| *down) => return Err(Insecure::Closed),
        };
        match peeked {
            // A method begins with a letter, TLS with 22 (RFC 8446, section 5.1).
            Ok(_) if first[0].is_ascii_alphabetic() => return Err(Insecure::Plain(stream)),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a client left before its TLS handshake");
                return Err(Insecure::Closed);
            }
        }
        let current = self.current();
        let bounded = |connection: &mut ServerConnection| {
            connection.set_buffer_limit(Some(ENCRYPTED_BYTES_MAX))
        };
        let stream = current.acceptor.accept_with(stream, bounded).await.map_err(|error| {
            tracing::debug!(%error, "no TLS handshake");
            Insecure::Closed
        })?;
        let connection = stream.get_ref().1;
        let handshake = match connection.handshake_kind() {
            Some(HandshakeKind::Resumed) => Handshake::Resumed,
            _ => Handshake::Full,
        };
        if handshake == Handshake::Resumed && !current.is_still_welcome(connection) {
            tracing::debug!("the client's certificate of an earlier session is good no more");
            return Err(Insecure::Closed);
        }
        let shown = connection.peer_certificates().and_then(|chain| chain.first());
        let client_certificate = shown.map(|shown| client_cert::value(shown).into());
        let is_http2 = connection.alpn_protocol() == Some(b"h2");
        let stream = Box::new(TlsStream(stream));
        Ok((Secured { stream, is_http2, client_certificate }, handshake))
    }

    /// Looks at the files as long as it is polled.
    pub async fn watch(&self) {
        let mut looks = tokio::time::interval(LOOKS_EVERY);
        loop {
            looks.tick().await;
            self.look();
        }
    }

    /// Takes what has changed and can be used; whatever cannot be used changes nothing.
    fn look(&self) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let is_changed =
            sources.look(&self.settings.certificates, self.client_auth(), &self.metrics);
        if !is_changed {
            return;
        }
        match sources.current(self.settings.server.tls.has_tls12) {
            Ok(current) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
            }
            Err(error) => tracing::error!(%error, "changed certificates cannot be used"),
        }
    }

    fn client_auth(&self) -> Option<&ClientAuth> {
        self.settings.server.tls.client_auth.as_ref()
    }
}

impl Sources {
    /// Whether anything came of it.
    fn look(
        &mut self,
        certificates: &[Certificate],
        client_auth: Option<&ClientAuth>,
        metrics: &Metrics,
    ) -> bool {
        let mut is_changed = false;
        for ((watched, identity), certificate) in self.certificates.iter_mut().zip(certificates) {
            if !watched.is_due() {
                continue;
            }
            let name = certificate.name();
            let loaded = certificate.load();
            metrics.certificate_reloaded(loaded.is_ok());
            match loaded {
                Ok(new) => {
                    let expiry = new.expiry();
                    tracing::info!(certificate = name, expiry, "a new certificate");
                    *identity = Arc::new(new);
                    is_changed = true;
                }
                Err(Unusable { key, message }) => {
                    let kept = "a changed certificate cannot be used: the one before it stays";
                    tracing::warn!(certificate = name, key, message, "{kept}");
                }
            }
        }
        let Some(((watched, verifier), auth)) = self.clients.as_mut().zip(client_auth) else {
            return is_changed;
        };
        if !watched.is_due() {
            return is_changed;
        }
        let read = auth.verifier().and_then(|new| {
            let tickets = Tickets::made().map_err(|error| error.to_string())?;
            Ok((new, tickets))
        });
        metrics.certificate_reloaded(read.is_ok());
        match read {
            Ok((new, tickets)) => {
                tracing::info!("new authorities for the certificates of clients");
                // Whoever was good to the old ones has to show it to the new ones.
                (*verifier, self.tickets) = (new, tickets);
                true
            }
            Err(message) => {
                let kept = "a changed client_ca cannot be used: the one before it stays";
                tracing::warn!(message, "{kept}");
                is_changed
            }
        }
    }

    fn current(&self, has_tls12: bool) -> io::Result<Current> {
        let identities: Vec<_> =
            self.certificates.iter().map(|(_, identity)| identity.clone()).collect();
        let clients = self.clients.as_ref().map(|(_, verifier)| verifier.clone());
        let versions = if has_tls12 { &[&TLS13, &TLS12][..] } else { &[&TLS13] };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Choice::new(&identities)));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        config.ticketer = self.tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        // What comes early can be sent twice by anybody (RFC 8446, section 8).
        config.max_early_data_size = 0;
        Ok(Current { acceptor: TlsAcceptor::from(Arc::new(config)), clients, identities })
    }
}

impl Current {
    /// A resumed session brings along the certificate that was good when it began.
    fn is_still_welcome(&self, connection: &ServerConnection) -> bool {
        let Some(verifier) = &self.clients else { return true };
        match connection.peer_certificates().and_then(<[_]>::split_first) {
            Some((leaf, above)) => {
                verifier.verify_client_cert(leaf, above, UnixTime::now()).is_ok()
            }
            None => !verifier.client_auth_mandatory(),
        }
    }
}
