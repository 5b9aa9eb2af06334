//! Sealing and opening with the key in the token, by AES-GCM.

use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use strongroom_core::keys::secret::{Key, random_bytes};
use strongroom_core::keys::wrap::UnwrapError;
use zeroize::Zeroizing;

use crate::keys::KeyError;

const NONCE: usize = 12;
const TAG: usize = 16;
/// Bytes of a wrapped secret.
pub(super) const WRAPPED: usize = NONCE + Key::LEN + TAG;

/// Why a token did not do something.
pub(super) enum Failed {
    /// The session is over.
    Session(TokenError),
    /// Anything else that a module says.
    Other(TokenError),
    /// No failure of the token's.
    Key(KeyError),
}

impl From<TokenError> for Failed {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Pkcs11(
                RvError::SessionClosed
                | RvError::SessionHandleInvalid
                | RvError::DeviceRemoved
                | RvError::TokenNotPresent
                | RvError::UserNotLoggedIn
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid,
                _,
            ) => Self::Session(error),
            error => Self::Other(error),
        }
    }
}

/// Seals a secret for its place.
pub(super) fn seal(session: &Session, key: ObjectHandle, aad: &[u8], secret: &Key) -> Result<Vec<u8>, Failed> {
    let mut nonce: [u8; NONCE] = random_bytes().map_err(KeyError::from).map_err(Failed::Key)?;
    let parameters = GcmParams::new(&mut nonce, aad, ((TAG * 8) as u64).into())?;
    let sealed = session.encrypt(&Mechanism::AesGcm(parameters), key, secret.expose())?;
    // Some modules choose the nonce themselves, and write it where ours stood.
    let wrapped = [&nonce[..], &sealed[..]].concat();
    if wrapped.len() == WRAPPED {
        Ok(wrapped)
    } else {
        Err(Failed::Key(KeyError::Root("the token seals in another form than AES-GCM's".to_owned())))
    }
}

/// Opens what [`seal`] sealed.
pub(super) fn unseal(session: &Session, key: ObjectHandle, aad: &[u8], wrapped: &[u8]) -> Result<Box<Key>, Failed> {
    let Some((nonce, sealed)) = wrapped.split_first_chunk::<NONCE>() else {
        return Err(Failed::Key(UnwrapError.into()));
    };
    let mut nonce = *nonce;
    let parameters = GcmParams::new(&mut nonce, aad, ((TAG * 8) as u64).into())?;
    let plain = Zeroizing::new(session.decrypt(&Mechanism::AesGcm(parameters), key, sealed)?);
    Key::in_box(&plain).ok_or(Failed::Key(UnwrapError.into()))
}
