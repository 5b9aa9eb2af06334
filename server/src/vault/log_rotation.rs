//! Another key signs a ledger's checkpoints: made here, signed by the one before it, and recorded as the one from then on.
//!
//! ```text
//! order to rotate ─► new key, wrapped by the root key ─► signed by the key that signs now ─► recorded: key, change and entry in one
//! commit ─► checkpoints of more entries than that are signed by it
//! ```
//!
//! Of a tenant's ledger, its admins order it; of the operators' own, any operator of the configuration.
//!
//! Which key signs follows from a checkpoint's size and from nothing else, so nodes need not agree on anything: whoever reads a head
//! reads the keys after it.

use std::sync::Arc;

use strongroom_core::ed25519::SigningKey;
use strongroom_core::ids::OrderId;
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::ledger::log_keys::LogKeyChange;
use strongroom_core::names::TenantName;
use strongroom_core::order::Instruction;

use crate::error::Error;
use crate::keys::KeyError;
use crate::recorder::attempt::{Attempt, Caller, NewLogKey, Order, Recorded};
use crate::tenants::Tenant;
use crate::vault::Vault;
use crate::vault::authority::{accept, carried_out};
use crate::vault::blocks;

/// Makes the next log key and has it recorded.
pub(crate) async fn rotate(
    vault: &Vault,
    caller: Caller,
    tenant: &TenantName,
    bytes: &[u8],
) -> Result<(Recorded, OrderId), Error> {
    let verified = accept(bytes, |instruction| matches!(instruction, Instruction::RotateLogKey { .. }))?;
    let Instruction::RotateLogKey { version } = verified.order().instruction else {
        return Err(Error::Invalid("the order is another one than this method carries out".into()));
    };
    let is_operators = *tenant == TenantName::of_operators(&vault.id);
    if is_operators {
        blocks::check_operators(vault, verified.signers())?;
    }
    let tenant = vault.tenants.find(tenant).await?;
    if is_operators {
        vault.recorder.take_operators(tenant.clone()).await?;
    }
    let _wrapping = vault.rotations.wrapping().await;
    let new_log_key = next(vault, &tenant, version).await?;
    let id = verified.id();
    let order = Order { new_log_key, ..Order::new(caller, verified) };
    let done = carried_out(vault.recorder.record(&tenant, Attempt::Order(Box::new(order))).await?, id)?;
    vault.tenants.log_keys(&tenant).await?;
    Ok(done)
}

/// The key of this version; none if it is not the next one: then the order is refused, or was carried out before.
async fn next(vault: &Vault, tenant: &Arc<Tenant>, version: u32) -> Result<Option<NewLogKey>, Error> {
    let now = vault.tenants.log_keys(tenant).await?;
    if now.all().count() as u64 + 1 != u64::from(version) {
        return Ok(None);
    }
    let signer = vault.tenants.signer(tenant, &now.newest()).await?;
    let key = SigningKey::generate().map_err(KeyError::from)?;
    let place = RootTuple {
        purpose: Purpose::LogKey,
        vault: vault.id,
        tenant: Some((tenant.id, tenant.name.as_str())),
        version,
    };
    let wrapped = vault.root.wrap(&place, key.seed()).await?;
    let change = LogKeyChange::sign(&tenant.origin, &signer, key.public_key());
    Ok(Some(NewLogKey { change, wrapped }))
}
