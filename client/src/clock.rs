//! The one place where this crate looks at a clock.

use std::time::{SystemTime, UNIX_EPOCH};

use strongroom_core::ids::Millis;
use strongroom_core::reason::Reason;

use crate::error::{Error, Result};

/// This machine's clock: how long an order may be held back is for its signer to say.
#[allow(clippy::disallowed_methods, reason = "this crate's one place")]
pub(crate) fn now() -> Result<Millis> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.map_err(|_| Error::new(Reason::Clock, "this machine's clock stands before 1970"))?;
    u64::try_from(since.as_millis()).map(Millis).map_err(|_| Error::new(Reason::Clock, "this machine's clock is wrong"))
}
