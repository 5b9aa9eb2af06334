use std::sync::atomic::AtomicUsize;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, Signer};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureAlgorithm, SignatureScheme};
use strongroom_core::identity::Identity;
use strongroom_proto::SERVER_NAME;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use tokio_stream::StreamExt;

use super::*;

const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct Door {
    address: SocketAddr,
    incoming: ReceiverStream<io::Result<Io>>,
    vault_key: Fingerprint,
    ended: Arc<AtomicUsize>,
}

async fn door(limits: Limits) -> Door {
    door_behind(limits, &[]).await
}

async fn door_behind(limits: Limits, proxies: &[Network]) -> Door {
    let key = SigningKey::generate().unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let count = ended.clone();
    let on_end: OnEnd = Arc::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let listener =
        Listener::bind("127.0.0.1:0".parse().unwrap(), (&key, &Default::default()), &limits, proxies, on_end)
            .await
            .unwrap();
    let address = listener.address().unwrap();
    Door { address, incoming: listener.incoming(), vault_key: key.public_key().fingerprint(), ended }
}

impl Door {
    /// Both ends of a connection that stands.
    async fn connect(&mut self, config: ClientConfig) -> (client::TlsStream<TcpStream>, Io) {
        let tls = dial(self.address, config).await.unwrap();
        (tls, self.incoming.next().await.unwrap().unwrap())
    }
}

async fn dial(address: SocketAddr, config: ClientConfig) -> io::Result<client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    tls.write_all(PRI).await?;
    Ok(tls)
}

/// Pins the vault key as clients do: its certificate is the sole anchor.
#[derive(Debug)]
struct Pin(Fingerprint);

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in intermediates {
            let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
            if Fingerprint::of_spki(spki.as_ref()) == self.0 {
                roots.add(certificate.clone().into_owned())?;
            }
        }
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&certificate, &roots, &[], now, algorithms.all)?;
        rustls::client::verify_server_name(&certificate, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}

/// Shows a certificate and signs with a key: the same one's, or not.
#[derive(Clone)]
struct Shown(Arc<Identity>, SignatureScheme);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown")
    }
}

impl rustls::sign::SigningKey for Shown {
    fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Shown {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign_tls(message).unwrap())
    }

    fn scheme(&self) -> SignatureScheme {
        self.1
    }
}

#[derive(Debug)]
struct Resolver(Arc<CertifiedKey>);

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn client(pin: Fingerprint, shown: Option<(Vec<u8>, Shown)>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pin(pin)));
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certified = CertifiedKey::new(vec![certificate.into()], Arc::new(key));
            builder.with_client_cert_resolver(Arc::new(Resolver(Arc::new(certified))))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

fn shown(identity: &Arc<Identity>) -> Option<(Vec<u8>, Shown)> {
    Some((identity.certificate().to_vec(), Shown(identity.clone(), SignatureScheme::ECDSA_NISTP256_SHA256)))
}

