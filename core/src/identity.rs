//! A key is an identity, as in SSH: no authority issues it, none can be breached to forge it.
//!
//! An [`Identity`] is an ECDSA P-256 key (TPMs, HSMs and every TLS stack have it) in one PEM file beside a self-signed
//! certificate, which exists only because TLS carries keys in certificates: nothing in it is believed but the key. Its name is
//! its [`Fingerprint`].
//!
//! Everything signed is signed over `strongroom/v1/<kind>` ‖ 0x00 ‖ exact bytes, so that a signature made for one purpose never
//! serves another.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::ids::{from_hex, from_text};

/// What a signature is for: the part of the signed bytes that keeps purposes apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A session's opening, signed by the caller's identity.
    Opening,
    /// The answer to an opening, signed by the vault key.
    Session,
    /// A call, signed by its session's call key over the call digest.
    Call,
    /// An order, signed by identities.
    Order,
    /// A log's next key, signed by the one before it.
    LogKey,
    /// A vault key that takes another one's place, signed by that one.
    VaultKey,
}

impl Purpose {
    /// `strongroom/v1/<kind>` ‖ 0x00 ‖ `bytes`.
    pub fn signed_bytes(self, bytes: &[u8]) -> Vec<u8> {
        let kind = match self {
            Self::Opening => "opening",
            Self::Session => "session",
            Self::Call => "call",
            Self::Order => "order",
            Self::LogKey => "log-key",
            Self::VaultKey => "vault-key",
        };
        [b"strongroom/v1/", kind.as_bytes(), &[0], bytes].concat()
    }
}

/// Why an identity could not be made or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a PEM file with one `PRIVATE KEY` and one `CERTIFICATE`.
    #[error("not an identity file: it holds one PRIVATE KEY and one CERTIFICATE in PEM")]
    Pem,
    /// The private key is not ECDSA P-256 in PKCS#8.
    #[error("the private key is not ECDSA P-256 in PKCS#8")]
    Key,
    /// The certificate is not of this key.
    #[error("the certificate does not belong to the private key")]
    Certificate,
    /// The system's random number generator failed.
    #[error("the system gave no randomness")]
    Random,
}

/// A signature that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not hold")]
pub struct BadSignature;

/// The 64 bytes of a signature: P-256 r ‖ s, or Ed25519. Its text form is 128 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HEXLOWER.encode_mut_str(&self.0, &mut [0; 128]))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parse = |text: &str| from_hex(text).map(Self).ok_or("a signature is 128 hex digits");
        from_text(deserializer, "a signature", parse)
    }
}

/// SHA-256 over a key's SubjectPublicKeyInfo DER: the name of an identity, of a vault key.
///
/// Its text form is `SHA256:` and unpadded base64, as OpenSSH writes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a key in SubjectPublicKeyInfo DER (RFC 5280 §4.1).
    pub fn of_spki(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SHA256:{}", BASE64_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is SHA256: and 43 characters of base64")]
pub struct NotAFingerprint;

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let base64 = text.strip_prefix("SHA256:").ok_or(NotAFingerprint)?;
        let bytes = BASE64_NOPAD.decode(base64.as_bytes()).map_err(|_| NotAFingerprint)?;
        bytes.try_into().map(Self).map_err(|_| NotAFingerprint)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a fingerprint", str::parse)
    }
}

/// The DER that stands before the point of every P-256 key's SubjectPublicKeyInfo (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The public half of an [`Identity`]: an uncompressed P-256 point.
///
/// Its text form is the 130 hex digits of the point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 65]);

impl PublicKey {
    /// From the 65 bytes of an uncompressed point. That it lies on the curve is checked by [`PublicKey::verify`].
    pub fn from_point(point: &[u8]) -> Option<Self> {
        (point.first() == Some(&4)).then_some(())?;
        point.try_into().ok().map(Self)
    }

    /// The 65 bytes of the uncompressed point.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// The key's name.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_spki(&[&P256_SPKI[..], &self.0].concat())
    }

    /// Checks the 64-byte signature of `bytes` for `purpose`.
    ///
    /// # Errors
    /// [`BadSignature`] if it is not this key's.
    pub fn verify(&self, purpose: Purpose, bytes: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0[..])
            .verify(&purpose.signed_bytes(bytes), signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.fingerprint(), f)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let point = HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        Self::from_point(&point).ok_or_else(|| serde::de::Error::custom("not an uncompressed P-256 point"))
    }
}

/// An ECDSA P-256 key and its self-signed certificate.
///
/// The private key is held in a zeroizing buffer and in ring's key pairs, which do not erase themselves; it never leaves this
/// type but in the PEM file that its owner keeps.
pub struct Identity {
    pkcs8: Zeroizing<Vec<u8>>,
    fixed: EcdsaKeyPair,
    tls: EcdsaKeyPair,
    certificate: Vec<u8>,
    random: SystemRandom,
}

impl Identity {
    /// A new identity from the system's randomness.
    ///
    /// # Errors
    /// [`IdentityError::Random`] if the system gives none.
    pub fn generate() -> Result<Self, IdentityError> {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map_err(|_| IdentityError::Random)?;
        let mut identity = Self::from_parts(Zeroizing::new(pkcs8.as_ref().to_vec()), Vec::new())?;
        identity.certificate = self_signed(&identity)?;
        Ok(identity)
    }

