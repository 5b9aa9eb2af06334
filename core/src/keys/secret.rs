//! Key bytes, and the few operations that are done with them.
//!
//! Keys are random or come out of [`Key::expand`]; either way they are uniform, which is why HKDF's extract step is
//! never needed. They are zeroized on drop. `ring`'s own contexts (an HMAC or AES key schedule) cannot be, so they live
//! for one operation and are never stored.
//!
//! Nonces are 96 random bits. Every key that seals here seals few messages (one segment, one wrapped key per wrap, one
//! parcel), far from the 2³² at which random nonces would begin to matter (NIST SP 800-38D §8.3).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of an AES-GCM nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of an AES-GCM tag.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes that [`seal_box`] adds to a plaintext: nonce and tag.
pub const BOX_OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// The system's random number generator failed. Nothing was sealed; there is no fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random number generator failed")]
pub struct RandomError;

/// 32 secret bytes, zeroized on drop.
///
/// It has no `Debug`, `Clone`, `PartialEq` or `Serialize`: a copy is asked for by name ([`Key::duplicate`]), and so is
/// a look at the bytes ([`Key::expose`]).
///
/// ```compile_fail
/// let key = strongroom_core::keys::secret::Key::random().unwrap();
/// println!("{key:?}");
/// ```
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; Key::LEN]);

impl Key {
    /// The number of bytes.
    pub const LEN: usize = 32;

    /// A fresh key.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random() -> Result<Key, RandomError> {
        random_bytes().map(Key)
    }

    /// So many fresh keys, drawn at once: asking the system for each takes longer than making it.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random_many(count: usize) -> Result<Vec<Key>, RandomError> {
        let mut bytes = Zeroizing::new(vec![0; count * Key::LEN]);
        fill_random(&mut bytes)?;
        // Exact capacity: a vector that grows leaves copies of keys behind.
        let mut keys = Vec::with_capacity(count);
        keys.extend(bytes.chunks_exact(Key::LEN).filter_map(Key::try_from_slice));
        Ok(keys)
    }

    /// A fresh key in a block of its own: it stands nowhere else, and what moves is its address.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random_in_box() -> Result<Box<Key>, RandomError> {
        let mut key = Box::new(Key([0; Key::LEN]));
        fill_random(&mut key.0)?;
        Ok(key)
    }

    /// The same bytes in a block of their own; `None` unless there are exactly 32.
    pub fn in_box(bytes: &[u8]) -> Option<Box<Key>> {
        let mut key = Box::new(Key([0; Key::LEN]));
        if bytes.len() != Key::LEN {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    /// From its bytes, which must be uniformly random: nothing here stretches a password.
    pub const fn from_bytes(bytes: [u8; Key::LEN]) -> Key {
        Key(bytes)
    }

    /// From a slice; `None` unless it has exactly 32 bytes.
    pub fn try_from_slice(bytes: &[u8]) -> Option<Key> {
        bytes.try_into().ok().map(Key)
    }

    /// The secret bytes. Whoever calls this answers for where they go.
    pub const fn expose(&self) -> &[u8; Key::LEN] {
        &self.0
    }

    /// A second copy, zeroized on its own.
    pub const fn duplicate(&self) -> Key {
        Key(self.0)
    }

    /// HKDF-Expand-SHA256 (RFC 5869 §2.3) with this key as PRK and `info` (its parts, one after the other), 32 bytes.
    ///
    /// Callers start `info` with a label of their own (`strongroom/v1/…`) and keep the rest of fixed length, so that no
    /// two purposes ever ask for the same bytes.
    pub fn expand(&self, info: &[&[u8]]) -> Key {
        Expander::new(self).expand(info)
    }
}

/// A key prepared for several expansions: the HMAC key schedule is half the cost of one.
///
/// It is `ring`'s context, which does not zeroize: keep it within one function.
pub(crate) struct Expander(Prk);

impl Expander {
    pub(crate) fn new(key: &Key) -> Self {
        Self(Prk::new_less_safe(HKDF_SHA256, &key.0))
    }

    pub(crate) fn expand(&self, info: &[&[u8]]) -> Key {
        let mut out = Key([0; Key::LEN]);
        self.0
            .expand(info, HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut out.0))
            .expect("HKDF-SHA256 yields its own output length");
        out
    }
}

