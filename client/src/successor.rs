//! What a stream stands on, and how it goes on where that comes to an end.
//!
//! A stream of many windows may outlive what it began under. Each window is decided on its own, so the vault refuses the next
//! one, and everything before it has arrived: that is where a stream waits for the next minute of its rate, or goes on under
//! another grant of its caller. A grant that the caller named is never exchanged for another, and nothing is renewed by itself.

use std::time::Duration;

use strongroom_core::call::{Call, Work};
use strongroom_core::grant::{Action, Limit};
use strongroom_core::ids::GrantId;
use strongroom_core::keys::secret::random_bytes;
use strongroom_core::names::TenantName;
use strongroom_core::reason::Reason;

use crate::clock::now;
use crate::connect::Vault;
use crate::draw::request_id;
use crate::error::{Error, Result};
use crate::picking::{Want, WantPlace};

/// How many minutes in a row a stream waits that gets nothing in them: others may use the rate up.
const MINUTES: u32 = 10;
/// How long before a grant's end a stream that still runs says so.
const SOON: u64 = 60_000;

/// The grant that a stream begins under, and how it may go on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Under {
    pub(crate) grant: Option<GrantId>,
    /// The caller named it: then it is this one or none.
    pub(crate) named: bool,
    /// To wait for a rate's next minute also before anything came.
    pub(crate) patient: bool,
}

/// What a stream did to go on.
pub(crate) struct GoingOn {
    under: Under,
    /// Minutes waited for since anything came.
    waited: u32,
    warned: bool,
}

impl GoingOn {
    pub(crate) fn new(under: Under) -> Self {
        Self { under, waited: 0, warned: false }
    }

    pub(crate) fn progressed(&mut self) {
        self.waited = 0;
    }

    /// Whether the stream goes on after this refusal: it waited for the next minute, or `call` is now under another grant.
    pub(crate) async fn goes_on(
        &mut self,
        vault: &Vault,
        tenant: &TenantName,
        call: &mut Call,
        error: &Error,
        begun: bool,
    ) -> Result<bool> {
        if let (Some(Limit::BytesPerMinute), Some(after)) = (error.limit(), error.resets_after()) {
            if (!begun && !self.under.patient) || self.waited >= MINUTES {
                return Ok(false);
            }
            self.waited += 1;
            let [chance] = random_bytes().unwrap_or([0]);
            // A little past it, and not all of them at once.
            let wait = after.min(Duration::from_secs(60)) + Duration::from_millis(20 + u64::from(chance) / 2);
            let seconds = wait.as_secs();
            tracing::warn!("the grant's bytes for this minute are used up: going on in {seconds} s");
            tokio::time::sleep(wait).await;
            return Ok(true);
        }
        let ended = matches!(error.reason(), Reason::GrantExpired | Reason::GrantRevoked | Reason::QuotaExceeded);
        if !ended || !begun || self.under.named {
            return Ok(false);
        }
        vault.grant_cache().forget(tenant);
        let Some(next) = successor(vault, tenant, call).await? else { return Ok(false) };
        // The same one is better only if it was renewed.
        if Some(next) == call.grant && (error.reason() != Reason::GrantExpired || self.waited >= MINUTES) {
            return Ok(false);
        }
        self.waited += 1;
        if Some(next) != call.grant {
            tracing::info!(from = ?call.grant, to = %next, reason = %error.reason(), "going on under another grant");
            // Other words are another request.
            (call.grant, call.request) = (Some(next), request_id()?);
            self.warned = false;
        }
        Ok(true)
    }

    /// Says once that a stream's grant ends soon, unless it was renewed meanwhile.
    pub(crate) async fn warn_before_end(&mut self, vault: &Vault, tenant: &TenantName, call: &Call) -> Result<()> {
        let Some(grant) = call.grant.filter(|_| !self.warned) else { return Ok(()) };
        if !ends_soon(vault, tenant, &grant)? {
            return Ok(());
        }
        // What is known may be older than a renewal.
        vault.grant_cache().forget(tenant);
        vault.standing(tenant).await?;
        self.warned = ends_soon(vault, tenant, &grant)?;
        if self.warned {
            tracing::warn!(%grant, "the grant of a stream that still runs ends within a minute");
        }
        Ok(())
    }
}

fn ends_soon(vault: &Vault, tenant: &TenantName, grant: &GrantId) -> Result<bool> {
    let soon = now()?.0.saturating_add(SOON);
    Ok(vault.grant_cache().expiry(tenant, grant).is_some_and(|end| end.0 < soon))
}

/// The grant that is picked now for all that a call reads, if it is live.
async fn successor(vault: &Vault, tenant: &TenantName, call: &Call) -> Result<Option<GrantId>> {
    let (Work::Get(items) | Work::ReleaseKeys(items)) = &call.work else { return Ok(None) };
    let mut wants = Vec::with_capacity(items.len());
    for item in items {
        let Some(path) = &item.path else { return Ok(None) };
        let place = WantPlace::Path(path);
        wants.push(Want { action: Action::Read, besides: None, dataset: &item.dataset, place });
    }
    Ok(vault.standing(tenant).await?.pick_for_all(&wants))
}
