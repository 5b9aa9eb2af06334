//! The wire in foreign hands: a relay that ends TLS with a certificate of its own, one that forwards what it hears, a vault key
//! that is not the pinned one, and a connection that wants to be resumed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{HandshakeKind, NamedGroup, ServerConfig};
use strongroom_client::{Connect, Fingerprint, GetOptions, Identity, Reason};
use strongroom_tests::raw::{Raw, tls};
use strongroom_tests::{Lab, TestVault, copy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{reason, refusal};

async fn vault_and_lab() -> (TestVault, Lab) {
    let vault = TestVault::start().await;
    let lab = vault.lab("acme").await;
    lab.dataset("rlhf").await;
    lab.put("rlhf/a", "what is 2 + 2?").await;
    (vault, lab)
}

/// A relay that ends TLS: it shows `chain` (or its own certificate alone) and forwards what it hears, in the clear to itself, on
/// a connection that it makes as `identity`.
async fn man_in_the_middle(
    target: SocketAddr,
    identity: Identity,
    more: Vec<CertificateDer<'static>>,
) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let key = PrivateKeyDer::from_pem_slice(identity.to_pem().as_bytes()).unwrap();
    let chain = [vec![CertificateDer::from(identity.certificate().to_vec())], more].concat();
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(client) = acceptor.accept(tcp).await else { continue };
            let upstream = TcpStream::connect(target).await.unwrap();
            let name = ServerName::try_from(strongroom_proto::SERVER_NAME).unwrap();
            let server = TlsConnector::from(Arc::new(tls(Some(&identity)))).connect(name, upstream).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (tokio::io::split(client), tokio::io::split(server));
            let hears = hears.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    hears.lock().unwrap().extend_from_slice(&buffer[..count]);
                    if to_server.write_all(&buffer[..count]).await.is_err() || to_server.flush().await.is_err() {
                        return;
                    }
                }
            });
            tokio::spawn(async move {
                // It ends when either side does.
                let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
            });
        }
    });
    (address, heard)
}

#[tokio::test]
async fn a_relay_with_a_certificate_of_its_own() {
    let (vault, lab) = vault_and_lab().await;
    let chain = certificates(vault.address()).await;
    assert!(chain.len() > 1, "the vault key's certificate comes in the chain");
    // Its own certificate; with the vault's chain behind it; with the node's certificate too.
    for more in [Vec::new(), chain[1..].to_vec(), chain.clone()] {
        let (address, heard) = man_in_the_middle(vault.address(), Identity::generate().unwrap(), more).await;
        let connect = Connect::to(address.to_string(), vault.vault_key(), copy(&lab.admin));
        assert_eq!(reason(connect.open().await), Reason::Integrity);
        assert!(heard.lock().unwrap().is_empty(), "nothing was said to it");
    }
}

#[tokio::test]
async fn a_relay_that_its_victim_believes() {
    let (vault, lab) = vault_and_lab().await;
    // Even if the relay is somebody whom the tenant knows, and the victim believes any certificate.
    let worker = lab.vendor(&vault, "labelco").await;
    lab.let_read(&worker, "rlhf/a").await;
    for relay in [copy(&worker.identity), copy(&lab.admin)] {
        let (address, heard) = man_in_the_middle(vault.address(), relay, Vec::new()).await;
        let raw = Raw::connect(address, Some(&lab.admin)).await.unwrap();
        let opened = raw.open(&lab.admin, "acme", vault.vault_key()).await;
        assert_eq!(refusal(opened), Reason::Unauthenticated);
        assert!(!heard.lock().unwrap().is_empty(), "it heard, and it did not help");
    }
    // Without the relay it would have been fine.
    vault.raw_session(&lab.admin, "acme").await;
    vault.ledger("acme").await;
}

#[tokio::test]
async fn another_vault_key_than_the_pinned_one() {
    let (vault, lab) = vault_and_lab().await;
    let other = TestVault::start().await;
    for key in [other.vault_key(), Fingerprint::from_bytes([7; 32])] {
        let connect = Connect::to(vault.address().to_string(), key, copy(&lab.admin));
        assert_eq!(reason(connect.open().await), Reason::Integrity);
        let raw = vault.raw(&lab.admin).await;
        assert_eq!(refusal(raw.open(&lab.admin, "acme", key).await), Reason::Unauthenticated);
    }
    let connect = Connect::to(other.address().to_string(), vault.vault_key(), copy(&lab.admin));
    assert_eq!(reason(connect.open().await), Reason::Integrity);
    let honest = vault.connect(&lab.admin).await;
    honest.get_bytes(&lab.object("rlhf/a"), GetOptions::default()).await.unwrap();
}

/// Counts the tickets that a server gives.
#[derive(Debug, Default)]
struct Tickets {
    given: AtomicUsize,
    newest: Mutex<Option<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.given.fetch_add(1, Ordering::SeqCst);
        *self.newest.lock().unwrap() = Some(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.newest.lock().unwrap().take()
    }
}

/// What a client says first, and settings without content (RFC 9113 §3.4, §6.5).
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn a_client_that_wants_to_be_resumed() {
    let (vault, lab) = vault_and_lab().await;
    let tickets = Arc::new(Tickets::default());
    let mut config = tls(Some(&lab.admin));
    config.resumption = Resumption::store(tickets.clone());
    config.enable_early_data = true;
    let config = Arc::new(config);
    for _ in 0..3 {
        let tcp = TcpStream::connect(vault.address()).await.unwrap();
        let name = ServerName::try_from(strongroom_proto::SERVER_NAME).unwrap();
        let mut tls = TlsConnector::from(config.clone()).connect(name, tcp).await.unwrap();
        tls.write_all(HELLO).await.unwrap();
        tls.flush().await.unwrap();
        // Tickets would come before the server's first frame.
        let mut settings = [0; 9];
        tls.read_exact(&mut settings).await.unwrap();
        assert_eq!(settings[3], 4, "the server's settings");
        let session = tls.get_ref().1;
        assert!(matches!(
            session.handshake_kind(),
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
        ));
        assert!(!session.is_early_data_accepted());
    }
    assert_eq!(tickets.given.load(Ordering::SeqCst), 0, "no ticket was given");
}

/// The certificates that a server shows.
async fn certificates(address: SocketAddr) -> Vec<CertificateDer<'static>> {
    let name = ServerName::try_from(strongroom_proto::SERVER_NAME).unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let tls = TlsConnector::from(Arc::new(tls(None))).connect(name, tcp).await.unwrap();
    let shown = tls.get_ref().1.peer_certificates().unwrap();
    shown.iter().map(|certificate| certificate.clone().into_owned()).collect()
}
