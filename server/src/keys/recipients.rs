//! To whom a tenant's keys are sealed: recipients of age, native ones and those of plugins.
//!
//! A plugin is a program on this machine (`age-plugin-NAME`) that a tenant's admin names from afar. So it is run only if the operator named
//! it too (`[escrow] plugins`), a few at a time, and ended when it takes too long ([`plugins`](super::plugins)). It gets the key of one age
//! message and the recipient; the tenant's key, which is in that message, it does not get.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use age::{EncryptError, plugin, tag, x25519};
use strongroom_core::keys::secret::scrubbed;
use strongroom_core::reason::Reason;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::KeyError;
use super::aside::aside;
use super::plugins::{Plugin, Trouble, one_line};

/// Plugins at once.
const AT_ONCE: usize = 4;
/// The longest that one may take, or wait for its place: whoever orders an escrow waits for a minute.
const LONGEST: Duration = Duration::from_secs(25);

/// What keys are sealed with: native recipients, and the plugins that this server may run.
#[derive(Clone)]
pub struct Recipients {
    plugins: Arc<BTreeSet<String>>,
    running: Arc<Semaphore>,
    patience: Duration,
}

/// A recipient that this server can seal to, as far as its text tells.
#[derive(Clone)]
enum Recipient {
    X25519(x25519::Recipient),
    Tag(Box<tag::Recipient>),
    Plugin(plugin::Recipient),
}

impl Recipients {
    /// With these plugins, by name: `yubikey` is `age-plugin-yubikey`. Each may take so long at a time, up to 25 seconds.
    pub fn new(plugins: impl IntoIterator<Item = String>, patience: Duration) -> Self {
        let patience = patience.min(LONGEST);
        Self { plugins: Arc::new(plugins.into_iter().collect()), running: Arc::new(Semaphore::new(AT_ONCE)), patience }
    }

    /// Whether it is one of a plugin, which only shows by trying whether it can be sealed to.
    ///
    /// # Errors
    /// [`KeyError::Escrow`] if it is no recipient, or one of a plugin that this server does not run.
    pub(crate) fn is_plugins(&self, text: &str) -> Result<bool, KeyError> {
        let parsed = self.parse(text);
        let parsed = parsed.map_err(|(reason, why)| KeyError::Escrow { recipient: text.to_owned(), why, reason })?;
        Ok(matches!(parsed, Recipient::Plugin(_)))
    }

    /// Seals to a recipient.
    ///
    /// # Errors
    /// [`KeyError::Escrow`] says in one line what is in the way.
    pub(crate) async fn seal(&self, text: &str, plain: Zeroizing<Vec<u8>>) -> Result<Vec<u8>, KeyError> {
        let refused = |(reason, why): (Reason, String)| KeyError::Escrow { recipient: text.to_owned(), why, reason };
        let native = |error: EncryptError| refused((Reason::InvalidArgument, one_line(&error.to_string())));
        let recipient = match self.parse(text).map_err(refused)? {
            Recipient::X25519(recipient) => return scrubbed(|| seal_to(&recipient, &plain)).map_err(native),
            Recipient::Tag(recipient) => return scrubbed(|| seal_to(&*recipient, &plain)).map_err(native),
            Recipient::Plugin(recipient) => recipient,
        };
        let program = format!("age-plugin-{}", recipient.plugin());
        let plugin = Plugin::find(recipient.plugin(), self.patience);
        let plugin = plugin.map_err(|trouble| refused(told(&program, &trouble)))?;
        let busy = || {
            format!("{program} was not run: {AT_ONCE} other plugins run, and keep their places. Try again in a moment")
        };
        let place = tokio::time::timeout(self.patience, self.running.clone().acquire_owned()).await;
        let place = place.map_err(|_| refused((Reason::Unavailable, busy())))?;
        let failed = |why: String| refused((Reason::PreconditionFailed, why));
        let sealed = aside("age-plugin", move || {
            let sealed = seal_by_plugin(&plugin, &recipient, &plain);
            drop((plain, place));
            sealed
        });
        let sealed = sealed.await.map_err(|why| failed(format!("{program}: {why}")))?;
        sealed.map_err(|trouble| refused(told(&program, &trouble)))
    }

