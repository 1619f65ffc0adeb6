//! TLS with clients: certificates that are chosen and changed while the edge runs, and the handshake.
//!
//! A connection keeps what it was secured with; a new one gets what is there now. Nothing is kept for
//! clients that may come back: they bring their sessions themselves, in tickets that only this process
//! can read, and their certificates in them.

mod choice;
mod stream;
mod tickets;

use crate::config::{Certificate, ClientAuth, Identity, Settings, Unusable, Watched};
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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use stream::TlsStream;
use tickets::Tickets;
use tokio::time::timeout;

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
    metrics: Arc<Metrics>,
    current: RwLock<Arc<Current>>,
    sources: Mutex<Sources>,
}

/// What is ready to take the place of what new connections get.
pub(super) struct Next {
    sources: Sources,
    current: Current,
}

/// What new connections get.
struct Current {
    acceptor: TlsAcceptor,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// With the names of their certificates.
    identities: Vec<(String, Arc<Identity>)>,
}

/// Where it comes from.
struct Sources {
    certificates: Vec<Source>,
    clients: Option<Authorities>,
    tickets: Arc<dyn ProducesTickets>,
    has_tls12: bool,
}

/// A certificate, and what its files were when they were read.
#[derive(Clone)]
struct Source {
    certificate: Certificate,
    watched: Watched,
    identity: Arc<Identity>,
}

/// Those who sign the certificates of clients.
#[derive(Clone)]
struct Authorities {
    auth: ClientAuth,
    watched: Watched,
    verifier: Arc<dyn ClientCertVerifier>,
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
        let none = Sources {
            certificates: Vec::new(),
            clients: None,
            tickets: Tickets::made()?,
            has_tls12: settings.server.tls.has_tls12,
        };
        let sources = none.next(settings)?;
        let current = RwLock::new(Arc::new(sources.current()?));
        let tls = Arc::new(Self { metrics, current, sources: Mutex::new(sources) });
        let told = Arc::downgrade(&tls);
        tls.metrics.set_certificates_probe(move || {
            told.upgrade().map_or_else(Vec::new, |tls| tls.expiries(SystemTime::now()))
        });
        Ok(Some(tls))
    }

    /// Makes ready what other settings say. Files that have changed are read again, also where the
    /// settings are the same.
    pub(super) fn prepare(&self, settings: &Settings) -> io::Result<Next> {
        let sources = self.sources().next(settings)?;
        let current = sources.current()?;
        Ok(Next { sources, current })
    }

    /// From here on new connections get that.
    pub(super) fn adopt(&self, next: Next) {
        let Next { sources, current } = next;
        let mut own = self.sources();
        sources.tell_of_news(&own, &self.metrics);
        *own = sources;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expiries(&self, now: SystemTime) -> Vec<(String, i64)> {
        let left = |(name, identity): &(String, Arc<Identity>)| {
            (name.clone(), identity.expires_in_seconds(now))
        };
        self.current().identities.iter().map(left).collect()
    }

    fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Secures a connection, within this time.
    pub(super) async fn secure(
        &self,
        stream: Stream,
        limit: Duration,
        shutdown: &mut ShutdownWatch,
    ) -> Result<Secured, Insecure> {
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
        let mut sources = self.sources();
        if !sources.look(&self.metrics) {
            return;
        }
        match sources.current() {
            Ok(current) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
            }
            Err(error) => tracing::error!(%error, "changed certificates cannot be used"),
        }
    }
}

