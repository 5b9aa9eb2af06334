//! What a tenant asks of all its grants: how long they may live, and what they are limited to where they say nothing.
//!
//! A policy holds for what is issued and renewed after it was set. A limit that comes from it becomes the grant's own, in the
//! bytes that are recorded: no later policy changes what was granted.

use serde::{Deserialize, Serialize};

use crate::grant::{Limits, NotANetwork, Refusal, Terms};
use crate::ids::Millis;
use crate::reason::Reason;

const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The longest life of a grant where the tenant has no policy of its own: 24 hours, in milliseconds.
pub const DEFAULT_MAX_LIFE: u64 = DAY;

/// A tenant's policy for grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// How far from now a grant of an admin may end when it is issued or renewed, in milliseconds.
    pub root_life: u64,
    /// The same for a delegated grant.
    pub delegated_life: u64,
    /// The limits of an admin's grant that names none of its own, each by itself.
    pub limits: Limits,
}

impl Default for Policy {
    fn default() -> Self {
        Self { root_life: DEFAULT_MAX_LIFE, delegated_life: DEFAULT_MAX_LIFE, limits: Limits::default() }
    }
}

impl Policy {
    /// The longest life that a policy may allow: 366 days, in milliseconds.
    pub const MAX_LIFE: u64 = 366 * DAY;

    /// Whether it makes sense.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` if a life is under a minute or over [`Policy::MAX_LIFE`], or a source is no network.
    pub fn check(&self) -> Result<(), Refusal> {
        let invalid = |words: String| Err(Refusal::new(Reason::InvalidArgument, words));
        if [self.root_life, self.delegated_life].iter().any(|life| !(MINUTE..=Self::MAX_LIFE).contains(life)) {
            return invalid("a policy lets grants live for a minute at least, and 366 days at most".into());
        }
        match self.limits.first_bad_source() {
            Some(text) => invalid(format!("{text:?}: {NotANetwork}")),
            None => Ok(()),
        }
    }

    /// Whether a grant with or without a parent may end then.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with the longest life.
    pub(crate) fn check_life(&self, is_delegated: bool, expires: Millis, now: Millis) -> Result<(), Refusal> {
        let (kind, life) =
            if is_delegated { ("a delegated grant", self.delegated_life) } else { ("a grant", self.root_life) };
        if expires.0.saturating_sub(now.0) > life {
            let words = format!("{kind} lives {} at most, by the tenant's policy", words_of(life));
            return Err(Refusal::new(Reason::InvalidArgument, words));
        }
        Ok(())
    }

    /// Terms as they are recorded: an admin's get the limits of the policy where they have none.
    #[must_use]
    pub fn applied(&self, terms: &Terms) -> Terms {
        match terms.parent {
            // A child has a limit wherever its parent has one.
            Some(_) => terms.clone(),
            None => Terms { limits: terms.limits.or(&self.limits), ..terms.clone() },
        }
    }
}

/// `24 hours`, `90 minutes`, `7 days`.
fn words_of(life: u64) -> String {
    let counted = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    match life {
        life if life.is_multiple_of(DAY) && life > DAY => counted(life / DAY, "day"),
        life if life.is_multiple_of(HOUR) => counted(life / HOUR, "hour"),
        life if life.is_multiple_of(MINUTE) => counted(life / MINUTE, "minute"),
        life => counted(life / 1000, "second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_told_in_whole_units() {
        let told = [
            (DAY, "24 hours"),
            (7 * DAY, "7 days"),
            (HOUR, "1 hour"),
            (90 * MINUTE, "90 minutes"),
            (61_000, "61 seconds"),
        ];
        for (life, words) in told {
            assert_eq!(words_of(life), words);
        }
    }

    #[test]
    fn a_life_may_be_as_long_as_it_says_to_the_millisecond() {
        let policy = Policy { root_life: HOUR, delegated_life: MINUTE, ..Policy::default() };
        let may = |is_delegated, life| policy.check_life(is_delegated, Millis(1000 + life), Millis(1000)).is_ok();
        assert!(may(false, HOUR) && !may(false, HOUR + 1) && may(true, MINUTE) && !may(true, MINUTE + 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(Policy::default().check(), Ok(()));
        for life in [0, MINUTE - 1, Policy::MAX_LIFE + 1, u64::MAX] {
            assert!(Policy { root_life: life, ..Policy::default() }.check().is_err(), "{life}");
            assert!(Policy { delegated_life: life, ..Policy::default() }.check().is_err(), "{life}");
        }
        let limits = Limits { sources: vec!["10.0.0.1/8".into()], ..Limits::default() };
        assert!(Policy { limits, ..Policy::default() }.check().is_err());
    }
}
