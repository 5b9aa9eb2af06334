//! What is said between whoever asks a plugin and the process that runs it: one job in, lines out, each a value of JSON.

use age::secrecy::ExposeSecret;
use age_core::format::{self, FileKey};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Text that is secret. It zeroizes and has no `Debug`.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub(super) struct Hidden(String);

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Hidden {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// What a plugin is to do.
#[derive(Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Job {
    /// Wrap a file's key.
    Wrap {
        /// The plugin's name.
        plugin: String,
        /// A recipient of it, or an identity.
        to: Hidden,
        /// Whether it is an identity.
        is_identity: bool,
        /// The key, in base64.
        file_key: Hidden,
    },
    /// Open a file's key.
    Open {
        /// The plugin's name.
        plugin: String,
        /// An identity of it.
        identity: Hidden,
        /// What the file's head has.
        stanzas: Vec<Stanza>,
        /// What it is told if it asks for a secret.
        secret: Option<Hidden>,
    },
}

/// What is said of it. The last line is not a message.
#[derive(Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Said {
    /// The plugin says something to whoever sits there.
    Message {
        /// Its words.
        text: String,
    },
    /// The key is wrapped.
    Wrapped {
        /// What goes into the file's head.
        stanzas: Vec<Stanza>,
        /// What a recipient may not be mixed with.
        labels: Vec<String>,
    },
    /// The key is open.
    Opened {
        /// It, in base64.
        file_key: Hidden,
    },
    /// Nothing in the head is for this identity.
    NotItsOwn,
    /// The plugin said no.
    Refused {
        /// Its words, in one line.
        why: String,
    },
    /// Something failed.
    Broken {
        /// What.
        why: String,
    },
}

/// A part of an age file's head.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Stanza {
    tag: String,
    args: Vec<String>,
    /// In base64.
    body: String,
}

impl From<&format::Stanza> for Stanza {
    fn from(stanza: &format::Stanza) -> Self {
        Self { tag: stanza.tag.clone(), args: stanza.args.clone(), body: BASE64.encode(&stanza.body) }
    }
}

impl TryFrom<Stanza> for format::Stanza {
    type Error = String;

    fn try_from(Stanza { tag, args, body }: Stanza) -> Result<Self, String> {
        let body = BASE64.decode(body.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self { tag, args, body })
    }
}

/// A file's key as it travels.
pub(super) fn hide(key: &FileKey) -> Hidden {
    Hidden(BASE64.encode(key.expose_secret()))
}

/// A file's key that travelled; none if it is not 16 bytes.
pub(super) fn show(text: &Hidden) -> Option<FileKey> {
    let bytes = Zeroizing::new(BASE64.decode(text.0.as_bytes()).ok()?);
    let copied = FileKey::try_init_with_mut(|key| {
        if bytes.len() != key.len() {
            return Err(());
        }
        key.copy_from_slice(&bytes);
        Ok(())
    });
    copied.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_stanza_travel_unchanged() {
        let key = FileKey::new(Box::new([7; 16]));
        let text = serde_json::to_string(&Said::Opened { file_key: hide(&key) }).unwrap();
        let Said::Opened { file_key } = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        assert_eq!(show(&file_key).unwrap().expose_secret(), &[7; 16]);
        for short in ["", "AAAA", "*"] {
            assert!(show(&Hidden::from(short)).is_none(), "{short:?}");
        }
        let stanza = format::Stanza { tag: "X25519".into(), args: vec!["a".into()], body: vec![0, 255] };
        assert_eq!(format::Stanza::try_from(Stanza::from(&stanza)), Ok(stanza));
    }
}
