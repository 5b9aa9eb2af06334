//! From one vault key to the next: what lets clients follow a rotation, and refuse every other key.
//!
//! ```text
//! step       = old key (32) ‖ new key (32) ‖ signature (64) of the old key over "strongroom/v1/vault-key" ‖ 0x00 ‖ old ‖ new
//! succession = steps, oldest first, each beginning with the key that the one before it ends with
//! ```
//!
//! A server shows it in the certificate of its vault key, as the name `strongroom:succession:<hex>` (a URI). Whoever pins one of its
//! keys follows it from there to the last one, pins that, and takes nothing older any more. It needs no protection of its own: each step
//! holds by its signature, and one that is left out only means that fewer clients can follow.
//!
//! It says that the old key's holder wanted the new one. So it is of no use against a thief of the old key, who can sign as well:
//! after a theft, the new key's fingerprint has to be given to people as the first one was.

use data_encoding::HEXLOWER;

use crate::ed25519::{SigningKey, VerifyingKey};
use crate::identity::{Fingerprint, Purpose};

/// Bytes of one step.
const STEP: usize = 128;
/// What a name begins with that holds a succession.
const PREFIX: &[u8] = b"strongroom:succession:";

/// The vault keys there were, each vouching for the next.
///
/// ```
/// # use strongroom_core::ed25519::SigningKey;
/// # use strongroom_core::succession::Succession;
/// let [first, second, third] = [(); 3].map(|()| SigningKey::generate().unwrap());
/// let succession = Succession::default().then(&first, &second.public_key()).then(&second, &third.public_key());
/// assert_eq!(succession.follow(&first.public_key().fingerprint()), Some(third.public_key()));
/// assert_eq!(succession.follow(&second.public_key().fingerprint()), Some(third.public_key()));
/// assert_eq!(succession.follow(&third.public_key().fingerprint()), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Succession(Vec<[u8; STEP]>);

impl Succession {
    /// The most steps: of more, the oldest are forgotten.
    pub const MAX_STEPS: usize = 16;

    /// The same with one step more.
    #[must_use]
    pub fn then(&self, old: &SigningKey, new: &VerifyingKey) -> Self {
        let mut step = [0; STEP];
        step[..32].copy_from_slice(old.public_key().as_bytes());
        step[32..64].copy_from_slice(new.as_bytes());
        let signature = old.sign(Purpose::VaultKey, &step[..64]);
        step[64..].copy_from_slice(&signature);
        let forgotten = (self.0.len() + 1).saturating_sub(Self::MAX_STEPS);
        Self(self.0[forgotten..].iter().copied().chain([step]).collect())
    }