/// Overwrites what the functions that returned left of keys on this thread's stack: values that are moved leave copies behind, and
/// primitives their schedules.
///
/// Call it where the keys were used, from no deeper: it reaches 64 KiB below its caller. And before anything is waited for: what waits
/// may go on on another thread. [`scrubbed`] sees to both.
#[inline(never)]
pub fn scrub_stack() {
    // These zeros cannot be left out, since they are shown. `zeroize` would write them a second time, byte by byte, in each release.
    std::hint::black_box(&mut [0_u8; 64 * 1024]);
}

/// Does something with keys, and then overwrites all that it left of them on this thread's stack. What it answers should hold keys in
/// blocks of their own only.
#[inline(never)]
pub fn scrubbed<T>(work: impl FnOnce() -> T) -> T {
    let done = apart(work);
    scrub_stack();
    done
}

/// In a frame of its own, below that of [`scrubbed`].
#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// `N` bytes from the system's random number generator.
///
/// # Errors
/// If the system has no randomness to give.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` from the system's random number generator.
///
/// # Errors
/// If the system has no randomness to give; what stands in `bytes` is of no use then.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), RandomError> {
    SystemRandom::new().fill(bytes).map_err(|_| RandomError)
}

/// Seals a short message: `nonce (12, random) ‖ ciphertext ‖ tag (16)`, AES-256-GCM. `aad` is bound and not carried.
///
/// ```
/// use strongroom_core::keys::secret::{Key, open_box, seal_box};
/// let key = Key::random().unwrap();
/// let sealed = seal_box(&key, b"what for", b"secret").unwrap();
/// assert_eq!(*open_box(&key, b"what for", &sealed).unwrap(), b"secret");
/// assert!(open_box(&key, b"something else", &sealed).is_none());
/// ```
///
/// # Errors
/// If there is no randomness for the nonce.
pub fn seal_box(key: &Key, aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, RandomError> {
    Ok(seal_box_with_nonce(key, random_bytes()?, aad, plaintext))
}

/// [`seal_box`] with a given nonce, which must never come twice under one key: for vectors.
pub(crate) fn seal_box_with_nonce(key: &Key, nonce: [u8; NONCE_LEN], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(plaintext.len() + BOX_OVERHEAD);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plaintext);
    let tag = seal_in_place(key, nonce, aad, &mut out[NONCE_LEN..]);
    out.extend_from_slice(&tag);
    out
}

/// Opens what [`seal_box`] sealed; `None` if it was another key, another `aad` or other bytes.
pub fn open_box(key: &Key, aad: &[u8], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let plain_len = open_in_place(key, *nonce, aad, &mut buffer)?.len();
    buffer.truncate(plain_len);
    Some(buffer)
}

/// As [`seal_box`], where it stands: `framed` begins with [`NONCE_LEN`] bytes of room, and the plaintext follows.
///
/// # Errors
/// If the system has no randomness.
pub fn seal_box_in_place(key: &Key, aad: &[u8], mut framed: Vec<u8>) -> Result<Vec<u8>, RandomError> {
    let nonce: [u8; NONCE_LEN] = random_bytes()?;
    framed.reserve_exact(TAG_LEN);
    if framed.len() < NONCE_LEN {
        framed.resize(NONCE_LEN, 0);
    }
    let (room, plaintext) = framed.split_at_mut(NONCE_LEN);
    room.copy_from_slice(&nonce);
    let tag = seal_in_place(key, nonce, aad, plaintext);
    framed.extend_from_slice(&tag);
    Ok(framed)
}

/// As [`open_box`], where it stands: the plaintext is what follows [`NONCE_LEN`] bytes of the answer.
pub fn open_box_in_place(key: &Key, aad: &[u8], mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
    let plain_len = open_in_place(key, *nonce, aad, sealed)?.len();
    bytes.truncate(NONCE_LEN + plain_len);
    Some(bytes)
}

