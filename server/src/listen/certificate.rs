//! A node's certificate: a fresh P-256 key in memory, vouched for by the vault key.
//!
//! ```text
//! vault key (Ed25519) ─issues─► its own certificate, the clients' sole anchor     sent in the chain, the same for ever
//!                     └issues─► node certificate, `SERVER_NAME`                   key and certificate live in memory only
//! ```
//!
//! A certificate is short-lived, so that a key that leaked out of one process is worth little later, and it renews itself as
//! connections come: no task, and no process that serves expired.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, Signer};
use rustls::{SignatureAlgorithm, SignatureScheme};
use strongroom_core::ed25519::SigningKey;
use strongroom_core::identity::Identity;
use strongroom_core::ids::Millis;
use strongroom_core::keys::secret::random_bytes;
use strongroom_core::succession::Succession;
use strongroom_proto::SERVER_NAME;

use crate::recorder::{Clock, SystemClock};

const DAY: u64 = 24 * 3600 * 1000;
/// From this long before now on, for clients whose clocks are behind.
const BACKDATED: u64 = DAY;
/// Until this long after now.
const LIFE: u64 = 30 * DAY;
/// A certificate older than this is not shown to new connections.
const RENEWED_AFTER: u64 = 10 * DAY;
/// No date of a certificate lies past the year 9999.
const LATEST: u64 = 250_000_000_000_000;

/// The node's certificates, one at a time.
pub(super) struct NodeCertificates {
    issuer: Issuer<'static, SigningKey>,
    anchor: CertificateDer<'static>,
    current: Mutex<Current>,
}

struct Current {
    issued: Millis,
    shown: Arc<CertifiedKey>,
}

impl NodeCertificates {
    /// Issues the first.
    pub(super) fn new(
        vault_key: &SigningKey,
        succession: &Succession,
        now: Millis,
    ) -> Result<NodeCertificates, String> {
        let key = SigningKey::from_seed(vault_key.seed().duplicate()).map_err(|error| error.to_string())?;
        let parameters = anchor_parameters(&key, succession)?;
        let anchor = parameters.self_signed(&key).map_err(|error| error.to_string())?.der().clone();
        let issuer = Issuer::new(parameters, key);
        let shown = issue(&issuer, &anchor, now)?;
        Ok(NodeCertificates { issuer, anchor, current: Mutex::new(Current { issued: now, shown }) })
    }

    /// The one to show at this time.
    fn at(&self, now: Millis) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back makes it not valid yet: also a reason for another one.
        let (age, ahead) = (now.0.saturating_sub(current.issued.0), current.issued.0.saturating_sub(now.0));
        let fresh = age < RENEWED_AFTER && ahead < BACKDATED / 2;
        if !fresh {
            match issue(&self.issuer, &self.anchor, now) {
                Ok(shown) => *current = Current { issued: now, shown },
                // The old one has days to go; the next connection tries again.
                Err(error) => tracing::warn!(%error, "the node's certificate could not be renewed"),
            }
        }
        current.shown.clone()
    }
}

impl ResolvesServerCert for NodeCertificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.at(SystemClock.now()))
    }
}

impl fmt::Debug for NodeCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeCertificates")
    }
}

/// The vault key's own certificate. It says nothing but the key and which keys came before it, and always the same.
fn anchor_parameters(key: &SigningKey, succession: &Succession) -> Result<CertificateParams, String> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = named("strongroom vault");
    parameters.serial_number = Some(SerialNumber::from(1_u64));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let fingerprint = key.public_key().fingerprint();
    parameters.key_identifier_method = KeyIdMethod::PreSpecified(fingerprint.as_bytes()[..20].to_vec());
    if !succession.is_empty() {
        let name = succession.name().as_str().try_into().map_err(|error: rcgen::Error| error.to_string())?;
        parameters.subject_alt_names = vec![SanType::URI(name)];
    }
    Ok(parameters)
}

fn issue(
    issuer: &Issuer<'static, SigningKey>,
    anchor: &CertificateDer<'static>,
    now: Millis,
) -> Result<Arc<CertifiedKey>, String> {
    let key = Identity::generate().map_err(|error| error.to_string())?;
    let mut serial: [u8; 16] = random_bytes().map_err(|error| error.to_string())?;
    // RFC 5280 §4.1.2.2: positive, and not zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = named("strongroom node");
    parameters.serial_number = Some(SerialNumber::from(serial.to_vec()));
    parameters.subject_alt_names =
        vec![SanType::DnsName(SERVER_NAME.try_into().map_err(|error: rcgen::Error| error.to_string())?)];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.key_identifier_method = KeyIdMethod::PreSpecified(key.fingerprint().as_bytes()[..20].to_vec());
    if now.0 > LATEST {
        return Err("the clock is off by thousands of years".to_owned());
    }
    parameters.not_before = date(now.0.saturating_sub(BACKDATED)).into();
    parameters.not_after = date(now.0 + LIFE).into();
    let certificate = parameters.signed_by(&key, issuer).map_err(|error| error.to_string())?;
    let chain = vec![certificate.der().clone(), anchor.clone()];
    Ok(Arc::new(CertifiedKey::new(chain, Arc::new(NodeKey(Arc::new(key))))))
}

fn date(millis: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// The node's key as rustls wants it: it signs where it is and is never copied out.
struct NodeKey(Arc<Identity>);

impl rustls::sign::SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then(|| Box::new(NodeKey(self.0.clone())) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign_tls(message).map_err(|_| rustls::Error::FailedToGetRandomBytes)
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_renews_itself() {
        let key = SigningKey::generate().unwrap();
        let start = 20_000 * DAY;
        let certificates = NodeCertificates::new(&key, &Succession::default(), Millis(start)).unwrap();
        let at = |millis| certificates.at(Millis(millis));
        let first = at(start);
        assert!(Arc::ptr_eq(&first, &at(start + RENEWED_AFTER - 1)));
        assert!(Arc::ptr_eq(&first, &at(start - 60_000)));
        let second = at(start + RENEWED_AFTER);
        assert!(first.cert[0] != second.cert[0]);
        assert!(first.cert[1] == second.cert[1], "the anchor stays");
        let third = at(start);
        assert!(second.cert[0] != third.cert[0], "a clock that was set back");
        assert!(Arc::ptr_eq(&third, &at(u64::MAX)), "a clock that is nonsense");
    }

    #[test]
    fn the_anchor_is_the_vault_keys_on_every_node() {
        let key = SigningKey::generate().unwrap();
        let node = |millis| NodeCertificates::new(&key, &Succession::default(), Millis(millis)).unwrap().anchor;
        assert!(node(20_000 * DAY) == node(20_001 * DAY));
        assert!(NodeCertificates::new(&key, &Succession::default(), Millis(u64::MAX)).is_err());
    }
}
