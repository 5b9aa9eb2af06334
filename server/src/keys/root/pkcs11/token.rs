//! Finding the token and its key, and logging in.

use std::fs;
use std::path::Path;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as TokenError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use ring::digest::{SHA256, digest};
use strongroom_core::keys::secret::{Key, random_bytes};
use zeroize::Zeroizing;

use crate::config::root::Pkcs11Root;
use crate::keys::KeyError;
use crate::keys::root::Secret;

/// The longest PIN that is read from a file.
const MAX_PIN: usize = 256;

/// A token with its key, as the thread has it.
pub(super) struct Token {
    provider: Pkcs11Root,
    module: Pkcs11,
    pub(super) open: Option<(Session, ObjectHandle)>,
    pub(super) id: String,
}

impl Token {
    /// Finds the token and its key, and makes the key if it is to be made.
    pub(super) fn open(provider: Pkcs11Root, pin: Option<Secret>, make: bool) -> Result<Self, KeyError> {
        let path = &provider.module;
        let module = Pkcs11::new(path).map_err(|error| KeyError::Root(format!("{}: {error}", path.display())))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // A module is one in a process, however often it is opened.
            Ok(()) | Err(TokenError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(KeyError::Root(format!("{}: {error}", path.display()))),
        }
        let pin = match &provider.pin_file {
            Some(file) => pin_of(file)?,
            None => pin.ok_or(KeyError::Locked)?,
        };
        let mut token = Self { provider, module, open: None, id: String::new() };
        let session = token.session(&pin, make)?;
        let key = token.find(&session, make)?;
        token.id = token.identify(&session, key)?;
        token.open = Some((session, key));
        Ok(token)
    }

    /// A session again, after one that broke.
    pub(super) fn again(&self) -> Result<(Session, ObjectHandle), KeyError> {
        let Some(file) = &self.provider.pin_file else {
            return Err(KeyError::Root(format!(
                "the session with the token {:?} is over, and its PIN is not kept: start the server again and unlock it",
                self.provider.token
            )));
        };
        let session = self.session(&pin_of(file)?, false)?;
        let key = self.find(&session, false)?;
        if self.identify(&session, key)? == self.id {
            Ok((session, key))
        } else {
            Err(KeyError::Root(format!("the token {:?} has another key than before", self.provider.token)))
        }
    }

    fn session(&self, pin: &str, writing: bool) -> Result<Session, KeyError> {
        let slot = self.slot()?;
        let opened = if writing { self.module.open_rw_session(slot) } else { self.module.open_ro_session(slot) };
        let session = opened.map_err(|error| self.failed(&error))?;
        match session.login(UserType::User, Some(&AuthPin::from(pin.to_owned()))) {
            Ok(()) | Err(TokenError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(TokenError::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                let info = self.module.get_token_info(slot);
                let last = info.as_ref().is_ok_and(|info| info.user_pin_final_try());
                Err(KeyError::Pin(if last { ", and the next wrong one locks it" } else { "" }))
            }
            Err(TokenError::Pkcs11(RvError::PinLocked, _)) => {
                Err(KeyError::Pin(": it is locked after too many wrong ones"))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn slot(&self) -> Result<Slot, KeyError> {
        let label = &self.provider.token;
        let slots = self.module.get_slots_with_initialized_token().map_err(|error| self.failed(&error))?;
        let named = |slot: &Slot| self.module.get_token_info(*slot).is_ok_and(|info| info.label() == label);
        let mut found = slots.into_iter().filter(named);
        match (found.next(), found.next()) {
            (Some(slot), None) => Ok(slot),
            (None, _) => Err(KeyError::Root(format!("there is no token {label:?}: is it plugged in?"))),
            (Some(_), Some(_)) => Err(KeyError::Root(format!("there are two tokens {label:?}"))),
        }
    }

    /// The one AES key of the label.
    fn find(&self, session: &Session, make: bool) -> Result<ObjectHandle, KeyError> {
        let Pkcs11Root { token, key: label, .. } = &self.provider;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let found = session.find_objects(&template).map_err(|error| self.failed(&error))?;
        let key = match found[..] {
            [key] => key,
            [] if make => self.generate(session)?,
            [] => return Err(KeyError::Root(format!("the token {token:?} has no AES key {label:?}"))),
            _ => return Err(KeyError::Root(format!("the token {token:?} has several AES keys {label:?}"))),
        };
        let wanted = [AttributeType::Sensitive, AttributeType::Extractable];
        let attributes = session.get_attributes(key, &wanted).map_err(|error| self.failed(&error))?;
        let kept =
            attributes.contains(&Attribute::Sensitive(true)) && attributes.contains(&Attribute::Extractable(false));
        if kept {
            Ok(key)
        } else {
            Err(KeyError::Root(format!(
                "the token {token:?} would give out the key {label:?}: it must be sensitive and not extractable"
            )))
        }
    }

    fn generate(&self, session: &Session) -> Result<ObjectHandle, KeyError> {
        let id: [u8; 16] = random_bytes()?;
        let template = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
            Attribute::ValueLen((Key::LEN as u64).into()),
            Attribute::Label(self.provider.key.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        session.generate_key(&Mechanism::AesKeyGen, &template).map_err(|error| self.failed(&error))
    }

    /// The key's name: over its own id, so that it is the same in a copy of the token.
    fn identify(&self, session: &Session, key: ObjectHandle) -> Result<String, KeyError> {
        let attributes = session.get_attributes(key, &[AttributeType::Id]).map_err(|error| self.failed(&error))?;
        let id = attributes.into_iter().find_map(|attribute| match attribute {
            Attribute::Id(id) if !id.is_empty() => Some(id),
            _ => None,
        });
        let Pkcs11Root { token, key: label, .. } = &self.provider;
        let id = id.ok_or_else(|| KeyError::Root(format!("the key {label:?} of the token {token:?} has no CKA_ID")))?;
        let digest = digest(&SHA256, &[b"strongroom/v1/root-id", &id[..]].concat());
        Ok(format!("pkcs11:{}", data_encoding::HEXLOWER.encode(&digest.as_ref()[..8])))
    }

    pub(super) fn failed(&self, error: &TokenError) -> KeyError {
        KeyError::Root(format!("the token {:?}: {error}", self.provider.token))
    }
}

/// The PIN in a file: its first line.
fn pin_of(path: &Path) -> Result<Secret, KeyError> {
    let failed = |why: String| KeyError::Root(format!("the PIN in {}: {why}", path.display()));
    let bytes = Zeroizing::new(fs::read(path).map_err(|error| failed(error.to_string()))?);
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("is no text".to_owned()))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() || line.len() > MAX_PIN {
        return Err(failed(format!("has 1 to {MAX_PIN} bytes")));
    }
    Ok(Zeroizing::new(line.to_owned()))
}