    fn parse(&self, text: &str) -> Result<Recipient, (Reason, String)> {
        if let Ok(recipient) = text.parse() {
            return Ok(Recipient::X25519(recipient));
        }
        if let Ok(recipient) = text.parse() {
            return Ok(Recipient::Tag(Box::new(recipient)));
        }
        let none = |_| (Reason::InvalidArgument, "is no recipient of age".to_owned());
        let recipient: plugin::Recipient = text.parse().map_err(none)?;
        let name = recipient.plugin();
        if self.plugins.contains(name) {
            return Ok(Recipient::Plugin(recipient));
        }
        let words = format!(
            "is one of the plugin {name:?}, which this server does not run: its operator installs age-plugin-{name} and names it in \
             escrow.plugins"
        );
        Err((Reason::Unsupported, words))
    }
}

/// An age message to one recipient. `age::encrypt` does not return from a plugin's refusal.
pub(crate) fn seal_to(recipient: &dyn age::Recipient, plain: &[u8]) -> Result<Vec<u8>, EncryptError> {
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient))?;
    let mut message = Vec::with_capacity(1024);
    let mut writer = encryptor.wrap_output(&mut message)?;
    writer.write_all(plain)?;
    writer.finish()?;
    Ok(message)
}

/// Seals by the recipient's plugin, or says why not.
fn seal_by_plugin(plugin: &Plugin, recipient: &plugin::Recipient, plain: &[u8]) -> Result<Vec<u8>, Trouble> {
    let text = recipient.to_string();
    let asked = plugin.recipient(&text);
    seal_to(&asked, plain).map_err(|error| asked.trouble(&error))
}

/// What whoever named the recipient is told. What else is said of a plugin stays in the log: it is the machine's.
fn told(program: &str, trouble: &Trouble) -> (Reason, String) {
    if !matches!(trouble, Trouble::Missing(_)) {
        tracing::warn!(program, error = %trouble, "an age plugin did not seal");
    }
    let (reason, failed) = (Reason::PreconditionFailed, format!("{program} did not seal to it"));
    match trouble {
        Trouble::Missing(_) => (Reason::Unsupported, trouble.to_string()),
        // Nobody can touch a device there.
        Trouble::Late { .. } => (reason, format!("{trouble}: ask the vault's operator what it waits for")),
        Trouble::Refused(why) => (reason, format!("{failed}: {why}")),
        Trouble::Broken(_) => (reason, format!("{failed}: the server's log says why")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recipients of plugins that do not exist, and one of a tag: the base point of P-256.
    const PLUGIN: &str = "age1strongroom-none1qyqszqgrrmnwv";
    const TAG: &str = "age1tag1qd43050juykyy3lchnnw2caygre8wqmasyk7kvaq7jsnj3wcnrpfvt5hxye";

    async fn sealed(plugins: &[&str], to: &str) -> Result<Vec<u8>, String> {
        let recipients = Recipients::new(plugins.iter().map(|name| (*name).to_owned()), Duration::from_secs(10));
        let sealed = recipients.seal(to, Zeroizing::new(b"plain".to_vec())).await;
        sealed.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn native_recipients_need_no_plugin() {
        let identity = x25519::Identity::generate();
        let to = identity.to_public().to_string();
        let message = sealed(&[], &to).await.unwrap();
        assert_eq!(age::decrypt(&identity, &message).unwrap(), b"plain");
        let message = sealed(&[], TAG).await.unwrap();
        assert!(message.starts_with(b"age-encryption.org/v1\n-> p256tag "));
        let recipients = Recipients::new([], Duration::from_secs(10));
        assert!(!recipients.is_plugins(&to).unwrap() && !recipients.is_plugins(TAG).unwrap());
    }

    #[tokio::test]
    async fn a_plugin_runs_only_where_it_was_named_and_is() {
        let refused = sealed(&[], PLUGIN).await.unwrap_err();
        assert!(refused.contains("escrow.plugins") && refused.starts_with(PLUGIN), "{refused}");
        let refused = sealed(&["strongroom-none"], PLUGIN).await.unwrap_err();
        assert!(refused.ends_with("age-plugin-strongroom-none is not on the server's PATH"), "{refused}");
        for none in ["age1yubikey1qwertyu", "age1", "AGE-SECRET-KEY-1", ""] {
            assert!(sealed(&["yubikey"], none).await.unwrap_err().ends_with("is no recipient of age"), "{none}");
        }
    }
}