#[tokio::test]
async fn a_caller_is_the_key_of_its_certificate() {
    let mut door = door(Limits::default()).await;
    let identity = Arc::new(Identity::generate().unwrap());
    let (mut theirs, mut ours) = door.connect(client(door.vault_key, shown(&identity))).await;
    let connection = ours.connect_info();
    assert_eq!(connection.key, Some(identity.fingerprint()));
    assert_eq!(connection.source, theirs.get_ref().0.local_addr().unwrap());
    let exporter = theirs.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
    assert_eq!(connection.exporter, exporter);
    assert_eq!(theirs.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    // What was read ahead comes out first, in pieces of any size.
    theirs.write_all(b"and more").await.unwrap();
    let mut all = vec![0; PRI.len() + 8];
    ours.read_exact(&mut all[..5]).await.unwrap();
    ours.read_exact(&mut all[5..]).await.unwrap();
    assert_eq!(all, [PRI, b"and more"].concat());
}

#[tokio::test]
async fn without_a_certificate_there_is_a_connection_and_no_caller() {
    let mut door = door(Limits::default()).await;
    let (_theirs, ours) = door.connect(client(door.vault_key, None)).await;
    assert_eq!(ours.connect_info().key, None);
}

#[tokio::test]
async fn every_handshake_is_a_full_one() {
    let mut door = door(Limits::default()).await;
    let identity = Arc::new(Identity::generate().unwrap());
    let mut config = client(door.vault_key, shown(&identity));
    // A client that wants all of it.
    config.resumption = Resumption::in_memory_sessions(16);
    config.enable_early_data = true;
    for _ in 0..3 {
        let (mut theirs, mut ours) = door.connect(config.clone()).await;
        // Tickets would come with the first bytes from the server.
        ours.write_all(b"x").await.unwrap();
        ours.flush().await.unwrap();
        theirs.read_exact(&mut [0]).await.unwrap();
        let session = theirs.get_ref().1;
        assert_eq!(session.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(session.tls13_tickets_received(), 0);
        assert!(!session.is_early_data_accepted());
    }
}

#[tokio::test]
async fn another_vault_key_is_not_this_vault() {
    let door = door(Limits::default()).await;
    let other = SigningKey::generate().unwrap().public_key().fingerprint();
    assert!(dial(door.address, client(other, None)).await.is_err());
}

/// TLS 1.3 clients finish before the server has looked at their certificate: the refusal comes with the first read.
async fn is_refused(door: &mut Door, config: ClientConfig) {
    if let Ok(mut tls) = dial(door.address, config).await {
        assert!(tls.read(&mut [0]).await.is_err());
    }
    let none = tokio::time::timeout(Duration::from_millis(50), door.incoming.next()).await;
    assert!(none.is_err(), "no connection came of it");
}

#[tokio::test]
async fn keys_that_prove_nothing_are_refused() {
    let mut door = door(Limits::default()).await;
    let (one, other) = (Arc::new(Identity::generate().unwrap()), Arc::new(Identity::generate().unwrap()));
    let pin = door.vault_key;
    // Somebody else's certificate.
    let stolen = (one.certificate().to_vec(), Shown(other, SignatureScheme::ECDSA_NISTP256_SHA256));
    is_refused(&mut door, client(pin, Some(stolen))).await;
    // A scheme that was not offered.
    let scheme = (one.certificate().to_vec(), Shown(one.clone(), SignatureScheme::ECDSA_NISTP384_SHA384));
    is_refused(&mut door, client(pin, Some(scheme))).await;
    // Not a certificate.
    let garbage = (b"no certificate".to_vec(), Shown(one.clone(), SignatureScheme::ECDSA_NISTP256_SHA256));
    is_refused(&mut door, client(pin, Some(garbage))).await;
    // A certificate of another kind of key.
    let ed25519 = SigningKey::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.serial_number = Some(1_u64.into());
    let certificate = parameters.self_signed(&ed25519).unwrap().der().to_vec();
    let foreign = (certificate, Shown(one, SignatureScheme::ECDSA_NISTP256_SHA256));
    is_refused(&mut door, client(pin, Some(foreign))).await;
}

#[tokio::test]
async fn whoever_says_nothing_is_let_go() {
    let limits = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let mut door = door(limits).await;
    // No TLS at all; TLS and nothing after it; something that is not TLS.
    let mut silent = TcpStream::connect(door.address).await.unwrap();
    let tcp = TcpStream::connect(door.address).await.unwrap();
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let config = Arc::new(client(door.vault_key, None));
    let mut idle = TlsConnector::from(config).connect(name, tcp).await.unwrap();
    let mut wrong = TcpStream::connect(door.address).await.unwrap();
    wrong.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let within = Duration::from_secs(5);
    assert!(tokio::time::timeout(within, silent.read(&mut [0])).await.unwrap().is_ok_and(|count| count == 0));
    assert!(tokio::time::timeout(within, idle.read(&mut [0])).await.is_ok());
    let mut alert = Vec::new();
    tokio::time::timeout(within, wrong.read_to_end(&mut alert)).await.unwrap().ok();
    assert_eq!(door.ended.load(Ordering::SeqCst), 0);
    let none = tokio::time::timeout(Duration::from_millis(50), door.incoming.next()).await;
    assert!(none.is_err());
}

#[tokio::test]
async fn connections_are_counted_and_end() {
    let mut door = door(Limits { max_connections: 1, ..Limits::default() }).await;
    let pin = door.vault_key;
    let (_theirs, ours) = door.connect(client(pin, None)).await;
    assert!(dial(door.address, client(pin, None)).await.is_err(), "there is one place");
    let connection = ours.connect_info();
    assert!(!connection.has_ended());
    drop(ours);
    assert!(connection.has_ended());
    assert_eq!(door.ended.load(Ordering::SeqCst), 1);
    let (_theirs, _ours) = door.connect(client(pin, None)).await;
}

#[tokio::test]
async fn dropping_the_stream_ends_listening_and_no_connection() {
    let mut door = door(Limits::default()).await;
    let (mut theirs, mut ours) = door.connect(client(door.vault_key, None)).await;
    let Door { address, incoming, .. } = door;
    drop(incoming);
    let mut refused = false;
    for _ in 0..100 {
        refused = TcpStream::connect(address).await.is_err();
        if refused {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(refused);
    ours.write_all(b"still here").await.unwrap();
    ours.flush().await.unwrap();
    theirs.read_exact(&mut [0; 10]).await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let door = door(Limits::default()).await;
    let key = SigningKey::generate().unwrap();
    let error = Listener::bind(door.address, (&key, &Default::default()), &Limits::default(), &[], Arc::new(|_| {}))
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains(&door.address.to_string()));
}

/// A PROXY header of version 2 for a connection from 192.0.2.7, port 50000.
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\xc3\x50\0\x01";

/// Says something before TLS begins.
async fn dial_after(
    address: SocketAddr,
    said: &[u8],
    config: ClientConfig,
) -> io::Result<client::TlsStream<TcpStream>> {
    let mut tcp = TcpStream::connect(address).await?;
    tcp.write_all(said).await?;
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
    tls.write_all(PRI).await?;
    Ok(tls)
}

#[tokio::test]
async fn a_configured_proxy_says_where_a_connection_comes_from() {
    let loopback: [Network; 2] = ["127.0.0.0/8", "::1/128"].map(|text| text.parse().unwrap());
    let mut door = door_behind(Limits { handshake: Duration::from_secs(2), ..Limits::default() }, &loopback).await;
    let identity = Arc::new(Identity::generate().unwrap());
    let config = || client(door.vault_key, shown(&identity));
    let _theirs = dial_after(door.address, HEADER, config()).await.unwrap();
    let ours = door.incoming.next().await.unwrap().unwrap();
    assert_eq!(ours.connect_info().source, "192.0.2.7:50000".parse().unwrap());
    assert_eq!(ours.connect_info().key, Some(identity.fingerprint()));
    // What a proxy says for itself comes from the proxy.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    let theirs = dial_after(door.address, local, config()).await.unwrap();
    let ours = door.incoming.next().await.unwrap().unwrap();
    assert_eq!(ours.connect_info().source, theirs.get_ref().0.local_addr().unwrap());
    // Of a proxy the header is required, whole, and once.
    assert!(dial(door.address, config()).await.is_err());
    assert!(dial_after(door.address, &HEADER[..20], config()).await.is_err());
    assert!(dial_after(door.address, &[HEADER, HEADER].concat(), config()).await.is_err());
}

#[tokio::test]
async fn nobody_else_says_where_a_connection_comes_from() {
    let elsewhere: [Network; 2] = ["192.0.2.0/24", "126.0.0.0/8"].map(|text| text.parse().unwrap());
    let mut door = door_behind(Limits::default(), &elsewhere).await;
    let identity = Arc::new(Identity::generate().unwrap());
    let config = || client(door.vault_key, shown(&identity));
    assert!(dial_after(door.address, HEADER, config()).await.is_err());
    let theirs = dial(door.address, config()).await.unwrap();
    let ours = door.incoming.next().await.unwrap().unwrap();
    assert_eq!(ours.connect_info().source, theirs.get_ref().0.local_addr().unwrap());
}