/// Encrypts `data` where it stands and returns the tag.
pub(crate) fn seal_in_place(key: &Key, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
    let tag = cipher(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), data)
        .expect("a message is far below AES-GCM's 64 GiB");
    tag.as_ref().try_into().expect("an AES-GCM tag has 16 bytes")
}

/// Opens `ciphertext ‖ tag` where it stands and returns the plaintext; `None` and no plaintext if the tag is wrong.
pub(crate) fn open_in_place<'a>(
    key: &Key,
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    data: &'a mut [u8],
) -> Option<&'a mut [u8]> {
    cipher(key).open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), data).ok()
}

fn cipher(key: &Key) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.0).expect("AES-256 takes 32 bytes"))
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    /// RFC 5869 A.1 gives a PRK and 42 bytes of OKM; the first 32 are what a 32-byte expansion yields.
    #[test]
    fn expands_as_rfc_5869_says() {
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
        let prk = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let info = hex("f0f1f2f3f4f5f6f7f8f9");
        let okm = hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
        let key = Key::try_from_slice(&prk).unwrap();
        assert_eq!(key.expand(&[&info]).expose()[..], okm);
        assert_eq!(key.expand(&[&info[..3], &info[3..]]).expose()[..], okm, "parts are concatenated");
    }

    #[test]
    fn a_box_is_sealed_and_opened_where_it_stands() {
        let key = Key::random().unwrap();
        for plaintext in [&b""[..], b"private"] {
            let framed = [&[0; NONCE_LEN], plaintext].concat();
            let sealed = seal_box_in_place(&key, b"here", framed).unwrap();
            assert_eq!(&open_box(&key, b"here", &sealed).unwrap()[..], plaintext);
            assert_eq!(&open_box_in_place(&key, b"here", sealed.clone()).unwrap()[NONCE_LEN..], plaintext);
            assert!(open_box_in_place(&key, b"there", sealed.clone()).is_none());
            assert!(open_box_in_place(&key, b"here", sealed[..20].to_vec()).is_none());
        }
        let sealed = seal_box(&key, b"here", b"private").unwrap();
        assert_eq!(&open_box_in_place(&key, b"here", sealed).unwrap()[NONCE_LEN..], b"private");
    }

    #[test]
    fn a_key_has_32_bytes() {
        assert!(Key::try_from_slice(&[0; 31]).is_none());
        assert!(Key::try_from_slice(&[0; 33]).is_none());
        assert!(Key::try_from_slice(&[0; 32]).is_some());
    }

    #[test]
    fn random_keys_differ() {
        assert!(Key::random().unwrap().expose() != Key::random().unwrap().expose());
        assert!(Key::random().unwrap().duplicate().expose() != &[0; 32]);
        let many = Key::random_many(100).unwrap();
        let different: std::collections::HashSet<_> = many.iter().map(Key::expose).collect();
        assert_eq!((many.len(), different.len()), (100, 100));
        assert!(Key::random_many(0).unwrap().is_empty());
        let boxed = Key::random_in_box().unwrap();
        assert!(boxed.expose() != Key::random_in_box().unwrap().expose() && boxed.expose() != &[0; 32]);
        assert!(Key::in_box(boxed.expose()).unwrap().expose() == boxed.expose() && Key::in_box(&[7; 31]).is_none());
    }

    #[test]
    fn a_box_opens_whole_and_unchanged_or_not_at_all() {
        let key = Key::from_bytes([7; 32]);
        for len in [0, 1, 32, 1000] {
            let plaintext = vec![3; len];
            let sealed = seal_box(&key, b"aad", &plaintext).unwrap();
            assert_eq!(sealed.len(), len + BOX_OVERHEAD);
            assert_eq!(*open_box(&key, b"aad", &sealed).unwrap(), plaintext);
            assert!(open_box(&key, b"", &sealed).is_none());
            assert!(open_box(&Key::from_bytes([8; 32]), b"aad", &sealed).is_none());
            for cut in 0..sealed.len() {
                assert!(open_box(&key, b"aad", &sealed[..cut]).is_none());
            }
            for bit in 0..8 * sealed.len().min(100) {
                let mut changed = sealed.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(open_box(&key, b"aad", &changed).is_none());
            }
        }
    }
}
