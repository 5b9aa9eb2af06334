//! Orders in: whatever changes authority.

use strongroom_core::ed25519::SigningKey;
use strongroom_core::grant::Refusal;
use strongroom_core::ids::OrderId;
use strongroom_core::keys::secret::Key;
use strongroom_core::keys::wrap::{Purpose, RootTuple};
use strongroom_core::names::TenantName;
use strongroom_core::order::{Instruction, SignedOrder, VerifiedOrder};
use strongroom_core::reason::Reason;

use std::sync::Arc;

use crate::catalog::tenants::NewTenant;
use crate::error::Error;
use crate::recorder::attempt::{Attempt, Caller, Order, Recorded, What};
use crate::tenants::Tenant;
use crate::vault::{Vault, blocks, log_keys};

/// Checks an order's signatures and has it decided, recorded and carried out in one commit.
pub(crate) async fn order(
    vault: &Vault,
    caller: Caller,
    tenant: &TenantName,
    bytes: &[u8],
    fits: fn(&Instruction) -> bool,
) -> Result<(Recorded, OrderId), Error> {
    let verified = accept(bytes, fits)?;
    let tenant = vault.tenants.find(tenant).await?;
    let id = verified.id();
    let attempt = Attempt::Order(Box::new(Order::new(caller, verified)));
    carried_out(vault.recorder.record(&tenant, attempt).await?, id)
}

/// Creates a tenant: its keys, and its ledger with the operator's order as entry 0.
pub(crate) async fn create_tenant(vault: &Vault, caller: Caller, bytes: &[u8]) -> Result<(Recorded, OrderId), Error> {
    let verified = accept(bytes, |instruction| matches!(instruction, Instruction::CreateTenant { .. }))?;
    blocks::check_operators(vault, verified.signers())?;
    let Instruction::CreateTenant { name, .. } = &verified.order().instruction else {
        return Err(Error::Invalid("the order is another one than this method carries out".into()));
    };
    let id = verified.order().ledger.tenant();
    let origin = vault.tenants.origin(id)?;
    if (*name == TenantName::of_operators(&vault.id)) != origin.is_operators() {
        let words = "the operators' own ledger has the one name and the one id";
        return Err(Refusal::new(Reason::InvalidArgument, words).into());
    }
    if let Some(row) = vault.catalog.tenant_named(name).await?
        && row.id == id
    {
        // Perhaps this very order made it, and the answer was lost.
        let tenant = vault.tenants.find(name).await?;
        let order_id = verified.id();
        let attempt = Attempt::Order(Box::new(Order::new(caller, verified)));
        let recorded = vault.recorder.record(&tenant, attempt).await;
        let exists = |_| Refusal::new(Reason::PreconditionFailed, "the tenant exists already");
        return carried_out(recorded.map_err(exists)?, order_id);
    }
    if vault.catalog.tenant_named(name).await?.is_some() || vault.catalog.tenant(&id).await?.is_some() {
        return Err(Refusal::new(Reason::PreconditionFailed, "the tenant exists already").into());
    }
    let random = |_| Error::Unavailable("the system gave no randomness".into());
    let _wrapping = vault.rotations.wrapping().await;
    let (ledger_key, log_key) = (Key::random().map_err(random)?, Key::random().map_err(random)?);
    let tuple = |purpose| RootTuple { purpose, vault: vault.id, tenant: Some((id, name.as_str())), version: 1 };
    let new = NewTenant {
        id,
        name: name.clone(),
        ledger_key: vault.root.wrap(&tuple(Purpose::LedgerKey), &ledger_key).await?,
        log_key: vault.root.wrap(&tuple(Purpose::LogKey), &log_key).await?,
        tenant_key: wrap_fresh(vault, &tuple(Purpose::TenantKey)).await?,
    };
    let tenant = Arc::new(Tenant {
        id,
        name: name.clone(),
        origin,
        ledger_key: strongroom_core::ledger::LedgerKey::new(&ledger_key),
        log_key: SigningKey::from_seed(log_key).map_err(random)?,
        later: Default::default(),
    });
    let order_id = verified.id();
    let attempt = Attempt::CreateTenant(Box::new(Order::new(caller, verified)), Box::new(new));
    let done = carried_out(vault.recorder.record(&tenant, attempt).await?, order_id)?;
    log_keys::note(vault, &tenant).await;
    Ok(done)
}

pub(crate) fn accept(bytes: &[u8], fits: fn(&Instruction) -> bool) -> Result<VerifiedOrder, Error> {
    let verified = SignedOrder::accept(bytes)?;
    if fits(&verified.order().instruction) {
        Ok(verified)
    } else {
        Err(Error::Invalid("the order is another one than this method carries out".into()))
    }
}

async fn wrap_fresh(vault: &Vault, tuple: &RootTuple<'_>) -> Result<Vec<u8>, Error> {
    let key = Key::random_in_box().map_err(|_| Error::Unavailable("the system gave no randomness".into()))?;
    Ok(vault.root.wrap(tuple, &key).await?)
}

pub(crate) fn carried_out(recorded: Recorded, id: OrderId) -> Result<(Recorded, OrderId), Error> {
    match recorded.what() {
        What::Order(recorded_id) if *recorded_id == id => Ok((recorded, id)),
        _ => Err(Error::Integrity("the recorder answered for another attempt".into())),
    }
}