    /// Reads an identity file's text.
    ///
    /// # Errors
    /// Each kind of [`IdentityError`].
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let pkcs8 = pem_section(text, "PRIVATE KEY").ok_or(IdentityError::Pem)?;
        let certificate = pem_section(text, "CERTIFICATE").ok_or(IdentityError::Pem)?;
        let identity = Self::from_parts(pkcs8, certificate.to_vec())?;
        let spki = [&P256_SPKI[..], &identity.public_key().0].concat();
        let fits = identity.certificate.windows(spki.len()).any(|window| window == spki);
        if fits { Ok(identity) } else { Err(IdentityError::Certificate) }
    }

    fn from_parts(pkcs8: Zeroizing<Vec<u8>>, certificate: Vec<u8>) -> Result<Self, IdentityError> {
        let random = SystemRandom::new();
        let pair = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random).map_err(|_| IdentityError::Key);
        let (fixed, tls) = (pair(&ECDSA_P256_SHA256_FIXED_SIGNING)?, pair(&ECDSA_P256_SHA256_ASN1_SIGNING)?);
        Ok(Self { pkcs8, fixed, tls, certificate, random })
    }

    /// The text of its file: the private key in PKCS#8 and the certificate, both in PEM.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2048));
        push_pem(&mut text, "PRIVATE KEY", &self.pkcs8);
        push_pem(&mut text, "CERTIFICATE", &self.certificate);
        text
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        let mut point = [0; 65];
        point.copy_from_slice(self.fixed.public_key().as_ref());
        PublicKey(point)
    }

    /// Its name.
    pub fn fingerprint(&self) -> Fingerprint {
        self.public_key().fingerprint()
    }

    /// The self-signed certificate, DER: what TLS shows.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Signs `bytes` for `purpose`: the fixed 64 bytes r ‖ s.
    ///
    /// # Errors
    /// [`IdentityError::Random`] if the system gives no randomness.
    pub fn sign(&self, purpose: Purpose, bytes: &[u8]) -> Result<[u8; 64], IdentityError> {
        let signature =
            self.fixed.sign(&self.random, &purpose.signed_bytes(bytes)).map_err(|_| IdentityError::Random)?;
        signature.as_ref().try_into().map_err(|_| IdentityError::Key)
    }

    /// Signs a TLS 1.3 handshake (RFC 8446 §4.4.3, `ecdsa_secp256r1_sha256`): ASN.1, over the bytes as they are.
    ///
    /// TLS puts its own context string before what is signed, so no such signature is one of [`Identity::sign`].
    ///
    /// # Errors
    /// [`IdentityError::Random`] if the system gives no randomness.
    pub fn sign_tls(&self, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let signature = self.tls.sign(&self.random, message).map_err(|_| IdentityError::Random)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl rcgen::PublicKeyData for Identity {
    fn der_bytes(&self) -> &[u8] {
        self.fixed.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Identity {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.sign_tls(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

fn self_signed(identity: &Identity) -> Result<Vec<u8>, IdentityError> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "strongroom identity");
    parameters.serial_number = Some(1_u64.into());
    let certificate = parameters.self_signed(identity).map_err(|_| IdentityError::Certificate)?;
    Ok(certificate.der().to_vec())
}

fn push_pem(text: &mut String, label: &str, der: &[u8]) {
    let base64 = Zeroizing::new(BASE64.encode(der));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for at in (0..base64.len()).step_by(64) {
        text.push_str(&base64[at..base64.len().min(at + 64)]);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
}

/// The bytes of the one section with this label (RFC 7468); `None` if there is none, or more than one.
fn pem_section(text: &str, label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let (_, rest) = text.split_once(&begin)?;
    let (body, rest) = rest.split_once(&end)?;
    if rest.contains(&begin) {
        return None;
    }
    let base64: Zeroizing<Vec<u8>> = Zeroizing::new(body.bytes().filter(|b| !b.is_ascii_whitespace()).collect());
    BASE64.decode(&base64).ok().map(Zeroizing::new)
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_file() {
        let identity = Identity::generate().unwrap();
        let again = Identity::from_pem(&identity.to_pem()).unwrap();
        assert_eq!(identity.fingerprint(), again.fingerprint());
        let signature = again.sign(Purpose::Order, b"bytes").unwrap();
        let key = identity.public_key();
        assert_eq!(key.verify(Purpose::Order, b"bytes", &signature), Ok(()));
        assert_eq!(key.verify(Purpose::Call, b"bytes", &signature), Err(BadSignature));
        assert_eq!(key.verify(Purpose::Order, b"other", &signature), Err(BadSignature));
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let (one, other) = (Identity::generate().unwrap().to_pem(), Identity::generate().unwrap().to_pem());
        let (key, _) = one.split_once("-----BEGIN CERT").unwrap();
        let (_, certificate) = other.split_once("-----BEGIN CERT").unwrap();
        let mixed = format!("{key}-----BEGIN CERT{certificate}");
        assert_eq!(Identity::from_pem(&mixed).err(), Some(IdentityError::Certificate));
        assert_eq!(Identity::from_pem("").err(), Some(IdentityError::Pem));
    }

    #[test]
    fn fingerprints_have_one_text_form() {
        let fingerprint = Identity::generate().unwrap().fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert!(format!("{fingerprint}=").parse::<Fingerprint>().is_err());
    }
}
