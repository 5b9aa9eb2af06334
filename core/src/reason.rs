//! Every stable reason code: what a caller may build on, in the API, the command line and the ledger.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Why something was refused or failed. Codes are stable: they are added to, never renamed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $code)] $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code, as it stands in errors, on stderr and in the ledger.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }

        impl FromStr for Reason {
            type Err = UnknownReason;

            fn from_str(code: &str) -> Result<Self, UnknownReason> {
                match code { $($code => Ok(Self::$name),)* _ => Err(UnknownReason) }
            }
        }
    };
}

reasons! {
    /// The vault is locked: its root key waits for a human.
    Sealed = "SEALED",
    /// The ledger contradicts what a node, a client or a checkpoint remembers; the tenant is stopped.
    LedgerDiverged = "LEDGER_DIVERGED",
    /// No client certificate, an unknown key, or a signature that does not hold.
    Unauthenticated = "UNAUTHENTICATED",
    /// An operator blocked the key on the whole server.
    KeyBlocked = "KEY_BLOCKED",
    /// The caller's vendor, or the vendor it was delegated by, is suspended.
    VendorSuspended = "VENDOR_SUSPENDED",
    /// The grant was revoked, or one above it.
    GrantRevoked = "GRANT_REVOKED",
    /// The grant's time is over, or one above it.
    GrantExpired = "GRANT_EXPIRED",
    /// No grant of the caller covers this.
    OutOfScope = "OUT_OF_SCOPE",
    /// The dataset, or the whole tenant, is frozen: nobody reads or writes there, admins neither.
    Frozen = "FROZEN",
    /// Nothing by that name.
    NotFound = "NOT_FOUND",
    /// Its keys were destroyed.
    Shredded = "SHREDDED",
    /// It is there already, has another generation, or was asked for with other words before.
    PreconditionFailed = "PRECONDITION_FAILED",
    /// A limit of the grant, or of one above it, is used up.
    QuotaExceeded = "QUOTA_EXCEEDED",
    /// A name or path that breaks a rule.
    InvalidName = "INVALID_NAME",
    /// A request that says nothing sensible.
    InvalidArgument = "INVALID_ARGUMENT",
    /// A message or object over its limit.
    TooLarge = "TOO_LARGE",
    /// A delegation wider than its parent, or from a grant that may not delegate.
    NotNarrower = "NOT_NARROWER",
    /// Something that this version does not enforce yet, and therefore refuses.
    Unsupported = "UNSUPPORTED",
    /// The session is not of this connection: open one again.
    SessionUnknown = "SESSION_UNKNOWN",
    /// The database's clock is behind the ledger or away from the node's.
    Clock = "CLOCK",
    /// The entry could not be made durable; nothing was released.
    LedgerUnavailable = "LEDGER_UNAVAILABLE",
    /// Stored bytes, a digest, a parcel or a signature do not fit: somebody changed something, or a disk did.
    Integrity = "INTEGRITY",
    /// The server cannot be reached, is shutting down, or is too busy.
    Unavailable = "UNAVAILABLE",
    /// A fault inside; the log has more.
    Internal = "INTERNAL",
}

/// A code that this version does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an unknown reason code")]
pub struct UnknownReason;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip() {
        for reason in Reason::ALL {
            assert_eq!(reason.code().parse(), Ok(*reason));
        }
        assert_eq!("NONE".parse::<Reason>(), Err(UnknownReason));
    }
}