    /// From its steps' bytes in hex, one text a step; `None` if they are not steps, or too many. Nothing is verified yet.
    pub fn from_steps<'a>(steps: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let step = |text: &str| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok();
        let steps: Vec<_> = steps.into_iter().map(step).collect::<Option<_>>()?;
        (steps.len() <= Self::MAX_STEPS).then_some(Self(steps))
    }

    /// Its steps' bytes in hex.
    pub fn steps(&self) -> Vec<String> {
        self.0.iter().map(|step| HEXLOWER.encode(step)).collect()
    }

    /// Whether it has no step.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name that shows it in a certificate.
    pub fn name(&self) -> String {
        let prefix = std::str::from_utf8(PREFIX).unwrap_or_default();
        std::iter::once(prefix.to_owned()).chain(self.steps()).collect()
    }

    /// The succession that a certificate shows, if it shows one. Nothing is verified yet.
    pub fn shown_in(certificate: &[u8]) -> Option<Self> {
        // A text is found wherever it stands: what it says holds by signatures, and not by its place.
        let at = certificate.windows(PREFIX.len()).position(|window| window == PREFIX)?;
        let rest = &certificate[at + PREFIX.len()..];
        let hex = rest.iter().take(Self::MAX_STEPS * 2 * STEP);
        let digits = hex.take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        let whole = &rest[..digits / (2 * STEP) * (2 * STEP)];
        let steps = whole.chunks_exact(2 * STEP).map(|step| std::str::from_utf8(step).unwrap_or_default());
        Self::from_steps(steps).filter(|succession| !succession.is_empty())
    }

    /// The newest key, for somebody who pins this one; `None` if the pinned key is not among the old ones, or a step does not hold.
    pub fn follow(&self, pinned: &Fingerprint) -> Option<VerifyingKey> {
        let parts = |step: &[u8; STEP]| {
            let key = |at: usize| step[at..at + 32].try_into().ok().map(VerifyingKey::from_bytes);
            Some((key(0)?, key(32)?))
        };
        let begins = |step: &&[u8; STEP]| parts(step).is_some_and(|(old, _)| old.fingerprint() == *pinned);
        let first = self.0.iter().position(|step| begins(&step))?;
        let mut newest: Option<VerifyingKey> = None;
        for step in &self.0[first..] {
            let (old, new) = parts(step)?;
            if newest.is_some_and(|newest| newest != old) {
                return None;
            }
            old.verify(Purpose::VaultKey, &step[..64], &step[64..]).ok()?;
            newest = Some(new);
        }
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys<const N: usize>() -> [SigningKey; N] {
        [(); N].map(|()| SigningKey::generate().unwrap())
    }

    #[test]
    fn it_is_found_in_a_certificate_and_followed() {
        let [first, second, third] = keys();
        let succession = Succession::default().then(&first, &second.public_key()).then(&second, &third.public_key());
        let certificate = [b"...", succession.name().as_bytes(), &[0x30, 0x61, 0x62]].concat();
        let shown = Succession::shown_in(&certificate).unwrap();
        // What follows the text may look like more of it: less than a step is none.
        assert_eq!(shown, succession);
        assert_eq!(shown.follow(&first.public_key().fingerprint()), Some(third.public_key()));
        assert_eq!(Succession::shown_in(b"strongroom:succession:"), None);
        assert_eq!(Succession::shown_in(b"no such name"), None);
        assert_eq!(Succession::from_steps(succession.steps().iter().map(String::as_str)), Some(succession));
    }

    #[test]
    fn no_step_holds_that_its_old_key_did_not_sign() {
        let [first, second, third, thief] = keys();
        let pinned = first.public_key().fingerprint();
        let honest = Succession::default().then(&first, &second.public_key()).then(&second, &third.public_key());
        for at in 0..2 * STEP {
            let mut changed = honest.clone();
            changed.0[at / STEP][at % STEP] ^= 1;
            assert_eq!(changed.follow(&pinned), None, "byte {at}");
        }
        // A thief's own step, put behind one of the first key's, or under its name.
        let mut appended = Succession::default().then(&first, &second.public_key());
        appended.0.extend(Succession::default().then(&thief, &third.public_key()).0);
        assert_eq!(appended.follow(&pinned), None);
        let mut disguised = Succession::default().then(&thief, &third.public_key());
        disguised.0[0][..32].copy_from_slice(first.public_key().as_bytes());
        assert_eq!(disguised.follow(&pinned), None);
        assert_eq!(honest.follow(&thief.public_key().fingerprint()), None);
    }

    #[test]
    fn the_oldest_steps_are_forgotten() {
        let mut all = keys::<20>().into_iter();
        let mut last = all.next().unwrap();
        let (first, mut succession) = (last.public_key().fingerprint(), Succession::default());
        for key in all {
            succession = succession.then(&last, &key.public_key());
            last = key;
        }
        assert_eq!(succession.steps().len(), Succession::MAX_STEPS);
        assert_eq!(succession.follow(&first), None);
        let steps = succession.steps();
        assert_eq!(Succession::from_steps(steps.iter().chain(&steps[..1]).map(String::as_str)), None, "too many");
    }
}
