//! One TLS connection to a vault: pinned, with the caller's key shown, and known to be one connection.
//!
//! The vault key is the sole anchor: its certificate comes in the server's chain, counts only if the fingerprint of its key is
//! the pinned one (or of a key that the pinned one signed for: then that one is pinned from here on), and must have signed the node's certificate. No web authority is asked, so none can be breached.
//!
//! Sessions live on a connection, and tonic's channel reconnects silently. So a channel here has one connection to give and
//! fails when that is over: whoever needs another dials it, and what was opened on the old one is out of reach with it.
//!
//! Invariants:
//! - TLS 1.3 only; no tickets, resumption or early data, since resumption would skip the proof of possession.
//! - The certificate's key signs in [`Identity`]; the private key is never copied out of it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureAlgorithm, SignatureScheme};
use strongroom_core::identity::{Fingerprint, Identity};
use strongroom_core::reason::Reason;
use strongroom_core::session::EXPORTER_LABEL;
use strongroom_core::succession::Succession;
use strongroom_proto::SERVER_NAME;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;

/// How long TCP, TLS and HTTP/2 may take to stand.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Certificates that a server may send beside its own.
const MAX_INTERMEDIATES: usize = 4;
/// What a stream may have on its way to us: less caps the throughput, more costs memory.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all streams of the connection may.
const CONNECTION_WINDOW: u32 = 8 << 20;
/// The largest HTTP/2 frame that is taken: with the usual 16 KiB a message of 256 KiB is cut into 16.
const HTTP2_FRAME: u32 = 1 << 20;

/// A connection that stands, or stood.
pub(crate) struct Link {
    /// Where calls go. It never connects again.
    pub(crate) channel: Channel,
    /// The vault key that it proved: the pinned one, or one that followed.
    pub(crate) vault_key: Fingerprint,
    /// The TLS exporter on this side: what binds sessions to this connection.
    pub(crate) exporter: [u8; 32],
    /// Set once the connection is over.
    pub(crate) closed: Closed,
}

/// Whether a connection is over.
#[derive(Clone, Default)]
pub(crate) struct Closed(Arc<AtomicBool>);

impl Closed {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The vault key that is pinned. It moves where the pinned key itself signed for another, and never back.
#[derive(Debug)]
pub(crate) struct PinnedKey(Mutex<Fingerprint>);

impl PinnedKey {
    pub(crate) fn new(key: Fingerprint) -> Arc<Self> {
        Arc::new(Self(Mutex::new(key)))
    }

    pub(crate) fn now(&self) -> Fingerprint {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(&self, key: Fingerprint) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }
}

/// The settings of every connection of a caller to a vault.
pub(crate) fn config(pin: Arc<PinnedKey>, identity: Arc<Identity>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::internal(format!("TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { pin, provider }))
        .with_client_cert_resolver(Arc::new(Shown(Arc::new(CertifiedKey::new(
            vec![CertificateDer::from(identity.certificate().to_vec())],
            Arc::new(IdentityKey(identity)),
        )))));
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Connects to `address` (`HOST:PORT`).
pub(crate) async fn dial(address: &str, config: Arc<ClientConfig>, pin: &PinnedKey) -> Result<Link, Error> {
    let late = || Error::unsent(format!("{address} did not answer within {} s", CONNECT_WITHIN.as_secs()));
    tokio::time::timeout(CONNECT_WITHIN, connect(address, config, pin)).await.map_err(|_| late())?
}

async fn connect(address: &str, config: Arc<ClientConfig>, pin: &PinnedKey) -> Result<Link, Error> {
    let unreachable = |error: io::Error| Error::unsent(format!("cannot connect to {address}: {error}"));
    let tcp = TcpStream::connect(address).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let name = ServerName::try_from(SERVER_NAME).map_err(|error| Error::internal(error.to_string()))?;
    let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(|error| handshake_failed(address, &error))?;
    let exporter = tls.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None);
    let exporter = exporter.map_err(|error| Error::internal(format!("TLS exporter: {error}")))?;
    let closed = Closed::default();
    let channel = channel(Io { tls, closed: closed.clone() }, &closed).await?;
    Ok(Link { channel, vault_key: pin.now(), exporter, closed })
}

/// A channel over this one connection.
async fn channel(io: Io, closed: &Closed) -> Result<Channel, Error> {
    let only = Arc::new(Mutex::new(Some(TokioIo::new(io))));
    let closed = closed.clone();
    let connector = tower::service_fn(move |_: http::Uri| {
        let io = only.lock().unwrap_or_else(PoisonError::into_inner).take();
        if io.is_none() {
            closed.set();
        }
        std::future::ready(io.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection is over")))
    });
    let origin = format!("https://{SERVER_NAME}");
    Endpoint::from_shared(origin)
        .map_err(|error| Error::internal(error.to_string()))?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(HTTP2_FRAME)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
        .map_err(|error| Error::unsent(format!("HTTP/2: {error}")))
}

/// A server that cannot show the pinned key is not the vault: trying again does not help.
fn handshake_failed(address: &str, error: &io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::General(_)) => Error::new(
            Reason::Integrity,
            format!("{address} does not prove to be the vault whose key is pinned ({error})"),
        ),
        _ => Error::unsent(format!("no TLS with {address}: {error}")),
    }
}

/// The stream under a channel: when it is dropped, the connection is over.
struct Io {
    tls: TlsStream<TcpStream>,
    closed: Closed,
}

impl Drop for Io {
    fn drop(&mut self) {
        self.closed.set();
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}

/// Accepts a node's certificate if the pinned vault key signed it.
#[derive(Debug)]
struct Pinned {
    pin: Arc<PinnedKey>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut anchor = RootCertStore::empty();
        let pin = self.pin.now();
        let mut followed = None;
        for certificate in intermediates.iter().take(MAX_INTERMEDIATES) {
            let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
            let key = Fingerprint::of_spki(&spki);
            let succession = || Succession::shown_in(certificate)?.follow(&pin);
            let follows = key != pin && succession().is_some_and(|newest| newest.fingerprint() == key);
            if key == pin || follows {
                anchor.add(certificate.clone().into_owned())?;
            }
            followed = followed.or(follows.then_some(key));
        }
        if anchor.is_empty() {
            return Err(rustls::Error::General("the chain does not hold the pinned vault key".into()));
        }
        let node = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&node, &anchor, &[], now, algorithms)?;
        verify_server_name(&node, name)?;
        if let Some(key) = followed {
            self.pin.follow(key);
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

/// Shows the identity's certificate to whoever asks.
#[derive(Debug)]
struct Shown(Arc<CertifiedKey>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        schemes.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Signs handshakes inside the identity.
#[derive(Clone)]
struct IdentityKey(Arc<Identity>);

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({})", self.0.fingerprint())
    }
}

impl SigningKey for IdentityKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let fits = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        fits.then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for IdentityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign_tls(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