impl Sources {
    /// What other settings say. Whatever is named by both and has not changed meanwhile is not read
    /// again, or made anew. An error names the file.
    fn next(&self, settings: &Settings) -> io::Result<Self> {
        let source = |certificate: &Certificate| {
            let same = self.certificates.iter().find(|own| own.certificate == *certificate);
            if let Some(same) = same.filter(|same| !same.watched.have_changed()) {
                return Ok(same.clone());
            }
            let files = certificate.files().into_iter().map(ToOwned::to_owned).collect();
            let watched = Watched::new(files);
            let identity = certificate.load().map_err(|unusable| {
                let (name, Unusable { key, message }) = (certificate.name(), unusable);
                io::Error::other(format!("certificate \"{name}\": {key}: {message}"))
            })?;
            let (certificate, identity) = (certificate.clone(), Arc::new(identity));
            Ok(Source { certificate, watched, identity })
        };
        let certificates = settings.certificates.iter().map(source).collect::<io::Result<_>>()?;
        let has_tls12 = settings.server.tls.has_tls12;
        let auth = settings.server.tls.client_auth.as_ref();
        let same = self.clients.as_ref().filter(|own| !own.watched.have_changed());
        if auth == same.map(|same| &same.auth) && auth.is_some() == self.clients.is_some() {
            let (clients, tickets) = (self.clients.clone(), self.tickets.clone());
            return Ok(Self { certificates, clients, tickets, has_tls12 });
        }
        let clients = auth.map(|auth| {
            let watched = Watched::new(vec![auth.ca.clone()]);
            let named = |error| io::Error::other(format!("server.tls.client_ca: {error}"));
            let verifier = auth.verifier().map_err(named)?;
            Ok::<_, io::Error>(Authorities { auth: auth.clone(), watched, verifier })
        });
        // Whoever was good to others has to show it to these.
        let (clients, tickets) = (clients.transpose()?, Tickets::made()?);
        Ok(Self { certificates, clients, tickets, has_tls12 })
    }

    /// Of certificates that were there before under the same name and are others now.
    fn tell_of_news(&self, before: &Self, metrics: &Metrics) {
        for Source { certificate, identity, .. } in &self.certificates {
            let same = before.certificates.iter().find(|own| own.certificate == *certificate);
            if same.is_some_and(|same| !Arc::ptr_eq(&same.identity, identity)) {
                metrics.certificate_reloaded(true);
                tell_of_new(&certificate.name(), identity);
            }
        }
        let verifiers = [before, self].map(|sources| Some(&sources.clients.as_ref()?.verifier));
        if let [Some(before), Some(now)] = verifiers
            && !Arc::ptr_eq(before, now)
        {
            metrics.certificate_reloaded(true);
            tell_of_new_authorities();
        }
    }

    /// Whether anything came of it.
    fn look(&mut self, metrics: &Metrics) -> bool {
        let mut is_changed = false;
        for Source { certificate, watched, identity } in &mut self.certificates {
            if !watched.is_due() {
                continue;
            }
            let name = certificate.name();
            let loaded = certificate.load();
            metrics.certificate_reloaded(loaded.is_ok());
            match loaded {
                Ok(new) => {
                    tell_of_new(&name, &new);
                    *identity = Arc::new(new);
                    is_changed = true;
                }
                Err(Unusable { key, message }) => {
                    let kept = "a changed certificate cannot be used: the one before it stays";
                    tracing::warn!(certificate = name, key, message, "{kept}");
                }
            }
        }
        let Some(Authorities { auth, watched, verifier }) = &mut self.clients else {
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
                tell_of_new_authorities();
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

    fn current(&self) -> io::Result<Current> {
        let named = |source: &Source| (source.certificate.name(), source.identity.clone());
        let identities: Vec<_> = self.certificates.iter().map(named).collect();
        let clients = self.clients.as_ref().map(|authorities| authorities.verifier.clone());
        let versions = if self.has_tls12 { &[&TLS13, &TLS12][..] } else { &[&TLS13] };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(io::Error::other)?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let chosen: Vec<_> = identities.iter().map(|(_, identity)| identity.clone()).collect();
        let mut config = builder.with_cert_resolver(Arc::new(Choice::new(&chosen)));
        config.alpn_protocols = ALPN.iter().map(|name| name.to_vec()).collect();
        config.ticketer = self.tickets.clone();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        // What comes early can be sent twice by anybody (RFC 8446, section 8).
        config.max_early_data_size = 0;
        Ok(Current { acceptor: TlsAcceptor::from(Arc::new(config)), clients, identities })
    }
}

fn tell_of_new(certificate: &str, identity: &Identity) {
    let expiry = identity.expiry();
    tracing::info!(certificate, expiry, "a new certificate");
}

fn tell_of_new_authorities() {
    tracing::info!("new authorities for the certificates of clients");
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
